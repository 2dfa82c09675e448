//! The gateway: everything that the guest finds at the other end of its cable.

use super::datagram::{self, Datagram};
use super::dhcp::{self, DhcpServer};
use super::dns::{self, Asker, NameServer};
use super::flow::{FlowBackend, FlowEvent, FlowId, NameResolver};
use super::link::{Link, Packet};
use super::tcp::{Surroundings, TcpConnections};
use super::udp::UdpExchanges;
use super::{icmp, ipv6, peers, subnet};
use crate::host::{Acceptance, Frame, NetBackend, Segmentation};
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv6DstUnreachable, IpProtocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};

/// How often old questions and exchanges are looked for.
const SWEEP_NS: u64 = 5_000_000_000;
/// How soon the gateway may ask to be called again.
const SHORTEST_WAIT_NS: u64 = 100_000;

/// A network for one guest, whose connections are carried on by a [`FlowBackend`].
pub struct Gateway {
    flows: Box<dyn FlowBackend>,
    resolver: Box<dyn NameResolver>,
    link: Link,
    dhcp: DhcpServer,
    names: NameServer,
    tcp: TcpConnections,
    udp: UdpExchanges,
    seed: u64,
    next_flow: u64,
    now_ns: u64,
    next_sweep_ns: u64,
}

impl Gateway {
    /// A gateway without connections. `seed`, a random number, makes its TCP sequence numbers hard to guess.
    pub fn new(flows: Box<dyn FlowBackend>, resolver: Box<dyn NameResolver>, seed: u64) -> Self {
        let mut link = Link::default();
        let tcp = TcpConnections::new(&mut link, seed);
        Self {
            flows,
            resolver,
            link,
            dhcp: DhcpServer::default(),
            names: NameServer::default(),
            tcp,
            udp: UdpExchanges::default(),
            seed,
            next_flow: 0,
            now_ns: 0,
            next_sweep_ns: SWEEP_NS,
        }
    }

    /// TCP connections and UDP exchanges that are open or being opened.
    pub fn open_flows(&self) -> usize {
        self.tcp.len() + self.udp.len()
    }

    /// `segment`: how the guest wants a large TCP segment to be cut.
    fn receive_packet(&mut self, packet: &Packet<'_>, segment: Option<Segmentation>) {
        if let IpAddr::V4(peer) = packet.destination
            && subnet::is_peer(peer)
            && let Some(own) = self.flows.peer_address()
        {
            return self.send_to_peer(packet, own, segment);
        }
        match packet.protocol {
            IpProtocol::Udp => {
                if let Some(datagram) = Datagram::parse(packet.source, packet.destination, packet.payload) {
                    self.receive_datagram(&datagram, packet);
                }
            }
            // Before it has an address, and to all of a group, the guest asks for neighbours and routers.
            IpProtocol::Icmpv6 => {
                if let Some(answer) = ipv6::answer(packet) {
                    self.link.send(&answer);
                }
            }
            // Only DHCP speaks before it has an address, and only UDP to everybody.
            _ if packet.source.is_unspecified() || is_for_many(packet.destination) => {}
            IpProtocol::Tcp => {
                let flow = FlowId(self.next_flow);
                let mut around =
                    Surroundings { link: &mut self.link, flows: self.flows.as_mut(), now_ns: self.now_ns };
                let (resolver, has_services) = (self.resolver.as_ref(), around.flows.has_services());
                let destination = |to: SocketAddr| {
                    let to = subnet::meant(to)?;
                    match (to.ip(), to.port()) {
                        (IpAddr::V4(subnet::GATEWAY), dns::PORT) => {
                            resolver.stream_server().map(SocketAddr::V4)
                        }
                        (IpAddr::V4(subnet::SERVICES), _) if has_services => Some(to),
                        _ => outside(to),
                    }
                };
                if self.tcp.receive(packet, flow, destination, &mut around) {
                    self.next_flow += 1;
                }
            }
            IpProtocol::Icmp => {
                if let Some(answer) = icmp::answer(packet) {
                    self.link.send(&answer);
                }
            }
            // Headers that IPv6 puts between, before what an address or a fragment is about.
            _ if packet.source.is_ipv6() => {}
            _ => self.send_unreachable(packet, Unreachable::Protocol),
        }
    }

