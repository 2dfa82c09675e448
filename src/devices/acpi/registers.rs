//! The ACPI fixed-hardware registers: events, sleep control, PM timer, reset (ACPI 6.5 §4.8).

use crate::devices::power::{PowerRequest, PowerSwitch};
use crate::devices::saved::saved_fields;
use crate::devices::{BusDevice, InterruptLine};
use crate::host::Clock;
use std::sync::Arc;

/// First I/O port of the block.
pub const PM_BLOCK_PORT: u16 = 0x600;
/// Ports in the block.
pub const PM_BLOCK_LENGTH: u16 = 0x10;
/// PM1a event block: status, then enable, two bytes each.
pub const PM1_EVENT_OFFSET: u16 = 0;
/// PM1a control block, two bytes.
pub const PM1_CONTROL_OFFSET: u16 = 4;
/// PM timer, four bytes.
pub const PM_TIMER_OFFSET: u16 = 8;
/// Reset register, one byte.
pub const RESET_OFFSET: u16 = 0xc;
/// What the guest writes to the reset register.
pub const RESET_VALUE: u8 = 1;
/// SLP_TYP of the soft-off state, as `\_S5` has it.
pub const SLEEP_TYPE_SOFT_OFF: u8 = 5;

const PM_TIMER_HZ: u128 = 3_579_545;
const NS_PER_SECOND: u128 = 1_000_000_000;

const EVENT_TIMER: u16 = 1 << 0;
const EVENT_POWER_BUTTON: u16 = 1 << 8;
/// Timer, global, power button, and the clock's alarm, which wakes no machine that does not sleep.
const ENABLE_MASK: u16 = 1 << 0 | 1 << 5 | 1 << 8 | 1 << 10;

const CONTROL_SCI_ENABLED: u16 = 1 << 0;
const CONTROL_SLEEP_ENABLE: u16 = 1 << 13;

/// The fixed-hardware registers. They are always in ACPI mode: there is no firmware to take over from.
pub struct PowerManagement {
    clock: Arc<dyn Clock>,
    line: Arc<dyn InterruptLine>,
    power: Arc<PowerSwitch>,
    status: u16,
    enable: u16,
    control: u16,
    /// Half periods of the PM timer that the timer status has accounted for.
    half_periods_seen: u64,
}

impl PowerManagement {
    /// Registers whose events drive `line` (the SCI) and whose requests go to `power`.
    pub fn new(clock: Arc<dyn Clock>, line: Arc<dyn InterruptLine>, power: Arc<PowerSwitch>) -> Self {
        Self { clock, line, power, status: 0, enable: 0, control: 0, half_periods_seen: 0 }
    }

    /// The user presses the power button: an orderly guest shuts down.
    pub fn press_power_button(&mut self) {
        self.status |= EVENT_POWER_BUTTON;
        self.update_line();
    }

    /// When the PM timer's top bit changes next, if the guest wants to know, in machine nanoseconds.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        (self.enable & EVENT_TIMER != 0).then(|| {
            let ticks = u128::from(self.half_periods_seen + 1) << 31;
            (ticks * NS_PER_SECOND).div_ceil(PM_TIMER_HZ) as u64
        })
    }

    /// Moves on to `now_ns`.
    pub fn advance_to(&mut self, now_ns: u64) {
        let half_periods = ticks_at(now_ns) >> 31;
        if half_periods > self.half_periods_seen {
            self.half_periods_seen = half_periods;
            self.status |= EVENT_TIMER;
            self.update_line();
        }
    }

    fn update_line(&self) {
        self.line.set_level(self.status & self.enable != 0);
    }

    fn registers(&self) -> [u8; PM_BLOCK_LENGTH as usize] {
        let [s0, s1] = self.status.to_le_bytes();
        let [e0, e1] = self.enable.to_le_bytes();
        let [c0, c1] = (self.control | CONTROL_SCI_ENABLED).to_le_bytes();
        let [t0, t1, t2, t3] = (ticks_at(self.clock.now_ns()) as u32).to_le_bytes();
        [s0, s1, e0, e1, c0, c1, 0, 0, t0, t1, t2, t3, 0, 0, 0, 0]
    }

    fn write_byte(&mut self, offset: u64, value: u8) {
        let shift = (offset & 1) as u32 * 8;
        let bits = u16::from(value) << shift;
        let others = !(0xff << shift);
        match offset {
            0 | 1 => self.status &= !bits,
            2 | 3 => self.enable = (self.enable & others | bits) & ENABLE_MASK,
            4 | 5 => {
                self.control = (self.control & others | bits) & !CONTROL_SLEEP_ENABLE;
                if bits & CONTROL_SLEEP_ENABLE != 0 {
                    self.enter_sleep((bits >> 10 & 7) as u8);
                }
            }
            offset if offset == u64::from(RESET_OFFSET) && value == RESET_VALUE => {
                self.power.request(PowerRequest::Reset);
            }
            _ => {}
        }
        self.update_line();
    }

    fn enter_sleep(&self, sleep_type: u8) {
        if sleep_type == SLEEP_TYPE_SOFT_OFF {
            self.power.request(PowerRequest::PowerOff);
        } else {
            log::debug!("the guest asks for sleep type {sleep_type}, which the tables do not offer");
        }
    }
}

