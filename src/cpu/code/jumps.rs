//! The jump cache: blocks by virtual address.

use super::Block;
use crate::cpu::tlb::PageSize;
use crate::mem::{Addressable, GuestMemory};
use std::ptr;

/// Entries of the jump cache. 4,096 hold the working set of container start-up with under 2 % conflicts.
pub const JUMP_ENTRIES: usize = 16_384;

/// A block found by virtual address, valid in one context (address-space epoch, mode and privilege).
///
/// Part of the interface of generated code.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct JumpEntry {
    /// RIP of the block.
    pub rip: u64,
    /// The context in which the entry was made.
    pub context: u64,
    /// The compiled function to go on in, by its place in the table: the block's, or the one that leaves
    /// for the run loop.
    pub function: u32,
    /// The block.
    pub block: *const Block,
}

/// A context that no entry is used in.
const NO_CONTEXT: u64 = u64::MAX;

impl JumpEntry {
    const EMPTY: Self = Self { rip: 0, context: NO_CONTEXT, function: 0, block: ptr::null() };
}

/// The places of a block's entries, as the block knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JumpPlace {
    /// There are none.
    None,
    /// At most one, there.
    One(u16),
    /// Anywhere: the block was reached at several addresses.
    Many,
}

const HALVES: usize = 2;
type PlaceSet = [u64; JUMP_ENTRIES / 64];
const NOWHERE: PlaceSet = [0; JUMP_ENTRIES / 64];
const SMALL_SHIFT: u32 = PageSize::Small.shift();
const LARGE_SHIFT: u32 = PageSize::Large.shift();

/// Blocks by virtual address. What an address-space switch leaves alone stays: it drops the lower half of the
/// addresses only, and the flush of a page only what lies in it.
pub struct JumpCache {
    /// The entries, by [`index`](Self::index).
    pub entries: Addressable<[JumpEntry; JUMP_ENTRIES]>,
    /// Counts changes after which no entry made before may be used.
    pub epoch: u64,
    /// Which places hold entries of the lower half of the addresses, and of the upper.
    used: [PlaceSet; HALVES],
    /// Pages of each half that entries may lie in, by a hash of their number.
    pages: [PlaceSet; HALVES],
    /// The same of pieces as large as a large page.
    large_pages: [PlaceSet; HALVES],
    /// log2 of the bytes of the largest page that code of a half was fetched through.
    largest_shift: [u32; HALVES],
    /// Whether code of the upper half was fetched through a page that is not global.
    has_local_upper: bool,
}

/// 1 for addresses of the upper half.
const fn half(address: u64) -> usize {
    (address >> 63) as usize
}

const fn place_of(page: u64) -> usize {
    (page ^ page >> 12) as usize % JUMP_ENTRIES
}

fn has(set: &PlaceSet, place: usize) -> bool {
    set[place / 64] >> (place % 64) & 1 != 0
}

fn insert(set: &mut PlaceSet, place: usize) {
    set[place / 64] |= 1 << (place % 64);
}

fn remove(set: &mut PlaceSet, place: usize) {
    set[place / 64] &= !(1 << (place % 64));
}

impl JumpCache {
    /// An empty cache.
    pub fn new(memory: &GuestMemory) -> Self {
        Self {
            entries: memory.place_array(JumpEntry::EMPTY),
            epoch: 0,
            used: [NOWHERE; HALVES],
            pages: [NOWHERE; HALVES],
            large_pages: [NOWHERE; HALVES],
            largest_shift: [SMALL_SHIFT; HALVES],
            has_local_upper: false,
        }
    }

    /// The place of a virtual address.
    #[inline(always)]
    pub const fn index(rip: u64) -> usize {
        (rip ^ (rip >> 12)) as usize & (JUMP_ENTRIES - 1)
    }

    /// The entry that would hold a virtual address.
    #[inline(always)]
    pub fn entry(&self, rip: u64) -> &JumpEntry {
        &self.entries[Self::index(rip)]
    }

