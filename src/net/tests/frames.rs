//! ARP, and frames that no honest guest sends.

use super::Guest;
use super::guest::{ADDRESS, ADDRESS_V6};
use crate::host::NetBackend;
use crate::net::subnet;
use std::net::{Ipv4Addr, Ipv6Addr};

fn arp_request(sender: Ipv4Addr, wanted: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(subnet::GUEST_HARDWARE);
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(subnet::GUEST_HARDWARE);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(wanted.octets());
    frame
}

#[test]
fn the_gateway_and_the_host_are_found_and_nobody_else() {
    let mut guest = Guest::new();
    for wanted in [subnet::GATEWAY, subnet::HOST, subnet::SERVICES] {
        guest.send_frame(&arp_request(ADDRESS, wanted));
        let reply = guest.gateway.receive().unwrap().bytes;
        assert_eq!(reply[..6], subnet::GUEST_HARDWARE);
        assert_eq!(reply[20..22], [0, 2]);
        assert_eq!(reply[22..28], subnet::GATEWAY_HARDWARE);
        assert_eq!(reply[28..32], wanted.octets());
    }
    // A client that looks whether its new address is taken must hear nothing.
    guest.send_frame(&arp_request(Ipv4Addr::UNSPECIFIED, ADDRESS));
    guest.send_frame(&arp_request(ADDRESS, subnet::address(77)));
    assert_eq!(guest.gateway.receive(), None);
}

const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

/// Frames of each kind that the gateway looks into.
fn seeds() -> Vec<Vec<u8>> {
    let ethernet = |packet: &[u8]| {
        let mut frame = subnet::GATEWAY_HARDWARE.to_vec();
        frame.extend(subnet::GUEST_HARDWARE);
        frame.extend([8, 0]);
        frame.extend(packet);
        frame
    };
    let ipv4 = |protocol: u8, to: Ipv4Addr, payload: &[u8]| {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend(ADDRESS.octets());
        packet.extend(to.octets());
        packet.extend(payload);
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        ethernet(&packet)
    };
    let ipv6 = |protocol: u8, to: Ipv6Addr, payload: &[u8]| {
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([protocol, 255]);
        packet.extend(ADDRESS_V6.octets());
        packet.extend(to.octets());
        packet.extend(payload);
        let mut frame = ethernet(&packet);
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame
    };
    let mut neighbor = vec![135, 0, 0, 0, 0, 0, 0, 0];
    neighbor.extend(subnet::GATEWAY_V6.octets());
    neighbor.extend([1, 1]);
    neighbor.extend(subnet::GUEST_HARDWARE);
    let udp = |port: u16, payload: &[u8]| {
        let mut datagram = vec![0x13, 0x88];
        datagram.extend(port.to_be_bytes());
        datagram.extend((payload.len() as u16 + 8).to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(payload);
        datagram
    };
    let outside = Ipv4Addr::new(9, 9, 9, 9);
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07gateway\0\0\x01\0\x01";
    let mut dhcp = vec![1, 1, 6, 0];
    dhcp.resize(236, 0);
    dhcp[28..34].copy_from_slice(&subnet::GUEST_HARDWARE);
    dhcp.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 55, 2, 1, 3, 255]);
    let tcp = |flags: u8, options: &[u8]| {
        let mut segment = vec![0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0];
        segment.extend([5 + (options.len() / 4) as u8, 0].map(|byte| byte << 4));
        segment[13] = flags;
        segment.extend([0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(options);
        segment
    };
    vec![
        arp_request(ADDRESS, subnet::GATEWAY),
        ipv4(17, subnet::GATEWAY, &udp(53, question)),
        ipv4(17, subnet::GATEWAY, &udp(67, &dhcp)),
        ipv4(17, outside, &udp(1234, b"datagram")),
        ipv4(1, subnet::GATEWAY, &[8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3]),
        ipv4(6, outside, &tcp(2, &[2, 4, 5, 180, 1, 3, 3, 7])),
        ipv4(6, outside, &tcp(0x10, &[])),
        ipv4(6, outside, &tcp(0x18, &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2])),
        ipv4(99, outside, b"?"),
        ipv6(58, subnet::GATEWAY_V6, &[128, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3]),
        ipv6(58, ALL_ROUTERS, &[133, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 9]),
        ipv6(58, subnet::GATEWAY_V6, &neighbor),
        ipv6(17, subnet::SERVICES_V6, &udp(53, question)),
        ipv6(6, subnet::HOST_V6, &tcp(2, &[2, 4, 5, 180, 1, 3, 3, 7])),
        ipv6(0, ALL_ROUTERS, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0]),
    ]
}

#[test]
fn no_frame_stops_the_gateway_or_makes_it_keep_more_than_its_bounds() {
    let mut guest = Guest::new();
    let seeds = seeds();
    let mut random = 0x1234_5678_9abc_def1u64;
    let mut next = |limit: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % limit as u64) as usize
    };
    for round in 0..200_000u64 {
        let mut frame = seeds[next(seeds.len())].clone();
        for _ in 0..next(6) {
            let at = next(frame.len());
            frame[at] = match next(4) {
                0 => 0,
                1 => 0xff,
                2 => frame[at] ^ 1 << next(8),
                _ => next(256) as u8,
            };
        }
        if next(8) == 0 {
            frame.truncate(next(frame.len()));
        }
        guest.send_frame(&frame);
        if round % 64 == 0 {
            guest.now_ns += 1_000_000;
            guest.gateway.advance_to(guest.now_ns);
            // Now and then, a guest that takes nothing for a while.
            if round % 16_384 < 8_192 {
                while let Some(frame) = guest.gateway.receive() {
                    assert!(frame.bytes.len() >= 14 + 28);
                }
            }
        }
    }
    assert!(guest.gateway.open_flows() <= 4096 + 2048);
    // And it still works.
    while guest.gateway.receive().is_some() {}
    guest.send_frame(&arp_request(ADDRESS, subnet::GATEWAY));
    assert!(guest.gateway.receive().is_some());
}
