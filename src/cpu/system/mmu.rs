//! From linear to physical addresses: page walks and what the TLBs are filled with
//! (SDM vol. 3A chapter 4).

use super::registers::*;
use crate::cpu::flags;
use crate::cpu::tlb::{
    PageSize, SLOW_ALIGNMENT, SLOW_CODE, SLOW_MMIO, SLOW_WATCHED, SPACES, TLB_INVALID, TlbEntry,
};
use crate::cpu::{Exception, Vcpu};
use crate::mem::{GuestPhysAddr, PAGE_SIZE};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
const GLOBAL: u64 = 1 << 8;
const NO_EXECUTE: u64 = 1 << 63;

const ERROR_PRESENT: u32 = 1 << 0;
const ERROR_WRITE: u32 = 1 << 1;
const ERROR_USER: u32 = 1 << 2;
const ERROR_RESERVED: u32 = 1 << 3;
const ERROR_FETCH: u32 = 1 << 4;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A data read.
    Read,
    /// A data write.
    Write,
    /// An instruction fetch.
    Fetch,
}

/// Whose permission counts for an access; the number of its TLB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Privilege {
    /// CPL 3.
    User = 0,
    /// CPL below 3, or an implicit access, with SMAP in force.
    Supervisor = 1,
    /// CPL below 3 with EFLAGS.AC set, or SMAP off.
    SupervisorReachingUser = 2,
}

/// How a paging mode cuts up an address.
struct PagingFormat {
    entry_bytes: u64,
    /// Least significant address bit of each level's index, the root's first.
    shifts: &'static [u32],
}

const FOUR_LEVEL: PagingFormat = PagingFormat { entry_bytes: 8, shifts: &[39, 30, 21, 12] };
const PAE: PagingFormat = PagingFormat { entry_bytes: 8, shifts: &[30, 21, 12] };
const TWO_LEVEL: PagingFormat = PagingFormat { entry_bytes: 4, shifts: &[22, 12] };

enum WalkFault {
    NotPresent,
    Reserved,
}

/// What a walk found: the 4 KiB page of the address, and the permissions of all levels together.
struct Walk {
    page: u64,
    is_writable: bool,
    is_user: bool,
    is_executable: bool,
    is_global: bool,
    is_dirty: bool,
    size: PageSize,
    /// Physical addresses of the entries used, root first, and whether each needs its accessed bit.
    entries: [(u64, bool); 4],
    depth: usize,
    entry_bytes: u64,
}

impl Vcpu {
    /// Chooses the TLB for CPL, AC and SMAP; call it after each change of one of these.
    pub fn select_tlb(&mut self) {
        self.tlb_in_force = self.privilege_at(self.cpl) as usize;
        let checks_alignment = self.cpl == 3 && self.cr0 & CR0_AM != 0 && self.system_flags & flags::AC != 0;
        if self.tlbs[Privilege::User as usize].checks_alignment != checks_alignment {
            self.tlbs.set_alignment_checks(checks_alignment);
        }
    }

    /// Whose permission counts for explicit accesses at a privilege level.
    pub fn privilege_at(&self, cpl: u8) -> Privilege {
        if cpl == 3 {
            Privilege::User
        } else if self.cr4 & CR4_SMAP != 0 && self.system_flags & flags::AC == 0 {
            Privilege::Supervisor
        } else {
            Privilege::SupervisorReachingUser
        }
    }

    /// Whose permission counts for implicit accesses to descriptor tables and task-state segments.
    pub fn implicit_privilege(&self) -> Privilege {
        if self.cr4 & CR4_SMAP != 0 { Privilege::Supervisor } else { Privilege::SupervisorReachingUser }
    }

    /// The privilege of [`tlb_in_force`](Self::tlb_in_force).
    #[inline]
    pub fn privilege(&self) -> Privilege {
        match self.tlb_in_force {
            0 => Privilege::User,
            1 => Privilege::Supervisor,
            _ => Privilege::SupervisorReachingUser,
        }
    }

    /// The physical address that an access reaches; fills the TLB of `privilege`.
    ///
    /// # Errors
    /// #PF as SDM vol. 3A 4.7 has it, #GP(0) for an address that is not canonical, #MC when memory is lost.
    pub fn translate(
        &mut self,
        address: u64,
        access: Access,
        privilege: Privilege,
    ) -> Result<GuestPhysAddr, Exception> {
        let address = if self.is_long_mode() { address } else { address & 0xffff_ffff };
        let entry = self.tlbs[privilege as usize].entry(address);
        let tag = match access {
            Access::Read => entry.read_tag,
            Access::Write => entry.write_tag,
            Access::Fetch => entry.fetch_tag,
        };
        if tag & (TLB_INVALID | PAGE_MASK) == address & PAGE_MASK {
            let target = address.wrapping_add(entry.addend);
            if tag & SLOW_MMIO != 0 {
                return Ok(GuestPhysAddr(target));
            }
            let physical = GuestPhysAddr(target.wrapping_sub(self.ram_base()));
            if tag & SLOW_CODE == 0 || self.memory.page_holds_code(physical.page()) {
                return Ok(physical);
            }
            // The page's translations are gone: fill anew, so that stores become quick again.
        }
        self.translate_by_walk(address, access, privilege)
    }

