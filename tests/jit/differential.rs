//! Random programs: what the interpreter and compiled code make of them.

use crate::computer::{CODE, Computer, Executor, Program};
use crate::generate;
use crate::random::Random;
use dinghy::jit::{EngineOptions, EngineStatistics};
use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
use std::fmt::Write;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn listing(program: &Program) -> String {
    let mut text = String::new();
    let mut formatter = IntelFormatter::new();
    for instruction in &mut Decoder::with_ip(64, &program.code, CODE, DecoderOptions::NONE) {
        if instruction.mnemonic() == iced_x86::Mnemonic::Int3 {
            continue;
        }
        write!(text, "  {:#x} ", instruction.ip()).unwrap();
        formatter.format(&instruction, &mut text);
        text.push('\n');
    }
    text
}

/// Runs random programs both ways; `most_slice` bounds the pieces that the compiled run is divided into. What the
/// engine has done in the end.
fn agree(options: EngineOptions, programs: u64, most_slice: u64) -> EngineStatistics {
    let seed = setting("DINGHY_JIT_SEED", 0x5eed);
    let programs = setting("DINGHY_JIT_PROGRAMS", programs);
    let mut interpreter = Computer::new(Executor::Interpreter);
    let mut compiler = Computer::new(Executor::Compiled(options));
    let (mut instructions, mut compiled, mut faults, mut exits_by_exception) = (0, 0, 0, 0);
    for number in 0..programs {
        let mut random = Random::new(seed.wrapping_add(number));
        let program = generate::program(&mut random);
        let expected = interpreter.run_program(&program);
        if options.threshold > 0 {
            // To a processor that has seen other programs in these pages, they are never hot.
            compiler = Computer::new(Executor::Compiled(options));
        }
        let before = compiler.engine();
        compiler.start(&program);
        compiler.run(|| 1 + random.below(most_slice));
        let found = compiler.state();
        if let Some(difference) = expected.difference(&found) {
            let seed = seed.wrapping_add(number);
            panic!("{options:?}, seed {seed}: interpreted and compiled\n{difference}\n{}", listing(&program));
        }
        instructions += expected.instructions;
        faults += expected.logged_exceptions();
        let statistics = compiler.engine();
        compiled += statistics.instructions - before.instructions;
        exits_by_exception += statistics.exits_by_exception - before.exits_by_exception;
    }
    println!(
        "{programs} programs, {instructions} instructions, {compiled} of them compiled, {faults} faults"
    );
    // The comparison says something only if both sides did what they are named for.
    assert!(faults > programs / 2, "{faults} faults");
    assert!(compiled > instructions / 4, "{compiled} of {instructions} instructions were compiled");
    assert!(exits_by_exception > 0);
    compiler.engine()
}

#[test]
fn programs_compiled_at_first_sight_agree_with_the_interpreter() {
    agree(EngineOptions::AT_FIRST_SIGHT, 60, 1 << 20);
}

#[test]
fn programs_compiled_in_batches_when_hot_agree_with_the_interpreter() {
    let options = EngineOptions { threshold: 4, batch: 8, patience: 2000, ..EngineOptions::AUTO };
    agree(options, 150, 1 << 20);
}

#[test]
fn programs_compiled_in_little_memory_agree_with_the_interpreter() {
    let options = EngineOptions { most_bytes: 2_000, ..EngineOptions::AT_FIRST_SIGHT };
    let statistics = agree(options, 60, 1 << 20);
    assert!(statistics.regions_evicted > 50, "{statistics:?}");
    // The last batch is one region, larger than the limit at most by what one can be.
    assert!(statistics.bytes < 20_000, "{statistics:?}");
}

#[test]
fn programs_run_in_short_slices_agree_with_the_interpreter() {
    let options = EngineOptions { threshold: 2, batch: 1, patience: 0, ..EngineOptions::AUTO };
    agree(options, 60, 90);
}
