//! An outside under the test's control.

use crate::net::{FlowBackend, FlowError, FlowEvent, FlowId, NameResolver, QueryId, Transport};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

/// What the outside knows of a flow.
#[derive(Debug, Default)]
pub struct Flow {
    pub destination: Option<(Transport, SocketAddr)>,
    /// What the guest sent: a stream, or the datagrams.
    pub received: Vec<u8>,
    /// How much more of a stream the outside takes.
    pub room: usize,
    /// What the guest is to be given: pieces of a stream, or datagrams.
    pub to_send: VecDeque<Vec<u8>>,
    pub has_ended: bool,
    /// The guest has finished its stream.
    pub is_finished: bool,
    /// How the gateway closed it: with a reset or not.
    pub closed: Option<bool>,
    pub error: Option<FlowError>,
}

#[derive(Default)]
pub struct State {
    pub flows: BTreeMap<FlowId, Flow>,
    pub events: VecDeque<FlowEvent>,
    pub refusal: Option<FlowError>,
    pub is_silent: bool,
    pub questions: Vec<(QueryId, Vec<u8>)>,
    pub name_server: Option<SocketAddrV4>,
    pub answers: VecDeque<(QueryId, Option<Vec<u8>>)>,
    pub peer_address: Option<Ipv4Addr>,
    /// Packets to and from peers.
    pub leaving: VecDeque<Vec<u8>>,
    pub arriving: VecDeque<Vec<u8>>,
}

/// The outside, which the test and the gateway share.
#[derive(Clone, Default)]
pub struct Outside(Arc<Mutex<State>>);

impl Outside {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The flows that are not closed.
    pub fn open_flows(&self) -> usize {
        self.state().flows.values().filter(|flow| flow.closed.is_none()).count()
    }

    /// Changes the only flow, and tells the gateway.
    pub fn with_flow<R>(&self, change: impl FnOnce(&mut Flow) -> R) -> R {
        let mut state = self.state();
        let (id, flow) = state.flows.last_entry().map(|entry| (*entry.key(), entry.into_mut())).unwrap();
        let result = change(flow);
        state.events.extend([FlowEvent::Readable(id), FlowEvent::Writable(id)]);
        result
    }

    /// Connects to a port of the guest.
    pub fn connect(&self, port: u16) {
        let mut state = self.state();
        let id = FlowId(FlowId::FIRST_INCOMING + state.flows.len() as u64);
        state.flows.insert(id, Flow { room: usize::MAX, ..Flow::default() });
        state.events.push_back(FlowEvent::Incoming(id, port));
    }
}

impl FlowBackend for Outside {
    fn open(&mut self, flow: FlowId, transport: Transport, destination: SocketAddr) {
        let mut state = self.state();
        let destination = Some((transport, destination));
        let closed = state.refusal.map(|_| true);
        state.flows.insert(flow, Flow { destination, room: usize::MAX, closed, ..Flow::default() });
        let event = match state.refusal {
            Some(error) => FlowEvent::Failed(flow, error),
            None => FlowEvent::Opened(flow),
        };
        if !state.is_silent {
            state.events.push_back(event);
        }
    }

    fn send(&mut self, flow: FlowId, data: &[u8]) -> Result<usize, FlowError> {
        let mut state = self.state();
        let flow = state.flows.get_mut(&flow).unwrap();
        assert_eq!(flow.closed, None);
        assert!(!flow.is_finished);
        let count = data.len().min(flow.room);
        flow.room -= count;
        flow.received.extend(&data[..count]);
        Ok(count)
    }

    fn receive(&mut self, flow: FlowId, buffer: &mut [u8]) -> Poll<Result<usize, FlowError>> {
        let mut state = self.state();
        let flow = state.flows.get_mut(&flow).unwrap();
        assert_eq!(flow.closed, None);
        let is_stream = !matches!(flow.destination, Some((Transport::Udp, _)));
        if let Some(mut piece) = flow.to_send.pop_front() {
            let count = piece.len().min(buffer.len());
            buffer[..count].copy_from_slice(&piece[..count]);
            if is_stream && count < piece.len() {
                flow.to_send.push_front(piece.split_off(count));
            }
            return Poll::Ready(Ok(count));
        }
        match flow.error {
            Some(error) => {
                flow.closed = Some(true);
                Poll::Ready(Err(error))
            }
            None if flow.has_ended => Poll::Ready(Ok(0)),
            None => Poll::Pending,
        }
    }

    fn finish(&mut self, flow: FlowId) {
        self.state().flows.get_mut(&flow).unwrap().is_finished = true;
    }

    fn close(&mut self, flow: FlowId, is_reset: bool) {
        let mut state = self.state();
        let flow = state.flows.get_mut(&flow).unwrap();
        assert_eq!(flow.closed, None, "closed twice");
        flow.closed = Some(is_reset);
    }

    fn next_event(&mut self) -> Option<FlowEvent> {
        self.state().events.pop_front()
    }

    fn peer_address(&self) -> Option<Ipv4Addr> {
        self.state().peer_address
    }

    fn send_to_peer(&mut self, packet: Vec<u8>) {
        self.state().leaving.push_back(packet);
    }

    fn next_from_peers(&mut self) -> Option<Vec<u8>> {
        self.state().arriving.pop_front()
    }
}

impl NameResolver for Outside {
    fn ask(&mut self, id: QueryId, query: &[u8]) {
        self.state().questions.push((id, query.to_vec()));
    }

    fn stream_server(&self) -> Option<SocketAddrV4> {
        self.state().name_server
    }

    fn next_answer(&mut self) -> Option<(QueryId, Option<Vec<u8>>)> {
        self.state().answers.pop_front()
    }
}
