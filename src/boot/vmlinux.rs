//! Uncompressed kernels: ELF64 with physical load addresses and a physical 64-bit entry point.

use super::{BootError, HIGH_MEMORY, LoadedKernel};
use crate::mem::{GuestMemory, GuestPhysAddr};
use elf::ElfBytes;
use elf::abi::{EM_X86_64, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;

/// The longest command line of an x86 kernel (`COMMAND_LINE_SIZE` less the final zero).
const COMMAND_LINE_MAX: usize = 2047;
/// What the same kernel's bzImage says.
const INITRD_MAX: u64 = 0x7fff_ffff;

/// Whether the image has the ELF magic number.
pub fn is_elf(image: &[u8]) -> bool {
    image.starts_with(b"\x7fELF")
}

/// Loads all segments to their physical addresses.
pub fn load(image: &[u8], memory: &GuestMemory) -> Result<LoadedKernel, BootError> {
    let damaged = |error: elf::ParseError| BootError::BadElf(error.to_string());
    // Byte 5 is the byte order: say "another processor" rather than "damaged" for a big-endian kernel.
    if image.get(5) == Some(&2) {
        let machine = image.get(18..20).map_or(0, |field| u16::from_be_bytes([field[0], field[1]]));
        let bits = if image.get(4) == Some(&1) { 32 } else { 64 };
        return Err(BootError::WrongArchitecture { machine, bits });
    }
    let file = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(damaged)?;
    let header = &file.ehdr;
    if header.class != Class::ELF64 || header.e_machine != EM_X86_64 {
        let bits = if header.class == Class::ELF64 { 64 } else { 32 };
        return Err(BootError::WrongArchitecture { machine: header.e_machine, bits });
    }
    let segments: Vec<_> = file
        .segments()
        .into_iter()
        .flat_map(|table| table.iter())
        .filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0)
        .collect();

    let mut end = 0;
    let mut has_entry = false;
    for segment in &segments {
        let outside = BootError::BadAddress { what: "segment", address: segment.p_paddr };
        let segment_end = segment.p_paddr.checked_add(segment.p_memsz).ok_or(outside.clone())?;
        if segment.p_paddr < HIGH_MEMORY || segment.p_filesz > segment.p_memsz {
            return Err(outside);
        }
        let file_end = segment.p_offset.saturating_add(segment.p_filesz);
        if file_end > image.len() as u64 {
            let length = image.len() as u64;
            return Err(BootError::Truncated { what: "a segment", needed: file_end, length });
        }
        end = end.max(segment_end);
        has_entry |= (segment.p_paddr..segment_end).contains(&header.e_entry);
    }
    if !has_entry {
        return Err(BootError::BadAddress { what: "entry point", address: header.e_entry });
    }
    if end > memory.size() {
        return Err(BootError::NotEnoughMemory { needed: end, available: memory.size() });
    }
    for segment in &segments {
        // What the file does not hold is zero: RAM starts so.
        memory.write(GuestPhysAddr(segment.p_paddr), file.segment_data(segment).map_err(damaged)?)?;
    }
    Ok(LoadedKernel {
        entry: header.e_entry,
        end,
        initrd_max: INITRD_MAX,
        command_line_max: COMMAND_LINE_MAX,
        setup_header: Vec::new(),
    })
}
