//! What the TLBs remember, and what makes them forget (SDM vol. 3A 4.10.4); code that stores change.

use super::*;

/// Where code is mapped by `put_code`: the third page from `LINEAR`.
const CODE: u64 = LINEAR + 0x2000;
const CODE_FRAME: u64 = FRAME + 0x2000;
/// `HLT`.
const HALT: u8 = 0xf4;

impl Guest {
    fn put_code(&mut self, code: &[u8]) {
        self.vcpu.memory.write(GuestPhysAddr(CODE_FRAME), code).unwrap();
    }

    /// Runs the code at [`CODE`] to its `HLT`; returns EAX.
    fn run_code(&mut self) -> u32 {
        self.vcpu.set_reg(Reg::RIP, CODE);
        self.vcpu.activity = Activity::Running;
        assert_eq!(self.vcpu.run(self.vcpu.instructions + 1000), Stop::Halted);
        self.vcpu.reg(Reg::RAX) as u32
    }

    /// Runs one instruction on RAX at privilege 0.
    fn execute(&mut self, instruction: &[u8], rax: u64) {
        self.put_code(&[instruction, &[HALT]].concat());
        self.vcpu.set_reg(Reg::RAX, rax);
        self.run_code();
    }

    /// Moves the first page to the other frame behind the processor's back.
    fn remap(&mut self, flags: u64) {
        self.put(entry_at(3), OTHER_FRAME | ALL | flags);
    }
}

const INVLPG_RAX: &[u8] = &[0x0f, 0x01, 0x38];
const MOV_CR3_RAX: &[u8] = &[0x0f, 0x22, 0xd8];
const MOV_CR4_RAX: &[u8] = &[0x0f, 0x22, 0xe0];

#[test]
fn invlpg_and_cr3_writes_drop_translations() {
    let invalidations: [(&[u8], u64); 3] =
        [(INVLPG_RAX, LINEAR + 0x765), (MOV_CR3_RAX, TABLES[0]), (MOV_CR4_RAX, CR4_PAE | CR4_PGE)];
    for (instruction, operand) in invalidations {
        for access in ACCESSES {
            let mut guest = Guest::new();
            guest.touch(LINEAR, access).unwrap();
            guest.remap(0);
            assert_eq!(guest.physical(LINEAR), FRAME, "the old translation serves until it is dropped");
            guest.execute(instruction, operand);
            assert_eq!(guest.physical(LINEAR), OTHER_FRAME, "{instruction:02x?} after {access:?}");
        }
    }
}

#[test]
fn invlpg_serves_all_privileges_and_one_page() {
    let mut guest = Guest::new();
    guest.vcpu.set_cr4(CR4_PAE | CR4_SMAP).unwrap();
    let privileges = [(3, false), (0, true)];
    for (cpl, has_ac) in privileges {
        guest.set_privilege(cpl, has_ac);
        guest.touch(LINEAR, Access::Write).unwrap();
        guest.touch(LINEAR + 0x1000, Access::Write).unwrap();
    }
    guest.remap(0);
    guest.put(entry_at(3) + 8, OTHER_FRAME + 0x1000 | ALL);
    guest.set_privilege(0, true);
    guest.execute(INVLPG_RAX, LINEAR);
    for (cpl, has_ac) in privileges {
        guest.set_privilege(cpl, has_ac);
        assert_eq!(guest.physical(LINEAR), OTHER_FRAME, "CPL {cpl}");
        assert_eq!(guest.physical(LINEAR + 0x1000), FRAME + 0x1000, "CPL {cpl}");
    }
}

#[test]
fn invlpg_drops_all_of_a_large_page() {
    for (level, distance) in [(2, 0x5000), (1, 0x1230_0000)] {
        let mut guest = Guest::new();
        guest.set_entry(level, ALL | LARGE);
        let start = LINEAR & !((1 << (39 - 9 * level)) - 1);
        let places = [start + 0x1000, start + distance];
        for place in places {
            guest.touch(place, Access::Read).unwrap();
        }
        guest.put(entry_at(level), 0);
        guest.vcpu.flush_tlb_page(places[0] + 0x17);
        for place in places {
            assert_eq!(guest.touch(place, Access::Read), page_fault(place, 0), "level {level}");
        }
    }
}

