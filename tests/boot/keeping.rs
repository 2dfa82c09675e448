//! Machines that are kept beside their disks go on where they were, or not at all.

use crate::guest::{Guest, Setup};
use crate::initramfs::Initramfs;
use crate::program::{Argument, Program, Reboot, SCRATCH, number};
use dinghy::host::{ByteFile, ByteFileError};
use dinghy::machine::{Machine, MachineError, RunOutcome};
use dinghy::snapshot::{KeptFile, SnapshotError};
use dinghy::storage::{Digest, MemoryDisk, PersistentDisk};
use std::sync::{Arc, Mutex};

const DISK_BYTES: u64 = 1 << 20;

/// A file that outlives its machine. Clones are the same file.
#[derive(Clone, Default)]
struct SharedFile(Arc<Mutex<Vec<u8>>>);

impl SharedFile {
    /// The file as it is now, as another one.
    fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }
}

impl ByteFile for SharedFile {
    fn size(&mut self) -> Result<u64, ByteFileError> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ByteFileError> {
        let bytes = self.0.lock().unwrap();
        let found = bytes.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(found.ok_or_else(|| ByteFileError("read past the end".to_owned()))?);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ByteFileError> {
        let mut bytes = self.0.lock().unwrap();
        let end = offset as usize + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn truncate(&mut self, size: u64) -> Result<(), ByteFileError> {
        self.0.lock().unwrap().truncate(size as usize);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ByteFileError> {
        Ok(())
    }
}

/// The first bytes of the disk after each of the program's writes.
const WRITTEN: [&[u8; 8]; 2] = [b"written1", b"written2"];

/// A program that writes to its disk, waits, and writes again.
fn setup(overlay: &SharedFile) -> Setup {
    let write = |program: Program, bytes: &'static [u8; 8]| {
        let bytes = [Argument::Kept, Argument::Bytes(bytes), Argument::Number(8)];
        let program = program.open("/dev/vda", true).call(number::WRITE, &bytes).expect(8, "cannot write\n");
        program.call(number::FSYNC, &[Argument::Kept]).expect(0, "cannot flush\n")
    };
    let program = Program::new().mount("devtmpfs", "/dev").print("first words\n");
    let program = write(program, WRITTEN[0]).print("once on disk\n").sleep(50_000_000).print("awake\n");
    let program = write(program, WRITTEN[1]).print("twice on disk\n").sleep(50_000_000);
    let program = program
        .open("/dev/vda", false)
        .call(number::READ, &[Argument::Kept, Argument::Number(SCRATCH), Argument::Number(8)])
        .call(number::WRITE, &[Argument::Number(1), Argument::Number(SCRATCH), Argument::Number(8)])
        .print("\nlast words\n")
        .reboot(Reboot::PowerOff);
    Setup {
        disks: vec![Box::new(disk(overlay))],
        ..Setup::new(Initramfs::with_init(&program.finish()).finish())
    }
}

fn disk(overlay: &SharedFile) -> PersistentDisk {
    let base = Box::new(MemoryDisk::new(DISK_BYTES));
    PersistentDisk::open(base, Box::new(overlay.clone()), Digest::of(b"an image")).unwrap()
}

fn keep(guest: &mut Guest, file: &SharedFile) -> usize {
    let mut kept = KeptFile::open(Box::new(file.clone())).unwrap();
    guest.machine.keep(&mut kept).unwrap()
}

fn go_on(overlay: &SharedFile, file: &SharedFile) -> Result<Guest, MachineError> {
    let mut kept = KeptFile::open(Box::new(file.clone())).unwrap();
    setup(overlay).build_by(|config| Machine::go_on(config, &mut kept))
}

/// Runs until the console shows `text`, and so little further that nothing more can have reached the disk: a step may
/// jump over any time in which the guest sleeps.
fn run_just_until(guest: &mut Guest, text: &str) {
    const FINE_STEP: u64 = 500;
    while !guest.console.text().contains(text) {
        let outcome = guest.machine.run(FINE_STEP);
        assert!(matches!(outcome, RunOutcome::LimitReached), "{outcome:?} before {text:?}");
    }
}

fn contents(overlay: &SharedFile) -> Vec<u8> {
    use dinghy::host::BlockSource;
    let mut bytes = vec![0; 512];
    assert!(disk(overlay).read(0, &mut bytes).is_ready());
    bytes.truncate(8);
    bytes
}

#[test]
fn a_kept_machine_goes_on_with_its_disk_as_if_it_had_not_ended() {
    let overlay = SharedFile::default();
    let mut whole = setup(&overlay).boot();
    let file = SharedFile::default();
    whole.run_until("first words");
    let first = keep(&mut whole, &file);
    whole.run_until("once on disk");
    let second = keep(&mut whole, &file);
    assert!(second < first / 2, "{second} pages after {first}: only what has changed is written");
    // The process ends here, and leaves what it has in its files.
    let (overlay_then, file_then) = (overlay.copy(), file.copy());
    assert_eq!(whole.run_to_end(), RunOutcome::PoweredOff);

    let mut gone_on = go_on(&overlay_then, &file_then).unwrap();
    assert_eq!(gone_on.run_to_end(), RunOutcome::PoweredOff);
    assert_eq!(gone_on.console.text(), whole.console.text());
    assert_eq!(gone_on.instructions(), whole.instructions());
    assert_eq!(contents(&overlay_then), WRITTEN[1]);
}

#[test]
fn memory_never_meets_a_disk_that_has_moved_on() {
    let (overlay, file) = (SharedFile::default(), SharedFile::default());
    let mut guest = setup(&overlay).boot();
    guest.run_until("first words");
    run_just_until(&mut guest, "once on disk");
    keep(&mut guest, &file);
    assert_eq!(contents(&overlay.copy()), WRITTEN[0]);
    run_just_until(&mut guest, "awake");
    // Nothing was written since.
    assert!(go_on(&overlay.copy(), &file.copy()).is_ok());
    guest.run_until("twice on disk");
    drop(guest);
    match go_on(&overlay, &file) {
        Err(MachineError::Snapshot(SnapshotError::MovedOn)) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("old memory met a new disk"),
    }
    // What was flushed is there, and a machine that boots finds it.
    assert_eq!(contents(&overlay.copy()), WRITTEN[1]);
    keep(&mut setup(&overlay).boot(), &file);
    assert!(go_on(&overlay, &file).is_ok());
    match go_on(&SharedFile::default(), &file) {
        Err(MachineError::Snapshot(SnapshotError::MovedOn)) => {}
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("memory met an empty overlay"),
    }
}
