//! Flows that another thread carries: a browser's worker, which alone may open sockets there.
//!
//! ```text
//! Gateway ── HandedFlows ────┐            ┌─ Command ─> the thread that carries,
//!         └─ HandedResolver ─┴── State ───┤             woken by a function when there is something
//!                                         └─ FlowCarrier <─ what became of it
//! ```
//!
//! Both sides only ever hold the lock for as long as it takes to move bytes. Each direction of a stream has a
//! window: what is on its way and not yet confirmed never exceeds it by more than one piece.

use super::flow::{FlowBackend, FlowError, FlowEvent, FlowId, NameResolver, QueryId, Transport};
use super::policy::Policy;
use super::subnet;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

/// Largest window of a direction, in bytes: more than any distance needs at the speed of the gateway.
const WINDOW_MOST: usize = 256 << 10;
/// Smallest window, with which thousands of flows go on.
const WINDOW_LEAST: usize = 16 << 10;
/// What all windows of one direction together should not exceed, in bytes.
const WINDOWS_TOGETHER: usize = 64 << 20;
/// Questions and answers that wait; a further one is lost, as it may be on any network.
const MAX_WAITING: usize = 1024;
/// Bytes of packets to peers, and as many from them, that wait; a further one is lost.
const PACKETS_MOST: usize = 1 << 20;

/// What the carrying thread is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Open a flow; [`FlowCarrier::opened`] or [`FlowCarrier::failed`] is the answer.
    Open {
        /// Its name.
        flow: FlowId,
        /// What it carries.
        transport: Transport,
        /// Where to.
        destination: SocketAddr,
    },
    /// Send a piece of a stream, or a datagram; [`FlowCarrier::sent`] makes room for more.
    Send {
        /// The flow.
        flow: FlowId,
        /// What to send.
        bytes: Vec<u8>,
    },
    /// The guest's stream has ended; the other direction goes on.
    Finish(FlowId),
    /// End a flow and forget it.
    Close {
        /// The flow.
        flow: FlowId,
        /// Whether the other end is to learn that it did not end well.
        is_reset: bool,
    },
    /// There is room again after [`FlowCarrier::deliver`] had said that there is none.
    Resume(FlowId),
    /// Ask a name server; [`FlowCarrier::answer`] is the answer.
    Ask {
        /// The question's name.
        id: QueryId,
        /// The question: a whole DNS message.
        query: Vec<u8>,
    },
    /// Bring an IPv4 packet to the peer that has its destination, or lose it.
    Packet(Vec<u8>),
}

struct Flow {
    transport: Transport,
    is_open: bool,
    /// Pieces of a stream, or datagrams, for the guest.
    inbox: VecDeque<Vec<u8>>,
    /// Bytes of the inbox's first piece that the guest has already.
    taken: usize,
    inbox_bytes: usize,
    has_ended: bool,
    error: Option<FlowError>,
    /// Bytes that the carrier has been given and has not confirmed.
    unconfirmed: usize,
    is_reader_waiting: bool,
    is_writer_waiting: bool,
    /// The carrier holds back until there is room.
    is_held: bool,
}

impl Flow {
    fn new(transport: Transport, is_open: bool) -> Self {
        Self {
            transport,
            is_open,
            inbox: VecDeque::new(),
            taken: 0,
            inbox_bytes: 0,
            has_ended: false,
            error: None,
            unconfirmed: 0,
            is_reader_waiting: false,
            is_writer_waiting: false,
            is_held: false,
        }
    }

    /// Takes the next datagram, or as much of the stream as `buffer` has room for; nothing where there is none.
    fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        let mut count = 0;
        while let Some(piece) = self.inbox.front() {
            let rest = piece.get(self.taken..).unwrap_or_default();
            let moved = rest.len().min(buffer.len() - count);
            if let Some(room) = buffer.get_mut(count..count + moved) {
                room.copy_from_slice(rest.get(..moved).unwrap_or_default());
            }
            count += moved;
            let is_datagram = self.transport == Transport::Udp;
            if moved == rest.len() || is_datagram {
                self.inbox_bytes -= rest.len();
                self.taken = 0;
                self.inbox.pop_front();
                if is_datagram {
                    return Some(count);
                }
            } else {
                self.taken += moved;
                self.inbox_bytes -= moved;
                break;
            }
        }
        (count > 0).then_some(count)
    }
}

