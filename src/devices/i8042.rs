//! The 8042 keyboard controller with nothing plugged in, and system control port A.
//!
//! What remains of them on a machine without keyboard is that they can reset it.

use super::bus::PortDevice;
use super::power::{PowerRequest, PowerSwitch};
use super::saved::saved_fields;
use std::sync::Arc;

/// Data port.
pub const DATA_PORT: u16 = 0x60;
/// Status and command port.
pub const COMMAND_PORT: u16 = 0x64;
/// System control port A: fast reset and A20.
pub const SYSTEM_CONTROL_A_PORT: u16 = 0x92;

const STATUS_OUTPUT_FULL: u8 = 1 << 0;
const STATUS_SYSTEM: u8 = 1 << 2;
const STATUS_UNLOCKED: u8 = 1 << 4;
const STATUS_TIMEOUT: u8 = 1 << 6;

/// Command byte after the self-test: system flag, both ports disabled.
const DEFAULT_CONFIGURATION: u8 = 0b0011_0100;
const SELF_TEST_PASSED: u8 = 0x55;
const TEST_CLOCK_LINE_STUCK: u8 = 0x01;
/// What the controller supplies for a keyboard that does not answer.
const RESEND: u8 = 0xfe;
/// Output port: reset line inactive, A20 on.
const OUTPUT_PORT: u8 = 0b11;

/// The controller.
pub struct KeyboardController {
    power: Arc<PowerSwitch>,
    configuration: u8,
    output: Option<u8>,
    has_timed_out: bool,
    /// A command that takes its parameter from the data port.
    awaiting_parameter: Option<u8>,
}

impl KeyboardController {
    /// A controller whose reset line goes to `power`.
    pub fn new(power: Arc<PowerSwitch>) -> Self {
        Self {
            power,
            configuration: DEFAULT_CONFIGURATION,
            output: None,
            has_timed_out: false,
            awaiting_parameter: None,
        }
    }

    fn answer(&mut self, value: u8) {
        self.output = Some(value);
        self.has_timed_out = false;
    }

    fn write_command(&mut self, command: u8) {
        self.awaiting_parameter = None;
        match command {
            0x20 => self.answer(self.configuration),
            0xaa => {
                self.configuration = DEFAULT_CONFIGURATION;
                self.answer(SELF_TEST_PASSED);
            }
            // Neither a keyboard nor a mouse pulls its lines up.
            0xa9 | 0xab => self.answer(TEST_CLOCK_LINE_STUCK),
            0xa7 => self.configuration |= 1 << 5,
            0xa8 => self.configuration &= !(1 << 5),
            0xad => self.configuration |= 1 << 4,
            0xae => self.configuration &= !(1 << 4),
            0xd0 => self.answer(OUTPUT_PORT),
            0x60 | 0xd1..=0xd4 => self.awaiting_parameter = Some(command),
            // The low bits say which lines of the output port are pulsed low; bit 0 is reset.
            0xf0..=0xff if command & 1 == 0 => self.power.request(PowerRequest::Reset),
            _ => {}
        }
    }

    fn write_data(&mut self, value: u8) {
        match self.awaiting_parameter.take() {
            Some(0x60) => self.configuration = value,
            Some(0xd1) => {
                if value & 1 == 0 {
                    self.power.request(PowerRequest::Reset);
                }
            }
            // "Write output buffer": the byte comes back as if a keyboard or a mouse had sent it.
            Some(0xd2 | 0xd3) => self.answer(value),
            _ => {
                self.answer(RESEND);
                self.has_timed_out = true;
            }
        }
    }
}

saved_fields! {
    /// What a snapshot keeps of the controller.
    KeyboardState of KeyboardController {
        configuration: u8,
        output: Option<u8>,
        has_timed_out: bool,
        awaiting_parameter: Option<u8>,
    }
}

impl KeyboardController {
    /// Every value is one that the guest can bring about.
    fn put_right(&mut self) {}
}

impl PortDevice for KeyboardController {
    fn read_port(&mut self, port: u16) -> u8 {
        match port {
            DATA_PORT => {
                self.has_timed_out = false;
                self.output.take().unwrap_or(0)
            }
            COMMAND_PORT => {
                let flag = |is_set, bit| if is_set { bit } else { 0 };
                STATUS_UNLOCKED
                    | self.configuration & STATUS_SYSTEM
                    | flag(self.output.is_some(), STATUS_OUTPUT_FULL)
                    | flag(self.has_timed_out, STATUS_TIMEOUT)
            }
            SYSTEM_CONTROL_A_PORT => 0b10,
            _ => 0xff,
        }
    }

    fn write_port(&mut self, port: u16, value: u8) {
        match port {
            DATA_PORT => self.write_data(value),
            COMMAND_PORT => self.write_command(value),
            SYSTEM_CONTROL_A_PORT if value & 1 != 0 => self.power.request(PowerRequest::Reset),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controller() -> (KeyboardController, Arc<PowerSwitch>) {
        let power = Arc::new(PowerSwitch::new(Arc::default()));
        (KeyboardController::new(power.clone()), power)
    }

    #[test]
    fn every_way_to_pulse_the_reset_line_resets() {
        for writes in [&[(0x64, 0xfe)][..], &[(0x64, 0xd1), (0x60, 0x02)], &[(0x92, 1)]] {
            let (mut controller, power) = controller();
            for (port, value) in writes {
                assert_eq!(power.take(), None);
                controller.write_port(*port, *value);
            }
            assert_eq!(power.take(), Some(PowerRequest::Reset));
        }
    }

    #[test]
    fn harmless_commands_do_not_reset() {
        let (mut controller, power) = controller();
        for (port, value) in [(0x64, 0xff), (0x64, 0xd1), (0x60, 0xdf), (0x92, 2), (0x60, 0xfe)] {
            controller.write_port(port, value);
        }
        assert_eq!(power.take(), None);
    }

    #[test]
    fn the_self_test_passes_but_nobody_answers() {
        let (mut controller, _) = controller();
        controller.write_port(0x64, 0xaa);
        assert_eq!(controller.read_port(0x64) & STATUS_OUTPUT_FULL, STATUS_OUTPUT_FULL);
        assert_eq!(controller.read_port(0x60), SELF_TEST_PASSED);
        assert_eq!(controller.read_port(0x64) & STATUS_OUTPUT_FULL, 0);
        controller.write_port(0x60, 0xed);
        assert_ne!(controller.read_port(0x64) & STATUS_TIMEOUT, 0);
        assert_eq!(controller.read_port(0x60), RESEND);
        controller.write_port(0x64, 0x60);
        controller.write_port(0x60, 0x45);
        controller.write_port(0x64, 0x20);
        assert_eq!(controller.read_port(0x60), 0x45);
    }
}
