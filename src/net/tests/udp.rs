//! UDP, names and echoes through the gateway.

use super::Guest;
use super::guest::ADDRESS;
use crate::host::NetBackend;
use crate::net::datagram::{self, Datagram};
use crate::net::{FlowError, QueryId, Transport, subnet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet};
use std::net::SocketAddr;

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn own(port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESS.into(), port)
}

/// The next packet for the guest.
fn next_packet(guest: &mut Guest) -> Vec<u8> {
    guest.gateway.advance_to(guest.now_ns);
    guest.gateway.receive().unwrap().bytes[14..].to_vec()
}

/// Its datagram.
fn next_datagram(guest: &mut Guest) -> (SocketAddr, SocketAddr, Vec<u8>) {
    let bytes = next_packet(guest);
    let packet = Ipv4Packet::new_checked(bytes.as_slice()).unwrap();
    assert!(packet.verify_checksum());
    let datagram =
        Datagram::parse(packet.src_addr().into(), packet.dst_addr().into(), packet.payload()).unwrap();
    (datagram.source, datagram.destination, datagram.payload.to_vec())
}

#[test]
fn datagrams_go_out_and_answers_come_back() {
    let mut guest = Guest::new();
    guest.send_packet(&datagram::packet(own(5000), at("9.9.9.9:123"), b"what time"));
    guest.send_packet(&datagram::packet(own(5000), at("9.9.9.9:123"), b" is it"));
    guest.gateway.advance_to(0);
    guest.outside.with_flow(|flow| {
        assert_eq!(flow.destination, Some((Transport::Udp, at("9.9.9.9:123"))));
        assert_eq!(flow.received, b"what time is it");
        flow.to_send.push_back(b"noon".to_vec());
        flow.to_send.push_back(vec![0; 2000]);
        flow.to_send.push_back(b"".to_vec());
    });
    assert_eq!(next_datagram(&mut guest), (at("9.9.9.9:123"), own(5000), b"noon".to_vec()));
    assert_eq!(next_datagram(&mut guest), (at("9.9.9.9:123"), own(5000), b"".to_vec()));
    assert_eq!(guest.gateway.receive(), None);
    assert_eq!(guest.gateway.open_flows(), 1);
}

#[test]
fn an_exchange_ends_when_it_is_silent() {
    let mut guest = Guest::new();
    guest.send_packet(&datagram::packet(own(5000), at("9.9.9.9:123"), b"?"));
    guest.sleep(100);
    assert_eq!(guest.outside.open_flows(), 1);
    guest.sleep(100);
    assert_eq!(guest.outside.open_flows(), 0);
    assert_eq!(guest.gateway.open_flows(), 0);
}

#[test]
fn exchanges_do_not_pile_up() {
    let mut guest = Guest::new();
    for port in 1..=5000 {
        guest.send_packet(&datagram::packet(own(port), at("9.9.9.9:123"), b"?"));
        guest.gateway.advance_to(u64::from(port));
    }
    assert_eq!(guest.gateway.open_flows(), 2048);
    assert_eq!(guest.outside.open_flows(), 2048);
}

fn unreachable_reason(packet: &[u8]) -> Icmpv4DstUnreachable {
    let packet = Ipv4Packet::new_checked(packet).unwrap();
    assert_eq!((packet.src_addr(), packet.dst_addr()), (subnet::GATEWAY, ADDRESS));
    let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
    match Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).unwrap() {
        Icmpv4Repr::DstUnreachable { reason, header, .. } => {
            assert_eq!(header.src_addr, ADDRESS);
            reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_forbidden_destination_is_said_to_be_so() {
    let mut guest = Guest::new();
    guest.outside.state().refusal = Some(FlowError::Forbidden);
    guest.send_packet(&datagram::packet(own(5000), at("192.168.1.1:53"), b"?"));
    assert_eq!(unreachable_reason(&next_packet(&mut guest)), Icmpv4DstUnreachable::HostProhibited);
    assert_eq!(guest.gateway.open_flows(), 0);
}

#[test]
fn names_are_asked_outside_and_own_names_are_not() {
    let mut guest = Guest::new();
    let server = SocketAddr::new(subnet::GATEWAY.into(), 53);
    let mut question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07gateway\0\0\x01\0\x01".to_vec();
    guest.send_packet(&datagram::packet(own(6000), server, &question));
    let (from, to, answer) = next_datagram(&mut guest);
    assert_eq!((from, to), (server, own(6000)));
    assert_eq!(answer[answer.len() - 4..], subnet::GATEWAY.octets());

    question[13] = b'n';
    guest.send_packet(&datagram::packet(own(6000), server, &question));
    let (id, asked) = guest.outside.state().questions[0].clone();
    assert_eq!(asked, question);
    // An answer that is too long comes back as a question to ask again by TCP.
    let mut answer = question.clone();
    answer[2] |= 0x80;
    answer[7] = 200;
    answer.resize(4000, 0);
    guest.outside.state().answers.push_back((QueryId(id.0), Some(answer)));
    let (_, to, answer) = next_datagram(&mut guest);
    assert_eq!((to, answer.len()), (own(6000), question.len()));
    assert_eq!(answer[..8], [0x12, 0x34, 0x83, 0, 0, 1, 0, 0]);
}

fn echo_request(to: std::net::Ipv4Addr) -> Vec<u8> {
    let request = Icmpv4Repr::EchoRequest { ident: 7, seq_no: 1, data: b"are you there" };
    datagram::ipv4_packet(ADDRESS, to, IpProtocol::Icmp, request.buffer_len(), |bytes| {
        request.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    })
}

#[test]
fn the_gateway_and_the_host_answer_an_echo_and_others_cannot() {
    let mut guest = Guest::new();
    for address in [subnet::GATEWAY, subnet::HOST] {
        guest.send_packet(&echo_request(address));
        let bytes = next_packet(&mut guest);
        let packet = Ipv4Packet::new_checked(bytes.as_slice()).unwrap();
        assert_eq!((packet.src_addr(), packet.dst_addr()), (address, ADDRESS));
        let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
        let reply = Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::default()).unwrap();
        assert_eq!(reply, Icmpv4Repr::EchoReply { ident: 7, seq_no: 1, data: b"are you there" });
    }
    guest.send_packet(&echo_request("9.9.9.9".parse().unwrap()));
    assert_eq!(unreachable_reason(&next_packet(&mut guest)), Icmpv4DstUnreachable::NetProhibited);
}