    fn send_to_peer(&mut self, packet: &Packet<'_>, own: Ipv4Addr, segment: Option<Segmentation>) {
        if self.dhcp.guest().map(IpAddr::V4) != Some(packet.source) || packet.destination == own {
            return self.send_unreachable(packet, Unreachable::Host);
        }
        for packet in peers::leaving(packet.bytes, own, segment) {
            self.flows.send_to_peer(packet);
        }
    }

    fn receive_from_peers(&mut self) {
        while self.link.has_room()
            && let Some(packet) = self.flows.next_from_peers()
        {
            let addresses = self.flows.peer_address().zip(self.dhcp.guest());
            if let Some((own, guest)) = addresses
                && let Some(packet) = peers::arriving(packet, own, guest)
            {
                self.link.send(&packet);
            }
        }
    }

    fn receive_datagram(&mut self, datagram: &Datagram<'_>, packet: &Packet<'_>) {
        let destination = datagram.destination;
        let meant = subnet::meant(destination);
        let is_to_us = meant.map(|to| to.ip()) == Some(subnet::GATEWAY.into());
        let is_for_many = is_for_many(destination.ip());
        if destination.is_ipv4() && destination.port() == dhcp::SERVER_PORT && (is_to_us || is_for_many) {
            if let Some((to, answer)) = self.dhcp.answer(datagram.payload) {
                let from = SocketAddrV4::new(subnet::GATEWAY, dhcp::SERVER_PORT);
                self.link.send(&datagram::packet(from, to, &answer));
                // A guest that only listens is not heard of in any other way.
                for (address, hardware) in self.dhcp.taken() {
                    self.link.learn(address.into(), hardware);
                }
            }
            return;
        }
        if packet.source.is_unspecified() || is_for_many {
            return;
        }
        if is_to_us && destination.port() == dns::PORT {
            let resolver = self.resolver.as_mut();
            // The answer comes from where the question went.
            let asker = Asker { address: datagram.source, asked: destination };
            let answer = self.names.answer(asker, datagram.payload, self.now_ns, resolver);
            if let Some(answer) = answer {
                self.send_answer(asker, &answer);
            }
            return;
        }
        let Some(destination) = meant.and_then(outside).filter(|to| to.port() != 0) else {
            return self.send_unreachable(packet, Unreachable::Port);
        };
        let flow = FlowId(self.next_flow);
        if self.udp.receive(datagram, flow, destination, self.flows.as_mut(), self.now_ns) {
            self.next_flow += 1;
        }
    }

    fn send_unreachable(&mut self, packet: &Packet<'_>, reason: Unreachable) {
        let news = match (packet.source, reason) {
            (IpAddr::V4(_), reason) => icmp::unreachable(packet.bytes, reason.of_ipv4()),
            (IpAddr::V6(_), _) => ipv6::unreachable(packet.bytes, Icmpv6DstUnreachable::PortUnreachable),
        };
        if let Some(news) = news {
            self.link.send(&news);
        }
    }

    /// Sends an answer of the name server; one that is too long is cut, with the mark that it is.
    fn send_answer(&mut self, asker: Asker, answer: &[u8]) {
        let fitting = dns::fit(answer, datagram::max_payload(asker.asked.ip()));
        self.link.send(&datagram::packet(asker.asked, asker.address, &fitting));
    }

    fn take_events(&mut self) {
        while let Some(event) = self.flows.next_event() {
            let mut around =
                Surroundings { link: &mut self.link, flows: self.flows.as_mut(), now_ns: self.now_ns };
            match event {
                FlowEvent::Opened(flow) if self.udp.contains(flow) => self.udp.opened(flow, around.flows),
                FlowEvent::Opened(flow) if self.tcp.contains(flow) => self.tcp.opened(flow, &mut around),
                // The guest has taken its wish back meanwhile.
                FlowEvent::Opened(flow) => around.flows.close(flow, true),
                FlowEvent::Failed(flow, error) if self.udp.contains(flow) => {
                    self.udp.failed(flow, error, around.link);
                }
                FlowEvent::Failed(flow, error) => self.tcp.failed(flow, error, &mut around),
                FlowEvent::Readable(flow) if self.udp.contains(flow) => {
                    self.udp.readable(flow, around.link, around.flows, self.now_ns);
                }
                FlowEvent::Readable(flow) | FlowEvent::Writable(flow) => {
                    self.tcp.advance(flow, None, &mut around);
                }
                FlowEvent::Incoming(flow, port) => {
                    self.tcp.incoming(flow, self.dhcp.guest(), port, &mut around);
                }
            }
        }
        while let Some((asker, answer)) = self.names.next_answer(self.resolver.as_mut()) {
            self.send_answer(asker, &answer);
        }
    }
}

