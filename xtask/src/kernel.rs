//! The guest's kernel: Debian's Linux 6.1 source, configured by `kernel/guest.fragment` alone.

use std::fs;
use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Key};
use crate::command::{command, output_of, run_quietly};
use crate::workspace;

/// The source, as the package `linux-source-6.1` installs it.
const SOURCE: &str = "/usr/src/linux-source-6.1.tar.xz";

/// Builds the kernel, unless it is in the cache, and links its files into `build/kernel`:
/// `vmlinux` (stripped), `bzImage`, `System.map`, `config`.
///
/// # Errors
/// If the build fails, or the kernel's configuration does not honour a line of the fragment.
pub fn build() -> Result<()> {
    let fragment = workspace::root().join("kernel/guest.fragment");
    let key = Key::new("kernel")
        .text("source", &package_version("linux-source-6.1")?)
        .text("compiler", &output_of(command("gcc").arg("-dumpfullversion"))?)
        .file(&fragment)?;
    let kernel = cache::entry("kernel", key, |folder| compile(&fragment, folder))?;
    for file in ["vmlinux", "bzImage", "System.map", "config"] {
        workspace::link(&kernel.join(file), &workspace::build_folder().join("kernel").join(file))?;
    }
    Ok(())
}

/// The installed version of a Debian package.
pub fn package_version(package: &str) -> Result<String> {
    output_of(command("dpkg-query").args(["--show", "--showformat=${Version}", package]))
}

/// Unpacks, configures and compiles the kernel in `folder`, and leaves only the results there.
fn compile(fragment: &Path, folder: &Path) -> Result<()> {
    let tree = folder.join("tree");
    fs::create_dir(&tree)?;
    println!("kernel: unpacking {SOURCE} ...");
    run_quietly(
        command("tar").args(["--extract", "--strip-components=1", "--file", SOURCE, "-C"]).arg(&tree),
    )?;
    let config = tree.join(".config");
    let in_tree = |targets: &[&str]| {
        let mut make = command("nice");
        make.args(["-n", "5", "make", "-C"]).arg(&tree);
        // Who, where and when must not be in the kernel: same inputs, same bytes.
        make.env("KBUILD_BUILD_TIMESTAMP", "2026-01-01 00:00:00 UTC")
            .env("KBUILD_BUILD_USER", "dinghy")
            .env("KBUILD_BUILD_HOST", "dinghy")
            .env("KCONFIG_ALLCONFIG", fragment)
            .args(targets);
        make
    };
    run_quietly(&mut in_tree(&["allnoconfig"]))?;
    let asked = fs::read_to_string(fragment)?;
    let unheeded = unheeded_lines(&asked, &fs::read_to_string(&config)?);
    if !unheeded.is_empty() {
        bail!(
            "the kernel's configuration does not honour these lines of {}:\n{}",
            fragment.display(),
            unheeded.join("\n")
        );
    }
    println!("kernel: compiling, about ten minutes of processor time ...");
    let jobs = format!("-j{}", thread::available_parallelism()?);
    run_quietly(&mut in_tree(&[&jobs, "vmlinux", "bzImage"]))?;
    run_quietly(
        command("strip").arg("--strip-all").arg("-o").arg(folder.join("vmlinux")).arg(tree.join("vmlinux")),
    )?;
    for (built, kept) in
        [("arch/x86/boot/bzImage", "bzImage"), ("System.map", "System.map"), (".config", "config")]
    {
        fs::copy(tree.join(built), folder.join(kept)).with_context(|| format!("cannot keep {built}"))?;
    }
    fs::remove_dir_all(&tree).context("cannot remove the kernel's build tree")
}

/// The lines of a configuration fragment that the configuration made from it does not contain: an
/// option unknown to this kernel, or one whose dependencies are not met.
fn unheeded_lines<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let set: Vec<&str> = config.lines().collect();
    fragment
        .lines()
        .map(str::trim_end)
        .filter(|line| match line.strip_prefix("# ").and_then(|line| line.strip_suffix(" is not set")) {
            // An option that does not exist at all is not set either.
            Some(option) => set.iter().any(|line| line.split('=').next() == Some(option)),
            None => line.starts_with("CONFIG_") && !set.contains(line),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::unheeded_lines;

    #[test]
    fn names_each_line_that_is_not_honoured() {
        let fragment = "# Comment\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_C=\"x\"\n# CONFIG_D is not set\n# CONFIG_E is not set\n";
        let config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=\"x\"\nCONFIG_D=y\n";
        assert_eq!(unheeded_lines(fragment, config), ["CONFIG_B=y", "# CONFIG_D is not set"]);
    }
}
