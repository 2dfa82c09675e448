//! Files that somebody else may have made or changed: manifests, snapshots, overlays, caches, kept machines.

use crate::bytes::Bytes;
use crate::machine::config;
use dinghy::host::{BlockSource, ByteFile, ByteFileError};
use dinghy::machine::{Machine, MachineConfig, Restorer};
use dinghy::snapshot::{KeptFile, SectionKind, SectionWriter};
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
    const KINDS: [SectionKind; 4] =
        [SectionKind::Configuration, SectionKind::State, SectionKind::Pages, SectionKind::Disk];
    let mut file = Vec::new();
    let mut sink = |bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    };
    let mut bytes = Bytes(data);
    let written = SectionWriter::new(&mut sink).and_then(|mut writer| {
        while !bytes.is_empty() {
            let kind = KINDS[usize::from(bytes.byte() % 4)];
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
    let (first, rest) = file.split_at(file.len() / 2);
    if restorer.push(first).and_then(|()| restorer.push(rest)).is_err() {
        return;
    }
    if let Ok(mut machine) = restorer.finish() {
        machine.run(MOST_INSTRUCTIONS);
        let saved = machine.save(&mut |_| Ok(()));
        assert!(saved.is_ok(), "what runs can be saved: {saved:?}");
    }
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
