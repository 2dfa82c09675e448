//! The arithmetic flags: kept as operands in locals until somebody reads them.

use super::{Emitter, FLAGS_KIND, FLAGS_LEFT, FLAGS_OVERLAY, FLAGS_RESULT, FLAGS_SOURCE, VCPU, at, types};
use crate::cpu::{FlagsKind, LazyFlags, Linkage};
use crate::ir::{Condition, Op, Right, Width};
use crate::jit::abi::{offset, overlaid};

/// The operation that the flags in the locals come from. The locals hold its operands and result, of which
/// only the low bits of the width count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// `left + source = result`.
    Add,
    /// `left - source = result`.
    Sub,
    /// And, or, xor: the result.
    Logic,
    /// The result; the carry before it is bit 0 of `source`.
    Increment,
    /// As above.
    Decrement,
    /// `left << count`.
    ShiftLeft(u8),
    /// `left >> count`, unsigned.
    ShiftRight(u8),
    /// `left >> count`, signed.
    ShiftRightSigned(u8),
    /// `left * source`, signed.
    Multiply,
    /// The flags themselves in `source`.
    Explicit,
}

/// Where the flags are while a region is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagsState {
    /// In the vCPU's memory.
    Memory,
    /// In the locals, as the operands of an operation.
    Pending(Pending, Width),
    /// In the locals, as [`LazyFlags`] holds them.
    Lazy,
}

/// What stands over the flags: a rotate, which changed CF and OF and left the others, or a bit test. The local holds
/// its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlay {
    /// To the left: CF is the lowest bit.
    RotateLeft(Width),
    /// To the right: CF is the highest bit.
    RotateRight(Width),
    /// CF alone, in the lowest bit: a bit test.
    Carry,
}

impl Overlay {
    /// CF in bit 0 and OF in bit 1, from what the local holds, over the flags `base`.
    fn bits(self, value: u64, base: LazyFlags) -> u32 {
        match self {
            Self::RotateLeft(width) => {
                let carry = value & 1;
                (carry | (value >> (width.bits() - 1) & 1 ^ carry) << 1) as u32
            }
            Self::RotateRight(width) => {
                let carry = value >> (width.bits() - 1) & 1;
                (carry | (value >> (width.bits() - 2) & 1 ^ carry) << 1) as u32
            }
            Self::Carry => (value & 1) as u32 | u32::from(base.overflow()) << 1,
        }
    }
}

/// Where the flags are at a way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlagsAt {
    /// Where all of them are.
    pub base: FlagsState,
    /// What stands over them.
    pub overlay: Option<Overlay>,
}

impl FlagsAt {
    /// Whether the locals of the flags count.
    pub fn is_in_locals(self) -> bool {
        self.base != FlagsState::Memory || self.overlay.is_some()
    }

    /// The flags that a way out has left; `None` when those in memory stand.
    pub fn lazy(self, memory: LazyFlags, linkage: &Linkage) -> Option<LazyFlags> {
        let (left, result, source) = (linkage.flags_left, linkage.flags_result, linkage.flags_source);
        let base = match self.base {
            FlagsState::Memory => None,
            FlagsState::Lazy => Some(LazyFlags {
                result,
                source,
                kind: FlagsKind::from_number(linkage.flags_kind as u8),
                width: Width::from_bytes(1 << (linkage.flags_kind >> 8 & 3)).unwrap_or(Width::W64),
            }),
            FlagsState::Pending(pending, width) => Some(pending.lazy(width, left, result, source)),
        };
        let Some(overlay) = self.overlay else { return base };
        let base = base.unwrap_or(memory);
        Some(overlaid(base, overlay.bits(linkage.flags_overlay, base)))
    }
}

impl Pending {
    /// What [`LazyFlags`] calls the operation.
    const fn kind(self) -> FlagsKind {
        match self {
            Self::Add => FlagsKind::Add,
            Self::Sub => FlagsKind::Sub,
            Self::Logic => FlagsKind::Logic,
            Self::Increment => FlagsKind::Inc,
            Self::Decrement => FlagsKind::Dec,
            Self::ShiftLeft(_) | Self::ShiftRight(_) | Self::ShiftRightSigned(_) | Self::Multiply => {
                FlagsKind::CarryOverflow
            }
            Self::Explicit => FlagsKind::Explicit,
        }
    }

