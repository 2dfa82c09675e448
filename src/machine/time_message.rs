//! Telling a restored guest what time it is.
//!
//! A machine's own clock stands still while it is saved, so that nothing in the guest times out; the calendar
//! goes on. The clock chip and KVM's wall clock are right at once, but Linux reads them only when it boots. So a
//! guest that listens on its serial port (it has printed [`LISTENING`] there) is told, by lines
//! `dinghy:time SECONDS`.

use crate::host::Clock;

/// What a guest prints on its serial port when it listens there.
pub(super) const LISTENING: &[u8] = b"dinghy:listening";

const SECOND_NS: u64 = 1_000_000_000;

/// The two messages: at once the nearest second, and at the next full second that one, because the guest can
/// set whole seconds only.
pub(super) struct TimeMessages {
    is_rounded: bool,
    next_ns: Option<u64>,
}

impl TimeMessages {
    /// Messages from `now_ns` on, in nanoseconds of the machine's clock.
    pub fn new(now_ns: u64) -> Self {
        Self { is_rounded: true, next_ns: Some(now_ns) }
    }

    /// When the next message is due.
    pub fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// The message that is due at `now_ns`.
    pub fn due(&mut self, now_ns: u64, clock: &dyn Clock) -> Option<String> {
        self.next_ns.filter(|next_ns| *next_ns <= now_ns)?;
        let unix_ns = clock.started_at().unix_ns.saturating_add(now_ns);
        let was_rounded = std::mem::replace(&mut self.is_rounded, false);
        let (seconds, next_ns) = if was_rounded {
            let to_second = SECOND_NS - unix_ns % SECOND_NS;
            ((unix_ns + SECOND_NS / 2) / SECOND_NS, Some(now_ns + to_second))
        } else {
            (unix_ns / SECOND_NS, None)
        };
        self.next_ns = next_ns;
        Some(format!("dinghy:time {seconds}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::WallTime;

    struct Fixed;

    impl Clock for Fixed {
        fn now_ns(&self) -> u64 {
            0
        }

        fn started_at(&self) -> WallTime {
            WallTime { unix_ns: 1_000 * SECOND_NS + 600_000_000 }
        }
    }

    #[test]
    fn the_nearest_second_is_told_at_once_and_the_next_at_its_beginning() {
        let mut messages = TimeMessages::new(0);
        assert_eq!(messages.due(100_000_000, &Fixed).as_deref(), Some("dinghy:time 1001\n"));
        assert_eq!(messages.next_ns(), Some(400_000_000));
        assert_eq!(messages.due(399_999_999, &Fixed), None);
        assert_eq!(messages.due(400_500_000, &Fixed).as_deref(), Some("dinghy:time 1001\n"));
        assert_eq!(messages.next_ns(), None);
        assert_eq!(messages.due(9_000_000_000, &Fixed), None);
    }
}
