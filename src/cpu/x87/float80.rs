//! The double extended-precision format (SDM vol. 1 4.2.2) and how results are rounded to it.

use super::state::{C1, DENORMAL, INVALID, OVERFLOW, PRECISION, UNDERFLOW, ZERO_DIVIDE};

/// An 80-bit floating-point value as its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(C)]
pub struct Float80 {
    /// The significand with its explicit integer bit 63.
    pub mantissa: u64,
    /// The sign at bit 15 and the biased exponent.
    pub sign_exponent: u16,
}

/// What the bits of a value stand for (SDM vol. 1 table 4-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// ±0.
    Zero,
    /// Denormals and pseudo-denormals.
    Denormal,
    /// Normalized finite values.
    Normal,
    /// ±∞.
    Infinity,
    /// A quiet NaN.
    Quiet,
    /// A signaling NaN.
    Signaling,
    /// Pseudo-NaNs, pseudo-infinities and unnormals: invalid operands.
    Unsupported,
}

/// The bias of the exponent.
pub const BIAS: i32 = 0x3fff;
/// The exponent of infinities and NaNs.
pub const EXPONENT_MAX: u16 = 0x7fff;
/// The integer bit of the significand.
pub const INTEGER_BIT: u64 = 1 << 63;
const QUIET_BIT: u64 = 1 << 62;
/// What an unmasked overflow takes off the exponent, and an unmasked underflow adds (SDM vol. 1 8.5.4).
const EXPONENT_ADJUSTMENT: i32 = 0x6000;

impl Float80 {
    /// +0.
    pub const ZERO: Self = Self::new(false, 0, 0);
    /// 1.0.
    pub const ONE: Self = Self::new(false, 0x3fff, INTEGER_BIT);
    /// The quiet NaN that masked invalid operations give.
    pub const INDEFINITE: Self = Self::new(true, EXPONENT_MAX, INTEGER_BIT | QUIET_BIT);

    /// Puts the parts together.
    #[inline(always)]
    pub const fn new(is_negative: bool, exponent: u16, mantissa: u64) -> Self {
        Self { mantissa, sign_exponent: (is_negative as u16) << 15 | exponent }
    }

    /// ±0.
    pub const fn zero(is_negative: bool) -> Self {
        Self::new(is_negative, 0, 0)
    }

    /// ±∞.
    pub const fn infinity(is_negative: bool) -> Self {
        Self::new(is_negative, EXPONENT_MAX, INTEGER_BIT)
    }

    /// The biased exponent.
    #[inline(always)]
    pub const fn exponent(self) -> u16 {
        self.sign_exponent & 0x7fff
    }

    /// The sign bit.
    #[inline(always)]
    pub const fn is_negative(self) -> bool {
        self.sign_exponent >> 15 != 0
    }

    /// The value with the sign bit turned.
    pub const fn negated(self) -> Self {
        Self { sign_exponent: self.sign_exponent ^ 0x8000, ..self }
    }

    /// The value with the sign bit given.
    pub const fn with_sign(self, is_negative: bool) -> Self {
        Self::new(is_negative, self.exponent(), self.mantissa)
    }

    /// Whether the value is finite, normalized and not zero: the fast cases.
    #[inline(always)]
    pub const fn is_normal(self) -> bool {
        self.mantissa >> 63 != 0 && self.exponent().wrapping_sub(1) < EXPONENT_MAX - 1
    }

    /// What the bits stand for.
    pub const fn class(self) -> Class {
        let has_integer_bit = self.mantissa & INTEGER_BIT != 0;
        match self.exponent() {
            0 if self.mantissa == 0 => Class::Zero,
            0 => Class::Denormal,
            _ if !has_integer_bit => Class::Unsupported,
            EXPONENT_MAX if self.mantissa == INTEGER_BIT => Class::Infinity,
            EXPONENT_MAX if self.mantissa & QUIET_BIT != 0 => Class::Quiet,
            EXPONENT_MAX => Class::Signaling,
            _ => Class::Normal,
        }
    }

    /// The exponent (that of denormals is 1) and the significand, shifted up until its integer bit is set.
    /// The value must be finite and not zero.
    pub const fn normalized(self) -> (i32, u64) {
        let exponent = if self.exponent() == 0 { 1 } else { self.exponent() as i32 };
        let shift = self.mantissa.leading_zeros();
        (exponent - shift as i32, self.mantissa << (shift & 63))
    }

    /// A pseudo-denormal as the normal value that it is; others as they are.
    pub fn without_pseudo_denormal(self) -> Self {
        Self::new(self.is_negative(), self.exponent().max((self.mantissa >> 63) as u16), self.mantissa)
    }

    const fn quieted(self) -> Self {
        Self { mantissa: self.mantissa | QUIET_BIT, ..self }
    }
}

/// How results are rounded: RC of the control word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    /// Toward −∞.
    Down,
    /// Toward +∞.
    Up,
    /// Toward zero.
    Zero,
}

