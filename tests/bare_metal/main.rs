//! System behaviour without an operating system: a program in assembly prints what it meets.
//!
//! `expected.txt` is what the manual says and what our processor prints. `qemu.txt` was printed by QEMU 7.2
//! (`DINGHY_RECORD=1` runs it); where the two differ, [`DIFFERENCES`] names the manual's section.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "../boot/guest.rs"]
#[allow(dead_code)]
mod guest;
#[path = "../jit/host.rs"]
mod host;

use dinghy::jit::EngineOptions;
use dinghy::machine::RunOutcome;
use guest::Setup;
use host::WasmtimeHost;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const EXPECTED: &str = include_str!("expected.txt");
const QEMU: &str = include_str!("qemu.txt");

/// What the program writes to the debug-exit port at its end, twice and one more.
const SUCCESS: u32 = 0x21;

/// The program passes over what CPUID does not report, and shows that by #UD.
const NO_PCID: &str = "vol. 3A 4.10.1: QEMU 7.2 translates code for processors without PCID and INVPCID only";
const NO_DEADLINE: &str = "vol. 3A 10.5.4.1: QEMU 7.2 has no TSC deadline when it translates";

/// Tests in which QEMU does not do what the manual says, and where the manual says it.
const DIFFERENCES: &[(&str, &str)] = &[
    ("kernel reads a page with reserved bits", "vol. 3A 4.7: RSVD only together with P"),
    ("a stack that is not canonical", "vol. 3A 6.15, vector 12: #SS, not #GP"),
    ("PCIDE while CR3 names a context", NO_PCID),
    ("PCIDE", NO_PCID),
    ("a context is loaded, and CR3 does not show bit 63", NO_PCID),
    ("CR3 without bit 63 forgets its context", NO_PCID),
    ("what another context has kept is not seen", NO_PCID),
    ("INVLPG in a context", NO_PCID),
    ("INVPCID of an address, a context, everything, everything but global", NO_PCID),
    ("INVPCID of an address in a context that is left", NO_PCID),
    ("INVPCID of no such type", NO_PCID),
    ("INVPCID with reserved bits", NO_PCID),
    ("INVPCID of an address that is not canonical", NO_PCID),
    ("user runs INVPCID", NO_PCID),
    ("PCIDE is cleared, and forgets all", NO_PCID),
    ("INVPCID of a context without PCIDE", NO_PCID),
    ("a reserved bit of EFER", "vol. 4 2.1: #GP"),
    ("LSTAR that is not canonical", "vol. 2B WRMSR: #GP"),
    ("CR8 above 15", "vol. 2B MOV to control registers: #GP for reserved bits"),
    ("user raises vector 0x20", "vol. 3A 6.13: the index is the vector, at bit 3"),
    ("a software interrupt whose gate is not present", "vol. 3A 6.13, as above"),
    ("… DR6, RF and how far", "vol. 3B 17.3.1.1: RF is set in the frame of a breakpoint on execution"),
    ("… how far from there", "vol. 3A 6.8.3: a load of SS holds debug traps back for one instruction"),
    ("… DR6, and how far from INT1", "vol. 2A INT1: RIP is behind it"),
    ("INT1", "vol. 2A INT1: #DB"),
    ("general detect", "vol. 3B 17.2.4: #DB when a debug register is accessed"),
    ("… DR6, and DR7 after it", "vol. 3B 17.2.3 and 17.2.4: BD is set, GD is cleared"),
    ("a deadline that is past", NO_DEADLINE),
    ("a deadline to come, armed, and not before", NO_DEADLINE),
    ("a deadline that is taken back", NO_DEADLINE),
    ("a deadline while the timer is masked is passed over", NO_DEADLINE),
    ("the initial count is not written in this mode", NO_DEADLINE),
    ("another mode takes the deadline back, and has none", NO_DEADLINE),
    ("an unmasked exception of SSE", "vol. 3A 6.15, vector 19: #XM"),
    ("user reads a misaligned doubleword with AC", "vol. 3A 6.15, vector 17: #AC"),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bare_metal")
}

