//! How an overlay's file is laid out: superblocks and log blocks.

use crate::storage::Digest;

/// Bytes of a block of the file: a grain, a superblock or a log block.
pub(super) const BLOCK_BYTES: u64 = 4096;
pub(super) const BLOCK_LENGTH: usize = BLOCK_BYTES as usize;
/// A block of the file.
pub(super) type Block = [u8; BLOCK_LENGTH];

const SUPERBLOCK_MAGIC: [u8; 8] = *b"dinghyOv";
/// The version of the layout.
const VERSION: u32 = 1;
const LOG_MAGIC: [u8; 4] = *b"dgOL";
const LOG_HEADER_BYTES: usize = 28;
const ENTRY_BYTES: usize = 12;
/// Entries that a log block has room for.
pub(super) const ENTRIES_PER_BLOCK: usize = (BLOCK_LENGTH - LOG_HEADER_BYTES) / ENTRY_BYTES;

/// Number in an [`Entry`] in place of a block's: the grain is zeroes. No grain lies in a superblock.
pub(super) const ZEROES: u32 = 0;

/// Where the log begins, and what the overlay belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Superblock {
    /// Grows with each superblock that is written; the larger one counts.
    pub(super) generation: u64,
    /// The image that the overlay lies over.
    pub(super) image: Digest,
    /// Size of the disk in bytes.
    pub(super) size: u64,
    /// The first block of the log.
    pub(super) log_head: u32,
    /// The sequence number of that block.
    pub(super) log_sequence: u64,
}

/// What a block in a superblock's place is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FoundSuperblock {
    /// Nothing, or a write that was cut short.
    Nothing,
    /// A superblock of another version.
    OtherVersion(u32),
    Valid(Superblock),
}

impl Superblock {
    /// In which of the two places it lies.
    pub(super) fn place(&self) -> u64 {
        self.generation % 2
    }

    /// What the first log block has in place of the checksum of the one before it.
    pub(super) fn log_seed(&self) -> u32 {
        crc32fast::hash(&self.generation.to_le_bytes())
    }

    pub(super) fn encode(&self) -> Block {
        let mut block = [0; BLOCK_LENGTH];
        block[..8].copy_from_slice(&SUPERBLOCK_MAGIC);
        block[8..12].copy_from_slice(&VERSION.to_le_bytes());
        block[16..24].copy_from_slice(&self.generation.to_le_bytes());
        block[24..32].copy_from_slice(&self.size.to_le_bytes());
        block[32..40].copy_from_slice(&self.log_sequence.to_le_bytes());
        block[40..44].copy_from_slice(&self.log_head.to_le_bytes());
        block[44..76].copy_from_slice(&self.image.0);
        let checksum = crc32fast::hash(&block[16..]);
        block[12..16].copy_from_slice(&checksum.to_le_bytes());
        block
    }

    pub(super) fn decode(block: &Block) -> FoundSuperblock {
        if block[..8] != SUPERBLOCK_MAGIC {
            return FoundSuperblock::Nothing;
        }
        let version = number32(block, 8);
        if version != VERSION {
            return FoundSuperblock::OtherVersion(version);
        }
        if number32(block, 12) != crc32fast::hash(&block[16..]) {
            return FoundSuperblock::Nothing;
        }
        let mut image = [0; 32];
        image.copy_from_slice(&block[44..76]);
        FoundSuperblock::Valid(Self {
            generation: number64(block, 16),
            image: Digest(image),
            size: number64(block, 24),
            log_head: number32(block, 40),
            log_sequence: number64(block, 32),
        })
    }
}

/// Where a grain is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// The grain.
    pub(super) grain: u32,
    /// The block that holds it, or [`ZEROES`].
    pub(super) block: u32,
    /// The checksum of the block.
    pub(super) checksum: u32,
}

