//! From instructions to helpers.

use super::*;
use crate::cpu::lift::{Builder, Lifted};
use crate::ir::{Condition, Reg, Width};
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind, Register};
use operands::Format;

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let start = builder.ops.len();
    if instruction.mnemonic() == Mnemonic::Wait {
        builder.call(WAIT, [0; 4]);
        return Some(Lifted::Continues);
    }
    lift_x87(builder, instruction)?;
    if builder.mode.x87_traps {
        builder.ops.truncate(start);
        builder.call_and_exit(NOT_AVAILABLE, [0; 4]);
        return Some(Lifted::Ends);
    }
    Some(Lifted::Continues)
}

fn lift_x87(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    lift_control(builder, instruction)
        .or_else(|| lift_move(builder, instruction))
        .or_else(|| lift_arithmetic(builder, instruction))
        .or_else(|| lift_compare(builder, instruction))
        .or_else(|| lift_stack(builder, instruction))
        .or_else(|| mmx_lift::lift(builder, instruction))
}

/// The number of an ST register operand.
fn st(instruction: &Instruction, operand: u32) -> u8 {
    match instruction.op_kind(operand) {
        OpKind::Register => {
            (instruction.op_register(operand) as u32).wrapping_sub(Register::ST0 as u32) as u8 & 7
        }
        _ => 0,
    }
}

/// The highest-numbered ST register of the operands, 1 without any: the one beside ST(0).
fn other_st(instruction: &Instruction) -> u8 {
    match instruction.op_count() {
        0 => 1,
        1 => st(instruction, 0),
        _ => st(instruction, 0).max(st(instruction, 1)),
    }
}

/// The format of a memory operand of up to 64 bits, with its width.
fn format(instruction: &Instruction) -> Option<(Format, Width)> {
    Some(match instruction.memory_size() {
        MemorySize::Float32 => (Format::Single, Width::W32),
        MemorySize::Float64 => (Format::Double, Width::W64),
        MemorySize::Int16 => (Format::Word, Width::W16),
        MemorySize::Int32 => (Format::Doubleword, Width::W32),
        MemorySize::Int64 => (Format::Quadword, Width::W64),
        _ => return None,
    })
}

/// Puts the operand's address into T1.
fn locate(builder: &mut Builder, instruction: &Instruction) {
    let address = builder.address(instruction);
    builder.lea(Reg::T1, address);
}

/// Puts the operand's address into T1 and the operand into T4; gives its format.
fn load_operand(builder: &mut Builder, instruction: &Instruction) -> Option<u8> {
    let (format, width) = format(instruction)?;
    locate(builder, instruction);
    builder.load(width, Reg::T4, crate::ir::Address::register(Reg::T1));
    Some(format as u8)
}

fn lift_control(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    let is_32 = u8::from(matches!(Builder::memory_bytes(instruction), 28 | 108));
    match instruction.mnemonic() {
        M::Fnop | M::Fneni | M::Fndisi | M::Fnsetpm => builder.call(NO_OPERATION, [0; 4]),
        M::Fninit => builder.call(INITIALIZE, [0; 4]),
        M::Fnclex => builder.call(CLEAR_EXCEPTIONS, [0; 4]),
        M::Fldcw => {
            let address = builder.address(instruction);
            builder.load(Width::W16, Reg::T4, address);
            builder.call(LOAD_CONTROL, [0; 4]);
        }
        M::Fnstcw | M::Fnstsw => {
            let is_control = instruction.mnemonic() == M::Fnstcw;
            let place = builder.place(instruction, 0);
            builder.call(if is_control { READ_CONTROL } else { READ_STATUS }, [0; 4]);
            builder.assign(place, Width::W16, Reg::T4);
        }
        M::Fldenv | M::Fnstenv | M::Frstor | M::Fnsave => {
            locate(builder, instruction);
            let helper = match instruction.mnemonic() {
                M::Fldenv => LOAD_ENVIRONMENT,
                M::Fnstenv => STORE_ENVIRONMENT,
                M::Frstor => RESTORE,
                _ => SAVE,
            };
            builder.call(helper, [0, 0, 0, is_32]);
        }
        _ => return None,
    }
    Some(())
}

fn lift_move(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    let is_memory = instruction.op_count() > 0 && Builder::is_memory(instruction, 0);
    let pops = u8::from(matches!(instruction.mnemonic(), M::Fstp | M::Fstpnce | M::Fistp | M::Fisttp));
    match instruction.mnemonic() {
        M::Fld | M::Fild if is_memory && instruction.memory_size() != MemorySize::Float80 => {
            let format = load_operand(builder, instruction)?;
            builder.call(LOAD, [0, 0, 0, format]);
        }
        M::Fld | M::Fbld if is_memory => {
            locate(builder, instruction);
            builder.call(if instruction.mnemonic() == M::Fld { LOAD_80 } else { LOAD_BCD }, [0; 4]);
        }
        M::Fld => builder.call(LOAD_REGISTER, [other_st(instruction), 0, 0, 0]),
        M::Fbstp => {
            locate(builder, instruction);
            builder.call(STORE_BCD, [0, 0, 1, 0]);
        }
        M::Fst | M::Fstp if is_memory => {
            let helper = match instruction.memory_size() {
                MemorySize::Float32 => STORE_SINGLE,
                MemorySize::Float64 => STORE_DOUBLE,
                MemorySize::Float80 => STORE_80,
                _ => return None,
            };
            locate(builder, instruction);
            builder.call(helper, [0, 0, pops, 0]);
        }
        M::Fst | M::Fstp | M::Fstpnce => {
            builder.call(STORE_REGISTER, [other_st(instruction), 0, pops, 0]);
        }
        M::Fist | M::Fistp | M::Fisttp => {
            let (format, _) = format(instruction)?;
            locate(builder, instruction);
            let truncates = u8::from(instruction.mnemonic() == M::Fisttp);
            builder.call(STORE_INTEGER, [truncates, 0, pops, format as u8]);
        }
        _ => return None,
    }
    Some(())
}

