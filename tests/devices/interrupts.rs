//! When the driver is interrupted, when the device is notified, and how.

use crate::guest::{Buffer, Platform, RawDriver, RegisterTransport};
use dinghy::devices::pci::SharedFunction;
use dinghy::host::Entropy;
use dinghy::mem::GuestPhysAddr;
use dinghy::virtio::VirtioPci;
use dinghy::virtio::rng::RngDevice;
use std::sync::{Arc, Mutex};
use virtio_drivers::transport::{DeviceStatus, Transport};

const EVENT_IDX: u64 = 1 << 29;
const BUFFER: Buffer = Buffer::Writable(GuestPhysAddr(0x10_0000), 8);

struct Zeroes;

impl Entropy for Zeroes {
    fn fill(&mut self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

fn device(platform: &Platform) -> SharedFunction {
    Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), RngDevice::new(Box::new(Zeroes)))))
}

/// Whether the queue's interrupt bit was set since the last look.
fn was_interrupted(driver: &mut RawDriver) -> bool {
    driver.transport.ack_interrupt().bits() & 1 != 0
}

#[test]
fn the_line_is_high_from_the_interrupt_until_its_status_is_read() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), 0);
    assert!(!platform.line(1));
    driver.submit(0, 0, &[BUFFER]);
    assert!(platform.line(1));
    assert_ne!(driver.transport.config_u16(6) & 8, 0, "interrupt status");
    assert!(was_interrupted(&mut driver));
    assert!(!platform.line(1));
    assert_eq!(driver.transport.config_u16(6) & 8, 0);
}

#[test]
fn the_command_register_holds_the_line_low() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), 0);
    driver.transport.write_config(4, &0x406u16.to_le_bytes());
    driver.submit(0, 0, &[BUFFER]);
    assert!(!platform.line(1));
    driver.transport.write_config(4, &6u16.to_le_bytes());
    assert!(platform.line(1));
    driver.transport.set_status(DeviceStatus::empty());
    assert!(!platform.line(1), "a reset lets the line go");
}

#[test]
fn the_available_flag_suppresses_interrupts() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), 0);
    driver.set_available_flags(0, 1);
    driver.submit(0, 0, &[BUFFER]);
    assert_eq!(driver.used_index(0), 1);
    assert!(!was_interrupted(&mut driver));
    driver.set_available_flags(0, 0);
    driver.submit(0, 1, &[BUFFER]);
    assert!(was_interrupted(&mut driver));
}

#[test]
fn with_event_indices_only_passing_the_drivers_event_interrupts() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), EVENT_IDX);
    // The flag means nothing once event indices are negotiated.
    driver.set_available_flags(0, 1);
    driver.set_used_event(0, 2);
    let interrupts: Vec<bool> = (0..5)
        .map(|head| {
            driver.submit(0, head, &[BUFFER]);
            was_interrupted(&mut driver)
        })
        .collect();
    assert_eq!(interrupts, [false, false, true, false, false]);
    driver.set_used_event(0, 6);
    for head in 5..9 {
        driver.chain(0, head, &[BUFFER]);
        driver.offer(0, head);
    }
    driver.notify(0);
    assert!(was_interrupted(&mut driver), "a batch that passes the event");
}

#[test]
fn the_device_asks_for_the_notification_after_what_it_has_seen() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), EVENT_IDX);
    for round in 1..40 {
        driver.submit(0, round % 16, &[BUFFER]);
        assert_eq!(driver.available_event(0), round);
    }
}

#[test]
fn msix_messages_replace_the_line_and_wait_while_masked() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), 0);
    let transport: &RegisterTransport = &driver.transport;
    let control = transport.msix_capability + 2;
    assert_eq!(transport.config_u16(control) & 0x7ff, 1, "a vector for the queue, one for configuration");
    transport.write_common(22, &0u16.to_le_bytes());
    transport.write_common(26, &9u16.to_le_bytes());
    assert_eq!(transport.read_common(26), [0xff; 2], "a vector that does not exist");
    transport.write_common(26, &1u16.to_le_bytes());
    assert_eq!(transport.read_common(26), [1, 0]);
    transport.write_msix_table(16, &0xfee0_0000u32.to_le_bytes());
    transport.write_msix_table(20, &0u32.to_le_bytes());
    transport.write_msix_table(24, &0x4321u32.to_le_bytes());
    transport.write_config(control, &0xc000u16.to_le_bytes());
    driver.submit(0, 0, &[BUFFER]);
    assert_eq!(platform.take_messages(), []);
    assert_eq!(driver.transport.read_msix_pending(), 0b10);
    driver.transport.write_config(control, &0x8000u16.to_le_bytes());
    assert_eq!(platform.take_messages(), [], "the vector itself is still masked");
    driver.transport.write_msix_table(28, &0u32.to_le_bytes());
    assert_eq!(platform.take_messages(), [(0xfee0_0000, 0x4321)]);
    assert_eq!(driver.transport.read_msix_pending(), 0);
    driver.submit(0, 1, &[BUFFER]);
    assert_eq!(platform.take_messages(), [(0xfee0_0000, 0x4321)]);
    assert!(!platform.line(1));
}

#[test]
fn nothing_happens_before_the_driver_is_ready_or_without_bus_mastering() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), 0);
    driver.transport.write_config(4, &2u16.to_le_bytes());
    driver.submit(0, 0, &[BUFFER]);
    assert_eq!(driver.used_index(0), 0);
    driver.transport.write_config(4, &6u16.to_le_bytes());
    assert_eq!(driver.used_index(0), 1, "what waited is done once the device may access memory");
}
