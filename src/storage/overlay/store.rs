//! Grains in a file, of which some batch was the last to become durable.

use super::OverlayError;
use super::format::{
    BLOCK_BYTES, BLOCK_LENGTH, Block, ENTRIES_PER_BLOCK, Entry, FoundSuperblock, LogBlock, Superblock, ZEROES,
};
use super::recovery::{Recovered, recover};
use crate::host::{ByteFile, ByteFileError, DiskChange, DiskMark};
use crate::storage::Digest;
use crate::storage::free_runs::FreeRuns;
use crate::storage::grains::{Content, GRAIN_BYTES};
use std::collections::BTreeMap;

/// Batches of no more grains than this become durable with one flush, and are verified when the file
/// is opened again; larger ones are flushed before the log names them.
const VERIFIED_GRAINS_MAX: usize = 256;
/// Log blocks beyond twice what the log needs at which it is written anew.
const SPARE_LOG_BLOCKS: usize = 64;

/// What the store knows of a grain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// The block that holds it, or [`ZEROES`].
    pub(super) block: u32,
    pub(super) checksum: u32,
}

/// Grains in a file.
///
/// ```text
/// block 0, 1   superblocks, written in turn
/// any other    a grain, or a log block: the log is a chain of them, in which each names the next
/// ```
///
/// A grain is never written over: it is [`stage`](Self::stage)d in a free block, and
/// [`commit`](Self::commit) appends a batch to the log that names the new blocks. A block is free again
/// when a durable batch names another in its place. So what a crash leaves is the state of the last batch
/// that is whole; blocks of one that is not are recognised by their checksums. When the log has grown
/// long, it is written anew elsewhere, and a superblock of the next generation leads there.
pub(super) struct GrainStore {
    file: Box<dyn ByteFile>,
    superblock: Superblock,
    committed: BTreeMap<u32, Placed>,
    staged: BTreeMap<u32, Placed>,
    /// Blocks to be free when the next batch is durable.
    superseded: Vec<u32>,
    /// Whether the file may have a log block that names staged blocks.
    is_exposed: bool,
    free: FreeRuns,
    /// Blocks of the file.
    end: u64,
    /// The blocks of the log, in order, without the one in which it goes on.
    log: Vec<u32>,
    /// The block in which the log goes on.
    log_next: u32,
    log_sequence: u64,
    log_checksum: u32,
    /// Why nothing can be committed any more.
    broken: Option<String>,
}

impl GrainStore {
    /// Opens the store in `file`, or makes one in an empty file, for a disk of `size` bytes over `image`.
    pub(super) fn open(mut file: Box<dyn ByteFile>, image: Digest, size: u64) -> Result<Self, OverlayError> {
        let superblock = match newest_superblock(file.as_mut())? {
            Some(found) if found.image != image || found.size != size => {
                return Err(OverlayError::OtherImage);
            }
            Some(found) => found,
            None => create(file.as_mut(), image, size)?,
        };
        let grains =
            u32::try_from(size.div_ceil(GRAIN_BYTES)).map_err(|_| OverlayError::DiskTooLarge(size))?;
        let Recovered { committed, log, log_next, log_sequence, log_checksum, has_dropped } =
            recover(file.as_mut(), &superblock, grains)?;
        let mut store = Self {
            file,
            superblock,
            committed,
            staged: BTreeMap::new(),
            superseded: Vec::new(),
            is_exposed: false,
            free: FreeRuns::default(),
            end: 0,
            log,
            log_next,
            log_sequence,
            log_checksum,
            broken: None,
        };
        store.find_free()?;
        if has_dropped {
            // What was dropped must not become whole again by what is written next.
            store.file.write(u64::from(store.log_next) * BLOCK_BYTES, &[0; BLOCK_LENGTH])?;
            store.file.flush()?;
        }
        Ok(store)
    }

    /// Finds the free blocks, and cuts the file behind the last used one.
    fn find_free(&mut self) -> Result<(), OverlayError> {
        let file_blocks = self.file.size()? / BLOCK_BYTES;
        // Blocks that were cut off cannot be read, and take no room.
        let is_there = |block: &u32| *block != ZEROES && u64::from(*block) < file_blocks;
        let blocks = self.committed.values().map(|placed| placed.block).filter(is_there);
        let mut used: Vec<u32> = blocks.chain(self.log.iter().copied()).collect();
        used.extend([0, 1, self.log_next]);
        used.sort_unstable();
        let mut next = 0;
        for block in used {
            let block = u64::from(block);
            if block > next {
                self.free.add(next, block - next);
            }
            next = next.max(block + 1);
        }
        self.end = next;
        self.file.truncate(self.end * BLOCK_BYTES)?;
        Ok(())
    }

