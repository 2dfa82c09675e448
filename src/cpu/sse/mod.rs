//! SSE to SSE4.2.

use super::Helper;

/// The family's helpers by place.
pub static HELPERS: [Helper; 0] = [];

/// Lifts the instruction if it belongs here.
pub fn lift(_: &mut super::lift::Builder, _: &iced_x86::Instruction) -> Option<super::lift::Lifted> {
    None
}

/// Runs a vector operation.
pub fn execute(_: &mut super::Vcpu, _: &crate::ir::Op) -> Result<(), super::Exception> {
    Err(super::Exception::InvalidOpcode)
}
