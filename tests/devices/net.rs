//! The network card.

use crate::guest::{Buffer, GuestPages, Platform, RawDriver};
use dinghy::host::{Acceptance, Frame, NetBackend, Offload, PartialChecksum, Segmentation};
use dinghy::mem::GuestPhysAddr;
use dinghy::virtio::VirtioPci;
use dinghy::virtio::net::NetDevice;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use virtio_drivers::device::net::{TxBuffer, VirtIONet};

const ADDRESS: [u8; 6] = [2, 0, 0, 0, 0, 9];
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;
const CONTROL: usize = 2;

const CHECKSUM: u64 = 1 << 0;
const GUEST_CHECKSUM: u64 = 1 << 1;
const GUEST_SEGMENT_TCP4: u64 = 1 << 7;
const HOST_SEGMENT_TCP4: u64 = 1 << 11;
const MERGEABLE: u64 = 1 << 15;

#[derive(Default)]
struct Wire {
    from_guest: Vec<Frame<Vec<u8>>>,
    to_guest: VecDeque<Frame<Vec<u8>>>,
    accepted: Acceptance,
    times: Vec<u64>,
    deadline_ns: Option<u64>,
}

#[derive(Clone, Default)]
struct Cable(Arc<Mutex<Wire>>);

impl NetBackend for Cable {
    fn guest_address(&self) -> [u8; 6] {
        ADDRESS
    }

    fn finishes_frames(&self) -> bool {
        true
    }

    fn set_accepted(&mut self, accepted: Acceptance) {
        self.0.lock().unwrap().accepted = accepted;
    }

    fn send(&mut self, frame: Frame<&[u8]>) {
        let frame = Frame { bytes: frame.bytes.to_vec(), offload: frame.offload };
        self.0.lock().unwrap().from_guest.push(frame);
    }

    fn receive(&mut self) -> Option<Frame<Vec<u8>>> {
        self.0.lock().unwrap().to_guest.pop_front()
    }

    fn advance_to(&mut self, now_ns: u64) -> Option<u64> {
        let mut wire = self.0.lock().unwrap();
        wire.times.push(now_ns);
        wire.deadline_ns
    }
}

type Shared = Arc<Mutex<VirtioPci<NetDevice>>>;

fn device(platform: &Platform) -> (Shared, Cable) {
    let cable = Cable::default();
    let card = NetDevice::new(Box::new(cable.clone()));
    (Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), card))), cable)
}

fn send_to_guest(shared: &Shared, cable: &Cable, frame: Frame<Vec<u8>>) {
    cable.0.lock().unwrap().to_guest.push_back(frame);
    shared.lock().unwrap().resume();
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 251) as u8).collect()
}

#[test]
fn frames_go_both_ways() {
    let platform = Platform::new();
    let (shared, cable) = device(&platform);
    let mut card = VirtIONet::<GuestPages, _, 16>::new(platform.attach(shared.clone()), 2048).unwrap();
    assert_eq!(card.mac_address(), ADDRESS);
    for length in [14, 60, 1514] {
        card.send(TxBuffer::from(&pattern(length))).unwrap();
        let sent = cable.0.lock().unwrap().from_guest.pop().unwrap();
        assert_eq!(sent, Frame::complete(pattern(length)));
    }
    // More than there are buffers, so that they go round.
    for length in 20..60 {
        assert!(!card.can_recv());
        send_to_guest(&shared, &cable, Frame::complete(pattern(length)));
        let buffer = card.receive().unwrap();
        assert_eq!(buffer.packet(), pattern(length));
        card.recycle_rx_buffer(buffer).unwrap();
    }
}

#[test]
fn frames_wait_with_the_backend_until_there_are_buffers() {
    let platform = Platform::new();
    let (shared, cable) = device(&platform);
    let mut card = VirtIONet::<GuestPages, _, 16>::new(platform.attach(shared.clone()), 2048).unwrap();
    for number in 0..40 {
        cable.0.lock().unwrap().to_guest.push_back(Frame::complete(vec![number; 60]));
    }
    shared.lock().unwrap().resume();
    assert_eq!(cable.0.lock().unwrap().to_guest.len(), 40 - 17, "16 buffers are full and one frame is next");
    for number in 0..40 {
        let buffer = card.receive().unwrap();
        assert_eq!(buffer.packet(), [number; 60]);
        card.recycle_rx_buffer(buffer).unwrap();
    }
    assert!(!card.can_recv());
}

