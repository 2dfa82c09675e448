//! The host's time.

use crate::host::{Clock, WallTime};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The host's monotonic clock, which stands at zero when this is made.
pub struct SystemClock {
    start: Instant,
    started_at: WallTime,
}

impl SystemClock {
    /// A clock that starts now.
    pub fn start_now() -> Self {
        // A host whose calendar stands before 1970 has no date that a guest could use: it gets the epoch.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ns = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        Self { start: Instant::now(), started_at: WallTime { unix_ns } }
    }
}

impl Clock for SystemClock {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn started_at(&self) -> WallTime {
        self.started_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn it_counts_nanoseconds_from_zero() {
        let before = Instant::now();
        let clock = SystemClock::start_now();
        std::thread::sleep(Duration::from_millis(2));
        let now_ns = clock.now_ns();
        assert!(now_ns >= 2_000_000);
        assert!(u128::from(now_ns) <= before.elapsed().as_nanos());
        let year_2020_ns = 1_577_836_800_000_000_000;
        assert!(clock.started_at().unix_ns > year_2020_ns);
    }
}
