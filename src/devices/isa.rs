//! Interrupt request lines of ISA devices, wired to both kinds of interrupt controller as on a PC.

use super::InterruptLine;
use super::bus::lock;
use super::ioapic::IoApic;
use super::pic::Pic;
use std::sync::{Arc, Mutex};

/// ISA interrupt request line of the timer.
pub const TIMER_LINE: u8 = 0;
/// ISA interrupt request line of the first serial port.
pub const SERIAL_LINE: u8 = 4;
/// ISA interrupt request line of the real-time clock.
pub const CLOCK_LINE: u8 = 8;
/// ISA interrupt request line of ACPI events; level-triggered.
pub const ACPI_LINE: u8 = 9;
/// ISA interrupt request line by which the guest learns of a new generation ID.
pub const GENERATION_LINE: u8 = 10;
/// The I/O APIC input of the timer; the ACPI tables tell the guest (MADT interrupt source override).
pub const TIMER_PIN: u8 = 2;

/// One of the lines 0 to 15. It reaches the 8259As, and the I/O APIC on the input of the same number, but for
/// the timer's, which is on input 2.
pub struct IsaLine {
    pic: Arc<Mutex<Pic>>,
    io_apic: Arc<Mutex<IoApic>>,
    line: u8,
}

impl IsaLine {
    /// The line with this number.
    pub fn new(pic: Arc<Mutex<Pic>>, io_apic: Arc<Mutex<IoApic>>, line: u8) -> Self {
        Self { pic, io_apic, line }
    }
}

impl InterruptLine for IsaLine {
    fn set_level(&self, is_high: bool) {
        lock(&self.pic).set_level(self.line, is_high);
        let pin = if self.line == TIMER_LINE { TIMER_PIN } else { self.line };
        lock(&self.io_apic).set_level(pin, is_high);
    }
}

#[cfg(test)]
mod tests {
    use super::super::BusDevice;
    use super::super::apic_bus::{ApicBus, ApicInbox};
    use super::super::bus::PortDevice;
    use super::super::lapic::LocalApic;
    use super::*;
    use crate::host::InstructionClock;

    #[test]
    fn the_timer_line_reaches_the_processor_by_either_controller() {
        let bus = Arc::new(ApicBus::new(vec![Arc::new(ApicInbox::new(0, Arc::default()))]));
        let mut apic = LocalApic::new(0, bus.clone(), Arc::new(InstructionClock::default())).unwrap();
        let pic = Arc::new(Mutex::new(Pic::new(bus.clone())));
        let io_apic = Arc::new(Mutex::new(IoApic::new(bus)));
        apic.connect_external_interrupts(pic.clone());
        let line = IsaLine::new(pic.clone(), io_apic.clone(), TIMER_LINE);

        for (port, value) in [(0x20, 0x11), (0x21, 0x30), (0x21, 4), (0x21, 1), (0x21, 0)] {
            lock(&pic).write_port(port, value);
        }
        apic.write(0xf0, &0x1ff_u32.to_le_bytes());
        apic.write(0x350, &0x700_u32.to_le_bytes());
        line.set_level(true);
        assert_eq!(apic.acknowledge(), Some(0x30), "8259A and LINT0");

        line.set_level(false);
        lock(&pic).write_port(0x21, 0xff);
        lock(&io_apic).write(0, &[0x14]);
        lock(&io_apic).write(0x10, &0x40_u32.to_le_bytes());
        line.set_level(true);
        assert_eq!(apic.acknowledge(), Some(0x40), "I/O APIC");
    }
}
