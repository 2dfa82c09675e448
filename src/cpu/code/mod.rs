//! The cache of translated blocks, keyed by guest-physical address and mode.
//!
//! Flushes of the TLB never drop translations; a store into the bytes that a block came from does.

mod block;
mod cache;
mod find;

pub use block::{Block, Compiled, NEVER_HOT, Successor};
pub use cache::{CodeCache, JUMP_ENTRIES, JumpEntry};
