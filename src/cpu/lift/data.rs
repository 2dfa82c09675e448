//! Data movement, integer arithmetic and logic, bits (SDM vol. 2, by mnemonic).

use super::operand::{Place, width};
use super::{Builder, CodeSize, Lifted};
use crate::cpu::integer::{self, Rmw};
use crate::ir::{Address, Condition, Op, OpCode, Reg, Width};
use iced_x86::{Instruction, Mnemonic as M, OpKind, Register};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    match instruction.mnemonic() {
        M::Mov => return move_value(builder, instruction),
        M::Movzx => move_zero_extended(builder, instruction)?,
        M::Movsx | M::Movsxd => move_sign_extended(builder, instruction)?,
        M::Lea => load_address(builder, instruction)?,
        M::Add => binary(builder, instruction, Binary::ADD)?,
        M::Sub => binary(builder, instruction, Binary::SUB)?,
        M::And => binary(builder, instruction, Binary::AND)?,
        M::Or => binary(builder, instruction, Binary::OR)?,
        M::Xor => binary(builder, instruction, Binary::XOR)?,
        M::Adc => binary(builder, instruction, Binary::ADC)?,
        M::Sbb => binary(builder, instruction, Binary::SBB)?,
        M::Cmp => compare(builder, instruction, OpCode::Cmp8, OpCode::CmpImm8)?,
        M::Test => compare(builder, instruction, OpCode::Test8, OpCode::TestImm8)?,
        M::Inc => unary(builder, instruction, OpCode::Inc8, Rmw::Inc)?,
        M::Dec => unary(builder, instruction, OpCode::Dec8, Rmw::Dec)?,
        M::Neg => unary(builder, instruction, OpCode::Neg8, Rmw::Neg)?,
        M::Not => unary(builder, instruction, OpCode::Not8, Rmw::Not)?,
        M::Imul if instruction.op_count() > 1 => multiply(builder, instruction)?,
        M::Mul | M::Imul => one_operand(builder, instruction, integer::MULTIPLY, M::Imul)?,
        M::Div | M::Idiv => one_operand(builder, instruction, integer::DIVIDE, M::Idiv)?,
        M::Cbw => builder.emit3(OpCode::SignExtend8To16, Reg::RAX, Reg::RAX, Reg::ZERO),
        M::Cwde => builder.emit3(OpCode::SignExtend16To32, Reg::RAX, Reg::RAX, Reg::ZERO),
        M::Cdqe => builder.emit3(OpCode::SignExtend32To64, Reg::RAX, Reg::RAX, Reg::ZERO),
        M::Cwd => sign_into_rdx(builder, Width::W16),
        M::Cdq => sign_into_rdx(builder, Width::W32),
        M::Cqo => sign_into_rdx(builder, Width::W64),
        M::Xchg => exchange(builder, instruction)?,
        M::Xadd => exchange_add(builder, instruction)?,
        M::Cmpxchg => compare_exchange(builder, instruction)?,
        M::Cmpxchg8b | M::Cmpxchg16b => {
            let is_16 = u8::from(instruction.mnemonic() == M::Cmpxchg16b);
            let address = builder.address(instruction);
            builder.lea(Reg::T0, address);
            builder.call(integer::COMPARE_EXCHANGE_WIDE, [0, Reg::T0.0, 0, is_16]);
        }
        M::Bt => bit(builder, instruction, integer::BitOp::Test)?,
        M::Bts => bit(builder, instruction, integer::BitOp::Set)?,
        M::Btr => bit(builder, instruction, integer::BitOp::Reset)?,
        M::Btc => bit(builder, instruction, integer::BitOp::Complement)?,
        M::Bsf => scan(builder, instruction, integer::BIT_SCAN_FORWARD)?,
        M::Bsr => scan(builder, instruction, integer::BIT_SCAN_REVERSE)?,
        M::Popcnt => scan(builder, instruction, integer::POPULATION_COUNT)?,
        M::Bswap => byte_swap(builder, instruction)?,
        M::Nop | M::Pause | M::Endbr64 | M::Endbr32 | M::Reservednop => {}
        // In the space of hints, where processors without them do nothing: compiled code relies on that.
        M::Rdsspd | M::Rdsspq | M::Cldemote | M::Prefetchit0 | M::Prefetchit1 => {}
        M::Clc | M::Stc | M::Cmc | M::Cld | M::Std => {
            let which = match instruction.mnemonic() {
                M::Clc => 0,
                M::Stc => 1,
                M::Cmc => 2,
                M::Cld => 3,
                _ => 4,
            };
            builder.call(integer::SET_FLAG, [0, 0, 0, which]);
        }
        M::Xlatb => {
            builder.emit3(OpCode::ZeroExtend8, Reg::T1, Reg::RAX, Reg::ZERO);
            let address = builder.table_address(instruction, Reg::T1);
            builder.emit_memory(OpCode::Load8, Reg::RAX.0, address);
        }
        M::Aaa | M::Aas | M::Aam | M::Aad | M::Daa | M::Das | M::Salc => {
            let which = match instruction.mnemonic() {
                M::Aaa => integer::Decimal::Aaa,
                M::Aas => integer::Decimal::Aas,
                M::Aam => integer::Decimal::Aam,
                M::Aad => integer::Decimal::Aad,
                M::Daa => integer::Decimal::Daa,
                M::Das => integer::Decimal::Das,
                _ => integer::Decimal::Salc,
            };
            let base = Builder::immediate(instruction, 0).unwrap_or(0) as u8;
            builder.call(integer::DECIMAL_ADJUST, [0, 0, base, which as u8]);
        }
        M::Bound => {
            let size = width(instruction, 0)?;
            let address = builder.address(instruction);
            let index = Builder::reg(instruction.op_register(0));
            // An index below the lower bound raises #BR before the upper one is read.
            builder.load(size, Reg::T1, address);
            builder.call(integer::CHECK_BOUND, [index.0, Reg::T1.0, index.0, size as u8]);
            let upper = builder.offset_address(address, i32::from(size.bytes()));
            builder.load(size, Reg::T2, upper);
            builder.call(integer::CHECK_BOUND, [index.0, Reg::T1.0, Reg::T2.0, size as u8]);
        }
        _ => return conditional(builder, instruction),
    }
    Some(Lifted::Continues)
}

