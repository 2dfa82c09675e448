//! The emulator for the browser, twice: `www/pkg/shared` with threads, `www/pkg/unshared` without; and `www/pkg/tls`, the
//! module for HTTPS.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command::run;
use crate::toolchain::{self, Build, TARGET, Toolchain};
use crate::workspace;

/// What a module on shared memory is linked with. The memory is the page's, handed to every worker;
/// each worker sets up its own thread-local storage by the exported functions. Without a maximum the
/// linker takes the initial size for it.
const SHARED_LINK_ARGUMENTS: &[&str] = &[
    "--shared-memory",
    "--import-memory",
    "--max-memory=4294967296",
    "--export=__wasm_init_tls",
    "--export=__tls_size",
    "--export=__tls_align",
    "--export=__tls_base",
];

/// The table of functions takes the functions that are compiled from the guest's code.
const LINK_ARGUMENTS: &[&str] = &["--growable-table"];

/// The compiler of the C that is in the TLS module: gcc has no wasm target. What it makes, any archiver packs.
const C_COMPILER: &str = "/usr/bin/clang-19";
const ARCHIVER: &str = "/usr/bin/ar";

/// Builds the modules and their JavaScript into `www/pkg`.
///
/// # Errors
/// If the toolchain or a module cannot be built.
pub fn build() -> Result<()> {
    let toolchain = toolchain::build()?;
    build_one(&toolchain, Build::Shared)?;
    build_one(&toolchain, Build::Unshared)?;
    build_tls(&toolchain)
}

/// Compiles the TLS module, for size: pages fetch it when they want HTTPS.
fn build_tls(toolchain: &Toolchain) -> Result<()> {
    println!("wasm: compiling the TLS module ...");
    let target = workspace::root().join("target/wasm-tls");
    run(toolchain
        .cargo(Build::Unshared)
        .current_dir(workspace::root())
        .env("CARGO_ENCODED_RUSTFLAGS", own_flags(Build::Unshared)?.join("\u{1f}"))
        .env("CARGO_TARGET_DIR", &target)
        .env("CC_wasm32_unknown_unknown", C_COMPILER)
        .env("AR_wasm32_unknown_unknown", ARCHIVER)
        .args([
            "build",
            "--quiet",
            "--profile",
            "small",
            "--package",
            "dinghy-tls",
            "--lib",
            "--target",
            TARGET,
        ]))?;
    run(toolchain
        .wasm_bindgen()
        .args(["--target", "web", "--remove-name-section", "--remove-producers-section"])
        .args(["--out-name", "tls", "--out-dir"])
        .arg(workspace::www().join("pkg/tls"))
        .arg(target.join(TARGET).join("small/dinghy_tls.wasm")))
}

/// Compiles one module and writes its JavaScript.
fn build_one(toolchain: &Toolchain, build: Build) -> Result<()> {
    println!("wasm: compiling the {} build ...", build.name());
    let target = workspace::root().join("target").join(format!("wasm-{}", build.name()));
    run(toolchain
        .cargo(build)
        .current_dir(workspace::root())
        .env("CARGO_ENCODED_RUSTFLAGS", compiler_flags(build)?)
        .env("CARGO_TARGET_DIR", &target)
        .args(["build", "--quiet", "--release", "--package", "dinghy", "--lib", "--target", TARGET]))?;
    run(toolchain
        .wasm_bindgen()
        .args(["--target", "web", "--out-name", "dinghy", "--out-dir"])
        .arg(workspace::www().join("pkg").join(build.name()))
        .arg(target.join(TARGET).join("release/dinghy.wasm")))
}

/// The compiler's flags that say which processor features there are, and where sources were.
fn own_flags(build: Build) -> Result<Vec<String>> {
    // Whose machine compiled it does not matter to a panic message.
    Ok(vec![
        build.target_features().to_owned(),
        format!("--remap-path-prefix={}=.", workspace::root().display()),
        format!("--remap-path-prefix={}=cargo", cargo_home()?.display()),
    ])
}

/// The compiler's flags for a build of the emulator, parted as cargo wants them in one variable.
fn compiler_flags(build: Build) -> Result<String> {
    let mut flags = own_flags(build)?;
    flags.extend(LINK_ARGUMENTS.iter().map(|argument| format!("-Clink-arg={argument}")));
    if build == Build::Shared {
        flags.extend(SHARED_LINK_ARGUMENTS.iter().map(|argument| format!("-Clink-arg={argument}")));
    }
    Ok(flags.join("\u{1f}"))
}

/// Where cargo keeps the sources of the crates.
fn cargo_home() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("CARGO_HOME") {
        return Ok(PathBuf::from(folder));
    }
    Ok(PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cargo"))
}
