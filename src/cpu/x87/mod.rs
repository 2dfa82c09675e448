//! x87 and MMX.

mod float80;
mod state;

use super::Helper;

pub use state::X87;

/// The family's helpers by place.
pub static HELPERS: [Helper; 0] = [];

/// Lifts the instruction if it belongs here.
pub fn lift(_: &mut super::lift::Builder, _: &iced_x86::Instruction) -> Option<super::lift::Lifted> {
    None
}
