//! From VEX instructions to vector operations.

use super::memory::{self, ARE_QUADWORDS, GATHER, HAS_32_BIT_ADDRESSES, HAS_QUADWORD_INDICES, IS_WIDE};
use super::{Operation as O, moves};
use crate::cpu::lift::{Builder, Lifted};
use crate::cpu::sse::integer::{self, Operation as I};
use crate::cpu::sse::{NOT_AVAILABLE, UNDEFINED, crypto, float};
use crate::ir::{Address, Op, OpCode, Reg, VectorReg, Width};
use iced_x86::{CpuidFeature, EncodingKind, Instruction, Mnemonic as M, OpKind, Register};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    if instruction.encoding() != EncodingKind::VEX || !uses_vector_state(instruction) {
        return None;
    }
    if builder.mode.avx_undefined || builder.mode.sse_traps {
        let helper = if builder.mode.avx_undefined { UNDEFINED } else { NOT_AVAILABLE };
        builder.call_and_exit(helper, [0; 4]);
        return Some(Lifted::Ends);
    }
    moves::lift(builder, instruction)
        .or_else(|| permutations(builder, instruction))
        .or_else(|| memory(builder, instruction))
        .or_else(|| crypto::lift_vex(builder, instruction))
        .or_else(|| integer_lanes(builder, instruction))
        .or_else(|| float::lift_vex(builder, instruction))?;
    Some(Lifted::Continues)
}

fn uses_vector_state(instruction: &Instruction) -> bool {
    instruction.cpuid_features().iter().any(|feature| {
        use CpuidFeature as F;
        matches!(feature, F::AVX | F::AVX2 | F::FMA | F::F16C | F::AES | F::PCLMULQDQ)
    })
}

/// Whether the instruction works on 256 bits.
pub fn is_wide(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|index| match instruction.op_kind(index) {
        OpKind::Register => instruction.op_register(index).is_ymm(),
        OpKind::Memory => instruction.memory_size().size() == 32,
        _ => false,
    })
}

/// The vector register of an operand.
pub fn register(instruction: &Instruction, index: u32) -> VectorReg {
    Builder::vector_reg(instruction.op_register(index))
}

/// The vector register of an operand, or [`VectorReg::T0`] after loading it there.
pub fn source(builder: &mut Builder, instruction: &Instruction, index: u32) -> VectorReg {
    if !Builder::is_memory(instruction, index) {
        return register(instruction, index);
    }
    let address = builder.address(instruction);
    let narrow = match Builder::memory_bytes(instruction) {
        1 => Some(Width::W8),
        2 => Some(Width::W16),
        _ => None,
    };
    if let Some(width) = narrow {
        builder.load(width, Reg::T4, address);
        let op = Op {
            a: VectorReg::T0.0,
            c: Reg::T4.0,
            imm: I::FromInteger32 as i32,
            ..builder.op(OpCode::Vector)
        };
        builder.emit(op);
        return VectorReg::T0;
    }
    let code = match Builder::memory_bytes(instruction) {
        4 => OpCode::VectorLoad32,
        8 => OpCode::VectorLoad64,
        32 => OpCode::VectorLoad256,
        _ => OpCode::VectorLoad128,
    };
    builder.emit_memory(code, VectorReg::T0.0, address);
    VectorReg::T0
}

/// A vector operation by its number whose destination is a whole register: what it leaves of 256 bits is
/// zero.
pub fn emit(builder: &mut Builder, is_wide: bool, number: i32, [a, b, c, d]: [u8; 4]) {
    let code = if is_wide { OpCode::Vector256 } else { OpCode::Vector };
    let op = Op { a, b, c, d, imm: number, ..builder.op(code) };
    builder.emit(op);
    if !is_wide {
        clear_upper(builder, VectorReg(a));
    }
}

/// A vector operation whose destination is no vector register.
pub fn emit_into_integer(builder: &mut Builder, is_wide: bool, number: i32, [a, b, c, d]: [u8; 4]) {
    let code = if is_wide { OpCode::Vector256 } else { OpCode::Vector };
    let op = Op { a, b, c, d, imm: number, ..builder.op(code) };
    builder.emit(op);
}

/// Zeroes the upper half of a register.
pub fn clear_upper(builder: &mut Builder, target: VectorReg) {
    let op = Op { a: target.0, ..builder.op(OpCode::VectorClearUpper) };
    builder.emit(op);
}

