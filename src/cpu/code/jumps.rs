//! The jump cache: blocks by virtual address.

use super::Block;
use crate::cpu::tlb::{PageSize, SPACES};
use crate::mem::{Addressable, GuestMemory};
use std::ops::Range;
use std::ptr;

/// Entries of the jump cache. With 16,384, half of all misses in Docker's start were conflicts.
pub const JUMP_ENTRIES: usize = 65_536;

/// Places that the addresses of a 4 KiB page have.
const PIECE: usize = 1 << SMALL_SHIFT;

/// Places of a set of pages.
const PAGE_PLACES: usize = 16_384;

/// A block found by virtual address, valid in one context (mappings, mode and privilege).
///
/// Part of the interface of generated code.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(32))]
pub struct JumpEntry {
    /// RIP of the block.
    pub rip: u64,
    /// The context in which the entry was made.
    pub context: u64,
    /// The function to go on in, by its place in the table: the block's, or the one of what is not compiled.
    pub function: u32,
    /// The block.
    pub block: *const Block,
}

/// Where the tag begins in a context: below it are mode and privilege.
pub const TAG_SHIFT: u32 = 16;

/// A context that no entry is used in.
const NO_CONTEXT: u64 = u64::MAX;

/// A context that no entry has: for what runs where the jump cache must not be asked. It differs from that of empty
/// entries, which have no block.
pub const ASKS_NOTHING: u64 = u64::MAX - 1;

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
type PageSet = [u64; PAGE_PLACES / 64];
const NO_PAGE: PageSet = [0; PAGE_PLACES / 64];
const SMALL_SHIFT: u32 = PageSize::Small.shift();
const LARGE_SHIFT: u32 = PageSize::Large.shift();

/// Pages that entries may lie in.
#[derive(Clone)]
struct CodePages {
    /// By a hash of their number.
    small: PageSet,
    /// The same of pieces as large as a large page.
    large: PageSet,
}

/// Blocks by virtual address. What an address-space switch leaves alone stays: user code is tagged with its address
/// space, the kernel's is in all of them, and the flush of a page drops only what lies in it.
pub struct JumpCache {
    /// The entries, by [`index`](Self::index).
    pub entries: Addressable<[JumpEntry; JUMP_ENTRIES]>,
    /// Counts changes after which no entry made before may be used.
    pub epoch: u64,
    /// The last tag given.
    last_tag: u64,
    /// What entries of supervisor code are tagged with.
    supervisor_tag: u64,
    /// What entries of user code are tagged with, by address space.
    user_tags: [u64; SPACES],
    /// The address space in force.
    space: usize,
    /// Which places hold entries of the lower half of the addresses, and of the upper.
    used: [PlaceSet; HALVES],
    /// Pages that entries of the lower half may lie in, by address space.
    lower_pages: Vec<CodePages>,
    /// Pages that entries of the upper half may lie in.
    upper_pages: Box<CodePages>,
    /// log2 of the bytes of the largest page that code of a half was fetched through.
    largest_shift: [u32; HALVES],
    /// Whether code of the upper half was fetched through a page that is not global.
    has_local_upper: bool,
    /// Whether code of the lower half was fetched through a page that is global.
    has_global_lower: bool,
    /// Whether there may be entries of supervisor code in the lower half.
    has_supervisor_lower: bool,
}

impl CodePages {
    const NONE: Self = Self { small: NO_PAGE, large: NO_PAGE };

    fn note(&mut self, address: u64) {
        insert(&mut self.small, place_of(address >> SMALL_SHIFT));
        insert(&mut self.large, place_of(address >> LARGE_SHIFT));
    }

    /// Whether entries may lie in the page of an address, when none lies in a page above `1 << shift` bytes.
    fn may_hold(&self, address: u64, shift: u32) -> bool {
        match shift {
            SMALL_SHIFT => has(&self.small, place_of(address >> SMALL_SHIFT)),
            LARGE_SHIFT => has(&self.large, place_of(address >> LARGE_SHIFT)),
            _ => true,
        }
    }
}

/// 1 for addresses of the upper half.
const fn half(address: u64) -> usize {
    (address >> 63) as usize
}