/// A block of the log: some entries of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LogBlock {
    /// One more than that of the block before.
    pub(super) sequence: u64,
    /// The checksum of the block before, so that no block of another history fits.
    pub(super) previous: u32,
    /// The block in which the log goes on.
    pub(super) next: u32,
    /// Whether the batch ends here: only then its entries count.
    pub(super) ends_batch: bool,
    /// Whether all blocks that the batch names were durable before it was written.
    pub(super) is_settled: bool,
    pub(super) entries: Vec<Entry>,
}

impl LogBlock {
    /// The block's bytes, and its checksum. At most [`ENTRIES_PER_BLOCK`] entries fit.
    pub(super) fn encode(&self) -> (Block, u32) {
        let mut block = [0; BLOCK_LENGTH];
        block[..4].copy_from_slice(&LOG_MAGIC);
        block[8..12].copy_from_slice(&self.previous.to_le_bytes());
        block[12..20].copy_from_slice(&self.sequence.to_le_bytes());
        block[20..24].copy_from_slice(&self.next.to_le_bytes());
        block[24..26].copy_from_slice(&(self.entries.len() as u16).to_le_bytes());
        block[26] = u8::from(self.ends_batch) | u8::from(self.is_settled) << 1;
        let places = block[LOG_HEADER_BYTES..].chunks_exact_mut(ENTRY_BYTES);
        for (place, entry) in places.zip(&self.entries) {
            place[..4].copy_from_slice(&entry.grain.to_le_bytes());
            place[4..8].copy_from_slice(&entry.block.to_le_bytes());
            place[8..].copy_from_slice(&entry.checksum.to_le_bytes());
        }
        let checksum = crc32fast::hash(&block[8..]);
        block[4..8].copy_from_slice(&checksum.to_le_bytes());
        (block, checksum)
    }

    /// Reads a block, if it is a whole one. Returns its checksum, too.
    pub(super) fn decode(block: &Block) -> Option<(Self, u32)> {
        let checksum = number32(block, 4);
        let count = usize::from(u16::from_le_bytes([block[24], block[25]]));
        if block[..4] != LOG_MAGIC || checksum != crc32fast::hash(&block[8..]) || count > ENTRIES_PER_BLOCK {
            return None;
        }
        let places = block[LOG_HEADER_BYTES..].chunks_exact(ENTRY_BYTES);
        let entries = places
            .take(count)
            .map(|place| Entry {
                grain: number32(place, 0),
                block: number32(place, 4),
                checksum: number32(place, 8),
            })
            .collect();
        let found = Self {
            sequence: number64(block, 12),
            previous: number32(block, 8),
            next: number32(block, 20),
            ends_batch: block[26] & 1 != 0,
            is_settled: block[26] & 2 != 0,
            entries,
        };
        Some((found, checksum))
    }
}

/// The number at `at`, which lies within `bytes`.
fn number32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// The number at `at`, which lies within `bytes`.
fn number64(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_as_they_were_written_and_not_when_damaged() {
        let superblock = Superblock {
            generation: 7,
            image: Digest::of(b"image"),
            size: 1 << 30,
            log_head: 2,
            log_sequence: 1 << 40,
        };
        let mut bytes = superblock.encode();
        assert_eq!(Superblock::decode(&bytes), FoundSuperblock::Valid(superblock));
        bytes[50] ^= 1;
        assert_eq!(Superblock::decode(&bytes), FoundSuperblock::Nothing);
        bytes[8] = 9;
        assert_eq!(Superblock::decode(&bytes), FoundSuperblock::OtherVersion(9));

        let entry = |number| Entry { grain: number, block: number + 3, checksum: !number };
        let log = LogBlock {
            sequence: 5,
            previous: 99,
            next: 77,
            ends_batch: true,
            is_settled: false,
            entries: (0..ENTRIES_PER_BLOCK as u32).map(entry).collect(),
        };
        let (bytes, checksum) = log.encode();
        assert_eq!(LogBlock::decode(&bytes), Some((log, checksum)));
        for at in [0, 5, 9, 26, 4090] {
            let mut damaged = bytes;
            damaged[at] ^= 4;
            assert_eq!(LogBlock::decode(&damaged), None);
        }
    }
}
