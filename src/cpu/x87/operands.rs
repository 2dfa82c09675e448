//! Loads, stores and arithmetic with a memory operand.
//!
//! The lifter has the operand's address in T1, and loads those of up to 64 bits into T4.

use super::convert::{self, Narrow};
use super::exponent::compare;
use super::float80::{Environment, Float80};
use super::registers::Operation;
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg};

/// A memory format that arithmetic takes, numbered for [`Op::d`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Format {
    /// Single precision.
    Single,
    /// Double precision.
    Double,
    /// 16-bit integer.
    Word,
    /// 32-bit integer.
    Doubleword,
    /// 64-bit integer.
    Quadword,
}

impl Format {
    /// The format of a number.
    #[inline(always)]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Single,
            1 => Self::Double,
            2 => Self::Word,
            3 => Self::Doubleword,
            _ => Self::Quadword,
        }
    }

    /// The value of the bits and whether they are a denormal.
    #[inline(always)]
    const fn widen(self, bits: u64) -> (Float80, bool) {
        match self {
            Self::Single => Narrow::SINGLE.widen(bits),
            Self::Double => Narrow::DOUBLE.widen(bits),
            Self::Word => (convert::from_integer(bits as i16 as i64), false),
            Self::Doubleword => (convert::from_integer(bits as i32 as i64), false),
            Self::Quadword => (convert::from_integer(bits as i64), false),
        }
    }
}

impl Vcpu {
    #[inline(always)]
    fn x87_retire_memory(&mut self, op: &Op) {
        self.x87.data_pointer = self.reg(Reg::T1);
        self.x87_retire(op);
    }

    fn write_80(&mut self, address: u64, low: u64, high: u16) -> Result<(), Exception> {
        self.check_write(address, 10)?;
        self.write_u64(address, low)?;
        self.write_u16(address.wrapping_add(8), high)
    }
}

/// Pushes the operand in T4, of format `d`.
pub fn load(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let (value, is_denormal) = Format::from_number(op.d).widen(vcpu.reg(Reg::T4));
    let mut environment = vcpu.x87.environment();
    environment.has_denormal_source = is_denormal;
    let value = match environment.nan_outcome_of(value) {
        Some(outcome) => outcome,
        // An unmasked denormal exception does not keep the value from being loaded.
        None => {
            let _delivered_anyway = environment.check_denormals(&[]);
            Some(value)
        }
    };
    vcpu.x87.load(value, environment.flags);
    vcpu.x87_retire_memory(op);
    Ok(())
}

/// `FLD m80`: no exception but a stack overflow.
pub fn load_80(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let address = vcpu.reg(Reg::T1);
    let mantissa = vcpu.read_u64(address)?;
    let sign_exponent = vcpu.read_u16(address.wrapping_add(8))?;
    vcpu.x87.load(Some(Float80 { mantissa, sign_exponent }), 0);
    vcpu.x87_retire_memory(op);
    Ok(())
}

/// `FBLD`.
pub fn load_bcd(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let address = vcpu.reg(Reg::T1);
    let digits = vcpu.read_u64(address)?;
    let top = vcpu.read_u16(address.wrapping_add(8))?;
    vcpu.x87.load(Some(convert::from_bcd(digits, top)), 0);
    vcpu.x87_retire_memory(op);
    Ok(())
}

/// Stores ST(0) as `convert` makes it, or `indefinite` for a masked stack underflow; `c` pops.
#[inline(always)]
fn store_converted<T: Copy>(
    vcpu: &mut Vcpu,
    op: &Op,
    indefinite: T,
    convert: impl FnOnce(&mut Environment, Float80) -> Option<T>,
    write: impl FnOnce(&mut Vcpu, u64, T) -> Result<(), Exception>,
) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let address = vcpu.reg(Reg::T1);
    let mut environment = vcpu.x87.environment();
    if vcpu.x87.is_empty(0) {
        if environment.invalid().is_some() {
            write(vcpu, address, indefinite)?;
            vcpu.x87.underflow();
            vcpu.x87.finish_store(0, op.c);
        } else {
            vcpu.x87.underflow();
        }
    } else {
        let value = vcpu.x87.st(0);
        match convert(&mut environment, value) {
            Some(converted) => {
                write(vcpu, address, converted)?;
                vcpu.x87.finish_store(environment.flags, op.c);
            }
            None => vcpu.x87.raise(environment.flags),
        }
    }
    vcpu.x87_retire_memory(op);
    Ok(())
}

/// `FST m32`, `FSTP m32`.
pub fn store_single(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let convert = |environment: &mut Environment, value| {
        Narrow::SINGLE.convert(environment, value).map(|bits| bits as u32)
    };
    store_converted(vcpu, op, 0xffc0_0000, convert, Vcpu::write_u32)
}

/// `FST m64`, `FSTP m64`.
pub fn store_double(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let convert = |environment: &mut Environment, value| Narrow::DOUBLE.convert(environment, value);
    store_converted(vcpu, op, 0xfff8_0000_0000_0000, convert, Vcpu::write_u64)
}

/// `FSTP m80`.
pub fn store_80(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    store_converted(
        vcpu,
        op,
        Float80::INDEFINITE,
        |_, value| Some(value),
        |vcpu, address, value| vcpu.write_80(address, value.mantissa, value.sign_exponent),
    )
}

/// `FBSTP`.
pub fn store_bcd(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    store_converted(vcpu, op, convert::BCD_INDEFINITE, convert::to_bcd, |vcpu, address, (digits, top)| {
        vcpu.write_80(address, digits, top)
    })
}

/// `FIST`, `FISTP`, and `FISTTP` when `a` is 1, with format `d`.
pub fn store_integer(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let format = Format::from_number(op.d);
    let bits = match format {
        Format::Word => 16,
        Format::Doubleword => 32,
        _ => 64,
    };
    let convert = |environment: &mut Environment, value| {
        if op.a == 0 {
            return convert::to_integer(environment, value, bits);
        }
        let mut truncating = environment.with_truncation();
        let result = convert::to_integer(&mut truncating, value, bits);
        environment.flags = truncating.flags;
        result
    };
    let write = |vcpu: &mut Vcpu, address, value: i64| match format {
        Format::Word => vcpu.write_u16(address, value as u16),
        Format::Doubleword => vcpu.write_u32(address, value as u32),
        _ => vcpu.write_u64(address, value as u64),
    };
    store_converted(vcpu, op, i64::MIN >> (64 - bits), convert, write)
}

/// ST(0) = operation(ST(0), the operand in T4 of format `d`).
#[inline(always)]
pub fn combine_memory(vcpu: &mut Vcpu, op: &Op, operation: impl Operation) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let (value, is_denormal) = Format::from_number(op.d).widen(vcpu.reg(Reg::T4));
    vcpu.x87.change(|environment, own| {
        environment.has_denormal_source = is_denormal;
        operation(environment, own, value)
    });
    vcpu.x87_retire_memory(op);
    Ok(())
}

/// Compares ST(0) with the operand in T4 of format `d`; `c` pops.
pub fn compare_memory(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let (value, is_denormal) = Format::from_number(op.d).widen(vcpu.reg(Reg::T4));
    let x87 = &mut vcpu.x87;
    if x87.is_empty(0) {
        x87.compare_underflow(op.c);
    } else {
        let mut environment = x87.environment();
        environment.has_denormal_source = is_denormal;
        let order = compare(&mut environment, x87.st(0), value, false);
        x87.finish_compare(order, environment.flags, op.c);
    }
    vcpu.x87_retire_memory(op);
    Ok(())
}
