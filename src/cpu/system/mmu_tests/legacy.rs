//! Paging outside long mode: 32-bit (SDM vol. 3A 4.3), PAE (4.4), and none.

use super::*;

/// An address whose indices are all different in both formats.
const ADDRESS: u64 = 0x9234_5000;
const PAGE_TABLE: u64 = 0x2000;
/// Aligned to 32 bytes, as the PAE root may be.
const POINTERS: u64 = 0x1020;
const DIRECTORY: u64 = 0x2000;
const LAST_TABLE: u64 = 0x3000;
const LARGE_4M: u64 = 4 << 20;

const DIRECTORY_ENTRY_32: u64 = TABLES[0] + (ADDRESS >> 22) * 4;
const TABLE_ENTRY_32: u64 = PAGE_TABLE + (ADDRESS >> 12 & 0x3ff) * 4;
const POINTER_ENTRY: u64 = POINTERS + (ADDRESS >> 30) * 8;
const DIRECTORY_ENTRY_PAE: u64 = DIRECTORY + (ADDRESS >> 21 & 0x1ff) * 8;
const TABLE_ENTRY_PAE: u64 = LAST_TABLE + (ADDRESS >> 12 & 0x1ff) * 8;

impl Guest {
    /// Protected mode with 32-bit paging; the bits of CR4 besides.
    fn with_32_bit_paging(cr4: u64) -> Self {
        let mut guest = Self::without_paging();
        guest.vcpu.set_cr4(cr4).unwrap();
        guest.vcpu.set_cr3(TABLES[0]).unwrap();
        guest.put_u32(DIRECTORY_ENTRY_32, (PAGE_TABLE | ALL) as u32);
        guest.put_u32(TABLE_ENTRY_32, (FRAME | ALL) as u32);
        guest.put_u32(TABLE_ENTRY_32 + 4, (OTHER_FRAME | ALL) as u32);
        guest.vcpu.set_cr0(CR0_PE | CR0_NE | CR0_WP | CR0_PG).unwrap();
        guest
    }

    /// Protected mode with PAE paging and NXE.
    fn with_pae() -> Self {
        let mut guest = Self::without_paging();
        guest.vcpu.msr.efer = EFER_NXE;
        guest.vcpu.set_cr4(CR4_PAE).unwrap();
        guest.put(POINTER_ENTRY, DIRECTORY | PRESENT);
        guest.put(DIRECTORY_ENTRY_PAE, LAST_TABLE | ALL);
        guest.put(TABLE_ENTRY_PAE, FRAME | ALL);
        guest.vcpu.set_cr3(POINTERS).unwrap();
        guest.vcpu.set_cr0(CR0_PE | CR0_NE | CR0_WP | CR0_PG).unwrap();
        guest
    }

    fn without_paging() -> Self {
        let memory = GuestMemory::new(RAM_BYTES).unwrap();
        let mut vcpu = Vcpu::new(memory, Box::new(NoDevices), 0);
        vcpu.segments[SegmentIndex::Cs as usize] =
            Segment { selector: 8, base: 0, limit: u32::MAX, attributes: 0xcf9b };
        vcpu.set_cr0(CR0_PE | CR0_NE).unwrap();
        Self { vcpu }
    }

    fn peek_u32(&self, address: u64) -> u64 {
        u64::from(self.vcpu.memory.read_u32(GuestPhysAddr(address)).unwrap())
    }
}

#[test]
fn without_paging_addresses_are_physical_and_32_bits_wide() {
    let mut guest = Guest::without_paging();
    guest.vcpu.write_u32(FRAME, 0x1234_5678).unwrap();
    assert_eq!(guest.peek(FRAME), 0x1234_5678);
    assert_eq!(guest.vcpu.read_u32(1 << 32 | FRAME), Ok(0x1234_5678));
    guest.put(0, 0x11_2233);
    // The last bytes below 4 GiB are a device's.
    assert_eq!(guest.vcpu.read_u32(0xffff_fffe), Ok(0x2233_a5a5));
}

