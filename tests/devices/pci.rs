//! The bus: configuration access by both mechanisms, BARs that move, negotiation of features.

use crate::guest::{GuestPages, Platform};
use dinghy::devices::BusDevice;
use dinghy::devices::pci::{MEMORY_WINDOW_BASE, PciError, PciRoot};
use dinghy::host::ConsoleOutput;
use dinghy::virtio::VirtioPci;
use dinghy::virtio::console::ConsoleDevice;
use std::sync::{Arc, Mutex};
use virtio_drivers::device::console::VirtIOConsole;
use virtio_drivers::transport::{DeviceStatus, Transport};

struct Nowhere;

impl ConsoleOutput for Nowhere {
    fn write(&mut self, _bytes: &[u8]) {}
}

fn console(platform: &Platform) -> Arc<Mutex<VirtioPci<ConsoleDevice>>> {
    let device = ConsoleDevice::new(Box::new(Nowhere), 80, 25);
    Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), device)))
}

fn port_read(root: &PciRoot, address: u32, offset: u64, length: usize) -> u32 {
    let mut ports = root.config_ports();
    ports.write(0, &address.to_le_bytes());
    let mut data = [0; 4];
    ports.read(4 + offset, &mut data[..length]);
    u32::from_le_bytes(data)
}

#[test]
fn both_mechanisms_show_the_same_functions() {
    let platform = Platform::new();
    let transport = platform.attach(console(&platform));
    for register in (0..256).step_by(4) {
        let by_ports = port_read(&platform.root, 0x8000_0800 | u32::from(register), 0, 4);
        assert_eq!(by_ports, transport.config_u32(register), "register {register:#x}");
    }
    assert_eq!(port_read(&platform.root, 0x8000_0800, 2, 2), 0x1043);
    assert_eq!(port_read(&platform.root, 0x8000_0808, 3, 1), 0x07);
    assert_eq!(port_read(&platform.root, 0x8000_0008, 2, 2), 0x0600, "the host bridge's class");
}

#[test]
fn what_is_not_there_reads_as_ones() {
    let platform = Platform::new();
    platform.attach(console(&platform));
    let absent = [
        ("not enabled", 0x0000_0800),
        ("an empty slot", 0x8000_1000),
        ("another function", 0x8000_0900),
        ("another bus", 0x8001_0800),
    ];
    for (what, address) in absent {
        assert_eq!(port_read(&platform.root, address, 0, 4), u32::MAX, "{what}");
    }
    let mut data = [0; 4];
    platform.root.ecam().read(1 << 12 | 1 << 15, &mut data);
    assert_eq!(data, [0xff; 4]);
    platform.root.memory_window().read(0x1000_0000, &mut data);
    assert_eq!(data, [0xff; 4]);
}

#[test]
fn the_address_port_takes_dwords_only() {
    let platform = Platform::new();
    let mut ports = platform.root.config_ports();
    ports.write(3, &[1]);
    ports.write(0, &0x8000_0000u32.to_le_bytes());
    let mut data = [0; 4];
    ports.read(0, &mut data);
    assert_eq!(u32::from_le_bytes(data), 0x8000_0000);
    ports.read(0, &mut data[..1]);
    assert_eq!(data[0], 0xff);
}

#[test]
fn bars_are_assigned_apart_and_interrupts_are_swizzled() {
    let platform = Platform::new();
    let mut ends = vec![MEMORY_WINDOW_BASE];
    for slot in 1..10u8 {
        let transport = platform.attach(console(&platform));
        assert_eq!(transport.slot, slot);
        let base = transport.bar_base(0);
        assert_eq!(base % 0x8000, 0);
        assert!(base >= *ends.last().unwrap());
        ends.push(base + 0x8000);
        assert_eq!(transport.config_u16(0x3c), 0x0100 | (16 + u16::from(slot & 7)));
    }
}

#[test]
fn the_bus_has_31_free_slots() {
    let platform = Platform::new();
    for _ in 1..32 {
        platform.root.add(console(&platform)).unwrap();
    }
    assert_eq!(platform.root.add(console(&platform)), Err(PciError::NoFreeSlot));
}

