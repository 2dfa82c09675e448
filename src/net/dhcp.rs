//! The DHCP server (RFC 2131): one address for each hardware address, given again when asked again.

use super::subnet;
use smoltcp::wire::{DhcpMessageType, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The port of servers.
pub const SERVER_PORT: u16 = 67;
/// The port of clients.
pub const CLIENT_PORT: u16 = 68;

/// How long a lease lasts, in seconds. The network lives as long as its machine; a day keeps renewals rare.
const LEASE_SECONDS: u32 = 24 * 60 * 60;
/// Smallest message that every client takes (BOOTP's, RFC 951).
const MIN_MESSAGE: usize = 300;

/// Option numbers (RFC 2132).
mod option {
    pub const DNS_SERVERS: u8 = 6;
    pub const MTU: u8 = 26;
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    hardware: EthernetAddress,
    address: Ipv4Addr,
    /// Whether the client has taken it.
    is_bound: bool,
}

/// The leases of the network, oldest first.
#[derive(Debug, Default)]
pub struct DhcpServer {
    leases: Vec<Lease>,
}

impl DhcpServer {
    /// A server whose guest has taken its address before: the first one, as there is one card.
    pub fn with_guest() -> Self {
        let hardware = EthernetAddress(subnet::GUEST_HARDWARE);
        let address = subnet::address(*subnet::LEASE_RANGE.start());
        Self { leases: vec![Lease { hardware, address, is_bound: true }] }
    }

    /// The address that the guest's card has taken: where incoming connections go.
    pub fn guest(&self) -> Option<Ipv4Addr> {
        let own = EthernetAddress(subnet::GUEST_HARDWARE);
        let bound = || self.leases.iter().filter(|lease| lease.is_bound);
        bound().find(|lease| lease.hardware == own).or_else(|| bound().next()).map(|lease| lease.address)
    }

    /// The addresses that were taken, and by whom.
    pub fn taken(&self) -> impl Iterator<Item = (Ipv4Addr, EthernetAddress)> {
        self.leases.iter().filter(|lease| lease.is_bound).map(|lease| (lease.address, lease.hardware))
    }

    /// Answers a client's message with the payload of a datagram and its destination.
    pub fn answer(&mut self, message: &[u8]) -> Option<(SocketAddrV4, Vec<u8>)> {
        let packet = DhcpPacket::new_checked(message).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        let hardware = request.client_hardware_address;
        if !hardware.is_unicast() {
            return None;
        }
        match request.message_type {
            DhcpMessageType::Discover => {
                let address = self.lease(hardware, request.requested_ip)?;
                reply(&request, DhcpMessageType::Offer, address)
            }
            DhcpMessageType::Request => {
                if request.server_identifier.is_some_and(|server| server != subnet::GATEWAY) {
                    // The client has chosen another server.
                    self.leases.retain(|lease| lease.hardware != hardware);
                    return None;
                }
                let wanted = request.requested_ip.unwrap_or(request.client_ip);
                if self.lease(hardware, Some(wanted)) != Some(wanted) {
                    return reply(&request, DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED);
                }
                for lease in &mut self.leases {
                    lease.is_bound |= lease.hardware == hardware;
                }
                reply(&request, DhcpMessageType::Ack, wanted)
            }
            DhcpMessageType::Inform => reply(&request, DhcpMessageType::Ack, Ipv4Addr::UNSPECIFIED),
            DhcpMessageType::Release | DhcpMessageType::Decline => {
                self.leases.retain(|lease| lease.hardware != hardware);
                None
            }
            _ => None,
        }
    }

    /// The address of `hardware`: the one it has, else the one it wants, else the first that is free, else
    /// the one that was given first and never taken.
    fn lease(&mut self, hardware: EthernetAddress, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        if let Some(lease) = self.leases.iter().find(|lease| lease.hardware == hardware) {
            return Some(lease.address);
        }
        let is_free = |address: &Ipv4Addr| self.leases.iter().all(|lease| lease.address != *address);
        let mut range = subnet::LEASE_RANGE.map(subnet::address);
        let wanted = wanted.filter(|wanted| range.clone().any(|address| address == *wanted));
        let address = match wanted.filter(is_free).or_else(|| range.find(is_free)) {
            Some(address) => address,
            None => {
                let unused = self.leases.iter().position(|lease| !lease.is_bound)?;
                self.leases.remove(unused).address
            }
        };
        self.leases.push(Lease { hardware, address, is_bound: false });
        Some(address)
    }
}

fn reply(
    request: &DhcpRepr<'_>,
    message_type: DhcpMessageType,
    address: Ipv4Addr,
) -> Option<(SocketAddrV4, Vec<u8>)> {
    let is_refusal = message_type == DhcpMessageType::Nak;
    let gives_address = !is_refusal && !address.is_unspecified();
    let server = subnet::GATEWAY.octets();
    let mtu = (super::link::MTU as u16).to_be_bytes();
    let options = [
        DhcpOption { kind: option::DNS_SERVERS, data: &server },
        DhcpOption { kind: option::MTU, data: &mtu },
    ];
    let answer = DhcpRepr {
        message_type,
        transaction_id: request.transaction_id,
        secs: 0,
        client_hardware_address: request.client_hardware_address,
        client_ip: if is_refusal { Ipv4Addr::UNSPECIFIED } else { request.client_ip },
        your_ip: address,
        server_ip: Ipv4Addr::UNSPECIFIED,
        router: (!is_refusal).then_some(subnet::GATEWAY),
        subnet_mask: (!is_refusal).then_some(subnet::MASK),
        relay_agent_ip: Ipv4Addr::UNSPECIFIED,
        broadcast: request.broadcast,
        requested_ip: None,
        client_identifier: None,
        server_identifier: Some(subnet::GATEWAY),
        parameter_request_list: None,
        dns_servers: None,
        max_size: None,
        lease_duration: gives_address.then_some(LEASE_SECONDS),
        renew_duration: None,
        rebind_duration: None,
        additional_options: if is_refusal { &[] } else { &options },
    };
    let mut bytes = vec![0; answer.buffer_len().max(MIN_MESSAGE)];
    answer.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice())).ok()?;
    // A client that has an address hears it there; one that has none yet takes what is sent to all.
    let has_address = !is_refusal && subnet::is_guest(request.client_ip);
    let destination = if has_address { request.client_ip } else { Ipv4Addr::BROADCAST };
    Some((SocketAddrV4::new(destination, CLIENT_PORT), bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(
        server: &mut DhcpServer,
        last_octet: u8,
        message_type: DhcpMessageType,
        requested_ip: Option<Ipv4Addr>,
    ) -> Option<(DhcpMessageType, Ipv4Addr)> {
        let request = DhcpRepr {
            message_type,
            transaction_id: 0x1234_5678,
            secs: 0,
            client_hardware_address: EthernetAddress([2, 0, 0, 0, 0, last_octet]),
            client_ip: Ipv4Addr::UNSPECIFIED,
            your_ip: Ipv4Addr::UNSPECIFIED,
            server_ip: Ipv4Addr::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Addr::UNSPECIFIED,
            broadcast: false,
            requested_ip,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut DhcpPacket::new_unchecked(bytes.as_mut_slice())).unwrap();
        let (destination, answer) = server.answer(&bytes)?;
        assert_eq!(destination, SocketAddrV4::new(Ipv4Addr::BROADCAST, 68));
        assert!(answer.len() >= 300);
        let packet = DhcpPacket::new_checked(answer.as_slice()).unwrap();
        let answer = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(answer.transaction_id, 0x1234_5678);
        if answer.message_type != DhcpMessageType::Nak {
            assert_eq!(answer.router, Some(subnet::GATEWAY));
            assert_eq!(answer.subnet_mask, Some(subnet::MASK));
            assert_eq!(answer.dns_servers.unwrap().as_slice(), [subnet::GATEWAY]);
            assert_eq!(answer.lease_duration, Some(86_400));
        }
        Some((answer.message_type, answer.your_ip))
    }

    #[test]
    fn a_client_keeps_the_address_that_it_was_offered() {
        let mut server = DhcpServer::default();
        let first = subnet::address(2);
        assert_eq!(
            ask(&mut server, 9, DhcpMessageType::Discover, None),
            Some((DhcpMessageType::Offer, first))
        );
        assert_eq!(server.guest(), None);
        let acknowledged = Some((DhcpMessageType::Ack, first));
        assert_eq!(ask(&mut server, 9, DhcpMessageType::Request, Some(first)), acknowledged);
        assert_eq!(server.guest(), Some(first));
        // Another client gets another address, and the first one its own again.
        let second = Some((DhcpMessageType::Offer, subnet::address(3)));
        assert_eq!(ask(&mut server, 10, DhcpMessageType::Discover, Some(first)), second);
        assert_eq!(ask(&mut server, 9, DhcpMessageType::Request, Some(first)), acknowledged);
    }

    #[test]
    fn an_address_of_another_or_of_another_network_is_refused() {
        let mut server = DhcpServer::default();
        ask(&mut server, 9, DhcpMessageType::Discover, None);
        let refused = Some((DhcpMessageType::Nak, Ipv4Addr::UNSPECIFIED));
        assert_eq!(ask(&mut server, 10, DhcpMessageType::Request, Some(subnet::address(2))), refused);
        let foreign = Some(Ipv4Addr::new(192, 168, 1, 5));
        assert_eq!(ask(&mut server, 11, DhcpMessageType::Request, foreign), refused);
        assert_eq!(ask(&mut server, 12, DhcpMessageType::Request, Some(subnet::GATEWAY)), refused);
    }

    #[test]
    fn a_returned_guest_keeps_its_address() {
        let mut server = DhcpServer::with_guest();
        let address = subnet::address(2);
        assert_eq!(server.guest(), Some(address));
        assert_eq!(server.lease(EthernetAddress(subnet::GUEST_HARDWARE), None), Some(address));
        assert_ne!(server.lease(EthernetAddress([2, 0, 0, 0, 0, 9]), Some(address)), Some(address));
    }

    #[test]
    fn a_released_address_is_free_again_and_offers_do_not_run_out() {
        let mut server = DhcpServer::default();
        ask(&mut server, 1, DhcpMessageType::Request, Some(subnet::address(2)));
        assert_eq!(ask(&mut server, 1, DhcpMessageType::Release, None), None);
        assert_eq!(server.guest(), None);
        for client in 0..=255 {
            assert!(ask(&mut server, client, DhcpMessageType::Discover, None).is_some(), "{client}");
        }
    }

    #[test]
    fn what_is_no_message_is_not_answered() {
        let mut server = DhcpServer::default();
        assert_eq!(server.answer(&[]), None);
        assert_eq!(server.answer(&[1; 100]), None);
        assert_eq!(server.answer(&[0xff; 400]), None);
    }
}
