//! How instructions work on the register stack: faults, results, pops (SDM vol. 1 8.1.2, 8.5.1.1).

use super::float80::{Class, Environment, Float80};
use super::state::{C0, C1, C2, C3, EXCEPTIONS, INVALID, STACK_FAULT, X87};
use super::transcendental::Trigonometric;
use std::cmp::Ordering;

/// The condition codes of unordered operands.
const UNORDERED: u16 = C0 | C2 | C3;

impl X87 {
    /// What operations obey now.
    #[inline(always)]
    pub fn environment(&self) -> Environment {
        Environment::new(self.control())
    }

    /// Takes an instruction's exceptions and C1 into the status word.
    #[inline(always)]
    pub fn raise(&mut self, flags: u16) {
        self.status = self.status & !C1 | flags;
        if flags & EXCEPTIONS & !self.control() != 0 {
            self.summarize();
        }
    }

    /// Raises a stack underflow; whether it is masked.
    #[cold]
    pub fn underflow(&mut self) -> bool {
        self.raise(INVALID | STACK_FAULT);
        self.environment().is_masked(INVALID)
    }

    /// Raises a stack overflow; whether it is masked.
    #[cold]
    fn overflow(&mut self) -> bool {
        self.raise(INVALID | STACK_FAULT | C1);
        self.environment().is_masked(INVALID)
    }

    #[inline(always)]
    fn pop_times(&mut self, pops: u8) {
        for _ in 0..pops {
            self.pop();
        }
    }

    /// Pushes a loaded value, `None` when an unmasked exception took it, with the flags that it raised.
    #[inline]
    pub fn load(&mut self, value: Option<Float80>, flags: u16) {
        if !self.is_empty(7) {
            if self.overflow() {
                self.push(Float80::INDEFINITE);
            }
            return;
        }
        self.raise(flags);
        if let Some(value) = value {
            self.push(value);
        }
    }

    /// `FLD ST(index)`.
    #[inline]
    pub fn load_register(&mut self, index: u8) {
        if self.is_empty(index) {
            if self.underflow() {
                self.push(Float80::INDEFINITE);
            }
        } else if !self.is_empty(7) {
            self.load(None, 0);
        } else {
            self.raise(0);
            self.push(self.st(index));
        }
    }

    /// `FST ST(index)`, and pops.
    #[inline]
    pub fn store_register(&mut self, index: u8, pops: u8) {
        let value = if self.is_empty(0) {
            if !self.underflow() {
                return;
            }
            Float80::INDEFINITE
        } else {
            self.raise(0);
            self.st(0)
        };
        self.set_st(index, value);
        self.pop_times(pops);
    }

    /// Ends a store to memory.
    #[inline]
    pub fn finish_store(&mut self, flags: u16, pops: u8) {
        self.raise(flags);
        self.pop_times(pops);
    }

    /// `FXCH ST(index)`. Empty registers count as the indefinite NaN.
    pub fn exchange(&mut self, index: u8) {
        if self.is_empty(0) || self.is_empty(index) {
            if !self.underflow() {
                return;
            }
            for place in [0, index] {
                if self.is_empty(place) {
                    self.set_st(place, Float80::INDEFINITE);
                }
            }
        } else {
            self.raise(0);
        }
        let (first, second) = (self.st(0), self.st(index));
        self.set_st(0, second);
        self.set_st(index, first);
    }

    /// ST(`target`) = operation(ST(`target`), ST(`source`)), and pops.
    #[inline(always)]
    pub fn combine(
        &mut self,
        target: u8,
        source: u8,
        pops: u8,
        operation: impl FnOnce(&mut Environment, Float80, Float80) -> Option<Float80>,
    ) {
        if self.is_empty(target) || self.is_empty(source) {
            if self.underflow() {
                self.set_st(target, Float80::INDEFINITE);
                self.pop_times(pops);
            }
            return;
        }
        let mut environment = self.environment();
        let result = operation(&mut environment, self.st(target), self.st(source));
        self.raise(environment.flags);
        if let Some(result) = result {
            self.set_st(target, result);
            self.pop_times(pops);
        }
    }

    /// ST(0) = operation(ST(0)).
    #[inline(always)]
    pub fn change(&mut self, operation: impl FnOnce(&mut Environment, Float80) -> Option<Float80>) {
        self.combine(0, 0, 0, |environment, value, _| operation(environment, value));
    }

    /// `FPREM` and `FPREM1`: ST(0) = operation(ST(0), ST(1)) with condition codes. C2 is always written,
    /// the others only when the operation gives them.
    pub fn reduce(
        &mut self,
        operation: impl FnOnce(&mut Environment, Float80, Float80) -> Option<(Float80, Option<u16>)>,
    ) {
        let mut outcome = None;
        self.combine(0, 1, 0, |environment, a, b| {
            let result = operation(environment, a, b)?;
            outcome = result.1;
            Some(result.0)
        });
        self.status = match outcome {
            Some(codes) => self.status & !UNORDERED | codes,
            None => self.status & !C2,
        };
    }

