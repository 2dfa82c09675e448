//! Storage: block sources, which a disk device reads from and writes to, and [trees of files](tree), which are
//! shared with the guest.
//!
//! Block sources stack: a [`CopyOnWrite`] overlay makes the read-only [`LazyChunks`] of an image writable;
//! a [`MemoryDisk`] stands alone. All of them are [`BlockSource`](crate::host::BlockSource)s.

mod copy_on_write;
mod grains;
mod lazy_chunks;
mod memory_disk;
pub mod tree;

pub use copy_on_write::CopyOnWrite;
pub use lazy_chunks::{CHUNK_BYTES, ChunkFetcher, ChunkInbox, LazyChunks};
pub use memory_disk::MemoryDisk;

use crate::host::BlockError;

/// Checks that `length` bytes from `offset` lie within a disk of `size` bytes.
fn check_range(offset: u64, length: u64, size: u64) -> Result<(), BlockError> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(BlockError::OutOfRange { offset, length, size }),
    }
}
