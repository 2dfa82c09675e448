//! From instructions to vector operations.

use super::Operation as O;
use crate::cpu::HelperId;
use crate::cpu::lift::{Builder, Lifted};
use crate::ir::{Op, OpCode, Reg, VectorReg, Width};
use iced_x86::{EncodingKind, Instruction, Mnemonic as M, OpKind, Register};

const LOAD_CONTROL: HelperId = HelperId::float(2);
const STORE_CONTROL: HelperId = HelperId::float(3);

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let has_mmx_register = (0..instruction.op_count()).any(|operand| {
        instruction.op_kind(operand) == OpKind::Register && instruction.op_register(operand).is_mm()
    });
    if instruction.encoding() != EncodingKind::Legacy || has_mmx_register {
        return None;
    }
    match instruction.mnemonic() {
        M::Ldmxcsr => {
            let address = builder.address(instruction);
            builder.load(Width::W32, Reg::T4, address);
            builder.call(LOAD_CONTROL, [Reg::T4.0, 0, 0, 0]);
        }
        M::Stmxcsr => {
            builder.call(STORE_CONTROL, [Reg::T4.0, 0, 0, 0]);
            let address = builder.address(instruction);
            builder.store(Width::W32, Reg::T4, address);
        }
        M::Cvtsi2ss => from_integer(builder, instruction, O::SiToSs)?,
        M::Cvtsi2sd => from_integer(builder, instruction, O::SiToSd)?,
        M::Cvtss2si => to_integer(builder, instruction, O::SsToSi, 0)?,
        M::Cvttss2si => to_integer(builder, instruction, O::SsToSi, 2)?,
        M::Cvtsd2si => to_integer(builder, instruction, O::SdToSi, 0)?,
        M::Cvttsd2si => to_integer(builder, instruction, O::SdToSi, 2)?,
        mnemonic => {
            let (operation, immediate) = operation(mnemonic, instruction)?;
            // MOVSD and CMPSD have string instructions of their names.
            if !instruction.op0_register().is_xmm() {
                return None;
            }
            let source = source(builder, instruction)?;
            emit(builder, operation, Builder::vector_reg(instruction.op0_register()).0, source.0, immediate);
        }
    }
    Some(Lifted::Continues)
}

fn emit(builder: &mut Builder, operation: O, a: u8, c: u8, d: u8) {
    let op = Op { a, c, d, imm: operation.number(), ..builder.op(OpCode::Vector) };
    builder.emit(op);
}

/// The second operand: its register, or T0 after loading it there.
fn source(builder: &mut Builder, instruction: &Instruction) -> Option<VectorReg> {
    if instruction.op_kind(1) == OpKind::Register {
        return instruction.op1_register().is_xmm().then(|| Builder::vector_reg(instruction.op1_register()));
    }
    let code = match Builder::memory_bytes(instruction) {
        4 => OpCode::VectorLoad32,
        8 => OpCode::VectorLoad64,
        16 => OpCode::VectorLoad128Aligned,
        _ => return None,
    };
    let address = builder.address(instruction);
    builder.emit_memory(code, VectorReg::T0.0, address);
    Some(VectorReg::T0)
}

fn from_integer(builder: &mut Builder, instruction: &Instruction, operation: O) -> Option<()> {
    let bytes = match instruction.op_kind(1) {
        OpKind::Register => instruction.op1_register().size(),
        _ => Builder::memory_bytes(instruction),
    };
    let width = Width::from_bytes(bytes)?;
    let source = builder.source(instruction, 1, width, Reg::T4);
    let op = Op {
        a: Builder::vector_reg(instruction.op0_register()).0,
        b: source.0,
        d: u8::from(width == Width::W64),
        imm: operation.number(),
        ..builder.op(OpCode::Vector)
    };
    builder.emit(op);
    Some(())
}

fn to_integer(builder: &mut Builder, instruction: &Instruction, operation: O, truncates: u8) -> Option<()> {
    let target: Register = instruction.op0_register();
    let source = source(builder, instruction)?;
    let is_64 = u8::from(target.size() == 8);
    emit(builder, operation, Builder::reg(target).0, source.0, is_64 | truncates);
    Some(())
}

