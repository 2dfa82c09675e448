//! The console (virtio 1.2 §5.3): one port, resizable.
//!
//! ```text
//! host ── input() ──> waiting bytes ──> receive queue ──> hvc0
//! host <─ ConsoleOutput <────────────── transmit queue <── hvc0
//! ```

mod config;
mod request;
mod state;

pub use state::ConsoleState;

use super::device::{DeviceContext, DeviceError, DeviceType, VirtioDevice};
use super::{VirtioPci, read_config_bytes};
use crate::host::ConsoleOutput;
use config::ConsoleConfig;
use std::collections::VecDeque;

const QUEUE_SIZE: u16 = 128;
const RECEIVE_QUEUE: u16 = 0;
const TRANSMIT_QUEUE: u16 = 1;

/// Feature bits of the console (§5.3.3).
mod feature_bit {
    pub const SIZE: u64 = 1 << 0;
    pub const EMERGENCY_WRITE: u64 = 1 << 2;
}

/// A console with one port.
pub struct ConsoleDevice {
    output: Box<dyn ConsoleOutput>,
    config: ConsoleConfig,
    /// Input that the guest has not yet given buffers for.
    input: VecDeque<u8>,
    /// Whether the driver has been told that there is a size. Linux reads it only on a change, and would take
    /// the terminal for one of no rows and no columns until then.
    is_size_told: bool,
}

impl ConsoleDevice {
    /// A console that prints to `output` and is `columns` by `rows` characters large.
    pub fn new(output: Box<dyn ConsoleOutput>, columns: u16, rows: u16) -> Self {
        Self { output, config: ConsoleConfig { columns, rows }, input: VecDeque::new(), is_size_told: false }
    }

    /// Prints `bytes`, in place of the guest.
    pub fn print(&mut self, bytes: &[u8]) {
        self.output.write(bytes);
    }

    /// Bytes of input that the guest has not taken yet.
    pub fn waiting_input(&self) -> usize {
        self.input.len()
    }

    /// Moves waiting input into the guest's buffers, as many as it has given.
    fn deliver_input(&mut self, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        while !self.input.is_empty() {
            let Some(chain) = context.pop(RECEIVE_QUEUE)? else { break };
            let written = request::receive(&chain, &mut self.input, RECEIVE_QUEUE)?;
            context.push_used(RECEIVE_QUEUE, chain.head(), written)?;
        }
        Ok(())
    }
}

impl VirtioDevice for ConsoleDevice {
    fn device_type(&self) -> DeviceType {
        DeviceType::Console
    }

    fn pci_class(&self) -> u32 {
        0x07_80_00
    }

    fn features(&self) -> u64 {
        feature_bit::SIZE | feature_bit::EMERGENCY_WRITE
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE, QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&self.config.structure(), offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        // The emergency write prints one character and needs no queues, so that a guest can speak
        // before its driver runs and after it has failed (§5.3.5).
        if let (config::EMERGENCY_WRITE, Some(character)) = (offset, data.first()) {
            self.output.write(&[*character]);
        }
    }

    fn activate(&mut self, _features: u64) {
        // No feature changes what the device does.
    }

    fn queue_notified(&mut self, queue: u16, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        if !std::mem::replace(&mut self.is_size_told, true) {
            context.config_changed();
        }
        if queue != TRANSMIT_QUEUE {
            return self.deliver_input(context);
        }
        while let Some(chain) = context.pop(queue)? {
            request::transmit(&chain, self.output.as_mut()).map_err(DeviceError::in_queue(queue))?;
            context.push_used(queue, chain.head(), 0)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        // Input is the host's, and waits for the next driver.
        self.is_size_told = false;
    }
}

impl VirtioPci<ConsoleDevice> {
    /// Gives `bytes` to the guest, now or when it has buffers for them.
    pub fn input(&mut self, bytes: &[u8]) {
        self.with_device(|console, context| {
            console.input.extend(bytes);
            console.deliver_input(context)
        });
    }

    /// Tells the guest that the terminal now is `columns` by `rows` characters large.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.with_device(|console, context| {
            let resized = ConsoleConfig { columns, rows };
            if resized != console.config {
                console.config = resized;
                context.config_changed();
            }
            Ok(())
        });
    }
}
