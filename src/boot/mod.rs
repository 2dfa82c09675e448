//! Loading a kernel: vmlinux (ELF) and bzImage, boot_params, command line, initrd; and multiboot kernels.
//!
//! A Linux image is entered by its 64-bit entry point (Linux `Documentation/x86/boot.rst`): long mode, an
//! identity map of the low 4 GiB, interrupts off, `rsi` pointing to `boot_params`. What firmware leaves in low
//! memory on a PC, this module writes:
//!
//! | address | contents |
//! |---|---|
//! | 0x0500 | GDT |
//! | 0x6000 | random seed (`setup_data`) |
//! | 0x7000 | `boot_params`, or the multiboot information |
//! | 0x8ff0 | stack, downwards |
//! | 0x9000 | page tables |
//! | 0x2_0000 | command line |
//! | 0xe_0000 | ACPI tables |

mod bzimage;
mod error;
mod long_mode;
mod multiboot;
mod parameters;
mod vmlinux;

pub use error::BootError;
pub use long_mode::EntryState;

use crate::devices::acpi::{AcpiConfig, AcpiTables};
use crate::mem::{GuestMemory, GuestPhysAddr, PAGE_SIZE};
use parameters::Parameters;

/// The first byte that a kernel image may occupy.
const HIGH_MEMORY: u64 = 0x10_0000;

const COMMAND_LINE_ADDRESS: u64 = 0x2_0000;
/// The end of conventional memory, where a PC's BIOS has its data area.
const CONVENTIONAL_MEMORY_END: u64 = 0x9_fc00;
const SEED_ADDRESS: u64 = 0x6000;

/// What to boot.
#[derive(Clone, Debug, Default)]
pub struct BootRequest<'a> {
    /// A vmlinux (ELF64), a bzImage, or a multiboot kernel (ELF32).
    pub kernel: &'a [u8],
    /// The initial RAM disk, if any.
    pub initrd: Option<&'a [u8]>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// The machine that the ACPI tables describe.
    pub acpi: AcpiConfig,
    /// Random bytes that let the guest's generator start seeded.
    pub random_seed: Option<[u8; 32]>,
}

/// A kernel in memory, and what its image says about booting it.
struct LoadedKernel {
    /// The entry point.
    entry: u64,
    /// The first byte after all that the kernel uses before it knows its memory map.
    end: u64,
    /// The last byte that an initrd may occupy.
    initrd_max: u64,
    /// Longest command line that it takes, in bytes without the final zero.
    command_line_max: usize,
    /// The setup header, as it goes to `boot_params` at 0x1f1; empty for a vmlinux.
    setup_header: Vec<u8>,
}

/// Puts kernel, initrd, command line, ACPI tables and what tells of them into memory, and says how to enter.
pub fn load(request: &BootRequest<'_>, memory: &GuestMemory) -> Result<EntryState, BootError> {
    if multiboot::is_multiboot(request.kernel) {
        return multiboot::load(request, memory);
    }
    let kernel = if vmlinux::is_elf(request.kernel) {
        vmlinux::load(request.kernel, memory)?
    } else {
        bzimage::load(request.kernel, memory)?
    };
    let mut parameters = Parameters::new(&kernel.setup_header);
    parameters.set_memory_map(memory.size(), &request.acpi);

    write_command_line(request.command_line, kernel.command_line_max, memory)?;
    parameters.set_command_line(COMMAND_LINE_ADDRESS as u32);

    if let Some(initrd) = request.initrd {
        let address = place_initrd(initrd, &kernel, memory)?;
        parameters.set_initrd(address, initrd.len() as u32);
    }
    if let Some(seed) = &request.random_seed {
        memory.write(GuestPhysAddr(SEED_ADDRESS), &parameters::seed_node(seed))?;
        parameters.set_setup_data(SEED_ADDRESS);
    }
    parameters.set_rsdp(write_acpi_tables(&request.acpi, memory)?);

    parameters.write(memory)?;
    long_mode::prepare(kernel.entry, parameters::ADDRESS, memory).map_err(BootError::from)
}

/// Writes the ACPI tables; returns the address of the root pointer.
fn write_acpi_tables(acpi: &AcpiConfig, memory: &GuestMemory) -> Result<u64, BootError> {
    let tables = AcpiTables::new(AcpiTables::BASE, acpi);
    if tables.image.len() > AcpiTables::CAPACITY {
        return Err(BootError::TooManyProcessors { count: acpi.processor_count });
    }
    memory.write(GuestPhysAddr(u64::from(AcpiTables::BASE)), &tables.image)?;
    Ok(tables.rsdp_address)
}

fn write_command_line(command_line: &str, limit: usize, memory: &GuestMemory) -> Result<(), BootError> {
    let limit = limit.min((CONVENTIONAL_MEMORY_END - COMMAND_LINE_ADDRESS - 1) as usize);
    if command_line.len() > limit {
        return Err(BootError::CommandLineTooLong { length: command_line.len(), limit });
    }
    if command_line.contains('\0') {
        return Err(BootError::CommandLineHasNul);
    }
    let mut bytes = command_line.as_bytes().to_vec();
    bytes.push(0);
    Ok(memory.write(GuestPhysAddr(COMMAND_LINE_ADDRESS), &bytes)?)
}

/// Puts the initrd as high as the kernel takes it, away from what the kernel is about to use.
fn place_initrd(initrd: &[u8], kernel: &LoadedKernel, memory: &GuestMemory) -> Result<u32, BootError> {
    let length = initrd.len() as u64;
    let limit = kernel.initrd_max.saturating_add(1).min(1 << 32);
    let lowest = kernel.end.next_multiple_of(PAGE_SIZE);
    let address_below = |top: u64| {
        top.checked_sub(length)
            .map(|address| address / PAGE_SIZE * PAGE_SIZE)
            .filter(|address| *address >= lowest)
    };
    if address_below(limit).is_none() {
        return Err(BootError::InitrdTooLarge { length, limit: limit.saturating_sub(lowest) });
    }
    let address = address_below(limit.min(memory.size())).ok_or(BootError::NotEnoughMemory {
        needed: lowest + length.next_multiple_of(PAGE_SIZE),
        available: memory.size(),
    })?;
    memory.write(GuestPhysAddr(address), initrd)?;
    u32::try_from(address).map_err(|_| BootError::InitrdTooLarge { length, limit: u64::from(u32::MAX) })
}

#[cfg(test)]
mod tests;
