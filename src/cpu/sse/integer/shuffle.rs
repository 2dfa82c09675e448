//! Operations that move bits across the 128 bits of a register.

use super::{Halves, lanes};
use std::array;

/// The halves as one number.
#[inline(always)]
pub const fn wide([low, high]: Halves) -> u128 {
    low as u128 | (high as u128) << 64
}

/// The halves of a number.
#[inline(always)]
pub const fn from_wide(value: u128) -> Halves {
    [value as u64, (value >> 64) as u64]
}

/// Doublewords by the two-bit fields of `order`, the low two of `x` and the high two of `y` (SHUFPS, PSHUFD).
#[inline(always)]
pub fn doublewords(x: Halves, y: Halves, order: u8) -> Halves {
    let one = |from: Halves, shift: u32| {
        let place = order >> shift & 3;
        (from[usize::from(place >> 1)] >> (32 * (place & 1))) as u32
    };
    [lanes::from_doublewords([one(x, 0), one(x, 2)]), lanes::from_doublewords([one(y, 4), one(y, 6)])]
}

/// `x` above `y`, shifted right by `count` bytes (PALIGNR).
#[inline]
pub fn align_right(x: Halves, y: Halves, count: u8) -> Halves {
    let (x, y, count) = (wide(x), wide(y), u32::from(count));
    from_wide(match count {
        0 => y,
        1..16 => y >> (8 * count) | x << (128 - 8 * count),
        16..32 => x >> (8 * (count - 16)),
        _ => 0,
    })
}

/// The bytes of `x` that the bytes of `order` name (PSHUFB).
#[inline]
pub fn bytes(x: Halves, order: Halves) -> Halves {
    let shuffled = lanes::shuffle_bytes(wide(x).to_le_bytes(), wide(order).to_le_bytes());
    from_wide(u128::from_le_bytes(shuffled))
}

/// `y` where the mask is set, else `x`.
#[inline(always)]
pub fn blended(x: Halves, y: Halves, mask: Halves) -> Halves {
    array::from_fn(|half| y[half] & mask[half] | x[half] & !mask[half])
}

/// All bits of the lanes, of which there are `lanes`, whose bit in `chosen` is set.
#[inline]
pub fn lane_mask(chosen: u8, lanes: u32) -> Halves {
    let bits = 128 / lanes;
    let lane = u128::MAX >> (128 - bits);
    from_wide((0..lanes).filter(|place| chosen >> place & 1 != 0).map(|place| lane << (place * bits)).sum())
}

/// A doubleword of `y` into `x`, and zeroes (INSERTPS).
#[inline]
pub fn insert_single(x: Halves, y: Halves, control: u8) -> Halves {
    let inserted = insert(x, extract(y, 32, control >> 6), 32, control >> 4 & 3);
    blended(inserted, [0, 0], lane_mask(control & 15, 4))
}

/// The lowest of `value` into the lane of `bits` bits that the low bits of `lane` name.
#[inline]
pub fn insert(x: Halves, value: u64, bits: u32, lane: u8) -> Halves {
    let shift = bits * (u32::from(lane) & (128 / bits - 1));
    let mask = u128::MAX >> (128 - bits) << shift;
    from_wide(wide(x) & !mask | u128::from(value) << shift & mask)
}

/// The lane of `bits` bits that the low bits of `lane` name, zero-extended.
#[inline]
pub fn extract(x: Halves, bits: u32, lane: u8) -> u64 {
    let shift = bits * (u32::from(lane) & (128 / bits - 1));
    (wide(x) >> shift) as u64 & u64::MAX >> (64 - bits)
}

/// The low lanes of `from` bits, zero-extended to `to` bits (PMOVZX).
#[inline(always)]
pub fn zero_extended(x: u64, from: u32, to: u32) -> Halves {
    widened(x, from, to, |lane| lane & u64::MAX >> (64 - from))
}

/// The low lanes of `from` bits, sign-extended to `to` bits (PMOVSX).
#[inline(always)]
pub fn sign_extended(x: u64, from: u32, to: u32) -> Halves {
    let unused = 64 - from;
    widened(x, from, to, |lane| ((lane << unused) as i64 >> unused) as u64 & u64::MAX >> (64 - to))
}

#[inline(always)]
fn widened(x: u64, from: u32, to: u32, extend: impl Fn(u64) -> u64) -> Halves {
    let in_half = 64 / to;
    array::from_fn(|half| {
        (0..in_half).fold(0, |sum, place| {
            let lane = x >> (from * (half as u32 * in_half + place));
            sum | extend(lane) << (to * place)
        })
    })
}

/// Eight sums of absolute differences of four neighbouring bytes (MPSADBW).
#[inline(never)]
pub fn multiple_sums(x: Halves, y: Halves, control: u8) -> Halves {
    let x = wide(x) >> (32 * u32::from(control >> 2 & 1));
    let block = ((wide(y) >> (32 * u32::from(control & 3))) as u32).to_le_bytes();
    let sum = |place: u32| -> u16 {
        let window = ((x >> (8 * place)) as u32).to_le_bytes();
        window.iter().zip(&block).map(|(&x, &y)| u16::from(x.abs_diff(y))).sum()
    };
    array::from_fn(|half| lanes::from_words(array::from_fn(|place| sum((4 * half + place) as u32))))
}

/// The least unsigned word and, above it, its place (PHMINPOSUW).
#[inline(never)]
pub fn minimum_word_and_place(x: Halves) -> Halves {
    let least =
        (0..8u64).map(|place| extract(x, 16, place as u8) | place << 16).min_by_key(|word| word & 0xffff);
    [least.unwrap_or(0), 0]
}
