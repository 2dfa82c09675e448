//! The MC146818 real-time clock and its battery-backed memory.

mod calendar;

use super::InterruptLine;
use super::bus::PortDevice;
use super::saved::saved_fields;
use crate::host::Clock;
use calendar::DateTime;
use std::sync::Arc;

/// Index port; the data port follows it.
pub const RTC_PORT: u16 = 0x70;
/// Ports that it takes.
pub const RTC_PORT_COUNT: u16 = 2;

const SECONDS: u8 = 0x00;
const SECONDS_ALARM: u8 = 0x01;
const MINUTES: u8 = 0x02;
const MINUTES_ALARM: u8 = 0x03;
const HOURS: u8 = 0x04;
const HOURS_ALARM: u8 = 0x05;
const WEEKDAY: u8 = 0x06;
const DAY: u8 = 0x07;
const MONTH: u8 = 0x08;
const YEAR: u8 = 0x09;
const REGISTER_A: u8 = 0x0a;
const REGISTER_B: u8 = 0x0b;
const REGISTER_C: u8 = 0x0c;
const REGISTER_D: u8 = 0x0d;
/// Where a PC keeps the century; the ACPI tables say so.
const CENTURY: u8 = 0x32;

const A_UPDATE_IN_PROGRESS: u8 = 1 << 7;
/// A 32,768 Hz time base and a periodic rate of 1,024 Hz, as firmware leaves it.
const A_DEFAULT: u8 = 0x26;
const B_SET: u8 = 1 << 7;
const B_BINARY: u8 = 1 << 2;
const B_24_HOURS: u8 = 1 << 1;
/// Interrupt enables of B and interrupt flags of C share their places.
const PERIODIC: u8 = 1 << 6;
const ALARM: u8 = 1 << 5;
const UPDATE_ENDED: u8 = 1 << 4;
const INTERRUPTS: u8 = PERIODIC | ALARM | UPDATE_ENDED;
const C_REQUEST: u8 = 1 << 7;
const D_VALID: u8 = 1 << 7;

const PM: u8 = 1 << 7;
/// Alarm bytes from here on match any value.
const ALARM_ANY: u8 = 0xc0;

const SECOND_NS: u64 = 1_000_000_000;
/// How long before an update the guest is warned of it.
const UPDATE_WARNING_NS: u64 = 244_000;
const SECONDS_OF_DAY: i64 = 86_400;
/// Bytes of registers and memory.
const MEMORY_BYTES: usize = 128;
/// The most that a restored clock may differ from the host's: 10,000 years.
const LARGEST_OFFSET_S: i64 = 10_000 * 366 * SECONDS_OF_DAY;

/// The clock. Its time is the host's calendar time when the machine started, plus the machine's time, plus
/// what the guest has changed.
pub struct RealTimeClock {
    clock: Arc<dyn Clock>,
    line: Arc<dyn InterruptLine>,
    index: u8,
    memory: Vec<u8>,
    /// Nanoseconds since 1970 at machine time zero, without whole seconds that the guest has added.
    base_ns: u64,
    guest_offset_s: i64,
    /// The date while the guest holds the clock (SET).
    held: Option<DateTime>,
    flags: u8,
    /// Machine time up to which events have been followed.
    followed_ns: u64,
    /// The next second (as the guest counts) that matches the alarm.
    alarm_s: Option<i64>,
}

impl RealTimeClock {
    /// A clock that shows the host's time in UTC and drives `line` (IRQ 8).
    pub fn new(clock: Arc<dyn Clock>, line: Arc<dyn InterruptLine>) -> Self {
        let base_ns = clock.started_at().unix_ns;
        let mut memory = vec![0; MEMORY_BYTES];
        memory[usize::from(REGISTER_A)] = A_DEFAULT;
        memory[usize::from(REGISTER_B)] = B_24_HOURS;
        Self {
            clock,
            line,
            index: 0,
            memory,
            base_ns,
            guest_offset_s: 0,
            held: None,
            flags: 0,
            followed_ns: 0,
            alarm_s: None,
        }
    }

    fn register_a(&self) -> u8 {
        self.memory[usize::from(REGISTER_A)]
    }

    fn register_b(&self) -> u8 {
        self.memory[usize::from(REGISTER_B)]
    }

    /// The guest's seconds since 1970 at machine time `now_ns`.
    fn unix_at(&self, now_ns: u64) -> i64 {
        (self.base_ns.saturating_add(now_ns) / SECOND_NS) as i64 + self.guest_offset_s
    }

    /// Machine time at which the guest's clock turns to `unix`.
    fn start_of_second(&self, unix: i64) -> u64 {
        let seconds = u64::try_from(unix - self.guest_offset_s).unwrap_or(0);
        seconds.saturating_mul(SECOND_NS).saturating_sub(self.base_ns)
    }