/// Why a packet of the guest goes nowhere.
enum Unreachable {
    Protocol,
    Port,
    Host,
}

impl Unreachable {
    fn of_ipv4(self) -> Icmpv4DstUnreachable {
        match self {
            Self::Protocol => Icmpv4DstUnreachable::ProtoUnreachable,
            Self::Port => Icmpv4DstUnreachable::PortUnreachable,
            Self::Host => Icmpv4DstUnreachable::HostUnreachable,
        }
    }
}

/// Where a connection to this address goes outside; `None` when nothing is there.
fn outside(destination: SocketAddr) -> Option<SocketAddr> {
    match destination.ip() {
        IpAddr::V4(subnet::HOST) => Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), destination.port())),
        IpAddr::V4(address) => (!subnet::contains(address)).then_some(destination),
        IpAddr::V6(_) => Some(destination),
    }
}

/// Whether a packet to `address` is for more than one.
fn is_for_many(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_broadcast() || address == subnet::address(255),
        IpAddr::V6(address) => address.is_multicast(),
    }
}

impl NetBackend for Gateway {
    fn guest_address(&self) -> [u8; 6] {
        subnet::GUEST_HARDWARE
    }

    fn finishes_frames(&self) -> bool {
        true
    }

    fn set_accepted(&mut self, accepted: Acceptance) {
        self.tcp.abandon(self.flows.as_mut());
        self.udp.abandon(self.flows.as_mut());
        self.link.restart(accepted);
        self.seed = self.seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        self.tcp = TcpConnections::new(&mut self.link, self.seed);
        self.dhcp = DhcpServer::default();
        self.names = NameServer::default();
    }

    fn guest_returned(&mut self) {
        self.dhcp = DhcpServer::with_guest();
        for (address, hardware) in self.dhcp.taken() {
            self.link.learn(address.into(), hardware);
        }
        // It may have asked for routers where there was none.
        self.link.send(&ipv6::advertisement());
    }

    fn send(&mut self, frame: Frame<&[u8]>) {
        // Checksums are not verified, and segments of any size are taken: nothing is left to finish.
        if let Some(packet) = self.link.open(frame.bytes) {
            self.receive_packet(&packet, frame.offload.segment);
        }
    }

    fn receive(&mut self) -> Option<Frame<Vec<u8>>> {
        self.link.pop()
    }

    fn advance_to(&mut self, now_ns: u64) -> Option<u64> {
        self.now_ns = self.now_ns.max(now_ns);
        self.take_events();
        if now_ns >= self.next_sweep_ns {
            self.next_sweep_ns = now_ns.saturating_add(SWEEP_NS);
            self.names.forget_old(now_ns);
            self.udp.forget_silent(self.flows.as_mut(), now_ns);
        }
        if self.link.has_room() {
            self.udp.resume(&mut self.link, self.flows.as_mut(), now_ns);
            let mut around =
                Surroundings { link: &mut self.link, flows: self.flows.as_mut(), now_ns: self.now_ns };
            self.tcp.run_due(&mut around);
            self.receive_from_peers();
        }
        // With a full link, the guest's taking of frames is what comes next.
        let due_ns = if self.link.has_room() { self.tcp.next_due_ns() } else { None };
        let sweep_ns = (self.open_flows() > 0).then_some(self.next_sweep_ns);
        let next_ns = [due_ns, sweep_ns].into_iter().flatten().min()?;
        Some(next_ns.max(now_ns.saturating_add(SHORTEST_WAIT_NS)))
    }
}
