//! What a snapshot keeps of a shared directory: the session and the requests in flight.

use super::request::Request;
use super::server::ServerState;
use super::{P9Device, REQUEST_QUEUE};
use crate::storage::tree::FileError;
use crate::virtio::{DeviceContext, DeviceError};
use serde::{Deserialize, Serialize};

/// The session with the guest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct P9State {
    /// What the server knows.
    pub server: ServerState,
    /// First descriptors of the requests that waited, in the order of their arrival.
    pub waiting: Vec<u16>,
}

/// Why a session cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum P9RestoreError {
    /// The tree has no answer.
    #[error("the shared directory does not answer: {0}")]
    Tree(#[from] FileError),
    /// Guest RAM does not hold the requests that were saved.
    #[error(transparent)]
    Device(#[from] DeviceError),
}

impl P9Device {
    /// The device, to be saved.
    ///
    /// # Errors
    /// When the tree cannot tell where its files are; [`FileError::Pending`] if it will be able to.
    pub fn state(&mut self) -> Result<P9State, FileError> {
        let waiting = self.waiting.iter().map(Request::head).collect();
        Ok(P9State { server: self.server.state()?, waiting })
    }

    /// Puts a saved device back; its requests lie in guest RAM still. Files that are not in the tree any more
    /// are lost to the guest, which gets EBADF for them.
    ///
    /// # Errors
    /// When the tree does not answer, or guest RAM does not hold the requests that were saved.
    pub fn restore(
        &mut self,
        state: &P9State,
        context: &mut DeviceContext<'_>,
    ) -> Result<(), P9RestoreError> {
        self.drop_waiting();
        self.server.restore(&state.server)?;
        let Some(queue) = context.queue(REQUEST_QUEUE) else { return Ok(()) };
        for head in &state.waiting {
            let chain = queue.reload(*head).map_err(DeviceError::in_queue(REQUEST_QUEUE))?;
            let request = self.take(chain)?;
            self.waiting.push(request);
        }
        // What it waited for may be there in the restored machine.
        self.is_resume_due = !self.waiting.is_empty();
        Ok(())
    }
}