#[test]
fn two_levels_of_32_bit_entries() {
    let mut guest = Guest::with_32_bit_paging(0);
    assert_eq!(guest.touch(ADDRESS + 4, Access::Read), Ok(()));
    assert_eq!(guest.physical(ADDRESS + 4), FRAME + 4);
    assert_eq!(guest.peek_u32(DIRECTORY_ENTRY_32), PAGE_TABLE | ALL | ACCESSED);
    assert_eq!(guest.peek_u32(TABLE_ENTRY_32), FRAME | ALL | ACCESSED);
    assert_eq!(guest.peek_u32(TABLE_ENTRY_32 + 4), OTHER_FRAME | ALL);
    guest.vcpu.write_u64(ADDRESS + 0xffc, 0x1122_3344_5566_7788).unwrap();
    assert_eq!(guest.peek_u32(FRAME + 0xffc), 0x5566_7788);
    assert_eq!(guest.peek_u32(OTHER_FRAME), 0x1122_3344);
    assert_eq!(guest.peek_u32(TABLE_ENTRY_32), FRAME | ALL | ACCESSED | DIRTY);
    assert_eq!(guest.peek_u32(TABLE_ENTRY_32 + 4), OTHER_FRAME | ALL | ACCESSED | DIRTY);
}

#[test]
fn permissions_in_32_bit_paging() {
    for place in [DIRECTORY_ENTRY_32, TABLE_ENTRY_32] {
        let mut guest = Guest::with_32_bit_paging(0);
        let frame = guest.peek_u32(place) & !0xfff;
        guest.put_u32(place, (frame | PRESENT | WRITABLE) as u32);
        guest.vcpu.flush_tlb();
        guest.set_privilege(3, false);
        // There is no execute-disable to tell of, whatever NXE says.
        guest.vcpu.msr.efer = EFER_NXE;
        for (access, code) in [(Access::Read, 0b101), (Access::Write, 0b111), (Access::Fetch, 0b101)] {
            assert_eq!(guest.touch(ADDRESS, access), page_fault(ADDRESS, code));
        }
        guest.set_privilege(0, false);
        guest.put_u32(place, (frame | PRESENT) as u32);
        guest.vcpu.flush_tlb();
        assert_eq!(guest.touch(ADDRESS, Access::Write), page_fault(ADDRESS, 0b011));
        guest.put_u32(place, 0);
        guest.vcpu.flush_tlb();
        assert_eq!(guest.touch(ADDRESS, Access::Write), page_fault(ADDRESS, 0b010));
    }
}

#[test]
fn pages_of_4_mib_need_pse() {
    let entry = LARGE_4M | ALL | LARGE;
    let offset = ADDRESS % LARGE_4M;
    let mut guest = Guest::with_32_bit_paging(CR4_PSE);
    guest.put_u32(DIRECTORY_ENTRY_32, entry as u32);
    assert_eq!(guest.physical(ADDRESS + 3), LARGE_4M + offset + 3);
    guest.touch(ADDRESS, Access::Write).unwrap();
    assert_eq!(guest.peek_u32(DIRECTORY_ENTRY_32), entry | ACCESSED | DIRTY);
    // Bits 13 to 20 are bits 32 to 39 of the frame's address; bit 21 is reserved.
    guest.put_u32(DIRECTORY_ENTRY_32, (entry | 0xa5 << 13) as u32);
    guest.vcpu.flush_tlb_page(ADDRESS & !(LARGE_4M - 1) | 0x12_3000);
    assert_eq!(guest.physical(ADDRESS), 0xa5 << 32 | LARGE_4M | offset);
    guest.put_u32(DIRECTORY_ENTRY_32, (entry | 1 << 21) as u32);
    guest.vcpu.flush_tlb();
    assert_eq!(guest.touch(ADDRESS, Access::Read), page_fault(ADDRESS, 0b1001));
    // Without PSE the bit is ignored, and the entry names a table.
    guest.put_u32(DIRECTORY_ENTRY_32, (PAGE_TABLE | ALL | LARGE) as u32);
    guest.vcpu.set_cr4(0).unwrap();
    assert_eq!(guest.physical(ADDRESS), FRAME);
}