#[derive(Default)]
struct State {
    flows: BTreeMap<FlowId, Flow>,
    commands: VecDeque<Command>,
    events: VecDeque<FlowEvent>,
    answers: VecDeque<(QueryId, Option<Vec<u8>>)>,
    questions: usize,
    next_incoming: u64,
    peer_address: Option<Ipv4Addr>,
    /// Bytes of the packets among the commands.
    leaving_bytes: usize,
    arriving: VecDeque<Vec<u8>>,
    arriving_bytes: usize,
    /// The carrier was woken and has not fetched its commands yet.
    is_called: bool,
}

impl State {
    fn window(&self) -> usize {
        (WINDOWS_TOGETHER / self.flows.len().max(1)).clamp(WINDOW_LEAST, WINDOW_MOST)
    }
}

type Shared = Arc<Mutex<State>>;

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes the thread that carries; called on the thread of the vCPU.
pub type CallCarrier = Arc<Mutex<dyn FnMut() + Send>>;

/// Makes the three ends of a handover. `name_server` takes questions over TCP whatever the policy says.
pub fn handover(
    policy: Policy,
    name_server: Option<SocketAddrV4>,
    call: CallCarrier,
) -> (HandedFlows, HandedResolver, FlowCarrier) {
    let shared = Shared::default();
    let flows = HandedFlows { shared: shared.clone(), policy, name_server, call: call.clone() };
    let resolver = HandedResolver { shared: shared.clone(), name_server, call };
    (flows, resolver, FlowCarrier(shared))
}

/// Queues a command, and wakes the carrier if it does not know of any yet.
fn command(shared: &Shared, call: &CallCarrier, command: Command) {
    let mut state = lock(shared);
    state.commands.push_back(command);
    if !std::mem::replace(&mut state.is_called, true) {
        drop(state);
        call.lock().unwrap_or_else(PoisonError::into_inner)();
    }
}

/// The gateway's side of flows.
pub struct HandedFlows {
    shared: Shared,
    policy: Policy,
    name_server: Option<SocketAddrV4>,
    call: CallCarrier,
}

impl HandedFlows {
    fn command(&self, wish: Command) {
        command(&self.shared, &self.call, wish);
    }
}

impl FlowBackend for HandedFlows {
    fn open(&mut self, flow: FlowId, transport: Transport, destination: SocketAddr) {
        let is_ours =
            destination.ip() == subnet::SERVICES || self.name_server.map(SocketAddr::V4) == Some(destination);
        let is_permitted = is_ours && transport == Transport::Tcp || self.policy.permits(destination);
        if !is_permitted {
            log::info!("the policy does not let the guest connect to {destination}");
            lock(&self.shared).events.push_back(FlowEvent::Failed(flow, FlowError::Forbidden));
            return;
        }
        lock(&self.shared).flows.insert(flow, Flow::new(transport, false));
        self.command(Command::Open { flow, transport, destination });
    }

    fn has_services(&self) -> bool {
        true
    }

    fn send(&mut self, flow: FlowId, data: &[u8]) -> Result<usize, FlowError> {
        let mut state = lock(&self.shared);
        let window = state.window();
        let Some(known) = state.flows.get_mut(&flow) else { return Err(FlowError::Reset) };
        if let Some(error) = known.error {
            state.flows.remove(&flow);
            return Err(error);
        }
        let room = window.saturating_sub(known.unconfirmed);
        let count = match known.transport {
            Transport::Udp if room < data.len() => return Ok(data.len()),
            _ => data.len().min(room),
        };
        known.is_writer_waiting |= count < data.len();
        known.unconfirmed += count;
        drop(state);
        if count > 0 || data.is_empty() {
            self.command(Command::Send { flow, bytes: data.get(..count).unwrap_or_default().to_vec() });
        }
        Ok(count)
    }

