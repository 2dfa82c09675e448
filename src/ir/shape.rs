//! What kind of operation an [`OpCode`] is, with its widths taken apart: how passes and code generators
//! look at operations.

use super::{Condition, OpCode, Width};

/// Where the second operand of an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// In register `c`.
    Register,
    /// In `imm`.
    Immediate,
}

/// A two-operand operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    And,
    Or,
    Xor,
}

/// A shift.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shift {
    Left,
    Right,
    RightSigned,
}

/// How a load extends what it has read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// The rest of the destination stays.
    Keep,
    /// With zeros, to 64 bits.
    Zero,
    /// With the sign, to a width; above it the rule of that width holds.
    Sign(Width),
}

/// An operation by kind. Operands are where [`OpCode`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shape {
    Move(Width),
    MoveImmediate(Width),
    MoveImmediateWide,
    ZeroExtend(Width),
    SignExtend {
        from: Width,
        to: Width,
    },
    ExtractHigh8,
    InsertHigh8,
    Lea(Width),
    Load(Width, Extension),
    Store(Width),
    StoreImmediate(Width),
    LoadForUpdate(Width),
    Push,
    PushImmediate,
    Pop,
    Binary {
        operation: Binary,
        right: Right,
        width: Width,
        is_quiet: bool,
    },
    AddCarry(Width),
    SubBorrow(Width),
    Compare {
        is_test: bool,
        right: Right,
        width: Width,
    },
    Increment(Width),
    Decrement(Width),
    Negate(Width),
    Not(Width),
    ShiftImmediate {
        shift: Shift,
        width: Width,
        is_quiet: bool,
    },
    Shift {
        shift: Shift,
        width: Width,
        is_quiet: bool,
    },
    /// By `imm` to the left or right; the quiet form is always to the left.
    RotateImmediate {
        width: Width,
        is_right: bool,
        is_quiet: bool,
    },
    Multiply {
        width: Width,
        is_quiet: bool,
    },
    ByteSwap(Width),
    SetCondition,
    MoveIf(Width),
    /// Bytes, and whether a misaligned address faults.
    VectorLoad {
        bytes: u8,
        is_aligned: bool,
    },
    VectorStore {
        bytes: u8,
        is_aligned: bool,
    },
    VectorMove {
        bytes: u8,
    },
    VectorClearUpper,
    Vector,
    Vector256,
    Call,
    CallAndExit,
    Leave,
    Jump,
    JumpIf,
    JumpRegister,
    CallNear,
    CallRegister,
    Return,
    CompareJump {
        is_test: bool,
        right: Right,
        condition: Condition,
        width: Width,
    },
}

/// The first operation of a row of four widths, and the shape at each.
type Row = (OpCode, fn(Width) -> Shape);

