//! The guest's end of the cable: an Ethernet card with TCP, and frames by hand.

use super::Outside;
use super::card::Card;
use crate::host::{Acceptance, Frame, NetBackend};
use crate::net::{Gateway, datagram, subnet};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr, Ipv6Cidr};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

/// The address that DHCP gives first.
pub const ADDRESS: Ipv4Addr = subnet::address(2);

/// What the guest could make of the prefix.
pub const ADDRESS_V6: Ipv6Addr = Ipv6Addr::new(0xfd86, 0x6469, 0x6e67, 0, 0x5086, 0x64ff, 0xfe00, 2);

const STEP_NS: u64 = 1_000_000;

/// A guest whose cable is in the gateway.
pub struct Guest {
    pub gateway: Gateway,
    pub outside: Outside,
    pub now_ns: u64,
    pub sockets: SocketSet<'static>,
    interface: Interface,
    card: Card,
    accepted: Acceptance,
    /// Frames of the gateway that were larger than the cable's.
    pub large_frames: usize,
    /// Whether the guest takes no frames.
    pub is_stopped: bool,
    /// What the cable does to frames.
    pub faults: Option<Faults>,
}

/// A bad cable, the same in every run.
pub struct Faults {
    random: u64,
    /// A frame that others overtake.
    late: Option<Vec<u8>>,
}

impl Faults {
    pub fn new() -> Self {
        Self { random: 0x9e37_79b9_7f4a_7c15, late: None }
    }

    /// Loses one frame in twenty, lets the next ones overtake another; what arrives.
    fn pass(&mut self, frame: Vec<u8>) -> Vec<Vec<u8>> {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        match self.random % 40 {
            0 | 1 => Vec::new(),
            2 | 3 => self.late.replace(frame).into_iter().collect(),
            4..20 => std::iter::once(frame).chain(self.late.take()).collect(),
            _ => vec![frame],
        }
    }
}

impl Guest {
    /// A guest that has its address.
    pub fn new() -> Self {
        Self::accepting(Acceptance::default())
    }

