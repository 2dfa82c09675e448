//! The handover, with the gateway's side and the carrier's side in one hand.

use crate::net::handover::{Command, FlowCarrier, HandedFlows, HandedResolver, handover};
use crate::net::{FlowBackend, FlowError, FlowEvent, FlowId, NameResolver, Policy, QueryId, Transport};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;

const FLOW: FlowId = FlowId(7);

fn ends() -> (HandedFlows, HandedResolver, FlowCarrier, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let call = Arc::new(Mutex::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let policy = Policy::new(vec!["127.0.0.1:80".parse().unwrap()]);
    let (flows, resolver, carrier) = handover(policy, Some("127.0.0.1:53".parse().unwrap()), call);
    (flows, resolver, carrier, calls)
}

fn opened() -> (HandedFlows, FlowCarrier) {
    let (mut flows, _, carrier, _) = ends();
    flows.open(FLOW, Transport::Tcp, "127.0.0.1:80".parse().unwrap());
    carrier.take_commands();
    carrier.opened(FLOW);
    assert_eq!(flows.next_event(), Some(FlowEvent::Opened(FLOW)));
    (flows, carrier)
}

#[test]
fn the_carrier_is_called_once_until_it_fetches() {
    let (mut flows, mut resolver, carrier, calls) = ends();
    let destination = "1.1.1.1:443".parse().unwrap();
    flows.open(FLOW, Transport::Tcp, destination);
    resolver.ask(QueryId(3), b"who");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let commands = carrier.take_commands();
    assert_eq!(
        commands,
        [
            Command::Open { flow: FLOW, transport: Transport::Tcp, destination },
            Command::Ask { id: QueryId(3), query: b"who".to_vec() },
        ]
    );
    flows.close(FLOW, false);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    carrier.answer(QueryId(3), Some(b"me".to_vec()));
    assert_eq!(resolver.next_answer(), Some((QueryId(3), Some(b"me".to_vec()))));
}

#[test]
fn the_emulators_own_services_need_no_rule() {
    let (mut flows, _, carrier, _) = ends();
    assert!(flows.has_services());
    let destination = "10.86.0.253:80".parse().unwrap();
    flows.open(FLOW, Transport::Tcp, destination);
    flows.open(FlowId(8), Transport::Udp, destination);
    assert_eq!(
        carrier.take_commands(),
        [Command::Open { flow: FLOW, transport: Transport::Tcp, destination }]
    );
    assert_eq!(flows.next_event(), Some(FlowEvent::Failed(FlowId(8), FlowError::Forbidden)));
}

#[test]
fn what_the_policy_forbids_never_reaches_the_carrier() {
    let (mut flows, _, carrier, calls) = ends();
    for (transport, destination) in [
        (Transport::Tcp, "127.0.0.1:81"),
        (Transport::Tcp, "10.0.0.1:80"),
        (Transport::Udp, "127.0.0.1:53"),
        (Transport::Tcp, "169.254.169.254:80"),
    ] {
        flows.open(FLOW, transport, destination.parse().unwrap());
        assert_eq!(flows.next_event(), Some(FlowEvent::Failed(FLOW, FlowError::Forbidden)), "{destination}");
    }
    assert!(carrier.take_commands().is_empty());
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    flows.open(FLOW, Transport::Tcp, "127.0.0.1:53".parse().unwrap());
    assert_eq!(carrier.take_commands().len(), 1, "the name server is asked over TCP");
}

#[test]
fn a_stream_to_the_outside_waits_for_confirmations() {
    let (mut flows, carrier) = opened();
    let data = vec![1; 1 << 20];
    let taken = flows.send(FLOW, &data).unwrap();
    assert!(taken > 0 && taken < data.len());
    assert_eq!(flows.send(FLOW, &data), Ok(0));
    assert_eq!(carrier.take_commands(), [Command::Send { flow: FLOW, bytes: vec![1; taken] }]);
    carrier.sent(FLOW, 1000);
    assert_eq!(flows.next_event(), Some(FlowEvent::Writable(FLOW)));
    assert_eq!(flows.send(FLOW, &data), Ok(1000));
}

#[test]
fn a_stream_to_the_guest_is_held_and_resumed() {
    let (mut flows, carrier) = opened();
    let mut buffer = vec![0; 100_000];
    assert_eq!(flows.receive(FLOW, &mut buffer), Poll::Pending);
    let mut pieces = 0_u8;
    while carrier.deliver(FLOW, vec![pieces; 60_000]) {
        pieces += 1;
        assert!(pieces < 10, "the window has no end");
    }
    assert_eq!(flows.next_event(), Some(FlowEvent::Readable(FLOW)));
    assert_eq!(flows.next_event(), None, "a reader that does not wait is not called");
    carrier.ended(FLOW);
    let mut received = Vec::new();
    let mut has_resumed = false;
    loop {
        match flows.receive(FLOW, &mut buffer) {
            Poll::Ready(Ok(0)) => break,
            Poll::Ready(Ok(count)) => received.extend_from_slice(&buffer[..count]),
            other => panic!("{other:?}"),
        }
        has_resumed |= carrier.take_commands().contains(&Command::Resume(FLOW));
    }
    assert!(has_resumed);
    let expected: Vec<u8> = (0..=pieces).flat_map(|piece| vec![piece; 60_000]).collect();
    assert!(received == expected, "{} of {} bytes", received.len(), expected.len());
}

#[test]
fn a_reset_shows_behind_what_was_delivered() {
    let (mut flows, carrier) = opened();
    carrier.deliver(FLOW, b"last words".to_vec());
    carrier.failed(FLOW, FlowError::Reset);
    let mut buffer = [0; 64];
    assert_eq!(flows.receive(FLOW, &mut buffer), Poll::Ready(Ok(10)));
    assert_eq!(flows.receive(FLOW, &mut buffer), Poll::Ready(Err(FlowError::Reset)));
    // Forgotten: nothing is left to close.
    flows.close(FLOW, true);
    assert!(carrier.take_commands().is_empty());
}

#[test]
fn datagrams_stay_whole_and_are_lost_without_room() {
    let (mut flows, _, carrier, _) = ends();
    flows.open(FLOW, Transport::Udp, "1.1.1.1:53".parse().unwrap());
    carrier.opened(FLOW);
    for size in [3, 0, 5] {
        assert!(carrier.deliver(FLOW, vec![size as u8; size]));
    }
    let mut buffer = [0; 4];
    assert_eq!(flows.receive(FLOW, &mut buffer), Poll::Ready(Ok(3)));
    assert_eq!(flows.receive(FLOW, &mut buffer), Poll::Ready(Ok(0)));
    assert_eq!(flows.receive(FLOW, &mut buffer), Poll::Ready(Ok(4)), "the rest of it is cut");
    assert_eq!(flows.receive(FLOW, &mut buffer), Poll::Pending);
    for _ in 0..100_000 {
        assert!(carrier.deliver(FLOW, vec![0; 100]), "datagrams are not held back");
    }
    let mut kept = 0;
    while flows.receive(FLOW, &mut buffer).is_ready() {
        kept += 1;
    }
    assert!(kept < 3000, "{kept} datagrams were kept");
}

#[test]
fn packets_of_peers_are_bounded_both_ways_and_need_an_address() {
    let (mut flows, _, carrier, _) = ends();
    let packet = vec![0x45; 1000];
    carrier.deliver_packet(packet.clone());
    assert_eq!(flows.next_from_peers(), None);
    let address = "10.87.1.2".parse().unwrap();
    carrier.join_peers(Some(address));
    assert_eq!(flows.peer_address(), Some(address));
    for _ in 0..100_000 {
        carrier.deliver_packet(packet.clone());
        carrier.deliver_packet(Vec::new());
        flows.send_to_peer(packet.clone());
    }
    let kept =
        std::iter::from_fn(|| flows.next_from_peers()).inspect(|kept| assert_eq!(*kept, packet)).count();
    assert!((1..=2000).contains(&kept), "{kept} packets were kept");
    let commands = carrier.take_commands();
    assert!((1..=2000).contains(&commands.len()), "{} commands were kept", commands.len());
    // There is room again.
    flows.send_to_peer(packet.clone());
    carrier.deliver_packet(packet.clone());
    assert_eq!(carrier.take_commands(), [Command::Packet(packet.clone())]);
    carrier.join_peers(None);
    assert_eq!((flows.peer_address(), flows.next_from_peers()), (None, None));
}

#[test]
fn the_outside_connects_to_a_port_of_the_guest() {
    let (mut flows, _, carrier, _) = ends();
    let flow = carrier.connect(80);
    assert_eq!(flows.next_event(), Some(FlowEvent::Incoming(flow, 80)));
    assert_ne!(flow, carrier.connect(80));
    flows.close(flow, true);
    assert_eq!(carrier.take_commands(), [Command::Close { flow, is_reset: true }]);
    // Late news of it are ignored.
    carrier.deliver(flow, vec![1]);
    carrier.failed(flow, FlowError::Reset);
    assert_eq!(flows.receive(flow, &mut [0]), Poll::Ready(Err(FlowError::Reset)));
}
