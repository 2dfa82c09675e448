//! Floating point (SDM vol. 1 chapters 4 and 11; vol. 2 by mnemonic).
//!
//! Most results come from the host's arithmetic, when neither operand nor result is special and MXCSR
//! cannot change; the others from arithmetic in software.

mod arithmetic;
mod compare;
mod context;
mod convert;
mod format;
mod fused;
#[cfg(test)]
mod host_tests;
mod lift;
mod operation;
mod vex;

pub use lift::lift;
pub use operation::Operation;
pub use vex::lift_vex;

use crate::cpu::{Exception, Helper, Vcpu};
use crate::ir::{Op, OpCode, Reg, VectorReg};
use arithmetic::{Arithmetic, is_quick, quick};
pub use arithmetic::{QUICK as MXCSR_QUICK, QUICK_MASK as MXCSR_QUICK_MASK};
pub use context::Context;
use context::rounding;
pub use format::{Double, Format, Layout, Single};
use fused::quick_fused;
pub use fused::{ALTERNATING, NEGATED_ADDEND, NEGATED_PRODUCT};
use rustc_apfloat::Round;

/// The helpers by place. The first two raise #UD and #NM for the whole of SSE.
pub static HELPERS: &[Helper] = &[super::undefined, super::not_available, load_control, store_control];

/// `LDMXCSR` from register `a`.
fn load_control(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let value = vcpu.reg(Reg(op.a)) as u32;
    if value & !crate::cpu::system::MXCSR_MASK != 0 {
        return Err(Exception::GeneralProtection(0));
    }
    vcpu.mxcsr = value;
    Ok(())
}

/// `STMXCSR` to register `a`.
fn store_control(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.set_reg(Reg(op.a), u64::from(vcpu.mxcsr));
    Ok(())
}

#[inline(always)]
fn place(number: u8) -> usize {
    usize::from(number).min(VectorReg::COUNT - 1)
}

#[inline(always)]
fn doubles(vcpu: &Vcpu, number: u8) -> [u64; 2] {
    let [low, high, ..] = vcpu.vectors[place(number)].0;
    [low, high]
}

#[inline(always)]
fn single(vcpu: &Vcpu, number: u8) -> u64 {
    vcpu.vectors[place(number)].0[0] & 0xffff_ffff
}

#[inline(always)]
fn set_single(vcpu: &mut Vcpu, number: u8, value: u64) {
    let low = &mut vcpu.vectors[place(number)].0[0];
    *low = *low & !0xffff_ffff | value & 0xffff_ffff;
}

#[inline(always)]
fn set_double(vcpu: &mut Vcpu, number: u8, value: u64) {
    vcpu.vectors[place(number)].0[0] = value;
}

#[inline(always)]
fn set_doubles(vcpu: &mut Vcpu, number: u8, lanes: [u64; 2]) {
    vcpu.vectors[place(number)].0[..2].copy_from_slice(&lanes);
}

/// Runs a vector operation of this half.
#[inline]
pub fn execute(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    use Operation as O;
    let Some(operation) = Operation::from_number(op.imm) else {
        return Err(Exception::InvalidOpcode);
    };
    match operation {
        O::AddSd => scalar_double(vcpu, op, Arithmetic::Add),
        O::MultiplySd => scalar_double(vcpu, op, Arithmetic::Multiply),
        O::SubtractSd => scalar_double(vcpu, op, Arithmetic::Subtract),
        O::DivideSd => scalar_double(vcpu, op, Arithmetic::Divide),
        O::AddSs => scalar_single(vcpu, op, Arithmetic::Add),
        O::MultiplySs => scalar_single(vcpu, op, Arithmetic::Multiply),
        O::SubtractSs => scalar_single(vcpu, op, Arithmetic::Subtract),
        O::DivideSs => scalar_single(vcpu, op, Arithmetic::Divide),
        O::AddPd => packed_doubles(vcpu, op, [Arithmetic::Add; 2]),
        O::MultiplyPd => packed_doubles(vcpu, op, [Arithmetic::Multiply; 2]),
        O::SubtractPd => packed_doubles(vcpu, op, [Arithmetic::Subtract; 2]),
        O::DividePd => packed_doubles(vcpu, op, [Arithmetic::Divide; 2]),
        O::AddSubtractPd => packed_doubles(vcpu, op, [Arithmetic::Subtract, Arithmetic::Add]),
        O::AddPs => packed_singles(vcpu, op, [Arithmetic::Add; 2]),
        O::MultiplyPs => packed_singles(vcpu, op, [Arithmetic::Multiply; 2]),
        O::SubtractPs => packed_singles(vcpu, op, [Arithmetic::Subtract; 2]),
        O::DividePs => packed_singles(vcpu, op, [Arithmetic::Divide; 2]),
        O::AddSubtractPs => packed_singles(vcpu, op, [Arithmetic::Subtract, Arithmetic::Add]),
        _ => execute_rarer(vcpu, op, operation),
    }
}

