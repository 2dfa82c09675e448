//! Pages that a snapshot's file leaves to files beside it: fetched when they are needed.
//!
//! ```text
//! contents of the section = chunks, chunk …
//! chunk                   = SHA-256 and length of its file, runs, (first page, pages) …
//! ```
//!
//! The file of a chunk is one section of pages as a snapshot has it, with its own digest, by which it is named.

use super::pages::{Runs, apply_pages, runs_of};
use super::section::{DIGEST_BYTES, Section, SectionKind, SectionReader};
use super::{SnapshotError, StoredSection};
use crate::mem::{GuestMemory, PAGE_SIZE, PageSource};
use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Who has the files of chunks.
pub trait ChunkFiles: Send + Sync {
    /// The bytes of the file with a name, 64 hexadecimal digits. Blocks until they are there. `attempt` counts from
    /// 0; what a cache had was wrong if it is not 0.
    ///
    /// # Errors
    /// One sentence for the user.
    fn load(&self, name: &str, attempt: u32) -> Result<Vec<u8>, String>;
}

/// How often a chunk is loaded before it is given up.
const ATTEMPTS: u32 = 4;

/// A page of no chunk.
const NONE: u32 = u32::MAX;

/// A chunk as the snapshot names it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chunk {
    digest: [u8; DIGEST_BYTES],
    /// Bytes of its file.
    length: u32,
    runs: Runs,
}

impl Chunk {
    fn name(&self) -> String {
        self.digest.iter().fold(String::new(), |mut name, byte| {
            // Writing to a string cannot fail.
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

/// The chunks that a section names, for a RAM of so many pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkList {
    chunks: Vec<Chunk>,
    /// Which chunk holds a page.
    of_page: Vec<u32>,
}

impl ChunkList {
    /// Reads a section.
    ///
    /// # Errors
    /// When its contents make no sense, name a page twice, or one that RAM does not have.
    pub fn parse(section: &Section, ram_bytes: u64) -> Result<Self, SnapshotError> {
        let damaged = || section.damaged("its list of chunks makes no sense");
        let mut bytes = section.bytes.as_slice();
        let count = take_u32(&mut bytes).ok_or_else(damaged)?;
        let mut of_page = vec![NONE; usize::try_from(ram_bytes / PAGE_SIZE).map_err(|_| damaged())?];
        let mut chunks = Vec::new();
        for number in 0..count {
            let chunk = take_chunk(&mut bytes).ok_or_else(damaged)?;
            for page in ranges(&chunk.runs).flatten() {
                let holder = of_page.get_mut(page as usize).filter(|holder| **holder == NONE);
                *holder.ok_or_else(damaged)? = number;
            }
            chunks.push(chunk);
        }
        if bytes.is_empty() { Ok(Self { chunks, of_page }) } else { Err(damaged()) }
    }

    /// The pages of all chunks.
    fn runs(&self) -> Vec<Range<u64>> {
        self.chunks.iter().flat_map(|chunk| ranges(&chunk.runs)).collect()
    }
}

fn ranges(runs: &Runs) -> impl Iterator<Item = Range<u64>> {
    runs.iter().map(|&(first, count)| u64::from(first)..u64::from(first) + u64::from(count))
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    let (value, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*value))
}

fn take_chunk(bytes: &mut &[u8]) -> Option<Chunk> {
    let (digest, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    let length = take_u32(bytes)?;
    let mut runs = Runs::new();
    for _ in 0..take_u32(bytes)? {
        runs.push((take_u32(bytes)?, take_u32(bytes)?));
    }
    Some(Chunk { digest: *digest, length, runs })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ChunkState {
    Absent,
    /// Somebody puts it into RAM.
    Coming,
    Present,
}

struct Shared {
    list: ChunkList,
    states: Mutex<Vec<ChunkState>>,
    changed: Condvar,
}

/// The chunks of one machine's memory on their way into it. Clones share them.
#[derive(Clone)]
pub struct AbsentChunks(Arc<Shared>);

impl AbsentChunks {
    /// Has `memory` ask `files` for the pages of the chunks.
    pub fn expect(list: ChunkList, memory: &GuestMemory, files: Box<dyn ChunkFiles>) -> Self {
        let runs = list.runs();
        let states = Mutex::new(vec![ChunkState::Absent; list.chunks.len()]);
        let chunks = Self(Arc::new(Shared { list, states, changed: Condvar::new() }));
        memory.expect_pages(&runs, Arc::new(FromFiles { chunks: chunks.clone(), files }));
        chunks
    }

    fn lock(&self) -> MutexGuard<'_, Vec<ChunkState>> {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many chunks there are, the ones that have come included.
    pub fn count(&self) -> usize {
        self.0.list.chunks.len()
    }

    /// The name of a chunk's file, if it has not come yet.
    pub fn absent_name(&self, chunk: usize) -> Option<String> {
        let is_absent = self.lock().get(chunk).is_some_and(|state| *state == ChunkState::Absent);
        self.0.list.chunks.get(chunk).filter(|_| is_absent).map(Chunk::name)
    }

    /// Takes the bytes of a chunk's file that somebody has loaded without being asked, unless it has come already.
    ///
    /// # Errors
    /// When they are damaged: nothing has changed then.
    pub fn provide(&self, memory: &GuestMemory, chunk: usize, file: &[u8]) -> Result<(), SnapshotError> {
        match self.claim(chunk) {
            Some(claim) => claim.place(memory, file),
            None => Ok(()),
        }
    }

    /// Makes the caller the one who puts a chunk into RAM, when nobody has. Waits for who does.
    fn claim(&self, chunk: usize) -> Option<Claim<'_>> {
        let mut states = self.lock();
        loop {
            match states.get_mut(chunk)? {
                ChunkState::Present => return None,
                ChunkState::Coming => {
                    states = self.0.changed.wait(states).unwrap_or_else(PoisonError::into_inner);
                }
                state => {
                    *state = ChunkState::Coming;
                    return Some(Claim { chunks: self, chunk, outcome: ChunkState::Absent });
                }
            }
        }
    }
}

/// The right to put one chunk into RAM, given back when it is dropped.
struct Claim<'a> {
    chunks: &'a AbsentChunks,
    chunk: usize,
    outcome: ChunkState,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.chunks.lock().get_mut(self.chunk) {
            *state = self.outcome;
        }
        self.chunks.0.changed.notify_all();
    }
}

impl Claim<'_> {
    fn chunk(&self) -> Option<&Chunk> {
        self.chunks.0.list.chunks.get(self.chunk)
    }

