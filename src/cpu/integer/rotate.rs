//! Rotates by any count, through carry or not, and double-width shifts.

use super::width;
use crate::cpu::flags::{CF, LazyFlags, OF};
use crate::cpu::{Exception, FlagsKind, Vcpu};
use crate::ir::{Op, Reg, Width};

/// A rotate instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Rotate {
    Rol,
    Ror,
    Rcl,
    Rcr,
}

const ALL: [Rotate; 4] = [Rotate::Rol, Rotate::Ror, Rotate::Rcl, Rotate::Rcr];

/// The count as the processor masks it.
fn masked_count(vcpu: &Vcpu, number: u8, size: Width) -> u32 {
    vcpu.reg(Reg(number)) as u32 & if size == Width::W64 { 63 } else { 31 }
}

/// See [`super::ROTATE`].
pub fn rotate(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let bits = size.bits();
    let value = vcpu.value(op.b, size);
    let masked = masked_count(vcpu, op.c, size);
    let carry = u64::from(vcpu.flags.carry());
    let kind = ALL[usize::from(op.d >> 2) & 3];
    if masked == 0 {
        vcpu.set_value(Reg(op.a), size, value);
        return Ok(());
    }
    let (result, carry, overflow) = match kind {
        Rotate::Rol => {
            let count = masked % bits;
            let result =
                if count == 0 { value } else { value << count | value >> (bits - count) } & size.mask();
            let carry = result & 1;
            (result, carry, result >> (bits - 1) ^ carry)
        }
        Rotate::Ror => {
            let count = masked % bits;
            let result =
                if count == 0 { value } else { value >> count | value << (bits - count) } & size.mask();
            (result, result >> (bits - 1) & 1, result >> (bits - 1) ^ result >> (bits - 2))
        }
        Rotate::Rcl | Rotate::Rcr => {
            // One bit more takes part: the carry, above the value.
            let count = masked % (bits + 1);
            let wide = u128::from(carry) << bits | u128::from(value);
            let all = (1u128 << (bits + 1)) - 1;
            let left = if kind == Rotate::Rcl { count } else { (bits + 1 - count) % (bits + 1) };
            let turned = (wide << left | wide >> (bits + 1 - left)) & all;
            let (result, new_carry) = (turned as u64 & size.mask(), (turned >> bits) as u64 & 1);
            let overflow = if kind == Rotate::Rcl {
                result >> (bits - 1) ^ new_carry
            } else {
                result >> (bits - 1) ^ result >> (bits - 2)
            };
            (result, new_carry, overflow)
        }
    };
    vcpu.set_value(Reg(op.a), size, result);
    let kept = vcpu.flags.bits() & !(CF | OF);
    vcpu.flags = LazyFlags::explicit(kept | carry * CF | (overflow & 1) * OF);
    Ok(())
}

/// See [`super::DOUBLE_SHIFT`].
pub fn double_shift(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let bits = size.bits();
    let (value, filler) = (vcpu.value(op.b, size), vcpu.value(op.c, size));
    let count = masked_count(vcpu, Reg::T2.0, size);
    if count == 0 {
        vcpu.set_value(Reg(op.a), size, value);
        return Ok(());
    }
    let is_right = op.d >> 2 == 1;
    // A 16-bit operand and a count above 16 is undefined; processors go on with the operand itself.
    let (result, carry) = if is_right {
        let wide = u128::from(value) | u128::from(filler) << bits | u128::from(value) << (2 * bits).min(127);
        ((wide >> count) as u64, (wide >> (count - 1)) as u64 & 1)
    } else {
        let wide = (u128::from(value) << bits | u128::from(filler)) << count;
        let refilled = if count > bits { u128::from(value) << (count - bits) } else { 0 };
        let before = u128::from(value) << bits | u128::from(filler);
        let carry = if count <= bits {
            (before >> (2 * bits - count)) as u64 & 1
        } else {
            filler >> (2 * bits - count) & 1
        };
        (((wide >> bits) as u64) | refilled as u64 & if count > bits { size.mask() } else { 0 }, carry)
    };
    let result = result & size.mask();
    let overflow = (result ^ value) >> (bits - 1) & 1;
    vcpu.set_value(Reg(op.a), size, result);
    vcpu.flags = LazyFlags::of(FlagsKind::CarryOverflow, size, result, carry | overflow << 1);
    Ok(())
}
