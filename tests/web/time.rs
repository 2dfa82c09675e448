//! Time and randomness.

use crate::host::{Guest, Setup};
use crate::program::Program;
use iced_x86::code_asm::{rax, rbx, rdx};
use js_sys::Date;
use wasm_bindgen_test::wasm_bindgen_test;

/// Prints the time stamp (nanoseconds), now and after a byte is typed.
fn time_stamps() -> Vec<u8> {
    let stamp = |mut program: Program| {
        program.assembler.rdtsc().unwrap();
        program.assembler.shl(rdx, 32).unwrap();
        program.assembler.lea(rbx, rax + rdx).unwrap();
        program.print_rbx()
    };
    stamp(stamp(Program::new()).read_serial()).exit(0).finish()
}

/// The nanoseconds between the two time stamps, with `wait_ms` between them on the host.
fn elapsed_ns(clock: &'static str, wait_ms: f64) -> u64 {
    let mut setup = Setup::new(time_stamps());
    setup.clock = clock;
    let mut guest = setup.start();
    guest.run_until(|guest| guest.serial.len() == 8);
    let end = Date::now() + wait_ms;
    while Date::now() < end {}
    guest.port.serial_input(b" ");
    assert_eq!(guest.run_to_end(), "exited");
    let [first, second] = numbers(&guest)[..] else { panic!("two time stamps are printed") };
    second.checked_sub(first).expect("time went backwards")
}

/// What was printed on the serial port, as numbers of eight bytes.
fn numbers(guest: &Guest) -> Vec<u64> {
    let printed = guest.serial.take();
    printed.chunks(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[wasm_bindgen_test]
fn the_real_clock_follows_the_hosts() {
    let elapsed = elapsed_ns("real", 50.0);
    // The two clocks of the browser may differ by a millisecond; a slow host only adds to the time.
    assert!((48_000_000..20_000_000_000).contains(&elapsed), "{elapsed} ns");
}

#[wasm_bindgen_test]
fn the_instruction_clock_knows_no_waiting() {
    assert_eq!(elapsed_ns("icount", 0.0), elapsed_ns("icount", 50.0));
}

/// Prints two numbers of the processor's random generator.
fn random_numbers(clock: &'static str) -> Vec<u64> {
    let draw = |mut program: Program| {
        program.assembler.rdrand(rbx).unwrap();
        program.print_rbx()
    };
    let mut setup = Setup::new(draw(draw(Program::new())).exit(0).finish());
    setup.clock = clock;
    let mut guest = setup.start();
    assert_eq!(guest.run_to_end(), "exited");
    numbers(&guest)
}

#[wasm_bindgen_test]
fn random_numbers_are_the_browsers_unless_time_is_repeatable() {
    let (one, other) = (random_numbers("real"), random_numbers("real"));
    assert_ne!(one[0], one[1]);
    assert_ne!(one, other);
    assert_eq!(random_numbers("icount"), random_numbers("icount"));
}
