//! UDP datagrams and the packets around them, as bytes.

use super::ipv6;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, UdpPacket, UdpRepr};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Bytes of the IPv4 header that we send.
pub const IPV4_HEADER: usize = 20;
/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// The hop limit of what has crossed no router yet.
const HOP_LIMIT: u8 = 64;

/// Bytes of the header of a packet that we send from `address`.
pub fn header_bytes(address: IpAddr) -> usize {
    if address.is_ipv4() { IPV4_HEADER } else { ipv6::HEADER }
}

/// Most payload of a datagram in one packet of the cable to `address`, in bytes.
pub fn max_payload(address: IpAddr) -> usize {
    super::link::MTU - header_bytes(address) - UDP_HEADER
}

/// A packet with room for `length` bytes behind its header. Both addresses are of one version, and `length` does not exceed
/// what a packet of the cable holds.
pub fn ip_packet(
    source: IpAddr,
    destination: IpAddr,
    protocol: IpProtocol,
    length: usize,
    hop_limit: u8,
) -> Vec<u8> {
    let mut bytes = vec![0; header_bytes(source) + length];
    match (source, destination) {
        (IpAddr::V4(src_addr), IpAddr::V4(dst_addr)) => {
            Ipv4Repr { src_addr, dst_addr, next_header: protocol, payload_len: length, hop_limit }
                .emit(&mut Ipv4Packet::new_unchecked(&mut bytes), &ChecksumCapabilities::default());
        }
        (IpAddr::V6(src_addr), IpAddr::V6(dst_addr)) => {
            Ipv6Repr { src_addr, dst_addr, next_header: protocol, payload_len: length, hop_limit }
                .emit(&mut Ipv6Packet::new_unchecked(&mut bytes));
        }
        _ => log::error!("a packet from {source} to {destination} cannot be"),
    }
    bytes
}

/// What follows the header in a packet that [`ip_packet`] made from `source`.
pub fn transport_payload(packet: &mut [u8], source: IpAddr) -> &mut [u8] {
    packet.get_mut(header_bytes(source)..).unwrap_or_default()
}

/// An IPv4 packet whose payload `fill` writes into a buffer of `length` bytes, no more than a packet of the cable holds.
pub fn ipv4_packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut bytes = ip_packet(source.into(), destination.into(), protocol, length, HOP_LIMIT);
    fill(transport_payload(&mut bytes, source.into()));
    bytes
}

/// A packet with a datagram. `payload` must not exceed [`max_payload`].
pub fn packet(source: impl Into<SocketAddr>, destination: impl Into<SocketAddr>, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = (source.into(), destination.into());
    let header = UdpRepr { src_port: source.port(), dst_port: destination.port() };
    let length = UDP_HEADER + payload.len();
    let mut bytes = ip_packet(source.ip(), destination.ip(), IpProtocol::Udp, length, HOP_LIMIT);
    header.emit(
        &mut UdpPacket::new_unchecked(transport_payload(&mut bytes, source.ip())),
        &source.ip().into(),
        &destination.ip().into(),
        payload.len(),
        |buffer| buffer.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    bytes
}

/// A datagram that the guest sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes.
    pub destination: SocketAddr,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the payload of a packet; `None` when it is no datagram. Its checksum is not verified: it came by memory, and
    /// may have been left to us.
    pub fn parse(source: IpAddr, destination: IpAddr, bytes: &'a [u8]) -> Option<Self> {
        let packet = UdpPacket::new_checked(bytes).ok()?;
        Some(Self {
            source: SocketAddr::new(source, packet.src_port()),
            destination: SocketAddr::new(destination, packet.dst_port()),
            payload: packet.payload(),
        })
    }
}
