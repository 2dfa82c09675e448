//! AES-NI, PCLMULQDQ and SHA (SDM vol. 2 by mnemonic; FIPS 197 and 180-4).

mod aes;
mod sha;

use super::CRYPTO_OPERATION;
use super::avx;
use super::integer::source;
use crate::cpu::lift::{Builder, Lifted};
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, OpCode, VectorReg};
use iced_x86::{EncodingKind, Instruction, Mnemonic as M, OpKind};

/// What a vector operation does, on the low 128 bits of `b` and `c` into `a`, with the immediate byte in `d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Operation {
    AesEncrypt,
    AesEncryptLast,
    AesDecrypt,
    AesDecryptLast,
    /// Of `c`.
    AesInverseMixColumns,
    /// Of `c`.
    AesKeyAssist,
    CarrylessMultiply,
    Sha1FourRounds,
    Sha1NextE,
    Sha1Schedule1,
    Sha1Schedule2,
    /// With XMM0.
    Sha256TwoRounds,
    Sha256Schedule1,
    Sha256Schedule2,
}

impl Operation {
    const ALL: [Self; 14] = [
        Self::AesEncrypt,
        Self::AesEncryptLast,
        Self::AesDecrypt,
        Self::AesDecryptLast,
        Self::AesInverseMixColumns,
        Self::AesKeyAssist,
        Self::CarrylessMultiply,
        Self::Sha1FourRounds,
        Self::Sha1NextE,
        Self::Sha1Schedule1,
        Self::Sha1Schedule2,
        Self::Sha256TwoRounds,
        Self::Sha256Schedule1,
        Self::Sha256Schedule2,
    ];

    fn of(mnemonic: M) -> Option<Self> {
        Some(match mnemonic {
            M::Aesenc | M::Vaesenc => Self::AesEncrypt,
            M::Aesenclast | M::Vaesenclast => Self::AesEncryptLast,
            M::Aesdec | M::Vaesdec => Self::AesDecrypt,
            M::Aesdeclast | M::Vaesdeclast => Self::AesDecryptLast,
            M::Aesimc | M::Vaesimc => Self::AesInverseMixColumns,
            M::Aeskeygenassist | M::Vaeskeygenassist => Self::AesKeyAssist,
            M::Pclmulqdq | M::Vpclmulqdq => Self::CarrylessMultiply,
            M::Sha1rnds4 => Self::Sha1FourRounds,
            M::Sha1nexte => Self::Sha1NextE,
            M::Sha1msg1 => Self::Sha1Schedule1,
            M::Sha1msg2 => Self::Sha1Schedule2,
            M::Sha256rnds2 => Self::Sha256TwoRounds,
            M::Sha256msg1 => Self::Sha256Schedule1,
            M::Sha256msg2 => Self::Sha256Schedule2,
            _ => return None,
        })
    }

    const fn number(self) -> i32 {
        CRYPTO_OPERATION | self as i32
    }
}

/// Lifts the legacy instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    if instruction.encoding() != EncodingKind::Legacy {
        return None;
    }
    let operation = Operation::of(instruction.mnemonic())?;
    let source = source(builder, instruction);
    let target = avx::register(instruction, 0).0;
    let has_immediate = instruction.op_count() == 3 && instruction.op_kind(2) == OpKind::Immediate8;
    let immediate = if has_immediate { instruction.immediate8() } else { 0 };
    let op = Op {
        a: target,
        b: target,
        c: source.0,
        d: immediate,
        imm: operation.number(),
        ..builder.op(OpCode::Vector)
    };
    builder.emit(op);
    Some(Lifted::Continues)
}

/// Lifts the VEX form if it belongs here.
pub fn lift_vex(builder: &mut Builder, instruction: &Instruction) -> Option<()> {
    let operation = Operation::of(instruction.mnemonic())?;
    let count = avx::source_count(instruction);
    let source = avx::source(builder, instruction, count);
    let first = if count == 1 { source } else { avx::register(instruction, 1) };
    let immediate = if instruction.op_count() > count + 1 { instruction.immediate8() } else { 0 };
    let operands = [avx::register(instruction, 0).0, first.0, source.0, immediate];
    avx::emit(builder, false, operation.number(), operands);
    Some(())
}

/// The product of two polynomials over GF(2).
fn carryless_product(x: u64, y: u64) -> u128 {
    let x = u128::from(x);
    let mut multiples = [0; 16];
    for number in 1..16 {
        let half: u128 = multiples[number / 2] << 1;
        multiples[number] = if number & 1 != 0 { half ^ x } else { half };
    }
    (0..16).rev().fold(0, |product, place| product << 4 ^ multiples[(y >> (4 * place) & 15) as usize])
}

/// Runs a vector operation of this family.
#[inline(never)]
pub fn execute(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    use Operation as O;
    let Some(&operation) = O::ALL.get((op.imm ^ CRYPTO_OPERATION) as usize) else {
        return Err(Exception::InvalidOpcode);
    };
    let place = |number: u8| usize::from(number).min(VectorReg::COUNT - 1);
    let (x, y) = (vcpu.vectors[place(op.b)], vcpu.vectors[place(op.c)]);
    let (first, second) = (x.low(), y.low());
    let result = match operation {
        O::AesEncrypt => aes::encrypted(first) ^ second,
        O::AesEncryptLast => aes::encrypted_last(first) ^ second,
        O::AesDecrypt => aes::decrypted(first) ^ second,
        O::AesDecryptLast => aes::decrypted_last(first) ^ second,
        O::AesInverseMixColumns => aes::inverse_mixed_columns(second),
        O::AesKeyAssist => aes::key_assist(second, op.d),
        O::CarrylessMultiply => {
            carryless_product(x.0[usize::from(op.d & 1)], y.0[usize::from(op.d >> 4 & 1)])
        }
        O::Sha1FourRounds => sha::sha1_four_rounds(first, second, op.d),
        O::Sha1NextE => sha::sha1_next_e(first, second),
        O::Sha1Schedule1 => sha::sha1_schedule_1(first, second),
        O::Sha1Schedule2 => sha::sha1_schedule_2(first, second),
        O::Sha256TwoRounds => sha::sha256_two_rounds(first, second, vcpu.vectors[0].low()),
        O::Sha256Schedule1 => sha::sha256_schedule_1(first, second),
        O::Sha256Schedule2 => sha::sha256_schedule_2(first, second),
    };
    vcpu.vectors[place(op.a)].set_low(result);
    Ok(())
}
