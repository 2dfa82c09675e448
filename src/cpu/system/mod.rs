//! Memory management, exceptions, interrupts, segments and the privileged instructions.

use super::{Helper, Vcpu};

/// EFER.LMA: long mode is active.
pub const EFER_LMA: u64 = 1 << 10;

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
    /// Chooses the TLB for CPL and AC.
    pub fn select_tlb(&mut self) {}
}