#[test]
fn global_pages_outlive_cr3_writes_only() {
    let drops: [(&[u8], u64); 3] =
        [(INVLPG_RAX, LINEAR), (MOV_CR4_RAX, CR4_PAE), (MOV_CR4_RAX, CR4_PAE | CR4_PGE | CR4_SMEP)];
    for (instruction, operand) in drops {
        let mut guest = Guest::new();
        guest.vcpu.set_cr4(CR4_PAE | CR4_PGE).unwrap();
        // Supervisor pages: SMEP is to permit the code, and the flag to matter at the last level only.
        guest.put(entry_at(3) + 16, CODE_FRAME | PRESENT | WRITABLE);
        guest.set_entry(3, FRAME | ALL | GLOBAL);
        guest.touch(LINEAR, Access::Write).unwrap();
        guest.remap(GLOBAL);
        guest.execute(MOV_CR3_RAX, TABLES[0]);
        assert_eq!(guest.physical(LINEAR), FRAME);
        guest.execute(instruction, operand);
        assert_eq!(guest.physical(LINEAR), OTHER_FRAME, "{instruction:02x?} of {operand:#x}");
    }
}

#[test]
fn the_global_bit_counts_in_the_last_entry_and_with_pge_only() {
    for (level, has_pge) in [(3, false), (2, true), (1, true)] {
        let mut guest = Guest::new();
        guest.vcpu.set_cr4(CR4_PAE | if has_pge { CR4_PGE } else { 0 }).unwrap();
        let entry = guest.entry(level);
        guest.set_entry(level, entry | GLOBAL);
        guest.touch(LINEAR, Access::Read).unwrap();
        guest.remap(0);
        guest.execute(MOV_CR3_RAX, TABLES[0]);
        assert_eq!(guest.physical(LINEAR), OTHER_FRAME, "level {level}");
    }
}

#[test]
fn a_cr3_write_changes_the_address_space() {
    let mut guest = Guest::new();
    guest.touch(LINEAR, Access::Write).unwrap();
    // The other space has a 1 GiB page there.
    guest.put(OTHER_ROOT + (LINEAR >> 39) * 8, OTHER_TABLE | ALL);
    guest.put(OTHER_TABLE + (LINEAR >> 30 & 0x1ff) * 8, ALL | LARGE);
    guest.vcpu.set_cr3(OTHER_ROOT | 1 << 3 | 1 << 4).unwrap();
    assert_eq!(guest.physical(LINEAR), LINEAR % GIANT_PAGE);
    guest.vcpu.set_cr3(TABLES[0]).unwrap();
    assert_eq!(guest.physical(LINEAR), FRAME);
}

#[test]
fn process_context_identifiers() {
    let refused = Err(Exception::GeneralProtection(0));
    let mut guest = Guest::new();
    assert_eq!(guest.vcpu.set_cr3(TABLES[0] | 1 << 63), refused, "bit 63 is reserved without PCIDE");
    assert_eq!(guest.vcpu.set_cr3(TABLES[0] | 1 << PHYSICAL_ADDRESS_BITS), refused);
    guest.vcpu.set_cr3(TABLES[0] | 1 << 3).unwrap();
    assert_eq!(guest.vcpu.set_cr4(CR4_PAE | CR4_PCIDE), refused, "the identifier must be 0 at first");
    guest.vcpu.set_cr3(TABLES[0]).unwrap();
    guest.vcpu.set_cr4(CR4_PAE | CR4_PCIDE).unwrap();
    for identifier in [1, 0xfff] {
        guest.vcpu.set_cr3(TABLES[0] | identifier).unwrap();
        guest.touch(LINEAR, Access::Write).unwrap();
        guest.execute(MOV_CR3_RAX, TABLES[0] | identifier | 1 << 63);
        assert_eq!(guest.vcpu.cr3, TABLES[0] | identifier, "bit 63 is not stored");
        assert_eq!(guest.physical(LINEAR), FRAME);
    }
    // Without bit 63 the identifier's translations go.
    guest.remap(0);
    guest.execute(MOV_CR3_RAX, TABLES[0] | 0xfff);
    assert_eq!(guest.physical(LINEAR), OTHER_FRAME);
    assert_eq!(guest.vcpu.set_cr3(TABLES[0] | 1 << 62), refused);
    assert_eq!(guest.vcpu.set_cr0(guest.vcpu.cr0 & !CR0_PG), refused, "paging stays on in 64-bit code");
    assert_eq!(guest.vcpu.set_cr4(0), refused, "PAE stays on in long mode");
}

