//! The 8254 programmable interval timer, and port 0x61, which gates its third counter.

mod channel;

use super::InterruptLine;
use super::bus::PortDevice;
use super::saved::saved_fields;
use crate::host::Clock;
use channel::Channel;
use std::sync::Arc;

/// First of the timer's four ports.
pub const PIT_PORT: u16 = 0x40;
/// System control port B: speaker, gate of counter 2, refresh.
pub const SYSTEM_CONTROL_PORT: u16 = 0x61;

/// Input clock in Hz: a third of the NTSC colour subcarrier's quadruple, rounded as everyone does.
pub const FREQUENCY_HZ: u64 = 1_193_182;
const NS_PER_SECOND: u128 = 1_000_000_000;
/// DRAM refresh, and with it bit 4 of port 0x61, toggles every 15.085 µs on a PC.
const REFRESH_NS: u64 = 15_085;

fn ticks_at(now_ns: u64) -> u64 {
    (u128::from(now_ns) * u128::from(FREQUENCY_HZ) / NS_PER_SECOND) as u64
}

/// The first nanosecond of a tick.
fn start_of_tick(tick: u64) -> u64 {
    (u128::from(tick) * NS_PER_SECOND).div_ceil(u128::from(FREQUENCY_HZ)) as u64
}

/// The timer. Counter 0 drives interrupt line 0; counter 2 is heard on a speaker that nobody has.
pub struct Pit {
    clock: Arc<dyn Clock>,
    line: Arc<dyn InterruptLine>,
    channels: [Channel; 3],
    /// Ticks up to which counter 0's output has been followed.
    followed_until: u64,
    is_line_high: bool,
    is_speaker_on: bool,
    gate2: bool,
}

impl Pit {
    /// A timer with no counter running.
    pub fn new(clock: Arc<dyn Clock>, line: Arc<dyn InterruptLine>) -> Self {
        let channels = [Channel::new(true), Channel::new(true), Channel::new(false)];
        Self {
            clock,
            line,
            channels,
            followed_until: 0,
            is_line_high: false,
            is_speaker_on: false,
            gate2: false,
        }
    }

    fn now(&self) -> u64 {
        ticks_at(self.clock.now_ns())
    }

    /// When counter 0 interrupts next, in machine nanoseconds.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.channels[0].next_rise(self.followed_until).map(start_of_tick)
    }

    /// Moves on to `now_ns`, and drives interrupt line 0. Periods that passed meanwhile count as one.
    pub fn advance_to(&mut self, now_ns: u64) {
        self.follow_output(ticks_at(now_ns));
    }

    fn follow_output(&mut self, now: u64) {
        let has_risen = self.channels[0].next_rise(self.followed_until).is_some_and(|tick| tick <= now);
        self.followed_until = self.followed_until.max(now);
        if has_risen {
            self.drive_line(false);
            self.drive_line(true);
        }
        self.drive_line(self.channels[0].output(now));
    }

    fn drive_line(&mut self, is_high: bool) {
        if is_high != self.is_line_high {
            self.is_line_high = is_high;
            self.line.set_level(is_high);
        }
    }

    fn write_control(&mut self, value: u8, now: u64) {
        let select = value >> 6;
        if select == 3 {
            self.read_back(value, now);
            return;
        }
        let Some(channel) = self.channels.get_mut(usize::from(select)) else { return };
        if value & 0x30 == 0 {
            channel.latch_count(now);
        } else {
            channel.set_mode(value);
        }
    }

    fn read_back(&mut self, value: u8, now: u64) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if value & 2 << index == 0 {
                continue;
            }
            if value & 1 << 5 == 0 {
                channel.latch_count(now);
            }
            if value & 1 << 4 == 0 {
                channel.latch_status(now);
            }
        }
    }
}

saved_fields! {
    /// What a snapshot keeps of the timer.
    PitState of Pit {
        channels: [Channel; 3],
        followed_until: u64,
        is_line_high: bool,
        is_speaker_on: bool,
        gate2: bool,
    }
}

impl Pit {
    fn put_right(&mut self) {
        let now = self.now();
        self.followed_until = self.followed_until.min(now);
        for channel in &mut self.channels {
            channel.put_right(now);
        }
    }
}

impl PortDevice for Pit {
    fn read_port(&mut self, port: u16) -> u8 {
        let now = self.now();
        match port {
            SYSTEM_CONTROL_PORT => {
                let refresh = self.clock.now_ns() / REFRESH_NS & 1;
                u8::from(self.gate2)
                    | u8::from(self.is_speaker_on) << 1
                    | (refresh as u8) << 4
                    | u8::from(self.channels[2].output(now)) << 5
            }
            0x40..0x43 => self.channels[usize::from(port - PIT_PORT)].read(now),
            _ => 0xff,
        }
    }

