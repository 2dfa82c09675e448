//! Loops of floating-point vectors, whose unchanging operands are looked at before the first round: on numbers that code is
//! made for first, and with others among them.

use crate::computer::{Computer, DATA, Executor, Program};
use crate::random::Random;
use dinghy::cpu::Numbers;
use dinghy::jit::EngineOptions;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Bytes of each of the two arrays.
const BYTES: usize = 0x600;

/// A number near 1, or now and then something else.
fn number(random: &mut Random, is_double: bool, has_others: bool) -> u64 {
    let shift = if is_double { 32 } else { 0 };
    let exponent =
        if is_double { (1023 - 8 + random.below(16)) << 20 } else { (127 - 8 + random.below(16)) << 23 };
    let sign = random.next() & 1 << 31;
    let high = if has_others && random.one_in(40) {
        let mantissa = random.next() & 0xfffff;
        let others = if is_double {
            [0, 0, 0, mantissa, 1 << 20, 0x7fe0_0000, 0x7ff0_0000, 0x7ff0_0001, 0x2000_0000 | mantissa]
        } else {
            [0, 0, 0, mantissa, 1 << 23, 0x7f00_0000, 0x7f80_0000, 0x7f80_0001, 0x0800_0000 | mantissa]
        };
        return (sign | random.pick(&others)) << shift;
    } else {
        exponent | random.next() & 0x7_ffff
    };
    (sign | high) << shift | if is_double { random.next() & 0xffff_ffff } else { 0 }
}

fn doubles(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.vmulpd(ymm0, ymm3, ymmword_ptr(rsi + rax))?;
    a.vaddpd(ymm0, ymm0, ymmword_ptr(rdi + rax))?;
    a.vmovupd(ymmword_ptr(rdi + rax), ymm0)?;
    a.vfmadd231pd(ymm4, ymm5, ymm0)?;
    a.vsubpd(ymm6, ymm6, ymm5)?;
    a.vmulpd(ymm7, ymm0, ymm0)
}

fn singles(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.vmovups(ymm0, ymmword_ptr(rsi + rax))?;
    a.vmulps(ymm1, ymm0, ymm3)?;
    a.vsubps(ymm1, ymm1, ymmword_ptr(rdi + rax))?;
    a.vfnmadd213ps(ymm0, ymm5, ymm1)?;
    a.vdivps(ymm2, ymm1, ymm5)?;
    a.vmovups(ymmword_ptr(rdi + rax), ymm0)
}

fn low_doubles(a: &mut CodeAssembler) -> Result<(), IcedError> {
    a.vmovsd(xmm0, qword_ptr(rsi + rax))?;
    a.vmulsd(xmm1, xmm0, xmm3)?;
    a.vaddsd(xmm4, xmm4, xmm1)?;
    a.vfmadd231sd(xmm5, xmm1, xmm3)?;
    a.vmovsd(qword_ptr(rdi + rax), xmm4)
}

type Body = fn(&mut CodeAssembler) -> Result<(), IcedError>;

fn program(body: Body) -> Program {
    Program::new(|a| {
        let mut write = || -> Result<(), IcedError> {
            a.mov(rsi, DATA)?;
            a.lea(rdi, qword_ptr(rsi + BYTES as i32))?;
            a.mov(rcx, 5u64)?;
            let mut rounds = a.create_label();
            a.set_label(&mut rounds)?;
            a.vmovups(ymm3, ymmword_ptr(rsi + 2 * BYTES as i32))?;
            a.vmovups(ymm5, ymmword_ptr(rsi + (2 * BYTES + 32) as i32))?;
            a.xor(eax, eax)?;
            let mut again = a.create_label();
            a.set_label(&mut again)?;
            body(a)?;
            a.add(rax, 32)?;
            a.cmp(rax, BYTES as i32)?;
            a.jne(again)?;
            a.dec(rcx)?;
            a.jne(rounds)?;
            a.hlt()
        };
        write().unwrap();
    })
}

#[test]
fn loops_agree_with_the_interpreter_whatever_numbers_they_meet() {
    let mut random = Random::new(0x100b);
    let mut compiled = 0;
    for (body, is_double) in [(doubles as Body, true), (singles, false), (low_doubles, true)] {
        for round in 0..12 {
            let mut program = program(body);
            let lanes = (2 * BYTES + 64) / if is_double { 8 } else { 4 };
            for _ in 0..lanes {
                let bytes = number(&mut random, is_double, round % 4 != 0).to_le_bytes();
                program.data.extend(&bytes[..if is_double { 8 } else { 4 }]);
            }
            let expected = Computer::new(Executor::Interpreter).run_program(&program);
            for numbers in [Numbers::Normal, Numbers::OrZero, Numbers::Any] {
                let options =
                    EngineOptions { threshold: 3, batch: 1, patience: 0, numbers, ..EngineOptions::AUTO };
                let mut computer = Computer::new(Executor::Compiled(options));
                let found = computer.run_program(&program);
                if let Some(difference) = expected.difference(&found) {
                    panic!(
                        "double {is_double}, round {round}, {numbers:?}: interpreted and compiled\n{difference}"
                    );
                }
                compiled += computer.engine().instructions;
            }
        }
    }
    assert!(compiled > 100_000, "{compiled}");
}