/// The program, assembled with a definition.
fn assembled(name: &str, definition: Option<&str>) -> Vec<u8> {
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}.elf", std::process::id()));
    let mut nasm = Command::new("nasm");
    nasm.current_dir(folder()).args(["-f", "bin", "-o"]).arg(&output).arg("tests.asm");
    if let Some(definition) = definition {
        nasm.arg(format!("-D{definition}"));
    }
    let status = nasm.status().expect("nasm is installed: apt-get install nasm");
    assert!(status.success());
    let program = std::fs::read(&output).unwrap();
    std::fs::remove_file(output).unwrap();
    program
}

/// What the program prints, and how the machine ends.
fn run(kernel: Vec<u8>, is_compiled: bool) -> (String, RunOutcome) {
    let mut setup = Setup::with_kernel(kernel);
    if is_compiled {
        setup.code =
            Some((Box::new(|memory| Ok(Box::new(WasmtimeHost::new(memory)))), EngineOptions::AT_FIRST_SIGHT));
    }
    let mut guest = setup.boot();
    let outcome = guest.run_to_end();
    (guest.serial.text(), outcome)
}

/// The lines that differ.
fn compare(found: &str, expected: &str) {
    let differing: Vec<String> = found
        .lines()
        .zip(expected.lines())
        .filter(|(found, expected)| found != expected)
        .map(|(found, expected)| format!("found    {found}\nexpected {expected}"))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(found.lines().count(), expected.lines().count(), "{found}");
}

#[test]
fn the_interpreter_does_what_the_manual_says() {
    let (text, outcome) = run(assembled("interpreted", None), false);
    compare(&text, EXPECTED);
    assert_eq!(outcome, RunOutcome::Exited(SUCCESS));
}

#[test]
fn compiled_code_does_what_the_manual_says() {
    let (text, outcome) = run(assembled("compiled", None), true);
    compare(&text, EXPECTED);
    assert_eq!(outcome, RunOutcome::Exited(SUCCESS));
}

#[test]
fn a_fault_without_a_gate_for_it_shuts_the_processor_down() {
    let (text, outcome) = run(assembled("triple", Some("TRIPLE")), false);
    compare(&text, EXPECTED);
    assert_eq!(outcome, RunOutcome::TripleFault);
}

/// Records what QEMU prints, when asked to.
#[test]
fn qemu_prints_the_same_but_for_what_is_named() {
    if std::env::var_os("DINGHY_RECORD").is_some() {
        record();
        return;
    }
    let name = |line: &str| line.split(": ").next().unwrap_or(line).to_owned();
    assert_eq!(QEMU.lines().count(), EXPECTED.lines().count());
    let differing: Vec<String> = QEMU
        .lines()
        .zip(EXPECTED.lines())
        .filter(|(qemu, expected)| qemu != expected)
        .map(|(qemu, expected)| {
            assert_eq!(name(qemu), name(expected));
            name(qemu)
        })
        .collect();
    let named: Vec<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    assert_eq!(differing, named);
}

fn record() {
    let kernel = Path::new(env!("CARGO_TARGET_TMPDIR")).join("qemu.elf");
    std::fs::write(&kernel, assembled("qemu", None)).unwrap();
    let output = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-cpu", "max", "-m", "64", "-display", "none", "-serial", "stdio"])
        .args(["-monitor", "none", "-no-reboot", "-net", "none"])
        .args(["-device", "virtio-rng-pci,disable-legacy=on"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4", "-kernel"])
        .arg(&kernel)
        .stdin(Stdio::null())
        .output()
        .expect("qemu-system-x86_64 is installed");
    assert_eq!(output.status.code(), Some(SUCCESS as i32));
    std::fs::write(folder().join("qemu.txt"), output.stdout).unwrap();
    std::fs::remove_file(kernel).unwrap();
}