#[test]
fn an_address_space_keeps_its_translations_while_others_are_in_force() {
    const KEEPS: u64 = 1 << 63;
    let mut guest = Guest::new();
    guest.vcpu.set_cr4(CR4_PAE | CR4_PGE | CR4_PCIDE).unwrap();
    guest.vcpu.set_cr3(TABLES[0] | 1).unwrap();
    guest.touch(LINEAR, Access::Write).unwrap();
    guest.remap(0);
    // Another identifier on the same tables does not know the old translation.
    guest.execute(MOV_CR3_RAX, TABLES[0] | 2 | KEEPS);
    assert_eq!(guest.physical(LINEAR), OTHER_FRAME);
    guest.execute(MOV_CR3_RAX, TABLES[0] | 1 | KEEPS);
    assert_eq!(guest.physical(LINEAR), FRAME, "kept");
    // INVLPG reaches the identifier in force only.
    guest.execute(INVLPG_RAX, LINEAR);
    assert_eq!(guest.physical(LINEAR), OTHER_FRAME);
    guest.execute(MOV_CR3_RAX, TABLES[0] | 2);
    assert_eq!(guest.physical(LINEAR), OTHER_FRAME);
    // More spaces than are kept: the oldest is forgotten, and no other takes its translations over.
    for identifier in 3..40 {
        guest.execute(MOV_CR3_RAX, TABLES[0] | identifier | KEEPS);
        assert_eq!(guest.physical(LINEAR), OTHER_FRAME, "identifier {identifier}");
    }
}

#[test]
fn a_global_translation_is_dropped_in_all_address_spaces() {
    const KEEPS: u64 = 1 << 63;
    for (instruction, operand) in [(INVLPG_RAX, LINEAR), (MOV_CR4_RAX, CR4_PAE | CR4_PCIDE)] {
        let mut guest = Guest::new();
        guest.vcpu.set_cr4(CR4_PAE | CR4_PGE | CR4_PCIDE).unwrap();
        guest.set_entry(3, FRAME | ALL | GLOBAL);
        for identifier in [1, 2] {
            guest.vcpu.set_cr3(TABLES[0] | identifier).unwrap();
            guest.touch(LINEAR, Access::Write).unwrap();
        }
        guest.remap(GLOBAL);
        guest.execute(instruction, operand);
        for identifier in [1, 2] {
            guest.vcpu.set_cr3(TABLES[0] | identifier | KEEPS).unwrap();
            assert_eq!(guest.physical(LINEAR), OTHER_FRAME, "identifier {identifier}");
        }
    }
}

#[test]
fn invpcid_drops_what_its_type_says() {
    // invpcid rax, [rcx]
    const INVPCID: &[u8] = &[0x66, 0x0f, 0x38, 0x82, 0x01];
    const DESCRIPTOR: u64 = LINEAR + 0x1000;
    // Whether a translation that is not global goes, and whether a global one does; an individual-address
    // invalidation may drop global ones too, and does here.
    for (kind, drops_local, drops_global) in
        [(0, true, true), (1, true, false), (2, true, true), (3, true, false)]
    {
        for (flags, is_dropped) in [(0, drops_local), (GLOBAL, drops_global)] {
            let mut guest = Guest::new();
            guest.vcpu.set_cr4(CR4_PAE | CR4_PGE | CR4_PCIDE).unwrap();
            guest.set_entry(3, FRAME | ALL | flags);
            guest.put(FRAME + 0x1008, LINEAR + 0x18);
            guest.touch(LINEAR, Access::Read).unwrap();
            guest.remap(flags);
            guest.vcpu.set_reg(Reg::RCX, DESCRIPTOR);
            guest.execute(INVPCID, kind);
            let expected = if is_dropped { OTHER_FRAME } else { FRAME };
            assert_eq!(guest.physical(LINEAR), expected, "type {kind}, entry's bits {flags:#x}");
        }
    }
    // Forbidden: type 4, reserved bits, an identifier without PCIDE, an address that is not canonical.
    for (kind, identifier, address) in [(4, 0, 0), (3, 1 << 12, 0), (1, 1, 0), (0, 0, 1 << 63)] {
        let mut guest = Guest::new();
        guest.vcpu.idtr.limit = 0;
        guest.put(FRAME + 0x1000, identifier);
        guest.put(FRAME + 0x1008, address);
        guest.put_code(INVPCID);
        guest.vcpu.set_reg(Reg::RCX, DESCRIPTOR);
        guest.vcpu.set_reg(Reg::RAX, kind);
        guest.vcpu.set_reg(Reg::RIP, CODE);
        assert_eq!(guest.vcpu.run(guest.vcpu.instructions + 10), Stop::Shutdown, "type {kind} is refused");
        assert_eq!(guest.vcpu.reg(Reg::RIP), CODE);
    }
}