fn lift_arithmetic(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    let (registers, memory) = match instruction.mnemonic() {
        M::Fadd | M::Faddp | M::Fiadd => (ADD, ADD_MEMORY),
        M::Fmul | M::Fmulp | M::Fimul => (MULTIPLY, MULTIPLY_MEMORY),
        M::Fsub | M::Fsubp | M::Fisub => (SUBTRACT, SUBTRACT_MEMORY),
        M::Fsubr | M::Fsubrp | M::Fisubr => (SUBTRACT_REVERSED, SUBTRACT_REVERSED_MEMORY),
        M::Fdiv | M::Fdivp | M::Fidiv => (DIVIDE, DIVIDE_MEMORY),
        M::Fdivr | M::Fdivrp | M::Fidivr => (DIVIDE_REVERSED, DIVIDE_REVERSED_MEMORY),
        _ => return None,
    };
    if Builder::is_memory(instruction, 0) {
        let format = load_operand(builder, instruction)?;
        builder.call(memory, [0, 0, 0, format]);
        return Some(());
    }
    let pops =
        matches!(instruction.mnemonic(), M::Faddp | M::Fmulp | M::Fsubp | M::Fsubrp | M::Fdivp | M::Fdivrp);
    builder.call(registers, [st(instruction, 0), st(instruction, 1), u8::from(pops), 0]);
    Some(())
}

fn lift_compare(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    let pops = match instruction.mnemonic() {
        M::Fcomp | M::Fucomp | M::Fcomip | M::Fucomip | M::Ficomp => 1,
        M::Fcompp | M::Fucompp => 2,
        _ => 0,
    };
    let is_quiet =
        matches!(instruction.mnemonic(), M::Fucom | M::Fucomp | M::Fucompp | M::Fucomi | M::Fucomip);
    let helper = match instruction.mnemonic() {
        M::Fcom | M::Fcomp | M::Ficom | M::Ficomp if Builder::is_memory(instruction, 0) => {
            let format = load_operand(builder, instruction)?;
            builder.call(COMPARE_MEMORY, [0, 0, pops, format]);
            return Some(());
        }
        M::Fcom | M::Fcomp | M::Fcompp | M::Fucom | M::Fucomp | M::Fucompp => COMPARE,
        M::Fcomi | M::Fcomip | M::Fucomi | M::Fucomip => COMPARE_TO_FLAGS,
        _ => return None,
    };
    builder.call(helper, [other_st(instruction), u8::from(is_quiet), pops, 0]);
    Some(())
}

fn lift_stack(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use Mnemonic as M;
    let other = other_st(instruction);
    let move_if = |condition: Condition| (MOVE_IF, [other, 0, condition as u8, 0]);
    let constant = |number: u8| (LOAD_CONSTANT, [number, 0, 0, 0]);
    let (helper, operands) = match instruction.mnemonic() {
        M::Fxch => (EXCHANGE, [other, 0, 0, 0]),
        M::Ffree => (FREE, [other, 0, 0, 0]),
        M::Ffreep => (FREE, [other, 0, 1, 0]),
        M::Fincstp => (ROTATE, [1, 0, 0, 0]),
        M::Fdecstp => (ROTATE, [7, 0, 0, 0]),
        M::Fchs => (CHANGE_SIGN, [0; 4]),
        M::Fabs => (ABSOLUTE, [0; 4]),
        M::Fxam => (EXAMINE, [0; 4]),
        M::Ftst => (TEST, [0; 4]),
        M::Fld1 => constant(0),
        M::Fldl2t => constant(1),
        M::Fldl2e => constant(2),
        M::Fldpi => constant(3),
        M::Fldlg2 => constant(4),
        M::Fldln2 => constant(5),
        M::Fldz => constant(6),
        M::Fsqrt => (SQUARE_ROOT, [0; 4]),
        M::Frndint => (ROUND_TO_INTEGER, [0; 4]),
        M::Fscale => (SCALE, [0, 1, 0, 0]),
        M::Fxtract => (EXTRACT, [0; 4]),
        M::Fprem => (REMAINDER_TRUNCATED, [0; 4]),
        M::Fprem1 => (REMAINDER_NEAREST, [0; 4]),
        M::Fsin => (SINE, [0; 4]),
        M::Fcos => (COSINE, [0; 4]),
        M::Fsincos => (SINE_AND_COSINE, [0; 4]),
        M::Fptan => (TANGENT, [0; 4]),
        M::Fpatan => (ARCTANGENT, [1, 0, 1, 0]),
        M::Fyl2x => (LOGARITHM, [1, 0, 1, 0]),
        M::Fyl2xp1 => (LOGARITHM_PLUS_ONE, [1, 0, 1, 0]),
        M::F2xm1 => (POWER_MINUS_ONE, [0; 4]),
        M::Fcmovb => move_if(Condition::Below),
        M::Fcmovnb => move_if(Condition::AboveOrEqual),
        M::Fcmove => move_if(Condition::Equal),
        M::Fcmovne => move_if(Condition::NotEqual),
        M::Fcmovbe => move_if(Condition::BelowOrEqual),
        M::Fcmovnbe => move_if(Condition::Above),
        M::Fcmovu => move_if(Condition::ParityEven),
        M::Fcmovnu => move_if(Condition::ParityOdd),
        _ => return None,
    };
    builder.call(helper, operands);
    Some(())
}
