//! TCP connections of the guest, each joined to a flow outside.
//!
//! ```text
//! guest: SYN ──> Opening: the flow is opened; the SYN waits
//!                   │ opened                       │ failed
//!                   v                              v
//!        SYN, ACK: Joined, bytes move both ways   RST
//!                   │ one side ends its stream: so does the other's half
//!                   │ both have ended, or one is reset: so is the other
//!                   v
//!                forgotten
//! ```
//!
//! Every connection has a socket set of its own, so that a packet or a timer costs the same with one
//! connection as with thousands. A stream is only taken from one side while the other has room, so that
//! each side's window holds back its sender.

use super::cable::Cable;
use super::flow::{FlowBackend, FlowError, FlowId, Transport};
use super::link::{Link, Packet};
use super::subnet;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpCidr, IpListenEndpoint, Ipv4Cidr, Ipv6Cidr, TcpPacket};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::Poll;

/// Most connections at a time; further ones are refused. With [`BUFFERS_MANY`] they take some 130 MB.
const MAX_FLOWS: usize = 4096;
/// Bytes of the buffers from and to the guest of a connection. A round trip through a busy guest takes
/// milliseconds, and these hold what 200 Mbit/s send in ten.
const BUFFERS_FEW: (usize, usize) = (128 << 10, 256 << 10);
/// The same once there are more than [`FEW`] connections.
const BUFFERS_MANY: (usize, usize) = (16 << 10, 16 << 10);
const FEW: usize = 64;

/// How long a guest may leave a segment or a keep-alive without an answer.
const TIMEOUT: Duration = Duration::from_secs(120);
/// How often a silent guest is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Ports from which connections come into the guest.
const INCOMING_PORTS: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ends {
    guest: SocketAddr,
    outside: SocketAddr,
}

enum Stage {
    /// The outside is asked; the guest's SYN waits.
    Opening { syn: Vec<u8> },
    /// Both ends are there.
    Joined(Box<Joined>),
}

/// A connection with a socket.
struct Joined {
    sockets: SocketSet<'static>,
    socket: SocketHandle,
    has_guest_finished: bool,
    has_outside_finished: bool,
    /// Whether the outside has forgotten the flow.
    is_outside_gone: bool,
}

struct Connection {
    ends: Ends,
    stage: Stage,
    due: Option<Instant>,
}

/// What connections need besides themselves.
pub struct Surroundings<'a> {
    /// The cable to the guest.
    pub link: &'a mut Link,
    /// The outside.
    pub flows: &'a mut dyn FlowBackend,
    /// Nanoseconds of the machine's clock.
    pub now_ns: u64,
}

impl Surroundings<'_> {
    fn now(&self) -> Instant {
        Instant::from_micros((self.now_ns / 1000) as i64)
    }
}

/// The TCP connections of the guest.
pub struct TcpConnections {
    interface: Interface,
    connections: BTreeMap<FlowId, Connection>,
    by_ends: BTreeMap<Ends, FlowId>,
    due: BTreeSet<(Instant, FlowId)>,
    next_port: u16,
}

