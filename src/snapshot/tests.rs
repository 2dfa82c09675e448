//! What is written is read back, in pieces of any size; what is damaged is refused.

use super::*;
use crate::host::{Entropy, RepeatableEntropy};
use crate::mem::{GuestMemory, GuestPhysAddr, PAGE_SIZE};

const PAGES: u64 = 700;

fn number(entropy: &mut RepeatableEntropy, below: u64) -> u64 {
    let mut bytes = [0; 8];
    entropy.fill(&mut bytes);
    u64::from_le_bytes(bytes) % below
}

/// RAM with pages that compress well, that do not, and zero ones between.
fn memory() -> GuestMemory {
    let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
    let mut entropy = RepeatableEntropy::new(7);
    for page in (0..PAGES).filter(|page| page % 5 < 2) {
        let mut bytes = [page as u8; PAGE_SIZE as usize];
        if page % 3 == 0 {
            entropy.fill(&mut bytes[..1000]);
        }
        memory.write(GuestPhysAddr(page * PAGE_SIZE), &bytes).unwrap();
    }
    memory
}

fn contents(memory: &GuestMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.size() as usize];
    memory.read(GuestPhysAddr(0), &mut bytes).unwrap();
    bytes
}

fn file(memory: &GuestMemory) -> Vec<u8> {
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    let mut writer = SectionWriter::new(&mut sink).unwrap();
    writer.write_value(SectionKind::Configuration, &"what it is made of").unwrap();
    write_pages(memory, &mut writer).unwrap();
    writer.finish().unwrap();
    file
}

/// Reads a file that comes in pieces; the RAM that it holds.
fn read(file: &[u8], piece: usize) -> Result<GuestMemory, SnapshotError> {
    let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
    let mut reader = SectionReader::default();
    for bytes in file.chunks(piece) {
        reader.push(bytes);
        while let Some(section) = reader.next_section()? {
            match section.kind {
                SectionKind::Pages => apply_pages(&section, &memory)?,
                _ => assert_eq!(section.decode::<String>()?, "what it is made of"),
            }
        }
    }
    reader.finish().map(|()| memory)
}

#[test]
fn what_is_written_is_read_back_in_pieces_of_any_size() {
    let memory = memory();
    let file = file(&memory);
    assert!((file.len() as u64) < PAGES * PAGE_SIZE / 3, "zero pages and repetitions take little");
    for piece in [1000, 65_536, file.len()] {
        assert!(contents(&read(&file, piece).unwrap()) == contents(&memory));
    }
}

#[test]
fn every_damage_and_every_cut_is_refused() {
    let file = file(&memory());
    let mut entropy = RepeatableEntropy::new(3);
    for _ in 0..300 {
        let mut damaged = file.clone();
        let at = number(&mut entropy, file.len() as u64) as usize;
        damaged[at] ^= 1 << number(&mut entropy, 8);
        assert!(read(&damaged, 1 << 20).is_err(), "byte {at} was changed");
        let cut = number(&mut entropy, file.len() as u64) as usize;
        assert!(read(&file[..cut], 1 << 20).is_err(), "cut at {cut}");
    }
    let longer = [file.as_slice(), &[0]].concat();
    assert!(read(&longer, 1 << 20).is_err());
}

#[test]
fn sections_with_right_digests_and_senseless_contents_are_refused() {
    let mut entropy = RepeatableEntropy::new(5);
    for _ in 0..300 {
        let mut bytes = vec![0; number(&mut entropy, 40) as usize];
        entropy.fill(&mut bytes);
        let mut file = Vec::new();
        let mut sink = |bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok(())
        };
        let mut writer = SectionWriter::new(&mut sink).unwrap();
        writer.write(SectionKind::Pages, &bytes).unwrap();
        writer.finish().unwrap();
        // Few lists of no pages at all are sound.
        let is_empty_list = bytes == [0; 4];
        assert_eq!(read(&file, file.len()).is_ok(), is_empty_list, "{bytes:?}");
    }
}

#[test]
fn other_files_and_other_versions_are_told_apart() {
    assert_eq!(read(b"\x7fELF and more", 4).err(), Some(SnapshotError::NotASnapshot));
    assert_eq!(read(b"DINGHY", 2).err(), Some(SnapshotError::Truncated));
    let mut newer = file(&memory());
    newer[8] += 1;
    assert_eq!(read(&newer, 1000).err(), Some(SnapshotError::Version { found: VERSION + 1 }));
}

/// Decodes a file's pages with two threads more; what comes of it.
fn decoded_together(file: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
    let decoding = PageDecoding::new(memory.clone());
    let helpers: Vec<_> = (0..2)
        .map(|_| {
            let decoding = decoding.clone();
            std::thread::spawn(move || decoding.help())
        })
        .collect();
    let bring = || {
        let mut reader = SectionReader::default();
        reader.push(file);
        while let Some(section) = reader.next_stored()? {
            if section.kind == SectionKind::Pages {
                decoding.push(section)?;
            }
        }
        decoding.finish()?;
        reader.finish()
    };
    let outcome = bring();
    decoding.cancel();
    // Helpers end in every case.
    helpers.into_iter().for_each(|helper| helper.join().unwrap());
    outcome.map(|()| contents(&memory))
}

#[test]
fn threads_that_help_bring_the_same_pages_and_notice_the_same_damage() {
    let memory = memory();
    let whole = file(&memory);
    assert_eq!(decoded_together(&whole), Ok(contents(&memory)));
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert!(decoded_together(&damaged).is_err(), "byte {at}");
    }
}

#[test]
fn a_page_is_zero_if_all_its_bytes_are() {
    let mut page = [0; PAGE_SIZE as usize];
    assert!(pages::is_zero(&page));
    for at in [0, 7, 511, 512, 4095] {
        page[at] = 1;
        assert!(!pages::is_zero(&page), "byte {at}");
        page[at] = 0;
    }
}
