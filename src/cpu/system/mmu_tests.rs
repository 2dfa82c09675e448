//! Tests of paging (SDM vol. 3A chapter 4) by the processor's own accesses.

mod legacy;
mod tlb;

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

#[test]
fn a_missing_entry_at_any_level_faults_with_the_present_bit_clear() {
    let mut guest = Guest::new();
    for level in 0..4 {
        guest.map_all();
        // All other bits are the operating system's then, the reserved ones too.
        guest.set_entry(level, !PRESENT);
        for (cpl, has_ac, access) in all_accesses() {
            guest.set_privilege(cpl, has_ac);
            let expected = page_fault(LINEAR + 0x123, error_code(access, cpl, 0));
            assert_eq!(
                guest.touch(LINEAR + 0x123, access),
                expected,
                "{access:?} at CPL {cpl}, level {level}"
            );
        }
    }
}

#[test]
fn absence_is_not_remembered() {
    let mut guest = Guest::new();
    guest.set_entry(3, 0);
    assert_eq!(guest.touch(LINEAR, Access::Read), page_fault(LINEAR, 0));
    guest.put(entry_at(3), OTHER_FRAME | ALL);
    assert_eq!(guest.touch(LINEAR, Access::Read), Ok(()));
}

#[test]
fn reserved_bits_fault_at_every_level() {
    let mut guest = Guest::new();
    let above_the_physical_address = (PHYSICAL_ADDRESS_BITS..52).map(|bit| 1 << bit);
    let mut cases: Vec<(usize, u64)> =
        above_the_physical_address.flat_map(|bit| (0..4).map(move |level| (level, bit))).collect();
    cases.push((0, LARGE));
    cases.extend((13..30).map(|bit| (1, LARGE | 1 << bit)));
    cases.extend((13..21).map(|bit| (2, LARGE | 1 << bit)));
    for (level, bits) in cases {
        guest.map_all();
        let frame = if bits & LARGE != 0 { 0 } else { guest.entry(level) };
        guest.set_entry(level, frame | ALL | bits);
        for (cpl, _, access) in all_accesses() {
            guest.set_privilege(cpl, false);
            let expected = page_fault(LINEAR, error_code(access, cpl, 1 | 1 << 3));
            assert_eq!(guest.touch(LINEAR, access), expected, "{access:?}, {bits:#x} at level {level}");
        }
    }
}

#[test]
fn ignored_bits_are_ignored_at_every_level() {
    let mut guest = Guest::new();
    let ignored = 0x7ff << 52 | 7 << 9;
    for level in 0..4 {
        let entry = guest.entry(level);
        // Bit 8 of an entry that maps no page, and the memory types of bits 3 and 4 (and PAT, 7, at last).
        guest.set_entry(level, entry | ignored | 1 << 8 | 3 << 3 | if level == 3 { 1 << 7 } else { 0 });
    }
    for access in ACCESSES {
        assert_eq!(guest.touch(LINEAR, access), Ok(()));
    }
    assert_eq!(guest.physical(LINEAR + 7), FRAME + 7);
}

#[test]
fn execute_disable_is_a_reserved_bit_unless_enabled() {
    let mut guest = Guest::new();
    guest.vcpu.msr.efer = EFER_LME | EFER_LMA;
    for level in 0..4 {
        guest.map_all();
        let entry = guest.entry(level);
        guest.set_entry(level, entry | NO_EXECUTE);
        assert_eq!(guest.touch(LINEAR, Access::Read), page_fault(LINEAR, 0b1001));
        assert_eq!(guest.touch(LINEAR, Access::Write), page_fault(LINEAR, 0b1011));
        // Without NXE and SMEP fetches are told as reads.
        assert_eq!(guest.touch(LINEAR, Access::Fetch), page_fault(LINEAR, 0b1001));
    }
    guest.vcpu.set_cr4(CR4_PAE | CR4_SMEP).unwrap();
    assert_eq!(guest.touch(LINEAR, Access::Fetch), page_fault(LINEAR, 0b1_1001));
}

#[test]
fn large_pages_keep_the_offset() {
    let mut guest = Guest::new();
    // The PAT bit, 12, is no part of the address.
    guest.set_entry(2, LARGE_PAGE | ALL | LARGE | 1 << 12);
    let offset = LINEAR % LARGE_PAGE + 0x321;
    guest.put(LARGE_PAGE + offset, 0x1122_3344_5566_7788);
    assert_eq!(guest.physical(LINEAR + 0x321), LARGE_PAGE + offset);
    assert_eq!(guest.vcpu.read_u64(LINEAR + 0x321), Ok(0x1122_3344_5566_7788));
    let last = (LINEAR | (LARGE_PAGE - 1)) - 7;
    guest.vcpu.write_u64(last, 9).unwrap();
    assert_eq!(guest.peek(2 * LARGE_PAGE - 8), 9);

    guest.set_entry(1, ALL | LARGE | 1 << 12);
    assert_eq!(guest.physical(LINEAR + 0x321), LINEAR % GIANT_PAGE + 0x321);
    let start = LINEAR & !(GIANT_PAGE - 1);
    guest.vcpu.write_u64(start + 3 * LARGE_PAGE + 8, 0xabcd).unwrap();
    assert_eq!(guest.peek(3 * LARGE_PAGE + 8), 0xabcd);
}

