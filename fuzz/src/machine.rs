//! Whole machines: kernels that are none, and 32-bit code at their entry.

use dinghy::host::{Acceptance, ConsoleOutput, Frame, NetBackend, RepeatableEntropy};
use dinghy::machine::{ClockSource, CpuModel, Machine, MachineConfig};
use dinghy::storage::MemoryDisk;
use dinghy::storage::tree::MemoryTree;
use dinghy::virtio::p9::{Share, ShareTag};

/// Instructions that a machine runs at most.
const MOST_INSTRUCTIONS: u64 = 20_000;
const MEMORY_BYTES: u64 = 64 << 20;
const BASE: u32 = 0x10_0000;

struct Nowhere;

impl ConsoleOutput for Nowhere {
    fn write(&mut self, _: &[u8]) {}
}

/// The other end of a cable from which every frame comes back.
#[derive(Default)]
struct Echo(Vec<Frame<Vec<u8>>>);

impl NetBackend for Echo {
    fn guest_address(&self) -> [u8; 6] {
        [2, 0, 0, 0, 0, 1]
    }
    fn finishes_frames(&self) -> bool {
        true
    }
    fn set_accepted(&mut self, _: Acceptance) {}
    fn send(&mut self, frame: Frame<&[u8]>) {
        if self.0.len() < 16 {
            self.0.push(Frame { bytes: frame.bytes.to_vec(), offload: frame.offload });
        }
    }
    fn receive(&mut self) -> Option<Frame<Vec<u8>>> {
        self.0.pop()
    }
    fn advance_to(&mut self, _: u64) -> Option<u64> {
        None
    }
}

/// A machine with one device of each kind.
pub fn config(kernel: Vec<u8>) -> MachineConfig {
    let shares = ShareTag::new("share").ok().map(|tag| Share {
        tag,
        tree: Box::new(MemoryTree::new(1 << 20)),
        is_read_only: false,
    });
    MachineConfig {
        memory_bytes: MEMORY_BYTES,
        cpu_model: CpuModel::Max,
        kernel,
        initrd: None,
        command_line: "fuzz".to_owned(),
        clock: ClockSource::Instructions,
        entropy: Box::new(RepeatableEntropy::new(1)),
        rng_entropy: Box::new(RepeatableEntropy::new(2)),
        serial_output: Box::new(Nowhere),
        console_output: Box::new(Nowhere),
        console_size: (80, 25),
        disks: vec![Box::new(MemoryDisk::new(1 << 20))],
        code: None,
        network: Some(Box::new(Echo::default())),
        shares: shares.into_iter().collect(),
    }
}

/// Boots a file that need not be a kernel.
pub fn kernels(data: &[u8]) {
    if let Ok(mut machine) = Machine::new(config(data.to_vec())) {
        machine.run(MOST_INSTRUCTIONS);
    }
}

/// Runs code in flat 32-bit mode at privilege 0, which may go on to any other mode.
pub fn protected(data: &[u8]) {
    run_kernel(data, MOST_INSTRUCTIONS);
}

/// Runs code, and what follows it, at the entry of a multiboot kernel.
///
/// # Panics
/// When the machine refuses the kernel.
pub fn run_kernel(code: &[u8], limit: u64) {
    const HEADERS: u32 = 96;
    let mut image = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let length = HEADERS + code.len() as u32;
    let half = |value: u16| value.to_le_bytes().to_vec();
    let words = |values: &[u32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    image.extend([half(2), half(3), words(&[1, BASE + HEADERS, 52, 0, 0])].concat());
    image.extend([half(52), half(32), half(1), half(40), half(0), half(0)].concat());
    image.extend(words(&[1, 0, BASE, BASE, length, length + 0x1000, 7, 0x1000]));
    image.extend(words(&[0x1bad_b002, 0, 0x1bad_b002_u32.wrapping_neg()]));
    image.extend_from_slice(code);
    let mut machine = Machine::new(config(image)).expect("it is a multiboot kernel");
    machine.run(limit);
}

/// Where the code of [`run_kernel`] stands.
pub const ENTRY: u32 = BASE + 96;