    fn receive(&mut self, flow: FlowId, buffer: &mut [u8]) -> Poll<Result<usize, FlowError>> {
        let mut state = lock(&self.shared);
        let window = state.window();
        let Some(known) = state.flows.get_mut(&flow) else { return Poll::Ready(Err(FlowError::Reset)) };
        let count = known.take(buffer);
        let resumes = known.is_held && known.inbox_bytes <= window / 2;
        known.is_held &= !resumes;
        let outcome = match (count, known.error) {
            (Some(count), _) => Poll::Ready(Ok(count)),
            (None, Some(error)) => Poll::Ready(Err(error)),
            (None, None) if known.has_ended => Poll::Ready(Ok(0)),
            (None, None) => {
                known.is_reader_waiting = true;
                Poll::Pending
            }
        };
        if let Poll::Ready(Err(_)) = outcome {
            state.flows.remove(&flow);
        }
        drop(state);
        if resumes {
            self.command(Command::Resume(flow));
        }
        outcome
    }

    fn finish(&mut self, flow: FlowId) {
        self.command(Command::Finish(flow));
    }

    fn close(&mut self, flow: FlowId, is_reset: bool) {
        if lock(&self.shared).flows.remove(&flow).is_some() {
            self.command(Command::Close { flow, is_reset });
        }
    }

    fn next_event(&mut self) -> Option<FlowEvent> {
        lock(&self.shared).events.pop_front()
    }

    fn peer_address(&self) -> Option<Ipv4Addr> {
        lock(&self.shared).peer_address
    }

    fn send_to_peer(&mut self, packet: Vec<u8>) {
        let mut state = lock(&self.shared);
        if state.leaving_bytes + packet.len() > PACKETS_MOST {
            return;
        }
        state.leaving_bytes += packet.len();
        drop(state);
        self.command(Command::Packet(packet));
    }

    fn next_from_peers(&mut self) -> Option<Vec<u8>> {
        let mut state = lock(&self.shared);
        let packet = state.arriving.pop_front()?;
        state.arriving_bytes -= packet.len();
        Some(packet)
    }
}

/// The gateway's side of questions to name servers.
pub struct HandedResolver {
    shared: Shared,
    name_server: Option<SocketAddrV4>,
    call: CallCarrier,
}

impl NameResolver for HandedResolver {
    fn ask(&mut self, id: QueryId, query: &[u8]) {
        let mut state = lock(&self.shared);
        if state.questions >= MAX_WAITING {
            return;
        }
        state.questions += 1;
        drop(state);
        command(&self.shared, &self.call, Command::Ask { id, query: query.to_vec() });
    }

    fn stream_server(&self) -> Option<SocketAddrV4> {
        self.name_server
    }

    fn next_answer(&mut self) -> Option<(QueryId, Option<Vec<u8>>)> {
        lock(&self.shared).answers.pop_front()
    }
}

/// The carrying thread's side. After each call except [`take_commands`](Self::take_commands), the machine is
/// to be told that its network has progressed. What concerns a flow that is no more is ignored.
#[derive(Clone)]
pub struct FlowCarrier(Shared);

impl FlowCarrier {
    /// What is to be done, in this order.
    pub fn take_commands(&self) -> VecDeque<Command> {
        let mut state = lock(&self.0);
        state.is_called = false;
        state.leaving_bytes = 0;
        std::mem::take(&mut state.commands)
    }

    /// A flow is open.
    pub fn opened(&self, flow: FlowId) {
        let mut state = lock(&self.0);
        if let Some(known) = state.flows.get_mut(&flow)
            && !std::mem::replace(&mut known.is_open, true)
        {
            state.events.push_back(FlowEvent::Opened(flow));
        }
    }

