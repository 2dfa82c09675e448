//! Packed-integer arithmetic on 64 bits of lanes at a time.
//!
//! Each function takes whole 64-bit words of lanes, lowest lane in the lowest bits, so that it serves MMX
//! registers as they are and the halves of XMM registers. `BITS` is the width of a lane: 8, 16, 32 or 64.
//! Most work on all lanes of the word at once, keeping carries from crossing lanes.

use std::array;

/// One lane's bits, all set.
const fn lane<const BITS: u32>() -> u64 {
    u64::MAX >> (64 - BITS)
}

/// The lowest bit of every lane.
const fn ones<const BITS: u32>() -> u64 {
    u64::MAX / lane::<BITS>()
}

/// The highest bit of every lane.
const fn tops<const BITS: u32>() -> u64 {
    ones::<BITS>() << (BITS - 1)
}

/// All bits of the lanes whose highest bit is set.
#[inline(always)]
pub const fn sign_mask<const BITS: u32>(x: u64) -> u64 {
    ((x & tops::<BITS>()) >> (BITS - 1)).wrapping_mul(lane::<BITS>())
}

#[inline(always)]
const fn select(mask: u64, when_set: u64, when_clear: u64) -> u64 {
    when_set & mask | when_clear & !mask
}

/// Sum, wrapping (PADD).
#[inline(always)]
pub const fn add<const BITS: u32>(x: u64, y: u64) -> u64 {
    let top = tops::<BITS>();
    (x & !top).wrapping_add(y & !top) ^ (x ^ y) & top
}

/// Difference, wrapping (PSUB).
#[inline(always)]
pub const fn subtract<const BITS: u32>(x: u64, y: u64) -> u64 {
    let top = tops::<BITS>();
    (x | top).wrapping_sub(y & !top) ^ (x ^ !y) & top
}

/// Sum, saturating unsigned (PADDUS).
#[inline(always)]
pub const fn add_saturating_unsigned<const BITS: u32>(x: u64, y: u64) -> u64 {
    let sum = add::<BITS>(x, y);
    sum | sign_mask::<BITS>(x & y | (x | y) & !sum)
}

/// Difference, saturating unsigned (PSUBUS).
#[inline(always)]
pub const fn subtract_saturating_unsigned<const BITS: u32>(x: u64, y: u64) -> u64 {
    subtract::<BITS>(x, y) & at_least_unsigned::<BITS>(x, y)
}

/// The signed bound of the same sign as each lane of `x`.
#[inline(always)]
const fn bound<const BITS: u32>(x: u64) -> u64 {
    let most = ones::<BITS>() * (lane::<BITS>() >> 1);
    most + (x >> (BITS - 1) & ones::<BITS>())
}

/// Sum, saturating signed (PADDS).
#[inline(always)]
pub const fn add_saturating_signed<const BITS: u32>(x: u64, y: u64) -> u64 {
    let sum = add::<BITS>(x, y);
    let overflow = sign_mask::<BITS>(!(x ^ y) & (x ^ sum));
    select(overflow, bound::<BITS>(x), sum)
}

/// Difference, saturating signed (PSUBS).
#[inline(always)]
pub const fn subtract_saturating_signed<const BITS: u32>(x: u64, y: u64) -> u64 {
    let difference = subtract::<BITS>(x, y);
    let overflow = sign_mask::<BITS>((x ^ y) & (x ^ difference));
    select(overflow, bound::<BITS>(x), difference)
}

/// All ones where equal (PCMPEQ).
#[inline(always)]
pub const fn equal<const BITS: u32>(x: u64, y: u64) -> u64 {
    let top = tops::<BITS>();
    let difference = x ^ y;
    sign_mask::<BITS>(!((difference & !top).wrapping_add(!top) | difference))
}

/// All ones where `x >= y`, unsigned.
#[inline(always)]
pub const fn at_least_unsigned<const BITS: u32>(x: u64, y: u64) -> u64 {
    let top = tops::<BITS>();
    let no_borrow = (x | top).wrapping_sub(y & !top);
    sign_mask::<BITS>(x & !y | !(x ^ y) & no_borrow)
}

