//! The software translation look-aside buffer: what the fast path of every access reads.

use crate::mem::{Addressable, GuestMemory};
use std::ops::{Index, IndexMut};

/// One translation, 32 bytes. Part of the interface of generated code.
///
/// A tag is the guest-virtual address of the page (low 12 bits zero) when the access may go straight to
/// memory, and has its low bits set otherwise, so that one compare decides: `TLB_INVALID` for no
/// translation, or the page with a `SLOW_*` bit for one that must take the slow path.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TlbEntry {
    /// Tag for loads.
    pub read_tag: u64,
    /// Tag for stores.
    pub write_tag: u64,
    /// Tag for instruction fetches.
    pub fetch_tag: u64,
    /// Host address of the page less its guest-virtual address (wrapping); for pages outside RAM the
    /// guest-physical address less the guest-virtual one.
    pub addend: u64,
}

/// A tag that no access matches.
pub const TLB_INVALID: u64 = 1;
/// Set in a tag: the page is not RAM.
pub const SLOW_MMIO: u64 = 2;
/// Set in a write tag: the page holds translated code.
pub const SLOW_CODE: u64 = 4;
/// Set in a tag: alignment is checked at each access.
pub const SLOW_ALIGNMENT: u64 = 8;
/// A debug register watches bytes of the page.
pub const SLOW_WATCHED: u64 = 16;

/// Entries of one TLB. What is used of it lies in the caches as it would in a small one, and conflicts are what costs:
/// with 1,024, opening and closing a file met 13 misses a turn, all of two pages in one place.
pub const TLB_ENTRIES: usize = 8192;

const PAGE_MASK: u64 = !0xfff;

impl TlbEntry {
    /// An entry that matches nothing.
    pub const EMPTY: Self =
        Self { read_tag: TLB_INVALID, write_tag: TLB_INVALID, fetch_tag: TLB_INVALID, addend: 0 };

    /// The guest-virtual page of the entry, when it holds a translation.
    pub fn page(&self) -> Option<u64> {
        [self.read_tag, self.write_tag, self.fetch_tag]
            .into_iter()
            .find(|tag| tag & TLB_INVALID == 0)
            .map(|tag| tag & PAGE_MASK)
    }

    /// Sends stores to the slow path if they reach the page at host address `host_page`.
    fn protect(&mut self, host_page: u64) {
        let is_writable = self.write_tag & TLB_INVALID == 0;
        if is_writable
            && !self.is_mmio()
            && (self.write_tag & PAGE_MASK).wrapping_add(self.addend) == host_page
        {
            self.write_tag |= SLOW_CODE;
        }
    }

    /// Whether the entry translates to something other than RAM.
    pub fn is_mmio(&self) -> bool {
        (self.read_tag | self.write_tag | self.fetch_tag) & SLOW_MMIO != 0
    }
}

/// The size of the page that a translation came from, for `INVLPG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PageSize {
    /// 4 KiB.
    Small,
    /// 2 MiB or 4 MiB.
    Large,
    /// 1 GiB.
    Giant,
}

impl PageSize {
    /// log2 of its bytes, of the larger of the two that it stands for.
    pub const fn shift(self) -> u32 {
        match self {
            Self::Small => 12,
            Self::Large => 22,
            Self::Giant => 30,
        }
    }
}

/// The entries of a TLB. Part of the interface of generated code.
pub type TlbEntries = [TlbEntry; TLB_ENTRIES];

/// A set of entries, one bit each.
type EntrySet = [u64; TLB_ENTRIES / 64];

const NONE: EntrySet = [0; TLB_ENTRIES / 64];

/// A direct-mapped TLB for one privilege: user, supervisor, or supervisor with EFLAGS.AC set (SMAP).
pub struct Tlb {
    /// Entry `i` holds pages whose number is `i` modulo [`TLB_ENTRIES`].
    pub entries: Addressable<TlbEntries>,
    /// Which entries hold translations of non-global pages, for cheap flushes.
    filled: EntrySet,
    /// Which entries hold translations of global pages.
    filled_global: EntrySet,
    /// Which entries hold a part of a page above 4 KiB, of the lower half of the addresses and of the upper.
    large: [EntrySet; 2],
    /// Numbers of the 1 GiB pages of which a part was filled since the last flush.
    giants: Vec<u64>,
    /// Whether a global page of the lower half of the addresses was filled since the last flush.
    holds_global_lower: bool,
    /// Whether every access must take the slow path, because alignment is checked.
    pub(super) checks_alignment: bool,
}