impl TcpConnections {
    /// No connections yet, on a link whose guest is known. `seed` makes sequence numbers hard to guess.
    pub fn new(link: &mut Link, seed: u64) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut Cable { incoming: None, link }, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let own = [
                IpCidr::Ipv4(Ipv4Cidr::new(subnet::GATEWAY, subnet::PREFIX_BITS)),
                IpCidr::Ipv6(Ipv6Cidr::new(subnet::GATEWAY_V6, subnet::PREFIX_BITS_V6)),
            ];
            for address in own {
                if addresses.push(address).is_err() {
                    log::error!("the gateway's TCP has no room for its address {address}");
                }
            }
        });
        interface.set_any_ip(true);
        Self {
            interface,
            connections: BTreeMap::new(),
            by_ends: BTreeMap::new(),
            due: BTreeSet::new(),
            next_port: *INCOMING_PORTS.start(),
        }
    }

    /// Connections that are open or being opened.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether `flow` is one of these.
    pub fn contains(&self, flow: FlowId) -> bool {
        self.connections.contains_key(&flow)
    }

    /// Takes a packet of the guest. `new_flow` is the name of the flow that it may begin, to `destination`.
    ///
    /// Returns whether it has begun one.
    pub fn receive(
        &mut self,
        packet: &Packet<'_>,
        new_flow: FlowId,
        destination: impl FnOnce(SocketAddr) -> Option<SocketAddr>,
        around: &mut Surroundings<'_>,
    ) -> bool {
        let Ok(segment) = TcpPacket::new_checked(packet.payload) else { return false };
        if segment.src_port() == 0 || segment.dst_port() == 0 {
            return false;
        }
        let ends = Ends {
            guest: SocketAddr::new(packet.source, segment.src_port()),
            outside: SocketAddr::new(packet.destination, segment.dst_port()),
        };
        if let Some(flow) = self.by_ends.get(&ends).copied() {
            self.receive_known(flow, packet.bytes, segment.rst(), around);
            return false;
        }
        let is_opening = segment.syn() && !segment.ack() && !segment.rst();
        let destination = if is_opening { destination(ends.outside) } else { None };
        match destination {
            Some(destination) if self.connections.len() < MAX_FLOWS => {
                let stage = Stage::Opening { syn: packet.bytes.to_vec() };
                self.insert(new_flow, Connection { ends, stage, due: None });
                around.flows.open(new_flow, Transport::Tcp, destination);
                true
            }
            _ => {
                self.refuse(packet.bytes, around);
                false
            }
        }
    }

    fn receive_known(&mut self, flow: FlowId, bytes: &[u8], is_reset: bool, around: &mut Surroundings<'_>) {
        let Some(connection) = self.connections.get_mut(&flow) else { return };
        match &connection.stage {
            Stage::Opening { .. } if is_reset => {
                around.flows.close(flow, true);
                self.remove(flow);
            }
            // The guest repeats its SYN, which waits already.
            Stage::Opening { .. } => {}
            Stage::Joined(_) => self.advance(flow, Some(bytes), around),
        }
    }

    /// Lets the stack answer a packet that belongs to no connection.
    fn refuse(&mut self, packet: &[u8], around: &mut Surroundings<'_>) {
        let now = around.now();
        let mut cable = Cable { incoming: Some(packet), link: around.link };
        self.interface.poll(now, &mut cable, &mut SocketSet::new([]));
    }

    /// The outside has opened `flow`: the guest's connection is accepted.
    pub fn opened(&mut self, flow: FlowId, around: &mut Surroundings<'_>) {
        let Some(connection) = self.connections.get_mut(&flow) else { return };
        let Stage::Opening { syn } = &mut connection.stage else { return };
        let syn = std::mem::take(syn);
        let (address, port) = (connection.ends.outside.ip(), connection.ends.outside.port());
        let endpoint = IpListenEndpoint { addr: Some(address.into()), port };
        let mut socket = new_socket(self.by_ends.len());
        if let Err(error) = socket.listen(endpoint) {
            log::error!("a connection to {address}:{port} cannot be accepted: {error}");
            around.flows.close(flow, true);
            self.remove(flow);
            return self.refuse(&syn, around);
        }
        connection.stage = Stage::Joined(Box::new(Joined::new(socket)));
        self.advance(flow, Some(&syn), around);
    }

    /// The outside cannot open or go on with `flow`, and has forgotten it.
    pub fn failed(&mut self, flow: FlowId, error: FlowError, around: &mut Surroundings<'_>) {
        let Some(connection) = self.connections.get_mut(&flow) else { return };
        log::debug!("the connection {} to {}: {error}", connection.ends.guest, connection.ends.outside);
        match &mut connection.stage {
            Stage::Opening { syn } => {
                let syn = std::mem::take(syn);
                self.remove(flow);
                self.refuse(&syn, around);
            }
            Stage::Joined(joined) => {
                joined.is_outside_gone = true;
                joined.sockets.get_mut::<Socket<'static>>(joined.socket).abort();
                self.advance(flow, None, around);
            }
        }
    }

    /// Connects the outside's `flow` to a port of the guest.
    pub fn incoming(
        &mut self,
        flow: FlowId,
        guest: Option<Ipv4Addr>,
        port: u16,
        around: &mut Surroundings<'_>,
    ) {
        let connected = guest.filter(|_| self.connections.len() < MAX_FLOWS).and_then(|address| {
            let guest = SocketAddrV4::new(address, port);
            let outside = SocketAddrV4::new(subnet::HOST, self.free_port(guest)?);
            let ends = Ends { guest: guest.into(), outside: outside.into() };
            let mut socket = new_socket(self.connections.len());
            let local = (*outside.ip(), outside.port());
            socket.connect(self.interface.context(), (address, port), local).ok()?;
            Some(Connection { ends, stage: Stage::Joined(Box::new(Joined::new(socket))), due: None })
        });
        match connected {
            Some(connection) => {
                self.insert(flow, connection);
                self.advance(flow, None, around);
            }
            None => around.flows.close(flow, true),
        }
    }

    fn free_port(&mut self, guest: SocketAddrV4) -> Option<u16> {
        for _ in INCOMING_PORTS {
            let port = self.next_port;
            self.next_port = if port == *INCOMING_PORTS.end() { *INCOMING_PORTS.start() } else { port + 1 };
            let outside = SocketAddrV4::new(subnet::HOST, port).into();
            let ends = Ends { guest: guest.into(), outside };
            if !self.by_ends.contains_key(&ends) {
                return Some(port);
            }
        }
        None
    }

    /// Goes on with the connections whose time has come, while the guest takes packets.
    pub fn run_due(&mut self, around: &mut Surroundings<'_>) {
        let now = around.now();
        // Each once: one that is due at once again is looked at in the next call.
        let due: Vec<FlowId> =
            self.due.iter().take_while(|(due, _)| *due <= now).map(|(_, flow)| *flow).collect();
        for flow in due {
            if !around.link.has_room() {
                return;
            }
            self.advance(flow, None, around);
        }
    }

    /// When a connection is due next, in nanoseconds of the machine's clock.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.due.first().map(|(due, _)| due.total_micros().max(0) as u64 * 1000)
    }

    /// Takes `packet` in if there is one, and moves what can move.
    pub fn advance(&mut self, flow: FlowId, packet: Option<&[u8]>, around: &mut Surroundings<'_>) {
        let now = around.now();
        let Some(connection) = self.connections.get_mut(&flow) else { return };
        let Stage::Joined(joined) = &mut connection.stage else { return };
        let mut incoming = packet;
        loop {
            let mut cable = Cable { incoming: incoming.take(), link: around.link };
            self.interface.poll(now, &mut cable, &mut joined.sockets);
            if !joined.move_bytes(flow, around.flows) || !around.link.has_room() {
                break;
            }
        }
        let state = joined.sockets.get::<Socket<'static>>(joined.socket).state();
        // A listener is what a connection becomes again whose guest took its SYN back.
        if matches!(state, State::Closed | State::TimeWait | State::Listen) {
            if !joined.is_outside_gone {
                let has_ended_well = joined.has_guest_finished && joined.has_outside_finished;
                around.flows.close(flow, !has_ended_well);
            }
            return self.remove(flow);
        }
        let due = self.interface.poll_at(now, &joined.sockets);
        if due != connection.due {
            if let Some(before) = std::mem::replace(&mut connection.due, due) {
                self.due.remove(&(before, flow));
            }
            self.due.extend(due.map(|due| (due, flow)));
        }
    }

    fn insert(&mut self, flow: FlowId, connection: Connection) {
        self.by_ends.insert(connection.ends, flow);
        self.connections.insert(flow, connection);
    }

    fn remove(&mut self, flow: FlowId) {
        if let Some(connection) = self.connections.remove(&flow) {
            self.by_ends.remove(&connection.ends);
            if let Some(due) = connection.due {
                self.due.remove(&(due, flow));
            }
        }
    }

    /// Ends all flows outside: the guest has forgotten its connections.
    pub fn abandon(&mut self, flows: &mut dyn FlowBackend) {
        for (flow, connection) in std::mem::take(&mut self.connections) {
            let is_outside_gone =
                matches!(&connection.stage, Stage::Joined(joined) if joined.is_outside_gone);
            if !is_outside_gone {
                flows.close(flow, true);
            }
        }
        self.by_ends.clear();
        self.due.clear();
    }
}