/// The control word that an operation obeys and the flags that it raises.
///
/// Operations give `None` when an unmasked exception keeps them from delivering a result.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    control: u16,
    /// The exceptions raised, and C1 when the result was rounded away from zero; bits of the status word.
    pub flags: u16,
    /// The memory operand was a denormal of its own format, though as an 80-bit value it is normalized.
    pub has_denormal_source: bool,
}

impl Environment {
    /// An environment without flags.
    #[inline(always)]
    pub const fn new(control: u16) -> Self {
        Self { control, flags: 0, has_denormal_source: false }
    }

    /// The environment with PC set to 64 bits, for the operations that do not obey it.
    pub const fn with_full_precision(self) -> Self {
        Self { control: self.control | 0x300, ..self }
    }

    /// The environment that truncates, for `FISTTP`.
    pub const fn with_truncation(self) -> Self {
        Self { control: self.control | 0xc00, ..self }
    }

    /// The rounding mode.
    #[inline(always)]
    pub const fn rounding(&self) -> Rounding {
        match self.control >> 10 & 3 {
            0 => Rounding::Nearest,
            1 => Rounding::Down,
            2 => Rounding::Up,
            _ => Rounding::Zero,
        }
    }

    /// How many bits of the significand PC drops.
    #[inline(always)]
    const fn dropped_bits(&self) -> u32 {
        match self.control >> 8 & 3 {
            0 => 40,
            2 => 11,
            _ => 0,
        }
    }

    /// Whether the exception is masked.
    #[inline(always)]
    pub const fn is_masked(&self, exception: u16) -> bool {
        self.control & exception != 0
    }

    /// Raises an exception; `None` when it is not masked.
    pub const fn raise(&mut self, exception: u16) -> Option<()> {
        self.flags |= exception;
        if self.is_masked(exception) { Some(()) } else { None }
    }

    /// Raises an invalid operation; the masked response is the indefinite NaN.
    pub const fn invalid(&mut self) -> Option<Float80> {
        match self.raise(INVALID) {
            Some(()) => Some(Float80::INDEFINITE),
            None => None,
        }
    }

    /// Raises a division by zero; the masked response is an infinity.
    pub const fn divide_by_zero(&mut self, is_negative: bool) -> Option<Float80> {
        match self.raise(ZERO_DIVIDE) {
            Some(()) => Some(Float80::infinity(is_negative)),
            None => None,
        }
    }

    /// Raises the denormal exception if one of the operands is one.
    pub fn check_denormals(&mut self, operands: &[Float80]) -> Option<()> {
        let is_denormal = |operand: &Float80| operand.class() == Class::Denormal;
        if self.has_denormal_source || operands.iter().any(is_denormal) {
            return self.raise(DENORMAL);
        }
        Some(())
    }

    /// The result when one of two operands is a NaN or unsupported (SDM vol. 1 table 4-7).
    pub fn nan_outcome(&mut self, a: Float80, b: Float80) -> Option<Option<Float80>> {
        use Class::{Quiet, Signaling, Unsupported};
        let classes = (a.class(), b.class());
        let is_nan = |class| matches!(class, Quiet | Signaling);
        if classes.0 == Unsupported || classes.1 == Unsupported {
            return Some(self.invalid());
        }
        if !is_nan(classes.0) && !is_nan(classes.1) {
            return None;
        }
        if (classes.0 == Signaling || classes.1 == Signaling) && self.raise(INVALID).is_none() {
            return Some(None);
        }
        let chosen = match classes {
            (Quiet, Signaling) => a,
            (Signaling, Quiet) => b,
            (first, second) if is_nan(first) && is_nan(second) => match a.mantissa.cmp(&b.mantissa) {
                std::cmp::Ordering::Less => b,
                std::cmp::Ordering::Greater => a,
                std::cmp::Ordering::Equal if a.is_negative() => b,
                std::cmp::Ordering::Equal => a,
            },
            (first, _) if is_nan(first) => a,
            _ => b,
        };
        Some(Some(chosen.quieted()))
    }

    /// The result of a one-operand operation on a NaN or unsupported value.
    pub fn nan_outcome_of(&mut self, a: Float80) -> Option<Option<Float80>> {
        self.nan_outcome(a, a)
    }

    /// Whether a magnitude with `fraction` (as a part of 2^64) below its last place rounds up.
    #[inline(always)]
    pub const fn rounds_up(&self, is_negative: bool, is_odd: bool, fraction: u64) -> bool {
        match self.rounding() {
            Rounding::Nearest => fraction > INTEGER_BIT || fraction == INTEGER_BIT && is_odd,
            Rounding::Down => is_negative && fraction != 0,
            Rounding::Up => !is_negative && fraction != 0,
            Rounding::Zero => false,
        }
    }

