//! Code that changes while it is compiled, or while it runs.

use crate::computer::{
    CODE, CODE_FRAME, CODE_TABLE, Computer, Executor, PATCH_PORT, Program, RECOVERY, SPARE_FRAME, STACK_TOP,
    State, WRITABLE, assembled,
};
use dinghy::ir::Reg;
use dinghy::jit::EngineOptions;
use iced_x86::IcedError;
use iced_x86::code_asm::*;

/// Compiles early and often, what is hot too.
const WHEN_WARM: EngineOptions = EngineOptions { threshold: 3, batch: 1, patience: 0, ..EngineOptions::AUTO };
const IN_BATCHES: EngineOptions =
    EngineOptions { threshold: 8, batch: 4, patience: 100, ..EngineOptions::AUTO };

/// The second page of code.
const OTHER_PAGE: u64 = CODE + 0x1000;

/// What a program that all executors agree on has left.
struct Outcome {
    rax: u64,
    /// Instructions retired in code that was compiled when it was warm.
    compiled_warm: u64,
}

/// Runs a program by all executors, which must agree.
fn run(write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>) -> Outcome {
    run_with_other_page(write, &[])
}

/// As [`run`], with the bytes of the second page.
fn run_with_other_page(
    write: impl FnOnce(&mut CodeAssembler) -> Result<(), IcedError>,
    other_page: &[u8],
) -> Outcome {
    let mut program = Program::new(|a| write(a).unwrap());
    assert!(program.code.len() <= 0x1000);
    if !other_page.is_empty() {
        program.code.resize(0x1000, 0xcc);
        program.code.extend(other_page);
    }
    let (expected, compiled_warm) = agreed(&program);
    assert_eq!(expected.logged_exceptions(), 0);
    Outcome { rax: expected.general[0], compiled_warm }
}

/// Runs a program by all executors, which must agree: the state that it leaves, and the instructions retired in
/// code that was compiled when it was warm.
fn agreed(program: &Program) -> (State, u64) {
    let expected = Computer::new(Executor::Interpreter).run_program(program);
    let compiled = [(EngineOptions::AT_FIRST_SIGHT, u64::MAX), (WHEN_WARM, u64::MAX), (IN_BATCHES, 50)];
    let instructions = compiled.map(|(options, slice)| {
        let mut computer = Computer::new(Executor::Compiled(options));
        computer.start(program);
        computer.run(|| slice);
        if let Some(difference) = expected.difference(&computer.state()) {
            panic!("{options:?}: interpreted and compiled\n{difference}");
        }
        computer.engine().instructions
    });
    assert!(instructions[0] > 50, "{instructions:?}");
    (expected, instructions[1])
}

/// `ADD RAX, value`: four bytes, the value last.
fn add(a: &mut CodeAssembler, value: u8) -> Result<(), IcedError> {
    a.db(&[0x48, 0x83, 0xc0, value])
}

/// A function that adds to RAX.
fn adding_function(address: u64, value: u8) -> Vec<u8> {
    assembled(address, |a| {
        add(a, value).unwrap();
        a.ret().unwrap();
    })
}

#[test]
fn an_instruction_that_the_one_before_it_rewrites_runs_as_rewritten() {
    let outcome = run(|a| {
        let (mut head, mut behind) = (a.create_label(), a.create_label());
        a.lea(rdx, ptr(behind))?;
        a.mov(ecx, 100)?;
        a.set_label(&mut head)?;
        a.mov(byte_ptr(rdx - 1), cl)?;
        add(a, 0)?;
        a.set_label(&mut behind)?;
        a.dec(ecx)?;
        a.jne(head)?;
        a.hlt()
    });
    assert_eq!(outcome.rax, 5050);
}