    fn write_port(&mut self, port: u16, value: u8) {
        let now = self.now();
        self.follow_output(now);
        match port {
            SYSTEM_CONTROL_PORT => {
                self.gate2 = value & 1 != 0;
                self.is_speaker_on = value & 2 != 0;
                self.channels[2].set_gate(self.gate2, now);
            }
            0x40..0x43 => self.channels[usize::from(port - PIT_PORT)].write(value, now),
            0x43 => self.write_control(value, now),
            _ => {}
        }
        self.follow_output(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::InstructionClock;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Line(Mutex<Vec<bool>>);

    impl Line {
        fn take_rises(&self) -> usize {
            std::mem::take(&mut *self.0.lock().unwrap()).into_iter().filter(|is_high| *is_high).count()
        }
    }

    impl InterruptLine for Line {
        fn set_level(&self, is_high: bool) {
            self.0.lock().unwrap().push(is_high);
        }
    }

    fn timer() -> (Pit, InstructionClock, Arc<Line>) {
        let clock = InstructionClock::default();
        let line = Arc::new(Line::default());
        (Pit::new(Arc::new(clock.clone()), line.clone()), clock, line)
    }

    fn program(pit: &mut Pit, channel: u8, mode: u8, count: u16) {
        pit.write_port(0x43, channel << 6 | 0x30 | mode << 1);
        for byte in count.to_le_bytes() {
            pit.write_port(0x40 + u16::from(channel), byte);
        }
    }

    #[test]
    fn the_rate_generator_interrupts_once_a_period() {
        for mode in [2, 3] {
            let (mut pit, _, line) = timer();
            program(&mut pit, 0, mode, 11_932);
            line.take_rises();
            let mut deadline_ns = 0;
            for period in 1..=100 {
                deadline_ns = pit.next_deadline_ns().unwrap();
                pit.advance_to(deadline_ns - 1);
                assert_eq!(line.take_rises(), 0, "mode {mode} period {period}");
                pit.advance_to(deadline_ns);
                assert_eq!(line.take_rises(), 1, "mode {mode} period {period}");
            }
            assert!(deadline_ns.abs_diff(1_000_014_000) < 10_000, "{deadline_ns}");
        }
    }

    #[test]
    fn a_one_shot_interrupts_once() {
        let (mut pit, clock, line) = timer();
        assert_eq!(pit.next_deadline_ns(), None);
        program(&mut pit, 0, 0, 1_193);
        let deadline_ns = pit.next_deadline_ns().unwrap();
        assert!(deadline_ns.abs_diff(1_000_000) < 1_000);
        clock.advance_to(deadline_ns + 1_000_000);
        pit.advance_to(deadline_ns + 1_000_000);
        assert_eq!(line.take_rises(), 1);
        assert_eq!(pit.next_deadline_ns(), None);
        program(&mut pit, 0, 4, 1_193);
        line.take_rises();
        pit.advance_to(pit.next_deadline_ns().unwrap());
        assert_eq!(line.take_rises(), 1);
    }

    #[test]
    fn counter_2_counts_while_its_gate_is_up_and_shows_its_end_at_port_61() {
        let (mut pit, clock, _) = timer();
        program(&mut pit, 2, 0, 11_932);
        clock.advance_to(20_000_000);
        assert_eq!(pit.read_port(0x61) & 0x21, 0, "gate down: not counting");
        pit.write_port(0x61, 1);
        clock.advance_to(29_999_000);
        assert_eq!(pit.read_port(0x61) & 0x21, 1);
        clock.advance_to(30_001_000);
        assert_eq!(pit.read_port(0x61) & 0x21, 0x21);
    }

    #[test]
    fn latched_counts_and_status_stand_still() {
        let (mut pit, clock, _) = timer();
        program(&mut pit, 0, 2, 0);
        clock.advance_to(1_000_000);
        pit.write_port(0x43, 0x00);
        clock.advance_to(9_000_000);
        let count = u16::from_le_bytes([pit.read_port(0x40), pit.read_port(0x40)]);
        assert_eq!(count, (0x10000 - 1_193) as u16);
        pit.write_port(0x43, 0b1100_0010);
        assert_eq!(pit.read_port(0x40), 0b1011_0100);
        let count = u16::from_le_bytes([pit.read_port(0x40), pit.read_port(0x40)]);
        assert_eq!(u64::from(count), 0x10000 - ticks_at(9_000_000));
    }

    #[test]
    fn binary_coded_decimal_counts_are_decimal() {
        let (mut pit, clock, _) = timer();
        pit.write_port(0x43, 0x35);
        pit.write_port(0x40, 0x34);
        pit.write_port(0x40, 0x12);
        clock.advance_to(start_of_tick(100));
        pit.write_port(0x43, 0);
        assert_eq!([pit.read_port(0x40), pit.read_port(0x40)], [0x34, 0x11]);
    }

    #[test]
    fn the_refresh_bit_toggles() {
        let (mut pit, clock, _) = timer();
        let before = pit.read_port(0x61) & 0x10;
        clock.advance_to(REFRESH_NS);
        assert_ne!(pit.read_port(0x61) & 0x10, before);
    }
}