    /// Rounds `high.low × 2^(exponent − BIAS)` to the precision of the control word.
    ///
    /// `high` has its integer bit set; `low` are the bits below it, of which the lowest may be sticky.
    #[inline]
    pub fn round(&mut self, is_negative: bool, exponent: i32, high: u64, low: u64) -> Float80 {
        let dropped = self.dropped_bits();
        let (kept, fraction) = split(high, low, dropped);
        let place = 1 << dropped;
        let is_up = self.rounds_up(is_negative, kept & place != 0, fraction);
        // The last exponents of either end are left to the slow path: rounding may step over the end.
        if exponent > 0 && exponent < 0x7ffe {
            if fraction != 0 {
                self.flags |= PRECISION | if is_up { C1 } else { 0 };
            }
            let (mantissa, is_carry) = kept.overflowing_add(if is_up { place } else { 0 });
            if is_carry {
                return Float80::new(is_negative, exponent as u16 + 1, INTEGER_BIT);
            }
            return Float80::new(is_negative, exponent as u16, mantissa);
        }
        self.round_extreme(is_negative, exponent, high, low)
    }

    #[cold]
    fn round_extreme(&mut self, is_negative: bool, mut exponent: i32, high: u64, low: u64) -> Float80 {
        let dropped = self.dropped_bits();
        let place = 1u64 << dropped;
        let (kept, fraction) = split(high, low, dropped);
        let is_up = self.rounds_up(is_negative, kept & place != 0, fraction);
        let (mut mantissa, is_carry) = kept.overflowing_add(if is_up { place } else { 0 });
        let unrounded_exponent = exponent;
        if is_carry {
            mantissa = INTEGER_BIT;
            exponent += 1;
        }
        if exponent <= 0 && self.is_masked(UNDERFLOW) {
            return self.round_denormal(is_negative, unrounded_exponent, high, low);
        }
        if exponent <= 0 {
            self.flags |= UNDERFLOW;
            exponent += EXPONENT_ADJUSTMENT;
            if exponent <= 0 {
                // Only FSCALE gets here.
                self.flags |= PRECISION;
                return Float80::zero(is_negative);
            }
        } else if exponent >= i32::from(EXPONENT_MAX) {
            self.flags |= OVERFLOW;
            if self.is_masked(OVERFLOW) {
                return self.overflow_response(is_negative);
            }
            exponent -= EXPONENT_ADJUSTMENT;
            if exponent >= i32::from(EXPONENT_MAX) {
                self.flags |= PRECISION | C1;
                return Float80::infinity(is_negative);
            }
        }
        if fraction != 0 {
            self.flags |= PRECISION | if is_up { C1 } else { 0 };
        }
        Float80::new(is_negative, exponent as u16, mantissa)
    }

    /// The masked response to an underflow. Tininess is detected after rounding.
    fn round_denormal(&mut self, is_negative: bool, exponent: i32, high: u64, low: u64) -> Float80 {
        let dropped = self.dropped_bits();
        let place = 1u64 << dropped;
        let wide = shift_right_sticky(u128::from(high) << 64 | u128::from(low), (1 - exponent) as u32);
        let (kept, fraction) = split((wide >> 64) as u64, wide as u64, dropped);
        let is_up = self.rounds_up(is_negative, kept & place != 0, fraction);
        // A significand that is rounded up to its integer bit has the exponent 1.
        let mantissa = kept.wrapping_add(if is_up { place } else { 0 });
        if fraction != 0 {
            self.flags |= UNDERFLOW | PRECISION | if is_up { C1 } else { 0 };
        }
        Float80::new(is_negative, (mantissa >> 63) as u16, mantissa)
    }

    /// Whether the masked response to an overflow is an infinity rather than the largest finite value.
    pub const fn overflows_to_infinity(&self, is_negative: bool) -> bool {
        match self.rounding() {
            Rounding::Nearest => true,
            Rounding::Down => is_negative,
            Rounding::Up => !is_negative,
            Rounding::Zero => false,
        }
    }

    fn overflow_response(&mut self, is_negative: bool) -> Float80 {
        self.flags |= PRECISION;
        if self.overflows_to_infinity(is_negative) {
            self.flags |= C1;
            return Float80::infinity(is_negative);
        }
        Float80::new(is_negative, EXPONENT_MAX - 1, u64::MAX << self.dropped_bits())
    }
}

/// Cuts `dropped` bits off `high`; what is below becomes a part of 2^64 with a sticky lowest bit.
#[inline(always)]
pub const fn split(high: u64, low: u64, dropped: u32) -> (u64, u64) {
    if dropped == 0 {
        return (high, low);
    }
    (high >> dropped << dropped, high << (64 - dropped) | (low != 0) as u64)
}

/// Shifts right; the lowest bit becomes set when a set bit is shifted out.
#[inline(always)]
pub const fn shift_right_sticky(value: u128, count: u32) -> u128 {
    if count == 0 {
        value
    } else if count > 127 {
        (value != 0) as u128
    } else {
        value >> count | (value << (128 - count) != 0) as u128
    }
}
