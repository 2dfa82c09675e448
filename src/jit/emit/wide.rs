//! Multiplication and division of 32 and 64 bits with a double-width operand in RDX:RAX, MULX, and double-width shifts.

use super::flags::FlagsState;
use super::{ADDRESS, Emitter, FLAGS_KIND, FLAGS_RESULT, FLAGS_SOURCE, SECOND, VALUE, types};
use crate::cpu::{
    DIVIDE, DOUBLE_SHIFT, FlagsKind, HelperEffects, HelperId, MULTIPLY, MULTIPLY_QUIETLY, helper_effects,
};
use crate::ir::{Op, Reg, Shape, Width};
use wasm_encoder::BlockType;

/// An instruction on double-width values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WideInstruction {
    /// MUL, or IMUL with one operand.
    Multiply {
        /// IMUL.
        is_signed: bool,
        /// Of a half.
        width: Width,
    },
    /// MULX.
    MultiplyQuietly(Width),
    /// DIV or IDIV.
    Divide {
        /// IDIV.
        is_signed: bool,
        /// Of a half.
        width: Width,
    },
    /// SHLD, SHRD.
    Shift {
        /// SHRD.
        is_right: bool,
        /// Of a half.
        width: Width,
    },
}

impl WideInstruction {
    /// The instruction of an operation that calls a helper, if it is one of these.
    pub fn of(op: &Op) -> Option<Self> {
        if op.code.shape() != Shape::Call {
            return None;
        }
        let width = Width::from_bytes(1 << (op.d & 3)).filter(|&width| width >= Width::W32)?;
        let is_signed = op.c == 1;
        Some(match u16::try_from(op.imm).map(HelperId::from_number).ok()? {
            MULTIPLY => Self::Multiply { is_signed, width },
            MULTIPLY_QUIETLY => Self::MultiplyQuietly(width),
            DIVIDE => Self::Divide { is_signed, width },
            DOUBLE_SHIFT => Self::Shift { is_right: op.d >> 2 == 1, width },
            _ => return None,
        })
    }

    /// Whether it sets all flags, unless it [passes](Self::passes_flags) them.
    pub fn defines_flags(self) -> bool {
        matches!(self, Self::Multiply { .. } | Self::Shift { .. })
    }

    /// Whether it may leave the flags that stood before: by a count of zero.
    pub fn passes_flags(self) -> bool {
        matches!(self, Self::Shift { .. })
    }

    /// Whether it may raise an exception.
    pub fn may_exit(self) -> bool {
        matches!(self, Self::Divide { .. })
    }
}

