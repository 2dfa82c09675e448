//! Order of floating-point numbers: CMPccxx, COMISx, MINxx, MAXxx.

use super::soft::{Environment, Format, INVALID};
use std::cmp::Ordering;

impl Environment {
    /// How `a` stands to `b`; `None` when one is a NaN. Quiet NaNs raise the invalid flag if `signals`.
    pub fn compare(&mut self, format: Format, a: u64, b: u64, signals: bool) -> Option<Ordering> {
        let (a, b) = (self.operand(format, a), self.operand(format, b));
        if format.is_nan(a) || format.is_nan(b) {
            if signals || format.is_signalling(a) || format.is_signalling(b) {
                self.flags |= INVALID;
            }
            return None;
        }
        self.note_denormal(format, &[a, b]);
        let key = |bits: u64| {
            let magnitude = format.magnitude(bits) as i64;
            if format.sign(bits) { -magnitude } else { magnitude }
        };
        Some(key(a).cmp(&key(b)))
    }

    /// MINxx: the second operand unless the first is less.
    pub fn minimum(&mut self, format: Format, a: u64, b: u64) -> u64 {
        let order = self.compare(format, a, b, true);
        self.operand(format, if order == Some(Ordering::Less) { a } else { b })
    }

    /// MAXxx: the second operand unless the first is greater.
    pub fn maximum(&mut self, format: Format, a: u64, b: u64) -> u64 {
        let order = self.compare(format, a, b, true);
        self.operand(format, if order == Some(Ordering::Greater) { a } else { b })
    }

    /// CMPccxx: all ones if the predicate in the low three bits of `predicate` holds, else zero.
    pub fn predicate(&mut self, format: Format, predicate: u8, a: u64, b: u64) -> u64 {
        let order = self.compare(format, a, b, matches!(predicate & 3, 1 | 2));
        let holds = match predicate & 3 {
            0 => order == Some(Ordering::Equal),
            1 => order == Some(Ordering::Less),
            2 => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            _ => order.is_none(),
        };
        if holds != (predicate & 4 != 0) { format.mask() } else { 0 }
    }
}