    /// The physical address of the code at a linear address, by the current privilege.
    ///
    /// The address may lie outside RAM. The translation holds for the rest of the 4 KiB page.
    ///
    /// # Errors
    /// As [`translate`](Self::translate).
    #[inline]
    pub fn fetch_page(&mut self, address: u64) -> Result<GuestPhysAddr, Exception> {
        let entry = self.tlbs[self.tlb_in_force].entry(address);
        if entry.fetch_tag == address & PAGE_MASK {
            return Ok(GuestPhysAddr(address.wrapping_add(entry.addend).wrapping_sub(self.ram_base())));
        }
        self.translate(address, Access::Fetch, self.privilege())
    }

    fn ram_base(&self) -> u64 {
        self.memory.host_base() as usize as u64
    }

    #[cold]
    fn translate_by_walk(
        &mut self,
        address: u64,
        access: Access,
        privilege: Privilege,
    ) -> Result<GuestPhysAddr, Exception> {
        if self.is_long_mode() && !is_canonical(address) {
            return Err(Exception::GeneralProtection(0));
        }
        let walked = self.walk(address);
        if self.memory.lost().is_some() {
            // What was read may not be what is in the tables.
            return Err(Exception::MachineCheck);
        }
        let mut walk = match walked {
            Ok(walk) => walk,
            Err(WalkFault::NotPresent) => return Err(self.page_fault(address, access, privilege, 0)),
            Err(WalkFault::Reserved) => {
                return Err(self.page_fault(address, access, privilege, ERROR_PRESENT | ERROR_RESERVED));
            }
        };
        if !self.permits(&walk, access, privilege) {
            return Err(self.page_fault(address, access, privilege, ERROR_PRESENT));
        }
        // From here on the page is accessed without a look whether it is there.
        let page = GuestPhysAddr(walk.page).page();
        if !self.memory.bring_pages(page..page + 1) {
            return Err(Exception::MachineCheck);
        }
        self.mark_used(&mut walk, access);
        self.fill_tlb(address, &walk, privilege);
        Ok(GuestPhysAddr(walk.page | address & !PAGE_MASK))
    }

    /// The fault to raise; what the TLBs hold of the page goes (SDM vol. 3A 4.10.4.1).
    fn page_fault(&mut self, address: u64, access: Access, privilege: Privilege, cause: u32) -> Exception {
        let page = address & PAGE_MASK;
        self.code.jumps.forget_page(page);
        self.tlbs.forget_faulted(page);
        let mut error_code = cause;
        if access == Access::Write {
            error_code |= ERROR_WRITE;
        }
        if privilege == Privilege::User {
            error_code |= ERROR_USER;
        }
        let has_execute_disable = self.cr4 & CR4_PAE != 0 && self.msr.efer & EFER_NXE != 0;
        let fetches_are_told = has_execute_disable || self.cr4 & CR4_SMEP != 0;
        if access == Access::Fetch && fetches_are_told {
            error_code |= ERROR_FETCH;
        }
        Exception::PageFault { address, error_code }
    }

    /// SDM vol. 3A 4.6.1.
    fn permits(&self, walk: &Walk, access: Access, privilege: Privilege) -> bool {
        let is_reachable = match (privilege, access) {
            (Privilege::User, _) => walk.is_user,
            (_, Access::Fetch) => !walk.is_user || self.cr4 & CR4_SMEP == 0,
            (Privilege::Supervisor, _) => !walk.is_user,
            (Privilege::SupervisorReachingUser, _) => true,
        };
        is_reachable
            && match access {
                Access::Read => true,
                Access::Write => walk.is_writable || privilege != Privilege::User && self.cr0 & CR0_WP == 0,
                Access::Fetch => walk.is_executable,
            }
    }

