//! Linux, booted by both executors with the instruction count for a clock: every byte is the same.
//!
//! Needs the kernel and the guest that `make build` makes.

use crate::host::WasmtimeHost;
use crate::kernel::{Guest, Setup, build_folder, kernel};
use crate::kernel_initramfs::Initramfs;
use crate::kernel_program::{Program, Reboot};
use dinghy::jit::EngineOptions;
use dinghy::machine::RunOutcome;
use dinghy::mem::{GuestMemory, GuestPhysAddr};
use dinghy::storage::MemoryDisk;
use std::sync::{Arc, Mutex};

/// No block becomes hot: the interpreter, with an engine that has nothing to do.
const NEVER: EngineOptions =
    EngineOptions { threshold: i32::MAX - 1, batch: usize::MAX, patience: u64::MAX, ..EngineOptions::AUTO };

/// Half as many regions as for speed: wasmtime takes most of the test's time to compile them.
const WHEN_HOT: EngineOptions = EngineOptions { threshold: 200, ..EngineOptions::AUTO };

/// A guest that prints a line and powers off.
fn small_guest() -> Setup {
    let program = Program::new().print("first words\n").reboot(Reboot::PowerOff);
    let mut setup = Setup::new(Initramfs::with_init(&program.finish()).finish());
    setup.memory_bytes = 128 << 20;
    setup
}

/// The guest that `make build` makes, with Docker.
fn docker_guest() -> Setup {
    let path = build_folder().join("guest/guest.ext4");
    let image = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut setup = Setup::with_kernel(kernel("vmlinux"));
    setup.command_line = "console=hvc0 quiet root=/dev/vda rw".to_owned();
    setup.memory_bytes = 1 << 30;
    setup.disks.push(Box::new(MemoryDisk::with_contents(&image).unwrap()));
    setup
}

/// The guest, and its RAM.
fn boot(mut setup: Setup, options: EngineOptions) -> (Guest, GuestMemory) {
    let kept: Arc<Mutex<Option<GuestMemory>>> = Arc::default();
    let keep = kept.clone();
    setup.code = Some((
        Box::new(move |memory| {
            *keep.lock().unwrap() = Some(memory.clone());
            Ok(Box::new(WasmtimeHost::new(memory)))
        }),
        options,
    ));
    let guest = setup.boot();
    let memory = kept.lock().unwrap().take().unwrap();
    (guest, memory)
}

/// FNV-1a over the quadwords of RAM, a page each.
fn digests(memory: &GuestMemory) -> Vec<u64> {
    let mut page = [0; 4096];
    let pages = (0..memory.size() / 4096).map(|number| {
        memory.read(GuestPhysAddr(number * 4096), &mut page).unwrap();
        page.chunks_exact(8).fold(0xcbf2_9ce4_8422_2325_u64, |digest, word| {
            (digest ^ u64::from_le_bytes(word.try_into().unwrap())).wrapping_mul(0x100_0000_01b3)
        })
    });
    pages.collect()
}

/// Runs a guest with both executors, to its end by `run`.
fn run_by_both(setup: impl Fn() -> Setup, run: impl Fn(&mut Guest), hot: EngineOptions) {
    let (mut interpreted, interpreted_memory) = boot(setup(), NEVER);
    run(&mut interpreted);
    assert_eq!(interpreted.machine.statistics().engine.unwrap().instructions, 0);

    let (mut compiled, compiled_memory) = boot(setup(), hot);
    run(&mut compiled);
    let engine = compiled.machine.statistics().engine.unwrap();
    println!("{} instructions, {engine:?}", compiled.instructions());
    assert!(engine.instructions > compiled.instructions() / 4, "{engine:?}");

    assert_eq!(interpreted.console.text(), compiled.console.text());
    assert_eq!(interpreted.serial.text(), compiled.serial.text());
    assert_eq!(interpreted.instructions(), compiled.instructions());
    let (one, other) = (digests(&interpreted_memory), digests(&compiled_memory));
    let differing: Vec<usize> = (0..one.len()).filter(|&page| one[page] != other[page]).collect();
    assert!(differing.is_empty(), "RAM differs in the pages {differing:x?}");
    println!("the digests of {} pages are equal", one.len());
}

#[test]
fn a_kernel_boots_the_same_interpreted_and_compiled() {
    run_by_both(small_guest, |guest| assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff), WHEN_HOT);
}

#[test]
fn docker_gets_ready_the_same_interpreted_and_compiled() {
    let run = |guest: &mut Guest| {
        guest.run_until("dinghy:docker-ready");
        println!("Docker is ready after {} instructions", guest.instructions());
        guest.machine.handle().console_input(b"docker version && poweroff -f\n");
        assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
    };
    run_by_both(docker_guest, run, EngineOptions::AUTO);
}
