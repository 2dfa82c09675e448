//! What a snapshot keeps of the network card.

use super::{NetDevice, RECEIVE_QUEUE};
use crate::virtio::{DeviceContext, DeviceError};
use serde::{Deserialize, Serialize};

/// What the driver has accepted, and the buffers that it has lent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// Accepted features; zero while no driver runs.
    pub features: u64,
    /// First descriptors of the receive buffers that were taken and not given back, oldest first.
    pub lent: Vec<u16>,
}

impl NetDevice {
    /// The device, to be saved. Connections stay with its backend and end.
    pub fn state(&self) -> NetState {
        NetState { features: self.features, lent: self.lent.iter().map(|chain| chain.head()).collect() }
    }

    /// Puts a saved device back, over another backend.
    ///
    /// # Errors
    /// When a saved buffer is malformed.
    pub fn restore(&mut self, state: &NetState, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        self.set_features(state.features);
        if state.features != 0 {
            self.backend.guest_returned();
        }
        self.lent.clear();
        for head in &state.lent {
            if let Some(queue) = context.queue(RECEIVE_QUEUE) {
                let chain = queue.reload(*head).map_err(DeviceError::in_queue(RECEIVE_QUEUE))?;
                self.lent_bytes += chain.writable_bytes();
                self.lent.push_back(chain);
            }
        }
        Ok(())
    }
}
