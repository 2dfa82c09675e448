//! The `dinghy` command as a user meets it: arguments, exit codes, messages.
#![cfg(all(unix, feature = "cli"))]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the kernel's segment is loaded and entered.
const ENTRY: u64 = 0x100_0000;
const SEGMENT_OFFSET: usize = 0x1000;

/// Files of one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, contents: &[u8]) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, contents).unwrap();
        path.into_os_string().into_string().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dinghy"));
        command.args(arguments).current_dir(&self.0).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// An ELF64 executable whose only segment holds `code`, entered at its first byte in 64-bit mode.
fn kernel(code: &[u8]) -> Vec<u8> {
    let mut elf = vec![0; SEGMENT_OFFSET + code.len()];
    let mut put = |offset: usize, bytes: &[u8]| elf[offset..offset + bytes.len()].copy_from_slice(bytes);
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &2u16.to_le_bytes()); // e_type: executable
    put(18, &62u16.to_le_bytes()); // e_machine: x86_64
    put(20, &1u32.to_le_bytes()); // e_version
    put(24, &ENTRY.to_le_bytes());
    put(32, &64u64.to_le_bytes()); // e_phoff
    put(52, &64u16.to_le_bytes()); // e_ehsize
    put(54, &56u16.to_le_bytes()); // e_phentsize
    put(56, &1u16.to_le_bytes()); // e_phnum
    put(58, &64u16.to_le_bytes()); // e_shentsize
    put(64, &1u32.to_le_bytes()); // p_type: load
    put(68, &7u32.to_le_bytes()); // p_flags: read, write, execute
    put(72, &(SEGMENT_OFFSET as u64).to_le_bytes());
    put(80, &ENTRY.to_le_bytes()); // p_vaddr
    put(88, &ENTRY.to_le_bytes()); // p_paddr
    put(96, &(code.len() as u64).to_le_bytes()); // p_filesz
    put(104, &(code.len() as u64).to_le_bytes()); // p_memsz
    put(112, &0x1000u64.to_le_bytes()); // p_align
    put(SEGMENT_OFFSET, code);
    elf
}

/// `mov dx, port; mov al, value; out dx, al`
fn out_byte(port: u16, value: u8) -> Vec<u8> {
    let [low, high] = port.to_le_bytes();
    vec![0x66, 0xba, low, high, 0xb0, value, 0xee]
}

/// `mov dx, 0x604; mov ax, SLP_EN | 5 << 10; out dx, ax`: ACPI soft-off.
const POWER_OFF: [u8; 10] = [0x66, 0xba, 0x04, 0x06, 0x66, 0xb8, 0x00, 0x34, 0x66, 0xef];
/// `cli; hlt; jmp` to the halt
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfd];
/// `jmp` to itself
const SPIN: [u8; 2] = [0xeb, 0xfe];

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs, expects exit code 2 and one line that begins with the program's name; returns that line.
fn refusal(scratch: &Scratch, arguments: &[&str]) -> String {
    let output = scratch.run(arguments);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert_eq!(message.lines().count(), 1, "{arguments:?}: {message}");
    assert!(message.starts_with("dinghy: "), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty());
    message
}

#[test]
fn wrong_options_are_refused_in_one_sentence() {
    let scratch = Scratch::new("options");
    for (option, word) in [
        (&["--bogus"][..], "--bogus"),
        (&["--engine", "quantum"], "quantum"),
        (&["--clock", "sundial"], "sundial"),
        (&["--timeout", "soon"], "seconds"),
        (&["--timeout", "-1"], "-1"),
        (&["--memory", "much"], "much"),
        (&["--disk", ":ro"], "name a file"),
        (&["--net", "everything"], "everything"),
        (&["--net", "host", "--publish", "80"], "HOST:GUEST"),
        (&["--net", "host", "--net-allow", "localhost"], "address"),
        (&["--publish", "8080:80"], "--net host"),
        (&["--net-allow", "127.0.0.1"], "--net host"),
        (&["--net", "host", "--clock", "icount"], "--clock real"),
    ] {
        let message = refusal(&scratch, &[&["run"][..], option].concat());
        assert!(message.contains(word), "{message}");
    }
    refusal(&scratch, &["walk"]);
}

