//! Saved machines go on as if nothing had happened; by the host's clock they learn what has.

use crate::guest::{Guest, Setup};
use crate::initramfs::Initramfs;
use crate::program::{Argument, Program, Reboot, SCRATCH, number};
use dinghy::host::BlockSource;
use dinghy::machine::{ClockSource, MachineError, RunOutcome};
use dinghy::native::SystemClock;
use dinghy::snapshot::SnapshotError;
use dinghy::storage::{CopyOnWrite, MemoryDisk};
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DISK_BYTES: u64 = 1 << 20;

fn scratch(length: u64) -> [Argument<'static>; 3] {
    [Argument::Kept, Argument::Number(SCRATCH), Argument::Number(length)]
}

/// A program that uses time, randomness, both consoles and a disk.
pub fn setup() -> Setup {
    let program = Program::new()
        .mount("devtmpfs", "/dev")
        .print("first words\n")
        .open("/dev/hwrng", false)
        .call(number::READ, &scratch(8))
        .expect(8, "no random numbers\n")
        .open("/dev/vda", true)
        .call(number::WRITE, &scratch(4096))
        .expect(4096, "cannot write\n")
        .call(number::FSYNC, &[Argument::Kept])
        .expect(0, "cannot flush\n")
        .print("on disk\n")
        .sleep(30_000_000)
        .print("awake\n")
        .open("/dev/urandom", false)
        .call(number::READ, &scratch(64))
        .open("/dev/vda", true)
        .call(number::WRITE, &scratch(4096))
        .expect(4096, "cannot write again\n")
        .call(number::FSYNC, &[Argument::Kept])
        .print("last words\n")
        .reboot(Reboot::PowerOff);
    Setup {
        disks: vec![Box::new(CopyOnWrite::new(Box::new(MemoryDisk::new(DISK_BYTES))))],
        ..Setup::new(Initramfs::with_init(&program.finish()).finish())
    }
}

#[test]
fn a_restored_machine_goes_on_as_if_it_had_not_been_saved() {
    let mut whole = setup().boot();
    // In the middle of the kernel's start …
    while whole.instructions() < 30_000_000 {
        whole.step();
    }
    let early = whole.save();
    // … and of a program that has written to its disk and sleeps.
    whole.run_until("on disk");
    let late = whole.save();
    assert_eq!(whole.run_to_end(), RunOutcome::PoweredOff);
    let end = whole.save();
    assert!(late.len() < 40 << 20, "{} bytes for little more than a kernel", late.len());

    for snapshot in [early, late] {
        let mut restored = setup().restore(&snapshot).unwrap();
        assert_eq!(restored.run_to_end(), RunOutcome::PoweredOff);
        // What was shown before is shown again.
        assert_eq!(restored.console.text(), whole.console.text());
        assert_eq!(restored.instructions(), whole.instructions());
        // RAM, processor, devices and disk.
        assert!(restored.save() == end, "the machines differ at their ends");
    }
}

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn in_real_time(setup: Setup) -> Setup {
    Setup { clock: ClockSource::Real(Arc::new(SystemClock::start_now())), ..setup }
}

#[test]
fn a_restored_guest_is_told_the_time_and_gets_other_random_numbers() {
    let line = || [Argument::Kept, Argument::Number(SCRATCH), Argument::Number(64)];
    let print = || [Argument::Number(1), Argument::Number(SCRATCH), Argument::Result];
    let program = Program::new()
        .mount("devtmpfs", "/dev")
        .open("/dev/ttyS0", true)
        .call(number::WRITE, &[Argument::Kept, Argument::Bytes(b"dinghy:listening\n"), Argument::Number(17)])
        .print("saved here\n")
        .call(number::READ, &line())
        .call(number::WRITE, &print())
        .call(number::READ, &line())
        .call(number::WRITE, &print())
        .reboot(Reboot::PowerOff);
    let initramfs = Initramfs::with_init(&program.finish()).finish();
    let setup = || in_real_time(Setup::new(initramfs.clone()));
    let mut first = setup().boot();
    first.run_until("saved here");
    first.step();
    let snapshot = first.save();
    std::thread::sleep(Duration::from_millis(1_500));

    let mut restored = setup().restore(&snapshot).unwrap();
    restored.run_until("dinghy:time ");
    restored.run_to_end();
    let now = unix_seconds();
    let text = restored.console.text();
    let told: Vec<f64> =
        text.lines().filter_map(|line| line.trim().strip_prefix("dinghy:time ")?.parse().ok()).collect();
    assert_eq!(told.len(), 2, "{text}");
    // The second message comes as its second begins, and is the last thing to happen.
    assert!((now - told[1]).abs() < 0.9, "told {told:?}, it is {now}");
    assert!((told[1] - told[0]).abs() <= 1.0);
    assert!(text.contains("crng reseeded due to virtual machine fork"), "{text}");
}

#[test]
fn a_snapshot_that_does_not_fit_is_refused_with_the_reason() {
    let mut guest: Guest = setup().boot();
    guest.step();
    let snapshot = guest.save();
    let refusal = |setup: Setup, snapshot: &[u8]| match setup.restore(snapshot) {
        Err(MachineError::Snapshot(error)) => error,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it was not refused"),
    };
    let disk: Box<dyn BlockSource> = Box::new(MemoryDisk::new(2 * DISK_BYTES));
    let other_disk = refusal(Setup { disks: vec![disk], ..setup() }, &snapshot);
    assert!(matches!(other_disk, SnapshotError::Mismatch(_)), "{other_disk}");
    let mut disk = CopyOnWrite::new(Box::new(MemoryDisk::new(DISK_BYTES)) as Box<dyn BlockSource>);
    assert!(matches!(disk.write(0, &[1; 512]), Poll::Ready(Ok(()))));
    let written = refusal(Setup { disks: vec![Box::new(disk)], ..setup() }, &snapshot);
    assert!(written.to_string().contains("was written to since"), "{written}");
    let cut = refusal(setup(), &snapshot[..snapshot.len() - 1]);
    assert_eq!(cut, SnapshotError::Truncated);
    let mut damaged = snapshot.clone();
    damaged[snapshot.len() / 2] ^= 1;
    assert!(matches!(refusal(setup(), &damaged), SnapshotError::Damaged { .. }));
    assert_eq!(refusal(setup(), b"not at all"), SnapshotError::NotASnapshot);
}
