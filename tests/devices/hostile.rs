//! A guest that breaks the protocol: the device asks for a reset, and nothing else happens.

use crate::guest::{Buffer, Platform, RawDriver};
use dinghy::mem::GuestPhysAddr;
use dinghy::storage::MemoryDisk;
use dinghy::virtio::VirtioPci;
use dinghy::virtio::blk::BlkDevice;
use std::sync::{Arc, Mutex};
use virtio_drivers::transport::{DeviceStatus, Transport};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

fn start(platform: &Platform) -> RawDriver {
    let disk = BlkDevice::new(Box::new(MemoryDisk::new(1 << 20)), "hostile");
    let function = Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), disk)));
    platform.attach_raw(function, u64::MAX)
}

/// Offers what `prepare` describes at descriptor 0 and expects the device to ask for a reset, with a
/// configuration-change interrupt, and to work again after one.
fn breaks_the_device(what: &str, prepare: impl FnOnce(&RawDriver)) {
    let platform = Platform::new();
    let mut driver = start(&platform);
    prepare(&driver);
    driver.offer(0, 0);
    driver.notify(0);
    assert!(driver.needs_reset(), "{what}");
    assert_eq!(driver.used_index(0), 0, "{what}");
    assert_eq!(driver.transport.ack_interrupt().bits(), 2, "{what}");
    driver.notify(0);
    assert_eq!(driver.transport.ack_interrupt().bits(), 0, "{what}: a broken device is silent");

    let mut driver = RawDriver::start(driver.transport, driver.memory, 0);
    let header = driver.place(&4u32.to_le_bytes(), 32);
    let status = GuestPhysAddr(header.0 + 16);
    driver.submit(0, 0, &[Buffer::Readable(header, 16), Buffer::Writable(status, 1)]);
    assert_eq!(driver.used(0, 0), (0, 1), "{what}: works after a reset");
}

#[test]
fn a_chain_that_loops() {
    breaks_the_device("a loop to itself", |driver| {
        driver.describe(driver.queues[0].descriptors, 0, 0x1000, 16, NEXT, 0);
    });
    breaks_the_device("a loop of empty buffers", |driver| {
        driver.describe(driver.queues[0].descriptors, 0, 0x1000, 0, NEXT, 1);
        driver.describe(driver.queues[0].descriptors, 1, 0x1000, 0, NEXT, 0);
    });
}

#[test]
fn buffers_outside_ram() {
    for (address, length) in
        [(u64::MAX, 1), (u64::MAX - 3, 16), (32 << 20, 1), ((32 << 20) - 8, 16), (0, u32::MAX)]
    {
        breaks_the_device("a readable buffer", |driver| {
            driver.describe(driver.queues[0].descriptors, 0, address, length, 0, 0);
        });
    }
}

#[test]
fn chains_of_more_than_four_gibibytes() {
    breaks_the_device("an indirect chain that repeats all of RAM", |driver| {
        let table = driver.place(&[], 16 * 256);
        for index in 0..255 {
            driver.describe(table, index, 0, 32 << 20, NEXT, index + 1);
        }
        driver.describe(table, 255, 0, 1, WRITE, 0);
        driver.describe(driver.queues[0].descriptors, 0, table.0, 16 * 256, INDIRECT, 0);
    });
}

#[test]
fn descriptors_outside_their_table() {
    breaks_the_device("a next index", |driver| {
        driver.describe(driver.queues[0].descriptors, 0, 0x1000, 16, NEXT, 16);
    });
    let platform = Platform::new();
    let mut driver = start(&platform);
    driver.offer(0, 0xffff);
    driver.notify(0);
    assert!(driver.needs_reset(), "a head index");
}

