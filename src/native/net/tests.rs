//! Flows and names over real sockets of the loopback interface.

use super::flows::HostFlows;
use super::poller::{NetworkWaker, Poller};
use super::resolver::HostResolver;
use super::{Published, name_server_in};
use crate::net::{FlowBackend, FlowError, FlowEvent, FlowId, NameResolver, Policy, QueryId, Transport};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::task::Poll;
use std::time::{Duration, Instant};

const FLOW: FlowId = FlowId(3);
const PATIENCE: Duration = Duration::from_secs(10);

fn flows(allowed: &str) -> HostFlows {
    let poller = Poller::start(NetworkWaker::default()).unwrap();
    HostFlows::new(poller, Policy::new(vec![allowed.parse().unwrap()]), None)
}

/// Asks until there is an answer.
fn until<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < end, "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn receive(flows: &mut HostFlows, flow: FlowId) -> Vec<u8> {
    let mut buffer = [0; 1000];
    let count = until(|| match flows.receive(flow, &mut buffer) {
        Poll::Ready(outcome) => Some(outcome.unwrap()),
        Poll::Pending => None,
    });
    buffer[..count].to_vec()
}

#[test]
fn a_stream_goes_both_ways_and_ends_by_halves() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut flows = flows("127.0.0.1");
    flows.open(FLOW, Transport::Tcp, listener.local_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(until(|| flows.next_event()), FlowEvent::Opened(FLOW));
    assert_eq!(flows.send(FLOW, b"question"), Ok(8));
    flows.finish(FLOW);
    let mut question = String::new();
    server.read_to_string(&mut question).unwrap();
    assert_eq!(question, "question");
    server.write_all(b"answer").unwrap();
    assert_eq!(
        until(|| flows.next_event().filter(|event| *event == FlowEvent::Readable(FLOW))),
        FlowEvent::Readable(FLOW)
    );
    assert_eq!(receive(&mut flows, FLOW), b"answer");
    drop(server);
    assert_eq!(receive(&mut flows, FLOW), b"");
    flows.close(FLOW, false);
}

#[test]
fn a_full_stream_says_when_it_has_room_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut flows = flows("127.0.0.1");
    flows.open(FLOW, Transport::Tcp, listener.local_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(until(|| flows.next_event()), FlowEvent::Opened(FLOW));
    let piece = vec![7; 100_000];
    let mut sent = 0;
    loop {
        let count = flows.send(FLOW, &piece).unwrap();
        sent += count;
        if count < piece.len() {
            break;
        }
    }
    assert_eq!(flows.send(FLOW, &piece), Ok(0));
    while flows.next_event().is_some() {}
    let mut received = vec![0; sent];
    server.read_exact(&mut received).unwrap();
    assert_eq!(until(|| flows.next_event()), FlowEvent::Writable(FLOW));
    assert!(flows.send(FLOW, &piece).unwrap() > 0);
}

#[test]
fn a_reset_is_passed_on_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut flows = flows("127.0.0.1");
    flows.open(FLOW, Transport::Tcp, listener.local_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    assert_eq!(until(|| flows.next_event()), FlowEvent::Opened(FLOW));
    flows.close(FLOW, true);
    let error = server.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(flows.send(FLOW, b"late"), Err(FlowError::Reset));
}

#[test]
fn where_nobody_listens_the_connection_is_refused() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut flows = flows("127.0.0.1");
    flows.open(FLOW, Transport::Tcp, address);
    assert_eq!(until(|| flows.next_event()), FlowEvent::Failed(FLOW, FlowError::Refused));
}

#[test]
fn what_the_policy_does_not_allow_is_not_even_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let mut flows = flows("10.0.0.0/8");
    for transport in [Transport::Tcp, Transport::Udp] {
        flows.open(FLOW, transport, listener.local_addr().unwrap());
        assert_eq!(flows.next_event(), Some(FlowEvent::Failed(FLOW, FlowError::Forbidden)));
    }
    assert!(listener.accept().is_err());
}

#[test]
fn the_name_server_may_be_asked_over_tcp_and_nothing_else_of_it() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    let poller = Poller::start(NetworkWaker::default()).unwrap();
    let mut flows = HostFlows::new(poller, Policy::default(), Some(address));
    flows.open(FLOW, Transport::Tcp, address);
    assert_eq!(until(|| flows.next_event()), FlowEvent::Opened(FLOW));
    let mut other = address;
    other.set_port(other.port() ^ 1);
    for (transport, destination) in [(Transport::Udp, address), (Transport::Tcp, other)] {
        flows.open(FlowId(4), transport, destination);
        let refused = FlowEvent::Failed(FlowId(4), FlowError::Forbidden);
        assert_eq!(until(|| flows.next_event().filter(|event| *event == refused)), refused);
    }
}

