//! ICMP: echoes of the gateway itself, and the news that something cannot be reached.

use super::datagram::{IPV4_HEADER, ipv4_packet};
use super::link::Packet;
use super::subnet;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of a packet's payload that are quoted in an error, which has 576 at most (RFC 1812 §4.3.2.3).
const QUOTED_PAYLOAD: usize = 576 - 2 * IPV4_HEADER - 8;

/// Answers an echo request to the gateway or the host. Other addresses are said to be out of reach: the
/// outside carries flows, and an echo is none.
pub fn answer(packet: &Packet<'_>) -> Option<Vec<u8>> {
    let icmp = Icmpv4Packet::new_checked(packet.payload).ok()?;
    let Icmpv4Repr::EchoRequest { ident, seq_no, data } =
        Icmpv4Repr::parse(&icmp, &ChecksumCapabilities::ignored()).ok()?
    else {
        return None;
    };
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (packet.source, packet.destination) else {
        return None;
    };
    if !subnet::is_ours(destination) {
        return unreachable(packet.bytes, Icmpv4DstUnreachable::NetProhibited);
    }
    let reply = Icmpv4Repr::EchoReply { ident, seq_no, data };
    Some(message(destination, source, &reply))
}

/// Tells the sender of `packet` that it did not arrive.
pub fn unreachable(packet: &[u8], reason: Icmpv4DstUnreachable) -> Option<Vec<u8>> {
    let original = Ipv4Packet::new_checked(packet).ok()?;
    let payload = original.payload();
    let header = Ipv4Repr::parse(&original, &ChecksumCapabilities::ignored()).ok()?;
    let data = payload.get(..QUOTED_PAYLOAD).unwrap_or(payload);
    let news = Icmpv4Repr::DstUnreachable { reason, header, data };
    Some(message(subnet::GATEWAY, header.src_addr, &news))
}

fn message(source: Ipv4Addr, destination: Ipv4Addr, message: &Icmpv4Repr<'_>) -> Vec<u8> {
    debug_assert!(IPV4_HEADER + message.buffer_len() <= usize::from(u16::MAX));
    ipv4_packet(source, destination, IpProtocol::Icmp, message.buffer_len(), |bytes| {
        message.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
    })
}
