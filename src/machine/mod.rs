//! Assembly: memory map, vCPUs, run loop, time; the public Rust API.

mod absent;
mod bus;
mod entry;
mod handle;
mod keeping;
mod panic_watch;
mod platform;
mod saving;
mod state;
mod time;
mod time_message;

pub use absent::RestOfMemory;
pub use handle::MachineHandle;
pub use platform::PlatformError;
pub use saving::Restorer;
pub use time::ClockSource;

use crate::boot::{self, BootError, BootRequest};
pub use crate::cpu::CpuModel;
use crate::cpu::{Stop, Vcpu};
use crate::devices::acpi::{AcpiConfig, PciLayout};
use crate::devices::bus::lock;
use crate::devices::power::PowerRequest;
use crate::host::{BlockSource, CodeError, CodeHost, ConsoleOutput, Entropy, NetBackend};
use crate::jit::{Engine, EngineOptions, EngineStatistics};
use crate::mem::{Addressable, GuestMemory};
use crate::snapshot::{AbsentChunks, SnapshotError};
use crate::virtio::p9::Share;
use absent::TouchedPages;
use bus::ProcessorBus;
use panic_watch::{ConsoleHistory, ConsoleTail, PanicState, WatchedOutput};
use platform::{Backends, Platform};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use time::MachineTime;
use time_message::TimeMessages;

/// What a machine is made of.
pub struct MachineConfig {
    /// Bytes of RAM: a multiple of 4 KiB, 64 MiB to 3 GiB.
    pub memory_bytes: u64,
    /// Which processor the guest sees.
    pub cpu_model: CpuModel,
    /// A vmlinux (ELF64), a bzImage, or a multiboot kernel (ELF32).
    pub kernel: Vec<u8>,
    /// An initramfs image.
    pub initrd: Option<Vec<u8>>,
    /// The kernel command line.
    pub command_line: String,
    /// Where the time comes from.
    pub clock: ClockSource,
    /// For `RDRAND` and `RDSEED`.
    pub entropy: Box<dyn Entropy>,
    /// For virtio-rng.
    pub rng_entropy: Box<dyn Entropy>,
    /// What the guest prints on the first serial port (ttyS0).
    pub serial_output: Box<dyn ConsoleOutput>,
    /// What the guest prints on the virtio console (hvc0).
    pub console_output: Box<dyn ConsoleOutput>,
    /// Size of the terminal behind the virtio console: columns, rows.
    pub console_size: (u16, u16),
    /// Disks, in the order vda, vdb, …
    pub disks: Vec<Box<dyn BlockSource>>,
    /// What compiles hot code, and when; without it, everything is interpreted.
    pub code: Option<(CodeHostFactory, EngineOptions)>,
    /// What is at the other end of the network card's cable; without it there is no card.
    pub network: Option<Box<dyn NetBackend>>,
    /// Directories shared with the guest, each under a tag of its own.
    pub shares: Vec<Share>,
}

/// Makes the host of compiled code for a machine's memory.
pub type CodeHostFactory = Box<dyn FnOnce(&GuestMemory) -> Result<Box<dyn CodeHost>, CodeError>>;

/// Why a machine could not be built.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The memory size is out of range.
    #[error(
        "{0} bytes of memory cannot be given: use a multiple of 4 KiB from 64 MiB to 3 GiB, 512 MiB or more for Docker"
    )]
    MemorySize(u64),
    /// The host has too little memory.
    #[error("the host cannot give {0} bytes of memory: close other tabs or choose a smaller memory size")]
    OutOfMemory(u64),
    /// The kernel cannot be loaded.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The devices cannot be put together.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The snapshot cannot be restored.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
}

/// Why [`Machine::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunOutcome {
    /// The instruction limit is reached.
    LimitReached,
    /// Nothing runs until an interrupt.
    Idle {
        /// When a timer is due next, in nanoseconds of the machine's clock.
        deadline_ns: Option<u64>,
    },
    /// Somebody has asked by [`MachineHandle::request_save`] for the machine to be [saved](Machine::save).
    SaveRequested,
    /// Someone asked for the machine to be kept ([`MachineHandle::request_keep`]); it can go on running.
    KeepRequested,
    /// The guest has switched the machine off.
    PoweredOff,
    /// The guest asks for a restart: build a new machine.
    Restarted,
    /// The guest has left with an exit code by the debug-exit port.
    Exited(u32),
    /// The processor has shut down after a fault while delivering a double fault.
    TripleFault,
    /// The kernel has panicked.
    Panicked,
    /// Pages of a snapshot that were still to come cannot be had: [`Machine::lost_memory`] says why.
    MemoryLost,
}

