//! SSE to SSE4.2.

use super::Helper;

/// The family's helpers by place.
pub static HELPERS: [Helper; 0] = [];
