//! What is emitted for each family of instructions, as text with its size: `golden/NAME.wat`.
//!
//! A change of the emitter shows up in review as a change of these files. `DINGHY_BLESS=1` writes them anew.

use crate::computer::{CODE, Computer, DATA, Program};
use crate::host::WasmtimeHost;
use dinghy::host::{CodeError, CodeHost, CodeInstance, HelperFunction, RelaxedSimd};
use dinghy::ir::Reg;
use dinghy::jit::EngineOptions;
use iced_x86::code_asm::*;
use iced_x86::{Decoder, DecoderOptions, Formatter, IcedError, IntelFormatter};
use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Keeps what is installed.
struct Recorder {
    inner: WasmtimeHost,
    modules: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl CodeHost for Recorder {
    fn has_shared_memory(&self) -> bool {
        self.inner.has_shared_memory()
    }
    fn relaxed_simd(&self) -> RelaxedSimd {
        // Whatever this host has.
        RelaxedSimd { fuses: true, swizzles: true, selects: true }
    }
    fn helper(&mut self, function: HelperFunction) -> Result<u32, CodeError> {
        self.inner.helper(function)
    }
    fn grow(&mut self, count: u32) -> Result<u32, CodeError> {
        self.inner.grow(count)
    }
    fn install(&mut self, module: &[u8], first_slot: u32) -> Result<CodeInstance, CodeError> {
        self.modules.lock().unwrap().push(module.to_vec());
        self.inner.install(module, first_slot)
    }
    fn remove(&mut self, instance: CodeInstance, first_slot: u32, count: u32) {
        self.inner.remove(instance, first_slot, count);
    }
    fn settle(&mut self) {
        self.inner.settle();
    }
    fn seconds(&self) -> f64 {
        self.inner.seconds()
    }
    unsafe fn call(&mut self, function: u32, vcpu: *mut u8, rip: u64) -> u64 {
        // SAFETY: the caller's promise is the inner host's condition.
        unsafe { self.inner.call(function, vcpu, rip) }
    }
}

/// Executions of the first block before it is compiled: the rest of the code is translated by then.
const ROUNDS: i32 = 3;

/// Code that ends with `HLT`, and the module that it becomes. RBX, RSI and RDI point to data; RCX is even and odd in
/// turn, for both ways of a branch to be known when the region is discovered.
fn module(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> (Vec<u8>, Vec<u8>) {
    let mut program = Program::new(|a| write(a).unwrap());
    program.general[3] = DATA;
    program.general[6] = DATA + 0x400;
    program.general[7] = DATA + 0x800;
    let modules = Arc::new(Mutex::new(Vec::new()));
    let recorded = modules.clone();
    let options = EngineOptions { threshold: ROUNDS, batch: 1, patience: u64::MAX, ..EngineOptions::AUTO };
    let mut computer = Computer::with_host(options, |inner| Box::new(Recorder { inner, modules: recorded }));
    computer.start(&program);
    // What every engine installs at its start.
    modules.lock().unwrap().clear();
    // Other blocks of the code, loops above all, may become hot no sooner than its first one.
    for round in 0..=ROUNDS {
        if !modules.lock().unwrap().is_empty() {
            break;
        }
        computer.set_register(Reg::RCX, 4 + round as u64 % 2);
        computer.enter(CODE);
        computer.run_to_halt();
    }
    let modules = modules.lock().unwrap();
    (program.code, modules.first().expect("the code has been compiled").clone())
}

/// The functions of a module, without the frame that is the same for all.
fn text(code: &[u8], module: &[u8]) -> String {
    let printed = wasmprinter::print_bytes(module).unwrap();
    let functions: Vec<&str> = printed
        .lines()
        .skip_while(|line| !line.starts_with("  (func "))
        .take_while(|line| *line != ")")
        .collect();
    assert!(!functions.is_empty(), "{printed}");
    let mut text = format!(";; a module of {} bytes for {} bytes of code\n", module.len(), code.len());
    let mut formatter = IntelFormatter::new();
    for instruction in &mut Decoder::with_ip(64, code, 0, DecoderOptions::NONE) {
        let mut line = String::new();
        formatter.format(&instruction, &mut line);
        writeln!(text, ";;   {line}").unwrap();
    }
    for line in functions {
        writeln!(text, "{line}").unwrap();
    }
    text
}

/// The lines around the first difference.
fn difference(expected: &str, found: &str) -> String {
    let (expected, found): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), found.lines().collect());
    let common_start = expected.iter().zip(&found).take_while(|(one, other)| one == other).count();
    let longest_end = expected.len().min(found.len()) - common_start;
    let pairs = expected.iter().rev().zip(found.iter().rev());
    let common_end = pairs.take(longest_end).take_while(|(one, other)| one == other).count();
    let mut text = String::new();
    for line in &expected[common_start.saturating_sub(3)..common_start] {
        writeln!(text, "    {line}").unwrap();
    }
    for line in &expected[common_start..expected.len() - common_end] {
        writeln!(text, "  - {line}").unwrap();
    }
    for line in &found[common_start..found.len() - common_end] {
        writeln!(text, "  + {line}").unwrap();
    }
    text
}