/// The operations of a two-operand instruction.
struct Binary {
    with_register: OpCode,
    with_immediate: Option<OpCode>,
    locked: Rmw,
}

impl Binary {
    const ADD: Self =
        Self { with_register: OpCode::Add8, with_immediate: Some(OpCode::AddImm8), locked: Rmw::Add };
    const SUB: Self =
        Self { with_register: OpCode::Sub8, with_immediate: Some(OpCode::SubImm8), locked: Rmw::Sub };
    const AND: Self =
        Self { with_register: OpCode::And8, with_immediate: Some(OpCode::AndImm8), locked: Rmw::And };
    const OR: Self =
        Self { with_register: OpCode::Or8, with_immediate: Some(OpCode::OrImm8), locked: Rmw::Or };
    const XOR: Self =
        Self { with_register: OpCode::Xor8, with_immediate: Some(OpCode::XorImm8), locked: Rmw::Xor };
    const ADC: Self = Self { with_register: OpCode::Adc8, with_immediate: None, locked: Rmw::Adc };
    const SBB: Self = Self { with_register: OpCode::Sbb8, with_immediate: None, locked: Rmw::Sbb };
}

fn move_value(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let uses_system_register = (0..2).any(|index| {
        instruction.op_kind(index) == OpKind::Register
            && width_of_general_register(instruction.op_register(index)).is_none()
    });
    if uses_system_register {
        return None;
    }
    let size = width(instruction, 0)?;
    match (Builder::immediate(instruction, 1), builder.place(instruction, 0)) {
        (Some(value), Place::Register(reg)) if size >= Width::W32 => {
            builder.constant(reg, if size == Width::W32 { value & 0xffff_ffff } else { value });
        }
        (Some(value), Place::Register(reg)) => {
            builder.emit_imm(OpCode::MovImm8.sized(size), reg, Reg::ZERO, value as i32);
        }
        (Some(value), Place::Memory(address)) => {
            builder.emit_memory(OpCode::StoreImm8.sized(size), 0, address);
            if let Some(op) = builder.ops.last_mut() {
                op.imm = value as i32;
            }
        }
        (None, Place::Register(reg)) if Builder::is_memory(instruction, 1) => {
            let address = builder.address(instruction);
            let code = match size {
                Width::W8 => OpCode::Load8,
                Width::W16 => OpCode::Load16,
                Width::W32 => OpCode::Load32,
                Width::W64 => OpCode::Load64,
            };
            builder.emit_memory(code, reg.0, address);
        }
        (_, place) => {
            let source = builder.source(instruction, 1, size, Reg::T1);
            builder.assign(place, size, source);
        }
    }
    Some(Lifted::Continues)
}

