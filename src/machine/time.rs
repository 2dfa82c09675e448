//! The machine's time: the host's, or the count of its instructions.

use crate::host::{Clock, InstructionClock};
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
            ClockSource::Real(clock) => Self { clock, counted: None },
            ClockSource::Instructions => {
                let clock = InstructionClock::default();
                let counted = Counted { clock: clock.clone(), skipped_ns: Arc::default() };
                Self { clock: Arc::new(clock), counted: Some(counted) }
            }
        }
    }

    /// The clock for devices.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Now, for a processor that has retired `instructions`.
    pub fn now_ns(&self, instructions: u64) -> u64 {
        if let Some(counted) = &self.counted {
            let skipped = counted.skipped_ns.load(Ordering::Relaxed);
            counted.clock.advance_to(instructions * NS_PER_INSTRUCTION + skipped);
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
