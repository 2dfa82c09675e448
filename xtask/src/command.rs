//! Running other programs: each either succeeds or becomes an error that names its command line.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A command with Debian's programs before others of the same name, and without the settings that
/// the `cargo` around this program made for itself.
pub fn command(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.env("PATH", search_path(&[]));
    for leaked in
        ["RUSTUP_TOOLCHAIN", "RUSTC", "CARGO", "CARGO_MANIFEST_DIR", "LD_LIBRARY_PATH", "MAKEFLAGS", "MFLAGS"]
    {
        command.env_remove(leaked);
    }
    command
}

/// `PATH` with `first` before Debian's programs, and those before all others.
pub fn search_path(first: &[&Path]) -> OsString {
    let mut path = OsString::new();
    for folder in first {
        path.push(folder);
        path.push(":");
    }
    path.push("/usr/bin:/bin");
    if let Some(inherited) = env::var_os("PATH") {
        path.push(":");
        path.push(inherited);
    }
    path
}

/// Runs a command with its output on the terminal.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn run(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs a command whose output only matters when it fails; the error then holds its last lines.
///
/// # Errors
/// If it cannot be started or does not succeed.
pub fn run_quietly(command: &mut Command) -> Result<()> {
    let line = command_line(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(60)..].join("\n");
        bail!("`{line}` failed: {}; its last lines:\n{last}", output.status);
    }
    Ok(())
}

/// Runs a command and returns what it printed, without the space around it.
///
/// # Errors
/// If it cannot be started, does not succeed, or prints something other than UTF-8.
pub fn output_of(command: &mut Command) -> Result<String> {
    let line = command_line(command);
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        bail!("`{line}` failed: {}", output.status);
    }
    let text = String::from_utf8(output.stdout).with_context(|| format!("`{line}` did not print UTF-8"))?;
    Ok(text.trim().to_owned())
}

/// The command as a reader would type it.
pub fn command_line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|part| part.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
