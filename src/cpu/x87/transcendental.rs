//! FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X, FYL2XP1 (SDM vol. 1 8.3.7 to 8.3.10, vol. 2).
//!
//! Computed with [`Wide`] and rounded once: well within the one unit in the last place that the manual
//! promises of the hardware.

use super::arithmetic::multiply_finite;
use super::convert::from_integer;
use super::float80::{BIAS, Class, Environment, Float80, INTEGER_BIT};
use super::state::{PRECISION, UNDERFLOW};
use super::wide::Wide;
use std::cmp::Ordering;

/// An argument of the trigonometric functions, reduced to a quarter turn.
struct Angle {
    /// The rest, at most π/4 in magnitude.
    rest: Wide,
    /// Quarter turns taken off, modulo 4.
    quarters: u8,
}

/// π/2 as the hardware has it for argument reduction: 66 bits of π, times 2^-67 (SDM vol. 1 8.3.8).
const HALF_PI_66: u128 = 0xc_90fd_aa22_168c_234c;

impl Angle {
    /// Reduces the magnitude of a value below 2^63, not zero.
    fn of(value: Float80) -> Self {
        let (biased, mantissa) = value.normalized();
        let exponent = biased - BIAS;
        if exponent < -1 {
            return Self { rest: Wide::from_float(value.with_sign(false)), quarters: 0 };
        }
        // In units of 2^-67: value = mantissa × 2^(exponent + 4), divided in steps that fit 128 bits.
        let mut rest = u128::from(mantissa);
        let mut quarters = 0u128;
        let mut left = exponent + 4;
        while left > 0 {
            let step = left.min(59);
            rest <<= step;
            quarters = (quarters << step) | (rest / HALF_PI_66);
            rest %= HALF_PI_66;
            left -= step;
        }
        let is_over = 2 * rest > HALF_PI_66;
        if is_over {
            rest = HALF_PI_66 - rest;
            quarters += 1;
        }
        Self { rest: Wide::from_scaled(is_over, rest, -67), quarters: quarters as u8 & 3 }
    }

    /// The sine of the whole angle.
    fn sine(&self) -> Wide {
        let magnitude = if self.quarters & 1 == 0 { sine(self.rest) } else { cosine(self.rest) };
        if self.quarters & 2 == 0 { magnitude } else { magnitude.negated() }
    }

    /// The cosine of the whole angle.
    fn cosine(&self) -> Wide {
        let magnitude = if self.quarters & 1 == 0 { cosine(self.rest) } else { sine(self.rest) };
        if matches!(self.quarters, 1 | 2) { magnitude.negated() } else { magnitude }
    }
}

/// Terms of the sine and cosine series: (π/4)^34 / 34! is below 2^-138.
const TRIGONOMETRIC_TERMS: u32 = 16;

/// `1 − s/(k(k+1)) × (1 − s/((k+2)(k+3)) × (…))` with the square `s` of the angle.
fn alternating_series(square: Wide, first: u32) -> Wide {
    (0..TRIGONOMETRIC_TERMS).rev().fold(Wide::ONE, |sum, term| {
        let place = first + 2 * term;
        Wide::ONE.minus(square.times(sum).over_small(place * (place + 1)))
    })
}

fn sine(angle: Wide) -> Wide {
    angle.times(alternating_series(angle.times(angle), 2))
}

fn cosine(angle: Wide) -> Wide {
    alternating_series(angle.times(angle), 1)
}

/// What a trigonometric instruction gives.
pub enum Trigonometric<T> {
    /// The result.
    Done(T),
    /// The operand's magnitude is 2^63 or more: C2 is set, nothing else changes.
    OutOfRange,
    /// An unmasked exception.
    Fault,
}

impl<T> From<Option<T>> for Trigonometric<T> {
    fn from(result: Option<T>) -> Self {
        result.map_or(Self::Fault, Self::Done)
    }
}