    fn lazy(self, width: Width, left: u64, result: u64, source: u64) -> LazyFlags {
        let bits = width.bits();
        let signed = |value: u64| ((value << (64 - bits)) as i64) >> (64 - bits);
        let carry_overflow = match self {
            Self::ShiftLeft(count) => {
                let count = u32::from(count);
                let carry = if count <= bits { (left & width.mask()) >> (bits - count) & 1 } else { 0 };
                carry | (result >> (bits - 1) & 1 ^ carry) << 1
            }
            Self::ShiftRight(count) => {
                let left = left & width.mask();
                left >> (count - 1) & 1 | (left >> (bits - 1) & 1) << 1
            }
            Self::ShiftRightSigned(count) => (signed(left) >> (count - 1)) as u64 & 1,
            Self::Multiply => {
                let product = i128::from(signed(left)) * i128::from(signed(source));
                u64::from(i128::from(signed(result)) != product) * 3
            }
            Self::Explicit => return LazyFlags::explicit(source),
            Self::Logic => 0,
            _ => source,
        };
        LazyFlags::of(self.kind(), width, result, carry_overflow)
    }
}

/// The kind and width as [`LazyFlags`] has them in memory.
pub(super) const fn kind_number(kind: FlagsKind, width: Width) -> i32 {
    kind as i32 | (width as i32) << 8
}

