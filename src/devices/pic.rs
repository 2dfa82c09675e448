//! The pair of 8259A interrupt controllers, cascaded on input 2, with edge/level control registers.

use super::apic_bus::ApicBus;
use super::bus::{PortDevice, lock};
use super::lapic::ExternalInterrupts;
use super::saved::saved_fields;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex};

/// Command and data ports of the first controller.
pub const FIRST_PORT: u16 = 0x20;
/// Command and data ports of the second controller.
pub const SECOND_PORT: u16 = 0xa0;
/// The two edge/level control registers.
pub const EDGE_LEVEL_PORT: u16 = 0x4d0;

/// The input of the first controller that the second one drives.
const CASCADE: u8 = 2;
/// The input that a controller reports when the request has gone before the acknowledge.
const SPURIOUS: u8 = 7;

const ICW1_SELECT: u8 = 1 << 4;
const ICW1_SINGLE: u8 = 1 << 1;
const ICW1_NEEDS_ICW4: u8 = 1 << 0;
const ICW4_AUTO_EOI: u8 = 1 << 1;
const ICW4_SPECIAL_FULLY_NESTED: u8 = 1 << 4;
const OCW3_SELECT: u8 = 1 << 3;

/// Which initialization command word the data port takes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
enum Initialization {
    #[default]
    Done,
    VectorBase {
        is_single: bool,
        needs_icw4: bool,
    },
    Cascade {
        needs_icw4: bool,
    },
    Mode,
}

/// One 8259A.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Controller {
    request: u8,
    in_service: u8,
    mask: u8,
    /// Present levels of the inputs.
    levels: u8,
    /// Inputs that are level-triggered.
    level_triggered: u8,
    vector_base: u8,
    /// The input that ranks highest.
    highest_priority: u8,
    initialization: Initialization,
    reads_in_service: bool,
    is_polled: bool,
    has_auto_eoi: bool,
    rotates_on_auto_eoi: bool,
    has_special_mask: bool,
    is_special_fully_nested: bool,
}

impl Controller {
    fn set_level(&mut self, input: u8, is_high: bool) {
        let bit = 1 << input;
        let was_high = self.levels & bit != 0;
        if is_high {
            self.levels |= bit;
            if self.level_triggered & bit != 0 || !was_high {
                self.request |= bit;
            }
        } else {
            self.levels &= !bit;
            // A request must stay high until it is acknowledged, in edge mode too (8259A data sheet).
            self.request &= !bit;
        }
    }

    /// The input that ranks first among `inputs`.
    fn first_by_priority(&self, inputs: u8) -> Option<u8> {
        (0..8).map(|rank| (self.highest_priority + rank) & 7).find(|input| inputs & 1 << input != 0)
    }

    fn rank(&self, input: u8) -> u8 {
        input.wrapping_sub(self.highest_priority) & 7
    }

    /// The input to be served now, if it outranks what is being served.
    fn pending(&self) -> Option<u8> {
        let input = self.first_by_priority(self.request & !self.mask)?;
        let mut in_service = self.in_service;
        if self.has_special_mask {
            in_service &= !self.mask;
        }
        if self.is_special_fully_nested {
            in_service &= !(1 << CASCADE);
        }
        match self.first_by_priority(in_service) {
            Some(served) if self.rank(served) <= self.rank(input) => None,
            _ => Some(input),
        }
    }

    fn acknowledge(&mut self, input: u8) {
        let bit = 1 << input;
        if self.has_auto_eoi {
            if self.rotates_on_auto_eoi {
                self.highest_priority = (input + 1) & 7;
            }
        } else {
            self.in_service |= bit;
        }
        // A level-triggered request lasts as long as the line.
        if self.level_triggered & bit == 0 {
            self.request &= !bit;
        }
    }

    fn write_command(&mut self, value: u8) {
        if value & ICW1_SELECT != 0 {
            // ICW1 forgets edges seen before; level inputs go on asking.
            *self = Self {
                levels: self.levels,
                level_triggered: self.level_triggered,
                request: self.levels & self.level_triggered,
                vector_base: self.vector_base,
                initialization: Initialization::VectorBase {
                    is_single: value & ICW1_SINGLE != 0,
                    needs_icw4: value & ICW1_NEEDS_ICW4 != 0,
                },
                ..Self::default()
            };
        } else if value & OCW3_SELECT != 0 {
            if value & 0b100 != 0 {
                self.is_polled = true;
            }
            if value & 0b10 != 0 {
                self.reads_in_service = value & 1 != 0;
            }
            if value & 1 << 6 != 0 {
                self.has_special_mask = value & 1 << 5 != 0;
            }
        } else {
            self.write_priority_command(value >> 5, value & 7);
        }
    }

