//! One translated basic block.

use super::JumpPlace;
use crate::ir::Op;
use crate::mem::GuestPhysAddr;
use std::cell::{Cell, RefCell};
use std::ptr;

/// Where a block goes on.
#[derive(Debug)]
pub struct Successor {
    /// Distance in bytes from the block's start.
    pub distance: i64,
    /// The translated successor, once it is known. Only for targets in the block's own page: there the
    /// mapping that led to this block leads to the target too.
    pub link: Cell<*const Block>,
    /// Whether the target lies in the block's own page.
    pub is_linkable: bool,
}

/// A translated block. Blocks live in the [`CodeCache`](super::CodeCache), which never frees one while
/// the block loop runs.
#[derive(Debug)]
pub struct Block {
    /// The micro-operations; the last one ends the block.
    pub ops: Box<[Op]>,
    /// Offsets of the guest instructions from the block's start, ascending.
    pub instruction_offsets: Box<[u16]>,
    /// The targets of the block's direct branches.
    pub successors: [Successor; 2],
    /// Guest-physical address of the first byte.
    pub start: GuestPhysAddr,
    /// Bytes of guest code.
    pub length: u16,
    /// The page that the last instruction runs over into, if it does.
    pub second_page: Option<u64>,
    /// What the translation depends on beside its bytes ([`Mode`](crate::cpu::lift::Mode) as bits).
    pub mode_bits: u16,
    /// Bits of RIP that branch targets keep: all, or 32 outside 64-bit code.
    pub rip_mask: u64,
    /// How the block stands with compiled code.
    pub compiled: Compiled,
    /// Where the jump cache knows the block.
    pub jump_place: Cell<JumpPlace>,
}

/// How a block stands with compiled code.
#[derive(Debug)]
pub struct Compiled {
    /// Executions until the block counts as hot; below zero the interpreter leaves before running it.
    pub heat: Cell<i32>,
    /// What `heat` began with.
    pub first_heat: Cell<i32>,
    /// The compiled function that begins with this block, by its place in the table; 0 for none.
    pub function: Cell<u32>,
    /// The budget of instructions that the function needs at its entry.
    pub needs: Cell<u32>,
    /// Whether a window of accesses in the block was found to run over a page's end: compiled again, the block has
    /// none.
    pub has_split_windows: Cell<bool>,
    /// The regions that hold this block, by number.
    pub regions: RefCell<Vec<u32>>,
}

impl Compiled {
    /// Makes the block count as hot after `heat` executions.
    pub fn cool(&self, heat: i32) {
        self.heat.set(heat);
        self.first_heat.set(heat);
    }

    /// Whether the block has run `executions` times, is hot or compiled.
    pub fn has_run(&self, executions: i32) -> bool {
        let heat = self.heat.get();
        self.function.get() != 0
            || !self.regions.borrow().is_empty()
            // What waits to be compiled has more left than it began with.
            || heat > self.first_heat.get()
            || self.first_heat.get().saturating_sub(heat) >= executions
    }

    /// A block that is hot after `heat` executions.
    pub const fn cold(heat: i32) -> Self {
        Self {
            heat: Cell::new(heat),
            first_heat: Cell::new(heat),
            function: Cell::new(0),
            needs: Cell::new(0),
            has_split_windows: Cell::new(false),
            regions: RefCell::new(Vec::new()),
        }
    }
}

/// The heat of blocks that are not compiled.
pub const NEVER_HOT: i32 = i32::MAX;

impl Successor {
    /// A successor `distance` bytes from the start of a block that starts `page_offset` bytes into its page.
    pub fn new(distance: i64, page_offset: u64) -> Self {
        let is_linkable = (0..4096).contains(&(distance.wrapping_add(page_offset as i64)));
        Self { distance, link: Cell::new(ptr::null()), is_linkable }
    }
}

impl Block {
    /// Guest instructions in the block.
    pub fn instruction_count(&self) -> u64 {
        self.instruction_offsets.len() as u64
    }

    /// How many instructions stand before the one at the offset `pc`.
    pub fn instructions_before(&self, pc: u16) -> u64 {
        self.instruction_offsets.partition_point(|&offset| offset < pc) as u64
    }

    /// Whether the block came from any of the `length` bytes at `address`.
    pub fn overlaps(&self, address: GuestPhysAddr, length: u64) -> bool {
        let overlap = |start: u64, bytes: u64| start < address.0 + length && address.0 < start + bytes;
        let in_first = (4096 - self.start.0 % 4096).min(u64::from(self.length));
        overlap(self.start.0, in_first)
            || self.second_page.is_some_and(|page| overlap(page * 4096, u64::from(self.length) - in_first))
    }
}

/// A block without operations, for tests of what keeps blocks.
#[cfg(test)]
pub fn block(start: u64, length: u16) -> Block {
    Block {
        ops: Box::new([]),
        instruction_offsets: Box::new([0]),
        successors: [Successor::new(0, start % 4096), Successor::new(4096, start % 4096)],
        start: GuestPhysAddr(start),
        length,
        second_page: (start % 4096 + u64::from(length) > 4096).then_some(start / 4096 + 1),
        mode_bits: 0,
        rip_mask: u64::MAX,
        compiled: Compiled::cold(NEVER_HOT),
        jump_place: Cell::new(JumpPlace::None),
    }
}