/// What a machine has done so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Statistics {
    /// Guest instructions retired.
    pub instructions: u64,
    /// Blocks translated.
    pub translated_blocks: u64,
    /// Blocks dropped because their bytes changed.
    pub invalidated_blocks: u64,
    /// Blocks in the cache now.
    pub cached_blocks: u64,
    /// What the engine has compiled, if there is one.
    pub engine: Option<EngineStatistics>,
}

/// A virtual machine with one processor.
pub struct Machine {
    vcpu: Addressable<Vcpu>,
    platform: Platform,
    handle: MachineHandle,
    time: MachineTime,
    history: ConsoleHistory,
    /// What the serial port and the virtio console have shown last.
    tails: [ConsoleTail; 2],
    /// The processor's.
    entropy: Arc<Mutex<Box<dyn Entropy>>>,
    time_messages: Option<TimeMessages>,
    /// At how many retired instructions timers are looked at next. It does not depend on how the host
    /// divides a run, so that a run by the instruction count repeats.
    look_at: u64,
    /// The parts of its memory that were still to come when it was restored.
    absent_chunks: Option<AbsentChunks>,
    touched: Option<Arc<TouchedPages>>,
}

/// The smallest and the largest RAM in bytes. The PCI window begins where the largest ends.
const MEMORY_RANGE: std::ops::RangeInclusive<u64> = 64 << 20..=3 << 30;

/// Ends of waiting in one run, which counted time skips at once: an hour of a guest's ticks.
const MOST_SKIPS: u32 = 360_000;

/// Instructions between two looks at timers and input: about 0.5 ms. With 10 times fewer, the looks took 2 %
/// of the time; with 10 times more, timers are late by more than a guest's tick resolution.
const SLICE: u64 = 100_000;

impl Machine {
    /// Builds a machine with its kernel loaded, ready to run.
    ///
    /// # Errors
    /// When memory, kernel or devices do not fit; the message says what to do.
    pub fn new(mut config: MachineConfig) -> Result<Self, MachineError> {
        let (kernel, initrd) = (std::mem::take(&mut config.kernel), config.initrd.take());
        let command_line = std::mem::take(&mut config.command_line);
        let time = MachineTime::new(config.clock.clone());
        let mut machine = Self::assemble(config, time)?;
        let mut seed = [0; 32];
        let mut entropy = lock(&machine.entropy);
        entropy.fill(&mut seed);
        let request = BootRequest {
            kernel: &kernel,
            initrd: initrd.as_deref(),
            command_line: &command_line,
            acpi: AcpiConfig { processor_count: 1, pci: PciLayout::default() },
            random_seed: Some(seed),
        };
        let entry = boot::load(&request, &machine.vcpu.memory)?;
        machine.platform.generation_id.initialize(entropy.as_mut()).map_err(BootError::from)?;
        drop(entropy);
        entry::enter_kernel(&mut machine.vcpu, &entry);
        Ok(machine)
    }

    /// Puts a machine together, with empty RAM and its processor after reset.
    fn assemble(config: MachineConfig, time: MachineTime) -> Result<Self, MachineError> {
        let memory_bytes = config.memory_bytes;
        if !MEMORY_RANGE.contains(&memory_bytes) || !memory_bytes.is_multiple_of(4096) {
            return Err(MachineError::MemorySize(memory_bytes));
        }
        let memory = GuestMemory::new(memory_bytes).ok_or(MachineError::OutOfMemory(memory_bytes))?;
        let attention: Arc<AtomicU32> = Arc::default();
        let history = ConsoleHistory::default();
        let tails = <[ConsoleTail; 2]>::default();
        let watched =
            |output, tail: &ConsoleTail| Box::new(WatchedOutput::new(output, history.clone(), tail.clone()));
        let backends = Backends {
            serial_output: watched(config.serial_output, &tails[0]),
            console_output: watched(config.console_output, &tails[1]),
            console_size: config.console_size,
            disks: config.disks,
            network: config.network,
            shares: config.shares,
            entropy: config.rng_entropy,
        };
        let platform = Platform::new(&memory, &time, &attention, backends)?;
        let entropy = Arc::new(Mutex::new(config.entropy));
        let bus = ProcessorBus {
            memory_bus: platform.memory_bus.clone(),
            port_bus: platform.port_bus.clone(),
            local_apic: platform.local_apic.clone(),
            time: time.clone(),
            entropy: entropy.clone(),
            attention: attention.clone(),
        };
        let mut vcpu = memory.place(Vcpu::new(memory.clone(), Box::new(bus), 0));
        vcpu.model = config.cpu_model;
        if let Some((host, options)) = config.code {
            match host(&memory).and_then(|host| Engine::new(host, options)) {
                Ok(engine) => vcpu.set_compiled_code(Box::new(engine), options.threshold),
                Err(error) => log::error!("{error}: guest code is interpreted"),
            }
        }
        let handle = MachineHandle::new(attention);
        Ok(Self {
            vcpu,
            platform,
            handle,
            time,
            history,
            tails,
            entropy,
            time_messages: None,
            look_at: 0,
            absent_chunks: None,
            touched: None,
        })
    }

