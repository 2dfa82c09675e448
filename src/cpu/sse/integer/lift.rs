//! From instructions to vector operations.

use super::Operation as O;
use super::helper::{CRC32, STORE_MASKED};
use super::mnemonic::{by_immediate, by_operands};
use crate::cpu::lift::{Builder, Lifted, linear_address};
use crate::ir::{Address, Op, OpCode, Reg, VectorReg, Width};
use iced_x86::{EncodingKind, Instruction, Mnemonic as M, OpKind, Register};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let registers = || {
        (0..instruction.op_count())
            .filter(|&operand| instruction.op_kind(operand) == OpKind::Register)
            .map(|operand| instruction.op_register(operand))
    };
    if instruction.encoding() != EncodingKind::Legacy || registers().any(Register::is_mm) {
        return None;
    }
    match instruction.mnemonic() {
        M::Lfence
        | M::Sfence
        | M::Mfence
        | M::Prefetch
        | M::Prefetchw
        | M::Prefetchwt1
        | M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2 => {}
        M::Movnti => {
            let width = Width::from_bytes(Builder::memory_bytes(instruction))?;
            let address = builder.address(instruction);
            builder.store(width, Builder::reg(instruction.op1_register()), address);
        }
        M::Crc32 => crc32(builder, instruction)?,
        _ if !registers().any(Register::is_xmm) => return None,
        _ => vector(builder, instruction)?,
    }
    Some(Lifted::Continues)
}

fn vector(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    match instruction.mnemonic() {
        M::Movaps | M::Movapd | M::Movdqa | M::Movntps | M::Movntpd | M::Movntdq | M::Movntdqa => {
            move_whole(builder, instruction, OpCode::VectorLoad128Aligned, OpCode::VectorStore128Aligned);
        }
        M::Movups | M::Movupd | M::Movdqu | M::Lddqu => {
            move_whole(builder, instruction, OpCode::VectorLoad128, OpCode::VectorStore128);
        }
        M::Movss => {
            move_scalar(builder, instruction, [OpCode::VectorLoad32, OpCode::VectorStore32], O::MergeLow32)
        }
        M::Movsd => {
            move_scalar(builder, instruction, [OpCode::VectorLoad64, OpCode::VectorStore64], O::MergeLow64)
        }
        M::Movq
            if Builder::is_memory(instruction, 0)
                || Builder::is_memory(instruction, 1)
                || is_xmm_pair(instruction) =>
        {
            move_scalar(builder, instruction, [OpCode::VectorLoad64, OpCode::VectorStore64], O::MoveLow64);
        }
        M::Movd if Builder::is_memory(instruction, 0) || Builder::is_memory(instruction, 1) => {
            move_scalar(
                builder,
                instruction,
                [OpCode::VectorLoad32, OpCode::VectorStore32],
                O::FromInteger32,
            );
        }
        M::Movd | M::Movq => move_integer(builder, instruction),
        M::Movlps | M::Movlpd | M::Movhlps => move_half(builder, instruction, false),
        M::Movhps | M::Movhpd | M::Movlhps => move_half(builder, instruction, true),
        M::Movmskps => into_integer(builder, instruction, O::Mask32),
        M::Movmskpd => into_integer(builder, instruction, O::Mask64),
        M::Pmovmskb => into_integer(builder, instruction, O::Mask8),
        M::Maskmovdqu => {
            store_address(builder, instruction);
            let bytes = Builder::vector_reg(instruction.op1_register());
            let mask = Builder::vector_reg(instruction.op2_register());
            builder.call(STORE_MASKED, [Reg::T1.0, bytes.0, mask.0, 0]);
        }
        M::Pinsrb => insert(builder, instruction, Width::W8, O::Insert8),
        M::Pinsrw => insert(builder, instruction, Width::W16, O::Insert16),
        M::Pinsrd => insert(builder, instruction, Width::W32, O::Insert32),
        M::Pinsrq => insert(builder, instruction, Width::W64, O::Insert64),
        M::Pextrb => extract(builder, instruction, Width::W8, O::Extract8),
        M::Pextrw => extract(builder, instruction, Width::W16, O::Extract16),
        M::Pextrd | M::Extractps => extract(builder, instruction, Width::W32, O::Extract32),
        M::Pextrq => extract(builder, instruction, Width::W64, O::Extract64),
        M::Insertps if Builder::is_memory(instruction, 1) => {
            // The only doubleword in memory is element 0.
            let source = source(builder, instruction);
            let target = Builder::vector_reg(instruction.op0_register());
            emit(builder, O::InsertSingle, target, source, instruction.immediate8() & 0x3f);
        }
        M::Pcmpestri | M::Pcmpestri64 => compare_strings(builder, instruction, O::StringExplicitIndex),
        M::Pcmpestrm | M::Pcmpestrm64 => compare_strings(builder, instruction, O::StringExplicitMask),
        M::Pcmpistri => compare_strings(builder, instruction, O::StringImplicitIndex),
        M::Pcmpistrm => compare_strings(builder, instruction, O::StringImplicitMask),
        mnemonic => {
            let operation = match instruction.op_kind(1) {
                OpKind::Immediate8 => by_immediate(mnemonic)?,
                _ => by_operands(mnemonic)?,
            };
            two_operands(builder, instruction, operation);
        }
    }
    Some(())
}

