//! The double extended-precision format (SDM vol. 1 4.2.2).

/// An 80-bit floating-point value as its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Float80 {
    /// The significand with its explicit integer bit 63.
    pub mantissa: u64,
    /// The sign at bit 15 and the biased exponent.
    pub sign_exponent: u16,
}

impl Float80 {
    /// +0.
    pub const ZERO: Self = Self::new(false, 0, 0);
    /// 1.0.
    pub const ONE: Self = Self::new(false, 0x3fff, 1 << 63);
    /// +∞.
    pub const INFINITY: Self = Self::new(false, 0x7fff, 1 << 63);
    /// The quiet NaN that masked invalid operations give.
    pub const INDEFINITE: Self = Self::new(true, 0x7fff, 3 << 62);

    /// Puts the parts together.
    #[inline(always)]
    pub const fn new(is_negative: bool, exponent: u16, mantissa: u64) -> Self {
        Self { mantissa, sign_exponent: (is_negative as u16) << 15 | exponent }
    }

    /// The biased exponent.
    #[inline(always)]
    pub const fn exponent(self) -> u16 {
        self.sign_exponent & 0x7fff
    }

    /// The sign bit.
    #[inline(always)]
    pub const fn is_negative(self) -> bool {
        self.sign_exponent >> 15 != 0
    }
}
