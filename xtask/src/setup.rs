//! The Debian packages that the chores need.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{command, run};

/// Everything comes from Debian 12's own packages. The rust packages are those that Debian keeps
/// current for its browsers; they hold the library sources that the wasm standard library is built
/// from.
const PACKAGES: &[&str] = &[
    // The compiler, the library sources, the wasm linker.
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "rust-web-clippy",
    "rustfmt-web",
    "lld-19",
    // The compiler of what is C in the cryptography of the TLS module.
    "clang-19",
    "gcc",
    "libc6-dev",
    // The assembler of the bare-metal tests.
    "nasm",
    // The browser for the tests.
    "chromium",
    "chromium-driver",
    // The kernel.
    "linux-source-6.1",
    "make",
    "flex",
    "bison",
    "bc",
    "libelf-dev",
    "libssl-dev",
    "cpio",
    "xz-utils",
    "zstd",
    "perl",
    // The guest's image.
    "busybox-static",
    "e2fsprogs",
    "fakeroot",
    "python3-pip",
    "ca-certificates",
];

/// Installs the packages that are missing; with all present this takes a fraction of a second.
///
/// # Errors
/// If a package is missing and cannot be installed: not Debian, no right to, or no network.
pub fn install_packages() -> Result<()> {
    let missing = missing_packages()?;
    if missing.is_empty() {
        return Ok(());
    }
    println!("Installing Debian packages: {}", missing.join(" "));
    // Lists that are too old name files that the mirrors no longer have.
    run(as_root("apt-get")?.args(["update", "--quiet"]))?;
    run(as_root("apt-get")?
        .env("DEBIAN_FRONTEND", "noninteractive")
        .args(["install", "--quiet", "--yes", "--no-install-recommends"])
        .args(&missing))
}

/// The packages that are not installed.
fn missing_packages() -> Result<Vec<&'static str>> {
    if !Path::new("/usr/bin/dpkg-query").exists() {
        bail!(
            "this is not a Debian system (no dpkg-query): the chores install their tools from Debian 12's \
             packages, so run them there, for example in a debian:12 container"
        );
    }
    let output = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status} ${Package}\n"])
        .args(PACKAGES)
        .output()
        .context("cannot start dpkg-query")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let installed: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
    let mut missing: Vec<&str> =
        PACKAGES.iter().copied().filter(|package| !installed.contains(package)).collect();
    // Node.js may come from elsewhere than Debian, in packages that Debian's would conflict with.
    for (program, package) in [("node", "nodejs"), ("npm", "npm")] {
        if !is_in_path(program) {
            missing.push(package);
        }
    }
    Ok(missing)
}

/// Whether a program of this name is in `PATH`.
fn is_in_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// A command that runs as root: itself, or by `sudo`.
fn as_root(program: &str) -> Result<Command> {
    if is_root()? {
        return Ok(command(program));
    }
    if !is_in_path("sudo") {
        bail!(
            "packages are missing and there is neither root's right nor sudo to install them; as root: \
             apt-get install --no-install-recommends {}",
            missing_packages()?.join(" ")
        );
    }
    let mut sudo = command("sudo");
    sudo.args(["DEBIAN_FRONTEND=noninteractive", program]);
    Ok(sudo)
}

/// Whether this process runs as root.
fn is_root() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    let effective_user = status.lines().find_map(|line| line.strip_prefix("Uid:")).and_then(|ids| {
        let mut ids = ids.split_whitespace();
        ids.nth(1)
    });
    Ok(effective_user == Some("0"))
}
