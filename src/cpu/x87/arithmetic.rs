//! Addition, subtraction, multiplication, division and square root (SDM vol. 1 8.3.5).

use super::float80::{BIAS, Class, Environment, Float80, Rounding, shift_right_sticky};

/// `a + b`.
#[inline]
pub fn add(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if a.is_normal() && b.is_normal() && !environment.has_denormal_source {
        return Some(add_finite(environment, a, b));
    }
    add_special(environment, a, b)
}

/// `a - b`.
#[inline]
pub fn subtract(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if a.is_normal() && b.is_normal() && !environment.has_denormal_source {
        return Some(add_finite(environment, a, b.negated()));
    }
    if let Some(outcome) = environment.nan_outcome(a, b) {
        return outcome;
    }
    add_special(environment, a, b.negated())
}

#[cold]
fn add_special(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome(a, b) {
        return outcome;
    }
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) if a.is_negative() != b.is_negative() => environment.invalid(),
        (Class::Infinity, _) => environment.check_denormals(&[b]).map(|()| a),
        (_, Class::Infinity) => environment.check_denormals(&[a]).map(|()| b),
        (Class::Zero, Class::Zero) if a.is_negative() == b.is_negative() => Some(a),
        (Class::Zero, Class::Zero) => Some(Float80::zero(environment.rounding() == Rounding::Down)),
        (Class::Zero, _) => {
            environment.check_denormals(&[b])?;
            let (exponent, mantissa) = b.normalized();
            Some(environment.round(b.is_negative(), exponent, mantissa, 0))
        }
        (_, Class::Zero) => {
            environment.check_denormals(&[a])?;
            let (exponent, mantissa) = a.normalized();
            Some(environment.round(a.is_negative(), exponent, mantissa, 0))
        }
        _ => {
            environment.check_denormals(&[a, b])?;
            Some(add_finite(environment, a, b))
        }
    }
}

/// The sum of finite values that are not zero.
#[inline(always)]
fn add_finite(environment: &mut Environment, a: Float80, b: Float80) -> Float80 {
    let (a, b) = if a.exponent() >= b.exponent() { (a, b) } else { (b, a) };
    let exponent = i32::from(a.exponent().max(1));
    let distance = (exponent - i32::from(b.exponent().max(1))) as u32;
    // One bit is left free above for the carry.
    let wide_a = u128::from(a.mantissa) << 63;
    let wide_b = shift_right_sticky(u128::from(b.mantissa) << 63, distance);
    let (is_negative, sum) = if a.is_negative() == b.is_negative() {
        (a.is_negative(), wide_a + wide_b)
    } else if wide_a >= wide_b {
        (a.is_negative(), wide_a - wide_b)
    } else {
        (b.is_negative(), wide_b - wide_a)
    };
    if sum == 0 {
        return Float80::zero(environment.rounding() == Rounding::Down);
    }
    let shift = sum.leading_zeros();
    let sum = sum << shift;
    environment.round(is_negative, exponent + 1 - shift as i32, (sum >> 64) as u64, sum as u64)
}

/// `a × b`.
#[inline]
pub fn multiply(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if a.is_normal() && b.is_normal() && !environment.has_denormal_source {
        let exponents = i32::from(a.exponent()) + i32::from(b.exponent());
        let is_negative = a.is_negative() != b.is_negative();
        return Some(multiply_significands(environment, is_negative, exponents, a.mantissa, b.mantissa));
    }
    multiply_special(environment, a, b)
}

#[cold]
fn multiply_special(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome(a, b) {
        return outcome;
    }
    let is_negative = a.is_negative() != b.is_negative();
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Zero) | (Class::Zero, Class::Infinity) => environment.invalid(),
        (Class::Infinity, _) | (_, Class::Infinity) => {
            environment.check_denormals(&[a, b])?;
            Some(Float80::infinity(is_negative))
        }
        (Class::Zero, _) | (_, Class::Zero) => {
            environment.check_denormals(&[a, b])?;
            Some(Float80::zero(is_negative))
        }
        _ => {
            environment.check_denormals(&[a, b])?;
            Some(multiply_finite(environment, a, b))
        }
    }
}

/// The product of finite values that are not zero.
pub fn multiply_finite(environment: &mut Environment, a: Float80, b: Float80) -> Float80 {
    let ((exponent_a, mantissa_a), (exponent_b, mantissa_b)) = (a.normalized(), b.normalized());
    let is_negative = a.is_negative() != b.is_negative();
    multiply_significands(environment, is_negative, exponent_a + exponent_b, mantissa_a, mantissa_b)
}

