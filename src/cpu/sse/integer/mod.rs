//! Data movement and integer lanes (SDM vol. 1 chapters 10 to 12; vol. 2 by mnemonic).

mod helper;
pub mod lanes;
mod lift;
mod mnemonic;
mod operation;
mod shuffle;
mod string;
#[cfg(test)]
mod tests;

pub use helper::HELPERS;
pub use helper::STORE_MASKED;
pub use lift::{lift, source, store_address};
pub use mnemonic::{by_immediate, by_operands};
pub use operation::Operation;

use crate::cpu::flags::{CF, LazyFlags, ZF};
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, OpCode, Reg, VectorReg};

/// 128 bits of a vector register, low half first.
type Halves = [u64; 2];

#[inline(always)]
fn place(number: u8) -> usize {
    usize::from(number).min(VectorReg::COUNT - 1)
}

#[inline(always)]
fn halves(vcpu: &Vcpu, number: u8) -> Halves {
    let [low, high, ..] = vcpu.vectors[place(number)].0;
    [low, high]
}

/// The low (0) or the upper (1) 128 bits of a vector register.
#[inline(always)]
fn part(vcpu: &Vcpu, number: u8, part: usize) -> Halves {
    let lanes = &vcpu.vectors[place(number)].0;
    [lanes[2 * part & 2], lanes[2 * part & 2 | 1]]
}

#[inline(always)]
fn each(x: Halves, y: Halves, lanes: impl Fn(u64, u64) -> u64) -> Halves {
    [lanes(x[0], y[0]), lanes(x[1], y[1])]
}

#[inline(always)]
fn each_by(x: Halves, count: u64, lanes: impl Fn(u64, u64) -> u64) -> Halves {
    [lanes(x[0], count), lanes(x[1], count)]
}

/// What comes out half as wide: that of `x` low, that of `y` high.
#[inline(always)]
fn each_narrowed(x: Halves, y: Halves, lanes: impl Fn(u64) -> u32) -> Halves {
    [lanes::from_doublewords([lanes(x[0]), lanes(x[1])]), lanes::from_doublewords([lanes(y[0]), lanes(y[1])])]
}

#[inline(always)]
fn interleaved(x: u64, y: u64, lanes: impl Fn(u32, u32) -> u64) -> Halves {
    [lanes(x as u32, y as u32), lanes((x >> 32) as u32, (y >> 32) as u32)]
}

