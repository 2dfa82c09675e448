//! Flows as sockets of this computer.

use super::poller::{Poller, Readiness};
use super::{HostNetworkError, Published};
use crate::net::{FlowBackend, FlowError, FlowEvent, FlowId, Policy, Transport};
use mio::net::{TcpListener, TcpStream, UdpSocket};
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

enum Socket {
    Connecting(TcpStream),
    Stream(TcpStream),
    Datagrams(UdpSocket),
}

struct Listener {
    socket: TcpListener,
    guest_port: u16,
}

/// Opens flows as sockets.
pub(super) struct HostFlows {
    // Sockets are closed before the poller that watches them.
    sockets: BTreeMap<FlowId, Socket>,
    listeners: Vec<Listener>,
    /// Listeners that may have more connections than were accepted.
    waiting_listeners: Vec<usize>,
    events: VecDeque<FlowEvent>,
    policy: Policy,
    /// The name server, which the guest may ask over TCP wherever it is.
    name_server: Option<SocketAddr>,
    next_incoming: u64,
    poller: Arc<Poller>,
}

fn flow_error(error: &io::Error) -> FlowError {
    match error.kind() {
        ErrorKind::ConnectionRefused => FlowError::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => FlowError::Reset,
        _ if is_out_of_descriptors(error) => FlowError::TooMany,
        _ => FlowError::Unreachable,
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS))
}

impl HostFlows {
    pub fn new(poller: Arc<Poller>, policy: Policy, name_server: Option<SocketAddr>) -> Self {
        Self {
            sockets: BTreeMap::new(),
            listeners: Vec::new(),
            waiting_listeners: Vec::new(),
            events: VecDeque::new(),
            policy,
            name_server,
            next_incoming: FlowId::FIRST_INCOMING,
            poller,
        }
    }

    /// Listens on a port of 127.0.0.1 for the guest; its address.
    pub fn publish(&mut self, published: Published) -> Result<SocketAddr, HostNetworkError> {
        let port = published.host_port;
        let listen = |source| HostNetworkError::Listen { port, source };
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut socket = TcpListener::bind(address).map_err(listen)?;
        let address = socket.local_addr().map_err(listen)?;
        let token = Poller::LAST_LISTENER - self.listeners.len();
        self.poller.watch_incoming(&mut socket, token).map_err(listen)?;
        self.listeners.push(Listener { socket, guest_port: published.guest_port });
        Ok(address)
    }

    fn open_socket(&mut self, flow: FlowId, transport: Transport, destination: SocketAddr) -> io::Result<()> {
        // Numbers of flows are counted from 0 and from 2^62; this program runs where they are tokens as well.
        let token = flow.0 as usize;
        let socket = match transport {
            Transport::Tcp => {
                let mut stream = TcpStream::connect(destination)?;
                self.poller.watch(&mut stream, token)?;
                Socket::Connecting(stream)
            }
            Transport::Udp => {
                let mut datagrams = UdpSocket::bind(unspecified(destination))?;
                datagrams.connect(destination)?;
                self.poller.watch(&mut datagrams, token)?;
                self.events.push_back(FlowEvent::Opened(flow));
                Socket::Datagrams(datagrams)
            }
        };
        self.sockets.insert(flow, socket);
        Ok(())
    }

