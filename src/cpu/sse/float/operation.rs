//! The vector operations on floating-point lanes.

use crate::cpu::sse::FLOAT_OPERATION;

macro_rules! operations {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// What a vector operation does: `a` = operation of `a` and `c`, unless said otherwise. In the names
        /// `Ss` is a single in the low lane and `Ps` four of them, `Sd` and `Pd` the same for doubles; `Dq` are
        /// 32-bit integers in lanes, `Si` is an integer register.
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
    AddSs, AddSd, AddPs, AddPd,
    SubtractSs, SubtractSd, SubtractPs, SubtractPd,
    MultiplySs, MultiplySd, MultiplyPs, MultiplyPd,
    DivideSs, DivideSd, DividePs, DividePd,
    MinimumSs, MinimumSd, MinimumPs, MinimumPd,
    MaximumSs, MaximumSd, MaximumPs, MaximumPd,
    /// `a` = root of `c`.
    SquareRootSs, SquareRootSd, SquareRootPs, SquareRootPd,
    /// All ones where the predicate in `d` holds, else zero.
    CompareSs, CompareSd, ComparePs, ComparePd,
    /// Flags of `a` compared with `c`; a quiet NaN is no error when `d` is 1.
    FlagsSs, FlagsSd,
    AddSubtractPs, AddSubtractPd,
    HorizontalAddPs, HorizontalAddPd,
    HorizontalSubtractPs, HorizontalSubtractPd,
    /// By the immediate byte in `d`.
    DotProductPs, DotProductPd,
    /// `a` = `c` rounded to an integer as the immediate byte in `d` says.
    RoundSs, RoundSd, RoundPs, RoundPd,
    ReciprocalSs, ReciprocalPs,
    ReciprocalRootSs, ReciprocalRootPs,
    SsToSd, SdToSs, PsToPd, PdToPs,
    DqToPs, DqToPd,
    /// Rounded by MXCSR, or truncated when `d` is 1.
    PsToDq, PdToDq,
    /// Integer register `b`, of 64 bits when `d` is 1, else of 32.
    SiToSs, SiToSd,
    /// Integer register `a` = `c`: bit 0 of `d` for 64 bits, bit 1 for truncation.
    SsToSi, SdToSi,
    /// `a` = `b` times `c` plus vector register `d`, rounded once, with the signs of `disp`.
    FusedSs, FusedSd, FusedPs, FusedPd,
    /// Singles of half-precision numbers in the low half of `c`.
    HalvesToSingles,
    /// Half-precision numbers of the singles of `c`, rounded as `d` says; the rest of `a` is zero.
    SinglesToHalves,
}

impl Operation {
    /// The operation with a number of this half.
    #[inline(always)]
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.get((number ^ FLOAT_OPERATION) as usize).copied()
    }

    /// The number for [`Op::imm`](crate::ir::Op::imm).
    pub const fn number(self) -> i32 {
        FLOAT_OPERATION | self as i32
    }
}