#[test]
fn a_hot_loop_that_rewrites_what_it_has_just_run_goes_on_with_the_new_code() {
    let outcome = run(|a| {
        let (mut head, mut behind, mut skip) = (a.create_label(), a.create_label(), a.create_label());
        a.lea(rdx, ptr(behind))?;
        a.mov(ecx, 1000)?;
        a.set_label(&mut head)?;
        add(a, 1)?;
        a.set_label(&mut behind)?;
        a.cmp(ecx, 400)?;
        a.jne(skip)?;
        a.mov(byte_ptr(rdx - 1), 3)?;
        a.set_label(&mut skip)?;
        a.dec(ecx)?;
        a.jne(head)?;
        a.hlt()
    });
    assert_eq!(outcome.rax, 601 + 399 * 3);
    assert!(outcome.compiled_warm > 50);
}

/// How a program stores the low byte of R8 to the address in RDX.
type Store = fn(&mut CodeAssembler) -> Result<(), IcedError>;

const STORES: [(&str, Store); 9] = [
    ("mov", |a| a.mov(byte_ptr(rdx), r8b)),
    ("mov over the start", |a| {
        // The four bytes of the instruction as one, which reach into it from before.
        a.mov(r9d, dword_ptr(rdx - 3))?;
        a.and(r9d, 0xff_ffff)?;
        a.mov(r10d, r8d)?;
        a.shl(r10d, 24)?;
        a.or(r9d, r10d)?;
        a.mov(dword_ptr(rdx - 3), r9d)
    }),
    ("add", |a| {
        a.mov(r9b, r8b)?;
        a.sub(r9b, byte_ptr(rdx))?;
        a.add(byte_ptr(rdx), r9b)
    }),
    ("xchg", |a| {
        a.mov(r9b, r8b)?;
        a.xchg(byte_ptr(rdx), r9b)
    }),
    ("lock cmpxchg", |a| {
        a.mov(r11, rax)?;
        a.mov(al, byte_ptr(rdx))?;
        a.lock().cmpxchg(byte_ptr(rdx), r8b)?;
        a.mov(rax, r11)
    }),
    ("stosb", |a| {
        a.mov(r11, rax)?;
        a.mov(eax, r8d)?;
        a.mov(rdi, rdx)?;
        a.mov(r10, rcx)?;
        a.mov(ecx, 1)?;
        a.rep().stosb()?;
        a.mov(rcx, r10)?;
        a.mov(rax, r11)
    }),
    ("movups", |a| {
        a.movups(xmm0, xmmword_ptr(rdx - 15))?;
        a.movups(xmmword_ptr(rsp - 32), xmm0)?;
        a.mov(byte_ptr(rsp - 17), r8b)?;
        a.movups(xmm0, xmmword_ptr(rsp - 32))?;
        a.movups(xmmword_ptr(rdx - 15), xmm0)
    }),
    ("push", |a| {
        a.mov(r11, rsp)?;
        a.lea(rsp, ptr(rdx + 1))?;
        a.mov(r9, qword_ptr(rdx - 7))?;
        a.shl(r9, 8)?;
        a.shr(r9, 8)?;
        a.mov(r10, r8)?;
        a.shl(r10, 56)?;
        a.or(r9, r10)?;
        a.push(r9)?;
        a.mov(rsp, r11)
    }),
    ("setcc", |a| {
        a.test(r8d, r8d)?;
        a.setne(byte_ptr(rdx))
    }),
];

#[test]
fn every_kind_of_store_into_its_own_running_region_is_noticed() {
    for (name, store) in STORES {
        let outcome = run(|a| {
            let (mut head, mut behind) = (a.create_label(), a.create_label());
            a.lea(rdx, ptr(behind))?;
            a.dec(rdx)?;
            a.mov(ecx, 64)?;
            a.set_label(&mut head)?;
            // One and zero in turn.
            a.mov(r8d, ecx)?;
            a.and(r8d, 1)?;
            store(a)?;
            // Whatever a store of several bytes rewrites lies before it.
            a.nop_1(dword_ptr(rsp + 0x1234_5678))?;
            a.nop_1(dword_ptr(rsp + 0x1234_5678))?;
            add(a, 7)?;
            a.set_label(&mut behind)?;
            a.dec(ecx)?;
            a.jne(head)?;
            a.hlt()
        });
        assert_eq!(outcome.rax, 32, "{name}");
    }
}

