//! One run of the command: machines, one after another while the guest restarts.

use super::arguments::{ClockArgument, Engine, NetworkArgument, RunArguments};
use super::files::{FileError, Files, SnapshotFile};
use super::input::{GuestConsole, Keyboard};
use super::output::StandardOutput;
use super::terminal::{self, RawMode};
use crate::host::{Entropy, NetBackend, RepeatableEntropy};
use crate::machine::{ClockSource, CpuModel, Machine, MachineConfig, MachineError, Restorer, RunOutcome};
use crate::native::{FilesBeside, HostNetwork, HostNetworkError, NetworkWaker, SystemClock, SystemEntropy};
use crate::net::Policy;
use crate::snapshot::SnapshotError;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Instructions between two looks at the clock, the terminal and standard output: some 10 ms.
const SLICE: u64 = 1_000_000;
/// How often an idle machine looks whether the terminal has another size.
const TERMINAL_LOOK: Duration = Duration::from_millis(250);
/// Columns and rows of a console that is no terminal.
const DEFAULT_SIZE: (u16, u16) = (80, 24);
const MIB: u64 = 1 << 20;

/// Why a run could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// An engine that there is not.
    #[error(
        "the native command has nothing to run compiled code in, which is WebAssembly: use --engine auto or interp, \
         or node www/bin/dinghy.mjs run --engine jit"
    )]
    NoCompiledCode,
    /// The files do not make a machine.
    #[error(transparent)]
    File(#[from] FileError),
    /// The machine cannot be built.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The operating system has no randomness.
    #[error("the operating system gives no random bytes: {0}")]
    Entropy(#[from] getrandom::Error),
    /// The machine cannot be saved.
    #[error("cannot save the machine in {path}: {source}")]
    Save {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SnapshotError,
    },
    /// The guest cannot have the network that was asked for.
    #[error(transparent)]
    Network(#[from] HostNetworkError),
    /// The outside does not keep to counted time.
    #[error("--net host needs --clock real: the network does not keep to a time that is counted")]
    NetworkInCountedTime,
    /// Ports or addresses for a network that is not there.
    #[error("--publish and --net-allow need --net host")]
    NoNetwork,
    /// The terminal cannot be used.
    #[error("cannot use the terminal: {0}")]
    Terminal(#[source] io::Error),
    /// Standard output cannot be written.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
}

impl SessionError {
    /// Whether other arguments or files would help.
    pub fn is_by_arguments(&self) -> bool {
        matches!(
            self,
            Self::NoCompiledCode
                | Self::File(_)
                | Self::Machine(_)
                | Self::NetworkInCountedTime
                | Self::NoNetwork
                | Self::Network(HostNetworkError::Listen { .. })
        )
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest has switched the machine off.
    PoweredOff,
    /// The user has typed Ctrl-A X.
    Quit,
    /// The time is over.
    TimedOut,
    /// The guest has left by the debug-exit port, with this value.
    Exited(u32),
    /// The guest has crashed.
    Crashed {
        /// How.
        reason: &'static str,
        /// What its consoles showed last.
        last_lines: Vec<String>,
    },
}

/// A run that has its files and may begin.
pub struct Session {
    files: Files,
    memory_bytes: u64,
    cpu_model: CpuModel,
    clock: ClockArgument,
    timeout: Option<Duration>,
    network: Option<HostNetwork>,
    save: Option<PathBuf>,
    instructions: u64,
}

impl Session {
    /// Opens the files that `arguments` name.
    ///
    /// # Errors
    /// When they do not make a machine, or `arguments` ask for an engine that there is not.
    pub fn new(arguments: &RunArguments) -> Result<Self, SessionError> {
        let network = network(arguments)?;
        match arguments.engine {
            Engine::Interp | Engine::Auto => {}
            Engine::Jit => return Err(SessionError::NoCompiledCode),
        }
        Ok(Self {
            files: Files::open(arguments)?,
            memory_bytes: arguments.memory.saturating_mul(MIB),
            cpu_model: arguments.cpu.into(),
            clock: arguments.clock,
            timeout: arguments.timeout,
            network,
            save: arguments.save.clone(),
            instructions: 0,
        })
    }

    /// Guest instructions retired by all machines so far.
    pub fn instructions(&self) -> u64 {
        self.instructions
    }

    /// Runs until the guest or the user ends it.
    ///
    /// # Errors
    /// When the machine cannot be built, or the terminal fails.
    pub fn run(&mut self) -> Result<Ending, SessionError> {
        let end = self.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let output = StandardOutput::new();
        // The first machine comes before raw mode, so that its errors are shown as usual.
        let mut machine = self.build_machine(&output, self.files.snapshot.as_ref())?;
        let raw_mode = RawMode::enter().map_err(SessionError::Terminal)?;
        let console = GuestConsole::from_command_line(&self.files.command_line);
        let keyboard = Keyboard::start(machine.handle(), console, raw_mode.is_some(), std::thread::current())
            .map_err(SessionError::Terminal)?;
        loop {
            let ending = run_machine(&mut machine, &keyboard, &output, end);
            self.instructions += machine.statistics().instructions;
            match ending? {
                Some(ending) => {
                    if let (Ending::Quit | Ending::TimedOut, Some(path)) = (&ending, &self.save) {
                        save(&mut machine, path)?;
                    }
                    return Ok(ending);
                }
                None if end.is_some_and(|end| Instant::now() >= end) => return Ok(Ending::TimedOut),
                None if keyboard.wants_to_quit() => return Ok(Ending::Quit),
                None => {
                    log::info!("the guest restarts");
                    // Its memory is freed before the next one's is taken.
                    drop(machine);
                    machine = self.build_machine(&output, None)?;
                    keyboard.connect(machine.handle());
                }
            }
        }
    }

    /// Boots a machine, or makes that in the snapshot.
    fn build_machine(
        &self,
        output: &StandardOutput,
        snapshot: Option<&SnapshotFile>,
    ) -> Result<Machine, SessionError> {
        let clock = match self.clock {
            ClockArgument::Real => ClockSource::Real(Arc::new(SystemClock::start_now())),
            ClockArgument::Icount => ClockSource::Instructions,
        };
        let entropy = |seed| -> Result<Box<dyn Entropy>, SessionError> {
            Ok(match self.clock {
                ClockArgument::Real => Box::new(SystemEntropy::new()?),
                // A run by the instruction count repeats, and so does what is random in it.
                ClockArgument::Icount => Box::new(RepeatableEntropy::new(seed)),
            })
        };
        let network = self.network.as_ref().map(start_network).transpose()?;
        let (network, network_waker) = network.unzip();
        let config = MachineConfig {
            memory_bytes: self.memory_bytes,
            cpu_model: self.cpu_model,
            kernel: if snapshot.is_none() { self.files.kernel()? } else { Vec::new() },
            initrd: self.files.initrd.clone(),
            command_line: self.files.command_line.clone(),
            clock,
            entropy: entropy(1)?,
            rng_entropy: entropy(2)?,
            serial_output: Box::new(output.clone()),
            console_output: Box::new(output.clone()),
            console_size: terminal::size().unwrap_or(DEFAULT_SIZE),
            disks: self.files.disks.iter().map(|disk| Box::new(disk.clone()) as _).collect(),
            // Compiled code is WebAssembly, and nothing here runs that.
            code: None,
            network,
            shares: self.files.open_shares()?,
        };
        let machine = match snapshot {
            None => Machine::new(config)?,
            Some(snapshot) => {
                let mut restorer = Restorer::new(config);
                restorer.fetch_pages_from(Box::new(FilesBeside::of(&snapshot.path)));
                restorer.push(&snapshot.bytes)?;
                restorer.finish()?
            }
        };
        if let Some(waker) = network_waker {
            waker.connect(machine.handle(), std::thread::current());
        }
        Ok(machine)
    }
}

/// Saves a machine in a file.
fn save(machine: &mut Machine, path: &Path) -> Result<(), SessionError> {
    let failed = |source| SessionError::Save { path: path.to_owned(), source };
    let output = |error: io::Error| SnapshotError::Output(error.to_string());
    let mut file = BufWriter::new(File::create(path).map_err(output).map_err(failed)?);
    machine.save(&mut |bytes| file.write_all(bytes).map_err(output)).map_err(failed)?;
    file.flush().map_err(output).map_err(failed)
}

/// The network that `arguments` ask for.
fn network(arguments: &RunArguments) -> Result<Option<HostNetwork>, SessionError> {
    match arguments.network {
        NetworkArgument::None if arguments.published.is_empty() && arguments.network_allowed.is_empty() => {
            Ok(None)
        }
        NetworkArgument::None => Err(SessionError::NoNetwork),
        NetworkArgument::Host if arguments.clock == ClockArgument::Icount => {
            Err(SessionError::NetworkInCountedTime)
        }
        NetworkArgument::Host => Ok(Some(HostNetwork {
            policy: Policy::new(arguments.network_allowed.clone()),
            published: arguments.published.clone(),
            name_server: None,
        })),
    }
}

fn start_network(network: &HostNetwork) -> Result<(Box<dyn NetBackend>, NetworkWaker), SessionError> {
    let mut seed = [0; 8];
    getrandom::fill(&mut seed)?;
    let (gateway, waker, addresses) = network.start(u64::from_le_bytes(seed))?;
    for (published, address) in network.published.iter().zip(addresses) {
        match published.host_port {
            // Nobody knows which one it is.
            0 => eprintln!("dinghy: {address} leads to the guest's port {}", published.guest_port),
            _ => log::info!("{address} leads to the guest's port {}", published.guest_port),
        }
    }
    Ok((Box::new(gateway), waker))
}

/// Runs one machine to its end; `None` when the guest wants a restart.
fn run_machine(
    machine: &mut Machine,
    keyboard: &Keyboard,
    output: &StandardOutput,
    end: Option<Instant>,
) -> Result<Option<Ending>, SessionError> {
    let handle = machine.handle();
    let mut size = terminal::size();
    loop {
        let outcome = machine.run(SLICE);
        output.flush().map_err(SessionError::Output)?;
        let crashed = |reason| Ending::Crashed { reason, last_lines: machine.last_console_lines() };
        let deadline_ns = match outcome {
            RunOutcome::LimitReached | RunOutcome::SaveRequested | RunOutcome::KeepRequested => None,
            RunOutcome::Idle { deadline_ns } => Some(deadline_ns),
            RunOutcome::PoweredOff => return Ok(Some(Ending::PoweredOff)),
            RunOutcome::Exited(code) => return Ok(Some(Ending::Exited(code))),
            RunOutcome::Restarted => return Ok(None),
            RunOutcome::TripleFault => {
                return Ok(Some(crashed("the guest's processor has shut down after a triple fault")));
            }
            RunOutcome::Panicked => return Ok(Some(crashed("the guest's kernel has panicked"))),
            RunOutcome::MemoryLost => {
                let problem = machine.lost_memory().unwrap_or_default().to_owned();
                return Err(MachineError::from(SnapshotError::Lost(problem)).into());
            }
        };
        if keyboard.wants_to_quit() {
            return Ok(Some(Ending::Quit));
        }
        let now = Instant::now();
        if end.is_some_and(|end| now >= end) {
            return Ok(Some(Ending::TimedOut));
        }
        let new_size = terminal::size();
        if let Some((columns, rows)) = new_size
            && new_size != size
        {
            handle.resize(columns, rows);
            size = new_size;
        }
        let has_attention = handle.attention().load(Ordering::SeqCst) != 0;
        if let Some(deadline_ns) = deadline_ns
            && !has_attention
        {
            let to_deadline =
                deadline_ns.map(|deadline| Duration::from_nanos(deadline.saturating_sub(machine.now_ns())));
            let to_end = end.map(|end| end.saturating_duration_since(now));
            let to_look = size.map(|_| TERMINAL_LOOK);
            match [to_deadline, to_end, to_look].into_iter().flatten().min() {
                // Typing unparks, also when it came between the look at `attention` and here.
                Some(wait) => std::thread::park_timeout(wait),
                None => std::thread::park(),
            }
        }
    }
}
