//! Conversions between the 80-bit format and memory formats (SDM vol. 1 8.3.2, 4.8).

use super::float80::{BIAS, Class, EXPONENT_MAX, Environment, Float80, INTEGER_BIT};
use super::float80::{shift_right_sticky, split};
use super::state::{C1, INVALID, OVERFLOW, PRECISION, UNDERFLOW};

/// A floating-point format of memory operands, narrower than 80 bits.
#[derive(Clone, Copy)]
pub struct Narrow {
    /// Bits of the significand, the implied integer bit among them.
    precision: u32,
    /// Bits of the exponent.
    exponent_bits: u32,
}

impl Narrow {
    /// Single precision.
    pub const SINGLE: Self = Self { precision: 24, exponent_bits: 8 };
    /// Double precision.
    pub const DOUBLE: Self = Self { precision: 53, exponent_bits: 11 };

    const fn exponent_max(self) -> i32 {
        (1 << self.exponent_bits) - 1
    }

    const fn bias(self) -> i32 {
        self.exponent_max() >> 1
    }

    const fn assemble(self, is_negative: bool, exponent: i32, fraction: u64) -> u64 {
        let sign = (is_negative as u64) << (self.precision + self.exponent_bits - 1);
        sign | (exponent as u64) << (self.precision - 1) | fraction & ((1 << (self.precision - 1)) - 1)
    }

    /// The value of the bits of this format, and whether it is a denormal. Signaling NaNs stay so.
    #[inline]
    pub const fn widen(self, bits: u64) -> (Float80, bool) {
        let is_negative = bits >> (self.precision + self.exponent_bits - 1) & 1 != 0;
        let exponent = (bits >> (self.precision - 1)) as i32 & self.exponent_max();
        let fraction = (bits & ((1 << (self.precision - 1)) - 1)) << (64 - self.precision);
        if exponent == self.exponent_max() {
            return (Float80::new(is_negative, EXPONENT_MAX, INTEGER_BIT | fraction), false);
        }
        if exponent != 0 {
            let rebiased = (exponent - self.bias() + BIAS) as u16;
            return (Float80::new(is_negative, rebiased, INTEGER_BIT | fraction), false);
        }
        if fraction == 0 {
            return (Float80::zero(is_negative), false);
        }
        let shift = fraction.leading_zeros();
        let rebiased = (1 - self.bias() + BIAS - shift as i32) as u16;
        (Float80::new(is_negative, rebiased, fraction << shift), true)
    }

    /// The bits of a value in this format; `None` when an unmasked exception forbids the store.
    pub fn convert(self, environment: &mut Environment, value: Float80) -> Option<u64> {
        let is_negative = value.is_negative();
        let dropped = 64 - self.precision;
        match value.class() {
            Class::Zero => Some(self.assemble(is_negative, 0, 0)),
            Class::Infinity => Some(self.assemble(is_negative, self.exponent_max(), 0)),
            Class::Quiet | Class::Signaling | Class::Unsupported => {
                let nan = environment.nan_outcome_of(value)??;
                Some(self.assemble(nan.is_negative(), self.exponent_max(), nan.mantissa >> dropped))
            }
            Class::Normal | Class::Denormal => self.convert_finite(environment, value),
        }
    }

    fn convert_finite(self, environment: &mut Environment, value: Float80) -> Option<u64> {
        let is_negative = value.is_negative();
        let dropped = 64 - self.precision;
        let place = 1u64 << dropped;
        let (exponent, mantissa) = value.normalized();
        let unrounded = exponent - BIAS + self.bias();
        let (kept, fraction) = split(mantissa, 0, dropped);
        let is_up = environment.rounds_up(is_negative, kept & place != 0, fraction);
        let (mut rounded, is_carry) = kept.overflowing_add(if is_up { place } else { 0 });
        let mut exponent = unrounded;
        if is_carry {
            rounded = INTEGER_BIT;
            exponent += 1;
        }
        if exponent <= 0 {
            if !environment.is_masked(UNDERFLOW) {
                environment.flags |= UNDERFLOW;
                return None;
            }
            return Some(self.convert_denormal(environment, is_negative, unrounded, mantissa));
        }
        if exponent >= self.exponent_max() {
            environment.raise(OVERFLOW)?;
            environment.flags |= PRECISION;
            let is_infinite = environment.overflows_to_infinity(is_negative);
            if is_infinite {
                environment.flags |= C1;
                return Some(self.assemble(is_negative, self.exponent_max(), 0));
            }
            return Some(self.assemble(is_negative, self.exponent_max() - 1, u64::MAX));
        }
        if fraction != 0 {
            environment.flags |= PRECISION | if is_up { C1 } else { 0 };
        }
        Some(self.assemble(is_negative, exponent, rounded >> dropped))
    }

