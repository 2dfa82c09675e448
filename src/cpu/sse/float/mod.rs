//! Floating point.

use crate::cpu::lift::{Builder, Lifted};
use crate::cpu::{Exception, Helper, Vcpu};
use crate::ir::Op;
use iced_x86::Instruction;

/// The helpers by place. The first two raise #UD and #NM for the whole of SSE.
pub static HELPERS: &[Helper] = &[super::undefined, super::not_available];

/// Lifts the instruction if it belongs here.
pub fn lift(_: &mut Builder, _: &Instruction) -> Option<Lifted> {
    None
}

/// Runs a vector operation of this half.
pub fn execute(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::InvalidOpcode)
}
