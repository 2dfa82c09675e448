//! One counter of the 8254. Its state is a function of the tick count since it was loaded, so that nothing
//! happens between accesses and deadlines.

use serde::{Deserialize, Serialize};

/// How a counter counts and what its output does (8254 data sheet, "mode definitions").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Mode {
    /// Mode 0: output rises at the end of the count.
    #[default]
    InterruptOnTerminalCount,
    /// Mode 1: output is low for one count after each rising gate.
    OneShot,
    /// Mode 2: output is low for the last tick of each period.
    RateGenerator,
    /// Mode 3: output is high for the first half of each period.
    SquareWave,
    /// Mode 4: output is low for one tick at the end of the count.
    SoftwareStrobe,
    /// Mode 5: as mode 4, started by a rising gate.
    HardwareStrobe,
}

impl Mode {
    fn from_bits(bits: u8) -> Self {
        match bits & 7 {
            0 => Self::InterruptOnTerminalCount,
            1 => Self::OneShot,
            2 | 6 => Self::RateGenerator,
            3 | 7 => Self::SquareWave,
            4 => Self::SoftwareStrobe,
            _ => Self::HardwareStrobe,
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::InterruptOnTerminalCount => 0,
            Self::OneShot => 1,
            Self::RateGenerator => 2,
            Self::SquareWave => 3,
            Self::SoftwareStrobe => 4,
            Self::HardwareStrobe => 5,
        }
    }

    fn is_started_by_gate(self) -> bool {
        matches!(self, Self::OneShot | Self::HardwareStrobe)
    }

    fn is_periodic(self) -> bool {
        matches!(self, Self::RateGenerator | Self::SquareWave)
    }
}

/// Which bytes of the count the port reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
enum ByteAccess {
    Low,
    High,
    #[default]
    LowThenHigh,
}

/// One counter. All times are in ticks of 1.193182 MHz since the machine started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Channel {
    mode: Mode,
    access: ByteAccess,
    is_bcd: bool,
    /// The count as written: 1 to 65536 (10000 in BCD).
    reload: u32,
    /// When counting began; `None` until a count (and, in modes 1 and 5, a trigger) has come.
    started: Option<u64>,
    /// Ticks counted before the gate fell, while it is low.
    paused: Option<u64>,
    gate: bool,
    pending_low: Option<u8>,
    reads_high_next: bool,
    latched_count: Option<u16>,
    latched_status: Option<u8>,
    is_null_count: bool,
}

impl Channel {
    /// A counter that does nothing, with this level at its gate.
    pub fn new(gate: bool) -> Self {
        Self { gate, is_null_count: true, ..Self::default() }
    }

    /// Makes a restored counter one that can be: a count in range, begun before `now`.
    pub fn put_right(&mut self, now: u64) {
        self.reload = self.reload.min(0x1_0000);
        self.started = self.started.map(|started| started.min(now));
        self.paused = self.paused.map(|counted| counted.min(now));
    }

    /// Takes a control word (not a latch command) for this counter.
    pub fn set_mode(&mut self, control: u8) {
        *self = Self {
            mode: Mode::from_bits(control >> 1),
            access: match control >> 4 & 3 {
                1 => ByteAccess::Low,
                2 => ByteAccess::High,
                _ => ByteAccess::LowThenHigh,
            },
            is_bcd: control & 1 != 0,
            ..Self::new(self.gate)
        };
    }

    /// Takes a byte of the count.
    pub fn write(&mut self, value: u8, now: u64) {
        let count = match (self.access, self.pending_low.take()) {
            (ByteAccess::Low, _) => u16::from(value),
            (ByteAccess::High, _) => u16::from(value) << 8,
            (ByteAccess::LowThenHigh, Some(low)) => u16::from_le_bytes([low, value]),
            (ByteAccess::LowThenHigh, None) => {
                self.pending_low = Some(value);
                if self.mode == Mode::InterruptOnTerminalCount {
                    // The first byte stops mode 0 (8254 data sheet).
                    self.started = None;
                }
                return;
            }
        };
        let modulus = if self.is_bcd { 10_000 } else { 0x1_0000 };
        let binary = if self.is_bcd { from_bcd(count) } else { u32::from(count) };
        // A running period ends before a new count takes effect; only its phase would differ.
        self.reload = if binary == 0 { modulus } else { binary };
        self.is_null_count = false;
        if !self.mode.is_started_by_gate() {
            self.started = Some(now);
            self.paused = (!self.gate).then_some(0);
        }
    }

