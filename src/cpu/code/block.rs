//! One translated basic block.

use super::JumpPlace;
use crate::ir::Op;
use crate::mem::GuestPhysAddr;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::ops::Deref;
use std::ptr::{self, NonNull};
use std::slice;

/// What a translation is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The micro-operations; the last one ends the block.
    pub ops: &'a [Op],
    /// Offsets of the guest instructions from the block's start, ascending.
    pub instruction_offsets: &'a [u16],
    /// Distances in bytes from the block's start to the targets of its direct branches.
    pub distances: [i64; 2],
    /// Guest-physical address of the first byte.
    pub start: GuestPhysAddr,
    /// Bytes of guest code.
    pub length: u16,
    /// The page that the last instruction runs over into, if it does.
    pub second_page: Option<u64>,
    /// What the translation depends on beside its bytes ([`Mode`](crate::cpu::lift::Mode) as bits).
    pub mode_bits: u16,
    /// Bits of RIP that branch targets keep: 64, or 32 outside 64-bit code.
    pub rip_bits: u32,
}

/// A translated block. Blocks live in the [`CodeCache`](super::CodeCache), which never frees one while
/// the block loop runs.
///
/// What runs seldom misses the host's caches at each block, so a block is one piece of memory: what only compiling
/// asks for, what running it needs, the operations, and the offsets of the instructions.
#[derive(Debug)]
#[repr(C)]
pub struct Block {
    /// Where the jump cache knows the block.
    pub jump_place: Cell<JumpPlace>,
    /// How the block stands with compiled code.
    pub compiled: Compiled,
    /// The first operation; it lies behind the block.
    ops: *const Op,
    /// The translated targets of the block's direct branches, once they are known. Only targets in the block's own
    /// page: there the mapping that led to this block leads to the target too.
    pub links: [Cell<*const Block>; 2],
    /// Distances in bytes from the block's start to the targets of its direct branches.
    pub distances: [i64; 2],
    op_count: u16,
    instruction_count: u16,
    /// Bytes of guest code.
    pub length: u16,
    /// What the translation depends on beside its bytes ([`Mode`](crate::cpu::lift::Mode) as bits).
    pub mode_bits: u16,
    /// Guest-physical address of the first byte.
    pub start: GuestPhysAddr,
    /// The page that the last instruction runs over into, if it does.
    pub second_page: Option<u64>,
    /// 0, or 32 outside 64-bit code: how many high bits of RIP branch targets lose.
    lost_rip_bits: u8,
}

/// The only owner of a block.
#[derive(Debug)]
pub struct OwnedBlock(NonNull<Block>);

/// What a block's floating-point operations meet often enough for compiled code to expect it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Numbers {
    /// Normal numbers of usual sizes.
    #[default]
    Normal,
    /// Zeroes too.
    OrZero,
    /// Any.
    Any,
}

impl Numbers {
    /// What to expect when this was too little.
    pub fn wider(self) -> Self {
        match self {
            Self::Normal => Self::OrZero,
            Self::OrZero | Self::Any => Self::Any,
        }
    }
}

/// How a block stands with compiled code.
#[derive(Debug)]
#[repr(C)]
pub struct Compiled {
    /// The regions that hold this block, by number.
    pub regions: RefCell<Vec<u32>>,
    /// What `heat` began with.
    pub first_heat: Cell<i32>,
    /// The compiled function that begins with this block, by its place in the table; 0 for none.
    pub function: Cell<u32>,
    /// The budget of instructions that the function needs at its entry.
    pub needs: Cell<u32>,
    /// Whether a window of accesses in the block was found to run over a page's end: compiled again, the block has
    /// none.
    pub has_split_windows: Cell<bool>,
    /// What floating-point operations in the block were found to work on often: compiled again, the block has code for
    /// that.
    pub numbers: Cell<Numbers>,
    /// Executions until the block counts as hot; below zero the interpreter leaves before running it.
    pub heat: Cell<i32>,
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
            regions: RefCell::new(Vec::new()),
            first_heat: Cell::new(heat),
            function: Cell::new(0),
            needs: Cell::new(0),
            has_split_windows: Cell::new(false),
            numbers: Cell::new(Numbers::Normal),
            heat: Cell::new(heat),
        }
    }
}

/// The heat of blocks that are not compiled.
pub const NEVER_HOT: i32 = i32::MAX;

impl OwnedBlock {
    /// A block that nothing compiles so far.
    ///
    /// # Panics
    /// With more than 65,535 operations: what the lifter makes of the longest block has some hundred.
    pub fn new(parts: Parts<'_>) -> Self {
        let op_count = u16::try_from(parts.ops.len()).expect("blocks are short");
        let instruction_count = u16::try_from(parts.instruction_offsets.len()).expect("blocks are short");
        let layout = layout(op_count.into(), instruction_count.into());
        // SAFETY: the layout is larger than a `Block`, so not empty.
        let place = unsafe { alloc(layout.whole) };
        let Some(block) = NonNull::new(place.cast::<Block>()) else { handle_alloc_error(layout.whole) };
        // SAFETY: the layout has room for that many operations and offsets at these places, suitably aligned, and
        // nothing else knows the memory.
        unsafe {
            let ops = place.add(layout.ops).cast::<Op>();
            ptr::copy_nonoverlapping(parts.ops.as_ptr(), ops, parts.ops.len());
            let offsets = place.add(layout.offsets).cast::<u16>();
            let given = parts.instruction_offsets;
            ptr::copy_nonoverlapping(given.as_ptr(), offsets, given.len());
            block.write(Block {
                jump_place: Cell::new(JumpPlace::None),
                compiled: Compiled::cold(NEVER_HOT),
                ops,
                links: [const { Cell::new(ptr::null()) }; 2],
                distances: parts.distances,
                op_count,
                instruction_count,
                length: parts.length,
                mode_bits: parts.mode_bits,
                start: parts.start,
                second_page: parts.second_page,
                lost_rip_bits: (64 - parts.rip_bits) as u8,
            });
        }
        Self(block)
    }

