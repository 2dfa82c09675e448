//! Which destinations the guest may reach.

use std::net::{Ipv4Addr, SocketAddrV4};
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
    pub fn permits(&self, destination: SocketAddrV4) -> bool {
        is_public(*destination.ip()) || self.allowed.iter().any(|allowed| allowed.contain(destination))
    }
}

/// Whether `address` belongs to one host of the public internet (RFC 6890 and its registry).
pub fn is_public(address: Ipv4Addr) -> bool {
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

/// A block of addresses, and one port or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destinations {
    network: Ipv4Addr,
    prefix_bits: u8,
    port: Option<u16>,
}

impl Destinations {
    fn contain(&self, destination: SocketAddrV4) -> bool {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_bits)).unwrap_or(0);
        let differing = u32::from(*destination.ip()) ^ u32::from(self.network);
        differing & mask == 0 && self.port.is_none_or(|port| port == destination.port())
    }
}

impl FromStr for Destinations {
    type Err = &'static str;

    /// Reads `ADDRESS[/BITS][:PORT]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (block, port) = match text.split_once(':') {
            Some((block, port)) => (block, Some(port.parse().map_err(|_| "the port is no number to 65535")?)),
            None => (text, None),
        };
        let (address, bits) = match block.split_once('/') {
            Some((address, bits)) => (address, bits.parse().map_err(|_| "the prefix is no number to 32")?),
            None => (block, 32),
        };
        let network = address.parse().map_err(|_| "the address is no IPv4 address")?;
        if bits > 32 {
            return Err("the prefix is no number to 32");
        }
        Ok(Self { network, prefix_bits: bits, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(text: &str) -> SocketAddrV4 {
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
    fn what_is_no_rule_is_refused() {
        for text in ["", "localhost", "10.0.0.0/33", "10.0.0.1:x", "10.0.0.1:70000", "10.0.0.0/x", "1.2.3"] {
            assert!(text.parse::<Destinations>().is_err(), "{text}");
        }
    }
}