#[test]
fn frames_outside_ram_reach_devices() {
    let mut guest = Guest::new();
    let device = (1 << PHYSICAL_ADDRESS_BITS) - 0x1000;
    guest.set_entry(3, device | ALL);
    assert_eq!(guest.physical(LINEAR + 0x10), device + 0x10);
    assert_eq!(guest.vcpu.read_u16(LINEAR + 0x10), Ok(0xa5a5));
    // A read that begins in a device and ends in RAM.
    guest.put(FRAME + 0x1000, 0x1122_3344);
    assert_eq!(guest.vcpu.read_u32(LINEAR + 0xffe), Ok(0x3344_a5a5));
    // Tables outside RAM read as all ones: reserved bits.
    guest.set_entry(2, device | ALL);
    assert_eq!(guest.touch(LINEAR, Access::Read), page_fault(LINEAR, 0b1001));
}

#[test]
fn accessed_and_dirty_bits_are_set_as_each_access_needs() {
    for access in ACCESSES {
        let mut guest = Guest::new();
        let before: Vec<u64> = (0..4).map(|level| guest.entry(level)).collect();
        guest.touch(LINEAR, access).unwrap();
        for (level, entry) in before.into_iter().enumerate() {
            let dirty = if level == 3 && access == Access::Write { DIRTY } else { 0 };
            assert_eq!(guest.entry(level), entry | ACCESSED | dirty, "{access:?} at level {level}");
        }
        let neighbour = guest.peek(entry_at(3) + 8);
        assert_eq!(neighbour & (ACCESSED | DIRTY), 0, "the next page was not used");
    }
}

#[test]
fn the_first_write_after_a_read_sets_the_dirty_bit() {
    let mut guest = Guest::new();
    guest.touch(LINEAR, Access::Read).unwrap();
    assert_eq!(guest.entry(3) & DIRTY, 0);
    guest.touch(LINEAR, Access::Write).unwrap();
    assert_eq!(guest.entry(3) & DIRTY, DIRTY);
    // The operating system cleans the page.
    guest.put(entry_at(3), FRAME | ALL);
    guest.vcpu.flush_tlb_page(LINEAR);
    guest.touch(LINEAR, Access::Read).unwrap();
    assert_eq!(guest.entry(3) & (ACCESSED | DIRTY), ACCESSED);
    guest.touch(LINEAR, Access::Write).unwrap();
    assert_eq!(guest.entry(3) & (ACCESSED | DIRTY), ACCESSED | DIRTY);
}

#[test]
fn large_pages_have_their_dirty_bit_in_their_own_entry() {
    // The first 1 GiB holds the tables too, so take addresses in RAM behind them.
    for (level, address) in [(1, LINEAR & !(GIANT_PAGE - 1) | 3 * LARGE_PAGE), (2, LINEAR)] {
        let mut guest = Guest::new();
        guest.set_entry(level, ALL | LARGE);
        guest.touch(address, Access::Read).unwrap();
        assert_eq!(guest.entry(level), ALL | LARGE | ACCESSED);
        guest.touch(address + 0x1000, Access::Write).unwrap();
        assert_eq!(guest.entry(level), ALL | LARGE | ACCESSED | DIRTY);
        assert_eq!(guest.entry(level - 1) & DIRTY, 0);
    }
}

#[test]
fn a_write_that_faults_leaves_the_page_clean() {
    let mut guest = Guest::new();
    guest.set_entry(3, FRAME | PRESENT | USER);
    assert_eq!(guest.touch(LINEAR, Access::Write), page_fault(LINEAR, 0b11));
    assert_eq!(guest.entry(3) & DIRTY, 0);
    // Without WP the supervisor's write is let through, and dirties.
    guest.vcpu.set_cr0(guest.vcpu.cr0 & !CR0_WP).unwrap();
    assert_eq!(guest.touch(LINEAR, Access::Write), Ok(()));
    assert_eq!(guest.entry(3) & DIRTY, DIRTY);
}

#[test]
fn addresses_that_are_not_canonical_raise_general_protection() {
    let mut guest = Guest::new();
    for address in [0x8000_0000_0000, 0xffff_7fff_ffff_ffff, 1 << 63, LINEAR | 1 << 48] {
        for (cpl, _, access) in all_accesses() {
            guest.set_privilege(cpl, false);
            let refused = Err(Exception::GeneralProtection(0));
            assert_eq!(guest.touch(address, access), refused, "{access:?} at {address:#x}");
        }
    }
    guest.set_privilege(0, false);
    for address in [0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
        assert_eq!(guest.touch(address, Access::Read), page_fault(address, 0));
    }
}

