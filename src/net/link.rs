//! The gateway's end of the cable: Ethernet and ARP, and who is where.

use super::{datagram, ipv6, subnet};
use crate::host::{Acceptance, Frame, Offload, PartialChecksum, Segmentation};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet, Ipv6Packet,
};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest IP packet of the cable, in bytes.
pub const MTU: usize = 1500;
/// Bytes of an Ethernet header.
pub const ETHERNET_HEADER: usize = 14;

/// Streams stop to fill the queue to the guest at so many bytes, datagrams and answers at twice as many. A
/// guest that is not scheduled for a moment must not stop a stream; one that is stopped must not cost more.
const QUEUE_BYTES: usize = 512 << 10;
/// Addresses of the guest that are remembered: its own and those of bridged containers.
const MAX_NEIGHBORS: usize = 256;

/// Frames that wait for the guest, and the hardware addresses of the network.
#[derive(Debug, Default)]
pub struct Link {
    frames: VecDeque<Frame<Vec<u8>>>,
    queued_bytes: usize,
    neighbors: VecDeque<(IpAddr, EthernetAddress)>,
    accepted: Acceptance,
}

/// An IP packet from the guest to one address, or by IPv6 to all of a group. Both addresses are of one version.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The address of the guest from which it comes; unspecified while the guest asks for one.
    pub source: IpAddr,
    /// Where it goes.
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: IpProtocol,
    /// The whole packet, without what may follow it in the frame.
    pub bytes: &'a [u8],
    /// What follows its header.
    pub payload: &'a [u8],
}

impl Link {
    /// Which frames the guest accepts.
    pub fn accepted(&self) -> Acceptance {
        self.accepted
    }

    /// Begins anew with a guest that accepts these frames.
    pub fn restart(&mut self, accepted: Acceptance) {
        *self = Self { accepted, ..Self::default() };
    }

    /// Whether streams may send.
    pub fn has_room(&self) -> bool {
        self.queued_bytes < QUEUE_BYTES
    }

    /// The next frame for the guest.
    pub fn pop(&mut self) -> Option<Frame<Vec<u8>>> {
        let frame = self.frames.pop_front()?;
        self.queued_bytes -= frame.bytes.len();
        Some(frame)
    }