    fn date(&self) -> DateTime {
        self.held.unwrap_or_else(|| DateTime::from_unix(self.unix_at(self.clock.now_ns())))
    }

    /// Nanoseconds between periodic events (MC146818 data sheet, table 5, for the 32,768 Hz time base).
    fn period_ns(&self) -> Option<u64> {
        let divider = match self.register_a() & 15 {
            0 => return None,
            1 => 8,
            2 => 9,
            rate => rate,
        };
        Some((SECOND_NS << (divider - 1)) / 32_768)
    }

    fn encode(&self, value: u8) -> u8 {
        if self.register_b() & B_BINARY != 0 { value } else { (value / 10) << 4 | value % 10 }
    }

    fn decode(&self, value: u8) -> u8 {
        if self.register_b() & B_BINARY != 0 { value } else { (value >> 4) * 10 + (value & 15) }
    }

    fn encode_hour(&self, hour: u8) -> u8 {
        if self.register_b() & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        let half = if hour >= 12 { PM } else { 0 };
        self.encode((hour + 11) % 12 + 1) | half
    }

    fn decode_hour(&self, value: u8) -> u8 {
        if self.register_b() & B_24_HOURS != 0 {
            return self.decode(value).min(23);
        }
        let half = if value & PM != 0 { 12 } else { 0 };
        self.decode(value & !PM) % 12 + half
    }

    fn read_register(&mut self, register: u8) -> u8 {
        let date = self.date();
        match register {
            SECONDS => self.encode(date.second),
            MINUTES => self.encode(date.minute),
            HOURS => self.encode_hour(date.hour),
            WEEKDAY => self.encode(date.weekday()),
            DAY => self.encode(date.day),
            MONTH => self.encode(date.month),
            YEAR => self.encode(date.year.rem_euclid(100) as u8),
            CENTURY => self.encode((date.year.div_euclid(100)).clamp(0, 99) as u8),
            REGISTER_A => {
                let now_ns = self.clock.now_ns();
                let is_updating = self.held.is_none()
                    && self.start_of_second(self.unix_at(now_ns) + 1) - now_ns <= UPDATE_WARNING_NS;
                self.register_a() | if is_updating { A_UPDATE_IN_PROGRESS } else { 0 }
            }
            REGISTER_C => {
                let is_requested = self.flags & self.register_b() & INTERRUPTS != 0;
                let flags = std::mem::take(&mut self.flags);
                self.update_line();
                flags | if is_requested { C_REQUEST } else { 0 }
            }
            REGISTER_D => D_VALID,
            _ => self.memory[usize::from(register & 127)],
        }
    }

    fn write_register(&mut self, register: u8, value: u8) {
        let mut date = self.date();
        let decoded = self.decode(value);
        match register {
            SECONDS => date.second = decoded.min(59),
            MINUTES => date.minute = decoded.min(59),
            HOURS => date.hour = self.decode_hour(value),
            DAY => date.day = decoded.clamp(1, 31),
            MONTH => date.month = decoded.clamp(1, 12),
            YEAR => date.year = date.year.div_euclid(100) * 100 + i64::from(decoded.min(99)),
            CENTURY => date.year = i64::from(decoded.min(99)) * 100 + date.year.rem_euclid(100),
            REGISTER_A => self.memory[usize::from(REGISTER_A)] = value & !A_UPDATE_IN_PROGRESS,
            REGISTER_B => self.write_register_b(value),
            // The day of the week follows from the date.
            WEEKDAY | REGISTER_C | REGISTER_D => {}
            _ => self.memory[usize::from(register & 127)] = value,
        }
        match register {
            SECONDS | MINUTES | HOURS | DAY | MONTH | YEAR | CENTURY => self.set_date(date),
            SECONDS_ALARM | MINUTES_ALARM | HOURS_ALARM | REGISTER_B => self.find_alarm(),
            _ => {}
        }
        self.update_line();
    }

    fn set_date(&mut self, date: DateTime) {
        if self.held.is_some() {
            self.held = Some(date);
        } else {
            self.guest_offset_s += date.to_unix() - self.unix_at(self.clock.now_ns());
            self.find_alarm();
        }
    }

    fn write_register_b(&mut self, value: u8) {
        let was_held = self.held.is_some();
        let is_held = value & B_SET != 0;
        if is_held && !was_held {
            self.held = Some(self.date());
        }
        // Setting SET clears the update-ended enable (MC146818 data sheet).
        self.memory[usize::from(REGISTER_B)] = if is_held { value & !UPDATE_ENDED } else { value };
        if !is_held && let Some(date) = self.held.take() {
            self.set_date(date);
        }
    }

