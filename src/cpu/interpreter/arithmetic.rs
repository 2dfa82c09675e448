//! Results and flags of the integer operations, width by width.
//!
//! Operands may have anything above their width; results are the low bits.

use crate::cpu::flags::{FlagsKind, LazyFlags};
use crate::ir::Width;

/// The width of `bits` bits.
#[inline(always)]
pub const fn width(bits: u32) -> Width {
    match bits {
        8 => Width::W8,
        16 => Width::W16,
        32 => Width::W32,
        _ => Width::W64,
    }
}

#[inline(always)]
const fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

#[inline(always)]
const fn signed(bits: u32, value: u64) -> i64 {
    ((value << (64 - bits)) as i64) >> (64 - bits)
}

#[inline(always)]
const fn flags<const BITS: u32>(kind: FlagsKind, result: u64, source: u64) -> LazyFlags {
    LazyFlags::of(kind, width(BITS), result, source)
}

#[inline(always)]
pub fn add<const BITS: u32>(a: u64, b: u64) -> (u64, LazyFlags) {
    let result = a.wrapping_add(b);
    (result, flags::<BITS>(FlagsKind::Add, result, b))
}

#[inline(always)]
pub fn sub<const BITS: u32>(a: u64, b: u64) -> (u64, LazyFlags) {
    let result = a.wrapping_sub(b);
    (result, flags::<BITS>(FlagsKind::Sub, result, b))
}

#[inline(always)]
pub fn and<const BITS: u32>(a: u64, b: u64) -> (u64, LazyFlags) {
    (a & b, flags::<BITS>(FlagsKind::Logic, a & b, 0))
}

#[inline(always)]
pub fn or<const BITS: u32>(a: u64, b: u64) -> (u64, LazyFlags) {
    (a | b, flags::<BITS>(FlagsKind::Logic, a | b, 0))
}

#[inline(always)]
pub fn xor<const BITS: u32>(a: u64, b: u64) -> (u64, LazyFlags) {
    (a ^ b, flags::<BITS>(FlagsKind::Logic, a ^ b, 0))
}

/// With a carry in, the lazy forms cannot tell the carry out; the flags are computed at once.
#[inline(always)]
pub fn adc<const BITS: u32>(a: u64, b: u64, carry: bool) -> (u64, LazyFlags) {
    let (a, b) = (a & mask(BITS), b & mask(BITS));
    let result = a.wrapping_add(b).wrapping_add(u64::from(carry));
    let carries = a & b | (a | b) & !result;
    (result, explicit::<BITS>(result, carries))
}

#[inline(always)]
pub fn sbb<const BITS: u32>(a: u64, b: u64, carry: bool) -> (u64, LazyFlags) {
    let (a, b) = (a & mask(BITS), b & mask(BITS));
    let result = a.wrapping_sub(b).wrapping_sub(u64::from(carry));
    let borrows = !a & b | (!a | b) & result;
    (result, explicit::<BITS>(result, borrows))
}

/// Flags from a result and the carries out of each bit.
#[inline(always)]
fn explicit<const BITS: u32>(result: u64, carries: u64) -> LazyFlags {
    use crate::cpu::flags::{AF, CF, OF, PF, SF, ZF};
    let bit = |is_set: bool, flag: u64| if is_set { flag } else { 0 };
    let top = BITS - 1;
    let logic = flags::<BITS>(FlagsKind::Logic, result, 0);
    LazyFlags::explicit(
        bit(carries >> top & 1 != 0, CF)
            | bit(logic.parity(), PF)
            | bit(carries >> 3 & 1 != 0, AF)
            | bit(logic.zero(), ZF)
            | bit(logic.sign(), SF)
            | bit((carries >> top ^ carries >> (top - 1)) & 1 != 0, OF),
    )
}

#[inline(always)]
fn shifted<const BITS: u32>(result: u64, carry: u64, overflow: u64) -> (u64, LazyFlags) {
    (result, flags::<BITS>(FlagsKind::CarryOverflow, result, carry & 1 | (overflow & 1) << 1))
}

