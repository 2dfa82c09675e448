//! Conversions between MM registers and the floating-point lanes of XMM registers.

use crate::cpu::sse::float::{Context, Double, Format, Single};
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg};
use rustc_apfloat::Round;

/// The doublewords of the source: T4 when `c` has bit 0 set, else MM(`b`).
fn integers(vcpu: &Vcpu, op: &Op) -> [i32; 2] {
    let value = if is_memory(op) { vcpu.reg(Reg::T4) } else { vcpu.x87.mmx(op.b) };
    [value as i32, (value >> 32) as i32]
}

fn is_memory(op: &Op) -> bool {
    op.c & 1 != 0
}

/// `CVTPI2PS`: the low half of XMM(`a`) = both integers in single precision. From memory the x87 state stays
/// as it is.
pub fn to_singles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if !is_memory(op) {
        vcpu.x87_wait()?;
    }
    let mut context = Context::new(vcpu.mxcsr);
    let [low, high] = integers(vcpu, op).map(|lane| context.float::<Single>(lane.into()));
    // As hardware does, also when the conversion raises #XM.
    if !is_memory(op) {
        vcpu.x87.enter_mmx();
    }
    context.finish(vcpu)?;
    vcpu.vectors[usize::from(op.a & 15)].0[0] = low | high << 32;
    Ok(())
}

/// `CVTPI2PD`: XMM(`a`) = both integers in double precision. From memory the x87 state stays as it is.
pub fn to_doubles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if !is_memory(op) {
        vcpu.x87_wait()?;
    }
    let [low, high] = integers(vcpu, op).map(|lane| f64::from(lane).to_bits());
    if !is_memory(op) {
        vcpu.x87.enter_mmx();
    }
    vcpu.vectors[usize::from(op.a & 15)].set_low(u128::from(low) | u128::from(high) << 64);
    Ok(())
}

/// Both lanes as 32-bit integers into MM(`a`); truncates when `c` has bit 1 set.
fn to_integers<F: Format>(vcpu: &mut Vcpu, op: &Op, lanes: [u64; 2]) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let mut context = Context::new(vcpu.mxcsr);
    let round = if op.c & 2 != 0 { Round::TowardZero } else { context.round };
    let [low, high] = lanes.map(|lane| context.integer::<F>(lane, 32, round));
    // As hardware does, also when the conversion raises #XM.
    vcpu.x87.enter_mmx();
    context.finish(vcpu)?;
    vcpu.x87.set_mmx(op.a, low | high << 32);
    Ok(())
}

/// `CVTPS2PI`, `CVTTPS2PI` from XMM(`b`), or from T4 when `c` has bit 0 set.
pub fn from_singles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let both = if is_memory(op) { vcpu.reg(Reg::T4) } else { vcpu.vectors[usize::from(op.b & 15)].0[0] };
    to_integers::<Single>(vcpu, op, [both & 0xffff_ffff, both >> 32])
}

/// `CVTPD2PI`, `CVTTPD2PI` from vector register `b`.
pub fn from_doubles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let [low, high, ..] = vcpu.vectors[usize::from(op.b) % vcpu.vectors.len()].0;
    to_integers::<Double>(vcpu, op, [low, high])
}