fn raw(platform: &Platform, features: u64) -> (RawDriver, Shared, Cable) {
    let (shared, cable) = device(platform);
    let driver = platform.attach_raw(shared.clone(), features);
    (driver, shared, cable)
}

fn buffers(driver: &mut RawDriver, count: u16, length: u32) -> Vec<GuestPhysAddr> {
    let places: Vec<_> = (0..count).map(|_| driver.place(&[], length)).collect();
    for (head, place) in (0..).zip(&places) {
        driver.submit(RECEIVE, head, &[Buffer::Writable(*place, length)]);
    }
    places
}

#[test]
fn a_large_frame_is_spread_over_mergeable_buffers() {
    let platform = Platform::new();
    let features = MERGEABLE | GUEST_CHECKSUM | GUEST_SEGMENT_TCP4;
    let (mut driver, shared, cable) = raw(&platform, features);
    let expected = Acceptance { partial_checksum: true, segmentation: true };
    assert_eq!(cable.0.lock().unwrap().accepted, expected);
    let places = buffers(&mut driver, 5, 1000);
    let offload = Offload {
        checksum: Some(PartialChecksum { start: 34, offset: 16 }),
        segment: Some(Segmentation { header_bytes: 54, payload_bytes: 1460 }),
    };
    send_to_guest(&shared, &cable, Frame { bytes: pattern(3500), offload });
    assert_eq!(driver.used_index(RECEIVE), 4);
    let mut received = Vec::new();
    for (index, place) in (0u16..4).zip(&places) {
        let (head, length) = driver.used(RECEIVE, index);
        assert_eq!(head, u32::from(index));
        received.extend(driver.bytes(*place, length as usize));
    }
    assert_eq!(received[..12], [1, 1, 54, 0, 180, 5, 34, 0, 16, 0, 4, 0]);
    assert_eq!(received[12..], pattern(3500));
    // The fifth buffer is too small for the next one, until a sixth comes.
    send_to_guest(&shared, &cable, Frame::complete(pattern(1500)));
    assert_eq!(driver.used_index(RECEIVE), 4);
    let place = driver.place(&[], 1000);
    driver.submit(RECEIVE, 5, &[Buffer::Writable(place, 1000)]);
    assert_eq!(driver.used_index(RECEIVE), 6);
    assert_eq!(driver.bytes(places[4], 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
}

#[test]
fn a_frame_that_fits_no_buffer_is_lost_without_the_merge() {
    let platform = Platform::new();
    let (mut driver, shared, cable) = raw(&platform, 0);
    let places = buffers(&mut driver, 2, 1000);
    send_to_guest(&shared, &cable, Frame::complete(pattern(1500)));
    assert_eq!(driver.used_index(RECEIVE), 0);
    send_to_guest(&shared, &cable, Frame::complete(pattern(900)));
    assert_eq!(driver.used(RECEIVE, 0), (0, 912));
    assert_eq!(driver.bytes(places[0], 912)[12..], pattern(900));
}

#[test]
fn what_a_driver_leaves_to_do_is_passed_on_if_it_was_agreed_on() {
    let header = [1, 1, 54, 0, 180, 5, 34, 0, 16, 0, 0, 0];
    let frame = [header.as_slice(), &pattern(9000)].concat();
    let offload = Offload {
        checksum: Some(PartialChecksum { start: 34, offset: 16 }),
        segment: Some(Segmentation { header_bytes: 54, payload_bytes: 1460 }),
    };
    for (features, expected) in [
        (CHECKSUM | HOST_SEGMENT_TCP4, vec![Frame { bytes: pattern(9000), offload }]),
        (CHECKSUM, vec![]),
        (0, vec![]),
    ] {
        let platform = Platform::new();
        let (mut driver, _, cable) = raw(&platform, features);
        let place = driver.place(&frame, frame.len() as u32);
        driver.submit(TRANSMIT, 0, &[Buffer::Readable(place, frame.len() as u32)]);
        assert_eq!(driver.used(TRANSMIT, 0), (0, 0));
        assert_eq!(cable.0.lock().unwrap().from_guest, expected);
    }
}

#[test]
fn filters_are_accepted_and_other_commands_refused() {
    let platform = Platform::new();
    let (mut driver, _, _) = raw(&platform, 1 << 17 | 1 << 18);
    for (head, (class, command, answer)) in
        (0u16..).zip([(0, 0, 0), (0, 9, 1), (1, 0, 0), (1, 1, 1), (4, 0, 1)])
    {
        let request = driver.place(&[class, command, 1], 3);
        let place = driver.place(&[0xee], 1);
        let head = 2 * head;
        driver.submit(CONTROL, head, &[Buffer::Readable(request, 3), Buffer::Writable(place, 1)]);
        assert_eq!(driver.used(CONTROL, head / 2), (head.into(), 1));
        assert_eq!(driver.bytes(place, 1), [answer], "{class}, {command}");
    }
}

#[test]
fn malformed_requests_need_a_reset() {
    let platform = Platform::new();
    for (queue, buffer) in [
        (TRANSMIT, Buffer::Readable(GuestPhysAddr(0x10_0000), 11)),
        (CONTROL, Buffer::Readable(GuestPhysAddr(0x10_0000), 2)),
        (CONTROL, Buffer::Writable(GuestPhysAddr(0x10_0000), 1)),
    ] {
        let (mut driver, _, cable) = raw(&platform, 0);
        driver.submit(queue, 0, &[buffer]);
        assert!(driver.needs_reset());
        assert_eq!(cable.0.lock().unwrap().from_guest, []);
    }
    let (mut driver, shared, cable) = raw(&platform, 0);
    driver.submit(RECEIVE, 0, &[Buffer::Writable(GuestPhysAddr(0x10_0000), 11)]);
    send_to_guest(&shared, &cable, Frame::complete(pattern(60)));
    assert!(driver.needs_reset());
    // A frame of 4 GiB is lost, and nothing is allocated for it.
    let (mut driver, _, cable) = raw(&platform, 0);
    let all = Buffer::Readable(GuestPhysAddr(0x10_0000), 16 << 20);
    driver.submit(TRANSMIT, 0, &[all]);
    assert_eq!(driver.used(TRANSMIT, 0), (0, 0));
    assert_eq!(cable.0.lock().unwrap().from_guest, []);
}

#[test]
fn time_is_passed_on_and_the_backend_says_when_it_is_next() {
    let platform = Platform::new();
    let (shared, cable) = device(&platform);
    cable.0.lock().unwrap().deadline_ns = Some(700);
    let mut card = shared.lock().unwrap();
    card.advance_to(500);
    assert_eq!(card.next_deadline_ns(), Some(700));
    card.resume();
    assert_eq!(cable.0.lock().unwrap().times, [500, 500]);
}

#[test]
fn lent_buffers_survive_a_snapshot() {
    let platform = Platform::new();
    let (mut driver, shared, cable) = raw(&platform, MERGEABLE);
    let places = buffers(&mut driver, 1, 100);
    // The device takes the buffer, and waits for another.
    send_to_guest(&shared, &cable, Frame::complete(pattern(150)));
    let saved = {
        let card = shared.lock().unwrap();
        (card.state(), card.device().state())
    };
    let (other, cable) = device(&platform);
    other.lock().unwrap().restore(&saved.0, |card, context| card.restore(&saved.1, context)).unwrap();
    send_to_guest(&other, &cable, Frame::complete(pattern(60)));
    assert_eq!(driver.used(RECEIVE, 0), (0, 72));
    assert_eq!(driver.bytes(places[0], 72)[12..], pattern(60));
}
