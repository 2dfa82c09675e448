//! Packets between machines. Each has an address of its own among its peers, which the gateway puts in the place of the
//! guest's, since every guest has the same one on its cable.
//!
//! ```text
//! guest 10.86.0.2 ── gateway: 10.87.1.2 ── whoever carries packets ── 10.87.3.4 :gateway ── 10.86.0.2 guest
//! ```
//!
//! Packets that travel are whole: of the cable's size, with all checksums.

use super::link::MTU;
use crate::host::Segmentation;
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};
use std::net::Ipv4Addr;

/// Most packets that are cut out of one of the guest's: 64 KiB at the least segment size of RFC 879.
const MOST_PIECES: usize = 128;

/// The packets that go to peers for one of the guest's: from `own` instead of the guest, cut as `segment` says.
///
/// None for what is no TCP, UDP or ICMP packet, or does not fit the cable.
pub fn leaving(packet: &[u8], own: Ipv4Addr, segment: Option<Segmentation>) -> Vec<Vec<u8>> {
    let pieces = match segment {
        Some(segment) => cut(packet, segment.payload_bytes).unwrap_or_default(),
        None => vec![packet.to_vec()],
    };
    pieces.into_iter().filter_map(|piece| translated(piece, Address::Source, own)).collect()
}

/// A packet of a peer for this machine, whose address is `own`: to `guest`. `None` for what the guest must not be given.
pub fn arriving(packet: Vec<u8>, own: Ipv4Addr, guest: Ipv4Addr) -> Option<Vec<u8>> {
    let header = Ipv4Packet::new_checked(packet.as_slice()).ok()?;
    let source = header.src_addr();
    let is_for_us = header.dst_addr() == own && super::subnet::is_peer(source) && source != own;
    is_for_us.then_some(())?;
    translated(packet, Address::Destination, guest)
}

/// Which of a packet's addresses is replaced.
#[derive(Clone, Copy)]
enum Address {
    Source,
    Destination,
}

/// Replaces an address, and makes all checksums right.
fn translated(mut packet: Vec<u8>, which: Address, address: Ipv4Addr) -> Option<Vec<u8>> {
    let mut header = Ipv4Packet::new_checked(packet.as_mut_slice()).ok()?;
    let is_fragment = header.more_frags() || header.frag_offset() != 0;
    let length = usize::from(header.total_len());
    if header.version() != 4 || is_fragment || length > MTU || usize::from(header.header_len()) < 20 {
        return None;
    }
    let before = match which {
        Address::Source => header.src_addr(),
        Address::Destination => header.dst_addr(),
    };
    match which {
        Address::Source => header.set_src_addr(address),
        Address::Destination => header.set_dst_addr(address),
    }
    header.fill_checksum();
    let (source, destination) = (header.src_addr().into(), header.dst_addr().into());
    match header.next_header() {
        IpProtocol::Tcp => {
            TcpPacket::new_checked(header.payload_mut()).ok()?.fill_checksum(&source, &destination);
        }
        IpProtocol::Udp => {
            UdpPacket::new_checked(header.payload_mut()).ok()?.fill_checksum(&source, &destination);
        }
        IpProtocol::Icmp => {
            let mut message = Icmpv4Packet::new_checked(header.payload_mut()).ok()?;
            if quotes(message.msg_type()) {
                translate_quoted(message.data_mut(), before, address);
            }
            message.fill_checksum();
        }
        _ => return None,
    }
    packet.truncate(length);
    Some(packet)
}

/// Whether a message quotes the packet that it is about.
fn quotes(kind: Icmpv4Message) -> bool {
    matches!(kind, Icmpv4Message::DstUnreachable | Icmpv4Message::TimeExceeded | Icmpv4Message::ParamProblem)
}

/// A quoted packet went the other way, so the address is at its other end. Only its beginning is there.
fn translate_quoted(packet: &mut [u8], before: Ipv4Addr, after: Ipv4Addr) {
    // Version 4, and a header that is there as a whole.
    let words = packet.first().filter(|first| **first >> 4 == 4).map_or(0, |first| usize::from(first & 0xf));
    if words < 5 || packet.len() < 4 * words {
        return;
    }
    let mut header = Ipv4Packet::new_unchecked(packet);
    if header.src_addr() == before {
        header.set_src_addr(after);
    }
    if header.dst_addr() == before {
        header.set_dst_addr(after);
    }
    header.fill_checksum();
}

