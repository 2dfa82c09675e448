//! A machine that is kept in a file while it runs, so that it can go on after its process has ended.
//!
//! ```text
//! block 0, 1   headers, written in turn: the newer one that is whole counts
//! any other    a page of RAM, or a part of an index
//! ```
//!
//! A snapshot is written once and read anywhere; this file is written again and again, and read where it was written.
//! So pages are not compressed, and those that have not changed stay where they are: what is written is what the
//! guest has changed. No block of a state is written over before a newer one is durable.
//!
//! The state is bound to the disks by their marks. A disk that has moved on holds what this memory does not know of,
//! and would be destroyed by it: such a state is refused.

mod format;
#[cfg(test)]
mod tests;

use super::SnapshotError;
use super::pages::is_zero;
use crate::host::{ByteFile, ByteFileError, DiskMark};
use crate::mem::{GuestMemory, GuestPhysAddr, PAGE_SIZE};
use crate::storage::free_runs::FreeRuns;
use format::{BLOCK_BYTES, BLOCK_LENGTH, HEADERS, Header, INDEX_BYTES_MAX, Index, KeptPage, PageDigest};
use sha2::{Digest, Sha256};

/// Pages that are read or written at once, most.
const BATCH_PAGES: usize = 256;

/// A state of a machine but for its RAM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptState {
    /// Where the disks stood, by their places; nothing for one that cannot change.
    pub marks: Vec<Option<DiskMark>>,
    /// What the machine is made of, encoded.
    pub configuration: Vec<u8>,
    /// Processor and devices, encoded.
    pub state: Vec<u8>,
}

/// The file of a kept machine.
pub struct KeptFile {
    file: Box<dyn ByteFile>,
    /// The newest state in the file.
    newest: Option<(Header, Index)>,
}

fn unreadable(error: ByteFileError) -> SnapshotError {
    SnapshotError::Unreadable(error.to_string())
}

fn unwritable(error: ByteFileError) -> SnapshotError {
    SnapshotError::Output(error.to_string())
}

fn blocks_of(bytes: usize) -> u64 {
    (bytes as u64).div_ceil(BLOCK_BYTES)
}