fn emit(builder: &mut Builder, operation: O, target: VectorReg, source: VectorReg, immediate: u8) {
    emit_numbered(builder, operation, [target.0, target.0, source.0, immediate]);
}

fn emit_numbered(builder: &mut Builder, operation: O, [a, b, c, d]: [u8; 4]) {
    let op = Op { a, b, c, d, imm: operation as i32, ..builder.op(OpCode::Vector) };
    builder.emit(op);
}

/// The vector register of operand 1, or [`VectorReg::T0`] after loading it there.
pub fn source(builder: &mut Builder, instruction: &Instruction) -> VectorReg {
    if !Builder::is_memory(instruction, 1) {
        return Builder::vector_reg(instruction.op1_register());
    }
    let address = builder.address(instruction);
    let code = match Builder::memory_bytes(instruction) {
        2 => {
            builder.load(Width::W16, Reg::T4, address);
            emit_numbered(builder, O::FromInteger32, [VectorReg::T0.0, 0, Reg::T4.0, 0]);
            return VectorReg::T0;
        }
        4 => OpCode::VectorLoad32,
        8 => OpCode::VectorLoad64,
        _ => OpCode::VectorLoad128Aligned,
    };
    builder.emit_memory(code, VectorReg::T0.0, address);
    VectorReg::T0
}

fn two_operands(builder: &mut Builder, instruction: &Instruction, operation: O) {
    let target = Builder::vector_reg(instruction.op0_register());
    let last = instruction.op_count() - 1;
    let immediate =
        if instruction.op_kind(last) == OpKind::Immediate8 { instruction.immediate8() } else { 0 };
    let source = if last == 1 && instruction.op_kind(1) == OpKind::Immediate8 {
        target
    } else {
        source(builder, instruction)
    };
    emit(builder, operation, target, source, immediate);
}

fn move_whole(builder: &mut Builder, instruction: &Instruction, load: OpCode, store: OpCode) {
    if Builder::is_memory(instruction, 0) {
        let address = builder.address(instruction);
        builder.emit_memory(store, Builder::vector_reg(instruction.op1_register()).0, address);
    } else if Builder::is_memory(instruction, 1) {
        let address = builder.address(instruction);
        builder.emit_memory(load, Builder::vector_reg(instruction.op0_register()).0, address);
    } else {
        let target = Builder::vector_reg(instruction.op0_register());
        let source = Builder::vector_reg(instruction.op1_register());
        let op = Op { a: target.0, b: source.0, ..builder.op(OpCode::VectorMove128) };
        builder.emit(op);
    }
}

/// Loads clear the rest of the register; between registers `operation` moves.
fn move_scalar(builder: &mut Builder, instruction: &Instruction, [load, store]: [OpCode; 2], operation: O) {
    if Builder::is_memory(instruction, 0) || Builder::is_memory(instruction, 1) {
        return move_whole(builder, instruction, load, store);
    }
    let target = Builder::vector_reg(instruction.op0_register());
    let source = Builder::vector_reg(instruction.op1_register());
    emit(builder, operation, target, source, 0);
}

fn is_xmm_pair(instruction: &Instruction) -> bool {
    instruction.op0_register().is_xmm() && instruction.op1_register().is_xmm()
}

/// MOVD and MOVQ between a vector and an integer register.
fn move_integer(builder: &mut Builder, instruction: &Instruction) {
    let (target, source) = (instruction.op0_register(), instruction.op1_register());
    if target.is_xmm() {
        let operation = if source.is_gpr64() { O::FromInteger64 } else { O::FromInteger32 };
        let target = Builder::vector_reg(target);
        emit_numbered(builder, operation, [target.0, target.0, Builder::reg(source).0, 0]);
    } else {
        into_integer(builder, instruction, if target.is_gpr64() { O::ToInteger64 } else { O::ToInteger32 });
    }
}

