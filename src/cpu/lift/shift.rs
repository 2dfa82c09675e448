//! Shifts and rotates.

use super::operand::{Place, width};
use super::{Builder, Lifted};
use crate::cpu::integer::{self, Rotate};
use crate::ir::{OpCode, Reg, Width};
use iced_x86::{Instruction, Mnemonic as M};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    match instruction.mnemonic() {
        M::Shl | M::Sal => shift(builder, instruction, OpCode::Shl8, OpCode::ShlImm8)?,
        M::Shr => shift(builder, instruction, OpCode::Shr8, OpCode::ShrImm8)?,
        M::Sar => shift(builder, instruction, OpCode::Sar8, OpCode::SarImm8)?,
        M::Rol => rotate(builder, instruction, Rotate::Rol)?,
        M::Ror => rotate(builder, instruction, Rotate::Ror)?,
        M::Rcl => rotate(builder, instruction, Rotate::Rcl)?,
        M::Rcr => rotate(builder, instruction, Rotate::Rcr)?,
        M::Shld => double_shift(builder, instruction, 0)?,
        M::Shrd => double_shift(builder, instruction, 1)?,
        _ => return None,
    }
    Some(Lifted::Continues)
}

/// The count as an immediate below the masks of the width, or `None` for CL.
fn immediate_count(instruction: &Instruction, index: u32, size: Width) -> Option<u32> {
    let mask = if size == Width::W64 { 63 } else { 31 };
    Builder::immediate(instruction, index).map(|count| count as u32 & mask)
}

fn shift(
    builder: &mut Builder,
    instruction: &Instruction,
    by_register: OpCode,
    by_immediate: OpCode,
) -> Option<()> {
    let size = width(instruction, 0)?;
    let place = builder.place(instruction, 0);
    let value = builder.value_for_update(place, size, Reg::T1);
    match immediate_count(instruction, 1, size) {
        Some(count) if (1..size.bits()).contains(&count) => {
            builder.emit_imm(by_immediate.sized(size), value, value, count as i32);
        }
        Some(count) => {
            builder.constant(Reg::T2, count.into());
            builder.emit3(by_register.sized(size), value, value, Reg::T2);
        }
        None => builder.emit3(by_register.sized(size), value, value, Reg::RCX),
    }
    if !matches!(place, Place::Register(_)) {
        builder.assign(place, size, value);
    }
    Some(())
}

fn rotate(builder: &mut Builder, instruction: &Instruction, kind: Rotate) -> Option<()> {
    let size = width(instruction, 0)?;
    let place = builder.place(instruction, 0);
    let value = builder.value_for_update(place, size, Reg::T1);
    let count = immediate_count(instruction, 1, size);
    match count {
        Some(count @ 1..) if count < size.bits() && kind == Rotate::Rol => {
            builder.emit_imm(OpCode::RolImm8.sized(size), value, value, count as i32);
        }
        Some(count @ 1..) if count < size.bits() && kind == Rotate::Ror => {
            builder.emit_imm(OpCode::RorImm8.sized(size), value, value, count as i32);
        }
        _ => {
            let count = match count {
                Some(count) => {
                    builder.constant(Reg::T2, count.into());
                    Reg::T2
                }
                None => Reg::RCX,
            };
            let packed = (kind as u8) << 2 | size as u8;
            builder.call(integer::ROTATE, [value.0, value.0, count.0, packed]);
        }
    }
    if !matches!(place, Place::Register(_)) {
        builder.assign(place, size, value);
    }
    Some(())
}

fn double_shift(builder: &mut Builder, instruction: &Instruction, is_right: u8) -> Option<()> {
    let size = width(instruction, 0)?;
    let place = builder.place(instruction, 0);
    let value = builder.value_for_update(place, size, Reg::T1);
    let filler = Builder::reg(instruction.op_register(1));
    let count = match immediate_count(instruction, 2, size) {
        Some(count) => {
            builder.constant(Reg::T2, count.into());
            Reg::T2
        }
        None => Reg::RCX,
    };
    // The helper takes the count from T2, since its operands are full.
    if count != Reg::T2 {
        builder.emit3(OpCode::Mov64, Reg::T2, count, Reg::ZERO);
    }
    builder.call(integer::DOUBLE_SHIFT, [value.0, value.0, filler.0, is_right << 2 | size as u8]);
    if !matches!(place, Place::Register(_)) {
        builder.assign(place, size, value);
    }
    Some(())
}
