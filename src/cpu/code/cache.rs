//! Storage and look-up of blocks.

use super::{Block, JumpCache, NEVER_HOT, OwnedBlock};
use crate::mem::{GuestMemory, GuestPhysAddr};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ptr;

/// Multiplicative hashing: keys are addresses, dense and not chosen by an adversary of ours.
#[derive(Default)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
}

type AddressMap<V> = HashMap<u64, V, BuildHasherDefault<AddressHasher>>;

/// What is known of a page that blocks came from.
#[derive(Default)]
struct CodePage {
    /// The blocks that hold bytes of the page.
    blocks: Vec<*const Block>,
    /// Which 64-byte lines hold translated bytes: a store elsewhere in the page drops nothing.
    lines: u64,
}

/// All translated blocks of a vCPU.
pub struct CodeCache {
    pub(in crate::cpu) blocks: AddressMap<OwnedBlock>,
    pages: AddressMap<CodePage>,
    /// Blocks dropped while the block loop may still run one of them.
    dropped: Vec<OwnedBlock>,
    /// Blocks by virtual address.
    pub jumps: JumpCache,
    /// Executions after which a block of 64-bit code counts as hot.
    pub threshold: i32,
    /// The function in the table that leaves compiled code for the run loop.
    pub leave_function: u32,
    /// How often compiled code of a page was dropped in a row because the page was written, and how many blocks
    /// had been translated at the last time.
    churn: AddressMap<(u32, u64)>,
    /// Numbers of the regions that hold blocks which are gone.
    pub dead_regions: Vec<u32>,
    /// Blocks translated so far.
    pub translated: u64,
    /// Blocks dropped so far because their bytes changed.
    pub invalidated: u64,
}

// SAFETY: the raw pointers point to blocks that the cache owns; it is used by one thread at a time.
unsafe impl Send for CodeCache {}

/// Blocks kept at most, about 350 bytes each with their operations; past that those go that ran seldom. Docker's start
/// and two `docker run` translate 450,000.
const MOST_BLOCKS: usize = 600_000;

/// Executions after which a block outlives a full cache: one in ten runs so often.
const OFTEN: i32 = 200;

/// Blocks translated between two drops of a page's code that count as one row: what writes its own code
/// translates few in between, and a page that is used for another program meanwhile many.
const ROW: u64 = 2_000;

impl CodeCache {
    /// An empty cache.
    pub fn new(memory: &GuestMemory) -> Self {
        Self {
            blocks: AddressMap::default(),
            pages: AddressMap::default(),
            dropped: Vec::new(),
            jumps: JumpCache::new(memory),
            threshold: NEVER_HOT,
            leave_function: 0,
            churn: AddressMap::default(),
            dead_regions: Vec::new(),
            translated: 0,
            invalidated: 0,
        }
    }

    /// The key of a block that starts at a physical address, translated for a mode.
    pub(in crate::cpu) const fn key(start: GuestPhysAddr, mode_bits: u16) -> u64 {
        start.0 | (mode_bits as u64) << 52
    }

    /// The block that starts at a physical address, translated for a mode.
    pub fn get(&self, start: GuestPhysAddr, mode_bits: u16) -> Option<&Block> {
        self.blocks.get(&Self::key(start, mode_bits)).map(|block| &**block)
    }

    /// Keeps a block and marks its pages as holding code.
    ///
    /// Returns the block and the pages that did not hold code before: the caller makes stores to them
    /// take the slow path.
    pub fn insert(&mut self, memory: &GuestMemory, block: OwnedBlock) -> (*const Block, Vec<u64>) {
        let mut new_pages = Vec::new();
        if self.blocks.len() >= MOST_BLOCKS {
            self.evict(memory, OFTEN);
            if self.blocks.len() > MOST_BLOCKS / 2 {
                self.clear(memory);
            }
        }
        self.translated += 1;
        let key = Self::key(block.start, block.mode_bits);
        let (start, length, second_page) = (block.start, u64::from(block.length), block.second_page);
        if let Some(previous) = self.blocks.remove(&key) {
            self.unlink(memory, previous);
        }
        let block = self.blocks.entry(key).insert_entry(block);
        let pointer = block.get().as_ptr();
        let offset = start.0 % 4096;
        let in_first = length.min(4096 - offset);
        let mut note = |page: u64, first: u64, bytes: u64| {
            let entry = self.pages.entry(page).or_default();
            if entry.blocks.is_empty() {
                memory.set_page_holds_code(page, true);
                new_pages.push(page);
            }
            entry.blocks.push(pointer);
            entry.lines |= lines(first, bytes);
        };
        note(start.page(), offset, in_first);
        if let Some(page) = second_page {
            note(page, 0, length - in_first);
        }
        (pointer, new_pages)
    }

