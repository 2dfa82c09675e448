//! Compressed kernels: bzImage, by the 64-bit boot protocol (Linux `Documentation/x86/boot.rst`).

use super::parameters::{self, HEADER_OFFSET};
use super::{BootError, HIGH_MEMORY, LoadedKernel};
use crate::mem::{GuestMemory, GuestPhysAddr};

const SETUP_SECTORS: usize = 0x1f1;
const PROTECTED_MODE_SIZE: usize = 0x1f4;
const BOOT_FLAG: usize = 0x1fe;
const JUMP_LENGTH: usize = 0x201;
const MAGIC: usize = 0x202;
const VERSION: usize = 0x206;
const INITRD_MAX: usize = 0x22c;
const EXTENDED_LOAD_FLAGS: usize = 0x236;
const COMMAND_LINE_SIZE: usize = 0x238;
const PREFERRED_ADDRESS: usize = 0x258;
const INIT_SIZE: usize = 0x260;

/// Bytes up to the end of the header's `init_size`, the last field that is read here.
const HEADER_END: u64 = 0x264;
/// Setup sectors of images that say zero.
const DEFAULT_SETUP_SECTORS: u64 = 4;
/// The first protocol with the extended load flags.
const OLDEST_VERSION: u16 = 0x020c;
const KERNEL_64: u16 = 1 << 0;
/// The 64-bit entry point, from the start of the protected-mode part.
const ENTRY_64: u64 = 0x200;

fn field<const N: usize>(image: &[u8], offset: usize) -> Result<[u8; N], BootError> {
    image.get(offset..offset + N).and_then(|bytes| bytes.try_into().ok()).ok_or(BootError::Truncated {
        what: "the setup header",
        needed: HEADER_END,
        length: image.len() as u64,
    })
}

/// Loads the protected-mode part to the address that the kernel will run at, which spares it a move.
pub fn load(image: &[u8], memory: &GuestMemory) -> Result<LoadedKernel, BootError> {
    let is_boot_sector = image.get(BOOT_FLAG..BOOT_FLAG + 2) == Some(&[0x55, 0xaa]);
    if !is_boot_sector || image.get(MAGIC..MAGIC + 4) != Some(b"HdrS") {
        return Err(BootError::NotAKernel);
    }
    let version = u16::from_le_bytes(field(image, VERSION)?);
    let has_flags = version >= OLDEST_VERSION;
    if !has_flags || u16::from_le_bytes(field(image, EXTENDED_LOAD_FLAGS)?) & KERNEL_64 == 0 {
        return Err(BootError::No64BitEntry { major: (version >> 8) as u8, minor: version as u8 });
    }
    let preferred_address = u64::from_le_bytes(field(image, PREFERRED_ADDRESS)?);
    let init_size = u64::from(u32::from_le_bytes(field(image, INIT_SIZE)?));
    let command_line_max = u32::from_le_bytes(field(image, COMMAND_LINE_SIZE)?) as usize;
    let initrd_max = u64::from(u32::from_le_bytes(field(image, INITRD_MAX)?));

    let [setup_sectors] = field(image, SETUP_SECTORS)?;
    let setup_sectors = if setup_sectors == 0 { DEFAULT_SETUP_SECTORS } else { u64::from(setup_sectors) };
    let start = (setup_sectors + 1) * 512;
    // In units of 16 bytes. What follows in the file is a signature, which is not for the kernel.
    let size = u64::from(u32::from_le_bytes(field(image, PROTECTED_MODE_SIZE)?)) * 16;
    let length = image.len() as u64;
    let body = usize::try_from(start + size)
        .ok()
        .and_then(|end| image.get(start as usize..end))
        .ok_or(BootError::Truncated { what: "the compressed kernel", needed: start + size, length })?;
    if size <= ENTRY_64 {
        return Err(BootError::Truncated { what: "the setup code", needed: start + ENTRY_64 + 1, length });
    }

    let outside = BootError::BadAddress { what: "preferred address", address: preferred_address };
    if preferred_address < HIGH_MEMORY {
        return Err(outside);
    }
    let footprint = init_size.max(size);
    let end = preferred_address.checked_add(footprint).ok_or(outside)?;
    if end > memory.size() {
        return Err(BootError::NotEnoughMemory { needed: end, available: memory.size() });
    }
    memory.write(GuestPhysAddr(preferred_address), body)?;

    // The jump instruction at 0x200 ends where the header ends.
    let [jump] = field(image, JUMP_LENGTH)?;
    let header_end = (MAGIC + usize::from(jump)).min(parameters::HEADER_LIMIT);
    let setup_header = image.get(HEADER_OFFSET..header_end).unwrap_or_default().to_vec();
    Ok(LoadedKernel { entry: preferred_address + ENTRY_64, end, initrd_max, command_line_max, setup_header })
}