impl Emitter<'_> {
    /// The flags are now those of an operation whose operands are in the locals.
    pub(super) fn define_flags(&mut self, pending: Pending, width: Width) {
        self.flags = FlagsState::Pending(pending, width);
        self.overlay = None;
    }

    /// Nobody reads the flags that stood before.
    pub(super) fn forget_flags(&mut self) {
        self.flags = FlagsState::Memory;
        self.overlay = None;
    }

    /// What stands over the flags is joined with them, in memory.
    pub(super) fn settle_overlay(&mut self) {
        let Some(overlay) = self.overlay.take() else { return };
        self.write_base_flags();
        self.flags = FlagsState::Memory;
        let slot = self.slots.overlay;
        self.wasm().local_get(VCPU);
        self.overlay_carry(overlay);
        self.overlay_overflow(overlay);
        // To tell OF may have read the flags into locals.
        self.flags = FlagsState::Memory;
        let mut wasm = self.wasm();
        wasm.i32_const(1).i32_shl().i32_or();
        wasm.i32_const(slot as i32).call_indirect(0, types::CONDITION).drop();
    }

    /// Puts CF of an overlay on the stack.
    fn overlay_carry(&mut self, overlay: Overlay) {
        let mut wasm = self.wasm();
        wasm.local_get(FLAGS_OVERLAY);
        if let Overlay::RotateRight(width) = overlay {
            wasm.i64_const(i64::from(width.bits()) - 1).i64_shr_u();
        }
        wasm.i32_wrap_i64().i32_const(1).i32_and();
    }

    /// Puts OF on the stack.
    fn overlay_overflow(&mut self, overlay: Overlay) {
        let bit = match overlay {
            Overlay::RotateLeft(width) => width.bits() - 1,
            Overlay::RotateRight(width) => width.bits() - 2,
            Overlay::Carry => return self.base_condition(Condition::Overflow),
        };
        self.overlay_carry(overlay);
        let mut wasm = self.wasm();
        wasm.local_get(FLAGS_OVERLAY).i64_const(bit.into()).i64_shr_u().i32_wrap_i64();
        wasm.i32_const(1).i32_and().i32_xor();
    }

    /// A condition of flags that something stands over.
    fn overlaid_condition(&mut self, condition: Condition, overlay: Overlay) {
        use Condition as C;
        match condition {
            C::Below => self.overlay_carry(overlay),
            C::Overflow => self.overlay_overflow(overlay),
            C::BelowOrEqual => {
                self.overlay_carry(overlay);
                self.base_condition(C::Equal);
                self.wasm().i32_or();
            }
            C::Less | C::LessOrEqual => {
                self.base_condition(C::Sign);
                self.overlay_overflow(overlay);
                self.wasm().i32_xor();
                if condition == C::LessOrEqual {
                    self.base_condition(C::Equal);
                    self.wasm().i32_or();
                }
            }
            other => self.base_condition(other),
        }
    }

    /// Puts the flags' source on the stack as [`LazyFlags`] has it.
    fn lazy_source(&mut self, pending: Pending, width: Width) {
        let bits = i64::from(width.bits());
        let unused = 64 - bits;
        match pending {
            Pending::Add | Pending::Sub => {
                self.wasm().local_get(FLAGS_SOURCE);
                self.shift_left(unused);
            }
            Pending::Logic => {
                self.wasm().i64_const(0);
            }
            Pending::Increment | Pending::Decrement | Pending::Explicit => {
                self.wasm().local_get(FLAGS_SOURCE);
            }
            Pending::ShiftLeft(_) | Pending::ShiftRight(_) | Pending::ShiftRightSigned(_) => {
                self.shift_carry(pending, width);
                self.shift_overflow(pending, width);
                self.wasm().i64_const(1).i64_shl().i64_or();
            }
            Pending::Multiply => {
                self.multiply_overflow(width);
                self.wasm().i64_extend_i32_u().i64_const(3).i64_mul();
            }
        }
    }

    /// CF of a shift, as a number.
    fn shift_carry(&mut self, pending: Pending, width: Width) {
        let bits = i64::from(width.bits());
        self.wasm().local_get(FLAGS_LEFT);
        match pending {
            Pending::ShiftLeft(count) => {
                self.wasm().i64_const(width.mask() as i64).i64_and();
                let by = bits - i64::from(count);
                if by >= 0 {
                    self.wasm().i64_const(by).i64_shr_u();
                } else {
                    self.wasm().i64_const(0).i64_and();
                }
            }
            Pending::ShiftRight(count) => {
                self.wasm().i64_const(width.mask() as i64).i64_and();
                self.wasm().i64_const(i64::from(count) - 1).i64_shr_u();
            }
            Pending::ShiftRightSigned(count) => {
                self.sign_extend(width);
                self.wasm().i64_const(i64::from(count) - 1).i64_shr_s();
            }
            _ => {}
        }
        self.wasm().i64_const(1).i64_and();
    }

    /// OF of a shift, as a number.
    fn shift_overflow(&mut self, pending: Pending, width: Width) {
        let top = i64::from(width.bits()) - 1;
        match pending {
            Pending::ShiftLeft(_) => {
                self.wasm().local_get(FLAGS_RESULT).i64_const(top).i64_shr_u();
                self.shift_carry(pending, width);
                self.wasm().i64_xor().i64_const(1).i64_and();
            }
            Pending::ShiftRight(_) => {
                self.wasm().local_get(FLAGS_LEFT).i64_const(top).i64_shr_u().i64_const(1).i64_and();
            }
            _ => {
                self.wasm().i64_const(0);
            }
        }
    }

    /// Whether a signed product does not fit, as a condition.
    fn multiply_overflow(&mut self, width: Width) {
        if width < Width::W64 {
            // The operands fit into 32 bits, so their product fits into 64.
            self.wasm().local_get(FLAGS_LEFT);
            self.sign_extend(width);
            self.wasm().local_get(FLAGS_SOURCE);
            self.sign_extend(width);
            self.wasm().i64_mul();
            self.wasm().local_get(FLAGS_RESULT);
            self.sign_extend(width);
            self.wasm().i64_ne();
            return;
        }
        // It fits when the quotient gives the operand back: -1 times the most negative number does not.
        let mut wasm = self.wasm();
        wasm.local_get(FLAGS_LEFT).i64_eqz().if_(wasm_encoder::BlockType::Result(wasm_encoder::ValType::I32));
        wasm.i32_const(0).else_();
        wasm.local_get(FLAGS_LEFT).i64_const(-1).i64_eq();
        wasm.if_(wasm_encoder::BlockType::Result(wasm_encoder::ValType::I32));
        wasm.local_get(FLAGS_SOURCE).i64_const(i64::MIN).i64_eq().else_();
        wasm.local_get(FLAGS_RESULT).local_get(FLAGS_LEFT).i64_div_s().local_get(FLAGS_SOURCE).i64_ne();
        wasm.end().end();
    }

    fn shift_left(&mut self, count: i64) {
        if count != 0 {
            self.wasm().i64_const(count).i64_shl();
        }
    }

    /// Puts the result on the stack as [`LazyFlags`] has it.
    fn lazy_result(&mut self, pending: Pending, width: Width) {
        if pending == Pending::Explicit {
            self.wasm().i64_const(0);
            return;
        }
        self.wasm().local_get(FLAGS_RESULT);
        self.shift_left(64 - i64::from(width.bits()));
    }

    /// Writes the flags to memory, if they are not there. They count as there from now on.
    pub(super) fn store_flags(&mut self) {
        self.write_flags();
        self.flags = FlagsState::Memory;
    }

    /// Writes the flags to memory, if they are not there.
    pub(super) fn write_flags(&mut self) {
        self.settle_overlay();
        self.write_base_flags();
    }

    fn write_base_flags(&mut self) {
        match self.flags {
            FlagsState::Memory => {}
            FlagsState::Lazy => {
                let mut wasm = self.wasm();
                wasm.local_get(VCPU).local_get(FLAGS_RESULT).i64_store(at(offset::LAZY_RESULT));
                wasm.local_get(VCPU).local_get(FLAGS_SOURCE).i64_store(at(offset::LAZY_SOURCE));
                wasm.local_get(VCPU).local_get(FLAGS_KIND).i32_store16(at(offset::LAZY_KIND));
            }
            FlagsState::Pending(pending, width) => {
                self.wasm().local_get(VCPU);
                self.lazy_result(pending, width);
                self.wasm().i64_store(at(offset::LAZY_RESULT)).local_get(VCPU);
                self.lazy_source(pending, width);
                let number = kind_number(pending.kind(), explicit_width(pending, width));
                let mut wasm = self.wasm();
                wasm.i64_store(at(offset::LAZY_SOURCE));
                wasm.local_get(VCPU).i32_const(number).i32_store16(at(offset::LAZY_KIND));
            }
        }
    }

    /// Brings the flags into the locals as [`LazyFlags`] has them: the form in which ways join.
    pub(super) fn make_flags_lazy(&mut self) {
        self.settle_overlay();
        self.make_base_lazy();
    }

    fn make_base_lazy(&mut self) {
        match self.flags {
            FlagsState::Lazy => return,
            FlagsState::Memory => {
                let mut wasm = self.wasm();
                wasm.local_get(VCPU).i64_load(at(offset::LAZY_RESULT)).local_set(FLAGS_RESULT);
                wasm.local_get(VCPU).i64_load(at(offset::LAZY_SOURCE)).local_set(FLAGS_SOURCE);
                wasm.local_get(VCPU).i32_load16_u(at(offset::LAZY_KIND)).local_set(FLAGS_KIND);
            }
            FlagsState::Pending(pending, width) => {
                self.lazy_source(pending, width);
                self.wasm().local_set(FLAGS_SOURCE);
                self.lazy_result(pending, width);
                let number = kind_number(pending.kind(), explicit_width(pending, width));
                self.wasm().local_set(FLAGS_RESULT).i32_const(number).local_set(FLAGS_KIND);
            }
        }
        self.flags = FlagsState::Lazy;
    }

    /// Puts CF on the stack as a condition.
    pub(super) fn carry(&mut self) {
        self.condition(Condition::Below);
    }

    /// Puts a condition on the stack.
    pub(super) fn condition(&mut self, condition: Condition) {
        let positive = Condition::from_code(condition as u8 & !1);
        match self.overlay {
            Some(overlay) => self.overlaid_condition(positive, overlay),
            None => self.base_condition(positive),
        }
        if condition as u8 & 1 != 0 {
            self.wasm().i32_eqz();
        }
    }

    fn base_condition(&mut self, condition: Condition) {
        match self.flags {
            FlagsState::Pending(pending, width) => self.pending_condition(condition, pending, width),
            FlagsState::Memory | FlagsState::Lazy => self.lazy_condition(condition),
        }
    }

    fn lazy_condition(&mut self, condition: Condition) {
        const KIND_BITS: i32 = 0xff;
        self.make_base_lazy();
        let mut wasm = self.wasm();
        match condition {
            Condition::Below => {
                // What the kind says, chosen among the three ways in which CF is kept.
                wasm.local_get(FLAGS_RESULT).local_get(FLAGS_SOURCE).i64_lt_u();
                wasm.local_get(FLAGS_RESULT).local_get(FLAGS_SOURCE).i64_add();
                wasm.local_get(FLAGS_SOURCE).i64_lt_u();
                wasm.local_get(FLAGS_SOURCE).i32_wrap_i64().i32_const(1).i32_and();
                for kind in [FlagsKind::Sub, FlagsKind::Add] {
                    wasm.local_get(FLAGS_KIND).i32_const(KIND_BITS).i32_and().i32_const(kind as i32).i32_eq();
                    wasm.select();
                }
            }
            _ => {
                let slot = self.slots.condition;
                self.write_base_flags();
                let mut wasm = self.wasm();
                wasm.local_get(VCPU).i32_const(condition as i32);
                wasm.i32_const(slot as i32).call_indirect(0, types::CONDITION);
            }
        }
    }

    /// Compares the operands, or the result with zero.
    fn pending_condition(&mut self, condition: Condition, pending: Pending, width: Width) {
        use Condition as C;
        use Pending as P;
        match (condition, pending) {
            (_, P::Explicit) => self.explicit_condition(condition),
            (C::Equal, P::Sub) => {
                self.operands(width, false);
                self.compare(width, |wasm, is_64| {
                    if is_64 {
                        wasm.i64_eq()
                    } else {
                        wasm.i32_eq()
                    };
                });
            }
            (C::Below, P::Sub) => {
                self.operands(width, false);
                self.compare(width, |wasm, is_64| {
                    if is_64 {
                        wasm.i64_lt_u()
                    } else {
                        wasm.i32_lt_u()
                    };
                });
            }
            (C::BelowOrEqual, P::Sub) => {
                self.operands(width, false);
                self.compare(width, |wasm, is_64| {
                    if is_64 {
                        wasm.i64_le_u()
                    } else {
                        wasm.i32_le_u()
                    };
                });
            }
            (C::Less, P::Sub) => {
                self.operands(width, true);
                self.compare(width, |wasm, is_64| {
                    if is_64 {
                        wasm.i64_lt_s()
                    } else {
                        wasm.i32_lt_s()
                    };
                });
            }
            (C::LessOrEqual, P::Sub) => {
                self.operands(width, true);
                self.compare(width, |wasm, is_64| {
                    if is_64 {
                        wasm.i64_le_s()
                    } else {
                        wasm.i32_le_s()
                    };
                });
            }
            (C::Equal, _) => {
                self.result(width);
                let mut wasm = self.wasm();
                if width == Width::W64 {
                    wasm.i64_eqz()
                } else {
                    wasm.i32_eqz()
                };
            }
            (C::Sign, _) | (C::Less, P::Logic) => {
                self.wasm().local_get(FLAGS_RESULT);
                self.shift_left(64 - i64::from(width.bits()));
                self.wasm().i64_const(0).i64_lt_s();
            }
            (C::LessOrEqual, P::Logic) => {
                self.wasm().local_get(FLAGS_RESULT);
                self.shift_left(64 - i64::from(width.bits()));
                self.wasm().i64_const(0).i64_le_s();
            }
            (C::Below | C::Overflow, P::Logic) => {
                self.wasm().i32_const(0);
            }
            (C::BelowOrEqual, P::Logic) => self.pending_condition(C::Equal, pending, width),
            (C::Below, P::Add) => {
                // The sum is below an operand.
                self.result(width);
                self.operand(super::FLAGS_SOURCE, width, false);
                let mut wasm = self.wasm();
                if width == Width::W64 {
                    wasm.i64_lt_u()
                } else {
                    wasm.i32_lt_u()
                };
            }
            (C::Below, P::Increment | P::Decrement) => {
                self.wasm().local_get(FLAGS_SOURCE).i32_wrap_i64();
            }
            (C::Below, P::Multiply) | (C::Overflow, P::Multiply) => self.multiply_overflow(width),
            (C::Below, _) => {
                self.shift_carry(pending, width);
                self.wasm().i32_wrap_i64();
            }
            (C::BelowOrEqual, _) => {
                self.pending_condition(C::Below, pending, width);
                self.pending_condition(C::Equal, pending, width);
                self.wasm().i32_or();
            }
            (C::Overflow, P::Add | P::Sub) => {
                // The operands' signs tell: for a sum both differ from the result's, for a difference they differ
                // from each other, and the left one's from the result's.
                let mut wasm = self.wasm();
                wasm.local_get(FLAGS_LEFT).local_get(FLAGS_RESULT).i64_xor();
                if pending == P::Add {
                    wasm.local_get(FLAGS_SOURCE).local_get(FLAGS_RESULT).i64_xor();
                } else {
                    wasm.local_get(FLAGS_LEFT).local_get(FLAGS_SOURCE).i64_xor();
                }
                wasm.i64_and();
                self.shift_left(64 - i64::from(width.bits()));
                self.wasm().i64_const(0).i64_lt_s();
            }
            (C::Overflow, P::Increment | P::Decrement) => {
                let top = 1u64 << (width.bits() - 1);
                let overflown = if pending == P::Increment { top } else { top - 1 };
                let mut wasm = self.wasm();
                wasm.local_get(FLAGS_RESULT).i64_const(width.mask() as i64).i64_and();
                wasm.i64_const(overflown as i64).i64_eq();
            }
            (C::Overflow, _) => {
                self.shift_overflow(pending, width);
                self.wasm().i32_wrap_i64();
            }
            (C::Less, _) => {
                self.pending_condition(C::Sign, pending, width);
                self.pending_condition(C::Overflow, pending, width);
                self.wasm().i32_xor();
            }
            (C::LessOrEqual, _) => {
                self.pending_condition(C::Less, pending, width);
                self.pending_condition(C::Equal, pending, width);
                self.wasm().i32_or();
            }
            (C::ParityEven, _) => {
                let mut wasm = self.wasm();
                wasm.local_get(FLAGS_RESULT).i64_const(0xff).i64_and().i64_popcnt();
                wasm.i32_wrap_i64().i32_const(1).i32_and().i32_eqz();
            }
            // The odd ones are the negations, which the caller has taken off.
            _ => {
                self.wasm().i32_const(0);
            }
        }
    }

    fn explicit_condition(&mut self, condition: Condition) {
        use crate::cpu::flags as bits;
        let any = match condition {
            Condition::Overflow => bits::OF,
            Condition::Below => bits::CF,
            Condition::Equal => bits::ZF,
            Condition::BelowOrEqual => bits::CF | bits::ZF,
            Condition::Sign => bits::SF,
            Condition::ParityEven => bits::PF,
            Condition::Less => {
                // SF is bit 7, OF bit 11.
                let mut wasm = self.wasm();
                wasm.local_get(FLAGS_SOURCE).local_get(FLAGS_SOURCE).i64_const(4).i64_shr_u().i64_xor();
                wasm.i64_const(bits::SF as i64).i64_and().i64_const(0).i64_ne();
                return;
            }
            _ => {
                self.explicit_condition(Condition::Less);
                self.explicit_condition(Condition::Equal);
                self.wasm().i32_or();
                return;
            }
        };
        self.wasm().local_get(FLAGS_SOURCE).i64_const(any as i64).i64_and().i64_const(0).i64_ne();
    }

    /// Puts the condition of a comparison on the stack, whose flags nobody reads later.
    pub(super) fn compare_directly(
        &mut self,
        op: &Op,
        is_test: bool,
        right: Right,
        condition: Condition,
        width: Width,
    ) {
        let is_signed = matches!(condition, Condition::Less | Condition::LessOrEqual | Condition::Sign);
        self.compared(op.b, width, is_signed);
        match right {
            Right::Register => self.compared(op.c, width, is_signed),
            Right::Immediate => {
                let value = i64::from(op.imm);
                let value = match (width, is_signed) {
                    (Width::W8, true) => i64::from(value as i8),
                    (Width::W16, true) => i64::from(value as i16),
                    (Width::W8 | Width::W16, false) => value & width.mask() as i64,
                    _ => value,
                };
                if width == Width::W64 {
                    self.wasm().i64_const(value);
                } else {
                    self.wasm().i32_const(value as i32);
                }
            }
        }
        let is_64 = width == Width::W64;
        let mut wasm = self.wasm();
        if is_test {
            if is_64 {
                wasm.i64_and()
            } else {
                wasm.i32_and()
            };
            match (condition, is_64) {
                (Condition::Equal, true) => wasm.i64_eqz(),
                (Condition::Equal, false) => wasm.i32_eqz(),
                (Condition::LessOrEqual, true) => wasm.i64_const(0).i64_le_s(),
                (Condition::LessOrEqual, false) => wasm.i32_const(0).i32_le_s(),
                (_, true) => wasm.i64_const(0).i64_lt_s(),
                (_, false) => wasm.i32_const(0).i32_lt_s(),
            };
            return;
        }
        match (condition, is_64) {
            (Condition::Equal, true) => wasm.i64_eq(),
            (Condition::Equal, false) => wasm.i32_eq(),
            (Condition::Below, true) => wasm.i64_lt_u(),
            (Condition::Below, false) => wasm.i32_lt_u(),
            (Condition::BelowOrEqual, true) => wasm.i64_le_u(),
            (Condition::BelowOrEqual, false) => wasm.i32_le_u(),
            (Condition::Less, true) => wasm.i64_lt_s(),
            (Condition::Less, false) => wasm.i32_lt_s(),
            (Condition::LessOrEqual, true) => wasm.i64_le_s(),
            (Condition::LessOrEqual, false) => wasm.i32_le_s(),
            // The sign of the difference, cut to the width.
            (_, true) => wasm.i64_sub().i64_const(0).i64_lt_s(),
            (_, false) => {
                wasm.i32_sub();
                match width {
                    Width::W8 => wasm.i32_extend8_s(),
                    Width::W16 => wasm.i32_extend16_s(),
                    _ => &mut wasm,
                };
                wasm.i32_const(0).i32_lt_s()
            }
        };
    }

    /// Puts a register on the stack as wide as a comparison needs it: 64 bits, or 32.
    fn compared(&mut self, number: u8, width: Width, is_signed: bool) {
        self.get(number);
        self.cut(width, is_signed);
    }

    /// Puts the result on the stack, as wide as a comparison with zero needs: 64 bits, or 32.
    fn result(&mut self, width: Width) {
        self.operand(FLAGS_RESULT, width, false);
    }

    fn operand(&mut self, local: u32, width: Width, is_signed: bool) {
        self.wasm().local_get(local);
        self.cut(width, is_signed);
    }

    /// Cuts the value on the stack to the width: 64 bits, or 32 with those above the width extended.
    fn cut(&mut self, width: Width, is_signed: bool) {
        let mut wasm = self.wasm();
        match width {
            Width::W64 => {}
            Width::W32 => {
                wasm.i32_wrap_i64();
            }
            _ => {
                wasm.i32_wrap_i64();
                match (width, is_signed) {
                    (Width::W8, true) => wasm.i32_extend8_s(),
                    (_, true) => wasm.i32_extend16_s(),
                    _ => wasm.i32_const(width.mask() as i32).i32_and(),
                };
            }
        }
    }

    fn operands(&mut self, width: Width, is_signed: bool) {
        self.operand(FLAGS_LEFT, width, is_signed);
        self.operand(FLAGS_SOURCE, width, is_signed);
    }

    fn compare(&mut self, width: Width, emit: impl FnOnce(&mut wasm_encoder::InstructionSink<'_>, bool)) {
        emit(&mut self.wasm(), width == Width::W64);
    }
}

/// Flags given by their bits have no width; [`LazyFlags`] says 64 bits then.
const fn explicit_width(pending: Pending, width: Width) -> Width {
    match pending {
        Pending::Explicit => Width::W64,
        _ => width,
    }
}
