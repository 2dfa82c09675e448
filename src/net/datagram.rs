//! UDP datagrams over IPv4, as bytes.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv4Repr, UdpPacket, UdpRepr};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Bytes of the IPv4 header that we send.
pub const IPV4_HEADER: usize = 20;
/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Most payload of a datagram in one packet of the cable, in bytes.
pub const MAX_PAYLOAD: usize = super::link::MTU - IPV4_HEADER - UDP_HEADER;

/// An IPv4 packet whose payload `fill` writes into a buffer of `length` bytes.
///
/// `length` must not exceed what a packet of the cable holds.
pub fn ipv4_packet(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: IpProtocol,
    length: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let header = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: protocol,
        payload_len: length,
        hop_limit: 64,
    };
    let mut bytes = vec![0; IPV4_HEADER + length];
    header.emit(&mut Ipv4Packet::new_unchecked(&mut bytes), &ChecksumCapabilities::default());
    fill(bytes.get_mut(IPV4_HEADER..).unwrap_or_default());
    bytes
}

/// A packet with a datagram. `payload` must not exceed [`MAX_PAYLOAD`].
pub fn packet(source: SocketAddrV4, destination: SocketAddrV4, payload: &[u8]) -> Vec<u8> {
    let header = UdpRepr { src_port: source.port(), dst_port: destination.port() };
    let length = UDP_HEADER + payload.len();
    ipv4_packet(*source.ip(), *destination.ip(), IpProtocol::Udp, length, |bytes| {
        header.emit(
            &mut UdpPacket::new_unchecked(bytes),
            &(*source.ip()).into(),
            &(*destination.ip()).into(),
            payload.len(),
            |buffer| buffer.copy_from_slice(payload),
            &ChecksumCapabilities::default(),
        );
    })
}

/// A datagram that the guest sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Where it comes from.
    pub source: SocketAddrV4,
    /// Where it goes.
    pub destination: SocketAddrV4,
    /// What it carries.
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    /// Reads the payload of an IPv4 packet; `None` when it is no datagram. Its checksum is not verified: it
    /// came by memory, and may have been left to us.
    pub fn parse(source: Ipv4Addr, destination: Ipv4Addr, bytes: &'a [u8]) -> Option<Self> {
        let packet = UdpPacket::new_checked(bytes).ok()?;
        Some(Self {
            source: SocketAddrV4::new(source, packet.src_port()),
            destination: SocketAddrV4::new(destination, packet.dst_port()),
            payload: packet.payload(),
        })
    }
}
