//! Floating point with 128 bits of significand: the intermediate results of the transcendental instructions.

use super::float80::{BIAS, Environment, Float80};
use std::cmp::Ordering;

/// `±mantissa × 2^(exponent − 127)`; the mantissa has its top bit set, or is zero.
///
/// Results are truncated: some 2^-126 of them is lost, far below the last place of an 80-bit value.
#[derive(Clone, Copy, Debug)]
pub struct Wide {
    is_negative: bool,
    exponent: i32,
    mantissa: u128,
}

impl Wide {
    /// 1.
    pub const ONE: Self = Self::new(0, 1 << 127);
    /// π.
    pub const PI: Self = Self::new(1, 0xc90f_daa2_2168_c234_c4c6_628b_80dc_1cd1);
    /// The natural logarithm of 2.
    pub const LN_2: Self = Self::new(-1, 0xb172_17f7_d1cf_79ab_c9e3_b398_03f2_f6af);
    /// The logarithm of e to the base 2.
    pub const LOG2_E: Self = Self::new(0, 0xb8aa_3b29_5c17_f0bb_be87_fed0_691d_3e89);
    /// The square root of 2.
    pub const SQRT_2: Self = Self::new(0, 0xb504_f333_f9de_6484_597d_89b3_754a_be9f);

    const ZERO: Self = Self::new(0, 0);

    const fn new(exponent: i32, mantissa: u128) -> Self {
        Self { is_negative: false, exponent, mantissa }
    }

    /// An integer scaled by a power of two.
    pub fn from_scaled(is_negative: bool, magnitude: u128, scale: i32) -> Self {
        if magnitude == 0 {
            return Self::ZERO;
        }
        let shift = magnitude.leading_zeros();
        Self { is_negative, exponent: scale + 127 - shift as i32, mantissa: magnitude << shift }
    }

    /// A finite 80-bit value.
    pub fn from_float(value: Float80) -> Self {
        if value.mantissa == 0 {
            return Self::ZERO;
        }
        let (exponent, mantissa) = value.normalized();
        Self {
            is_negative: value.is_negative(),
            exponent: exponent - BIAS,
            mantissa: u128::from(mantissa) << 64,
        }
    }

    /// A small integer.
    pub fn from_integer(value: i32) -> Self {
        Self::from_scaled(value < 0, u128::from(value.unsigned_abs()), 0)
    }

    /// Rounds to 64 bits by the environment's rounding mode, as a result that is never exact.
    pub fn round(self, environment: &mut Environment) -> Float80 {
        if self.mantissa == 0 {
            return Float80::zero(self.is_negative);
        }
        let mut full = environment.with_full_precision();
        let (high, low) = ((self.mantissa >> 64) as u64, self.mantissa as u64);
        let result = full.round(self.is_negative, self.exponent + BIAS, high, low | 1);
        environment.flags = full.flags;
        result
    }

    /// The binary exponent of a value that is not zero.
    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// Whether the value is zero.
    pub fn is_zero(self) -> bool {
        self.mantissa == 0
    }

    /// The value with its sign turned.
    pub fn negated(self) -> Self {
        Self { is_negative: !self.is_negative, ..self }
    }

    /// The value with the sign given.
    pub fn with_sign(self, is_negative: bool) -> Self {
        Self { is_negative, ..self }
    }

    /// The value times a power of two.
    pub fn scaled(self, power: i32) -> Self {
        Self { exponent: self.exponent + power, ..self }
    }

    /// Compares magnitudes.
    pub fn magnitude_order(self, other: Self) -> Ordering {
        match (self.mantissa, other.mantissa) {
            (0, 0) => Ordering::Equal,
            (0, _) => Ordering::Less,
            (_, 0) => Ordering::Greater,
            _ => (self.exponent, self.mantissa).cmp(&(other.exponent, other.mantissa)),
        }
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Self {
        let (large, small) = match self.magnitude_order(other) {
            Ordering::Less => (other, self),
            _ => (self, other),
        };
        if small.mantissa == 0 {
            return large;
        }
        let distance = (large.exponent - small.exponent) as u32;
        let aligned = small.mantissa.checked_shr(distance).unwrap_or(0);
        if large.is_negative == small.is_negative {
            let (sum, is_carry) = large.mantissa.overflowing_add(aligned);
            return if is_carry {
                Self { exponent: large.exponent + 1, mantissa: sum >> 1 | 1 << 127, ..large }
            } else {
                Self { mantissa: sum, ..large }
            };
        }
        // What was shifted out counts as a whole last place, so that the difference is truncated too.
        let is_cut = aligned.checked_shl(distance) != Some(small.mantissa);
        let difference = large.mantissa - aligned - u128::from(is_cut);
        Self::from_scaled(large.is_negative, difference, large.exponent - 127)
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    /// The product.
    pub fn times(self, other: Self) -> Self {
        if self.mantissa == 0 || other.mantissa == 0 {
            return Self::ZERO;
        }
        let (high, low) = multiply_wide(self.mantissa, other.mantissa);
        let is_negative = self.is_negative != other.is_negative;
        let exponent = self.exponent + other.exponent;
        if high >> 127 != 0 {
            Self { is_negative, exponent: exponent + 1, mantissa: high }
        } else {
            Self { is_negative, exponent, mantissa: high << 1 | low >> 127 }
        }
    }

    /// The quotient; the divisor is not zero.
    pub fn over(self, other: Self) -> Self {
        if self.mantissa == 0 || other.mantissa == 0 {
            return Self::ZERO;
        }
        let divisor = other.mantissa;
        let mut exponent = self.exponent - other.exponent;
        let mut quotient = 0u128;
        // The first bit is set because the dividend is not below the divisor.
        let (mut rest, mut is_over) = if self.mantissa >= divisor {
            (self.mantissa, false)
        } else {
            exponent -= 1;
            (self.mantissa << 1, true)
        };
        for _ in 0..128 {
            quotient <<= 1;
            if is_over || rest >= divisor {
                rest = rest.wrapping_sub(divisor);
                quotient |= 1;
            }
            is_over = rest >> 127 != 0;
            rest <<= 1;
        }
        Self { is_negative: self.is_negative != other.is_negative, exponent, mantissa: quotient }
    }

    /// The quotient by a small integer, which is not zero.
    pub fn over_small(self, divisor: u32) -> Self {
        let divisor = u128::from(divisor.max(1));
        let (quotient, rest) = (self.mantissa / divisor, self.mantissa % divisor);
        let shift = quotient.leading_zeros().min(64);
        let filled = (rest << shift) / divisor;
        Self {
            mantissa: quotient << shift | filled,
            exponent: self.exponent - shift as i32,
            is_negative: self.is_negative,
        }
    }
}

/// The 256-bit product: its high and low halves.
fn multiply_wide(a: u128, b: u128) -> (u128, u128) {
    const LOW: u128 = u64::MAX as u128;
    let (a_high, a_low, b_high, b_low) = (a >> 64, a & LOW, b >> 64, b & LOW);
    let low = a_low * b_low;
    let (middle, is_carry) = (a_high * b_low).overflowing_add(a_low * b_high);
    let (low, is_low_carry) = low.overflowing_add(middle << 64);
    let high = a_high * b_high + (middle >> 64) + (u128::from(is_carry) << 64) + u128::from(is_low_carry);
    (high, low)
}