    /// Notes a block found by virtual address, with the function to go on in.
    pub fn remember(&mut self, rip: u64, context: u64, block: &Block, function: u32) {
        let place = Self::index(rip);
        let known = match block.jump_place.get() {
            JumpPlace::None => JumpPlace::One(place as u16),
            JumpPlace::One(other) if usize::from(other) == place => JumpPlace::One(other),
            JumpPlace::One(_) | JumpPlace::Many => JumpPlace::Many,
        };
        block.jump_place.set(known);
        insert(&mut self.used[half(rip)], place);
        remove(&mut self.used[1 - half(rip)], place);
        self.note_page(rip);
        if block.second_page.is_some() {
            self.note_page(rip.wrapping_add(u64::from(block.length)));
        }
        self.entries[place] = JumpEntry { rip, context, function, block };
    }

    fn note_page(&mut self, address: u64) {
        let half = half(address);
        insert(&mut self.pages[half], place_of(address >> SMALL_SHIFT));
        insert(&mut self.large_pages[half], place_of(address >> LARGE_SHIFT));
    }

    /// Notes what kind of page code is fetched through: how large it is, and whether it is global.
    pub fn note_code_page(&mut self, address: u64, size: PageSize, is_global: bool) {
        let half = half(address);
        self.largest_shift[half] = self.largest_shift[half].max(size.shift());
        self.has_local_upper |= half == 1 && !is_global;
    }

    /// Makes all entries void.
    pub fn forget_all(&mut self) {
        self.epoch += 1;
        self.used = [NOWHERE; HALVES];
        self.pages = [NOWHERE; HALVES];
        self.large_pages = [NOWHERE; HALVES];
    }

    /// Makes the entries void that a flush of the translations of all pages drops. No code has been fetched
    /// since.
    pub fn forget_mappings(&mut self) {
        self.forget_all();
        self.largest_shift = [SMALL_SHIFT; HALVES];
        self.has_local_upper = false;
    }

    /// Makes the entries void that a switch of address spaces drops: those in pages that are not global.
    pub fn forget_local(&mut self) {
        if self.has_local_upper {
            return self.forget_all();
        }
        // Global pages of the lower half are rare: dropping more than asked for is always right.
        self.drop_where(0, |_| true);
        self.pages[0] = NOWHERE;
        self.large_pages[0] = NOWHERE;
    }

    /// Makes the entries in the page of an address void.
    pub fn forget_page(&mut self, address: u64) {
        let half = half(address);
        let shift = self.largest_shift[half];
        let may_hold_any = match shift {
            SMALL_SHIFT => has(&self.pages[half], place_of(address >> SMALL_SHIFT)),
            LARGE_SHIFT => has(&self.large_pages[half], place_of(address >> LARGE_SHIFT)),
            _ => true,
        };
        if !may_hold_any {
            return;
        }
        let page = address >> shift;
        self.drop_where(half, |entry| {
            let first = entry.rip >> shift;
            if first.wrapping_add(1) != page {
                return first == page;
            }
            // SAFETY: a used entry's block is in the cache: `forget_block` drops the entries of a block
            // that leaves it.
            let length = u64::from(unsafe { &*entry.block }.length);
            entry.rip.wrapping_add(length.max(1) - 1) >> shift == page
        });
    }

    /// Makes the entries of a block void.
    pub fn forget_block(&mut self, block: &Block) {
        match block.jump_place.replace(JumpPlace::None) {
            JumpPlace::None => {}
            JumpPlace::One(place) => {
                let entry = &mut self.entries[usize::from(place) % JUMP_ENTRIES];
                if ptr::eq(entry.block, block) {
                    *entry = JumpEntry::EMPTY;
                    for used in &mut self.used {
                        remove(used, usize::from(place));
                    }
                }
            }
            JumpPlace::Many => {
                for half in 0..HALVES {
                    self.drop_where(half, |entry| ptr::eq(entry.block, block));
                }
            }
        }
    }

