//! Finding the last whole batch of an overlay's log.

use super::OverlayError;
use super::format::{BLOCK_BYTES, BLOCK_LENGTH, Block, Entry, LogBlock, Superblock, ZEROES};
use super::store::Placed;
use crate::host::ByteFile;
use std::collections::{BTreeMap, BTreeSet};

/// Blocks behind the end of the file in which the log may go on at most.
const LOG_RESERVE_BLOCKS: u64 = 1024;

/// What the log says.
pub(super) struct Recovered {
    pub(super) committed: BTreeMap<u32, Placed>,
    pub(super) log: Vec<u32>,
    pub(super) log_next: u32,
    pub(super) log_sequence: u64,
    pub(super) log_checksum: u32,
    /// Whether log blocks followed that do not count.
    pub(super) has_dropped: bool,
}

/// A batch that is whole in the log.
struct Batch {
    blocks: Vec<u32>,
    entries: Vec<Entry>,
    is_settled: bool,
    /// How the log goes on behind it.
    next: u32,
    sequence: u64,
    checksum: u32,
}

/// Reads the log that `superblock` leads to, of a disk with `grains` grains.
pub(super) fn recover(
    file: &mut dyn ByteFile,
    superblock: &Superblock,
    grains: u32,
) -> Result<Recovered, OverlayError> {
    let mut reader = LogReader {
        file_blocks: file.size()? / BLOCK_BYTES,
        file,
        grains,
        seen: BTreeSet::new(),
        next: superblock.log_head,
        sequence: superblock.log_sequence,
        checksum: superblock.log_seed(),
        has_rest: false,
    };
    let mut recovered = Recovered {
        committed: BTreeMap::new(),
        log: Vec::new(),
        log_next: superblock.log_head,
        log_sequence: superblock.log_sequence,
        log_checksum: superblock.log_seed(),
        has_dropped: false,
    };
    let mut last: Option<Batch> = None;
    while let Some(batch) = reader.next_batch()? {
        // A batch that another one follows was durable.
        if let Some(batch) = last.replace(batch) {
            recovered.apply(batch);
        }
    }
    recovered.has_dropped = reader.has_rest;
    if let Some(batch) = last {
        if batch.is_settled || reader.verify(&batch.entries)? {
            recovered.apply(batch);
        } else {
            recovered.has_dropped = true;
        }
    }
    Ok(recovered)
}

impl Recovered {
    fn apply(&mut self, batch: Batch) {
        for Entry { grain, block, checksum } in batch.entries {
            self.committed.insert(grain, Placed { block, checksum });
        }
        self.log.extend(batch.blocks);
        (self.log_next, self.log_sequence, self.log_checksum) = (batch.next, batch.sequence, batch.checksum);
    }
}

struct LogReader<'a> {
    file: &'a mut dyn ByteFile,
    file_blocks: u64,
    grains: u32,
    /// The log blocks so far: a chain that comes back to one of them is none.
    seen: BTreeSet<u32>,
    next: u32,
    sequence: u64,
    checksum: u32,
    /// Whether there were blocks of a batch that is not whole.
    has_rest: bool,
}

impl LogReader<'_> {
    fn next_batch(&mut self) -> Result<Option<Batch>, OverlayError> {
        let (mut blocks, mut entries) = (Vec::new(), Vec::new());
        loop {
            let here = self.next;
            let Some((block, checksum)) = self.next_block()? else {
                self.has_rest = !blocks.is_empty();
                return Ok(None);
            };
            blocks.push(here);
            entries.extend(block.entries);
            (self.next, self.sequence, self.checksum) = (block.next, self.sequence + 1, checksum);
            if block.ends_batch {
                return Ok(Some(Batch {
                    blocks,
                    entries,
                    is_settled: block.is_settled,
                    next: self.next,
                    sequence: self.sequence,
                    checksum: self.checksum,
                }));
            }
        }
    }

    /// The block at `next`, if it belongs to this log and names nothing that there cannot be.
    fn next_block(&mut self) -> Result<Option<(LogBlock, u32)>, OverlayError> {
        if self.next < 2 || u64::from(self.next) >= self.file_blocks || self.seen.contains(&self.next) {
            return Ok(None);
        }
        let mut bytes: Block = [0; BLOCK_LENGTH];
        self.file.read(u64::from(self.next) * BLOCK_BYTES, &mut bytes)?;
        let Some((block, checksum)) = LogBlock::decode(&bytes) else { return Ok(None) };
        let is_next = block.sequence == self.sequence && block.previous == self.checksum;
        // The log may go on a little behind the end of the file, where nothing is written yet.
        let is_near = |block: u32| block >= 2 && u64::from(block) < self.file_blocks + LOG_RESERVE_BLOCKS;
        let is_sound = is_near(block.next)
            && block.entries.iter().all(|entry| entry.grain < self.grains && entry.block != 1);
        if !(is_next && is_sound) {
            return Ok(None);
        }
        self.seen.insert(self.next);
        Ok(Some((block, checksum)))
    }

    /// Whether the blocks that `entries` name hold what they say.
    fn verify(&mut self, entries: &[Entry]) -> Result<bool, OverlayError> {
        let mut bytes: Block = [0; BLOCK_LENGTH];
        for entry in entries.iter().filter(|entry| entry.block != ZEROES) {
            if u64::from(entry.block) >= self.file_blocks {
                return Ok(false);
            }
            self.file.read(u64::from(entry.block) * BLOCK_BYTES, &mut bytes)?;
            if crc32fast::hash(&bytes) != entry.checksum {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
