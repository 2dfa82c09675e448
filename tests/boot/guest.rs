//! A machine with a Linux kernel, and what it prints.

use dinghy::host::{BlockSource, ConsoleOutput, NetBackend, RepeatableEntropy};
use dinghy::jit::EngineOptions;
use dinghy::machine::{
    ClockSource, CodeHostFactory, CpuModel, Machine, MachineConfig, MachineError, Restorer, RunOutcome,
};
use dinghy::virtio::p9::Share;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Instructions between two looks at the console.
const STEP: u64 = 100_000;
/// A guest that has not ended after so many instructions never will.
const PATIENCE: u64 = 8_000_000_000;
/// Neither will one that sleeps for so long.
const REAL_PATIENCE: Duration = Duration::from_secs(300);
const LONGEST_SLEEP_NS: u64 = 100_000_000;

/// What a guest has printed.
#[derive(Clone, Default)]
pub struct Console {
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl ConsoleOutput for Console {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes.lock().unwrap().extend_from_slice(bytes);
    }
}

impl Console {
    pub fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    fn contains(&self, text: &str) -> bool {
        self.bytes.lock().unwrap().windows(text.len()).any(|window| window == text.as_bytes())
    }
}

/// A file in the folder that `make build` fills.
pub fn build_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("build")
}

/// One of the kernels that `make build` makes.
pub fn kernel(name: &str) -> Vec<u8> {
    let path = build_folder().join("kernel").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}; `make build` makes it", path.display()))
}

/// What to boot.
pub struct Setup {
    pub kernel: Vec<u8>,
    pub initrd: Option<Vec<u8>>,
    pub command_line: String,
    pub memory_bytes: u64,
    /// Which processor it sees.
    pub cpu_model: CpuModel,
    pub disks: Vec<Box<dyn BlockSource>>,
    pub clock: ClockSource,
    pub network: Option<Box<dyn NetBackend>>,
    /// What compiles hot code; `None` interprets everything.
    pub code: Option<(CodeHostFactory, EngineOptions)>,
    pub shares: Vec<Share>,
}

impl Setup {
    /// Our kernel with its console on hvc0.
    pub fn new(initrd: Vec<u8>) -> Self {
        let command_line = "console=hvc0".to_owned();
        let initrd = Some(initrd);
        Self { initrd, command_line, memory_bytes: 256 << 20, ..Self::with_kernel(kernel("vmlinux")) }
    }

    /// Any kernel, in little memory, without an initrd.
    pub fn with_kernel(kernel: Vec<u8>) -> Self {
        Self {
            kernel,
            initrd: None,
            command_line: String::new(),
            memory_bytes: 64 << 20,
            cpu_model: CpuModel::default(),
            disks: Vec::new(),
            clock: ClockSource::Instructions,
            network: None,
            code: None,
            shares: Vec::new(),
        }
    }

    /// Builds the machine. Its time is its instruction count unless `clock` says otherwise, and its random
    /// bytes are always the same.
    pub fn build(self) -> Result<Guest, MachineError> {
        self.build_by(Machine::new)
    }

    /// Restores the machine from a snapshot.
    pub fn restore(self, snapshot: &[u8]) -> Result<Guest, MachineError> {
        self.build_by(|config| {
            let mut restorer = Restorer::new(config);
            restorer.push(snapshot)?;
            restorer.finish()
        })
    }

    /// Makes a machine by `build`.
    pub fn build_by(
        self,
        build: impl FnOnce(MachineConfig) -> Result<Machine, MachineError>,
    ) -> Result<Guest, MachineError> {
        let is_in_real_time = matches!(self.clock, ClockSource::Real(_));
        let (console, serial) = (Console::default(), Console::default());
        let machine = build(MachineConfig {
            memory_bytes: self.memory_bytes,
            cpu_model: self.cpu_model,
            kernel: self.kernel,
            initrd: self.initrd,
            command_line: self.command_line,
            clock: self.clock,
            entropy: Box::new(RepeatableEntropy::new(1)),
            rng_entropy: Box::new(RepeatableEntropy::new(2)),
            serial_output: Box::new(serial.clone()),
            console_output: Box::new(console.clone()),
            console_size: (80, 24),
            disks: self.disks,
            network: self.network,
            code: self.code,
            shares: self.shares,
        })?;
        Ok(Guest { machine, console, serial, end: None, is_in_real_time, started: Instant::now() })
    }

    /// Builds the machine, which must go well.
    pub fn boot(self) -> Guest {
        self.build().unwrap_or_else(|error| panic!("{error}"))
    }
}

/// A machine and its consoles.
pub struct Guest {
    pub machine: Machine,
    /// hvc0.
    pub console: Console,
    /// ttyS0.
    pub serial: Console,
    end: Option<RunOutcome>,
    is_in_real_time: bool,
    started: Instant,
}

impl Guest {
    /// Runs until one of the consoles shows `text`.
    pub fn run_until(&mut self, text: &str) {
        while !self.console.contains(text) && !self.serial.contains(text) {
            assert!(self.end.is_none(), "{}", self.story(&format!("before {text:?}")));
            self.step();
        }
    }

    /// The machine as a snapshot.
    pub fn save(&mut self) -> Vec<u8> {
        let mut snapshot = Vec::new();
        let saved = self.machine.save(&mut |bytes| {
            snapshot.extend_from_slice(bytes);
            Ok(())
        });
        saved.unwrap_or_else(|error| panic!("{error}"));
        snapshot
    }

    /// Runs until the machine ends; how it did.
    pub fn run_to_end(&mut self) -> RunOutcome {
        loop {
            if let Some(end) = self.end {
                return end;
            }
            self.step();
        }
    }

    /// Guest instructions so far.
    pub fn instructions(&self) -> u64 {
        self.machine.statistics().instructions
    }

    /// Runs on for a moment.
    pub fn step(&mut self) {
        match self.machine.run(STEP) {
            // Only the host's time passes without the guest.
            RunOutcome::Idle { deadline_ns } if self.is_in_real_time => {
                let wait_ns =
                    deadline_ns.map_or(LONGEST_SLEEP_NS, |at| at.saturating_sub(self.machine.now_ns()));
                std::thread::park_timeout(Duration::from_nanos(wait_ns.min(LONGEST_SLEEP_NS)));
                assert!(self.started.elapsed() < REAL_PATIENCE, "{}", self.story("and no end"));
            }
            RunOutcome::LimitReached => {
                assert!(self.instructions() < PATIENCE, "{}", self.story("and no end"));
            }
            outcome => self.end = Some(outcome),
        }
    }

    fn story(&self, what: &str) -> String {
        let lines = self.machine.last_console_lines().join("\n");
        format!("{:?} after {} instructions {what}:\n{lines}", self.end, self.instructions())
    }
}
