//! Sections of pages on their way into RAM, by as many threads as help.

use super::section::StoredSection;
use super::{SnapshotError, apply_pages};
use crate::mem::GuestMemory;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Sections that wait while somebody else decodes, before the thread that brings them decodes as well.
const WAITING_MAX: usize = 4;

#[derive(Default)]
struct State {
    waiting: VecDeque<StoredSection>,
    /// Sections that are being decoded.
    under_way: usize,
    helpers: usize,
    failure: Option<SnapshotError>,
    /// Whether no more sections come.
    is_closed: bool,
}

struct Shared {
    memory: GuestMemory,
    state: Mutex<State>,
    changed: Condvar,
}

/// Sections of pages, in no order: each of them holds pages of its own.
#[derive(Clone)]
pub struct PageDecoding(Arc<Shared>);

impl PageDecoding {
    /// Nothing yet, for pages of `memory`.
    pub fn new(memory: GuestMemory) -> Self {
        Self(Arc::new(Shared { memory, state: Mutex::default(), changed: Condvar::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a section, and decodes some where nobody else does, or others fall behind.
    ///
    /// # Errors
    /// What was wrong with any section so far.
    pub fn push(&self, section: StoredSection) -> Result<(), SnapshotError> {
        let mut state = self.lock();
        state.waiting.push_back(section);
        let most = if state.helpers == 0 { 0 } else { WAITING_MAX };
        self.0.changed.notify_one();
        while state.waiting.len() > most {
            state = self.decode_one(state);
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// Decodes what comes until all has come: for a thread of its own.
    pub fn help(&self) {
        let mut state = self.lock();
        state.helpers += 1;
        loop {
            if !state.waiting.is_empty() {
                state = self.decode_one(state);
            } else if state.is_closed {
                return;
            } else {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Lets the helpers end: the rest does not come.
    pub fn cancel(&self) {
        self.close().waiting.clear();
    }

    /// Decodes the rest together with the helpers, who end; all pages are in RAM afterwards.
    ///
    /// # Errors
    /// What was wrong with any section.
    pub fn finish(&self) -> Result<(), SnapshotError> {
        let mut state = self.close();
        loop {
            if !state.waiting.is_empty() {
                state = self.decode_one(state);
            } else if state.under_way > 0 {
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                return state.failure.clone().map_or(Ok(()), Err);
            }
        }
    }

    /// Says that no more sections come.
    fn close(&self) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.is_closed = true;
        self.0.changed.notify_all();
        state
    }

    fn decode_one<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(section) = state.waiting.pop_front() else { return state };
        state.under_way += 1;
        drop(state);
        let outcome = section.open().and_then(|section| apply_pages(&section, &self.0.memory));
        let mut state = self.lock();
        state.under_way -= 1;
        if let Err(error) = outcome {
            state.failure.get_or_insert(error);
            state.waiting.clear();
        }
        self.0.changed.notify_all();
        state
    }
}
