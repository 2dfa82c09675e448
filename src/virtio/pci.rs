//! Virtio over PCI, without the legacy interface (virtio 1.2 §4.1).

use super::common_config::{COMMON_CONFIG_BYTES, CommonConfig, CommonWrite, NO_VECTOR, Status, feature};
use super::device::{DeviceContext, DeviceError, VirtioDevice};
use super::queue::{QueueState, Virtqueue};
use crate::devices::InterruptLine;
use crate::devices::pci::{
    BarWidth, Command, ConfigSpace, FunctionIdentity, FunctionInterrupts, IntxPin, MsixState, MsixTable,
    PciFunction,
};
use crate::mem::GuestMemory;
use serde::{Deserialize, Serialize};

const VENDOR: u16 = 0x1af4;
/// Device ID of type 0; the type's number is added.
const DEVICE_BASE: u16 = 0x1040;
/// Subsystem ID, of no meaning with modern devices; 40h and above tells old drivers to keep off.
const SUBSYSTEM: u16 = 0x1100;

const CAPABILITY_VENDOR: u8 = 0x09;

/// The one BAR: a 4 KiB page for each structure, so that a guest may map them apart.
const BAR: u8 = 0;
const BAR_BYTES: u64 = 0x8000;
const PAGE: u32 = 0x1000;
const COMMON: u32 = 0x0000;
const ISR: u32 = 0x1000;
const DEVICE: u32 = 0x2000;
const NOTIFY: u32 = 0x3000;
const MSIX_TABLE: u32 = 0x6000;
const MSIX_PENDING: u32 = 0x7000;

/// Bytes between the doorbells of two queues.
const NOTIFY_MULTIPLIER: u32 = 4;

/// ISR status: a queue wants attention (§4.1.4.5).
const ISR_QUEUE: u8 = 1;
/// ISR status: the configuration has changed.
const ISR_CONFIG: u8 = 2;

/// The `cfg_type` of a vendor capability (§4.1.4).
#[derive(Clone, Copy)]
#[repr(u8)]
enum Structure {
    Common = 1,
    Notify = 2,
    Isr = 3,
    Device = 4,
    PciAccess = 5,
}

/// Places within the capability for access through configuration space (§4.1.4.9).
mod access {
    pub const BAR: u16 = 4;
    pub const OFFSET: u16 = 8;
    pub const LENGTH: u16 = 12;
    pub const DATA: u16 = 16;
}

/// What a snapshot keeps of the transport.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtioPciState {
    /// Configuration space.
    pub registers: Vec<u8>,
    /// MSI-X table.
    pub msix: MsixState,
    /// ISR status.
    pub isr: u8,
    /// Common configuration structure.
    pub common: CommonConfig,
    /// The enabled queues.
    pub queues: Vec<Option<QueueState>>,
}

/// A virtio device as a PCI function.
pub struct VirtioPci<D> {
    device: D,
    memory: GuestMemory,
    config: ConfigSpace,
    msix: MsixTable,
    intx: Option<IntxPin>,
    isr: u8,
    common: CommonConfig,
    queues: Vec<Option<Virtqueue>>,
    /// Offset of the capability for access through configuration space.
    access_capability: u16,
}

fn structure_capability(structure: Structure, offset: u32, length: u32, tail: &[u8]) -> Vec<u8> {
    // The capability's length counts the ID and next bytes that configuration space puts in front.
    let capability_bytes = (16 + tail.len()) as u8;
    let mut body = vec![capability_bytes, structure as u8, BAR, 0, 0, 0];
    body.extend_from_slice(&offset.to_le_bytes());
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(tail);
    body
}

