//! Near branches, calls, returns, and the stack.

use super::operand::{Place, width};
use super::{Builder, CodeSize, Lifted};
use crate::cpu::integer;
use crate::ir::{Address, Condition, Op, OpCode, Reg, Width};
use iced_x86::{Code, ConditionCode, Instruction, Mnemonic as M, OpKind, Register};

/// The condition of a Jcc, SETcc or CMOVcc.
pub fn condition(instruction: &Instruction) -> Option<Condition> {
    Some(match instruction.condition_code() {
        ConditionCode::None => return None,
        ConditionCode::o => Condition::Overflow,
        ConditionCode::no => Condition::NotOverflow,
        ConditionCode::b => Condition::Below,
        ConditionCode::ae => Condition::AboveOrEqual,
        ConditionCode::e => Condition::Equal,
        ConditionCode::ne => Condition::NotEqual,
        ConditionCode::be => Condition::BelowOrEqual,
        ConditionCode::a => Condition::Above,
        ConditionCode::s => Condition::Sign,
        ConditionCode::ns => Condition::NotSign,
        ConditionCode::p => Condition::ParityEven,
        ConditionCode::np => Condition::ParityOdd,
        ConditionCode::l => Condition::Less,
        ConditionCode::ge => Condition::GreaterOrEqual,
        ConditionCode::le => Condition::LessOrEqual,
        ConditionCode::g => Condition::Greater,
    })
}

/// Ends a block that goes on with the next instruction.
pub fn fall_through(builder: &mut Builder) {
    builder.set_successor(0, i64::from(builder.next_pc()));
    let op = builder.op(OpCode::Jump);
    builder.emit(op);
}

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let lifted = match instruction.mnemonic() {
        M::Jmp if is_near_target(instruction) => {
            jump_to(builder, instruction);
            Lifted::Ends
        }
        M::Call if is_near_target(instruction) => {
            call(builder, instruction);
            Lifted::Ends
        }
        M::Jmp if is_near_indirect(instruction) => {
            let target = branch_target(builder, instruction)?;
            builder.emit3(OpCode::JumpRegister, Reg::ZERO, target, Reg::ZERO);
            Lifted::Ends
        }
        M::Call if is_near_indirect(instruction) => {
            call_indirect(builder, instruction)?;
            Lifted::Ends
        }
        M::Ret => {
            return_near(builder, instruction);
            Lifted::Ends
        }
        M::Jcxz | M::Jecxz | M::Jrcxz | M::Loop | M::Loope | M::Loopne => {
            count_branch(builder, instruction);
            Lifted::Ends
        }
        _ if instruction.is_jcc_short_or_near() => {
            let code = condition(instruction)?;
            // Conditions are branched on in their positive form: half as many operations to run.
            let (positive, taken) = if code as u8 & 1 == 0 { (code, 0) } else { (code.negated(), 1) };
            builder.set_successor(taken, target_distance(builder, instruction));
            builder.set_successor(1 - taken, i64::from(builder.next_pc()));
            let op = Op { c: positive as u8, ..builder.op(OpCode::JumpIf) };
            builder.emit(op);
            Lifted::Ends
        }
        _ => return stack(builder, instruction),
    };
    Some(lifted)
}

