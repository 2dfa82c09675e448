//! The devices as programs meet them through Linux's drivers.

use crate::guest::Setup;
use crate::initramfs::Initramfs;
use crate::program::Argument::{Bytes, Kept, Number, Result};
use crate::program::{Program, Reboot, SCRATCH, number};
use crate::shared_disk::SharedDisk;
use dinghy::machine::RunOutcome;

/// <asm-generic/ioctls.h>
const TIOCGWINSZ: u64 = 0x5413;
/// <asm-generic/signal.h>
const SIGWINCH: u64 = 28;

/// A program whose /dev is there, in a session of its own.
fn program() -> Program {
    Program::new().call(number::SETSID, &[]).mount("devtmpfs", "/dev")
}

fn setup(program: Program) -> Setup {
    Setup::new(Initramfs::with_init(&program.reboot(Reboot::PowerOff).finish()).finish())
}

#[test]
fn a_program_reads_what_is_typed() {
    let program = program()
        .open("/dev/hvc0", true)
        .print("say something\n")
        .call(number::READ, &[Kept, Number(SCRATCH), Number(100)])
        .call(number::WRITE, &[Kept, Number(SCRATCH), Result])
        .print("thank you\n");
    let mut guest = setup(program).boot();
    guest.run_until("say something");
    // The line discipline joins what comes in parts, echoes it, and takes the erased letter out.
    guest.machine.handle().console_input(b"ahoyy");
    guest.run_until("ahoyy");
    guest.machine.handle().console_input(b"\x7f there\r");
    guest.run_until("thank you");
    let text = guest.console.text();
    let answer = text.split("say something\r\n").nth(1).unwrap();
    assert_eq!(answer, "ahoyy\x08 \x08 there\r\nahoy there\r\nthank you\r\n");
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
}

/// A `struct timespec`.
fn time(seconds: u64, nanoseconds: u64) -> [u8; 16] {
    (u128::from(seconds) | u128::from(nanoseconds) << 64).to_le_bytes()
}

#[test]
fn a_resize_reaches_programs_as_a_signal() {
    // A blocked signal waits to be fetched.
    let signals = (1_u64 << (SIGWINCH - 1)).to_le_bytes();
    let block = [Number(0), Bytes(&signals), Number(0), Number(8)];
    let size = |program: Program| {
        program
            .call(number::IOCTL, &[Kept, Number(TIOCGWINSZ), Number(SCRATCH)])
            .expect(0, "no size\n")
            .print("rows, columns ")
            .call(number::WRITE, &[Kept, Number(SCRATCH), Number(4)])
            .print(".\n")
    };
    // The driver learns the first size on its own time: a tenth of a second, in seconds and nanoseconds.
    let pause = [0_u64.to_le_bytes(), 100_000_000_u64.to_le_bytes()].concat();
    let program = program()
        .call(number::NANOSLEEP, &[Bytes(&pause), Number(0)])
        .expect(0, "cannot sleep\n")
        .call(number::RT_SIGPROCMASK, &block)
        .expect(0, "cannot block a signal\n")
        .open("/dev/hvc0", true)
        // Linux gives the terminal its first size in a worker of its own; its signal, if any, is not the one
        // that is waited for.
        .call(number::NANOSLEEP, &[Bytes(&time(0, 50_000_000)), Number(0)])
        .expect(0, "cannot sleep\n")
        .call(number::RT_SIGTIMEDWAIT, &[Bytes(&signals), Number(0), Bytes(&time(0, 0)), Number(8)]);
    let program = size(program)
        .call(number::RT_SIGTIMEDWAIT, &[Bytes(&signals), Number(0), Number(0), Number(8)])
        .expect(SIGWINCH as i32, "another signal\n");
    let mut guest = setup(size(program)).boot();
    guest.run_until("rows, columns \u{18}\0P\0.");
    guest.machine.handle().resize(200, 50);
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
    let bytes = guest.console.bytes();
    let expected = b"rows, columns 2\0\xc8\0.\r\n";
    assert!(bytes.windows(expected.len()).any(|window| window == expected), "{}", guest.console.text());
}

#[test]
fn a_disk_is_read_and_written() {
    let mut contents = vec![0; 1 << 20];
    contents[3 * 512..][..13].copy_from_slice(b"from the host");
    let disk = SharedDisk::with_contents(&contents);
    let words = [b"from the guest".as_slice(), &[0; 498]].concat();
    let program = program()
        .open("/dev/vda", true)
        .call(number::PREAD64, &[Kept, Number(SCRATCH), Number(512), Number(3 * 512)])
        .expect(512, "cannot read\n")
        .call(number::WRITE, &[Number(1), Number(SCRATCH), Number(13)])
        .call(number::PWRITE64, &[Kept, Bytes(&words), Number(512), Number(2047 * 512)])
        .expect(512, "cannot write\n")
        .call(number::FSYNC, &[Kept])
        .expect(0, "cannot flush\n")
        .call(number::PREAD64, &[Kept, Number(SCRATCH), Number(512), Number(2048 * 512)])
        .expect(0, "there is more behind the end\n")
        .print(" and back\n");
    let mut setup = setup(program);
    setup.disks.push(Box::new(disk.clone()));
    let mut guest = setup.boot();
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
    let text = guest.console.text();
    assert!(text.contains("from the host and back\r\n"), "{text}");
    assert_eq!(disk.sector(2047), words.as_slice());
    assert_eq!(disk.sector(2046), [0; 512]);
}
