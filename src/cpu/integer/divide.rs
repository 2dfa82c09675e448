//! Multiplication and division with a double-width operand in RDX:RAX.

use super::width;
use crate::cpu::flags::LazyFlags;
use crate::cpu::{Exception, FlagsKind, Vcpu};
use crate::ir::{Op, Reg, Width};

/// See [`super::MULTIPLY`].
pub fn multiply(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let is_signed = op.c == 1;
    let (a, b) = (vcpu.value(Reg::RAX.0, size), vcpu.value(op.b, size));
    let product = if is_signed {
        (i128::from(signed(a, size)) * i128::from(signed(b, size))) as u128
    } else {
        u128::from(a) * u128::from(b)
    };
    let (low, high) = (product as u64 & size.mask(), (product >> size.bits()) as u64 & size.mask());
    let is_extension = if is_signed { signed(low, size) >> 63 == signed(high, size) } else { high == 0 };
    set_wide(vcpu, size, low, high);
    let overflows = if is_extension && (!is_signed || matches!(signed(high, size), 0 | -1)) { 0 } else { 3 };
    vcpu.flags = LazyFlags::of(FlagsKind::CarryOverflow, size, low, overflows);
    Ok(())
}

/// See [`super::DIVIDE`].
pub fn divide(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let divisor = vcpu.value(op.b, size);
    if divisor == 0 {
        return Err(Exception::DivideError);
    }
    let (low, high) = match size {
        Width::W8 => {
            let ax = vcpu.value(Reg::RAX.0, Width::W16);
            (ax & 0xff, ax >> 8)
        }
        _ => (vcpu.value(Reg::RAX.0, size), vcpu.value(Reg::RDX.0, size)),
    };
    let (quotient, remainder) = if op.c == 1 {
        divide_signed(low, high, divisor, size)
    } else {
        divide_unsigned(low, high, divisor, size)
    }
    .ok_or(Exception::DivideError)?;
    set_wide(vcpu, size, quotient, remainder);
    Ok(())
}

fn divide_unsigned(low: u64, high: u64, divisor: u64, size: Width) -> Option<(u64, u64)> {
    if high == 0 {
        return Some((low / divisor, low % divisor));
    }
    if high >= divisor {
        return None;
    }
    Some(match size {
        Width::W64 => divide_wide(low, high, divisor),
        _ => {
            let dividend = high << size.bits() | low;
            (dividend / divisor, dividend % divisor)
        }
    })
}

/// Quotient and remainder of the dividend with these halves, by a divisor above the high half (long division with two
/// digits of 32 bits: D. Knuth, The Art of Computer Programming, vol. 2, 4.3.1, algorithm D). Division of `u128`,
/// which knows nothing of the quotient's size, takes three times as long in WebAssembly.
pub fn divide_wide(low: u64, high: u64, divisor: u64) -> (u64, u64) {
    const HALF: u64 = 0xffff_ffff;
    let shift = divisor.leading_zeros();
    let scaled = divisor << shift;
    let (first, second) = (scaled >> 32, scaled & HALF);
    let dividend = (u128::from(high) << 64 | u128::from(low)) << shift;
    let (mut rest, low) = ((dividend >> 64) as u64, dividend as u64);
    let mut quotient = 0;
    for next in [low >> 32, low & HALF] {
        let (mut digit, mut left) = (rest / first, rest % first);
        // By its first digit alone the divisor looks smaller than it is: the guess is too large by two at most.
        while digit > HALF || digit * second > (left << 32 | next) {
            digit -= 1;
            left += first;
            if left > HALF {
                break;
            }
        }
        rest = (rest << 32 | next).wrapping_sub(digit.wrapping_mul(scaled));
        quotient = quotient << 32 | digit;
    }
    (quotient, rest >> shift)
}

fn divide_signed(low: u64, high: u64, divisor: u64, size: Width) -> Option<(u64, u64)> {
    let divisor = signed(divisor, size);
    let short = signed(low, size);
    if signed(high, size) == short >> 63 {
        // The dividend is the sign-extended low half.
        let quotient = short.checked_div(divisor)?;
        return (signed(quotient as u64, size) == quotient)
            .then(|| (quotient as u64, short.wrapping_rem(divisor) as u64));
    }
    let dividend = i128::from(signed(high, size)) << size.bits() | i128::from(low);
    let quotient = dividend.checked_div(i128::from(divisor))?;
    let fits = i128::from(signed(quotient as u64, size)) == quotient;
    fits.then(|| (quotient as u64, (dividend % i128::from(divisor)) as u64))
}

fn signed(value: u64, size: Width) -> i64 {
    let shift = 64 - size.bits();
    ((value << shift) as i64) >> shift
}

/// Writes the halves: AX for bytes, else the accumulator and the data register.
fn set_wide(vcpu: &mut Vcpu, size: Width, low: u64, high: u64) {
    if size == Width::W8 {
        vcpu.set_value(Reg::RAX, Width::W16, low & 0xff | (high & 0xff) << 8);
    } else {
        vcpu.set_value(Reg::RAX, size, low);
        vcpu.set_value(Reg::RDX, size, high);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_division_is_that_of_128_bits() {
        let edges = [
            0,
            1,
            2,
            3,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 32,
            i64::MAX as u64,
            1 << 63,
            u64::MAX - 1,
        ];
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let mixed = (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed >> (state >> 58)
        };
        let randoms: Vec<u64> = (0..200).map(|_| random()).collect();
        let values: Vec<u64> = edges.into_iter().chain([u64::MAX]).chain(randoms).collect();
        for &divisor in &values {
            for &high in values.iter().filter(|&&high| high < divisor) {
                for &low in &values {
                    let dividend = u128::from(high) << 64 | u128::from(low);
                    let wide = u128::from(divisor);
                    let expected = ((dividend / wide) as u64, (dividend % wide) as u64);
                    assert_eq!(divide_wide(low, high, divisor), expected, "{dividend:#x} / {divisor:#x}");
                }
            }
        }
    }
}