    /// OCW2: end of interrupt and rotation.
    fn write_priority_command(&mut self, command: u8, input: u8) {
        let served = self.first_by_priority(self.in_service);
        match command {
            0b000 => self.rotates_on_auto_eoi = false,
            0b100 => self.rotates_on_auto_eoi = true,
            0b001 | 0b101 => {
                if let Some(served) = served {
                    self.in_service &= !(1 << served);
                    if command == 0b101 {
                        self.highest_priority = (served + 1) & 7;
                    }
                }
            }
            0b011 | 0b111 => {
                self.in_service &= !(1 << input);
                if command == 0b111 {
                    self.highest_priority = (input + 1) & 7;
                }
            }
            0b110 => self.highest_priority = (input + 1) & 7,
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        self.initialization = match self.initialization {
            Initialization::Done => {
                self.mask = value;
                Initialization::Done
            }
            Initialization::VectorBase { is_single, needs_icw4 } => {
                self.vector_base = value & 0xf8;
                match (is_single, needs_icw4) {
                    (false, needs_icw4) => Initialization::Cascade { needs_icw4 },
                    (true, true) => Initialization::Mode,
                    (true, false) => Initialization::Done,
                }
            }
            // The wiring is fixed, so what ICW3 says of it changes nothing.
            Initialization::Cascade { needs_icw4: true } => Initialization::Mode,
            Initialization::Cascade { needs_icw4: false } => Initialization::Done,
            Initialization::Mode => {
                self.has_auto_eoi = value & ICW4_AUTO_EOI != 0;
                self.is_special_fully_nested = value & ICW4_SPECIAL_FULLY_NESTED != 0;
                Initialization::Done
            }
        };
    }

    fn read_command(&mut self) -> u8 {
        if std::mem::take(&mut self.is_polled) {
            return match self.pending() {
                Some(input) => {
                    self.acknowledge(input);
                    0x80 | input
                }
                None => 0,
            };
        }
        if self.reads_in_service { self.in_service } else { self.request }
    }

    fn read_data(&mut self) -> u8 {
        if self.is_polled { self.read_command() } else { self.mask }
    }
}

/// Both controllers. The INTR output of the first goes to LINT0 of the bootstrap processor.
pub struct Pic {
    first: Controller,
    second: Controller,
    processors: Arc<ApicBus>,
    intr_level: bool,
}

impl Pic {
    /// Two controllers as after power-on: nothing is delivered before the guest initializes them.
    pub fn new(processors: Arc<ApicBus>) -> Self {
        let masked = || Controller { mask: 0xff, ..Controller::default() };
        Self { first: masked(), second: masked(), processors, intr_level: false }
    }

    /// Drives interrupt request line 0 to 15; line 2 is the cascade and does not exist outside.
    pub fn set_level(&mut self, line: u8, is_high: bool) {
        match line {
            CASCADE => return,
            0..8 => self.first.set_level(line, is_high),
            8..16 => self.second.set_level(line - 8, is_high),
            _ => return,
        }
        self.update_outputs();
    }

    fn update_outputs(&mut self) {
        let cascade = self.second.pending().is_some();
        self.first.set_level(CASCADE, cascade);
        let intr_level = self.first.pending().is_some();
        if intr_level != self.intr_level {
            self.intr_level = intr_level;
            self.processors.set_external_interrupt(intr_level);
        }
    }

    /// The interrupt-acknowledge cycle. A request that has gone gives the spurious vector of input 7.
    pub fn acknowledge(&mut self) -> u8 {
        let vector = match self.first.pending() {
            Some(CASCADE) => {
                self.first.acknowledge(CASCADE);
                // The second controller's output falls during the cycle, so that its next request is an edge.
                self.first.set_level(CASCADE, false);
                let input = self.second.pending();
                if let Some(input) = input {
                    self.second.acknowledge(input);
                }
                self.second.vector_base | input.unwrap_or(SPURIOUS)
            }
            Some(input) => {
                self.first.acknowledge(input);
                self.first.vector_base | input
            }
            None => self.first.vector_base | SPURIOUS,
        };
        // INTR falls during the acknowledge cycle, so that the next request is an edge on LINT0.
        self.intr_level = false;
        self.processors.set_external_interrupt(false);
        self.update_outputs();
        vector
    }
}

saved_fields! {
    /// What a snapshot keeps of the controllers.
    PicState of Pic { first: Controller, second: Controller, intr_level: bool }
}

impl Pic {
    fn put_right(&mut self) {
        for controller in [&mut self.first, &mut self.second] {
            controller.highest_priority &= 7;
        }
    }
}

impl PortDevice for Pic {
    fn read_port(&mut self, port: u16) -> u8 {
        let value = match port {
            0x20 => self.first.read_command(),
            0x21 => self.first.read_data(),
            0xa0 => self.second.read_command(),
            0xa1 => self.second.read_data(),
            0x4d0 => self.first.level_triggered,
            0x4d1 => self.second.level_triggered,
            _ => 0xff,
        };
        self.update_outputs();
        value
    }

