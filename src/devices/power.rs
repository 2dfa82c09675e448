//! How a guest asks for the machine to be switched off, restarted or ended with an exit code.

use super::bus::PortDevice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Port of the debug-exit device.
pub const DEBUG_EXIT_PORT: u16 = 0xf4;

/// What the guest asks of the machine as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerRequest {
    /// Switch off (ACPI S5).
    PowerOff,
    /// Reset everything and boot again.
    Reset,
    /// End with this exit code.
    Exit(u32),
}

const NONE: u64 = 0;
const POWER_OFF: u64 = 1;
const RESET: u64 = 2;
/// Flag of an exit; the low half is the code.
const EXIT: u64 = 1 << 32;

/// Where devices leave a [`PowerRequest`] for the machine's run loop. The first one counts.
pub struct PowerSwitch {
    request: AtomicU64,
    attention: Arc<AtomicU32>,
}

impl PowerSwitch {
    /// A switch with no request. `attention` becomes 1 when there is one.
    pub fn new(attention: Arc<AtomicU32>) -> Self {
        Self { request: AtomicU64::new(NONE), attention }
    }

    /// Leaves a request, unless there is one already.
    pub fn request(&self, request: PowerRequest) {
        let encoded = match request {
            PowerRequest::PowerOff => POWER_OFF,
            PowerRequest::Reset => RESET,
            PowerRequest::Exit(code) => EXIT | u64::from(code),
        };
        if self.request.compare_exchange(NONE, encoded, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.attention.store(1, Ordering::SeqCst);
        }
    }

    /// Takes the request, if there is one.
    pub fn take(&self) -> Option<PowerRequest> {
        match self.request.swap(NONE, Ordering::AcqRel) {
            NONE => None,
            POWER_OFF => Some(PowerRequest::PowerOff),
            RESET => Some(PowerRequest::Reset),
            exit => Some(PowerRequest::Exit(exit as u32)),
        }
    }
}

/// The debug-exit device: a write of `value` to its port ends the machine with exit code `value * 2 + 1`.
///
/// Test guests without ACPI use it to report success or failure.
pub struct DebugExit {
    power: Arc<PowerSwitch>,
}

impl DebugExit {
    /// A device that leaves its request at `power`.
    pub fn new(power: Arc<PowerSwitch>) -> Self {
        Self { power }
    }
}

impl PortDevice for DebugExit {
    fn read_port(&mut self, _port: u16) -> u8 {
        0xff
    }

    fn write_port(&mut self, _port: u16, value: u8) {
        self.power.request(PowerRequest::Exit(u32::from(value) * 2 + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_request_counts_and_calls_attention() {
        let attention = Arc::new(AtomicU32::new(0));
        let power = Arc::new(PowerSwitch::new(attention.clone()));
        assert_eq!(power.take(), None);
        DebugExit::new(power.clone()).write_port(DEBUG_EXIT_PORT, 0x10);
        power.request(PowerRequest::Reset);
        assert_eq!(attention.load(Ordering::SeqCst), 1);
        assert_eq!(power.take(), Some(PowerRequest::Exit(0x21)));
        assert_eq!(power.take(), None);
        power.request(PowerRequest::PowerOff);
        assert_eq!(power.take(), Some(PowerRequest::PowerOff));
    }
}
