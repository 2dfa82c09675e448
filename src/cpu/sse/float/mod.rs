//! Floating point.

mod compare;
mod lift;
pub mod operation;
mod soft;

use crate::cpu::flags::{CF, LazyFlags, PF, ZF};
use crate::cpu::{Exception, Helper, Vcpu};
use crate::ir::Op;
pub use lift::lift;
use operation::{Kind, Shape};
use soft::{DOUBLE, Environment, Format, SINGLE};

/// The helpers by place. The first two raise #UD and #NM for the whole of SSE.
pub static HELPERS: &[Helper] = &[super::undefined, super::not_available];

const CR4_OSXMMEXCPT: u64 = 1 << 10;

/// Runs a vector operation of this half.
pub fn execute(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (kind, shape) = operation::decode(op.imm).ok_or(Exception::InvalidOpcode)?;
    let first = vcpu.vectors[register(op.b)].low();
    let second = vcpu.vectors[register(op.c)].low();
    let mut environment = Environment::new(vcpu.mxcsr);
    if let Kind::CompareOrdered | Kind::CompareUnordered = kind {
        let format = shape.format();
        let signals = kind == Kind::CompareOrdered;
        let order = environment.compare(format, lane(format, first, 0), lane(format, second, 0), signals);
        settle(vcpu, &environment)?;
        vcpu.flags = LazyFlags::explicit(match order {
            None => ZF | PF | CF,
            Some(std::cmp::Ordering::Less) => CF,
            Some(std::cmp::Ordering::Equal) => ZF,
            Some(std::cmp::Ordering::Greater) => 0,
        });
        return Ok(());
    }
    let format = shape.format();
    let bits = format.bits();
    let lanes = if shape.is_packed() { 128 / bits } else { 1 };
    let mut result = first;
    for index in 0..lanes {
        let (a, b) = (lane(format, first, index), lane(format, second, index));
        let value = match kind {
            Kind::Add => environment.add(format, a, b),
            Kind::Subtract => environment.subtract(format, a, b),
            Kind::Multiply => environment.multiply(format, a, b),
            Kind::Divide => environment.divide(format, a, b),
            Kind::SquareRoot => environment.square_root(format, b),
            Kind::Minimum => environment.minimum(format, a, b),
            Kind::Maximum => environment.maximum(format, a, b),
            Kind::Compare => environment.predicate(format, op.d, a, b),
            Kind::CompareOrdered | Kind::CompareUnordered => a,
        };
        let shift = index * bits;
        result = result & !(u128::from(format.mask()) << shift) | u128::from(value) << shift;
    }
    settle(vcpu, &environment)?;
    vcpu.vectors[register(op.a)].set_low(result);
    Ok(())
}

fn register(number: u8) -> usize {
    usize::from(number).min(crate::ir::VectorReg::COUNT - 1)
}

fn lane(format: Format, value: u128, index: u32) -> u64 {
    (value >> (index * format.bits())) as u64 & format.mask()
}

/// Takes the flags over into MXCSR and raises what they unmask (SDM vol. 1 11.5.3).
fn settle(vcpu: &mut Vcpu, environment: &Environment) -> Result<(), Exception> {
    let unmasked = !(vcpu.mxcsr >> 7) & 0x3f;
    let before = environment.flags & (soft::INVALID | soft::DENORMAL | soft::DIVIDE_BY_ZERO);
    // Exceptions found before the computation keep it from being made.
    let flags = if before & unmasked != 0 { before } else { environment.flags };
    vcpu.mxcsr |= flags;
    if flags & unmasked == 0 {
        Ok(())
    } else if vcpu.cr4 & CR4_OSXMMEXCPT != 0 {
        Err(Exception::SimdFloatingPoint)
    } else {
        Err(Exception::InvalidOpcode)
    }
}

impl Shape {
    fn format(self) -> Format {
        match self {
            Self::ScalarSingle | Self::PackedSingle => SINGLE,
            Self::ScalarDouble | Self::PackedDouble => DOUBLE,
        }
    }
}
