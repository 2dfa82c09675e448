//! IPv6 on the cable: neighbours, the router's advertisement, echoes, and errors.
//!
//! The guest makes its address from the advertised prefix (SLAAC, RFC 4862). Of the network's own addresses each stands for
//! an IPv4 one, and so does everything in 64:ff9b::/96 (RFC 6052): the guest reaches IPv4 by IPv6.

use super::datagram::{ip_packet, transport_payload};
use super::link::{MTU, Packet};
use super::subnet;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::time::Duration;
use smoltcp::wire::{
    EthernetAddress, Icmpv6DstUnreachable, Icmpv6Packet, Icmpv6Repr, IpProtocol, Ipv6Packet, Ipv6Repr,
    NdiscNeighborFlags, NdiscPrefixInfoFlags, NdiscPrefixInformation, NdiscRepr, NdiscRouterFlags,
    RawHardwareAddress,
};
use std::net::{IpAddr, Ipv6Addr};

/// All nodes of the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// Bytes of an IPv6 header.
pub const HEADER: usize = 40;

/// The hop limit of what must not have crossed a router (RFC 4861 §6.1).
const LINK_HOP_LIMIT: u8 = 255;
/// How long the guest may use the router and the prefix: a day, which is told anew at each question.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Bytes of an error at most (RFC 4443 §2.4), less its headers and its own eight bytes.
const QUOTED: usize = 1280 - 2 * HEADER - 8;

/// Answers what the guest says in ICMPv6: who is where, where the router is, and echoes.
pub fn answer(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let (IpAddr::V6(source), IpAddr::V6(destination)) = (packet.source, packet.destination) else {
        return None;
    };
    let message = Icmpv6Packet::new_checked(packet.payload).ok()?;
    match Icmpv6Repr::parse(&source, &destination, &message, &ChecksumCapabilities::ignored()).ok()? {
        Icmpv6Repr::EchoRequest { ident, seq_no, data } => {
            if !subnet::is_ours_v6(destination) {
                return unreachable(packet.bytes, Icmpv6DstUnreachable::AdminProhibit);
            }
            let reply = Icmpv6Repr::EchoReply { ident, seq_no, data };
            Some(self::message(destination, source, 64, &reply))
        }
        Icmpv6Repr::Ndisc(NdiscRepr::RouterSolicit { .. }) => Some(advertisement()),
        Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit { target_addr, .. })
            if subnet::is_ours_v6(target_addr) =>
        {
            // Who looks whether an address is free has none yet: all are told.
            let (to, solicited) = match source.is_unspecified() {
                true => (ALL_NODES, NdiscNeighborFlags::empty()),
                false => (source, NdiscNeighborFlags::SOLICITED),
            };
            let flags = NdiscNeighborFlags::ROUTER | NdiscNeighborFlags::OVERRIDE | solicited;
            let lladdr = Some(own_hardware());
            let advert = NdiscRepr::NeighborAdvert { flags, target_addr, lladdr };
            Some(self::message(target_addr, to, LINK_HOP_LIMIT, &Icmpv6Repr::Ndisc(advert)))
        }
        _ => None,
    }
}

/// Tells all that this is the router, and which prefix they make their addresses from.
pub fn advertisement() -> Vec<u8> {
    let prefix = NdiscPrefixInformation {
        prefix_len: subnet::PREFIX_BITS_V6,
        flags: NdiscPrefixInfoFlags::ON_LINK | NdiscPrefixInfoFlags::ADDRCONF,
        valid_lifetime: LIFETIME,
        preferred_lifetime: LIFETIME,
        prefix: subnet::PREFIX_V6,
    };
    let advert = NdiscRepr::RouterAdvert {
        hop_limit: 64,
        flags: NdiscRouterFlags::empty(),
        // Its field has 16 bits of seconds.
        router_lifetime: Duration::from_secs(9000),
        reachable_time: Duration::ZERO,
        retrans_time: Duration::ZERO,
        lladdr: Some(own_hardware()),
        mtu: Some(MTU as u32),
        prefix_info: Some(prefix),
    };
    message(subnet::GATEWAY_LINK_LOCAL, ALL_NODES, LINK_HOP_LIMIT, &Icmpv6Repr::Ndisc(advert))
}

/// Tells the sender of `packet` that it did not arrive.
pub fn unreachable(packet: &[u8], reason: Icmpv6DstUnreachable) -> Option<Vec<u8>> {
    let original = Ipv6Packet::new_checked(packet).ok()?;
    let header = Ipv6Repr::parse(&original).ok()?;
    let payload = original.payload();
    let data = payload.get(..QUOTED).unwrap_or(payload);
    let news = Icmpv6Repr::DstUnreachable { reason, header, data };
    Some(message(subnet::GATEWAY_V6, header.src_addr, 64, &news))
}

fn message(source: Ipv6Addr, destination: Ipv6Addr, hop_limit: u8, message: &Icmpv6Repr<'_>) -> Vec<u8> {
    let length = message.buffer_len();
    let mut bytes = ip_packet(source.into(), destination.into(), IpProtocol::Icmpv6, length, hop_limit);
    let buffer = transport_payload(&mut bytes, source.into());
    let mut packet = Icmpv6Packet::new_unchecked(buffer);
    message.emit(&source, &destination, &mut packet, &ChecksumCapabilities::default());
    bytes
}

fn own_hardware() -> RawHardwareAddress {
    EthernetAddress(subnet::GATEWAY_HARDWARE).into()
}
