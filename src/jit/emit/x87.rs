//! The x87 unit on normal numbers: loads, moves, addition, subtraction and multiplication, rounded to the nearest
//! value of full precision with all exceptions masked. The helper does all else, on the same state.

use super::{ADDRESS, Emitter, SECOND, TEMPORARIES, VALUE, VCPU, at};
use crate::cpu::x87::{self, Format};
use crate::cpu::{HelperId, helper_effects};
use crate::ir::{Op, Reg, Shape};
use crate::jit::abi::offset::X87;
use crate::jit::flow::RegSet;
use wasm_encoder::{BlockType, MemArg};

/// Locals of 64 bits that functions with x87 instructions have beside.
pub const I64_LOCALS: u32 = 4;
/// Locals of 32 bits likewise.
pub const I32_LOCALS: u32 = 8;

/// An instruction that is emitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instruction {
    /// Pushes a value.
    Push(Source),
    /// ST(`index`) = ST(0), and pops.
    StoreRegister { index: u8, pops: u8 },
    /// Exchanges ST(0) and ST(`index`).
    Exchange(u8),
    /// The sign bit of ST(0): turned, or cleared.
    Sign { is_cleared: bool },
    /// ST(`target`) = operation(ST(`target`), source), and pops.
    Combine { operation: Operation, target: u8, source: Source, pops: u8 },
    /// ST(0) in 80 bits to T1, and pops.
    Store80 { pops: u8 },
}

/// Where an operand comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Register(u8),
    /// T4.
    Value(Format),
    /// At T1.
    Memory80,
    One,
    Zero,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Add,
    Subtract,
    SubtractReversed,
    Multiply,
}

impl Instruction {
    fn of(op: &Op) -> Option<Self> {
        if op.code.shape() != Shape::Call {
            return None;
        }
        let format = Some(Format::from_number(op.d)).filter(|&format| format <= Format::Double);
        let combine =
            |operation| Self::Combine { operation, target: op.a, source: Source::Register(op.b), pops: op.c };
        let combine_memory = |operation| {
            format.map(|format| Self::Combine {
                operation,
                target: 0,
                source: Source::Value(format),
                pops: 0,
            })
        };
        Some(match u16::try_from(op.imm).map(HelperId::from_number).ok()? {
            x87::LOAD => Self::Push(Source::Value(format?)),
            x87::LOAD_80 => Self::Push(Source::Memory80),
            x87::LOAD_REGISTER => Self::Push(Source::Register(op.a)),
            x87::LOAD_CONSTANT if op.a == 0 => Self::Push(Source::One),
            x87::LOAD_CONSTANT if op.a == 6 => Self::Push(Source::Zero),
            x87::STORE_REGISTER => Self::StoreRegister { index: op.a, pops: op.c },
            x87::STORE_80 => Self::Store80 { pops: op.c },
            x87::EXCHANGE => Self::Exchange(op.a),
            x87::CHANGE_SIGN => Self::Sign { is_cleared: false },
            x87::ABSOLUTE => Self::Sign { is_cleared: true },
            x87::ADD => combine(Operation::Add),
            x87::SUBTRACT => combine(Operation::Subtract),
            x87::SUBTRACT_REVERSED => combine(Operation::SubtractReversed),
            x87::MULTIPLY => combine(Operation::Multiply),
            x87::ADD_MEMORY => combine_memory(Operation::Add)?,
            x87::SUBTRACT_MEMORY => combine_memory(Operation::Subtract)?,
            x87::SUBTRACT_REVERSED_MEMORY => combine_memory(Operation::SubtractReversed)?,
            x87::MULTIPLY_MEMORY => combine_memory(Operation::Multiply)?,
            _ => return None,
        })
    }

    /// Whether it has a memory operand, which FDP tells.
    fn has_memory(self) -> bool {
        match self {
            Self::Push(source) | Self::Combine { source, .. } => {
                matches!(source, Source::Value(_) | Source::Memory80)
            }
            Self::Store80 { .. } => true,
            Self::StoreRegister { .. } | Self::Exchange(_) | Self::Sign { .. } => false,
        }
    }
}

