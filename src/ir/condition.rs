//! The sixteen conditions of `Jcc`, `SETcc` and `CMOVcc` (SDM vol. 1 appendix B).

/// A condition on the arithmetic flags, numbered as the instruction encoding numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Condition {
    Overflow,
    NotOverflow,
    Below,
    AboveOrEqual,
    Equal,
    NotEqual,
    BelowOrEqual,
    Above,
    Sign,
    NotSign,
    ParityEven,
    ParityOdd,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Greater,
}

impl Condition {
    const ALL: [Self; 16] = [
        Self::Overflow,
        Self::NotOverflow,
        Self::Below,
        Self::AboveOrEqual,
        Self::Equal,
        Self::NotEqual,
        Self::BelowOrEqual,
        Self::Above,
        Self::Sign,
        Self::NotSign,
        Self::ParityEven,
        Self::ParityOdd,
        Self::Less,
        Self::GreaterOrEqual,
        Self::LessOrEqual,
        Self::Greater,
    ];

    /// The condition with the low four bits of `code` as its encoding.
    pub const fn from_code(code: u8) -> Self {
        Self::ALL[(code & 15) as usize]
    }

    /// The condition that holds when this one does not.
    pub const fn negated(self) -> Self {
        Self::from_code(self as u8 ^ 1)
    }
}