    fn write_port(&mut self, port: u16, value: u8) {
        match port {
            0x20 => self.first.write_command(value),
            0x21 => self.first.write_data(value),
            0xa0 => self.second.write_command(value),
            0xa1 => self.second.write_data(value),
            // Timer, keyboard, cascade, clock and coprocessor are always edge-triggered.
            0x4d0 => self.first.level_triggered = value & 0xf8,
            0x4d1 => self.second.level_triggered = value & 0xde,
            _ => {}
        }
        self.update_outputs();
    }
}

impl ExternalInterrupts for Mutex<Pic> {
    fn acknowledge(&self) -> u8 {
        lock(self).acknowledge()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn initialized() -> Pic {
        let mut pic = Pic::new(Arc::new(ApicBus::new(Vec::new())));
        for (port, base, cascade) in [(FIRST_PORT, 0x30, 4), (SECOND_PORT, 0x38, 2)] {
            pic.write_port(port, 0x11);
            for value in [base, cascade, 1, 0] {
                pic.write_port(port + 1, value);
            }
        }
        pic
    }

    #[test]
    fn probing_finds_the_mask_register() {
        let mut pic = Pic::new(Arc::new(ApicBus::new(Vec::new())));
        for (written, port) in [(0xfb, 0x21), (0x55, 0xa1)] {
            pic.write_port(port, written);
            assert_eq!(pic.read_port(port), written);
        }
    }

    #[test]
    fn requests_are_served_by_priority_until_the_end_of_interrupt() {
        let mut pic = initialized();
        pic.set_level(4, true);
        pic.set_level(1, true);
        assert_eq!(pic.acknowledge(), 0x31);
        assert!(!pic.intr_level, "4 ranks below 1");
        pic.write_port(0x20, 0x20);
        assert!(pic.intr_level);
        assert_eq!(pic.acknowledge(), 0x34);
        pic.write_port(0x20, 0x0b);
        assert_eq!(pic.read_port(0x20), 1 << 4, "in-service register");
        pic.write_port(0x20, 0x64);
        assert_eq!(pic.read_port(0x20), 0);
    }

    #[test]
    fn the_second_controller_is_served_through_the_cascade() {
        let mut pic = initialized();
        pic.set_level(8, true);
        assert_eq!(pic.acknowledge(), 0x38);
        pic.set_level(12, true);
        assert!(!pic.intr_level);
        pic.write_port(0xa0, 0x20);
        pic.write_port(0x20, 0x20);
        assert_eq!(pic.acknowledge(), 0x3c);
    }

    #[test]
    fn masked_requests_wait_and_vanished_ones_are_spurious() {
        let mut pic = initialized();
        pic.write_port(0x21, 0xff);
        pic.set_level(3, true);
        assert!(!pic.intr_level);
        pic.write_port(0x21, 0);
        assert!(pic.intr_level);
        pic.set_level(3, false);
        assert_eq!(pic.acknowledge(), 0x37);
        assert_eq!(pic.first.in_service, 0, "a spurious interrupt is not in service");
    }

    #[test]
    fn a_level_triggered_request_repeats_while_asserted() {
        let mut pic = initialized();
        pic.write_port(0x4d1, 1 << 1);
        pic.set_level(9, true);
        for _ in 0..2 {
            assert_eq!(pic.acknowledge(), 0x39);
            pic.write_port(0xa0, 0x20);
            pic.write_port(0x20, 0x20);
        }
        pic.set_level(9, false);
        assert!(!pic.intr_level);
        pic.set_level(10, true);
        assert_eq!(pic.acknowledge(), 0x3a);
        pic.write_port(0xa0, 0x20);
        pic.write_port(0x20, 0x20);
        assert!(!pic.intr_level, "an edge asks once");
    }

    #[test]
    fn auto_eoi_rotation_and_polling_work() {
        let mut pic = initialized();
        pic.write_port(0x20, 0x11);
        for value in [0x30, 4, 3, 0] {
            pic.write_port(0x21, value);
        }
        pic.write_port(0x20, 0x80);
        pic.set_level(1, true);
        assert_eq!(pic.acknowledge(), 0x31);
        assert_eq!((pic.first.in_service, pic.first.highest_priority), (0, 2));
        pic.set_level(5, true);
        pic.write_port(0x20, 0x0c);
        assert_eq!(pic.read_port(0x20), 0x85);
        assert_eq!(pic.first.read_command(), 0);
    }
}
