//! Interrupt pins of the slots, wired together four to a line and more (PCI 3.0 §2.2.6).

use crate::devices::{InterruptLine, MessageInterrupt};
use std::sync::{Arc, Mutex, PoisonError};

/// The interrupt wires that a slot offers to its function.
pub struct FunctionInterrupts {
    /// INTA#, level-triggered.
    pub intx: IntxPin,
    /// Where message-signalled interrupts go.
    pub messages: Arc<dyn MessageInterrupt>,
}

/// A line that several slots share: high while any of them asserts it.
pub(super) struct SharedLine {
    line: Arc<dyn InterruptLine>,
    /// One bit a slot that asserts the line.
    asserted: Mutex<u32>,
}

impl SharedLine {
    pub(super) fn new(line: Arc<dyn InterruptLine>) -> Self {
        Self { line, asserted: Mutex::new(0) }
    }
}

/// One slot's INTA#.
pub struct IntxPin {
    shared: Arc<SharedLine>,
    slot: u8,
}

impl IntxPin {
    pub(super) fn new(shared: Arc<SharedLine>, slot: u8) -> Self {
        Self { shared, slot: slot & 31 }
    }
}

impl InterruptLine for IntxPin {
    fn set_level(&self, is_high: bool) {
        let mut asserted = self.shared.asserted.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *asserted;
        let bit = 1 << self.slot;
        *asserted = if is_high { before | bit } else { before & !bit };
        // Called under the lock, so that two slots' changes reach the line in order.
        if (before != 0) != (*asserted != 0) {
            self.shared.line.set_level(*asserted != 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[derive(Default)]
    struct Level(AtomicBool);

    impl InterruptLine for Level {
        fn set_level(&self, is_high: bool) {
            self.0.store(is_high, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_shared_line_stays_high_until_the_last_slot_lets_go() {
        let level = Arc::new(Level::default());
        let shared = Arc::new(SharedLine::new(level.clone()));
        let first = IntxPin::new(shared.clone(), 1);
        let second = IntxPin::new(shared, 9);
        first.set_level(true);
        second.set_level(true);
        first.set_level(false);
        assert!(level.0.load(Ordering::Relaxed));
        second.set_level(false);
        assert!(!level.0.load(Ordering::Relaxed));
    }
}
