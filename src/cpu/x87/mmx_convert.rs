//! Conversions between MM registers and the floating-point lanes of XMM registers.

use super::convert::{Narrow, from_integer, to_integer};
use super::float80::Environment;
use super::state::{EXCEPTIONS, INVALID, PRECISION};
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg};

/// CR4.OSXMMEXCPT: unmasked SIMD floating-point exceptions raise #XM rather than #UD.
const CR4_OSXMMEXCPT: u64 = 1 << 10;

/// MXCSR's masks and rounding mode, placed as in an x87 control word.
const fn environment(mxcsr: u32) -> Environment {
    Environment::new((mxcsr >> 7 & 0x3f | mxcsr >> 3 & 0xc00) as u16)
}

impl Vcpu {
    /// Takes the flags of a conversion into MXCSR; raises what is not masked.
    fn raise_simd(&mut self, flags: u16) -> Result<(), Exception> {
        let flags = flags & EXCEPTIONS & (INVALID | PRECISION);
        self.mxcsr |= u32::from(flags);
        if flags & !(self.mxcsr >> 7) as u16 == 0 {
            return Ok(());
        }
        Err(if self.cr4 & CR4_OSXMMEXCPT != 0 {
            Exception::SimdFloatingPoint
        } else {
            Exception::InvalidOpcode
        })
    }
}

/// The doublewords of the source: T4 when `c` has bit 0 set, else MM(`b`).
fn integers(vcpu: &Vcpu, op: &Op) -> [i32; 2] {
    let value = if op.c & 1 == 0 { vcpu.x87.mmx(op.b) } else { vcpu.reg(Reg::T4) };
    [value as i32, (value >> 32) as i32]
}

/// `CVTPI2PS`: the low half of XMM(`a`) = both integers in single precision.
pub fn to_singles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let mut environment = environment(vcpu.mxcsr);
    // An inexact conversion delivers its result even when the exception is not masked: the caller faults.
    let lanes = integers(vcpu, op)
        .map(|lane| Narrow::SINGLE.convert(&mut environment, from_integer(i64::from(lane))).unwrap_or(0));
    vcpu.raise_simd(environment.flags)?;
    vcpu.x87.enter_mmx();
    vcpu.vectors[usize::from(op.a & 15)].0[0] = lanes[0] | lanes[1] << 32;
    Ok(())
}

/// `CVTPI2PD`: XMM(`a`) = both integers in double precision. From memory the x87 state stays as it is.
pub fn to_doubles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if op.c & 1 == 0 {
        vcpu.x87_wait()?;
    }
    let [low, high] = integers(vcpu, op).map(|lane| f64::from(lane).to_bits());
    if op.c & 1 == 0 {
        vcpu.x87.enter_mmx();
    }
    vcpu.vectors[usize::from(op.a & 15)].set_low(u128::from(low) | u128::from(high) << 64);
    Ok(())
}

/// Both lanes as 32-bit integers into MM(`a`); truncates when `c` has bit 1 set.
fn to_integers(vcpu: &mut Vcpu, op: &Op, format: Narrow, lanes: [u64; 2]) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let mut environment = environment(vcpu.mxcsr);
    if op.c & 2 != 0 {
        environment = environment.with_truncation();
    }
    // An unmasked invalid operation faults below, and its lane is not delivered.
    let [low, high] = lanes.map(|lane| {
        let value = format.widen(lane).0;
        to_integer(&mut environment, value, 32).unwrap_or(0) as u32
    });
    vcpu.raise_simd(environment.flags)?;
    vcpu.x87.enter_mmx();
    vcpu.x87.set_mmx(op.a, u64::from(low) | u64::from(high) << 32);
    Ok(())
}

/// `CVTPS2PI`, `CVTTPS2PI` from XMM(`b`), or from T4 when `c` has bit 0 set.
pub fn from_singles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let both = if op.c & 1 == 0 { vcpu.vectors[usize::from(op.b & 15)].0[0] } else { vcpu.reg(Reg::T4) };
    to_integers(vcpu, op, Narrow::SINGLE, [both & 0xffff_ffff, both >> 32])
}

/// `CVTPD2PI`, `CVTTPD2PI` from vector register `b`.
pub fn from_doubles(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let [low, high, ..] = vcpu.vectors[usize::from(op.b) % vcpu.vectors.len()].0;
    to_integers(vcpu, op, Narrow::DOUBLE, [low, high])
}
