//! Bit tests, scans and counts, and the instructions that set one flag.

use super::width;
use crate::cpu::flags::{CF, DF, LazyFlags, ZF};
use crate::cpu::{Exception, FlagsKind, Vcpu};
use crate::ir::{Op, Reg};

/// What a bit instruction does with the bit that it tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum BitOp {
    Test,
    Set,
    Reset,
    Complement,
}

impl BitOp {
    /// The operation with this number, of four.
    pub const fn from_number(number: u8) -> Self {
        match number & 3 {
            0 => Self::Test,
            1 => Self::Set,
            2 => Self::Reset,
            _ => Self::Complement,
        }
    }
}

/// See [`super::BIT_OPERATION`].
pub fn operate(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let value = vcpu.value(op.b, size);
    let place = vcpu.reg(Reg(op.c)) & u64::from(size.bits() - 1);
    let bit = 1u64 << place;
    let changed = match BitOp::from_number(op.d >> 2) {
        BitOp::Test => None,
        BitOp::Set => Some(value | bit),
        BitOp::Reset => Some(value & !bit),
        BitOp::Complement => Some(value ^ bit),
    };
    if let Some(changed) = changed {
        vcpu.set_value(Reg(op.a), size, changed);
    }
    vcpu.flags = vcpu.flags.with_carry(value >> place & 1 != 0);
    Ok(())
}

/// See [`super::BIT_ADDRESS`].
pub fn address(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let shift = 64 - size.bits();
    let number = ((vcpu.reg(Reg(op.c)) << shift) as i64) >> shift;
    let operands = number >> size.bits().trailing_zeros();
    let moved = vcpu.reg(Reg(op.b)).wrapping_add((operands * i64::from(size.bytes())) as u64);
    let is_wide = vcpu.is_64_bit();
    vcpu.set_reg(Reg(op.a), if is_wide { moved } else { moved & 0xffff_ffff });
    Ok(())
}

/// The shared rule of BSF and BSR: a source of zero sets ZF and leaves the destination.
fn scan(vcpu: &mut Vcpu, op: &Op, find: fn(u64) -> u32) {
    let size = width(op.d);
    let value = vcpu.value(op.b, size);
    if value != 0 {
        vcpu.set_value(Reg(op.a), size, u64::from(find(value)));
    }
    // The other flags are undefined; processors clear CF and OF.
    vcpu.flags = LazyFlags::of(FlagsKind::Logic, size, value, 0);
}

/// BSF.
pub fn scan_forward(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    scan(vcpu, op, u64::trailing_zeros);
    Ok(())
}

/// BSR.
pub fn scan_reverse(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    scan(vcpu, op, |value| 63 - value.leading_zeros());
    Ok(())
}

/// POPCNT.
pub fn population_count(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let value = vcpu.value(op.b, size);
    vcpu.set_value(Reg(op.a), size, u64::from(value.count_ones()));
    vcpu.flags = LazyFlags::explicit(if value == 0 { ZF } else { 0 });
    Ok(())
}

/// See [`super::SET_FLAG`].
pub fn set_flag(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let bits = vcpu.flags.bits();
    match op.d {
        0 => vcpu.flags = LazyFlags::explicit(bits & !CF),
        1 => vcpu.flags = LazyFlags::explicit(bits | CF),
        2 => vcpu.flags = LazyFlags::explicit(bits ^ CF),
        3 => vcpu.system_flags &= !DF,
        _ => vcpu.system_flags |= DF,
    }
    Ok(())
}