#[test]
fn control_bits_act_on_translations_already_made() {
    let mut guest = Guest::new();
    for access in ACCESSES {
        guest.touch(LINEAR, access).unwrap();
    }
    guest.vcpu.set_cr4(CR4_PAE | CR4_SMAP).unwrap();
    assert_eq!(guest.touch(LINEAR, Access::Read), page_fault(LINEAR, 0b01));
    assert_eq!(guest.touch(LINEAR, Access::Write), page_fault(LINEAR, 0b11));
    assert_eq!(guest.touch(LINEAR, Access::Fetch), Ok(()));
    guest.set_privilege(0, true);
    assert_eq!(guest.touch(LINEAR, Access::Write), Ok(()));
    guest.set_privilege(0, false);
    assert_eq!(guest.touch(LINEAR, Access::Write), page_fault(LINEAR, 0b11));
    guest.vcpu.set_cr4(CR4_PAE | CR4_SMEP).unwrap();
    assert_eq!(guest.touch(LINEAR, Access::Fetch), page_fault(LINEAR, 0b1_0001));
    assert_eq!(guest.touch(LINEAR, Access::Write), Ok(()));

    guest.set_entry(3, FRAME | PRESENT | USER);
    guest.vcpu.set_cr0(guest.vcpu.cr0 & !CR0_WP).unwrap();
    assert_eq!(guest.touch(LINEAR, Access::Write), Ok(()));
    guest.vcpu.set_cr0(guest.vcpu.cr0 | CR0_WP).unwrap();
    assert_eq!(guest.touch(LINEAR, Access::Write), page_fault(LINEAR, 0b11));
}

#[test]
fn implicit_accesses_are_the_supervisors_and_heed_no_ac() {
    let mut guest = Guest::new();
    guest.set_entry(3, FRAME | PRESENT | WRITABLE);
    guest.set_privilege(3, true);
    assert_eq!(guest.vcpu.read_system_u64(LINEAR), Ok(0));
    assert_eq!(guest.touch(LINEAR, Access::Read), page_fault(LINEAR, 0b101));
    guest.set_entry(3, FRAME | ALL);
    guest.vcpu.set_cr4(CR4_PAE | CR4_SMAP).unwrap();
    for cpl in [0, 3] {
        guest.set_privilege(cpl, true);
        assert_eq!(guest.vcpu.read_system_u32(LINEAR).map(drop), page_fault(LINEAR, 0b01));
        assert_eq!(guest.vcpu.write_system_u8(LINEAR, 1), page_fault(LINEAR, 0b11));
    }
}

#[test]
fn a_page_fault_drops_the_pages_translations() {
    let mut guest = Guest::new();
    guest.set_entry(3, FRAME | PRESENT | USER);
    guest.touch(LINEAR, Access::Read).unwrap();
    guest.put(entry_at(3), 0);
    assert_eq!(guest.touch(LINEAR, Access::Read), Ok(()), "the old translation serves");
    assert_eq!(guest.touch(LINEAR, Access::Write), page_fault(LINEAR, 0b10));
    assert_eq!(guest.touch(LINEAR, Access::Read), page_fault(LINEAR, 0));
}

#[test]
fn cr2_gets_the_address_of_the_fault() {
    let mut guest = Guest::new();
    guest.vcpu.idtr.limit = 0;
    // mov al, [rax]
    guest.put_code(&[0x8a, 0x00, HALT]);
    let address = LINEAR + 0x3abc;
    guest.vcpu.set_reg(Reg::RAX, address);
    guest.vcpu.set_reg(Reg::RIP, CODE);
    assert_eq!(guest.vcpu.run(guest.vcpu.instructions + 10), Stop::Shutdown, "there is no handler");
    assert_eq!(guest.vcpu.cr2, address);
}

/// `mov eax, value; hlt`.
fn code_of(value: u32) -> [u8; 6] {
    let [a, b, c, d] = value.to_le_bytes();
    [0xb8, a, b, c, d, HALT]
}