/// MOVLPS, MOVHPS and their kin: memory or another register's half is one half of the target.
fn move_half(builder: &mut Builder, instruction: &Instruction, is_high: bool) {
    if Builder::is_memory(instruction, 0) {
        let source = Builder::vector_reg(instruction.op1_register());
        let address = builder.address(instruction);
        let stored = if is_high {
            emit(builder, O::MoveHigh64, VectorReg::T0, source, 0);
            VectorReg::T0
        } else {
            source
        };
        builder.emit_memory(OpCode::VectorStore64, stored.0, address);
        return;
    }
    let target = Builder::vector_reg(instruction.op0_register());
    let is_from_memory = Builder::is_memory(instruction, 1);
    let source = source(builder, instruction);
    let operation = match (is_high, is_from_memory) {
        (true, _) => O::UnpackLow64,
        (false, true) => O::MergeLow64,
        (false, false) => O::HighToLow64,
    };
    emit(builder, operation, target, source, 0);
}

/// MASKMOVDQU's address into T1: DI, EDI or RDI in DS or the segment that a prefix names.
pub fn store_address(builder: &mut Builder, instruction: &Instruction) {
    let truncation = match instruction.op0_kind() {
        OpKind::MemorySegDI => Some(OpCode::Lea16),
        OpKind::MemorySegEDI => Some(OpCode::Lea32),
        _ => None,
    };
    let mut offset = Address::register(Reg::RDI);
    if let Some(code) = truncation {
        builder.emit_memory(code, Reg::T1.0, offset);
        offset = Address::register(Reg::T1);
    }
    let address = linear_address(builder, offset, instruction.memory_segment(), 16);
    builder.lea(Reg::T1, address);
}

fn into_integer(builder: &mut Builder, instruction: &Instruction, operation: O) {
    let target = Builder::reg(instruction.op0_register());
    let source = Builder::vector_reg(instruction.op1_register());
    emit_numbered(builder, operation, [target.0, 0, source.0, 0]);
}

fn insert(builder: &mut Builder, instruction: &Instruction, width: Width, operation: O) {
    let target = Builder::vector_reg(instruction.op0_register());
    let source = if Builder::is_memory(instruction, 1) {
        let address = builder.address(instruction);
        builder.load(width, Reg::T4, address);
        Reg::T4
    } else {
        Builder::reg(instruction.op1_register())
    };
    emit_numbered(builder, operation, [target.0, target.0, source.0, instruction.immediate8()]);
}

fn extract(builder: &mut Builder, instruction: &Instruction, width: Width, operation: O) {
    let source = Builder::vector_reg(instruction.op1_register());
    let lane = instruction.immediate8();
    if Builder::is_memory(instruction, 0) {
        let address = builder.address(instruction);
        emit_numbered(builder, operation, [Reg::T4.0, 0, source.0, lane]);
        builder.store(width, Reg::T4, address);
    } else {
        let target = Builder::reg(instruction.op0_register());
        emit_numbered(builder, operation, [target.0, 0, source.0, lane]);
    }
}

/// These take 128-bit memory operands of any alignment.
fn compare_strings(builder: &mut Builder, instruction: &Instruction, operation: O) {
    let pattern = Builder::vector_reg(instruction.op0_register());
    let text = if Builder::is_memory(instruction, 1) {
        let address = builder.address(instruction);
        builder.emit_memory(OpCode::VectorLoad128, VectorReg::T0.0, address);
        VectorReg::T0
    } else {
        Builder::vector_reg(instruction.op1_register())
    };
    let is_64 = matches!(instruction.mnemonic(), M::Pcmpestri64 | M::Pcmpestrm64);
    let op = Op {
        b: pattern.0,
        c: text.0,
        d: instruction.immediate8(),
        disp: i32::from(is_64),
        imm: operation as i32,
        ..builder.op(OpCode::Vector)
    };
    builder.emit(op);
}

fn crc32(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let width = Width::from_bytes(match instruction.op_kind(1) {
        OpKind::Register => instruction.op1_register().size(),
        _ => Builder::memory_bytes(instruction),
    })?;
    let source = builder.source(instruction, 1, width, Reg::T4);
    let target = Builder::reg(instruction.op0_register());
    builder.call(CRC32, [target.0, target.0, source.0, width.bytes()]);
    Some(())
}