fn width_of_general_register(register: Register) -> Option<Width> {
    if register.is_gpr() { Width::from_bytes(register.size()) } else { None }
}

fn move_zero_extended(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let (to, from) = (width(instruction, 0)?, width(instruction, 1)?);
    let target = Builder::reg(instruction.op_register(0));
    let direct = to > Width::W16;
    let place = builder.place(instruction, 1);
    let into = if direct { target } else { Reg::T1 };
    match place {
        Place::Memory(address) => builder.load(from, into, address),
        Place::High(reg) => builder.emit3(OpCode::ExtractHigh8, into, reg, Reg::ZERO),
        Place::Register(reg) => {
            let code = if from == Width::W8 { OpCode::ZeroExtend8 } else { OpCode::ZeroExtend16 };
            builder.emit3(code, into, reg, Reg::ZERO);
        }
    }
    if !direct {
        builder.emit3(OpCode::Mov16, target, Reg::T1, Reg::ZERO);
    }
    Some(())
}

fn move_sign_extended(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    use OpCode as O;
    let (to, from) = (width(instruction, 0)?, width(instruction, 1)?);
    let target = Builder::reg(instruction.op_register(0));
    let place = builder.place(instruction, 1);
    let (between_registers, from_memory) = match (from, to) {
        (Width::W8, Width::W16) => (O::SignExtend8To16, O::LoadSign8To16),
        (Width::W8, Width::W32) => (O::SignExtend8To32, O::LoadSign8To32),
        (Width::W8, _) => (O::SignExtend8To64, O::LoadSign8To64),
        (Width::W16, Width::W32) => (O::SignExtend16To32, O::LoadSign16To32),
        (Width::W16, Width::W64) => (O::SignExtend16To64, O::LoadSign16To64),
        (Width::W32, Width::W64) => (O::SignExtend32To64, O::LoadSign32To64),
        // MOVSXD with a 16- or 32-bit destination moves without extending.
        _ => {
            let value = builder.value(place, to, Reg::T1);
            builder.assign(Place::Register(target), to, value);
            return Some(());
        }
    };
    match place {
        Place::Memory(address) => builder.emit_memory(from_memory, target.0, address),
        other => {
            let value = builder.value(other, from, Reg::T1);
            builder.emit3(between_registers, target, value, Reg::ZERO);
        }
    }
    Some(())
}

fn load_address(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let target = Builder::reg(instruction.op_register(0));
    let address = super::address::effective_address(builder, instruction);
    match size {
        Width::W64 => builder.lea(target, address),
        Width::W32 => builder.emit_memory(OpCode::Lea32, target.0, address),
        _ => {
            builder.lea(Reg::T1, address);
            builder.emit3(OpCode::Mov16, target, Reg::T1, Reg::ZERO);
        }
    }
    Some(())
}

