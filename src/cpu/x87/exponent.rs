//! Comparison, scaling, extraction of the exponent, and partial remainders (SDM vol. 2 FCOM, FSCALE,
//! FXTRACT, FPREM, FPREM1).

use super::convert::from_integer;
use super::float80::{BIAS, Class, Environment, Float80, INTEGER_BIT};
use super::state::{C0, C1, C2, C3, INVALID};
use std::cmp::Ordering;

/// Compares; `None` is unordered. Quiet NaNs are invalid operands unless `is_quiet`.
///
/// Unmasked exceptions are in the environment's flags: the order is delivered nevertheless, but not a pop.
pub fn compare(environment: &mut Environment, a: Float80, b: Float80, is_quiet: bool) -> Option<Ordering> {
    let is_bad = |class| match class {
        Class::Signaling | Class::Unsupported => true,
        Class::Quiet => !is_quiet,
        _ => false,
    };
    let classes = (a.class(), b.class());
    if is_bad(classes.0) || is_bad(classes.1) {
        environment.flags |= INVALID;
        return None;
    }
    if classes.0 == Class::Quiet || classes.1 == Class::Quiet {
        return None;
    }
    let _is_delivered_anyway = environment.check_denormals(&[a, b]);
    Some(order(a, b))
}

/// The order of values that are not NaNs.
fn order(a: Float80, b: Float80) -> Ordering {
    if a.class() == Class::Zero && b.class() == Class::Zero {
        return Ordering::Equal;
    }
    // A pseudo-denormal has the value that the exponent 1 gives it.
    let magnitude = |value: Float80| {
        let is_pseudo = value.exponent() == 0 && value.mantissa & INTEGER_BIT != 0;
        (value.exponent() + u16::from(is_pseudo), value.mantissa)
    };
    match (a.is_negative(), b.is_negative()) {
        (false, true) => Ordering::Greater,
        (true, false) => Ordering::Less,
        (false, false) => magnitude(a).cmp(&magnitude(b)),
        (true, true) => magnitude(b).cmp(&magnitude(a)),
    }
}

/// `a × 2^(b truncated)`.
pub fn scale(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome(a, b) {
        return outcome;
    }
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) if b.is_negative() => environment.invalid(),
        (Class::Zero, Class::Infinity) if !b.is_negative() => environment.invalid(),
        (Class::Infinity | Class::Zero, _) => environment.check_denormals(&[b]).map(|()| a),
        (_, Class::Infinity) => {
            environment.check_denormals(&[a])?;
            let is_negative = a.is_negative();
            Some(if b.is_negative() { Float80::zero(is_negative) } else { Float80::infinity(is_negative) })
        }
        (_, Class::Zero) => {
            environment.check_denormals(&[a])?;
            Some(a.without_pseudo_denormal())
        }
        _ => {
            environment.check_denormals(&[a, b])?;
            let (exponent, mantissa) = a.normalized();
            let mut full = environment.with_full_precision();
            let result = full.round(a.is_negative(), exponent + truncated_exponent(b), mantissa, 0);
            environment.flags = full.flags;
            Some(result)
        }
    }
}

/// The integer part, limited to what takes every value out of the format's range.
fn truncated_exponent(value: Float80) -> i32 {
    const LIMIT: i32 = 0x1_0000;
    let whole_bits = i32::from(value.exponent()) - BIAS + 1;
    let magnitude = match whole_bits {
        ..=0 => 0,
        1..=16 => (value.mantissa >> (64 - whole_bits)) as i32,
        _ => LIMIT,
    };
    if value.is_negative() { -magnitude } else { magnitude }
}