#[test]
fn datagrams_keep_their_bounds() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut flows = flows("127.0.0.1");
    flows.open(FLOW, Transport::Udp, server.local_addr().unwrap());
    assert_eq!(flows.next_event(), Some(FlowEvent::Opened(FLOW)));
    assert_eq!(flows.send(FLOW, b"one"), Ok(3));
    assert_eq!(flows.send(FLOW, b"two"), Ok(3));
    let mut buffer = [0; 100];
    let (count, client) = server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"one");
    for answer in [b"three".as_slice(), b"", b"four"] {
        server.send_to(answer, client).unwrap();
    }
    assert_eq!(receive(&mut flows, FLOW), b"three");
    assert_eq!(receive(&mut flows, FLOW), b"");
    assert_eq!(receive(&mut flows, FLOW), b"four");
}

#[test]
fn a_published_port_accepts_for_the_guest() {
    let mut flows = flows("10.0.0.0/8");
    let address = flows.publish(Published { host_port: 0, guest_port: 80 }).unwrap();
    let mut clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
    let mut accepted = Vec::new();
    while accepted.len() < 2 {
        match until(|| flows.next_event()) {
            FlowEvent::Incoming(flow, port) => {
                assert_eq!(port, 80);
                accepted.push(flow);
            }
            FlowEvent::Writable(_) | FlowEvent::Readable(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(accepted.iter().all(|flow| flow.0 >= FlowId::FIRST_INCOMING));
    clients[0].write_all(b"hello").unwrap();
    assert_eq!(receive(&mut flows, accepted[0]), b"hello");
    assert!(flows.publish(Published { host_port: address.port(), guest_port: 80 }).is_err());
}

#[test]
fn answers_find_their_questions() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let poller = Poller::start(NetworkWaker::default()).unwrap();
    let mut resolver = HostResolver::new(poller, Some(server.local_addr().unwrap()), 77).unwrap();
    resolver.ask(QueryId(1), b"\0\0first");
    resolver.ask(QueryId(2), b"\0\0second");
    resolver.ask(QueryId(3), b"?");
    let mut questions = Vec::new();
    for _ in 0..2 {
        let mut buffer = [0; 100];
        let (count, from) = server.recv_from(&mut buffer).unwrap();
        questions.push((buffer[..count].to_vec(), from));
    }
    assert_eq!(&questions[1].0[2..], b"second");
    for (question, from) in questions.iter().rev() {
        server.send_to(question, from).unwrap();
    }
    assert_eq!(until(|| resolver.next_answer()), (QueryId(3), None));
    assert_eq!(until(|| resolver.next_answer()), (QueryId(2), Some(questions[1].0.clone())));
    assert_eq!(until(|| resolver.next_answer()), (QueryId(1), Some(questions[0].0.clone())));
}

#[test]
fn without_a_name_server_questions_fail() {
    let poller = Poller::start(NetworkWaker::default()).unwrap();
    let mut resolver = HostResolver::new(poller, None, 77).unwrap();
    resolver.ask(QueryId(1), b"\0\0question");
    assert_eq!(resolver.next_answer(), Some((QueryId(1), None)));
    assert_eq!(resolver.next_answer(), None);
}

#[test]
fn the_name_server_is_the_first_that_is_configured() {
    assert_eq!(name_server_in("# none\nsearch example.org\n"), None);
    let text = "search a\nnameserver nonsense\n  nameserver\t127.0.0.53 # local\nnameserver 9.9.9.9\n";
    assert_eq!(name_server_in(text), Some("127.0.0.53:53".parse().unwrap()));
    assert_eq!(name_server_in("nameserver ::1\n"), Some("[::1]:53".parse().unwrap()));
}

#[test]
fn what_is_no_pair_of_ports_is_refused() {
    assert_eq!("8080:80".parse(), Ok(Published { host_port: 8080, guest_port: 80 }));
    for text in ["80", "80:", ":80", "80:0", "80:70000", "a:b"] {
        assert!(text.parse::<Published>().is_err(), "{text}");
    }
}
