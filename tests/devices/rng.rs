//! The entropy device.

use crate::guest::{Buffer, GuestPages, Platform};
use dinghy::host::Entropy;
use dinghy::mem::GuestPhysAddr;
use dinghy::virtio::VirtioPci;
use dinghy::virtio::rng::RngDevice;
use std::sync::{Arc, Mutex};
use virtio_drivers::device::rng::VirtIORng;

/// Counts upwards, so that the test sees which bytes arrived.
struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

fn device(platform: &Platform) -> Arc<Mutex<VirtioPci<RngDevice>>> {
    Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), RngDevice::new(Box::new(Counting(0))))))
}

#[test]
fn the_guest_draws_the_hosts_bytes_in_order() {
    let platform = Platform::new();
    let mut rng = VirtIORng::<GuestPages, _>::new(platform.attach(device(&platform))).unwrap();
    for round in 0..5u8 {
        let mut bytes = [0xee; 48];
        assert_eq!(rng.request_entropy(&mut bytes).unwrap(), 48);
        assert_eq!(bytes, std::array::from_fn(|index| round * 48 + index as u8));
    }
}

#[test]
fn a_huge_request_is_answered_in_part() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), 0);
    driver.submit(0, 0, &[Buffer::Writable(GuestPhysAddr(0x10_0000), 1 << 20)]);
    assert_eq!(driver.used(0, 0), (0, 4096));
    assert_eq!(driver.bytes(GuestPhysAddr(0x10_0000 + 4096), 1), [0]);
}

#[test]
fn a_request_with_nothing_to_write_needs_a_reset() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(device(&platform), 0);
    driver.submit(0, 0, &[Buffer::Readable(GuestPhysAddr(0x10_0000), 64)]);
    assert!(driver.needs_reset());
    assert_eq!(driver.used_index(0), 0);
}