fn binary(builder: &mut Builder, instruction: &Instruction, binary: Binary) -> Option<()> {
    let size = width(instruction, 0)?;
    let code = binary.with_register.sized(size);
    let immediate = Builder::immediate(instruction, 1);
    if let Place::Memory(address) = builder.place_if_locked(instruction) {
        let right = match immediate {
            Some(value) => {
                builder.constant(Reg::T2, value);
                Reg::T2
            }
            None => builder.source(instruction, 1, size, Reg::T2),
        };
        builder.atomic(binary.locked, Reg::T1, address, right, size);
        builder.emit3(code, Reg::T1, Reg::T1, right);
        return Some(());
    }
    let place = builder.place(instruction, 0);
    let right = match immediate {
        Some(_) => Reg::ZERO,
        None if Builder::is_memory(instruction, 1) => builder.source(instruction, 1, size, Reg::T2),
        None => {
            let register = Builder::register_place(instruction.op_register(1));
            builder.value(register, size, Reg::T2)
        }
    };
    let left = builder.value_for_update(place, size, Reg::T1);
    match (immediate, binary.with_immediate) {
        (Some(value), Some(code)) => builder.emit_imm(code.sized(size), left, left, value as i32),
        (Some(value), None) => {
            builder.constant(Reg::T2, value);
            builder.emit3(code, left, left, Reg::T2);
        }
        (None, _) => builder.emit3(code, left, left, right),
    }
    if !matches!(place, Place::Register(_)) {
        builder.assign(place, size, left);
    }
    Some(())
}

fn compare(
    builder: &mut Builder,
    instruction: &Instruction,
    code: OpCode,
    with_immediate: OpCode,
) -> Option<()> {
    let size = width(instruction, 0)?;
    let left = builder.source(instruction, 0, size, Reg::T1);
    match Builder::immediate(instruction, 1) {
        Some(value) => builder.emit_imm(with_immediate.sized(size), Reg::ZERO, left, value as i32),
        None => {
            let right = builder.source(instruction, 1, size, Reg::T2);
            builder.emit3(code.sized(size), Reg::ZERO, left, right);
        }
    }
    Some(())
}

fn unary(builder: &mut Builder, instruction: &Instruction, code: OpCode, locked: Rmw) -> Option<()> {
    let size = width(instruction, 0)?;
    if let Place::Memory(address) = builder.place_if_locked(instruction) {
        builder.atomic(locked, Reg::T1, address, Reg::ZERO, size);
        builder.emit3(code.sized(size), Reg::T1, Reg::T1, Reg::ZERO);
        return Some(());
    }
    let place = builder.place(instruction, 0);
    let value = builder.value_for_update(place, size, Reg::T1);
    builder.emit3(code.sized(size), value, value, Reg::ZERO);
    if !matches!(place, Place::Register(_)) {
        builder.assign(place, size, value);
    }
    Some(())
}

fn multiply(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let target = Builder::reg(instruction.op_register(0));
    let code = match size {
        Width::W16 => OpCode::Imul16,
        Width::W32 => OpCode::Imul32,
        _ => OpCode::Imul64,
    };
    let source = builder.source(instruction, 1, size, Reg::T1);
    if instruction.op_count() == 3 {
        let factor = builder.source(instruction, 2, size, Reg::T2);
        builder.emit3(code, target, source, factor);
    } else {
        builder.emit3(code, target, target, source);
    }
    Some(())
}

fn one_operand(
    builder: &mut Builder,
    instruction: &Instruction,
    helper: crate::cpu::HelperId,
    signed: M,
) -> Option<()> {
    let size = width(instruction, 0)?;
    let source = builder.source(instruction, 0, size, Reg::T1);
    let is_signed = u8::from(instruction.mnemonic() == signed);
    builder.call(helper, [0, source.0, is_signed, size as u8]);
    Some(())
}