const fn place_of(page: u64) -> usize {
    (page ^ page >> 12) as usize % PAGE_PLACES
}

fn has(set: &[u64], place: usize) -> bool {
    set[place / 64] >> (place % 64) & 1 != 0
}

fn insert(set: &mut [u64], place: usize) {
    set[place / 64] |= 1 << (place % 64);
}

fn remove(set: &mut [u64], place: usize) {
    set[place / 64] &= !(1 << (place % 64));
}

impl JumpCache {
    /// An empty cache.
    pub fn new(memory: &GuestMemory) -> Self {
        let mut cache = Self {
            entries: memory.place_array(JumpEntry::EMPTY),
            epoch: 0,
            last_tag: 0,
            supervisor_tag: 0,
            user_tags: [0; SPACES],
            space: 0,
            used: [NOWHERE; HALVES],
            lower_pages: vec![CodePages::NONE; SPACES],
            upper_pages: Box::new(CodePages::NONE),
            largest_shift: [SMALL_SHIFT; HALVES],
            has_local_upper: false,
            has_global_lower: false,
            has_supervisor_lower: false,
        };
        cache.forget_all();
        cache
    }

    /// What entries of user or supervisor code of the address space in force are tagged with, below 2^48.
    pub const fn tag(&self, is_user: bool) -> u64 {
        if is_user { self.user_tags[self.space] } else { self.supervisor_tag }
    }

    const fn new_tag(&mut self) -> u64 {
        self.last_tag += 1;
        self.last_tag
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
        self.has_supervisor_lower |= half(rip) == 0 && context >> TAG_SHIFT == self.supervisor_tag;
        self.note_page(rip);
        if block.second_page.is_some() {
            self.note_page(rip.wrapping_add(u64::from(block.length)));
        }
        self.entries[place] = JumpEntry { rip, context, function, block };
    }

    fn pages_of(&mut self, address: u64) -> &mut CodePages {
        match half(address) {
            0 => &mut self.lower_pages[self.space],
            _ => &mut self.upper_pages,
        }
    }

    fn note_page(&mut self, address: u64) {
        self.pages_of(address).note(address);
    }

    /// Notes what kind of page code is fetched through: how large it is, and whether it is global.
    pub fn note_code_page(&mut self, address: u64, size: PageSize, is_global: bool) {
        let half = half(address);
        self.largest_shift[half] = self.largest_shift[half].max(size.shift());
        self.has_local_upper |= half == 1 && !is_global;
        self.has_global_lower |= half == 0 && is_global;
    }

    /// Makes all entries void.
    pub fn forget_all(&mut self) {
        self.epoch += 1;
        self.supervisor_tag = self.new_tag();
        self.user_tags = std::array::from_fn(|_| self.new_tag());
        self.used = [NOWHERE; HALVES];
        self.lower_pages.fill(CodePages::NONE);
        *self.upper_pages = CodePages::NONE;
        self.has_supervisor_lower = false;
    }

    /// Makes the entries void that a flush of the translations of all pages drops. No code has been fetched
    /// since.
    pub fn forget_mappings(&mut self) {
        self.forget_all();
        self.largest_shift = [SMALL_SHIFT; HALVES];
        self.has_local_upper = false;
        self.has_global_lower = false;
    }

    /// Makes the entries of an address space void that lie in pages which are not global.
    pub fn forget_local(&mut self, space: usize) {
        if self.has_local_upper {
            return self.forget_all();
        }
        // Global pages of the lower half are rare: dropping more than asked for is always right.
        self.user_tags[space] = self.new_tag();
        self.lower_pages[space] = CodePages::NONE;
        self.drop_supervisor_lower();
    }

    /// Puts another address space in force, whose user entries are valid again.
    pub fn enter_space(&mut self, space: usize) {
        if self.has_local_upper {
            self.forget_all();
        }
        self.drop_supervisor_lower();
        self.space = space;
    }

    /// Supervisor code of the lower half, as of boot loaders, is not tagged with its address space.
    fn drop_supervisor_lower(&mut self) {
        if std::mem::take(&mut self.has_supervisor_lower) {
            self.drop_where(0, |_| true);
        }
    }