#[test]
fn an_access_may_end_in_the_next_page() {
    let mut guest = Guest::new();
    // The second page lies before the first in memory.
    guest.put(entry_at(3) + 8, (FRAME - 0x1000) | ALL);
    guest.put(FRAME + 0xff8, 0x0807_0605_0403_0201);
    guest.put(FRAME - 0x1000, 0x1817_1615_1413_1211);
    let edge = LINEAR + 0x1000;
    for _ in 0..2 {
        assert_eq!(guest.vcpu.read_u16(edge - 1), Ok(0x1108));
        assert_eq!(guest.vcpu.read_u32(edge - 3), Ok(0x1108_0706));
        assert_eq!(guest.vcpu.read_u64(edge - 1), Ok(0x1716_1514_1312_1108));
        assert_eq!(guest.vcpu.read_u128(edge - 8), Ok(0x1817_1615_1413_1211_0807_0605_0403_0201));
    }
    guest.vcpu.write_u64(edge - 4, 0xaaaa_bbbb_cccc_dddd).unwrap();
    assert_eq!(guest.peek(FRAME + 0xff8), 0xcccc_dddd_0403_0201);
    assert_eq!(guest.peek(FRAME - 0x1000), 0x1817_1615_aaaa_bbbb);
    guest.vcpu.write_u128(edge - 1, 0x1f1e_1d1c_1b1a_1918_1716_1514_1312_1110).unwrap();
    assert_eq!(guest.peek(FRAME + 0xff8), 0x10cc_dddd_0403_0201);
    assert_eq!(guest.peek(FRAME - 0x1000), 0x1817_1615_1413_1211);
    // What the first page is followed by in memory is not touched.
    assert_eq!(guest.peek(FRAME + 0x1000), 0);
}

#[test]
fn nothing_is_written_when_either_page_refuses() {
    let edge = LINEAR + 0x1000;
    // The entry of the refusing page, and the cause told.
    for (refusing, cause) in [(0, 0), (FRAME | PRESENT | USER, 1)] {
        for page in 0..2 {
            let mut guest = Guest::new();
            guest.put(FRAME + 0xff8, 0x0807_0605_0403_0201);
            guest.put(FRAME + 0x1000, 0x1817_1615_1413_1211);
            // The other page is in the TLB already.
            guest.touch(LINEAR + 0x1000 * (1 - page), Access::Read).unwrap();
            guest.put(entry_at(3) + page * 8, refusing);
            // CR2 gets the first byte that cannot be reached.
            let at = |start: u64| page_fault(if page == 0 { start } else { edge }, cause | 1 << 1);
            assert_eq!(guest.vcpu.write_u16(edge - 1, 0xeeee), at(edge - 1));
            assert_eq!(guest.vcpu.write_u32(edge - 3, 0xeeee_eeee), at(edge - 3));
            assert_eq!(guest.vcpu.write_u64(edge - 4, u64::MAX), at(edge - 4));
            assert_eq!(guest.vcpu.write_u128(edge - 8, u128::MAX), at(edge - 8));
            assert_eq!(guest.vcpu.write_u128(edge - 1, u128::MAX), at(edge - 1));
            assert_eq!(guest.peek(FRAME + 0xff8), 0x0807_0605_0403_0201);
            assert_eq!(guest.peek(FRAME + 0x1000), 0x1817_1615_1413_1211);
        }
    }
}

#[test]
fn an_access_across_the_end_of_the_lower_half_raises_general_protection() {
    let mut guest = Guest::new();
    let page = 0x7fff_ffff_f000;
    guest.put(TABLES[0] + 255 * 8, TABLES[1] | ALL);
    for level in 1..4 {
        guest.put(TABLES[level] + 511 * 8, if level == 3 { FRAME } else { TABLES[level + 1] } | ALL);
    }
    assert_eq!(guest.vcpu.read_u64(page + 0xff8), Ok(0));
    let refused = Exception::GeneralProtection(0);
    assert_eq!(guest.vcpu.read_u64(page + 0xffc), Err(refused));
    assert_eq!(guest.vcpu.write_u64(page + 0xffc, u64::MAX), Err(refused));
    assert_eq!(guest.peek(FRAME + 0xff8), 0);
}

#[test]
fn alignment_is_checked_for_the_user_alone() {
    let mut guest = Guest::new();
    guest.vcpu.set_cr0(guest.vcpu.cr0 | CR0_AM).unwrap();
    for (cpl, has_ac) in [(0, false), (0, true), (3, false), (3, true)] {
        guest.set_privilege(cpl, has_ac);
        let refused = Err(Exception::AlignmentCheck);
        let is_checked = cpl == 3 && has_ac;
        for _ in 0..2 {
            assert_eq!(guest.vcpu.read_u32(LINEAR + 2), if is_checked { refused } else { Ok(0) });
            assert_eq!(
                guest.vcpu.write_u64(LINEAR + 4, 0),
                if is_checked { refused.map(drop) } else { Ok(()) }
            );
            assert_eq!(guest.vcpu.read_u64(LINEAR + 8), Ok(0));
        }
    }
}