impl KeptFile {
    /// Looks what the file holds. An empty file holds nothing, and neither does one that another version has written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(mut file: Box<dyn ByteFile>) -> Result<Self, SnapshotError> {
        let blocks = file.size().map_err(unreadable)? / BLOCK_BYTES;
        let mut headers = Vec::new();
        for place in 0..HEADERS.min(blocks) {
            let mut block = [0; BLOCK_LENGTH];
            file.read(place * BLOCK_BYTES, &mut block).map_err(unreadable)?;
            match Header::decode(&block) {
                Ok(header) => headers.extend(header.filter(|header| header.place() == place)),
                Err(error) => log::info!("the kept machine is not used: {error}"),
            }
        }
        headers.sort_by_key(|header| std::cmp::Reverse(header.generation));
        let mut newest = None;
        for header in headers {
            if let Some(index) = read_index(file.as_mut(), &header, blocks)? {
                newest = Some((header, index));
                break;
            }
        }
        Ok(Self { file, newest })
    }

    /// The state that the file holds, if any; its RAM is given by [`apply_pages`](Self::apply_pages).
    pub fn state(&self) -> Option<KeptState> {
        self.newest.as_ref().map(|(_, index)| KeptState {
            marks: index.marks.clone(),
            configuration: index.configuration.clone(),
            state: index.state.clone(),
        })
    }

    /// Where the disks of the state in the file stood.
    pub fn marks(&self) -> Option<&[Option<DiskMark>]> {
        self.newest.as_ref().map(|(_, index)| index.marks.as_slice())
    }

    /// Bytes that the file takes.
    ///
    /// # Errors
    /// When the host cannot tell.
    pub fn file_bytes(&mut self) -> Result<u64, SnapshotError> {
        self.file.size().map_err(unreadable)
    }

    /// Forgets the state, and gives its room back.
    ///
    /// # Errors
    /// When the host cannot cut the file.
    pub fn clear(&mut self) -> Result<(), SnapshotError> {
        self.newest = None;
        self.file.truncate(0).and_then(|()| self.file.flush()).map_err(unwritable)
    }

    /// Makes a state the one that the file holds. Returns how many pages were written. After an error the file
    /// holds the state before it, or none.
    ///
    /// # Errors
    /// When the file cannot be written, for example because the host has no room left.
    pub fn keep(&mut self, state: KeptState, memory: &GuestMemory) -> Result<usize, SnapshotError> {
        let mut space = Space::of(self.newest.as_ref());
        let (pages, written) = self.write_pages(memory, &mut space)?;
        let KeptState { marks, configuration, state } = state;
        let index = Index { marks, configuration, state, pages };
        let bytes = postcard::to_stdvec(&index).map_err(|error| SnapshotError::Output(error.to_string()))?;
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= INDEX_BYTES_MAX);
        let length = length.ok_or_else(|| SnapshotError::Output("its state is too large".to_owned()))?;
        let first = space.take_row(blocks_of(bytes.len()))?;
        let header = Header {
            generation: self.newest.as_ref().map_or(0, |(newest, _)| newest.generation) + 1,
            index: (first, length),
            digest: Sha256::digest(&bytes).into(),
        };
        self.file.write(u64::from(first) * BLOCK_BYTES, &bytes).map_err(unwritable)?;
        self.file.flush().map_err(unwritable)?;
        let published = self.file.write(header.place() * BLOCK_BYTES, &header.encode());
        if let Err(error) = published.and_then(|()| self.file.flush()) {
            // Which of the two states the file shows is not known, so no block of either may be written over.
            self.newest = None;
            return match self.file.truncate(0) {
                Ok(()) => Err(unwritable(error)),
                Err(_) => Err(SnapshotError::Output(format!("{error}, and it cannot be cut"))),
            };
        }
        self.newest = Some((header, index));
        // What lies behind all that is used belongs to older states.
        let end = Space::of(self.newest.as_ref()).end * BLOCK_BYTES;
        if self.file.size().map_err(unreadable)? > end {
            self.file.truncate(end).map_err(unwritable)?;
        }
        Ok(written)
    }

    /// Writes the pages that have changed since the newest state; returns all that are not zero, and how many of
    /// them were written.
    fn write_pages(
        &mut self,
        memory: &GuestMemory,
        space: &mut Space,
    ) -> Result<(Vec<KeptPage>, usize), SnapshotError> {
        let mut known = self.newest.iter().flat_map(|(_, index)| &index.pages).peekable();
        let mut pages = Vec::new();
        let mut written = 0;
        // Places in `pages` whose blocks are not chosen yet, and the bytes for them.
        let mut batch: (Vec<usize>, Vec<u8>) = (Vec::new(), Vec::with_capacity(BATCH_PAGES * BLOCK_LENGTH));
        let mut bytes = [0; BLOCK_LENGTH];
        for number in 0..memory.size() / PAGE_SIZE {
            let read = memory.read(GuestPhysAddr(number * PAGE_SIZE), &mut bytes);
            read.map_err(|error| SnapshotError::Output(error.to_string()))?;
            if is_zero(&bytes) {
                continue;
            }
            let page = number as u32;
            let digest = PageDigest::of(&bytes);
            while known.next_if(|known| known.page < page).is_some() {}
            if let Some(same) = known.next_if(|known| known.page == page && known.digest == digest) {
                pages.push(*same);
                continue;
            }
            batch.0.push(pages.len());
            batch.1.extend_from_slice(&bytes);
            pages.push(KeptPage { page, block: 0, digest });
            if batch.0.len() == BATCH_PAGES {
                written += write_batch(self.file.as_mut(), &mut batch, &mut pages, space)?;
            }
        }
        written += write_batch(self.file.as_mut(), &mut batch, &mut pages, space)?;
        Ok((pages, written))
    }

    /// Puts the pages of the state in the file into `memory`, which is zero.
    ///
    /// # Errors
    /// When a page cannot be read, is not what was written, or lies outside.
    pub fn apply_pages(&mut self, memory: &GuestMemory) -> Result<(), SnapshotError> {
        let Some((_, index)) = &self.newest else { return Err(SnapshotError::NothingKept) };
        let is_row = |one: &KeptPage, next: &KeptPage| one.block.checked_add(1) == Some(next.block);
        let mut bytes = vec![0; BATCH_PAGES * BLOCK_LENGTH];
        for row in index.pages.chunk_by(is_row).flat_map(|row| row.chunks(BATCH_PAGES)) {
            let (Some(first), Some(bytes)) = (row.first(), bytes.get_mut(..row.len() * BLOCK_LENGTH)) else {
                continue;
            };
            let at = u64::from(first.block) * BLOCK_BYTES;
            self.file.read(at, bytes).map_err(unreadable)?;
            for (kept, bytes) in row.iter().zip(bytes.chunks_exact(BLOCK_LENGTH)) {
                let damaged =
                    |problem| SnapshotError::Damaged { at: u64::from(kept.block) * BLOCK_BYTES, problem };
                if PageDigest::of(bytes) != kept.digest {
                    return Err(damaged("a page is not what was kept"));
                }
                let address = GuestPhysAddr(u64::from(kept.page) * PAGE_SIZE);
                memory.write(address, bytes).map_err(|_| damaged("a page lies outside RAM"))?;
            }
        }
        Ok(())
    }
}