/// All ones where `x > y`, signed (PCMPGT).
#[inline(always)]
pub const fn greater_signed<const BITS: u32>(x: u64, y: u64) -> u64 {
    let top = tops::<BITS>();
    !at_least_unsigned::<BITS>(y ^ top, x ^ top)
}

/// Lesser, unsigned (PMINU).
#[inline(always)]
pub const fn minimum_unsigned<const BITS: u32>(x: u64, y: u64) -> u64 {
    select(at_least_unsigned::<BITS>(x, y), y, x)
}

/// Greater, unsigned (PMAXU).
#[inline(always)]
pub const fn maximum_unsigned<const BITS: u32>(x: u64, y: u64) -> u64 {
    select(at_least_unsigned::<BITS>(x, y), x, y)
}

/// Lesser, signed (PMINS).
#[inline(always)]
pub const fn minimum_signed<const BITS: u32>(x: u64, y: u64) -> u64 {
    select(greater_signed::<BITS>(x, y), y, x)
}

/// Greater, signed (PMAXS).
#[inline(always)]
pub const fn maximum_signed<const BITS: u32>(x: u64, y: u64) -> u64 {
    select(greater_signed::<BITS>(x, y), x, y)
}

/// Average, unsigned, rounded up (PAVG).
#[inline(always)]
pub const fn average<const BITS: u32>(x: u64, y: u64) -> u64 {
    subtract::<BITS>(x | y, ((x ^ y) & !ones::<BITS>()) >> 1)
}

/// Absolute value (PABS).
#[inline(always)]
pub const fn absolute<const BITS: u32>(x: u64) -> u64 {
    let negative = sign_mask::<BITS>(x);
    subtract::<BITS>(x ^ negative, negative)
}

/// `x` with the sign of `y`: negated where `y` is negative, zero where it is zero (PSIGN).
#[inline(always)]
pub const fn with_sign_of<const BITS: u32>(x: u64, y: u64) -> u64 {
    let negative = sign_mask::<BITS>(y);
    subtract::<BITS>(x ^ negative, negative) & !equal::<BITS>(y, 0)
}

/// Shifted left; zero when the count is not below the width (PSLL).
#[inline(always)]
pub const fn shift_left<const BITS: u32>(x: u64, count: u64) -> u64 {
    if count >= BITS as u64 {
        return 0;
    }
    let kept = ones::<BITS>() * (lane::<BITS>() << count & lane::<BITS>());
    x << count & kept
}

/// Shifted right, unsigned; zero when the count is not below the width (PSRL).
#[inline(always)]
pub const fn shift_right<const BITS: u32>(x: u64, count: u64) -> u64 {
    if count >= BITS as u64 {
        return 0;
    }
    (x >> count) & (ones::<BITS>() * (lane::<BITS>() >> count))
}

/// Shifted right, signed; counts not below the width fill with the sign (PSRA).
#[inline(always)]
pub const fn shift_right_signed<const BITS: u32>(x: u64, count: u64) -> u64 {
    let count = if count >= BITS as u64 { BITS as u64 - 1 } else { count };
    let kept = ones::<BITS>() * (lane::<BITS>() >> count);
    x >> count & kept | sign_mask::<BITS>(x) & !kept
}

/// The 16-bit lanes of a word.
#[inline(always)]
pub const fn words(x: u64) -> [u16; 4] {
    [x as u16, (x >> 16) as u16, (x >> 32) as u16, (x >> 48) as u16]
}

/// A word of four 16-bit lanes.
#[inline(always)]
pub const fn from_words([a, b, c, d]: [u16; 4]) -> u64 {
    a as u64 | (b as u64) << 16 | (c as u64) << 32 | (d as u64) << 48
}

/// The 32-bit lanes of a word.
#[inline(always)]
const fn doublewords(x: u64) -> [u32; 2] {
    [x as u32, (x >> 32) as u32]
}

/// A word of two 32-bit lanes.
#[inline(always)]
pub const fn from_doublewords([a, b]: [u32; 2]) -> u64 {
    a as u64 | (b as u64) << 32
}

#[inline(always)]
fn each_word(x: u64, y: u64, operation: impl Fn(u16, u16) -> u16) -> u64 {
    let (x, y) = (words(x), words(y));
    from_words(array::from_fn(|place| operation(x[place], y[place])))
}

