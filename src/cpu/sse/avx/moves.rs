//! Moves between registers, memory and the integer registers.

use super::lift::{clear_upper, copy, emit, emit_into_integer, is_wide, register, source};
use crate::cpu::lift::Builder;
use crate::cpu::sse::integer::{self, Operation as I};
use crate::ir::{Op, OpCode, Reg, VectorReg, Width};
use iced_x86::{Instruction, Mnemonic as M};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    match instruction.mnemonic() {
        M::Vmovaps | M::Vmovapd | M::Vmovdqa | M::Vmovntps | M::Vmovntpd | M::Vmovntdq | M::Vmovntdqa => {
            whole(builder, instruction, true);
        }
        M::Vmovups | M::Vmovupd | M::Vmovdqu | M::Vlddqu => whole(builder, instruction, false),
        M::Vmovss => scalar(builder, instruction, Width::W32, I::MergeLow32),
        M::Vmovsd => scalar(builder, instruction, Width::W64, I::MergeLow64),
        M::Vmovd | M::Vmovq => with_integer(builder, instruction),
        M::Vmovlps | M::Vmovlpd => half(builder, instruction, I::MergeLow64),
        M::Vmovhps | M::Vmovhpd | M::Vmovlhps => half(builder, instruction, I::UnpackLow64),
        M::Vmovhlps => half(builder, instruction, I::HighToLow64),
        M::Vmovmskps => mask(builder, instruction, I::Mask32),
        M::Vmovmskpd => mask(builder, instruction, I::Mask64),
        M::Vpmovmskb => mask(builder, instruction, I::Mask8),
        M::Vmaskmovdqu => {
            integer::store_address(builder, instruction);
            let (bytes, mask) = (register(instruction, 1), register(instruction, 2));
            builder.call(integer::STORE_MASKED, [Reg::T1.0, bytes.0, mask.0, 0]);
        }
        M::Vpinsrb => insert(builder, instruction, Width::W8, I::Insert8),
        M::Vpinsrw => insert(builder, instruction, Width::W16, I::Insert16),
        M::Vpinsrd => insert(builder, instruction, Width::W32, I::Insert32),
        M::Vpinsrq => insert(builder, instruction, Width::W64, I::Insert64),
        M::Vpextrb => extract(builder, instruction, Width::W8, I::Extract8),
        M::Vpextrw => extract(builder, instruction, Width::W16, I::Extract16),
        M::Vpextrd | M::Vextractps => extract(builder, instruction, Width::W32, I::Extract32),
        M::Vpextrq => extract(builder, instruction, Width::W64, I::Extract64),
        M::Vpcmpestri | M::Vpcmpestri64 => compare_strings(builder, instruction, I::StringExplicitIndex),
        M::Vpcmpestrm | M::Vpcmpestrm64 => compare_strings(builder, instruction, I::StringExplicitMask),
        M::Vpcmpistri => compare_strings(builder, instruction, I::StringImplicitIndex),
        M::Vpcmpistrm => compare_strings(builder, instruction, I::StringImplicitMask),
        _ => return None,
    }
    Some(())
}

/// The whole of a register.
fn whole(builder: &mut Builder, instruction: &Instruction, is_aligned: bool) {
    let is_wide = is_wide(instruction);
    let (load, store) = match (is_wide, is_aligned) {
        (false, false) => (OpCode::VectorLoad128, OpCode::VectorStore128),
        (false, true) => (OpCode::VectorLoad128Aligned, OpCode::VectorStore128Aligned),
        (true, false) => (OpCode::VectorLoad256, OpCode::VectorStore256),
        (true, true) => (OpCode::VectorLoad256Aligned, OpCode::VectorStore256Aligned),
    };
    if Builder::is_memory(instruction, 0) {
        let address = builder.address(instruction);
        builder.emit_memory(store, register(instruction, 1).0, address);
        return;
    }
    let target = register(instruction, 0);
    if Builder::is_memory(instruction, 1) {
        let address = builder.address(instruction);
        builder.emit_memory(load, target.0, address);
    } else {
        copy(builder, is_wide, target, register(instruction, 1));
    }
    if !is_wide {
        clear_upper(builder, target);
    }
}