#[test]
fn every_kind_of_store_into_another_page_is_noticed() {
    for (name, store) in STORES {
        let mut other = vec![0x90; 16];
        other.extend(adding_function(OTHER_PAGE + 16, 7));
        let write = |a: &mut CodeAssembler| {
            let (mut head, mut skip) = (a.create_label(), a.create_label());
            a.mov(rdx, OTHER_PAGE + 16 + 3)?;
            a.mov(ecx, 200)?;
            a.set_label(&mut head)?;
            a.call(OTHER_PAGE)?;
            // Now and then only, for the callee to become hot in between.
            a.test(ecx, 31)?;
            a.jne(skip)?;
            a.mov(r8d, ecx)?;
            a.shr(r8d, 5)?;
            a.and(r8d, 1)?;
            store(a)?;
            a.set_label(&mut skip)?;
            a.dec(ecx)?;
            a.jne(head)?;
            a.hlt()
        };
        let outcome = run_with_other_page(write, &other);
        // Nine calls before the first store, at 192 (of 0); then 1 behind 160, 0 behind 128, and so on.
        assert_eq!(outcome.rax, 9 * 7 + 32 + 32 + 31, "{name}");
        assert!(outcome.compiled_warm > 50);
    }
}

#[test]
fn a_store_by_another_address_of_the_same_page_is_noticed() {
    let outcome = run(|a| {
        let (mut head, mut behind) = (a.create_label(), a.create_label());
        a.lea(rdx, ptr(behind))?;
        // The same byte where RAM is mapped as it is.
        a.add(rdx, (CODE_FRAME as i64 - CODE as i64) as i32)?;
        a.mov(ecx, 100)?;
        a.set_label(&mut head)?;
        a.mov(byte_ptr(rdx - 1), cl)?;
        add(a, 0)?;
        a.set_label(&mut behind)?;
        a.dec(ecx)?;
        a.jne(head)?;
        a.hlt()
    });
    assert_eq!(outcome.rax, 5050);
}

#[test]
fn an_instruction_over_the_edge_of_a_page_changes_in_either_page() {
    // ADD RAX, imm32 (48 05 imm32) with its value in the second page.
    let mut other = vec![1, 0, 0, 0];
    other.extend(assembled(OTHER_PAGE + 4, |a| a.ret().unwrap()));
    let outcome = run_with_other_page(
        |a| {
            let (mut head, mut skip) = (a.create_label(), a.create_label());
            a.mov(ecx, 300)?;
            a.mov(rdx, OTHER_PAGE)?;
            a.set_label(&mut head)?;
            a.call(OTHER_PAGE - 2)?;
            a.cmp(ecx, 200)?;
            a.jne(skip)?;
            a.mov(byte_ptr(rdx), 5)?;
            a.set_label(&mut skip)?;
            a.cmp(ecx, 100)?;
            let mut not_yet = a.create_label();
            a.jne(not_yet)?;
            // SUB RAX, imm32.
            a.mov(byte_ptr(rdx - 1), 0x2d)?;
            a.set_label(&mut not_yet)?;
            a.dec(ecx)?;
            a.jne(head)?;
            a.hlt()?;
            let written = a.assemble(CODE).unwrap().len();
            a.db(&vec![0x90; 0xffe - written])?;
            a.db(&[0x48, 0x05])
        },
        &other,
    );
    assert_eq!(outcome.rax, 101 + 100 * 5 - 99 * 5);
    assert!(outcome.compiled_warm > 50);
}

