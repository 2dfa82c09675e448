//! The arithmetic flags, computed when they are read (SDM vol. 1 3.4.3.1).

use crate::ir::{Condition, Width};

/// Carry flag in RFLAGS.
pub const CF: u64 = 1 << 0;
/// Parity flag.
pub const PF: u64 = 1 << 2;
/// Auxiliary carry flag.
pub const AF: u64 = 1 << 4;
/// Zero flag.
pub const ZF: u64 = 1 << 6;
/// Sign flag.
pub const SF: u64 = 1 << 7;
/// Trap flag.
pub const TF: u64 = 1 << 8;
/// Interrupt enable flag.
pub const IF: u64 = 1 << 9;
/// Direction flag.
pub const DF: u64 = 1 << 10;
/// Overflow flag.
pub const OF: u64 = 1 << 11;
/// I/O privilege level, two bits.
pub const IOPL: u64 = 3 << 12;
/// Nested task.
pub const NT: u64 = 1 << 14;
/// Resume flag.
pub const RF: u64 = 1 << 16;
/// Virtual-8086 mode.
pub const VM: u64 = 1 << 17;
/// Alignment check / access control (SMAP).
pub const AC: u64 = 1 << 18;
/// Virtual interrupt flag.
pub const VIF: u64 = 1 << 19;
/// Virtual interrupt pending.
pub const VIP: u64 = 1 << 20;
/// CPUID can be used.
pub const ID: u64 = 1 << 21;
/// The bit that always reads as one.
pub const RESERVED_ONE: u64 = 1 << 1;
/// CF, PF, AF, ZF, SF, OF.
pub const ARITHMETIC: u64 = CF | PF | AF | ZF | SF | OF;

/// How the flags follow from [`LazyFlags::result`] and [`LazyFlags::source`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlagsKind {
    /// `source` holds the flags at their places in RFLAGS.
    Explicit,
    /// `result = a + source`.
    Add,
    /// `result = a - source`.
    Sub,
    /// CF = OF = AF = 0.
    Logic,
    /// `result = a + 1`; CF is bit 0 of `source`.
    Inc,
    /// `result = a - 1`; CF is bit 0 of `source`.
    Dec,
    /// CF is bit 0 and OF bit 1 of `source`; AF = 0. Shifts and multiplications.
    CarryOverflow,
}

impl FlagsKind {
    /// The kind with a number, as it stands in memory.
    pub const fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Add,
            2 => Self::Sub,
            3 => Self::Logic,
            4 => Self::Inc,
            5 => Self::Dec,
            6 => Self::CarryOverflow,
            _ => Self::Explicit,
        }
    }
}

/// The operands of the last operation that defined the flags.
///
/// `result`, and the `source` of [`FlagsKind::Add`] and [`FlagsKind::Sub`], are shifted left so that the
/// operation's most significant bit is bit 63: ZF, SF, CF and OF need no width then.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct LazyFlags {
    /// The result, aligned to bit 63.
    pub result: u64,
    /// The second operand, or what [`FlagsKind`] says.
    pub source: u64,
    /// How to compute.
    pub kind: FlagsKind,
    /// The operation's width.
    pub width: Width,
}

impl LazyFlags {
    /// Flags given by their bits in RFLAGS.
    pub const fn explicit(flags: u64) -> Self {
        Self { result: 0, source: flags & ARITHMETIC, kind: FlagsKind::Explicit, width: Width::W64 }
    }

    /// Flags of an operation of `width` with the result and source as low bits.
    #[inline(always)]
    pub const fn of(kind: FlagsKind, width: Width, result: u64, source: u64) -> Self {
        let shift = 64 - width.bits();
        let source = match kind {
            FlagsKind::Add | FlagsKind::Sub => source << shift,
            _ => source,
        };
        Self { result: result << shift, source, kind, width }
    }

    /// These flags with another CF.
    #[inline]
    pub fn with_carry(self, carry: bool) -> Self {
        let carry = u64::from(carry);
        match self.kind {
            FlagsKind::Explicit | FlagsKind::Inc | FlagsKind::Dec | FlagsKind::CarryOverflow => {
                Self { source: self.source & !CF | carry, ..self }
            }
            FlagsKind::Logic => Self { source: carry, kind: FlagsKind::CarryOverflow, ..self },
            FlagsKind::Add | FlagsKind::Sub => Self::explicit(self.bits() & !CF | carry),
        }
    }

    fn low_result(&self) -> u64 {
        self.result >> (64 - self.width.bits())
    }

