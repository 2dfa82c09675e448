//! MXCSR while an instruction runs (SDM vol. 1 10.2.3, 11.5).

use crate::cpu::system::CR4_OSXMMEXCPT;
use crate::cpu::{Exception, Vcpu};
use rustc_apfloat::Round;

/// Invalid operation.
pub const INVALID: u32 = 1 << 0;
/// A denormal operand.
pub const DENORMAL: u32 = 1 << 1;
/// A division of a finite number by zero.
pub const ZERO_DIVIDE: u32 = 1 << 2;
/// A result too large.
pub const OVERFLOW: u32 = 1 << 3;
/// A result too small.
pub const UNDERFLOW: u32 = 1 << 4;
/// A rounded result.
pub const PRECISION: u32 = 1 << 5;

/// The exceptions that are found before a result is computed.
const BEFORE: u32 = INVALID | DENORMAL | ZERO_DIVIDE;
const MASK_SHIFT: u32 = 7;

/// MXCSR's control bits, and the exceptions that the instruction has found.
pub struct Context {
    /// The rounding in force.
    pub round: Round,
    /// DAZ: denormal operands count as zero.
    pub denormals_are_zero: bool,
    /// FTZ, where underflow is masked: tiny results become zero.
    pub flushes_to_zero: bool,
    /// Underflow is not masked: it is signalled for exact tiny results too.
    pub is_underflow_open: bool,
    /// Overflow is not masked.
    pub is_overflow_open: bool,
    /// What is found so far.
    pub found: u32,
}

/// A rounding by its number in MXCSR.RC and in immediate bytes.
pub const fn rounding(number: u32) -> Round {
    match number & 3 {
        0 => Round::NearestTiesToEven,
        1 => Round::TowardNegative,
        2 => Round::TowardPositive,
        _ => Round::TowardZero,
    }
}

impl Context {
    /// The control bits of `mxcsr`; nothing found yet.
    pub const fn new(mxcsr: u32) -> Self {
        let is_underflow_open = mxcsr & UNDERFLOW << MASK_SHIFT == 0;
        Self {
            round: rounding(mxcsr >> 13),
            denormals_are_zero: mxcsr & 1 << 6 != 0,
            flushes_to_zero: mxcsr & 1 << 15 != 0 && !is_underflow_open,
            is_underflow_open,
            is_overflow_open: mxcsr & OVERFLOW << MASK_SHIFT == 0,
            found: 0,
        }
    }

    /// Enters what was found into MXCSR.
    ///
    /// # Errors
    /// #XM, or #UD without CR4.OSXMMEXCPT, for exceptions that are not masked; then the instruction's
    /// destination stays. What is found before computing hides what comes after.
    pub fn finish(self, vcpu: &mut Vcpu) -> Result<(), Exception> {
        let open = !(vcpu.mxcsr >> MASK_SHIFT) & 0x3f;
        let raised = self.found & open;
        if raised == 0 {
            vcpu.mxcsr |= self.found;
            return Ok(());
        }
        let shown = if raised & BEFORE != 0 { self.found & BEFORE } else { self.found };
        vcpu.mxcsr |= shown;
        if vcpu.cr4 & CR4_OSXMMEXCPT == 0 {
            return Err(Exception::InvalidOpcode);
        }
        Err(Exception::SimdFloatingPoint)
    }
}