#[inline(always)]
fn each_doubleword(x: u64, y: u64, operation: impl Fn(u32, u32) -> u32) -> u64 {
    let (x, y) = (doublewords(x), doublewords(y));
    from_doublewords(array::from_fn(|place| operation(x[place], y[place])))
}

/// Low 16 bits of 16-bit products (PMULLW).
#[inline]
pub fn multiply_low_16(x: u64, y: u64) -> u64 {
    each_word(x, y, u16::wrapping_mul)
}

/// High 16 bits of signed 16-bit products (PMULHW).
#[inline]
pub fn multiply_high_signed_16(x: u64, y: u64) -> u64 {
    each_word(x, y, |x, y| ((i32::from(x as i16) * i32::from(y as i16)) >> 16) as u16)
}

/// High 16 bits of unsigned 16-bit products (PMULHUW).
#[inline]
pub fn multiply_high_unsigned_16(x: u64, y: u64) -> u64 {
    each_word(x, y, |x, y| ((u32::from(x) * u32::from(y)) >> 16) as u16)
}

/// Bits 16 to 1 of signed 16-bit products shifted right by 14, rounded (PMULHRSW).
#[inline]
pub fn multiply_high_rounded_16(x: u64, y: u64) -> u64 {
    each_word(x, y, |x, y| ((((i32::from(x as i16) * i32::from(y as i16)) >> 14) + 1) >> 1) as u16)
}

/// Low 32 bits of 32-bit products (PMULLD).
#[inline]
pub fn multiply_low_32(x: u64, y: u64) -> u64 {
    each_doubleword(x, y, u32::wrapping_mul)
}

/// The 64-bit product of the low unsigned doublewords (PMULUDQ).
#[inline]
pub fn multiply_even_unsigned_32(x: u64, y: u64) -> u64 {
    u64::from(x as u32) * u64::from(y as u32)
}

/// The 64-bit product of the low signed doublewords (PMULDQ).
#[inline]
pub fn multiply_even_signed_32(x: u64, y: u64) -> u64 {
    (i64::from(x as i32) * i64::from(y as i32)) as u64
}

/// Sums of neighbouring signed 16-bit products (PMADDWD).
#[inline]
pub fn multiply_add_16(x: u64, y: u64) -> u64 {
    let product = |x: u32, y: u32| i32::from(x as i16) * i32::from(y as i16);
    each_doubleword(x, y, |x, y| product(x, y).wrapping_add(product(x >> 16, y >> 16)) as u32)
}

/// Saturated sums of neighbouring products of unsigned bytes of `x` and signed bytes of `y` (PMADDUBSW).
#[inline]
pub fn multiply_add_unsigned_signed_8(x: u64, y: u64) -> u64 {
    let product = |x: u16, y: u16| i32::from(x as u8) * i32::from(y as i8);
    each_word(x, y, |x, y| saturate_to_i16(product(x, y) + product(x >> 8, y >> 8)))
}

/// Sum of the absolute differences of the eight unsigned bytes (PSADBW).
#[inline]
pub fn sum_of_absolute_differences(x: u64, y: u64) -> u64 {
    let (x, y) = (x.to_le_bytes(), y.to_le_bytes());
    x.iter().zip(&y).map(|(&x, &y)| u64::from(x.abs_diff(y))).sum()
}

#[inline(always)]
fn saturate_to_i16(value: i32) -> u16 {
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as u16
}

/// Sums of neighbouring words of one word of lanes, lowest first (half of PHADDW).
#[inline]
pub fn horizontal_add_16(x: u64) -> u32 {
    let [a, b, c, d] = words(x);
    u32::from(a.wrapping_add(b)) | u32::from(c.wrapping_add(d)) << 16
}

/// Differences, lower less higher, of neighbouring words (half of PHSUBW).
#[inline]
pub fn horizontal_subtract_16(x: u64) -> u32 {
    let [a, b, c, d] = words(x);
    u32::from(a.wrapping_sub(b)) | u32::from(c.wrapping_sub(d)) << 16
}

/// Saturated sums of neighbouring signed words (half of PHADDSW).
#[inline]
pub fn horizontal_add_saturating_16(x: u64) -> u32 {
    let [a, b, c, d] = words(x).map(|word| word as i16);
    u32::from(a.saturating_add(b) as u16) | u32::from(c.saturating_add(d) as u16) << 16
}

