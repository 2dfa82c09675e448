//! The machine as its own worker runs it.

use super::code::WorkerCode;
use super::disk;
use super::file::{FunctionFile, MemoryFiles};
use super::host::{CryptoEntropy, FunctionOutput, WorkerClock};
use super::net;
use super::options::{EngineFile, EngineOptions};
use super::port::PortState;
use super::share;
use crate::host::{Entropy, NetBackend, RepeatableEntropy};
use crate::jit;
use crate::machine::{ClockSource, CodeHostFactory, CpuModel, Machine, MachineConfig, Restorer, RunOutcome};
use crate::net::handover::FlowCarrier;
use crate::snapshot::{KeptFile, PageDecoding, SnapshotError};
use crate::storage::ChunkInbox;
use crate::storage::tree::provided::AnswerInbox;
use js_sys::{Array, Error, Function, Object, Reflect, Uint8Array};
use std::sync::Arc;
use wasm_bindgen::prelude::*;

/// When to compile, by the name of an engine.
fn when_to_compile(engine: Option<&str>, has_names: bool) -> Result<Option<jit::EngineOptions>, Error> {
    let options = match engine {
        Some("interp") => return Ok(None),
        Some("jit") => jit::EngineOptions::AT_FIRST_SIGHT,
        Some("auto") | None => jit::EngineOptions::AUTO,
        Some(name) => {
            return Err(Error::new(&format!("there is no engine \"{name}\": use auto, interp or jit")));
        }
    };
    Ok(Some(jit::EngineOptions { has_names, ..options }))
}

/// `EngineMachine` of the package's `engine.ts`.
#[wasm_bindgen(js_name = Machine)]
pub struct WebMachine {
    machine: Machine,
    ways: Ways,
    last_outcome: RunOutcome,
}

#[wasm_bindgen(js_class = Machine)]
impl WebMachine {
    /// Builds a machine.
    ///
    /// # Errors
    /// An `Error` with one sentence for the user.
    #[wasm_bindgen(constructor)]
    pub fn new(options: &EngineOptions) -> Result<Self, Error> {
        let (config, ways) = config(options, options.kernel().to_vec())?;
        let machine = Machine::new(config).map_err(|error| Error::new(&error.to_string()))?;
        Ok(Self { machine, ways, last_outcome: RunOutcome::LimitReached })
    }

    /// Gives the machine as a snapshot to `sink`, a function that takes `Uint8Array`s in order.
    ///
    /// # Errors
    /// An `Error` with one sentence for the user.
    pub fn save(&mut self, sink: &Function) -> Result<(), Error> {
        let saved = self.machine.save(&mut |bytes| {
            let taken = sink.call1(&JsValue::NULL, &Uint8Array::from(bytes));
            taken.map(drop).map_err(|error| SnapshotError::Output(disk::message(&error)))
        });
        saved.map_err(|error| Error::new(&error.to_string()))
    }

    /// Makes the keeper's file hold the machine as it is now; how many pages of RAM were written, or nothing if it
    /// cannot be kept just now.
    ///
    /// # Errors
    /// An `Error` with one sentence.
    pub fn keep(&mut self, keeper: &mut WebKeeper) -> Result<Option<f64>, Error> {
        match self.machine.keep(&mut keeper.0) {
            Ok(pages) => Ok(Some(pages as f64)),
            Err(SnapshotError::NotNow(_)) => Ok(None),
            Err(error) => Err(Error::new(&error.to_string())),
        }
    }

    /// Whether a disk has moved on since the keeper's file was written.
    #[wasm_bindgen(js_name = hasMovedOnFrom)]
    pub fn has_moved_on_from(&self, keeper: &WebKeeper) -> bool {
        self.machine.has_moved_on_from(&keeper.0)
    }

    /// Runs `limit` more instructions at most; says why it returned.
    pub fn run(&mut self, limit: f64) -> String {
        self.last_outcome = self.machine.run(limit as u64);
        match self.last_outcome {
            RunOutcome::LimitReached => "limit",
            RunOutcome::Idle { .. } => "idle",
            RunOutcome::SaveRequested => "save",
            RunOutcome::KeepRequested => "keep",
            RunOutcome::PoweredOff => "powered-off",
            RunOutcome::Restarted => "restarted",
            RunOutcome::Exited(_) => "exited",
            RunOutcome::TripleFault => "triple-fault",
            RunOutcome::Panicked => "panicked",
            RunOutcome::MemoryLost => "memory-lost",
        }
        .to_owned()
    }

