//! The yardstick of `tests/bench`: its initramfs, and its programs' times here, in QEMU and in dinghy.

mod legs;
mod machine;
mod reading;
mod report;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Key};
use crate::command::{command, output_of, run, run_quietly};
use crate::kernel::{self, package_version};
use crate::{node, wasm, workspace, www};

use legs::{Guest, Leg};
use report::{Measured, Report};

/// What to measure.
#[derive(clap::Args)]
pub struct Options {
    /// Where to run the programs, parted by commas
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Leg::ALL)]
    only: Vec<Leg>,
    /// The programs to run, parted by commas; all if not given
    #[arg(long, value_delimiter = ',')]
    programs: Vec<String>,
    /// Run the hot loops of 256-bit vectors instead, on processors that have AVX2 and FMA
    #[arg(long)]
    avx2: bool,
    /// How dinghy executes guest code, as its own --engine takes it
    #[arg(long)]
    engine: Option<String>,
    /// More words for the kernel's command line, in every guest
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    append: String,
    /// After how many seconds a leg is given up
    #[arg(long, default_value_t = 900)]
    timeout: u64,
    /// Also write the figures to a file, as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Measure what is built, without building
    #[arg(long)]
    no_build: bool,
}

/// The programs of `vectorbench.c`.
const VECTOR_PROGRAMS: [&str; 11] = [
    "saxpy_f32",
    "saxpy_f32_fma",
    "saxpy_f64",
    "saxpy_f64_fma",
    "matmul_f64_256",
    "mandelbrot_f32",
    "sum_i32",
    "max_i32",
    "find_byte",
    "count_bytes",
    "population",
];

/// Runs the yardstick wherever `options` say, one after the other, and prints the times as Markdown. What
/// each printed is kept in `build/bench/*.log`.
///
/// # Errors
/// If something cannot be built, or, after the table of those that went well, if a run failed.
pub fn measure(options: &Options) -> Result<()> {
    if let Some(name) = options.programs.iter().find(|name| !is_program_name(name)) {
        bail!("`{name}` cannot be a program's name");
    }
    if !options.no_build {
        build(&options.only)?;
    }
    let folder = workspace::build_folder();
    let guest = Guest {
        kernel: folder.join("kernel/vmlinux"),
        initramfs: folder.join("bench/bench.cpio"),
        programs: if options.avx2 && options.programs.is_empty() {
            VECTOR_PROGRAMS.map(str::to_owned).to_vec()
        } else {
            options.programs.clone()
        },
        has_avx2: options.avx2,
        engine: options.engine.clone(),
        append: options.append.clone(),
        timeout_seconds: options.timeout,
    };
    let mut report = Report { machine: machine::description()?, ..Report::default() };
    let mut failures = Vec::new();
    for leg in Leg::ALL.into_iter().filter(|leg| options.only.contains(leg)) {
        let log = folder.join(format!("bench/{}.log", leg.name()));
        let busy = machine::busy_share()?;
        eprintln!("bench: {leg} ...");
        if busy > machine::BUSY {
            eprintln!("bench: the machine has other work ({:.0} %), which makes figures worse", busy * 100.0);
        }
        match legs::run(leg, &guest, &log) {
            Ok(figures) => report.legs.push(Measured { leg, figures, busy }),
            Err(error) => failures.push(format!("{leg}: {error:#} (its lines are in {})", log.display())),
        }
    }
    if !report.legs.is_empty() {
        println!("{}", report.markdown());
    }
    if let Some(file) = &options.json {
        let text = serde_json::to_string_pretty(&report.json())?;
        fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(())
}

/// Makes what the legs need.
fn build(legs: &[Leg]) -> Result<()> {
    make_initramfs()?;
    if legs.iter().any(|leg| *leg != Leg::Native) {
        kernel::build()?;
    }
    if legs.iter().any(|leg| leg.is_dinghy()) {
        wasm::build()?;
        www::install_packages()?;
        run(node::npm()?.args(["run", "--silent", "lib"]))?;
    }
    Ok(())
}

/// Whether a name can stand in a list on the kernel's command line.
fn is_program_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

/// Makes `build/bench/bench.cpio`, and beside it `guestbench`, the same program for the host.
///
/// # Errors
/// If it cannot be compiled or packed.
pub fn make_initramfs() -> Result<()> {
    let sources = workspace::root().join("tests/bench");
    let mut key = Key::new("bench")
        .text("busybox", &package_version("busybox-static")?)
        .text("compiler", &output_of(command("gcc").arg("-dumpfullversion"))?);
    for file in ["guestbench.c", "vectorbench.c", "guestbench.sh", "passes.sh", "mkinitramfs.sh"] {
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

#[cfg(test)]
mod tests {
    use super::is_program_name;

    #[test]
    fn names_are_what_the_kernel_s_command_line_can_carry() {
        assert!(is_program_name("matmul_f64"));
        for bad in ["", "fib sieve", "fib,sieve", "\"fib\"", "a=b"] {
            assert!(!is_program_name(bad), "{bad:?}");
        }
    }
}
