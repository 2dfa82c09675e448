//! A driver that writes its rings by hand, so that it can write them wrongly.

use super::{RegisterTransport, hal};
use dinghy::mem::{GuestMemory, GuestPhysAddr};
use virtio_drivers::transport::{DeviceStatus, Transport};

/// Descriptors in each queue of this driver.
pub const SIZE: u16 = 16;

/// One descriptor's buffer.
#[derive(Clone, Copy)]
pub enum Buffer {
    Readable(GuestPhysAddr, u32),
    Writable(GuestPhysAddr, u32),
}

#[derive(Clone, Copy)]
pub struct Rings {
    pub descriptors: GuestPhysAddr,
    pub available: GuestPhysAddr,
    pub used: GuestPhysAddr,
}

pub struct RawDriver {
    pub transport: RegisterTransport,
    pub memory: GuestMemory,
    pub queues: Vec<Rings>,
}

impl RawDriver {
    /// Negotiates VERSION_1 and those of `features` that the device has, and starts the device.
    pub fn start(mut transport: RegisterTransport, memory: GuestMemory, features: u64) -> Self {
        transport.set_status(DeviceStatus::empty());
        transport.set_status(DeviceStatus::ACKNOWLEDGE);
        transport.set_status(DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER);
        let accepted = transport.read_device_features() & (features | 1 << 32);
        transport.write_driver_features(accepted);
        let negotiated = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER | DeviceStatus::FEATURES_OK;
        transport.set_status(negotiated);
        assert_eq!(transport.get_status(), negotiated);
        let count = u16::from_le_bytes(transport.read_common(18));
        let queues: Vec<Rings> = (0..count)
            .map(|queue| {
                let rings = Rings {
                    descriptors: hal::allocate(16 * usize::from(SIZE)),
                    available: hal::allocate(6 + 2 * usize::from(SIZE)),
                    used: hal::allocate(6 + 8 * usize::from(SIZE)),
                };
                let Rings { descriptors, available, used } = rings;
                transport.queue_set(queue, SIZE.into(), descriptors.0, available.0, used.0);
                rings
            })
            .collect();
        transport.set_status(negotiated | DeviceStatus::DRIVER_OK);
        Self { transport, memory, queues }
    }

    /// Pages of guest RAM that hold `bytes`, followed by zeroes up to `length`.
    pub fn place(&self, bytes: &[u8], length: u32) -> GuestPhysAddr {
        let address = hal::allocate(length as usize);
        self.memory.write(address, bytes).unwrap();
        address
    }

    pub fn bytes(&self, address: GuestPhysAddr, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }

    fn put_u16(&self, base: GuestPhysAddr, offset: u64, value: u16) {
        self.memory.write(GuestPhysAddr(base.0 + offset), &value.to_le_bytes()).unwrap();
    }

    fn get_u16(&self, base: GuestPhysAddr, offset: u64) -> u16 {
        self.memory.read_u16(GuestPhysAddr(base.0 + offset)).unwrap()
    }

    /// Writes descriptor `index` of `table`.
    pub fn describe(
        &self,
        table: GuestPhysAddr,
        index: u16,
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    ) {
        let value = u128::from(next) << 112
            | u128::from(flags) << 96
            | u128::from(length) << 64
            | u128::from(address);
        self.memory.write(GuestPhysAddr(table.0 + 16 * u64::from(index)), &value.to_le_bytes()).unwrap();
    }

    /// Chains `buffers` from descriptor `head` on.
    pub fn chain(&self, queue: usize, head: u16, buffers: &[Buffer]) {
        for (index, buffer) in (head..).zip(buffers) {
            let is_last = usize::from(index - head) + 1 == buffers.len();
            let next_flag = u16::from(!is_last);
            let (address, length, flags) = match *buffer {
                Buffer::Readable(address, length) => (address, length, next_flag),
                Buffer::Writable(address, length) => (address, length, next_flag | 2),
            };
            self.describe(self.queues[queue].descriptors, index, address.0, length, flags, index + 1);
        }
    }

    /// Makes the chain at `head` available without ringing the doorbell.
    pub fn offer(&self, queue: usize, head: u16) {
        let available = self.queues[queue].available;
        let index = self.get_u16(available, 2);
        self.put_u16(available, 4 + 2 * u64::from(index % SIZE), head);
        self.put_u16(available, 2, index.wrapping_add(1));
    }

    /// Sets the available index alone.
    pub fn set_available_index(&self, queue: usize, index: u16) {
        self.put_u16(self.queues[queue].available, 2, index);
    }

    pub fn set_available_flags(&self, queue: usize, flags: u16) {
        self.put_u16(self.queues[queue].available, 0, flags);
    }

    /// After which used index the driver wants an interrupt.
    pub fn set_used_event(&self, queue: usize, event: u16) {
        self.put_u16(self.queues[queue].available, 4 + 2 * u64::from(SIZE), event);
    }

    /// At which available index the device wants a notification.
    pub fn available_event(&self, queue: usize) -> u16 {
        self.get_u16(self.queues[queue].used, 4 + 8 * u64::from(SIZE))
    }

    pub fn notify(&mut self, queue: usize) {
        self.transport.notify(queue as u16);
    }

    /// Offers the chain of `buffers` at descriptor `head` and rings the doorbell.
    pub fn submit(&mut self, queue: usize, head: u16, buffers: &[Buffer]) {
        self.chain(queue, head, buffers);
        self.offer(queue, head);
        self.notify(queue);
    }

    pub fn used_index(&self, queue: usize) -> u16 {
        self.get_u16(self.queues[queue].used, 2)
    }

    /// Head and written bytes of used entry `index`.
    pub fn used(&self, queue: usize, index: u16) -> (u32, u32) {
        let entry = GuestPhysAddr(self.queues[queue].used.0 + 4 + 8 * u64::from(index % SIZE));
        let value = self.memory.read_u64(entry).unwrap();
        (value as u32, (value >> 32) as u32)
    }

    pub fn needs_reset(&self) -> bool {
        self.transport.get_status().contains(DeviceStatus::DEVICE_NEEDS_RESET)
    }
}