    /// How the outside reaches this machine.
    pub fn handle(&self) -> MachineHandle {
        self.handle.clone()
    }

    /// Runs until about `limit` more instructions are retired, or until something happens.
    pub fn run(&mut self, limit: u64) -> RunOutcome {
        let end = self.vcpu.instructions.saturating_add(limit);
        let mut skips = 0;
        loop {
            let attention = self.handle.attention.swap(0, Ordering::SeqCst);
            if attention != 0 || self.platform.has_backlog() {
                let inbox = std::mem::take(&mut *self.handle.lock());
                let (is_save_requested, is_keep_requested) =
                    (inbox.is_save_requested, inbox.is_keep_requested);
                self.platform.deliver(inbox);
                self.look_at = 0;
                if is_save_requested {
                    return RunOutcome::SaveRequested;
                }
                if is_keep_requested {
                    return RunOutcome::KeepRequested;
                }
            }
            if self.vcpu.memory.lost().is_some() {
                return RunOutcome::MemoryLost;
            }
            if let Some(outcome) = self.power_outcome() {
                return outcome;
            }
            if self.vcpu.instructions >= self.look_at {
                let now_ns = self.time.now_ns(self.vcpu.instructions);
                let deadline_ns = self.advance_devices(now_ns);
                let to_deadline = deadline_ns.and_then(|deadline| self.time.instructions_until(deadline));
                let slice = to_deadline.map_or(SLICE, |instructions| instructions.clamp(1, SLICE));
                self.look_at = self.vcpu.instructions.saturating_add(slice);
            }
            if self.vcpu.instructions >= end {
                return RunOutcome::LimitReached;
            }
            match self.vcpu.run(end.min(self.look_at)) {
                Stop::Limit => {}
                Stop::Shutdown if self.vcpu.memory.lost().is_some() => return RunOutcome::MemoryLost,
                Stop::Shutdown => return RunOutcome::TripleFault,
                Stop::Halted => {
                    self.look_at = 0;
                    let now_ns = self.time.now_ns(self.vcpu.instructions);
                    let deadline_ns = self.advance_devices(now_ns);
                    let is_woken = self.handle.attention.load(Ordering::SeqCst) != 0 || self.vcpu.can_wake();
                    let is_skipped = || deadline_ns.is_some_and(|deadline| self.time.skip_to(deadline));
                    if !is_woken && !is_skipped() {
                        return self.power_outcome().unwrap_or(RunOutcome::Idle { deadline_ns });
                    }
                    // A timer that goes on for a processor that takes no interrupts would keep this call forever.
                    skips += 1;
                    if skips == MOST_SKIPS {
                        return RunOutcome::LimitReached;
                    }
                }
            }
        }
    }

    /// Lets everything act that is due; returns when the next is due, in machine nanoseconds.
    fn advance_devices(&mut self, now_ns: u64) -> Option<u64> {
        let mut message_ns = None;
        if let Some(messages) = &mut self.time_messages {
            if let Some(message) = messages.due(now_ns, &*self.time.clock()) {
                self.platform.type_on_serial(message.as_bytes());
            }
            message_ns = messages.next_ns();
        }
        if message_ns.is_none() {
            self.time_messages = None;
        }
        [self.platform.advance_to(now_ns), message_ns].into_iter().flatten().min()
    }

    fn power_outcome(&self) -> Option<RunOutcome> {
        let has_panicked = self.history.panic_state() != PanicState::None;
        match self.platform.power.take() {
            Some(PowerRequest::PowerOff) => Some(RunOutcome::PoweredOff),
            Some(PowerRequest::Exit(code)) => Some(RunOutcome::Exited(code)),
            Some(PowerRequest::Reset) if has_panicked => Some(RunOutcome::Panicked),
            Some(PowerRequest::Reset) => Some(RunOutcome::Restarted),
            None if self.history.panic_state() == PanicState::Stuck => Some(RunOutcome::Panicked),
            None => None,
        }
    }

    /// The last lines that the guest printed on its consoles, oldest first.
    pub fn last_console_lines(&self) -> Vec<String> {
        self.history.last_lines()
    }

    /// The machine's clock, in nanoseconds since it was built.
    pub fn now_ns(&self) -> u64 {
        self.time.clock().now_ns()
    }

    fn engine(&self) -> Option<&Engine> {
        self.vcpu.compiled_code()?.as_any().downcast_ref()
    }

    /// What the machine has done so far.
    pub fn statistics(&self) -> Statistics {
        let code = self.vcpu.code_cache();
        Statistics {
            instructions: self.vcpu.instructions,
            translated_blocks: code.translated,
            invalidated_blocks: code.invalidated,
            cached_blocks: code.len() as u64,
            engine: self.engine().map(Engine::statistics),
        }
    }
}
