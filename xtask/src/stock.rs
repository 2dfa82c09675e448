//! Debian's own kernels, which the emulator must boot as they are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::cache::{self, Key};
use crate::command::{command, output_of, run_quietly};
use crate::workspace;

/// The packages whose dependency is the newest kernel of each flavour.
const FLAVOURS: &[&str] = &["linux-image-cloud-amd64", "linux-image-amd64"];

/// Unpacks each kernel into `build/stock/FLAVOUR`: `vmlinuz`, `config`, `System.map` and `modules`.
///
/// # Errors
/// If a package cannot be fetched or unpacked.
pub fn unpack() -> Result<()> {
    for flavour in FLAVOURS {
        let package = kernel_package(flavour)?;
        let key = Key::new(flavour).text("package", &package);
        let made = cache::entry(flavour, key, |folder| fetch(&package, folder))?;
        let shown = workspace::build_folder().join("stock").join(flavour);
        workspace::link(&made, &shown)?;
        println!("{} ({package})", shown.display());
    }
    Ok(())
}

/// The package that a flavour stands for, for example `linux-image-6.1.0-1-amd64`, with its version
/// as apt wants it (`NAME=VERSION`).
fn kernel_package(flavour: &str) -> Result<String> {
    let fields = output_of(command("apt-cache").args(["show", "--no-all-versions", flavour]))?;
    let name = fields
        .lines()
        .find_map(|line| line.strip_prefix("Depends: "))
        .and_then(|depends| depends.split([' ', ',']).next())
        .with_context(|| format!("apt-cache does not say which kernel {flavour} depends on"))?;
    let fields = output_of(command("apt-cache").args(["show", "--no-all-versions", name]))?;
    let version = fields
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))
        .with_context(|| format!("apt-cache does not know the version of {name}"))?;
    Ok(format!("{name}={version}"))
}

/// Fetches and unpacks a kernel's package and gives its files plain names.
fn fetch(package: &str, folder: &Path) -> Result<()> {
    let download = folder.join("download");
    let files = folder.join("files");
    fs::create_dir(&download)?;
    // Without its sandbox apt can write into a folder that only this user may enter.
    run_quietly(command("apt-get").current_dir(&download).args([
        "--quiet",
        "--option",
        "APT::Sandbox::User=root",
        "download",
        package,
    ]))?;
    for archive in fs::read_dir(&download)? {
        run_quietly(command("dpkg-deb").arg("--extract").arg(archive?.path()).arg(&files))?;
    }
    for file in fs::read_dir(files.join("boot")).context("the package holds no folder boot")? {
        let file = file?;
        let name = file.file_name();
        let name = name.to_string_lossy();
        let plain = name.split_once('-').map_or(name.as_ref(), |(plain, _)| plain);
        fs::rename(file.path(), folder.join(plain))?;
    }
    let modules = fs::read_dir(files.join("lib/modules"))
        .context("the package holds no modules")?
        .next()
        .context("the package's folder of modules is empty")??;
    fs::rename(modules.path(), folder.join("modules"))?;
    fs::remove_dir_all(&download)?;
    fs::remove_dir_all(&files).context("cannot remove the unpacked package")
}
