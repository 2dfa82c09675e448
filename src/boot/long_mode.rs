//! The processor states and the tables that kernels expect: the 64-bit entry point of Linux, and multiboot.

use crate::mem::{GuestMemory, GuestPhysAddr, MemoryError, PAGE_SIZE};

const GDT_ADDRESS: u64 = 0x500;
const STACK_ADDRESS: u64 = 0x8ff0;
const PML4_ADDRESS: u64 = 0x9000;

/// Null, unused, `__BOOT_CS` (64-bit code, base 0, execute/read), `__BOOT_DS` (data, base 0, read/write).
const GDT: [u64; 4] = [0, 0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];
/// The same with 32-bit code.
const PROTECTED_GDT: [u64; 4] = [0, 0, 0x00cf_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const GIGABYTES_MAPPED: u64 = 4;
const ENTRIES: u64 = 512;

const CR0_PROTECTION: u64 = 1 << 0;
const CR0_EXTENSION_TYPE: u64 = 1 << 4;
const CR0_PAGING: u64 = 1 << 31;
const CR4_PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
const EFER_LONG_MODE_ENABLE: u64 = 1 << 8;
const EFER_LONG_MODE_ACTIVE: u64 = 1 << 10;
/// Bit 1 is always set; interrupts are off.
const RFLAGS: u64 = 1 << 1;

/// The processor state at the kernel's first instruction. What is not named is as after reset, or zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// Entry point.
    pub rip: u64,
    /// The multiboot magic number.
    pub rax: u64,
    /// Address of the multiboot information.
    pub rbx: u64,
    /// Address of `boot_params`.
    pub rsi: u64,
    /// Top of a small stack.
    pub rsp: u64,
    /// Flags: interrupts off.
    pub rflags: u64,
    /// Protected mode, with paging for a 64-bit kernel.
    pub cr0: u64,
    /// Root of page tables that map the low 4 GiB to themselves.
    pub cr3: u64,
    /// Physical address extension.
    pub cr4: u64,
    /// Long mode, enabled and active, for a 64-bit kernel.
    pub efer: u64,
    /// Base of the GDT; both descriptors below are in it.
    pub gdt_base: u64,
    /// Limit of the GDT: its size less one.
    pub gdt_limit: u16,
    /// Selector of the code segment (`__BOOT_CS`).
    pub code_selector: u16,
    /// The descriptor that the code selector names.
    pub code_descriptor: u64,
    /// Selector for DS, ES, FS, GS and SS (`__BOOT_DS`).
    pub data_selector: u16,
    /// The descriptor that the data selector names.
    pub data_descriptor: u64,
}

/// Writes GDT and page tables, and says with what state to enter at `entry`.
pub fn prepare(entry: u64, parameters: u64, memory: &GuestMemory) -> Result<EntryState, MemoryError> {
    write_entries(memory, GDT_ADDRESS, GDT)?;

    let table = |index: u64| PML4_ADDRESS + index * PAGE_SIZE;
    write_entries(memory, table(0), [table(1) | PRESENT_WRITABLE])?;
    write_entries(
        memory,
        table(1),
        (0..GIGABYTES_MAPPED).map(|gigabyte| table(2 + gigabyte) | PRESENT_WRITABLE),
    )?;
    // 2 MiB pages: the processor need not have the 1 GiB ones.
    let pages = (0..GIGABYTES_MAPPED * ENTRIES).map(|page| page << 21 | LARGE_PAGE | PRESENT_WRITABLE);
    write_entries(memory, table(2), pages)?;

    Ok(EntryState {
        rip: entry,
        rax: 0,
        rbx: 0,
        rsi: parameters,
        rsp: STACK_ADDRESS,
        rflags: RFLAGS,
        cr0: CR0_PROTECTION | CR0_EXTENSION_TYPE | CR0_PAGING,
        cr3: PML4_ADDRESS,
        cr4: CR4_PHYSICAL_ADDRESS_EXTENSION,
        efer: EFER_LONG_MODE_ENABLE | EFER_LONG_MODE_ACTIVE,
        gdt_base: GDT_ADDRESS,
        gdt_limit: size_of_val(&GDT) as u16 - 1,
        code_selector: 0x10,
        code_descriptor: GDT[2],
        data_selector: 0x18,
        data_descriptor: GDT[3],
    })
}

/// Writes a GDT, and says with what state a multiboot kernel is entered: 32-bit protected mode with flat segments
/// and without paging (Multiboot specification 0.6.96, 3.2).
pub fn prepare_protected(
    entry: u64,
    magic: u32,
    information: u64,
    memory: &GuestMemory,
) -> Result<EntryState, MemoryError> {
    write_entries(memory, GDT_ADDRESS, PROTECTED_GDT)?;
    Ok(EntryState {
        rip: entry,
        rax: magic.into(),
        rbx: information,
        rsi: 0,
        rsp: STACK_ADDRESS,
        rflags: RFLAGS,
        cr0: CR0_PROTECTION | CR0_EXTENSION_TYPE,
        cr3: 0,
        cr4: 0,
        efer: 0,
        gdt_base: GDT_ADDRESS,
        gdt_limit: size_of_val(&PROTECTED_GDT) as u16 - 1,
        code_selector: 0x10,
        code_descriptor: PROTECTED_GDT[2],
        data_selector: 0x18,
        data_descriptor: PROTECTED_GDT[3],
    })
}

fn write_entries(
    memory: &GuestMemory,
    address: u64,
    entries: impl IntoIterator<Item = u64>,
) -> Result<(), MemoryError> {
    let bytes: Vec<u8> = entries.into_iter().flat_map(u64::to_le_bytes).collect();
    memory.write(GuestPhysAddr(address), &bytes)
}