#[inline(always)]
fn scalar_double(vcpu: &mut Vcpu, op: &Op, operation: Arithmetic) -> Result<(), Exception> {
    let (x, y) = (doubles(vcpu, op.a)[0], doubles(vcpu, op.c)[0]);
    if let (true, Some(result)) = (is_quick(vcpu.mxcsr), quick::<Double>(operation, x, y)) {
        set_double(vcpu, op.a, result);
        return Ok(());
    }
    careful_double(vcpu, op, operation)
}

#[cold]
fn careful_double(vcpu: &mut Vcpu, op: &Op, operation: Arithmetic) -> Result<(), Exception> {
    let (x, y) = (doubles(vcpu, op.a)[0], doubles(vcpu, op.c)[0]);
    let mut context = Context::new(vcpu.mxcsr);
    let result = context.arithmetic::<Double>(operation, x, y);
    context.finish(vcpu)?;
    set_double(vcpu, op.a, result);
    Ok(())
}

#[inline(always)]
fn scalar_single(vcpu: &mut Vcpu, op: &Op, operation: Arithmetic) -> Result<(), Exception> {
    let (x, y) = (single(vcpu, op.a), single(vcpu, op.c));
    if let (true, Some(result)) = (is_quick(vcpu.mxcsr), quick::<Single>(operation, x, y)) {
        set_single(vcpu, op.a, result);
        return Ok(());
    }
    careful_single(vcpu, op, operation)
}

#[cold]
fn careful_single(vcpu: &mut Vcpu, op: &Op, operation: Arithmetic) -> Result<(), Exception> {
    let (x, y) = (single(vcpu, op.a), single(vcpu, op.c));
    let mut context = Context::new(vcpu.mxcsr);
    let result = context.arithmetic::<Single>(operation, x, y);
    context.finish(vcpu)?;
    set_single(vcpu, op.a, result);
    Ok(())
}

/// Quadwords that the operation works on.
#[inline(always)]
fn quadwords(op: &Op) -> usize {
    if op.code == OpCode::Vector256 { 4 } else { 2 }
}

/// A single of a register's lanes.
#[inline(always)]
fn lane_of_singles(lanes: &[u64; 4], place: usize) -> u64 {
    lanes[place / 2 & 3] >> (32 * (place & 1)) & 0xffff_ffff
}

/// Puts a single into a register's lanes.
#[inline(always)]
fn set_lane_of_singles(lanes: &mut [u64; 4], place: usize, value: u64) {
    let shift = 32 * (place & 1);
    let lane = &mut lanes[place / 2 & 3];
    *lane = *lane & !(0xffff_ffff << shift) | (value & 0xffff_ffff) << shift;
}

/// Even lanes by the first operation, odd ones by the second.
#[inline(always)]
fn packed_doubles(vcpu: &mut Vcpu, op: &Op, operations: [Arithmetic; 2]) -> Result<(), Exception> {
    if is_quick(vcpu.mxcsr) {
        let (x, y) = (vcpu.vectors[place(op.a)].0, vcpu.vectors[place(op.c)].0);
        let mut lanes = x;
        let is_done = (0..quadwords(op)).all(|lane| {
            let result = quick::<Double>(operations[lane & 1], x[lane], y[lane]);
            lanes[lane] = result.unwrap_or(0);
            result.is_some()
        });
        if is_done {
            vcpu.vectors[place(op.a)].0 = lanes;
            return Ok(());
        }
    }
    with_doubles(vcpu, op, |context, lane, x, y| context.arithmetic::<Double>(operations[lane & 1], x, y))
}