    fn convert_denormal(
        self,
        environment: &mut Environment,
        is_negative: bool,
        exponent: i32,
        mantissa: u64,
    ) -> u64 {
        let dropped = 64 - self.precision;
        let place = 1u64 << dropped;
        let wide = shift_right_sticky(u128::from(mantissa) << 64, (1 - exponent) as u32);
        let (kept, fraction) = split((wide >> 64) as u64, wide as u64, dropped);
        let is_up = environment.rounds_up(is_negative, kept & place != 0, fraction);
        let rounded = kept.wrapping_add(if is_up { place } else { 0 });
        if fraction != 0 {
            environment.flags |= UNDERFLOW | PRECISION | if is_up { C1 } else { 0 };
        }
        self.assemble(is_negative, (rounded >> 63) as i32, rounded >> dropped)
    }
}

/// The value of an integer; always exact.
#[inline]
pub const fn from_integer(value: i64) -> Float80 {
    if value == 0 {
        return Float80::ZERO;
    }
    let magnitude = value.unsigned_abs();
    let shift = magnitude.leading_zeros();
    Float80::new(value < 0, (BIAS + 63) as u16 - shift as u16, magnitude << shift)
}

/// The magnitude rounded to an integer, and the flags of that; `None` from 2^64 on. Finite values only.
fn rounded_magnitude(environment: &Environment, value: Float80) -> Option<(u64, u16)> {
    if value.class() == Class::Zero {
        return Some((0, 0));
    }
    let (exponent, mantissa) = value.normalized();
    let distance = BIAS + 63 - exponent;
    if distance < 0 {
        return None;
    }
    let wide = shift_right_sticky(u128::from(mantissa) << 64, distance as u32);
    let (whole, fraction) = ((wide >> 64) as u64, wide as u64);
    let is_up = environment.rounds_up(value.is_negative(), whole & 1 != 0, fraction);
    let magnitude = whole.checked_add(u64::from(is_up))?;
    let flags = if fraction == 0 { 0 } else { PRECISION | if is_up { C1 } else { 0 } };
    Some((magnitude, flags))
}

/// The value as a signed integer of `bits` bits by the environment's rounding mode.
///
/// What does not fit is an invalid operation; its masked response is the most negative integer.
pub fn to_integer(environment: &mut Environment, value: Float80, bits: u32) -> Option<i64> {
    let indefinite = i64::MIN >> (64 - bits);
    let limit = 1u64 << (bits - 1);
    if matches!(value.class(), Class::Zero | Class::Normal | Class::Denormal)
        && let Some((magnitude, flags)) = rounded_magnitude(environment, value)
        && magnitude <= limit - u64::from(!value.is_negative())
    {
        environment.flags |= flags;
        let signed = magnitude as i64;
        return Some(if value.is_negative() { signed.wrapping_neg() } else { signed });
    }
    environment.raise(INVALID).map(|()| indefinite)
}

/// The value rounded to an integer (`FRNDINT`).
pub fn round_to_integer(environment: &mut Environment, value: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome_of(value) {
        return outcome;
    }
    if matches!(value.class(), Class::Zero | Class::Infinity) {
        return Some(value);
    }
    environment.check_denormals(&[value])?;
    match rounded_magnitude(environment, value) {
        _ if i32::from(value.exponent()) >= BIAS + 63 => Some(value),
        Some((magnitude, flags)) => {
            environment.flags |= flags;
            let shift = magnitude.leading_zeros();
            Some(match magnitude {
                0 => Float80::zero(value.is_negative()),
                _ => {
                    let exponent = (BIAS + 63) as u16 - shift as u16;
                    Float80::new(value.is_negative(), exponent, magnitude << shift)
                }
            })
        }
        None => Some(value),
    }
}

/// The value of a packed BCD integer: 18 digits in `digits` and the low byte of `top`, the sign in bit 15
/// of `top`.
pub fn from_bcd(digits: u64, top: u16) -> Float80 {
    let all = u128::from(digits) | u128::from(top & 0xff) << 64;
    let magnitude = (0..18).rev().fold(0i64, |value, place| value * 10 + (all >> (4 * place) & 15) as i64);
    from_integer(magnitude).with_sign(top >> 15 != 0)
}

/// What a masked invalid operation stores as packed BCD.
pub const BCD_INDEFINITE: (u64, u16) = (0xc000_0000_0000_0000, 0xffff);

/// The packed BCD integer nearest to the value: its digits, then two digits and the sign.
pub fn to_bcd(environment: &mut Environment, value: Float80) -> Option<(u64, u16)> {
    const LIMIT: u64 = 1_000_000_000_000_000_000;
    if matches!(value.class(), Class::Zero | Class::Normal | Class::Denormal)
        && let Some((magnitude, flags)) = rounded_magnitude(environment, value)
        && magnitude < LIMIT
    {
        environment.flags |= flags;
        let (mut digits, mut rest) = (0u128, magnitude);
        for place in 0..18 {
            digits |= u128::from(rest % 10) << (4 * place);
            rest /= 10;
        }
        let sign = u16::from(value.is_negative()) << 15;
        return Some((digits as u64, (digits >> 64) as u16 | sign));
    }
    environment.raise(INVALID).map(|()| BCD_INDEFINITE)
}
