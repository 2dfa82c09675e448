//! Instructions that work on the register stack alone.

use super::exponent::compare;
use super::float80::{Environment, Float80};
use super::state::{C1, INVALID, STACK_FAULT, SUMMARY, X87};
use crate::cpu::system::{CR0_MP, CR0_NE, CR0_TS};
use crate::cpu::{Exception, LazyFlags, Vcpu, flags};
use crate::ir::{Condition, Op, Reg};
use std::cmp::Ordering;

/// What a two-operand operation computes.
pub trait Operation: Fn(&mut Environment, Float80, Float80) -> Option<Float80> {}
impl<T: Fn(&mut Environment, Float80, Float80) -> Option<Float80>> Operation for T {}

impl Vcpu {
    /// What every waiting instruction does first: raises #MF for a pending exception.
    ///
    /// With CR0.NE clear the error goes to the FERR# pin, which is not connected.
    #[inline(always)]
    pub(super) fn x87_wait(&mut self) -> Result<(), Exception> {
        if self.x87.has_pending_exception() && self.cr0 & CR0_NE != 0 {
            return Err(Exception::X87FloatingPoint);
        }
        Ok(())
    }

    /// What every instruction that is no control instruction does last: notes where it stands.
    #[inline(always)]
    pub(super) fn x87_retire(&mut self, op: &Op) {
        self.x87.instruction_pointer = self.reg(Reg::RIP).wrapping_add(u64::from(op.pc));
        if self.x87.status & SUMMARY != 0 {
            self.record_opcode();
        }
    }

    /// FOP is written when an unmasked exception occurs (SDM vol. 1 8.1.9.1): the code is read again.
    #[cold]
    fn record_opcode(&mut self) {
        let start = self.reg(Reg::CS_BASE).wrapping_add(self.x87.instruction_pointer);
        for distance in 0..14 {
            let at = start.wrapping_add(distance);
            // Code that has just run can be read; if another processor took it away FOP stays as it was.
            let (Ok(first), Ok(second)) = (self.read_u8(at), self.read_u8(at.wrapping_add(1))) else {
                return;
            };
            if first & 0xf8 == 0xd8 {
                self.x87.opcode = u16::from(first & 7) << 8 | u16::from(second);
                return;
            }
        }
    }
}

/// Raises #NM.
pub fn not_available(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::DeviceNotAvailable)
}

/// `WAIT`: #NM with both CR0.MP and CR0.TS, then #MF.
pub fn wait(vcpu: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    if vcpu.cr0 & CR0_MP != 0 && vcpu.cr0 & CR0_TS != 0 {
        return Err(Exception::DeviceNotAvailable);
    }
    vcpu.x87_wait()
}

/// Runs an instruction that only the register stack matters to.
#[inline(always)]
pub fn on_stack(vcpu: &mut Vcpu, op: &Op, instruction: impl FnOnce(&mut X87)) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    instruction(&mut vcpu.x87);
    vcpu.x87_retire(op);
    Ok(())
}

/// ST(`a`) = operation(ST(`a`), ST(`b`)), and `c` pops.
#[inline(always)]
pub fn combine(vcpu: &mut Vcpu, op: &Op, operation: impl Operation) -> Result<(), Exception> {
    on_stack(vcpu, op, |x87| x87.combine(op.a, op.b, op.c, operation))
}

/// The constants of `FLD1` to `FLDZ` by the second opcode byte less E8: exponent, significand rounded down,
/// and whether the nearest value is the one above.
const CONSTANTS: [(u16, u64, bool); 7] = [
    (0x3fff, 0x8000_0000_0000_0000, false),
    (0x4000, 0xd49a_784b_cd1b_8afe, false),
    (0x3fff, 0xb8aa_3b29_5c17_f0bb, true),
    (0x4000, 0xc90f_daa2_2168_c234, true),
    (0x3ffd, 0x9a20_9a84_fbcf_f798, true),
    (0x3ffe, 0xb172_17f7_d1cf_79ab, true),
    (0, 0, false),
];

/// Pushes constant number `a` as RC rounds it.
pub fn load_constant(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    use super::float80::Rounding;
    on_stack(vcpu, op, |x87| {
        let number = usize::from(op.a) % CONSTANTS.len();
        let (exponent, mantissa, is_nearer_above) = CONSTANTS[number];
        let is_exact = matches!(number, 0 | 6);
        let is_up = match x87.environment().rounding() {
            Rounding::Nearest => is_nearer_above,
            Rounding::Up => !is_exact,
            Rounding::Down | Rounding::Zero => false,
        };
        x87.load(Some(Float80::new(false, exponent, mantissa + u64::from(is_up))), 0);
    })
}

/// Compares ST(0) with ST(`a`); `b` is 1 for `FUCOM` and kin; `c` pops.
pub fn compare_registers(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    on_stack(vcpu, op, |x87| {
        if x87.is_empty(0) || x87.is_empty(op.a) {
            x87.compare_underflow(op.c);
            return;
        }
        let mut environment = x87.environment();
        let order = compare(&mut environment, x87.st(0), x87.st(op.a), op.b != 0);
        x87.finish_compare(order, environment.flags, op.c);
    })
}

/// `FTST`.
pub fn test(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    on_stack(vcpu, op, |x87| {
        if x87.is_empty(0) {
            x87.compare_underflow(0);
            return;
        }
        let mut environment = x87.environment();
        let order = compare(&mut environment, x87.st(0), Float80::ZERO, false);
        x87.finish_compare(order, environment.flags, 0);
    })
}

/// `FCOMI` and kin: as [`compare_registers`], into ZF, PF and CF.
pub fn compare_to_flags(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let x87 = &mut vcpu.x87;
    let order = if x87.is_empty(0) || x87.is_empty(op.a) {
        x87.status &= !C1;
        x87.finish_flag_compare(INVALID | STACK_FAULT, op.c);
        None
    } else {
        let mut environment = x87.environment();
        let order = compare(&mut environment, x87.st(0), x87.st(op.a), op.b != 0);
        x87.finish_flag_compare(environment.flags, op.c);
        order
    };
    vcpu.flags = LazyFlags::explicit(match order {
        Some(Ordering::Greater) => 0,
        Some(Ordering::Less) => flags::CF,
        Some(Ordering::Equal) => flags::ZF,
        None => flags::ZF | flags::PF | flags::CF,
    });
    vcpu.x87_retire(op);
    Ok(())
}

/// `FCMOVcc` from ST(`a`) on condition `c`.
pub fn move_if(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let holds = vcpu.flags.holds(Condition::from_code(op.c));
    on_stack(vcpu, op, |x87| x87.move_if(op.a, holds))
}
