//! The vCPU: architectural state, decoder front end, lifter, memory management, exceptions,
//! x87, SSE, and the interpreter of the micro-operations.

mod bus;
mod code;
mod exception;
mod flags;
mod helpers;
mod integer;
mod interpreter;
mod lift;
mod model;
mod sse;
mod system;
mod tlb;
mod vcpu;
mod x87;

pub use bus::SystemBus;
pub use code::CodeCache;
pub use exception::Exception;
pub use flags::{FlagsKind, LazyFlags};
pub use helpers::{Helper, HelperId};
pub use interpreter::Stop;
pub use model::CpuModel;
pub use tlb::{Tlb, TlbEntry};
pub use vcpu::{Activity, DescriptorTable, Segment, SegmentIndex, Vcpu, Vector};
