//! Which destinations the guest may reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Allows public addresses, and of the others only those that its rules name.
///
/// It is asked for the address to which a connection goes, after all names are resolved, so that no name, old
/// or new, can lead around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    allowed: Vec<Destinations>,
}

impl Policy {
    /// A policy that also allows `allowed`.
    pub const fn new(allowed: Vec<Destinations>) -> Self {
        Self { allowed }
    }

    /// Whether the guest may send to `destination`.
    pub fn permits(&self, destination: SocketAddr) -> bool {
        is_public(destination.ip()) || self.allowed.iter().any(|allowed| allowed.contain(destination))
    }
}

/// Whether `address` belongs to one host of the public internet (RFC 6890 and its registries).
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let is_special = match (first, second, third) {
        // This network, loopback, and from 224 up multicast, reserved, broadcast.
        (0 | 127 | 224.., ..) => true,
        // Shared by carriers; benchmarks; protocol assignments and the old 6to4 relays.
        (100, 64..=127, _) | (198, 18 | 19, _) | (192, 0, 0) | (192, 88, 99) => true,
        _ => address.is_private() || address.is_link_local() || address.is_documentation(),
    };
    !is_special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // Protocol assignments, Teredo among them; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // 6to4, which has an IPv4 address in it.
        [0x2002, ..] => false,
        [0x2000..=0x3fff, ..] => true,
        _ => false,
    }
}

/// A block of addresses, and one port or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destinations {
    network: IpAddr,
    prefix_bits: u8,
    port: Option<u16>,
}

impl Destinations {
    fn contain(&self, destination: SocketAddr) -> bool {
        let is_within = match (destination.ip(), self.network) {
            (IpAddr::V4(address), IpAddr::V4(network)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
                (address.to_bits() ^ network.to_bits()) & mask == 0
            }
            (IpAddr::V6(address), IpAddr::V6(network)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_bits)).unwrap_or(0);
                (address.to_bits() ^ network.to_bits()) & mask == 0
            }
            _ => false,
        };
        is_within && self.port.is_none_or(|port| port == destination.port())
    }
}

impl FromStr for Destinations {
    type Err = &'static str;

    /// Reads `ADDRESS[/BITS][:PORT]`; an IPv6 address stands in brackets.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, rest) = match text.strip_prefix('[') {
            Some(text) => {
                let (address, rest) = text.split_once(']').ok_or("the bracket has no end")?;
                let address: Ipv6Addr = address.parse().map_err(|_| "the address is no IPv6 address")?;
                (IpAddr::V6(address), rest)
            }
            None => {
                let (address, rest) = text.split_at(text.find(['/', ':']).unwrap_or(text.len()));
                let address: Ipv4Addr = address.parse().map_err(|_| "the address is no IPv4 address")?;
                (IpAddr::V4(address), rest)
            }
        };
        let (bits, port) = match rest.split_once(':') {
            Some((bits, port)) => (bits, Some(port.parse().map_err(|_| "the port is no number to 65535")?)),
            None => (rest, None),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = match bits.strip_prefix('/') {
            Some(bits) => bits.parse().map_err(|_| "the prefix is no number of bits")?,
            None if bits.is_empty() => most,
            None => return Err("behind the address, give /BITS, :PORT or both"),
        };
        if prefix_bits > most {
            return Err("the prefix is longer than the address");
        }
        Ok(Self { network: address, prefix_bits, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn only_public_addresses_need_no_rule() {
        let policy = Policy::default();
        for address in ["8.8.8.8:53", "1.1.1.1:443", "172.32.0.1:80", "100.128.0.1:80", "223.255.255.1:1"] {
            assert!(policy.permits(to(address)), "{address}");
        }
        for address in [
            "127.0.0.1:80",
            "127.255.0.1:80",
            "0.0.0.0:80",
            "10.1.2.3:80",
            "172.16.0.1:80",
            "172.31.9.9:80",
            "192.168.1.1:80",
            "169.254.169.254:80",
            "100.64.0.1:80",
            "192.0.0.8:80",
            "192.0.2.1:80",
            "198.18.0.1:80",
            "198.51.100.1:80",
            "203.0.113.1:80",
            "192.88.99.1:80",
            "224.0.0.1:80",
            "240.0.0.1:80",
            "255.255.255.255:80",
        ] {
            assert!(!policy.permits(to(address)), "{address}");
        }
    }

    #[test]
    fn a_rule_allows_its_block_and_port_and_no_other() {
        let policy = Policy::new(vec!["127.0.0.1:8080".parse().unwrap(), "10.1.0.0/16".parse().unwrap()]);
        assert!(policy.permits(to("127.0.0.1:8080")));
        assert!(!policy.permits(to("127.0.0.1:8081")));
        assert!(!policy.permits(to("127.0.0.2:8080")));
        assert!(policy.permits(to("10.1.255.1:1")));
        assert!(!policy.permits(to("10.2.0.1:1")));
        let all = Policy::new(vec!["0.0.0.0/0".parse().unwrap()]);
        assert!(all.permits(to("127.0.0.1:22")));
    }

    #[test]
    fn of_ipv6_too_only_public_addresses_need_no_rule() {
        let policy = Policy::new(vec!["[fd00:1::]/32:80".parse().unwrap(), "[::1]".parse().unwrap()]);
        for address in
            ["[2600::1]:80", "[2a00:1450::5]:443", "[fd00:1:2::3]:80", "[::1]:9", "[2001:200::1]:1"]
        {
            assert!(policy.permits(to(address)), "{address}");
        }
        for address in [
            "[::]:80",
            "[::ffff:127.0.0.1]:80",
            "[::127.0.0.1]:80",
            "[64:ff9b::7f00:1]:80",
            "[fe80::1]:80",
            "[fd00:2::3]:80",
            "[fd00:1:2::3]:81",
            "[ff02::1]:80",
            "[2001:db8::1]:80",
            "[2001::1]:80",
            "[2002:7f00:1::]:80",
            "[3fff::1]:80",
            "127.0.0.1:80",
        ] {
            assert!(!policy.permits(to(address)), "{address}");
        }
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        for text in [
            "",
            "localhost",
            "10.0.0.0/33",
            "10.0.0.1:x",
            "10.0.0.1:70000",
            "10.0.0.0/x",
            "1.2.3",
            "::1",
            "[::1",
            "[::1]80",
            "[::1]/129",
            "[1.2.3.4]",
        ] {
            assert!(text.parse::<Destinations>().is_err(), "{text}");
        }
    }
}
