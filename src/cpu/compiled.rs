//! What the run loop needs of an engine that compiles hot blocks, and what they share.

use super::{Exception, Vcpu};
use crate::ir::Reg;
use crate::mem::GuestPhysAddr;
use std::any::Any;

/// State that compiled code and the run loop share. Part of the interface of generated code.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Linkage {
    /// The context that jump entries must have been made in.
    pub context: u64,
    /// Low 32 bits of the address of the TLB in force.
    pub tlb: u32,
    /// Low 32 bits of the address of the jump cache.
    pub jumps: u32,
    /// Instructions that may still be retired before the run loop looks.
    pub budget: i32,
    /// The region that was left on the way, and how: 0 when the run loop shall just go on at RIP.
    pub exit_site: u32,
    /// The region that was left.
    pub exit_region: u32,
    /// Kind and width of the flags that [`flags_result`](Self::flags_result) belongs to, as the two bytes of
    /// [`LazyFlags`](super::LazyFlags).
    pub flags_kind: u32,
    /// First operand of the last operation that defined the flags, at an exit on the way.
    pub flags_left: u64,
    /// Result of the last operation that defined the flags, at an exit on the way.
    pub flags_result: u64,
    /// Its source.
    pub flags_source: u64,
    /// What stands over the flags: the result of a rotate.
    pub flags_overlay: u64,
    /// RIP of the entry of the region that was left on the way.
    pub exit_rip: u64,
    /// The registers as they stood at an exit on the way; which of them count, the site tells.
    pub saved: [u64; Reg::COUNT],
    /// The compiled function to go on in, by its place in the table; 0 for none.
    pub next_function: u32,
    /// The address that `RET` is waited for to reach; no canonical address when none is.
    pub awaited: u64,
    /// Where the last call of compiled code is to return to.
    pub called_from: u64,
    /// Instructions retired by the interpreter on behalf of calls that waited for it.
    pub interpreted: u64,
    /// Where the engine finds the regions that are left, an address of its own.
    pub regions: usize,
    /// What a helper has raised.
    pub pending: Option<Exception>,
    /// How compiled code was left, when all calls of functions are to be unwound.
    pub unwinding: Option<CompiledExit>,
    /// Retired instructions when the budget is used up.
    pub end: u64,
}

/// How compiled code was left. RIP is the next instruction's.
#[derive(Clone, Copy, Debug)]
pub enum CompiledExit {
    /// To go on at RIP.
    Continue,
    /// Interrupts, modes, mappings or translations may have changed.
    Look,
    /// An instruction raised an exception.
    Raised(Exception),
    /// The interpreter shall go on within a block. RIP is the block's; all of its instructions are counted.
    Resume {
        /// The block.
        block: BlockStart,
        /// The place of the operation to go on with.
        place: usize,
    },
}

/// What a block in the cache is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockStart {
    /// Guest-physical address of its first byte.
    pub address: GuestPhysAddr,
    /// The mode that it was translated for, as bits.
    pub mode_bits: u16,
}

/// An engine that compiles hot blocks.
pub trait CompiledCode: Send {
    /// The place in the table of the function of what is not compiled: it interprets for a call, and leaves for the run
    /// loop for a jump.
    fn leave_function(&self) -> u32;

    /// Notes that a block has reached the threshold; compiles when enough have.
    fn note_hot(&mut self, vcpu: &mut Vcpu, block: BlockStart);

    /// Called when the run loop has time between slices; compiles what waits for too long.
    fn settle(&mut self, vcpu: &mut Vcpu);

    /// Runs a compiled function on a processor whose linkage is set up, from RIP on.
    fn run(&mut self, vcpu: &mut Vcpu, function: u32) -> CompiledExit;

    /// Forgets regions whose code is gone. No compiled code runs.
    fn drop_regions(&mut self, vcpu: &mut Vcpu, regions: &[u32]);

    /// For those who know which engine it is.
    fn as_any(&self) -> &dyn Any;
}