#[test]
fn three_levels_with_pae() {
    let mut guest = Guest::with_pae();
    assert_eq!(guest.physical(ADDRESS + 8), FRAME + 8);
    guest.touch(ADDRESS, Access::Write).unwrap();
    assert_eq!(guest.peek(POINTER_ENTRY), DIRECTORY | PRESENT, "the root's entries have no accessed bit");
    assert_eq!(guest.peek(DIRECTORY_ENTRY_PAE), LAST_TABLE | ALL | ACCESSED);
    assert_eq!(guest.peek(TABLE_ENTRY_PAE), FRAME | ALL | ACCESSED | DIRTY);
    // The upper half of an address above 4 GiB is not there.
    assert_eq!(guest.physical(7 << 32 | ADDRESS), FRAME);
    guest.put(TABLE_ENTRY_PAE, 0x12_3456_7000 | ALL);
    guest.vcpu.flush_tlb();
    assert_eq!(guest.physical(ADDRESS), 0x12_3456_7000);
    guest.put(DIRECTORY_ENTRY_PAE, LARGE_PAGE | ALL | LARGE);
    guest.vcpu.flush_tlb();
    assert_eq!(guest.physical(ADDRESS), LARGE_PAGE + ADDRESS % LARGE_PAGE);
    guest.put(DIRECTORY_ENTRY_PAE, LARGE_PAGE | ALL | LARGE | 1 << 13);
    guest.vcpu.flush_tlb();
    assert_eq!(guest.touch(ADDRESS, Access::Read), page_fault(ADDRESS, 0b1001));
}

#[test]
fn permissions_with_pae() {
    for place in [DIRECTORY_ENTRY_PAE, TABLE_ENTRY_PAE] {
        let mut guest = Guest::with_pae();
        let frame = guest.peek(place) & !0xfff;
        let cases = [
            (PRESENT | WRITABLE, 3, Access::Read, 0b101),
            (PRESENT | USER, 0, Access::Write, 0b011),
            (ALL | NO_EXECUTE, 0, Access::Fetch, 0b1_0001),
            (ALL | 1 << PHYSICAL_ADDRESS_BITS, 0, Access::Read, 0b1001),
            // Outside long mode these are reserved.
            (ALL | 1 << 52, 0, Access::Read, 0b1001),
            (ALL | 1 << 62, 0, Access::Write, 0b1011),
            (0, 0, Access::Fetch, 0b1_0000),
        ];
        for (flags, cpl, access, code) in cases {
            guest.put(place, frame | flags);
            guest.vcpu.flush_tlb();
            guest.set_privilege(cpl, false);
            assert_eq!(guest.touch(ADDRESS, access), page_fault(ADDRESS, code), "{flags:#x} at {place:#x}");
        }
    }
    let mut guest = Guest::with_pae();
    guest.put(POINTER_ENTRY, 0);
    guest.vcpu.set_cr3(POINTERS).unwrap();
    assert_eq!(guest.touch(ADDRESS, Access::Read), page_fault(ADDRESS, 0));
}

#[test]
fn cr0_refuses_forbidden_combinations() {
    let refused = Err(Exception::GeneralProtection(0));
    let mut guest = Guest::without_paging();
    assert_eq!(guest.vcpu.set_cr0(CR0_PG), refused, "paging without protection");
    assert_eq!(guest.vcpu.set_cr0(CR0_PE | CR0_NW), refused);
    assert_eq!(guest.vcpu.set_cr0(1 << 32 | CR0_PE), refused);
    guest.vcpu.msr.efer = EFER_LME;
    assert_eq!(guest.vcpu.set_cr0(CR0_PE | CR0_PG), refused, "long mode without PAE");
    assert_eq!(guest.vcpu.msr.efer, EFER_LME);
    assert_eq!(guest.vcpu.set_cr4(CR4_PCIDE), refused, "identifiers outside long mode");
    assert_eq!(guest.vcpu.set_cr4(1 << 13), refused, "VMX");
    guest.vcpu.set_cr4(CR4_PAE).unwrap();
    guest.vcpu.set_cr0(CR0_PE | CR0_PG).unwrap();
    assert_eq!(guest.vcpu.msr.efer, EFER_LME | EFER_LMA);
    // Compatibility mode may leave long mode.
    guest.vcpu.set_cr0(CR0_PE).unwrap();
    assert_eq!(guest.vcpu.msr.efer, EFER_LME);
}