#[test]
fn compiled_code_is_left_to_the_command_in_node() {
    let scratch = Scratch::new("engines");
    let kernel = scratch.file("vmlinux", &kernel(&[out_byte(0x3f8, b'e'), POWER_OFF.to_vec()].concat()));
    let message = refusal(&scratch, &["run", "--kernel", &kernel, "--engine", "jit"]);
    assert!(message.contains("WebAssembly"), "{message}");
    assert!(message.contains("node www/bin/dinghy.mjs run --engine jit"), "{message}");
    for engine in ["interp", "auto"] {
        let output = scratch.run(&["run", "--kernel", &kernel, "--engine", engine]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(output.stdout, b"e");
    }
}

#[test]
fn missing_files_are_named() {
    let scratch = Scratch::new("missing");
    let message = refusal(&scratch, &["run"]);
    assert!(message.contains("build/kernel/vmlinux") && message.contains("--kernel"), "{message}");
    let message = refusal(&scratch, &["run", "--kernel", "nowhere/vmlinux"]);
    assert!(message.contains("nowhere/vmlinux"), "{message}");
    let kernel = scratch.file("vmlinux", &kernel(&HALT));
    for option in ["--initrd", "--disk"] {
        let message = refusal(&scratch, &["run", "--kernel", &kernel, option, "nowhere/image"]);
        assert!(message.contains("nowhere/image"), "{message}");
    }
    std::fs::create_dir_all(scratch.0.join("build/kernel")).unwrap();
    std::fs::copy(&kernel, scratch.0.join("build/kernel/vmlinux")).unwrap();
    let message = refusal(&scratch, &["run"]);
    assert!(message.contains("build/guest/guest.ext4"), "{message}");
}

#[test]
fn bad_kernels_are_refused() {
    let scratch = Scratch::new("kernels");
    let good = kernel(&[0x90; 64]);
    let mut elf32 = vec![0; 128];
    elf32[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
    for (offset, value) in [(16, 2u16), (18, 3), (20, 1), (28, 52), (40, 52), (42, 32), (44, 1), (46, 40)] {
        elf32[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }
    for (contents, word) in [
        (&good[..good.len() - 1], "truncated"),
        (&elf32, "x86_64"),
        (b"#!/bin/sh\n", "neither"),
        (b"", "neither"),
    ] {
        let path = scratch.file("vmlinux", contents);
        let message = refusal(&scratch, &["run", "--kernel", &path]);
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn disks_of_odd_size_are_refused() {
    let scratch = Scratch::new("disk");
    let kernel = scratch.file("vmlinux", &kernel(&HALT));
    let disk = scratch.file("disk.img", &[0; 700]);
    let message = refusal(&scratch, &["run", "--kernel", &kernel, "--disk", &disk]);
    assert!(message.contains("512") && message.contains("700"), "{message}");
}

#[test]
fn memory_that_does_not_suffice_is_refused() {
    let scratch = Scratch::new("memory");
    let small = scratch.file("vmlinux", &kernel(&HALT));
    for memory in ["0", "8", "5000", "18446744073709551615"] {
        let message = refusal(&scratch, &["run", "--kernel", &small, "--memory", memory]);
        assert!(message.contains("memory"), "{message}");
    }
    let large = scratch.file("initrd", &vec![0; 80 << 20]);
    let message = refusal(&scratch, &["run", "--kernel", &small, "--initrd", &large, "--memory", "64"]);
    assert!(message.contains("MiB"), "{message}");
}

#[test]
fn help_and_version_are_shown() {
    let scratch = Scratch::new("help");
    let output = scratch.run(&["run", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("124 timeout"));
    let output = scratch.run(&["--version"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        concat!("dinghy ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_guest_prints_and_powers_off() {
    let scratch = Scratch::new("power-off");
    let code = [out_byte(0x3f8, b'h'), out_byte(0x3f8, b'i'), POWER_OFF.to_vec(), HALT.to_vec()].concat();
    let kernel = scratch.file("vmlinux", &kernel(&code));
    for clock in ["real", "icount"] {
        let output = scratch.run(&["run", "--kernel", &kernel, "--clock", clock, "--stats"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(output.stdout, b"hi");
        let statistics: serde_json::Value = serde_json::from_str(&stderr(&output)).unwrap();
        // Three instructions for each character and three to power off; up to the slice's end it is halted.
        let instructions = statistics["instructions"].as_u64().unwrap();
        assert!((9..20).contains(&instructions), "{statistics}");
        for key in ["wallSeconds", "cpuSeconds", "mips"] {
            assert!(statistics[key].as_f64().unwrap() > 0.0, "{statistics}");
        }
    }
}

#[test]
fn the_debug_exit_port_sets_the_exit_code() {
    let scratch = Scratch::new("debug-exit");
    let kernel = scratch.file("vmlinux", &kernel(&[out_byte(0xf4, 21), HALT.to_vec()].concat()));
    assert_eq!(scratch.run(&["run", "--kernel", &kernel]).status.code(), Some(43));
}

#[test]
fn a_triple_fault_shows_the_last_lines() {
    let scratch = Scratch::new("triple-fault");
    // ud2 without an interrupt table.
    let code = [out_byte(0x3f8, b'!'), out_byte(0x3f8, b'\n'), vec![0x0f, 0x0b]].concat();
    let kernel = scratch.file("vmlinux", &kernel(&code));
    let output = scratch.run(&["run", "--kernel", &kernel]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("triple fault"));
    assert!(stderr(&output).ends_with("\n  !\n"), "{}", stderr(&output));
}

#[test]
fn a_guest_that_never_ends_is_timed_out_and_costs_nothing_while_it_halts() {
    let scratch = Scratch::new("timeout");
    for (code, cpu_seconds_max) in [(&SPIN[..], f64::INFINITY), (&HALT, 0.25)] {
        let kernel = scratch.file("vmlinux", &kernel(code));
        let started = Instant::now();
        let output =
            scratch.run(&["run", "--kernel", &kernel, "--timeout", "0.5", "--memory", "64", "--stats"]);
        assert_eq!(output.status.code(), Some(124));
        assert!(started.elapsed() >= Duration::from_millis(500));
        let message = stderr(&output);
        let statistics: serde_json::Value = serde_json::from_str(message.lines().next().unwrap()).unwrap();
        assert!(statistics["cpuSeconds"].as_f64().unwrap() < cpu_seconds_max, "{statistics}");
    }
}

#[test]
fn a_restarted_guest_boots_again_from_its_kernel() {
    let scratch = Scratch::new("restart");
    // Each boot prints a letter and resets the machine by the keyboard controller; only the timeout ends it.
    let code = [out_byte(0x3f8, b'r'), out_byte(0x64, 0xfe), HALT.to_vec()].concat();
    let kernel = scratch.file("vmlinux", &kernel(&code));
    let output = scratch.run(&["run", "--kernel", &kernel, "--timeout", "1", "--memory", "64"]);
    assert_eq!(output.status.code(), Some(124));
    assert!(output.stdout.len() > 1 && output.stdout.iter().all(|&byte| byte == b'r'));
}

#[test]
fn published_ports_are_taken_while_the_guest_runs_and_again_after_a_restart() {
    let scratch = Scratch::new("published");
    // Each boot prints a letter and resets the machine by the keyboard controller.
    let code = [out_byte(0x3f8, b'r'), out_byte(0x64, 0xfe), HALT.to_vec()].concat();
    let kernel = scratch.file("vmlinux", &kernel(&code));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let published = format!("{}:80", taken.local_addr().unwrap().port());
    let arguments = ["run", "--kernel", &kernel, "--net", "host", "--publish", &published];
    let message = refusal(&scratch, &arguments);
    assert!(message.contains("cannot listen on 127.0.0.1:"), "{message}");
    drop(taken);
    let output = scratch.run(&[&arguments[..], &["--timeout", "1"]].concat());
    assert_eq!(output.status.code(), Some(124), "{}", stderr(&output));
    assert!(output.stdout.starts_with(b"rr"));
}

#[test]
fn typed_bytes_reach_the_serial_port() {
    use std::io::Write;
    let scratch = Scratch::new("input");
    // Waits for the data-ready bit of the line status register, echoes the byte, powers off.
    let wait = [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7];
    let echo = [0x66, 0xba, 0xf8, 0x03, 0xec, 0xee];
    let code = [&wait[..], &echo, &POWER_OFF, &HALT].concat();
    let kernel = scratch.file("vmlinux", &kernel(&code));
    let mut command =
        scratch.command(&["run", "--kernel", &kernel, "--append", "console=ttyS0", "--timeout", "30"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"q").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"q");
}
