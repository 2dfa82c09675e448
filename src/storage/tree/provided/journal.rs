//! What was asked for each request of the guest, so that a request that is put again finds what it has had.

use super::operation::{Answer, Operation};
use crate::storage::tree::FileError;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The number by which an operation is answered. 0 stands for none.
pub type OperationId = u64;

/// Who does operations, on the other side.
pub trait Provider: Send {
    /// Takes an operation, with the data of a write. Its answer goes to the [`AnswerInbox`], unless `id` is 0.
    ///
    /// # Errors
    /// When it cannot even be asked.
    fn ask(&mut self, id: OperationId, operation: &Operation, data: &[u8]) -> Result<(), FileError>;
}

/// Where answers arrive, from any thread.
#[derive(Clone, Default)]
pub struct AnswerInbox(Arc<Mutex<HashMap<OperationId, Option<Arc<Answer>>>>>);

impl AnswerInbox {
    fn answers(&self) -> MutexGuard<'_, HashMap<OperationId, Option<Arc<Answer>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An answer. One that nobody waits for any more is dropped.
    pub fn complete(&self, id: OperationId, answer: Answer) {
        if let Some(place) = self.answers().get_mut(&id) {
            *place = Some(Arc::new(answer));
        }
    }
}

struct Step {
    operation: Operation,
    id: OperationId,
}

#[derive(Default)]
struct Request {
    steps: Vec<Step>,
    /// Steps that this attempt has gone.
    gone: usize,
    /// Times that it has asked for something else than before.
    detours: u32,
}

/// Most times that a request may ask for something else than before. What others do meanwhile is the reason, which
/// comes to an end.
const DETOURS_MAX: u32 = 16;

/// All requests that are not answered yet.
pub(super) struct Journal {
    provider: Box<dyn Provider>,
    inbox: AnswerInbox,
    requests: HashMap<u64, Request>,
    current: u64,
    next_id: OperationId,
}

impl Journal {
    pub(super) fn new(provider: Box<dyn Provider>, inbox: AnswerInbox) -> Self {
        Self { provider, inbox, requests: HashMap::new(), current: 0, next_id: 1 }
    }

    /// What is asked from here on is for `request`, from its beginning.
    pub(super) fn begin(&mut self, request: u64) {
        self.current = request;
        if let Some(request) = self.requests.get_mut(&request) {
            request.gone = 0;
        }
    }

    /// `request` is answered or given up. Files that were opened for it and not taken are closed.
    pub(super) fn end(&mut self, request: u64) {
        if let Some(request) = self.requests.remove(&request) {
            self.drop_steps(request.steps, request.gone);
        }
    }

    /// Forgets steps; the first `gone` of them were taken.
    fn drop_steps(&mut self, steps: Vec<Step>, gone: usize) {
        for (place, Step { operation, id }) in steps.into_iter().enumerate() {
            let answer = self.inbox.answers().remove(&id).flatten();
            let has_failed = answer.is_some_and(|answer| answer.is_err());
            if let Some(handle) = operation.opens()
                && place >= gone
                && !has_failed
            {
                self.close(handle);
            }
        }
    }

    /// Whether nothing that changes files is under way.
    pub(super) fn is_settled(&self) -> bool {
        self.requests.values().flat_map(|request| &request.steps).all(|step| !step.operation.is_change())
    }

    /// The handle that the next operation of this request opens, if it was asked before.
    pub(super) fn next_handle(&self) -> Option<u64> {
        let request = self.requests.get(&self.current)?;
        request.steps.get(request.gone)?.operation.opens()
    }

    /// The answer to `operation`, which is asked if it was not yet.
    ///
    /// # Errors
    /// [`FileError::Pending`] while there is none.
    pub(super) fn ask(&mut self, operation: Operation, data: &[u8]) -> Result<Arc<Answer>, FileError> {
        let request = self.requests.entry(self.current).or_default();
        let mut stale = Vec::new();
        if let Some(step) = request.steps.get(request.gone) {
            if step.operation == operation {
                let answer = self.inbox.answers().get(&step.id).cloned().flatten();
                request.gone += usize::from(answer.is_some());
                return answer.ok_or(FileError::Pending);
            }
            // The session has changed meanwhile: what was asked from here on is not wanted any more.
            stale = request.steps.split_off(request.gone);
            request.detours += 1;
            if request.detours > DETOURS_MAX {
                self.drop_steps(stale, 0);
                return Err(FileError::InputOutput);
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        self.inbox.answers().insert(id, None);
        if let Err(error) = self.provider.ask(id, &operation, data) {
            self.inbox.answers().remove(&id);
            self.drop_steps(stale, 0);
            return Err(error);
        }
        request.steps.push(Step { operation, id });
        self.drop_steps(stale, 0);
        Err(FileError::Pending)
    }

    /// Has `operation` done without an answer.
    pub(super) fn tell(&mut self, operation: &Operation) {
        if let Err(error) = self.provider.ask(0, operation, &[]) {
            log::warn!("a share's provider could not be told something: {error}");
        }
    }

    /// Ends the use of a handle.
    pub(super) fn close(&mut self, handle: u64) {
        self.tell(&Operation::Close { handle });
    }
}
