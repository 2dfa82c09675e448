//! The common configuration structure: negotiation and the queues' layout (virtio 1.2 §4.1.4.3).

use super::queue::QueueLayout;
use crate::mem::GuestPhysAddr;
use serde::{Deserialize, Serialize};

/// Feature bits that belong to the queues and the transport (virtio 1.2 §6).
pub mod feature {
    /// Indirect descriptors.
    pub const RING_INDIRECT_DESC: u64 = 1 << 28;
    /// Event indices in both rings.
    pub const RING_EVENT_IDX: u64 = 1 << 29;
    /// The device follows the specification, not its draft before 1.0.
    pub const VERSION_1: u64 = 1 << 32;

    /// What every device of ours offers.
    pub(in crate::virtio) const TRANSPORT: u64 = RING_INDIRECT_DESC | RING_EVENT_IDX | VERSION_1;
}

/// The vector number that means "no interrupt".
pub(super) const NO_VECTOR: u16 = 0xffff;

bitflags::bitflags! {
    /// The device status field (virtio 1.2 §2.1).
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct Status: u8 {
        /// The guest has noticed the device.
        const ACKNOWLEDGE = 1;
        /// The guest has a driver for it.
        const DRIVER = 2;
        /// The driver is ready.
        const DRIVER_OK = 4;
        /// The driver's choice of features stands.
        const FEATURES_OK = 8;
        /// The device has met an error that only a reset mends.
        const NEEDS_RESET = 64;
        /// The driver has given up.
        const FAILED = 128;
    }
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bits().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u8::deserialize(deserializer).map(Self::from_bits_truncate)
    }
}

/// One queue, as the driver programs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgrammedQueue {
    /// Size and place.
    pub layout: QueueLayout,
    /// MSI-X vector of its interrupts, or FFFFh.
    pub vector: u16,
    /// Whether the driver has enabled it.
    pub is_enabled: bool,
}

/// What a write asks of the transport beyond the register itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommonWrite {
    /// Only a register changed.
    Stored,
    /// The driver wrote the status field.
    Status(u8),
    /// The driver enabled a queue.
    QueueEnabled,
}

/// The registers. They are also what a snapshot keeps of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommonConfig {
    /// Features that the device offers.
    pub device_features: u64,
    /// Features that the driver has accepted.
    pub driver_features: u64,
    /// Which 32 of the device's features are shown.
    pub device_feature_select: u32,
    /// Which 32 of the driver's features are shown.
    pub driver_feature_select: u32,
    /// MSI-X vector of configuration changes, or FFFFh.
    pub config_vector: u16,
    /// The device status.
    pub status: Status,
    /// Counts changes of the device's configuration structure.
    pub config_generation: u8,
    /// Which queue the queue registers show.
    pub queue_select: u16,
    /// The queues.
    pub queues: Vec<ProgrammedQueue>,
    /// MSI-X vectors that exist.
    pub vectors: u16,
}

/// Bytes of the structure.
pub(super) const COMMON_CONFIG_BYTES: usize = 60;

mod offset {
    pub const DEVICE_FEATURE_SELECT: u64 = 0;
    pub const DEVICE_FEATURE: u64 = 4;
    pub const DRIVER_FEATURE_SELECT: u64 = 8;
    pub const DRIVER_FEATURE: u64 = 12;
    pub const CONFIG_VECTOR: u64 = 16;
    pub const NUM_QUEUES: u64 = 18;
    pub const DEVICE_STATUS: u64 = 20;
    pub const CONFIG_GENERATION: u64 = 21;
    pub const QUEUE_SELECT: u64 = 22;
    pub const QUEUE_SIZE: u64 = 24;
    pub const QUEUE_VECTOR: u64 = 26;
    pub const QUEUE_ENABLE: u64 = 28;
    pub const QUEUE_NOTIFY_OFF: u64 = 30;
    pub const QUEUE_DESCRIPTORS: u64 = 32;
    pub const QUEUE_AVAILABLE: u64 = 40;
    pub const QUEUE_USED: u64 = 48;
}

fn half(value: u64, select: u32) -> u32 {
    match select {
        0 => value as u32,
        1 => (value >> 32) as u32,
        _ => 0,
    }
}

/// Replaces the half of `address` that a 4-byte write at `offset` covers, or all of it with 8 bytes.
fn set_address(address: &mut GuestPhysAddr, offset: u64, data: &[u8]) {
    let mut bytes = address.0.to_le_bytes();
    let start = (offset % 8) as usize;
    for (byte, value) in bytes[start..].iter_mut().zip(data) {
        *byte = *value;
    }
    *address = GuestPhysAddr(u64::from_le_bytes(bytes));
}

impl CommonConfig {
    /// The registers at reset, for a device with these features, queues and MSI-X vectors.
    pub fn new(device_features: u64, queue_sizes: &[u16], vectors: u16) -> Self {
        let queue = |size: &u16| ProgrammedQueue {
            layout: QueueLayout { size: *size, ..QueueLayout::default() },
            vector: NO_VECTOR,
            is_enabled: false,
        };
        Self {
            device_features,
            driver_features: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            config_vector: NO_VECTOR,
            status: Status::empty(),
            config_generation: 0,
            queue_select: 0,
            queues: queue_sizes.iter().map(queue).collect(),
            vectors,
        }
    }