#[inline(always)]
fn packed_singles(vcpu: &mut Vcpu, op: &Op, operations: [Arithmetic; 2]) -> Result<(), Exception> {
    if is_quick(vcpu.mxcsr) {
        let (x, y) = (vcpu.vectors[place(op.a)].0, vcpu.vectors[place(op.c)].0);
        let mut lanes = x;
        let is_done = (0..2 * quadwords(op)).all(|lane| {
            let (x, y) = (lane_of_singles(&x, lane), lane_of_singles(&y, lane));
            let result = quick::<Single>(operations[lane & 1], x, y);
            set_lane_of_singles(&mut lanes, lane, result.unwrap_or(0));
            result.is_some()
        });
        if is_done {
            vcpu.vectors[place(op.a)].0 = lanes;
            return Ok(());
        }
    }
    with_singles(vcpu, op, |context, lane, x, y| context.arithmetic::<Single>(operations[lane & 1], x, y))
}

/// Every lane by a function of the lane and of both operands' lanes.
fn with_doubles(
    vcpu: &mut Vcpu,
    op: &Op,
    function: impl Fn(&mut Context, usize, u64, u64) -> u64,
) -> Result<(), Exception> {
    let (mut x, y) = (vcpu.vectors[place(op.a)].0, vcpu.vectors[place(op.c)].0);
    let mut context = Context::new(vcpu.mxcsr);
    for (lane, (x, y)) in x.iter_mut().zip(y).take(quadwords(op)).enumerate() {
        *x = function(&mut context, lane, *x, y);
    }
    context.finish(vcpu)?;
    vcpu.vectors[place(op.a)].0 = x;
    Ok(())
}

/// As [`with_doubles`], for singles.
fn with_singles(
    vcpu: &mut Vcpu,
    op: &Op,
    function: impl Fn(&mut Context, usize, u64, u64) -> u64,
) -> Result<(), Exception> {
    let (mut lanes, y) = (vcpu.vectors[place(op.a)].0, vcpu.vectors[place(op.c)].0);
    let mut context = Context::new(vcpu.mxcsr);
    for lane in 0..2 * quadwords(op) {
        let (x, y) = (lane_of_singles(&lanes, lane), lane_of_singles(&y, lane));
        set_lane_of_singles(&mut lanes, lane, function(&mut context, lane, x, y));
    }
    context.finish(vcpu)?;
    vcpu.vectors[place(op.a)].0 = lanes;
    Ok(())
}

/// The low lane by a function of both operands' low lanes.
fn with_double(
    vcpu: &mut Vcpu,
    op: &Op,
    function: impl Fn(&mut Context, u64, u64) -> u64,
) -> Result<(), Exception> {
    let (x, y) = (doubles(vcpu, op.a)[0], doubles(vcpu, op.c)[0]);
    let mut context = Context::new(vcpu.mxcsr);
    let result = function(&mut context, x, y);
    context.finish(vcpu)?;
    set_double(vcpu, op.a, result);
    Ok(())
}

/// As [`with_double`], for singles.
fn with_single(
    vcpu: &mut Vcpu,
    op: &Op,
    function: impl Fn(&mut Context, u64, u64) -> u64,
) -> Result<(), Exception> {
    let (x, y) = (single(vcpu, op.a), single(vcpu, op.c));
    let mut context = Context::new(vcpu.mxcsr);
    let result = function(&mut context, x, y);
    context.finish(vcpu)?;
    set_single(vcpu, op.a, result);
    Ok(())
}

