//! Files that somebody else may have made or changed: manifests, snapshots, overlays, caches, kept machines.

use crate::bytes::Bytes;
use crate::machine::config;
use dinghy::host::{BlockSource, ByteFile, ByteFileError};
use dinghy::machine::{Machine, MachineConfig, Restorer};
use dinghy::mem::{GuestMemory, GuestPhysAddr, PAGE_SIZE};
use dinghy::snapshot::{AbsentChunks, ChunkFiles, ChunkList, KeptFile, Section, SectionKind, SectionWriter};
use dinghy::storage::{ChunkCache, Digest, Manifest, MemoryDisk, PersistentDisk};
use std::task::Poll;

/// Most instructions that a machine out of a file runs.
const MOST_INSTRUCTIONS: u64 = 5_000;
/// Bytes of the disk below an overlay.
const DISK_BYTES: u64 = 1 << 20;

/// A file in memory.
struct File(Vec<u8>);

impl File {
    fn place(&self, offset: u64, length: usize) -> Result<std::ops::Range<usize>, ByteFileError> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(length)?));
        // No host has room for files of any size.
        range
            .filter(|range| range.end <= 64 << 20)
            .ok_or_else(|| ByteFileError("there is no room".to_owned()))
    }
}

impl ByteFile for File {
    fn size(&mut self) -> Result<u64, ByteFileError> {
        Ok(self.0.len() as u64)
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ByteFileError> {
        let place = self.place(offset, buffer.len())?;
        buffer.copy_from_slice(self.0.get(place).ok_or_else(|| ByteFileError("the file ends".to_owned()))?);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ByteFileError> {
        let place = self.place(offset, data.len())?;
        if self.0.len() < place.end {
            self.0.resize(place.end, 0);
        }
        self.0[place].copy_from_slice(data);
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<(), ByteFileError> {
        let place = self.place(size, 0)?;
        self.0.truncate(place.start);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ByteFileError> {
        Ok(())
    }
}

/// Reads a manifest, and unpacks its chunks from the manifest's own bytes.
pub fn manifests(data: &[u8]) {
    if let Ok(manifest) = Manifest::parse(data) {
        for index in (0..4).chain([manifest.chunks().len() as u64]) {
            let stored = manifest.location(index).map_or(0, |_| data.len().min(64));
            // What is refused is refused: it only must come back.
            drop(manifest.unpack(index, &data[..stored]));
        }
    }
}

/// A machine's surroundings without a disk, whose every write would have to be in the file.
fn surroundings() -> MachineConfig {
    MachineConfig { disks: Vec::new(), ..config(Vec::new()) }
}

/// A snapshot of these sections, each a kind, its length in four bytes, and its contents: what is in it is any, its
/// digests are right.
fn with_digests(data: &[u8]) -> Vec<u8> {
    const KINDS: [SectionKind; 5] = [
        SectionKind::Configuration,
        SectionKind::State,
        SectionKind::Pages,
        SectionKind::Disk,
        SectionKind::Elsewhere,
    ];
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    let mut bytes = Bytes(data);
    let written = SectionWriter::new(&mut sink).and_then(|mut writer| {
        while !bytes.is_empty() {
            let kind = KINDS[usize::from(bytes.byte() % 5)];
            let length = bytes.word() as usize;
            let (contents, rest) = bytes.0.split_at(length.min(bytes.0.len()));
            bytes = Bytes(rest);
            writer.write(kind, contents)?;
        }
        writer.finish()
    });
    assert!(written.is_ok(), "a vector takes everything: {written:?}");
    file
}

/// Restores a machine from a snapshot that comes in two pieces, runs it for a moment, and saves it. The first byte says
/// whether the rest is the file, or its sections.
pub fn snapshots(data: &[u8]) {
    let file = match data {
        [] => return,
        [0, file @ ..] => file.to_vec(),
        [_, sections @ ..] => with_digests(sections),
    };
    let mut restorer = Restorer::new(surroundings());
    restorer.fetch_pages_from(Box::new(OneFile(data.to_vec())));
    let (first, rest) = file.split_at(file.len() / 2);
    if restorer.push(first).and_then(|()| restorer.push(rest)).is_err() {
        return;
    }
    if let Ok(mut machine) = restorer.finish() {
        machine.run(MOST_INSTRUCTIONS);
        let saved = machine.save(&mut |_| Ok(()));
        assert!(saved.is_ok() || machine.lost_memory().is_some(), "what runs can be saved: {saved:?}");
    }
}

/// Whatever file is asked for, it is this one.
struct OneFile(Vec<u8>);

impl ChunkFiles for OneFile {
    fn load(&self, _name: &str, _attempt: u32) -> Result<Vec<u8>, String> {
        Ok(self.0.clone())
    }
}

/// Pages of the memory that is filled from files beside a snapshot.
const LAZY_PAGES: u64 = 64;

/// The file of a chunk with these contents, which has a right digest, and the chunk's entry in a list.
fn chunk(contents: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const HEADER_BYTES: usize = 12;
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    SectionWriter::new(&mut sink).and_then(|mut writer| writer.write(SectionKind::Pages, contents)).ok()?;
    let file = file.split_off(HEADER_BYTES);
    let runs = 4 + 8 * u32::from_le_bytes(*contents.first_chunk()?) as usize;
    let mut entry = file.get(12..44)?.to_vec();
    entry.extend_from_slice(&(file.len() as u32).to_le_bytes());
    entry.extend_from_slice(contents.get(..runs)?);
    Some((file, entry))
}

/// Fills a memory from a file beside a snapshot, page by page. The first byte says whether the rest is the list of
/// chunks, or the contents of the one chunk that the list names.
pub fn elsewhere(data: &[u8]) {
    let (bytes, file) = match data {
        [] => return,
        [0, list @ ..] => (list.to_vec(), list.to_vec()),
        [_, contents @ ..] => match chunk(contents) {
            Some((file, entry)) => ([&[1, 0, 0, 0], entry.as_slice()].concat(), file),
            None => return,
        },
    };
    let section = Section { kind: SectionKind::Elsewhere, bytes, at: 0 };
    let Ok(list) = ChunkList::parse(&section, LAZY_PAGES * PAGE_SIZE) else { return };
    let Some(memory) = GuestMemory::new(LAZY_PAGES * PAGE_SIZE) else { return };
    let chunks = AbsentChunks::expect(list, &memory, Box::new(OneFile(file.clone())));
    let is_expected = !memory.is_whole();
    // What is refused unasked is refused when it is asked for.
    let provided: Vec<_> = (0..chunks.count()).map(|at| chunks.provide(&memory, at, &file)).collect();
    for page in 0..LAZY_PAGES {
        let place = GuestPhysAddr(page * PAGE_SIZE);
        if memory.read_u64(place).is_err() {
            assert!(memory.lost().is_some() && provided.iter().any(Result::is_err));
            assert!(memory.write(place, &[1]).is_err(), "a page that is not there cannot be written to");
        }
    }
    assert_eq!(memory.is_whole(), memory.lost().is_none(), "all is there, or something is lost");
    assert!(is_expected || memory.is_whole());
}

/// Reads and writes a disk whose overlay is the file, then a cache of chunks in it, then a machine kept in it.
pub fn overlays(data: &[u8]) {
    let base = Box::new(MemoryDisk::new(DISK_BYTES));
    let file = || Box::new(File(data.to_vec()));
    if let Ok(mut disk) = PersistentDisk::open(base, file(), Digest::of(b"image")) {
        for offset in [0, 8192, DISK_BYTES - 4096] {
            let mut sector = [0; 4096];
            let is_readable = matches!(disk.read(offset, &mut sector), Poll::Ready(Ok(())));
            if is_readable && matches!(disk.write(offset, &[5; 512]), Poll::Ready(Ok(()))) {
                assert!(
                    matches!(disk.read(offset, &mut sector), Poll::Ready(Ok(()))),
                    "what was written can be read"
                );
                assert_eq!(sector[..512], [5; 512]);
            }
        }
        assert!(disk.flush().is_ready(), "a file does not wait");
    }
    if let Ok(mut cache) = ChunkCache::open(file(), 1 << 20) {
        let digest = Digest::of(b"chunk");
        // What it gives is verified by who asked.
        drop(cache.get(&digest));
        if cache.put(&digest, b"chunk").is_ok() {
            drop(cache.get(&digest));
        }
    }
    if let Ok(mut kept) = KeptFile::open(file())
        && kept.state().is_some()
        && let Ok(mut machine) = Machine::go_on(surroundings(), &mut kept)
    {
        machine.run(MOST_INSTRUCTIONS);
    }
}
