//! Bits of the control registers and of EFER (SDM vol. 3A 2.5, 2.2.1).

/// CR0.PE: protected mode.
pub const CR0_PE: u64 = 1 << 0;
/// CR0.MP: `WAIT` obeys TS.
pub const CR0_MP: u64 = 1 << 1;
/// CR0.EM: no x87.
pub const CR0_EM: u64 = 1 << 2;
/// CR0.TS: task switched.
pub const CR0_TS: u64 = 1 << 3;
/// CR0.ET: reads as one.
pub const CR0_ET: u64 = 1 << 4;
/// CR0.NE: x87 errors raise #MF.
pub const CR0_NE: u64 = 1 << 5;
/// CR0.WP: supervisor writes obey the R/W bit.
pub const CR0_WP: u64 = 1 << 16;
/// CR0.AM: alignment checks can be enabled.
pub const CR0_AM: u64 = 1 << 18;
/// CR0.NW: not write-through.
pub const CR0_NW: u64 = 1 << 29;
/// CR0.CD: cache disabled.
pub const CR0_CD: u64 = 1 << 30;
/// CR0.PG: paging.
pub const CR0_PG: u64 = 1 << 31;

/// CR4.VME: virtual-8086 mode extensions.
pub const CR4_VME: u64 = 1 << 0;
/// CR4.PVI: protected-mode virtual interrupts.
pub const CR4_PVI: u64 = 1 << 1;
/// CR4.TSD: `RDTSC` is privileged.
pub const CR4_TSD: u64 = 1 << 2;
/// CR4.DE: DR4 and DR5 are undefined.
pub const CR4_DE: u64 = 1 << 3;
/// CR4.PSE: 4 MiB pages in 32-bit paging.
pub const CR4_PSE: u64 = 1 << 4;
/// CR4.PAE: physical-address extension.
pub const CR4_PAE: u64 = 1 << 5;
/// CR4.MCE: machine checks.
pub const CR4_MCE: u64 = 1 << 6;
/// CR4.PGE: global pages.
pub const CR4_PGE: u64 = 1 << 7;
/// CR4.PCE: `RDPMC` at all privileges.
pub const CR4_PCE: u64 = 1 << 8;
/// CR4.OSFXSR: SSE is enabled.
pub const CR4_OSFXSR: u64 = 1 << 9;
/// CR4.OSXMMEXCPT: SSE exceptions raise #XM.
pub const CR4_OSXMMEXCPT: u64 = 1 << 10;
/// CR4.UMIP: `SGDT`, `SIDT`, `SLDT`, `SMSW`, `STR` are privileged.
pub const CR4_UMIP: u64 = 1 << 11;
/// CR4.FSGSBASE: `RDFSBASE` and the like are enabled.
pub const CR4_FSGSBASE: u64 = 1 << 16;
/// CR4.PCIDE: process-context identifiers.
pub const CR4_PCIDE: u64 = 1 << 17;
/// CR4.OSXSAVE: `XSAVE` and the like are enabled.
pub const CR4_OSXSAVE: u64 = 1 << 18;
/// CR4.SMEP: no supervisor fetches from user pages.
pub const CR4_SMEP: u64 = 1 << 20;
/// CR4.SMAP: no supervisor accesses to user pages unless AC is set.
pub const CR4_SMAP: u64 = 1 << 21;

/// EFER.SCE: `SYSCALL` is enabled.
pub const EFER_SCE: u64 = 1 << 0;
/// EFER.LME: paging turns long mode on.
pub const EFER_LME: u64 = 1 << 8;
/// EFER.LMA: long mode is active.
pub const EFER_LMA: u64 = 1 << 10;
/// EFER.NXE: execute-disable is enabled.
pub const EFER_NXE: u64 = 1 << 11;

/// Bits in a physical address (MAXPHYADDR), as CPUID reports.
pub const PHYSICAL_ADDRESS_BITS: u32 = 40;

/// Whether bits 63 to 47 of a linear address are all alike.
#[inline(always)]
pub const fn is_canonical(address: u64) -> bool {
    ((address as i64) << 16 >> 16) as u64 == address
}