/// `count` is 1 to 31, or to 63 for 64 bits.
#[inline(always)]
pub fn shl<const BITS: u32>(a: u64, count: u32) -> (u64, LazyFlags) {
    let result = a << count;
    let carry = if count <= BITS { (a & mask(BITS)) >> (BITS - count) } else { 0 };
    shifted::<BITS>(result, carry, result >> (BITS - 1) ^ carry)
}

#[inline(always)]
pub fn shr<const BITS: u32>(a: u64, count: u32) -> (u64, LazyFlags) {
    let a = a & mask(BITS);
    shifted::<BITS>(a >> count, a >> (count - 1), a >> (BITS - 1))
}

#[inline(always)]
pub fn sar<const BITS: u32>(a: u64, count: u32) -> (u64, LazyFlags) {
    let a = signed(BITS, a);
    shifted::<BITS>((a >> count) as u64, (a >> (count - 1)) as u64, 0)
}

/// The flags after a rotate to the left by a count other than zero: CF and OF follow from the result, the others stay.
pub fn rol_flags<const BITS: u32>(before: LazyFlags, result: u64) -> LazyFlags {
    use crate::cpu::flags::{CF, OF};
    let carry = result & 1;
    let overflow = (result >> (BITS - 1) ^ result) & 1;
    LazyFlags::explicit(before.bits() & !(CF | OF) | carry * CF | overflow * OF)
}

/// The flags after a rotate to the right by a count other than zero.
pub fn ror_flags<const BITS: u32>(before: LazyFlags, result: u64) -> LazyFlags {
    use crate::cpu::flags::{CF, OF};
    let carry = result >> (BITS - 1) & 1;
    let overflow = (result >> (BITS - 2) & 1) ^ carry;
    LazyFlags::explicit(before.bits() & !(CF | OF) | carry * CF | overflow * OF)
}

/// A rotate to the left by any count.
#[inline(always)]
pub fn rol<const BITS: u32>(a: u64, count: u32) -> u64 {
    let a = a & mask(BITS);
    let count = count % BITS;
    if count == 0 { a } else { a << count | a >> (BITS - count) }
}

/// Signed multiplication: CF and OF tell that the product does not fit.
#[inline(always)]
pub fn imul<const BITS: u32>(a: u64, b: u64) -> (u64, LazyFlags) {
    let (a, b) = (signed(BITS, a), signed(BITS, b));
    let (result, overflows) = if BITS < 64 {
        let product = a.wrapping_mul(b);
        (product, signed(BITS, product as u64) != product)
    } else {
        a.overflowing_mul(b)
    };
    let (result, overflows) = (result as u64, u64::from(overflows));
    shifted::<BITS>(result, overflows, overflows)
}

#[inline(always)]
pub fn below<const BITS: u32>(a: u64, b: u64, _: u64) -> bool {
    a & mask(BITS) < b & mask(BITS)
}

#[inline(always)]
pub fn equal<const BITS: u32>(_: u64, _: u64, result: u64) -> bool {
    result == 0
}

#[inline(always)]
pub fn below_or_equal<const BITS: u32>(a: u64, b: u64, _: u64) -> bool {
    a & mask(BITS) <= b & mask(BITS)
}

#[inline(always)]
pub fn sign<const BITS: u32>(_: u64, _: u64, result: u64) -> bool {
    (result as i64) < 0
}

#[inline(always)]
pub fn less<const BITS: u32>(a: u64, b: u64, _: u64) -> bool {
    signed(BITS, a) < signed(BITS, b)
}

#[inline(always)]
pub fn less_or_equal<const BITS: u32>(a: u64, b: u64, _: u64) -> bool {
    signed(BITS, a) <= signed(BITS, b)
}

/// After a logic operation, OF is clear: less or equal means sign or zero.
#[inline(always)]
pub fn not_positive<const BITS: u32>(_: u64, _: u64, result: u64) -> bool {
    (result as i64) <= 0
}
