//! Arithmetic on one lane: results and exceptions of SDM vol. 1 11.5 and table 4-7.

use super::context::{Context, DENORMAL, INVALID, OVERFLOW, PRECISION, UNDERFLOW, ZERO_DIVIDE};
use super::format::{
    Format, Layout, bits, is_denormal, is_nan, is_normal, is_signalling, is_zero, quieted, smallest_normal,
    soft,
};
use rustc_apfloat::{Float, Round, Status, StatusAnd, ieee};

/// A two-operand operation that rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// MXCSR's bits but for the flags other than PE.
pub const QUICK_MASK: u32 = 0xffe0;
/// All exceptions masked, to nearest, neither DAZ nor FTZ, and PE set already.
pub const QUICK: u32 = 0x1fa0;

/// Whether results whose operands and value are normal numbers cannot change MXCSR.
#[inline(always)]
pub const fn is_quick(mxcsr: u32) -> bool {
    mxcsr & QUICK_MASK == QUICK
}

/// The host's result, when neither it nor an operand is anything special: then, if [`is_quick`], it is
/// the instruction's and there is nothing to enter into MXCSR.
#[inline(always)]
pub fn quick<F: Format>(operation: Arithmetic, x: u64, y: u64) -> Option<u64> {
    let result = match operation {
        Arithmetic::Add => F::add(x, y),
        Arithmetic::Subtract => F::subtract(x, y),
        Arithmetic::Multiply => F::multiply(x, y),
        Arithmetic::Divide => F::divide(x, y),
    };
    // The smallest normal number may have been rounded up from a tiny one. Zero operands are plain enough,
    // but a zero quotient's or product's other operand need not be.
    let is_plain = |x: u64| is_normal::<F>(x) || is_zero::<F>(x);
    let is_safe = is_normal::<F>(result) && result & !F::SIGN != smallest_normal::<F>();
    let is_zero_sum = matches!(operation, Arithmetic::Add | Arithmetic::Subtract) && is_zero::<F>(result);
    ((is_safe || is_zero_sum) && is_plain(x) && is_plain(y)).then_some(result)
}

impl Context {
    /// An operand, zero when it is denormal and DAZ is set.
    pub fn operand<F: Format>(&self, x: u64) -> u64 {
        if self.denormals_are_zero && is_denormal::<F>(x) { x & F::SIGN } else { x }
    }

    /// The result when an operand is a NaN: the first of them, made quiet.
    pub fn propagated<F: Format>(&mut self, x: u64, y: u64) -> Option<u64> {
        if !is_nan::<F>(x) && !is_nan::<F>(y) {
            return None;
        }
        if is_signalling::<F>(x) || is_signalling::<F>(y) {
            self.found |= INVALID;
        }
        Some(quieted::<F>(if is_nan::<F>(x) { x } else { y }))
    }

    /// Notes a denormal operand.
    pub fn note_denormal<F: Format>(&mut self, x: u64) {
        if is_denormal::<F>(x) {
            self.found |= DENORMAL;
        }
    }

    /// One lane of an addition, subtraction, multiplication or division.
    pub fn arithmetic<F: Format>(&mut self, operation: Arithmetic, x: u64, y: u64) -> u64 {
        let (x, y) = (self.operand::<F>(x), self.operand::<F>(y));
        if let Some(nan) = self.propagated::<F>(x, y) {
            return nan;
        }
        let round = self.round;
        let (left, right) = (soft::<F>(x), soft::<F>(y));
        let StatusAnd { status, value } = match operation {
            Arithmetic::Add => left.add_r(right, round),
            Arithmetic::Subtract => left.sub_r(right, round),
            Arithmetic::Multiply => left.mul_r(right, round),
            Arithmetic::Divide => left.div_r(right, round),
        };
        if status.contains(Status::INVALID_OP) {
            self.found |= INVALID;
            return F::DEFAULT_NAN;
        }
        if status.contains(Status::DIV_BY_ZERO) {
            self.found |= ZERO_DIVIDE;
            return bits::<F>(value);
        }
        self.note_denormal::<F>(x);
        self.note_denormal::<F>(y);
        // The same with the exponent out of the way.
        let scaled = |scale| match operation {
            Arithmetic::Add => left.scalbn(scale).add_r(right.scalbn(scale), round).value,
            Arithmetic::Subtract => left.scalbn(scale).sub_r(right.scalbn(scale), round).value,
            Arithmetic::Multiply if (x & !F::SIGN < y & !F::SIGN) == (scale > 0) => {
                left.scalbn(scale).mul_r(right, round).value
            }
            Arithmetic::Multiply => left.mul_r(right.scalbn(scale), round).value,
            Arithmetic::Divide => left.scalbn(scale).div_r(right, round).value,
        };
        let wide = || {
            let (left, right) = (F::widened(left), F::widened(right));
            match operation {
                Arithmetic::Add => left + right,
                Arithmetic::Subtract => left - right,
                Arithmetic::Multiply => left * right,
                Arithmetic::Divide => left / right,
            }
        };
        self.rounded::<F>(value, status, scaled, wide)
    }