/// All rows.
const FOURS: [Row; 51] = {
    use OpCode as O;
    use Shape as S;
    macro_rules! binary {
        ($operation:ident, $right:ident) => {
            |width| S::Binary { operation: Binary::$operation, right: Right::$right, width, is_quiet: false }
        };
    }
    macro_rules! jump {
        ($is_test:literal, $right:ident, $condition:ident) => {
            |width| S::CompareJump {
                is_test: $is_test,
                right: Right::$right,
                condition: Condition::$condition,
                width,
            }
        };
    }
    [
        (O::Mov8, S::Move),
        (O::MovImm8, S::MoveImmediate),
        (O::Store8, S::Store),
        (O::StoreImm8, S::StoreImmediate),
        (O::LoadForUpdate8, S::LoadForUpdate),
        (O::Add8, binary!(Add, Register)),
        (O::AddImm8, binary!(Add, Immediate)),
        (O::Sub8, binary!(Sub, Register)),
        (O::SubImm8, binary!(Sub, Immediate)),
        (O::And8, binary!(And, Register)),
        (O::AndImm8, binary!(And, Immediate)),
        (O::Or8, binary!(Or, Register)),
        (O::OrImm8, binary!(Or, Immediate)),
        (O::Xor8, binary!(Xor, Register)),
        (O::XorImm8, binary!(Xor, Immediate)),
        (O::Adc8, S::AddCarry),
        (O::Sbb8, S::SubBorrow),
        (O::Cmp8, |width| S::Compare { is_test: false, right: Right::Register, width }),
        (O::CmpImm8, |width| S::Compare { is_test: false, right: Right::Immediate, width }),
        (O::Test8, |width| S::Compare { is_test: true, right: Right::Register, width }),
        (O::TestImm8, |width| S::Compare { is_test: true, right: Right::Immediate, width }),
        (O::Inc8, S::Increment),
        (O::Dec8, S::Decrement),
        (O::Neg8, S::Negate),
        (O::Not8, S::Not),
        (O::ShlImm8, |width| S::ShiftImmediate { shift: Shift::Left, width, is_quiet: false }),
        (O::ShrImm8, |width| S::ShiftImmediate { shift: Shift::Right, width, is_quiet: false }),
        (O::SarImm8, |width| S::ShiftImmediate { shift: Shift::RightSigned, width, is_quiet: false }),
        (O::Shl8, |width| S::Shift { shift: Shift::Left, width, is_quiet: false }),
        (O::Shr8, |width| S::Shift { shift: Shift::Right, width, is_quiet: false }),
        (O::Sar8, |width| S::Shift { shift: Shift::RightSigned, width, is_quiet: false }),
        (O::RolImm8, |width| S::RotateImmediate { width, is_right: false, is_quiet: false }),
        (O::RorImm8, |width| S::RotateImmediate { width, is_right: true, is_quiet: false }),
        (O::CmpJumpBelow8, jump!(false, Register, Below)),
        (O::CmpImmJumpBelow8, jump!(false, Immediate, Below)),
        (O::CmpJumpEqual8, jump!(false, Register, Equal)),
        (O::CmpImmJumpEqual8, jump!(false, Immediate, Equal)),
        (O::CmpJumpBelowOrEqual8, jump!(false, Register, BelowOrEqual)),
        (O::CmpImmJumpBelowOrEqual8, jump!(false, Immediate, BelowOrEqual)),
        (O::CmpJumpSign8, jump!(false, Register, Sign)),
        (O::CmpImmJumpSign8, jump!(false, Immediate, Sign)),
        (O::CmpJumpLess8, jump!(false, Register, Less)),
        (O::CmpImmJumpLess8, jump!(false, Immediate, Less)),
        (O::CmpJumpLessOrEqual8, jump!(false, Register, LessOrEqual)),
        (O::CmpImmJumpLessOrEqual8, jump!(false, Immediate, LessOrEqual)),
        (O::TestJumpEqual8, jump!(true, Register, Equal)),
        (O::TestImmJumpEqual8, jump!(true, Immediate, Equal)),
        (O::TestJumpSign8, jump!(true, Register, Sign)),
        (O::TestImmJumpSign8, jump!(true, Immediate, Sign)),
        (O::TestJumpLessOrEqual8, jump!(true, Register, LessOrEqual)),
        (O::TestImmJumpLessOrEqual8, jump!(true, Immediate, LessOrEqual)),
    ]
};

