//! QEMU's firmware configuration interface by ports: what a guest without ACPI asks it for.
//!
//! A selector of 16 bits at the first port chooses an item, whose bytes are then read one by one at the second
//! (QEMU `docs/specs/fw_cfg.rst`). There are no files and no DMA.

use super::BusDevice;

/// Port of the selector; the data port is the next one.
pub const FW_CFG_PORT: u16 = 0x510;
/// Both ports.
pub const FW_CFG_PORT_COUNT: u16 = 2;

const DATA_OFFSET: u64 = 1;

const SIGNATURE: u16 = 0x00;
const ID: u16 = 0x01;
const RAM_SIZE: u16 = 0x03;
const PROCESSOR_COUNT: u16 = 0x05;
const PROCESSOR_LIMIT: u16 = 0x0f;
const FILE_DIRECTORY: u16 = 0x19;

/// Only the traditional interface.
const ID_PORTS: u32 = 1;

/// The device.
pub struct FirmwareConfig {
    ram_bytes: u64,
    processors: u16,
    item: Vec<u8>,
    /// The byte that is read next.
    place: usize,
}

impl FirmwareConfig {
    /// A machine with so much RAM and so many processors.
    pub fn new(ram_bytes: u64, processors: u16) -> Self {
        Self { ram_bytes, processors, item: Vec::new(), place: 0 }
    }

    /// Integers are little-endian, but for those of the file directory.
    fn select(&mut self, key: u16) {
        self.item = match key {
            SIGNATURE => b"QEMU".to_vec(),
            ID => ID_PORTS.to_le_bytes().to_vec(),
            RAM_SIZE => self.ram_bytes.to_le_bytes().to_vec(),
            PROCESSOR_COUNT | PROCESSOR_LIMIT => self.processors.to_le_bytes().to_vec(),
            FILE_DIRECTORY => 0_u32.to_be_bytes().to_vec(),
            _ => Vec::new(),
        };
        self.place = 0;
    }
}

impl BusDevice for FirmwareConfig {
    /// Behind an item's end everything is zero. The selector cannot be read.
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let (DATA_OFFSET, [byte]) = (offset, data) {
            *byte = self.item.get(self.place).copied().unwrap_or(0);
            self.place = self.place.saturating_add(1);
        }
    }

    /// Items cannot be written.
    fn write(&mut self, offset: u64, data: &[u8]) {
        if let (0, &[low, high]) = (offset, data) {
            self.select(u16::from_le_bytes([low, high]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(device: &mut FirmwareConfig, key: u16, length: usize) -> Vec<u8> {
        device.write(0, &key.to_le_bytes());
        let mut byte = [0];
        (0..length)
            .map(|_| {
                device.read(DATA_OFFSET, &mut byte);
                byte[0]
            })
            .collect()
    }

    #[test]
    fn items_are_read_byte_by_byte_from_their_start() {
        let mut device = FirmwareConfig::new(64 << 20, 3);
        assert_eq!(item(&mut device, SIGNATURE, 6), *b"QEMU\0\0");
        assert_eq!(item(&mut device, PROCESSOR_COUNT, 2), [3, 0]);
        assert_eq!(item(&mut device, RAM_SIZE, 8), (64_u64 << 20).to_le_bytes());
        assert_eq!(item(&mut device, ID, 4), [1, 0, 0, 0], "no DMA");
        assert_eq!(item(&mut device, FILE_DIRECTORY, 4), [0; 4], "no files");
        assert_eq!(item(&mut device, 0x4242, 2), [0, 0]);
    }

    #[test]
    fn writes_of_other_widths_select_nothing() {
        let mut device = FirmwareConfig::new(64 << 20, 1);
        device.write(0, &SIGNATURE.to_le_bytes());
        device.write(0, &[PROCESSOR_COUNT as u8]);
        device.write(DATA_OFFSET, &[PROCESSOR_COUNT as u8]);
        let mut byte = [0];
        device.read(DATA_OFFSET, &mut byte);
        assert_eq!(byte, *b"Q");
    }
}