/// The frame of the trigonometric instructions: `of_nan` and `of_zero` make the results of NaNs and zeros.
fn trigonometric<T>(
    environment: &mut Environment,
    value: Float80,
    of_nan: impl FnOnce(Float80) -> T,
    of_zero: impl FnOnce(Float80) -> T,
    compute: impl FnOnce(&mut Environment, Angle, bool) -> T,
) -> Trigonometric<T> {
    if let Some(outcome) = environment.nan_outcome_of(value) {
        return outcome.map(of_nan).into();
    }
    match value.class() {
        Class::Infinity => environment.invalid().map(of_nan).into(),
        Class::Zero => Trigonometric::Done(of_zero(value)),
        _ if i32::from(value.exponent()) >= BIAS + 63 => Trigonometric::OutOfRange,
        _ => {
            if environment.check_denormals(&[value]).is_none() {
                return Trigonometric::Fault;
            }
            Trigonometric::Done(compute(environment, Angle::of(value), value.is_negative()))
        }
    }
}

/// The sine of an angle of the value's magnitude.
fn rounded_sine(environment: &mut Environment, value: Float80, angle: &Angle) -> Float80 {
    if i32::from(value.exponent()) >= BIAS - 64 {
        let sine = angle.sine();
        return signed(sine, value.is_negative()).round(environment);
    }
    // Far closer to the angle than the last place: the hardware gives the angle in every rounding mode.
    let mut full = environment.with_full_precision();
    let (exponent, mantissa) = value.normalized();
    let sine = full.round(value.is_negative(), exponent, mantissa, 0);
    environment.flags = full.flags | PRECISION | if exponent <= 0 { UNDERFLOW } else { 0 };
    sine
}

/// `FSIN`.
pub fn fsin(environment: &mut Environment, value: Float80) -> Trigonometric<Float80> {
    trigonometric(
        environment,
        value,
        |nan| nan,
        |zero| zero,
        |environment, angle, _| rounded_sine(environment, value, &angle),
    )
}

/// `FCOS`.
pub fn fcos(environment: &mut Environment, value: Float80) -> Trigonometric<Float80> {
    trigonometric(
        environment,
        value,
        |nan| nan,
        |_| Float80::ONE,
        |environment, angle, _| angle.cosine().round(environment),
    )
}

/// `FSINCOS`: the sine, and the cosine to push.
pub fn fsincos(environment: &mut Environment, value: Float80) -> Trigonometric<(Float80, Float80)> {
    trigonometric(
        environment,
        value,
        |nan| (nan, nan),
        |zero| (zero, Float80::ONE),
        |environment, angle, _| {
            let sine = rounded_sine(environment, value, &angle);
            (sine, angle.cosine().round(environment))
        },
    )
}

/// `FPTAN`: the tangent, and 1 to push.
pub fn fptan(environment: &mut Environment, value: Float80) -> Trigonometric<(Float80, Float80)> {
    trigonometric(
        environment,
        value,
        |nan| (nan, nan),
        |zero| (zero, Float80::ONE),
        |environment, angle, is_negative| {
            let tangent = angle.sine().over(angle.cosine());
            (signed(tangent, is_negative).round(environment), Float80::ONE)
        },
    )
}

/// An odd function's value for the magnitude, as that for the argument.
fn signed(of_magnitude: Wide, is_negative: bool) -> Wide {
    if is_negative { of_magnitude.negated() } else { of_magnitude }
}

