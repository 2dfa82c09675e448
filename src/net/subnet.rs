//! The network on the guest's cable: who is where.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// Bits of the network's prefix.
pub const PREFIX_BITS: u8 = 24;

/// The mask of the network.
pub const MASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);

/// The gateway: router, DHCP and name server.
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 86, 0, 1);

/// The computer on which the emulator runs: what it serves to itself, the guest reaches here if the policy
/// allows the same port of 127.0.0.1.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 86, 0, 254);

/// What the emulator serves by itself, such as the registry of images: never an address outside.
pub const SERVICES: Ipv4Addr = Ipv4Addr::new(10, 86, 0, 253);

/// Bits of the IPv6 network's prefix.
pub const PREFIX_BITS_V6: u8 = 64;

/// The IPv6 network's prefix, of those that anybody may use (RFC 4193).
pub const PREFIX_V6: Ipv6Addr = own_v6(0);

/// The gateway by IPv6, and what [`HOST`] and [`SERVICES`] are there.
pub const GATEWAY_V6: Ipv6Addr = own_v6(0x01);
/// See [`HOST`].
pub const HOST_V6: Ipv6Addr = own_v6(0xfe);
/// See [`SERVICES`].
pub const SERVICES_V6: Ipv6Addr = own_v6(0xfd);

/// The gateway on the link, as routers call themselves.
pub const GATEWAY_LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// IPv4 within IPv6 (RFC 6052): the prefix of 96 bits, in front of the IPv4 address.
const EMBEDDED: [u16; 6] = [0x64, 0xff9b, 0, 0, 0, 0];

/// The gateway's and the host's hardware address: locally administered, unicast.
pub const GATEWAY_HARDWARE: [u8; 6] = [0x52, 0x86, 0x64, 0, 0, 1];

/// The guest card's hardware address.
pub const GUEST_HARDWARE: [u8; 6] = [0x52, 0x86, 0x64, 0, 0, 2];

/// Last octets of the addresses that DHCP gives.
pub const LEASE_RANGE: std::ops::RangeInclusive<u8> = 2..=199;

/// The address of the network with this last octet.
pub const fn address(last: u8) -> Ipv4Addr {
    let [a, b, c, _] = GATEWAY.octets();
    Ipv4Addr::new(a, b, c, last)
}

/// Whether `address` may be one of the guest's own in this network.
pub fn is_guest(address: Ipv4Addr) -> bool {
    let [a, b, c, last] = address.octets();
    let [d, e, f, _] = GATEWAY.octets();
    [a, b, c] == [d, e, f] && last != 0 && last != 255 && !is_ours(address)
}

/// Whether the gateway answers for `address`.
pub fn is_ours(address: Ipv4Addr) -> bool {
    [GATEWAY, HOST, SERVICES].contains(&address)
}

/// Whether `address` may be one of a machine in the network of peers, 10.87.0.0/16.
pub fn is_peer(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    [a, b] == [10, 87] && [c, d] != [0, 0] && [c, d] != [255, 255]
}

/// Whether `address` lies in this network.
pub fn contains(address: Ipv4Addr) -> bool {
    address.octets().get(..3) == GATEWAY.octets().get(..3)
}

const fn own_v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd86, 0x6469, 0x6e67, 0, 0, 0, 0, last)
}

/// Whether the gateway answers for an IPv6 address.
pub fn is_ours_v6(address: Ipv6Addr) -> bool {
    [GATEWAY_V6, HOST_V6, SERVICES_V6, GATEWAY_LINK_LOCAL].contains(&address)
}

/// Whether `address` may be one of the guest's own.
pub fn is_guest_v6(address: Ipv6Addr) -> bool {
    let is_within = address.segments().get(..4) == PREFIX_V6.segments().get(..4);
    (is_within && address != PREFIX_V6 || address.is_unicast_link_local()) && !is_ours_v6(address)
}

/// Where a connection goes that the guest makes to `destination`: IPv6 addresses that stand for others are these, and what
/// else is of the guest's own network is nothing.
pub fn meant(destination: SocketAddr) -> Option<SocketAddr> {
    let IpAddr::V6(address) = destination.ip() else { return Some(destination) };
    let v4 = |address| Some(SocketAddrV4::new(address, destination.port()).into());
    match address {
        GATEWAY_V6 | GATEWAY_LINK_LOCAL => return v4(GATEWAY),
        HOST_V6 => return v4(HOST),
        SERVICES_V6 => return v4(SERVICES),
        _ => {}
    }
    let segments = address.segments();
    if segments.get(..6) == Some(&EMBEDDED) {
        return v4(Ipv4Addr::from_bits(address.to_bits() as u32));
    }
    // What says that it is IPv4, or has one in it, is never on a cable.
    let is_outside = segments.get(..4) != PREFIX_V6.segments().get(..4) && address.to_ipv4().is_none();
    is_outside.then_some(destination)
}