#[test]
fn a_page_that_is_mapped_elsewhere_runs_what_stands_there() {
    let frames = [CODE_FRAME + 0x1000, CODE_FRAME + 0x2000];
    let mut pages = adding_function(OTHER_PAGE, 1);
    pages.resize(0x1000, 0xcc);
    pages.extend(adding_function(OTHER_PAGE, 100));
    for per_mapping in [1u32, 7, 40] {
        let write = |a: &mut CodeAssembler| {
            let (mut head, mut calls) = (a.create_label(), a.create_label());
            a.mov(ecx, 20)?;
            a.mov(rdx, frames[0] | WRITABLE)?;
            a.mov(rbx, OTHER_PAGE)?;
            a.set_label(&mut head)?;
            a.mov(r8d, per_mapping)?;
            a.set_label(&mut calls)?;
            a.call(OTHER_PAGE)?;
            a.dec(r8d)?;
            a.jne(calls)?;
            a.xor(rdx, (frames[0] ^ frames[1]) as i32)?;
            a.mov(qword_ptr(CODE_TABLE + 8), rdx)?;
            a.invlpg(byte_ptr(rbx))?;
            a.dec(ecx)?;
            a.jne(head)?;
            a.hlt()
        };
        let outcome = run_with_other_page(write, &pages);
        assert_eq!(outcome.rax, u64::from(per_mapping) * 10 * 101, "{per_mapping} calls a mapping");
        assert!(outcome.compiled_warm > 50);
    }
}

#[test]
fn a_page_that_is_unmapped_faults_at_the_call_into_it() {
    let program = {
        let mut program = Program::new(|a| {
            let write = |a: &mut CodeAssembler| {
                let (mut head, mut calls, mut behind) =
                    (a.create_label(), a.create_label(), a.create_label());
                a.mov(ecx, 6)?;
                a.mov(rdx, CODE_FRAME + 0x1000 | WRITABLE)?;
                a.mov(rbx, OTHER_PAGE)?;
                a.lea(r14, ptr(behind))?;
                a.mov(qword_ptr(RECOVERY), r14)?;
                a.mov(qword_ptr(RECOVERY + 8), rsp)?;
                a.set_label(&mut head)?;
                a.mov(r8d, 30)?;
                a.set_label(&mut calls)?;
                a.call(OTHER_PAGE)?;
                a.dec(r8d)?;
                a.jne(calls)?;
                a.set_label(&mut behind)?;
                // Absent and present in turn.
                a.xor(rdx, 1)?;
                a.mov(qword_ptr(CODE_TABLE + 8), rdx)?;
                a.invlpg(byte_ptr(rbx))?;
                a.dec(ecx)?;
                a.jne(head)?;
                a.hlt()
            };
            write(a).unwrap();
        });
        program.code.resize(0x1000, 0xcc);
        program.code.extend(adding_function(OTHER_PAGE, 1));
        program
    };
    let (expected, compiled_warm) = agreed(&program);
    assert!(compiled_warm > 50);
    assert_eq!((expected.general[0], expected.logged_exceptions(), expected.cr2), (90, 3, OTHER_PAGE));
}

#[test]
fn a_page_that_becomes_read_only_faults_in_a_hot_loop() {
    let program = Program::new(|a| {
        let write = |a: &mut CodeAssembler| {
            let (mut head, mut skip, mut behind) = (a.create_label(), a.create_label(), a.create_label());
            a.mov(ecx, 500)?;
            a.mov(rbx, OTHER_PAGE)?;
            a.lea(r14, ptr(behind))?;
            a.mov(qword_ptr(RECOVERY), r14)?;
            a.mov(qword_ptr(RECOVERY + 8), rsp)?;
            a.set_label(&mut head)?;
            a.inc(qword_ptr(rbx))?;
            a.cmp(ecx, 300)?;
            a.jne(skip)?;
            a.mov(qword_ptr(CODE_TABLE + 8), (CODE_FRAME + 0x1000 | 1) as i32)?;
            a.invlpg(byte_ptr(rbx))?;
            a.set_label(&mut skip)?;
            a.dec(ecx)?;
            a.jne(head)?;
            a.set_label(&mut behind)?;
            a.hlt()
        };
        write(a).unwrap();
    });
    let (expected, compiled_warm) = agreed(&program);
    assert!(compiled_warm > 50);
    assert_eq!((expected.general[1], expected.logged_exceptions()), (299, 1));
}

