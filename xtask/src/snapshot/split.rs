//! Splits a snapshot: the memory that is needed first stays in its file, the rest goes to files beside it, as
//! `src/snapshot/elsewhere.rs` reads them.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use super::file::{self, ELSEWHERE, PAGES, Section};

const PAGE_BYTES: usize = 4096;
/// Pages in a section of the file: 1 MiB, which decodes in some milliseconds.
const PAGES_PER_SECTION: usize = 256;
/// Pages in a file beside it: of one that is needed for the sake of a page, little is for nothing.
const PAGES_PER_CHUNK: usize = 64;

/// A snapshot in parts.
pub struct Split {
    pub file: Vec<u8>,
    /// Names and contents of the files beside it.
    pub chunks: Vec<(String, Vec<u8>)>,
}

/// Splits the snapshot in `file`, which holds all of its memory; the pages `first` stay in it.
///
/// # Errors
/// When it is damaged.
pub fn split(file: &[u8], first: &[u32]) -> Result<Split> {
    let (header, sections) = file::read(file)?;
    let mut pages = BTreeMap::new();
    for section in sections.iter().filter(|section| section.kind == PAGES) {
        take_pages(&section.contents, &mut pages)?;
    }
    let first: BTreeSet<u32> = first.iter().copied().collect();
    let (now, later): (Vec<_>, Vec<_>) = pages.into_iter().partition(|(number, _)| first.contains(number));
    let later: Vec<&[(u32, &[u8])]> = later.chunks(PAGES_PER_CHUNK).collect();
    let beside: Vec<Section> = later.iter().map(|pages| pages_section(pages)).collect();
    let mut list = Vec::from((later.len() as u32).to_le_bytes());
    let mut chunks = Vec::new();
    for (pages, stored) in later.iter().zip(file::store_all(&beside)?) {
        list.extend_from_slice(&stored.digest);
        list.extend_from_slice(&u32::try_from(stored.bytes.len())?.to_le_bytes());
        put_runs(pages, &mut list);
        let name = stored.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        chunks.push((name, stored.bytes));
    }
    // Configuration and state come first, pages where they were, what goes over the disks behind them.
    let is_page = |section: &Section| section.kind == PAGES;
    let place = sections.iter().position(is_page).context("the snapshot has no memory")?;
    let (before, after) = sections.split_at(place);
    let mut kept = before.to_vec();
    kept.push(Section { kind: ELSEWHERE, contents: list });
    kept.extend(now.chunks(PAGES_PER_SECTION).map(pages_section));
    kept.extend(after.iter().filter(|section| !is_page(section)).cloned());
    Ok(Split { file: file::write(&header, &kept)?, chunks })
}

fn number(bytes: &mut &[u8]) -> Result<u32> {
    let (value, rest) = bytes.split_first_chunk().context("a list of pages is cut short")?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*value))
}

/// Adds the pages of a section's contents: runs, as their first page and their count, and then the pages.
fn take_pages<'a>(mut contents: &'a [u8], pages: &mut BTreeMap<u32, &'a [u8]>) -> Result<()> {
    let count = number(&mut contents)?;
    let runs = (0..count)
        .map(|_| Ok((number(&mut contents)?, number(&mut contents)?)))
        .collect::<Result<Vec<_>>>()?;
    for page in runs.into_iter().flat_map(|(first, count)| first..first + count) {
        let (bytes, rest) =
            contents.split_at_checked(PAGE_BYTES).context("a section of pages is cut short")?;
        ensure!(pages.insert(page, bytes).is_none(), "page {page} is there twice");
        contents = rest;
    }
    ensure!(contents.is_empty(), "a section of pages has bytes left");
    Ok(())
}

/// Writes the runs of pages, which are in ascending order.
fn put_runs(pages: &[(u32, &[u8])], target: &mut Vec<u8>) {
    let runs: Vec<_> = pages.chunk_by(|(one, _), (next, _)| one + 1 == *next).collect();
    target.extend_from_slice(&(runs.len() as u32).to_le_bytes());
    for run in runs {
        target.extend_from_slice(&run[0].0.to_le_bytes());
        target.extend_from_slice(&(run.len() as u32).to_le_bytes());
    }
}

fn pages_section(pages: &[(u32, &[u8])]) -> Section {
    let mut contents = Vec::new();
    put_runs(pages, &mut contents);
    pages.iter().for_each(|(_, bytes)| contents.extend_from_slice(bytes));
    Section { kind: PAGES, contents }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &[u8] = b"DINGHYSN\x01\0\0\0";

    fn page(number: u32) -> Vec<u8> {
        (0..PAGE_BYTES as u32).map(|at| (number * 31 + at / 9) as u8).collect()
    }

    #[test]
    fn every_page_is_either_in_the_file_or_beside_it() {
        let numbers: Vec<u32> = (0..400).filter(|number| number % 5 != 1).collect();
        let contents: Vec<_> = numbers.iter().map(|number| page(*number)).collect();
        let all: Vec<_> = numbers.iter().copied().zip(contents.iter().map(Vec::as_slice)).collect();
        let mut sections =
            vec![Section { kind: 1, contents: b"what".to_vec() }, Section { kind: 2, contents: vec![9; 50] }];
        sections.extend(all.chunks(100).map(pages_section));
        sections.push(Section { kind: 4, contents: b"disk".to_vec() });
        let whole = file::write(HEADER, &sections).unwrap();

        // Pages that were touched and are zero are in no snapshot.
        let first: Vec<u32> = (0..400).rev().filter(|number| number % 3 == 0).collect();
        let split = split(&whole, &first).unwrap();
        let (header, kept) = file::read(&split.file).unwrap();
        assert_eq!(header, HEADER);
        let kinds: Vec<u8> = kept.iter().map(|section| section.kind).collect();
        assert_eq!(kinds, [1, 2, ELSEWHERE, PAGES, 4]);
        let mut found = BTreeMap::new();
        take_pages(&kept[3].contents, &mut found).unwrap();
        assert!(found.keys().all(|number| number % 3 == 0));

        let mut list = kept[2].contents.as_slice();
        assert_eq!(number(&mut list).unwrap() as usize, split.chunks.len());
        for (name, bytes) in &split.chunks {
            // Each file is a snapshot's section by itself.
            let ended = [HEADER, bytes].concat();
            assert!(file::read(&ended).is_err(), "it has no end");
            let (digest, rest) = list.split_first_chunk::<32>().unwrap();
            list = rest;
            assert_eq!(name, &digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
            assert_eq!(bytes[12..44], *digest);
            assert_eq!(number(&mut list).unwrap() as usize, bytes.len());
            for _ in 0..number(&mut list).unwrap() {
                let (first, count) = (number(&mut list).unwrap(), number(&mut list).unwrap());
                for number in first..first + count {
                    assert!(
                        found.insert(number, &contents[numbers.binary_search(&number).unwrap()]).is_none()
                    );
                }
            }
        }
        assert!(list.is_empty());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), all);
    }
}
