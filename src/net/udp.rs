//! UDP exchanges of the guest: one flow for each pair of addresses, until it has been silent for a while.

use super::datagram::{self, Datagram};
use super::flow::{FlowBackend, FlowError, FlowId, Transport};
use super::link::Link;
use super::{icmp, ipv6};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv6DstUnreachable};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::task::Poll;

/// Most exchanges at a time; the one that was silent longest makes place for a new one.
const MAX_FLOWS: usize = 2048;
/// How long an exchange may be silent (RFC 4787 asks for 2 minutes or more).
const SILENCE_NS: u64 = 180_000_000_000;
/// Datagrams that wait until their flow is open.
const MAX_WAITING: usize = 8;
/// Largest datagram.
const BUFFER: usize = 65_535;

struct Exchange {
    guest: SocketAddr,
    /// The other end, as the guest knows it.
    outside: SocketAddr,
    is_open: bool,
    waiting: VecDeque<Vec<u8>>,
    used_ns: u64,
}

/// The UDP exchanges of the guest.
pub struct UdpExchanges {
    exchanges: BTreeMap<FlowId, Exchange>,
    by_ends: BTreeMap<(SocketAddr, SocketAddr), FlowId>,
    /// Flows with datagrams for which the link had no room.
    held: BTreeSet<FlowId>,
    buffer: Vec<u8>,
}

impl Default for UdpExchanges {
    fn default() -> Self {
        Self {
            exchanges: BTreeMap::new(),
            by_ends: BTreeMap::new(),
            held: BTreeSet::new(),
            buffer: vec![0; BUFFER],
        }
    }
}

impl UdpExchanges {
    /// Exchanges that are not forgotten.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Whether `flow` is one of these.
    pub fn contains(&self, flow: FlowId) -> bool {
        self.exchanges.contains_key(&flow)
    }

    /// Takes a datagram of the guest. `new_flow` is the name of the flow that it may begin, to `destination`.
    ///
    /// Returns whether it has begun one.
    pub fn receive(
        &mut self,
        datagram: &Datagram<'_>,
        new_flow: FlowId,
        destination: SocketAddr,
        flows: &mut dyn FlowBackend,
        now_ns: u64,
    ) -> bool {
        let ends = (datagram.source, datagram.destination);
        if let Some((flow, exchange)) =
            self.by_ends.get(&ends).and_then(|flow| Some((*flow, self.exchanges.get_mut(flow)?)))
        {
            exchange.used_ns = now_ns;
            if exchange.is_open {
                self.send(flow, datagram.payload, flows);
            } else if exchange.waiting.len() < MAX_WAITING {
                exchange.waiting.push_back(datagram.payload.to_vec());
            }
            return false;
        }
        if self.exchanges.len() >= MAX_FLOWS {
            self.forget_most_silent(flows);
        }
        let exchange = Exchange {
            guest: datagram.source,
            outside: datagram.destination,
            is_open: false,
            waiting: VecDeque::from([datagram.payload.to_vec()]),
            used_ns: now_ns,
        };
        self.by_ends.insert(ends, new_flow);
        self.exchanges.insert(new_flow, exchange);
        flows.open(new_flow, Transport::Udp, destination);
        true
    }

    fn send(&mut self, flow: FlowId, payload: &[u8], flows: &mut dyn FlowBackend) {
        if let Err(error) = flows.send(flow, payload) {
            log::debug!("UDP flow {}: {error}", flow.0);
            self.remove(flow);
        }
    }

    /// The outside has opened `flow`.
    pub fn opened(&mut self, flow: FlowId, flows: &mut dyn FlowBackend) {
        let Some(exchange) = self.exchanges.get_mut(&flow) else { return };
        exchange.is_open = true;
        for payload in std::mem::take(&mut exchange.waiting) {
            self.send(flow, &payload, flows);
        }
    }

    /// The outside cannot open or go on with `flow`. The guest learns it for the datagram that began it.
    pub fn failed(&mut self, flow: FlowId, error: FlowError, link: &mut Link) {
        let Some(exchange) = self.remove(flow) else { return };
        // The error quotes the ports; the payload is not needed.
        let original = datagram::packet(exchange.guest, exchange.outside, &[]);
        let news = if exchange.guest.is_ipv4() {
            let reason = match error {
                FlowError::Forbidden => Icmpv4DstUnreachable::HostProhibited,
                FlowError::Refused | FlowError::Reset => Icmpv4DstUnreachable::PortUnreachable,
                FlowError::Unreachable | FlowError::TooMany => Icmpv4DstUnreachable::HostUnreachable,
            };
            icmp::unreachable(&original, reason)
        } else {
            let reason = match error {
                FlowError::Forbidden => Icmpv6DstUnreachable::AdminProhibit,
                FlowError::Refused | FlowError::Reset => Icmpv6DstUnreachable::PortUnreachable,
                FlowError::Unreachable | FlowError::TooMany => Icmpv6DstUnreachable::AddrUnreachable,
            };
            ipv6::unreachable(&original, reason)
        };
        if let Some(news) = news {
            link.send(&news);
        }
    }

    /// Moves datagrams of `flow` to the guest while there is room.
    pub fn readable(&mut self, flow: FlowId, link: &mut Link, flows: &mut dyn FlowBackend, now_ns: u64) {
        self.held.remove(&flow);
        let Some(exchange) = self.exchanges.get_mut(&flow) else { return };
        loop {
            if !link.has_room() {
                self.held.insert(flow);
                return;
            }
            match flows.receive(flow, &mut self.buffer) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => return self.failed(flow, error, link),
                Poll::Ready(Ok(length)) => {
                    exchange.used_ns = now_ns;
                    match self.buffer.get(..length) {
                        Some(payload) if length <= datagram::max_payload(exchange.guest.ip()) => {
                            link.send(&datagram::packet(exchange.outside, exchange.guest, payload));
                        }
                        _ => log::debug!("a datagram of {length} bytes does not fit the guest's network"),
                    }
                }
            }
        }
    }

    /// Goes on with what waited for room.
    pub fn resume(&mut self, link: &mut Link, flows: &mut dyn FlowBackend, now_ns: u64) {
        for flow in std::mem::take(&mut self.held) {
            self.readable(flow, link, flows, now_ns);
        }
    }

    /// Ends exchanges that have been silent for long.
    pub fn forget_silent(&mut self, flows: &mut dyn FlowBackend, now_ns: u64) {
        let silent: Vec<FlowId> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| now_ns.saturating_sub(exchange.used_ns) >= SILENCE_NS)
            .map(|(flow, _)| *flow)
            .collect();
        for flow in silent {
            self.remove(flow);
            flows.close(flow, false);
        }
    }

    fn forget_most_silent(&mut self, flows: &mut dyn FlowBackend) {
        let silent = self.exchanges.iter().min_by_key(|(_, exchange)| exchange.used_ns);
        if let Some(flow) = silent.map(|(flow, _)| *flow) {
            self.remove(flow);
            flows.close(flow, false);
        }
    }

    fn remove(&mut self, flow: FlowId) -> Option<Exchange> {
        self.held.remove(&flow);
        let exchange = self.exchanges.remove(&flow)?;
        self.by_ends.remove(&(exchange.guest, exchange.outside));
        Some(exchange)
    }

    /// Ends all flows outside: the guest has forgotten its exchanges.
    pub fn abandon(&mut self, flows: &mut dyn FlowBackend) {
        for flow in std::mem::take(&mut self.exchanges).into_keys() {
            flows.close(flow, false);
        }
        self.by_ends.clear();
        self.held.clear();
    }
}