impl Emitter<'_> {
    /// Emits such an instruction.
    pub(super) fn wide(&mut self, op: &Op, instruction: WideInstruction) {
        match instruction {
            WideInstruction::Multiply { is_signed, width } => self.multiply_wide(op, is_signed, width),
            WideInstruction::MultiplyQuietly(width) => {
                self.extended(Reg::RDX.0, width, false, VALUE);
                self.extended(op.b, width, false, SECOND);
                self.halves_of_product(width, false);
                // The high half wins where both go into one register.
                self.wasm().local_get(VALUE);
                self.set(op.c);
                self.wasm().local_get(ADDRESS);
                self.set(op.a);
            }
            WideInstruction::Divide { is_signed, width } => self.divide_wide(op, is_signed, width),
            WideInstruction::Shift { is_right, width } => self.shift_wide(op, is_right, width),
        }
    }

    fn shift_wide(&mut self, op: &Op, is_right: bool, width: Width) {
        let wants_flags = self.flags_live_after();
        if wants_flags {
            self.make_flags_lazy();
        }
        let bits = i64::from(width.bits());
        self.extended(op.b, width, false, VALUE);
        self.extended(op.c, width, false, ADDRESS);
        self.get(Reg::T2.0);
        let mut wasm = self.wasm();
        wasm.i64_const(bits - 1).i64_and().local_set(SECOND);
        if width == Width::W64 {
            // Shifted out in two steps, a count of zero brings nothing in.
            if is_right {
                wasm.local_get(VALUE).local_get(SECOND).i64_shr_u();
                wasm.local_get(ADDRESS).i64_const(1).i64_shl();
                wasm.i64_const(63).local_get(SECOND).i64_sub().i64_shl().i64_or();
            } else {
                wasm.local_get(VALUE).local_get(SECOND).i64_shl();
                wasm.local_get(ADDRESS).i64_const(1).i64_shr_u();
                wasm.i64_const(63).local_get(SECOND).i64_sub().i64_shr_u().i64_or();
            }
        } else {
            let (high, low) = if is_right { (ADDRESS, VALUE) } else { (VALUE, ADDRESS) };
            wasm.local_get(high).i64_const(32).i64_shl().local_get(low).i64_or().local_get(SECOND);
            if is_right {
                wasm.i64_shr_u().i64_const(0xffff_ffff).i64_and();
            } else {
                wasm.i64_shl().i64_const(32).i64_shr_u();
            }
        }
        if wants_flags {
            wasm.local_set(ADDRESS).local_get(SECOND).i64_eqz().i32_eqz().if_(BlockType::Empty);
            wasm.local_get(ADDRESS).i64_const(64 - bits).i64_shl().local_set(FLAGS_RESULT);
            // CF is the last bit that went out, OF tells whether the sign has changed.
            wasm.local_get(VALUE);
            if is_right {
                wasm.local_get(SECOND).i64_const(1).i64_sub();
            } else {
                wasm.i64_const(bits).local_get(SECOND).i64_sub();
            }
            wasm.i64_shr_u().i64_const(1).i64_and();
            wasm.local_get(ADDRESS).local_get(VALUE).i64_xor().i64_const(bits - 1).i64_shr_u();
            wasm.i64_const(1).i64_and().i64_const(1).i64_shl().i64_or().local_set(FLAGS_SOURCE);
            wasm.i32_const(FlagsKind::CarryOverflow as i32 | (width as i32) << 8).local_set(FLAGS_KIND);
            wasm.end().local_get(ADDRESS);
        }
        self.assign_clean(op.a, width);
    }

    /// Takes the low bits of a register to a local, extended.
    fn extended(&mut self, register: u8, width: Width, is_signed: bool, local: u32) {
        self.get(register);
        let mut wasm = self.wasm();
        match (width, is_signed) {
            (Width::W64, _) => &mut wasm,
            (_, true) => wasm.i64_extend32_s(),
            (_, false) => wasm.i64_const(0xffff_ffff).i64_and(),
        }
        .local_set(local);
    }

    /// Multiplies VALUE by SECOND: the low half goes to VALUE, the high half to ADDRESS.
    fn halves_of_product(&mut self, width: Width, is_signed: bool) {
        if width == Width::W64 {
            self.high_product();
            let mut wasm = self.wasm();
            if is_signed {
                // A negative factor has counted as 2⁶⁴ more.
                for (factor, other) in [(VALUE, SECOND), (SECOND, VALUE)] {
                    wasm.local_get(factor).i64_const(63).i64_shr_s().local_get(other).i64_and().i64_sub();
                }
            }
            wasm.local_set(ADDRESS).local_get(VALUE).local_get(SECOND).i64_mul().local_set(VALUE);
            return;
        }
        let mut wasm = self.wasm();
        wasm.local_get(VALUE).local_get(SECOND).i64_mul().local_tee(VALUE);
        wasm.i64_const(32).i64_shr_u().local_set(ADDRESS);
        wasm.local_get(VALUE).i64_const(0xffff_ffff).i64_and().local_set(VALUE);
    }

    /// Puts the high 64 bits of VALUE times SECOND on the stack, both unsigned.
    pub(super) fn high_product(&mut self) {
        let mut wasm = self.wasm();
        let (low, high) = (0xffff_ffff, 32);
        // Of the four products of halves, the two in the middle.
        wasm.local_get(VALUE).i64_const(low).i64_and().local_get(SECOND).i64_const(low).i64_and().i64_mul();
        wasm.i64_const(high).i64_shr_u();
        wasm.local_get(VALUE)
            .i64_const(high)
            .i64_shr_u()
            .local_get(SECOND)
            .i64_const(low)
            .i64_and()
            .i64_mul();
        wasm.i64_add().local_tee(ADDRESS).i64_const(low).i64_and();
        wasm.local_get(VALUE)
            .i64_const(low)
            .i64_and()
            .local_get(SECOND)
            .i64_const(high)
            .i64_shr_u()
            .i64_mul();
        wasm.i64_add().i64_const(high).i64_shr_u();
        wasm.local_get(ADDRESS).i64_const(high).i64_shr_u().i64_add();
        wasm.local_get(VALUE)
            .i64_const(high)
            .i64_shr_u()
            .local_get(SECOND)
            .i64_const(high)
            .i64_shr_u()
            .i64_mul();
        wasm.i64_add();
    }

    fn multiply_wide(&mut self, op: &Op, is_signed: bool, width: Width) {
        self.extended(Reg::RAX.0, width, is_signed, VALUE);
        self.extended(op.b, width, is_signed, SECOND);
        self.halves_of_product(width, is_signed);
        if self.flags_live_after() {
            // CF and OF tell whether the high half is more than an extension.
            let mut wasm = self.wasm();
            wasm.local_get(VALUE).local_set(FLAGS_RESULT).local_get(ADDRESS);
            match (is_signed, width) {
                (false, _) => wasm.i64_const(0),
                (true, Width::W64) => wasm.local_get(VALUE).i64_const(63).i64_shr_s(),
                (true, _) => {
                    wasm.local_get(VALUE).i64_extend32_s().i64_const(32).i64_shr_s();
                    wasm.i64_const(0xffff_ffff).i64_and()
                }
            };
            wasm.i64_ne().i64_extend_i32_u().i64_const(3).i64_mul().local_set(FLAGS_SOURCE);
            self.define_lazy_flags(FlagsKind::CarryOverflow, width);
        }
        self.wasm().local_get(VALUE);
        self.set(Reg::RAX.0);
        self.wasm().local_get(ADDRESS);
        self.set(Reg::RDX.0);
    }

    fn divide_wide(&mut self, op: &Op, is_signed: bool, width: Width) {
        let Some(known) = helper_effects(op) else { return };
        self.extended(op.b, width, is_signed, SECOND);
        // The dividend goes to VALUE where it fits, and whether the instruction can do without the helper to the stack.
        if width == Width::W64 {
            self.get(Reg::RAX.0);
            self.wasm().local_set(VALUE);
            self.get(Reg::RDX.0);
            let mut wasm = self.wasm();
            if is_signed {
                wasm.local_get(VALUE).i64_const(63).i64_shr_s();
            } else {
                wasm.i64_const(0);
            }
            wasm.i64_eq();
        } else {
            self.get(Reg::RDX.0);
            self.wasm().i64_const(32).i64_shl();
            self.get(Reg::RAX.0);
            let mut wasm = self.wasm();
            wasm.i64_const(0xffff_ffff).i64_and().i64_or().local_set(VALUE);
            if is_signed {
                wasm.local_get(VALUE).local_get(VALUE).i64_extend32_s().i64_eq();
            } else {
                wasm.local_get(VALUE).i64_const(32).i64_shr_u().local_get(SECOND).i64_lt_u();
            }
        }
        let mut wasm = self.wasm();
        if is_signed {
            // Neither 0 nor -1, by which the least number cannot be divided.
            wasm.local_get(SECOND).i64_const(1).i64_add().i64_const(1).i64_gt_u().i32_and();
        } else {
            wasm.local_get(SECOND).i64_const(0).i64_ne().i32_and();
        }
        wasm.if_(BlockType::Empty);
        self.depth += 1;
        for (is_remainder, register) in [(false, Reg::RAX), (true, Reg::RDX)] {
            let mut wasm = self.wasm();
            wasm.local_get(VALUE).local_get(SECOND);
            match (is_remainder, is_signed) {
                (false, false) => wasm.i64_div_u(),
                (false, true) => wasm.i64_div_s(),
                (true, false) => wasm.i64_rem_u(),
                (true, true) => wasm.i64_rem_s(),
            };
            if width == Width::W32 {
                wasm.i64_const(0xffff_ffff).i64_and();
            }
            self.set(register.0);
        }
        self.wasm().else_();
        if width == Width::W64 && !is_signed {
            // A divisor that is not above the high half is 0 or leads to a quotient that does not fit.
            self.get(Reg::RDX.0);
            self.wasm().local_get(SECOND).i64_lt_u().if_(BlockType::Empty);
            let divide = self.slots.divide;
            self.wasm().local_get(VALUE);
            self.get(Reg::RDX.0);
            let mut wasm = self.wasm();
            wasm.local_get(SECOND)
                .i32_const(divide as i32)
                .call_indirect(0, types::DIVIDE)
                .local_tee(ADDRESS);
            self.set(Reg::RAX.0);
            self.wasm().local_get(VALUE).local_get(ADDRESS).local_get(SECOND).i64_mul().i64_sub();
            self.set(Reg::RDX.0);
            self.depth += 1;
            self.wasm().else_();
            self.call_aside(op, &known);
            self.wasm().end();
            self.depth -= 1;
        } else {
            self.call_aside(op, &known);
        }
        self.wasm().end();
        self.depth -= 1;
    }

    /// Calls a helper on one of two ways: what is known of locals and memory stays as it is on the other.
    pub(super) fn call_aside(&mut self, op: &Op, known: &HelperEffects) {
        let before = (self.dirty, self.rip_stored, self.flags);
        self.call_known(op, known);
        (self.dirty, self.rip_stored, self.flags) = before;
    }

    /// The flags are now as [`FlagsState::Lazy`] has them: the result and the source in the locals.
    fn define_lazy_flags(&mut self, kind: FlagsKind, width: Width) {
        let number = super::flags::kind_number(kind, width);
        self.wasm().i32_const(number).local_set(super::FLAGS_KIND);
        self.flags = FlagsState::Lazy;
        self.overlay = None;
    }
}