    /// CF.
    #[inline]
    pub fn carry(&self) -> bool {
        match self.kind {
            FlagsKind::Explicit | FlagsKind::Inc | FlagsKind::Dec | FlagsKind::CarryOverflow => {
                self.source & 1 != 0
            }
            FlagsKind::Add => self.result < self.source,
            FlagsKind::Sub => self.result.wrapping_add(self.source) < self.source,
            FlagsKind::Logic => false,
        }
    }

    /// ZF.
    #[inline]
    pub fn zero(&self) -> bool {
        match self.kind {
            FlagsKind::Explicit => self.source & ZF != 0,
            _ => self.result == 0,
        }
    }

    /// SF.
    #[inline]
    pub fn sign(&self) -> bool {
        match self.kind {
            FlagsKind::Explicit => self.source & SF != 0,
            _ => (self.result as i64) < 0,
        }
    }

    /// OF.
    #[inline]
    pub fn overflow(&self) -> bool {
        const TOP: u64 = 1 << 63;
        match self.kind {
            FlagsKind::Explicit => self.source & OF != 0,
            FlagsKind::Add => {
                let a = self.result.wrapping_sub(self.source);
                (a ^ self.result) & (self.source ^ self.result) & TOP != 0
            }
            FlagsKind::Sub => {
                let a = self.result.wrapping_add(self.source);
                (a ^ self.source) & (a ^ self.result) & TOP != 0
            }
            FlagsKind::Logic => false,
            FlagsKind::Inc => self.result == TOP,
            FlagsKind::Dec => self.result == TOP.wrapping_sub(1 << (64 - self.width.bits())),
            FlagsKind::CarryOverflow => self.source & 2 != 0,
        }
    }

    /// PF: even parity of the low byte.
    pub fn parity(&self) -> bool {
        match self.kind {
            FlagsKind::Explicit => self.source & PF != 0,
            _ => (self.low_result() as u8).count_ones().is_multiple_of(2),
        }
    }

    /// AF: carry out of bit 3.
    pub fn auxiliary(&self) -> bool {
        let result = self.low_result();
        let source = self.source >> (64 - self.width.bits());
        match self.kind {
            FlagsKind::Explicit => self.source & AF != 0,
            FlagsKind::Add => (result & 15) < (source & 15),
            FlagsKind::Sub => (result.wrapping_add(source) & 15) < (source & 15),
            FlagsKind::Inc => result & 15 == 0,
            FlagsKind::Dec => result & 15 == 15,
            FlagsKind::Logic | FlagsKind::CarryOverflow => false,
        }
    }

    /// All six flags at their places in RFLAGS.
    pub fn bits(&self) -> u64 {
        if self.kind == FlagsKind::Explicit {
            return self.source;
        }
        let bit = |is_set: bool, mask: u64| if is_set { mask } else { 0 };
        bit(self.carry(), CF)
            | bit(self.parity(), PF)
            | bit(self.auxiliary(), AF)
            | bit(self.zero(), ZF)
            | bit(self.sign(), SF)
            | bit(self.overflow(), OF)
    }

    /// Whether the condition holds.
    #[inline]
    pub fn holds(&self, condition: Condition) -> bool {
        use Condition as C;
        match condition {
            C::Overflow => self.overflow(),
            C::NotOverflow => !self.overflow(),
            C::Below => self.carry(),
            C::AboveOrEqual => !self.carry(),
            C::Equal => self.zero(),
            C::NotEqual => !self.zero(),
            C::BelowOrEqual => self.carry() || self.zero(),
            C::Above => !(self.carry() || self.zero()),
            C::Sign => self.sign(),
            C::NotSign => !self.sign(),
            C::ParityEven => self.parity(),
            C::ParityOdd => !self.parity(),
            C::Less => self.sign() != self.overflow(),
            C::GreaterOrEqual => self.sign() == self.overflow(),
            C::LessOrEqual => self.zero() || self.sign() != self.overflow(),
            C::Greater => !self.zero() && self.sign() == self.overflow(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compare_sets_carry_and_overflow_by_its_width() {
        let flags = LazyFlags::of(FlagsKind::Sub, Width::W8, 0x80u64.wrapping_sub(1), 1);
        assert!(flags.overflow() && !flags.carry() && !flags.sign());
        let flags = LazyFlags::of(FlagsKind::Sub, Width::W32, 0u64.wrapping_sub(1), 1);
        assert!(flags.carry() && flags.sign() && !flags.overflow() && flags.auxiliary());
    }

    #[test]
    fn an_add_carries_out_of_its_width() {
        let flags = LazyFlags::of(FlagsKind::Add, Width::W16, 0x10000, 1);
        assert!(flags.carry() && flags.zero() && flags.auxiliary() && flags.parity());
    }
}
