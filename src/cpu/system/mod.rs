//! Memory management, exceptions, interrupts, segments and the privileged instructions.

mod memory;
mod mmu;
mod registers;

use super::{Helper, Vcpu};

pub use mmu::{Access, Privilege};
pub use registers::*;

/// The family's helpers by place.
pub static HELPERS: [Helper; 0] = [];

/// Model-specific registers that are plain state.
#[derive(Clone, Debug, Default)]
pub struct Msrs {
    /// IA32_EFER.
    pub efer: u64,
}

impl Vcpu {
    /// State after reset.
    pub fn reset(&mut self) {}
}