/// `FPATAN`: the angle of the point (`x`, `y`).
pub fn fpatan(environment: &mut Environment, y: Float80, x: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome(y, x) {
        return outcome;
    }
    environment.check_denormals(&[x, y])?;
    let is_left = x.is_negative();
    // The angle as so many eighths of a turn where no arctangent is needed.
    let eighths = match (y.class(), x.class()) {
        (Class::Zero, _) if !is_left => return Some(y),
        (Class::Zero, _) => Some(4),
        (Class::Infinity, Class::Infinity) => Some(if is_left { 3 } else { 1 }),
        (Class::Infinity, _) | (_, Class::Zero) => Some(2),
        (_, Class::Infinity) if !is_left => return Some(Float80::zero(y.is_negative())),
        (_, Class::Infinity) => Some(4),
        _ => None,
    };
    let angle = match eighths {
        Some(eighths) => Wide::PI.times(Wide::from_integer(eighths)).scaled(-2),
        None => {
            let (y, x) = (Wide::from_float(y.with_sign(false)), Wide::from_float(x.with_sign(false)));
            let half_pi = Wide::PI.scaled(-1);
            let first_quadrant = match y.magnitude_order(x) {
                Ordering::Greater => half_pi.minus(arctangent(x.over(y))),
                _ => arctangent(y.over(x)),
            };
            if is_left { Wide::PI.minus(first_quadrant) } else { first_quadrant }
        }
    };
    Some(angle.with_sign(y.is_negative()).round(environment))
}

/// The arctangent of a value from 0 to 1.
fn arctangent(ratio: Wide) -> Wide {
    // Above √2 − 1 an eighth of a turn is taken off, so that the series ends soon.
    let is_steep = ratio.exponent() >= -1;
    let reduced = if is_steep { ratio.minus(Wide::ONE).over(ratio.plus(Wide::ONE)) } else { ratio };
    let arctangent = odd_series(reduced, true);
    if is_steep { Wide::PI.scaled(-2).plus(arctangent) } else { arctangent }
}

/// `z ± z³/3 + z⁵/5 ± …` for a magnitude of at most 1/2: the arctangent with alternating signs, else the
/// hyperbolic one.
fn odd_series(z: Wide, alternates: bool) -> Wide {
    if z.is_zero() {
        return z;
    }
    let square = z.times(z);
    let square = if alternates { square.negated() } else { square };
    let bits_a_term = (-square.exponent() - 1).max(1) as u32;
    let terms = 130 / bits_a_term + 1;
    // From the last term on: sum = 1/(2n+1) + square × sum.
    let sum = (0..=terms)
        .rev()
        .fold(Wide::from_integer(0), |sum, term| Wide::ONE.over_small(2 * term + 1).plus(square.times(sum)));
    z.times(sum)
}

/// Terms of the exponential series: (ln 2)^34 / 34! is below 2^-142.
const EXPONENTIAL_TERMS: u32 = 34;

/// `F2XM1`: 2^x − 1 for a magnitude of at most 1; the manual leaves larger ones undefined.
pub fn f2xm1(environment: &mut Environment, value: Float80) -> Option<Float80> {
    const MINUS_HALF: Float80 = Float80::new(true, BIAS as u16 - 1, INTEGER_BIT);
    if let Some(outcome) = environment.nan_outcome_of(value) {
        return outcome;
    }
    match value.class() {
        Class::Zero => return Some(value),
        Class::Infinity if value.is_negative() => return Some(Float80::ONE.negated()),
        Class::Infinity => return Some(value),
        _ => environment.check_denormals(&[value])?,
    }
    if value.with_sign(false) == Float80::ONE {
        environment.flags |= PRECISION;
        return Some(if value.is_negative() { MINUS_HALF } else { value });
    }
    if i32::from(value.exponent()) >= BIAS {
        // What the hardware gives outside the range.
        environment.flags |= PRECISION;
        return Some(value);
    }
    let power = Wide::from_float(value).times(Wide::LN_2);
    let series = (2..=EXPONENTIAL_TERMS)
        .rev()
        .fold(Wide::ONE, |sum, term| Wide::ONE.plus(power.times(sum).over_small(term)));
    Some(power.times(series).round(environment))
}

/// The logarithm to the base 2 of a value that is positive and not zero.
fn binary_logarithm(value: Wide) -> Wide {
    // value = significand × 2^exponent with a significand from √½ to √2.
    let mut exponent = value.exponent();
    let mut significand = value.scaled(-exponent);
    if significand.magnitude_order(Wide::SQRT_2) == Ordering::Greater {
        significand = significand.scaled(-1);
        exponent += 1;
    }
    let ratio = significand.minus(Wide::ONE).over(significand.plus(Wide::ONE));
    logarithm_of_ratio(ratio).plus(Wide::from_integer(exponent))
}

