//! The entropy device (virtio 1.2 §5.4).

mod request;

use super::device::{DeviceContext, DeviceError, DeviceType, VirtioDevice};
use super::read_config_bytes;
use crate::host::Entropy;

const QUEUE_SIZE: u16 = 64;

/// A source of entropy for the guest.
pub struct RngDevice {
    source: Box<dyn Entropy>,
}

impl RngDevice {
    /// A device that passes on what `source` gives.
    pub fn new(source: Box<dyn Entropy>) -> Self {
        Self { source }
    }
}

impl RngDevice {
    /// Where the bytes come from.
    pub fn source_mut(&mut self) -> &mut dyn Entropy {
        self.source.as_mut()
    }
}

impl VirtioDevice for RngDevice {
    fn device_type(&self) -> DeviceType {
        DeviceType::Entropy
    }

    fn pci_class(&self) -> u32 {
        0x00_ff_00
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        // The device has no configuration structure.
        read_config_bytes(&[], offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {
        // The device has no configuration structure.
    }

    fn activate(&mut self, _features: u64) {
        // No feature changes what the device does.
    }

    fn queue_notified(&mut self, queue: u16, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        while let Some(chain) = context.pop(queue)? {
            let written = request::fill(&chain, self.source.as_mut(), queue)?;
            context.push_used(queue, chain.head(), written)?;
        }
        Ok(())
    }

    fn reset(&mut self) {
        // Every request ends in the call that brought it.
    }
}
