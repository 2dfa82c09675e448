//! Why a kernel could not be loaded.

use crate::mem::MemoryError;

const MIB: u64 = 1 << 20;

/// Why a kernel could not be loaded. The message says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BootError {
    /// The image is neither ELF nor bzImage.
    #[error(
        "the kernel image is neither a vmlinux (ELF) nor a bzImage; name an uncompressed vmlinux or a bzImage"
    )]
    NotAKernel,
    /// The file ends before its contents do.
    #[error(
        "the kernel image is truncated: {what} ends at byte {needed}, the file has {length}; \
         copy or download it again"
    )]
    Truncated {
        /// The part that is not complete.
        what: &'static str,
        /// Bytes that the file should have at least.
        needed: u64,
        /// Bytes that it has.
        length: u64,
    },
    /// The ELF structure makes no sense.
    #[error("the kernel's ELF file is damaged ({0}); build or copy it again")]
    BadElf(String),
    /// The kernel is for another processor.
    #[error("the kernel is not for x86_64 (ELF machine {machine}, {bits}-bit); name an x86_64 kernel")]
    WrongArchitecture {
        /// The ELF header's machine number; x86_64 is 62.
        machine: u16,
        /// 32 or 64.
        bits: u8,
    },
    /// A bzImage without a 64-bit entry point.
    #[error(
        "the bzImage has no 64-bit entry point (boot protocol {major}.{minor:02}, needs 2.12 and a 64-bit \
         kernel); name a 64-bit kernel of Linux 3.8 or later"
    )]
    No64BitEntry {
        /// Major number of the boot protocol.
        major: u8,
        /// Minor number of the boot protocol.
        minor: u8,
    },
    /// A segment lies where the loader keeps its own tables, or the entry point lies in no segment.
    #[error("the kernel's {what} at {address:#x} lies outside the memory that a kernel may be loaded to")]
    BadAddress {
        /// The part with the bad address.
        what: &'static str,
        /// The guest-physical address.
        address: u64,
    },
    /// Kernel and initrd do not fit into RAM.
    #[error(
        "the machine has {} MiB of memory, this kernel and its initrd need at least {} MiB; give it more memory",
        available / MIB, needed.div_ceil(MIB)
    )]
    NotEnoughMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes of RAM.
        available: u64,
    },
    /// The initrd does not fit below the highest address that the kernel accepts.
    #[error(
        "the initrd has {length} bytes, this kernel takes at most {limit}; use a smaller one, or a disk instead"
    )]
    InitrdTooLarge {
        /// Bytes of the initrd.
        length: u64,
        /// Bytes that would fit.
        limit: u64,
    },
    /// The command line is longer than the kernel reads.
    #[error("the command line has {length} bytes, this kernel takes at most {limit}; shorten it")]
    CommandLineTooLong {
        /// Its length in bytes.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The command line has a zero byte within.
    #[error("the command line has a zero byte in it; remove it")]
    CommandLineHasNul,
    /// The ACPI tables do not fit into their area.
    #[error("{count} processors are more than the ACPI tables have room for; use fewer")]
    TooManyProcessors {
        /// Processors asked for.
        count: u32,
    },
    /// The multiboot header asks for what is not there.
    #[error(
        "the multiboot kernel needs what there is not here (header flags {flags:#x}); name another kernel"
    )]
    UnknownMultibootFlags {
        /// The flags that are not known.
        flags: u32,
    },
    /// A write outside RAM.
    #[error("the machine's memory is too small to boot from: {0}")]
    Memory(#[from] MemoryError),
}
