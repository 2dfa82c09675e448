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

    /// Predicate 0 to 31 of `VCMPccPS` and the like, of which `CMPccPS` has 0 to 7: EQ, LT, LE, UNORD, by
    /// bit 3 the same with NaNs on the other side, by bit 2 their opposites. Bit 4 swaps which of them
    /// signal quiet NaNs.
    pub fn predicate<F: Format>(&mut self, predicate: u8, x: u64, y: u64) -> bool {
        use Order::{Equal, Less, Unordered};
        let is_signalled = matches!(predicate & 3, 1 | 2) != (predicate & 16 != 0);
        let order = self.compared::<F>(x, y, is_signalled);
        let holds = match predicate & 0b1011 {
            0 => order == Equal,
            1 => order == Less,
            2 => matches!(order, Less | Equal),
            3 => order == Unordered,
            8 => matches!(order, Equal | Unordered),
            9 => matches!(order, Less | Unordered),
            10 => matches!(order, Less | Equal | Unordered),
            _ => false,
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
