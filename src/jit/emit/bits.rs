//! The bit instructions that are emitted in place of their helpers.

use super::flags::{Overlay, Pending};
use super::{ENTRY, Emitter, FLAGS_OVERLAY, FLAGS_RESULT, FLAGS_SOURCE, SECOND, VALUE};
use crate::cpu::flags::{CF, SF, ZF};
use crate::cpu::{
    BIT_OPERATION, BIT_SCAN_FORWARD, BIT_SCAN_REVERSE, BitManipulation, BitOp, HelperId, MANIPULATE_BITS,
    POPULATION_COUNT,
};
use crate::ir::{Op, Shape, Width};

/// A bit instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitInstruction {
    /// BT, BTS, BTR, BTC.
    Operation(BitOp, Width),
    /// BSF, or BSR.
    Scan {
        /// BSR.
        is_reverse: bool,
        /// Of the operands.
        width: Width,
    },
    /// POPCNT.
    Count(Width),
    /// One of BMI1, BMI2 or LZCNT.
    Manipulation(BitManipulation, Width),
}

impl BitInstruction {
    /// The instruction of an operation that calls a helper, if it is one of these.
    pub fn of(op: &Op) -> Option<Self> {
        if op.code.shape() != Shape::Call {
            return None;
        }
        let width = Width::from_bytes(1 << (op.d & 3))?;
        Some(match u16::try_from(op.imm).map(HelperId::from_number).ok()? {
            BIT_OPERATION => Self::Operation(BitOp::from_number(op.d >> 2), width),
            BIT_SCAN_FORWARD => Self::Scan { is_reverse: false, width },
            BIT_SCAN_REVERSE => Self::Scan { is_reverse: true, width },
            POPULATION_COUNT => Self::Count(width),
            MANIPULATE_BITS => match BitManipulation::from_number(op.d >> 2)? {
                BitManipulation::ExtractField | BitManipulation::Deposit | BitManipulation::Extract => {
                    return None;
                }
                manipulation => Self::Manipulation(manipulation, width),
            },
            _ => return None,
        })
    }

    /// Whether it changes only some of the flags.
    pub fn passes_flags(self) -> bool {
        matches!(self, Self::Operation(..))
    }
}

