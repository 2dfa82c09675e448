//! Pages in files beside a snapshot come in any order, once, whole, from two threads at a time, or not at all.

use super::*;
use crate::host::{Entropy, RepeatableEntropy};
use crate::mem::{GuestMemory, GuestPhysAddr, PAGE_SIZE};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const PAGES: u32 = 300;
/// Pages of a chunk, which are every third one, so that chunks have several runs.
const CHUNK_PAGES: usize = 20;

/// What a page was saved with.
fn saved(page: u32) -> Vec<u8> {
    (0..PAGE_SIZE as u32).map(|at| (page * 13 + at / 5) as u8 | 1).collect()
}

/// The file of a chunk, with its digest.
fn chunk_file(pages: &[u32]) -> ([u8; 32], Vec<u8>) {
    let mut contents = (pages.len() as u32).to_le_bytes().to_vec();
    for page in pages {
        contents.extend_from_slice(&page.to_le_bytes());
        contents.extend_from_slice(&1_u32.to_le_bytes());
    }
    pages.iter().for_each(|page| contents.extend(saved(*page)));
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    let mut writer = SectionWriter::new(&mut sink).unwrap();
    writer.write(SectionKind::Pages, &contents).unwrap();
    let section = file.split_off(12);
    (section[12..44].try_into().unwrap(), section)
}

/// Files by name, and how often they were asked for.
#[derive(Clone, Default)]
struct Files {
    files: Arc<HashMap<String, Vec<u8>>>,
    loads: Arc<AtomicU32>,
}

impl ChunkFiles for Files {
    fn load(&self, name: &str, _attempt: u32) -> Result<Vec<u8>, String> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.files.get(name).cloned().ok_or_else(|| format!("there is no {name}"))
    }
}

/// A section that lists chunks: digests, lengths of files, pages.
fn list(chunks: &[([u8; 32], usize, Vec<u32>)]) -> Section {
    let mut bytes = (chunks.len() as u32).to_le_bytes().to_vec();
    for (digest, length, pages) in chunks {
        bytes.extend_from_slice(digest);
        bytes.extend_from_slice(&(*length as u32).to_le_bytes());
        bytes.extend_from_slice(&(pages.len() as u32).to_le_bytes());
        for page in pages {
            bytes.extend_from_slice(&page.to_le_bytes());
            bytes.extend_from_slice(&1_u32.to_le_bytes());
        }
    }
    Section { kind: SectionKind::Elsewhere, bytes, at: 0 }
}

/// A memory of which every third page is in files, which `change` may damage.
fn lazy(change: impl Fn(&mut Vec<u8>)) -> (GuestMemory, AbsentChunks, Files) {
    let memory = GuestMemory::new(u64::from(PAGES) * PAGE_SIZE).unwrap();
    let absent: Vec<u32> = (0..PAGES).filter(|page| page % 3 == 0).collect();
    let (mut chunks, mut files) = (Vec::new(), HashMap::new());
    for pages in absent.chunks(CHUNK_PAGES) {
        let (digest, mut file) = chunk_file(pages);
        let name = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        chunks.push((digest, file.len(), pages.to_vec()));
        change(&mut file);
        files.insert(name, file);
    }
    let files = Files { files: Arc::new(files), ..Files::default() };
    let list = ChunkList::parse(&list(&chunks), memory.size()).unwrap();
    let chunks = AbsentChunks::expect(list, &memory, Box::new(files.clone()));
    (memory, chunks, files)
}

fn page_of(memory: &GuestMemory, page: u32) -> Result<Vec<u8>, crate::mem::MemoryError> {
    let mut bytes = vec![0; PAGE_SIZE as usize];
    memory.read(GuestPhysAddr(u64::from(page) * PAGE_SIZE), &mut bytes).map(|()| bytes)
}

#[test]
fn touched_in_any_order_every_page_is_as_it_was_saved_and_comes_once() {
    for seed in 0..20 {
        let (memory, chunks, files) = lazy(|_| ());
        let mut entropy = RepeatableEntropy::new(seed);
        let mut number = || {
            let mut bytes = [0; 4];
            entropy.fill(&mut bytes);
            u32::from_le_bytes(bytes)
        };
        let mut expected: Vec<Vec<u8>> = (0..PAGES)
            .map(|page| if page % 3 == 0 { saved(page) } else { vec![0; PAGE_SIZE as usize] })
            .collect();
        for _ in 0..600 {
            let page = number() % PAGES;
            if number() % 2 == 0 {
                assert!(
                    page_of(&memory, page).unwrap() == expected[page as usize],
                    "seed {seed}, page {page}"
                );
            } else {
                // As a device does, before anything has read the page.
                let at = number() as usize % (PAGE_SIZE as usize - 8);
                let address = GuestPhysAddr(u64::from(page) * PAGE_SIZE + at as u64);
                memory.write(address, &[0xa5; 8]).unwrap();
                expected[page as usize][at..at + 8].fill(0xa5);
            }
        }
        assert!(memory.bring_pages(0..u64::from(PAGES)) && memory.is_whole());
        for page in 0..PAGES {
            assert!(page_of(&memory, page).unwrap() == expected[page as usize], "seed {seed}, page {page}");
        }
        assert_eq!(files.loads.load(Ordering::Relaxed) as usize, chunks.count());
    }
}

