//! How the file of a kept machine is laid out: headers and the index.

use super::super::{SnapshotError, VERSION};
use crate::host::DiskMark;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

/// Bytes of a block of the file: a header, a page of RAM, or a part of the index.
pub(super) const BLOCK_BYTES: u64 = 4096;
pub(super) const BLOCK_LENGTH: usize = BLOCK_BYTES as usize;
/// The places of the headers, which are written in turn.
pub(super) const HEADERS: u64 = 2;

const MAGIC: [u8; 8] = *b"dinghyKM";
/// Counted up when the layout of this file changes.
const LAYOUT: u32 = 1;
const FIELDS: usize = 68;
/// Most bytes of an index. What is damaged or made up cannot ask for more memory.
pub(super) const INDEX_BYTES_MAX: u32 = 128 << 20;

/// Where the index of one state is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Grows with each state that is kept; the largest counts.
    pub(super) generation: u64,
    /// The index's first block, and its bytes.
    pub(super) index: (u32, u32),
    /// The SHA-256 of the index.
    pub(super) digest: [u8; 32],
}

impl Header {
    /// In which of the two places it lies.
    pub(super) fn place(&self) -> u64 {
        self.generation % HEADERS
    }

    pub(super) fn encode(&self) -> [u8; BLOCK_LENGTH] {
        let mut block = [0; BLOCK_LENGTH];
        block[..8].copy_from_slice(&MAGIC);
        block[8..12].copy_from_slice(&LAYOUT.to_le_bytes());
        block[12..16].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.generation.to_le_bytes());
        block[24..28].copy_from_slice(&self.index.0.to_le_bytes());
        block[28..32].copy_from_slice(&self.index.1.to_le_bytes());
        block[32..64].copy_from_slice(&self.digest);
        let checksum = crc32fast::hash(&block[..64]);
        block[64..FIELDS].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    /// The header in a block; `None` if there is none, or a write was cut short.
    ///
    /// # Errors
    /// When another version wrote it.
    pub(super) fn decode(block: &[u8; BLOCK_LENGTH]) -> Result<Option<Self>, SnapshotError> {
        let number = |at: usize| {
            block.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
        };
        if block[..8] != MAGIC || number(64) != crc32fast::hash(&block[..64]) {
            return Ok(None);
        }
        if (number(8), number(12)) != (LAYOUT, VERSION) {
            return Err(SnapshotError::Version { found: number(12) });
        }
        let mut digest = [0; 32];
        digest.copy_from_slice(&block[32..64]);
        let generation = u64::from(number(16)) | u64::from(number(20)) << 32;
        Ok(Some(Self { generation, index: (number(24), number(28)), digest }))
    }
}

/// Where a page of RAM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KeptPage {
    /// The page's number.
    pub(super) page: u32,
    /// The block that holds it.
    pub(super) block: u32,
    /// What its bytes come to.
    pub(super) digest: PageDigest,
}

/// Tells a page's contents from others. Not of cryptographic strength: whoever can write to the file can write its
/// index as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PageDigest(u64, u64);

impl PageDigest {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let digest = xxh3_128(bytes);
        Self(digest as u64, (digest >> 64) as u64)
    }
}

/// One state of a machine. Pages that it does not name are zero.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Index {
    /// Where the machine's disks stood.
    pub(super) marks: Vec<Option<DiskMark>>,
    /// What the machine is made of.
    pub(super) configuration: Vec<u8>,
    /// Processor and devices.
    pub(super) state: Vec<u8>,
    /// In ascending order.
    pub(super) pages: Vec<KeptPage>,
}

impl Index {
    /// The index that `bytes` stands for, if it names nothing but blocks of a file of `blocks` blocks.
    pub(super) fn decode(bytes: &[u8], digest: &[u8; 32], blocks: u64) -> Option<Self> {
        if <[u8; 32]>::from(Sha256::digest(bytes)) != *digest {
            return None;
        }
        let index: Self = postcard::from_bytes(bytes).ok()?;
        let is_ascending = index.pages.is_sorted_by(|one, next| one.page < next.page);
        let is_sound = |page: &KeptPage| (HEADERS..blocks).contains(&u64::from(page.block));
        (is_ascending && index.pages.iter().all(is_sound)).then_some(index)
    }
}