    /// Notes how a result was rounded, and flushes it to zero where that is asked for.
    ///
    /// `scaled` gives the result times two to a power: with an exponent without bounds, as it were. That
    /// tells whether one that was rounded up to the smallest normal number was tiny, and whether one that
    /// was rounded down to the largest number was larger. `wide` gives it with more bits, and says whether
    /// those suffice: an overflow or underflow that is not masked is inexact only if the fraction is.
    pub fn rounded<F: Layout>(
        &mut self,
        value: F::Soft,
        status: Status,
        scaled: impl Fn(i32) -> F::Soft,
        wide: impl Fn() -> StatusAnd<ieee::Quad>,
    ) -> u64 {
        let has_inexact_fraction = || {
            let StatusAnd { status, value } = wide();
            !status.is_empty() || !F::has_fraction_of(value)
        };
        let result = bits::<F>(value);
        let is_inexact = status.contains(Status::INEXACT);
        let magnitude = result & !F::SIGN;
        let largest = F::INFINITY - 1;
        let is_cut = magnitude == largest && is_inexact && {
            let limit = soft::<F>(largest).scalbn(-F::SCALE);
            bits::<F>(scaled(-F::SCALE)) & !F::SIGN > bits::<F>(limit)
        };
        if status.contains(Status::OVERFLOW) || is_cut {
            self.found |= OVERFLOW;
            if !self.is_overflow_open || has_inexact_fraction() {
                self.found |= PRECISION;
            }
            return result;
        }
        let is_tiny = if magnitude == smallest_normal::<F>() {
            is_inexact && {
                let limit = soft::<F>(smallest_normal::<F>()).scalbn(F::SCALE);
                bits::<F>(scaled(F::SCALE)) & !F::SIGN < bits::<F>(limit)
            }
        } else {
            is_denormal::<F>(result) || magnitude == 0 && is_inexact
        };
        if is_tiny && self.flushes_to_zero {
            self.found |= UNDERFLOW | PRECISION;
            return result & F::SIGN;
        }
        if is_tiny && self.is_underflow_open {
            self.found |= UNDERFLOW;
            if has_inexact_fraction() {
                self.found |= PRECISION;
            }
            return result;
        }
        if is_tiny && is_inexact {
            self.found |= UNDERFLOW;
        }
        if is_inexact {
            self.found |= PRECISION;
        }
        result
    }

    /// One lane of a square root.
    pub fn square_root<F: Format>(&mut self, x: u64) -> u64 {
        let x = self.operand::<F>(x);
        if let Some(nan) = self.propagated::<F>(x, x) {
            return nan;
        }
        if is_zero::<F>(x) || x == F::INFINITY {
            return x;
        }
        if x & F::SIGN != 0 {
            self.found |= INVALID;
            return F::DEFAULT_NAN;
        }
        self.note_denormal::<F>(x);
        let nearest = F::square_root(x);
        // Scaled by an even power so that the exact difference is no denormal.
        let root = soft::<F>(nearest).scalbn(F::SCALE);
        let square = soft::<F>(x).scalbn(2 * F::SCALE);
        let (root, square) =
            if square.is_infinite() { (soft::<F>(nearest), soft::<F>(x)) } else { (root, square) };
        let difference = root.mul_add_r(root, -square, Round::NearestTiesToEven).value;
        if difference.is_zero() {
            return nearest;
        }
        self.found |= PRECISION;
        match self.round {
            Round::TowardNegative | Round::TowardZero if !difference.is_negative() => nearest - 1,
            Round::TowardPositive if difference.is_negative() => nearest + 1,
            _ => nearest,
        }
    }

    /// `MIN` (or `MAX`): the second operand when either is a NaN or both are zero.
    pub fn extreme<F: Format>(&mut self, is_maximum: bool, x: u64, y: u64) -> u64 {
        let (x, y) = (self.operand::<F>(x), self.operand::<F>(y));
        if is_nan::<F>(x) || is_nan::<F>(y) {
            self.found |= INVALID;
            return y;
        }
        self.note_denormal::<F>(x);
        self.note_denormal::<F>(y);
        let takes_first = if is_maximum { F::is_less(y, x) } else { F::is_less(x, y) };
        if takes_first { x } else { y }
    }

    /// Rounds to an integer in the same format.
    pub fn integral<F: Format>(&mut self, x: u64, round: Round, is_silent: bool) -> u64 {
        let x = self.operand::<F>(x);
        if let Some(nan) = self.propagated::<F>(x, x) {
            return nan;
        }
        let value = bits::<F>(soft::<F>(x).round_to_integral(round).value);
        // A zero keeps the sign of what it was rounded from.
        let value = if is_zero::<F>(value) { x & F::SIGN } else { value };
        if value != x && !is_silent {
            self.found |= PRECISION;
        }
        value
    }

    /// An approximate reciprocal, or one of the square root, to 12 bits; sets no flags.
    pub fn approximate(x: u32, is_root: bool) -> u32 {
        const SIGN: u32 = 1 << 31;
        let wide = u64::from(x);
        if is_nan::<super::format::Single>(wide) {
            return x | 1 << 22;
        }
        // Denormals count as zero.
        if wide & <super::format::Single as Layout>::INFINITY == 0 {
            return x & SIGN | f32::INFINITY.to_bits();
        }
        if is_root && x & SIGN != 0 {
            return <super::format::Single as Layout>::DEFAULT_NAN as u32;
        }
        let value = f64::from(f32::from_bits(x));
        let exact = if is_root { 1.0 / value.sqrt() } else { 1.0 / value };
        let result = (exact as f32).to_bits();
        // Keep the 12 leading bits of the fraction, rounded; tiny results become zero.
        let rounded = result.wrapping_add(1 << 10) & !0x7ff;
        if is_normal::<super::format::Single>(u64::from(rounded)) { rounded } else { x & SIGN }
    }
}
