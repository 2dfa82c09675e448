//! The block device (virtio 1.2 §5.2).
//!
//! A request is carried out in pieces as far as its [`BlockSource`] has the data at hand. One that
//! must wait is kept, others overtake it, and [`VirtioPci::resume`] goes on with it.

mod config;
mod request;
mod state;

pub use state::BlkState;

use super::device::{DeviceContext, DeviceError, DeviceType, VirtioDevice};
use super::{VirtioPci, feature, read_config_bytes};
use crate::host::BlockSource;
use request::{Request, Serial};

/// Most chains in flight.
const QUEUE_SIZE: u16 = 256;
const REQUEST_QUEUE: u16 = 0;

/// Bytes of a sector, the unit of all addresses of this device (§5.2.4).
const SECTOR_BYTES: u64 = 512;

/// Feature bits of the block device (§5.2.3).
mod feature_bit {
    pub const SEG_MAX: u64 = 1 << 2;
    pub const READ_ONLY: u64 = 1 << 5;
    pub const BLOCK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
    pub const TOPOLOGY: u64 = 1 << 10;
    pub const DISCARD: u64 = 1 << 13;
    pub const WRITE_ZEROES: u64 = 1 << 14;
}

/// A disk.
pub struct BlkDevice {
    source: Box<dyn BlockSource>,
    serial: Serial,
    /// Requests that wait for the source, in the order of their arrival.
    waiting: Vec<Request>,
    /// Whether the source has progressed while the device might not use its queue.
    is_resume_due: bool,
    /// Room for one piece of a transfer.
    buffer: Vec<u8>,
}

impl BlkDevice {
    /// A disk over `source`. The guest sees the first 20 bytes of `serial` (/dev/disk/by-id).
    pub fn new(source: Box<dyn BlockSource>, serial: &str) -> Self {
        Self {
            source,
            serial: Serial::new(serial),
            waiting: Vec::new(),
            is_resume_due: false,
            buffer: Vec::new(),
        }
    }

    /// What the disk's contents are in.
    pub fn source(&self) -> &dyn BlockSource {
        self.source.as_ref()
    }

    /// What the disk's contents are in, to be put back before the guest runs.
    pub fn source_mut(&mut self) -> &mut dyn BlockSource {
        self.source.as_mut()
    }

    /// Requests that wait for the source.
    pub fn waiting_requests(&self) -> usize {
        self.waiting.len()
    }

    /// Goes on with `request`; gives it back if it still has to wait.
    fn advance(
        &mut self,
        mut request: Request,
        context: &mut DeviceContext<'_>,
    ) -> Result<Option<Request>, DeviceError> {
        let finished = request
            .advance(self.source.as_mut(), &self.serial, &mut self.buffer)
            .map_err(DeviceError::in_queue(REQUEST_QUEUE))?;
        match finished {
            Some(written) => context.push_used(REQUEST_QUEUE, request.head(), written).map(|()| None),
            None => Ok(Some(request)),
        }
    }

    fn resume(&mut self, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        // A stopped device must not touch the guest's buffers; it is notified when it runs again.
        self.is_resume_due = context.queue(REQUEST_QUEUE).is_none();
        if self.is_resume_due {
            return Ok(());
        }
        for request in std::mem::take(&mut self.waiting) {
            let still_waiting = self.advance(request, context)?;
            self.waiting.extend(still_waiting);
        }
        Ok(())
    }
}

impl VirtioDevice for BlkDevice {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn pci_class(&self) -> u32 {
        0x01_80_00
    }

    fn features(&self) -> u64 {
        let always =
            feature_bit::SEG_MAX | feature_bit::BLOCK_SIZE | feature_bit::FLUSH | feature_bit::TOPOLOGY;
        let by_access = if self.source.is_read_only() {
            feature_bit::READ_ONLY
        } else {
            feature_bit::DISCARD | feature_bit::WRITE_ZEROES
        };
        always | by_access
    }

    fn queue_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        read_config_bytes(&config::structure(self.source.size() / SECTOR_BYTES), offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {
        // Its one writable field needs VIRTIO_BLK_F_CONFIG_WCE, which is not offered.
    }

    fn activate(&mut self, features: u64) {
        log::debug!(
            "virtio-blk: {} sectors, event index {}",
            self.source.size() / SECTOR_BYTES,
            features & feature::RING_EVENT_IDX != 0
        );
    }

    fn queue_notified(&mut self, queue: u16, context: &mut DeviceContext<'_>) -> Result<(), DeviceError> {
        if self.is_resume_due {
            self.resume(context)?;
        }
        while let Some(chain) = context.pop(queue)? {
            let request = Request::parse(chain, self.source.is_read_only())?;
            let waiting = self.advance(request, context)?;
            self.waiting.extend(waiting);
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.waiting.clear();
        self.is_resume_due = false;
    }
}

impl VirtioPci<BlkDevice> {
    /// Goes on with the requests that wait, after the host has reported progress.
    pub fn resume(&mut self) {
        self.with_device(BlkDevice::resume);
    }
}
