//! Linux, booted by both executors with the instruction count for a clock: every byte is the same.
//!
//! Needs the kernel that `make build` makes.

use crate::host::WasmtimeHost;
use crate::kernel::{Guest, Setup};
use crate::kernel_initramfs::Initramfs;
use crate::kernel_program::{Program, Reboot};
use dinghy::jit::EngineOptions;
use dinghy::machine::RunOutcome;
use dinghy::mem::{GuestMemory, GuestPhysAddr};
use std::sync::{Arc, Mutex};

/// No block becomes hot: the interpreter, with an engine that has nothing to do.
const NEVER: EngineOptions =
    EngineOptions { threshold: i32::MAX - 1, batch: usize::MAX, patience: u64::MAX, ..EngineOptions::AUTO };

/// Half as many regions as for speed: wasmtime takes most of the test's time to compile them.
const WHEN_HOT: EngineOptions = EngineOptions { threshold: 200, ..EngineOptions::AUTO };

/// A guest, and its RAM.
fn boot(options: EngineOptions) -> (Guest, GuestMemory) {
    let kept: Arc<Mutex<Option<GuestMemory>>> = Arc::default();
    let keep = kept.clone();
    let program = Program::new().print("first words\n").reboot(Reboot::PowerOff);
    let mut setup = Setup::new(Initramfs::with_init(&program.finish()).finish());
    setup.memory_bytes = 128 << 20;
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

#[test]
fn a_kernel_boots_the_same_interpreted_and_compiled() {
    let (mut interpreted, interpreted_memory) = boot(NEVER);
    assert_eq!(interpreted.run_to_end(), RunOutcome::PoweredOff);
    assert_eq!(interpreted.machine.statistics().engine.unwrap().instructions, 0);

    let (mut compiled, compiled_memory) = boot(WHEN_HOT);
    assert_eq!(compiled.run_to_end(), RunOutcome::PoweredOff);
    let engine = compiled.machine.statistics().engine.unwrap();
    println!("{} instructions, {engine:?}", compiled.instructions());
    assert!(engine.instructions > compiled.instructions() / 4, "{engine:?}");

    assert_eq!(interpreted.console.text(), compiled.console.text());
    assert_eq!(interpreted.instructions(), compiled.instructions());
    let (one, other) = (digests(&interpreted_memory), digests(&compiled_memory));
    let differing: Vec<usize> = (0..one.len()).filter(|&page| one[page] != other[page]).collect();
    assert!(differing.is_empty(), "RAM differs in the pages {differing:x?}");
}