impl OpCode {
    /// The operation by kind.
    pub fn shape(self) -> Shape {
        use OpCode as O;
        use Width::{W8, W16, W32, W64};
        let quiet = |operation, right, width| Shape::Binary { operation, right, width, is_quiet: true };
        let quiet_shift = |shift, width| Shape::ShiftImmediate { shift, width, is_quiet: true };
        match self {
            O::MovImmWide => Shape::MoveImmediateWide,
            O::ZeroExtend8 => Shape::ZeroExtend(W8),
            O::ZeroExtend16 => Shape::ZeroExtend(W16),
            O::SignExtend8To16 => Shape::SignExtend { from: W8, to: W16 },
            O::SignExtend8To32 => Shape::SignExtend { from: W8, to: W32 },
            O::SignExtend8To64 => Shape::SignExtend { from: W8, to: W64 },
            O::SignExtend16To32 => Shape::SignExtend { from: W16, to: W32 },
            O::SignExtend16To64 => Shape::SignExtend { from: W16, to: W64 },
            O::SignExtend32To64 => Shape::SignExtend { from: W32, to: W64 },
            O::ExtractHigh8 => Shape::ExtractHigh8,
            O::InsertHigh8 => Shape::InsertHigh8,
            O::Lea16 => Shape::Lea(W16),
            O::Lea32 => Shape::Lea(W32),
            O::Lea64 => Shape::Lea(W64),
            O::Load8 => Shape::Load(W8, Extension::Keep),
            O::Load16 => Shape::Load(W16, Extension::Keep),
            O::LoadZero8 => Shape::Load(W8, Extension::Zero),
            O::LoadZero16 => Shape::Load(W16, Extension::Zero),
            O::Load32 => Shape::Load(W32, Extension::Zero),
            O::Load64 => Shape::Load(W64, Extension::Zero),
            O::LoadSign8To16 => Shape::Load(W8, Extension::Sign(W16)),
            O::LoadSign8To32 => Shape::Load(W8, Extension::Sign(W32)),
            O::LoadSign8To64 => Shape::Load(W8, Extension::Sign(W64)),
            O::LoadSign16To32 => Shape::Load(W16, Extension::Sign(W32)),
            O::LoadSign16To64 => Shape::Load(W16, Extension::Sign(W64)),
            O::LoadSign32To64 => Shape::Load(W32, Extension::Sign(W64)),
            O::Push64 => Shape::Push,
            O::PushImm64 => Shape::PushImmediate,
            O::Pop64 => Shape::Pop,
            O::AddQuiet32 => quiet(Binary::Add, Right::Register, W32),
            O::AddQuiet64 => quiet(Binary::Add, Right::Register, W64),
            O::AddImmQuiet32 => quiet(Binary::Add, Right::Immediate, W32),
            O::AddImmQuiet64 => quiet(Binary::Add, Right::Immediate, W64),
            O::SubQuiet32 => quiet(Binary::Sub, Right::Register, W32),
            O::SubQuiet64 => quiet(Binary::Sub, Right::Register, W64),
            O::SubImmQuiet32 => quiet(Binary::Sub, Right::Immediate, W32),
            O::SubImmQuiet64 => quiet(Binary::Sub, Right::Immediate, W64),
            O::AndQuiet32 => quiet(Binary::And, Right::Register, W32),
            O::AndQuiet64 => quiet(Binary::And, Right::Register, W64),
            O::AndImmQuiet32 => quiet(Binary::And, Right::Immediate, W32),
            O::AndImmQuiet64 => quiet(Binary::And, Right::Immediate, W64),
            O::OrQuiet32 => quiet(Binary::Or, Right::Register, W32),
            O::OrQuiet64 => quiet(Binary::Or, Right::Register, W64),
            O::OrImmQuiet32 => quiet(Binary::Or, Right::Immediate, W32),
            O::OrImmQuiet64 => quiet(Binary::Or, Right::Immediate, W64),
            O::XorQuiet32 => quiet(Binary::Xor, Right::Register, W32),
            O::XorQuiet64 => quiet(Binary::Xor, Right::Register, W64),
            O::XorImmQuiet32 => quiet(Binary::Xor, Right::Immediate, W32),
            O::XorImmQuiet64 => quiet(Binary::Xor, Right::Immediate, W64),
            O::ShlImmQuiet32 => quiet_shift(Shift::Left, W32),
            O::ShlImmQuiet64 => quiet_shift(Shift::Left, W64),
            O::ShrImmQuiet32 => quiet_shift(Shift::Right, W32),
            O::ShrImmQuiet64 => quiet_shift(Shift::Right, W64),
            O::SarImmQuiet32 => quiet_shift(Shift::RightSigned, W32),
            O::SarImmQuiet64 => quiet_shift(Shift::RightSigned, W64),
            O::ShlQuiet32 => Shape::Shift { shift: Shift::Left, width: W32, is_quiet: true },
            O::ShlQuiet64 => Shape::Shift { shift: Shift::Left, width: W64, is_quiet: true },
            O::ShrQuiet32 => Shape::Shift { shift: Shift::Right, width: W32, is_quiet: true },
            O::ShrQuiet64 => Shape::Shift { shift: Shift::Right, width: W64, is_quiet: true },
            O::SarQuiet32 => Shape::Shift { shift: Shift::RightSigned, width: W32, is_quiet: true },
            O::SarQuiet64 => Shape::Shift { shift: Shift::RightSigned, width: W64, is_quiet: true },
            O::RolImmQuiet32 => Shape::RotateImmediate { width: W32, is_right: false, is_quiet: true },
            O::RolImmQuiet64 => Shape::RotateImmediate { width: W64, is_right: false, is_quiet: true },
            O::Imul16 => Shape::Multiply { width: W16, is_quiet: false },
            O::Imul32 => Shape::Multiply { width: W32, is_quiet: false },
            O::Imul64 => Shape::Multiply { width: W64, is_quiet: false },
            O::ImulQuiet32 => Shape::Multiply { width: W32, is_quiet: true },
            O::ImulQuiet64 => Shape::Multiply { width: W64, is_quiet: true },
            O::ByteSwap32 => Shape::ByteSwap(W32),
            O::ByteSwap64 => Shape::ByteSwap(W64),
            O::SetCondition => Shape::SetCondition,
            O::MoveIf32 => Shape::MoveIf(W32),
            O::MoveIf64 => Shape::MoveIf(W64),
            O::VectorLoad32 => Shape::VectorLoad { bytes: 4, is_aligned: false },
            O::VectorLoad64 => Shape::VectorLoad { bytes: 8, is_aligned: false },
            O::VectorLoad128 => Shape::VectorLoad { bytes: 16, is_aligned: false },
            O::VectorLoad128Aligned => Shape::VectorLoad { bytes: 16, is_aligned: true },
            O::VectorLoad256 => Shape::VectorLoad { bytes: 32, is_aligned: false },
            O::VectorLoad256Aligned => Shape::VectorLoad { bytes: 32, is_aligned: true },
            O::VectorStore32 => Shape::VectorStore { bytes: 4, is_aligned: false },
            O::VectorStore64 => Shape::VectorStore { bytes: 8, is_aligned: false },
            O::VectorStore128 => Shape::VectorStore { bytes: 16, is_aligned: false },
            O::VectorStore128Aligned => Shape::VectorStore { bytes: 16, is_aligned: true },
            O::VectorStore256 => Shape::VectorStore { bytes: 32, is_aligned: false },
            O::VectorStore256Aligned => Shape::VectorStore { bytes: 32, is_aligned: true },
            O::VectorMove128 => Shape::VectorMove { bytes: 16 },
            O::VectorMove256 => Shape::VectorMove { bytes: 32 },
            O::VectorClearUpper => Shape::VectorClearUpper,
            O::Vector => Shape::Vector,
            O::Vector256 => Shape::Vector256,
            O::Call => Shape::Call,
            O::CallAndExit => Shape::CallAndExit,
            O::Leave => Shape::Leave,
            O::Jump => Shape::Jump,
            O::JumpIf => Shape::JumpIf,
            O::JumpRegister => Shape::JumpRegister,
            O::CallNear => Shape::CallNear,
            O::CallRegister => Shape::CallRegister,
            O::Return => Shape::Return,
            _ => self.row_of_four(),
        }
    }

