//! Keeping a machine beside its disks while it runs, and going on with it in another process.

use super::state::MachineState;
use super::{Machine, MachineConfig, MachineError};
use crate::devices::bus::lock;
use crate::host::{BlockSource, DiskMark};
use crate::snapshot::{KeptFile, KeptState, SnapshotError};
use std::task::Poll;

/// The mark of a disk, or none of one that cannot change.
fn mark_of(disk: &dyn BlockSource) -> Result<Option<DiskMark>, SnapshotError> {
    let mark = disk.mark();
    if mark.is_none() && !disk.is_read_only() {
        let sentence = "one of its disks does not keep what is written; give it an overlay";
        return Err(SnapshotError::NotNow(sentence.to_owned()));
    }
    Ok(mark)
}

impl Machine {
    /// Makes `file` hold the machine as it is now, between two calls of [`run`](Self::run), and goes on. All that the
    /// guest has written to its disks becomes durable first. Returns how many pages of RAM were written.
    ///
    /// # Errors
    /// [`SnapshotError::NotNow`] while pages are still to come ([`rest_of_memory`](Self::rest_of_memory)).
    /// When a disk does not keep what is written or cannot, a share does not answer, or the file cannot be written.
    pub fn keep(&mut self, file: &mut KeptFile) -> Result<usize, SnapshotError> {
        if !self.vcpu.memory.is_whole() {
            let sentence = "parts of its memory have not come yet";
            return Err(SnapshotError::NotNow(sentence.to_owned()));
        }
        for disk in &self.platform.disks {
            let problem = match lock(disk).device_mut().source_mut().flush() {
                Poll::Ready(Ok(())) => continue,
                Poll::Ready(Err(error)) => error.to_string(),
                Poll::Pending => "it waits for its host".to_owned(),
            };
            return Err(SnapshotError::Device { device: "a disk", problem });
        }
        let marks = self.marks()?;
        let encode = |encoded: postcard::Result<Vec<u8>>| {
            encoded.map_err(|error| SnapshotError::Output(error.to_string()))
        };
        let configuration = encode(postcard::to_stdvec(&self.configuration()))?;
        let state = encode(postcard::to_stdvec(&self.state()?))?;
        file.keep(KeptState { marks, configuration, state }, &self.vcpu.memory)
    }

    /// Whether something has become durable on a disk since `file` was written: the state in it is of no use any more.
    pub fn has_moved_on_from(&self, file: &KeptFile) -> bool {
        self.marks().ok().as_deref() != file.marks()
    }

    fn marks(&self) -> Result<Vec<Option<DiskMark>>, SnapshotError> {
        self.platform.disks.iter().map(|disk| mark_of(lock(disk).device().source())).collect()
    }

    /// Goes on with the machine in `file`. Of `config`, kernel, initrd, command line, processor and size of the memory
    /// are not looked at; disks, shares and the network must be as the kept machine had them, and the disks must not
    /// have been written to since.
    ///
    /// # Errors
    /// [`SnapshotError::NothingKept`] and [`SnapshotError::MovedOn`] before RAM is taken; when the file is damaged
    /// or the surroundings are others.
    pub fn go_on(config: MachineConfig, file: &mut KeptFile) -> Result<Self, MachineError> {
        let KeptState { marks, configuration, state } = file.state().ok_or(SnapshotError::NothingKept)?;
        let found: Result<Vec<_>, _> = config.disks.iter().map(|disk| mark_of(disk.as_ref())).collect();
        if found? != marks {
            return Err(SnapshotError::MovedOn.into());
        }
        let damaged = |_| SnapshotError::Damaged { at: 0, problem: "its contents make no sense" };
        let configuration = postcard::from_bytes(&configuration).map_err(damaged)?;
        let state: MachineState = postcard::from_bytes(&state).map_err(damaged)?;
        let console_size = config.console_size;
        let mut machine = Self::like(&configuration, config)?;
        file.apply_pages(&machine.vcpu.memory)?;
        machine.time.start();
        machine.resume(state, console_size)?;
        Ok(machine)
    }
}
