//! BMI1, BMI2, LZCNT, MOVBE, ADX, and hints of later processors.

use super::operand::{Place, width};
use super::{Builder, Lifted};
use crate::cpu::integer::{self, BitManipulation as B};
use crate::ir::{OpCode, Reg, Width};
use iced_x86::{Instruction, Mnemonic as M};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    match instruction.mnemonic() {
        M::Andn => and_not(builder, instruction)?,
        M::Bextr => two_sources(builder, instruction, B::ExtractField)?,
        M::Bzhi => two_sources(builder, instruction, B::ZeroHighBits)?,
        M::Pdep => two_sources(builder, instruction, B::Deposit)?,
        M::Pext => two_sources(builder, instruction, B::Extract)?,
        M::Shlx => shift(builder, instruction, [OpCode::ShlQuiet32, OpCode::ShlQuiet64])?,
        M::Shrx => shift(builder, instruction, [OpCode::ShrQuiet32, OpCode::ShrQuiet64])?,
        M::Sarx => shift(builder, instruction, [OpCode::SarQuiet32, OpCode::SarQuiet64])?,
        M::Blsi => one_source(builder, instruction, B::LowestSetBit)?,
        M::Blsmsk => one_source(builder, instruction, B::MaskToLowestSetBit)?,
        M::Blsr => one_source(builder, instruction, B::ResetLowestSetBit)?,
        M::Lzcnt => one_source(builder, instruction, B::CountLeadingZeros)?,
        M::Tzcnt => one_source(builder, instruction, B::CountTrailingZeros)?,
        M::Rorx => rotate(builder, instruction)?,
        M::Mulx => {
            let size = width(instruction, 0)?;
            let source = builder.source(instruction, 2, size, Reg::T2);
            let high = Builder::reg(instruction.op_register(0));
            let low = Builder::reg(instruction.op_register(1));
            builder.call(integer::MULTIPLY_QUIETLY, [high.0, source.0, low.0, size as u8]);
        }
        M::Adcx | M::Adox => {
            let size = width(instruction, 0)?;
            let source = builder.source(instruction, 1, size, Reg::T2);
            let target = Builder::reg(instruction.op_register(0));
            let flag = u8::from(instruction.mnemonic() == M::Adox);
            let packed = flag << 2 | size as u8;
            builder.call(integer::ADD_WITH_ONE_FLAG, [target.0, target.0, source.0, packed]);
        }
        M::Movbe => move_reversed(builder, instruction)?,
        // There is no cache to flush; the address is checked as for a load of a byte.
        M::Clflush | M::Clflushopt | M::Clwb => {
            let address = builder.address(instruction);
            builder.load(Width::W8, Reg::T4, address);
        }
        // One processor's program order gives this already.
        M::Serialize => {}
        _ => return None,
    }
    Some(Lifted::Continues)
}

fn and_not(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let source = builder.source(instruction, 2, size, Reg::T2);
    let inverted = Builder::reg(instruction.op_register(1));
    let target = Builder::reg(instruction.op_register(0));
    builder.emit3(OpCode::Not8.sized(size), Reg::T1, inverted, Reg::ZERO);
    builder.emit3(OpCode::And8.sized(size), target, Reg::T1, source);
    Some(())
}

fn two_sources(builder: &mut Builder, instruction: &Instruction, kind: B) -> Option<()> {
    let size = width(instruction, 0)?;
    let first = builder.source(instruction, 1, size, Reg::T1);
    let second = builder.source(instruction, 2, size, Reg::T2);
    let target = Builder::reg(instruction.op_register(0));
    let packed = (kind as u8) << 2 | size as u8;
    builder.call(integer::MANIPULATE_BITS, [target.0, first.0, second.0, packed]);
    Some(())
}

fn shift(builder: &mut Builder, instruction: &Instruction, [narrow, wide]: [OpCode; 2]) -> Option<()> {
    let size = width(instruction, 0)?;
    let source = builder.source(instruction, 1, size, Reg::T1);
    let count = Builder::reg(instruction.op_register(2));
    let target = Builder::reg(instruction.op_register(0));
    builder.emit3(if size == Width::W32 { narrow } else { wide }, target, source, count);
    Some(())
}

fn one_source(builder: &mut Builder, instruction: &Instruction, kind: B) -> Option<()> {
    let size = width(instruction, 0)?;
    let source = builder.source(instruction, 1, size, Reg::T1);
    let target = Builder::reg(instruction.op_register(0));
    let packed = (kind as u8) << 2 | size as u8;
    builder.call(integer::MANIPULATE_BITS, [target.0, source.0, Reg::ZERO.0, packed]);
    Some(())
}

/// RORX is a rotation to the left by what is left of the width.
fn rotate(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let source = builder.source(instruction, 1, size, Reg::T1);
    let target = Builder::reg(instruction.op_register(0));
    let count = u32::from(instruction.immediate8()) & (size.bits() - 1);
    let (move_code, rotate_code) = match size {
        Width::W32 => (OpCode::Mov32, OpCode::RolImmQuiet32),
        _ => (OpCode::Mov64, OpCode::RolImmQuiet64),
    };
    if count == 0 {
        builder.emit3(move_code, target, source, Reg::ZERO);
    } else {
        builder.emit_imm(rotate_code, target, source, (size.bits() - count) as i32);
    }
    Some(())
}

fn move_reversed(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let target = builder.place(instruction, 0);
    let value = builder.source(instruction, 1, size, Reg::T1);
    match size {
        Width::W64 => builder.emit3(OpCode::ByteSwap64, Reg::T1, value, Reg::ZERO),
        _ => builder.emit3(OpCode::ByteSwap32, Reg::T1, value, Reg::ZERO),
    }
    if size == Width::W16 {
        builder.emit_imm(OpCode::ShrImmQuiet32, Reg::T1, Reg::T1, 16);
    }
    if let Place::Register(register) = target {
        builder.emit3(OpCode::Mov8.sized(size), register, Reg::T1, Reg::ZERO);
    } else {
        builder.assign(target, size, Reg::T1);
    }
    Some(())
}