fn sign_into_rdx(builder: &mut Builder, size: Width) {
    let extend = match size {
        Width::W16 => OpCode::SignExtend16To64,
        Width::W32 => OpCode::SignExtend32To64,
        _ => OpCode::Mov64,
    };
    builder.emit3(extend, Reg::T1, Reg::RAX, Reg::ZERO);
    builder.emit_imm(OpCode::SarImmQuiet64, Reg::T1, Reg::T1, 63);
    builder.emit3(OpCode::Mov8.sized(size), Reg::RDX, Reg::T1, Reg::ZERO);
}

fn exchange(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let memory = (0..2).find(|&index| Builder::is_memory(instruction, index));
    let Some(memory) = memory else {
        let (first, second) = (builder.place(instruction, 0), builder.place(instruction, 1));
        let left = builder.value(first, size, Reg::T1);
        let right = builder.value(second, size, Reg::T2);
        builder.emit3(OpCode::Mov64, Reg::T3, left, Reg::ZERO);
        builder.assign(first, size, right);
        builder.assign(second, size, Reg::T3);
        return Some(());
    };
    // With a memory operand XCHG is locked, with or without the prefix.
    let address = builder.address(instruction);
    let place = Builder::register_place(instruction.op_register(1 - memory));
    let value = builder.value(place, size, Reg::T2);
    builder.atomic(Rmw::Exchange, Reg::T1, address, value, size);
    builder.assign(place, size, Reg::T1);
    Some(())
}

fn exchange_add(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let source = Builder::register_place(instruction.op_register(1));
    let add = OpCode::Add8.sized(size);
    if let Place::Memory(address) = builder.place_if_locked(instruction) {
        let value = builder.value(source, size, Reg::T2);
        builder.atomic(Rmw::Add, Reg::T1, address, value, size);
        builder.emit3(OpCode::Mov64, Reg::T3, Reg::T1, Reg::ZERO);
        builder.emit3(add, Reg::T1, Reg::T1, value);
        builder.assign(source, size, Reg::T3);
        return Some(());
    }
    let place = builder.place(instruction, 0);
    let value = builder.value(source, size, Reg::T2);
    let old = builder.value_for_update(place, size, Reg::T1);
    builder.emit3(OpCode::Mov64, Reg::T3, old, Reg::ZERO);
    builder.emit3(add, Reg::T4, old, value);
    if matches!(place, Place::Memory(_)) {
        builder.assign(place, size, Reg::T4);
        builder.assign(source, size, Reg::T3);
    } else {
        builder.assign(source, size, Reg::T3);
        builder.assign(place, size, Reg::T4);
    }
    Some(())
}

fn compare_exchange(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let size = width(instruction, 0)?;
    let source = Builder::register_place(instruction.op_register(1));
    let value = builder.value(source, size, Reg::T2);
    let compare = OpCode::Cmp8.sized(size);
    match builder.place(instruction, 0) {
        Place::Memory(address) => {
            builder.lea(Reg::T0, address);
            builder.call(integer::COMPARE_EXCHANGE, [Reg::T1.0, Reg::T0.0, value.0, size as u8]);
            builder.emit3(compare, Reg::ZERO, Reg::RAX, Reg::T1);
            builder.accumulate_if_different(size, Reg::T1);
        }
        place => {
            let old = builder.value(place, size, Reg::T1);
            builder.emit3(OpCode::Mov64, Reg::T1, old, Reg::ZERO);
            builder.emit3(compare, Reg::ZERO, Reg::RAX, Reg::T1);
            if let (Place::Register(target), Width::W32) = (place, size) {
                // Not even the upper half changes when the values differ.
                builder.emit3(OpCode::Mov32, Reg::T3, value, Reg::ZERO);
                builder.emit_conditional_move(Condition::Equal, target, Reg::T3);
            } else {
                builder.emit3(OpCode::Mov64, Reg::T3, old, Reg::ZERO);
                builder.emit_conditional_move(Condition::Equal, Reg::T3, value);
                builder.assign(place, size, Reg::T3);
            }
            builder.accumulate_if_different(size, Reg::T1);
        }
    }
    Some(())
}