fn check(name: &str, write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) {
    let (code, module) = module(write);
    let found = text(&code, &module);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jit/golden").join(format!("{name}.wat"));
    if std::env::var_os("DINGHY_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
        return;
    }
    let expected =
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(
        expected == found,
        "{name}: {} became {}; DINGHY_BLESS=1 accepts it\n{}",
        expected.lines().next().unwrap_or_default(),
        found.lines().next().unwrap_or_default(),
        difference(&expected, &found)
    );
}

#[test]
fn moves() {
    check("mov", |a| {
        a.mov(rax, rdx)?;
        a.mov(ecx, edx)?;
        a.mov(si, dx)?;
        a.mov(ah, dl)?;
        a.mov(r8, 0x1234_5678_9abc_u64)?;
        a.movzx(r9d, dl)?;
        a.movsxd(r10, edx)?;
        a.xchg(r11, rdx)?;
        a.bswap(rdi)?;
        a.hlt()
    });
}

#[test]
fn loads() {
    check("load", |a| {
        a.mov(rax, qword_ptr(rbx + 8))?;
        a.movzx(edx, byte_ptr(rbx + rcx * 4 - 3))?;
        a.movsx(r8, word_ptr(rbx))?;
        a.lea(r9, ptr(rbx + rcx * 8 + 5))?;
        a.hlt()
    });
}

#[test]
fn stores() {
    check("store", |a| {
        a.mov(qword_ptr(rbx + 8), rax)?;
        a.mov(byte_ptr(rbx + rcx), ah)?;
        a.mov(dword_ptr(rbx), 7)?;
        a.hlt()
    });
}

#[test]
fn the_stack() {
    check("push", |a| {
        a.push(rax)?;
        a.push(5)?;
        a.push(qword_ptr(rbx))?;
        a.pop(rcx)?;
        a.pop(rdx)?;
        a.pop(rsi)?;
        a.hlt()
    });
}

#[test]
fn arithmetic() {
    check("alu", |a| {
        a.add(rax, rdx)?;
        a.adc(rsi, 5)?;
        a.sub(ecx, edx)?;
        a.sbb(r8, r9)?;
        a.xor(r10w, 0x55)?;
        a.and(dl, 0xf)?;
        a.inc(r11)?;
        a.neg(rdi)?;
        a.not(rbp)?;
        a.cmp(rax, rdx)?;
        a.hlt()
    });
}

#[test]
fn arithmetic_on_memory() {
    check("alu_memory", |a| {
        a.add(qword_ptr(rbx), rax)?;
        a.or(byte_ptr(rbx + 9), 0x40)?;
        a.sub(rdx, qword_ptr(rbx + 16))?;
        a.dec(dword_ptr(rbx + 24))?;
        a.hlt()
    });
}

#[test]
fn shifts() {
    check("shift", |a| {
        a.shl(rax, 5)?;
        a.shr(edx, 3)?;
        a.sar(rsi, cl)?;
        a.shld(r8, r9, 7)?;
        a.hlt()
    });
}

#[test]
fn rotates() {
    check("rotate", |a| {
        a.rol(rax, 5)?;
        a.ror(edx, 3)?;
        a.rol(si, cl)?;
        a.hlt()
    });
}

#[test]
fn multiplications() {
    check("imul", |a| {
        a.imul_2(rax, rdx)?;
        a.imul_3(esi, edx, 100)?;
        a.mul(r8)?;
        a.hlt()
    });
}

#[test]
fn divisions() {
    check("div", |a| {
        a.mul(rbx)?;
        a.div(r8)?;
        a.cdq()?;
        a.idiv(r9d)?;
        a.hlt()
    });
}