    fn walk(&self, address: u64) -> Result<Walk, WalkFault> {
        let mut walk = Walk {
            page: address & PAGE_MASK,
            is_writable: true,
            is_user: true,
            is_executable: true,
            is_global: false,
            is_dirty: true,
            size: PageSize::Small,
            entries: [(0, false); 4],
            depth: 0,
            entry_bytes: 8,
        };
        if self.cr0 & CR0_PG == 0 {
            return Ok(walk);
        }
        let (format, mut table) = if self.is_long_mode() {
            (FOUR_LEVEL, self.cr3 & PHYSICAL_MASK & PAGE_MASK)
        } else if self.cr4 & CR4_PAE != 0 {
            (PAE, self.cr3 & 0xffff_ffe0)
        } else {
            (TWO_LEVEL, self.cr3 & 0xffff_f000)
        };
        walk.entry_bytes = format.entry_bytes;
        let index_mask = PAGE_SIZE / format.entry_bytes - 1;
        for (level, &shift) in format.shifts.iter().enumerate() {
            let index = (address >> shift) & index_mask;
            let location = table.wrapping_add(index * format.entry_bytes);
            let entry = self.read_table_entry(location, format.entry_bytes);
            if entry & PRESENT == 0 {
                return Err(WalkFault::NotPresent);
            }
            let is_pae_root = format.shifts.len() == 3 && level == 0;
            let is_large = shift != 12
                && !is_pae_root
                && entry & LARGE != 0
                && (format.entry_bytes == 8 || self.cr4 & CR4_PSE != 0);
            if format.entry_bytes == 8 && entry & self.reserved_bits(shift, is_large, is_pae_root) != 0 {
                return Err(WalkFault::Reserved);
            }
            if format.entry_bytes == 4 && is_large && entry & 1 << 21 != 0 {
                return Err(WalkFault::Reserved);
            }
            if !is_pae_root {
                walk.is_writable &= entry & WRITABLE != 0;
                walk.is_user &= entry & USER != 0;
                walk.is_executable &= entry & NO_EXECUTE == 0;
                if let Some(used) = walk.entries.get_mut(walk.depth) {
                    *used = (location, entry & ACCESSED == 0);
                    walk.depth += 1;
                }
            }
            if is_large || shift == 12 {
                walk.is_global = entry & GLOBAL != 0 && self.cr4 & CR4_PGE != 0;
                walk.is_dirty = entry & DIRTY != 0;
                walk.size = match shift {
                    12 => PageSize::Small,
                    30 => PageSize::Giant,
                    _ => PageSize::Large,
                };
                let offset_mask = (1 << shift) - 1;
                let mut frame = entry & PHYSICAL_MASK & !offset_mask;
                if format.entry_bytes == 4 && is_large {
                    // PSE-36: bits 20 to 13 are bits 39 to 32 of the frame's address.
                    frame |= (entry >> 13 & 0xff) << 32;
                }
                walk.page = (frame | address & offset_mask) & PAGE_MASK;
                return Ok(walk);
            }
            table = entry & PHYSICAL_MASK & PAGE_MASK;
        }
        Err(WalkFault::Reserved)
    }

    /// Bits that must be zero in a present 8-byte entry.
    fn reserved_bits(&self, shift: u32, is_large: bool, is_pae_root: bool) -> u64 {
        let mut reserved = (1 << 52) - (1 << PHYSICAL_ADDRESS_BITS);
        if self.msr.efer & EFER_NXE == 0 || is_pae_root {
            reserved |= NO_EXECUTE;
        }
        if !self.is_long_mode() {
            reserved |= 0x7ff << 52;
        }
        if is_pae_root {
            return reserved | 0x1e6;
        }
        if shift == 39 {
            reserved |= LARGE;
        }
        if is_large {
            reserved |= (1 << shift) - (1 << 13);
        }
        reserved
    }

    /// A paging-structure entry; all ones, as an unclaimed address reads, outside RAM.
    fn read_table_entry(&self, location: u64, entry_bytes: u64) -> u64 {
        let location = GuestPhysAddr(location);
        if entry_bytes == 8 {
            self.memory.read_u64(location).unwrap_or(u64::MAX)
        } else {
            self.memory.read_u32(location).map_or(u64::from(u32::MAX), u64::from)
        }
    }

    /// Sets the accessed bits of the entries used and the dirty bit of the last (SDM vol. 3A 4.8).
    fn mark_used(&mut self, walk: &mut Walk, access: Access) {
        let depth = walk.depth;
        for (level, &(location, needs_accessed)) in walk.entries.iter().take(depth).enumerate() {
            let mut bits = if needs_accessed { ACCESSED } else { 0 };
            if level + 1 == depth && access == Access::Write && !walk.is_dirty {
                bits |= DIRTY;
                walk.is_dirty = true;
            }
            if bits != 0 {
                self.set_table_bits(GuestPhysAddr(location), bits, walk.entry_bytes);
            }
        }
    }

