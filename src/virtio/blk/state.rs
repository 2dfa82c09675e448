//! What a snapshot keeps of the disk: the requests in flight. The data is the source's business.

use super::request::Request;
use super::{BlkDevice, REQUEST_QUEUE};
use crate::virtio::{DeviceContext, DeviceError};
use serde::{Deserialize, Serialize};

/// The requests that waited for the source.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlkState {
    /// First descriptor and finished bytes of each, in the order of their arrival.
    pub waiting: Vec<(u16, u64)>,
}

impl BlkDevice {
    /// The device, to be saved.
    pub fn state(&self) -> BlkState {
        BlkState {
            waiting: self.waiting.iter().map(|request| (request.head(), request.finished())).collect(),
        }
    }

    /// Puts a saved device back; its requests lie in guest RAM still.
    ///
    /// # Errors
    /// When guest RAM does not hold the requests that were saved.
    pub fn restore(&mut self, state: &BlkState, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        self.waiting.clear();
        let Some(queue) = context.queue(REQUEST_QUEUE) else { return Ok(()) };
        for (head, finished) in &state.waiting {
            let chain = queue.reload(*head).map_err(DeviceError::in_queue(REQUEST_QUEUE))?;
            let mut request = Request::parse(chain, self.source.is_read_only())?;
            request.resume_at(*finished);
            self.waiting.push(request);
        }
        Ok(())
    }
}