#[test]
fn code_that_a_device_writes_while_the_processor_is_halted_runs_as_written() {
    let program = Program::new(|a| {
        let write = |a: &mut CodeAssembler| {
            let mut head = a.create_label();
            a.mov(ecx, 200)?;
            a.set_label(&mut head)?;
            add(a, 1)?;
            a.dec(ecx)?;
            a.jne(head)?;
            a.hlt()
        };
        write(a).unwrap();
    });
    let value_at =
        CODE_FRAME + program.code.windows(3).position(|at| at == [0x48, 0x83, 0xc0]).unwrap() as u64 + 3;
    for options in [EngineOptions::AT_FIRST_SIGHT, WHEN_WARM, IN_BATCHES] {
        let mut computer = Computer::new(Executor::Compiled(options));
        computer.start(&program);
        computer.run(|| 50);
        assert_eq!(computer.register(Reg::RAX), 200);
        let regions = computer.engine().regions_compiled;
        assert!(regions > 0, "{options:?}");
        for (round, value) in [5u8, 9, 2].into_iter().enumerate() {
            computer.write_as_device(value_at, &[value]);
            computer.set_register(Reg::RAX, 0);
            computer.enter(CODE);
            computer.run(|| 50);
            assert_eq!(computer.register(Reg::RAX), 200 * u64::from(value), "{options:?}, round {round}");
        }
        assert!(computer.engine().regions_compiled > regions, "{options:?}");
    }
}

#[test]
fn code_that_a_device_writes_when_asked_to_runs_as_written() {
    let outcome = run(|a| {
        let (mut head, mut behind) = (a.create_label(), a.create_label());
        a.lea(rsi, ptr(behind))?;
        a.sub(rsi, (CODE + 1) as i32)?;
        a.shl(esi, 8)?;
        a.mov(edx, u32::from(PATCH_PORT))?;
        a.mov(ecx, 100)?;
        a.set_label(&mut head)?;
        a.mov(r11, rax)?;
        a.mov(eax, esi)?;
        a.mov(al, cl)?;
        a.out(dx, eax)?;
        a.mov(rax, r11)?;
        add(a, 0)?;
        a.set_label(&mut behind)?;
        a.dec(ecx)?;
        a.jne(head)?;
        a.hlt()
    });
    assert_eq!(outcome.rax, 5050);
}

#[test]
fn a_stack_in_a_page_of_code_works() {
    // Pushes beside hot code are stores to its page; they must drop nothing that they do not hit.
    let outcome = run(|a| {
        let mut head = a.create_label();
        a.mov(rsp, CODE + 0x1000)?;
        a.mov(ecx, 300)?;
        a.set_label(&mut head)?;
        a.push(rcx)?;
        a.add(rax, qword_ptr(rsp))?;
        a.pop(rdx)?;
        a.dec(ecx)?;
        a.jne(head)?;
        a.mov(rsp, STACK_TOP)?;
        a.hlt()
    });
    assert_eq!(outcome.rax, 300 * 301 / 2);
    assert!(outcome.compiled_warm > 50);
}

#[test]
fn a_function_in_a_fresh_frame_runs_though_the_old_one_was_compiled() {
    // As after fork: a copy of the page is changed, and mapped in place of the first one.
    let pages = adding_function(OTHER_PAGE, 1);
    let outcome = run_with_other_page(
        |a| {
            let (mut first, mut second) = (a.create_label(), a.create_label());
            a.mov(rbx, OTHER_PAGE)?;
            a.mov(r8d, 100)?;
            a.set_label(&mut first)?;
            a.call(OTHER_PAGE)?;
            a.dec(r8d)?;
            a.jne(first)?;
            a.mov(rsi, OTHER_PAGE)?;
            a.mov(rdi, SPARE_FRAME)?;
            a.mov(ecx, 512)?;
            a.rep().movsq()?;
            a.mov(byte_ptr(SPARE_FRAME + 3), 11)?;
            a.mov(qword_ptr(CODE_TABLE + 8), (SPARE_FRAME | WRITABLE) as i32)?;
            a.invlpg(byte_ptr(rbx))?;
            a.mov(r8d, 100)?;
            a.set_label(&mut second)?;
            a.call(OTHER_PAGE)?;
            a.dec(r8d)?;
            a.jne(second)?;
            a.hlt()
        },
        &pages,
    );
    assert_eq!(outcome.rax, 100 + 1100);
    assert!(outcome.compiled_warm > 50);
}