    /// Reads the structure; bytes beyond it, and the registers of a queue that does not exist, read as zero.
    pub fn read(&self, at: u64, data: &mut [u8]) {
        let mut image = [0u8; COMMON_CONFIG_BYTES];
        let mut put = |at: u64, bytes: &[u8]| {
            for (byte, value) in image.iter_mut().skip(at as usize).zip(bytes) {
                *byte = *value;
            }
        };
        put(offset::DEVICE_FEATURE_SELECT, &self.device_feature_select.to_le_bytes());
        put(offset::DEVICE_FEATURE, &half(self.device_features, self.device_feature_select).to_le_bytes());
        put(offset::DRIVER_FEATURE_SELECT, &self.driver_feature_select.to_le_bytes());
        put(offset::DRIVER_FEATURE, &half(self.driver_features, self.driver_feature_select).to_le_bytes());
        put(offset::CONFIG_VECTOR, &self.config_vector.to_le_bytes());
        put(offset::NUM_QUEUES, &(self.queues.len() as u16).to_le_bytes());
        put(offset::DEVICE_STATUS, &[self.status.bits()]);
        put(offset::CONFIG_GENERATION, &[self.config_generation]);
        put(offset::QUEUE_SELECT, &self.queue_select.to_le_bytes());
        if let Some(queue) = self.queues.get(usize::from(self.queue_select)) {
            put(offset::QUEUE_SIZE, &queue.layout.size.to_le_bytes());
            put(offset::QUEUE_VECTOR, &queue.vector.to_le_bytes());
            put(offset::QUEUE_ENABLE, &u16::from(queue.is_enabled).to_le_bytes());
            put(offset::QUEUE_NOTIFY_OFF, &self.queue_select.to_le_bytes());
            put(offset::QUEUE_DESCRIPTORS, &queue.layout.descriptors.0.to_le_bytes());
            put(offset::QUEUE_AVAILABLE, &queue.layout.available.0.to_le_bytes());
            put(offset::QUEUE_USED, &queue.layout.used.0.to_le_bytes());
        }
        super::read_config_bytes(&image, at, data);
    }

    /// Writes one register with its natural width (64-bit ones also by halves, §4.1.3.1).
    pub(super) fn write(&mut self, at: u64, data: &[u8]) -> CommonWrite {
        let mut bytes = [0; 8];
        for (byte, value) in bytes.iter_mut().zip(data) {
            *byte = *value;
        }
        let value = u64::from_le_bytes(bytes);
        match (at, data.len()) {
            (offset::DEVICE_FEATURE_SELECT, 4) => self.device_feature_select = value as u32,
            (offset::DRIVER_FEATURE_SELECT, 4) => self.driver_feature_select = value as u32,
            (offset::DRIVER_FEATURE, 4) => self.accept_features(value as u32),
            (offset::CONFIG_VECTOR, 2) => self.config_vector = self.existing_vector(value as u16),
            (offset::DEVICE_STATUS, 1) => return CommonWrite::Status(value as u8),
            (offset::QUEUE_SELECT, 2) => self.queue_select = value as u16,
            (offset::QUEUE_SIZE.., _) => return self.write_queue(at, data, value as u16),
            _ => log::debug!("virtio: {} bytes written to common configuration offset {at}", data.len()),
        }
        CommonWrite::Stored
    }

    fn write_queue(&mut self, at: u64, data: &[u8], value: u16) -> CommonWrite {
        let vector = self.existing_vector(value);
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else {
            return CommonWrite::Stored;
        };
        match (at, data.len()) {
            (offset::QUEUE_VECTOR, 2) => queue.vector = vector,
            // An enabled queue keeps its layout until reset (§4.1.4.3.2).
            _ if queue.is_enabled => {}
            (offset::QUEUE_SIZE, 2) => queue.layout.size = value,
            (offset::QUEUE_ENABLE, 2) if value == 1 => {
                queue.is_enabled = true;
                return CommonWrite::QueueEnabled;
            }
            (offset::QUEUE_DESCRIPTORS..offset::QUEUE_AVAILABLE, 4 | 8) => {
                set_address(&mut queue.layout.descriptors, at, data);
            }
            (offset::QUEUE_AVAILABLE..offset::QUEUE_USED, 4 | 8) => {
                set_address(&mut queue.layout.available, at, data);
            }
            (offset::QUEUE_USED..56, 4 | 8) => set_address(&mut queue.layout.used, at, data),
            _ => log::debug!("virtio: {} bytes written to common configuration offset {at}", data.len()),
        }
        CommonWrite::Stored
    }

    fn accept_features(&mut self, value: u32) {
        // After FEATURES_OK the choice stands (§3.1.1).
        if !self.status.contains(Status::FEATURES_OK) {
            let value = u64::from(value);
            match self.driver_feature_select {
                0 => self.driver_features = self.driver_features & !0xffff_ffff | value,
                1 => self.driver_features = self.driver_features & 0xffff_ffff | value << 32,
                _ => {}
            }
        }
    }

    /// A vector that does not exist cannot be mapped: it reads back as FFFFh (§4.1.5.1.2.1).
    fn existing_vector(&self, vector: u16) -> u16 {
        if vector < self.vectors { vector } else { NO_VECTOR }
    }

    /// Whether the driver's choice of features can stand.
    pub(super) fn are_features_acceptable(&self) -> bool {
        self.driver_features & !self.device_features == 0 && self.driver_features & feature::VERSION_1 != 0
    }

    /// The registers go back to their start. The configuration generation goes on counting.
    pub(super) fn reset(&mut self, queue_sizes: &[u16]) {
        let generation = self.config_generation;
        *self = Self::new(self.device_features, queue_sizes, self.vectors);
        self.config_generation = generation;
    }
}
