//! Comparisons (SDM vol. 2A, CMPPD table 3-1; COMISD).

use super::context::{Context, INVALID};
use super::format::{Format, is_nan, is_signalling};
use crate::cpu::flags::{CF, LazyFlags, PF, ZF};

impl Context {
    fn compared<F: Format>(&mut self, x: u64, y: u64, is_signalled: bool) -> Order {
        let (x, y) = (self.operand::<F>(x), self.operand::<F>(y));
        if is_nan::<F>(x) || is_nan::<F>(y) {
            if is_signalled || is_signalling::<F>(x) || is_signalling::<F>(y) {
                self.found |= INVALID;
            }
            return Order::Unordered;
        }
        self.note_denormal::<F>(x);
        self.note_denormal::<F>(y);
        if F::is_less(x, y) {
            Order::Less
        } else if F::is_equal(x, y) {
            Order::Equal
        } else {
            Order::Greater
        }
    }

    /// Predicate 0 to 7 of `CMPccPS` and the like: EQ, LT, LE, UNORD, and their opposites.
    pub fn predicate<F: Format>(&mut self, predicate: u8, x: u64, y: u64) -> bool {
        let order = self.compared::<F>(x, y, matches!(predicate & 3, 1 | 2));
        let holds = match predicate & 3 {
            0 => order == Order::Equal,
            1 => order == Order::Less,
            2 => matches!(order, Order::Less | Order::Equal),
            _ => order == Order::Unordered,
        };
        holds != (predicate & 4 != 0)
    }

    /// The flags of `COMISS` and the like, or of `UCOMISS` when it is quiet.
    pub fn flags<F: Format>(&mut self, is_quiet: bool, x: u64, y: u64) -> LazyFlags {
        LazyFlags::explicit(match self.compared::<F>(x, y, !is_quiet) {
            Order::Unordered => ZF | PF | CF,
            Order::Less => CF,
            Order::Equal => ZF,
            Order::Greater => 0,
        })
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Less,
    Equal,
    Greater,
    Unordered,
}