    /// The same with offloads.
    pub fn accepting(accepted: Acceptance) -> Self {
        let outside = Outside::default();
        let mut gateway = Gateway::new(Box::new(outside.clone()), Box::new(outside.clone()), 1);
        gateway.set_accepted(accepted);
        let mut card = Card::new(!accepted.partial_checksum);
        let address = EthernetAddress(subnet::GUEST_HARDWARE);
        let config = Config::new(HardwareAddress::Ethernet(address));
        let mut interface = Interface::new(config, &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(ADDRESS, subnet::PREFIX_BITS))).unwrap();
            addresses.push(IpCidr::Ipv6(Ipv6Cidr::new(ADDRESS_V6, subnet::PREFIX_BITS_V6))).unwrap();
        });
        interface.routes_mut().add_default_ipv6_route(subnet::GATEWAY_V6).unwrap();
        interface.routes_mut().add_default_ipv4_route(subnet::GATEWAY).unwrap();
        let mut guest = Self {
            gateway,
            outside,
            now_ns: 0,
            sockets: SocketSet::new([]),
            interface,
            card,
            accepted,
            large_frames: 0,
            is_stopped: false,
            faults: None,
        };
        guest.request_address();
        guest
    }

    /// Takes the first lease without asking who offers it.
    fn request_address(&mut self) {
        let mut message = vec![0; 240];
        message[..4].copy_from_slice(&[1, 1, 6, 0]);
        message[28..34].copy_from_slice(&subnet::GUEST_HARDWARE);
        message[236..240].copy_from_slice(&[0x63, 0x82, 0x53, 0x63]);
        message.extend([53, 1, 3, 50, 4]);
        message.extend(ADDRESS.octets());
        message.push(255);
        let from = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68);
        let to = SocketAddrV4::new(Ipv4Addr::BROADCAST, 67);
        self.send_packet(&datagram::packet(from, to, &message));
        let answer = self.gateway.receive().unwrap();
        assert_eq!(answer.bytes[..6], [0xff; 6]);
    }

    /// Sends an IP packet.
    pub fn send_packet(&mut self, packet: &[u8]) {
        let mut frame = subnet::GATEWAY_HARDWARE.to_vec();
        frame.extend(subnet::GUEST_HARDWARE);
        frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
        frame.extend(packet);
        self.send_frame(&frame);
    }

    pub fn send_frame(&mut self, frame: &[u8]) {
        self.gateway.send(Frame::complete(frame));
    }

    /// Opens a connection to `destination`.
    pub fn connect(&mut self, destination: &str, local_port: u16) -> SocketHandle {
        let destination: SocketAddr = destination.parse().unwrap();
        let mut socket = new_socket();
        let to = (destination.ip(), destination.port());
        socket.connect(self.interface.context(), to, local_port).unwrap();
        self.sockets.add(socket)
    }

    /// Waits for a connection to `port`.
    pub fn listen(&mut self, port: u16) -> SocketHandle {
        let mut socket = new_socket();
        socket.listen(port).unwrap();
        self.sockets.add(socket)
    }

    pub fn socket(&mut self, handle: SocketHandle) -> &mut Socket<'static> {
        self.sockets.get_mut(handle)
    }

    pub fn tcp_state(&mut self, handle: SocketHandle) -> State {
        self.socket(handle).state()
    }

    /// Reads what has come.
    pub fn read(&mut self, handle: SocketHandle) -> Vec<u8> {
        let mut bytes = Vec::new();
        let socket = self.socket(handle);
        while socket.can_recv() {
            bytes.extend(socket.recv(|data| (data.len(), data.to_vec())).unwrap());
        }
        bytes
    }

    /// Lets a millisecond pass on both ends.
    pub fn step(&mut self) {
        self.now_ns += STEP_NS;
        self.exchange();
    }

    pub fn steps(&mut self, count: usize) {
        for _ in 0..count {
            self.step();
        }
    }

    /// Lets time pass in which nothing happens.
    pub fn sleep(&mut self, seconds: u64) {
        for _ in 0..10 * seconds {
            self.now_ns += 100_000_000;
            self.exchange();
        }
    }

    fn exchange(&mut self) {
        let now = Instant::from_micros((self.now_ns / 1000) as i64);
        self.interface.poll(now, &mut self.card, &mut self.sockets);
        while let Some(frame) = self.card.outgoing.pop_front() {
            let arriving = match &mut self.faults {
                Some(faults) => faults.pass(frame),
                None => vec![frame],
            };
            for frame in arriving {
                self.gateway.send(Frame::complete(&frame));
            }
        }
        self.gateway.advance_to(self.now_ns);
        while !self.is_stopped
            && let Some(frame) = self.gateway.receive()
        {
            self.check_offload(&frame);
            match &mut self.faults {
                Some(faults) => self.card.incoming.extend(faults.pass(frame.bytes)),
                None => self.card.incoming.push_back(frame.bytes),
            }
        }
    }

    fn check_offload(&mut self, frame: &Frame<Vec<u8>>) {
        let is_large = frame.bytes.len() > 14 + 1500;
        assert_eq!(is_large, frame.offload.segment.is_some());
        assert!(frame.offload.checksum.is_none() || self.accepted.partial_checksum);
        if let Some(segment) = frame.offload.segment {
            assert!(self.accepted.segmentation);
            assert_eq!((segment.header_bytes, segment.payload_bytes), (54, 1460));
            self.large_frames += 1;
        }
        if let Some(checksum) = frame.offload.checksum {
            let (start, addresses) = if frame.bytes[12..14] == [8, 0] { (34, 26..34) } else { (54, 22..54) };
            assert_eq!((usize::from(checksum.start), checksum.offset), (start, 16));
            let length = (frame.bytes.len() - start) as u16;
            let mut sum = 6 + u32::from(length);
            for pair in frame.bytes[addresses].chunks(2) {
                sum += u32::from(pair[0]) << 8 | u32::from(pair[1]);
            }
            let folded = (sum & 0xffff) + (sum >> 16);
            let folded = (folded & 0xffff) + (folded >> 16);
            assert_eq!(frame.bytes[start + 16..start + 18], (folded as u16).to_be_bytes());
        }
    }
}

fn new_socket() -> Socket<'static> {
    let mut socket = Socket::new(SocketBuffer::new(vec![0; 200_000]), SocketBuffer::new(vec![0; 200_000]));
    socket.set_ack_delay(None);
    socket
}
