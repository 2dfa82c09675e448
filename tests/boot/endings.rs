//! The ways in which a guest ends, from its first program.

use crate::guest::Setup;
use crate::initramfs::Initramfs;
use crate::program::{Program, Reboot};
use dinghy::machine::RunOutcome;

fn boot(program: Program) -> Setup {
    Setup::new(Initramfs::with_init(&program.finish()).finish())
}

#[test]
fn a_program_prints_and_switches_the_machine_off() {
    let mut guest = boot(Program::new().print("hello from user space\n").reboot(Reboot::PowerOff)).boot();
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
    let text = guest.console.text();
    assert!(text.contains("hello from user space\r\n"), "{text}");
    assert_eq!(guest.serial.text(), "");
}

#[test]
fn a_restart_is_reported() {
    let mut guest = boot(Program::new().reboot(Reboot::Restart)).boot();
    assert_eq!(guest.run_to_end(), RunOutcome::Restarted);
}

#[test]
fn the_kernel_panics_when_its_first_program_exits() {
    let mut guest = boot(Program::new().print("leaving\n").exit(3)).boot();
    assert_eq!(guest.run_to_end(), RunOutcome::Panicked);
    let lines = guest.machine.last_console_lines();
    let at = |text: &str| lines.iter().position(|line| line.contains(text));
    let panic = at("Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000300");
    assert!(at("leaving") < panic, "{lines:#?}");
}

#[test]
fn a_kernel_that_stays_in_its_panic_is_noticed() {
    let mut setup = boot(Program::new().exit(0));
    setup.command_line += " panic=0";
    let mut guest = setup.boot();
    assert_eq!(guest.run_to_end(), RunOutcome::Panicked);
    let lines = guest.machine.last_console_lines();
    assert!(lines.iter().any(|line| line.contains("---[ end Kernel panic - not syncing")), "{lines:#?}");
}

#[test]
fn a_kernel_without_anything_to_run_panics() {
    let mut setup = boot(Program::new());
    setup.initrd = None;
    let mut guest = setup.boot();
    assert_eq!(guest.run_to_end(), RunOutcome::Panicked);
    let lines = guest.machine.last_console_lines();
    assert!(lines.iter().any(|line| line.contains("VFS: Unable to mount root fs")), "{lines:#?}");
}