fn ticks_at(now_ns: u64) -> u64 {
    (u128::from(now_ns) * PM_TIMER_HZ / NS_PER_SECOND) as u64
}

saved_fields! {
    /// What a snapshot keeps of the registers.
    PowerManagementState of PowerManagement {
        status: u16,
        enable: u16,
        control: u16,
        half_periods_seen: u64,
    }
}

impl PowerManagement {
    fn put_right(&mut self) {
        // More than there are in the time that a machine can count.
        self.half_periods_seen = self.half_periods_seen.min(ticks_at(u64::MAX) >> 31);
    }
}

impl BusDevice for PowerManagement {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        self.advance_to(self.clock.now_ns());
        let registers = self.registers();
        for (index, byte) in data.iter_mut().enumerate() {
            *byte = registers.get(offset as usize + index).copied().unwrap_or(0xff);
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        self.advance_to(self.clock.now_ns());
        for (index, byte) in data.iter().enumerate() {
            self.write_byte(offset + index as u64, *byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::InstructionClock;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct Line(AtomicBool);

    impl InterruptLine for Line {
        fn set_level(&self, is_high: bool) {
            self.0.store(is_high, Ordering::SeqCst);
        }
    }

    fn registers() -> (PowerManagement, InstructionClock, Arc<Line>, Arc<PowerSwitch>) {
        let (clock, line) = (InstructionClock::default(), Arc::new(Line::default()));
        let power = Arc::new(PowerSwitch::new(Arc::default()));
        (PowerManagement::new(Arc::new(clock.clone()), line.clone(), power.clone()), clock, line, power)
    }

    fn read_u16(registers: &mut PowerManagement, offset: u64) -> u16 {
        let mut data = [0; 2];
        registers.read(offset, &mut data);
        u16::from_le_bytes(data)
    }

    #[test]
    fn soft_off_asks_for_power_off() {
        let (mut registers, _, _, power) = registers();
        assert_eq!(read_u16(&mut registers, 4) & 1, 1, "ACPI mode from the start");
        registers.write(4, &(5_u16 << 10).to_le_bytes());
        assert_eq!(power.take(), None);
        registers.write(4, &(5_u16 << 10 | 1 << 13).to_le_bytes());
        assert_eq!(power.take(), Some(PowerRequest::PowerOff));
        assert_eq!(read_u16(&mut registers, 4) >> 13 & 1, 0, "SLP_EN reads as zero");
        registers.write(4, &(3_u16 << 10 | 1 << 13).to_le_bytes());
        assert_eq!(power.take(), None);
    }

    #[test]
    fn the_reset_register_asks_for_a_reset() {
        let (mut registers, _, _, power) = registers();
        registers.write(0xc, &[0]);
        assert_eq!(power.take(), None);
        registers.write(0xc, &[RESET_VALUE]);
        assert_eq!(power.take(), Some(PowerRequest::Reset));
    }

    #[test]
    fn the_power_button_raises_the_sci_until_its_status_is_cleared() {
        let (mut registers, _, line, _) = registers();
        registers.press_power_button();
        assert!(!line.0.load(Ordering::SeqCst), "not enabled yet");
        registers.write(2, &EVENT_POWER_BUTTON.to_le_bytes());
        assert!(line.0.load(Ordering::SeqCst));
        assert_eq!(read_u16(&mut registers, 0), EVENT_POWER_BUTTON);
        registers.write(0, &EVENT_POWER_BUTTON.to_le_bytes());
        assert!(!line.0.load(Ordering::SeqCst));
    }

    #[test]
    fn the_pm_timer_counts_at_its_frequency_and_reports_its_top_bit() {
        let (mut registers, clock, line, _) = registers();
        clock.advance_to(1_000_000_000);
        let mut data = [0; 4];
        registers.read(8, &mut data);
        assert_eq!(u32::from_le_bytes(data), 3_579_545);
        registers.write(2, &EVENT_TIMER.to_le_bytes());
        let deadline_ns = registers.next_deadline_ns().unwrap();
        assert_eq!(deadline_ns / 1_000_000_000, 599);
        registers.advance_to(deadline_ns - 1);
        assert!(!line.0.load(Ordering::SeqCst));
        registers.advance_to(deadline_ns);
        assert!(line.0.load(Ordering::SeqCst));
    }

    #[test]
    fn accesses_of_any_size_and_place_are_harmless() {
        let (mut registers, ..) = registers();
        for offset in 0..0x20 {
            let mut data = [0; 8];
            registers.read(offset, &mut data);
            registers.write(offset, &[0; 8]);
        }
    }
}