/// The low 32 or 64 bits: loads zero the rest, between registers `merge` takes it from the first source.
fn scalar(builder: &mut Builder, instruction: &Instruction, width: Width, merge: I) {
    let is_single = width == Width::W32;
    if Builder::is_memory(instruction, 0) {
        let code = if is_single { OpCode::VectorStore32 } else { OpCode::VectorStore64 };
        let address = builder.address(instruction);
        builder.emit_memory(code, register(instruction, 1).0, address);
        return;
    }
    let target = register(instruction, 0);
    if Builder::is_memory(instruction, 1) {
        let code = if is_single { OpCode::VectorLoad32 } else { OpCode::VectorLoad64 };
        let address = builder.address(instruction);
        builder.emit_memory(code, target.0, address);
        clear_upper(builder, target);
    } else {
        let operands = [target.0, register(instruction, 1).0, register(instruction, 2).0, 0];
        emit(builder, false, merge as i32, operands);
    }
}

/// VMOVD and VMOVQ: memory, integer registers, and the low half of another register.
fn with_integer(builder: &mut Builder, instruction: &Instruction) {
    let is_in_memory = (0..2).find(|&index| Builder::is_memory(instruction, index));
    if is_in_memory.is_some() {
        let width = if Builder::memory_bytes(instruction) == 4 { Width::W32 } else { Width::W64 };
        return scalar(builder, instruction, width, I::MoveLow64);
    }
    let (to, from) = (instruction.op_register(0), instruction.op_register(1));
    if to.is_xmm() && from.is_xmm() {
        let target = register(instruction, 0);
        emit(builder, false, I::MoveLow64 as i32, [target.0, target.0, register(instruction, 1).0, 0]);
    } else if to.is_xmm() {
        let operation = if from.is_gpr64() { I::FromInteger64 } else { I::FromInteger32 };
        let target = register(instruction, 0);
        emit(builder, false, operation as i32, [target.0, target.0, Builder::reg(from).0, 0]);
    } else {
        let operation = if to.is_gpr64() { I::ToInteger64 } else { I::ToInteger32 };
        let operands = [Builder::reg(to).0, 0, register(instruction, 1).0, 0];
        emit_into_integer(builder, false, operation as i32, operands);
    }
}

/// One half from memory or the other register, the other half from the first source; or a half to memory.
fn half(builder: &mut Builder, instruction: &Instruction, operation: I) {
    if Builder::is_memory(instruction, 0) {
        let from = register(instruction, 1);
        let address = builder.address(instruction);
        let stored = if operation == I::UnpackLow64 {
            let operands = [VectorReg::T0.0, 0, from.0, 0];
            emit_into_integer(builder, false, I::MoveHigh64 as i32, operands);
            VectorReg::T0
        } else {
            from
        };
        builder.emit_memory(OpCode::VectorStore64, stored.0, address);
        return;
    }
    let second = source(builder, instruction, 2);
    let operands = [register(instruction, 0).0, register(instruction, 1).0, second.0, 0];
    emit(builder, false, operation as i32, operands);
}

fn mask(builder: &mut Builder, instruction: &Instruction, operation: I) {
    let target = Builder::reg(instruction.op0_register());
    let operands = [target.0, 0, register(instruction, 1).0, 0];
    emit_into_integer(builder, is_wide(instruction), operation as i32, operands);
}

fn insert(builder: &mut Builder, instruction: &Instruction, width: Width, operation: I) {
    let value = if Builder::is_memory(instruction, 2) {
        let address = builder.address(instruction);
        builder.load(width, Reg::T4, address);
        Reg::T4
    } else {
        Builder::reg(instruction.op2_register())
    };
    let operands =
        [register(instruction, 0).0, register(instruction, 1).0, value.0, instruction.immediate8()];
    emit(builder, false, operation as i32, operands);
}

fn extract(builder: &mut Builder, instruction: &Instruction, width: Width, operation: I) {
    let from = register(instruction, 1);
    let lane = instruction.immediate8();
    if Builder::is_memory(instruction, 0) {
        let address = builder.address(instruction);
        emit_into_integer(builder, false, operation as i32, [Reg::T4.0, 0, from.0, lane]);
        builder.store(width, Reg::T4, address);
    } else {
        let target = Builder::reg(instruction.op0_register());
        emit_into_integer(builder, false, operation as i32, [target.0, 0, from.0, lane]);
    }
}

fn compare_strings(builder: &mut Builder, instruction: &Instruction, operation: I) {
    let pattern = register(instruction, 0);
    let text = source(builder, instruction, 1);
    let is_64 = matches!(instruction.mnemonic(), M::Vpcmpestri64 | M::Vpcmpestrm64);
    let op = Op {
        b: pattern.0,
        c: text.0,
        d: instruction.immediate8(),
        disp: i32::from(is_64),
        imm: operation as i32,
        ..builder.op(OpCode::Vector)
    };
    builder.emit(op);
    // Masks go to XMM0.
    if matches!(operation, I::StringExplicitMask | I::StringImplicitMask) {
        clear_upper(builder, VectorReg(0));
    }
}