    fn matches_alarm(&self, unix: i64) -> bool {
        let date = DateTime::from_unix(unix);
        let alarm = |register: u8| self.memory[usize::from(register)];
        let matches = |register, value| alarm(register) >= ALARM_ANY || self.decode(alarm(register)) == value;
        matches(SECONDS_ALARM, date.second)
            && matches(MINUTES_ALARM, date.minute)
            && (alarm(HOURS_ALARM) >= ALARM_ANY || self.decode_hour(alarm(HOURS_ALARM)) == date.hour)
    }

    fn find_alarm(&mut self) {
        let now = self.unix_at(self.clock.now_ns().max(self.followed_ns));
        let is_wanted = self.register_b() & ALARM != 0 && self.held.is_none();
        self.alarm_s = if is_wanted {
            (now + 1..=now + SECONDS_OF_DAY).find(|unix| self.matches_alarm(*unix))
        } else {
            None
        };
    }

    /// When the clock interrupts next, in machine nanoseconds.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        let enabled = self.register_b() & INTERRUPTS;
        if self.flags & enabled != 0 {
            // The line is high until register C is read; nothing can happen before.
            return None;
        }
        let periodic = self
            .period_ns()
            .filter(|_| enabled & PERIODIC != 0)
            .map(|period| (self.followed_ns / period + 1) * period);
        let update = (enabled & UPDATE_ENDED != 0 && self.held.is_none())
            .then(|| self.start_of_second(self.unix_at(self.followed_ns) + 1));
        let alarm = self.alarm_s.map(|unix| self.start_of_second(unix));
        [periodic, update, alarm].into_iter().flatten().min()
    }

    /// Moves on to `now_ns`, sets the flags of what has happened and drives the interrupt line.
    pub fn advance_to(&mut self, now_ns: u64) {
        if now_ns <= self.followed_ns {
            return;
        }
        if self.period_ns().is_some_and(|period| now_ns / period > self.followed_ns / period) {
            self.flags |= PERIODIC;
        }
        let now = self.unix_at(now_ns);
        if self.held.is_none() && now > self.unix_at(self.followed_ns) {
            self.flags |= UPDATE_ENDED;
        }
        self.followed_ns = now_ns;
        if self.alarm_s.is_some_and(|alarm| alarm <= now) {
            self.flags |= ALARM;
            self.find_alarm();
        }
        self.update_line();
    }

    fn update_line(&self) {
        self.line.set_level(self.flags & self.register_b() & INTERRUPTS != 0);
    }
}

saved_fields! {
    /// What a snapshot keeps of the clock. The time itself is the host's.
    RtcState of RealTimeClock {
        index: u8,
        memory: Vec<u8>,
        guest_offset_s: i64,
        held: Option<DateTime>,
        flags: u8,
        followed_ns: u64,
    }
}

impl RealTimeClock {
    fn put_right(&mut self) {
        self.base_ns = self.clock.started_at().unix_ns;
        self.memory.resize(MEMORY_BYTES, 0);
        self.index &= 0x7f;
        self.guest_offset_s = self.guest_offset_s.clamp(-LARGEST_OFFSET_S, LARGEST_OFFSET_S);
        self.held = self.held.map(|date| DateTime::from_unix(date.to_unix()));
        self.followed_ns = self.followed_ns.min(self.clock.now_ns());
        // The calendar has gone on while the machine was saved.
        self.find_alarm();
    }
}

impl PortDevice for RealTimeClock {
    fn read_port(&mut self, port: u16) -> u8 {
        self.advance_to(self.clock.now_ns());
        if port == RTC_PORT { 0xff } else { self.read_register(self.index) }
    }

