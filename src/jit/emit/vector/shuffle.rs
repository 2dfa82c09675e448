//! Operations that only move bytes, as the places that the result's bytes come from.

use crate::cpu::sse::integer::Operation;
use crate::ir::Op;
use std::array::from_fn;

/// Where the result's bytes come from: 0 to 15 in the first operand, 16 to 31 in the second.
pub type Places = [u8; 16];

/// The operands of a shuffle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// `b`, then `c`.
    Both,
    /// `c`, then `b`.
    Swapped,
    /// `c` twice.
    Second,
    /// `b`, then zeros.
    FirstAndZero,
    /// Zeros, then `b`.
    ZeroAndFirst,
    /// `c`, then zeros.
    SecondAndZero,
}

/// The operation as a shuffle, if it is one.
pub fn shuffle(operation: Operation, op: &Op) -> Option<(Operands, Places)> {
    use Operation as O;
    let d = op.d;
    // The lane of `bytes` bytes of the operands that the result's lane comes from.
    let lanes = |bytes: u8, from: &dyn Fn(u8) -> u8| -> Places {
        from_fn(|byte| from(byte as u8 / bytes) * bytes + byte as u8 % bytes)
    };
    let interleaved = |bytes: u8, is_high: bool| {
        let base = if is_high { 8 / bytes } else { 0 };
        lanes(bytes, &|lane| base + lane / 2 + (lane & 1) * (16 / bytes))
    };
    // Lanes of `c` where the bit is set, else of `b`.
    let blended = |bytes: u8| lanes(bytes, &|lane| lane + (d >> lane & 1) * (16 / bytes));
    let from = |first: u8| -> Places { from_fn(|byte| first + byte as u8) };
    Some(match operation {
        O::ShuffleDoublewords => (Operands::Second, lanes(4, &|lane| d >> (2 * lane) & 3)),
        O::ShuffleLowWords => {
            (Operands::Second, lanes(2, &|lane| if lane < 4 { d >> (2 * lane) & 3 } else { lane }))
        }
        O::ShuffleHighWords => (
            Operands::Second,
            lanes(2, &|lane| if lane < 4 { lane } else { 4 + (d >> (2 * (lane - 4)) & 3) }),
        ),
        O::ShuffleSingles => (Operands::Both, lanes(4, &|lane| (d >> (2 * lane) & 3) + (lane & 2) * 2)),
        O::ShuffleDoubles => (Operands::Both, lanes(8, &|lane| (d >> lane & 1) + lane * 2)),
        O::UnpackLow8 => (Operands::Both, interleaved(1, false)),
        O::UnpackLow16 => (Operands::Both, interleaved(2, false)),
        O::UnpackLow32 => (Operands::Both, interleaved(4, false)),
        O::UnpackLow64 => (Operands::Both, interleaved(8, false)),
        O::UnpackHigh8 => (Operands::Both, interleaved(1, true)),
        O::UnpackHigh16 => (Operands::Both, interleaved(2, true)),
        O::UnpackHigh32 => (Operands::Both, interleaved(4, true)),
        O::UnpackHigh64 => (Operands::Both, interleaved(8, true)),
        O::MergeLow32 => (Operands::Both, lanes(4, &|lane| if lane == 0 { 4 } else { lane })),
        O::MergeLow64 => (Operands::Both, lanes(8, &|lane| if lane == 0 { 2 } else { 1 })),
        O::HighToLow64 => (Operands::Both, lanes(8, &|lane| if lane == 0 { 3 } else { 1 })),
        O::MoveLow64 => (Operands::SecondAndZero, lanes(8, &|lane| lane * 2)),
        O::MoveHigh64 => (Operands::SecondAndZero, from(8)),
        O::DuplicateLow64 => (Operands::Second, lanes(8, &|_| 0)),
        O::DuplicateEven32 => (Operands::Second, lanes(4, &|lane| lane & 2)),
        O::DuplicateOdd32 => (Operands::Second, lanes(4, &|lane| lane | 1)),
        O::BlendWords => (Operands::Both, blended(2)),
        O::BlendSingles => (Operands::Both, blended(4)),
        O::BlendDoubles => (Operands::Both, blended(8)),
        O::ShiftLeftBytes => (Operands::ZeroAndFirst, from(16 - d.min(16))),
        O::ShiftRightBytes => (Operands::FirstAndZero, from(d.min(16))),
        O::AlignRight if d <= 16 => (Operands::Swapped, from(d)),
        O::AlignRight => (Operands::FirstAndZero, from((d - 16).min(16))),
        _ => return None,
    })
}
