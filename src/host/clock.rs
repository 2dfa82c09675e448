//! Time, as the machine sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The only source of time of a machine. Devices, the TSC and the kvmclock all derive from it.
pub trait Clock: Send + Sync {
    /// Nanoseconds since the machine started. Never goes backwards.
    fn now_ns(&self) -> u64;

    /// The calendar time at which the machine's clock stood at zero.
    fn started_at(&self) -> WallTime;
}

/// A point in calendar time: nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime {
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: u64,
}

/// A clock that advances only with retired guest instructions, so that a run repeats bit for bit.
///
/// The vCPU stores its instruction count; an idle machine moves the clock on to its next timer.
#[derive(Clone, Default)]
pub struct InstructionClock {
    now_ns: Arc<AtomicU64>,
}

impl InstructionClock {
    /// Moves the clock to `now_ns`; earlier times are ignored.
    pub fn advance_to(&self, now_ns: u64) {
        self.now_ns.fetch_max(now_ns, Ordering::Relaxed);
    }
}

impl Clock for InstructionClock {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    /// 2026-01-01T00:00:00Z: a fixed date, because a repeatable run cannot read the calendar.
    fn started_at(&self) -> WallTime {
        WallTime { unix_ns: 1_767_225_600_000_000_000 }
    }
}
