//! The I/O APIC (82093AA, with the EOI register of version 0x20).

use super::apic_bus::{ApicBus, DeliveryMode, Destination, InterruptMessage, TriggerMode};
use super::bus::lock;
use super::lapic::EndOfInterrupt;
use super::saved::saved_fields;
use super::{BusDevice, InterruptLine};
use std::sync::{Arc, Mutex};

/// Where the registers are mapped.
pub const IO_APIC_BASE: u64 = 0xfec0_0000;
/// Bytes of the register window.
pub const IO_APIC_LENGTH: u64 = 0x1000;
/// Interrupt inputs.
pub const PIN_COUNT: u8 = 24;

const SELECT: u64 = 0x00;
const WINDOW: u64 = 0x10;
const END_OF_INTERRUPT: u64 = 0x40;

const REGISTER_ID: u8 = 0x00;
const REGISTER_VERSION: u8 = 0x01;
const REGISTER_ARBITRATION: u8 = 0x02;
const REGISTER_TABLE: u8 = 0x10;
const VERSION: u32 = (PIN_COUNT as u32 - 1) << 16 | 0x20;

const ENTRY_LOGICAL: u64 = 1 << 11;
const ENTRY_REMOTE_IRR: u64 = 1 << 14;
const ENTRY_LEVEL: u64 = 1 << 15;
const ENTRY_MASKED: u64 = 1 << 16;
/// Bits that software writes; delivery status (12) and remote IRR (14) are ours.
const ENTRY_WRITABLE: u64 = 0xff00_0000_0001_afff;

/// The I/O APIC: 24 inputs, each with an entry that says which interrupt it raises where.
///
/// Inputs carry *asserted* or not: a wire that is active when low is asserted when low, so that the polarity
/// bit of an entry is kept but changes nothing.
pub struct IoApic {
    bus: Arc<ApicBus>,
    select: u8,
    id: u8,
    entries: [u64; PIN_COUNT as usize],
    /// One bit a pin: asserted now.
    levels: u32,
}

impl IoApic {
    /// An I/O APIC with all inputs masked.
    pub fn new(bus: Arc<ApicBus>) -> Self {
        Self { bus, select: 0, id: 0, entries: [ENTRY_MASKED; PIN_COUNT as usize], levels: 0 }
    }

    /// Asserts or releases an input.
    pub fn set_level(&mut self, pin: u8, is_asserted: bool) {
        let Some(entry) = self.entries.get(usize::from(pin)) else { return };
        let bit = 1 << pin;
        let was_asserted = self.levels & bit != 0;
        if is_asserted {
            self.levels |= bit;
        } else {
            self.levels &= !bit;
        }
        let is_level = entry & ENTRY_LEVEL != 0;
        if is_asserted && (is_level || !was_asserted) {
            self.deliver(pin);
        }
    }

    fn deliver(&mut self, pin: u8) {
        let Some(entry) = self.entries.get_mut(usize::from(pin)) else { return };
        let is_level = *entry & ENTRY_LEVEL != 0;
        if *entry & ENTRY_MASKED != 0 || (is_level && *entry & ENTRY_REMOTE_IRR != 0) {
            return;
        }
        let Some(delivery_mode) = DeliveryMode::from_bits((*entry >> 8) as u32) else { return };
        let message = InterruptMessage {
            destination: Destination::from_byte((*entry >> 56) as u8, *entry & ENTRY_LOGICAL != 0),
            delivery_mode,
            vector: *entry as u8,
            trigger: if is_level { TriggerMode::Level } else { TriggerMode::Edge },
        };
        let is_accepted = self.bus.deliver(message);
        if is_level && is_accepted {
            *entry |= ENTRY_REMOTE_IRR;
        }
    }