/// The context for an operation that is rounded by MXCSR, or truncated.
fn conversion(vcpu: &Vcpu, is_truncated: bool) -> (Context, Round) {
    let context = Context::new(vcpu.mxcsr);
    let round = if is_truncated { Round::TowardZero } else { context.round };
    (context, round)
}

/// Rounding of `ROUNDPS` and the like: MXCSR's, or that of the immediate byte.
fn immediate_rounding(context: &Context, immediate: u8) -> (Round, bool) {
    let round = if immediate & 4 != 0 { context.round } else { rounding(immediate.into()) };
    (round, immediate & 8 != 0)
}

const fn all_ones(is_set: bool) -> u64 {
    if is_set { u64::MAX } else { 0 }
}

#[inline(never)]
fn execute_rarer(vcpu: &mut Vcpu, op: &Op, operation: Operation) -> Result<(), Exception> {
    use Operation as O;
    let d = op.d;
    match operation {
        O::MinimumSs => with_single(vcpu, op, |context, x, y| context.extreme::<Single>(false, x, y)),
        O::MinimumSd => with_double(vcpu, op, |context, x, y| context.extreme::<Double>(false, x, y)),
        O::MinimumPs => with_singles(vcpu, op, |context, _, x, y| context.extreme::<Single>(false, x, y)),
        O::MinimumPd => with_doubles(vcpu, op, |context, _, x, y| context.extreme::<Double>(false, x, y)),
        O::MaximumSs => with_single(vcpu, op, |context, x, y| context.extreme::<Single>(true, x, y)),
        O::MaximumSd => with_double(vcpu, op, |context, x, y| context.extreme::<Double>(true, x, y)),
        O::MaximumPs => with_singles(vcpu, op, |context, _, x, y| context.extreme::<Single>(true, x, y)),
        O::MaximumPd => with_doubles(vcpu, op, |context, _, x, y| context.extreme::<Double>(true, x, y)),
        O::SquareRootSs => with_single(vcpu, op, |context, _, y| context.square_root::<Single>(y)),
        O::SquareRootSd => with_double(vcpu, op, |context, _, y| context.square_root::<Double>(y)),
        O::SquareRootPs => with_singles(vcpu, op, |context, _, _, y| context.square_root::<Single>(y)),
        O::SquareRootPd => with_doubles(vcpu, op, |context, _, _, y| context.square_root::<Double>(y)),
        O::CompareSs => with_single(vcpu, op, |context, x, y| all_ones(context.predicate::<Single>(d, x, y))),
        O::CompareSd => with_double(vcpu, op, |context, x, y| all_ones(context.predicate::<Double>(d, x, y))),
        O::ComparePs => {
            with_singles(vcpu, op, |context, _, x, y| all_ones(context.predicate::<Single>(d, x, y)))
        }
        O::ComparePd => {
            with_doubles(vcpu, op, |context, _, x, y| all_ones(context.predicate::<Double>(d, x, y)))
        }
        O::FlagsSs => {
            let (x, y) = (single(vcpu, op.a), single(vcpu, op.c));
            let mut context = Context::new(vcpu.mxcsr);
            let flags = context.flags::<Single>(d == 1, x, y);
            context.finish(vcpu)?;
            vcpu.flags = flags;
            Ok(())
        }
        O::FlagsSd => {
            let (x, y) = (doubles(vcpu, op.a)[0], doubles(vcpu, op.c)[0]);
            let mut context = Context::new(vcpu.mxcsr);
            let flags = context.flags::<Double>(d == 1, x, y);
            context.finish(vcpu)?;
            vcpu.flags = flags;
            Ok(())
        }
        O::HorizontalAddPs => horizontal_singles(vcpu, op, Arithmetic::Add),
        O::HorizontalSubtractPs => horizontal_singles(vcpu, op, Arithmetic::Subtract),
        O::HorizontalAddPd => horizontal_doubles(vcpu, op, Arithmetic::Add),
        O::HorizontalSubtractPd => horizontal_doubles(vcpu, op, Arithmetic::Subtract),
        O::DotProductPs => dot_product_singles(vcpu, op),
        O::DotProductPd => dot_product_doubles(vcpu, op),
        O::RoundSs => with_single(vcpu, op, |context, _, y| {
            let (round, is_silent) = immediate_rounding(context, d);
            context.integral::<Single>(y, round, is_silent)
        }),
        O::RoundSd => with_double(vcpu, op, |context, _, y| {
            let (round, is_silent) = immediate_rounding(context, d);
            context.integral::<Double>(y, round, is_silent)
        }),
        O::RoundPs => with_singles(vcpu, op, |context, _, _, y| {
            let (round, is_silent) = immediate_rounding(context, d);
            context.integral::<Single>(y, round, is_silent)
        }),
        O::RoundPd => with_doubles(vcpu, op, |context, _, _, y| {
            let (round, is_silent) = immediate_rounding(context, d);
            context.integral::<Double>(y, round, is_silent)
        }),
        O::ReciprocalSs => with_single(vcpu, op, |_, _, y| Context::approximate(y as u32, false).into()),
        O::ReciprocalPs => with_singles(vcpu, op, |_, _, _, y| Context::approximate(y as u32, false).into()),
        O::ReciprocalRootSs => with_single(vcpu, op, |_, _, y| Context::approximate(y as u32, true).into()),
        O::ReciprocalRootPs => {
            with_singles(vcpu, op, |_, _, _, y| Context::approximate(y as u32, true).into())
        }
        O::FusedSs | O::FusedPs => fused::<Single>(vcpu, op, operation == O::FusedSs),
        O::FusedSd | O::FusedPd => fused::<Double>(vcpu, op, operation == O::FusedSd),
        _ => execute_conversion(vcpu, op, operation),
    }
}

