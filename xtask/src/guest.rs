//! The guest's disk: a Debian root file system with Docker, as an ext4 image that is the same, byte
//! for byte, whenever it is made from the same inputs.

mod chunks;
mod docker_image;
mod filesystem;
mod packages;
mod reexec;
mod tree;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cache::{self, Key};
use crate::command::{output_of, run};
use crate::{node, workspace, www};

/// Seconds since 1970 of every time in the image: the first of January 2026.
const IMAGE_TIME: u64 = 1_767_225_600;

/// Builds the image, unless it is in the cache, and links `guest.ext4` and `manifest.json`, the list of
/// what it is made of, into `build/guest`.
///
/// # Errors
/// If a package cannot be fetched or a step of the build fails.
pub fn build() -> Result<()> {
    let sources = workspace::root().join("guest");
    let packages = packages::available(&sources.join("packages"))?;
    let mut key = Key::new("guest").text("time", &IMAGE_TIME.to_string());
    for package in &packages {
        key = key.text(&package.name, &package.version);
    }
    key = key.text("compose", packages::COMPOSE_WHEEL);
    for file in files_below(&sources)? {
        key = key.text("path", &file).file(&sources.join(&file))?;
    }
    // The image depends on how it is made, too.
    for (name, code) in [
        ("docker_image", include_str!("guest/docker_image.rs")),
        ("filesystem", include_str!("guest/filesystem.rs")),
        ("packages", include_str!("guest/packages.rs")),
        ("reexec", include_str!("guest/reexec.rs")),
        ("tree", include_str!("guest/tree.rs")),
    ] {
        key = key.text(name, code);
    }
    let image = cache::entry("guest", key, |folder| make(&sources, &packages, folder))?;
    for file in ["guest.ext4", "manifest.json"] {
        workspace::link(&image.join(file), &workspace::build_folder().join("guest").join(file))?;
    }
    Ok(())
}

/// The page's command line: with it the mark that Docker serves is on the serial port, where it is looked for.
const COMMAND_LINE: &str = "root=/dev/vda rw console=ttyS0 panic=-1";
/// Seconds after which a boot that records what it reads is given up.
const RECORDING_SECONDS: &str = "900";

/// Writes the image in chunks, unless that is in the cache, and links the folder as `build/guest/chunks`.
/// The order of the chunks comes from a boot in node, so the image, the kernel and the emulator have to be
/// built before.
///
/// # Errors
/// If the guest does not boot to Docker, or the chunks cannot be written.
pub fn build_chunks() -> Result<()> {
    let build = workspace::build_folder();
    let image = fs::canonicalize(build.join("guest/guest.ext4"))
        .context("there is no guest image; build it with `cargo xtask guest`")?;
    let kernel = fs::canonicalize(build.join("kernel/vmlinux"))
        .context("there is no kernel; build it with `cargo xtask kernel`")?;
    // Both are in the cache, where the folder's name tells what is in it. Which emulator records the order
    // makes no difference to speak of.
    let key = Key::new("chunks")
        .text("image", &image.to_string_lossy())
        .text("kernel", &kernel.to_string_lossy())
        .text("writer", include_str!("guest/chunks.rs"));
    let folder = cache::entry("chunks", key, |folder| {
        let recording = folder.join("prefetch");
        record(&recording)?;
        let prefetch = fs::read_to_string(&recording)?
            .lines()
            .map(|line| line.parse().with_context(|| format!("{line:?} is no chunk")))
            .collect::<Result<Vec<usize>>>()?;
        fs::remove_file(&recording)?;
        println!("guest: packing the image, {} chunks for a boot first ...", prefetch.len());
        chunks::write(&image, &prefetch, &folder.join("chunks"))
    })?;
    workspace::link(&folder.join("chunks"), &build.join("guest/chunks"))
}

/// Boots the guest in node until Docker serves, and lists what it reads in `recording`.
fn record(recording: &Path) -> Result<()> {
    println!("guest: booting once, to record what a boot reads ...");
    www::install_packages()?;
    output_of(node::npm()?.args(["run", "--silent", "lib"]))?;
    run(node::node()?
        .args(["bin/dinghy.mjs", "run", "--until", "docker-ready", "--timeout", RECORDING_SECONDS])
        .args(["--append", COMMAND_LINE])
        .arg("--record-prefetch")
        .arg(recording)
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null()))
}

/// Makes the image and its manifest in `folder`.
fn make(sources: &Path, packages: &[packages::Package], folder: &Path) -> Result<()> {
    let downloads = folder.join("downloads");
    let root = folder.join("root");
    fs::create_dir(&downloads)?;
    println!("guest: fetching {} packages ...", packages.len());
    packages::download(packages, &downloads)?;
    tree::lay_out(sources, &downloads, &root)?;
    docker_image::store_busybox(&root)?;
    println!("guest: writing the file system ...");
    filesystem::write(&root, &folder.join("guest.ext4"))?;
    fs::write(folder.join("manifest.json"), packages::manifest(packages)?)?;
    fs::remove_dir_all(&root)?;
    fs::remove_dir_all(&downloads).context("cannot remove the downloaded packages")
}

/// The files below `folder`, as sorted paths relative to it.
fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for found in fs::read_dir(&next).with_context(|| format!("cannot read {}", next.display()))? {
            let found = found?;
            if found.file_type()?.is_dir() {
                folders.push(found.path());
            } else {
                files.push(found.path().strip_prefix(folder)?.to_string_lossy().into_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}