    /// The code that the guest has left with by the debug-exit port, after `run` has said `exited`.
    #[wasm_bindgen(js_name = exitCode)]
    pub fn exit_code(&self) -> Option<u32> {
        match self.last_outcome {
            RunOutcome::Exited(code) => Some(code),
            _ => None,
        }
    }

    /// Why memory cannot be had, in one sentence, after `run` has said `memory-lost`.
    #[wasm_bindgen(js_name = lostMemory)]
    pub fn lost_memory(&self) -> Option<String> {
        self.machine.lost_memory().map(|problem| SnapshotError::Lost(problem.to_owned()).to_string())
    }

    /// Whether parts of a snapshot's memory are still to come.
    #[wasm_bindgen(js_name = isWhole)]
    pub fn is_whole(&self) -> bool {
        self.machine.rest_of_memory().is_none()
    }

    /// The numbers of the pages that were touched since a recording restorer made the machine.
    #[wasm_bindgen(js_name = touchedPages)]
    pub fn touched_pages(&self) -> Vec<u32> {
        self.machine.touched_pages().into_iter().map(|page| page as u32).collect()
    }

    /// Milliseconds to the next timer after `run` has said `idle`; `Infinity` without one.
    #[wasm_bindgen(js_name = idleMilliseconds)]
    pub fn idle_milliseconds(&self) -> f64 {
        match self.last_outcome {
            RunOutcome::Idle { deadline_ns: Some(deadline) } => {
                deadline.saturating_sub(self.machine.now_ns()) as f64 / 1e6
            }
            RunOutcome::Idle { deadline_ns: None } => f64::INFINITY,
            _ => 0.0,
        }
    }

    /// Figures, as `EngineStatistics` has them.
    pub fn statistics(&self) -> Object {
        let statistics = self.machine.statistics();
        let object = Object::new();
        let engine = statistics.engine.unwrap_or_default();
        for (name, value) in [
            ("modulesCompiled", engine.modules_compiled),
            ("modules", engine.modules),
            ("regionsCompiled", engine.regions_compiled),
            ("regions", engine.regions),
            ("regionsEvicted", engine.regions_evicted),
            ("resumptions", engine.resumptions),
            ("codeBytesCompiled", engine.bytes_compiled),
            ("codeBytes", engine.bytes),
            ("instructionsCompiled", engine.instructions_compiled),
            ("compiledInstructions", engine.instructions),
            ("compileMilliseconds", (engine.compile_seconds * 1e3) as u64),
            ("compiledEntries", engine.entries),
            ("exitsToDispatch", engine.exits_to_dispatch),
            ("exitsToLook", engine.exits_to_look),
            ("exitsToResume", engine.exits_to_resume),
            ("exitsByException", engine.exits_by_exception),
            ("instructions", statistics.instructions),
            ("translatedBlocks", statistics.translated_blocks),
            ("invalidatedBlocks", statistics.invalidated_blocks),
            ("cachedBlocks", statistics.cached_blocks),
        ] {
            // Setting a property of a plain object that was just made cannot fail.
            let _ = Reflect::set(&object, &name.into(), &(value as f64).into());
        }
        object
    }

    /// The last lines that the guest has printed on its consoles.
    #[wasm_bindgen(js_name = lastConsoleLines)]
    pub fn last_console_lines(&self) -> Array {
        self.machine.last_console_lines().into_iter().map(JsValue::from).collect()
    }

    /// A number of which another worker makes a port.
    #[wasm_bindgen(js_name = portHandle)]
    pub fn port_handle(&self) -> u32 {
        let Ways { inboxes, carrier, shares } = self.ways.clone();
        let rest = self.machine.rest_of_memory();
        PortState { handle: self.machine.handle(), inboxes, carrier, shares, rest }.into_handle()
    }

