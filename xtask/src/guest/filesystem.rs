//! Writing the tree as an ext4 image, without being root, with the same bytes each time.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::IMAGE_TIME;
use crate::command::{command, output_of, run_quietly};

/// The image's size: room for images and containers. The file is sparse.
const SIZE: &str = "1G";
/// The file system's identity, and the seed by which it hashes names; fixed, so that images compare.
const IDENTITY: &str = "64696e67-6879-4d61-8000-000000000001";
const HASH_SEED: &str = "64696e67-6879-4d61-8000-000000000002";

/// The root directory's inode.
const ROOT_INODE: u64 = 2;
/// The first inode that belongs to a file: `lost+found`; those before it, except the root directory's,
/// have no times.
const FIRST_INODE: u64 = 11;

/// Writes `root` as an ext4 file system into the new file `image`, everything owned by root.
///
/// # Errors
/// If the tree does not fit or a tool fails.
pub fn write(root: &Path, image: &Path) -> Result<()> {
    run_quietly(
        command("find")
            .arg(root)
            .args(["-exec", "touch", "--no-dereference"])
            .arg(format!("--date=@{IMAGE_TIME}"))
            .args(["{}", "+"]),
    )?;
    // Under fakeroot every file belongs to root. Checksums, inode initialisation at run time and the
    // journal's size are costs at the guest's start; the journal itself is kept, as tabs close at any time.
    run_quietly(
        command("fakeroot")
            .args(["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0", "-L", "dinghy"])
            .args(["-O", "^metadata_csum,^resize_inode,^orphan_file", "-J", "size=16", "-U", IDENTITY, "-E"])
            .arg(format!("hash_seed={HASH_SEED},root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"))
            .arg("-d")
            .arg(root)
            .arg(image)
            .arg(SIZE)
            .env("E2FSPROGS_FAKE_TIME", IMAGE_TIME.to_string()),
    )?;
    fix_change_times(image)
}

/// mke2fs copies each file's change time, which nothing but the clock can set; debugfs can set it in the
/// image.
fn fix_change_times(image: &Path) -> Result<()> {
    let mut script = String::new();
    for inode in [ROOT_INODE].into_iter().chain(FIRST_INODE..=last_used_inode(image)?) {
        script += &format!("set_inode_field <{inode}> ctime @{IMAGE_TIME}\n");
        script += &format!("set_inode_field <{inode}> ctime_extra 0\n");
    }
    let mut debugfs = command("debugfs")
        .args(["-w", "-f", "-"])
        .arg(image)
        .env("E2FSPROGS_FAKE_TIME", IMAGE_TIME.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start debugfs")?;
    debugfs.stdin.take().context("debugfs has no input")?.write_all(script.as_bytes())?;
    let status = debugfs.wait()?;
    if !status.success() {
        bail!("debugfs failed: {status}");
    }
    Ok(())
}

/// The number of the last inode in use. mke2fs hands inodes out in order, so all before it are used too.
fn last_used_inode(image: &Path) -> Result<u64> {
    let summary = output_of(command("dumpe2fs").arg("-h").arg(image))?;
    let count = |name: &str| {
        summary
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<u64>().ok())
            .with_context(|| format!("dumpe2fs does not print the {name:?} of {}", image.display()))
    };
    count("Inode count")?.checked_sub(count("Free inodes")?).context("more inodes are free than there are")
}
