//! The files that a machine is made of, and its disks.

use super::arguments::{DiskArgument, RunArguments, ShareArgument};
use super::start_up::{self, GuestFile, StartUpError, Variable};
use crate::host::{BlockError, BlockSource, DiskChange, Progress};
use crate::native::{DirectoryTree, DirectoryTreeError, FileDisk, FileDiskError};
use crate::storage::CopyOnWrite;
use crate::virtio::p9::Share;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const DEFAULT_KERNEL: &str = "build/kernel/vmlinux";
const DEFAULT_GUEST: &str = "build/guest/guest.ext4";
/// `earlyprintk` shows what happens before hvc0 is there; `panic=-1` makes a panic end the run at once.
const DEFAULT_COMMAND_LINE: &str = "earlyprintk=ttyS0 console=hvc0 quiet panic=-1";
/// Docker's port by convention; where it is published, the guest's Docker is told to serve its API there.
const DOCKER_PORT: u16 = 2375;
const ROOT_ON_DISK: &str = " root=/dev/vda rw";

/// Why the files do not make a machine.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// A file cannot be read.
    #[error("cannot read the {what} {path}: {source}; {advice}")]
    Read {
        /// What it should be.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
        /// What to do.
        advice: &'static str,
    },
    /// The default guest is not there.
    #[error(
        "there is no guest at {0}; build it (cargo xtask guest) and start dinghy in the project's directory, \
         or name an --initrd or a --disk"
    )]
    NoGuest(PathBuf),
    /// A disk cannot be used.
    #[error(transparent)]
    Disk(#[from] FileDiskError),
    /// A directory cannot be shared.
    #[error(transparent)]
    Share(#[from] DirectoryTreeError),
    /// Two shares have the same name.
    #[error("two shares have the tag {0:?}; the guest could mount only one of them")]
    SameTag(String),
    /// The guest cannot be given what it is to take over.
    #[error(transparent)]
    StartUp(#[from] StartUpError),
}

/// A snapshot.
pub struct SnapshotFile {
    pub bytes: Vec<u8>,
    /// What it leaves to other files is found by its path.
    pub path: PathBuf,
}

/// What the files hold.
pub struct Files {
    /// Not read yet when the machine comes from a snapshot.
    kernel: Option<Vec<u8>>,
    pub snapshot: Option<SnapshotFile>,
    pub initrd: Option<Vec<u8>>,
    pub command_line: String,
    pub disks: Vec<SharedDisk>,
    shares: Vec<ShareArgument>,
    variables: Vec<Variable>,
    guest_files: Vec<GuestFile>,
    command: Option<String>,
}

impl Files {
    /// Reads and opens what `arguments` name, or the defaults.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub fn open(arguments: &RunArguments) -> Result<Self, FileError> {
        let snapshot = arguments.restore.as_deref();
        let snapshot = snapshot
            .map(|path| {
                let bytes = read("snapshot", path, "name a file that --save has written with --restore")?;
                Ok::<_, FileError>(SnapshotFile { bytes, path: path.to_owned() })
            })
            .transpose()?;
        let kernel = match (&arguments.kernel, &snapshot) {
            (Some(path), _) => Some(read("kernel", path, "name a vmlinux or a bzImage with --kernel")?),
            (None, Some(_)) => None,
            (None, None) => Some(read_default_kernel()?),
        };
        let initrd = arguments
            .initrd
            .as_deref()
            .map(|path| read("initrd", path, "name an initramfs image with --initrd"))
            .transpose()?;
        let mut disks = Vec::new();
        for disk in &arguments.disks {
            disks.push(SharedDisk::new(Box::new(FileDisk::open(&disk.path, disk.is_read_only)?)));
        }
        if arguments.kernel.is_none() && initrd.is_none() && disks.is_empty() {
            disks.push(default_guest()?);
        }
        for (index, share) in arguments.shares.iter().enumerate() {
            if arguments.shares.iter().take(index).any(|other| other.tag == share.tag) {
                return Err(FileError::SameTag(share.tag.as_str().to_owned()));
            }
        }
        if !arguments.shares.is_empty() {
            raise_file_limit();
        }
        let command_line = arguments.append.clone().unwrap_or_else(|| {
            let root = if initrd.is_none() && !disks.is_empty() { ROOT_ON_DISK } else { "" };
            let serves_docker = arguments.published.iter().any(|port| port.guest_port == DOCKER_PORT);
            let docker =
                if serves_docker { format!(" dinghy.docker-port={DOCKER_PORT}") } else { String::new() };
            format!("{DEFAULT_COMMAND_LINE}{root}{docker}")
        });
        Ok(Self {
            kernel,
            snapshot,
            initrd,
            command_line,
            disks,
            shares: arguments.shares.clone(),
            variables: arguments.variables.clone(),
            guest_files: arguments.guest_files.clone(),
            command: arguments.command.clone(),
        })
    }

    /// The kernel.
    ///
    /// # Errors
    /// When the machine came from a snapshot, and the default kernel for its restart is not there.
    pub fn kernel(&self) -> Result<Vec<u8>, FileError> {
        self.kernel.clone().map_or_else(read_default_kernel, Ok)
    }

    /// The shared directories, opened for a new machine, and what the guest takes over when it starts.
    ///
    /// # Errors
    /// When one of them cannot be opened, or a file for the guest cannot be read.
    pub fn open_shares(&self) -> Result<Vec<Share>, FileError> {
        let open = |share: &ShareArgument| {
            let tree = Box::new(DirectoryTree::open(&share.path)?);
            Ok(Share { tag: share.tag.clone(), tree, is_read_only: share.is_read_only })
        };
        let start_up = start_up::share(&self.variables, &self.guest_files, self.command.as_deref())?;
        self.shares.iter().map(open).chain(start_up.map(Ok)).collect()
    }
}

/// Lets this process open as many files as it may at all: a guest's kernel holds a file of its share for each name
/// that it remembers.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised) {
        log::warn!("a share may run out of open files: cannot raise the limit: {error}");
    }
}

