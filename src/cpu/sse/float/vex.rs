//! The operands of VEX forms: `a` of an operation is the first source too, so that three-operand forms work
//! on a copy. What raises an exception then leaves the destination as it was.

use super::Operation as O;
use super::fused;
use super::lift::{LOAD_CONTROL, STORE_CONTROL, operation};
use crate::cpu::lift::Builder;
use crate::cpu::sse::avx::{
    clear_upper, copy, emit, emit_into_integer, is_wide, register, source, source_count,
};
use crate::ir::{Op, OpCode, Reg, VectorReg, Width};
use iced_x86::{Instruction, Mnemonic as M, OpKind};

/// Lifts the instruction if it belongs here.
pub fn lift_vex(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    match instruction.mnemonic() {
        M::Vldmxcsr => {
            let address = builder.address(instruction);
            builder.load(Width::W32, Reg::T4, address);
            builder.call(LOAD_CONTROL, [Reg::T4.0, 0, 0, 0]);
        }
        M::Vstmxcsr => {
            builder.call(STORE_CONTROL, [Reg::T4.0, 0, 0, 0]);
            let address = builder.address(instruction);
            builder.store(Width::W32, Reg::T4, address);
        }
        M::Vcvtsi2ss => from_integer(builder, instruction, O::SiToSs)?,
        M::Vcvtsi2sd => from_integer(builder, instruction, O::SiToSd)?,
        M::Vcvtss2si => to_integer(builder, instruction, O::SsToSi, 0),
        M::Vcvttss2si => to_integer(builder, instruction, O::SsToSi, 2),
        M::Vcvtsd2si => to_integer(builder, instruction, O::SdToSi, 0),
        M::Vcvttsd2si => to_integer(builder, instruction, O::SdToSi, 2),
        M::Vcvtph2ps => {
            let from = source(builder, instruction, 1);
            let target = register(instruction, 0);
            let is_wide = instruction.op0_register().is_ymm();
            emit(builder, is_wide, O::HalvesToSingles.number(), [target.0, 0, from.0, 0]);
        }
        M::Vcvtps2ph => singles_to_halves(builder, instruction),
        _ => {
            if let Some(fused) = fused::FusedForm::of(instruction.mnemonic()) {
                multiply_add(builder, instruction, fused);
                return Some(());
            }
            let (operation, immediate) = operation(instruction.mnemonic(), instruction)?;
            lanes(builder, instruction, operation, immediate);
        }
    }
    Some(())
}

fn lanes(builder: &mut Builder, instruction: &Instruction, operation: O, immediate: u8) {
    let is_wide = is_wide(instruction);
    let target = register(instruction, 0);
    if matches!(operation, O::FlagsSs | O::FlagsSd) {
        let second = source(builder, instruction, 1);
        emit_into_integer(builder, false, operation.number(), [target.0, 0, second.0, immediate]);
        return;
    }
    if source_count(instruction) == 1 {
        let from = source(builder, instruction, 1);
        emit(builder, is_wide, operation.number(), [target.0, 0, from.0, immediate]);
        return;
    }
    let second = source(builder, instruction, 2);
    on_copy(builder, is_wide, target, register(instruction, 1), |builder, working| {
        let operands = [working.0, 0, second.0, immediate];
        emit_into_integer(builder, is_wide, operation.number(), operands);
    });
}

/// Lets `emit` work on a register that holds the first source, and then moves it into the destination.
fn on_copy(
    builder: &mut Builder,
    is_wide: bool,
    target: VectorReg,
    first: VectorReg,
    emit: impl FnOnce(&mut Builder, VectorReg),
) {
    if target == first {
        emit(builder, target);
    } else {
        copy(builder, is_wide, VectorReg::T1, first);
        emit(builder, VectorReg::T1);
        copy(builder, is_wide, target, VectorReg::T1);
    }
    if !is_wide {
        clear_upper(builder, target);
    }
}

fn from_integer(builder: &mut Builder, instruction: &Instruction, operation: O) -> Option<()> {
    let bytes = match instruction.op_kind(2) {
        OpKind::Register => instruction.op2_register().size(),
        _ => Builder::memory_bytes(instruction),
    };
    let width = Width::from_bytes(bytes)?;
    let value = builder.source(instruction, 2, width, Reg::T4);
    let (target, first) = (register(instruction, 0), register(instruction, 1));
    on_copy(builder, false, target, first, |builder, working| {
        let is_64 = u8::from(width == Width::W64);
        emit_into_integer(builder, false, operation.number(), [working.0, value.0, 0, is_64]);
    });
    Some(())
}

fn to_integer(builder: &mut Builder, instruction: &Instruction, operation: O, truncates: u8) {
    let from = source(builder, instruction, 1);
    let target = instruction.op0_register();
    let is_64 = u8::from(target.size() == 8);
    let operands = [Builder::reg(target).0, 0, from.0, is_64 | truncates];
    emit_into_integer(builder, false, operation.number(), operands);
}

fn singles_to_halves(builder: &mut Builder, instruction: &Instruction) {
    let from = register(instruction, 1);
    let is_wide = instruction.op1_register().is_ymm();
    let control = instruction.immediate8();
    if Builder::is_memory(instruction, 0) {
        let operands = [VectorReg::T1.0, 0, from.0, control];
        emit_into_integer(builder, is_wide, O::SinglesToHalves.number(), operands);
        let address = builder.address(instruction);
        let store = if is_wide { OpCode::VectorStore128 } else { OpCode::VectorStore64 };
        builder.emit_memory(store, VectorReg::T1.0, address);
    } else {
        let target = register(instruction, 0);
        emit(builder, is_wide, O::SinglesToHalves.number(), [target.0, 0, from.0, control]);
    }
}

fn multiply_add(builder: &mut Builder, instruction: &Instruction, form: fused::FusedForm) {
    let is_wide = is_wide(instruction);
    let third = source(builder, instruction, 2);
    let operands = [register(instruction, 0), register(instruction, 1), third];
    let [first, second, addend] = form.order.map(|place| operands[place].0);
    let op = Op {
        a: operands[0].0,
        b: first,
        c: second,
        d: addend,
        disp: form.signs,
        imm: form.operation.number(),
        ..builder.op(if is_wide { OpCode::Vector256 } else { OpCode::Vector })
    };
    builder.emit(op);
    if !is_wide {
        clear_upper(builder, operands[0]);
    }
}
