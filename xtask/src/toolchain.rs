//! The wasm half of the toolchain: the standard library for wasm32, twice, and the tools around it.
//!
//! Debian's compiler has the wasm32 target but no library for it, so the library is built here, by
//! cargo's own `-Z build-std`, from the sources that Debian ships with the compiler, and kept as a
//! sysroot. There are two: threads need a library built with atomics, and a library built with atomics
//! keeps its thread-local storage in places that only a shared-memory module sets up.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{self, Key};
use crate::command::{command, output_of, run_quietly, search_path};

/// The target every wasm build is for.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// Must equal the version of the crate `wasm-bindgen` in Cargo.lock.
const WASM_BINDGEN: &str = "0.2.130";
const WASM_PACK: &str = "0.15.1";
const COMPILER: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const LINKER: &str = "/usr/bin/wasm-ld-19";

/// Which of the two builds for the browser.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// Threads on one shared memory: for pages that are cross-origin isolated.
    Shared,
    /// One thread: for every other page.
    Unshared,
}

impl Build {
    /// The build's name, in folders too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Unshared => "unshared",
        }
    }

    /// The compiler's flag for the processor features that the build may use.
    pub fn target_features(self) -> &'static str {
        match self {
            Self::Shared => "-Ctarget-feature=+simd128,+atomics,+bulk-memory,+mutable-globals",
            Self::Unshared => "-Ctarget-feature=+simd128,+bulk-memory,+mutable-globals",
        }
    }
}

/// Where the toolchain's parts are.
pub struct Toolchain {
    shared: PathBuf,
    unshared: PathBuf,
    wasm_bindgen: PathBuf,
}

impl Toolchain {
    /// `cargo`, set up so that it compiles for wasm32 with the library of `build`.
    pub fn cargo(&self, build: Build) -> Command {
        self.with_library(command(CARGO), build)
    }

    /// The program `wasm-bindgen`.
    pub fn wasm_bindgen(&self) -> Command {
        command(self.wasm_bindgen.join("bin/wasm-bindgen"))
    }

    /// `wasm-pack`, which compiles with the library of the unshared build. Only tests need it, so it is
    /// not part of what `build` makes.
    ///
    /// # Errors
    /// If it is not in the cache and cannot be built.
    pub fn wasm_pack(&self) -> Result<Command> {
        let wasm_pack = tool("wasm-pack", WASM_PACK, &["--locked"])?;
        Ok(self.with_library(command(wasm_pack.join("bin/wasm-pack")), Build::Unshared))
    }

    /// Points a command at a library, and at the tools that wasm-pack looks for in `PATH`.
    fn with_library(&self, mut command: Command, build: Build) -> Command {
        let sysroot = match build {
            Build::Shared => &self.shared,
            Build::Unshared => &self.unshared,
        };
        let programs = sysroot.join("bin");
        command
            .env("PATH", search_path(&[&programs, &self.wasm_bindgen.join("bin")]))
            .env("RUSTC", programs.join("rustc"))
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", LINKER);
        command
    }
}

/// Builds what is missing of what the builds need and returns where it is.
///
/// # Errors
/// If a part cannot be built.
pub fn build() -> Result<Toolchain> {
    Ok(Toolchain {
        shared: sysroot(Build::Shared)?,
        unshared: sysroot(Build::Unshared)?,
        // The lock file in wasm-bindgen-cli's package names a version that a mirror may lag behind on.
        wasm_bindgen: tool("wasm-bindgen-cli", WASM_BINDGEN, &[])?,
    })
}

/// The sysroot for a build: the wasm32 library, the host's own, and a `bin/rustc` that uses both.
fn sysroot(build: Build) -> Result<PathBuf> {
    let name = format!("sysroot-{}", build.name());
    let key = Key::new(&name)
        .text("compiler", &output_of(command(COMPILER).arg("-vV"))?)
        .text("flags", build.target_features());
    cache::entry(&name, key, |folder| {
        let seed = folder.join("seed");
        fs::create_dir_all(seed.join("src"))?;
        fs::write(
            seed.join("Cargo.toml"),
            "[package]\nname = \"seed\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[workspace]\n",
        )?;
        fs::write(seed.join("src/lib.rs"), "")?;
        run_quietly(
            command(CARGO)
                .current_dir(&seed)
                // Debian's stable compiler takes the unstable `-Z build-std` and `+atomics` so.
                .env("RUSTC_BOOTSTRAP", "1")
                .env("RUSTC", COMPILER)
                .env("RUSTFLAGS", format!("-Cembed-bitcode=yes {}", build.target_features()))
                .env("CARGO_TARGET_DIR", seed.join("target"))
                .args(["build", "--release", "--target", TARGET])
                .args(["-Z", "build-std=core,alloc,std,panic_abort,panic_unwind,proc_macro,test"]),
        )?;
        let host = host_triple()?;
        let libraries = folder.join("lib/rustlib").join(TARGET).join("lib");
        fs::create_dir_all(&libraries)?;
        keep_libraries(&seed.join("target").join(TARGET).join("release/deps"), &libraries)?;
        std::os::unix::fs::symlink(
            Path::new("/usr/lib/rustlib").join(&host),
            folder.join("lib/rustlib").join(&host),
        )?;
        let compiler = folder.join("bin/rustc");
        fs::create_dir_all(folder.join("bin"))?;
        fs::write(
            &compiler,
            format!(
                "#!/bin/sh\nexec {COMPILER} --sysroot \"$(dirname \"$(dirname \"$(realpath \"$0\")\")\")\" \"$@\"\n"
            ),
        )?;
        fs::set_permissions(&compiler, fs::Permissions::from_mode(0o755))?;
        fs::remove_dir_all(&seed).context("cannot remove the library's build folder")
    })
}

/// The name of the machine that the compiler runs on, as the compiler calls it.
fn host_triple() -> Result<String> {
    let version = output_of(command(COMPILER).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("`rustc -vV` names no host")?.to_owned())
}

/// Copies the compiled libraries, without the seed crate's own.
fn keep_libraries(from: &Path, to: &Path) -> Result<()> {
    for file in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let file = file?;
        let name = file.file_name();
        let text = name.to_string_lossy();
        if text.ends_with(".rlib") && !text.starts_with("libseed-") {
            fs::copy(file.path(), to.join(&name))?;
        }
    }
    Ok(())
}

/// A program from crates.io, in the folder `bin` of its cache entry.
fn tool(name: &str, version: &str, options: &[&str]) -> Result<PathBuf> {
    let key =
        Key::new(name).text("version", version).text("compiler", &output_of(command(COMPILER).arg("-vV"))?);
    cache::entry(name, key, |folder| {
        let target = folder.join("target");
        run_quietly(
            command(CARGO)
                .env("RUSTC", COMPILER)
                .args(["install", name, "--version", version, "--root"])
                .arg(folder)
                .arg("--target-dir")
                .arg(&target)
                .args(options),
        )?;
        fs::remove_dir_all(&target).context("cannot remove the tool's build folder")
    })
}