    /// Address of the attention word in this memory.
    #[wasm_bindgen(js_name = attentionAddress)]
    pub fn attention_address(&self) -> u32 {
        std::ptr::from_ref(self.machine.handle().attention()) as usize as u32
    }
}

/// By what JavaScript brings the outside to a machine.
#[derive(Clone)]
struct Ways {
    /// Those of the chunked disks, by the disks' places.
    inboxes: Vec<Option<ChunkInbox>>,
    /// The network's, if there is one.
    carrier: Option<FlowCarrier>,
    /// Those of the provided shares, by the shares' places.
    shares: Vec<Option<AnswerInbox>>,
}

/// What a machine is made of, and the ways to it.
fn config(options: &EngineOptions, kernel: Vec<u8>) -> Result<(MachineConfig, Ways), Error> {
    let mut disks = Vec::new();
    let mut inboxes = Vec::new();
    for entry in options.disks().iter() {
        let (source, inbox) = disk::build(entry).map_err(|sentence| Error::new(&sentence))?;
        disks.push(source);
        inboxes.push(inbox);
    }
    let is_repeatable = options.clock() == "icount";
    let clock = if is_repeatable {
        ClockSource::Instructions
    } else {
        ClockSource::Real(Arc::new(WorkerClock::new()))
    };
    let entropy = |seed| -> Box<dyn Entropy> {
        if is_repeatable { Box::new(RepeatableEntropy::new(seed)) } else { Box::new(CryptoEntropy) }
    };
    let network = options.network();
    if network.is_some() && is_repeatable {
        return Err(Error::new(
            "a network needs the clock \"real\": it does not keep to a time that is counted",
        ));
    }
    let network = network
        .map(|network| net::build(network, &mut CryptoEntropy))
        .transpose()
        .map_err(|sentence| Error::new(&sentence))?;
    let (gateway, carrier) = network.unzip();
    let shares: Result<Vec<_>, _> = options.shares().unwrap_or_default().iter().map(share::build).collect();
    let (shares, answers) = shares.map_err(|sentence| Error::new(&sentence))?.into_iter().unzip();
    let config = MachineConfig {
        memory_bytes: options.memory_bytes() as u64,
        cpu_model: model(options.cpu().as_deref())?,
        kernel,
        initrd: options.initrd().map(|bytes| bytes.to_vec()),
        command_line: options.command_line(),
        clock,
        entropy: entropy(1),
        rng_entropy: entropy(2),
        serial_output: Box::new(FunctionOutput::new(options.on_serial_output())),
        console_output: Box::new(FunctionOutput::new(options.on_console_output())),
        console_size: (options.columns(), options.rows()),
        disks,
        code: when_to_compile(options.engine().as_deref(), options.has_names().unwrap_or_default())?
            .map(|when| -> (CodeHostFactory, _) { (Box::new(|_| Ok(Box::new(WorkerCode::new()?))), when) }),
        network: gateway.map(|gateway| -> Box<dyn NetBackend> { Box::new(gateway) }),
        shares,
    };
    Ok((config, Ways { inboxes, carrier, shares: answers }))
}

/// The processor of a name of the package's `engine.ts`.
fn model(name: Option<&str>) -> Result<CpuModel, Error> {
    match name {
        Some("v1") => Ok(CpuModel::V1),
        None | Some("v2") => Ok(CpuModel::V2),
        Some("v3") => Ok(CpuModel::V3),
        Some("max") => Ok(CpuModel::Max),
        Some(name) => Err(Error::new(&format!("there is no processor \"{name}\""))),
    }
}

/// Another worker's help with a snapshot's pages: `EnginePageDecoder` of the package's `engine.ts`. Nothing here gives
/// JavaScript values out or keeps them.
#[wasm_bindgen(js_name = PageDecoder)]
pub struct WebPageDecoder(Box<PageDecoding>);

#[wasm_bindgen(js_class = PageDecoder)]
impl WebPageDecoder {
    /// Takes a handle from a restorer's `decoderHandle`, each of them once.
    #[wasm_bindgen(constructor)]
    pub fn new(handle: u32) -> Self {
        // SAFETY: the handle is a box that `decoder_handle` leaked in this memory; the package's own workers are
        // the only callers, and make one decoder of each.
        Self(unsafe { Box::from_raw(handle as usize as *mut PageDecoding) })
    }