/// The exponent as a number, and the significand with the exponent zero.
pub fn extract(environment: &mut Environment, value: Float80) -> Option<(Float80, Float80)> {
    if let Some(outcome) = environment.nan_outcome_of(value) {
        return outcome.map(|nan| (nan, nan));
    }
    match value.class() {
        Class::Infinity => Some((Float80::infinity(false), value)),
        Class::Zero => environment.divide_by_zero(true).map(|exponent| (exponent, value)),
        _ => {
            environment.check_denormals(&[value])?;
            let (exponent, mantissa) = value.normalized();
            let significand = Float80::new(value.is_negative(), BIAS as u16, mantissa);
            Some((from_integer(i64::from(exponent - BIAS)), significand))
        }
    }
}

/// How the quotient of a partial remainder is rounded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Quotient {
    /// Toward zero (`FPREM`).
    Truncated,
    /// To the nearest, ties to even (`FPREM1`).
    Nearest,
}

/// The remainder of `a ÷ b` and the condition codes, of which NaNs leave C0 and C3: C2 when the reduction is not complete, else the low
/// bits of the quotient in C0 (bit 2), C3 (bit 1) and C1 (bit 0).
pub fn remainder(
    environment: &mut Environment,
    a: Float80,
    b: Float80,
    quotient: Quotient,
) -> Option<(Float80, Option<u16>)> {
    if let Some(outcome) = environment.nan_outcome(a, b) {
        return outcome.map(|nan| (nan, None));
    }
    match (a.class(), b.class()) {
        (Class::Infinity, _) | (_, Class::Zero) => return environment.invalid().map(|nan| (nan, None)),
        (Class::Zero, _) => return environment.check_denormals(&[b]).map(|()| (a, Some(0))),
        // A denormal dividend does not underflow; a pseudo-denormal becomes the normal value that it is.
        (_, Class::Infinity) => {
            environment.check_denormals(&[a])?;
            return Some((a.without_pseudo_denormal(), Some(0)));
        }
        _ => environment.check_denormals(&[a, b])?,
    }
    let ((exponent_a, mantissa_a), (exponent_b, mantissa_b)) = (a.normalized(), b.normalized());
    let distance = exponent_a - exponent_b;
    let divisor = u128::from(mantissa_b);
    if distance >= 64 {
        // One step takes 32 to 63 bits off the distance, as the hardware does.
        let step = distance & 31 | 32;
        let rest = ((u128::from(mantissa_a) << step) % divisor) as u64;
        let exponent = exponent_a - step;
        return Some((finish(environment, a.is_negative(), exponent, rest), Some(C2)));
    }
    if distance < -1 || distance < 0 && quotient == Quotient::Truncated {
        return Some((finish(environment, a.is_negative(), exponent_a, mantissa_a), Some(0)));
    }
    // For a distance of -1 both are taken at half the dividend's last place.
    let (dividend, divisor, exponent) = if distance < 0 {
        (u128::from(mantissa_a), divisor << 1, exponent_a)
    } else {
        (u128::from(mantissa_a) << distance, divisor, exponent_b)
    };
    let mut whole = (dividend / divisor) as u64;
    let mut rest = dividend % divisor;
    let mut is_negative = a.is_negative();
    if quotient == Quotient::Nearest && (2 * rest > divisor || 2 * rest == divisor && whole & 1 != 0) {
        rest = divisor - rest;
        whole = whole.wrapping_add(1);
        is_negative = !is_negative;
    }
    let mut codes = 0;
    for (bit, code) in [(1, C1), (2, C3), (4, C0)] {
        if whole & bit != 0 {
            codes |= code;
        }
    }
    if rest == 0 {
        return Some((Float80::zero(a.is_negative()), Some(codes)));
    }
    Some((finish(environment, is_negative, exponent, rest as u64), Some(codes)))
}

/// A remainder, which is always exact, in the format. C1 belongs to the quotient.
fn finish(environment: &mut Environment, is_negative: bool, exponent: i32, mantissa: u64) -> Float80 {
    if mantissa == 0 {
        return Float80::zero(is_negative);
    }
    let shift = mantissa.leading_zeros();
    let mut full = environment.with_full_precision();
    let result = full.round(is_negative, exponent - shift as i32, mantissa << shift, 0);
    environment.flags = full.flags;
    result
}