/// The integer registers that an operation reads, if it is one of these.
pub fn reads(op: &Op) -> Option<RegSet> {
    let instruction = Instruction::of(op)?;
    // Its helper may be called, which reads them from memory.
    let known = helper_effects(op)?;
    Some(if instruction.has_memory() { known.reads } else { known.reads & !TEMPORARIES })
}

const INTEGER_BIT: i64 = i64::MIN;
const STATUS_SHIFT: i32 = 16;
/// RC, PC and the masks of the control word.
const MODE: i32 = 0xf3f;
/// To the nearest, 64 bits, all masked.
const USUAL_MODE: i32 = 0x33f;
const SUMMARY: i32 = 1 << 7;
const PRECISION_BIT: i32 = 5;
const C1_BIT: i32 = 9;
const SIGN: i32 = 0x8000;
const BIAS: i32 = 0x3fff;

/// The locals.
#[derive(Clone, Copy)]
struct Locals {
    first_64: u32,
    first_32: u32,
}

impl Locals {
    /// Significands of the operands.
    const fn mantissas(self) -> [u32; 2] {
        [self.first_64, self.first_64 + 1]
    }
    /// Sign and exponent of the operands.
    const fn exponents(self) -> [u32; 2] {
        [self.first_32, self.first_32 + 1]
    }
    /// The significand of a result, and what lies below it.
    const fn result(self) -> [u32; 2] {
        [self.first_64 + 2, self.first_64 + 3]
    }
    /// Control word, and above it the status word.
    const fn words(self) -> u32 {
        self.first_32 + 2
    }
    /// TOP, and above it a bit for each register in use.
    const fn top(self) -> u32 {
        self.first_32 + 3
    }
    /// Where the result goes to.
    const fn target(self) -> u32 {
        self.first_32 + 4
    }
    const fn exponent(self) -> u32 {
        self.first_32 + 5
    }
    const fn sign(self) -> u32 {
        self.first_32 + 6
    }
    const fn count(self) -> u32 {
        self.first_32 + 7
    }
}

fn mantissa() -> MemArg {
    at(X87 + x87::offset::REGISTERS)
}

fn sign_and_exponent() -> MemArg {
    at(X87 + x87::offset::REGISTERS + 8)
}

