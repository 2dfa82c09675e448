//! How a run ends, as the worker is told.

use crate::host::{ENGINES, Setup};
use crate::program::Program;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
fn a_program_ends_the_machine_with_its_code() {
    for engine in ENGINES {
        let mut guest = Setup::new(Program::new().exit(21).finish()).on(engine).start();
        assert_eq!(guest.machine.exit_code(), None, "{engine}");
        assert_eq!(guest.run_to_end(), "exited", "{engine}");
        assert_eq!(guest.machine.exit_code(), Some(43), "{engine}");
        let instructions = guest.figure("instructions");
        assert!((3.0..10.0).contains(&instructions), "{engine}: {instructions}");
    }
}

#[wasm_bindgen_test]
fn a_program_without_an_exception_table_ends_in_a_triple_fault() {
    let mut program = Program::new();
    program.assembler.ud2().unwrap();
    let kernel = program.finish();
    for engine in ENGINES {
        let mut guest = Setup::new(kernel.clone()).on(engine).start();
        assert_eq!(guest.run_to_end(), "triple-fault", "{engine}");
        assert_eq!(guest.machine.exit_code(), None, "{engine}");
    }
}

#[wasm_bindgen_test]
fn a_halted_machine_sleeps_without_end() {
    for engine in ENGINES {
        let mut guest = Setup::new(Program::new().halt().finish()).on(engine).start();
        assert_eq!(guest.run_to_end(), "idle", "{engine}");
        assert_eq!(guest.machine.idle_milliseconds(), f64::INFINITY, "{engine}");
    }
}

#[wasm_bindgen_test]
fn a_run_stops_at_its_limit() {
    let mut program = Program::new();
    let mut again = program.assembler.create_label();
    program.assembler.set_label(&mut again).unwrap();
    program.assembler.jmp(again).unwrap();
    let kernel = program.finish();
    for engine in ENGINES {
        let mut guest = Setup::new(kernel.clone()).on(engine).start();
        assert_eq!(guest.machine.run(5000.0), "limit", "{engine}");
        let instructions = guest.figure("instructions");
        assert!((5000.0..6000.0).contains(&instructions), "{engine}: {instructions}");
    }
}
