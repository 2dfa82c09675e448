//! With the instruction count for a clock, a boot repeats exactly.

use crate::guest::{Guest, Setup};
use crate::initramfs::Initramfs;
use crate::program::{Program, Reboot};
use dinghy::machine::RunOutcome;

/// What a boot to the first program may cost. It is most of what a user waits for.
const BOOT_LIMIT: u64 = 70_000_000;

fn boot() -> Guest {
    let program = Program::new().print("first words\n").reboot(Reboot::PowerOff);
    Setup::new(Initramfs::with_init(&program.finish()).finish()).boot()
}

#[test]
fn two_boots_are_the_same() {
    let mut first = boot();
    first.run_until("Run /init");
    let instructions = first.instructions();
    println!("{instructions} instructions to the first program");
    assert!(instructions < BOOT_LIMIT, "{instructions} instructions to the first program");
    assert_eq!(first.run_to_end(), RunOutcome::PoweredOff);

    let mut second = boot();
    // In one piece: how the host divides a run must not show.
    assert_eq!(second.machine.run(u64::MAX), RunOutcome::PoweredOff);
    assert_eq!(first.console.text(), second.console.text());
    assert_eq!(first.instructions(), second.instructions());
}