#[test]
fn what_comes_unasked_never_goes_over_what_the_guest_has_written() {
    let (memory, chunks, files) = lazy(|_| ());
    memory.write(GuestPhysAddr(30 * PAGE_SIZE), b"written").unwrap();
    assert_eq!(chunks.absent_name(0), None, "it has come");
    let mut unasked = 0;
    for number in 0..chunks.count() {
        let Some(name) = chunks.absent_name(number) else { continue };
        chunks.provide(&memory, number, &files.files[&name]).unwrap();
        chunks.provide(&memory, number, b"what has come is not looked at").unwrap();
        unasked += 1;
    }
    assert_eq!(unasked + 1, chunks.count());
    let (_, file) = chunk_file(&(0..CHUNK_PAGES as u32).map(|at| 3 * at).collect::<Vec<_>>());
    chunks.provide(&memory, 0, &file).unwrap();
    assert!(memory.is_whole());
    assert_eq!(page_of(&memory, 30).unwrap()[..7], *b"written");
    assert_eq!(page_of(&memory, 30).unwrap()[7..], saved(30)[7..]);
}

#[test]
fn threads_that_touch_and_provide_the_same_chunks_agree() {
    for _ in 0..20 {
        let (memory, chunks, files) = lazy(|_| ());
        std::thread::scope(|scope| {
            for thread in 0..3_u64 {
                let (memory, chunks, files) = (memory.clone(), chunks.clone(), files.clone());
                scope.spawn(move || {
                    for number in (0..chunks.count()).rev().filter(|_| thread == 2) {
                        if let Some(name) = chunks.absent_name(number) {
                            chunks.provide(&memory, number, &files.files[&name]).unwrap();
                        }
                    }
                    for page in (0..PAGES).step_by(3).filter(|_| thread < 2) {
                        let place = GuestPhysAddr(u64::from(page) * PAGE_SIZE + thread);
                        assert_eq!(memory.read_u8(place), Ok(saved(page)[thread as usize]));
                        memory.write(place, &[thread as u8]).unwrap();
                    }
                });
            }
        });
        assert!(memory.is_whole());
        for page in (0..PAGES).step_by(3) {
            let bytes = page_of(&memory, page).unwrap();
            assert_eq!((bytes[..2].to_vec(), &bytes[2..]), (vec![0, 1], &saved(page)[2..]));
        }
    }
}

#[test]
fn a_damaged_or_missing_file_is_tried_again_and_then_an_error_never_other_memory() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 4] = [
        ("length", |file| file.truncate(file.len() - 1)),
        ("digest", |file| *file.last_mut().unwrap() ^= 1),
        ("another part", |file| *file = chunk_file(&(0..CHUNK_PAGES as u32).collect::<Vec<_>>()).1),
        ("length", |file| file.clear()),
    ];
    for (problem, damage) in damages {
        let (memory, chunks, files) = lazy(damage);
        assert_eq!(page_of(&memory, 1).unwrap(), [0; PAGE_SIZE as usize], "what is there stays");
        assert!(chunks.provide(&memory, 0, &files.files[&chunks.absent_name(0).unwrap()]).is_err());
        assert!(memory.lost().is_none(), "it may come yet");
        assert!(page_of(&memory, 3).is_err());
        assert!(memory.lost().unwrap().contains(problem) || problem == "another part", "{:?}", memory.lost());
        assert_eq!(files.loads.load(Ordering::Relaxed), 4);
        assert!(!memory.bring_pages(0..u64::from(PAGES)));
        assert!(!memory.is_whole());
    }
}

#[test]
fn senseless_lists_are_refused() {
    let ram = 16 * PAGE_SIZE;
    let chunk = |pages: &[u32]| ([7; 32], 100, pages.to_vec());
    let parse = |section: &Section| ChunkList::parse(section, ram);
    assert!(parse(&list(&[chunk(&[0, 15]), chunk(&[3])])).is_ok());
    assert!(parse(&list(&[])).is_ok());
    assert!(parse(&list(&[chunk(&[16])])).is_err(), "a page that RAM does not have");
    assert!(parse(&list(&[chunk(&[3, 3])])).is_err(), "a page twice in a chunk");
    assert!(parse(&list(&[chunk(&[3]), chunk(&[3])])).is_err(), "a page in two chunks");
    let whole = list(&[chunk(&[0, 15]), chunk(&[3])]);
    for length in 0..whole.bytes.len() {
        let cut = Section { bytes: whole.bytes[..length].to_vec(), ..whole.clone() };
        assert!(parse(&cut).is_err(), "cut at {length}");
    }
    let longer = Section { bytes: [whole.bytes.as_slice(), &[0]].concat(), ..whole };
    assert!(parse(&longer).is_err());
    // A count that would take forever to read.
    let endless = Section { bytes: [[0xff; 4], [0; 4]].concat(), ..list(&[]) };
    assert!(parse(&endless).is_err());
}