    fn note_readiness(&mut self, token: usize, ready: Readiness) {
        if (Poller::FIRST_LISTENER..=Poller::LAST_LISTENER).contains(&token) {
            self.waiting_listeners.push(Poller::LAST_LISTENER - token);
            return;
        }
        let flow = FlowId(token as u64);
        match self.sockets.remove(&flow) {
            Some(Socket::Connecting(stream)) => match has_connected(&stream) {
                Ok(true) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        log::debug!("flow {}: no TCP_NODELAY: {error}", flow.0);
                    }
                    self.sockets.insert(flow, Socket::Stream(stream));
                    self.events.push_back(FlowEvent::Opened(flow));
                }
                Ok(false) => {
                    self.sockets.insert(flow, Socket::Connecting(stream));
                }
                Err(error) => self.events.push_back(FlowEvent::Failed(flow, flow_error(&error))),
            },
            Some(socket) => {
                self.sockets.insert(flow, socket);
                if ready.is_readable {
                    self.events.push_back(FlowEvent::Readable(flow));
                }
                if ready.is_writable {
                    self.events.push_back(FlowEvent::Writable(flow));
                }
            }
            // It was closed meanwhile.
            None => {}
        }
    }

    /// Accepts one connection of a listener that has one.
    fn accept(&mut self) -> Option<FlowEvent> {
        while let Some(index) = self.waiting_listeners.pop() {
            let Some(listener) = self.listeners.get(index) else { continue };
            match listener.socket.accept() {
                Ok((mut stream, _)) => {
                    self.waiting_listeners.push(index);
                    let flow = FlowId(self.next_incoming);
                    self.next_incoming += 1;
                    let watched = stream
                        .set_nodelay(true)
                        .and_then(|()| self.poller.watch(&mut stream, flow.0 as usize));
                    if let Err(error) = watched {
                        log::warn!("a connection to a published port is lost: {error}");
                        continue;
                    }
                    self.sockets.insert(flow, Socket::Stream(stream));
                    return Some(FlowEvent::Incoming(flow, listener.guest_port));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // Its client has gone; there may be others.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {
                    self.waiting_listeners.push(index)
                }
                Err(error) => log::warn!("a connection to a published port is lost: {error}"),
            }
        }
        None
    }

    /// The outcome of an operation on a socket; one that failed is forgotten.
    fn settle<T>(&mut self, flow: FlowId, outcome: io::Result<T>) -> Poll<Result<T, FlowError>> {
        match outcome {
            Ok(value) => Poll::Ready(Ok(value)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => {
                self.sockets.remove(&flow);
                Poll::Ready(Err(flow_error(&error)))
            }
        }
    }
}

/// Whether a connection is there by now.
fn has_connected(stream: &TcpStream) -> io::Result<bool> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Any address of this computer of the version of `destination`.
fn unspecified(destination: SocketAddr) -> SocketAddr {
    let address = match destination {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    SocketAddr::new(address, 0)
}

/// Repeats what a signal interrupted.
fn uninterrupted<T>(mut operation: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

impl FlowBackend for HostFlows {
    fn open(&mut self, flow: FlowId, transport: Transport, destination: SocketAddr) {
        let is_name_server = transport == Transport::Tcp && self.name_server == Some(destination);
        if !is_name_server && !self.policy.permits(destination) {
            log::info!(
                "the guest may not connect to {destination}: --net-allow {destination} would allow it"
            );
            self.events.push_back(FlowEvent::Failed(flow, FlowError::Forbidden));
        } else if let Err(error) = self.open_socket(flow, transport, destination) {
            self.events.push_back(FlowEvent::Failed(flow, flow_error(&error)));
        }
    }

    fn send(&mut self, flow: FlowId, data: &[u8]) -> Result<usize, FlowError> {
        let outcome = match self.sockets.get_mut(&flow) {
            Some(Socket::Stream(stream)) => uninterrupted(|| stream.write(data)),
            Some(Socket::Datagrams(socket)) => {
                // A datagram that the host has no room for is lost, as on any network.
                let lost = |error: io::Error| match error.kind() {
                    ErrorKind::WouldBlock => Ok(data.len()),
                    _ => Err(error),
                };
                uninterrupted(|| socket.send(data)).or_else(lost)
            }
            Some(Socket::Connecting(_)) => return Ok(0),
            None => return Err(FlowError::Reset),
        };
        match self.settle(flow, outcome) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Ok(0),
        }
    }

    fn receive(&mut self, flow: FlowId, buffer: &mut [u8]) -> Poll<Result<usize, FlowError>> {
        let outcome = match self.sockets.get_mut(&flow) {
            Some(Socket::Stream(stream)) => uninterrupted(|| stream.read(buffer)),
            Some(Socket::Datagrams(socket)) => uninterrupted(|| socket.recv(buffer)),
            Some(Socket::Connecting(_)) => return Poll::Pending,
            None => return Poll::Ready(Err(FlowError::Reset)),
        };
        self.settle(flow, outcome)
    }

    fn finish(&mut self, flow: FlowId) {
        if let Some(Socket::Stream(stream)) = self.sockets.get(&flow)
            && let Err(error) = stream.shutdown(Shutdown::Write)
        {
            log::debug!("flow {}: {error}", flow.0);
        }
    }

    fn close(&mut self, flow: FlowId, is_reset: bool) {
        if let Some(Socket::Stream(stream)) = self.sockets.remove(&flow)
            && is_reset
            // Closing without lingering sends RST.
            && let Err(error) = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
        {
            log::debug!("flow {}: {error}", flow.0);
        }
    }

    fn next_event(&mut self) -> Option<FlowEvent> {
        if self.events.is_empty() {
            for (token, ready) in self.poller.take_ready() {
                self.note_readiness(token, ready);
            }
        }
        self.events.pop_front().or_else(|| self.accept())
    }
}
