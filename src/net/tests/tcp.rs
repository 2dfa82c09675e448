//! TCP through the gateway.

use super::Guest;
use super::guest::Faults;
use crate::host::{Acceptance, NetBackend};
use crate::net::{FlowError, Transport};
use smoltcp::socket::tcp::State;

const SERVER: &str = "93.184.216.34:80";

#[test]
fn a_connection_carries_both_streams_and_their_ends() {
    let mut guest = Guest::new();
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    assert_eq!(guest.tcp_state(client), State::Established);
    let destination = Some((Transport::Tcp, SERVER.parse().unwrap()));
    guest.outside.with_flow(|flow| assert_eq!(flow.destination, destination));
    guest.socket(client).send_slice(b"GET /").unwrap();
    guest.steps(5);
    guest.outside.with_flow(|flow| {
        assert_eq!(flow.received, b"GET /");
        flow.to_send.push_back(b"200 OK".to_vec());
    });
    guest.steps(5);
    assert_eq!(guest.read(client), b"200 OK");
    // The guest ends its stream; the other goes on.
    guest.socket(client).close();
    guest.steps(5);
    guest.outside.with_flow(|flow| {
        assert!(flow.is_finished);
        assert_eq!(flow.closed, None);
        flow.to_send.push_back(b"and more".to_vec());
        flow.has_ended = true;
    });
    guest.steps(5);
    assert_eq!(guest.read(client), b"and more");
    guest.steps(5);
    assert_eq!(guest.outside.state().flows.values().next().unwrap().closed, Some(false));
    assert_eq!(guest.gateway.open_flows(), 0);
}

#[test]
fn the_outside_may_end_first() {
    let mut guest = Guest::new();
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    guest.outside.with_flow(|flow| {
        flow.to_send.push_back(b"bye".to_vec());
        flow.has_ended = true;
    });
    guest.steps(5);
    assert_eq!(guest.read(client), b"bye");
    assert_eq!(guest.tcp_state(client), State::CloseWait);
    guest.socket(client).send_slice(b"so long").unwrap();
    guest.socket(client).close();
    guest.steps(5);
    assert_eq!(guest.tcp_state(client), State::Closed);
    let state = guest.outside.state();
    let flow = state.flows.values().next().unwrap();
    assert_eq!((flow.received.as_slice(), flow.closed), (b"so long".as_slice(), Some(false)));
}

#[test]
fn a_connection_is_accepted_only_when_the_outside_has_one() {
    let mut guest = Guest::new();
    guest.outside.state().is_silent = true;
    let client = guest.connect(SERVER, 40_000);
    guest.sleep(5);
    assert_eq!(guest.tcp_state(client), State::SynSent);
    assert_eq!(guest.outside.state().flows.len(), 1, "a repeated SYN opens nothing");
    let flow = *guest.outside.state().flows.keys().next().unwrap();
    guest.outside.state().events.push_back(crate::net::FlowEvent::Opened(flow));
    guest.steps(5);
    assert_eq!(guest.tcp_state(client), State::Established);
}

#[test]
fn a_refused_connection_is_reset_at_once() {
    for refusal in [FlowError::Refused, FlowError::Forbidden, FlowError::Unreachable] {
        let mut guest = Guest::new();
        guest.outside.state().refusal = Some(refusal);
        let client = guest.connect(SERVER, 40_000);
        guest.steps(5);
        assert_eq!(guest.tcp_state(client), State::Closed, "{refusal}");
        assert_eq!(guest.gateway.open_flows(), 0);
    }
}

#[test]
fn nothing_listens_on_the_gateway_and_on_unused_addresses() {
    for destination in ["10.86.0.1:80", "10.86.0.77:80"] {
        let mut guest = Guest::new();
        let client = guest.connect(destination, 40_000);
        guest.steps(5);
        assert_ne!(guest.tcp_state(client), State::Established);
        assert!(guest.outside.state().flows.is_empty());
    }
}

