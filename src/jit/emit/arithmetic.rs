//! Integer operations: results in locals, flags as pending operands.

use super::flags::{Overlay, Pending};
use super::{
    CHOICE, Emitter, FLAGS_KIND, FLAGS_LEFT, FLAGS_OVERLAY, FLAGS_RESULT, FLAGS_SOURCE, SECOND, VALUE,
};
use crate::cpu::FlagsKind;
use crate::ir::{Binary, Condition, Op, Right, Shape, Shift, Width};
use wasm_encoder::{BlockType, InstructionSink};

/// Writes one instruction.
type Instruction = fn(&mut InstructionSink<'_>);

impl Emitter<'_> {
    /// Sign-extends the low bits of the value on the stack to 64 bits.
    pub(super) fn sign_extend(&mut self, width: Width) {
        let mut wasm = self.wasm();
        match width {
            Width::W8 => wasm.i64_extend8_s(),
            Width::W16 => wasm.i64_extend16_s(),
            Width::W32 => wasm.i64_extend32_s(),
            Width::W64 => &mut wasm,
        };
    }

    /// Takes a value from the stack into a register by the rule of the width.
    pub(super) fn assign(&mut self, register: u8, width: Width) {
        if width < Width::W64 {
            self.wasm().i64_const(width.mask() as i64).i64_and();
        }
        self.assign_clean(register, width);
    }

    /// As [`assign`](Self::assign), of a value that has nothing above the width.
    pub(super) fn assign_clean(&mut self, register: u8, width: Width) {
        if width < Width::W32 {
            self.get(register);
            self.wasm().i64_const(!width.mask() as i64).i64_and().i64_or();
        }
        self.set(register);
    }

    fn right(&mut self, op: &Op, right: Right) {
        match right {
            Right::Register => self.get(op.c),
            Right::Immediate => {
                self.wasm().i64_const(i64::from(op.imm));
            }
        }
    }

    /// Emits a two-operand instruction at the width: in 32 bits where that is enough, so that the engine
    /// extends the result for nothing.
    fn at_width(
        &mut self,
        width: Width,
        operands: impl FnOnce(&mut Self),
        narrow: Instruction,
        wide: Instruction,
    ) {
        operands(self);
        let mut wasm = self.wasm();
        if width == Width::W32 {
            // Both operands are on the stack with 64 bits each.
            wasm.local_set(SECOND).i32_wrap_i64().local_get(SECOND).i32_wrap_i64();
            narrow(&mut wasm);
            wasm.i64_extend_i32_u();
        } else {
            wide(&mut wasm);
        }
    }

    fn binary(&mut self, operation: Binary, width: Width, op: &Op, right: Right) {
        let (narrow, wide): (Instruction, Instruction) = match operation {
            Binary::Add => (|wasm| _ = wasm.i32_add(), |wasm| _ = wasm.i64_add()),
            Binary::Sub => (|wasm| _ = wasm.i32_sub(), |wasm| _ = wasm.i64_sub()),
            Binary::And => (|wasm| _ = wasm.i32_and(), |wasm| _ = wasm.i64_and()),
            Binary::Or => (|wasm| _ = wasm.i32_or(), |wasm| _ = wasm.i64_or()),
            Binary::Xor => (|wasm| _ = wasm.i32_xor(), |wasm| _ = wasm.i64_xor()),
        };
        if width == Width::W32 && right == Right::Immediate {
            self.get(op.b);
            let mut wasm = self.wasm();
            wasm.i32_wrap_i64().i32_const(op.imm);
            narrow(&mut wasm);
            wasm.i64_extend_i32_u();
        } else if width == Width::W32 {
            self.get(op.b);
            self.wasm().i32_wrap_i64();
            self.get(op.c);
            let mut wasm = self.wasm();
            wasm.i32_wrap_i64();
            narrow(&mut wasm);
            wasm.i64_extend_i32_u();
        } else {
            self.get(op.b);
            self.right(op, right);
            wide(&mut self.wasm());
        }
    }

    /// Assigns the result that is on the stack: a 32-bit one is clean by how it was computed.
    fn assign_result(&mut self, register: u8, width: Width) {
        if width >= Width::W32 { self.set(register) } else { self.assign(register, width) }
    }

    pub(super) fn arithmetic(&mut self, op: &Op) {
        match op.code.shape() {
            Shape::Binary { operation, right, width, is_quiet } => {
                let wants_flags = !is_quiet && self.flags_live_after();
                let pending = match operation {
                    Binary::Add => Pending::Add,
                    Binary::Sub => Pending::Sub,
                    _ => Pending::Logic,
                };
                if wants_flags && pending != Pending::Logic {
                    self.note_operands(op, right);
                }
                self.binary(operation, width, op, right);
                self.finish(op, width, wants_flags, pending);
            }
            Shape::Compare { is_test, right, width } if self.flags_live_after() => {
                self.compare_flags(op, is_test, right, width);
            }
            Shape::AddCarry(width) => self.with_carry(op, width, false),
            Shape::SubBorrow(width) => self.with_carry(op, width, true),
            Shape::Increment(width) => self.step(op, width, Pending::Increment, 1),
            Shape::Decrement(width) => self.step(op, width, Pending::Decrement, -1),
            Shape::Negate(width) => {
                let wants_flags = self.flags_live_after();
                if wants_flags {
                    self.wasm().i64_const(0).local_set(FLAGS_LEFT);
                    self.get(op.b);
                    self.wasm().local_set(FLAGS_SOURCE);
                }
                self.wasm().i64_const(0);
                self.get(op.b);
                self.wasm().i64_sub();
                self.mask_32(width);
                self.finish(op, width, wants_flags, Pending::Sub);
            }
            Shape::Not(width) => {
                self.get(op.b);
                self.wasm().i64_const(-1).i64_xor();
                self.assign(op.a, width);
            }
            Shape::ShiftImmediate { shift, width, is_quiet } => {
                let count = op.imm as u8;
                let wants_flags = !is_quiet && self.flags_live_after();
                if wants_flags {
                    self.get(op.b);
                    self.wasm().local_set(FLAGS_LEFT);
                }
                self.get(op.b);
                self.shift_by(shift, width, |emitter| {
                    emitter.wasm().i64_const(i64::from(count));
                });
                let pending = match shift {
                    Shift::Left => Pending::ShiftLeft(count),
                    Shift::Right => Pending::ShiftRight(count),
                    Shift::RightSigned => Pending::ShiftRightSigned(count),
                };
                self.finish(op, width, wants_flags, pending);
            }
            Shape::Shift { shift, width, is_quiet } => self.shift_variable(op, shift, width, is_quiet),
            Shape::RotateImmediate { width, is_right, is_quiet } => {
                self.rotate(op, width, is_right, is_quiet)
            }
            Shape::Multiply { width, is_quiet } => {
                let wants_flags = !is_quiet && self.flags_live_after();
                if wants_flags {
                    self.note_operands(op, Right::Register);
                }
                self.at_width(
                    width,
                    |emitter| {
                        emitter.get(op.b);
                        emitter.get(op.c);
                    },
                    |wasm| _ = wasm.i32_mul(),
                    |wasm| _ = wasm.i64_mul(),
                );
                self.finish(op, width, wants_flags, Pending::Multiply);
            }
            Shape::ByteSwap(width) => self.byte_swap(op, width),
            Shape::SetCondition => {
                self.condition(Condition::from_code(op.c));
                self.wasm().i64_extend_i32_u();
                self.assign_clean(op.a, Width::W8);
            }
            Shape::MoveIf(width) => {
                self.get(op.b);
                self.get(op.a);
                self.condition(Condition::from_code(op.c));
                self.wasm().select();
                self.assign(op.a, width);
            }
            // A comparison that nobody reads; everything else is emitted elsewhere.
            _ => {}
        }
    }

    /// Keeps both operands for the flags.
    fn note_operands(&mut self, op: &Op, right: Right) {
        self.get(op.b);
        self.wasm().local_set(FLAGS_LEFT);
        self.right(op, right);
        self.wasm().local_set(FLAGS_SOURCE);
    }

    /// Takes the result from the stack to its register, and to the flags when they are read.
    fn finish(&mut self, op: &Op, width: Width, wants_flags: bool, pending: Pending) {
        if wants_flags {
            self.wasm().local_tee(FLAGS_RESULT);
            self.define_flags(pending, width);
        }
        self.assign_result(op.a, width);
    }

    fn mask_32(&mut self, width: Width) {
        if width == Width::W32 {
            self.wasm().i64_const(0xffff_ffff).i64_and();
        }
    }

    /// The flags of a comparison, as pending operands.
    pub(super) fn compare_flags(&mut self, op: &Op, is_test: bool, right: Right, width: Width) {
        self.get(op.b);
        if is_test {
            self.right(op, right);
            self.wasm().i64_and().local_set(FLAGS_RESULT);
            self.define_flags(Pending::Logic, width);
        } else {
            let mut wasm = self.wasm();
            wasm.local_tee(FLAGS_LEFT);
            self.right(op, right);
            let mut wasm = self.wasm();
            wasm.local_tee(FLAGS_SOURCE).i64_sub().local_set(FLAGS_RESULT);
            self.define_flags(Pending::Sub, width);
        }
    }

    /// Addition and subtraction with CF. Lazy flags cannot tell the carry out, so they are computed at once.
    fn with_carry(&mut self, op: &Op, width: Width, is_sub: bool) {
        let wants_flags = self.flags_live_after();
        self.carry();
        self.wasm().local_set(CHOICE);
        let mask = width.mask() as i64;
        for (number, local) in [(op.b, FLAGS_LEFT), (op.c, FLAGS_SOURCE)] {
            self.get(number);
            if width < Width::W64 {
                self.wasm().i64_const(mask).i64_and();
            }
            self.wasm().local_set(local);
        }
        let mut wasm = self.wasm();
        wasm.local_get(FLAGS_LEFT).local_get(FLAGS_SOURCE);
        if is_sub {
            wasm.i64_sub()
        } else {
            wasm.i64_add()
        };
        wasm.local_get(CHOICE).i64_extend_i32_u();
        if is_sub {
            wasm.i64_sub()
        } else {
            wasm.i64_add()
        };
        wasm.local_set(FLAGS_RESULT);
        if wants_flags {
            // The carries out of each bit: of a + b, a & b | (a | b) & !r; of a - b, !a & b | (!a | b) & r.
            wasm.local_get(FLAGS_LEFT);
            if is_sub {
                wasm.i64_const(-1).i64_xor();
            }
            wasm.local_tee(FLAGS_LEFT).local_get(FLAGS_SOURCE).i64_and();
            wasm.local_get(FLAGS_LEFT).local_get(FLAGS_SOURCE).i64_or().local_get(FLAGS_RESULT);
            if !is_sub {
                wasm.i64_const(-1).i64_xor();
            }
            wasm.i64_and().i64_or().local_set(FLAGS_LEFT);
            self.explicit_flags(width);
            self.define_flags(Pending::Explicit, width);
        }
        self.wasm().local_get(FLAGS_RESULT);
        self.assign(op.a, width);
    }

    /// All flags into their local, from the result and the carries out of each bit.
    fn explicit_flags(&mut self, width: Width) {
        let top = i64::from(width.bits()) - 1;
        let mut wasm = self.wasm();
        // CF, bit 0.
        wasm.local_get(FLAGS_LEFT).i64_const(top).i64_shr_u().i64_const(1).i64_and();
        // OF, bit 11: the carries out of and into the top bit differ.
        wasm.local_get(FLAGS_LEFT).i64_const(top).i64_shr_u();
        wasm.local_get(FLAGS_LEFT).i64_const(top - 1).i64_shr_u().i64_xor();
        wasm.i64_const(1).i64_and().i64_const(11).i64_shl().i64_or();
        // AF, bit 4, is the carry out of bit 3.
        wasm.local_get(FLAGS_LEFT).i64_const(8).i64_and().i64_const(1).i64_shl().i64_or();
        // SF, bit 7.
        wasm.local_get(FLAGS_RESULT).i64_const(top).i64_shr_u().i64_const(1).i64_and();
        wasm.i64_const(7).i64_shl().i64_or();
        // ZF, bit 6.
        wasm.local_get(FLAGS_RESULT).i64_const(width.mask() as i64).i64_and().i64_eqz();
        wasm.i64_extend_i32_u().i64_const(6).i64_shl().i64_or();
        // PF, bit 2: even parity of the low byte.
        wasm.local_get(FLAGS_RESULT).i64_const(0xff).i64_and().i64_popcnt().i64_const(1).i64_and();
        wasm.i64_const(1).i64_xor().i64_const(2).i64_shl().i64_or();
        wasm.local_set(FLAGS_SOURCE);
    }

    /// INC and DEC: CF stays.
    fn step(&mut self, op: &Op, width: Width, pending: Pending, by: i64) {
        let wants_flags = self.flags_live_after();
        if wants_flags {
            self.carry();
            self.wasm().i64_extend_i32_u().local_set(FLAGS_SOURCE);
        }
        self.get(op.b);
        self.wasm().i64_const(by).i64_add();
        self.mask_32(width);
        self.finish(op, width, wants_flags, pending);
    }

    /// Takes a value from the stack and leaves it shifted, clean at 32 bits.
    fn shift_by(&mut self, shift: Shift, width: Width, count: impl FnOnce(&mut Self)) {
        if width == Width::W32 {
            self.wasm().i32_wrap_i64();
            count(self);
            let mut wasm = self.wasm();
            wasm.i32_wrap_i64();
            match shift {
                Shift::Left => wasm.i32_shl(),
                Shift::Right => wasm.i32_shr_u(),
                Shift::RightSigned => wasm.i32_shr_s(),
            };
            wasm.i64_extend_i32_u();
            return;
        }
        match shift {
            Shift::Left => {}
            Shift::Right if width < Width::W64 => {
                self.wasm().i64_const(width.mask() as i64).i64_and();
            }
            Shift::Right => {}
            Shift::RightSigned => self.sign_extend(width),
        }
        count(self);
        let mut wasm = self.wasm();
        match shift {
            Shift::Left => wasm.i64_shl(),
            Shift::Right => wasm.i64_shr_u(),
            Shift::RightSigned => wasm.i64_shr_s(),
        };
    }

    /// A shift by a register: a count of zero leaves the flags.
    fn shift_variable(&mut self, op: &Op, shift: Shift, width: Width, is_quiet: bool) {
        let mask = if width == Width::W64 { 63 } else { 31 };
        let count = |emitter: &mut Self| {
            emitter.get(op.c);
            emitter.wasm().i64_const(mask).i64_and();
        };
        if is_quiet || !self.flags_live_after() {
            self.get(op.b);
            self.shift_by(shift, width, count);
            self.assign_result(op.a, width);
            return;
        }
        self.make_flags_lazy();
        self.get(op.b);
        self.wasm().local_set(VALUE);
        count(self);
        self.wasm().local_tee(SECOND).i64_eqz().i32_eqz().local_set(CHOICE);
        self.wasm().local_get(VALUE);
        self.shift_by(shift, width, |emitter| {
            emitter.wasm().local_get(SECOND);
        });
        // The value before goes to VALUE, what it has become to the flags' result when they change.
        let unused = 64 - i64::from(width.bits());
        let top = i64::from(width.bits()) - 1;
        let mut wasm = self.wasm();
        wasm.local_set(FLAGS_LEFT).local_get(CHOICE).if_(BlockType::Empty);
        wasm.local_get(FLAGS_LEFT).i64_const(unused).i64_shl().local_set(FLAGS_RESULT);
        // CF is the last bit that went out.
        match shift {
            Shift::Left => {
                // Counts above the width have shifted everything out; those of 64-bit operands cannot be.
                wasm.local_get(VALUE).i64_const(width.mask() as i64).i64_and();
                wasm.i64_const(i64::from(width.bits())).local_get(SECOND).i64_sub().i64_shr_u();
                wasm.i64_const(0).local_get(SECOND).i64_const(i64::from(width.bits())).i64_le_u().select();
                wasm.i64_const(1).i64_and().local_tee(FLAGS_SOURCE);
                wasm.local_get(FLAGS_LEFT).i64_const(top).i64_shr_u().local_get(FLAGS_SOURCE).i64_xor();
                wasm.i64_const(1).i64_and();
            }
            Shift::Right => {
                wasm.local_get(VALUE).i64_const(width.mask() as i64).i64_and();
                wasm.local_get(SECOND).i64_const(1).i64_sub().i64_shr_u().i64_const(1).i64_and();
                wasm.local_get(VALUE).i64_const(top).i64_shr_u().i64_const(1).i64_and();
            }
            Shift::RightSigned => {
                wasm.local_get(VALUE);
                match width {
                    Width::W8 => wasm.i64_extend8_s(),
                    Width::W16 => wasm.i64_extend16_s(),
                    Width::W32 => wasm.i64_extend32_s(),
                    Width::W64 => &mut wasm,
                };
                wasm.local_get(SECOND).i64_const(1).i64_sub().i64_shr_s().i64_const(1).i64_and();
                wasm.i64_const(0);
            }
        }
        wasm.i64_const(1).i64_shl().i64_or().local_set(FLAGS_SOURCE);
        wasm.i32_const(FlagsKind::CarryOverflow as i32 | (width as i32) << 8).local_set(FLAGS_KIND);
        wasm.end().local_get(FLAGS_LEFT);
        self.assign_result(op.a, width);
    }

    /// A rotate: CF and OF follow from the result, the other flags stay.
    fn rotate(&mut self, op: &Op, width: Width, is_right: bool, is_quiet: bool) {
        let bits = width.bits() as i32;
        let count = if is_right { bits - op.imm } else { op.imm };
        self.get(op.b);
        match width {
            Width::W64 => _ = self.wasm().i64_const(i64::from(count)).i64_rotl(),
            Width::W32 => {
                _ = self.wasm().i32_wrap_i64().i32_const(count).i32_rotl().i64_extend_i32_u();
            }
            _ => {
                let count = count % bits;
                let mut wasm = self.wasm();
                wasm.i64_const(width.mask() as i64).i64_and().local_tee(VALUE);
                wasm.i64_const(i64::from(count)).i64_shl();
                wasm.local_get(VALUE).i64_const(i64::from(bits - count)).i64_shr_u().i64_or();
            }
        }
        if !is_quiet && self.flags_live_after() {
            self.wasm().local_tee(FLAGS_OVERLAY);
            self.overlay =
                Some(if is_right { Overlay::RotateRight(width) } else { Overlay::RotateLeft(width) });
        }
        self.assign_result(op.a, width);
    }

    fn byte_swap(&mut self, op: &Op, width: Width) {
        self.get(op.b);
        let mut wasm = self.wasm();
        wasm.local_set(VALUE);
        if width == Width::W32 {
            // Rotated by 8 and by 24, the bytes stand in their places by turns.
            wasm.local_get(VALUE).i32_wrap_i64().i32_const(8).i32_rotl().i32_const(0x00ff_00ff).i32_and();
            wasm.local_get(VALUE).i32_wrap_i64().i32_const(24).i32_rotl();
            wasm.i32_const(0xff00_ff00_u32 as i32).i32_and().i32_or().i64_extend_i32_u();
        } else {
            const EVEN: i64 = 0x00ff_00ff_00ff_00ff;
            wasm.local_get(VALUE).i64_const(8).i64_shr_u().i64_const(EVEN).i64_and();
            wasm.local_get(VALUE).i64_const(EVEN).i64_and().i64_const(8).i64_shl().i64_or().local_set(VALUE);
            const HALVES: i64 = 0x0000_ffff_0000_ffff;
            wasm.local_get(VALUE).i64_const(16).i64_shr_u().i64_const(HALVES).i64_and();
            wasm.local_get(VALUE).i64_const(HALVES).i64_and().i64_const(16).i64_shl().i64_or();
            wasm.i64_const(32).i64_rotl();
        }
        self.set(op.a);
    }

    /// Puts the condition of a compare and branch on the stack; keeps the flags when they are read later.
    pub(super) fn compare_and_choose(
        &mut self,
        op: &Op,
        is_test: bool,
        right: Right,
        condition: Condition,
        width: Width,
    ) {
        if self.flags_live_after() {
            self.compare_flags(op, is_test, right, width);
            self.condition(condition);
        } else {
            self.compare_directly(op, is_test, right, condition, width);
        }
    }
}