    /// Replaces ST(0) by a first result and pushes a second.
    pub fn change_and_push(
        &mut self,
        operation: impl FnOnce(&mut Environment, Float80) -> Option<(Float80, Float80)>,
    ) {
        if !self.can_change_and_push() {
            return;
        }
        let mut environment = self.environment();
        let results = operation(&mut environment, self.st(0));
        self.raise(environment.flags);
        if let Some((first, second)) = results {
            self.set_st(0, first);
            self.push(second);
        }
    }

    /// Whether there is an operand and room for a second result; else responds to the stack fault.
    fn can_change_and_push(&mut self) -> bool {
        let is_masked = if self.is_empty(0) {
            self.underflow()
        } else if !self.is_empty(7) {
            self.overflow()
        } else {
            return true;
        };
        if is_masked {
            self.set_st(0, Float80::INDEFINITE);
            self.push(Float80::INDEFINITE);
        }
        false
    }

    /// `FSIN` and `FCOS`.
    pub fn trigonometric(
        &mut self,
        operation: impl FnOnce(&mut Environment, Float80) -> Trigonometric<Float80>,
    ) {
        self.status &= !C2;
        if self.is_empty(0) {
            if self.underflow() {
                self.set_st(0, Float80::INDEFINITE);
            }
            return;
        }
        let mut environment = self.environment();
        let result = operation(&mut environment, self.st(0));
        self.finish_trigonometric(environment.flags, &result);
        if let Trigonometric::Done(result) = result {
            self.set_st(0, result);
        }
    }

    /// `FSINCOS` and `FPTAN`.
    pub fn trigonometric_pair(
        &mut self,
        operation: impl FnOnce(&mut Environment, Float80) -> Trigonometric<(Float80, Float80)>,
    ) {
        self.status &= !C2;
        if !self.can_change_and_push() {
            return;
        }
        let mut environment = self.environment();
        let results = operation(&mut environment, self.st(0));
        self.finish_trigonometric(environment.flags, &results);
        if let Trigonometric::Done((first, second)) = results {
            self.set_st(0, first);
            self.push(second);
        }
    }

    fn finish_trigonometric<T>(&mut self, flags: u16, result: &Trigonometric<T>) {
        self.raise(flags);
        if matches!(result, Trigonometric::OutOfRange) {
            self.status |= C2;
        }
    }

    /// Sets the condition codes by the order of two operands, and pops unless an exception is not masked.
    #[inline]
    pub fn finish_compare(&mut self, order: Option<Ordering>, flags: u16, pops: u8) {
        self.set_codes(order);
        self.finish_flag_compare(flags & !C1, pops);
        self.status &= !C1;
    }

    fn set_codes(&mut self, order: Option<Ordering>) {
        self.status = self.status & !UNORDERED
            | match order {
                Some(Ordering::Greater) => 0,
                Some(Ordering::Less) => C0,
                Some(Ordering::Equal) => C3,
                None => UNORDERED,
            };
    }

    /// A comparison with an empty register: unordered.
    pub fn compare_underflow(&mut self, pops: u8) {
        self.finish_compare(None, INVALID | STACK_FAULT, pops);
    }

    /// Ends `FCOMI` and its kin, which leave the condition codes.
    #[inline]
    pub fn finish_flag_compare(&mut self, flags: u16, pops: u8) {
        self.raise(flags | self.status & C1);
        if flags & EXCEPTIONS & !self.control() == 0 {
            self.pop_times(pops);
        }
    }

    /// `FCMOVcc`.
    pub fn move_if(&mut self, index: u8, holds: bool) {
        let kept = self.status & C1;
        self.combine(0, index, 0, |environment, own, other| {
            environment.flags |= kept;
            Some(if holds { other } else { own })
        });
    }

    /// `FXAM`.
    pub fn examine(&mut self) {
        let value = self.st(0);
        let class = match value.class() {
            _ if self.is_empty(0) => C3 | C0,
            Class::Unsupported => 0,
            Class::Quiet | Class::Signaling => C0,
            Class::Normal => C2,
            Class::Infinity => C2 | C0,
            Class::Zero => C3,
            Class::Denormal => C3 | C2,
        };
        self.status = self.status & !(UNORDERED | C1) | class | if value.is_negative() { C1 } else { 0 };
    }

    /// `FFREE`, and pops.
    pub fn free_register(&mut self, index: u8, pops: u8) {
        self.free(index);
        self.finish_store(0, pops);
    }

    /// `FINCSTP` (1) and `FDECSTP` (7).
    pub fn rotate(&mut self, distance: u8) {
        self.top = self.top.wrapping_add(distance) & 7;
        self.raise(0);
    }

    /// `FNCLEX`.
    pub fn clear_exceptions(&mut self) {
        self.status &= C0 | C1 | C2 | C3;
    }
}