    /// Drops the blocks that came from any of the `length` bytes at `address`; whether there were any.
    pub fn invalidate(&mut self, memory: &GuestMemory, address: GuestPhysAddr, length: u64) -> bool {
        let mut any = false;
        let mut at = address.0;
        let end = address.0.saturating_add(length);
        while at < end {
            let page_end = (at / 4096 + 1) * 4096;
            let until = end.min(page_end);
            any |= self.invalidate_in_page(memory, GuestPhysAddr(at), until - at);
            at = until;
        }
        any
    }

    fn invalidate_in_page(&mut self, memory: &GuestMemory, address: GuestPhysAddr, length: u64) -> bool {
        let Some(page) = self.pages.get(&address.page()) else { return false };
        if page.lines & lines(address.0 % 4096, length) == 0 {
            return false;
        }
        let hit: Vec<u64> = page
            .blocks
            .iter()
            // SAFETY: the lists of a page hold only blocks that are in `self.blocks`.
            .map(|&block| unsafe { &*block })
            .filter(|block| block.overlaps(address, length))
            .map(|block| Self::key(block.start, block.mode_bits))
            .collect();
        for key in &hit {
            if let Some(block) = self.blocks.remove(key) {
                self.invalidated += 1;
                if !block.compiled.regions.borrow().is_empty() {
                    let (count, at) = self.churn.entry(block.start.page()).or_default();
                    *count = if self.translated - *at > ROW { 1 } else { count.saturating_add(1) };
                    *at = self.translated;
                }
                self.unlink(memory, block);
            }
        }
        !hit.is_empty()
    }

    /// Takes a block out of its pages' lists and out of its neighbours' links.
    fn unlink(&mut self, memory: &GuestMemory, block: OwnedBlock) {
        let pointer = block.as_ptr();
        for page in [Some(block.start.page()), block.second_page].into_iter().flatten() {
            let Some(entry) = self.pages.get_mut(&page) else { continue };
            entry.blocks.retain(|&other| other != pointer);
            entry.lines = 0;
            for &other in &entry.blocks {
                // SAFETY: as in `invalidate_in_page`.
                let other = unsafe { &*other };
                for link in &other.links {
                    if link.get() == pointer {
                        link.set(ptr::null());
                    }
                }
                let in_first = u64::from(other.length).min(4096 - other.start.0 % 4096);
                entry.lines |= if other.start.page() == page {
                    lines(other.start.0 % 4096, in_first)
                } else {
                    lines(0, u64::from(other.length) - in_first)
                };
            }
            if entry.blocks.is_empty() {
                self.pages.remove(&page);
                memory.set_page_holds_code(page, false);
            }
        }
        self.retire(block);
    }

    /// Puts a block aside until nothing runs it any more.
    fn retire(&mut self, block: OwnedBlock) {
        for link in &block.links {
            link.set(ptr::null());
        }
        self.jumps.forget_block(&block);
        self.dead_regions.append(&mut block.compiled.regions.borrow_mut());
        self.dropped.push(block);
    }

    /// Executions after which a new block at an address counts as hot: four times as many for each time that
    /// compiled code of its page was dropped, since code that is written again and again is not worth compiling.
    pub fn heat_at(&self, address: GuestPhysAddr) -> i32 {
        let churn = match self.churn.get(&address.page()) {
            Some(&(count, at)) if self.translated - at <= ROW => count,
            _ => 0,
        };
        let factor = 1i32.checked_shl(2 * churn).filter(|_| churn < 15).unwrap_or(i32::MAX);
        self.threshold.saturating_mul(factor)
    }

    /// Drops the blocks that ran fewer than `executions` times and belong to no region.
    fn evict(&mut self, memory: &GuestMemory, executions: i32) {
        let stays =
            |block: &Block| block.compiled.has_run(executions) || !block.compiled.regions.borrow().is_empty();
        for block in self.blocks.values() {
            for link in &block.links {
                let next = link.get();
                // SAFETY: links lead to blocks in the cache: `unlink` cuts those of a block that leaves it.
                if !next.is_null() && !stays(unsafe { &*next }) {
                    link.set(ptr::null());
                }
            }
        }
        self.pages.retain(|&page, entry| {
            // SAFETY: the lists of a page hold only blocks that are in `self.blocks`.
            entry.blocks.retain(|&block| stays(unsafe { &*block }));
            if entry.blocks.is_empty() {
                memory.set_page_holds_code(page, false);
            }
            !entry.blocks.is_empty()
        });
        self.jumps.forget_all();
        let seldom = self.blocks.extract_if(|_, block| !stays(block));
        self.dropped.extend(seldom.map(|(_, block)| block));
    }

