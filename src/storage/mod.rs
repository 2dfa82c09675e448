//! Storage: block sources, which a disk device reads from and writes to, and [trees of files](tree), which are
//! shared with the guest.
//!
//! Block sources stack: over the read-only [`ChunkedDisk`] of an image lies what the guest writes, in memory
//! ([`CopyOnWrite`]) or in a file ([`PersistentDisk`]); a [`MemoryDisk`] stands alone. All of them are [`BlockSource`](crate::host::BlockSource)s.

mod chunks;
mod copy_on_write;
pub(crate) mod free_runs;
mod grains;
mod memory_disk;
mod overlay;
#[cfg(test)]
pub(crate) mod test_file;
pub mod tree;

pub use chunks::{
    CHUNK_BYTES, ChunkCache, ChunkCacheError, ChunkError, ChunkFetcher, ChunkInbox, ChunkLocation,
    ChunkedDisk, Digest, Manifest, ManifestError,
};
pub use copy_on_write::CopyOnWrite;
pub use memory_disk::MemoryDisk;
pub use overlay::{OverlayError, PersistentDisk};

use crate::host::BlockError;

/// Checks that `length` bytes from `offset` lie within a disk of `size` bytes.
fn check_range(offset: u64, length: u64, size: u64) -> Result<(), BlockError> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(BlockError::OutOfRange { offset, length, size }),
    }
}