impl Tlb {
    /// An empty TLB.
    pub fn new(memory: &GuestMemory) -> Self {
        Self {
            entries: memory.place_array(TlbEntry::EMPTY),
            filled: NONE,
            filled_global: NONE,
            large: [NONE; 2],
            giants: Vec::new(),
            holds_global_lower: false,
            checks_alignment: false,
        }
    }

    /// The place of an address.
    #[inline(always)]
    pub const fn index(address: u64) -> usize {
        (address >> 12) as usize & (TLB_ENTRIES - 1)
    }

    /// The entry that would hold the translation of `address`.
    #[inline(always)]
    pub fn entry(&self, address: u64) -> &TlbEntry {
        &self.entries[Self::index(address)]
    }

    /// Puts a translation at the place of `address`, in place of what was there.
    pub fn fill(&mut self, address: u64, entry: TlbEntry, is_global: bool, size: PageSize) {
        let index = Self::index(address);
        self.entries[index] = entry;
        set_bit(&mut self.filled, index, !is_global);
        set_bit(&mut self.filled_global, index, is_global);
        let half = (address >> 63) as usize;
        set_bit(&mut self.large[half], index, size != PageSize::Small);
        set_bit(&mut self.large[1 - half], index, false);
        let giant = address >> PageSize::Giant.shift();
        if size == PageSize::Giant && !self.giants.contains(&giant) {
            self.giants.push(giant);
        }
        self.holds_global_lower |= is_global && half == 0;
    }

    /// Drops the translations of non-global pages.
    pub fn flush_non_global(&mut self) {
        clear(&mut self.entries, &mut self.filled);
    }

    /// Drops everything.
    pub fn flush(&mut self) {
        clear(&mut self.entries, &mut self.filled);
        clear(&mut self.entries, &mut self.filled_global);
        self.large = [NONE; 2];
        self.giants.clear();
        self.holds_global_lower = false;
    }

    /// Whether a global page may be held at an address.
    fn may_hold_global(&self, address: u64) -> bool {
        address >> 63 != 0 || self.holds_global_lower
    }

    /// Drops the translation of one page, all of it when the page is a large one.
    pub fn flush_page(&mut self, address: u64) {
        let page = address & PAGE_MASK;
        let entry = &mut self.entries[Self::index(address)];
        if entry.page() == Some(page) {
            *entry = TlbEntry::EMPTY;
        }
        // 4 MiB covers 2 MiB pages too: dropping more than asked for is always right.
        const PARTS: usize = 1 << (PageSize::Large.shift() - PageSize::Small.shift());
        let is_giant = self.giants.contains(&(address >> PageSize::Giant.shift()));
        let (shift, first, count) = match is_giant {
            true => (PageSize::Giant.shift(), 0, TLB_ENTRIES),
            false => (PageSize::Large.shift(), Self::index(address) & !(PARTS - 1), PARTS),
        };
        let entries = &mut self.entries;
        let large = &self.large[(address >> 63) as usize];
        for_each_from(first, &large[first / 64..][..count / 64], |index| {
            if entries[index].page().is_some_and(|other| other >> shift == page >> shift) {
                entries[index] = TlbEntry::EMPTY;
            }
        });
    }

    /// Sends stores to the page at host address `host_page` to the slow path from now on.
    pub fn protect_host_page(&mut self, host_page: u64) {
        let entries = &mut self.entries;
        for set in [&self.filled, &self.filled_global] {
            for_each(set, |index| {
                entries[index].protect(host_page);
            });
        }
    }
}

/// TLBs of one address space: one for each privilege.
const PRIVILEGES: usize = 3;

/// Address spaces whose translations are kept. Linux tags six with identifiers.
pub const SPACES: usize = 8;

/// The TLBs of the address spaces that were in use last, three each; indexed by privilege, those of the space in force.
pub struct Tlbs {
    all: Vec<Tlb>,
    /// The process-context identifiers of the spaces (SDM vol. 3A 4.10.1). 0 without CR4.PCIDE.
    identifiers: [Option<u16>; SPACES],
    in_force: usize,
    /// The space that gives way to the next new one.
    oldest: usize,
    /// Physical pages that an entry may let stores through to, a bit each: to protect a page that is not among them,
    /// as most that code was read into from a disk, no TLB need be looked through.
    stored_to: Vec<u64>,
    /// Of some of these pages the only entry that does so: the page, the TLB, and the place in it. A program that
    /// writes its own code has one page protected again and again.
    only_entries: [Option<(u64, usize, usize)>; ONLY_ENTRIES],
}

const ONLY_ENTRIES: usize = 64;