#[test]
fn a_moved_bar_answers_at_its_new_place_only() {
    let platform = Platform::new();
    let shared = console(&platform);
    let transport = platform.attach(shared.clone());
    let old = transport.bar_base(0);
    let queues = |base: u64| {
        let mut data = [0; 2];
        platform.root.read_memory(base + 18, &mut data);
        u16::from_le_bytes(data)
    };
    assert_eq!(queues(old), 2);
    // Sizing, as Linux does it: decoding off, ones, read, new base, decoding on.
    transport.write_config(4, &0u16.to_le_bytes());
    assert_eq!(queues(old), 0xffff);
    transport.write_config(0x10, &[0xff; 4]);
    transport.write_config(0x14, &[0xff; 4]);
    assert_eq!(transport.config_u32(0x10), 0xffff_8004);
    let new = MEMORY_WINDOW_BASE + 0x0123_0000;
    transport.write_config(0x10, &(new as u32).to_le_bytes());
    transport.write_config(0x14, &0u32.to_le_bytes());
    transport.write_config(4, &6u16.to_le_bytes());
    assert_eq!(transport.bar_base(0), new);
    assert_eq!(queues(new), 2);
    assert_eq!(queues(old), 0xffff);
    let driver = VirtIOConsole::<GuestPages, _>::new(transport).unwrap();
    assert_eq!(driver.size().unwrap().unwrap().columns, 80);
}

#[test]
fn configuration_space_reaches_the_bar_too() {
    let platform = Platform::new();
    let transport = platform.attach(console(&platform));
    let access = transport.access_capability;
    transport.write_config(access + 4, &[0]);
    transport.write_config(access + 8, &0x2000u32.to_le_bytes());
    transport.write_config(access + 12, &2u32.to_le_bytes());
    assert_eq!(transport.config_u16(access + 16), 80);
    transport.write_config(access + 8, &20u32.to_le_bytes());
    transport.write_config(access + 12, &1u32.to_le_bytes());
    transport.write_config(access + 16, &[1]);
    assert_eq!(transport.get_status(), DeviceStatus::ACKNOWLEDGE);
    // A structure that does not exist, and a length that is no access.
    transport.write_config(access + 4, &[5]);
    transport.write_config(access + 12, &3u32.to_le_bytes());
    transport.write_config(access + 16, &[0xff; 4]);
    assert_eq!(transport.get_status(), DeviceStatus::ACKNOWLEDGE);
}

#[test]
fn features_that_are_not_offered_or_not_modern_are_refused() {
    let platform = Platform::new();
    let mut transport = platform.attach(console(&platform));
    let started = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    for features in [0, 1 << 32 | 1 << 1, u64::MAX] {
        transport.set_status(DeviceStatus::empty());
        transport.set_status(started);
        transport.write_driver_features(features);
        transport.set_status(started | DeviceStatus::FEATURES_OK);
        assert_eq!(transport.get_status(), started, "{features:#x}");
        transport.set_status(started | DeviceStatus::FEATURES_OK | DeviceStatus::DRIVER_OK);
        assert_eq!(transport.get_status(), started, "DRIVER_OK without FEATURES_OK");
    }
    transport.write_driver_features(1 << 32);
    transport.set_status(started | DeviceStatus::FEATURES_OK);
    assert_eq!(transport.get_status(), started | DeviceStatus::FEATURES_OK);
    transport.write_driver_features(1 << 32 | 1);
    assert_eq!(transport.read_common(12), 1u32.to_le_bytes(), "the choice stands");
}

#[test]
fn reserved_status_bits_do_not_reset_the_device() {
    let platform = Platform::new();
    let transport = platform.attach(console(&platform));
    transport.write_common(20, &[3]);
    transport.write_common(20, &[0x10]);
    assert_eq!(transport.read_common::<1>(20), [3]);
}

#[test]
fn a_reset_puts_every_register_back() {
    let platform = Platform::new();
    let shared = console(&platform);
    let transport = platform.attach(shared.clone());
    let before = shared.lock().unwrap().state().common;
    let mut driver = VirtIOConsole::<GuestPages, _>::new(transport).unwrap();
    driver.send(b'x').unwrap();
    assert_ne!(shared.lock().unwrap().state().common, before);
    shared.lock().unwrap().resize(1, 1);
    let generation = shared.lock().unwrap().state().common.config_generation;
    platform.root.write_memory(MEMORY_WINDOW_BASE + 20, &[0]);
    let after = shared.lock().unwrap().state();
    assert_eq!(after.common, dinghy::virtio::CommonConfig { config_generation: generation, ..before });
    assert!(after.queues.iter().all(Option::is_none));
    assert_eq!(after.isr, 0);
}