    /// A processor has finished `vector`: level-triggered inputs that still ask are delivered again.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        for pin in 0..PIN_COUNT {
            let Some(entry) = self.entries.get_mut(usize::from(pin)) else { continue };
            if *entry as u8 == vector
                && *entry & (ENTRY_LEVEL | ENTRY_REMOTE_IRR) == ENTRY_LEVEL | ENTRY_REMOTE_IRR
            {
                *entry &= !ENTRY_REMOTE_IRR;
                self.deliver_if_asserted_level(pin);
            }
        }
    }

    fn deliver_if_asserted_level(&mut self, pin: u8) {
        let is_level = self.entries.get(usize::from(pin)).is_some_and(|entry| entry & ENTRY_LEVEL != 0);
        if is_level && self.levels & 1 << pin != 0 {
            self.deliver(pin);
        }
    }

    fn read_register(&self, register: u8) -> u32 {
        match register {
            REGISTER_ID | REGISTER_ARBITRATION => u32::from(self.id) << 24,
            REGISTER_VERSION => VERSION,
            _ => match register.checked_sub(REGISTER_TABLE) {
                Some(index) => self
                    .entries
                    .get(usize::from(index / 2))
                    .map_or(0, |entry| (entry >> (u32::from(index % 2) * 32)) as u32),
                None => 0,
            },
        }
    }

    fn write_register(&mut self, register: u8, value: u32) {
        if register == REGISTER_ID {
            self.id = (value >> 24) as u8 & 0xf;
            return;
        }
        let Some(index) = register.checked_sub(REGISTER_TABLE) else { return };
        let pin = index / 2;
        let Some(entry) = self.entries.get_mut(usize::from(pin)) else { return };
        let shift = u32::from(index % 2) * 32;
        let writable = ENTRY_WRITABLE & 0xffff_ffff << shift;
        *entry = *entry & !writable | u64::from(value) << shift & writable;
        if *entry & ENTRY_LEVEL == 0 {
            // Changing a pin to edge forgets its pending level interrupt; Linux relies on it.
            *entry &= !ENTRY_REMOTE_IRR;
        }
        self.deliver_if_asserted_level(pin);
    }
}

saved_fields! {
    /// What a snapshot keeps of the I/O APIC.
    IoApicState of IoApic { select: u8, id: u8, entries: [u64; PIN_COUNT as usize], levels: u32 }
}

impl IoApic {
    fn put_right(&mut self) {
        self.id &= 0xf;
    }
}

impl BusDevice for IoApic {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        let value = match offset & !3 {
            SELECT => u32::from(self.select),
            WINDOW => self.read_register(self.select),
            _ => 0,
        };
        let bytes = u64::from(value).to_le_bytes();
        for (target, source) in data.iter_mut().zip(bytes.iter().skip((offset & 3) as usize)) {
            *target = *source;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        let Some(&low) = data.first() else { return };
        match offset {
            SELECT => self.select = low,
            WINDOW => match data {
                [a, b, c, d, ..] => self.write_register(self.select, u32::from_le_bytes([*a, *b, *c, *d])),
                _ => log::debug!("{}-byte write to the I/O APIC's window is dropped", data.len()),
            },
            END_OF_INTERRUPT => self.end_of_interrupt(low),
            _ => {}
        }
    }
}

impl EndOfInterrupt for Mutex<IoApic> {
    fn end_of_interrupt(&self, vector: u8) {
        lock(self).end_of_interrupt(vector);
    }
}

/// One input of the I/O APIC, for a device to drive. High means asserted.
pub struct IoApicPin {
    io_apic: Arc<Mutex<IoApic>>,
    pin: u8,
}

impl IoApicPin {
    /// The input `pin` (0 to 23), which is also its global system interrupt number.
    pub fn new(io_apic: Arc<Mutex<IoApic>>, pin: u8) -> Self {
        Self { io_apic, pin }
    }
}

impl InterruptLine for IoApicPin {
    fn set_level(&self, is_high: bool) {
        lock(&self.io_apic).set_level(self.pin, is_high);
    }
}

#[cfg(test)]
mod tests {
    use super::super::apic_bus::ApicInbox;
    use super::super::lapic::LocalApic;
    use super::*;
    use crate::host::InstructionClock;

    fn machine() -> (Arc<Mutex<IoApic>>, LocalApic) {
        let bus = Arc::new(ApicBus::new(vec![Arc::new(ApicInbox::new(0, Arc::default()))]));
        let mut apic = LocalApic::new(0, bus.clone(), Arc::new(InstructionClock::default())).unwrap();
        apic.write(0xf0, &0x1ff_u32.to_le_bytes());
        let io_apic = Arc::new(Mutex::new(IoApic::new(bus)));
        apic.connect_end_of_interrupt(io_apic.clone());
        (io_apic, apic)
    }

