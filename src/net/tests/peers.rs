//! Two guests that are peers.

use super::Guest;
use super::guest::ADDRESS;
use crate::host::{Acceptance, Frame, NetBackend};
use crate::net::datagram;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{IpProtocol, Ipv4Packet};
use std::net::Ipv4Addr;

const PEERS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 87, 0, 1), Ipv4Addr::new(10, 87, 200, 9)];

fn guests() -> [Guest; 2] {
    PEERS.map(|address| {
        let guest = Guest::accepting(Acceptance::default());
        guest.outside.state().peer_address = Some(address);
        guest
    })
}

/// A millisecond in both, with the packets between them.
fn step([one, other]: &mut [Guest; 2]) {
    one.step();
    other.step();
    let sent = std::mem::take(&mut one.outside.state().leaving);
    let answered = std::mem::take(&mut other.outside.state().leaving);
    other.outside.state().arriving.extend(sent);
    one.outside.state().arriving.extend(answered);
}

#[test]
fn a_connection_goes_from_guest_to_guest() {
    let mut guests = guests();
    let server = guests[1].listen(80);
    let client = guests[0].connect(&format!("{}:80", PEERS[1]), 40_000);
    (0..10).for_each(|_| step(&mut guests));
    assert_eq!(guests[0].tcp_state(client), State::Established);
    let seen = guests[1].socket(server).remote_endpoint().unwrap();
    assert_eq!((seen.addr, seen.port), (PEERS[0].into(), 40_000));
    let sent: Vec<u8> = (0..100_000u32).map(|byte| (byte / 7) as u8).collect();
    guests[0].socket(client).send_slice(&sent).unwrap();
    let mut received = Vec::new();
    for _ in 0..500 {
        step(&mut guests);
        received.extend(guests[1].read(server));
    }
    assert!(received == sent, "{} of {} bytes", received.len(), sent.len());
    // The gateways know nothing of it.
    assert_eq!(guests.map(|guest| guest.gateway.open_flows()), [0, 0]);
}

#[test]
fn an_echo_comes_back_from_the_other_guest() {
    let mut guests = guests();
    let request = [8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4];
    let packet = datagram::ipv4_packet(ADDRESS, PEERS[1], IpProtocol::Icmp, request.len(), |bytes| {
        bytes.copy_from_slice(&request);
    });
    guests[0].send_packet(&packet);
    let sent = guests[0].outside.state().leaving.pop_front().unwrap();
    guests[1].outside.state().arriving.push_back(sent);
    guests[1].gateway.advance_to(1);
    let Frame { bytes, .. } = guests[1].gateway.receive().unwrap();
    let arrived = Ipv4Packet::new_checked(&bytes[14..]).unwrap();
    assert_eq!((arrived.src_addr(), arrived.dst_addr()), (PEERS[0], ADDRESS));
    assert_eq!(arrived.payload()[4..], request[4..]);
}

#[test]
fn who_has_no_address_among_peers_reaches_none() {
    let mut guest = Guest::new();
    let client = guest.connect("10.87.0.1:80", 40_000);
    guest.steps(5);
    assert!(guest.outside.state().leaving.is_empty());
    // It is a destination like others then, and the policy's business.
    assert_eq!(guest.outside.state().flows.len(), 1);
    assert_eq!(guest.tcp_state(client), State::Established);
}