    /// A flow cannot be opened, or has ended badly; the carrier has forgotten it. What the guest was given before, it still reads.
    pub fn failed(&self, flow: FlowId, error: FlowError) {
        let mut state = lock(&self.0);
        let Some(known) = state.flows.get_mut(&flow) else { return };
        if known.is_open {
            known.error = Some(error);
            state.events.extend([FlowEvent::Readable(flow), FlowEvent::Writable(flow)]);
        } else {
            state.flows.remove(&flow);
            state.events.push_back(FlowEvent::Failed(flow, error));
        }
    }

    /// A piece of a stream, or a datagram, for the guest. Returns whether there is room for more; if not, the
    /// carrier holds the stream back until [`Command::Resume`]. Datagrams without room are lost.
    pub fn deliver(&self, flow: FlowId, bytes: Vec<u8>) -> bool {
        let mut state = lock(&self.0);
        let window = state.window();
        let Some(known) = state.flows.get_mut(&flow) else { return true };
        match known.transport {
            Transport::Tcp if bytes.is_empty() => return !known.is_held,
            Transport::Udp
                if known.inbox_bytes + bytes.len() > window || known.inbox.len() >= MAX_WAITING =>
            {
                return true;
            }
            _ => {}
        }
        known.inbox_bytes += bytes.len();
        known.inbox.push_back(bytes);
        known.is_held |= known.transport == Transport::Tcp && known.inbox_bytes >= window;
        let has_room = !known.is_held;
        if std::mem::take(&mut known.is_reader_waiting) {
            state.events.push_back(FlowEvent::Readable(flow));
        }
        has_room
    }

    /// The stream for the guest has ended behind what was delivered.
    pub fn ended(&self, flow: FlowId) {
        let mut state = lock(&self.0);
        let Some(known) = state.flows.get_mut(&flow) else { return };
        known.has_ended = true;
        if std::mem::take(&mut known.is_reader_waiting) {
            state.events.push_back(FlowEvent::Readable(flow));
        }
    }

    /// So many bytes of the guest's have left the carrier.
    pub fn sent(&self, flow: FlowId, count: usize) {
        let mut state = lock(&self.0);
        let Some(known) = state.flows.get_mut(&flow) else { return };
        known.unconfirmed = known.unconfirmed.saturating_sub(count);
        if std::mem::take(&mut known.is_writer_waiting) {
            state.events.push_back(FlowEvent::Writable(flow));
        }
    }

    /// Connects to a port of the guest. A guest that refuses shows by [`Command::Close`].
    pub fn connect(&self, port: u16) -> FlowId {
        let mut state = lock(&self.0);
        let flow = FlowId(FlowId::FIRST_INCOMING + state.next_incoming);
        state.next_incoming += 1;
        state.flows.insert(flow, Flow::new(Transport::Tcp, true));
        state.events.push_back(FlowEvent::Incoming(flow, port));
        flow
    }

    /// The machine's address among its peers, from now on; what waits for the one before is lost.
    pub fn join_peers(&self, address: Option<Ipv4Addr>) {
        let mut state = lock(&self.0);
        state.peer_address = address;
        state.arriving.clear();
        state.arriving_bytes = 0;
    }

    /// A packet of a peer, or of whoever claims to be one.
    pub fn deliver_packet(&self, packet: Vec<u8>) {
        let mut state = lock(&self.0);
        let is_packet = packet.len() >= super::datagram::IPV4_HEADER;
        if is_packet && state.peer_address.is_some() && state.arriving_bytes + packet.len() <= PACKETS_MOST {
            state.arriving_bytes += packet.len();
            state.arriving.push_back(packet);
        }
    }

    /// The answer to a question, or `None` when there is none.
    pub fn answer(&self, id: QueryId, answer: Option<Vec<u8>>) {
        let mut state = lock(&self.0);
        state.questions = state.questions.saturating_sub(1);
        if state.answers.len() < MAX_WAITING {
            state.answers.push_back((id, answer));
        }
    }
}
