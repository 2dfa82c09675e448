//! The cache of translated blocks, keyed by guest-physical address and mode.
//!
//! Flushes of the TLB never drop translations; a store into the bytes that a block came from does.

mod block;
mod cache;
mod find;
mod jumps;

pub use block::{Block, NEVER_HOT, Numbers, OwnedBlock, Parts};
pub use cache::{AddressHasher, CodeCache};
pub use jumps::{ASKS_NOTHING, JUMP_ENTRIES, JumpCache, JumpEntry, JumpPlace, TAG_SHIFT};