    /// Looks into a frame of the guest: answers ARP, returns what is IP and for us.
    pub fn open<'a>(&mut self, frame: &'a [u8]) -> Option<Packet<'a>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let to = ethernet.dst_addr();
        // Groups of IPv6 (RFC 2464 §7).
        let is_group = to.as_bytes().starts_with(&[0x33, 0x33]);
        if to != EthernetAddress(subnet::GATEWAY_HARDWARE) && !to.is_broadcast() && !is_group {
            return None;
        }
        match ethernet.ethertype() {
            EthernetProtocol::Arp => {
                self.answer_arp(ethernet.payload());
                None
            }
            EthernetProtocol::Ipv4 if !is_group => self.open_ipv4(ethernet.src_addr(), ethernet.payload()),
            EthernetProtocol::Ipv6 => self.open_ipv6(ethernet.src_addr(), ethernet.payload()),
            _ => None,
        }
    }

    fn open_ipv4<'a>(&mut self, from: EthernetAddress, bytes: &'a [u8]) -> Option<Packet<'a>> {
        let packet = Ipv4Packet::new_checked(bytes).ok()?;
        let (source, destination) = (packet.src_addr(), packet.dst_addr());
        let is_fragment = packet.more_frags() || packet.frag_offset() != 0;
        let header = usize::from(packet.header_len());
        let end = usize::from(packet.total_len());
        if packet.version() != 4 || is_fragment || header < super::datagram::IPV4_HEADER {
            return None;
        }
        let is_sender_valid = subnet::is_guest(source) || source.is_unspecified();
        let is_for_one = !destination.is_multicast() && !destination.is_unspecified();
        if !is_sender_valid || !is_for_one {
            return None;
        }
        if subnet::is_guest(source) {
            self.learn(source.into(), from);
        }
        let bytes = bytes.get(..end)?;
        let payload = bytes.get(header..)?;
        let (source, destination) = (source.into(), destination.into());
        Some(Packet { source, destination, protocol: packet.next_header(), bytes, payload })
    }

    /// Packets with extension headers carry nothing that is looked at here: fragments, and reports of group members.
    fn open_ipv6<'a>(&mut self, from: EthernetAddress, bytes: &'a [u8]) -> Option<Packet<'a>> {
        let packet = Ipv6Packet::new_checked(bytes).ok()?;
        let (source, destination) = (packet.src_addr(), packet.dst_addr());
        let is_guest = subnet::is_guest_v6(source);
        // Without an address, the guest asks whether the one that it wants is free, and for routers.
        if packet.version() != 6 || !(is_guest || source.is_unspecified()) || destination.is_unspecified() {
            return None;
        }
        if is_guest {
            self.learn(source.into(), from);
        }
        let bytes = bytes.get(..packet.total_len())?;
        let payload = bytes.get(ipv6::HEADER..)?;
        let (source, destination) = (source.into(), destination.into());
        Some(Packet { source, destination, protocol: packet.next_header(), bytes, payload })
    }

    /// Remembers where an address of the guest is.
    pub fn learn(&mut self, address: IpAddr, hardware: EthernetAddress) {
        if !hardware.is_unicast() {
            return;
        }
        if let Some(known) = self.neighbors.iter_mut().find(|(known, _)| *known == address) {
            known.1 = hardware;
            return;
        }
        if self.neighbors.len() >= MAX_NEIGHBORS {
            self.neighbors.pop_front();
        }
        self.neighbors.push_back((address, hardware));
    }

    fn answer_arp(&mut self, bytes: &[u8]) {
        let Ok(packet) = ArpPacket::new_checked(bytes) else { return };
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: asker,
            source_protocol_addr: asker_address,
            target_protocol_addr: wanted,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return;
        };
        if subnet::is_guest(asker_address) {
            self.learn(asker_address.into(), asker);
        }
        if operation == ArpOperation::Request && subnet::is_ours(wanted) {
            self.send_arp(ArpOperation::Reply, wanted, asker, asker_address);
        }
    }

    fn send_arp(&mut self, operation: ArpOperation, own: Ipv4Addr, to: EthernetAddress, address: Ipv4Addr) {
        let arp = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: EthernetAddress(subnet::GATEWAY_HARDWARE),
            source_protocol_addr: own,
            target_hardware_addr: to,
            target_protocol_addr: address,
        };
        let mut bytes = vec![0; ETHERNET_HEADER + arp.buffer_len()];
        arp.emit(&mut ArpPacket::new_unchecked(bytes.get_mut(ETHERNET_HEADER..).unwrap_or_default()));
        self.push(EthernetProtocol::Arp, to, Frame::complete(bytes));
    }

    /// Sends a complete IP packet to the guest.
    pub fn send(&mut self, packet: &[u8]) {
        let mut bytes = vec![0; ETHERNET_HEADER];
        bytes.extend_from_slice(packet);
        self.send_frame(Frame::complete(bytes));
    }

    /// Sends a TCP packet for which room for an Ethernet header was left in front. Its checksum was left out if
    /// the guest accepts that. `segment_bytes`: how to cut it, if it is larger than the cable's packets.
    pub fn send_tcp(&mut self, mut bytes: Vec<u8>, segment_bytes: Option<u16>) {
        let mut offload = Offload::default();
        if self.accepted.partial_checksum
            && let Some((start, header_bytes)) = prepare_checksum(&mut bytes)
        {
            offload.checksum = Some(PartialChecksum { start, offset: TCP_CHECKSUM as u16 });
            offload.segment = segment_bytes.map(|payload_bytes| Segmentation { header_bytes, payload_bytes });
        }
        self.send_frame(Frame { bytes, offload });
    }

    fn send_frame(&mut self, frame: Frame<Vec<u8>>) {
        let packet = frame.bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        let Some(destination) = destination(packet) else { return };
        let ethertype = match destination {
            IpAddr::V4(_) => EthernetProtocol::Ipv4,
            IpAddr::V6(_) => EthernetProtocol::Ipv6,
        };
        let known = || self.neighbors.iter().find(|(address, _)| *address == destination);
        let hardware = match destination {
            IpAddr::V4(Ipv4Addr::BROADCAST) => EthernetAddress::BROADCAST,
            IpAddr::V6(group) if group.is_multicast() => group_hardware(group),
            _ => match (known(), destination) {
                (Some((_, hardware)), _) => *hardware,
                // The packet is lost; what it belongs to sends it again when the answer is there.
                (None, IpAddr::V4(wanted)) => {
                    let everybody = EthernetAddress::BROADCAST;
                    return self.send_arp(ArpOperation::Request, subnet::GATEWAY, everybody, wanted);
                }
                // The guest is only answered by IPv6: whoever it is has been heard.
                (None, IpAddr::V6(_)) => return,
            },
        };
        self.push(ethertype, hardware, frame);
    }

    fn push(&mut self, ethertype: EthernetProtocol, to: EthernetAddress, mut frame: Frame<Vec<u8>>) {
        if self.queued_bytes >= 2 * QUEUE_BYTES {
            return;
        }
        let header =
            EthernetRepr { src_addr: EthernetAddress(subnet::GATEWAY_HARDWARE), dst_addr: to, ethertype };
        header.emit(&mut EthernetFrame::new_unchecked(&mut frame.bytes));
        self.queued_bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }
}

/// Offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// Offset of the header's length, in words of 4 bytes in the upper half, in a TCP header.
const TCP_HEADER_LENGTH: usize = 12;

/// Where an IP packet goes.
fn destination(packet: &[u8]) -> Option<IpAddr> {
    match packet.first()? >> 4 {
        4 => Some(Ipv4Packet::new_checked(packet).ok()?.dst_addr().into()),
        6 => Some(Ipv6Packet::new_checked(packet).ok()?.dst_addr().into()),
        _ => None,
    }
}

/// The hardware address of a group (RFC 2464 §7).
fn group_hardware(group: Ipv6Addr) -> EthernetAddress {
    let [.., a, b, c, d] = group.octets();
    EthernetAddress([0x33, 0x33, a, b, c, d])
}

/// Puts the sum of the pseudo-header where a TCP packet's checksum belongs; where TCP begins, and the length of all headers.
fn prepare_checksum(frame: &mut [u8]) -> Option<(u16, u16)> {
    let bytes = frame.get(ETHERNET_HEADER..)?;
    let destination = destination(bytes)?;
    let header = datagram::header_bytes(destination);
    let segment_bytes = u32::try_from(bytes.len().checked_sub(header)?).ok()?;
    let addresses = bytes.get(if destination.is_ipv4() { 12..20 } else { 8..40 })?;
    let words = addresses.chunks(2).map(|word| word.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)));
    let mut sum = words.sum::<u32>() + segment_bytes + u32::from(u8::from(IpProtocol::Tcp));
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let start = ETHERNET_HEADER + header;
    let header = frame.get_mut(start..)?;
    header.get_mut(TCP_CHECKSUM..TCP_CHECKSUM + 2)?.copy_from_slice(&(sum as u16).to_be_bytes());
    let words = header.get(TCP_HEADER_LENGTH)? >> 4;
    Some((start as u16, start as u16 + 4 * u16::from(words)))
}