#[test]
fn indirect_tables_that_are_none() {
    let descriptors = |driver: &RawDriver| driver.queues[0].descriptors;
    breaks_the_device("an empty table", |driver| {
        driver.describe(descriptors(driver), 0, 0x1000, 0, INDIRECT, 0);
    });
    breaks_the_device("a fraction of a descriptor", |driver| {
        driver.describe(descriptors(driver), 0, 0x1000, 17, INDIRECT, 0);
    });
    breaks_the_device("a table outside RAM", |driver| {
        driver.describe(descriptors(driver), 0, u64::MAX - 15, 32, INDIRECT, 0);
    });
    breaks_the_device("a table within a table", |driver| {
        let table = driver.place(&[], 64);
        driver.describe(table, 0, table.0, 64, INDIRECT, 0);
        driver.describe(descriptors(driver), 0, table.0, 64, INDIRECT, 0);
    });
    breaks_the_device("an indirect descriptor with a successor", |driver| {
        driver.describe(descriptors(driver), 0, 0x1000, 32, INDIRECT | NEXT, 1);
    });
    breaks_the_device("a table of 65536 descriptors in a chain", |driver| {
        let table = driver.place(&[], 16 * 2048);
        for index in 0..2048 {
            driver.describe(table, index, 0x1000, 1, NEXT, index + 1);
        }
        driver.describe(descriptors(driver), 0, table.0, 16 * 65536, INDIRECT, 0);
    });
}

#[test]
fn a_readable_buffer_after_a_writable_one() {
    breaks_the_device("order", |driver| {
        driver.chain(
            0,
            0,
            &[Buffer::Writable(GuestPhysAddr(0x1000), 16), Buffer::Readable(GuestPhysAddr(0x1000), 16)],
        );
    });
}

#[test]
fn requests_without_their_parts() {
    let page = GuestPhysAddr(0x1000);
    breaks_the_device("a header that only the device writes", |driver| {
        driver.chain(0, 0, &[Buffer::Writable(page, 16), Buffer::Writable(page, 1)]);
    });
    breaks_the_device("a short header", |driver| {
        driver.chain(0, 0, &[Buffer::Readable(page, 15), Buffer::Writable(page, 1)]);
    });
    breaks_the_device("no status", |driver| {
        driver.chain(0, 0, &[Buffer::Readable(page, 16), Buffer::Writable(page, 0)]);
    });
}

#[test]
fn an_available_index_that_runs_ahead() {
    let platform = Platform::new();
    let mut driver = start(&platform);
    driver.set_available_index(0, 17);
    driver.notify(0);
    assert!(driver.needs_reset());
}

#[test]
fn queues_that_cannot_be() {
    let layouts = [
        ("not aligned", 16, 0x1008, 0x2000, 0x3000),
        ("outside RAM", 16, 0x1000, 0x2000, !0xfff),
        ("of no size", 0, 0x1000, 0x2000, 0x3000),
        ("of a size that is no power of two", 12, 0x1000, 0x2000, 0x3000),
        ("larger than offered", 512, 0x1000, 0x10000, 0x20000),
    ];
    for (what, size, descriptors, available, used) in layouts {
        let platform = Platform::new();
        let disk = BlkDevice::new(Box::new(MemoryDisk::new(1 << 20)), "");
        let function = Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), disk)));
        let mut transport = platform.attach(function);
        transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        transport.write_driver_features(1 << 32);
        let ready = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
        transport.set_status(ready);
        transport.queue_set(0, size, descriptors, available, used);
        transport.set_status(ready | DeviceStatus::DRIVER_OK);
        assert!(transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET), "{what}");
        transport.notify(0);
    }
}

#[test]
fn doorbells_and_registers_that_do_not_exist() {
    let platform = Platform::new();
    let mut driver = start(&platform);
    let base = driver.transport.bar_base(0);
    for offset in (0..0x8000).step_by(0x7f8) {
        for data in [&[0xff; 1][..], &[0xff; 2], &[0xff; 4], &[0xff; 8]] {
            platform.root.write_memory(base + offset, data);
            platform.root.read_memory(base + offset, &mut data.to_vec());
        }
    }
    platform.root.write_memory(base + 0x7fff, &[0xff; 8]);
    driver.notify(0);
}
