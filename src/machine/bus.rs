//! The machine as its processor sees it.

use super::time::MachineTime;
use crate::cpu::SystemBus;
use crate::devices::bus::{Bus, lock};
use crate::devices::lapic::LocalApic;
use crate::host::Entropy;
use crate::mem::GuestPhysAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

/// Connects one processor to the buses, its local APIC and the time.
pub(super) struct ProcessorBus {
    pub memory_bus: Arc<Bus>,
    pub port_bus: Arc<Bus>,
    pub local_apic: Arc<Mutex<LocalApic>>,
    pub time: MachineTime,
    pub entropy: Arc<Mutex<Box<dyn Entropy>>>,
    pub attention: Arc<AtomicU32>,
}

impl SystemBus for ProcessorBus {
    fn mmio_read(&mut self, address: GuestPhysAddr, data: &mut [u8]) {
        self.memory_bus.read(address.0, data);
    }

    fn mmio_write(&mut self, address: GuestPhysAddr, data: &[u8]) {
        self.memory_bus.write(address.0, data);
    }

    fn port_read(&mut self, port: u16, size: u8) -> u32 {
        let mut data = [0; 4];
        self.port_bus.read(u64::from(port), &mut data[..usize::from(size.min(4))]);
        u32::from_le_bytes(data)
    }

    fn port_write(&mut self, port: u16, size: u8, value: u32) {
        self.port_bus.write(u64::from(port), &value.to_le_bytes()[..usize::from(size.min(4))]);
    }

    fn apic_read_msr(&mut self, msr: u32) -> Option<u64> {
        lock(&self.local_apic).read_msr(msr).ok()
    }

    fn apic_write_msr(&mut self, msr: u32, value: u64) -> Option<()> {
        lock(&self.local_apic).write_msr(msr, value).ok()
    }

    fn task_priority(&mut self) -> u8 {
        lock(&self.local_apic).cr8()
    }

    fn set_task_priority(&mut self, class: u8) {
        lock(&self.local_apic).set_cr8(class);
    }

    fn is_interrupt_pending(&mut self) -> bool {
        lock(&self.local_apic).is_interrupt_pending()
    }

    fn has_nmi(&mut self) -> bool {
        lock(&self.local_apic).inbox().has_nmi()
    }

    fn take_nmi(&mut self) -> bool {
        lock(&self.local_apic).inbox().take_nmi()
    }

    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        lock(&self.local_apic).acknowledge()
    }

    fn must_stop(&mut self) -> bool {
        self.attention.load(Ordering::Relaxed) != 0
    }

    fn now_ns(&mut self, instructions: u64) -> u64 {
        self.time.now_ns(instructions)
    }

    fn started_at_unix_ns(&self) -> u64 {
        self.time.clock().started_at().unix_ns
    }

    fn random_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        lock(&self.entropy).fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}
