//! The machine's time: the host's, or the count of its instructions.

use crate::host::{Clock, InstructionClock, WallTime};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds that an instruction takes by the instruction-count clock: a processor of 1 GIPS, so that a
/// tick of 10 ms is 10 million instructions.
const NS_PER_INSTRUCTION: u64 = 1;

/// Which clock a machine has.
#[derive(Clone)]
pub enum ClockSource {
    /// The host's time.
    Real(Arc<dyn Clock>),
    /// Retired instructions: a run repeats bit for bit.
    Instructions,
}

/// The machine's time, shared by its parts.
#[derive(Clone)]
pub(super) struct MachineTime {
    clock: Arc<dyn Clock>,
    counted: Option<Counted>,
    continued: Option<Arc<Continued>>,
}

/// A host's clock that goes on from a machine's earlier time. The calendar does not stand still meanwhile.
struct Continued {
    clock: Arc<dyn Clock>,
    now_ns: u64,
    /// The host's time from which on it runs.
    origin_ns: AtomicU64,
}

const NOT_STARTED: u64 = u64::MAX;

impl Clock for Continued {
    fn now_ns(&self) -> u64 {
        // Before the origin is set, no time has passed.
        let passed = self.clock.now_ns().saturating_sub(self.origin_ns.load(Ordering::Relaxed));
        self.now_ns.saturating_add(passed)
    }

    fn started_at(&self) -> WallTime {
        let origin_ns = match self.origin_ns.load(Ordering::Relaxed) {
            NOT_STARTED => self.clock.now_ns(),
            origin_ns => origin_ns,
        };
        let unix_ns = self.clock.started_at().unix_ns.saturating_add(origin_ns).saturating_sub(self.now_ns);
        WallTime { unix_ns }
    }
}

#[derive(Clone)]
struct Counted {
    clock: InstructionClock,
    /// Time skipped while the processor was halted.
    skipped_ns: Arc<AtomicU64>,
}

impl MachineTime {
    pub fn new(source: ClockSource) -> Self {
        match source {
            ClockSource::Real(clock) => Self { clock, counted: None, continued: None },
            ClockSource::Instructions => {
                let clock = InstructionClock::default();
                let counted = Counted { clock: clock.clone(), skipped_ns: Arc::default() };
                Self { clock: Arc::new(clock), counted: Some(counted), continued: None }
            }
        }
    }

    /// The time of a machine that was saved at `now_ns` after `instructions`, and goes on.
    pub fn go_on(source: ClockSource, now_ns: u64, instructions: u64) -> Self {
        match source {
            ClockSource::Real(clock) => {
                let continued = Arc::new(Continued { clock, now_ns, origin_ns: AtomicU64::new(NOT_STARTED) });
                Self { clock: continued.clone(), counted: None, continued: Some(continued) }
            }
            ClockSource::Instructions => {
                let time = Self::new(ClockSource::Instructions);
                if let Some(counted) = &time.counted {
                    let skipped = now_ns.wrapping_sub(instructions.wrapping_mul(NS_PER_INSTRUCTION));
                    counted.skipped_ns.store(skipped, Ordering::Relaxed);
                    counted.clock.advance_to(now_ns);
                }
                time
            }
        }
    }

    /// Lets a time that [goes on](Self::go_on) run; it stands still before.
    pub fn start(&self) {
        if let Some(continued) = &self.continued {
            continued.origin_ns.store(continued.clock.now_ns(), Ordering::Relaxed);
        }
    }

    /// Whether the time is counted, so that a run repeats.
    pub fn is_counted(&self) -> bool {
        self.counted.is_some()
    }

    /// The clock for devices.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Now, for a processor that has retired `instructions`.
    pub fn now_ns(&self, instructions: u64) -> u64 {
        if let Some(counted) = &self.counted {
            let skipped = counted.skipped_ns.load(Ordering::Relaxed);
            counted.clock.advance_to((instructions * NS_PER_INSTRUCTION).wrapping_add(skipped));
        }
        self.clock.now_ns()
    }

    /// Instructions from now to `deadline_ns`, when instructions are the clock.
    pub fn instructions_until(&self, deadline_ns: u64) -> Option<u64> {
        self.counted
            .as_ref()
            .map(|counted| deadline_ns.saturating_sub(counted.clock.now_ns()).div_ceil(NS_PER_INSTRUCTION))
    }

    /// Skips to `deadline_ns` while nothing runs. Whether this clock can: the host's time goes its own way.
    pub fn skip_to(&self, deadline_ns: u64) -> bool {
        let Some(counted) = &self.counted else { return false };
        let ahead = deadline_ns.saturating_sub(counted.clock.now_ns());
        counted.skipped_ns.fetch_add(ahead, Ordering::Relaxed);
        counted.clock.advance_to(deadline_ns);
        true
    }
}
