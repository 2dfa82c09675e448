//! Compiled code in the browser: it does what the interpreter does, and the figures tell of it.

use crate::host::{ENGINES, Guest, Setup};
use crate::program::{Program, SCRATCH};
use iced_x86::code_asm::{byte_ptr, eax, ebx, ecx, esi, qword_ptr, rax, rbx, rcx, rdi};
use wasm_bindgen_test::wasm_bindgen_test;

/// Times around a loop: enough for `auto` to find it hot and to compile it.
const ROUNDS: u32 = 2_000_000;

/// What a program that ends well prints, with the machine that it ran on.
fn printed_by(kernel: &[u8], engine: &'static str) -> (Vec<u8>, Guest) {
    let mut guest = Setup::new(kernel.to_vec()).on(engine).start();
    assert_eq!(guest.run_to_end(), "exited", "{engine}");
    (guest.serial.take(), guest)
}

/// Adds to a number in memory again and again, and prints it.
fn sum() -> Vec<u8> {
    let mut program = Program::new();
    let assembler = &mut program.assembler;
    let mut again = assembler.create_label();
    assembler.mov(rdi, SCRATCH).unwrap();
    assembler.mov(ecx, ROUNDS as i32).unwrap();
    assembler.set_label(&mut again).unwrap();
    assembler.mov(rax, qword_ptr(rdi)).unwrap();
    assembler.lea(rax, rax + rcx * 2 + 1).unwrap();
    assembler.mov(qword_ptr(rdi), rax).unwrap();
    assembler.dec(ecx).unwrap();
    assembler.jne(again).unwrap();
    assembler.mov(rbx, qword_ptr(rdi)).unwrap();
    program.print_rbx().exit(0).finish()
}

#[wasm_bindgen_test]
fn every_engine_comes_to_the_same_result_in_as_many_instructions() {
    let kernel = sum();
    let rounds = u64::from(ROUNDS);
    let expected = rounds * (rounds + 1) + rounds;
    let counts = ENGINES.map(|engine| {
        let (printed, guest) = printed_by(&kernel, engine);
        assert_eq!(printed, expected.to_le_bytes(), "{engine}");
        guest.figure("instructions")
    });
    assert!(counts.iter().all(|&count| count == counts[0]), "{ENGINES:?}: {counts:?}");
}

#[wasm_bindgen_test]
fn the_figures_tell_what_was_compiled() {
    let kernel = sum();
    let all = [
        "modulesCompiled",
        "regionsCompiled",
        "codeBytesCompiled",
        "instructionsCompiled",
        "compiledEntries",
    ];
    let (_, interpreted) = printed_by(&kernel, "interp");
    for name in all.iter().chain(&["compiledInstructions"]) {
        assert_eq!(interpreted.figure(name), 0.0, "{name}");
    }
    for engine in ["auto", "jit"] {
        let (_, guest) = printed_by(&kernel, engine);
        for name in all {
            assert!(guest.figure(name) > 0.0, "{engine}: {name}");
        }
        let (compiled, retired) = (guest.figure("compiledInstructions"), guest.figure("instructions"));
        assert!(compiled > retired / 2.0 && compiled <= retired, "{engine}: {compiled} of {retired}");
        assert!(guest.figure("modules") <= guest.figure("modulesCompiled"), "{engine}");
        assert!(guest.figure("regions") <= guest.figure("regionsCompiled"), "{engine}");
    }
}

/// Runs a loop, gives the instruction in it another operand, and runs it again; prints the sum.
fn changed_sum() -> Vec<u8> {
    let mut program = Program::new();
    let assembler = &mut program.assembler;
    let (mut run, mut again, mut end) =
        (assembler.create_label(), assembler.create_label(), assembler.create_label());
    assembler.xor(ebx, ebx).unwrap();
    assembler.xor(esi, esi).unwrap();
    assembler.set_label(&mut run).unwrap();
    assembler.mov(ecx, ROUNDS as i32).unwrap();
    assembler.set_label(&mut again).unwrap();
    // B8: MOV EAX with an immediate operand behind one byte of opcode.
    assembler.mov(eax, 1).unwrap();
    assembler.add(rbx, rax).unwrap();
    assembler.dec(ecx).unwrap();
    assembler.jne(again).unwrap();
    assembler.inc(esi).unwrap();
    assembler.cmp(esi, 2).unwrap();
    assembler.je(end).unwrap();
    assembler.lea(rdi, qword_ptr(again)).unwrap();
    assembler.mov(byte_ptr(rdi + 1), 100).unwrap();
    assembler.jmp(run).unwrap();
    assembler.set_label(&mut end).unwrap();
    program.print_rbx().exit(0).finish()
}

#[wasm_bindgen_test]
fn code_that_the_program_changes_is_not_run_as_it_was() {
    let kernel = changed_sum();
    for engine in ENGINES {
        let (printed, _) = printed_by(&kernel, engine);
        assert_eq!(printed, (u64::from(ROUNDS) * 101).to_le_bytes(), "{engine}");
    }
}
