//! The chores of the project: `cargo xtask --help` lists them, and `make build|run|test` calls them.

mod bench;
mod cache;
mod command;
mod guest;
mod kernel;
mod node;
mod serve;
mod setup;
mod snapshot;
mod stock;
mod test;
mod toolchain;
mod wasm;
mod workspace;
mod www;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// The chores of the dinghy project.
#[derive(Parser)]
#[command(name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Install the Debian packages that the other chores need, where missing
    Setup,
    /// Build the wasm standard library and install wasm-bindgen and wasm-pack, where missing
    Toolchain,
    /// Build the emulator for the browser into www/pkg/shared and www/pkg/unshared, and TLS into www/pkg/tls
    Wasm,
    /// Build the guest's Linux kernel into build/kernel
    Kernel,
    /// Build the guest's disk into build/guest
    Guest,
    /// Write the guest's disk in chunks into build/guest/chunks, in the order in which a boot reads them
    Chunks,
    /// Save the guest with Docker ready, as the page starts it, into build/guest
    Snapshot,
    /// Build the page into www/dist
    Www,
    /// Build everything
    Build,
    /// Build everything, then serve the page on this machine only
    Run {
        /// The TCP port to serve on
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Serve what is built, without building
    Serve {
        /// The TCP port to serve on
        #[arg(long, default_value_t = 8080)]
        port: u16,
    },
    /// Run every check: format, lints, tests on the host, in the browser and of the page
    Test,
    /// Unpack Debian's own kernels into build/stock for boot tests
    Stock,
    /// Make the benchmark's initramfs, build/bench/bench.cpio
    BenchInitramfs,
    /// Run the benchmark here, in QEMU, in node and in Chromium, and print the table of their times
    Bench(bench::Options),
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Setup => setup::install_packages(),
        Chore::Toolchain => toolchain::build()?.wasm_pack().map(drop),
        Chore::Wasm => wasm::build(),
        Chore::Kernel => kernel::build(),
        Chore::Guest => guest::build(),
        Chore::Chunks => guest::build_chunks(),
        Chore::Snapshot => www::build_package().and_then(|()| snapshot::build()),
        Chore::Www => www::build(),
        Chore::Build => build_all(),
        Chore::Run { port } => {
            build_all()?;
            serve::serve(port)
        }
        Chore::Serve { port } => serve::serve(port),
        Chore::Test => test::run_all(),
        Chore::Stock => stock::unpack(),
        Chore::BenchInitramfs => bench::make_initramfs(),
        Chore::Bench(options) => bench::measure(&options),
    }
}

/// Builds everything the page needs. The kernel, one half of the work from nothing, runs beside the
/// toolchain, the other half; the two share the machine's processors.
fn build_all() -> Result<()> {
    let started = Instant::now();
    setup::install_packages()?;
    std::thread::scope(|scope| -> Result<()> {
        let guest_side = scope.spawn(kernel::build);
        let host_side = toolchain::build();
        let guest_side =
            guest_side.join().map_err(|_| anyhow::anyhow!("the thread that builds the kernel panicked"))?;
        host_side?;
        guest_side
    })?;
    guest::build()?;
    wasm::build()?;
    guest::build_chunks()?;
    www::build_package()?;
    snapshot::build()?;
    www::build()?;
    println!("Built everything in {:.0} s.", started.elapsed().as_secs_f64());
    Ok(())
}
