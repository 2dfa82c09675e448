//! A machine whose memory has not all come yet, and which pages it touches.

use super::Machine;
use crate::mem::{GuestMemory, PAGE_SIZE, PageSource};
use crate::snapshot::{AbsentChunks, SnapshotError};
use std::sync::{Arc, Mutex, PoisonError};

/// The parts of a machine's memory that were still to come when it was restored: for somebody who fetches them while
/// it runs, on another thread too.
#[derive(Clone)]
pub struct RestOfMemory {
    chunks: AbsentChunks,
    memory: GuestMemory,
}

impl RestOfMemory {
    /// How many parts there are, the ones that have come included.
    pub fn count(&self) -> usize {
        self.chunks.count()
    }

    /// The name of a part's file, if it has not come yet.
    pub fn absent_name(&self, part: usize) -> Option<String> {
        self.chunks.absent_name(part)
    }

    /// Takes the bytes of a part's file, unless it has come already.
    ///
    /// # Errors
    /// When they are damaged: nothing has changed then.
    pub fn provide(&self, part: usize, file: &[u8]) -> Result<(), SnapshotError> {
        self.chunks.provide(&self.memory, part, file)
    }
}

/// Notes each page at its first access.
#[derive(Default)]
pub(super) struct TouchedPages(Mutex<Vec<u64>>);

impl PageSource for TouchedPages {
    fn bring(&self, memory: &GuestMemory, page: u64) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(page);
        memory.pages_arrived(page..page + 1);
        Ok(())
    }
}

impl Machine {
    /// The parts of memory that are still to come, if any are.
    pub fn rest_of_memory(&self) -> Option<RestOfMemory> {
        let memory = self.vcpu.memory.clone();
        let chunks = self.absent_chunks.clone().filter(|_| !memory.is_whole())?;
        Some(RestOfMemory { chunks, memory })
    }

    /// Why pages cannot be had, after a run has ended with [`MemoryLost`](super::RunOutcome::MemoryLost).
    pub fn lost_memory(&self) -> Option<&str> {
        self.vcpu.memory.lost()
    }

    /// Notes from now on which pages are touched. What processors translate already is not noted again.
    pub(super) fn record_touched_pages(&mut self) {
        let memory = &self.vcpu.memory;
        let touched = Arc::new(TouchedPages::default());
        memory.expect_pages(std::slice::from_ref(&(0..memory.size() / PAGE_SIZE)), touched.clone());
        self.touched = Some(touched);
    }

    /// The numbers of the pages that were touched since the machine was restored, in order of first touch; none
    /// unless the [`Restorer`](super::Restorer) was told to record them.
    pub fn touched_pages(&self) -> Vec<u64> {
        let touched = self.touched.as_ref();
        touched
            .map(|touched| touched.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }
}