impl Tlbs {
    /// Empty TLBs; the space with the identifier 0 is in force.
    pub fn new(memory: &GuestMemory) -> Self {
        let mut identifiers = [None; SPACES];
        identifiers[0] = Some(0);
        let all = (0..SPACES * PRIVILEGES).map(|_| Tlb::new(memory)).collect();
        let stored_to = vec![0; memory.size().div_ceil(4096 * 64) as usize];
        Self { all, identifiers, in_force: 0, oldest: 1, stored_to, only_entries: [None; ONLY_ENTRIES] }
    }

    /// The number of the space in force, below [`SPACES`].
    pub const fn space(&self) -> usize {
        self.in_force
    }

    /// The number of the space that has an identifier.
    pub fn space_of(&self, identifier: u16) -> Option<usize> {
        self.identifiers.iter().position(|&other| other == Some(identifier))
    }

    /// Puts the space with an identifier in force, and tells whether it is a new one: then nothing is kept of it.
    pub fn put_in_force(&mut self, identifier: u16) -> bool {
        if let Some(space) = self.space_of(identifier) {
            self.in_force = space;
            return false;
        }
        if self.oldest == self.in_force {
            self.oldest = (self.oldest + 1) % SPACES;
        }
        self.in_force = self.oldest;
        self.oldest = (self.oldest + 1) % SPACES;
        self.identifiers[self.in_force] = Some(identifier);
        self.flush_non_global(self.in_force);
        true
    }

    /// The TLBs of a space.
    fn of_space(&mut self, space: usize) -> &mut [Tlb] {
        &mut self.all[space * PRIVILEGES..][..PRIVILEGES]
    }

    /// Drops the translations of a space that are not global.
    pub fn flush_non_global(&mut self, space: usize) {
        for tlb in self.of_space(space) {
            tlb.flush_non_global();
        }
    }

    /// Drops everything.
    pub fn flush(&mut self) {
        for tlb in &mut self.all {
            tlb.flush();
        }
    }

    /// Drops the translation of a page in the space in force, and where it is global in all.
    pub fn flush_page(&mut self, address: u64) {
        for (number, tlb) in self.all.iter_mut().enumerate() {
            if number / PRIVILEGES == self.in_force || tlb.may_hold_global(address) {
                tlb.flush_page(address);
            }
        }
    }

    /// Drops the translation of a page in all spaces.
    pub fn flush_page_everywhere(&mut self, address: u64) {
        for tlb in &mut self.all {
            tlb.flush_page(address);
        }
    }

    /// Drops what the space in force holds of a page that has just faulted.
    pub fn forget_faulted(&mut self, page: u64) {
        for tlb in self.of_space(self.in_force) {
            if tlb.entry(page).page() == Some(page) {
                tlb.flush_page(page);
            }
        }
    }

    /// Has each access of user code take the slow path, or no longer.
    pub fn set_alignment_checks(&mut self, checks_alignment: bool) {
        for user in self.all.iter_mut().step_by(PRIVILEGES) {
            if user.checks_alignment != checks_alignment {
                user.checks_alignment = checks_alignment;
                user.flush();
            }
        }
    }

    /// Notes that the entry of an address, in the TLB of a privilege, is about to let stores through to a physical
    /// page.
    pub fn note_stores(&mut self, page: u64, address: u64, privilege: usize) {
        let Some(word) = self.stored_to.get_mut((page / 64) as usize) else { return };
        let entry = (page, self.in_force * PRIVILEGES + privilege, Tlb::index(address));
        let only = &mut self.only_entries[page as usize % ONLY_ENTRIES];
        if *word & 1 << (page % 64) == 0 {
            *word |= 1 << (page % 64);
            *only = Some(entry);
        } else if only.is_some_and(|known| known.0 == page && known != entry) {
            *only = None;
        }
    }

    /// Sends stores to a physical page, at host address `host_page`, to the slow path from now on.
    pub fn protect(&mut self, page: u64, host_page: u64) {
        let Some(word) = self.stored_to.get_mut((page / 64) as usize) else { return };
        let bit = 1 << (page % 64);
        if *word & bit != 0 {
            *word &= !bit;
            match self.only_entries[page as usize % ONLY_ENTRIES] {
                Some((known, tlb, index)) if known == page => {
                    self.all[tlb].entries[index].protect(host_page);
                }
                _ => self.all.iter_mut().for_each(|tlb| tlb.protect_host_page(host_page)),
            }
        }
    }
}

impl Index<usize> for Tlbs {
    type Output = Tlb;

    #[inline(always)]
    fn index(&self, privilege: usize) -> &Tlb {
        &self.all[self.in_force * PRIVILEGES + privilege]
    }
}

impl IndexMut<usize> for Tlbs {
    fn index_mut(&mut self, privilege: usize) -> &mut Tlb {
        &mut self.all[self.in_force * PRIVILEGES + privilege]
    }
}

