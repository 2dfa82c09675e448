//! Saving a machine, and making a machine of what was saved.

use super::panic_watch::ConsoleTail;
use super::state::{Configuration, MachineState, SavedDisk};
use super::time::MachineTime;
use super::time_message::TimeMessages;
use super::{Machine, MachineConfig, MachineError};
use crate::boot::BootError;
use crate::devices::bus::lock;
use crate::host::{BlockSource, DiskChange, Progress};
use crate::mem::PAGE_SIZE;
use crate::snapshot::{
    AbsentChunks, ChunkFiles, ChunkList, PageDecoding, Section, SectionKind, SectionReader, SectionWriter,
    SnapshotError, StoredSection, write_pages,
};
use crate::storage::tree::MemoryTree;
use crate::virtio::p9::{Share, ShareTag};
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::task::Poll;

/// Bytes of disk changes in a section, about.
const CHANGES_BYTES: usize = 1 << 20;

/// Changes of one disk.
#[derive(Default, Serialize, Deserialize)]
struct Changes {
    /// The disk's place among the disks.
    disk: u32,
    /// First bytes and contents of what was written.
    data: Vec<(u64, Vec<u8>)>,
    /// First bytes and lengths of what was zeroed.
    zeroes: Vec<(u64, u64)>,
}

impl Machine {
    /// Writes the whole machine to `sink`, as a snapshot. It can go on running afterwards; in counted time, it and
    /// the restored machine then do the same, instruction for instruction.
    ///
    /// Requests that wait for a disk or a share are saved as waiting. Disks that keep what the guest writes apart from
    /// an image, in memory or in an overlay, are saved with it; of the images, and of disks whose writes reach them,
    /// only size and digest, so that they must be kept as they are beside the snapshot. Connections of the network are not saved: the guest finds them reset.
    ///
    /// Pages that have not come yet are fetched first.
    ///
    /// # Errors
    /// When a share does not answer, an overlay cannot be read or pages cannot be had, and those of the sink.
    pub fn save(
        &mut self,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), SnapshotError>,
    ) -> Result<(), SnapshotError> {
        let memory = &self.vcpu.memory;
        if !memory.bring_pages(0..memory.size() / PAGE_SIZE) {
            return Err(SnapshotError::Lost(memory.lost().unwrap_or_default().to_owned()));
        }
        let state = self.state()?;
        let mut writer = SectionWriter::new(sink)?;
        writer.write_value(SectionKind::Configuration, &self.configuration())?;
        writer.write_value(SectionKind::State, &state)?;
        write_pages(&self.vcpu.memory, &mut writer)?;
        for (index, disk) in (0..).zip(&self.platform.disks) {
            write_changes(index, lock(disk).device_mut().source_mut(), &mut writer)?;
        }
        writer.finish()
    }

    /// Processor and devices, to be saved.
    pub(super) fn state(&mut self) -> Result<MachineState, SnapshotError> {
        let devices = self.platform.state()?;
        if self.time.is_counted() {
            self.vcpu.forget_history();
        }
        Ok(MachineState {
            vcpu: self.vcpu.state(),
            look_at: self.look_at,
            has_attention: self.handle.attention.load(Ordering::SeqCst) != 0,
            entropy_positions: [
                lock(&self.entropy).position(),
                lock(&self.platform.rng).device_mut().source_mut().position(),
            ],
            shown: self.tails.each_ref().map(ConsoleTail::bytes),
            is_listening: self.history.is_listening(),
            devices,
        })
    }

    pub(super) fn configuration(&self) -> Configuration {
        let disks = self.platform.disks.iter().map(|disk| {
            let disk = lock(disk);
            let source = disk.device().source();
            SavedDisk { size: source.size(), image: source.image() }
        });
        let shares = self.platform.shares.iter().map(|share| lock(share).device().tag().to_owned());
        Configuration {
            memory_bytes: self.vcpu.memory.size(),
            cpu_model: self.vcpu.model,
            disks: disks.collect(),
            has_network: self.platform.network.is_some(),
            shares: shares.collect(),
            now_ns: self.time.now_ns(self.vcpu.instructions),
            instructions: self.vcpu.instructions,
        }
    }

    /// Puts the saved state into a machine whose RAM and disks are as they were saved.
    pub(super) fn resume(
        &mut self,
        state: MachineState,
        console_size: (u16, u16),
    ) -> Result<(), MachineError> {
        self.vcpu.restore(&state.vcpu);
        self.look_at = state.look_at;
        let has_waiting = self.platform.restore(state.devices)?;
        // Devices that were put back have driven their lines: nothing that the guest has not seen.
        self.handle.attention.store(u32::from(state.has_attention), Ordering::SeqCst);
        if has_waiting {
            self.handle.storage_progressed();
        }
        if state.is_listening {
            self.history.set_listening();
        }
        // Whoever looks at the consoles finds them as they were.
        let [serial, console] = &state.shown;
        self.platform.print(serial, console);
        let mut entropy = lock(&self.entropy);
        if self.time.is_counted() {
            // A run that repeats goes on as if it had not been saved.
            if let Some(position) = state.entropy_positions[0] {
                entropy.go_on_from(position);
            }
            if let Some(position) = state.entropy_positions[1] {
                lock(&self.platform.rng).device_mut().source_mut().go_on_from(position);
            }
            return Ok(());
        }
        self.platform.generation_id.renew(entropy.as_mut()).map_err(BootError::from)?;
        drop(entropy);
        if state.is_listening {
            self.time_messages = Some(TimeMessages::new(self.now_ns()));
            self.look_at = 0;
        }
        self.handle.resize(console_size.0, console_size.1);
        Ok(())
    }
}