/// Fused multiply-add of the lowest lane or of all.
fn fused<F: Format>(vcpu: &mut Vcpu, op: &Op, is_scalar: bool) -> Result<(), Exception> {
    let operands = [op.b, op.c, op.d].map(|number| vcpu.vectors[place(number)].0);
    let mut result = vcpu.vectors[place(op.a)].0;
    let is_single = F::SIGN == Single::SIGN;
    let count = match (is_scalar, is_single) {
        (true, _) => 1,
        (false, true) => 2 * quadwords(op),
        (false, false) => quadwords(op),
    };
    let is_quick = is_quick(vcpu.mxcsr);
    let mut context = Context::new(vcpu.mxcsr);
    for lane in 0..count {
        let lanes = operands.map(|lanes| if is_single { lane_of_singles(&lanes, lane) } else { lanes[lane] });
        let is_flipped = op.disp & ALTERNATING != 0 && lane & 1 != 0;
        let signs = if is_flipped { op.disp ^ NEGATED_ADDEND } else { op.disp };
        let quick = if is_quick { quick_fused::<F>(signs, lanes) } else { None };
        let value = quick.unwrap_or_else(|| context.fused::<F>(signs, lanes));
        if is_single {
            set_lane_of_singles(&mut result, lane, value);
        } else {
            result[lane] = value;
        }
    }
    context.finish(vcpu)?;
    vcpu.vectors[place(op.a)].0 = result;
    Ok(())
}

