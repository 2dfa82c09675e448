//! IPv6 on the cable, with a guest that finds the gateway by it.

use super::Guest;
use super::guest::ADDRESS_V6;
use crate::host::{Acceptance, NetBackend};
use crate::net::{FlowError, Transport, datagram, subnet};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::tcp::State;
use smoltcp::wire::{Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, NdiscRepr, UdpPacket};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What the gateway says next in ICMPv6: to whom, and what.
fn heard(guest: &mut Guest, look: impl FnOnce(Ipv6Addr, Icmpv6Repr<'_>)) {
    let frame = guest.gateway.receive().unwrap().bytes;
    assert_eq!(frame[12..14], [0x86, 0xdd]);
    let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
    let (source, destination) = (packet.src_addr(), packet.dst_addr());
    let message = Icmpv6Packet::new_checked(packet.payload()).unwrap();
    let checksums = ChecksumCapabilities::default();
    let repr = Icmpv6Repr::parse(&source, &destination, &message, &checksums).unwrap();
    if matches!(repr, Icmpv6Repr::Ndisc(_)) {
        assert_eq!(packet.hop_limit(), 255);
    }
    look(destination, repr);
}

fn say(guest: &mut Guest, source: Ipv6Addr, destination: Ipv6Addr, message: &[u8]) {
    let mut packet =
        datagram::ip_packet(source.into(), destination.into(), IpProtocol::Icmpv6, message.len(), 255);
    packet[40..].copy_from_slice(message);
    guest.send_packet(&packet);
}

#[test]
fn who_asks_for_routers_is_given_the_prefix() {
    let mut guest = Guest::new();
    let all_routers = "ff02::2".parse().unwrap();
    say(&mut guest, Ipv6Addr::UNSPECIFIED, all_routers, &[133, 0, 0, 0, 0, 0, 0, 0]);
    heard(&mut guest, |to, message| {
        assert_eq!(to, "ff02::1".parse::<Ipv6Addr>().unwrap());
        let Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert { router_lifetime, prefix_info, mtu, .. }) = message
        else {
            panic!("{message:?}");
        };
        let prefix = prefix_info.unwrap();
        assert_eq!((prefix.prefix, prefix.prefix_len, mtu), (subnet::PREFIX_V6, 64, Some(1500)));
        assert!(router_lifetime.secs() > 0 && prefix.valid_lifetime.secs() > 0);
    });
    // A guest that goes on is told without asking.
    guest.gateway.guest_returned();
    heard(&mut guest, |_, message| {
        assert!(matches!(message, Icmpv6Repr::Ndisc(NdiscRepr::RouterAdvert { .. })));
    });
}

#[test]
fn the_gateway_answers_echoes_and_others_cannot() {
    let mut guest = Guest::new();
    for to in [subnet::GATEWAY_V6, subnet::HOST_V6, subnet::SERVICES_V6, subnet::GATEWAY_LINK_LOCAL] {
        say(&mut guest, ADDRESS_V6, to, &[128, 0, 0, 0, 0, 7, 0, 9, 1, 2, 3]);
        heard(&mut guest, |to, message| {
            assert_eq!(to, ADDRESS_V6);
            assert_eq!(message, Icmpv6Repr::EchoReply { ident: 7, seq_no: 9, data: &[1, 2, 3] });
        });
    }
    say(&mut guest, ADDRESS_V6, "2600::1".parse().unwrap(), &[128, 0, 0, 0, 0, 7, 0, 9]);
    heard(&mut guest, |_, message| assert!(matches!(message, Icmpv6Repr::DstUnreachable { .. })));
}

#[test]
fn connections_go_where_their_addresses_mean() {
    for (address, meant) in [
        ("[2600::9]:80", "[2600::9]:80"),
        ("[64:ff9b::5db8:d822]:80", "93.184.216.34:80"),
        ("[fd86:6469:6e67::fe]:80", "127.0.0.1:80"),
    ] {
        let mut guest =
            Guest::accepting(Acceptance { partial_checksum: address.contains("::9"), segmentation: false });
        let client = guest.connect(address, 40_000);
        guest.steps(10);
        assert_eq!(guest.tcp_state(client), State::Established, "{address}");
        let destination = Some((Transport::Tcp, meant.parse::<SocketAddr>().unwrap()));
        guest.outside.with_flow(|flow| assert_eq!(flow.destination, destination));
        let sent: Vec<u8> = (0..50_000u32).map(|byte| (byte / 3) as u8).collect();
        guest.socket(client).send_slice(&sent).unwrap();
        guest.outside.with_flow(|flow| {
            flow.to_send.push_back(sent.clone());
            flow.has_ended = true;
        });
        let mut received = Vec::new();
        for _ in 0..200 {
            guest.step();
            received.extend(guest.read(client));
        }
        assert!(received == sent, "{} bytes", received.len());
        guest.outside.with_flow(|flow| assert!(flow.received == sent));
        guest.socket(client).close();
        guest.steps(10);
        assert_eq!(guest.gateway.open_flows(), 0);
    }
}

#[test]
fn what_stands_for_nothing_is_refused() {
    for address in ["[fd86:6469:6e67::77]:80", "[::ffff:127.0.0.1]:80", "[64:ff9b::a56:63]:80"] {
        let mut guest = Guest::new();
        let client = guest.connect(address, 40_000);
        guest.steps(10);
        assert!(guest.outside.state().flows.is_empty(), "{address}");
        assert_ne!(guest.tcp_state(client), State::Established, "{address}");
    }
}

#[test]
fn datagrams_and_questions_are_answered_from_where_they_went() {
    let mut guest = Guest::new();
    let from = SocketAddr::new(ADDRESS_V6.into(), 5000);
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07gateway\0\0\x01\0\x01";
    let server = SocketAddr::new(subnet::GATEWAY_V6.into(), 53);
    guest.send_packet(&datagram::packet(from, server, question));
    let frame = guest.gateway.receive().unwrap().bytes;
    let packet = Ipv6Packet::new_checked(&frame[14..]).unwrap();
    let (source, destination) = (IpAddr::V6(packet.src_addr()), IpAddr::V6(packet.dst_addr()));
    assert_eq!((source, destination), (server.ip(), from.ip()));
    let answer = UdpPacket::new_checked(packet.payload()).unwrap();
    assert!(answer.verify_checksum(&source.into(), &destination.into()));
    assert_eq!(answer.payload()[answer.payload().len() - 4..], subnet::GATEWAY.octets());

    let outside: SocketAddr = "[2600::9]:123".parse().unwrap();
    guest.send_packet(&datagram::packet(from, outside, b"what time"));
    guest.steps(2);
    guest.outside.with_flow(|flow| {
        assert_eq!(flow.destination, Some((Transport::Udp, outside)));
        assert_eq!(flow.received, b"what time");
        flow.to_send.extend([b"late".to_vec(), vec![0; 1453]]);
    });
    guest.gateway.advance_to(guest.now_ns);
    let frame = guest.gateway.receive().unwrap().bytes;
    assert_eq!(frame[frame.len() - 4..], *b"late");
    assert_eq!(guest.gateway.receive(), None, "what does not fit is lost");
    // A refusal is told.
    guest.outside.state().refusal = Some(FlowError::Forbidden);
    guest.send_packet(&datagram::packet(from, "[2600::10]:123".parse::<SocketAddr>().unwrap(), b"?"));
    guest.gateway.advance_to(guest.now_ns);
    heard(&mut guest, |_, message| assert!(matches!(message, Icmpv6Repr::DstUnreachable { .. })));
}
