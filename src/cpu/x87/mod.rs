//! x87 and MMX.

use super::Helper;

/// The family's helpers by place.
pub static HELPERS: [Helper; 0] = [];

/// x87 and MMX state.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct X87 {}

/// Lifts the instruction if it belongs here.
pub fn lift(_: &mut super::lift::Builder, _: &iced_x86::Instruction) -> Option<super::lift::Lifted> {
    None
}
