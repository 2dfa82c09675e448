//! From instructions to vector operations.

use super::Operation as O;
use crate::cpu::HelperId;
use crate::cpu::lift::{Builder, Lifted};
use crate::ir::{Op, OpCode, Reg, VectorReg, Width};
use iced_x86::{EncodingKind, Instruction, Mnemonic as M, OpKind, Register};

/// Loads MXCSR from integer register `a`.
pub const LOAD_CONTROL: HelperId = HelperId::float(2);
/// Integer register `a` = MXCSR.
pub const STORE_CONTROL: HelperId = HelperId::float(3);

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
pub fn operation(mnemonic: M, instruction: &Instruction) -> Option<(O, u8)> {
    let plain = |operation: O| (operation, 0);
    // The legacy forms ignore the bits above those of their predicates.
    let predicate =
        || instruction.immediate8() & if instruction.encoding() == EncodingKind::Legacy { 7 } else { 31 };
    let with_immediate = |operation: O| (operation, instruction.immediate8());
    Some(match mnemonic {
        M::Addss | M::Vaddss => plain(O::AddSs),
        M::Addsd | M::Vaddsd => plain(O::AddSd),
        M::Addps | M::Vaddps => plain(O::AddPs),
        M::Addpd | M::Vaddpd => plain(O::AddPd),
        M::Subss | M::Vsubss => plain(O::SubtractSs),
        M::Subsd | M::Vsubsd => plain(O::SubtractSd),
        M::Subps | M::Vsubps => plain(O::SubtractPs),
        M::Subpd | M::Vsubpd => plain(O::SubtractPd),
        M::Mulss | M::Vmulss => plain(O::MultiplySs),
        M::Mulsd | M::Vmulsd => plain(O::MultiplySd),
        M::Mulps | M::Vmulps => plain(O::MultiplyPs),
        M::Mulpd | M::Vmulpd => plain(O::MultiplyPd),
        M::Divss | M::Vdivss => plain(O::DivideSs),
        M::Divsd | M::Vdivsd => plain(O::DivideSd),
        M::Divps | M::Vdivps => plain(O::DividePs),
        M::Divpd | M::Vdivpd => plain(O::DividePd),
        M::Minss | M::Vminss => plain(O::MinimumSs),
        M::Minsd | M::Vminsd => plain(O::MinimumSd),
        M::Minps | M::Vminps => plain(O::MinimumPs),
        M::Minpd | M::Vminpd => plain(O::MinimumPd),
        M::Maxss | M::Vmaxss => plain(O::MaximumSs),
        M::Maxsd | M::Vmaxsd => plain(O::MaximumSd),
        M::Maxps | M::Vmaxps => plain(O::MaximumPs),
        M::Maxpd | M::Vmaxpd => plain(O::MaximumPd),
        M::Sqrtss | M::Vsqrtss => plain(O::SquareRootSs),
        M::Sqrtsd | M::Vsqrtsd => plain(O::SquareRootSd),
        M::Sqrtps | M::Vsqrtps => plain(O::SquareRootPs),
        M::Sqrtpd | M::Vsqrtpd => plain(O::SquareRootPd),
        M::Cmpss | M::Vcmpss => (O::CompareSs, predicate()),
        M::Cmpsd if instruction.op_count() == 3 => (O::CompareSd, predicate()),
        M::Vcmpsd => (O::CompareSd, predicate()),
        M::Cmpps | M::Vcmpps => (O::ComparePs, predicate()),
        M::Cmppd | M::Vcmppd => (O::ComparePd, predicate()),
        M::Comiss | M::Vcomiss => plain(O::FlagsSs),
        M::Comisd | M::Vcomisd => plain(O::FlagsSd),
        M::Ucomiss | M::Vucomiss => (O::FlagsSs, 1),
        M::Ucomisd | M::Vucomisd => (O::FlagsSd, 1),
        M::Addsubps | M::Vaddsubps => plain(O::AddSubtractPs),
        M::Addsubpd | M::Vaddsubpd => plain(O::AddSubtractPd),
        M::Haddps | M::Vhaddps => plain(O::HorizontalAddPs),
        M::Haddpd | M::Vhaddpd => plain(O::HorizontalAddPd),
        M::Hsubps | M::Vhsubps => plain(O::HorizontalSubtractPs),
        M::Hsubpd | M::Vhsubpd => plain(O::HorizontalSubtractPd),
        M::Dpps | M::Vdpps => with_immediate(O::DotProductPs),
        M::Dppd | M::Vdppd => with_immediate(O::DotProductPd),
        M::Roundss | M::Vroundss => with_immediate(O::RoundSs),
        M::Roundsd | M::Vroundsd => with_immediate(O::RoundSd),
        M::Roundps | M::Vroundps => with_immediate(O::RoundPs),
        M::Roundpd | M::Vroundpd => with_immediate(O::RoundPd),
        M::Rcpss | M::Vrcpss => plain(O::ReciprocalSs),
        M::Rcpps | M::Vrcpps => plain(O::ReciprocalPs),
        M::Rsqrtss | M::Vrsqrtss => plain(O::ReciprocalRootSs),
        M::Rsqrtps | M::Vrsqrtps => plain(O::ReciprocalRootPs),
        M::Cvtss2sd | M::Vcvtss2sd => plain(O::SsToSd),
        M::Cvtsd2ss | M::Vcvtsd2ss => plain(O::SdToSs),
        M::Cvtps2pd | M::Vcvtps2pd => plain(O::PsToPd),
        M::Cvtpd2ps | M::Vcvtpd2ps => plain(O::PdToPs),
        M::Cvtdq2ps | M::Vcvtdq2ps => plain(O::DqToPs),
        M::Cvtdq2pd | M::Vcvtdq2pd => plain(O::DqToPd),
        M::Cvtps2dq | M::Vcvtps2dq => plain(O::PsToDq),
        M::Cvttps2dq | M::Vcvttps2dq => (O::PsToDq, 1),
        M::Cvtpd2dq | M::Vcvtpd2dq => plain(O::PdToDq),
        M::Cvttpd2dq | M::Vcvttpd2dq => (O::PdToDq, 1),
        _ => return None,
    })
}
