//! VEX forms: three operands, 256 bits, and what AVX and AVX2 add (SDM vol. 1 chapter 14).
//!
//! The meaning of the forms that SSE has too is that of [`integer`](super::integer) and
//! [`float`](super::float); here stand only their operands.

mod lift;
mod memory;
mod moves;
mod operation;

pub use lift::{clear_upper, copy, emit, emit_into_integer, is_wide, lift, register, source, source_count};
pub use memory::{HELPERS, ZERO, effects};
pub use operation::Operation;

use super::integer::lanes;
use crate::cpu::flags::{CF, LazyFlags, ZF};
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, OpCode, VectorReg};
use std::array;

fn place(number: u8) -> usize {
    usize::from(number).min(VectorReg::COUNT - 1)
}

/// Four quadwords, lowest first.
type Quadwords = [u64; 4];

/// The doubleword at a place.
fn doubleword(from: &Quadwords, place: usize) -> u32 {
    (from[place / 2 & 3] >> (32 * (place & 1))) as u32
}

fn from_doublewords(of: impl Fn(usize) -> u32) -> Quadwords {
    array::from_fn(|place| lanes::from_doublewords([of(2 * place), of(2 * place + 1)]))
}

/// The half of `b` and `c` that a field of VPERM2F128's immediate byte names, or zero.
fn permuted_half(x: &Quadwords, y: &Quadwords, field: u8) -> [u64; 2] {
    let from = if field & 2 == 0 { x } else { y };
    match field & 9 {
        0 => [from[0], from[1]],
        1 => [from[2], from[3]],
        _ => [0; 2],
    }
}

/// Runs a vector operation of this family.
#[inline(never)]
pub fn execute(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    use Operation as O;
    let Some(operation) = Operation::from_number(op.imm) else {
        return Err(Exception::InvalidOpcode);
    };
    let x = vcpu.vectors[place(op.b)].0;
    let y = vcpu.vectors[place(op.c)].0;
    let quadwords = if op.code == OpCode::Vector256 { 4 } else { 2 };
    let each_doubleword =
        |of: fn(u32, u32) -> u32| from_doublewords(|place| of(doubleword(&x, place), doubleword(&y, place)));
    let each_quadword = |of: fn(u64, u64) -> u64| array::from_fn(|place| of(x[place], y[place]));
    let result = match operation {
        O::Broadcast8 => [(y[0] & 0xff) * 0x0101_0101_0101_0101; 4],
        O::Broadcast16 => [(y[0] & 0xffff) * 0x0001_0001_0001_0001; 4],
        O::Broadcast32 => [lanes::from_doublewords([y[0] as u32; 2]); 4],
        O::Broadcast64 => [y[0]; 4],
        O::Broadcast128 => [y[0], y[1], y[0], y[1]],
        O::InsertHalf if op.d & 1 == 0 => [y[0], y[1], x[2], x[3]],
        O::InsertHalf => [x[0], x[1], y[0], y[1]],
        O::ExtractHalf if op.d & 1 == 0 => y,
        O::ExtractHalf => [y[2], y[3], 0, 0],
        O::PermuteHalves => {
            let (low, high) = (permuted_half(&x, &y, op.d), permuted_half(&x, &y, op.d >> 4));
            [low[0], low[1], high[0], high[1]]
        }
        O::PermuteQuadwords => array::from_fn(|place| y[usize::from(op.d >> (2 * place) & 3)]),
        O::PermuteDoublewords => from_doublewords(|place| doubleword(&y, doubleword(&x, place) as usize & 7)),
        O::SelectDoublewords => {
            from_doublewords(|place| doubleword(&x, place & 4 | doubleword(&y, place) as usize & 3))
        }
        O::SelectQuadwords => array::from_fn(|place| x[place & 2 | (y[place] >> 1 & 1) as usize]),
        O::ShiftLeftEach32 => each_doubleword(|x, count| x.checked_shl(count).unwrap_or(0)),
        O::ShiftRightEach32 => each_doubleword(|x, count| x.checked_shr(count).unwrap_or(0)),
        O::ShiftRightSignedEach32 => each_doubleword(|x, count| ((x as i32) >> count.min(31)) as u32),
        O::ShiftLeftEach64 => each_quadword(|x, count| if count < 64 { x << count } else { 0 }),
        O::ShiftRightEach64 => each_quadword(|x, count| if count < 64 { x >> count } else { 0 }),
        O::TestSigns32 => return test_signs(vcpu, &x, &y, quadwords, 0x8000_0000_8000_0000),
        O::TestSigns64 => return test_signs(vcpu, &x, &y, quadwords, 1 << 63),
    };
    vcpu.vectors[place(op.a)].0[..quadwords].copy_from_slice(&result[..quadwords]);
    Ok(())
}

fn test_signs(
    vcpu: &mut Vcpu,
    x: &Quadwords,
    y: &Quadwords,
    quadwords: usize,
    signs: u64,
) -> Result<(), Exception> {
    let none =
        |of: fn(u64, u64) -> u64| x.iter().zip(y).take(quadwords).all(|(&x, &y)| of(x, y) & signs == 0);
    let zero = if none(|x, y| x & y) { ZF } else { 0 };
    let carry = if none(|x, y| !x & y) { CF } else { 0 };
    vcpu.flags = LazyFlags::explicit(zero | carry);
    Ok(())
}