/// The product of significands with their integer bits, and the sum of the biased exponents.
#[inline(always)]
fn multiply_significands(
    environment: &mut Environment,
    is_negative: bool,
    exponents: i32,
    a: u64,
    b: u64,
) -> Float80 {
    let product = u128::from(a) * u128::from(b);
    let shift = product.leading_zeros();
    let product = product << shift;
    let exponent = exponents - BIAS + 1 - shift as i32;
    environment.round(is_negative, exponent, (product >> 64) as u64, product as u64)
}

/// `a ÷ b`.
#[inline]
pub fn divide(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if a.is_normal() && b.is_normal() && !environment.has_denormal_source {
        return Some(divide_finite(environment, a, b));
    }
    divide_special(environment, a, b)
}

#[cold]
fn divide_special(environment: &mut Environment, a: Float80, b: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome(a, b) {
        return outcome;
    }
    let is_negative = a.is_negative() != b.is_negative();
    match (a.class(), b.class()) {
        (Class::Infinity, Class::Infinity) | (Class::Zero, Class::Zero) => environment.invalid(),
        (Class::Infinity, _) => {
            environment.check_denormals(&[b])?;
            Some(Float80::infinity(is_negative))
        }
        (_, Class::Infinity) | (Class::Zero, _) => {
            environment.check_denormals(&[a, b])?;
            Some(Float80::zero(is_negative))
        }
        // A denormal dividend raises nothing of its own: the division by zero goes first.
        (_, Class::Zero) => environment.divide_by_zero(is_negative),
        _ => {
            environment.check_denormals(&[a, b])?;
            Some(divide_finite(environment, a, b))
        }
    }
}

fn divide_finite(environment: &mut Environment, a: Float80, b: Float80) -> Float80 {
    let ((exponent_a, mantissa_a), (exponent_b, mantissa_b)) = (a.normalized(), b.normalized());
    // The quotient of the significands lies between 1/2 and 2: make it 64 bits either way.
    let shift = if mantissa_a >= mantissa_b { 63 } else { 64 };
    let dividend = u128::from(mantissa_a) << shift;
    let divisor = u128::from(mantissa_b);
    let quotient = (dividend / divisor) as u64;
    let remainder = dividend - u128::from(quotient) * divisor;
    let low = fraction_bits(remainder, divisor);
    let exponent = exponent_a - exponent_b + BIAS + 63 - shift;
    environment.round(a.is_negative() != b.is_negative(), exponent, quotient, low)
}

/// Whether `remainder ÷ divisor` is zero, below, at or above one half, as the top bits of a fraction.
fn fraction_bits(remainder: u128, divisor: u128) -> u64 {
    let is_half_or_more = 2 * remainder >= divisor;
    let is_exact = remainder == 0 || 2 * remainder == divisor;
    u64::from(is_half_or_more) << 63 | u64::from(!is_exact)
}

/// √`a`.
pub fn square_root(environment: &mut Environment, a: Float80) -> Option<Float80> {
    if let Some(outcome) = environment.nan_outcome_of(a) {
        return outcome;
    }
    match a.class() {
        Class::Zero => Some(a),
        _ if a.is_negative() => environment.invalid(),
        Class::Infinity => Some(a),
        _ => {
            environment.check_denormals(&[a])?;
            let (exponent, mantissa) = a.normalized();
            let unbiased = exponent - BIAS;
            let radicand = u128::from(mantissa) << if unbiased & 1 == 0 { 63 } else { 64 };
            let root = integer_square_root(radicand);
            let remainder = radicand - u128::from(root) * u128::from(root);
            // (root + 1/2)² exceeds root² + root by 1/4: the remainder is never at one half.
            let low = match remainder {
                0 => 0,
                _ if remainder > u128::from(root) => 3 << 62,
                _ => 1,
            };
            Some(environment.round(false, (unbiased >> 1) + BIAS, root, low))
        }
    }
}

/// The root of a number of at least 2^126, rounded down.
fn integer_square_root(radicand: u128) -> u64 {
    // The estimate has 53 good bits; one Newton step doubles them.
    let estimate = (radicand as f64).sqrt();
    let estimate = if estimate >= 18_446_744_073_709_551_615.0 { u64::MAX } else { estimate as u64 };
    let estimate = u128::from(estimate);
    let mut root = ((estimate + radicand / estimate) / 2).min(u128::from(u64::MAX));
    while root * root > radicand {
        root -= 1;
    }
    while root < u128::from(u64::MAX) && (root + 1) * (root + 1) <= radicand {
        root += 1;
    }
    root as u64
}