/// Runs a vector operation of this half: number [`Op::imm`] of [`Operation`].
#[inline]
pub fn execute(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    use Operation as O;
    let Some(operation) = Operation::from_number(op.imm) else {
        return Err(Exception::InvalidOpcode);
    };
    // What all of the lanes take their count from, or half of the lanes their sources.
    let first = halves(vcpu, op.c);
    let count = u64::from(op.d);
    let last_part = usize::from(op.code == OpCode::Vector256);
    let mut number = 0;
    loop {
        let x = part(vcpu, op.b, number);
        let y = part(vcpu, op.c, number);
        let result = match operation {
            O::And => each(x, y, |x, y| x & y),
            O::AndNot => each(x, y, |x, y| !x & y),
            O::Or => each(x, y, |x, y| x | y),
            O::Xor => each(x, y, |x, y| x ^ y),
            O::Equal8 => each(x, y, lanes::equal::<8>),
            O::Equal16 => each(x, y, lanes::equal::<16>),
            O::Equal32 => each(x, y, lanes::equal::<32>),
            O::Equal64 => each(x, y, lanes::equal::<64>),
            O::Mask8 => return mask(vcpu, op, 8, lanes::byte_mask),
            O::Mask32 => return mask(vcpu, op, 2, |x| x >> 31 & 1 | x >> 62 & 2),
            O::Mask64 => return mask(vcpu, op, 1, |x| x >> 63),
            O::MinimumUnsigned8 => each(x, y, lanes::minimum_unsigned::<8>),
            O::MinimumUnsigned16 => each(x, y, lanes::minimum_unsigned::<16>),
            O::MinimumUnsigned32 => each(x, y, lanes::minimum_unsigned::<32>),
            O::Subtract8 => each(x, y, lanes::subtract::<8>),
            O::Subtract16 => each(x, y, lanes::subtract::<16>),
            O::Subtract32 => each(x, y, lanes::subtract::<32>),
            O::Subtract64 => each(x, y, u64::wrapping_sub),
            O::Add8 => each(x, y, lanes::add::<8>),
            O::Add16 => each(x, y, lanes::add::<16>),
            O::Add32 => each(x, y, lanes::add::<32>),
            O::Add64 => each(x, y, u64::wrapping_add),
            O::ShuffleDoublewords => shuffle::doublewords(y, y, op.d),
            O::UnpackLow8 => interleaved(x[0], y[0], lanes::interleave_8),
            O::UnpackLow16 => interleaved(x[0], y[0], lanes::interleave_16),
            O::UnpackLow32 => interleaved(x[0], y[0], lanes::interleave_32),
            O::UnpackLow64 => [x[0], y[0]],
            O::UnpackHigh8 => interleaved(x[1], y[1], lanes::interleave_8),
            O::UnpackHigh16 => interleaved(x[1], y[1], lanes::interleave_16),
            O::UnpackHigh32 => interleaved(x[1], y[1], lanes::interleave_32),
            O::UnpackHigh64 => [x[1], y[1]],
            O::MergeLow32 => [x[0] >> 32 << 32 | u64::from(y[0] as u32), x[1]],
            O::MergeLow64 => [y[0], x[1]],
            O::MoveLow64 => [y[0], 0],
            O::MoveHigh64 => [y[1], 0],
            O::HighToLow64 => [y[1], x[1]],
            O::FromInteger32 => [u64::from(vcpu.reg(Reg(op.c)) as u32), 0],
            O::FromInteger64 => [vcpu.reg(Reg(op.c)), 0],
            O::ToInteger32 => {
                vcpu.set_reg(Reg(op.a), u64::from(y[0] as u32));
                return Ok(());
            }
            O::ToInteger64 => {
                vcpu.set_reg(Reg(op.a), y[0]);
                return Ok(());
            }
            O::ShiftLeftBytes => {
                shuffle::from_wide(shuffle::wide(x).checked_shl(8 * op.d as u32).unwrap_or(0))
            }
            O::ShiftRightBytes => {
                shuffle::from_wide(shuffle::wide(x).checked_shr(8 * op.d as u32).unwrap_or(0))
            }
            O::AlignRight => shuffle::align_right(x, y, op.d),
            O::ShuffleBytes => shuffle::bytes(x, y),
            O::ShiftLeft16 => each_by(x, first[0], lanes::shift_left::<16>),
            O::ShiftLeft32 => each_by(x, first[0], lanes::shift_left::<32>),
            O::ShiftLeft64 => each_by(x, first[0], lanes::shift_left::<64>),
            O::ShiftRight16 => each_by(x, first[0], lanes::shift_right::<16>),
            O::ShiftRight32 => each_by(x, first[0], lanes::shift_right::<32>),
            O::ShiftRight64 => each_by(x, first[0], lanes::shift_right::<64>),
            O::ShiftRightSigned16 => each_by(x, first[0], lanes::shift_right_signed::<16>),
            O::ShiftRightSigned32 => each_by(x, first[0], lanes::shift_right_signed::<32>),
            O::ShiftLeftImmediate16 => each_by(x, count, lanes::shift_left::<16>),
            O::ShiftLeftImmediate32 => each_by(x, count, lanes::shift_left::<32>),
            O::ShiftLeftImmediate64 => each_by(x, count, lanes::shift_left::<64>),
            O::ShiftRightImmediate16 => each_by(x, count, lanes::shift_right::<16>),
            O::ShiftRightImmediate32 => each_by(x, count, lanes::shift_right::<32>),
            O::ShiftRightImmediate64 => each_by(x, count, lanes::shift_right::<64>),
            O::ShiftRightSignedImmediate16 => each_by(x, count, lanes::shift_right_signed::<16>),
            O::ShiftRightSignedImmediate32 => each_by(x, count, lanes::shift_right_signed::<32>),
            O::GreaterSigned8 => each(x, y, lanes::greater_signed::<8>),
            O::GreaterSigned16 => each(x, y, lanes::greater_signed::<16>),
            O::GreaterSigned32 => each(x, y, lanes::greater_signed::<32>),
            O::GreaterSigned64 => each(x, y, lanes::greater_signed::<64>),
            O::MaximumUnsigned8 => each(x, y, lanes::maximum_unsigned::<8>),
            O::MaximumUnsigned16 => each(x, y, lanes::maximum_unsigned::<16>),
            O::MaximumUnsigned32 => each(x, y, lanes::maximum_unsigned::<32>),
            O::MinimumSigned8 => each(x, y, lanes::minimum_signed::<8>),
            O::MinimumSigned16 => each(x, y, lanes::minimum_signed::<16>),
            O::MinimumSigned32 => each(x, y, lanes::minimum_signed::<32>),
            O::MaximumSigned8 => each(x, y, lanes::maximum_signed::<8>),
            O::MaximumSigned16 => each(x, y, lanes::maximum_signed::<16>),
            O::MaximumSigned32 => each(x, y, lanes::maximum_signed::<32>),
            O::AddSaturatingSigned8 => each(x, y, lanes::add_saturating_signed::<8>),
            O::AddSaturatingSigned16 => each(x, y, lanes::add_saturating_signed::<16>),
            O::AddSaturatingUnsigned8 => each(x, y, lanes::add_saturating_unsigned::<8>),
            O::AddSaturatingUnsigned16 => each(x, y, lanes::add_saturating_unsigned::<16>),
            O::SubtractSaturatingSigned8 => each(x, y, lanes::subtract_saturating_signed::<8>),
            O::SubtractSaturatingSigned16 => each(x, y, lanes::subtract_saturating_signed::<16>),
            O::SubtractSaturatingUnsigned8 => each(x, y, lanes::subtract_saturating_unsigned::<8>),
            O::SubtractSaturatingUnsigned16 => each(x, y, lanes::subtract_saturating_unsigned::<16>),
            O::Average8 => each(x, y, lanes::average::<8>),
            O::Average16 => each(x, y, lanes::average::<16>),
            O::Absolute8 => y.map(lanes::absolute::<8>),
            O::Absolute16 => y.map(lanes::absolute::<16>),
            O::Absolute32 => y.map(lanes::absolute::<32>),
            O::WithSignOf8 => each(x, y, lanes::with_sign_of::<8>),
            O::WithSignOf16 => each(x, y, lanes::with_sign_of::<16>),
            O::WithSignOf32 => each(x, y, lanes::with_sign_of::<32>),
            O::MultiplyLow16 => each(x, y, lanes::multiply_low_16),
            O::MultiplyLow32 => each(x, y, lanes::multiply_low_32),
            O::MultiplyHighSigned16 => each(x, y, lanes::multiply_high_signed_16),
            O::MultiplyHighUnsigned16 => each(x, y, lanes::multiply_high_unsigned_16),
            O::MultiplyHighRounded16 => each(x, y, lanes::multiply_high_rounded_16),
            O::MultiplyEvenUnsigned32 => each(x, y, lanes::multiply_even_unsigned_32),
            O::MultiplyEvenSigned32 => each(x, y, lanes::multiply_even_signed_32),
            O::MultiplyAdd16 => each(x, y, lanes::multiply_add_16),
            O::MultiplyAddUnsignedSigned8 => each(x, y, lanes::multiply_add_unsigned_signed_8),
            O::SumOfAbsoluteDifferences => each(x, y, lanes::sum_of_absolute_differences),
            O::MultipleSumsOfAbsoluteDifferences => shuffle::multiple_sums(x, y, op.d >> (3 * number)),
            O::HorizontalAdd16 => each_narrowed(x, y, lanes::horizontal_add_16),
            O::HorizontalAdd32 => each_narrowed(x, y, lanes::horizontal_add_32),
            O::HorizontalAddSaturating16 => each_narrowed(x, y, lanes::horizontal_add_saturating_16),
            O::HorizontalSubtract16 => each_narrowed(x, y, lanes::horizontal_subtract_16),
            O::HorizontalSubtract32 => each_narrowed(x, y, lanes::horizontal_subtract_32),
            O::HorizontalSubtractSaturating16 => {
                each_narrowed(x, y, lanes::horizontal_subtract_saturating_16)
            }
            O::PackSigned16 => each_narrowed(x, y, lanes::pack_signed_16),
            O::PackSigned32 => each_narrowed(x, y, lanes::pack_signed_32),
            O::PackUnsigned16 => each_narrowed(x, y, lanes::pack_unsigned_16),
            O::PackUnsigned32 => each_narrowed(x, y, lanes::pack_unsigned_32),
            O::ShuffleLowWords => [lanes::shuffle_words(y[0], op.d), y[1]],
            O::ShuffleHighWords => [y[0], lanes::shuffle_words(y[1], op.d)],
            O::ShuffleSingles => shuffle::doublewords(x, y, op.d),
            O::ShuffleDoubles => {
                let order = op.d >> (2 * number);
                [x[usize::from(order & 1)], y[usize::from(order >> 1 & 1)]]
            }
            O::DuplicateLow64 => [y[0]; 2],
            O::DuplicateEven32 => y.map(|y| lanes::from_doublewords([y as u32; 2])),
            O::DuplicateOdd32 => y.map(|y| lanes::from_doublewords([(y >> 32) as u32; 2])),
            O::BlendWords => shuffle::blended(x, y, shuffle::lane_mask(op.d, 8)),
            O::BlendSingles => shuffle::blended(x, y, shuffle::lane_mask(op.d >> (4 * number), 4)),
            O::BlendDoubles => shuffle::blended(x, y, shuffle::lane_mask(op.d >> (2 * number), 2)),
            O::BlendVariable8 => shuffle::blended(x, y, part(vcpu, op.d, number).map(lanes::sign_mask::<8>)),
            O::BlendVariable32 => {
                shuffle::blended(x, y, part(vcpu, op.d, number).map(lanes::sign_mask::<32>))
            }
            O::BlendVariable64 => {
                shuffle::blended(x, y, part(vcpu, op.d, number).map(lanes::sign_mask::<64>))
            }
            O::InsertSingle => shuffle::insert_single(x, y, op.d),
            O::Insert8 => shuffle::insert(x, vcpu.reg(Reg(op.c)), 8, op.d),
            O::Insert16 => shuffle::insert(x, vcpu.reg(Reg(op.c)), 16, op.d),
            O::Insert32 => shuffle::insert(x, vcpu.reg(Reg(op.c)), 32, op.d),
            O::Insert64 => shuffle::insert(x, vcpu.reg(Reg(op.c)), 64, op.d),
            O::Extract8 => return extract(vcpu, op, y, 8),
            O::Extract16 => return extract(vcpu, op, y, 16),
            O::Extract32 => return extract(vcpu, op, y, 32),
            O::Extract64 => return extract(vcpu, op, y, 64),
            O::SignExtend8To16 => shuffle::sign_extended(extended_part(first, number, 8, 16), 8, 16),
            O::SignExtend8To32 => shuffle::sign_extended(extended_part(first, number, 8, 32), 8, 32),
            O::SignExtend8To64 => shuffle::sign_extended(extended_part(first, number, 8, 64), 8, 64),
            O::SignExtend16To32 => shuffle::sign_extended(extended_part(first, number, 16, 32), 16, 32),
            O::SignExtend16To64 => shuffle::sign_extended(extended_part(first, number, 16, 64), 16, 64),
            O::SignExtend32To64 => shuffle::sign_extended(extended_part(first, number, 32, 64), 32, 64),
            O::ZeroExtend8To16 => shuffle::zero_extended(extended_part(first, number, 8, 16), 8, 16),
            O::ZeroExtend8To32 => shuffle::zero_extended(extended_part(first, number, 8, 32), 8, 32),
            O::ZeroExtend8To64 => shuffle::zero_extended(extended_part(first, number, 8, 64), 8, 64),
            O::ZeroExtend16To32 => shuffle::zero_extended(extended_part(first, number, 16, 32), 16, 32),
            O::ZeroExtend16To64 => shuffle::zero_extended(extended_part(first, number, 16, 64), 16, 64),
            O::ZeroExtend32To64 => shuffle::zero_extended(extended_part(first, number, 32, 64), 32, 64),
            O::MinimumWordAndPlace => shuffle::minimum_word_and_place(y),
            O::Test => {
                let all = |lanes: fn(u64, u64) -> u64| {
                    (0..=last_part).all(|number| {
                        each(part(vcpu, op.b, number), part(vcpu, op.c, number), lanes) == [0, 0]
                    })
                };
                let zero = if all(|x, y| x & y) { ZF } else { 0 };
                let carry = if all(|x, y| !x & y) { CF } else { 0 };
                vcpu.flags = LazyFlags::explicit(zero | carry);
                return Ok(());
            }
            O::StringExplicitIndex
            | O::StringExplicitMask
            | O::StringImplicitIndex
            | O::StringImplicitMask => {
                string::compare(vcpu, op, operation, x, y);
                return Ok(());
            }
        };
        let target = &mut vcpu.vectors[place(op.a)].0;
        target[2 * number & 2] = result[0];
        target[2 * number & 2 | 1] = result[1];
        if number == last_part {
            return Ok(());
        }
        number += 1;
    }
}

/// The lanes of the low 128 bits that are extended into the low (0) or the upper (1) part of the result.
#[inline(always)]
fn extended_part(source: Halves, part: usize, from: u32, to: u32) -> u64 {
    (shuffle::wide(source) >> (part as u32 * (128 * from / to))) as u64
}

/// Integer register `a` = one bit a lane of `c`, `lanes` of them in 64 bits.
#[inline(always)]
fn mask(vcpu: &mut Vcpu, op: &Op, lanes: u32, of: impl Fn(u64) -> u64) -> Result<(), Exception> {
    let words = if op.code == OpCode::Vector256 { 4 } else { 2 };
    let source = vcpu.vectors[place(op.c)].0;
    let bits = (0u32..).zip(&source[..words]).fold(0, |sum, (word, &x)| sum | of(x) << (word * lanes));
    vcpu.set_reg(Reg(op.a), bits);
    Ok(())
}

#[inline(always)]
fn extract(vcpu: &mut Vcpu, op: &Op, from: Halves, bits: u32) -> Result<(), Exception> {
    vcpu.set_reg(Reg(op.a), shuffle::extract(from, bits, op.d));
    Ok(())
}
