//! What carries the guest's connections on, outside the gateway.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::task::Poll;

/// One connection, or one exchange of datagrams, between the guest and an address outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowId(pub u64);

impl FlowId {
    /// The first number of the flows that the outside opens; the gateway's own are below it.
    pub const FIRST_INCOMING: u64 = 1 << 62;
}

/// What a flow carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A stream of bytes each way.
    Tcp,
    /// Datagrams, each of which may be lost.
    Udp,
}

/// Why a flow could not begin or go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// The policy does not allow this destination.
    #[error("the policy does not allow this destination")]
    Forbidden,
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// The other end, or something on the way, ended the connection.
    #[error("connection reset")]
    Reset,
    /// There is no way to the destination, or no answer from it.
    #[error("destination unreachable")]
    Unreachable,
    /// There are too many flows.
    #[error("too many connections")]
    TooMany,
}

/// What has happened to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowEvent {
    /// [`FlowBackend::open`] has succeeded.
    Opened(FlowId),
    /// The flow cannot begin or go on; the backend has forgotten it.
    Failed(FlowId, FlowError),
    /// [`FlowBackend::receive`] may have something after it had nothing.
    Readable(FlowId),
    /// [`FlowBackend::send`] may have room after it had none.
    Writable(FlowId),
    /// A TCP connection for the guest's port, opened by the outside.
    Incoming(FlowId, u16),
}

/// Opens flows and moves their bytes. Nothing here waits; what must is reported later by an event, and
/// the backend then tells the machine that the network has progressed.
pub trait FlowBackend: Send {
    /// Begins a flow. [`FlowEvent::Opened`] or [`FlowEvent::Failed`] follows.
    fn open(&mut self, flow: FlowId, transport: Transport, destination: SocketAddr);

    /// Whether the backend answers TCP connections to [`subnet::SERVICES`](super::subnet::SERVICES) by itself.
    fn has_services(&self) -> bool {
        false
    }

    /// Takes bytes of a stream and returns how many: fewer than all mean that
    /// [`FlowEvent::Writable`] follows. Takes a datagram whole, or loses it.
    ///
    /// # Errors
    /// When the flow has ended; the backend has then forgotten it.
    fn send(&mut self, flow: FlowId, data: &[u8]) -> Result<usize, FlowError>;

    /// Puts bytes of a stream, or one datagram, into `buffer` and returns how many; none of a stream are its
    /// end. `Pending` means that [`FlowEvent::Readable`] follows.
    ///
    /// # Errors
    /// When the flow has ended badly; the backend has then forgotten it.
    fn receive(&mut self, flow: FlowId, buffer: &mut [u8]) -> Poll<Result<usize, FlowError>>;

    /// The guest has sent all of its stream; the other direction goes on.
    fn finish(&mut self, flow: FlowId);

    /// Ends a flow and forgets it. With `is_reset`, the other end learns that it did not end well.
    fn close(&mut self, flow: FlowId, is_reset: bool);

    /// The oldest event that was not fetched yet.
    fn next_event(&mut self) -> Option<FlowEvent>;

    /// The machine's address among its peers, if it has any.
    fn peer_address(&self) -> Option<Ipv4Addr> {
        None
    }

    /// Sends a whole IPv4 packet to the peer that has its destination, or loses it.
    fn send_to_peer(&mut self, _packet: Vec<u8>) {}

    /// The next packet of a peer, which may be anything.
    fn next_from_peers(&mut self) -> Option<Vec<u8>> {
        None
    }
}

/// A question to the outside's name servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueryId(pub u64);

/// Answers DNS queries for names that are not the gateway's own.
pub trait NameResolver: Send {
    /// Asks `query`, a whole DNS message. One without an answer in time is forgotten by both sides.
    fn ask(&mut self, id: QueryId, query: &[u8]);

    /// The name server that takes questions over TCP, where answers too long for a datagram are asked for.
    /// The flow backend must let the guest connect to it.
    fn stream_server(&self) -> Option<SocketAddrV4>;

    /// The next answer: a whole DNS message, or `None` when the question cannot be answered.
    fn next_answer(&mut self) -> Option<(QueryId, Option<Vec<u8>>)>;
}
