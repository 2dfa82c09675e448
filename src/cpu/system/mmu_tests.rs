//! Tests of paging (SDM vol. 3A chapter 4) by the processor's own accesses.

use super::mmu::Access;
use super::registers::*;
use crate::cpu::flags;
use crate::cpu::{Activity, Exception, Segment, SegmentIndex, Stop, SystemBus, Vcpu};
use crate::ir::Reg;
use crate::mem::{GuestMemory, GuestPhysAddr};

/// What lies outside RAM reads as 0xa5 and ignores stores.
struct NoDevices;

impl SystemBus for NoDevices {
    fn mmio_read(&mut self, _: GuestPhysAddr, data: &mut [u8]) {
        data.fill(0xa5);
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}
    fn port_read(&mut self, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32) {}
    fn apic_read_msr(&mut self, _: u32) -> Option<u64> {
        None
    }
    fn apic_write_msr(&mut self, _: u32, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn is_interrupt_pending(&mut self) -> bool {
        false
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn now_ns(&mut self, instructions: u64) -> u64 {
        instructions
    }
    fn started_at_unix_ns(&self) -> u64 {
        0
    }
    fn random_u64(&mut self) -> u64 {
        4
    }
}

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;
const ALL: u64 = PRESENT | WRITABLE | USER;

const RAM_BYTES: u64 = 8 << 20;
const LARGE_PAGE: u64 = 2 << 20;
const GIANT_PAGE: u64 = 1 << 30;

/// The tables that translate [`LINEAR`], root first.
const TABLES: [u64; 4] = [0x1000, 0x2000, 0x3000, 0x4000];
/// A second set of tables.
const OTHER_ROOT: u64 = 0x5000;
const OTHER_TABLE: u64 = 0x6000;
/// Three pages in a row are mapped from here, no index of theirs zero.
const LINEAR: u64 = 0x1234_5678_9000;
/// The frame of the first; the others follow.
const FRAME: u64 = 0x1_0000;
const OTHER_FRAME: u64 = 0x2_0000;

const ACCESSES: [Access; 3] = [Access::Read, Access::Write, Access::Fetch];
const BOTH: [bool; 2] = [false, true];

/// A processor in long mode at privilege 0 with WP and NXE set, whose tables permit everything.
struct Guest {
    vcpu: Vcpu,
}

impl Guest {
    fn new() -> Self {
        let memory = GuestMemory::new(RAM_BYTES).unwrap();
        let mut vcpu = Vcpu::new(memory, Box::new(NoDevices), 0);
        vcpu.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
        vcpu.cr3 = TABLES[0];
        vcpu.cr4 = CR4_PAE;
        vcpu.msr.efer = EFER_LME | EFER_LMA | EFER_NXE;
        vcpu.segments[SegmentIndex::Cs as usize] =
            Segment { selector: 8, base: 0, limit: u32::MAX, attributes: 0xaf9b };
        vcpu.set_segment_base(SegmentIndex::Cs, 0);
        vcpu.select_tlb();
        let mut guest = Self { vcpu };
        guest.map_all();
        guest
    }

    /// Tables as after `new`, and no translation remembered.
    fn map_all(&mut self) {
        for level in 0..3 {
            self.put(entry_at(level), TABLES[level + 1] | ALL);
        }
        for page in 0..3 {
            self.put(entry_at(3) + page * 8, (FRAME + (page << 12)) | ALL);
        }
        self.vcpu.flush_tlb();
    }

    fn put(&mut self, address: u64, value: u64) {
        self.vcpu.memory.write(GuestPhysAddr(address), &value.to_le_bytes()).unwrap();
    }

    fn put_u32(&mut self, address: u64, value: u32) {
        self.vcpu.memory.write(GuestPhysAddr(address), &value.to_le_bytes()).unwrap();
    }

    fn peek(&self, address: u64) -> u64 {
        self.vcpu.memory.read_u64(GuestPhysAddr(address)).unwrap()
    }

    /// The entry of [`LINEAR`] at a level, the root's 0.
    fn entry(&self, level: usize) -> u64 {
        self.peek(entry_at(level))
    }

    fn set_entry(&mut self, level: usize, value: u64) {
        self.put(entry_at(level), value);
        self.vcpu.flush_tlb();
    }

    fn set_privilege(&mut self, cpl: u8, has_ac: bool) {
        self.vcpu.cpl = cpl;
        self.vcpu.set_rflags(if has_ac { flags::AC } else { 0 });
    }

    /// One access of a byte, as an instruction would make it.
    fn touch(&mut self, address: u64, access: Access) -> Result<(), Exception> {
        match access {
            Access::Read => self.vcpu.read_u8(address).map(drop),
            Access::Write => self.vcpu.write_u8(address, 0x5a),
            Access::Fetch => self.vcpu.fetch_page(address).map(drop),
        }
    }

    fn physical(&mut self, address: u64) -> u64 {
        let privilege = self.vcpu.privilege();
        self.vcpu.translate(address, Access::Read, privilege).unwrap().0
    }
}

/// Where the entry of [`LINEAR`] is at a level, the root's 0.
fn entry_at(level: usize) -> u64 {
    TABLES[level] + (LINEAR >> (39 - 9 * level) & 0x1ff) * 8
}

fn page_fault(address: u64, error_code: u32) -> Result<(), Exception> {
    Err(Exception::PageFault { address, error_code })
}

fn error_code(access: Access, cpl: u8, cause: u32) -> u32 {
    let of_access = match access {
        Access::Read => 0,
        Access::Write => 1 << 1,
        Access::Fetch => 1 << 4,
    };
    cause | of_access | if cpl == 3 { 1 << 2 } else { 0 }
}

#[test]
fn permissions_are_those_of_all_levels_together() {
    let mut guest = Guest::new();
    let withheld = [(ALL, 0), (ALL & !USER, 0), (ALL & !WRITABLE, 0), (PRESENT, 0), (ALL, NO_EXECUTE)];
    for level in 0..4 {
        for (flags, high) in withheld {
            for bits in 0..8_u64 {
                let (has_wp, has_smep, has_smap) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                guest.vcpu.set_cr0(CR0_PG | CR0_PE | CR0_NE | if has_wp { CR0_WP } else { 0 }).unwrap();
                let smep = if has_smep { CR4_SMEP } else { 0 };
                let smap = if has_smap { CR4_SMAP } else { 0 };
                guest.vcpu.set_cr4(CR4_PAE | smep | smap).unwrap();
                for (cpl, has_ac, access) in all_accesses() {
                    guest.map_all();
                    let frame = guest.entry(level) & !ALL;
                    guest.set_entry(level, frame | flags | high);
                    guest.set_privilege(cpl, has_ac);
                    let is_user_page = flags & USER != 0;
                    let is_writable = flags & WRITABLE != 0;
                    let is_allowed = match (cpl, access) {
                        (3, Access::Read) => is_user_page,
                        (3, Access::Write) => is_user_page && is_writable,
                        (3, Access::Fetch) => is_user_page && high == 0,
                        (_, Access::Fetch) => high == 0 && !(is_user_page && has_smep),
                        (_, _) if is_user_page && has_smap && !has_ac => false,
                        (_, Access::Read) => true,
                        (_, Access::Write) => is_writable || !has_wp,
                    };
                    let expected =
                        if is_allowed { Ok(()) } else { page_fault(LINEAR + 5, error_code(access, cpl, 1)) };
                    let case = format!(
                        "{access:?} at CPL {cpl}, AC {has_ac}, WP {has_wp}, SMEP {has_smep}, SMAP {has_smap}, \
                         entry {:#x} at level {level}",
                        flags | high
                    );
                    assert_eq!(guest.touch(LINEAR + 5, access), expected, "{case}");
                    // What the TLB remembers of it decides alike.
                    assert_eq!(guest.touch(LINEAR + 5, access), expected, "again: {case}");
                    for other in ACCESSES {
                        let _ = guest.touch(LINEAR + 5, other);
                    }
                    assert_eq!(guest.touch(LINEAR + 5, access), expected, "after other accesses: {case}");
                }
            }
        }
    }
}

fn all_accesses() -> impl Iterator<Item = (u8, bool, Access)> {
    [0, 3].into_iter().flat_map(|cpl| {
        BOTH.into_iter().flat_map(move |has_ac| ACCESSES.into_iter().map(move |access| (cpl, has_ac, access)))
    })
}