    fn place(mut self, memory: &GuestMemory, file: &[u8]) -> Result<(), SnapshotError> {
        self.try_place(memory, file)
    }

    fn try_place(&mut self, memory: &GuestMemory, file: &[u8]) -> Result<(), SnapshotError> {
        let Some(chunk) = self.chunk() else { return Ok(()) };
        let damaged = |problem| SnapshotError::Damaged { at: 0, problem };
        if file.len() != chunk.length as usize {
            return Err(damaged("the file of a part of the memory has another length"));
        }
        let section = StoredSection::of_file(file)?;
        if section.digest() != &chunk.digest || section.kind != SectionKind::Pages {
            return Err(damaged("the file of a part of the memory holds another part"));
        }
        let section = section.open()?;
        if runs_of(&section)? != chunk.runs {
            return Err(damaged("the file of a part of the memory holds other pages"));
        }
        apply_pages(&section, memory)?;
        ranges(&chunk.runs).for_each(|run| memory.pages_arrived(run));
        self.outcome = ChunkState::Present;
        Ok(())
    }
}

/// The source of a memory's absent pages.
struct FromFiles {
    chunks: AbsentChunks,
    files: Box<dyn ChunkFiles>,
}

impl PageSource for FromFiles {
    fn bring(&self, memory: &GuestMemory, page: u64) -> Result<(), String> {
        let chunk = self.chunks.0.list.of_page.get(page as usize).copied().filter(|chunk| *chunk != NONE);
        let Some(number) = chunk else { return Ok(()) };
        let Some(mut claim) = self.chunks.claim(number as usize) else { return Ok(()) };
        let Some(name) = claim.chunk().map(Chunk::name) else { return Ok(()) };
        let mut problem = String::new();
        for attempt in 0..ATTEMPTS {
            let outcome = self.files.load(&name, attempt);
            match outcome.and_then(|file| claim.try_place(memory, &file).map_err(|error| error.to_string())) {
                Ok(()) => return Ok(()),
                Err(sentence) => problem = sentence,
            }
        }
        Err(format!("a part of the saved machine's memory cannot be had: {problem}"))
    }
}

impl StoredSection {
    /// The one section of which a file of its own consists. Its digest is checked when it is opened.
    fn of_file(file: &[u8]) -> Result<Self, SnapshotError> {
        let mut reader = SectionReader::without_header();
        reader.push(file);
        let section = reader.next_stored()?.ok_or(SnapshotError::Truncated)?;
        if reader.has_more() { Err(SnapshotError::Truncated) } else { Ok(section) }
    }
}