fn new_socket(connections: usize) -> Socket<'static> {
    let (receive, send) = if connections <= FEW { BUFFERS_FEW } else { BUFFERS_MANY };
    let mut socket = Socket::new(SocketBuffer::new(vec![0; receive]), SocketBuffer::new(vec![0; send]));
    // The cable loses nothing, delays nothing and has no other users.
    socket.set_congestion_control(CongestionControl::None);
    socket.set_nagle_enabled(false);
    socket.set_ack_delay(None);
    socket.set_timeout(Some(TIMEOUT));
    socket.set_keep_alive(Some(KEEP_ALIVE));
    socket
}

impl Joined {
    fn new(socket: Socket<'static>) -> Self {
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let socket = sockets.add(socket);
        Self {
            sockets,
            socket,
            has_guest_finished: false,
            has_outside_finished: false,
            is_outside_gone: false,
        }
    }

    /// Moves bytes and ends of streams both ways; whether anything has moved.
    fn move_bytes(&mut self, flow: FlowId, flows: &mut dyn FlowBackend) -> bool {
        let socket = self.sockets.get_mut::<Socket<'static>>(self.socket);
        if self.is_outside_gone {
            return false;
        }
        match Self::to_outside(socket, flow, flows, &mut self.has_guest_finished).and_then(|has_sent| {
            let has_received = Self::to_guest(socket, flow, flows, &mut self.has_outside_finished)?;
            Ok(has_sent || has_received)
        }) {
            Ok(has_moved) => has_moved,
            Err(error) => {
                log::debug!("flow {}: {error}", flow.0);
                self.is_outside_gone = true;
                socket.abort();
                true
            }
        }
    }

