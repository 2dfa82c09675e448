//! The helpers that micro-operations call by number.

use super::{Exception, Vcpu};
use crate::ir::Op;

/// What [`OpCode::Call`](crate::ir::OpCode::Call) calls.
///
/// `op` carries register numbers and small operands as the family's lifter put them.
/// On an error nothing that the architecture shows has changed, unless the manual says otherwise.
pub type Helper = fn(&mut Vcpu, &Op) -> Result<(), Exception>;

/// What a helper that works on a few registers does; the others may do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperEffects {
    /// Registers that it reads, a bit each.
    pub reads: u32,
    /// Registers that it writes.
    pub writes: u32,
    /// What it does with the arithmetic flags.
    pub flags: FlagsEffect,
    /// Whether it may raise an exception, or make the block loop be left.
    pub may_leave: bool,
}

/// What a helper does with the arithmetic flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagsEffect {
    /// Nothing.
    None,
    /// Defines all of them, whatever they were.
    Defines,
    /// Changes some, or sometimes none.
    Changes,
}

/// What the helper that an operation calls does, if it works on a few registers only.
pub fn effects(op: &Op) -> Option<HelperEffects> {
    match op.imm as u32 as usize / HelperId::FAMILY_SIZE as usize {
        0 => super::integer::effects(op),
        1 => super::system::effects(op),
        5 => super::sse::avx::effects(op),
        2 => super::x87::effects(op),
        _ => None,
    }
}

/// A helper's number: its family and its place in the family's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelperId(u16);

impl HelperId {
    const FAMILY_SIZE: u16 = 256;

    /// Helper `place` of the integer family.
    pub const fn integer(place: u8) -> Self {
        Self(place as u16)
    }

    /// Helper `place` of the system family.
    pub const fn system(place: u8) -> Self {
        Self(Self::FAMILY_SIZE + place as u16)
    }

    /// Helper `place` of the x87 and MMX family.
    pub const fn x87(place: u8) -> Self {
        Self(2 * Self::FAMILY_SIZE + place as u16)
    }

    /// Helper `place` of the SSE family.
    pub const fn sse(place: u8) -> Self {
        Self(3 * Self::FAMILY_SIZE + place as u16)
    }

    /// Helper `place` of SSE floating point.
    pub const fn float(place: u8) -> Self {
        Self(4 * Self::FAMILY_SIZE + place as u16)
    }

    /// Helper `place` of AVX.
    pub const fn avx(place: u8) -> Self {
        Self(5 * Self::FAMILY_SIZE + place as u16)
    }

    /// The number for [`Op::imm`].
    pub const fn number(self) -> i32 {
        self.0 as i32
    }

    /// The helper with this number.
    pub const fn from_number(number: u16) -> Self {
        Self(number)
    }
}

/// Calls the helper that `op` names.
#[inline]
pub fn call(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let number = op.imm as u32 as usize;
    let family: &[Helper] = match number / HelperId::FAMILY_SIZE as usize {
        0 => &super::integer::HELPERS,
        1 => &super::system::HELPERS,
        2 => &super::x87::HELPERS,
        3 => super::sse::HELPERS,
        4 => super::sse::float::HELPERS,
        _ => super::sse::avx::HELPERS,
    };
    family[number % HelperId::FAMILY_SIZE as usize](vcpu, op)
}