/// The vector operation of an instruction, and its immediate byte.
fn operation(mnemonic: M, instruction: &Instruction) -> Option<(O, u8)> {
    let plain = |operation: O| (operation, 0);
    let with_immediate = |operation: O| (operation, instruction.immediate8());
    Some(match mnemonic {
        M::Addss => plain(O::AddSs),
        M::Addsd => plain(O::AddSd),
        M::Addps => plain(O::AddPs),
        M::Addpd => plain(O::AddPd),
        M::Subss => plain(O::SubtractSs),
        M::Subsd => plain(O::SubtractSd),
        M::Subps => plain(O::SubtractPs),
        M::Subpd => plain(O::SubtractPd),
        M::Mulss => plain(O::MultiplySs),
        M::Mulsd => plain(O::MultiplySd),
        M::Mulps => plain(O::MultiplyPs),
        M::Mulpd => plain(O::MultiplyPd),
        M::Divss => plain(O::DivideSs),
        M::Divsd => plain(O::DivideSd),
        M::Divps => plain(O::DividePs),
        M::Divpd => plain(O::DividePd),
        M::Minss => plain(O::MinimumSs),
        M::Minsd => plain(O::MinimumSd),
        M::Minps => plain(O::MinimumPs),
        M::Minpd => plain(O::MinimumPd),
        M::Maxss => plain(O::MaximumSs),
        M::Maxsd => plain(O::MaximumSd),
        M::Maxps => plain(O::MaximumPs),
        M::Maxpd => plain(O::MaximumPd),
        M::Sqrtss => plain(O::SquareRootSs),
        M::Sqrtsd => plain(O::SquareRootSd),
        M::Sqrtps => plain(O::SquareRootPs),
        M::Sqrtpd => plain(O::SquareRootPd),
        M::Cmpss => (O::CompareSs, instruction.immediate8() & 7),
        M::Cmpsd if instruction.op_count() == 3 => (O::CompareSd, instruction.immediate8() & 7),
        M::Cmpps => (O::ComparePs, instruction.immediate8() & 7),
        M::Cmppd => (O::ComparePd, instruction.immediate8() & 7),
        M::Comiss => plain(O::FlagsSs),
        M::Comisd => plain(O::FlagsSd),
        M::Ucomiss => (O::FlagsSs, 1),
        M::Ucomisd => (O::FlagsSd, 1),
        M::Addsubps => plain(O::AddSubtractPs),
        M::Addsubpd => plain(O::AddSubtractPd),
        M::Haddps => plain(O::HorizontalAddPs),
        M::Haddpd => plain(O::HorizontalAddPd),
        M::Hsubps => plain(O::HorizontalSubtractPs),
        M::Hsubpd => plain(O::HorizontalSubtractPd),
        M::Dpps => with_immediate(O::DotProductPs),
        M::Dppd => with_immediate(O::DotProductPd),
        M::Roundss => with_immediate(O::RoundSs),
        M::Roundsd => with_immediate(O::RoundSd),
        M::Roundps => with_immediate(O::RoundPs),
        M::Roundpd => with_immediate(O::RoundPd),
        M::Rcpss => plain(O::ReciprocalSs),
        M::Rcpps => plain(O::ReciprocalPs),
        M::Rsqrtss => plain(O::ReciprocalRootSs),
        M::Rsqrtps => plain(O::ReciprocalRootPs),
        M::Cvtss2sd => plain(O::SsToSd),
        M::Cvtsd2ss => plain(O::SdToSs),
        M::Cvtps2pd => plain(O::PsToPd),
        M::Cvtpd2ps => plain(O::PdToPs),
        M::Cvtdq2ps => plain(O::DqToPs),
        M::Cvtdq2pd => plain(O::DqToPd),
        M::Cvtps2dq => plain(O::PsToDq),
        M::Cvttps2dq => (O::PsToDq, 1),
        M::Cvtpd2dq => plain(O::PdToDq),
        M::Cvttpd2dq => (O::PdToDq, 1),
        _ => return None,
    })
}