    fn to_outside(
        socket: &mut Socket<'static>,
        flow: FlowId,
        flows: &mut dyn FlowBackend,
        has_finished: &mut bool,
    ) -> Result<bool, FlowError> {
        let mut has_moved = false;
        while socket.can_recv() {
            let moved = socket.recv(|data| {
                let moved = flows.send(flow, data).map(|count| count.min(data.len()));
                (*moved.as_ref().unwrap_or(&0), moved)
            });
            // Without an error of the socket, which can receive, there is one of the flow or none.
            match moved.unwrap_or(Ok(0))? {
                0 => break,
                _ => has_moved = true,
            }
        }
        let has_stream_ended =
            matches!(socket.state(), State::CloseWait | State::Closing | State::LastAck | State::TimeWait);
        if has_stream_ended && !socket.can_recv() && !*has_finished {
            *has_finished = true;
            flows.finish(flow);
        }
        Ok(has_moved)
    }

    fn to_guest(
        socket: &mut Socket<'static>,
        flow: FlowId,
        flows: &mut dyn FlowBackend,
        has_finished: &mut bool,
    ) -> Result<bool, FlowError> {
        let mut has_moved = false;
        while socket.can_send() && !*has_finished {
            let moved = socket.send(|room| match flows.receive(flow, room) {
                Poll::Ready(Ok(count)) => (count.min(room.len()), Poll::Ready(Ok(count))),
                other => (0, other),
            });
            match moved.unwrap_or(Poll::Pending) {
                Poll::Ready(Ok(0)) => {
                    *has_finished = true;
                    has_moved = true;
                    socket.close();
                }
                Poll::Ready(Ok(_)) => has_moved = true,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        Ok(has_moved)
    }
}