    /// Drives the gate.
    pub fn set_gate(&mut self, gate: bool, now: u64) {
        let has_risen = gate && !self.gate;
        let has_fallen = !gate && self.gate;
        self.gate = gate;
        if self.mode.is_started_by_gate() {
            if has_risen && !self.is_null_count {
                self.started = Some(now);
            }
        } else if has_fallen {
            self.paused = self.started.map(|started| now.saturating_sub(started));
        } else if has_risen && let Some(counted) = self.paused.take() {
            // Modes 2 and 3 begin a new period, modes 0 and 4 go on.
            let counted = if self.mode.is_periodic() { 0 } else { counted };
            self.started = Some(now.saturating_sub(counted));
        }
    }

    fn elapsed(&self, now: u64) -> Option<u64> {
        self.paused.or_else(|| self.started.map(|started| now.saturating_sub(started)))
    }

    /// The level of the output.
    pub fn output(&self, now: u64) -> bool {
        let reload = u64::from(self.reload.max(1));
        let Some(elapsed) = self.elapsed(now) else {
            return self.mode != Mode::InterruptOnTerminalCount;
        };
        let is_paused = self.paused.is_some();
        match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => elapsed >= reload,
            // A low gate forces the output of the periodic modes high.
            Mode::RateGenerator => is_paused || elapsed % reload != reload - 1,
            Mode::SquareWave => is_paused || elapsed % reload < reload.div_ceil(2),
            Mode::SoftwareStrobe | Mode::HardwareStrobe => elapsed != reload,
        }
    }

    /// The first tick after `now` at which the output rises by itself.
    pub fn next_rise(&self, now: u64) -> Option<u64> {
        if self.paused.is_some() {
            return None;
        }
        let started = self.started?;
        let reload = u64::from(self.reload.max(1));
        let elapsed = now.saturating_sub(started);
        let rise = match self.mode {
            Mode::InterruptOnTerminalCount | Mode::OneShot => reload,
            Mode::RateGenerator | Mode::SquareWave => (elapsed / reload + 1) * reload,
            Mode::SoftwareStrobe | Mode::HardwareStrobe => reload + 1,
        };
        (rise > elapsed).then_some(started + rise)
    }

    fn count(&self, now: u64) -> u16 {
        let reload = u64::from(self.reload.max(1));
        let modulus: u64 = if self.is_bcd { 10_000 } else { 0x1_0000 };
        let Some(elapsed) = self.elapsed(now) else { return 0 };
        let count = match self.mode {
            Mode::RateGenerator => reload - elapsed % reload,
            // The counter goes down by two, twice a period.
            Mode::SquareWave => reload - elapsed * 2 % reload,
            _ => (reload + modulus - elapsed % modulus) % modulus,
        } % modulus;
        if self.is_bcd { to_bcd(count) } else { count as u16 }
    }

    /// Freezes the count for the next reads.
    pub fn latch_count(&mut self, now: u64) {
        if self.latched_count.is_none() {
            self.latched_count = Some(self.count(now));
        }
    }

    /// Freezes the status for the next read.
    pub fn latch_status(&mut self, now: u64) {
        if self.latched_status.is_none() {
            let access = match self.access {
                ByteAccess::Low => 1,
                ByteAccess::High => 2,
                ByteAccess::LowThenHigh => 3,
            };
            self.latched_status = Some(
                u8::from(self.output(now)) << 7
                    | u8::from(self.is_null_count) << 6
                    | access << 4
                    | self.mode.bits() << 1
                    | u8::from(self.is_bcd),
            );
        }
    }

    /// Reads a byte: of the latched status, of the latched count, or of the count as it is.
    pub fn read(&mut self, now: u64) -> u8 {
        if let Some(status) = self.latched_status.take() {
            return status;
        }
        let [low, high] = self.latched_count.unwrap_or_else(|| self.count(now)).to_le_bytes();
        let (byte, is_last) = match self.access {
            ByteAccess::Low => (low, true),
            ByteAccess::High => (high, true),
            ByteAccess::LowThenHigh => {
                self.reads_high_next = !self.reads_high_next;
                if self.reads_high_next { (low, false) } else { (high, true) }
            }
        };
        if is_last {
            self.latched_count = None;
        }
        byte
    }
}

fn from_bcd(value: u16) -> u32 {
    (0..4).rev().fold(0, |sum, digit| sum * 10 + u32::from(value >> (4 * digit) & 15))
}

fn to_bcd(value: u64) -> u16 {
    (0..4).fold(0, |sum, digit| sum | ((value / 10_u64.pow(digit) % 10) as u16) << (4 * digit))
}