fn write_changes(
    disk: u32,
    source: &mut dyn BlockSource,
    writer: &mut SectionWriter<'_>,
) -> Result<(), SnapshotError> {
    let mut outcome = Ok(());
    let mut changes = Changes { disk, ..Changes::default() };
    let mut bytes = 0;
    let visited = source.visit_changes(&mut |change| {
        match change {
            DiskChange::Data(offset, data) => {
                changes.data.push((offset, data.to_vec()));
                bytes += data.len();
            }
            DiskChange::Zeroes(offset, length) => changes.zeroes.push((offset, length)),
        }
        if bytes >= CHANGES_BYTES && outcome.is_ok() {
            let full = std::mem::replace(&mut changes, Changes { disk, ..Changes::default() });
            outcome = writer.write_value(SectionKind::Disk, &full);
            bytes = 0;
        }
    });
    outcome?;
    visited.map_err(|error| SnapshotError::Device { device: "a disk", problem: error.to_string() })?;
    if changes.data.is_empty() && changes.zeroes.is_empty() {
        return Ok(());
    }
    writer.write_value(SectionKind::Disk, &changes)
}

/// Makes a machine of a snapshot whose bytes come in pieces.
///
/// RAM is taken as soon as the snapshot says how much it is, and filled as its pages come.
pub struct Restorer {
    reader: SectionReader,
    stage: Stage,
    is_recording: bool,
}

enum Stage {
    /// Nothing has come.
    Empty(Box<Beginning>),
    /// The machine's parts are there, and its state is awaited.
    Assembled(Box<Assembled>),
    /// An error has ended it.
    Failed,
}

struct Beginning {
    config: MachineConfig,
    files: Option<Box<dyn ChunkFiles>>,
}

struct Assembled {
    machine: Machine,
    console_size: (u16, u16),
    state: Option<Box<MachineState>>,
    pages: OpenDecoding,
    /// The files beside the snapshot, until it has named those that it needs.
    files: Option<Box<dyn ChunkFiles>>,
}

/// The decoding of pages, whose helpers end with it.
struct OpenDecoding(PageDecoding);

impl Drop for OpenDecoding {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Restorer {
    /// A machine in the making. Of `config`, kernel, initrd, command line, processor and size of the memory are
    /// the snapshot's own matter and not looked at; disks, shares and the network must be as the saved machine
    /// had them.
    pub fn new(config: MachineConfig) -> Self {
        let beginning = Beginning { config, files: None };
        let stage = Stage::Empty(Box::new(beginning));
        Self { reader: SectionReader::default(), stage, is_recording: false }
    }

    /// Fetches pages that the snapshot leaves to files beside it from `files`, when they are needed. Without, such a
    /// snapshot is refused. Before the first [`push`](Self::push).
    pub fn fetch_pages_from(&mut self, files: Box<dyn ChunkFiles>) {
        if let Stage::Empty(beginning) = &mut self.stage {
            beginning.files = Some(files);
        }
    }

    /// Has the machine note which pages are touched from the beginning on ([`Machine::touched_pages`]), for the
    /// snapshot to be sorted by that. Only for one that holds all of its pages.
    pub fn record_touched_pages(&mut self) {
        self.is_recording = true;
    }

    /// Takes the snapshot's next bytes.
    ///
    /// # Errors
    /// When they are not what a snapshot has there, or do not fit the surroundings. There is no machine then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), MachineError> {
        self.reader.push(bytes);
        while let Some(section) = self.reader.next_stored()? {
            self.stage = std::mem::replace(&mut self.stage, Stage::Failed).take(section)?;
        }
        Ok(())
    }

    /// The pages that come, once it is known how much RAM there is: other threads can help to decode them.
    pub fn pages(&self) -> Option<PageDecoding> {
        match &self.stage {
            Stage::Assembled(assembled) => Some(assembled.pages.0.clone()),
            Stage::Empty(_) | Stage::Failed => None,
        }
    }

