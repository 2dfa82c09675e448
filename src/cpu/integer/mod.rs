//! Integer instructions whose semantics need more than micro-operations.

use super::{Helper, HelperId};

/// `a` = linear address of offset register `b` in segment `c` for `d` bytes; #GP or #SS past the limit.
pub const SEGMENT_ADDRESS: HelperId = HelperId::integer(0);

/// The family's helpers by place.
pub static HELPERS: [Helper; 0] = [];