impl Emitter<'_> {
    fn x87_locals(&self) -> Locals {
        let first_64 = self.first_vector() - I32_LOCALS - I64_LOCALS;
        Locals { first_64, first_32: first_64 + I64_LOCALS }
    }

    /// An x87 instruction that is emitted; whether it is one.
    pub(super) fn x87(&mut self, op: &Op) -> bool {
        let (Some(instruction), Some(known)) = (Instruction::of(op), helper_effects(op)) else {
            return false;
        };
        let locals = self.x87_locals();
        // Within these constructs a branch by one level goes to the helper.
        self.wasm().block(BlockType::Empty).block(BlockType::Empty);
        self.depth += 2;
        let is_rounded = matches!(instruction, Instruction::Combine { .. });
        let (mask, expected) = if is_rounded { (MODE, USUAL_MODE) } else { (0, 0) };
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).i32_load(at(X87 + x87::offset::CONTROL)).local_tee(locals.words());
        wasm.i32_const(mask | SUMMARY << STATUS_SHIFT).i32_and().i32_const(expected).i32_ne().br_if(0);
        wasm.local_get(VCPU).i32_load16_u(at(X87 + x87::offset::TOP)).local_set(locals.top());
        let places = locals.mantissas()[0];
        match instruction {
            Instruction::Push(source) => {
                self.unless_empty(locals, 7);
                self.x87_operand(locals, 0, source);
                self.wasm().local_get(locals.top()).i32_const(7).i32_add().i32_const(7).i32_and();
                let mut wasm = self.wasm();
                wasm.local_tee(locals.count());
                wasm.local_get(locals.top()).i32_const(0xff00).i32_and().i32_or();
                wasm.i32_const(0x100).local_get(locals.count()).i32_shl().i32_or().local_set(locals.top());
                self.put(locals, 0, places, locals.exponents()[0]);
                self.store_top(locals);
            }
            Instruction::StoreRegister { index, pops } => {
                self.x87_operand(locals, 0, Source::Register(0));
                self.put(locals, index, places, locals.exponents()[0]);
                let mut wasm = self.wasm();
                wasm.i32_const(0x100).local_get(locals.top()).i32_const(index.into()).i32_add();
                wasm.i32_const(7)
                    .i32_and()
                    .i32_shl()
                    .local_get(locals.top())
                    .i32_or()
                    .local_set(locals.top());
                self.pop(locals, pops);
                self.store_top(locals);
            }
            Instruction::Exchange(index) => {
                self.x87_operand(locals, 0, Source::Register(0));
                self.x87_operand(locals, 1, Source::Register(index));
                self.put(locals, 0, locals.mantissas()[1], locals.exponents()[1]);
                self.put(locals, index, places, locals.exponents()[0]);
            }
            Instruction::Sign { is_cleared } => {
                self.x87_operand(locals, 0, Source::Register(0));
                let mut wasm = self.wasm();
                wasm.local_get(locals.exponents()[0]);
                match is_cleared {
                    true => wasm.i32_const(!SIGN).i32_and(),
                    false => wasm.i32_const(SIGN).i32_xor(),
                };
                wasm.local_set(locals.exponents()[0]);
                self.put(locals, 0, places, locals.exponents()[0]);
            }
            Instruction::Combine { operation, target, source, pops } => {
                self.x87_operand(locals, 0, Source::Register(target));
                self.place(locals, target);
                self.wasm().local_set(locals.target());
                self.x87_operand(locals, 1, source);
                self.unless_normal(locals);
                match operation {
                    Operation::Add => {}
                    Operation::Subtract => self.turn_sign(locals.exponents()[1]),
                    Operation::SubtractReversed => self.turn_sign(locals.exponents()[0]),
                    Operation::Multiply => self.multiply_normal(locals),
                }
                if operation != Operation::Multiply {
                    self.add_normal(locals);
                }
                self.round_normal(locals);
                if pops != 0 {
                    self.pop(locals, pops);
                    self.store_top(locals);
                }
            }
            Instruction::Store80 { pops } => {
                self.x87_operand(locals, 0, Source::Register(0));
                self.find_80(true);
                let mut wasm = self.wasm();
                wasm.local_tee(locals.target()).local_get(places).i64_store(at(0));
                wasm.local_get(locals.target()).local_get(locals.exponents()[0]).i32_store16(at(8));
                if pops != 0 {
                    self.pop(locals, pops);
                    self.store_top(locals);
                }
            }
        }
        if !is_rounded {
            let mut wasm = self.wasm();
            wasm.local_get(VCPU).local_get(locals.words()).i32_const(STATUS_SHIFT).i32_shr_u();
            wasm.i32_const(!(1 << C1_BIT)).i32_and().i32_store16(at(X87 + x87::offset::STATUS));
        }
        self.wasm().local_get(VCPU);
        let distance = self.region.nodes[self.node].distance;
        self.rip(distance + i64::from(op.pc));
        self.wasm().i64_store(at(X87 + x87::offset::INSTRUCTION_POINTER));
        if instruction.has_memory() {
            self.wasm().local_get(VCPU);
            self.get(Reg::T1.0);
            self.wasm().i64_store(at(X87 + x87::offset::DATA_POINTER));
        }
        self.wasm().br(1).end();
        self.depth -= 1;
        self.call_aside(op, &known);
        self.wasm().end();
        self.depth -= 1;
        true
    }

    /// Puts the place of ST(`index`) on the stack, less the offset of the registers.
    fn place(&mut self, locals: Locals, index: u8) {
        let mut wasm = self.wasm();
        wasm.local_get(locals.top());
        if index != 0 {
            wasm.i32_const(index.into()).i32_add();
        }
        wasm.i32_const(7).i32_and().i32_const(4).i32_shl().local_get(VCPU).i32_add();
    }

    /// Puts on the stack whether ST(`index`) is in use, in the lowest bit.
    fn tag(&mut self, locals: Locals, index: u8) {
        let mut wasm = self.wasm();
        wasm.local_get(locals.top()).i32_const(8).i32_shr_u();
        wasm.local_get(locals.top()).i32_const(index.into()).i32_add().i32_const(7).i32_and().i32_shr_u();
        wasm.i32_const(1).i32_and();
    }

    /// Goes to the helper unless ST(`index`) is empty.
    fn unless_empty(&mut self, locals: Locals, index: u8) {
        self.tag(locals, index);
        self.wasm().br_if(0);
    }

    /// Takes an operand to its locals, or goes to the helper.
    fn x87_operand(&mut self, locals: Locals, number: usize, source: Source) {
        let (mantissa_local, exponent) = (locals.mantissas()[number], locals.exponents()[number]);
        match source {
            Source::Register(index) => {
                self.tag(locals, index);
                self.wasm().i32_eqz().br_if(0);
                self.place(locals, index);
                let mut wasm = self.wasm();
                wasm.local_tee(exponent).i64_load(mantissa()).local_set(mantissa_local);
                wasm.local_get(exponent).i32_load16_u(sign_and_exponent()).local_set(exponent);
            }
            Source::Memory80 => {
                self.find_80(false);
                let mut wasm = self.wasm();
                wasm.local_tee(exponent).i64_load(at(0)).local_set(mantissa_local);
                wasm.local_get(exponent).i32_load16_u(at(8)).local_set(exponent);
            }
            Source::Value(format) => self.widen(locals, number, format),
            Source::One => {
                self.wasm().i64_const(INTEGER_BIT).local_set(mantissa_local);
                self.wasm().i32_const(BIAS).local_set(exponent);
            }
            Source::Zero => {
                self.wasm().i64_const(0).local_set(mantissa_local).i32_const(0).local_set(exponent);
            }
        }
    }

    /// Puts the host address of the 10 bytes at T1 on the stack, or goes to the helper.
    fn find_80(&mut self, is_write: bool) {
        self.get(Reg::T1.0);
        self.wasm().local_set(ADDRESS);
        self.find_page(10, is_write);
        self.wasm().br_if(0);
        self.host_of_page();
    }

    /// Takes the normal number or zero in T4 to the locals of an operand, or goes to the helper.
    fn widen(&mut self, locals: Locals, number: usize, format: Format) {
        let (mantissa, exponent) = (locals.mantissas()[number], locals.exponents()[number]);
        let (fraction_bits, exponent_max) = if format == Format::Single { (23, 0xff) } else { (52, 0x7ff) };
        let above = 63 - fraction_bits;
        self.get(Reg::T4.0);
        let mut wasm = self.wasm();
        wasm.local_tee(VALUE).i64_const(fraction_bits).i64_shr_u().i32_wrap_i64();
        wasm.i32_const(exponent_max).i32_and().local_tee(exponent);
        wasm.i32_const(1).i32_sub().i32_const(exponent_max - 1).i32_lt_u().if_(BlockType::Empty);
        wasm.local_get(VALUE).i64_const(above).i64_shl().i64_const(INTEGER_BIT).i64_or().local_set(mantissa);
        wasm.local_get(exponent).i32_const(BIAS - exponent_max / 2).i32_add().local_set(exponent).else_();
        // An exponent of neither end but zero has a fraction of zero: the number is zero.
        wasm.local_get(exponent).br_if(1);
        wasm.local_get(VALUE).i64_const(above).i64_shl().i64_const(1).i64_shl().i64_eqz().i32_eqz().br_if(1);
        wasm.i64_const(0).local_set(mantissa).end();
        let sign_shift = i64::from(if format == Format::Single { 31 - 15 } else { 63 - 15 });
        wasm.local_get(VALUE).i64_const(sign_shift).i64_shr_u().i32_wrap_i64().i32_const(SIGN).i32_and();
        wasm.local_get(exponent).i32_or().local_set(exponent);
    }

    /// Goes to the helper unless both operands are normal.
    fn unless_normal(&mut self, locals: Locals) {
        let [a, b] = locals.mantissas();
        let mut wasm = self.wasm();
        wasm.local_get(a).local_get(b).i64_and().i64_const(0).i64_ge_s().br_if(0);
        for exponent in locals.exponents() {
            wasm.local_get(exponent).i32_const(0x7fff).i32_and().i32_const(1).i32_sub();
            wasm.i32_const(0x7ffe).i32_ge_u().br_if(0);
        }
    }

    fn turn_sign(&mut self, exponent: u32) {
        self.wasm().local_get(exponent).i32_const(SIGN).i32_xor().local_set(exponent);
    }

    /// Writes a value to ST(`index`).
    fn put(&mut self, locals: Locals, index: u8, value: u32, exponent: u32) {
        self.place(locals, index);
        let mut wasm = self.wasm();
        wasm.local_tee(locals.target()).local_get(value).i64_store(mantissa());
        wasm.local_get(locals.target()).local_get(exponent).i32_store16(sign_and_exponent());
    }

    fn pop(&mut self, locals: Locals, pops: u8) {
        for _ in 0..pops {
            let mut wasm = self.wasm();
            wasm.local_get(locals.top()).i32_const(7).i32_and().local_tee(locals.count());
            wasm.i32_const(1).i32_add().i32_const(7).i32_and();
            wasm.local_get(locals.top()).i32_const(0xff00).i32_and();
            wasm.i32_const(0x100).local_get(locals.count()).i32_shl().i32_const(-1).i32_xor().i32_and();
            wasm.i32_or().local_set(locals.top());
        }
    }

    fn store_top(&mut self, locals: Locals) {
        self.wasm().local_get(VCPU).local_get(locals.top()).i32_store16(at(X87 + x87::offset::TOP));
    }

    /// The product of the operands, its highest bit set, with its exponent and sign.
    fn multiply_normal(&mut self, locals: Locals) {
        let ([a, b], [x, y], [high, low]) = (locals.mantissas(), locals.exponents(), locals.result());
        self.wasm().local_get(a).local_set(VALUE).local_get(b).local_set(SECOND);
        self.high_product();
        let mut wasm = self.wasm();
        wasm.local_tee(high).i64_const(0).i64_ge_s().local_set(locals.count());
        wasm.local_get(a).local_get(b).i64_mul().local_set(low);
        // One place up if the highest bit is clear.
        wasm.local_get(high).local_get(locals.count()).i64_extend_i32_u().local_tee(VALUE).i64_shl();
        wasm.local_get(low).i64_const(63).i64_shr_u().local_get(VALUE).i64_and().i64_or().local_set(high);
        wasm.local_get(low).local_get(VALUE).i64_shl().local_set(low);
        wasm.local_get(x).i32_const(0x7fff).i32_and().local_get(y).i32_const(0x7fff).i32_and().i32_add();
        wasm.i32_const(BIAS - 1).i32_sub().local_get(locals.count()).i32_sub().local_set(locals.exponent());
        wasm.local_get(x).local_get(y).i32_xor().i32_const(SIGN).i32_and().local_set(locals.sign());
    }

    /// The sum of the operands likewise, if it is not zero and they are not too far apart.
    fn add_normal(&mut self, locals: Locals) {
        let ([a, b], [x, y], [high, low]) = (locals.mantissas(), locals.exponents(), locals.result());
        let (exponent, sign, count) = (locals.exponent(), locals.sign(), locals.count());
        let mut wasm = self.wasm();
        // Whether the signs differ.
        wasm.local_get(x).local_get(y).i32_xor().i32_const(SIGN).i32_and().local_set(sign);
        wasm.local_get(x).i32_const(0x7fff).i32_and().local_get(y).i32_const(0x7fff).i32_and().i32_sub();
        wasm.local_tee(count).i32_const(0).i32_lt_s().if_(BlockType::Empty);
        // The larger first.
        wasm.local_get(a).local_get(b).local_set(a).local_set(b);
        wasm.local_get(x).local_get(y).local_set(x).local_set(y);
        wasm.i32_const(0).local_get(count).i32_sub().local_set(count).end();
        wasm.local_get(count).i32_const(64).i32_ge_u().br_if(0);
        wasm.local_get(x).i32_const(0x7fff).i32_and().local_set(exponent);
        // The smaller is shifted down to the larger's exponent: what falls out goes to the low half.
        wasm.local_get(b)
            .i64_const(1)
            .i64_shl()
            .i64_const(63)
            .local_get(count)
            .i64_extend_i32_u()
            .local_tee(VALUE);
        wasm.i64_sub().i64_shl().local_set(low);
        wasm.local_get(b).local_get(VALUE).i64_shr_u().local_set(b);
        wasm.local_get(sign).if_(BlockType::Empty);
        wasm.local_get(a).local_get(b).i64_sub().local_get(low).i64_const(0).i64_ne().i64_extend_i32_u();
        wasm.i64_sub().local_set(high);
        // Of the same exponent, the second may be the larger.
        wasm.local_get(a).local_get(b).i64_lt_u().if_(BlockType::Empty);
        wasm.i64_const(0).local_get(high).i64_sub().local_set(high).local_get(y).local_set(x).end();
        wasm.i64_const(0).local_get(low).i64_sub().local_set(low);
        wasm.local_get(high).i64_eqz().br_if(1);
        wasm.local_get(exponent).local_get(high).i64_clz().local_tee(VALUE).i32_wrap_i64().i32_sub();
        wasm.local_set(exponent);
        wasm.local_get(high).local_get(VALUE).i64_shl();
        wasm.local_get(low).i64_const(1).i64_shr_u().i64_const(63).local_get(VALUE).i64_sub().i64_shr_u();
        wasm.i64_or().local_set(high).local_get(low).local_get(VALUE).i64_shl().local_set(low).else_();
        wasm.local_get(a)
            .local_get(b)
            .i64_add()
            .local_tee(high)
            .local_get(a)
            .i64_lt_u()
            .if_(BlockType::Empty);
        // A carry: one place down, and the lowest bit tells whether any below is set.
        wasm.local_get(low).i64_const(1).i64_shr_u().local_get(low).i64_const(1).i64_and().i64_or();
        wasm.local_get(high).i64_const(63).i64_shl().i64_or().local_set(low);
        wasm.local_get(high).i64_const(1).i64_shr_u().i64_const(INTEGER_BIT).i64_or().local_set(high);
        wasm.local_get(exponent).i32_const(1).i32_add().local_set(exponent).end().end();
        wasm.local_get(x).i32_const(SIGN).i32_and().local_set(sign);
    }

    /// Rounds the result, writes it to its place, and takes what was lost into the status word.
    fn round_normal(&mut self, locals: Locals) {
        let [high, low] = locals.result();
        let (exponent, is_up) = (locals.exponent(), locals.count());
        let mut wasm = self.wasm();
        // More than half of the last place, or half and the last place is odd.
        wasm.local_get(low).local_get(high).i64_const(1).i64_and().i64_const(i64::MAX).i64_add().i64_add();
        wasm.local_get(low).i64_lt_u().local_tee(is_up).i64_extend_i32_u();
        wasm.local_get(high).i64_add().local_tee(high).i64_eqz().br_if(0);
        // The last exponents of either end are left to the helper.
        wasm.local_get(exponent).i32_const(1).i32_sub().i32_const(0x7ffd).i32_ge_u().br_if(0);
        wasm.local_get(locals.target()).local_get(high).i64_store(mantissa());
        wasm.local_get(locals.target()).local_get(exponent).local_get(locals.sign()).i32_or();
        wasm.i32_store16(sign_and_exponent());
        wasm.local_get(VCPU).local_get(locals.words()).i32_const(STATUS_SHIFT).i32_shr_u();
        wasm.i32_const(!(1 << C1_BIT)).i32_and();
        wasm.local_get(low).i64_eqz().i32_eqz().i32_const(PRECISION_BIT).i32_shl().i32_or();
        wasm.local_get(is_up).i32_const(C1_BIT).i32_shl().i32_or().i32_store16(at(X87 + x87::offset::STATUS));
    }
}