fn execute_conversion(vcpu: &mut Vcpu, op: &Op, operation: Operation) -> Result<(), Exception> {
    use Operation as O;
    let (mut context, round) = conversion(vcpu, op.d & 1 != 0);
    match operation {
        O::SsToSd => {
            let value = context.widened(single(vcpu, op.c) as u32);
            context.finish(vcpu)?;
            set_double(vcpu, op.a, value);
        }
        O::SdToSs => {
            let value = context.narrowed(doubles(vcpu, op.c)[0]);
            context.finish(vcpu)?;
            set_single(vcpu, op.a, value.into());
        }
        O::PsToPd => return widened(vcpu, op, |context, lane| context.widened(lane)),
        O::PdToPs => return narrowed(vcpu, op, |context, lane| context.narrowed(lane)),
        O::DqToPs => {
            return with_singles(vcpu, op, |context, _, _, y| {
                context.float::<Single>(i64::from(y as u32 as i32))
            });
        }
        O::DqToPd => return widened(vcpu, op, |_, lane| f64::from(lane as i32).to_bits()),
        O::PsToDq => {
            return with_singles(vcpu, op, |context, _, _, y| context.integer::<Single>(y, 32, round));
        }
        O::PdToDq => {
            return narrowed(vcpu, op, |context, lane| context.integer::<Double>(lane, 32, round) as u32);
        }
        O::HalvesToSingles => {
            let source = vcpu.vectors[place(op.c)].0;
            return with_singles(vcpu, op, |context, lane, _, _| {
                context.single_of_half((source[lane / 4 & 3] >> (16 * (lane & 3))) as u16).into()
            });
        }
        O::SinglesToHalves => {
            let round = if op.d & 4 != 0 { context.round } else { rounding(op.d.into()) };
            let source = vcpu.vectors[place(op.c)].0;
            let mut lanes = [0; 4];
            for lane in 0..2 * quadwords(op) {
                let half = context.half_of_single(lane_of_singles(&source, lane) as u32, round);
                lanes[lane / 4] |= u64::from(half) << (16 * (lane & 3));
            }
            context.finish(vcpu)?;
            let written = quadwords(op);
            vcpu.vectors[place(op.a)].0[..written].copy_from_slice(&lanes[..written]);
        }
        O::SiToSs | O::SiToSd => {
            let (mut context, _) = conversion(vcpu, false);
            let value = vcpu.reg(Reg(op.b));
            let value = if op.d & 1 != 0 { value as i64 } else { i64::from(value as i32) };
            if operation == O::SiToSs {
                let value = context.float::<Single>(value);
                context.finish(vcpu)?;
                set_single(vcpu, op.a, value);
            } else {
                let value = context.float::<Double>(value);
                context.finish(vcpu)?;
                set_double(vcpu, op.a, value);
            }
        }
        O::SsToSi | O::SdToSi => {
            let width = if op.d & 1 != 0 { 64 } else { 32 };
            let (mut context, round) = conversion(vcpu, op.d & 2 != 0);
            let value = if operation == O::SsToSi {
                context.integer::<Single>(single(vcpu, op.c), width, round)
            } else {
                context.integer::<Double>(doubles(vcpu, op.c)[0], width, round)
            };
            context.finish(vcpu)?;
            vcpu.set_reg(Reg(op.a), value);
        }
        _ => return Err(Exception::InvalidOpcode),
    }
    Ok(())
}

/// Doubles of 32-bit lanes: of the low 64 or 128 bits.
fn widened(vcpu: &mut Vcpu, op: &Op, function: impl Fn(&mut Context, u32) -> u64) -> Result<(), Exception> {
    let source = vcpu.vectors[place(op.c)].0;
    let mut lanes = vcpu.vectors[place(op.a)].0;
    let mut context = Context::new(vcpu.mxcsr);
    for (place, lane) in lanes.iter_mut().take(quadwords(op)).enumerate() {
        *lane = function(&mut context, lane_of_singles(&source, place) as u32);
    }
    context.finish(vcpu)?;
    vcpu.vectors[place(op.a)].0 = lanes;
    Ok(())
}

/// 32-bit lanes of doubles: into the low 64 or 128 bits, the rest of what the operation works on zeroed.
fn narrowed(vcpu: &mut Vcpu, op: &Op, function: impl Fn(&mut Context, u64) -> u32) -> Result<(), Exception> {
    let source = vcpu.vectors[place(op.c)].0;
    let mut lanes = vcpu.vectors[place(op.a)].0;
    let mut context = Context::new(vcpu.mxcsr);
    lanes[..quadwords(op)].fill(0);
    for (place, &lane) in source.iter().take(quadwords(op)).enumerate() {
        set_lane_of_singles(&mut lanes, place, function(&mut context, lane).into());
    }
    context.finish(vcpu)?;
    vcpu.vectors[place(op.a)].0 = lanes;
    Ok(())
}

