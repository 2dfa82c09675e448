//! The platform's devices: interrupt controllers, timers, serial port, PCI host bridge, ACPI.
//!
//! Devices never see the CPU. They see guest memory, an interrupt line or message, a clock and
//! their host backend.

pub mod acpi;
pub mod apic_bus;
pub mod bus;
pub mod fw_cfg;
pub mod i8042;
pub mod ioapic;
pub mod isa;
pub mod lapic;
pub mod pci;
pub mod pic;
pub mod pit;
pub mod power;
pub mod rtc;
mod saved;
pub mod serial;

/// A device that answers accesses to a range of memory or of I/O ports.
pub trait BusDevice: Send {
    /// Reads `data.len()` bytes (1, 2, 4 or 8), little-endian, at `offset` from the range's start.
    fn read(&mut self, offset: u64, data: &mut [u8]);

    /// Writes `data.len()` bytes (1, 2, 4 or 8), little-endian, at `offset` from the range's start.
    fn write(&mut self, offset: u64, data: &[u8]);
}

/// One input of an interrupt controller, level-triggered: the line stays as set until set again.
pub trait InterruptLine: Send + Sync {
    /// Drives the line high or low.
    fn set_level(&self, is_high: bool);
}

/// Where message-signalled interrupts go (SDM vol. 3A 11.11, PCI 3.0 §6.8).
pub trait MessageInterrupt: Send + Sync {
    /// Delivers the memory write of `data` at `address`, as a device's MSI-X entry has it.
    fn send(&self, address: u64, data: u32);
}