    /// Drops everything.
    pub fn clear(&mut self, memory: &GuestMemory) {
        for &page in self.pages.keys() {
            memory.set_page_holds_code(page, false);
        }
        self.pages.clear();
        self.jumps.forget_all();
        for (_, block) in std::mem::take(&mut self.blocks) {
            self.retire(block);
        }
    }

    /// Frees the dropped blocks. Only when no block runs.
    pub fn free_dropped(&mut self) {
        self.dropped.clear();
    }

    /// Blocks in the cache.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether the cache holds no block.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

/// The 64-byte lines of a page that a range touches, a bit each.
fn lines(offset: u64, length: u64) -> u64 {
    if length == 0 {
        return 0;
    }
    let (first, last) = (offset / 64, (offset + length - 1) / 64);
    (u64::MAX << first) & (u64::MAX >> (63 - last.min(63)))
}

#[cfg(test)]
mod tests {
    use super::super::block::block;
    use super::*;

    #[test]
    fn a_write_to_a_code_page_drops_only_its_own_blocks() {
        let memory = GuestMemory::new(4 * 4096).unwrap();
        let mut cache = CodeCache::new(&memory);
        cache.insert(&memory, block(0x1000, 20));
        cache.insert(&memory, block(0x1014, 20));
        assert!(!cache.invalidate(&memory, GuestPhysAddr(0x1028), 8));
        assert!(cache.invalidate(&memory, GuestPhysAddr(0x1027), 1));
        assert!(cache.get(GuestPhysAddr(0x1000), 0).is_some());
        assert!(cache.get(GuestPhysAddr(0x1014), 0).is_none());
        assert!(cache.invalidate(&memory, GuestPhysAddr(0x0fff), 2));
        assert!(!memory.page_holds_code(1));
    }

    #[test]
    fn a_block_across_two_pages_is_dropped_by_a_write_to_either() {
        let memory = GuestMemory::new(4 * 4096).unwrap();
        for address in [0x1ffe, 0x2001] {
            let mut cache = CodeCache::new(&memory);
            let (_, pages) = cache.insert(&memory, block(0x1ffd, 7));
            assert_eq!(pages, [1, 2]);
            assert!(cache.invalidate(&memory, GuestPhysAddr(address), 1));
            assert!(cache.is_empty());
            assert!(!memory.page_holds_code(1) && !memory.page_holds_code(2));
        }
    }

    #[test]
    fn a_full_cache_keeps_what_runs_often_or_is_compiled() {
        let memory = GuestMemory::new(4 * 4096).unwrap();
        let mut cache = CodeCache::new(&memory);
        let (often, _) = cache.insert(&memory, block(0x1000, 4));
        let (seldom, _) = cache.insert(&memory, block(0x1100, 4));
        let (compiled, _) = cache.insert(&memory, block(0x2000, 4));
        cache.insert(&memory, block(0x3000, 4));
        // SAFETY: the cache owns the blocks and nothing dropped them yet.
        let (often, compiled) = unsafe { (&*often, &*compiled) };
        often.compiled.heat.set(NEVER_HOT - 3);
        often.links[0].set(seldom);
        often.links[1].set(compiled);
        compiled.compiled.regions.borrow_mut().push(5);
        cache.evict(&memory, 3);
        assert_eq!(cache.len(), 2);
        assert!(often.links[0].get().is_null());
        assert!(ptr::eq(often.links[1].get(), compiled));
        assert!(memory.page_holds_code(1) && memory.page_holds_code(2) && !memory.page_holds_code(3));
        assert!(cache.invalidate(&memory, GuestPhysAddr(0x1000), 4096));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn links_to_a_dropped_block_are_cut() {
        let memory = GuestMemory::new(4 * 4096).unwrap();
        let mut cache = CodeCache::new(&memory);
        let (target, _) = cache.insert(&memory, block(0x1100, 4));
        let (source, _) = cache.insert(&memory, block(0x1000, 4));
        // SAFETY: the cache owns the block and nothing dropped it yet.
        let source = unsafe { &*source };
        source.links[0].set(target);
        cache.invalidate(&memory, GuestPhysAddr(0x1100), 1);
        assert!(source.links[0].get().is_null());
    }
}