    /// Sets bits of an entry atomically: other processors change entries at the same time.
    fn set_table_bits(&mut self, location: GuestPhysAddr, bits: u64, entry_bytes: u64) {
        if !self.memory.contains(location, entry_bytes) || !location.0.is_multiple_of(entry_bytes) {
            return;
        }
        let pointer = self.memory.host_base().wrapping_add(location.0 as usize);
        if entry_bytes == 8 {
            // SAFETY: the 8 bytes lie in RAM and are aligned, since RAM starts at a host page; all
            // processors of the machine treat them as an atomic.
            unsafe { AtomicU64::from_ptr(pointer.cast()) }.fetch_or(bits.to_le(), Ordering::Relaxed);
        } else {
            // SAFETY: as above, with 4 bytes.
            unsafe { AtomicU32::from_ptr(pointer.cast()) }.fetch_or((bits as u32).to_le(), Ordering::Relaxed);
        }
        if self.memory.page_holds_code(location.page()) {
            self.note_code_write(location, entry_bytes);
        }
    }

    fn fill_tlb(&mut self, address: u64, walk: &Walk, privilege: Privilege) {
        let page = address & PAGE_MASK;
        let is_ram = self.memory.contains(GuestPhysAddr(walk.page), PAGE_SIZE);
        let tag = |is_allowed: bool, slow: u64| if is_allowed { page | slow } else { TLB_INVALID };
        let mut slow = if is_ram { 0 } else { SLOW_MMIO };
        let fetch_slow = slow;
        if privilege == Privilege::User && self.tlbs[privilege as usize].checks_alignment {
            slow |= SLOW_ALIGNMENT;
        }
        if self.watches_page(page) {
            slow |= SLOW_WATCHED;
        }
        let holds_code = is_ram && self.memory.page_holds_code(walk.page / PAGE_SIZE);
        let can_write = walk.is_dirty && self.permits(walk, Access::Write, privilege);
        let target = if is_ram { self.ram_base().wrapping_add(walk.page) } else { walk.page };
        let entry = TlbEntry {
            read_tag: tag(self.permits(walk, Access::Read, privilege), slow),
            write_tag: tag(can_write, slow | if holds_code { SLOW_CODE } else { 0 }),
            fetch_tag: tag(self.permits(walk, Access::Fetch, privilege), fetch_slow),
            addend: target.wrapping_sub(page),
        };
        if entry.fetch_tag & TLB_INVALID == 0 {
            self.code.jumps.note_code_page(address, walk.size, walk.is_global);
        }
        if entry.write_tag & (TLB_INVALID | SLOW_CODE) == 0 && is_ram {
            self.tlbs.note_stores(walk.page / PAGE_SIZE, address, privilege as usize);
        }
        self.tlbs[privilege as usize].fill(address, entry, walk.is_global, walk.size);
    }

    /// Sends stores to a physical page to the slow path from now on, because it holds translated code.
    pub fn tlb_protect_page(&mut self, page: u64) {
        let host_page = self.ram_base().wrapping_add(page * PAGE_SIZE);
        self.tlbs.protect(page, host_page);
    }

    /// Drops all translations, those of global pages too.
    pub fn flush_tlb(&mut self) {
        self.code.jumps.forget_mappings();
        self.must_leave = true;
        self.tlbs.flush();
    }

    /// Drops the translations of pages that are not global, of all address spaces.
    pub fn flush_tlb_non_global(&mut self) {
        self.must_leave = true;
        for space in 0..SPACES {
            self.code.jumps.forget_local(space);
            self.tlbs.flush_non_global(space);
        }
    }

    /// Drops the translations of pages that are not global of the address space that has an identifier.
    pub fn flush_tlb_context(&mut self, identifier: u16) {
        self.must_leave = true;
        if let Some(space) = self.tlbs.space_of(identifier) {
            self.code.jumps.forget_local(space);
            self.tlbs.flush_non_global(space);
        }
    }

    /// Puts the address space of CR3 in force; what is known of it from before stays when `keeps` is set.
    pub fn switch_tlb_context(&mut self, keeps: bool) {
        self.must_leave = true;
        let identifier = if self.cr4 & CR4_PCIDE != 0 { self.cr3 as u16 & 0xfff } else { 0 };
        let is_new = self.tlbs.put_in_force(identifier);
        let space = self.tlbs.space();
        if is_new || !keeps {
            self.code.jumps.forget_local(space);
            self.tlbs.flush_non_global(space);
        }
        self.code.jumps.enter_space(space);
    }

    /// Drops the translation of the page at a linear address.
    pub fn flush_tlb_page(&mut self, address: u64) {
        self.code.jumps.forget_page(address);
        self.must_leave = true;
        self.tlbs.flush_page(address);
    }

    /// Drops the translation of the page at a linear address in all address spaces.
    pub fn flush_tlb_page_everywhere(&mut self, address: u64) {
        self.code.jumps.forget_all();
        self.must_leave = true;
        self.tlbs.flush_page_everywhere(address);
    }
}

const PHYSICAL_MASK: u64 = (1 << PHYSICAL_ADDRESS_BITS) - 1;
