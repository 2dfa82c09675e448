//! The snapshot that the page starts from: the guest as it is when Docker is ready. Its file holds the memory that a
//! first command touches; the rest is in files beside it, which come later.

mod file;
mod split;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache::{self, Key};
use crate::command::run;
use crate::{node, workspace};

/// What the machine in the snapshot is made of: a change of any of it may change what the saved state means.
const SOURCES: [&str; 12] = [
    "src/boot",
    "src/cpu/state.rs",
    "src/cpu/system",
    "src/devices",
    "src/machine",
    "src/mem",
    "src/snapshot",
    "src/virtio",
    "www/scripts/record-touched.mjs",
    "www/scripts/save-snapshot.mjs",
    "xtask/src/snapshot.rs",
    "xtask/src/snapshot",
];

/// Boots the guest in node until Docker is ready and saves it, unless that is in the cache, and links
/// `docker.snapshot` and the folder beside it into `build/guest`. Kernel, guest, its chunks, emulator and the package have been
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
        println!("snapshot: recording what a first container touches ...");
        let touched = folder.join("touched");
        run(node::node()?.arg("scripts/record-touched.mjs").arg(&saved).arg(&touched))?;
        let pages = fs::read_to_string(&touched)?
            .lines()
            .map(|line| line.parse().with_context(|| format!("{line:?} is no page")))
            .collect::<Result<Vec<u32>>>()?;
        let split = split::split(&fs::read(&saved)?, &pages)?;
        let beside = folder.join(PAGES);
        fs::create_dir(&beside)?;
        for (name, chunk) in &split.chunks {
            fs::write(beside.join(name), chunk)?;
        }
        let rest: usize = split.chunks.iter().map(|(_, chunk)| chunk.len()).sum();
        println!(
            "snapshot: {} bytes, and {rest} in {} files beside it",
            split.file.len(),
            split.chunks.len()
        );
        fs::write(folder.join(FILE), split.file)?;
        fs::remove_file(&touched)?;
        fs::remove_file(&saved).context("cannot remove the snapshot as it was saved")
    })?;
    for name in [FILE, PAGES] {
        workspace::link(&snapshot.join(name), &workspace::build_folder().join("guest").join(name))?;
    }
    Ok(())
}

/// The snapshot's file, and the folder beside it.
const FILE: &str = "docker.snapshot";
const PAGES: &str = "docker.snapshot.pages";

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
