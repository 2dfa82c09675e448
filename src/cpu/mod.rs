//! The vCPU: architectural state, decoder front end, lifter, memory management, exceptions,
//! x87, SSE, and the interpreter of the micro-operations.

mod bus;
mod code;
mod compiled;
mod exception;
pub mod flags;
mod helpers;
mod integer;
mod interpreter;
mod lift;
mod model;
pub(crate) mod sse;
mod state;
mod system;
mod tlb;
mod vcpu;
pub mod x87;

pub use bus::SystemBus;
pub use code::{AddressHasher, Block, CodeCache, JUMP_ENTRIES, JumpEntry, JumpPlace, NEVER_HOT, Numbers};
pub use compiled::{BlockStart, CompiledCode, CompiledExit, Linkage};
pub use exception::Exception;
pub use flags::{FlagsKind, LazyFlags};
pub use helpers::{FlagsEffect, Helper, HelperEffects, HelperId, effects as helper_effects};
pub use integer::{
    ATOMIC, BIT_OPERATION, BIT_SCAN_FORWARD, BIT_SCAN_REVERSE, BitManipulation, BitOp, COMPARE_EXCHANGE,
    DIVIDE, DOUBLE_SHIFT, MANIPULATE_BITS, MULTIPLY, MULTIPLY_QUIETLY, POPULATION_COUNT, Repeat, Rmw, STRING,
    StringOp, divide_wide,
};
pub use interpreter::{ExitSite, Stop};
pub use model::CpuModel;
pub use state::VcpuState;
pub use tlb::{TLB_ENTRIES, Tlb, TlbEntries, TlbEntry};
pub use vcpu::{Activity, DescriptorTable, Segment, SegmentIndex, Vcpu, Vector};
