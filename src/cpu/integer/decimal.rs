//! Decimal adjustments and BOUND: instructions of 32-bit programs only.

use super::width;
use crate::cpu::flags::{AF, CF, LazyFlags, OF};
use crate::cpu::{Exception, FlagsKind, Vcpu};
use crate::ir::{Op, Reg, Width};

/// A decimal instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Decimal {
    Aaa,
    Aas,
    Aam,
    Aad,
    Daa,
    Das,
    Salc,
}

const ALL: [Decimal; 7] =
    [Decimal::Aaa, Decimal::Aas, Decimal::Aam, Decimal::Aad, Decimal::Daa, Decimal::Das, Decimal::Salc];

/// See [`super::DECIMAL_ADJUST`].
pub fn adjust(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let ax = vcpu.reg(Reg::RAX) as u16;
    let [al, ah] = ax.to_le_bytes();
    let flags = vcpu.flags.bits();
    let needs_low = al & 15 > 9 || flags & AF != 0;
    let has_carry = flags & CF != 0;
    // Flags that follow from AL, with the carries given.
    let from_result = |al: u8, carries: u64| {
        LazyFlags::explicit(LazyFlags::of(FlagsKind::Logic, Width::W8, al.into(), 0).bits() & !OF | carries)
    };
    let (new_ax, new_flags) = match ALL[usize::from(op.d).min(ALL.len() - 1)] {
        kind @ (Decimal::Aaa | Decimal::Aas) => {
            let adjusted = match (needs_low, kind) {
                (false, _) => ax,
                (true, Decimal::Aaa) => ax.wrapping_add(0x106),
                (true, _) => ax.wrapping_sub(0x106),
            };
            let carries = if needs_low { AF | CF } else { 0 };
            (adjusted & 0xff0f, LazyFlags::explicit(flags & !(AF | CF) | carries))
        }
        Decimal::Aam => {
            if op.c == 0 {
                return Err(Exception::DivideError);
            }
            let (high, low) = (al / op.c, al % op.c);
            (u16::from_le_bytes([low, high]), from_result(low, 0))
        }
        Decimal::Aad => {
            let low = al.wrapping_add(ah.wrapping_mul(op.c));
            (u16::from(low), from_result(low, 0))
        }
        kind @ (Decimal::Daa | Decimal::Das) => {
            let is_add = kind == Decimal::Daa;
            let step =
                |value: u8, by: u8| if is_add { value.wrapping_add(by) } else { value.wrapping_sub(by) };
            let needs_high = al > 0x99 || has_carry;
            let mut result = if needs_low { step(al, 6) } else { al };
            // Only DAS carries out of its first step.
            let borrows = !is_add && needs_low && al < 6;
            if needs_high {
                result = step(result, 0x60);
            }
            let carries = if needs_low { AF } else { 0 } | if needs_high || borrows { CF } else { 0 };
            (u16::from_le_bytes([result, ah]), from_result(result, carries))
        }
        Decimal::Salc => {
            let low = if has_carry { 0xff } else { 0 };
            (u16::from_le_bytes([low, ah]), vcpu.flags)
        }
    };
    vcpu.set_value(Reg::RAX, Width::W16, new_ax.into());
    vcpu.flags = new_flags;
    Ok(())
}

/// See [`super::CHECK_BOUND`].
pub fn check_bound(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let shift = 64 - width(op.d).bits();
    let signed = |number: u8| ((vcpu.reg(Reg(number)) << shift) as i64) >> shift;
    if (signed(op.b)..=signed(op.c)).contains(&signed(op.a)) { Ok(()) } else { Err(Exception::BoundRange) }
}