/// Cuts a large TCP segment over IPv4 into packets with `payload_bytes` of its stream each.
fn cut(packet: &[u8], payload_bytes: u16) -> Option<Vec<Vec<u8>>> {
    let header = Ipv4Packet::new_checked(packet).ok()?;
    if header.next_header() != IpProtocol::Tcp || payload_bytes == 0 {
        return None;
    }
    let ip_bytes = usize::from(header.header_len());
    let segment = TcpPacket::new_checked(header.payload()).ok()?;
    let headers = packet.get(..ip_bytes + usize::from(segment.header_len()))?;
    let stream = segment.payload();
    let count = stream.len().div_ceil(usize::from(payload_bytes));
    if count > MOST_PIECES {
        return None;
    }
    let mut pieces = Vec::with_capacity(count);
    for (number, payload) in stream.chunks(usize::from(payload_bytes)).enumerate() {
        let mut piece = headers.to_vec();
        piece.extend_from_slice(payload);
        let length = u16::try_from(piece.len()).ok()?;
        let mut ip = Ipv4Packet::new_unchecked(piece.as_mut_slice());
        ip.set_total_len(length);
        ip.set_ident(header.ident().wrapping_add(number as u16));
        let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
        tcp.set_seq_number(segment.seq_number() + number * usize::from(payload_bytes));
        let is_last = number + 1 == count;
        tcp.set_fin(segment.fin() && is_last);
        tcp.set_psh(segment.psh() && is_last);
        pieces.push(piece);
    }
    Some(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{datagram, subnet};
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{Icmpv4DstUnreachable, Ipv4Repr, TcpSeqNumber, UdpRepr};
    use std::net::SocketAddrV4;

    const GUEST: Ipv4Addr = subnet::address(2);
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 87, 1, 2);
    const PEER: Ipv4Addr = Ipv4Addr::new(10, 87, 3, 4);

    fn datagram(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
        datagram::packet(SocketAddrV4::new(from, 1000), SocketAddrV4::new(to, 2000), b"some bytes")
    }

    /// The addresses of a packet whose checksums are all right.
    fn verified(packet: &[u8]) -> (Ipv4Addr, Ipv4Addr) {
        let ip = Ipv4Packet::new_checked(packet).unwrap();
        assert_eq!(usize::from(ip.total_len()), packet.len());
        assert!(ip.verify_checksum());
        let (from, to) = (ip.src_addr(), ip.dst_addr());
        match ip.next_header() {
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(ip.payload()).unwrap();
                UdpRepr::parse(&udp, &from.into(), &to.into(), &ChecksumCapabilities::default()).unwrap();
            }
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
                assert!(tcp.verify_checksum(&from.into(), &to.into()));
            }
            _ => assert!(Icmpv4Packet::new_checked(ip.payload()).unwrap().verify_checksum()),
        }
        (from, to)
    }

    #[test]
    fn a_packet_travels_from_the_peers_address_to_the_guests() {
        let sent = leaving(&datagram(GUEST, PEER), OWN, None);
        let [sent] = sent.as_slice() else { panic!("{sent:?}") };
        assert_eq!(verified(sent), (OWN, PEER));
        let received = arriving(sent.clone(), PEER, GUEST).unwrap();
        assert_eq!(verified(&received), (OWN, GUEST));
    }

    #[test]
    fn what_is_for_others_or_from_nobody_does_not_arrive() {
        for (from, to) in [
            (PEER, Ipv4Addr::new(10, 87, 9, 9)),
            (OWN, OWN),
            (Ipv4Addr::new(8, 8, 8, 8), OWN),
            (GUEST, OWN),
            (subnet::GATEWAY, OWN),
        ] {
            assert_eq!(arriving(datagram(from, to), OWN, GUEST), None, "{from} {to}");
        }
        assert_eq!(arriving(Vec::new(), OWN, GUEST), None);
        assert_eq!(arriving(vec![0x45; 21], OWN, GUEST), None);
        let mut fragment = datagram(PEER, OWN);
        Ipv4Packet::new_unchecked(fragment.as_mut_slice()).set_more_frags(true);
        assert_eq!(arriving(fragment, OWN, GUEST), None);
    }

    #[test]
    fn an_error_quotes_the_address_that_its_receiver_knows() {
        // The peer's datagram, as the guest got it, and the guest's error about it.
        let original = datagram(PEER, GUEST);
        let header = Ipv4Repr::parse(
            &Ipv4Packet::new_checked(original.as_slice()).unwrap(),
            &ChecksumCapabilities::default(),
        );
        let error = smoltcp::wire::Icmpv4Repr::DstUnreachable {
            reason: Icmpv4DstUnreachable::PortUnreachable,
            header: header.unwrap(),
            data: &original[20..],
        };
        let bytes = datagram::ipv4_packet(GUEST, PEER, IpProtocol::Icmp, error.buffer_len(), |bytes| {
            error.emit(&mut Icmpv4Packet::new_unchecked(bytes), &ChecksumCapabilities::default());
        });
        let sent = leaving(&bytes, OWN, None);
        assert_eq!(verified(&sent[0]), (OWN, PEER));
        let quoted = Ipv4Packet::new_unchecked(&sent[0][28..]);
        assert_eq!((quoted.src_addr(), quoted.dst_addr()), (PEER, OWN));
        assert!(quoted.verify_checksum());
    }

    #[test]
    fn a_large_segment_is_cut() {
        let stream: Vec<u8> = (0..5000u32).map(|byte| byte as u8).collect();
        let bytes = datagram::ipv4_packet(GUEST, PEER, IpProtocol::Tcp, 20 + stream.len(), |bytes| {
            let mut tcp = TcpPacket::new_unchecked(bytes);
            tcp.set_src_port(1);
            tcp.set_dst_port(2);
            tcp.set_seq_number(TcpSeqNumber(-3000));
            tcp.set_header_len(20);
            tcp.set_ack(true);
            tcp.set_psh(true);
            tcp.set_fin(true);
            tcp.payload_mut().copy_from_slice(&stream);
        });
        let segment = Segmentation { header_bytes: 54, payload_bytes: 1460 };
        let pieces = leaving(&bytes, OWN, Some(segment));
        assert_eq!(pieces.len(), 4);
        let mut received = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            assert_eq!(verified(piece), (OWN, PEER));
            let ip = Ipv4Packet::new_checked(piece.as_slice()).unwrap();
            let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
            assert_eq!(tcp.seq_number(), TcpSeqNumber(-3000) + received.len());
            assert_eq!((tcp.fin(), tcp.psh(), tcp.ack()), (number == 3, number == 3, true));
            received.extend_from_slice(tcp.payload());
        }
        assert_eq!(received, stream);
        // Without being cut, it does not fit; and pieces of nothing have no end.
        assert_eq!(leaving(&bytes, OWN, None), Vec::<Vec<u8>>::new());
        let endless = Segmentation { header_bytes: 54, payload_bytes: 0 };
        assert_eq!(leaving(&bytes, OWN, Some(endless)), Vec::<Vec<u8>>::new());
    }
}