fn read(what: &'static str, path: &Path, advice: &'static str) -> Result<Vec<u8>, FileError> {
    std::fs::read(path).map_err(|source| FileError::Read { what, path: path.to_owned(), source, advice })
}

fn read_default_kernel() -> Result<Vec<u8>, FileError> {
    read(
        "kernel",
        Path::new(DEFAULT_KERNEL),
        "build it (cargo xtask kernel) and start dinghy in the project's directory, \
         or name one with --kernel",
    )
}

fn default_guest() -> Result<SharedDisk, FileError> {
    let guest = DiskArgument { path: DEFAULT_GUEST.into(), is_read_only: true };
    if !guest.path.exists() {
        return Err(FileError::NoGuest(guest.path));
    }
    let base = FileDisk::open(&guest.path, guest.is_read_only)?;
    Ok(SharedDisk::new(Box::new(CopyOnWrite::new(Box::new(base)))))
}

/// A disk that outlives its machine: when the guest restarts, the next machine finds what was written.
#[derive(Clone)]
pub struct SharedDisk(Arc<Mutex<Box<dyn BlockSource>>>);

impl SharedDisk {
    /// Shares `disk`.
    pub fn new(disk: Box<dyn BlockSource>) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn BlockSource>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlockSource for SharedDisk {
    fn size(&self) -> u64 {
        self.lock().size()
    }

    fn is_read_only(&self) -> bool {
        self.lock().is_read_only()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        self.lock().read(offset, buffer)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        self.lock().write(offset, data)
    }

    fn flush(&mut self) -> Progress {
        self.lock().flush()
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        self.lock().discard(offset, length)
    }

    fn image(&self) -> Option<[u8; 32]> {
        self.lock().image()
    }

    fn has_changes(&self) -> bool {
        self.lock().has_changes()
    }

    fn visit_changes(&mut self, visitor: &mut dyn FnMut(DiskChange<'_>)) -> Result<(), BlockError> {
        self.lock().visit_changes(visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryDisk;
    use std::task::Poll;

    #[test]
    fn the_next_machine_finds_what_was_written() {
        let disk = SharedDisk::new(Box::new(MemoryDisk::new(4096)));
        let mut first: Box<dyn BlockSource> = Box::new(disk.clone());
        assert_eq!(first.write(512, &[5; 512]), Poll::Ready(Ok(())));
        drop(first);
        let mut second: Box<dyn BlockSource> = Box::new(disk);
        let mut buffer = [0; 512];
        assert_eq!(second.read(512, &mut buffer), Poll::Ready(Ok(())));
        assert_eq!(buffer, [5; 512]);
    }
}
