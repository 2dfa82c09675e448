//! What a virtio device is to its transport.

use super::queue::{QueueError, Virtqueue};

/// Device types (virtio 1.2 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum DeviceType {
    /// Network card.
    Network = 1,
    /// Block device.
    Block = 2,
    /// Console.
    Console = 3,
    /// Entropy source.
    Entropy = 4,
    /// 9P transport.
    Plan9 = 9,
}

/// What stops a device until the driver resets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The rings or descriptors are malformed.
    #[error("queue {queue}: {source}")]
    Queue {
        /// Index of the queue.
        queue: u16,
        /// What is wrong with it.
        source: QueueError,
    },
    /// A request does not have the form that its device defines.
    #[error("queue {queue}: the request at descriptor {head} {problem}")]
    Request {
        /// Index of the queue.
        queue: u16,
        /// First descriptor of the request.
        head: u16,
        /// What is wrong with it, as the end of a sentence.
        problem: &'static str,
    },
}

impl DeviceError {
    /// Names the queue in which `source` happened.
    pub fn in_queue(queue: u16) -> impl Fn(QueueError) -> Self {
        move |source| Self::Queue { queue, source }
    }
}

/// What a running device may touch: its enabled queues, and the configuration-change interrupt.
pub struct DeviceContext<'a> {
    queues: &'a mut [Option<Virtqueue>],
    has_config_changed: bool,
}

impl<'a> DeviceContext<'a> {
    pub(super) fn new(queues: &'a mut [Option<Virtqueue>]) -> Self {
        Self { queues, has_config_changed: false }
    }

    /// The queue at `index`; `None` where the driver has not enabled it (or the device does not run).
    pub fn queue(&mut self, index: u16) -> Option<&mut Virtqueue> {
        self.queues.get_mut(usize::from(index))?.as_mut()
    }

    /// Takes the next chain of queue `index`; `None` when there is none or the queue is not enabled.
    ///
    /// # Errors
    /// When the ring or the chain is malformed.
    pub fn pop(&mut self, index: u16) -> Result<Option<super::DescriptorChain>, DeviceError> {
        self.queue(index).map_or(Ok(None), Virtqueue::pop).map_err(DeviceError::in_queue(index))
    }

    /// Gives a chain of queue `index` back with `written` bytes stored in it.
    ///
    /// # Errors
    /// When the used ring cannot be written.
    pub fn push_used(&mut self, index: u16, head: u16, written: u32) -> Result<(), DeviceError> {
        self.queue(index)
            .map_or(Ok(()), |queue| queue.push_used(head, written))
            .map_err(DeviceError::in_queue(index))
    }

    /// Gives several chains of queue `index` back, each with its written bytes, so that the driver sees all of
    /// them or none.
    ///
    /// # Errors
    /// When the used ring cannot be written.
    pub fn push_used_together(&mut self, index: u16, chains: &[(u16, u32)]) -> Result<(), DeviceError> {
        self.queue(index)
            .map_or(Ok(()), |queue| queue.push_used_together(chains))
            .map_err(DeviceError::in_queue(index))
    }

    /// Tells the driver that the device's configuration structure has changed.
    pub fn config_changed(&mut self) {
        self.has_config_changed = true;
    }

    pub(super) fn has_config_changed(&self) -> bool {
        self.has_config_changed
    }
}

/// A virtio device behind any transport.
///
/// Its methods run on the vCPU that rang the doorbell and return at once; what must wait is kept by
/// the device until it is called again.
pub trait VirtioDevice: Send {
    /// The device's type.
    fn device_type(&self) -> DeviceType;

    /// PCI class, subclass and interface (`0xCCSSPP`) under which the device shows itself.
    fn pci_class(&self) -> u32;

    /// The device's own feature bits (0–23 and 50 up). The transport adds those of the queues.
    fn features(&self) -> u64;

    /// Largest size of each queue: powers of two.
    fn queue_sizes(&self) -> &[u16];

    /// Reads the device's configuration structure; bytes beyond it read as zero.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Writes the device's configuration structure; read-only fields ignore it.
    fn write_config(&mut self, offset: u64, data: &[u8]);

    /// The driver is ready (DRIVER_OK), having accepted `features`.
    fn activate(&mut self, features: u64);

    /// There may be new chains in queue `queue`.
    ///
    /// # Errors
    /// When the driver broke the protocol; the device then needs a reset.
    fn queue_notified(&mut self, queue: u16, context: &mut DeviceContext<'_>) -> Result<(), DeviceError>;

    /// Forgets everything that came from the driver.
    fn reset(&mut self);
}

/// Answers a read of `data.len()` bytes at `offset` from the bytes of a configuration structure.
pub fn read_config_bytes(structure: &[u8], offset: u64, data: &mut [u8]) {
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    let mut bytes = structure.iter().skip(skip);
    for byte in data {
        *byte = bytes.next().copied().unwrap_or(0);
    }
}