fn bit(builder: &mut Builder, instruction: &Instruction, operation: integer::BitOp) -> Option<()> {
    let size = width(instruction, 0)?;
    let number = match Builder::immediate(instruction, 1) {
        Some(value) => {
            builder.constant(Reg::T2, value & u64::from(size.bits() - 1));
            Reg::T2
        }
        None => Builder::reg(instruction.op_register(1)),
    };
    let packed = (operation as u8) << 2 | size as u8;
    let Place::Memory(address) = builder.place(instruction, 0) else {
        let target = Builder::reg(instruction.op_register(0));
        builder.call(integer::BIT_OPERATION, [target.0, target.0, number.0, packed]);
        return Some(());
    };
    // A register bit number reaches beyond the operand.
    builder.lea(Reg::T0, address);
    if number != Reg::T2 {
        builder.call(integer::BIT_ADDRESS, [Reg::T0.0, Reg::T0.0, number.0, size as u8]);
    }
    let address = Address::register(Reg::T0);
    if operation == integer::BitOp::Test {
        builder.load(size, Reg::T1, address);
        builder.call(integer::BIT_OPERATION, [Reg::T1.0, Reg::T1.0, number.0, packed]);
    } else if instruction.has_lock_prefix() {
        let rmw = match operation {
            integer::BitOp::Set => Rmw::SetBit,
            integer::BitOp::Reset => Rmw::ResetBit,
            _ => Rmw::ComplementBit,
        };
        builder.atomic(rmw, Reg::T1, address, number, size);
        builder.call(integer::BIT_OPERATION, [Reg::T1.0, Reg::T1.0, number.0, packed]);
    } else {
        builder.emit_memory(OpCode::LoadForUpdate8.sized(size), Reg::T1.0, address);
        builder.call(integer::BIT_OPERATION, [Reg::T1.0, Reg::T1.0, number.0, packed]);
        builder.store(size, Reg::T1, address);
    }
    Some(())
}

fn scan(builder: &mut Builder, instruction: &Instruction, helper: crate::cpu::HelperId) -> Option<()> {
    let size = width(instruction, 0)?;
    let target = Builder::reg(instruction.op_register(0));
    let source = builder.source(instruction, 1, size, Reg::T1);
    builder.call(helper, [target.0, source.0, 0, size as u8]);
    Some(())
}

fn byte_swap(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let target = Builder::reg(instruction.op_register(0));
    match width(instruction, 0)? {
        Width::W64 => builder.emit3(OpCode::ByteSwap64, target, target, Reg::ZERO),
        Width::W32 => builder.emit3(OpCode::ByteSwap32, target, target, Reg::ZERO),
        // Undefined by the manual; processors clear the word.
        _ => builder.emit_imm(OpCode::MovImm16, target, Reg::ZERO, 0),
    }
    Some(())
}

