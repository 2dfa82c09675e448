//! Disk images in chunks: which there are ([`Manifest`]), the disk that is made of them
//! ([`ChunkedDisk`]), and where the host puts those that it has fetched ([`ChunkInbox`]).
//!
//! A chunked image is a manifest and a few packs. A pack is a row of zstd frames, one for each chunk
//! that is not all zeroes, in the order in which a boot reads them first; chunks of a pack are fetched
//! by byte range, so that what is read in a row comes in one request, and a static host carries a
//! handful of files, not thousands.

mod cache;
mod disk;
mod inbox;
mod manifest;

pub use cache::{ChunkCache, ChunkCacheError};
pub use disk::{ChunkFetcher, ChunkedDisk};
pub use inbox::ChunkInbox;
pub use manifest::{ChunkError, ChunkLocation, Digest, Manifest, ManifestError};

/// Bytes of a chunk. The last chunk of a disk may be shorter.
pub const CHUNK_BYTES: u64 = 256 * 1024;

/// Bytes of chunk `index` of a disk of `size` bytes; none past its end.
fn chunk_length(size: u64, index: u64) -> u64 {
    size.saturating_sub(index.saturating_mul(CHUNK_BYTES)).min(CHUNK_BYTES)
}