    /// Makes the entries of a block go on in another function.
    pub fn set_function(&mut self, block: &Block, function: u32) {
        match block.jump_place.get() {
            JumpPlace::None => {}
            JumpPlace::One(place) => {
                let entry = &mut self.entries[usize::from(place) % JUMP_ENTRIES];
                if ptr::eq(entry.block, block) {
                    entry.function = function;
                }
            }
            JumpPlace::Many => {
                for entry in self.entries.iter_mut().filter(|entry| ptr::eq(entry.block, block)) {
                    entry.function = function;
                }
            }
        }
    }

    fn drop_where(&mut self, half: usize, is_void: impl Fn(&JumpEntry) -> bool) {
        for (word, used) in self.used[half].iter_mut().enumerate() {
            let mut left = *used;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                let entry = &mut self.entries[word * 64 + bit as usize];
                if is_void(entry) {
                    *entry = JumpEntry::EMPTY;
                    *used &= !(1 << bit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::block;
    use super::*;

    const KERNEL: u64 = 0xffff_ffff_8100_0000;

    fn holds(cache: &JumpCache, rip: u64) -> bool {
        cache.entry(rip).rip == rip && cache.entry(rip).context == 7
    }

    #[test]
    fn a_switch_of_address_spaces_keeps_global_code_of_the_upper_half() {
        let mut cache = JumpCache::new(&GuestMemory::new(4096).unwrap());
        let (user, kernel) = (block(0x10, 4), block(0x20, 4));
        cache.note_code_page(KERNEL, PageSize::Large, true);
        cache.remember(0x40_0010, 7, &user, 1);
        cache.remember(KERNEL + 0x20, 7, &kernel, 2);
        cache.forget_local();
        assert!(!holds(&cache, 0x40_0010) && holds(&cache, KERNEL + 0x20));
        cache.note_code_page(KERNEL + 0x20_0000, PageSize::Small, false);
        let epoch = cache.epoch;
        cache.forget_local();
        assert!(cache.epoch > epoch);
    }

    #[test]
    fn the_flush_of_a_page_drops_what_lies_or_ends_in_it() {
        let mut cache = JumpCache::new(&GuestMemory::new(4096).unwrap());
        let (before, across, behind) = (block(0x1000, 4), block(0x1ffe, 4), block(0x2100, 4));
        for (rip, block) in [(0x41_1000, &before), (0x41_1ffe, &across), (0x41_2100, &behind)] {
            cache.remember(rip, 7, block, 1);
        }
        cache.forget_page(0x41_3000);
        assert!(holds(&cache, 0x41_1000) && holds(&cache, 0x41_1ffe) && holds(&cache, 0x41_2100));
        cache.forget_page(0x41_2fff);
        assert!(holds(&cache, 0x41_1000) && !holds(&cache, 0x41_1ffe) && !holds(&cache, 0x41_2100));
    }

    #[test]
    fn the_flush_of_a_large_page_drops_all_that_lies_in_it() {
        let mut cache = JumpCache::new(&GuestMemory::new(4096).unwrap());
        let (inside, outside) = (block(0x10, 4), block(0x20, 4));
        cache.note_code_page(KERNEL, PageSize::Large, true);
        cache.remember(KERNEL + 0x10_0000, 7, &inside, 1);
        cache.remember(KERNEL + 0x40_0020, 7, &outside, 1);
        cache.forget_page(KERNEL);
        assert!(!holds(&cache, KERNEL + 0x10_0000) && holds(&cache, KERNEL + 0x40_0020));
    }

    #[test]
    fn a_block_takes_all_its_entries_with_it() {
        let mut cache = JumpCache::new(&GuestMemory::new(4096).unwrap());
        let (once, twice, other) = (block(0x10, 4), block(0x20, 4), block(0x30, 4));
        cache.remember(0x40_0010, 7, &once, 1);
        cache.remember(0x40_0020, 7, &twice, 1);
        cache.remember(KERNEL + 0x5020, 7, &twice, 1);
        cache.remember(0x40_0030, 7, &other, 1);
        cache.forget_block(&once);
        cache.forget_block(&twice);
        assert!(!holds(&cache, 0x40_0010) && !holds(&cache, 0x40_0020) && !holds(&cache, KERNEL + 0x5020));
        assert!(holds(&cache, 0x40_0030));
    }
}
