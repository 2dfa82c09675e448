//! The vector operations that came with AVX and AVX2.

use crate::cpu::sse::AVX_OPERATION;

macro_rules! operations {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// What a vector operation does. Unless said otherwise `a`, `b`, `c` are the vector registers of the
        /// micro-operation, `d` its immediate byte.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Operation { $($(#[$attribute])* $name,)* }

        impl Operation {
            const ALL: &[Operation] = &[$(Operation::$name),*];
        }
    };
}

operations! {
    /// The lowest lane of `c` in every lane.
    Broadcast8,
    Broadcast16,
    Broadcast32,
    Broadcast64,
    Broadcast128,
    /// `b` with its low (`d` is 0) or upper (1) half replaced by the low half of `c`.
    InsertHalf,
    /// The low (`d` is 0) or upper (1) half of `c`.
    ExtractHalf,
    /// Halves of `b` and `c` by the fields of `d` (VPERM2F128).
    PermuteHalves,
    /// Quadwords of `c` by the two-bit fields of `d` (VPERMQ).
    PermuteQuadwords,
    /// Doublewords of `c` by the low three bits of those of `b` (VPERMD).
    PermuteDoublewords,
    /// Doublewords of `b` within each 128 bits, by the low two bits of those of `c` (VPERMILPS).
    SelectDoublewords,
    /// Quadwords of `b` within each 128 bits, by bit 1 of those of `c` (VPERMILPD).
    SelectQuadwords,
    /// Lanes of `b` shifted by those of `c` (VPSLLVD and the like).
    ShiftLeftEach32,
    ShiftLeftEach64,
    ShiftRightEach32,
    ShiftRightEach64,
    ShiftRightSignedEach32,
    /// ZF = no highest bit of a lane is set in `b & c`, CF = none in `!b & c`, the other flags zero (VTESTPS).
    TestSigns32,
    TestSigns64,
}

impl Operation {
    /// The operation with a number of this family.
    #[inline(always)]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.get((number ^ AVX_OPERATION) as usize).copied()
    }

    /// The number for [`Op::imm`](crate::ir::Op::imm).
    pub const fn number(self) -> i32 {
        AVX_OPERATION | self as i32
    }
}
