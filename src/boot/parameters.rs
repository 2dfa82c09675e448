//! `boot_params`, the "zero page" (Linux `Documentation/x86/zero-page.rst`).

use crate::devices::acpi::AcpiConfig;
use crate::mem::{GuestMemory, GuestPhysAddr, MemoryError, PAGE_SIZE};

/// Where the page is put.
pub const ADDRESS: u64 = 0x7000;
/// Where the setup header begins, in the page as in a bzImage.
pub const HEADER_OFFSET: usize = 0x1f1;
/// The first byte after the space for the setup header.
pub const HEADER_LIMIT: usize = 0x290;

const RSDP: usize = 0x070;
const MEMORY_MAP_COUNT: usize = 0x1e8;
const BOOT_FLAG: usize = 0x1fe;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const LOADER_TYPE: usize = 0x210;
const LOAD_FLAGS: usize = 0x211;
const INITRD_ADDRESS: usize = 0x218;
const INITRD_SIZE: usize = 0x21c;
const COMMAND_LINE: usize = 0x228;
const KERNEL_ALIGNMENT: usize = 0x230;
const SETUP_DATA: usize = 0x250;
const MEMORY_MAP: usize = 0x2d0;

/// A boot loader without a number of its own.
const LOADER_UNKNOWN: u8 = 0xff;
const LOADED_HIGH: u8 = 1 << 0;
/// What a vmlinux, which has no setup header, is told of the protocol.
const PROTOCOL_VERSION: u16 = 0x020f;
const DEFAULT_ALIGNMENT: u32 = 0x100_0000;

/// `setup_data` type of a random seed.
const SETUP_RNG_SEED: u32 = 9;

const RAM: u32 = 1;
const RESERVED: u32 = 2;

/// A range of addresses and what it is for.
pub struct MapEntry {
    start: u64,
    end: u64,
    kind: u32,
}

impl MapEntry {
    /// Start, length and type as firmware reports them (ACPI 6.5 15.1).
    pub fn bytes(&self) -> [u8; 20] {
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.start.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.end.saturating_sub(self.start).to_le_bytes());
        bytes[16..].copy_from_slice(&self.kind.to_le_bytes());
        bytes
    }
}

/// Conventional memory, the BIOS area with the ACPI tables, the rest of RAM, the ECAM.
pub fn memory_map(ram_size: u64, acpi: &AcpiConfig) -> [MapEntry; 5] {
    let ecam = u64::from(acpi.pci.ecam_base);
    [
        (0, super::CONVENTIONAL_MEMORY_END, RAM),
        (super::CONVENTIONAL_MEMORY_END, 0xa_0000, RESERVED),
        (0xe_0000, super::HIGH_MEMORY, RESERVED),
        (super::HIGH_MEMORY, ram_size, RAM),
        (ecam, ecam + u64::from(acpi.pci.ecam_length), RESERVED),
    ]
    .map(|(start, end, kind)| MapEntry { start, end, kind })
}

/// The page while it is being filled in.
pub struct Parameters {
    page: Box<[u8; PAGE_SIZE as usize]>,
}

impl Parameters {
    /// A page with this setup header, or with a made-up one if the image has none.
    pub fn new(setup_header: &[u8]) -> Self {
        let mut parameters = Self { page: Box::new([0; PAGE_SIZE as usize]) };
        if setup_header.is_empty() {
            parameters.put(BOOT_FLAG, &[0x55, 0xaa]);
            parameters.put(MAGIC, b"HdrS");
            parameters.put(VERSION, &PROTOCOL_VERSION.to_le_bytes());
            parameters.put(KERNEL_ALIGNMENT, &DEFAULT_ALIGNMENT.to_le_bytes());
        } else {
            parameters.put(HEADER_OFFSET, setup_header);
        }
        parameters.put(LOADER_TYPE, &[LOADER_UNKNOWN]);
        let flags = parameters.page[LOAD_FLAGS] | LOADED_HIGH;
        parameters.put(LOAD_FLAGS, &[flags]);
        parameters
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        for (target, byte) in self.page.iter_mut().skip(offset).zip(bytes) {
            *target = *byte;
        }
    }

    /// The E820 map.
    pub fn set_memory_map(&mut self, ram_size: u64, acpi: &AcpiConfig) {
        let entries = memory_map(ram_size, acpi);
        let mut map = Vec::new();
        for entry in &entries {
            map.extend_from_slice(&entry.bytes());
        }
        self.put(MEMORY_MAP, &map);
        self.put(MEMORY_MAP_COUNT, &[entries.len() as u8]);
    }

    /// Where the command line is.
    pub fn set_command_line(&mut self, address: u32) {
        self.put(COMMAND_LINE, &address.to_le_bytes());
    }

    /// Where the initrd is.
    pub fn set_initrd(&mut self, address: u32, size: u32) {
        self.put(INITRD_ADDRESS, &address.to_le_bytes());
        self.put(INITRD_SIZE, &size.to_le_bytes());
    }

    /// Where the list of further data begins.
    pub fn set_setup_data(&mut self, address: u64) {
        self.put(SETUP_DATA, &address.to_le_bytes());
    }

    /// Where the ACPI root pointer is.
    pub fn set_rsdp(&mut self, address: u64) {
        self.put(RSDP, &address.to_le_bytes());
    }

    /// Puts the page into guest memory.
    pub fn write(&self, memory: &GuestMemory) -> Result<(), MemoryError> {
        memory.write(GuestPhysAddr(ADDRESS), &self.page[..])
    }
}

/// The only node of the `setup_data` list: a random seed.
pub fn seed_node(seed: &[u8; 32]) -> Vec<u8> {
    let mut node = 0_u64.to_le_bytes().to_vec();
    node.extend_from_slice(&SETUP_RNG_SEED.to_le_bytes());
    node.extend_from_slice(&(seed.len() as u32).to_le_bytes());
    node.extend_from_slice(seed);
    node
}
