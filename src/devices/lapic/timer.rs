//! The local APIC's timer (SDM vol. 3A 11.5.4).
//!
//! Its input clock and the TSC both run at 1 GHz, so that a tick is a nanosecond of machine time.

use serde::{Deserialize, Serialize};

/// Bits 18:17 of the timer's local vector table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum TimerMode {
    /// Counts down once.
    #[default]
    OneShot,
    /// Reloads the initial count.
    Periodic,
    /// Fires when the TSC reaches `IA32_TSC_DEADLINE`.
    TscDeadline,
}

impl TimerMode {
    /// Decodes a local vector table entry; the reserved mode counts once.
    pub fn from_lvt(entry: u32) -> Self {
        match entry >> 17 & 3 {
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::OneShot,
        }
    }
}

/// The count-down and the deadline, without the vector that they raise.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Timer {
    mode: TimerMode,
    initial_count: u32,
    divide_configuration: u32,
    /// When it fires next, in machine nanoseconds.
    deadline_ns: Option<u64>,
}

impl Timer {
    /// Nanoseconds a count (SDM vol. 3A figure 11-10).
    fn divisor(&self) -> u64 {
        let encoded = self.divide_configuration & 3 | self.divide_configuration >> 1 & 4;
        if encoded == 7 { 1 } else { 2 << encoded }
    }

    /// When the timer fires next, in machine nanoseconds.
    pub fn deadline_ns(&self) -> Option<u64> {
        self.deadline_ns
    }

    /// Follows a write of the local vector table. A change to or from TSC-deadline mode disarms.
    pub fn set_mode(&mut self, mode: TimerMode) {
        if (mode == TimerMode::TscDeadline) != (self.mode == TimerMode::TscDeadline) {
            self.deadline_ns = None;
            self.initial_count = 0;
        }
        self.mode = mode;
    }

    /// The initial-count register.
    pub fn initial_count(&self) -> u32 {
        self.initial_count
    }

    /// Starts a count, or stops with zero. Ignored in TSC-deadline mode.
    pub fn set_initial_count(&mut self, count: u32, now_ns: u64) {
        if self.mode == TimerMode::TscDeadline {
            return;
        }
        self.initial_count = count;
        self.deadline_ns =
            (count != 0).then(|| now_ns.saturating_add(u64::from(count).saturating_mul(self.divisor())));
    }

    /// What is left of the count.
    pub fn current_count(&self, now_ns: u64) -> u32 {
        match (self.mode, self.deadline_ns) {
            (TimerMode::TscDeadline, _) | (_, None) => 0,
            (_, Some(deadline_ns)) => {
                let left = deadline_ns.saturating_sub(now_ns).div_ceil(self.divisor());
                left.min(u64::from(self.initial_count)) as u32
            }
        }
    }

    /// The divide-configuration register.
    pub fn divide_configuration(&self) -> u32 {
        self.divide_configuration
    }

    /// Changes the divisor; a running count goes on from where it is.
    pub fn set_divide_configuration(&mut self, value: u32, now_ns: u64) {
        let left = u64::from(self.current_count(now_ns));
        self.divide_configuration = value & 0b1011;
        if self.mode != TimerMode::TscDeadline && self.deadline_ns.is_some() {
            self.deadline_ns = Some(now_ns.saturating_add(left.saturating_mul(self.divisor())));
        }
    }

    /// `IA32_TSC_DEADLINE`: zero unless armed (SDM vol. 3A 11.5.4.1).
    pub fn tsc_deadline(&self) -> u64 {
        match self.mode {
            TimerMode::TscDeadline => self.deadline_ns.unwrap_or(0),
            _ => 0,
        }
    }

    /// Arms with a TSC value, or disarms with zero. Ignored in the other modes.
    pub fn set_tsc_deadline(&mut self, deadline: u64) {
        if self.mode == TimerMode::TscDeadline {
            self.deadline_ns = (deadline != 0).then_some(deadline);
        }
    }

    /// Moves time on. Returns whether the timer fired; periods that passed meanwhile count as one.
    pub fn advance_to(&mut self, now_ns: u64) -> bool {
        let Some(deadline_ns) = self.deadline_ns.filter(|deadline_ns| *deadline_ns <= now_ns) else {
            return false;
        };
        self.deadline_ns = match self.mode {
            TimerMode::Periodic => {
                let period = (u64::from(self.initial_count) * self.divisor()).max(1);
                let passed = (now_ns - deadline_ns) / period + 1;
                Some(deadline_ns.saturating_add(passed.saturating_mul(period)))
            }
            TimerMode::OneShot | TimerMode::TscDeadline => None,
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_one_shot_counts_down_at_the_divided_rate() {
        let mut timer = Timer::default();
        timer.set_divide_configuration(0b0011, 0);
        timer.set_initial_count(100, 1_000);
        assert_eq!(timer.deadline_ns(), Some(1_000 + 1_600));
        assert_eq!(timer.current_count(1_000 + 800), 50);
        assert!(!timer.advance_to(2_599));
        assert!(timer.advance_to(2_600));
        assert_eq!(timer.deadline_ns(), None);
        assert_eq!(timer.current_count(3_000), 0);
    }

    #[test]
    fn a_periodic_timer_keeps_its_phase_when_it_is_served_late() {
        let mut timer = Timer::default();
        timer.set_mode(TimerMode::Periodic);
        timer.set_divide_configuration(0b1011, 0);
        timer.set_initial_count(1_000, 0);
        assert!(timer.advance_to(3_500));
        assert_eq!(timer.deadline_ns(), Some(4_000));
    }

    #[test]
    fn the_tsc_deadline_reads_as_zero_once_it_has_fired() {
        let mut timer = Timer::default();
        timer.set_tsc_deadline(500);
        assert_eq!(timer.deadline_ns(), None, "only the deadline mode takes it");
        timer.set_mode(TimerMode::TscDeadline);
        timer.set_tsc_deadline(500);
        assert_eq!(timer.tsc_deadline(), 500);
        assert!(timer.advance_to(500));
        assert_eq!(timer.tsc_deadline(), 0);
    }
}
