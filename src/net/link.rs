//! The gateway's end of the cable: Ethernet and ARP.

use super::subnet;
use crate::host::{Acceptance, Frame, Offload, PartialChecksum, Segmentation};
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Packet,
};
use std::collections::VecDeque;
use std::net::Ipv4Addr;

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
    neighbors: VecDeque<(Ipv4Addr, EthernetAddress)>,
    accepted: Acceptance,
}

/// An IPv4 packet from the guest to one address.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The address of the guest from which it comes; unspecified while the guest asks for one.
    pub source: Ipv4Addr,
    /// Where it goes.
    pub destination: Ipv4Addr,
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

    /// Looks into a frame of the guest: answers ARP, returns what is IPv4 and for us.
    pub fn open<'a>(&mut self, frame: &'a [u8]) -> Option<Packet<'a>> {
        let ethernet = EthernetFrame::new_checked(frame).ok()?;
        let to = ethernet.dst_addr();
        if to != EthernetAddress(subnet::GATEWAY_HARDWARE) && !to.is_broadcast() {
            return None;
        }
        match ethernet.ethertype() {
            EthernetProtocol::Arp => {
                self.answer_arp(ethernet.payload());
                None
            }
            EthernetProtocol::Ipv4 => self.open_ipv4(ethernet.src_addr(), ethernet.payload()),
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
            self.learn(source, from);
        }
        let bytes = bytes.get(..end)?;
        let payload = bytes.get(header..)?;
        Some(Packet { source, destination, protocol: packet.next_header(), bytes, payload })
    }

    /// Remembers where an address of the guest is.
    pub fn learn(&mut self, address: Ipv4Addr, hardware: EthernetAddress) {
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
            self.learn(asker_address, asker);
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

    /// Sends a complete IPv4 packet to the guest.
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
            && let Some(header_bytes) = prepare_checksum(&mut bytes)
        {
            let start = (ETHERNET_HEADER + super::datagram::IPV4_HEADER) as u16;
            offload.checksum = Some(PartialChecksum { start, offset: TCP_CHECKSUM as u16 });
            offload.segment = segment_bytes.map(|payload_bytes| Segmentation { header_bytes, payload_bytes });
        }
        self.send_frame(Frame { bytes, offload });
    }

    fn send_frame(&mut self, frame: Frame<Vec<u8>>) {
        let packet = frame.bytes.get(ETHERNET_HEADER..).unwrap_or_default();
        let Ok(packet) = Ipv4Packet::new_checked(packet) else { return };
        let destination = packet.dst_addr();
        let known = self.neighbors.iter().find(|(address, _)| *address == destination);
        let hardware = match known {
            _ if destination.is_broadcast() => EthernetAddress::BROADCAST,
            Some((_, hardware)) => *hardware,
            None => {
                // The packet is lost; what it belongs to sends it again when the answer is there.
                let everybody = EthernetAddress::BROADCAST;
                return self.send_arp(ArpOperation::Request, subnet::GATEWAY, everybody, destination);
            }
        };
        self.push(EthernetProtocol::Ipv4, hardware, frame);
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

/// Puts the sum of the pseudo-header where the checksum belongs; the length of all headers.
fn prepare_checksum(frame: &mut [u8]) -> Option<u16> {
    let packet = Ipv4Packet::new_checked(frame.get(ETHERNET_HEADER..)?).ok()?;
    let addresses = [packet.src_addr(), packet.dst_addr()].map(u32::from);
    let segment_bytes = packet.total_len() - u16::from(packet.header_len());
    let mut sum = u32::from(segment_bytes) + u32::from(u8::from(IpProtocol::Tcp));
    for address in addresses {
        sum += (address >> 16) + (address & 0xffff);
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    let start = ETHERNET_HEADER + super::datagram::IPV4_HEADER;
    let header = frame.get_mut(start..)?;
    header.get_mut(TCP_CHECKSUM..TCP_CHECKSUM + 2)?.copy_from_slice(&(sum as u16).to_be_bytes());
    let words = header.get(TCP_HEADER_LENGTH)? >> 4;
    Some(start as u16 + 4 * u16::from(words))
}