    fn write_port(&mut self, port: u16, value: u8) {
        self.advance_to(self.clock.now_ns());
        if port == RTC_PORT {
            // Bit 7 is the NMI mask of the chip set; no NMI comes from there.
            self.index = value & 0x7f;
        } else {
            self.write_register(self.index, value);
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

    fn clock() -> (RealTimeClock, InstructionClock, Arc<Line>) {
        let (clock, line) = (InstructionClock::default(), Arc::new(Line::default()));
        (RealTimeClock::new(Arc::new(clock.clone()), line.clone()), clock, line)
    }

    fn read(rtc: &mut RealTimeClock, register: u8) -> u8 {
        rtc.write_port(0x70, register);
        rtc.read_port(0x71)
    }

    fn write(rtc: &mut RealTimeClock, register: u8, value: u8) {
        rtc.write_port(0x70, register);
        rtc.write_port(0x71, value);
    }

    #[test]
    fn it_shows_the_hosts_time_as_binary_coded_decimals() {
        let (mut rtc, clock, _) = clock();
        clock.advance_to((13 * 3_600 + 45 * 60 + 59) * SECOND_NS);
        let registers = [CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOURS, MINUTES, SECONDS];
        let shown = registers.map(|register| read(&mut rtc, register));
        assert_eq!(shown, [0x20, 0x26, 0x01, 0x01, 5, 0x13, 0x45, 0x59]);
        write(&mut rtc, REGISTER_B, B_BINARY);
        assert_eq!(read(&mut rtc, HOURS), 1 | PM);
        assert_eq!(read(&mut rtc, MINUTES), 45);
        assert_eq!(read(&mut rtc, REGISTER_D), D_VALID);
    }

    #[test]
    fn the_guest_can_set_it_while_it_is_held() {
        let (mut rtc, clock, _) = clock();
        write(&mut rtc, REGISTER_B, B_SET | B_24_HOURS);
        let values = [(CENTURY, 0x19), (YEAR, 0x99), (MONTH, 0x12), (DAY, 0x31), (HOURS, 0x23)];
        for (register, value) in values.into_iter().chain([(MINUTES, 0x59), (SECONDS, 0x58)]) {
            write(&mut rtc, register, value);
        }
        clock.advance_to(5 * SECOND_NS);
        assert_eq!(read(&mut rtc, SECONDS), 0x58, "held");
        write(&mut rtc, REGISTER_B, B_24_HOURS);
        clock.advance_to(7 * SECOND_NS);
        let registers = [CENTURY, YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS];
        assert_eq!(registers.map(|register| read(&mut rtc, register)), [0x20, 0, 1, 1, 0, 0, 0]);
    }

    #[test]
    fn the_alarm_interrupts_at_its_time() {
        let (mut rtc, _, line) = clock();
        for (register, value) in [(SECONDS_ALARM, 0x30), (MINUTES_ALARM, 0x02), (HOURS_ALARM, 0xff)] {
            write(&mut rtc, register, value);
        }
        assert_eq!(rtc.next_deadline_ns(), None);
        write(&mut rtc, REGISTER_B, B_24_HOURS | ALARM);
        assert_eq!(rtc.next_deadline_ns(), Some(150 * SECOND_NS));
        rtc.advance_to(150 * SECOND_NS - 1);
        assert!(!line.0.load(Ordering::SeqCst));
        rtc.advance_to(150 * SECOND_NS);
        assert!(line.0.load(Ordering::SeqCst));
        assert_eq!(read(&mut rtc, REGISTER_C) & (C_REQUEST | ALARM), C_REQUEST | ALARM);
        assert!(!line.0.load(Ordering::SeqCst));
        assert_eq!(rtc.next_deadline_ns(), Some((3_600 + 150) * SECOND_NS));
    }

    #[test]
    fn periodic_and_update_interrupts_repeat_once_they_are_acknowledged() {
        let (mut rtc, _, line) = clock();
        write(&mut rtc, REGISTER_B, B_24_HOURS | PERIODIC);
        let deadline_ns = rtc.next_deadline_ns().unwrap();
        assert_eq!(deadline_ns, SECOND_NS / 1_024);
        rtc.advance_to(deadline_ns);
        assert!(line.0.load(Ordering::SeqCst));
        assert_eq!(rtc.next_deadline_ns(), None, "waits for the acknowledge");
        assert_ne!(read(&mut rtc, REGISTER_C) & PERIODIC, 0);
        assert_eq!(rtc.next_deadline_ns(), Some(2 * (SECOND_NS / 1_024)));
        write(&mut rtc, REGISTER_B, B_24_HOURS | UPDATE_ENDED);
        assert_eq!(rtc.next_deadline_ns(), Some(SECOND_NS));
        rtc.advance_to(SECOND_NS);
        assert_ne!(read(&mut rtc, REGISTER_C) & UPDATE_ENDED, 0);
    }

    #[test]
    fn an_update_is_announced_and_memory_keeps_its_bytes() {
        let (mut rtc, clock, _) = clock();
        assert_eq!(read(&mut rtc, REGISTER_A), A_DEFAULT);
        clock.advance_to(SECOND_NS - 100_000);
        assert_eq!(read(&mut rtc, REGISTER_A), A_DEFAULT | A_UPDATE_IN_PROGRESS);
        write(&mut rtc, 0x0f, 0xa5);
        assert_eq!(read(&mut rtc, 0x0f), 0xa5);
    }

    #[test]
    fn no_sequence_of_writes_panics() {
        let (mut rtc, clock, _) = clock();
        for step in 0..20_000_u64 {
            let random = step.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            write(&mut rtc, (random >> 40) as u8 & 0x3f, (random >> 48) as u8);
            let _ = read(&mut rtc, (random >> 56) as u8);
            if step % 100 == 0 {
                clock.advance_to(step * SECOND_NS / 7);
                let _ = rtc.next_deadline_ns();
            }
        }
    }
}