fn is_near_target(instruction: &Instruction) -> bool {
    matches!(instruction.op_kind(0), OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
}

fn is_near_indirect(instruction: &Instruction) -> bool {
    instruction.is_jmp_near_indirect() || instruction.is_call_near_indirect()
}

fn target_distance(builder: &Builder, instruction: &Instruction) -> i64 {
    let target = instruction.near_branch_target();
    let distance = builder.branch_distance(target);
    // Outside 64-bit code targets wrap within 32 or 16 bits; the executor's mask does the former.
    if builder.mode.code_size == CodeSize::Bits64 { distance } else { i64::from(distance as i32) }
}

fn jump_to(builder: &mut Builder, instruction: &Instruction) {
    builder.set_successor(0, target_distance(builder, instruction));
    let op = builder.op(OpCode::Jump);
    builder.emit(op);
}

/// The width of the stack pointer.
fn stack_width(builder: &Builder) -> Width {
    match (builder.mode.code_size, builder.mode.is_stack_32) {
        (CodeSize::Bits64, _) => Width::W64,
        (_, true) => Width::W32,
        (_, false) => Width::W16,
    }
}

fn branch_width(instruction: &Instruction) -> Width {
    match instruction.op_kind(0) {
        OpKind::NearBranch16 => Width::W16,
        OpKind::NearBranch32 => Width::W32,
        OpKind::NearBranch64 => Width::W64,
        _ => width(instruction, 0).unwrap_or(Width::W64),
    }
}

/// The offset of the next instruction, in T1.
fn return_address(builder: &mut Builder) -> Reg {
    let disp = i32::from(builder.next_pc());
    let next = Address { base: Reg::RIP, index: Reg::ZERO, shift: 0, disp };
    builder.lea(Reg::T1, next);
    Reg::T1
}

fn call(builder: &mut Builder, instruction: &Instruction) {
    builder.set_successor(0, target_distance(builder, instruction));
    if builder.mode.code_size == CodeSize::Bits64 {
        let op = Op { disp: i32::from(builder.next_pc()), ..builder.op(OpCode::CallNear) };
        builder.emit(op);
        return;
    }
    let back = return_address(builder);
    push(builder, branch_width(instruction), back);
    let op = builder.op(OpCode::Jump);
    builder.emit(op);
}

/// The target of an indirect branch, in a register that is not T0 or T1.
fn branch_target(builder: &mut Builder, instruction: &Instruction) -> Option<Reg> {
    let size = width(instruction, 0)?;
    let source = builder.source(instruction, 0, size, Reg::T2);
    if size == Width::W16 {
        builder.emit3(OpCode::ZeroExtend16, Reg::T2, source, Reg::ZERO);
        return Some(Reg::T2);
    }
    Some(source)
}

fn call_indirect(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let target = branch_target(builder, instruction)?;
    if builder.mode.code_size == CodeSize::Bits64 {
        let disp = i32::from(builder.next_pc());
        let op = Op { b: target.0, disp, ..builder.op(OpCode::CallRegister) };
        builder.emit(op);
        return Some(());
    }
    builder.emit3(OpCode::Mov64, Reg::T3, target, Reg::ZERO);
    let back = return_address(builder);
    push(builder, branch_width(instruction), back);
    builder.emit3(OpCode::JumpRegister, Reg::ZERO, Reg::T3, Reg::ZERO);
    Some(())
}

fn return_near(builder: &mut Builder, instruction: &Instruction) {
    let released = Builder::immediate(instruction, 0).map_or(0, |value| value as u16);
    if builder.mode.code_size == CodeSize::Bits64 {
        let op = Op { imm: i32::from(released), ..builder.op(OpCode::Return) };
        builder.emit(op);
        return;
    }
    let is_16 = matches!(instruction.code(), Code::Retnw | Code::Retnw_imm16);
    let size = if is_16 { Width::W16 } else { Width::W32 };
    pop(builder, size, Reg::T2);
    let moved = stack_width(builder);
    builder.lea(Reg::T1, Address { disp: i32::from(released), ..Address::register(Reg::RSP) });
    builder.emit3(OpCode::Mov8.sized(moved), Reg::RSP, Reg::T1, Reg::ZERO);
    builder.emit3(OpCode::JumpRegister, Reg::ZERO, Reg::T2, Reg::ZERO);
}

/// JCXZ and LOOP read a counter and, some of them, ZF; the flags stay. The helper decides and jumps.
fn count_branch(builder: &mut Builder, instruction: &Instruction) {
    let counter = match instruction.mnemonic() {
        M::Jcxz => Width::W16,
        M::Jecxz => Width::W32,
        M::Jrcxz => Width::W64,
        _ => loop_counter(instruction.code()),
    };
    let kind = match instruction.mnemonic() {
        M::Loop => 1,
        M::Loope => 2,
        M::Loopne => 3,
        _ => 0,
    };
    let distance = target_distance(builder, instruction);
    builder.constant(Reg::T1, distance as u64);
    builder.call_and_exit(integer::COUNT_BRANCH, [0, Reg::T1.0, kind, counter as u8]);
}

fn loop_counter(code: Code) -> Width {
    match code {
        Code::Loop_rel8_16_CX
        | Code::Loop_rel8_32_CX
        | Code::Loope_rel8_16_CX
        | Code::Loope_rel8_32_CX
        | Code::Loopne_rel8_16_CX
        | Code::Loopne_rel8_32_CX => Width::W16,
        Code::Loop_rel8_16_ECX
        | Code::Loop_rel8_32_ECX
        | Code::Loop_rel8_64_ECX
        | Code::Loope_rel8_16_ECX
        | Code::Loope_rel8_32_ECX
        | Code::Loope_rel8_64_ECX
        | Code::Loopne_rel8_16_ECX
        | Code::Loopne_rel8_32_ECX
        | Code::Loopne_rel8_64_ECX => Width::W32,
        _ => Width::W64,
    }
}

fn stack_address(builder: &mut Builder, pointer: Reg, bytes: u8) -> Address {
    super::address::linear_address(builder, Address::register(pointer), Register::SS, bytes.into())
}

/// Pushes the low `size` bits of `source` (not T0, T6 or T7).
pub fn push(builder: &mut Builder, size: Width, source: Reg) {
    if size == Width::W64 {
        builder.emit3(OpCode::Push64, source, Reg::ZERO, Reg::ZERO);
        return;
    }
    let pointer = stack_width(builder);
    let below = Address { disp: -i32::from(size.bytes()), ..Address::register(Reg::RSP) };
    let code = match pointer {
        Width::W64 => OpCode::Lea64,
        Width::W32 => OpCode::Lea32,
        _ => OpCode::Lea16,
    };
    builder.emit_memory(code, Reg::T7.0, below);
    // Based on RSP where it can be, so that a fault is known for the stack's.
    let address = if pointer == Width::W64 { below } else { stack_address(builder, Reg::T7, size.bytes()) };
    builder.store(size, source, address);
    builder.emit3(OpCode::Mov8.sized(pointer), Reg::RSP, Reg::T7, Reg::ZERO);
}

/// Pops `size` bits, zero-extended, into a temporary other than T0 and T7.
pub fn pop(builder: &mut Builder, size: Width, target: Reg) {
    let pointer = stack_width(builder);
    let stack_pointer = match pointer {
        Width::W64 => Reg::RSP,
        Width::W32 => {
            builder.emit3(OpCode::Mov32, Reg::T7, Reg::RSP, Reg::ZERO);
            Reg::T7
        }
        _ => {
            builder.emit3(OpCode::ZeroExtend16, Reg::T7, Reg::RSP, Reg::ZERO);
            Reg::T7
        }
    };
    let address = stack_address(builder, stack_pointer, size.bytes());
    builder.load(size, target, address);
    let above = Address { disp: size.bytes().into(), ..Address::register(Reg::RSP) };
    builder.lea(Reg::T7, above);
    builder.emit3(OpCode::Mov8.sized(pointer), Reg::RSP, Reg::T7, Reg::ZERO);
}

fn stack(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    match instruction.mnemonic() {
        M::Push => push_operand(builder, instruction)?,
        M::Pop => pop_operand(builder, instruction)?,
        M::Leave => {
            let pointer = stack_width(builder);
            let size = match instruction.code() {
                Code::Leaveq => Width::W64,
                Code::Leaved => Width::W32,
                _ => Width::W16,
            };
            // RSP must stay as it is when the pop faults.
            if size == Width::W64 {
                builder.load(Width::W64, Reg::T1, Address::register(Reg::RBP));
                let above = Address { disp: 8, ..Address::register(Reg::RBP) };
                builder.lea(Reg::RSP, above);
                builder.emit3(OpCode::Mov64, Reg::RBP, Reg::T1, Reg::ZERO);
            } else {
                let zero_extend = if pointer == Width::W16 { OpCode::ZeroExtend16 } else { OpCode::Mov32 };
                builder.emit3(zero_extend, Reg::T7, Reg::RBP, Reg::ZERO);
                let address = stack_address(builder, Reg::T7, size.bytes());
                builder.load(size, Reg::T1, address);
                let above = Address { disp: size.bytes().into(), ..Address::register(Reg::RBP) };
                builder.lea(Reg::T7, above);
                builder.emit3(OpCode::Mov8.sized(pointer), Reg::RSP, Reg::T7, Reg::ZERO);
                builder.emit3(OpCode::Mov8.sized(size), Reg::RBP, Reg::T1, Reg::ZERO);
            }
        }
        M::Enter => {
            let size = match instruction.code() {
                Code::Enterq_imm16_imm8 => Width::W64,
                Code::Enterd_imm16_imm8 => Width::W32,
                _ => Width::W16,
            };
            builder.constant(Reg::T1, u64::from(instruction.immediate16()));
            let pointer = stack_width(builder) as u8;
            builder.call(integer::ENTER, [pointer, Reg::T1.0, instruction.immediate8_2nd(), size as u8]);
        }
        M::Pusha | M::Pushad | M::Popa | M::Popad => {
            let is_16 = matches!(instruction.mnemonic(), M::Pusha | M::Popa);
            let is_pop = matches!(instruction.mnemonic(), M::Popa | M::Popad);
            let size = if is_16 { Width::W16 } else { Width::W32 };
            let pointer = stack_width(builder) as u8;
            builder.call(integer::ALL_REGISTERS, [pointer, 0, u8::from(is_pop), size as u8]);
        }
        _ => return None,
    }
    Some(Lifted::Continues)
}

fn push_operand(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    if instruction.op_kind(0) == OpKind::Register && !instruction.op_register(0).is_gpr() {
        return None;
    }
    // The stack pointer moves by the operand size, which an immediate's own width does not tell.
    let size = Width::from_bytes(instruction.stack_pointer_increment().unsigned_abs() as usize)?;
    match Builder::immediate(instruction, 0) {
        Some(value) if size == Width::W64 => {
            builder.emit_imm(OpCode::PushImm64, Reg::ZERO, Reg::ZERO, value as i32);
        }
        Some(value) => {
            builder.constant(Reg::T1, value);
            push(builder, size, Reg::T1);
        }
        None => {
            let source = builder.source(instruction, 0, size, Reg::T1);
            push(builder, size, source);
        }
    }
    Some(())
}

fn pop_operand(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    if instruction.op_kind(0) == OpKind::Register && !instruction.op_register(0).is_gpr() {
        return None;
    }
    let size = width(instruction, 0)?;
    if let OpKind::Register = instruction.op_kind(0) {
        let target = Builder::reg(instruction.op_register(0));
        if size == Width::W64 {
            builder.emit3(OpCode::Pop64, target, Reg::ZERO, Reg::ZERO);
        } else {
            pop(builder, size, Reg::T1);
            builder.assign(Place::Register(target), size, Reg::T1);
        }
        return Some(());
    }
    // The address is computed with RSP already moved; RSP must be restored when the store faults.
    let pointer = stack_width(builder);
    builder.emit3(OpCode::Mov64, Reg::T6, Reg::RSP, Reg::ZERO);
    if size == Width::W64 {
        builder.emit3(OpCode::Pop64, Reg::T1, Reg::ZERO, Reg::ZERO);
    } else {
        pop(builder, size, Reg::T1);
    }
    let Place::Memory(address) = builder.place(instruction, 0) else { return None };
    builder.lea(Reg::T2, address);
    builder.emit3(OpCode::Mov64, Reg::T3, Reg::RSP, Reg::ZERO);
    builder.emit3(OpCode::Mov64, Reg::RSP, Reg::T6, Reg::ZERO);
    builder.store(size, Reg::T1, Address::register(Reg::T2));
    builder.emit3(OpCode::Mov8.sized(pointer), Reg::RSP, Reg::T3, Reg::ZERO);
    Some(())
}