    /// Decodes what comes; returns when all has.
    pub fn help(&self) {
        self.0.help();
    }
}

/// The file in which a machine is kept: `EngineKeeper` of the package's `engine.ts`.
#[wasm_bindgen(js_name = MachineKeeper)]
pub struct WebKeeper(KeptFile);

#[wasm_bindgen(js_class = MachineKeeper)]
impl WebKeeper {
    /// Looks what a file holds.
    ///
    /// # Errors
    /// An `Error` with one sentence, when it cannot be read.
    #[wasm_bindgen(constructor)]
    pub fn new(file: EngineFile) -> Result<Self, Error> {
        let file = KeptFile::open(Box::new(FunctionFile::new(file)));
        file.map(Self).map_err(|error| Error::new(&error.to_string()))
    }

    /// Goes on with the machine that the file holds.
    ///
    /// # Errors
    /// An `Error` with one sentence.
    pub fn resume(&mut self, options: &EngineOptions) -> Result<WebMachine, Error> {
        let (config, ways) = config(options, Vec::new())?;
        let machine = Machine::go_on(config, &mut self.0).map_err(|error| Error::new(&error.to_string()))?;
        Ok(WebMachine { machine, ways, last_outcome: RunOutcome::LimitReached })
    }

    /// Bytes that the file takes; 0 if the host cannot tell.
    #[wasm_bindgen(js_name = fileBytes)]
    pub fn file_bytes(&mut self) -> f64 {
        self.0.file_bytes().unwrap_or(0) as f64
    }

    /// Forgets what the file holds. A file that cannot be cut is refused by its disks' marks later.
    pub fn clear(&mut self) {
        if let Err(error) = self.0.clear() {
            log::warn!("the kept machine could not be forgotten: {error}");
        }
    }
}

/// A machine in the making from a snapshot: `EngineRestorer` of the package's `engine.ts`.
#[wasm_bindgen(js_name = Restorer)]
pub struct WebRestorer {
    restorer: Restorer,
    ways: Ways,
}

#[wasm_bindgen(js_class = Restorer)]
impl WebRestorer {
    /// Begins; of the options, kernel, initrd, command line and memory are not looked at.
    ///
    /// # Errors
    /// An `Error` with one sentence for the user.
    #[wasm_bindgen(constructor)]
    pub fn new(options: &EngineOptions) -> Result<Self, Error> {
        let (config, ways) = config(options, Vec::new())?;
        Ok(Self { restorer: Restorer::new(config), ways })
    }

    /// Has the machine load pages that the snapshot leaves to files beside it by `dinghyMemoryFile`, when it needs
    /// them. Before the first `push`.
    #[wasm_bindgen(js_name = fetchPages)]
    pub fn fetch_pages(&mut self) {
        self.restorer.fetch_pages_from(Box::new(MemoryFiles));
    }

    /// Has the machine note which pages it touches, for `touchedPages`.
    #[wasm_bindgen(js_name = recordTouchedPages)]
    pub fn record_touched_pages(&mut self) {
        self.restorer.record_touched_pages();
    }

    /// Takes the snapshot's next bytes.
    ///
    /// # Errors
    /// An `Error` with one sentence for the user.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.restorer.push(bytes).map_err(|error| Error::new(&error.to_string()))
    }

    /// A number of which another worker makes a [`WebPageDecoder`], each call for one; nothing before enough has come.
    #[wasm_bindgen(js_name = decoderHandle)]
    pub fn decoder_handle(&self) -> Option<u32> {
        let pages = self.restorer.pages()?;
        Some(Box::into_raw(Box::new(pages)) as usize as u32)
    }

    /// The machine, ready to run on. The restorer is gone afterwards.
    ///
    /// # Errors
    /// An `Error` with one sentence for the user.
    pub fn finish(self) -> Result<WebMachine, Error> {
        let machine = self.restorer.finish().map_err(|error| Error::new(&error.to_string()))?;
        Ok(WebMachine { machine, ways: self.ways, last_outcome: RunOutcome::LimitReached })
    }
}