    /// The machine, ready to run on.
    ///
    /// # Errors
    /// When the snapshot is not complete, or a device cannot take its state.
    pub fn finish(self) -> Result<Machine, MachineError> {
        self.reader.finish()?;
        let Stage::Assembled(mut assembled) = self.stage else { return Err(SnapshotError::Truncated.into()) };
        assembled.pages.0.finish()?;
        if self.is_recording {
            assembled.machine.record_touched_pages();
        }
        let state = assembled.state.take().ok_or(SnapshotError::Truncated)?;
        let Assembled { mut machine, console_size, .. } = *assembled;
        machine.time.start();
        machine.resume(*state, console_size)?;
        Ok(machine)
    }
}

impl Stage {
    /// Takes the next section.
    fn take(self, section: StoredSection) -> Result<Self, MachineError> {
        let mut assembled = match self {
            Self::Empty(beginning) if section.kind == SectionKind::Configuration => {
                return Self::assemble(*beginning, &section.open()?);
            }
            Self::Assembled(assembled) => assembled,
            Self::Empty(_) | Self::Failed => return Err(out_of_place(section)),
        };
        match (section.kind, &assembled.state) {
            (SectionKind::State, None) => assembled.state = Some(Box::new(section.open()?.decode()?)),
            (SectionKind::Pages, _) => assembled.pages.0.push(section)?,
            (SectionKind::Disk, _) => assembled.machine.apply_changes(&section.open()?)?,
            (SectionKind::Elsewhere, _) if assembled.machine.absent_chunks.is_none() => {
                let memory = &assembled.machine.vcpu.memory;
                let list = ChunkList::parse(&section.open()?, memory.size())?;
                let files = assembled.files.take().ok_or(SnapshotError::Elsewhere)?;
                assembled.machine.absent_chunks = Some(AbsentChunks::expect(list, memory, files));
            }
            _ => return Err(out_of_place(section)),
        }
        Ok(Self::Assembled(assembled))
    }

    fn assemble(Beginning { config, files }: Beginning, section: &Section) -> Result<Self, MachineError> {
        let console_size = config.console_size;
        let machine = Machine::like(&section.decode()?, config)?;
        if machine.platform.disks.iter().any(|disk| lock(disk).device().source().has_changes()) {
            let sentence =
                "its disk was written to since; boot from the disk as it is, or give it an empty overlay";
            return Err(SnapshotError::Mismatch(sentence.to_owned()).into());
        }
        let pages = OpenDecoding(PageDecoding::new(machine.vcpu.memory.clone()));
        Ok(Self::Assembled(Box::new(Assembled { machine, console_size, state: None, pages, files })))
    }
}

/// The shares in the order of the `saved` tags. Those that are not given are empty; those that were not there are at
/// the end.
fn as_saved(mut given: Vec<Share>, saved: &[String]) -> Result<Vec<Share>, SnapshotError> {
    let mut shares = Vec::with_capacity(saved.len());
    for tag in saved {
        let place = given.iter().position(|share| share.tag.as_str() == tag);
        shares.push(match place {
            Some(place) => given.remove(place),
            None => Share {
                tag: ShareTag::new(tag).map_err(|error| SnapshotError::Mismatch(error.to_string()))?,
                tree: Box::new(MemoryTree::new(0)),
                is_read_only: true,
            },
        });
    }
    shares.append(&mut given);
    Ok(shares)
}

fn out_of_place(section: StoredSection) -> MachineError {
    match section.open() {
        Ok(section) => section.damaged("a section is out of place").into(),
        Err(error) => error.into(),
    }
}

impl Machine {
    /// A machine that is made of the same as the saved one, its RAM zero.
    pub(super) fn like(saved: &Configuration, config: MachineConfig) -> Result<Self, MachineError> {
        let time = MachineTime::go_on(config.clock.clone(), saved.now_ns, saved.instructions);
        let shares = as_saved(config.shares, &saved.shares)?;
        let config =
            MachineConfig { memory_bytes: saved.memory_bytes, cpu_model: saved.cpu_model, shares, ..config };
        let machine = Self::assemble(config, time)?;
        saved.check(&machine.configuration())?;
        Ok(machine)
    }

    /// Writes what was written to a disk again.
    fn apply_changes(&self, section: &Section) -> Result<(), SnapshotError> {
        let changes: Changes = section.decode()?;
        let disk = self.platform.disks.get(changes.disk as usize);
        let mut disk = lock(disk.ok_or_else(|| section.damaged("it writes to a disk that there is not"))?);
        let failed = |problem: &str| SnapshotError::Device { device: "a disk", problem: problem.to_owned() };
        let source = disk.device_mut().source_mut();
        let finish = |progress: Progress| match progress {
            Poll::Ready(outcome) => outcome.map_err(|error| failed(&error.to_string())),
            Poll::Pending => Err(failed("its last bytes are not at hand")),
        };
        for (offset, data) in &changes.data {
            finish(source.write(*offset, data))?;
        }
        for (offset, length) in &changes.zeroes {
            finish(source.discard(*offset, *length))?;
        }
        Ok(())
    }
}