    fn row_of_four(self) -> Shape {
        const WIDTHS: [Width; 4] = [Width::W8, Width::W16, Width::W32, Width::W64];
        for (first, shape) in &FOURS {
            let place = (self as u16).wrapping_sub(*first as u16);
            if let Some(&width) = WIDTHS.get(usize::from(place)) {
                return shape(width);
            }
        }
        unreachable!("{self:?} stands in no row of four widths")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_the_shape_of_its_name() {
        for number in 0..OpCode::COUNT as u16 {
            let code = OpCode::from_number(number).unwrap();
            let (name, shape) = (format!("{code:?}"), format!("{:?}", code.shape()));
            for (suffix, width) in [("8", "W8"), ("16", "W16"), ("32", "W32"), ("64", "W64")] {
                let digits = name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
                if &name[digits..] == suffix && !name.starts_with("Vector") && !shape.contains("Push") {
                    let is_plain = matches!(code, OpCode::ExtractHigh8 | OpCode::InsertHigh8 | OpCode::Pop64);
                    assert!(is_plain || shape.contains(width), "{name}: {shape}");
                }
            }
            assert_eq!(name.contains("Quiet"), shape.contains("is_quiet: true"), "{name}: {shape}");
            let is_immediate = name.contains("Imm") && !name.starts_with("Mov") && !shape.contains("Shift");
            if is_immediate && !shape.contains("Rotate") {
                assert!(shape.contains("Immediate"), "{name}: {shape}");
            }
        }
    }
}