impl Emitter<'_> {
    /// Emits a bit instruction.
    pub(super) fn bits(&mut self, op: &Op, instruction: BitInstruction) {
        match instruction {
            BitInstruction::Operation(operation, width) => self.bit_operation(op, operation, width),
            BitInstruction::Scan { is_reverse, width } => self.bit_scan(op, is_reverse, width),
            BitInstruction::Count(width) => self.bit_count(op, width),
            BitInstruction::Manipulation(manipulation, width) => {
                self.bit_manipulation(op, manipulation, width)
            }
        }
    }

    fn bit_operation(&mut self, op: &Op, operation: BitOp, width: Width) {
        self.get(op.c);
        self.wasm().i64_const(i64::from(width.bits()) - 1).i64_and().local_set(SECOND);
        if self.flags_live_after() {
            self.settle_overlay();
            self.get(op.b);
            let mut wasm = self.wasm();
            wasm.local_get(SECOND).i64_shr_u().i64_const(1).i64_and().local_set(FLAGS_OVERLAY);
            self.overlay = Some(Overlay::Carry);
        }
        if operation == BitOp::Test {
            return;
        }
        self.get(op.b);
        let mut wasm = self.wasm();
        wasm.i64_const(1).local_get(SECOND).i64_shl();
        match operation {
            BitOp::Set => wasm.i64_or(),
            BitOp::Reset => wasm.i64_const(-1).i64_xor().i64_and(),
            BitOp::Complement | BitOp::Test => wasm.i64_xor(),
        };
        self.assign(op.a, width);
    }

    /// Takes the operand's low bits to a local.
    fn bits_of_operand(&mut self, op: &Op, width: Width) {
        self.get(op.b);
        if width < Width::W64 {
            self.wasm().i64_const(width.mask() as i64).i64_and();
        }
        self.wasm().local_set(VALUE);
    }

    fn bit_scan(&mut self, op: &Op, is_reverse: bool, width: Width) {
        self.bits_of_operand(op, width);
        if self.flags_live_after() {
            self.wasm().local_get(VALUE).local_set(FLAGS_RESULT);
            self.define_flags(Pending::Logic, width);
        }
        let mut wasm = self.wasm();
        if is_reverse {
            wasm.i64_const(63).local_get(VALUE).i64_clz().i64_sub();
        } else {
            wasm.local_get(VALUE).i64_ctz();
        }
        if width < Width::W32 {
            self.get(op.a);
            self.wasm().i64_const(!width.mask() as i64).i64_and().i64_or();
        }
        // A source of zero leaves the destination, its upper half too.
        self.get(op.a);
        self.wasm().local_get(VALUE).i64_const(0).i64_ne().select();
        self.set(op.a);
    }

    fn bit_count(&mut self, op: &Op, width: Width) {
        const ZERO_FLAG: i64 = 6;
        self.bits_of_operand(op, width);
        if self.flags_live_after() {
            let mut wasm = self.wasm();
            wasm.local_get(VALUE).i64_eqz().i64_extend_i32_u();
            wasm.i64_const(ZERO_FLAG).i64_shl().local_set(FLAGS_SOURCE);
            self.define_flags(Pending::Explicit, width);
        }
        self.wasm().local_get(VALUE).i64_popcnt();
        self.assign_clean(op.a, width);
    }

    /// Leaves the result in one local and CF in another, and takes them from there.
    fn bit_manipulation(&mut self, op: &Op, manipulation: BitManipulation, width: Width) {
        use BitManipulation as B;
        const _: () = assert!(CF == 1 && ZF == 1 << 6 && SF == 1 << 7);
        let bits = i64::from(width.bits());
        self.bits_of_operand(op, width);
        if manipulation == B::ZeroHighBits {
            self.get(op.c);
            let mut wasm = self.wasm();
            wasm.i64_const(0xff).i64_and().local_tee(SECOND).i64_const(bits).i64_ge_u().local_set(ENTRY);
            wasm.local_get(VALUE).local_get(VALUE).i64_const(-1).local_get(SECOND).i64_shl();
            wasm.i64_const(-1).i64_xor().i64_and().local_get(ENTRY).select().local_set(SECOND);
        } else {
            let mut wasm = self.wasm();
            match manipulation {
                B::LowestSetBit => wasm.i64_const(0).local_get(VALUE).i64_sub().local_get(VALUE).i64_and(),
                B::MaskToLowestSetBit => {
                    wasm.local_get(VALUE).i64_const(1).i64_sub().local_get(VALUE).i64_xor();
                    wasm.i64_const(width.mask() as i64).i64_and()
                }
                B::ResetLowestSetBit => {
                    wasm.local_get(VALUE).i64_const(1).i64_sub().local_get(VALUE).i64_and()
                }
                B::CountLeadingZeros => wasm.local_get(VALUE).i64_clz().i64_const(64 - bits).i64_sub(),
                // The others are not among these instructions.
                B::CountTrailingZeros | B::ZeroHighBits | B::ExtractField | B::Deposit | B::Extract => {
                    wasm.local_get(VALUE).i64_ctz().local_tee(SECOND).i64_const(bits);
                    wasm.local_get(SECOND).i64_const(bits).i64_lt_u().select()
                }
            };
            wasm.local_set(SECOND).local_get(VALUE).i64_eqz();
            if manipulation == B::LowestSetBit {
                wasm.i32_eqz();
            }
            wasm.local_set(ENTRY);
        }
        if self.flags_live_after() {
            let mut wasm = self.wasm();
            wasm.local_get(ENTRY).i64_extend_i32_u();
            wasm.local_get(SECOND).i64_eqz().i64_extend_i32_u().i64_const(6).i64_shl().i64_or();
            if !matches!(manipulation, B::CountLeadingZeros | B::CountTrailingZeros) {
                wasm.local_get(SECOND).i64_const(bits - 1).i64_shr_u().i64_const(7).i64_shl().i64_or();
            }
            wasm.local_set(FLAGS_SOURCE);
            self.define_flags(Pending::Explicit, width);
        }
        self.wasm().local_get(SECOND);
        self.assign_clean(op.a, width);
    }
}
