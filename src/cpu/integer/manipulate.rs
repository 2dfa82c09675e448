//! BMI1, BMI2, LZCNT and ADX (SDM vol. 2, by mnemonic).

use super::width;
use crate::cpu::flags::{CF, LazyFlags, OF, SF, ZF};
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg, Width};

/// A bit-manipulation instruction of one result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum BitManipulation {
    ExtractField,
    LowestSetBit,
    MaskToLowestSetBit,
    ResetLowestSetBit,
    ZeroHighBits,
    CountLeadingZeros,
    CountTrailingZeros,
    Deposit,
    Extract,
}

impl BitManipulation {
    const ALL: [Self; 9] = [
        Self::ExtractField,
        Self::LowestSetBit,
        Self::MaskToLowestSetBit,
        Self::ResetLowestSetBit,
        Self::ZeroHighBits,
        Self::CountLeadingZeros,
        Self::CountTrailingZeros,
        Self::Deposit,
        Self::Extract,
    ];

    /// The instruction of a number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// ZF and SF of a result, CF as given, the other flags zero.
fn flags_of(result: u64, size: Width, carry: bool) -> LazyFlags {
    let zero = if result == 0 { ZF } else { 0 };
    let sign = if result >> (size.bits() - 1) & 1 != 0 { SF } else { 0 };
    LazyFlags::explicit(zero | sign | if carry { CF } else { 0 })
}

/// CF and ZF, which LZCNT and TZCNT define; the others, undefined, zero.
fn count_flags(source: u64, result: u64) -> LazyFlags {
    let carry = if source == 0 { CF } else { 0 };
    LazyFlags::explicit(carry | if result == 0 { ZF } else { 0 })
}

/// The low bits of `source` spread to the places of the bits that are set in `mask` (PDEP).
fn deposited(source: u64, mask: u64) -> u64 {
    let (mut result, mut left) = (0, mask);
    let mut rest = source;
    while left != 0 {
        let lowest = left & left.wrapping_neg();
        result |= lowest & (rest & 1).wrapping_neg();
        rest >>= 1;
        left &= left - 1;
    }
    result
}

/// The bits of `source` at the places of the bits that are set in `mask`, drawn together (PEXT).
fn extracted(source: u64, mask: u64) -> u64 {
    let (mut result, mut left, mut place) = (0, mask, 0);
    while left != 0 {
        let lowest = left & left.wrapping_neg();
        result |= u64::from(source & lowest != 0) << place;
        place += 1;
        left &= left - 1;
    }
    result
}

/// See [`super::MANIPULATE_BITS`].
pub fn manipulate(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    use BitManipulation as B;
    let size = width(op.d);
    let Some(kind) = B::from_number(op.d >> 2) else { return Err(Exception::InvalidOpcode) };
    let (x, y) = (vcpu.value(op.b, size), vcpu.value(op.c, size));
    let bits = u64::from(size.bits());
    let (result, flags) = match kind {
        B::ExtractField => {
            let (start, length) = (y & 0xff, y >> 8 & 0xff);
            let shifted = if start < 64 { x >> start } else { 0 };
            let result = if length < 64 { shifted & ((1 << length) - 1) } else { shifted };
            (result, Some(LazyFlags::explicit(if result == 0 { ZF } else { 0 })))
        }
        B::LowestSetBit => {
            let result = x & x.wrapping_neg();
            (result, Some(flags_of(result, size, x != 0)))
        }
        B::MaskToLowestSetBit => {
            let result = (x ^ x.wrapping_sub(1)) & size.mask();
            (result, Some(flags_of(result, size, x == 0)))
        }
        B::ResetLowestSetBit => {
            let result = x & x.wrapping_sub(1);
            (result, Some(flags_of(result, size, x == 0)))
        }
        B::ZeroHighBits => {
            let place = y & 0xff;
            let result = if place < bits { x & ((1 << place) - 1) } else { x };
            (result, Some(flags_of(result, size, place >= bits)))
        }
        B::CountLeadingZeros => {
            let result = u64::from(x.leading_zeros()) - (64 - bits);
            (result, Some(count_flags(x, result)))
        }
        B::CountTrailingZeros => {
            let result = u64::from(x.trailing_zeros()).min(bits);
            (result, Some(count_flags(x, result)))
        }
        B::Deposit => (deposited(x, y), None),
        B::Extract => (extracted(x, y), None),
    };
    vcpu.set_value(Reg(op.a), size, result);
    if let Some(flags) = flags {
        vcpu.flags = flags;
    }
    Ok(())
}

/// See [`super::MULTIPLY_QUIETLY`].
pub fn multiply_quietly(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let product = u128::from(vcpu.value(Reg::RDX.0, size)) * u128::from(vcpu.value(op.b, size));
    vcpu.set_value(Reg(op.c), size, product as u64);
    // The high half wins where both go into one register.
    vcpu.set_value(Reg(op.a), size, (product >> size.bits()) as u64);
    Ok(())
}

/// See [`super::ADD_WITH_ONE_FLAG`].
pub fn add_with_one_flag(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let flag = if op.d >> 2 == 0 { CF } else { OF };
    let flags = vcpu.flags.bits();
    let carry = u128::from(flags & flag != 0);
    let sum = u128::from(vcpu.value(op.b, size)) + u128::from(vcpu.value(op.c, size)) + carry;
    let carries = sum >> size.bits() != 0;
    vcpu.set_value(Reg(op.a), size, sum as u64);
    vcpu.flags = LazyFlags::explicit(flags & !flag | if carries { flag } else { 0 });
    Ok(())
}