#[test]
fn stores_change_code_that_has_run() {
    let mut guest = Guest::new();
    // The store's page is in the TLB before the code is known, and the alias too.
    guest.put(entry_at(3) + 8, CODE_FRAME | ALL);
    let alias = LINEAR + 0x1000;
    guest.touch(CODE + 0x800, Access::Write).unwrap();
    guest.touch(alias + 0x800, Access::Write).unwrap();
    guest.put_code(&code_of(0x1111_1111));
    for _ in 0..3 {
        assert_eq!(guest.run_code(), 0x1111_1111);
    }
    guest.vcpu.write_u8(CODE + 1, 0x22).unwrap();
    assert_eq!(guest.run_code(), 0x1111_1122);
    guest.vcpu.write_u16(alias + 3, 0x3333).unwrap();
    assert_eq!(guest.run_code(), 0x3333_1122);
    guest.vcpu.write_u32(CODE + 1, 0x4444_4444).unwrap();
    assert_eq!(guest.run_code(), 0x4444_4444);
    // One that begins in the page before, and one of 128 bits.
    guest.vcpu.write_u64(CODE - 5, u64::from_le_bytes([0, 0, 0, 0, 0, 0xb8, 0x55, 0x44])).unwrap();
    assert_eq!(guest.run_code(), 0x4444_4455);
    let mut image = [0; 16];
    image[..6].copy_from_slice(&code_of(0x6666_6666));
    guest.vcpu.write_u128(alias, u128::from_le_bytes(image)).unwrap();
    assert_eq!(guest.run_code(), 0x6666_6666);
    // A device's write.
    guest.put_code(&code_of(0x7777_7777));
    assert_eq!(guest.run_code(), 0x7777_7777);
    // A store by a code sequence of its own, right ahead of it: mov byte [rip + 1], 2; mov eax, 1; hlt.
    guest.put_code(&[0xc6, 0x05, 1, 0, 0, 0, 2, 0xb8, 1, 0, 0, 0, HALT]);
    assert_eq!(guest.run_code(), 2);
}

#[test]
fn stores_through_translations_made_after_the_code_are_noticed() {
    let mut guest = Guest::new();
    guest.touch(CODE, Access::Write).unwrap();
    guest.put_code(&code_of(1));
    for (cpl, value) in [(0, 2), (3, 3)] {
        guest.set_privilege(0, false);
        guest.run_code();
        guest.vcpu.flush_tlb();
        guest.set_privilege(cpl, false);
        // The page is dirty, so that a read makes a translation for stores too.
        guest.touch(CODE, Access::Read).unwrap();
        guest.vcpu.write_u8(CODE + 1, value).unwrap();
        guest.set_privilege(0, false);
        assert_eq!(guest.run_code(), u32::from(value), "stored at CPL {cpl}");
    }
}

#[test]
fn a_page_fault_drops_the_way_to_the_pages_code() {
    let mut guest = Guest::new();
    guest.vcpu.idtr.limit = 0;
    guest.put_code(&code_of(1));
    for _ in 0..2 {
        guest.run_code();
    }
    guest.put(entry_at(3) + 16, 0);
    assert_eq!(guest.touch(CODE, Access::Write), page_fault(CODE, 0b10));
    guest.vcpu.set_reg(Reg::RIP, CODE);
    guest.vcpu.activity = Activity::Running;
    assert_eq!(guest.vcpu.run(guest.vcpu.instructions + 10), Stop::Shutdown, "the fetch faults");
    assert_eq!(guest.vcpu.cr2, CODE);
}

#[test]
fn remapped_code_is_found_anew() {
    let mut guest = Guest::new();
    guest.put_code(&code_of(1));
    assert_eq!(guest.run_code(), 1);
    guest.vcpu.memory.write(GuestPhysAddr(OTHER_FRAME), &code_of(2)).unwrap();
    guest.put(entry_at(3) + 16, OTHER_FRAME | ALL);
    guest.vcpu.flush_tlb_page(CODE);
    assert_eq!(guest.run_code(), 2);
    guest.put(entry_at(3) + 16, CODE_FRAME | ALL);
    guest.vcpu.set_cr3(TABLES[0]).unwrap();
    assert_eq!(guest.run_code(), 1);
}

#[test]
fn accessed_bits_in_a_page_of_code_are_noticed() {
    let mut guest = Guest::new();
    // The last table itself holds the code: its entry for CODE maps the table.
    guest.put(entry_at(3) + 16, TABLES[3] | ALL);
    // jmp +13 to the last byte of the entry after: mov eax, imm32; hlt, and all that but for the first
    // byte is the third entry.
    guest.put(TABLES[3], 0x0deb);
    guest.put(TABLES[3] + 8, 0xb8 << 56);
    guest.put(TABLES[3] + 16, u64::from(HALT) << 32 | OTHER_FRAME | ALL);
    assert_eq!(u64::from(guest.run_code()), OTHER_FRAME | ALL);
    guest.touch(LINEAR & !(LARGE_PAGE - 1) | 0x2000, Access::Read).unwrap();
    assert_eq!(u64::from(guest.run_code()), OTHER_FRAME | ALL | ACCESSED);
}
