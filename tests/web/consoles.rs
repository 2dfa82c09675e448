//! What the guest prints reaches JavaScript, and what is typed reaches the guest.

use crate::host::{ENGINES, Setup};
use crate::program::Program;
use js_sys::Array;
use wasm_bindgen_test::wasm_bindgen_test;

#[wasm_bindgen_test]
fn the_serial_port_prints_to_its_function_alone() {
    let program = Program::new().print("ahoy\r\nthere\r\n").exit(0);
    let kernel = program.finish();
    for engine in ENGINES {
        let mut guest = Setup::new(kernel.clone()).on(engine).start();
        assert_eq!(guest.run_to_end(), "exited", "{engine}");
        assert_eq!(guest.serial.take(), b"ahoy\r\nthere\r\n", "{engine}");
        assert_eq!(guest.console.take(), b"", "{engine}");
        let lines: Vec<String> =
            Array::iter(&guest.machine.last_console_lines()).map(|line| line.as_string().unwrap()).collect();
        assert_eq!(lines, ["ahoy", "there"], "{engine}");
    }
}

#[wasm_bindgen_test]
fn a_byte_typed_at_the_port_reaches_the_program() {
    let program = Program::new().read_serial().print_al().read_serial().print_al().exit(0);
    let kernel = program.finish();
    for engine in ENGINES {
        let mut guest = Setup::new(kernel.clone()).on(engine).start();
        assert_eq!(guest.machine.run(10_000.0), "limit", "{engine}");
        guest.port.serial_input(b"xy");
        assert_eq!(guest.run_to_end(), "exited", "{engine}");
        assert_eq!(guest.serial.take(), b"xy", "{engine}");
    }
}
