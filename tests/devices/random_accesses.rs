//! Registers, configuration space and queues under random accesses: whatever a guest writes, the devices stand.
//!
//! `DINGHY_FUZZ_ACCESSES` sets how many, `DINGHY_FUZZ_SEED` the seed.

use crate::guest::Platform;
use dinghy::devices::BusDevice;
use dinghy::devices::fw_cfg::FirmwareConfig;
use dinghy::host::{ConsoleOutput, RepeatableEntropy};
use dinghy::mem::GuestPhysAddr;
use dinghy::storage::MemoryDisk;
use dinghy::virtio::VirtioPci;
use dinghy::virtio::blk::BlkDevice;
use dinghy::virtio::console::ConsoleDevice;
use dinghy::virtio::rng::RngDevice;
use std::sync::{Arc, Mutex};

struct Nowhere;

impl ConsoleOutput for Nowhere {
    fn write(&mut self, _bytes: &[u8]) {}
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A number that a register may take seriously.
    fn value(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(16),
            1 => self.below(0x200) << 12,
            2 => 1 << self.below(64),
            _ => self.next(),
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// An access of 1, 2, 4 or 8 bytes within a device of `length` bytes.
fn access(device: &mut dyn BusDevice, length: u64, random: &mut Random) {
    let bytes = (1_usize << random.below(4)).min(length as usize);
    let offset = random.below(length / bytes as u64) * bytes as u64;
    let mut data = random.value().to_le_bytes();
    let data = &mut data[..bytes];
    if random.below(3) == 0 {
        device.read(offset, data);
    } else {
        device.write(offset, data);
    }
}

#[test]
fn no_access_brings_a_device_down() {
    const ACCESSES_OF_A_MACHINE: u64 = 2_000;
    /// The first BARs, and what is beside them.
    const WINDOW: u64 = 0x4_0000;
    let seed = setting("DINGHY_FUZZ_SEED", 0xf022);
    let mut random = Random(seed);
    let mut left = setting("DINGHY_FUZZ_ACCESSES", 200_000);
    while left > 0 {
        let platform = Platform::new();
        let memory = &platform.memory;
        let disk = BlkDevice::new(Box::new(MemoryDisk::new(1 << 20)), "random");
        platform.attach(Arc::new(Mutex::new(VirtioPci::new(memory.clone(), disk))));
        let console = ConsoleDevice::new(Box::new(Nowhere), 80, 25);
        platform.attach(Arc::new(Mutex::new(VirtioPci::new(memory.clone(), console))));
        let entropy = RngDevice::new(Box::new(RepeatableEntropy::new(1)));
        platform.attach(Arc::new(Mutex::new(VirtioPci::new(memory.clone(), entropy))));
        // Descriptors and rings, wherever a queue is placed.
        for page in 0..0x200 {
            let words: Vec<u8> = (0..64).flat_map(|_| random.value().to_le_bytes()).collect();
            memory.write(GuestPhysAddr(page << 12), &words).unwrap();
        }
        let mut firmware_config = FirmwareConfig::new(memory.size(), 1);
        for _ in 0..ACCESSES_OF_A_MACHINE.min(left) {
            match random.below(16) {
                0 => access(&mut platform.root.config_ports(), 8, &mut random),
                1 => access(&mut platform.root.ecam(), 0x5000, &mut random),
                2 => access(&mut firmware_config, 2, &mut random),
                _ => access(&mut platform.root.memory_window(), WINDOW, &mut random),
            }
        }
        left = left.saturating_sub(ACCESSES_OF_A_MACHINE);
    }
}
