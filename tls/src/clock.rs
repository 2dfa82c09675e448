//! The time of day, by which certificates are valid or not: the browser's, or the system's.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

/// The clock of whoever runs this.
#[derive(Debug)]
pub(crate) struct WallClock;

impl WallClock {
    /// Seconds since 1970.
    pub fn seconds(&self) -> u64 {
        seconds_since_1970()
    }
}

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.seconds())))
    }
}

#[cfg(target_arch = "wasm32")]
fn seconds_since_1970() -> u64 {
    // Truncated, and 0 for what is no number.
    (js_sys::Date::now() / 1000.0) as u64
}

#[cfg(not(target_arch = "wasm32"))]
fn seconds_since_1970() -> u64 {
    use std::time::SystemTime;
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