/// `target = source`, of 128 or 256 bits.
pub fn copy(builder: &mut Builder, is_wide: bool, target: VectorReg, source: VectorReg) {
    let code = if is_wide { OpCode::VectorMove256 } else { OpCode::VectorMove128 };
    let op = Op { a: target.0, b: source.0, ..builder.op(code) };
    builder.emit(op);
}

/// Operands behind the destination that are not immediate bytes.
pub fn source_count(instruction: &Instruction) -> u32 {
    let operands = instruction.op_count();
    let last = operands - 1;
    last - u32::from(instruction.op_kind(last) == OpKind::Immediate8)
}

/// The immediate byte, or zero.
pub fn immediate(instruction: &Instruction) -> u8 {
    let last = instruction.op_count() - 1;
    if instruction.op_kind(last) == OpKind::Immediate8 { instruction.immediate8() } else { 0 }
}

/// What SSE has too, on lanes of integers.
fn integer_lanes(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let is_wide = is_wide(instruction);
    let mnemonic = instruction.mnemonic();
    if instruction.op_count() == 3
        && instruction.op_kind(2) == OpKind::Immediate8
        && let Some(operation) = integer::by_immediate(mnemonic)
        && !Builder::is_memory(instruction, 1)
    {
        let (target, from) = (register(instruction, 0), register(instruction, 1));
        emit(builder, is_wide, operation as i32, [target.0, from.0, from.0, immediate(instruction)]);
        return Some(());
    }
    let operation = integer::by_operands(mnemonic)?;
    let target = register(instruction, 0);
    if operation == I::Test {
        let second = source(builder, instruction, 1);
        emit_into_integer(builder, is_wide, operation as i32, [0, target.0, second.0, 0]);
        return Some(());
    }
    let operands = match source_count(instruction) {
        1 => {
            let from = source(builder, instruction, 1);
            [target.0, from.0, from.0, immediate(instruction)]
        }
        2 => {
            let second = source(builder, instruction, 2);
            // The only doubleword in memory is element 0 of INSERTPS.
            let is_element = operation == I::InsertSingle && Builder::is_memory(instruction, 2);
            let control = immediate(instruction) & if is_element { 0x3f } else { 0xff };
            [target.0, register(instruction, 1).0, second.0, control]
        }
        // The mask of the variable blends.
        _ => {
            let second = source(builder, instruction, 2);
            [target.0, register(instruction, 1).0, second.0, register(instruction, 3).0]
        }
    };
    emit(builder, is_wide, operation as i32, operands);
    Some(())
}

/// Broadcasts, permutations, and what works on halves.
fn permutations(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let is_wide = is_wide(instruction);
    let target = register(instruction, 0);
    let number = match instruction.mnemonic() {
        M::Vpbroadcastb => O::Broadcast8.number(),
        M::Vpbroadcastw => O::Broadcast16.number(),
        M::Vpbroadcastd | M::Vbroadcastss => O::Broadcast32.number(),
        M::Vpbroadcastq | M::Vbroadcastsd => O::Broadcast64.number(),
        M::Vbroadcastf128 | M::Vbroadcasti128 => O::Broadcast128.number(),
        M::Vpermq | M::Vpermpd => O::PermuteQuadwords.number(),
        M::Vpermilps if instruction.op_kind(2) == OpKind::Immediate8 => I::ShuffleDoublewords as i32,
        M::Vpermilpd if instruction.op_kind(2) == OpKind::Immediate8 => I::ShuffleDoubles as i32,
        M::Vpermilps => O::SelectDoublewords.number(),
        M::Vpermilpd => O::SelectQuadwords.number(),
        M::Vinsertf128 | M::Vinserti128 => O::InsertHalf.number(),
        M::Vperm2f128 | M::Vperm2i128 => O::PermuteHalves.number(),
        M::Vpermd | M::Vpermps => O::PermuteDoublewords.number(),
        M::Vpsllvd => O::ShiftLeftEach32.number(),
        M::Vpsllvq => O::ShiftLeftEach64.number(),
        M::Vpsrlvd => O::ShiftRightEach32.number(),
        M::Vpsrlvq => O::ShiftRightEach64.number(),
        M::Vpsravd => O::ShiftRightSignedEach32.number(),
        M::Vtestps | M::Vtestpd => {
            let is_single = instruction.mnemonic() == M::Vtestps;
            let operation = if is_single { O::TestSigns32 } else { O::TestSigns64 };
            let second = source(builder, instruction, 1);
            emit_into_integer(builder, is_wide, operation.number(), [0, target.0, second.0, 0]);
            return Some(());
        }
        M::Vextractf128 | M::Vextracti128 => {
            extract_half(builder, instruction);
            return Some(());
        }
        _ => return None,
    };
    let operands = if source_count(instruction) == 1 {
        let from = source(builder, instruction, 1);
        [target.0, from.0, from.0, immediate(instruction)]
    } else {
        let second = source(builder, instruction, 2);
        [target.0, register(instruction, 1).0, second.0, immediate(instruction)]
    };
    emit(builder, is_wide, number, operands);
    Some(())
}