    /// The block's address, good as long as the owner is not dropped.
    pub const fn as_ptr(&self) -> *const Block {
        self.0.as_ptr()
    }
}

impl Drop for OwnedBlock {
    fn drop(&mut self) {
        let layout = layout(self.op_count.into(), self.instruction_count.into());
        // SAFETY: `new` has made the block with this layout, and nothing uses it any more.
        unsafe {
            self.0.drop_in_place();
            dealloc(self.0.as_ptr().cast(), layout.whole);
        }
    }
}

impl Deref for OwnedBlock {
    type Target = Block;

    fn deref(&self) -> &Block {
        // SAFETY: the block is good as long as its owner, and changed by its cells only.
        unsafe { self.0.as_ref() }
    }
}

/// How a block lies in memory, and where its parts begin.
struct BlockLayout {
    whole: Layout,
    ops: usize,
    offsets: usize,
}

const fn layout(ops: usize, instructions: usize) -> BlockLayout {
    let ops_at = size_of::<Block>().next_multiple_of(align_of::<Op>());
    let offsets_at = ops_at + ops * size_of::<Op>();
    let bytes = offsets_at + instructions * size_of::<u16>();
    match Layout::from_size_align(bytes, align_of::<Block>()) {
        Ok(whole) => BlockLayout { whole, ops: ops_at, offsets: offsets_at },
        Err(_) => panic!("blocks are short"),
    }
}

const _: () = assert!(align_of::<Block>() >= align_of::<Op>() && align_of::<Op>() >= align_of::<u16>());

impl Block {
    /// The micro-operations; the last one ends the block.
    #[inline(always)]
    pub const fn ops(&self) -> &[Op] {
        // SAFETY: `OwnedBlock::new` has put that many there; they live as long as the block.
        unsafe { slice::from_raw_parts(self.ops, self.op_count as usize) }
    }

    /// The first operation.
    #[inline(always)]
    pub const fn first_op(&self) -> *const Op {
        self.ops
    }

    /// Offsets of the guest instructions from the block's start, ascending.
    pub const fn instruction_offsets(&self) -> &[u16] {
        // SAFETY: `OwnedBlock::new` has put that many behind the operations; they live as long as the block.
        unsafe {
            let first = self.ops.add(self.op_count as usize).cast::<u16>();
            slice::from_raw_parts(first, self.instruction_count as usize)
        }
    }

    /// Guest instructions in the block.
    #[inline(always)]
    pub const fn instruction_count(&self) -> u64 {
        self.instruction_count as u64
    }

    /// Bits of RIP that branch targets keep: all, or 32 outside 64-bit code.
    #[inline(always)]
    pub const fn rip_mask(&self) -> u64 {
        u64::MAX >> self.lost_rip_bits
    }

    /// Whether the target of a direct branch may be linked: it lies in the block's own page.
    pub const fn is_linkable(&self, branch: usize) -> bool {
        let offset = self.distances[branch].wrapping_add((self.start.0 % 4096) as i64);
        0 <= offset && offset < 4096
    }

    /// How many instructions stand before the one at the offset `pc`.
    pub fn instructions_before(&self, pc: u16) -> u64 {
        self.instruction_offsets().partition_point(|&offset| offset < pc) as u64
    }

    /// The offset of the instruction behind the one at the offset `pc`, from the start of the block.
    pub fn offset_behind(&self, pc: u16) -> u16 {
        self.instruction_offsets().iter().copied().find(|&offset| offset > pc).unwrap_or(self.length)
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
pub fn block(start: u64, length: u16) -> OwnedBlock {
    OwnedBlock::new(Parts {
        ops: &[],
        instruction_offsets: &[0],
        distances: [0, 4096],
        start: GuestPhysAddr(start),
        length,
        second_page: (start % 4096 + u64::from(length) > 4096).then_some(start / 4096 + 1),
        mode_bits: 0,
        rip_bits: 64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpCode;

    #[test]
    fn a_block_keeps_its_parts_behind_itself() {
        let op = Op { code: OpCode::Leave, pc: 3, a: 1, b: 2, c: 3, d: 0, disp: -4, imm: 5 };
        for (ops, instructions) in [(0, 0), (1, 1), (2, 3), (40, 32)] {
            let all_ops = vec![op; ops];
            let offsets: Vec<u16> = (0..instructions).map(|number| number * 3).collect();
            let block = OwnedBlock::new(Parts {
                ops: &all_ops,
                instruction_offsets: &offsets,
                distances: [-5, 4000],
                start: GuestPhysAddr(0x1064),
                length: 100,
                second_page: None,
                mode_bits: 7,
                rip_bits: 32,
            });
            assert_eq!(block.ops(), all_ops);
            assert_eq!(block.instruction_offsets(), offsets);
            assert_eq!(block.instruction_count(), u64::from(instructions));
            assert_eq!((block.length, block.mode_bits, block.rip_mask()), (100, 7, 0xffff_ffff));
            assert!(block.is_linkable(0) && !block.is_linkable(1));
            if instructions > 1 {
                assert_eq!((block.offset_behind(0), block.instructions_before(3)), (3, 1));
            }
        }
    }
}