fn set_bit(set: &mut EntrySet, index: usize, value: bool) {
    let bit = 1 << (index % 64);
    if value {
        set[index / 64] |= bit;
    } else {
        set[index / 64] &= !bit;
    }
}

fn for_each(set: &EntrySet, visit: impl FnMut(usize)) {
    for_each_from(0, set, visit);
}

/// Visits the members of a piece of a set that begins with the place `first`.
fn for_each_from(first: usize, words: &[u64], mut visit: impl FnMut(usize)) {
    for (word, &bits) in words.iter().enumerate() {
        let mut bits = bits;
        while bits != 0 {
            visit(first + word * 64 + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

fn clear(entries: &mut TlbEntries, set: &mut EntrySet) {
    for_each(set, |index| entries[index] = TlbEntry::EMPTY);
    *set = NONE;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Tlb {
        Tlb::new(&GuestMemory::new(4096).unwrap())
    }

    fn entry(page: u64, addend: u64) -> TlbEntry {
        TlbEntry { read_tag: page, write_tag: page, fetch_tag: TLB_INVALID, addend }
    }

    #[test]
    fn a_non_global_flush_keeps_global_pages() {
        let mut tlb = empty();
        tlb.fill(0x1000, entry(0x1000, 0), false, PageSize::Small);
        tlb.fill(0x2000, entry(0x2000, 0), true, PageSize::Small);
        tlb.flush_non_global();
        assert_eq!(tlb.entry(0x1000).page(), None);
        assert_eq!(tlb.entry(0x2000).page(), Some(0x2000));
        tlb.flush();
        assert_eq!(tlb.entry(0x2000).page(), None);
    }

    #[test]
    fn a_non_global_page_in_a_global_pages_place_is_flushed() {
        let mut tlb = empty();
        tlb.fill(0x1000, entry(0x1000, 0), true, PageSize::Small);
        let same_place = 0x1000 + 4096 * TLB_ENTRIES as u64;
        tlb.fill(same_place, entry(same_place, 0), false, PageSize::Small);
        tlb.flush_non_global();
        assert_eq!(tlb.entry(same_place).page(), None);
    }

    #[test]
    fn a_page_flush_drops_all_parts_of_a_large_page_and_no_other_page() {
        let mut tlb = empty();
        for page in [0x40_0000, 0x40_1000, 0x50_3000] {
            tlb.fill(page, entry(page, 0), false, PageSize::Large);
        }
        tlb.fill(0x40_2000, entry(0x40_2000, 0), false, PageSize::Small);
        tlb.flush_page(0x40_0000);
        assert_eq!(tlb.entry(0x40_1000).page(), None);
        assert_eq!(tlb.entry(0x50_3000).page(), None);
        assert_eq!(tlb.entry(0x40_2000).page(), Some(0x40_2000));
    }

    #[test]
    fn protecting_a_host_page_slows_its_stores_only() {
        let mut tlb = empty();
        tlb.fill(0x1000, entry(0x1000, 0x7000_0000), false, PageSize::Small);
        tlb.fill(0x2000, entry(0x2000, 0x7000_0000), true, PageSize::Small);
        tlb.protect_host_page(0x7000_2000);
        assert_eq!(tlb.entry(0x1000).write_tag, 0x1000);
        assert_eq!(tlb.entry(0x2000).write_tag, 0x2000 | SLOW_CODE);
        assert_eq!(tlb.entry(0x2000).read_tag, 0x2000);
    }

    #[test]
    fn protecting_a_page_finds_every_entry_that_lets_stores_through() {
        let memory = GuestMemory::new(64 * 4096).unwrap();
        // Places in TLBs of one privilege or of two; of other pages too, which share what is noted of one.
        for places in [&[(0x1000, 0)][..], &[(0x1000, 0), (0x2000, 0)], &[(0x1000, 0), (0x1000, 1)]] {
            for others in [0, 1, 5] {
                let mut tlbs = Tlbs::new(&memory);
                for round in 0..3 {
                    for &(address, privilege) in places {
                        tlbs.note_stores(3, address, privilege);
                        let entry = entry(address, 0x7000_3000 - address);
                        tlbs[privilege].fill(address, entry, false, PageSize::Small);
                    }
                    for other in 0..others {
                        tlbs.note_stores(4 + other, 0x9000 + other * 4096, 0);
                    }
                    tlbs.protect(3, 0x7000_3000);
                    for &(address, privilege) in places {
                        let tag = tlbs[privilege].entry(address).write_tag;
                        assert_eq!(tag, address | SLOW_CODE, "{places:x?}, round {round}");
                    }
                }
            }
        }
    }
}
