//! The numbers of the vector operations: 256, the kind times four, and the shape.

use crate::cpu::sse::FLOAT_OPERATION;

/// What is computed in each lane: `a = b (kind) c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Kind {
    Add,
    Subtract,
    Multiply,
    Divide,
    /// Of `c`; the lanes a scalar form leaves are `b`'s.
    SquareRoot,
    Minimum,
    Maximum,
    /// All ones where predicate `d` holds, else zero.
    Compare,
    /// COMIS: the flags of `b` against `c`; any NaN is invalid.
    CompareOrdered,
    /// UCOMIS: as above, but quiet NaNs are not invalid.
    CompareUnordered,
}

const KINDS: [Kind; 10] = [
    Kind::Add,
    Kind::Subtract,
    Kind::Multiply,
    Kind::Divide,
    Kind::SquareRoot,
    Kind::Minimum,
    Kind::Maximum,
    Kind::Compare,
    Kind::CompareOrdered,
    Kind::CompareUnordered,
];

/// Format and number of the lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Shape {
    ScalarSingle,
    ScalarDouble,
    PackedSingle,
    PackedDouble,
}

impl Shape {
    /// Whether all lanes take part.
    pub const fn is_packed(self) -> bool {
        matches!(self, Self::PackedSingle | Self::PackedDouble)
    }
}

/// The number for [`Op::imm`](crate::ir::Op::imm).
pub const fn encode(kind: Kind, shape: Shape) -> i32 {
    FLOAT_OPERATION | (kind as i32) << 2 | shape as i32
}

/// What [`encode`] put into a number.
pub fn decode(number: i32) -> Option<(Kind, Shape)> {
    let shape = match number & 3 {
        0 => Shape::ScalarSingle,
        1 => Shape::ScalarDouble,
        2 => Shape::PackedSingle,
        _ => Shape::PackedDouble,
    };
    KINDS.get((number & 0xff) as usize >> 2).map(|&kind| (kind, shape))
}
