//! What a snapshot keeps of the console.

use super::ConsoleDevice;
use super::config::ConsoleConfig;
use serde::{Deserialize, Serialize};

/// Terminal size, and the input that the guest has not taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState {
    /// Width of the terminal in characters.
    pub columns: u16,
    /// Height of the terminal in characters.
    pub rows: u16,
    /// Input in the order of its arrival.
    pub input: Vec<u8>,
    /// Whether the driver has been told that there is a size.
    pub is_size_told: bool,
}

impl ConsoleDevice {
    /// The device, to be saved.
    pub fn state(&self) -> ConsoleState {
        let ConsoleConfig { columns, rows } = self.config;
        ConsoleState {
            columns,
            rows,
            input: self.input.iter().copied().collect(),
            is_size_told: self.is_size_told,
        }
    }

    /// Puts a saved device back. A terminal of another size is told with a later
    /// [`resize`](crate::virtio::VirtioPci::resize).
    pub fn restore(&mut self, state: &ConsoleState) {
        self.config = ConsoleConfig { columns: state.columns, rows: state.rows };
        self.input = state.input.iter().copied().collect();
        self.is_size_told = state.is_size_told;
    }
}
