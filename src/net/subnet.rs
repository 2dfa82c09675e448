//! The network on the guest's cable: who is where.

use std::net::Ipv4Addr;

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