/// SETcc and CMOVcc.
fn conditional(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    use iced_x86::ConditionCode;
    if instruction.condition_code() == ConditionCode::None {
        return None;
    }
    let code = super::control::condition(instruction)? as u8;
    let is_set = matches!(
        instruction.mnemonic(),
        M::Seto
            | M::Setno
            | M::Setb
            | M::Setae
            | M::Sete
            | M::Setne
            | M::Setbe
            | M::Seta
            | M::Sets
            | M::Setns
            | M::Setp
            | M::Setnp
            | M::Setl
            | M::Setge
            | M::Setle
            | M::Setg
    );
    let is_move = matches!(
        instruction.mnemonic(),
        M::Cmovo
            | M::Cmovno
            | M::Cmovb
            | M::Cmovae
            | M::Cmove
            | M::Cmovne
            | M::Cmovbe
            | M::Cmova
            | M::Cmovs
            | M::Cmovns
            | M::Cmovp
            | M::Cmovnp
            | M::Cmovl
            | M::Cmovge
            | M::Cmovle
            | M::Cmovg
    );
    if is_set {
        let place = builder.place(instruction, 0);
        let target = match place {
            Place::Register(reg) => reg,
            _ => Reg::T1,
        };
        let op = Op { a: target.0, c: code, ..builder.op(OpCode::SetCondition) };
        builder.emit(op);
        if !matches!(place, Place::Register(_)) {
            builder.assign(place, Width::W8, target);
        }
        return Some(Lifted::Continues);
    }
    if !is_move {
        return None;
    }
    let size = width(instruction, 0)?;
    let target = Builder::reg(instruction.op_register(0));
    let source = builder.source(instruction, 1, size, Reg::T1);
    let (move_if, into) = match size {
        Width::W64 => (OpCode::MoveIf64, target),
        Width::W32 => (OpCode::MoveIf32, target),
        _ => {
            builder.emit3(OpCode::Mov64, Reg::T2, target, Reg::ZERO);
            (OpCode::MoveIf64, Reg::T2)
        }
    };
    let op = Op { a: into.0, b: source.0, c: code, ..builder.op(move_if) };
    builder.emit(op);
    if into != target {
        builder.emit3(OpCode::Mov16, target, Reg::T2, Reg::ZERO);
    }
    Some(Lifted::Continues)
}

impl Builder {
    /// Operand 0 if the instruction is locked and it is in memory; a meaningless register otherwise.
    fn place_if_locked(&mut self, instruction: &Instruction) -> Place {
        if instruction.has_lock_prefix() && Self::is_memory(instruction, 0) {
            self.place(instruction, 0)
        } else {
            Place::Register(Reg::ZERO)
        }
    }

    /// `old = [address]; [address] = old (operation) right`, as one atomic access.
    fn atomic(&mut self, operation: Rmw, old: Reg, address: Address, right: Reg, size: Width) {
        self.lea(Reg::T0, address);
        self.call(integer::ATOMIC, [old.0, Reg::T0.0, right.0, (operation as u8) << 2 | size as u8]);
    }

    fn emit_conditional_move(&mut self, condition: Condition, target: Reg, source: Reg) {
        let op = Op { a: target.0, b: source.0, c: condition as u8, ..self.op(OpCode::MoveIf64) };
        self.emit(op);
    }

    /// Writes the low `size` bits of `value` to the accumulator when ZF is clear; else leaves all of it.
    fn accumulate_if_different(&mut self, size: Width, value: Reg) {
        self.emit3(OpCode::Mov64, Reg::T4, Reg::RAX, Reg::ZERO);
        self.emit3(OpCode::Mov8.sized(size), Reg::T4, value, Reg::ZERO);
        self.emit_conditional_move(Condition::NotEqual, Reg::RAX, Reg::T4);
    }

    /// The linear address of a table entry: the base of XLAT with `index` added.
    fn table_address(&mut self, instruction: &Instruction, index: Reg) -> Address {
        let base = Self::reg(instruction.memory_base());
        let sum = Address { base, index, shift: 0, disp: 0 };
        let truncation = match instruction.memory_base().size() {
            8 => OpCode::Lea64,
            4 => OpCode::Lea32,
            _ => OpCode::Lea16,
        };
        self.emit_memory(truncation, Reg::T0.0, sum);
        super::address::linear_address(self, Address::register(Reg::T0), instruction.memory_segment(), 1)
    }

    /// An address some bytes further on.
    pub fn offset_address(&mut self, address: Address, bytes: i32) -> Address {
        match address.disp.checked_add(bytes) {
            Some(disp) if self.mode.code_size == CodeSize::Bits64 || address.base == Reg::T0 => {
                Address { disp, ..address }
            }
            _ => {
                self.lea(Reg::T0, address);
                Address { disp: bytes, ..Address::register(Reg::T0) }
            }
        }
    }
}