    fn write(io_apic: &Mutex<IoApic>, register: u8, value: u32) {
        lock(io_apic).write(SELECT, &u32::from(register).to_le_bytes());
        lock(io_apic).write(WINDOW, &value.to_le_bytes());
    }

    fn read(io_apic: &Mutex<IoApic>, register: u8) -> u32 {
        lock(io_apic).write(SELECT, &[register]);
        let mut data = [0; 4];
        lock(io_apic).read(WINDOW, &mut data);
        u32::from_le_bytes(data)
    }

    #[test]
    fn an_edge_is_delivered_once() {
        let (io_apic, mut apic) = machine();
        write(&io_apic, 0x14, 0x30);
        let line = IoApicPin::new(io_apic, 2);
        line.set_level(true);
        line.set_level(true);
        assert_eq!(apic.acknowledge(), Some(0x30));
        apic.end_of_interrupt();
        assert!(!apic.is_interrupt_pending());
        line.set_level(false);
        line.set_level(true);
        assert!(apic.is_interrupt_pending());
    }

    #[test]
    fn a_level_is_delivered_again_after_each_end_of_interrupt_while_asserted() {
        let (io_apic, mut apic) = machine();
        write(&io_apic, 0x30, 0x41 | 1 << 15 | 1 << 13);
        let line = IoApicPin::new(io_apic.clone(), 16);
        line.set_level(true);
        assert_eq!(apic.acknowledge(), Some(0x41));
        assert_ne!(read(&io_apic, 0x30) & 1 << 14, 0, "remote IRR until the EOI");
        assert!(!apic.is_interrupt_pending());
        apic.end_of_interrupt();
        assert_eq!(apic.acknowledge(), Some(0x41));
        line.set_level(false);
        apic.end_of_interrupt();
        assert!(!apic.is_interrupt_pending());
        assert_eq!(read(&io_apic, 0x30) & 1 << 14, 0);
    }

    #[test]
    fn a_masked_level_waits_and_a_masked_edge_is_lost() {
        let (io_apic, mut apic) = machine();
        for pin in [3, 17] {
            lock(&io_apic).set_level(pin, true);
        }
        write(&io_apic, 0x10 + 2 * 3, 0x33);
        assert!(!apic.is_interrupt_pending());
        write(&io_apic, 0x10 + 2 * 17, 0x42 | 1 << 15);
        assert_eq!(apic.acknowledge(), Some(0x42));
    }

    #[test]
    fn the_eoi_register_and_a_change_to_edge_both_clear_the_remote_irr() {
        let (io_apic, _) = machine();
        write(&io_apic, 0x30, 0x41 | 1 << 15);
        lock(&io_apic).set_level(16, true);
        lock(&io_apic).set_level(16, false);
        assert_ne!(read(&io_apic, 0x30) & 1 << 14, 0);
        lock(&io_apic).write(END_OF_INTERRUPT, &0x41_u32.to_le_bytes());
        assert_eq!(read(&io_apic, 0x30) & 1 << 14, 0);
        lock(&io_apic).set_level(16, true);
        assert_ne!(read(&io_apic, 0x30) & 1 << 14, 0);
        write(&io_apic, 0x30, 0x41 | 1 << 16);
        assert_eq!(read(&io_apic, 0x30) & 1 << 14, 0);
    }

    #[test]
    fn the_registers_say_what_it_is() {
        let (io_apic, _) = machine();
        assert_eq!(read(&io_apic, 1), 0x0017_0020);
        write(&io_apic, 0, 0x0f00_0000);
        assert_eq!(read(&io_apic, 0), 0x0f00_0000);
        assert_eq!(read(&io_apic, 0x10), 0x1_0000);
        write(&io_apic, 0x11, 0xff00_0000);
        assert_eq!(read(&io_apic, 0x11), 0xff00_0000);
        assert_eq!(read(&io_apic, 0xff), 0);
    }
}
