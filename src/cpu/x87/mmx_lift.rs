//! From instructions on MM registers to helpers.

use super::*;
use crate::cpu::lift::Builder;
use crate::ir::{OpCode, Reg, VectorReg, Width};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Lifts an instruction of MMX: one with an MM register, or a mnemonic that is MMX's with memory too.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    if instruction.mnemonic() == Mnemonic::Emms {
        builder.call(MMX_EMPTY, [0; 4]);
        return Some(());
    }
    let is_conversion = matches!(instruction.mnemonic(), Mnemonic::Cvtpi2ps | Mnemonic::Cvtpi2pd);
    if !is_conversion && !(0..instruction.op_count()).any(|operand| is_mm(instruction, operand)) {
        return None;
    }
    lift_move(builder, instruction)
        .or_else(|| lift_words(builder, instruction))
        .or_else(|| lift_conversion(builder, instruction))
        .or_else(|| lift_combination(builder, instruction))
}

fn is_mm(instruction: &Instruction, operand: u32) -> bool {
    instruction.op_kind(operand) == OpKind::Register && instruction.op_register(operand).is_mm()
}

/// The number of a register operand in its file.
fn number(instruction: &Instruction, operand: u32) -> u8 {
    instruction.op_register(operand).number() as u8
}

/// Puts the source operand into T4 unless it is an MM register; gives the operands `b` and `c`.
fn source(builder: &mut Builder, instruction: &Instruction, operand: u32) -> Option<(u8, u8)> {
    match instruction.op_kind(operand) {
        OpKind::Register if is_mm(instruction, operand) => Some((number(instruction, operand), 0)),
        OpKind::Register => {
            let register = instruction.op_register(operand);
            let code = if register.size() == 8 { OpCode::Mov64 } else { OpCode::Mov32 };
            builder.emit3(code, Reg::T4, Builder::reg(register), Reg::ZERO);
            Some((0, 1))
        }
        OpKind::Memory => {
            let width = Width::from_bytes(Builder::memory_bytes(instruction))?;
            let address = builder.address(instruction);
            builder.load(width, Reg::T4, address);
            Some((0, 1))
        }
        OpKind::Immediate8 => {
            builder.constant(Reg::T4, u64::from(instruction.immediate8()));
            Some((0, 1))
        }
        _ => None,
    }
}

fn lift_combination(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let operation = match instruction.mnemonic() {
        // Zero-extended into the whole register, as MOVQ of what `source` loads.
        Mnemonic::Movd => mmx::number(Mnemonic::Movq)?,
        other => mmx::number(other)?,
    };
    let (b, c) = source(builder, instruction, 1)?;
    builder.call(MMX_COMBINE, [number(instruction, 0), b, c, operation]);
    Some(())
}

fn lift_move(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    match instruction.mnemonic() {
        M::Movd | M::Movq | M::Movntq if Builder::is_memory(instruction, 0) => {
            let bytes = Builder::memory_bytes(instruction) as u8;
            let address = builder.address(instruction);
            builder.lea(Reg::T1, address);
            builder.call(MMX_STORE, [number(instruction, 1), 0, 0, bytes]);
        }
        M::Movd | M::Movq if !is_mm(instruction, 0) => {
            let register = instruction.op_register(0);
            let code = if register.size() == 8 { OpCode::Mov64 } else { OpCode::Mov32 };
            builder.call(MMX_READ, [number(instruction, 1), 0, 0, 0]);
            builder.emit3(code, Builder::reg(register), Reg::T4, Reg::ZERO);
        }
        M::Movq2dq => {
            builder.call(MMX_TO_VECTOR, [number(instruction, 0), number(instruction, 1), 0, 0]);
        }
        M::Movdq2q => {
            builder.call(MMX_FROM_VECTOR, [number(instruction, 0), number(instruction, 1), 0, 0]);
        }
        M::Maskmovq => {
            let address = builder.address(instruction);
            builder.lea(Reg::T1, address);
            builder.call(MMX_MASKED_STORE, [number(instruction, 1), number(instruction, 2), 0, 0]);
        }
        _ => return None,
    }
    Some(())
}

fn lift_words(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    let gpr = |operand| Builder::reg(instruction.op_register(operand)).0;
    match instruction.mnemonic() {
        M::Pshufw | M::Palignr => {
            let (b, c) = source(builder, instruction, 1)?;
            let is_shuffle = instruction.mnemonic() == M::Pshufw;
            let helper = if is_shuffle { MMX_SHUFFLE_WORDS } else { MMX_ALIGN_RIGHT };
            builder.call(helper, [number(instruction, 0), b, c, instruction.immediate8()]);
        }
        M::Pinsrw => {
            source(builder, instruction, 1)?;
            builder.call(MMX_INSERT_WORD, [number(instruction, 0), 0, 0, instruction.immediate8()]);
        }
        M::Pextrw => {
            builder.call(MMX_EXTRACT_WORD, [gpr(0), number(instruction, 1), 0, instruction.immediate8()]);
        }
        M::Pmovmskb => builder.call(MMX_MOVE_MASK, [gpr(0), number(instruction, 1), 0, 0]),
        _ => return None,
    }
    Some(())
}

fn lift_conversion(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    let truncates = match instruction.mnemonic() {
        M::Cvttps2pi | M::Cvttpd2pi => 2,
        _ => 0,
    };
    let is_memory = Builder::is_memory(instruction, 1);
    let target = number(instruction, 0);
    match instruction.mnemonic() {
        M::Cvtpi2ps | M::Cvtpi2pd => {
            let (b, c) = source(builder, instruction, 1)?;
            let is_single = instruction.mnemonic() == M::Cvtpi2ps;
            builder.call(if is_single { MMX_TO_SINGLES } else { MMX_TO_DOUBLES }, [target, b, c, 0]);
        }
        M::Cvtps2pi | M::Cvttps2pi if is_memory => {
            source(builder, instruction, 1)?;
            builder.call(MMX_FROM_SINGLES, [target, 0, 1 | truncates, 0]);
        }
        M::Cvtps2pi | M::Cvttps2pi => {
            builder.call(MMX_FROM_SINGLES, [target, number(instruction, 1), truncates, 0]);
        }
        M::Cvtpd2pi | M::Cvttpd2pi => {
            let vector = if is_memory {
                let address = builder.address(instruction);
                builder.emit_memory(OpCode::VectorLoad128Aligned, VectorReg::T0.0, address);
                VectorReg::T0
            } else {
                Builder::vector_reg(instruction.op_register(1))
            };
            builder.call(MMX_FROM_DOUBLES, [target, vector.0, truncates, 0]);
        }
        _ => return None,
    }
    Some(())
}