/// Saturated differences of neighbouring signed words (half of PHSUBSW).
#[inline]
pub fn horizontal_subtract_saturating_16(x: u64) -> u32 {
    let [a, b, c, d] = words(x).map(|word| word as i16);
    u32::from(a.saturating_sub(b) as u16) | u32::from(c.saturating_sub(d) as u16) << 16
}

/// Sum of the two doublewords (half of PHADDD).
#[inline]
pub fn horizontal_add_32(x: u64) -> u32 {
    let [a, b] = doublewords(x);
    a.wrapping_add(b)
}

/// The low doubleword less the high one (half of PHSUBD).
#[inline]
pub fn horizontal_subtract_32(x: u64) -> u32 {
    let [a, b] = doublewords(x);
    a.wrapping_sub(b)
}

/// Four signed words saturated to signed bytes (half of PACKSSWB).
#[inline]
pub fn pack_signed_16(x: u64) -> u32 {
    u32::from_le_bytes(words(x).map(|word| (word as i16).clamp(-128, 127) as u8))
}

/// Four signed words saturated to unsigned bytes (half of PACKUSWB).
#[inline]
pub fn pack_unsigned_16(x: u64) -> u32 {
    u32::from_le_bytes(words(x).map(|word| (word as i16).clamp(0, 255) as u8))
}

/// Two signed doublewords saturated to signed words (half of PACKSSDW).
#[inline]
pub fn pack_signed_32(x: u64) -> u32 {
    let [low, high] = doublewords(x).map(|value| u32::from(saturate_to_i16(value as i32)));
    low | high << 16
}

/// Two signed doublewords saturated to unsigned words (half of PACKUSDW).
#[inline]
pub fn pack_unsigned_32(x: u64) -> u32 {
    let [low, high] = doublewords(x).map(|value| (value as i32).clamp(0, 65535) as u32);
    low | high << 16
}

/// Bytes of `x` and `y` by turns, lowest of `x` lowest (PUNPCKLBW of the low halves).
#[inline(always)]
pub const fn interleave_8(x: u32, y: u32) -> u64 {
    const fn apart(x: u32) -> u64 {
        let x = x as u64;
        let x = (x | x << 16) & 0x0000_ffff_0000_ffff;
        (x | x << 8) & 0x00ff_00ff_00ff_00ff
    }
    apart(x) | apart(y) << 8
}

/// Words of `x` and `y` by turns (PUNPCKLWD of the low halves).
#[inline(always)]
pub const fn interleave_16(x: u32, y: u32) -> u64 {
    const fn apart(x: u32) -> u64 {
        let x = x as u64;
        (x | x << 16) & 0x0000_ffff_0000_ffff
    }
    apart(x) | apart(y) << 16
}

/// `x` below `y` (PUNPCKLDQ of the low halves).
#[inline(always)]
pub const fn interleave_32(x: u32, y: u32) -> u64 {
    from_doublewords([x, y])
}

/// The words of `x` that the four two-bit fields of `order` name (PSHUFW).
#[inline]
pub fn shuffle_words(x: u64, order: u8) -> u64 {
    let word = |shift: u32| x >> (16 * u32::from(order >> shift & 3)) & 0xffff;
    word(0) | word(2) << 16 | word(4) << 32 | word(6) << 48
}

/// The bytes of `x` that the bytes of `order` name, zero where their highest bit is set (PSHUFB).
#[inline]
pub fn shuffle_bytes<const BYTES: usize>(x: [u8; BYTES], order: [u8; BYTES]) -> [u8; BYTES] {
    order.map(|place| if place & 0x80 == 0 { x[usize::from(place) % BYTES] } else { 0 })
}

/// The highest bits of the eight bytes, that of the lowest byte lowest (PMOVMSKB).
#[inline(always)]
pub const fn byte_mask(x: u64) -> u64 {
    // The product brings the bit of byte n, at 8n, to bit 56 + n; no two terms meet.
    (x >> 7 & 0x0101_0101_0101_0101).wrapping_mul(0x0102_0408_1020_4080) >> 56
}
