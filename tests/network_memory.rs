//! What connections leave behind in the gateway and the handover: nothing, counted by the allocator.

#[path = "../src/net/tests/card.rs"]
mod card;

use card::Card;
use dinghy::host::{Acceptance, Frame, NetBackend};
use dinghy::net::handover::{Command, FlowCarrier, handover};
use dinghy::net::{Gateway, Policy, subnet};
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, Mutex};

/// The system's allocator, and how many bytes it has given and not got back.
struct Counting;

static LIVE_BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ADDRESS: Ipv4Addr = subnet::address(2);
const SERVER: (Ipv4Addr, u16) = (Ipv4Addr::new(93, 184, 216, 34), 80);
const CONNECTIONS: u32 = 10_000;
/// After so many, queues have the room that they keep.
const FIRST: u32 = 100;

/// How a connection ends.
#[derive(Clone, Copy)]
enum End {
    GuestFirst,
    OutsideFirst,
    GuestResets,
    OutsideResets,
    Refused,
}

const ENDS: [End; 5] =
    [End::GuestFirst, End::OutsideFirst, End::GuestResets, End::OutsideResets, End::Refused];

struct Guest {
    gateway: Gateway,
    carrier: FlowCarrier,
    interface: Interface,
    card: Card,
    sockets: SocketSet<'static>,
    now_ms: u64,
    next_port: u16,
    end: End,
}

impl Guest {
    fn new() -> Self {
        let (flows, resolver, carrier) = handover(Policy::default(), None, Arc::new(Mutex::new(|| ())));
        let mut gateway = Gateway::new(Box::new(flows), Box::new(resolver), 1);
        gateway.set_accepted(Acceptance::default());
        let mut card = Card::new(true);
        let hardware = HardwareAddress::Ethernet(EthernetAddress(subnet::GUEST_HARDWARE));
        let mut interface = Interface::new(Config::new(hardware), &mut card, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(ADDRESS, subnet::PREFIX_BITS))).unwrap();
        });
        interface.routes_mut().add_default_ipv4_route(subnet::GATEWAY).unwrap();
        let sockets = SocketSet::new(Vec::new());
        Self { gateway, carrier, interface, card, sockets, now_ms: 0, next_port: 1024, end: End::GuestFirst }
    }

    fn step(&mut self) {
        self.now_ms += 1;
        self.interface.poll(Instant::from_millis(self.now_ms as i64), &mut self.card, &mut self.sockets);
        while let Some(frame) = self.card.outgoing.pop_front() {
            self.gateway.send(Frame::complete(&frame));
        }
        self.serve();
        self.gateway.advance_to(self.now_ms * 1_000_000);
        while let Some(frame) = self.gateway.receive() {
            self.card.incoming.push_back(frame.bytes);
        }
    }

    /// A server that says what it hears.
    fn serve(&mut self) {
        use dinghy::net::FlowError;
        for command in self.carrier.take_commands() {
            match (command, self.end) {
                (Command::Open { flow, .. }, End::Refused) => self.carrier.failed(flow, FlowError::Refused),
                (Command::Open { flow, .. }, _) => self.carrier.opened(flow),
                (Command::Send { flow, .. }, End::OutsideResets) => {
                    self.carrier.failed(flow, FlowError::Reset)
                }
                (Command::Send { flow, bytes }, end) => {
                    self.carrier.sent(flow, bytes.len());
                    self.carrier.deliver(flow, bytes);
                    if matches!(end, End::OutsideFirst) {
                        self.carrier.ended(flow);
                    }
                }
                (Command::Finish(flow), _) => self.carrier.ended(flow),
                _ => {}
            }
        }
    }

    /// One connection, from its opening until both sides have forgotten it.
    fn connect(&mut self, end: End) {
        self.end = end;
        self.next_port = if self.next_port == u16::MAX { 1024 } else { self.next_port + 1 };
        let buffer = || SocketBuffer::new(vec![0; 1024]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.connect(self.interface.context(), SERVER, self.next_port).unwrap();
        let handle = self.sockets.add(socket);
        let mut has_sent = false;
        for _ in 0..50 {
            self.step();
            let socket = self.sockets.get_mut::<Socket<'static>>(handle);
            if socket.may_send() && !has_sent {
                has_sent = true;
                socket.send_slice(b"hello").unwrap();
            }
            let has_answer = socket.can_recv() && socket.recv(|data| (data.len(), data == b"hello")).unwrap();
            if has_answer && matches!(end, End::GuestResets) {
                socket.abort();
            } else if has_answer || (has_sent && !socket.may_recv()) {
                socket.close();
            }
            if matches!(socket.state(), State::Closed | State::TimeWait) && self.gateway.open_flows() == 0 {
                break;
            }
        }
        assert_eq!(has_sent, !matches!(end, End::Refused));
        self.step();
        assert_eq!(self.gateway.open_flows(), 0);
        self.sockets.remove(handle);
    }
}

#[test]
fn ten_thousand_connections_leave_no_byte_behind() {
    let mut guest = Guest::new();
    let open = |guest: &mut Guest, count: u32| {
        for number in 0..count {
            guest.connect(ENDS[number as usize % ENDS.len()]);
        }
        LIVE_BYTES.load(Ordering::Relaxed)
    };
    let before = open(&mut guest, FIRST);
    let after = open(&mut guest, CONNECTIONS);
    assert_eq!(after - before, 0, "bytes that {CONNECTIONS} connections have left");
}