#[test]
fn names_are_asked_over_tcp_as_well_if_the_outside_can() {
    let mut guest = Guest::new();
    let refused = guest.connect("10.86.0.1:53", 40_000);
    guest.steps(5);
    assert_eq!(guest.tcp_state(refused), State::Closed);
    let server = "192.168.1.1:53".parse().unwrap();
    guest.outside.state().name_server = Some(server);
    let client = guest.connect("10.86.0.1:53", 40_001);
    guest.steps(5);
    assert_eq!(guest.tcp_state(client), State::Established);
    guest.outside.with_flow(|flow| assert_eq!(flow.destination, Some((Transport::Tcp, server.into()))));
}

#[test]
fn the_host_is_its_own_loopback_outside() {
    let mut guest = Guest::new();
    guest.connect("10.86.0.254:8080", 40_000);
    guest.steps(5);
    let destination = Some((Transport::Tcp, "127.0.0.1:8080".parse().unwrap()));
    guest.outside.with_flow(|flow| assert_eq!(flow.destination, destination));
}

#[test]
fn a_reset_goes_through_both_ways() {
    let mut guest = Guest::new();
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    guest.outside.with_flow(|flow| flow.error = Some(FlowError::Reset));
    guest.steps(5);
    assert_eq!(guest.tcp_state(client), State::Closed);
    assert_eq!(guest.gateway.open_flows(), 0);

    let client = guest.connect(SERVER, 40_001);
    guest.steps(5);
    guest.socket(client).abort();
    guest.steps(5);
    assert_eq!(guest.outside.state().flows.values().last().unwrap().closed, Some(true));
    assert_eq!(guest.gateway.open_flows(), 0);
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + index / 253) as u8).collect()
}

/// Sends `data` to the guest and returns what it reads.
fn download(guest: &mut Guest, data: &[u8]) -> Vec<u8> {
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    guest.outside.with_flow(|flow| {
        flow.to_send = data.chunks(100_000).map(<[u8]>::to_vec).collect();
        flow.has_ended = true;
    });
    let mut read = Vec::new();
    for _ in 0..20_000 {
        guest.step();
        read.extend(guest.read(client));
        if guest.tcp_state(client) == State::CloseWait {
            break;
        }
    }
    read.extend(guest.read(client));
    read
}

#[test]
fn a_large_download_arrives_whole() {
    let data = pattern(3_000_000);
    let mut guest = Guest::new();
    assert!(download(&mut guest, &data) == data);
    assert_eq!(guest.large_frames, 0);
}

#[test]
fn a_guest_that_cuts_segments_itself_gets_large_ones() {
    let data = pattern(3_000_000);
    let mut guest = Guest::accepting(Acceptance { partial_checksum: true, segmentation: true });
    assert!(download(&mut guest, &data) == data);
    assert!(guest.large_frames > 10, "{}", guest.large_frames);
}

#[test]
fn a_large_upload_arrives_whole_when_the_outside_is_slow() {
    let data = pattern(1_000_000);
    let mut guest = Guest::new();
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    guest.outside.with_flow(|flow| flow.room = 0);
    let mut sent = 0;
    let mut most_waiting = 0;
    for _ in 0..20_000 {
        let socket = guest.socket(client);
        if socket.can_send() && sent < data.len() {
            sent += socket.send_slice(&data[sent..]).unwrap();
        }
        guest.step();
        let received = guest.outside.with_flow(|flow| {
            flow.room = 1_000;
            flow.received.len()
        });
        let queued = guest.socket(client).send_queue();
        most_waiting = most_waiting.max(sent - received - queued);
        if received == data.len() {
            break;
        }
    }
    guest.outside.with_flow(|flow| assert!(flow.received == data));
    assert!(most_waiting <= 300_000, "{most_waiting} bytes were taken from the guest without room for them");
}

