//! The two formats, as raw bits in the low part of a `u64`.

use rustc_apfloat::ieee;
use rustc_apfloat::{Float, FloatConvert, StatusAnd};

/// How a floating-point format lays out its bits.
pub trait Layout {
    /// The same format in software.
    type Soft: Float;
    /// Bits of the fraction.
    const FRACTION_BITS: u32;
    /// The sign bit.
    const SIGN: u64;
    /// All bits of the exponent: infinity.
    const INFINITY: u64;
    /// What an invalid operation gives.
    const DEFAULT_NAN: u64;
    /// By how many powers of two results are moved away from the edges of the exponents: less than the
    /// exponents' range, and more than the fraction's bits where products and sums are formed.
    const SCALE: i32;

    /// The number in a format that holds the exact products of all others.
    fn widened(x: Self::Soft) -> ieee::Quad;
    /// Whether a number has no more bits than this format's fraction, whatever its exponent.
    fn has_fraction_of(x: ieee::Quad) -> bool;
}

/// The two methods of [`Layout`] that need the format's own conversions.
macro_rules! with_quad {
    () => {
        fn widened(x: Self::Soft) -> ieee::Quad {
            x.convert(&mut false).value
        }

        fn has_fraction_of(x: ieee::Quad) -> bool {
            if x.is_zero() {
                return true;
            }
            let mut loses = false;
            let narrow: StatusAnd<Self::Soft> = x.scalbn(-x.ilogb()).convert(&mut loses);
            narrow.status.is_empty() && !loses
        }
    };
}

/// A floating-point format that SSE calculates in.
pub trait Format: Layout {
    /// Host arithmetic, rounded to nearest; NaNs' payloads mean nothing.
    fn add(x: u64, y: u64) -> u64;
    /// As [`add`](Self::add).
    fn subtract(x: u64, y: u64) -> u64;
    /// As [`add`](Self::add).
    fn multiply(x: u64, y: u64) -> u64;
    /// As [`add`](Self::add).
    fn divide(x: u64, y: u64) -> u64;
    /// As [`add`](Self::add).
    fn square_root(x: u64) -> u64;
    /// `x * y + z`, as [`add`](Self::add).
    fn multiply_add(x: u64, y: u64, z: u64) -> u64;
    /// Whether `x < y`.
    fn is_less(x: u64, y: u64) -> bool;
    /// Whether `x == y`.
    fn is_equal(x: u64, y: u64) -> bool;
}

/// Single precision.
pub struct Single;
/// Double precision.
pub struct Double;
/// Half precision, for conversions.
pub struct Half;

impl Layout for Half {
    type Soft = ieee::Half;
    const FRACTION_BITS: u32 = 10;
    const SIGN: u64 = 1 << 15;
    const INFINITY: u64 = 0x7c00;
    const DEFAULT_NAN: u64 = 0xfe00;
    const SCALE: i32 = 12;
    with_quad!();
}

macro_rules! format {
    ($name:ident, $float:ty, $bits:ty, $soft:ty, $fraction_bits:literal) => {
        impl Layout for $name {
            type Soft = $soft;
            const FRACTION_BITS: u32 = $fraction_bits;
            const SIGN: u64 = 1 << (<$bits>::BITS - 1);
            const INFINITY: u64 = <$float>::INFINITY.to_bits() as u64;
            const DEFAULT_NAN: u64 = Self::SIGN | Self::INFINITY | 1 << (Self::FRACTION_BITS - 1);
            const SCALE: i32 = 64;
            with_quad!();
        }

        impl Format for $name {
            #[inline(always)]
            fn add(x: u64, y: u64) -> u64 {
                (<$float>::from_bits(x as $bits) + <$float>::from_bits(y as $bits)).to_bits().into()
            }
            #[inline(always)]
            fn subtract(x: u64, y: u64) -> u64 {
                (<$float>::from_bits(x as $bits) - <$float>::from_bits(y as $bits)).to_bits().into()
            }
            #[inline(always)]
            fn multiply(x: u64, y: u64) -> u64 {
                (<$float>::from_bits(x as $bits) * <$float>::from_bits(y as $bits)).to_bits().into()
            }
            #[inline(always)]
            fn divide(x: u64, y: u64) -> u64 {
                (<$float>::from_bits(x as $bits) / <$float>::from_bits(y as $bits)).to_bits().into()
            }
            #[inline(always)]
            fn square_root(x: u64) -> u64 {
                <$float>::from_bits(x as $bits).sqrt().to_bits().into()
            }
            #[inline(always)]
            fn multiply_add(x: u64, y: u64, z: u64) -> u64 {
                let (x, y) = (<$float>::from_bits(x as $bits), <$float>::from_bits(y as $bits));
                x.mul_add(y, <$float>::from_bits(z as $bits)).to_bits().into()
            }
            #[inline(always)]
            fn is_less(x: u64, y: u64) -> bool {
                <$float>::from_bits(x as $bits) < <$float>::from_bits(y as $bits)
            }
            #[inline(always)]
            fn is_equal(x: u64, y: u64) -> bool {
                <$float>::from_bits(x as $bits) == <$float>::from_bits(y as $bits)
            }
        }
    };
}

format!(Single, f32, u32, ieee::Single, 23);
format!(Double, f64, u64, ieee::Double, 52);

/// Whether the exponent is neither all zeros nor all ones.
#[inline(always)]
pub const fn is_normal<F: Layout>(x: u64) -> bool {
    let exponent = x & F::INFINITY;
    exponent != 0 && exponent != F::INFINITY
}

/// Whether the number is a NaN.
#[inline(always)]
pub const fn is_nan<F: Layout>(x: u64) -> bool {
    x & !F::SIGN > F::INFINITY
}

/// Whether the number is a signalling NaN.
pub const fn is_signalling<F: Layout>(x: u64) -> bool {
    is_nan::<F>(x) && x & quiet_bit::<F>() == 0
}

/// Whether the number is denormal: not zero, with a zero exponent.
#[inline(always)]
pub const fn is_denormal<F: Layout>(x: u64) -> bool {
    x & F::INFINITY == 0 && x & !F::SIGN != 0
}

/// Whether the number is a zero of either sign.
pub const fn is_zero<F: Layout>(x: u64) -> bool {
    x & !F::SIGN == 0
}

/// The NaN made quiet.
pub const fn quieted<F: Layout>(x: u64) -> u64 {
    x | quiet_bit::<F>()
}

const fn quiet_bit<F: Layout>() -> u64 {
    1 << (F::FRACTION_BITS - 1)
}

/// The smallest normal number.
pub const fn smallest_normal<F: Layout>() -> u64 {
    1 << F::FRACTION_BITS
}

/// The format's number in software.
pub fn soft<F: Layout>(x: u64) -> F::Soft {
    F::Soft::from_bits(x.into())
}

/// The number's bits.
pub fn bits<F: Layout>(x: F::Soft) -> u64 {
    x.to_bits() as u64
}
