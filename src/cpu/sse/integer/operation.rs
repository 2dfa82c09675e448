//! The vector operations on integer lanes and whole registers.

macro_rules! operations {
    ($($(#[$attribute:meta])* $name:ident,)*) => {
        /// What a vector operation does. Unless said otherwise `a`, `b`, `c` are the vector registers of the
        /// micro-operation, `d` its immediate byte, and only the low 128 bits are meant.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        #[allow(missing_docs)]
        pub enum Operation { $($(#[$attribute])* $name,)* }

        impl Operation {
            /// How many operations there are.
            pub const COUNT: usize = [$(Operation::$name),*].len();
        }
    };
}

operations! {
    And,
    /// `!b & c`.
    AndNot,
    Or,
    Xor,
    Equal8,
    Equal16,
    Equal32,
    Equal64,
    /// Integer register `a` = the highest bits of the lanes of `c`.
    Mask8,
    Mask32,
    Mask64,
    MinimumUnsigned8,
    MinimumUnsigned16,
    MinimumUnsigned32,
    Subtract8,
    Subtract16,
    Subtract32,
    Subtract64,
    Add8,
    Add16,
    Add32,
    Add64,
    ShuffleDoublewords,
    UnpackLow8,
    UnpackLow16,
    UnpackLow32,
    UnpackLow64,
    UnpackHigh8,
    UnpackHigh16,
    UnpackHigh32,
    UnpackHigh64,
    /// `b` with its low 32 bits from `c`.
    MergeLow32,
    /// `b` with its low 64 bits from `c`.
    MergeLow64,
    /// The low 64 bits of `c`, zero-extended.
    MoveLow64,
    /// The high 64 bits of `c`, zero-extended.
    MoveHigh64,
    /// `b` with its low 64 bits from the high ones of `c`.
    HighToLow64,
    /// The low 32 bits of integer register `c`, zero-extended.
    FromInteger32,
    /// Integer register `c`, zero-extended.
    FromInteger64,
    /// Integer register `a` = the low 32 bits of `c`, zero-extended.
    ToInteger32,
    /// Integer register `a` = the low 64 bits of `c`.
    ToInteger64,
    ShiftLeftBytes,
    ShiftRightBytes,
    AlignRight,
    ShuffleBytes,
    /// By the low 64 bits of `c`.
    ShiftLeft16,
    ShiftLeft32,
    ShiftLeft64,
    ShiftRight16,
    ShiftRight32,
    ShiftRight64,
    ShiftRightSigned16,
    ShiftRightSigned32,
    /// By `d`.
    ShiftLeftImmediate16,
    ShiftLeftImmediate32,
    ShiftLeftImmediate64,
    ShiftRightImmediate16,
    ShiftRightImmediate32,
    ShiftRightImmediate64,
    ShiftRightSignedImmediate16,
    ShiftRightSignedImmediate32,
    GreaterSigned8,
    GreaterSigned16,
    GreaterSigned32,
    GreaterSigned64,
    MaximumUnsigned8,
    MaximumUnsigned16,
    MaximumUnsigned32,
    MinimumSigned8,
    MinimumSigned16,
    MinimumSigned32,
    MaximumSigned8,
    MaximumSigned16,
    MaximumSigned32,
    AddSaturatingSigned8,
    AddSaturatingSigned16,
    AddSaturatingUnsigned8,
    AddSaturatingUnsigned16,
    SubtractSaturatingSigned8,
    SubtractSaturatingSigned16,
    SubtractSaturatingUnsigned8,
    SubtractSaturatingUnsigned16,
    Average8,
    Average16,
    /// Of `c`.
    Absolute8,
    Absolute16,
    Absolute32,
    WithSignOf8,
    WithSignOf16,
    WithSignOf32,
    MultiplyLow16,
    MultiplyLow32,
    MultiplyHighSigned16,
    MultiplyHighUnsigned16,
    MultiplyHighRounded16,
    MultiplyEvenUnsigned32,
    MultiplyEvenSigned32,
    MultiplyAdd16,
    MultiplyAddUnsignedSigned8,
    SumOfAbsoluteDifferences,
    MultipleSumsOfAbsoluteDifferences,
    HorizontalAdd16,
    HorizontalAdd32,
    HorizontalAddSaturating16,
    HorizontalSubtract16,
    HorizontalSubtract32,
    HorizontalSubtractSaturating16,
    PackSigned16,
    PackSigned32,
    PackUnsigned16,
    PackUnsigned32,
    ShuffleLowWords,
    ShuffleHighWords,
    ShuffleSingles,
    ShuffleDoubles,
    /// The low 64 bits of `c`, twice.
    DuplicateLow64,
    DuplicateEven32,
    DuplicateOdd32,
    BlendWords,
    BlendSingles,
    BlendDoubles,
    /// Lanes of `c` where the highest bit of the lane of vector register `d` is set, else of `b`.
    BlendVariable8,
    BlendVariable32,
    BlendVariable64,
    InsertSingle,
    /// Integer register `c` into lane `d` of `b`.
    Insert8,
    Insert16,
    Insert32,
    Insert64,
    /// Integer register `a` = lane `d` of `c`, zero-extended.
    Extract8,
    Extract16,
    Extract32,
    Extract64,
    /// The low lanes of `c`, extended from the first width to the second.
    SignExtend8To16,
    SignExtend8To32,
    SignExtend8To64,
    SignExtend16To32,
    SignExtend16To64,
    SignExtend32To64,
    ZeroExtend8To16,
    ZeroExtend8To32,
    ZeroExtend8To64,
    ZeroExtend16To32,
    ZeroExtend16To64,
    ZeroExtend32To64,
    MinimumWordAndPlace,
    /// ZF = `b & c` is zero, CF = `!b & c` is zero, the other flags zero.
    Test,
    /// PCMPxSTRx of `b` and `c` with control `d`; explicit lengths are 64 bits wide if `disp` is 1.
    /// The flags, and ECX or XMM0.
    StringExplicitIndex,
    StringExplicitMask,
    StringImplicitIndex,
    StringImplicitMask,
}

impl Operation {
    /// The operation with this number, if there is one.
    #[inline(always)]
    pub fn from_number(number: i32) -> Option<Self> {
        let number = u8::try_from(number).ok().filter(|&number| usize::from(number) < Self::COUNT)?;
        // SAFETY: the discriminants are 0 to COUNT - 1 without gaps, and `number` is one of them.
        Some(unsafe { core::mem::transmute::<u8, Self>(number) })
    }
}