#[test]
fn locked_operations() {
    check("lock", |a| {
        a.lock().cmpxchg(qword_ptr(rbx), rcx)?;
        a.lock().xadd(dword_ptr(rbx + 8), edx)?;
        a.xchg(qword_ptr(rbx), rsi)?;
        a.lock().bts(qword_ptr(rbx), rcx)?;
        a.hlt()
    });
}

#[test]
fn bit_manipulation() {
    check("bmi", |a| {
        a.tzcnt(eax, edx)?;
        a.lzcnt(r8, r9)?;
        a.blsr(rsi, rdx)?;
        a.bzhi(edi, edx, ecx)?;
        a.vzeroupper()?;
        a.hlt()
    });
}

#[test]
fn strings_in_vectors() {
    check("pcmpistri", |a| {
        a.pcmpistri(xmm1, xmm2, 0)?;
        a.pcmpistri(xmm1, xmm2, 0x1a)?;
        a.hlt()
    });
}

#[test]
fn conditional_moves() {
    check("cmov", |a| {
        a.cmp(rax, rdx)?;
        a.cmovl(rsi, rdi)?;
        a.test(ecx, ecx)?;
        a.cmove(r8d, r9d)?;
        a.hlt()
    });
}

#[test]
fn conditions_as_bytes() {
    check("setcc", |a| {
        a.cmp(rax, rdx)?;
        a.setb(sil)?;
        a.setg(dil)?;
        a.sub(r8, r9)?;
        a.sets(cl)?;
        a.hlt()
    });
}

#[test]
fn a_branch() {
    check("branch", |a| {
        let (mut other, mut behind) = (a.create_label(), a.create_label());
        a.test(ecx, 1)?;
        a.jne(other)?;
        a.add(rax, 1)?;
        a.jmp(behind)?;
        a.set_label(&mut other)?;
        a.add(rax, 2)?;
        a.set_label(&mut behind)?;
        a.hlt()
    });
}

#[test]
fn a_loop_over_memory() {
    check("loop", |a| {
        let mut head = a.create_label();
        a.set_label(&mut head)?;
        a.add(rax, qword_ptr(rbx + rcx * 8))?;
        a.dec(rcx)?;
        a.jns(head)?;
        a.hlt()
    });
}

#[test]
fn a_call_and_a_return() {
    check("call", |a| {
        let mut callee = a.create_label();
        a.call(callee)?;
        a.inc(rdx)?;
        a.hlt()?;
        a.set_label(&mut callee)?;
        a.inc(rax)?;
        a.ret()
    });
}

#[test]
fn string_moves() {
    check("string", |a| {
        a.rep().movsq()?;
        a.lodsd()?;
        a.stosd()?;
        a.hlt()
    });
}

#[test]
fn wide_vectors() {
    check("wide_vectors", |a| {
        a.vmovups(ymm1, ymmword_ptr(rbx))?;
        a.vpaddd(ymm2, ymm1, ymm0)?;
        a.vaddps(ymm1, ymm1, ymm0)?;
        a.vextracti128(xmm3, ymm2, 1)?;
        a.vpmovzxbw(ymm4, xmm3)?;
        a.vmovups(ymmword_ptr(rsi), ymm1)?;
        a.hlt()
    });
}

#[test]
fn loop_of_products() {
    check("loop_of_products", |a| {
        let mut again = a.create_label();
        a.set_label(&mut again)?;
        a.vmulpd(ymm0, ymm3, ymmword_ptr(rsi))?;
        a.vaddpd(ymm0, ymm0, ymmword_ptr(rbx))?;
        a.vmovapd(ymmword_ptr(rbx), ymm0)?;
        a.dec(rcx)?;
        a.jne(again)?;
        a.hlt()
    });
}

#[test]
fn fused_singles() {
    check("fused_singles", |a| {
        a.vmovaps(xmm1, xmmword_ptr(rsi))?;
        a.vfnmsub213ps(xmm1, xmm0, xmmword_ptr(rbx))?;
        a.vmovaps(xmmword_ptr(rbx), xmm1)?;
        a.hlt()
    });
}

#[test]
fn vector_moves() {
    check("vector_moves", |a| {
        a.movaps(xmm1, xmm0)?;
        a.movups(xmm2, xmmword_ptr(rbx))?;
        a.movaps(xmmword_ptr(rbx + 16), xmm2)?;
        a.movq(xmm3, rax)?;
        a.movq(rdx, xmm3)?;
        a.movsd_2(xmm4, qword_ptr(rbx))?;
        a.hlt()
    });
}
