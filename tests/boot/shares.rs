//! Shared directories as programs meet them through Linux's 9p client.

use crate::guest::Setup;
use crate::initramfs::Initramfs;
use crate::program::Argument::{Bytes, Kept, Number, Result};
use crate::program::{Program, Reboot, SCRATCH, number};
use dinghy::machine::RunOutcome;
use dinghy::native::DirectoryTree;
use dinghy::storage::tree::MemoryTree;
use dinghy::virtio::p9::{Share, ShareTag};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// Flags of open(2): make the file, read and write.
const CREATE: u64 = 0o102;
/// fcntl(2): lock without waiting, and the record for a lock of everything.
const SET_LOCK: u64 = 6;
const WRITE_LOCK: [u8; 32] = {
    let mut record = [0; 32];
    record[0] = 1;
    record
};

/// A directory of the host, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The folder under the tag `work`.
    fn share(&self, is_read_only: bool) -> Share {
        let tree = Box::new(DirectoryTree::open(&self.0).unwrap());
        Share { tag: ShareTag::new("work").unwrap(), tree, is_read_only }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A program that has the share at /mnt, with these options more.
fn program(options: &str) -> Program {
    let options = format!("trans=virtio,version=9p2000.L,msize=512000{options}\0");
    let arguments =
        [Bytes(b"work\0"), Bytes(b"/mnt\0"), Bytes(b"9p\0"), Number(0), Bytes(options.as_bytes())];
    Program::new().mount("devtmpfs", "/dev").call(number::MOUNT, &arguments).expect(0, "cannot mount\n")
}

/// Runs the program to the end; what it printed.
fn run(program: Program, share: Share) -> String {
    let image = Initramfs::with_init(&program.reboot(Reboot::PowerOff).finish()).finish();
    let mut setup = Setup::new(image);
    setup.shares.push(share);
    let mut guest = setup.boot();
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
    guest.console.text()
}

#[test]
fn host_and_guest_find_each_others_files() {
    let folder = Folder::new("share");
    std::fs::write(folder.0.join("from the host"), "ahoy from the host\n").unwrap();
    std::fs::write(folder.0.join("old"), "old").unwrap();
    let program = program("")
        .open("/mnt/from the host", false)
        .call(number::READ, &[Kept, Number(SCRATCH), Number(100)])
        .call(number::WRITE, &[Number(1), Number(SCRATCH), Result])
        .call(number::OPEN, &[Bytes(b"/mnt/new\0"), Number(CREATE), Number(0o640)])
        .keep()
        .call(number::WRITE, &[Kept, Bytes(b"from the guest"), Number(14)])
        .expect(14, "cannot write\n")
        .call(number::PWRITE64, &[Kept, Bytes(b"end"), Number(3), Number(1 << 20)])
        .expect(3, "cannot write behind a hole\n")
        .call(number::FCNTL, &[Kept, Number(SET_LOCK), Bytes(&WRITE_LOCK)])
        .expect(0, "cannot lock\n")
        .call(number::FSYNC, &[Kept])
        .expect(0, "cannot synchronize\n")
        .call(number::PREAD64, &[Kept, Number(SCRATCH), Number(100), Number((1 << 20) - 2)])
        .expect(5, "cannot read the end\n")
        .call(number::MKDIR, &[Bytes(b"/mnt/folder\0"), Number(0o751)])
        .expect(0, "cannot make a folder\n")
        .call(number::RENAME, &[Bytes(b"/mnt/old\0"), Bytes(b"/mnt/folder/renamed\0")])
        .expect(0, "cannot rename\n")
        .call(number::LINK, &[Bytes(b"/mnt/new\0"), Bytes(b"/mnt/folder/link\0")])
        .expect(0, "cannot link\n")
        .call(number::SYMLINK, &[Bytes(b"../new\0"), Bytes(b"/mnt/folder/symbolic\0")])
        .expect(0, "cannot link symbolically\n")
        .open("/mnt/folder/symbolic", false)
        .call(number::READ, &[Kept, Number(SCRATCH), Number(14)])
        .expect(14, "cannot follow\n")
        .call(number::CHMOD, &[Bytes(b"/mnt/folder/renamed\0"), Number(0o4711)])
        .expect(0, "cannot change the mode\n")
        .call(number::UNLINK, &[Bytes(b"/mnt/from the host\0")])
        .expect(0, "cannot remove\n")
        .call(number::RMDIR, &[Bytes(b"/mnt/folder\0")])
        .expect(-39, "a folder with files is not empty\n")
        .print("all done\n");
    let text = run(program, folder.share(false));
    assert!(text.contains("ahoy from the host\r\nall done\r\n"), "{text}");
    let new = std::fs::read(folder.0.join("new")).unwrap();
    assert_eq!(new.len(), (1 << 20) + 3);
    assert!(new.starts_with(b"from the guest\0\0") && new.ends_with(b"\0end"));
    let metadata = |name: &str| std::fs::symlink_metadata(folder.0.join(name)).unwrap();
    assert_eq!((metadata("new").nlink(), metadata("new").permissions().mode() & 0o7777), (2, 0o640));
    assert_eq!(metadata("folder").permissions().mode() & 0o7777, 0o751);
    assert_eq!(metadata("folder/renamed").permissions().mode() & 0o7777, 0o4711);
    assert_eq!(std::fs::read_link(folder.0.join("folder/symbolic")).unwrap(), PathBuf::from("../new"));
    assert!(!folder.0.join("from the host").exists() && !folder.0.join("old").exists());
}

#[test]
fn a_read_only_share_cannot_be_written() {
    let folder = Folder::new("read-only-share");
    std::fs::write(folder.0.join("file"), "contents\n").unwrap();
    let program = program("")
        .call(number::OPEN, &[Bytes(b"/mnt/file\0"), Number(2)])
        .expect(-30, "it can be opened for writing\n")
        .call(number::OPEN, &[Bytes(b"/mnt/new\0"), Number(CREATE), Number(0o640)])
        .expect(-30, "a file can be made\n")
        .call(number::UNLINK, &[Bytes(b"/mnt/file\0")])
        .expect(-30, "it can be removed\n")
        .open("/mnt/file", false)
        .call(number::READ, &[Kept, Number(SCRATCH), Number(100)])
        .call(number::WRITE, &[Number(1), Number(SCRATCH), Result]);
    let text = run(program, folder.share(true));
    assert!(text.contains("contents\r\n"), "{text}");
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
}

#[test]
fn a_share_in_memory_brings_files_to_the_guest() {
    let mut tree = MemoryTree::new(4 << 20);
    tree.write_file("etc/dinghy/environment", b"GREETING=ahoy\n", 0o600).unwrap();
    tree.write_file("run", &Program::new().print("it runs\n").exit(0).finish(), 0o755).unwrap();
    let share = Share { tag: ShareTag::new("work").unwrap(), tree: Box::new(tree), is_read_only: false };
    let program = program(",cache=loose")
        .open("/mnt/etc/dinghy/environment", true)
        .call(number::READ, &[Kept, Number(SCRATCH), Number(100)])
        .call(number::WRITE, &[Number(1), Number(SCRATCH), Result])
        .call(number::PWRITE64, &[Kept, Bytes(b"more"), Number(4), Number(10_000)])
        .expect(4, "cannot write\n")
        .call(number::FSYNC, &[Kept])
        .expect(0, "cannot synchronize\n")
        .call(number::PREAD64, &[Kept, Number(SCRATCH), Number(100), Number(9_998)])
        .expect(6, "cannot read back\n")
        .call(number::EXECVE, &[Bytes(b"/mnt/run\0"), Number(0), Number(0)])
        .expect(0, "cannot execute\n");
    let mut setup = Setup::new(Initramfs::with_init(&program.finish()).finish());
    setup.shares.push(share);
    let mut guest = setup.boot();
    guest.run_until("it runs");
    assert!(guest.console.text().contains("GREETING=ahoy\r\n"), "{}", guest.console.text());
}

#[test]
fn links_of_the_host_end_in_the_guests_own_files() {
    let folder = Folder::new("share-with-links");
    std::os::unix::fs::symlink("/secret", folder.0.join("link")).unwrap();
    let program = program("")
        .open("/mnt/link", false)
        .call(number::READ, &[Kept, Number(SCRATCH), Number(100)])
        .call(number::WRITE, &[Number(1), Number(SCRATCH), Result])
        .open("/mnt/../secret", false)
        .call(number::READ, &[Kept, Number(SCRATCH), Number(100)])
        .call(number::WRITE, &[Number(1), Number(SCRATCH), Result])
        .reboot(Reboot::PowerOff);
    let image = Initramfs::with_init(&program.finish()).file("secret", b"the guest's\n").finish();
    let mut setup = Setup::new(image);
    setup.shares.push(folder.share(false));
    let mut guest = setup.boot();
    assert_eq!(guest.run_to_end(), RunOutcome::PoweredOff);
    assert!(guest.console.text().contains("the guest's\r\nthe guest's\r\n"), "{}", guest.console.text());
}
