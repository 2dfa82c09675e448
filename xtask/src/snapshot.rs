//! The snapshot that the page starts from: the guest as it is when Docker is ready.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};

use crate::cache::{self, Key};
use crate::command::run;
use crate::{node, workspace};

/// What the machine in the snapshot is made of: a change of any of it may change what the saved state means.
const SOURCES: [&str; 9] = [
    "src/boot",
    "src/cpu/state.rs",
    "src/cpu/system",
    "src/devices",
    "src/machine",
    "src/snapshot",
    "src/virtio",
    "www/scripts/save-snapshot.mjs",
    "xtask/src/snapshot.rs",
];

/// Boots the guest in node until Docker is ready and saves it, unless that is in the cache, and links
/// `docker.snapshot` into `build/guest`. Kernel, guest, its chunks, emulator and the package have been
/// built.
///
/// # Errors
/// If the guest does not become ready, or cannot be saved.
pub fn build() -> Result<()> {
    let mut key = Key::new("snapshot");
    for image in ["kernel/vmlinux", "guest/guest.ext4"] {
        let image = fs::canonicalize(workspace::build_folder().join(image))
            .with_context(|| format!("there is no build/{image}"))?;
        // Its folder's name is a digest of all it is made from.
        key = key.text("image", &image.to_string_lossy());
    }
    for source in SOURCES {
        for file in files_below(&workspace::root().join(source))? {
            key = key.text("path", &file.to_string_lossy()).file(&file)?;
        }
    }
    let snapshot = cache::entry("snapshot", key, |folder| {
        println!("snapshot: booting the guest until Docker is ready ...");
        let saved = folder.join("saved");
        run(node::node()?.arg("scripts/save-snapshot.mjs").arg(&saved))?;
        let file = compact(&fs::read(&saved)?)?;
        println!("snapshot: {} bytes", file.len());
        fs::write(folder.join("docker.snapshot"), file)?;
        fs::remove_file(&saved).context("cannot remove the snapshot as it was saved")
    })?;
    let link = workspace::build_folder().join("guest/docker.snapshot");
    workspace::link(&snapshot.join("docker.snapshot"), &link)
}

/// A file, or the files below a folder, sorted.
fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let mut files = Vec::new();
    for found in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
        files.extend(files_below(&found?.path())?);
    }
    files.sort();
    Ok(files)
}

/// Magic and version.
const FILE_HEADER_BYTES: usize = 12;
/// Kind, encoding, bytes stored and decoded; then the digest. `src/snapshot/section.rs` has the whole format.
const DESCRIPTION_BYTES: usize = 12;
const DIGEST_BYTES: usize = 32;
const ENCODING: usize = 1;
const ENCODING_ZSTD: u8 = 1;
const END: u8 = 255;
/// A snapshot of 176 MB took 70 MB by the emulator's own encoder, 45.6 MB by level 9 and 40.9 MB by level 19, which took
/// 44 s of processor time. Decoding takes the same time for all.
const LEVEL: i32 = 16;

/// A section as it stands in the file.
struct Section {
    description: [u8; DESCRIPTION_BYTES],
    stored: Vec<u8>,
}

impl Section {
    /// Takes the first section off `rest`.
    fn split_from(rest: &mut &[u8]) -> Result<Self> {
        let cut = "the snapshot is cut short";
        let (description, after) = rest.split_first_chunk().context(cut)?;
        let (digest, after) = after.split_at_checked(DIGEST_BYTES).context(cut)?;
        let length = u32::from_le_bytes([description[4], description[5], description[6], description[7]]);
        let (stored, after) = after.split_at_checked(length as usize).context(cut)?;
        let section = Self { description: *description, stored: stored.to_vec() };
        ensure!(section.digest() == digest, "the snapshot is damaged");
        *rest = after;
        Ok(section)
    }

    fn digest(&self) -> [u8; DIGEST_BYTES] {
        Sha256::new().chain_update(self.description).chain_update(&self.stored).finalize().into()
    }

    fn store(&mut self, stored: Vec<u8>) -> Result<()> {
        self.description[4..8].copy_from_slice(&u32::try_from(stored.len())?.to_le_bytes());
        self.stored = stored;
        Ok(())
    }

    fn compress(&mut self) -> Result<()> {
        if self.description[ENCODING] != ENCODING_ZSTD {
            return Ok(());
        }
        let [.., a, b, c, d] = self.description;
        let bytes = zstd::bulk::decompress(&self.stored, u32::from_le_bytes([a, b, c, d]) as usize)?;
        self.store(zstd::bulk::compress(&bytes, LEVEL)?)
    }
}

/// The same snapshot with its sections compressed better.
fn compact(file: &[u8]) -> Result<Vec<u8>> {
    let (header, mut rest) = file.split_at_checked(FILE_HEADER_BYTES).context("the snapshot is cut short")?;
    let mut sections = Vec::new();
    while !rest.is_empty() {
        sections.push(Section::split_from(&mut rest)?);
    }
    let share = sections.len().div_ceil(thread::available_parallelism()?.get()).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = sections
            .chunks_mut(share)
            .map(|share| scope.spawn(|| share.iter_mut().try_for_each(Section::compress)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker.join().map_err(|_| anyhow!("a thread that compresses the snapshot panicked"))?
        })
    })?;
    let mut compacted = header.to_vec();
    let mut all = Sha256::new();
    for mut section in sections {
        if section.description[0] == END {
            section.store(all.clone().finalize().to_vec())?;
        }
        let digest = section.digest();
        all.update(digest);
        compacted.extend_from_slice(&section.description);
        compacted.extend_from_slice(&digest);
        compacted.extend_from_slice(&section.stored);
    }
    Ok(compacted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(kind: u8, encoding: u8, length: usize, stored: &[u8], all: &mut Sha256) -> Vec<u8> {
        let mut description = vec![kind, encoding, 0, 0];
        description.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        description.extend_from_slice(&(length as u32).to_le_bytes());
        let digest = Sha256::new().chain_update(&description).chain_update(stored).finalize();
        all.update(digest);
        [description.as_slice(), &digest, stored].concat()
    }

    /// A snapshot with a plain and a compressed section.
    fn file(level: i32, contents: &[u8]) -> Vec<u8> {
        let mut all = Sha256::new();
        let compressed = zstd::bulk::compress(contents, level).unwrap();
        let mut file = b"DINGHYSN\x01\0\0\0".to_vec();
        file.extend(section(1, 0, 3, b"abc", &mut all));
        file.extend(section(3, ENCODING_ZSTD, contents.len(), &compressed, &mut all));
        let end = all.clone().finalize();
        file.extend(section(END, 0, end.len(), &end, &mut all));
        file
    }

    #[test]
    fn a_compacted_snapshot_is_as_if_it_had_been_compressed_better_at_once() {
        let contents: Vec<u8> = (0..100_000_u32).map(|at| (at / 7 * at % 251) as u8).collect();
        assert_eq!(compact(&file(1, &contents)).unwrap(), file(LEVEL, &contents));
    }

    #[test]
    fn a_damaged_snapshot_is_not_compacted() {
        let mut damaged = file(1, &[5; 1000]);
        let place = damaged.len() - 120;
        damaged[place] ^= 1;
        assert!(compact(&damaged).is_err());
        assert!(compact(&damaged[..place]).is_err());
    }
}
