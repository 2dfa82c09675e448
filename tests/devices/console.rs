//! The console.

use crate::guest::{Buffer, GuestPages, Platform};
use dinghy::host::ConsoleOutput;
use dinghy::virtio::VirtioPci;
use dinghy::virtio::console::ConsoleDevice;
use std::sync::{Arc, Mutex};
use virtio_drivers::device::console::{Size, VirtIOConsole};
use virtio_drivers::transport::Transport;

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl ConsoleOutput for Screen {
    fn write(&mut self, bytes: &[u8]) {
        self.0.lock().unwrap().extend(bytes);
    }
}

impl Screen {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

type Shared = Arc<Mutex<VirtioPci<ConsoleDevice>>>;

fn device(platform: &Platform) -> (Shared, Screen) {
    let screen = Screen::default();
    let console = ConsoleDevice::new(Box::new(screen.clone()), 80, 25);
    (Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), console))), screen)
}

#[test]
fn the_guest_prints_and_reads() {
    let platform = Platform::new();
    let (shared, screen) = device(&platform);
    let mut console = VirtIOConsole::<GuestPages, _>::new(platform.attach(shared.clone())).unwrap();
    console.send_bytes(b"login: ").unwrap();
    console.send(b'\n').unwrap();
    assert_eq!(screen.take(), b"login: \n");
    assert_eq!(console.recv(true).unwrap(), None);
    shared.lock().unwrap().input(b"root");
    let read: Vec<u8> = std::iter::from_fn(|| console.recv(true).unwrap()).collect();
    assert_eq!(read, b"root");
}

#[test]
fn input_waits_until_the_guest_has_buffers() {
    let platform = Platform::new();
    let (shared, _) = device(&platform);
    shared.lock().unwrap().input(b"typed before the driver ran, ");
    let mut console = VirtIOConsole::<GuestPages, _>::new(platform.attach(shared.clone())).unwrap();
    // The driver lends one page at a time; the rest has to wait in the device.
    let paste = vec![b'x'; 10_000];
    shared.lock().unwrap().input(&paste);
    assert!(shared.lock().unwrap().device().waiting_input() > 0);
    let read: Vec<u8> = std::iter::from_fn(|| console.recv(true).unwrap()).collect();
    assert_eq!(read, [b"typed before the driver ran, ".as_slice(), &paste].concat());
    assert_eq!(shared.lock().unwrap().device().waiting_input(), 0);
}

#[test]
fn a_resize_is_told_by_a_configuration_change() {
    let platform = Platform::new();
    let (shared, _) = device(&platform);
    let mut console = VirtIOConsole::<GuestPages, _>::new(platform.attach(shared.clone())).unwrap();
    assert_eq!(console.size().unwrap(), Some(Size { columns: 80, rows: 25 }));
    console.ack_interrupt().unwrap();
    assert!(!platform.line(1));
    shared.lock().unwrap().resize(132, 50);
    assert_eq!(console.size().unwrap(), Some(Size { columns: 132, rows: 50 }));
    assert!(platform.line(1));
    assert!(platform.line(1), "the line stays high until the status is read");
    console.ack_interrupt().unwrap();
    assert!(!platform.line(1));
    shared.lock().unwrap().resize(132, 50);
    assert!(!platform.line(1), "the same size is no change");
}

#[test]
fn the_first_size_is_told_as_a_change_when_the_driver_is_ready() {
    let platform = Platform::new();
    let (shared, _) = device(&platform);
    let mut driver = platform.attach_raw(shared.clone(), 1);
    assert!(platform.line(1));
    assert_eq!(driver.transport.ack_interrupt().bits(), 2);
    shared.lock().unwrap().input(b"x");
    assert_eq!(driver.transport.ack_interrupt().bits() & 2, 0, "it is told once");
}

#[test]
fn a_configuration_change_moves_the_generation_and_sets_its_status_bit() {
    let platform = Platform::new();
    let (shared, _) = device(&platform);
    let mut driver = platform.attach_raw(shared.clone(), 1);
    driver.transport.ack_interrupt();
    let before = driver.transport.read_config_generation();
    shared.lock().unwrap().resize(100, 30);
    assert_ne!(driver.transport.read_config_generation(), before);
    assert_eq!(driver.transport.ack_interrupt().bits(), 2);
    assert_eq!(driver.transport.ack_interrupt().bits(), 0);
}

#[test]
fn an_emergency_write_needs_no_driver() {
    let platform = Platform::new();
    let (shared, screen) = device(&platform);
    let mut transport = platform.attach(shared);
    for character in *b"oops" {
        transport.write_config_space(8, u32::from(character)).unwrap();
    }
    assert_eq!(screen.take(), b"oops");
}

#[test]
fn a_line_longer_than_a_page_is_printed_whole() {
    let platform = Platform::new();
    let (shared, screen) = device(&platform);
    let mut driver = platform.attach_raw(shared, 0);
    let text: Vec<u8> = (0..9001u32).map(|index| b'a' + (index % 26) as u8).collect();
    let place = driver.place(&text, 9001);
    let (first, rest) =
        (Buffer::Readable(place, 1), Buffer::Readable(dinghy::mem::GuestPhysAddr(place.0 + 1), 9000));
    driver.submit(1, 3, &[first, rest]);
    assert_eq!(screen.take(), text);
    assert_eq!(driver.used(1, 0), (3, 0));
}