#[test]
fn streams_arrive_whole_over_a_bad_cable() {
    let mut guest = Guest::new();
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    guest.faults = Some(Faults::new());
    let (down, up) = (pattern(300_000), pattern(200_000));
    guest.outside.with_flow(|flow| {
        flow.to_send = down.chunks(10_000).map(<[u8]>::to_vec).collect();
        flow.has_ended = true;
    });
    let (mut read, mut sent) = (Vec::new(), 0);
    for _ in 0..200_000 {
        let socket = guest.socket(client);
        if socket.can_send() && sent < up.len() {
            sent += socket.send_slice(&up[sent..]).unwrap();
            if sent == up.len() {
                socket.close();
            }
        }
        guest.step();
        read.extend(guest.read(client));
        if guest.gateway.open_flows() == 0 {
            break;
        }
    }
    assert!(read == down, "{} of {} bytes came down", read.len(), down.len());
    let state = guest.outside.state();
    let flow = state.flows.values().next().unwrap();
    assert!(flow.received == up, "{} of {} bytes went up", flow.received.len(), up.len());
    assert_eq!(flow.closed, Some(false));
}

#[test]
fn a_stopped_guest_holds_the_outside_back() {
    let mut guest = Guest::new();
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    let data = pattern(2_000_000);
    guest.is_stopped = true;
    guest.outside.with_flow(|flow| flow.to_send = data.chunks(10_000).map(<[u8]>::to_vec).collect());
    guest.steps(1000);
    let waiting: usize = guest.outside.with_flow(|flow| flow.to_send.iter().map(Vec::len).sum());
    assert!(data.len() - waiting < 600_000, "{waiting}");
    guest.is_stopped = false;
    let mut read = Vec::new();
    for _ in 0..20_000 {
        guest.step();
        read.extend(guest.read(client));
        if read.len() == data.len() {
            break;
        }
    }
    assert!(read == data);
}

#[test]
fn the_outside_reaches_a_port_of_the_guest() {
    let mut guest = Guest::new();
    let server = guest.listen(80);
    guest.outside.connect(80);
    guest.outside.with_flow(|flow| flow.to_send.push_back(b"hello".to_vec()));
    guest.steps(10);
    assert_eq!(guest.tcp_state(server), State::Established);
    assert_eq!(guest.read(server), b"hello");
    assert_eq!(guest.socket(server).remote_endpoint().unwrap().addr.to_string(), "10.86.0.254");
    guest.socket(server).send_slice(b"welcome").unwrap();
    guest.steps(5);
    guest.outside.with_flow(|flow| assert_eq!(flow.received, b"welcome"));
    // A port on which nothing listens.
    guest.outside.connect(81);
    guest.steps(10);
    assert_eq!(guest.outside.state().flows.values().last().unwrap().closed, Some(true));
}

#[test]
fn a_guest_that_vanishes_is_given_up() {
    let mut guest = Guest::new();
    let client = guest.connect(SERVER, 40_000);
    guest.steps(5);
    guest.sockets.remove(client);
    guest.is_stopped = true;
    guest.sleep(300);
    assert_eq!(guest.outside.open_flows(), 0);
    assert_eq!(guest.gateway.open_flows(), 0);
}

#[test]
fn thousands_of_connections_leave_nothing_behind() {
    let mut guest = Guest::new();
    for round in 0..50u16 {
        let clients: Vec<_> =
            (0..50).map(|index| guest.connect(SERVER, 10_000 + round * 50 + index)).collect();
        guest.steps(5);
        for client in &clients {
            assert_eq!(guest.tcp_state(*client), State::Established);
            guest.socket(*client).close();
        }
        guest.steps(2);
        let mut state = guest.outside.state();
        let open: Vec<_> =
            state.flows.iter().filter(|(_, flow)| flow.closed.is_none()).map(|(id, _)| *id).collect();
        for id in open {
            state.flows.get_mut(&id).unwrap().has_ended = true;
            state.events.push_back(crate::net::FlowEvent::Readable(id));
        }
        drop(state);
        guest.steps(5);
        for client in clients {
            guest.sockets.remove(client);
        }
        assert_eq!(guest.gateway.open_flows(), 0);
    }
    assert_eq!(guest.outside.open_flows(), 0);
}

#[test]
fn a_driver_that_starts_anew_finds_no_connections() {
    let mut guest = Guest::new();
    guest.connect(SERVER, 40_000);
    guest.steps(5);
    guest.gateway.set_accepted(Acceptance::default());
    assert_eq!(guest.outside.open_flows(), 0);
    assert_eq!(guest.gateway.open_flows(), 0);
}