/// log2((1 + z) / (1 − z)).
fn logarithm_of_ratio(z: Wide) -> Wide {
    odd_series(z, false).scaled(1).times(Wide::LOG2_E)
}

/// `FYL2X`: y × log2(x).
pub fn fyl2x(environment: &mut Environment, y: Float80, x: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome(y, x) {
        return outcome;
    }
    if x.is_negative() && x.class() != Class::Zero {
        return environment.invalid();
    }
    let is_below_one = x.exponent() < BIAS as u16;
    let is_negative = y.is_negative() != is_below_one;
    match (y.class(), x.class()) {
        (Class::Zero, Class::Zero | Class::Infinity) => environment.invalid(),
        (Class::Infinity, _) if x == Float80::ONE => environment.invalid(),
        (Class::Infinity, _) | (_, Class::Infinity) => {
            environment.check_denormals(&[x, y])?;
            Some(Float80::infinity(is_negative))
        }
        (_, Class::Zero) => environment.divide_by_zero(is_negative),
        (Class::Zero, _) => {
            environment.check_denormals(&[x])?;
            Some(Float80::zero(is_negative))
        }
        _ => {
            environment.check_denormals(&[x, y])?;
            let power = exact_power_of_two(x);
            product(environment, y, binary_logarithm(Wide::from_float(x)), power)
        }
    }
}

/// The exponent when the value is a power of two: then the logarithm is an integer.
fn exact_power_of_two(value: Float80) -> Option<i32> {
    let (exponent, mantissa) = value.normalized();
    (mantissa == INTEGER_BIT).then_some(exponent - BIAS)
}

/// `y` times a logarithm; an integer one may give an exact product.
fn product(
    environment: &mut Environment,
    y: Float80,
    logarithm: Wide,
    integer: Option<i32>,
) -> Option<Float80> {
    match integer {
        Some(0) => Some(Float80::zero(y.is_negative())),
        Some(integer) => {
            let factor = from_integer(i64::from(integer));
            let mut full = environment.with_full_precision();
            let result = multiply_finite(&mut full, y, factor);
            // The hardware calls these inexact too.
            environment.flags = full.flags | PRECISION;
            Some(result)
        }
        None => Some(Wide::from_float(y).times(logarithm).round(environment)),
    }
}

/// `FYL2XP1`: y × log2(x + 1). The manual leaves it undefined outside ±(1 − √½); from −1 down the result is x,
/// as the hardware has it.
pub fn fyl2xp1(environment: &mut Environment, y: Float80, x: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome(y, x) {
        return outcome;
    }
    let is_negative = y.is_negative() != x.is_negative();
    match (y.class(), x.class()) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => environment.invalid(),
        (_, Class::Infinity) if x.is_negative() => environment.invalid(),
        (Class::Infinity, _) | (_, Class::Infinity) => {
            environment.check_denormals(&[x, y])?;
            Some(Float80::infinity(is_negative))
        }
        (Class::Zero, _) | (_, Class::Zero) => {
            environment.check_denormals(&[x, y])?;
            Some(Float80::zero(is_negative))
        }
        _ => {
            environment.check_denormals(&[x, y])?;
            if x.is_negative() && i32::from(x.exponent()) >= BIAS {
                environment.flags |= PRECISION;
                return Some(x);
            }
            let argument = Wide::from_float(x);
            // Near zero the ratio keeps the precision that adding 1 would lose.
            let logarithm = if argument.exponent() < -1 {
                logarithm_of_ratio(argument.over(argument.plus(Wide::from_integer(2))))
            } else {
                binary_logarithm(argument.plus(Wide::ONE))
            };
            Some(Wide::from_float(y).times(logarithm).round(environment))
        }
    }
}