fn extract_half(builder: &mut Builder, instruction: &Instruction) {
    let from = register(instruction, 1);
    let operands = |target: VectorReg| [target.0, 0, from.0, instruction.immediate8() & 1];
    if Builder::is_memory(instruction, 0) {
        let address = builder.address(instruction);
        emit(builder, true, O::ExtractHalf.number(), operands(VectorReg::T0));
        builder.emit_memory(OpCode::VectorStore128, VectorReg::T0.0, address);
    } else {
        let target = register(instruction, 0);
        emit(builder, true, O::ExtractHalf.number(), operands(target));
        clear_upper(builder, target);
    }
}

/// Masked moves, gathers, and the instructions that zero.
fn memory(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let wide = if is_wide(instruction) { IS_WIDE } else { 0 };
    match instruction.mnemonic() {
        M::Vzeroupper => builder.call(memory::ZERO, [0, 0, 0, 0]),
        M::Vzeroall => builder.call(memory::ZERO, [0, 0, 0, 1]),
        M::Vmaskmovps | M::Vpmaskmovd => masked_move(builder, instruction, wide),
        M::Vmaskmovpd | M::Vpmaskmovq => masked_move(builder, instruction, wide | ARE_QUADWORDS),
        M::Vgatherdps | M::Vpgatherdd => return gather(builder, instruction, wide),
        M::Vgatherdpd | M::Vpgatherdq => return gather(builder, instruction, wide | ARE_QUADWORDS),
        M::Vgatherqps | M::Vpgatherqd => {
            // Its result is half as long as its indices.
            let wide = if instruction.memory_index().is_ymm() { IS_WIDE } else { 0 };
            return gather(builder, instruction, wide | HAS_QUADWORD_INDICES);
        }
        M::Vgatherqpd | M::Vpgatherqq => {
            return gather(builder, instruction, wide | ARE_QUADWORDS | HAS_QUADWORD_INDICES);
        }
        _ => return None,
    }
    Some(())
}

fn masked_move(builder: &mut Builder, instruction: &Instruction, shape: u8) {
    let address = builder.address(instruction);
    builder.lea(Reg::T1, address);
    if Builder::is_memory(instruction, 0) {
        let (mask, from) = (register(instruction, 1), register(instruction, 2));
        builder.call(memory::STORE_MASKED, [from.0, Reg::T1.0, mask.0, shape]);
    } else {
        let (target, mask) = (register(instruction, 0), register(instruction, 1));
        builder.call(memory::LOAD_MASKED, [target.0, Reg::T1.0, mask.0, shape]);
    }
}

/// Gathers whose registers are not all different are undefined.
fn gather(builder: &mut Builder, instruction: &Instruction, shape: u8) -> Option<()> {
    let (target, mask) = (register(instruction, 0), register(instruction, 2));
    let index = Builder::vector_reg(instruction.memory_index());
    if target == mask || target == index || mask == index {
        return None;
    }
    let base = match instruction.memory_base() {
        Register::None => Reg::ZERO,
        register => Builder::reg(register),
    };
    let disp = instruction.memory_displacement64() as i64 as i32;
    builder.lea(Reg::T1, Address { base, index: Reg::ZERO, shift: 0, disp });
    let is_32_bit = match instruction.memory_base() {
        Register::None => instruction.memory_displ_size() == 4 && !is_64_bit(builder),
        register => register.size() == 4,
    };
    let scale = instruction.memory_index_scale().trailing_zeros() as u8;
    let addresses = if is_32_bit { HAS_32_BIT_ADDRESSES } else { 0 };
    let segment = instruction.memory_segment().number() as u8;
    builder.call(GATHER, [target.0, segment, index.0 | mask.0 << 4, scale | shape | addresses]);
    Some(())
}

fn is_64_bit(builder: &Builder) -> bool {
    builder.mode.code_size == crate::cpu::lift::CodeSize::Bits64
}
