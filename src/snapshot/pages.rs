//! Pages of RAM in sections: those that are not zero.

use super::{Section, SectionKind, SectionWriter, SnapshotError};
use crate::mem::{GuestMemory, GuestPhysAddr, PAGE_SIZE};

const PAGE_BYTES: usize = PAGE_SIZE as usize;
/// Pages in a section: 1 MiB, in which Zstandard finds most of what repeats, and which is decoded in some
/// milliseconds.
const PAGES_PER_SECTION: usize = 256;
/// Bytes that describe a run of pages: the number of its first and their count.
const RUN_BYTES: usize = 8;

/// Pages that wait to be written.
#[derive(Default)]
struct Batch {
    runs: Vec<(u32, u32)>,
    bytes: Vec<u8>,
}

impl Batch {
    fn add(&mut self, page: u32, bytes: &[u8]) {
        match self.runs.last_mut() {
            Some((first, count)) if *first + *count == page => *count += 1,
            _ => self.runs.push((page, 1)),
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn write(&mut self, writer: &mut SectionWriter<'_>) -> Result<(), SnapshotError> {
        if self.runs.is_empty() {
            return Ok(());
        }
        let mut section = Vec::with_capacity(4 + self.runs.len() * RUN_BYTES + self.bytes.len());
        section.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        for (first, count) in self.runs.drain(..) {
            section.extend_from_slice(&first.to_le_bytes());
            section.extend_from_slice(&count.to_le_bytes());
        }
        section.append(&mut self.bytes);
        writer.write(SectionKind::Pages, &section)
    }
}

/// Writes the pages of `memory` that are not zero.
///
/// # Errors
/// Those of the writer.
pub fn write_pages(memory: &GuestMemory, writer: &mut SectionWriter<'_>) -> Result<(), SnapshotError> {
    let mut batch = Batch::default();
    let mut page = [0; PAGE_BYTES];
    for number in 0..memory.size() / PAGE_SIZE {
        let read = memory.read(GuestPhysAddr(number * PAGE_SIZE), &mut page);
        read.map_err(|error| SnapshotError::Output(error.to_string()))?;
        if !is_zero(&page) {
            batch.add(number as u32, &page);
        }
        if batch.bytes.len() == PAGES_PER_SECTION * PAGE_BYTES {
            batch.write(writer)?;
        }
    }
    batch.write(writer)
}

/// Whether a page holds nothing but zeroes. Comparing slices would do it byte by byte in WebAssembly.
pub(super) fn is_zero(page: &[u8]) -> bool {
    const PART: usize = 512;
    page.chunks(PART).all(|part| {
        let (words, rest) = part.as_chunks::<8>();
        let word = words.iter().fold(0, |all, word| all | u64::from_le_bytes(*word));
        word == 0 && rest.iter().all(|byte| *byte == 0)
    })
}

/// Runs of pages: the number of the first and their count.
pub type Runs = Vec<(u32, u32)>;

/// Takes the runs off a section's bytes; what is left are the pages.
fn split_runs(section: &Section) -> Result<(Runs, &[u8]), SnapshotError> {
    let damaged = || section.damaged("its list of pages makes no sense");
    let (count, rest) = section.bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
    let runs_bytes = (u32::from_le_bytes(*count) as usize).checked_mul(RUN_BYTES).ok_or_else(damaged)?;
    let (runs, pages) = rest.split_at_checked(runs_bytes).ok_or_else(damaged)?;
    let (numbers, _) = runs.as_chunks::<4>();
    let (pairs, _) = numbers.as_chunks::<2>();
    let runs = pairs.iter().map(|[first, count]| (u32::from_le_bytes(*first), u32::from_le_bytes(*count)));
    Ok((runs.collect(), pages))
}

/// Which pages a section holds.
///
/// # Errors
/// When it is no list of pages.
pub fn runs_of(section: &Section) -> Result<Runs, SnapshotError> {
    split_runs(section).map(|(runs, _)| runs)
}

/// Puts the pages of a section into `memory`, none of which it has yet.
///
/// # Errors
/// When the section is no list of pages of this memory.
pub fn apply_pages(section: &Section, memory: &GuestMemory) -> Result<(), SnapshotError> {
    let damaged = || section.damaged("its list of pages makes no sense");
    let (runs, mut bytes) = split_runs(section)?;
    for (first, count) in runs {
        let length = (count as usize).checked_mul(PAGE_BYTES).ok_or_else(damaged)?;
        let (pages, after) = bytes.split_at_checked(length).ok_or_else(damaged)?;
        let address = GuestPhysAddr(u64::from(first) * PAGE_SIZE);
        memory.place_absent(address, pages).map_err(|_| section.damaged("a page lies outside RAM"))?;
        bytes = after;
    }
    if bytes.is_empty() { Ok(()) } else { Err(damaged()) }
}
