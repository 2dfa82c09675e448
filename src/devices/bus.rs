//! Address decoding: which device answers an access to memory outside RAM, or to an I/O port.

use super::BusDevice;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Distinct unclaimed addresses that are remembered, and so logged once; later ones are not logged.
const REMEMBERED_UNCLAIMED: usize = 1024;

/// Locks a device. A poisoned lock is taken over: a device keeps no state that a panic leaves half done.
pub fn lock<T: ?Sized>(device: &Mutex<T>) -> MutexGuard<'_, T> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A device of byte-wide I/O ports, addressed by their port numbers.
///
/// Wider accesses are split into bytes, lowest port first, as an ISA bus does for 8-bit cards.
pub trait PortDevice: Send {
    /// Reads one port.
    fn read_port(&mut self, port: u16) -> u8;

    /// Writes one port.
    fn write_port(&mut self, port: u16, value: u8);
}

impl<T: PortDevice> BusDevice for T {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = self.read_port((offset as u16).wrapping_add(index as u16));
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        for (index, byte) in data.iter().enumerate() {
            self.write_port((offset as u16).wrapping_add(index as u16), *byte);
        }
    }
}

/// Two devices claim the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{length:#x} bytes at {base:#x} of the {bus} bus overlap {other_length:#x} bytes at {other_base:#x}")]
pub struct BusOverlap {
    /// Name of the bus.
    pub bus: &'static str,
    /// First address of the range that was to be added.
    pub base: u64,
    /// Length of the range that was to be added.
    pub length: u64,
    /// First address of the range that was there before.
    pub other_base: u64,
    /// Length of the range that was there before.
    pub other_length: u64,
}

struct Range {
    base: u64,
    length: u64,
    first_offset: u64,
    device: Arc<Mutex<dyn BusDevice>>,
}

impl Range {
    fn contains(&self, address: u64, length: u64) -> bool {
        address >= self.base
            && address - self.base < self.length
            && length <= self.length - (address - self.base)
    }
}

/// The map from addresses to devices, for memory-mapped I/O or for I/O ports.
///
/// Addresses that no device claims read as all ones and swallow writes, as an open bus does.
pub struct Bus {
    name: &'static str,
    ranges: Vec<Range>,
    last_hit: AtomicUsize,
    unclaimed: Mutex<HashSet<u64>>,
}

impl Bus {
    /// An empty bus. The name (`"memory"`, `"port"`) appears in log lines.
    pub fn new(name: &'static str) -> Self {
        Self { name, ranges: Vec::new(), last_hit: AtomicUsize::new(0), unclaimed: Mutex::default() }
    }

    /// Lets `device` answer `length` bytes from `base`, with offsets that start at zero.
    pub fn insert(
        &mut self,
        base: u64,
        length: u64,
        device: Arc<Mutex<dyn BusDevice>>,
    ) -> Result<(), BusOverlap> {
        self.insert_at_offset(base, length, 0, device)
    }

    /// Lets `device` answer `length` I/O ports from `base`; the device sees port numbers as offsets.
    pub fn insert_ports(
        &mut self,
        base: u16,
        length: u16,
        device: Arc<Mutex<dyn BusDevice>>,
    ) -> Result<(), BusOverlap> {
        self.insert_at_offset(u64::from(base), u64::from(length), u64::from(base), device)
    }

    /// Lets `device` answer `length` bytes from `base`; the first of them is its `first_offset`.
    ///
    /// A device with several ranges is inserted once for each.
    pub fn insert_at_offset(
        &mut self,
        base: u64,
        length: u64,
        first_offset: u64,
        device: Arc<Mutex<dyn BusDevice>>,
    ) -> Result<(), BusOverlap> {
        let position = self.ranges.partition_point(|range| range.base < base);
        let before = position.checked_sub(1).and_then(|index| self.ranges.get(index));
        let overlapped = before
            .filter(|range| base - range.base < range.length)
            .or_else(|| self.ranges.get(position).filter(|range| range.base - base < length));
        if let Some(other) = overlapped {
            return Err(BusOverlap {
                bus: self.name,
                base,
                length,
                other_base: other.base,
                other_length: other.length,
            });
        }
        self.ranges.insert(position, Range { base, length, first_offset, device });
        Ok(())
    }

