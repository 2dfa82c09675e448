//! `virtio-drivers`' transport over the registers of our bus, found as a guest finds them.

use dinghy::devices::BusDevice;
use dinghy::devices::pci::{EcamWindow, MEMORY_WINDOW_BASE, MemoryWindow, PciRoot};
use std::cell::RefCell;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

#[derive(Clone, Copy, Default)]
struct Region {
    bar: u8,
    offset: u64,
}

/// One function's registers.
pub struct RegisterTransport {
    ecam: RefCell<EcamWindow>,
    window: RefCell<MemoryWindow>,
    pub slot: u8,
    common: Region,
    notify: Region,
    notify_multiplier: u64,
    isr: Region,
    device: Region,
    /// Offset of the capability for access through configuration space.
    pub access_capability: u16,
    /// Offset of the MSI-X capability.
    pub msix_capability: u16,
}

impl RegisterTransport {
    /// Walks the capability list of `slot` and turns memory decoding and bus mastering on.
    pub fn find(root: &PciRoot, slot: u8) -> Self {
        let mut transport = Self {
            ecam: RefCell::new(root.ecam()),
            window: RefCell::new(root.memory_window()),
            slot,
            common: Region::default(),
            notify: Region::default(),
            notify_multiplier: 0,
            isr: Region::default(),
            device: Region::default(),
            access_capability: 0,
            msix_capability: 0,
        };
        assert_eq!(transport.config_u16(0), 0x1af4);
        assert_ne!(transport.config_u16(6) & 0x10, 0, "there are capabilities");
        let mut at = transport.config_u16(0x34) & 0xff;
        while at != 0 {
            let header = transport.config_u32(at).to_le_bytes();
            let region = Region {
                bar: transport.config_u32(at + 4) as u8,
                offset: transport.config_u32(at + 8).into(),
            };
            match (header[0], header[3]) {
                (0x09, 1) => transport.common = region,
                (0x09, 2) => {
                    transport.notify = region;
                    transport.notify_multiplier = transport.config_u32(at + 16).into();
                }
                (0x09, 3) => transport.isr = region,
                (0x09, 4) => transport.device = region,
                (0x09, 5) => transport.access_capability = at,
                (0x11, _) => transport.msix_capability = at,
                other => panic!("an unknown capability {other:x?}"),
            }
            at = header[1].into();
        }
        transport.write_config(4, &6u16.to_le_bytes());
        transport
    }

    pub fn read_config(&self, register: u16, data: &mut [u8]) {
        self.ecam.borrow_mut().read(u64::from(self.slot) << 15 | u64::from(register), data);
    }

    pub fn write_config(&self, register: u16, data: &[u8]) {
        self.ecam.borrow_mut().write(u64::from(self.slot) << 15 | u64::from(register), data);
    }

    pub fn config_u16(&self, register: u16) -> u16 {
        let mut data = [0; 2];
        self.read_config(register, &mut data);
        u16::from_le_bytes(data)
    }

    pub fn config_u32(&self, register: u16) -> u32 {
        let mut data = [0; 4];
        self.read_config(register, &mut data);
        u32::from_le_bytes(data)
    }

    /// The guest-physical address that BAR `bar` is programmed with.
    pub fn bar_base(&self, bar: u8) -> u64 {
        let register = 0x10 + 4 * u16::from(bar);
        let low = self.config_u32(register);
        let high = if low & 0b110 == 0b100 { self.config_u32(register + 4) } else { 0 };
        u64::from(high) << 32 | u64::from(low & !0xf)
    }

    fn window_offset(&self, region: Region, offset: u64) -> u64 {
        self.bar_base(region.bar) - MEMORY_WINDOW_BASE + region.offset + offset
    }

    fn read<const N: usize>(&self, region: Region, offset: u64) -> [u8; N] {
        let mut data = [0; N];
        self.window.borrow_mut().read(self.window_offset(region, offset), &mut data);
        data
    }

    fn write(&self, region: Region, offset: u64, data: &[u8]) {
        self.window.borrow_mut().write(self.window_offset(region, offset), data);
    }

    pub fn read_common<const N: usize>(&self, offset: u64) -> [u8; N] {
        self.read(self.common, offset)
    }

    pub fn write_common(&self, offset: u64, data: &[u8]) {
        self.write(self.common, offset, data);
    }

    pub fn write_msix_table(&self, offset: u64, data: &[u8]) {
        let location = self.config_u32(self.msix_capability + 4);
        let region = Region { bar: location as u8 & 7, offset: u64::from(location & !7) };
        self.write(region, offset, data);
    }

    pub fn read_msix_pending(&self) -> u8 {
        let location = self.config_u32(self.msix_capability + 8);
        let region = Region { bar: location as u8 & 7, offset: u64::from(location & !7) };
        self.read::<1>(region, 0)[0]
    }

    fn select_queue(&self, queue: u16) {
        self.write_common(22, &queue.to_le_bytes());
    }
}

impl Transport for RegisterTransport {
    fn device_type(&self) -> DeviceType {
        DeviceType::try_from(self.config_u16(2) - 0x1040).unwrap()
    }

    fn read_device_features(&mut self) -> u64 {
        [0u32, 1]
            .map(|half| {
                self.write_common(0, &half.to_le_bytes());
                u64::from(u32::from_le_bytes(self.read_common(4))) << (32 * half)
            })
            .iter()
            .sum()
    }

    fn write_driver_features(&mut self, features: u64) {
        for half in [0u32, 1] {
            self.write_common(8, &half.to_le_bytes());
            self.write_common(12, &((features >> (32 * half)) as u32).to_le_bytes());
        }
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.select_queue(queue);
        u16::from_le_bytes(self.read_common(24)).into()
    }

    fn notify(&mut self, queue: u16) {
        self.select_queue(queue);
        let offset = u64::from(u16::from_le_bytes(self.read_common(30)));
        self.write(self.notify, offset * self.notify_multiplier, &queue.to_le_bytes());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_retain(self.read_common::<1>(20)[0].into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.write_common(20, &[status.bits() as u8]);
    }

    fn set_guest_page_size(&mut self, _guest_page_size: u32) {
        // Only the legacy interface knows page sizes.
    }

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        self.select_queue(queue);
        self.write_common(24, &(size as u16).to_le_bytes());
        // Halves for one, a whole for the others: both are allowed.
        self.write_common(32, &(descriptors as u32).to_le_bytes());
        self.write_common(36, &((descriptors >> 32) as u32).to_le_bytes());
        self.write_common(40, &driver_area.to_le_bytes());
        self.write_common(48, &device_area.to_le_bytes());
        self.write_common(28, &1u16.to_le_bytes());
    }

    fn queue_unset(&mut self, _queue: u16) {
        // A modern device's queue is only reset with the device.
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        self.select_queue(queue);
        self.read_common::<2>(28) != [0, 0]
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::from_bits_retain(self.read::<1>(self.isr, 0)[0].into())
    }

    fn read_config_generation(&self) -> u32 {
        self.read_common::<1>(21)[0].into()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut value = T::new_zeroed();
        let offset = self.window_offset(self.device, offset as u64);
        self.window.borrow_mut().read(offset, value.as_mut_bytes());
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        self.write(self.device, offset as u64, value.as_bytes());
        Ok(())
    }
}
