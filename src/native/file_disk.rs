//! A disk in a file.

use crate::host::{BlockError, BlockSource, Progress};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::task::Poll;

const SECTOR_BYTES: u64 = 512;
/// Zeroes written at a time where the file system cannot make a hole.
const ZEROES: &[u8] = &[0; 64 << 10];

/// Why a file cannot be a disk.
#[derive(Debug, thiserror::Error)]
pub enum FileDiskError {
    /// The file cannot be opened.
    #[error("cannot open the disk {path}: {source}; check its name and permissions{}", hint(.source))]
    Open {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The file's size is not a whole number of sectors.
    #[error(
        "the disk {path} has {size} bytes, which is not a positive multiple of 512; \
         copy it again or pad it (truncate -s %512)"
    )]
    Size {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// Another program uses the file.
    #[error(
        "the disk {0} is in use by another machine; stop that one, or give both a copy or :ro after the name"
    )]
    InUse(PathBuf),
}

/// What else to do about an error that a read-only disk would not have.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ", or put :ro after the name for a read-only disk"
        }
        _ => "",
    }
}

/// A disk whose bytes are those of a file or a block device.
#[derive(Debug)]
pub struct FileDisk {
    file: File,
    size: u64,
    is_read_only: bool,
}

impl FileDisk {
    /// Opens the file at `path`. It is locked, so that two machines do not write to one disk.
    ///
    /// # Errors
    /// When the file cannot be opened, is in use, or is not a whole number of 512-byte sectors.
    pub fn open(path: &Path, is_read_only: bool) -> Result<Self, FileDiskError> {
        let cannot_open = |source| FileDiskError::Open { path: path.to_owned(), source };
        let mut file = OpenOptions::new().read(true).write(!is_read_only).open(path).map_err(cannot_open)?;
        if file.metadata().map_err(cannot_open)?.is_dir() {
            return Err(cannot_open(io::ErrorKind::IsADirectory.into()));
        }
        let lock = if is_read_only { file.try_lock_shared() } else { file.try_lock() };
        match lock {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FileDiskError::InUse(path.to_owned())),
            // Some network file systems have no locks; that is no reason not to use the disk.
            Err(TryLockError::Error(error)) => log::warn!("cannot lock {}: {error}", path.display()),
        }
        // Unlike the metadata, the end tells the size of block devices too.
        let size = file.seek(SeekFrom::End(0)).map_err(cannot_open)?;
        if size == 0 || size % SECTOR_BYTES != 0 {
            return Err(FileDiskError::Size { path: path.to_owned(), size });
        }
        Ok(Self { file, size, is_read_only })
    }

    fn check(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(BlockError::OutOfRange { offset, length, size: self.size }),
        }
    }

    fn check_write(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        if self.is_read_only { Err(BlockError::ReadOnly) } else { self.check(offset, length) }
    }

    fn write_zeroes(&self, mut offset: u64, mut length: u64) -> io::Result<()> {
        while length > 0 {
            let count = length.min(ZEROES.len() as u64);
            self.file.write_all_at(&ZEROES[..count as usize], offset)?;
            offset += count;
            length -= count;
        }
        Ok(())
    }

    #[cfg(target_os = "linux")]
    fn make_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match fallocate(&self.file, flags, offset, length) {
            Ok(()) => Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NODEV) => self.write_zeroes(offset, length),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn make_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        self.write_zeroes(offset, length)
    }
}

fn finished(result: io::Result<()>) -> Progress {
    Poll::Ready(result.map_err(|error| BlockError::Host(error.to_string())))
}

impl BlockSource for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        self.check(offset, buffer.len() as u64)?;
        finished(self.file.read_exact_at(buffer, offset))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        self.check_write(offset, data.len() as u64)?;
        finished(self.file.write_all_at(data, offset))
    }

    fn flush(&mut self) -> Progress {
        if self.is_read_only {
            return Poll::Ready(Ok(()));
        }
        finished(self.file.sync_data())
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        self.check_write(offset, length)?;
        if length == 0 {
            return Poll::Ready(Ok(()));
        }
        finished(self.make_hole(offset, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of its own in the system's temporary directory, removed when the test ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, contents: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("dinghy-{}-{name}", std::process::id()));
            std::fs::write(&path, contents).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    #[test]
    fn writes_reach_the_file_and_discards_read_as_zeroes() {
        let file = Scratch::new("writes", &[7; 4096]);
        let mut disk = FileDisk::open(&file.0, false).unwrap();
        assert_eq!(disk.size(), 4096);
        assert_eq!(disk.write(512, &[1; 512]), Poll::Ready(Ok(())));
        assert_eq!(disk.discard(1024, 512), Poll::Ready(Ok(())));
        assert_eq!(disk.flush(), Poll::Ready(Ok(())));
        let mut buffer = [9; 2048];
        assert_eq!(disk.read(0, &mut buffer), Poll::Ready(Ok(())));
        let expected = [[7; 512], [1; 512], [0; 512], [7; 512]].concat();
        assert_eq!(buffer.to_vec(), expected);
        assert_eq!(std::fs::read(&file.0).unwrap()[..2048], expected);
        assert_eq!(std::fs::metadata(&file.0).unwrap().len(), 4096);
    }

    #[test]
    fn nothing_outside_the_disk_is_reached() {
        let file = Scratch::new("range", &[7; 1024]);
        let mut disk = FileDisk::open(&file.0, false).unwrap();
        for offset in [512, 1024, u64::MAX - 511] {
            let error = Poll::Ready(Err(BlockError::OutOfRange { offset, length: 1024, size: 1024 }));
            assert_eq!(disk.read(offset, &mut [0; 1024]), error);
            assert_eq!(disk.write(offset, &[0; 1024]), error);
            assert_eq!(disk.discard(offset, 1024), error);
        }
        assert_eq!(std::fs::read(&file.0).unwrap(), [7; 1024]);
    }

    #[test]
    fn a_read_only_disk_is_not_changed() {
        let file = Scratch::new("read-only", &[7; 512]);
        let mut disk = FileDisk::open(&file.0, true).unwrap();
        assert!(disk.is_read_only());
        assert_eq!(disk.write(0, &[0; 512]), Poll::Ready(Err(BlockError::ReadOnly)));
        assert_eq!(disk.discard(0, 512), Poll::Ready(Err(BlockError::ReadOnly)));
        assert_eq!(disk.flush(), Poll::Ready(Ok(())));
        assert_eq!(std::fs::read(&file.0).unwrap(), [7; 512]);
    }

    #[test]
    fn two_machines_share_a_disk_only_for_reading() {
        let file = Scratch::new("shared", &[7; 512]);
        let reader = FileDisk::open(&file.0, true).unwrap();
        assert!(FileDisk::open(&file.0, true).is_ok());
        assert!(matches!(FileDisk::open(&file.0, false), Err(FileDiskError::InUse(_))));
        drop(reader);
        assert!(FileDisk::open(&file.0, false).is_ok());
    }

    #[test]
    fn odd_sizes_are_refused() {
        for length in [0, 1, 511, 513] {
            let file = Scratch::new("size", &vec![0; length]);
            let error = FileDisk::open(&file.0, true).unwrap_err();
            assert!(matches!(error, FileDiskError::Size { size, .. } if size == length as u64));
        }
    }
}