/// Within each 128 bits: pairs of the first operand low, pairs of the second high.
fn horizontal_singles(vcpu: &mut Vcpu, op: &Op, operation: Arithmetic) -> Result<(), Exception> {
    let (mut lanes, y) = (vcpu.vectors[place(op.a)].0, vcpu.vectors[place(op.c)].0);
    let mut context = Context::new(vcpu.mxcsr);
    let mut pair = |lanes: u64| context.arithmetic::<Single>(operation, lanes & 0xffff_ffff, lanes >> 32);
    for (x, y) in lanes.chunks_exact_mut(2).zip(y.chunks_exact(2)).take(quadwords(op) / 2) {
        let sums = [pair(x[0]) | pair(x[1]) << 32, pair(y[0]) | pair(y[1]) << 32];
        x.copy_from_slice(&sums);
    }
    context.finish(vcpu)?;
    vcpu.vectors[place(op.a)].0 = lanes;
    Ok(())
}

fn horizontal_doubles(vcpu: &mut Vcpu, op: &Op, operation: Arithmetic) -> Result<(), Exception> {
    let (mut lanes, y) = (vcpu.vectors[place(op.a)].0, vcpu.vectors[place(op.c)].0);
    let mut context = Context::new(vcpu.mxcsr);
    for (x, y) in lanes.chunks_exact_mut(2).zip(y.chunks_exact(2)).take(quadwords(op) / 2) {
        let sums = [
            context.arithmetic::<Double>(operation, x[0], x[1]),
            context.arithmetic::<Double>(operation, y[0], y[1]),
        ];
        x.copy_from_slice(&sums);
    }
    context.finish(vcpu)?;
    vcpu.vectors[place(op.a)].0 = lanes;
    Ok(())
}

fn dot_product_singles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (x, y) = (vcpu.vectors[place(op.a)].0, vcpu.vectors[place(op.c)].0);
    let mut context = Context::new(vcpu.mxcsr);
    let mut products = Context::new(vcpu.mxcsr);
    let lanes = 2 * quadwords(op);
    let product: [u64; 8] = std::array::from_fn(|lane| {
        if lane >= lanes || op.d & 0x10 << (lane & 3) == 0 {
            return 0;
        }
        let (x, y) = (lane_of_singles(&x, lane), lane_of_singles(&y, lane));
        products.arithmetic::<Single>(Arithmetic::Multiply, x, y)
    });
    products.finish(vcpu)?;
    // The neighbour's product first, then the lane's own pair: that order decides which of several NaNs a
    // lane gets. The manual leaves it open; this is what hardware does.
    let mut sum = |x, y| context.arithmetic::<Single>(Arithmetic::Add, x, y);
    let pairs: [u64; 8] = std::array::from_fn(|lane| sum(product[lane ^ 1], product[lane]));
    let sums: [u64; 8] = std::array::from_fn(|lane| sum(pairs[lane], pairs[lane ^ 2]));
    context.finish(vcpu)?;
    let target = &mut vcpu.vectors[place(op.a)].0;
    for (lane, sum) in sums.into_iter().take(lanes).enumerate() {
        set_lane_of_singles(target, lane, if op.d & 1 << (lane & 3) != 0 { sum } else { 0 });
    }
    Ok(())
}

fn dot_product_doubles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (x, y) = (doubles(vcpu, op.a), doubles(vcpu, op.c));
    let mut context = Context::new(vcpu.mxcsr);
    let mut products = Context::new(vcpu.mxcsr);
    let product: [u64; 2] = std::array::from_fn(|lane| {
        if op.d & 0x10 << lane == 0 {
            return 0;
        }
        products.arithmetic::<Double>(Arithmetic::Multiply, x[lane], y[lane])
    });
    products.finish(vcpu)?;
    // The lane's own product first; see above.
    let mut sum = |x, y| context.arithmetic::<Double>(Arithmetic::Add, x, y);
    let sums = [sum(product[0], product[1]), sum(product[1], product[0])];
    context.finish(vcpu)?;
    let lanes = std::array::from_fn(|lane| if op.d & 1 << lane != 0 { sums[lane] } else { 0 });
    set_doubles(vcpu, op.a, lanes);
    Ok(())
}