    /// What the store knows of grain `index`.
    pub(super) fn placed(&self, index: u64) -> Option<Placed> {
        let index = u32::try_from(index).ok()?;
        self.staged.get(&index).or_else(|| self.committed.get(&index)).copied()
    }

    /// Whether there is any grain.
    pub(super) fn has_grains(&self) -> bool {
        !self.committed.is_empty() || !self.staged.is_empty()
    }

    /// Shows `visitor` all grains of a disk of `size` bytes, in ascending order.
    pub(super) fn visit(
        &mut self,
        size: u64,
        visitor: &mut dyn FnMut(DiskChange<'_>),
    ) -> Result<(), OverlayError> {
        let mut grains = self.committed.clone();
        grains.extend(&self.staged);
        for (grain, Placed { block, checksum }) in grains {
            let offset = u64::from(grain) * GRAIN_BYTES;
            let length = size.saturating_sub(offset).min(GRAIN_BYTES);
            if block == ZEROES {
                visitor(DiskChange::Zeroes(offset, length));
            } else {
                let bytes = self.read(block, &[checksum])?;
                visitor(DiskChange::Data(offset, bytes.get(..length as usize).unwrap_or_default()));
            }
        }
        Ok(())
    }

    /// The last durable batch: no other of this file has its generation and sequence number, and one of another
    /// file hardly its checksum.
    pub(super) fn mark(&self) -> DiskMark {
        DiskMark([self.superblock.generation, self.log_sequence, u64::from(self.log_checksum)])
    }

    /// Bytes that the file takes.
    pub(super) fn file_bytes(&self) -> u64 {
        self.end * BLOCK_BYTES
    }

    /// Reads the grains in `count` blocks from `first`, whose checksums are `checksums`.
    pub(super) fn read(&mut self, first: u32, checksums: &[u32]) -> Result<Vec<u8>, OverlayError> {
        let mut bytes = vec![0; checksums.len() * BLOCK_LENGTH];
        self.file.read(u64::from(first) * BLOCK_BYTES, &mut bytes)?;
        for ((block, checksum), number) in bytes.chunks_exact(BLOCK_LENGTH).zip(checksums).zip(first..) {
            if crc32fast::hash(block) != *checksum {
                return Err(OverlayError::DamagedBlock(number));
            }
        }
        Ok(bytes)
    }

    /// Writes grains, in ascending order, so that reads see them. They are durable only after
    /// [`commit`](Self::commit). All or none are taken.
    pub(super) fn stage<'a>(
        &mut self,
        grains: impl Iterator<Item = (u64, Content<'a>)>,
    ) -> Result<(), OverlayError> {
        let mut entries = Vec::new();
        let mut data = Vec::new();
        for (index, content) in grains {
            let grain = u32::try_from(index).map_err(|_| OverlayError::DiskTooLarge(index))?;
            match content {
                Content::Absent => {}
                Content::Zeroes => entries.push(Entry { grain, block: ZEROES, checksum: 0 }),
                Content::Data(bytes) => {
                    let checksum = crc32fast::hash(bytes);
                    data.push((Entry { grain, block: ZEROES, checksum }, bytes));
                }
            }
        }
        let runs = self.allocate(data.len() as u64);
        let mut next = 0;
        for (start, blocks) in &runs {
            let Some(part) = data.get_mut(next..next + *blocks as usize) else { break };
            next += part.len();
            for ((entry, _), block) in part.iter_mut().zip(*start..) {
                entry.block = block as u32;
            }
            let bytes: Vec<u8> = part.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
            if let Err(error) = self.file.write(*start * BLOCK_BYTES, &bytes) {
                self.release(&runs);
                return Err(error.into());
            }
        }
        entries.extend(data.into_iter().map(|(entry, _)| entry));
        for Entry { grain, block, checksum } in entries {
            let Some(replaced) = self.staged.insert(grain, Placed { block, checksum }) else { continue };
            if replaced.block == ZEROES {
                continue;
            } else if self.is_exposed {
                self.superseded.push(replaced.block);
            } else {
                self.free.add(u64::from(replaced.block), 1);
            }
        }
        Ok(())
    }

    /// Makes all that is staged durable.
    pub(super) fn commit(&mut self) -> Result<(), OverlayError> {
        if let Some(reason) = &self.broken {
            return Err(OverlayError::Broken(reason.clone()));
        }
        if self.staged.is_empty() {
            return Ok(());
        }
        let data = self.staged.values().filter(|placed| placed.block != ZEROES).count();
        let is_settled = data > VERIFIED_GRAINS_MAX;
        if is_settled {
            self.file.flush()?;
        }
        let entries = entries_of(&self.staged);
        self.is_exposed = true;
        let mut chain =
            self.append(self.log_next, self.log_sequence, self.log_checksum, entries, is_settled)?;
        if let Err(error) = self.file.flush() {
            self.release(&chain.allocated);
            return Err(error.into());
        }
        self.log.append(&mut chain.blocks);
        (self.log_next, self.log_sequence, self.log_checksum) = (chain.next, chain.sequence, chain.checksum);
        self.is_exposed = false;
        for (grain, placed) in std::mem::take(&mut self.staged) {
            if let Some(replaced) = self.committed.insert(grain, placed)
                && replaced.block != ZEROES
            {
                self.free.add(u64::from(replaced.block), 1);
            }
        }
        for block in std::mem::take(&mut self.superseded) {
            self.free.add(u64::from(block), 1);
        }
        if self.log.len() > 2 * self.committed.len().div_ceil(ENTRIES_PER_BLOCK) + SPARE_LOG_BLOCKS
            && let Err(error) = self.rewrite_log()
        {
            // The batch is durable; the log only stays longer than it could be.
            log::warn!("the overlay's log could not be shortened: {error}");
        }
        Ok(())
    }

    /// Writes entries as a batch to a log that goes on in block `first`.
    fn append(
        &mut self,
        first: u32,
        mut sequence: u64,
        mut checksum: u32,
        entries: Vec<Entry>,
        is_settled: bool,
    ) -> Result<Chain, OverlayError> {
        let count = entries.len().div_ceil(ENTRIES_PER_BLOCK).max(1);
        // One more than is written: where the log goes on after the batch.
        let allocated = self.allocate(count as u64);
        let mut following = allocated.iter().flat_map(|(start, blocks)| *start..start + blocks);
        let mut blocks = vec![first];
        let mut parts = entries.chunks(ENTRIES_PER_BLOCK);
        let mut writes = Vec::with_capacity(count);
        let mut here = first;
        for place in 0..count {
            // As many as there are parts were allocated.
            let next = following.next().unwrap_or_default() as u32;
            let log_block = LogBlock {
                sequence,
                previous: checksum,
                next,
                ends_batch: place + 1 == count,
                is_settled,
                entries: parts.next().unwrap_or_default().to_vec(),
            };
            let (bytes, its_checksum) = log_block.encode();
            writes.push((here, bytes));
            checksum = its_checksum;
            sequence += 1;
            here = next;
            if place + 1 < count {
                blocks.push(next);
            }
        }
        for (block, bytes) in writes {
            if let Err(error) = self.file.write(u64::from(block) * BLOCK_BYTES, &bytes) {
                self.release(&allocated);
                return Err(error.into());
            }
        }
        Ok(Chain { blocks, next: here, sequence, checksum, allocated })
    }

    /// Writes the log anew, with one entry a grain, and gives the old one's blocks back.
    fn rewrite_log(&mut self) -> Result<(), OverlayError> {
        let head_run = self.allocate(1);
        let head = head_run.first().map_or(0, |(start, _)| *start as u32);
        let superblock = Superblock {
            generation: self.superblock.generation + 1,
            log_head: head,
            log_sequence: self.log_sequence,
            ..self.superblock
        };
        let entries = entries_of(&self.committed);
        let chain = match self.append(head, self.log_sequence, superblock.log_seed(), entries, true) {
            Ok(chain) => chain,
            Err(error) => {
                self.release(&head_run);
                return Err(error);
            }
        };
        if let Err(error) = self.file.flush() {
            self.release(&head_run);
            self.release(&chain.allocated);
            return Err(error.into());
        }
        let written = self.file.write(superblock.place() * BLOCK_BYTES, &superblock.encode());
        if let Err(error) = written.and_then(|()| self.file.flush()) {
            // Which of the two logs the file shows after a crash is not known: none may go on.
            self.broken = Some(error.to_string());
            return Err(error.into());
        }
        for block in std::mem::replace(&mut self.log, chain.blocks) {
            self.free.add(u64::from(block), 1);
        }
        self.free.add(u64::from(self.log_next), 1);
        self.superblock = superblock;
        (self.log_next, self.log_sequence, self.log_checksum) = (chain.next, chain.sequence, chain.checksum);
        Ok(())
    }

    /// Takes `count` blocks, as runs: one run if there is one, else what is free, else the file's end.
    fn allocate(&mut self, mut count: u64) -> Vec<(u64, u64)> {
        let mut runs = Vec::new();
        while count > 0 {
            let (start, blocks) = match self.free.first_of(count).or_else(|| self.free.longest()) {
                Some((start, found)) => {
                    let blocks = found.min(count);
                    self.free.take(start, blocks);
                    (start, blocks)
                }
                None => {
                    let start = self.end;
                    self.end += count;
                    (start, count)
                }
            };
            runs.push((start, blocks));
            count -= blocks;
        }
        runs
    }

    fn release(&mut self, runs: &[(u64, u64)]) {
        for (start, blocks) in runs {
            self.free.add(*start, *blocks);
        }
        // What was never written at the end of the file is not there to be used.
        if let Some(start) = self.free.take_ending_at(self.end) {
            self.end = start;
        }
    }
}

/// Where a batch was written, and how the log goes on.
struct Chain {
    blocks: Vec<u32>,
    next: u32,
    sequence: u64,
    checksum: u32,
    /// The runs that were allocated for it.
    allocated: Vec<(u64, u64)>,
}

fn entries_of(grains: &BTreeMap<u32, Placed>) -> Vec<Entry> {
    let entry = |(grain, placed): (&u32, &Placed)| Entry {
        grain: *grain,
        block: placed.block,
        checksum: placed.checksum,
    };
    grains.iter().map(entry).collect()
}

/// Makes a store in an empty file.
fn create(file: &mut dyn ByteFile, image: Digest, size: u64) -> Result<Superblock, OverlayError> {
    let superblock = Superblock { generation: 0, image, size, log_head: 2, log_sequence: 1 };
    // Room for both superblocks is taken now: a full host must not hinder the second.
    file.write(BLOCK_BYTES, &[0; 2 * BLOCK_LENGTH])?;
    file.write(0, &superblock.encode())?;
    file.flush()?;
    Ok(superblock)
}

/// The superblock that counts. `None` if nothing was ever made durable in the file.
fn newest_superblock(file: &mut dyn ByteFile) -> Result<Option<Superblock>, OverlayError> {
    let blocks = file.size()? / BLOCK_BYTES;
    let mut newest: Option<Superblock> = None;
    for place in 0..blocks.min(2) {
        let mut block: Block = [0; BLOCK_LENGTH];
        file.read(place * BLOCK_BYTES, &mut block)?;
        match Superblock::decode(&block) {
            FoundSuperblock::Nothing => {}
            FoundSuperblock::OtherVersion(version) => return Err(OverlayError::Version(version)),
            FoundSuperblock::Valid(found)
                if newest.is_some_and(|newest| newest.generation > found.generation) => {}
            FoundSuperblock::Valid(found) => newest = Some(found),
        }
    }
    // Until the first superblock is durable, nothing else is written but room.
    if newest.is_none() && !is_unused(file, blocks)? {
        return Err(OverlayError::NoOverlay);
    }
    Ok(newest)
}

/// Whether a file without a superblock is what a crash while it was made can have left.
fn is_unused(file: &mut dyn ByteFile, blocks: u64) -> Result<bool, ByteFileError> {
    if blocks > 3 {
        return Ok(false);
    }
    // The first block may be half a superblock.
    let mut rest = vec![0; (file.size()?).saturating_sub(BLOCK_BYTES) as usize];
    if !rest.is_empty() {
        file.read(BLOCK_BYTES, &mut rest)?;
    }
    Ok(rest.iter().all(|byte| *byte == 0))
}