    fn find(&self, address: u64, length: u64) -> Option<&Range> {
        let cached = self.last_hit.load(Ordering::Relaxed);
        if let Some(range) = self.ranges.get(cached)
            && range.contains(address, length)
        {
            return Some(range);
        }
        let index = self.ranges.partition_point(|range| range.base <= address).checked_sub(1)?;
        let range = self.ranges.get(index)?;
        if range.contains(address, length) {
            self.last_hit.store(index, Ordering::Relaxed);
            return Some(range);
        }
        None
    }

    fn note_unclaimed(&self, address: u64, access: &str) {
        let mut unclaimed = lock(&self.unclaimed);
        if unclaimed.len() < REMEMBERED_UNCLAIMED && unclaimed.insert(address) {
            log::debug!("{access} at {address:#x} of the {} bus: no device answers", self.name);
        }
    }

    /// Reads `data.len()` bytes at `address`. Returns whether a device answered all of them.
    ///
    /// An access that lies only partly in a device's range is split into bytes.
    pub fn read(&self, address: u64, data: &mut [u8]) -> bool {
        if let Some(range) = self.find(address, data.len() as u64) {
            lock(&range.device).read(address - range.base + range.first_offset, data);
            return true;
        }
        if let [byte] = data {
            *byte = 0xff;
            self.note_unclaimed(address, "read");
            return false;
        }
        let mut is_claimed = true;
        for (index, byte) in data.iter_mut().enumerate() {
            is_claimed &= self.read(address.wrapping_add(index as u64), std::slice::from_mut(byte));
        }
        is_claimed
    }

    /// Writes `data` at `address`. Returns whether a device took all of it.
    pub fn write(&self, address: u64, data: &[u8]) -> bool {
        if let Some(range) = self.find(address, data.len() as u64) {
            lock(&range.device).write(address - range.base + range.first_offset, data);
            return true;
        }
        if data.len() == 1 {
            self.note_unclaimed(address, "write");
            return false;
        }
        let mut is_claimed = true;
        for (index, byte) in data.iter().enumerate() {
            is_claimed &= self.write(address.wrapping_add(index as u64), std::slice::from_ref(byte));
        }
        is_claimed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorder {
        writes: Vec<(u64, Vec<u8>)>,
    }

    impl BusDevice for Recorder {
        fn read(&mut self, offset: u64, data: &mut [u8]) {
            for (index, byte) in data.iter_mut().enumerate() {
                *byte = offset as u8 + index as u8;
            }
        }

        fn write(&mut self, offset: u64, data: &[u8]) {
            self.writes.push((offset, data.to_vec()));
        }
    }

    #[test]
    fn a_device_sees_offsets_from_its_range() {
        let mut bus = Bus::new("memory");
        let device = Arc::new(Mutex::new(Recorder::default()));
        bus.insert(0x1000, 0x100, device.clone()).unwrap();
        bus.insert_at_offset(0x3000, 0x10, 0x80, device.clone()).unwrap();
        let mut data = [0; 2];
        assert!(bus.read(0x1020, &mut data));
        assert_eq!(data, [0x20, 0x21]);
        assert!(bus.read(0x3001, &mut data));
        assert_eq!(data, [0x81, 0x82]);
        assert!(bus.write(0x10fc, &[1, 2, 3, 4]));
        assert_eq!(lock(&device).writes, [(0xfc, vec![1, 2, 3, 4])]);
    }

    #[test]
    fn unclaimed_addresses_read_as_all_ones() {
        let mut bus = Bus::new("port");
        bus.insert(0x60, 2, Arc::new(Mutex::new(Recorder::default()))).unwrap();
        let mut data = [0; 4];
        assert!(!bus.read(0x80, &mut data));
        assert_eq!(data, [0xff; 4]);
        assert!(!bus.read(0x60, &mut data), "half of the access is open bus");
        assert_eq!(data, [0, 1, 0xff, 0xff]);
        assert!(!bus.write(0x80, &[0]));
        assert!(!bus.read(u64::MAX, &mut data));
    }

    #[test]
    fn overlapping_ranges_are_refused() {
        let mut bus = Bus::new("memory");
        let device: Arc<Mutex<dyn BusDevice>> = Arc::new(Mutex::new(Recorder::default()));
        bus.insert(0x1000, 0x1000, device.clone()).unwrap();
        for (base, length) in [(0x1000, 1), (0x1fff, 1), (0xfff, 2), (0, 0x10000)] {
            assert!(bus.insert(base, length, device.clone()).is_err(), "{base:#x}+{length:#x}");
        }
        bus.insert(0x2000, 1, device.clone()).unwrap();
        bus.insert(0xfff, 1, device).unwrap();
    }
}
