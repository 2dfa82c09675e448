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
    let dividend = u128::from(high) << size.bits() | u128::from(low);
    let quotient = dividend / u128::from(divisor);
    (quotient <= u128::from(size.mask())).then(|| (quotient as u64, (dividend % u128::from(divisor)) as u64))
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