/// The index that `header` leads to, if it is whole.
fn read_index(file: &mut dyn ByteFile, header: &Header, blocks: u64) -> Result<Option<Index>, SnapshotError> {
    let (first, length) = header.index;
    let end = (u64::from(first) * BLOCK_BYTES).saturating_add(u64::from(length));
    if length > INDEX_BYTES_MAX || end > file.size().map_err(unreadable)? {
        return Ok(None);
    }
    let mut bytes = vec![0; length as usize];
    file.read(u64::from(first) * BLOCK_BYTES, &mut bytes).map_err(unreadable)?;
    Ok(Index::decode(&bytes, &header.digest, blocks))
}

/// Writes the pages of a batch to free blocks; returns how many.
fn write_batch(
    file: &mut dyn ByteFile,
    (places, bytes): &mut (Vec<usize>, Vec<u8>),
    pages: &mut [KeptPage],
    space: &mut Space,
) -> Result<usize, SnapshotError> {
    let count = places.len();
    let mut done = 0;
    while let Some(rest) = places.get(done..).filter(|rest| !rest.is_empty()) {
        let (first, taken) = space.take(rest.len() as u64)?;
        for (place, block) in rest.iter().zip(first..first + taken as u32) {
            if let Some(page) = pages.get_mut(*place) {
                page.block = block;
            }
        }
        let after = done + taken as usize;
        let part = bytes.get(done * BLOCK_LENGTH..after * BLOCK_LENGTH).unwrap_or_default();
        file.write(u64::from(first) * BLOCK_BYTES, part).map_err(unwritable)?;
        done = after;
    }
    places.clear();
    bytes.clear();
    Ok(count)
}

/// The blocks that no durable state uses.
struct Space {
    free: FreeRuns,
    /// Behind the last block that is used.
    end: u64,
}

impl Space {
    /// What is free while `newest` has to stay.
    fn of(newest: Option<&(Header, Index)>) -> Self {
        let mut used: Vec<(u64, u64)> = vec![(0, HEADERS)];
        if let Some((header, index)) = newest {
            used.push((u64::from(header.index.0), blocks_of(header.index.1 as usize)));
            used.extend(index.pages.iter().map(|page| (u64::from(page.block), 1)));
        }
        used.sort_unstable();
        let mut space = Self { free: FreeRuns::default(), end: 0 };
        for (start, blocks) in used {
            if start > space.end {
                space.free.add(space.end, start - space.end);
            }
            space.end = space.end.max(start + blocks);
        }
        space
    }

    /// Takes up to `count` blocks in a row: the first, and how many.
    fn take(&mut self, count: u64) -> Result<(u32, u64), SnapshotError> {
        match self.free.first_of(count).or_else(|| self.free.longest()) {
            Some((start, found)) => {
                let taken = found.min(count);
                self.free.take(start, taken);
                Ok((number(start)?, taken))
            }
            None => Ok((self.take_at_end(count)?, count)),
        }
    }

    /// Takes `count` blocks in a row: the first of them.
    fn take_row(&mut self, count: u64) -> Result<u32, SnapshotError> {
        let Some((start, _)) = self.free.first_of(count) else { return self.take_at_end(count) };
        self.free.take(start, count);
        number(start)
    }

    fn take_at_end(&mut self, count: u64) -> Result<u32, SnapshotError> {
        let start = self.end;
        self.end += count;
        number(self.end)?;
        number(start)
    }
}

fn number(block: u64) -> Result<u32, SnapshotError> {
    u32::try_from(block).map_err(|_| SnapshotError::Output("the file is too long".to_owned()))
}
