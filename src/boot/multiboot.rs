//! Multiboot kernels: ELF32 files with a multiboot header (Multiboot specification 0.6.96).
//!
//! Small test kernels are such files. They are entered in 32-bit protected mode without paging, EBX pointing to
//! what the boot loader tells: memory, command line, modules.

use super::parameters::{self, memory_map};
use super::{BootError, BootRequest, HIGH_MEMORY, LoadedKernel};
use super::{COMMAND_LINE_ADDRESS, CONVENTIONAL_MEMORY_END, EntryState, long_mode};
use crate::mem::{GuestMemory, GuestPhysAddr};
use elf::ElfBytes;
use elf::abi::{EM_386, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;

const HEADER_MAGIC: u32 = 0x1bad_b002;
/// The header lies within so many bytes of the file, at a multiple of four.
const HEADER_WITHIN: usize = 8192;
/// Of the flags that must be understood (bits 0 to 15): modules at pages, memory information.
const KNOWN_FLAGS: u32 = 0b11;
const REQUIRED_FLAGS: u32 = 0xffff;

/// What EAX says to the kernel.
const LOADER_MAGIC: u32 = 0x2bad_b002;

/// The information, which is where Linux finds `boot_params`.
const INFORMATION: u64 = parameters::ADDRESS;
const MODULE_LIST: u64 = INFORMATION + 0x80;
const LOADER_NAME: u64 = INFORMATION + 0xc0;
const MEMORY_MAP: u64 = INFORMATION + 0x100;

// Flags of the information: memory sizes, command line, modules, memory map, loader's name.
const HAS_MEMORY: u32 = 1 << 0;
const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;
const HAS_LOADER_NAME: u32 = 1 << 9;

/// Multiboot kernels take their command line to begin with the kernel's name.
const PROGRAM: &str = "kernel";

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(field.try_into().ok()?))
}

/// The flags of the multiboot header, if there is one.
fn header_flags(image: &[u8]) -> Option<u32> {
    let head = image.get(..HEADER_WITHIN).unwrap_or(image);
    (0..head.len()).step_by(4).find_map(|at| {
        let (magic, flags, checksum) = (word(head, at)?, word(head, at + 4)?, word(head, at + 8)?);
        let is_header = magic == HEADER_MAGIC && magic.wrapping_add(flags).wrapping_add(checksum) == 0;
        is_header.then_some(flags)
    })
}

/// Whether the image is an ELF32 file with a multiboot header.
pub fn is_multiboot(image: &[u8]) -> bool {
    image.starts_with(b"\x7fELF\x01\x01") && header_flags(image).is_some()
}

/// Puts a kernel and what it is told into memory, and says how to enter it.
pub fn load(request: &BootRequest<'_>, memory: &GuestMemory) -> Result<EntryState, BootError> {
    let flags = header_flags(request.kernel).ok_or(BootError::NotAKernel)?;
    let unknown = flags & REQUIRED_FLAGS & !KNOWN_FLAGS;
    if unknown != 0 {
        return Err(BootError::UnknownMultibootFlags { flags: unknown });
    }
    let kernel = load_segments(request.kernel, memory)?;
    let command_line = if request.command_line.is_empty() {
        PROGRAM.to_owned()
    } else {
        format!("{PROGRAM} {}", request.command_line)
    };
    super::write_command_line(&command_line, kernel.command_line_max, memory)?;
    let module = request
        .initrd
        .map(|initrd| {
            Ok::<_, BootError>((super::place_initrd(initrd, &kernel, memory)?, initrd.len() as u32))
        })
        .transpose()?;
    super::write_acpi_tables(&request.acpi, memory)?;
    write_information(request, module, memory)?;
    Ok(long_mode::prepare_protected(kernel.entry, LOADER_MAGIC, INFORMATION, memory)?)
}

/// Loads all segments to their physical addresses.
fn load_segments(image: &[u8], memory: &GuestMemory) -> Result<LoadedKernel, BootError> {
    let damaged = |error: elf::ParseError| BootError::BadElf(error.to_string());
    let file = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(damaged)?;
    let header = &file.ehdr;
    if header.class != Class::ELF32 || header.e_machine != EM_386 {
        return Err(BootError::WrongArchitecture { machine: header.e_machine, bits: 32 });
    }
    let segments = file.segments().into_iter().flat_map(|table| table.iter());
    let mut end = 0;
    let mut has_entry = false;
    for segment in segments.filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0) {
        let outside = BootError::BadAddress { what: "segment", address: segment.p_paddr };
        let segment_end = segment.p_paddr.checked_add(segment.p_memsz).ok_or(outside.clone())?;
        if segment.p_paddr < HIGH_MEMORY || segment.p_filesz > segment.p_memsz {
            return Err(outside);
        }
        if segment_end > memory.size() {
            return Err(BootError::NotEnoughMemory { needed: segment_end, available: memory.size() });
        }
        let file_end = segment.p_offset.saturating_add(segment.p_filesz);
        if file_end > image.len() as u64 {
            let length = image.len() as u64;
            return Err(BootError::Truncated { what: "a segment", needed: file_end, length });
        }
        end = end.max(segment_end);
        has_entry |= (segment.p_paddr..segment_end).contains(&header.e_entry);
        memory.write(GuestPhysAddr(segment.p_paddr), file.segment_data(&segment).map_err(damaged)?)?;
    }
    if !has_entry {
        return Err(BootError::BadAddress { what: "entry point", address: header.e_entry });
    }
    Ok(LoadedKernel {
        entry: header.e_entry,
        end,
        initrd_max: u64::from(u32::MAX),
        command_line_max: usize::MAX,
        setup_header: Vec::new(),
    })
}

/// Multiboot 3.3: the fields that their flags announce.
fn write_information(
    request: &BootRequest<'_>,
    module: Option<(u32, u32)>,
    memory: &GuestMemory,
) -> Result<(), BootError> {
    let mut map = Vec::new();
    for entry in memory_map(memory.size(), &request.acpi) {
        let bytes = entry.bytes();
        // The size does not count itself.
        map.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        map.extend_from_slice(&bytes);
    }
    memory.write(GuestPhysAddr(MEMORY_MAP), &map)?;
    memory.write(GuestPhysAddr(LOADER_NAME), b"dinghy\0")?;
    if let Some((address, length)) = module {
        // Start, end, and the command line's address as the module's text.
        let entry = [address, address.saturating_add(length), COMMAND_LINE_ADDRESS as u32, 0];
        let bytes: Vec<u8> = entry.into_iter().flat_map(u32::to_le_bytes).collect();
        memory.write(GuestPhysAddr(MODULE_LIST), &bytes)?;
    }
    let flags = HAS_MEMORY | HAS_COMMAND_LINE | HAS_MODULES | HAS_MEMORY_MAP | HAS_LOADER_NAME;
    let kibibytes = |bytes: u64| (bytes >> 10) as u32;
    let mut fields = [0_u32; 17];
    fields[0] = flags;
    fields[1] = kibibytes(CONVENTIONAL_MEMORY_END);
    fields[2] = kibibytes(memory.size() - HIGH_MEMORY);
    fields[4] = COMMAND_LINE_ADDRESS as u32;
    fields[5] = u32::from(module.is_some());
    fields[6] = MODULE_LIST as u32;
    fields[11] = map.len() as u32;
    fields[12] = MEMORY_MAP as u32;
    fields[16] = LOADER_NAME as u32;
    let bytes: Vec<u8> = fields.into_iter().flat_map(u32::to_le_bytes).collect();
    Ok(memory.write(GuestPhysAddr(INFORMATION), &bytes)?)
}
