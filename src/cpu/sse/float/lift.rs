//! From instructions to vector operations.

use super::operation::{self, Kind, Shape};
use crate::cpu::lift::{Builder, Lifted};
use crate::ir::{Op, OpCode, VectorReg};
use iced_x86::{EncodingKind, Instruction, Mnemonic, OpKind, Register};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    if instruction.encoding() != EncodingKind::Legacy || !is_xmm(instruction.op0_register()) {
        return None;
    }
    let (kind, shape) = lane_operation(instruction.mnemonic())?;
    let target = Builder::vector_reg(instruction.op0_register());
    let source = source(builder, instruction, shape)?;
    let immediate =
        if kind == Kind::Compare && instruction.op_count() > 2 { instruction.immediate8() } else { 0 };
    builder.emit(Op {
        a: target.0,
        b: target.0,
        c: source.0,
        d: immediate,
        imm: operation::encode(kind, shape),
        ..builder.op(OpCode::Vector)
    });
    Some(Lifted::Continues)
}

fn is_xmm(register: Register) -> bool {
    (Register::XMM0..=Register::XMM15).contains(&register)
}

/// Operand 1: its register, or the first temporary after loading it there.
fn source(builder: &mut Builder, instruction: &Instruction, shape: Shape) -> Option<VectorReg> {
    match instruction.op1_kind() {
        OpKind::Register => {
            is_xmm(instruction.op1_register()).then(|| Builder::vector_reg(instruction.op1_register()))
        }
        OpKind::Memory => {
            let code = match shape {
                Shape::ScalarSingle => OpCode::VectorLoad32,
                Shape::ScalarDouble => OpCode::VectorLoad64,
                Shape::PackedSingle | Shape::PackedDouble => OpCode::VectorLoad128Aligned,
            };
            let address = builder.address(instruction);
            builder.emit_memory(code, VectorReg::T0.0, address);
            Some(VectorReg::T0)
        }
        _ => None,
    }
}

fn lane_operation(mnemonic: Mnemonic) -> Option<(Kind, Shape)> {
    use Mnemonic::*;
    use Shape::{PackedDouble as Pd, PackedSingle as Ps, ScalarDouble as Sd, ScalarSingle as Ss};
    Some(match mnemonic {
        Addss => (Kind::Add, Ss),
        Addsd => (Kind::Add, Sd),
        Addps => (Kind::Add, Ps),
        Addpd => (Kind::Add, Pd),
        Subss => (Kind::Subtract, Ss),
        Subsd => (Kind::Subtract, Sd),
        Subps => (Kind::Subtract, Ps),
        Subpd => (Kind::Subtract, Pd),
        Mulss => (Kind::Multiply, Ss),
        Mulsd => (Kind::Multiply, Sd),
        Mulps => (Kind::Multiply, Ps),
        Mulpd => (Kind::Multiply, Pd),
        Divss => (Kind::Divide, Ss),
        Divsd => (Kind::Divide, Sd),
        Divps => (Kind::Divide, Ps),
        Divpd => (Kind::Divide, Pd),
        Sqrtss => (Kind::SquareRoot, Ss),
        Sqrtsd => (Kind::SquareRoot, Sd),
        Sqrtps => (Kind::SquareRoot, Ps),
        Sqrtpd => (Kind::SquareRoot, Pd),
        Minss => (Kind::Minimum, Ss),
        Minsd => (Kind::Minimum, Sd),
        Minps => (Kind::Minimum, Ps),
        Minpd => (Kind::Minimum, Pd),
        Maxss => (Kind::Maximum, Ss),
        Maxsd => (Kind::Maximum, Sd),
        Maxps => (Kind::Maximum, Ps),
        Maxpd => (Kind::Maximum, Pd),
        Cmpss => (Kind::Compare, Ss),
        Cmpsd => (Kind::Compare, Sd),
        Cmpps => (Kind::Compare, Ps),
        Cmppd => (Kind::Compare, Pd),
        Comiss => (Kind::CompareOrdered, Ss),
        Comisd => (Kind::CompareOrdered, Sd),
        Ucomiss => (Kind::CompareUnordered, Ss),
        Ucomisd => (Kind::CompareUnordered, Sd),
        _ => return None,
    })
}
