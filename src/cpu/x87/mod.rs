//! x87 and MMX.

use super::Helper;

/// The family's helpers by place.
pub static HELPERS: [Helper; 0] = [];

/// x87 and MMX state.
#[derive(Clone, Debug, Default)]
#[repr(C)]
pub struct X87 {}