impl<D: VirtioDevice> VirtioPci<D> {
    /// Puts `device` behind a transport that reads and writes `memory`.
    pub fn new(memory: GuestMemory, device: D) -> Self {
        let kind = device.device_type() as u16;
        let mut config = ConfigSpace::new(FunctionIdentity {
            vendor: VENDOR,
            device: DEVICE_BASE + kind,
            revision: 1,
            class: device.pci_class(),
            subsystem_vendor: VENDOR,
            subsystem: SUBSYSTEM,
        });
        config.add_memory_bar(BAR, BAR_BYTES, BarWidth::Bits64);
        let queue_count = device.queue_sizes().len() as u16;
        let notify_bytes = u32::from(queue_count) * NOTIFY_MULTIPLIER;
        let structures = [
            (Structure::Common, COMMON, COMMON_CONFIG_BYTES as u32, &[][..]),
            (Structure::Isr, ISR, 1, &[]),
            (Structure::Device, DEVICE, PAGE, &[]),
            (Structure::Notify, NOTIFY, notify_bytes, &NOTIFY_MULTIPLIER.to_le_bytes()),
        ];
        for (structure, offset, length, tail) in structures {
            config.add_capability(
                CAPABILITY_VENDOR,
                &structure_capability(structure, offset, length, tail),
                &[],
            );
        }
        let body = structure_capability(Structure::PciAccess, 0, 0, &[0; 4]);
        let mut writable = [0xff; 18];
        // Length, type, then (after the BAR) id and padding are fixed.
        for fixed in [0, 1, 3, 4, 5] {
            writable[fixed] = 0;
        }
        let access_capability = config.add_capability(CAPABILITY_VENDOR, &body, &writable).into();
        let msix = MsixTable::new(&mut config, queue_count + 1, BAR, MSIX_TABLE, MSIX_PENDING);
        let common =
            CommonConfig::new(device.features() | feature::TRANSPORT, device.queue_sizes(), msix.vectors());
        let queues = (0..queue_count).map(|_| None).collect();
        Self { device, memory, config, msix, intx: None, isr: 0, common, queues, access_capability }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, to be put back.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// The device status field.
    pub fn status(&self) -> Status {
        self.common.status
    }

    /// Whether the device may use its queues: the driver is ready, nothing is broken, and the
    /// function may access memory.
    fn is_running(&self) -> bool {
        let stopped = Status::NEEDS_RESET | Status::FAILED;
        self.common.status.contains(Status::DRIVER_OK)
            && !self.common.status.intersects(stopped)
            && self.config.command().contains(Command::BUS_MASTER)
    }

    /// Lets the device act on what came from outside, then raises the interrupts that are due.
    ///
    /// The context has no queues while the device does not run. An error of `action` puts the
    /// device into NEEDS_RESET.
    pub fn with_device(
        &mut self,
        action: impl FnOnce(&mut D, &mut DeviceContext<'_>) -> Result<(), DeviceError>,
    ) {
        let is_running = self.is_running();
        let queues = if is_running { self.queues.as_mut_slice() } else { &mut [] };
        let mut context = DeviceContext::new(queues);
        let outcome = action(&mut self.device, &mut context);
        if context.has_config_changed() {
            self.common.config_generation = self.common.config_generation.wrapping_add(1);
            self.raise_config_change();
        }
        match outcome.and_then(|()| if is_running { self.raise_queue_interrupts() } else { Ok(()) }) {
            Ok(()) => {}
            Err(error) => self.require_reset(&error),
        }
    }

    fn raise_queue_interrupts(&mut self) -> Result<(), DeviceError> {
        for index in 0..self.queues.len() {
            let Some(Some(queue)) = self.queues.get_mut(index) else { continue };
            if queue.take_interrupt().map_err(DeviceError::in_queue(index as u16))? {
                let vector = self.common.queues.get(index).map_or(NO_VECTOR, |queue| queue.vector);
                self.raise(vector, ISR_QUEUE);
            }
        }
        Ok(())
    }

    fn raise_config_change(&mut self) {
        if self.common.status.contains(Status::DRIVER_OK) {
            self.raise(self.common.config_vector, ISR_CONFIG);
        }
    }

    fn raise(&mut self, vector: u16, isr: u8) {
        if self.msix.is_enabled() {
            self.msix.trigger(vector);
        } else {
            self.isr |= isr;
            self.update_intx();
        }
    }

    fn update_intx(&mut self) {
        let is_pending = self.isr != 0 && !self.msix.is_enabled();
        self.config.set_interrupt_status(is_pending);
        let is_disabled = self.config.command().contains(Command::INTERRUPT_DISABLE);
        if let Some(intx) = &self.intx {
            intx.set_level(is_pending && !is_disabled);
        }
    }

    fn require_reset(&mut self, error: &DeviceError) {
        log::warn!("virtio {:?} needs a reset: {error}", self.device.device_type());
        self.device.reset();
        self.common.status |= Status::NEEDS_RESET;
        self.raise_config_change();
    }

    fn reset(&mut self) {
        self.device.reset();
        self.common.reset(self.device.queue_sizes());
        self.queues.fill_with(|| None);
        self.isr = 0;
        self.update_intx();
    }

    fn write_status(&mut self, value: u8) {
        // Only zero resets: a value of reserved bits alone must not.
        if value == 0 {
            return self.reset();
        }
        let written = Status::from_bits_truncate(value);
        let before = self.common.status;
        let was_running = self.is_running();
        // Only a reset clears bits (§2.1.1), and only the device sets NEEDS_RESET.
        let mut added = written - before - Status::NEEDS_RESET;
        if added.contains(Status::FEATURES_OK) && !self.common.are_features_acceptable() {
            log::warn!(
                "virtio {:?}: the driver's features {:#x} are not among {:#x} with VERSION_1",
                self.device.device_type(),
                self.common.driver_features,
                self.common.device_features
            );
            added -= Status::FEATURES_OK;
        }
        if added.contains(Status::DRIVER_OK) && !(before | added).contains(Status::FEATURES_OK) {
            log::warn!("virtio {:?}: DRIVER_OK without FEATURES_OK", self.device.device_type());
            added -= Status::DRIVER_OK;
        }
        self.common.status |= added;
        if added.contains(Status::DRIVER_OK) {
            self.device.activate(self.common.driver_features);
            self.open_queues();
        }
        self.look_at_queues_if_started(was_running);
    }

    /// Opens the queues that the driver has enabled, once the driver is ready.
    fn open_queues(&mut self) {
        if !self.common.status.contains(Status::DRIVER_OK) {
            return;
        }
        let uses_event_index = self.common.driver_features & feature::RING_EVENT_IDX != 0;
        for index in 0..self.queues.len() {
            let (Some(programmed), Some(slot @ None)) =
                (self.common.queues.get(index), self.queues.get_mut(index))
            else {
                continue;
            };
            if !programmed.is_enabled {
                continue;
            }
            let maximum = self.device.queue_sizes().get(index).copied().unwrap_or(0);
            match Virtqueue::new(self.memory.clone(), programmed.layout, maximum, uses_event_index) {
                Ok(queue) => *slot = Some(queue),
                Err(error) => return self.require_reset(&DeviceError::in_queue(index as u16)(error)),
            }
        }
    }

    /// What the driver made available before the device ran is looked at when it starts: the
    /// doorbell for it was ignored.
    fn look_at_queues_if_started(&mut self, was_running: bool) {
        if !was_running && self.is_running() {
            for index in 0..self.queues.len() {
                self.ring(index as u16);
            }
        }
    }

    /// The driver's doorbell for a queue.
    fn ring(&mut self, queue: u16) {
        let is_open = matches!(self.queues.get(usize::from(queue)), Some(Some(_)));
        if is_open && self.is_running() {
            self.with_device(|device, context| device.queue_notified(queue, context));
        }
    }

    fn write_common(&mut self, offset: u64, data: &[u8]) {
        match self.common.write(offset, data) {
            CommonWrite::Stored => {}
            CommonWrite::Status(value) => self.write_status(value),
            CommonWrite::QueueEnabled => {
                self.open_queues();
            }
        }
    }

    fn read_isr(&mut self) -> u8 {
        let isr = std::mem::take(&mut self.isr);
        self.update_intx();
        isr
    }

    /// BAR, offset and length that the access capability names, when they are of use.
    fn access_target(&self) -> Option<(u8, u64, usize)> {
        let base = self.access_capability;
        let bar = self.config.read_u16(base + access::BAR) as u8;
        let offset = self.config.read_u32(base + access::OFFSET);
        let length = self.config.read_u32(base + access::LENGTH);
        let is_usable = bar == BAR && matches!(length, 1 | 2 | 4) && offset.is_multiple_of(length);
        is_usable.then_some((bar, offset.into(), length as usize))
    }

    /// The transport, to be saved. The device saves its own part.
    pub fn state(&self) -> VirtioPciState {
        VirtioPciState {
            registers: self.config.registers().to_vec(),
            msix: self.msix.state(),
            isr: self.isr,
            common: self.common.clone(),
            queues: self.queues.iter().map(|queue| queue.as_ref().map(Virtqueue::state)).collect(),
        }
    }

    /// Puts a saved transport back, and the device with `restore_device`, which is given the queues
    /// as they were saved. Afterwards [`PciRoot::refresh_routes`](crate::devices::pci::PciRoot::refresh_routes)
    /// makes the bus follow the BARs.
    ///
    /// # Errors
    /// When a saved queue does not fit this machine's RAM or device.
    pub fn restore(
        &mut self,
        state: &VirtioPciState,
        restore_device: impl FnOnce(&mut D, &mut DeviceContext<'_>) -> Result<(), DeviceError>,
    ) -> Result<(), DeviceError> {
        let mut queues = Vec::with_capacity(self.queues.len());
        for (index, maximum) in (0u16..).zip(self.device.queue_sizes()) {
            let saved = state.queues.get(usize::from(index)).copied().flatten();
            let restored = saved.map(|saved| Virtqueue::restore(self.memory.clone(), saved, *maximum));
            queues.push(restored.transpose().map_err(DeviceError::in_queue(index))?);
        }
        self.queues = queues;
        self.config.restore_registers(&state.registers);
        self.msix.restore(&state.msix, &self.config);
        self.isr = state.isr;
        let (features, vectors) = (self.common.device_features, self.common.vectors);
        self.common = CommonConfig { device_features: features, vectors, ..state.common.clone() };
        self.common.queues.truncate(self.queues.len());
        self.device.activate(self.common.driver_features);
        restore_device(&mut self.device, &mut DeviceContext::new(&mut self.queues))?;
        self.update_intx();
        Ok(())
    }
}

impl<D: VirtioDevice> PciFunction for VirtioPci<D> {
    fn config_space(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_space_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn connect_interrupts(&mut self, interrupts: FunctionInterrupts) {
        self.msix.connect(interrupts.messages);
        self.intx = Some(interrupts.intx);
    }

    fn read_config(&mut self, register: u16, data: &mut [u8]) {
        if register == self.access_capability + access::DATA
            && let Some((bar, offset, length)) = self.access_target()
        {
            data.fill(0);
            let length = length.min(data.len());
            if let Some(data) = data.get_mut(..length) {
                self.read_bar(bar, offset, data);
            }
            return;
        }
        self.config.read(register, data);
    }

    fn write_config(&mut self, register: u16, data: &[u8]) {
        let was_running = self.is_running();
        self.config.write(register, data);
        if register == self.access_capability + access::DATA
            && let Some((bar, offset, length)) = self.access_target()
            && let Some(data) = data.get(..length)
        {
            self.write_bar(bar, offset, data);
        }
        self.msix.control_written(&self.config);
        self.update_intx();
        self.look_at_queues_if_started(was_running);
    }

    fn read_bar(&mut self, _bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        let within = offset % u64::from(PAGE);
        match (offset - within) as u32 {
            COMMON => self.common.read(within, data),
            ISR if within == 0 => {
                if let Some(byte) = data.first_mut() {
                    *byte = self.read_isr();
                }
            }
            DEVICE => self.device.read_config(within, data),
            MSIX_TABLE => self.msix.read_table(within, data),
            MSIX_PENDING => self.msix.read_pending(within, data),
            _ => {}
        }
    }

    fn write_bar(&mut self, _bar: u8, offset: u64, data: &[u8]) {
        let within = offset % u64::from(PAGE);
        match (offset - within) as u32 {
            COMMON => self.write_common(within, data),
            DEVICE => self.device.write_config(within, data),
            NOTIFY => self.ring((within / u64::from(NOTIFY_MULTIPLIER)) as u16),
            MSIX_TABLE => self.msix.write_table(within, data),
            _ => log::debug!("virtio: {} bytes written to BAR offset {offset:#x}", data.len()),
        }
    }
}
