//! The benchmark's initramfs: the yardstick programs of `tests/bench`, run at boot.

use std::fs;

use anyhow::Result;

use crate::cache::{self, Key};
use crate::command::{command, output_of, run_quietly};
use crate::kernel::package_version;
use crate::workspace;

/// Makes `build/bench/bench.cpio`, and beside it `guestbench`, the same program for the host.
///
/// # Errors
/// If it cannot be compiled or packed.
pub fn make_initramfs() -> Result<()> {
    let sources = workspace::root().join("tests/bench");
    let mut key = Key::new("bench")
        .text("busybox", &package_version("busybox-static")?)
        .text("compiler", &output_of(command("gcc").arg("-dumpfullversion"))?);
    for file in ["guestbench.c", "guestbench.sh", "mkinitramfs.sh"] {
        key = key.file(&sources.join(file))?;
    }
    let made = cache::entry("bench", key, |folder| {
        run_quietly(command("sh").arg(sources.join("mkinitramfs.sh")).arg(folder.join("bench.cpio")))?;
        run_quietly(
            command("gcc")
                .args(["-O2", "-static", "-pthread", "-o"])
                .arg(folder.join("guestbench"))
                .arg(sources.join("guestbench.c")),
        )
    })?;
    let shown = workspace::build_folder().join("bench");
    fs::create_dir_all(&shown)?;
    for file in ["bench.cpio", "guestbench"] {
        workspace::link(&made.join(file), &shown.join(file))?;
        println!("{}", shown.join(file).display());
    }
    Ok(())
}