    /// Makes the entries in the page of an address void.
    pub fn forget_page(&mut self, address: u64) {
        let half = half(address);
        let shift = self.largest_shift[half];
        if half == 0 && self.has_global_lower {
            return self.forget_all();
        }
        if !self.pages_of(address).may_hold(address, shift) {
            return;
        }
        let page = address >> shift;
        let is_void = |entry: &JumpEntry| {
            let first = entry.rip >> shift;
            if first.wrapping_add(1) != page {
                return first == page;
            }
            // SAFETY: a used entry's block is in the cache: `forget_block` drops the entries of a block
            // that leaves it.
            let length = u64::from(unsafe { &*entry.block }.length);
            entry.rip.wrapping_add(length.max(1) - 1) >> shift == page
        };
        if shift != SMALL_SHIFT {
            return self.drop_where(half, is_void);
        }
        // The entries of a page lie in one piece, those of blocks that run over into it in that of the page before.
        for begin in [page << SMALL_SHIFT, page.wrapping_sub(1) << SMALL_SHIFT] {
            let piece = Self::index(begin) & !(PIECE - 1);
            self.drop_among(piece..piece + PIECE, half, is_void);
        }
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

    /// The linear address that a block was found at, if it was found at one only and is still known there.
    pub fn address_of(&self, block: &Block) -> Option<u64> {
        let JumpPlace::One(place) = block.jump_place.get() else { return None };
        let entry = &self.entries[usize::from(place) % JUMP_ENTRIES];
        ptr::eq(entry.block, block).then_some(entry.rip)
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
        self.drop_among(0..JUMP_ENTRIES, half, is_void);
    }

    /// Drops entries in a range of places that begins and ends at multiples of 64.
    fn drop_among(&mut self, places: Range<usize>, half: usize, is_void: impl Fn(&JumpEntry) -> bool) {
        let words = places.start / 64..places.end / 64;
        for (word, used) in self.used[half].iter_mut().enumerate().take(words.end).skip(words.start) {
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

    fn holds_tagged(cache: &JumpCache, rip: u64, is_user: bool) -> bool {
        cache.entry(rip).rip == rip && cache.entry(rip).context == cache.tag(is_user) << TAG_SHIFT
    }

    #[test]
    fn a_switch_of_address_spaces_keeps_what_each_has() {
        let mut cache = JumpCache::new(&GuestMemory::new(4096).unwrap());
        let (user, kernel) = (block(0x10, 4), block(0x20, 4));
        cache.note_code_page(KERNEL, PageSize::Large, true);
        let tags = [true, false].map(|is_user| cache.tag(is_user) << TAG_SHIFT);
        cache.remember(0x40_0010, tags[0], &user, 1);
        cache.remember(KERNEL + 0x20, tags[1], &kernel, 2);
        cache.enter_space(1);
        assert!(!holds_tagged(&cache, 0x40_0010, true) && holds_tagged(&cache, KERNEL + 0x20, false));
        cache.enter_space(0);
        assert!(holds_tagged(&cache, 0x40_0010, true));
        cache.forget_local(1);
        assert!(holds_tagged(&cache, 0x40_0010, true));
        cache.forget_local(0);
        assert!(!holds_tagged(&cache, 0x40_0010, true) && holds_tagged(&cache, KERNEL + 0x20, false));
        cache.note_code_page(KERNEL + 0x20_0000, PageSize::Small, false);
        let epoch = cache.epoch;
        cache.enter_space(1);
        assert!(cache.epoch > epoch, "the kernel may be another there");
        cache.forget_local(1);
        assert!(cache.epoch > epoch + 1);
    }

    #[test]
    fn supervisor_code_of_the_lower_half_does_not_outlive_a_switch() {
        let mut cache = JumpCache::new(&GuestMemory::new(4096).unwrap());
        let loader = block(0x30, 4);
        cache.remember(0x40_0030, cache.tag(false) << TAG_SHIFT, &loader, 1);
        assert!(holds_tagged(&cache, 0x40_0030, false));
        cache.enter_space(1);
        assert!(!holds_tagged(&cache, 0x40_0030, false));
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
