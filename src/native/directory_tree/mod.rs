//! A directory of the host as a tree of files.
//!
//! Files are found one component at a time, from a descriptor of their directory, and symbolic links are never
//! followed, so that nothing outside the directory can be reached, whatever names or links there are. A
//! directory that the host moves away while it is held stays reachable until it is let go.
//!
//! The guest acts with the rights of this process. Only if that is root's, files that the guest makes belong to
//! the guest's users; device nodes cannot be made in any case.

mod extended;
mod node;
#[cfg(test)]
mod tests;

use crate::host::WallTime;
use crate::storage::tree::{
    AttributeChange, Attributes, DirectoryEntry, ExtendedChange, FileError, FileKind, FileTree, HandleId,
    Name, NewFile, NodeId, OpenMode, TimeChange, TreeStatistics,
};
use node::{HostFile, Node, error, own_path};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};
use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

/// Room for entries of a directory; more are read by another call.
const ENTRIES_BYTES: usize = 64 << 10;

/// Why a directory cannot be shared.
#[derive(Debug, thiserror::Error)]
#[error("cannot share {path}: {source}; name a directory that you may read")]
pub struct DirectoryTreeError {
    /// The directory.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

struct Handle {
    file: OwnedFd,
    node: NodeId,
    mode: OpenMode,
}

/// A tree of files that is a directory of the host.
pub struct DirectoryTree {
    nodes: HashMap<NodeId, Node>,
    by_file: HashMap<HostFile, NodeId>,
    root: Option<NodeId>,
    handles: HashMap<HandleId, Handle>,
    next_node: u64,
    next_handle: u64,
    /// The host's file systems that were met; the top directory's is the first.
    devices: Vec<u64>,
    /// Whether this process may give files to any user.
    is_root: bool,
}

impl DirectoryTree {
    /// The tree below `path`.
    ///
    /// # Errors
    /// When `path` is no directory or cannot be opened.
    pub fn open(path: &Path) -> Result<Self, DirectoryTreeError> {
        let failed = |source| DirectoryTreeError { path: path.to_owned(), source };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let descriptor =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(errno.into()))?;
        let mut tree = Self {
            nodes: HashMap::new(),
            by_file: HashMap::new(),
            root: None,
            handles: HashMap::new(),
            next_node: 1,
            next_handle: 1,
            devices: Vec::new(),
            is_root: rustix::process::geteuid().is_root(),
        };
        // Its one holder is the tree, so that it never goes.
        let (root, _) = tree
            .admit(descriptor, None)
            .map_err(|error| failed(io::Error::from_raw_os_error(error.errno().into())))?;
        tree.root = Some(root);
        Ok(tree)
    }

    fn handle(&self, handle: HandleId) -> Result<&Handle, FileError> {
        self.handles.get(&handle).ok_or(FileError::BadHandle)
    }

    fn keep_open(&mut self, file: OwnedFd, node: NodeId, mode: OpenMode) -> Result<HandleId, FileError> {
        self.hold(node)?;
        let handle = HandleId(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(handle, Handle { file, node, mode });
        Ok(handle)
    }

    /// Opens the file of `descriptor`, which names it only.
    fn reopen(descriptor: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, FileError> {
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY;
        rustix::fs::open(own_path(descriptor), flags, Mode::empty()).map_err(error)
    }

    /// Finds the file that was just made, and gives it its owner and permissions.
    fn finish_new(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        let (node, attributes) = self.find(directory, name)?;
        match self.give_owner_and_permissions(node, attributes.kind, new) {
            Ok(()) => Ok((node, self.attributes_at(node)?)),
            Err(error) => {
                self.let_go(node);
                Err(error)
            }
        }
    }

    fn give_owner_and_permissions(
        &self,
        node: NodeId,
        kind: FileKind,
        new: NewFile,
    ) -> Result<(), FileError> {
        let descriptor = self.node(node)?.descriptor.as_fd();
        if self.is_root {
            let (user, group) = (owner(new.user)?, owner(new.group)?);
            let (user, group) = (user.map(Uid::from_raw), group.map(Gid::from_raw));
            rustix::fs::chownat(descriptor, "", user, group, AtFlags::EMPTY_PATH).map_err(error)?;
        }
        if kind == FileKind::SymbolicLink {
            return Ok(());
        }
        // The guest has applied its umask; this process's has no say.
        rustix::fs::chmod(own_path(descriptor), Mode::from_raw_mode(new.permissions)).map_err(error)
    }
}

/// A user or group to set; the number that stands for "unchanged" in system calls is none.
fn owner(number: u32) -> Result<Option<u32>, FileError> {
    if number == u32::MAX { Err(FileError::Invalid) } else { Ok(Some(number)) }
}

fn access_flags(mode: OpenMode) -> OFlags {
    let access = match (mode.is_readable, mode.is_writable) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        (_, false) => OFlags::RDONLY,
    };
    let synchronous = if mode.is_synchronous { OFlags::DSYNC } else { OFlags::empty() };
    let truncating = if mode.is_truncating { OFlags::TRUNC } else { OFlags::empty() };
    access | synchronous | truncating
}

fn timespec(change: Option<TimeChange>) -> Result<Timespec, FileError> {
    Ok(match change {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(TimeChange::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(TimeChange::To(time)) => Timespec {
            tv_sec: i64::try_from(time.unix_ns / 1_000_000_000).map_err(|_| FileError::Invalid)?,
            tv_nsec: (time.unix_ns % 1_000_000_000) as i64,
        },
    })
}

impl FileTree for DirectoryTree {
    fn set_time(&mut self, _now: WallTime) {
        // The host's file system keeps times by the host's clock.
    }

    fn root(&mut self) -> Result<(NodeId, Attributes), FileError> {
        let root = self.root.ok_or(FileError::BadHandle)?;
        let attributes = self.attributes_at(root)?;
        self.hold(root)?;
        Ok((root, attributes))
    }

    fn look_up(&mut self, directory: NodeId, name: Name<'_>) -> Result<(NodeId, Attributes), FileError> {
        self.find(directory, name)
    }

    fn parent(&mut self, directory: NodeId) -> Result<(NodeId, Attributes), FileError> {
        self.directory(directory)?;
        let parent = self.node(directory)?.parent.unwrap_or(directory);
        let attributes = self.attributes_at(parent)?;
        self.hold(parent)?;
        Ok((parent, attributes))
    }

    fn hold(&mut self, node: NodeId) -> Result<(), FileError> {
        self.nodes.get_mut(&node).ok_or(FileError::BadHandle)?.holders += 1;
        Ok(())
    }

    fn forget(&mut self, node: NodeId) {
        self.let_go(node);
    }

    fn attributes(&mut self, node: NodeId) -> Result<Attributes, FileError> {
        self.attributes_at(node)
    }

    fn set_attributes(&mut self, node: NodeId, change: &AttributeChange) -> Result<(), FileError> {
        let node = self.node(node)?;
        let descriptor = node.descriptor.as_fd();
        if let Some(size) = change.size {
            match node.kind {
                FileKind::Regular => {}
                FileKind::Directory => return Err(FileError::IsDirectory),
                _ => return Err(FileError::Invalid),
            }
            let file = Self::reopen(descriptor, OFlags::WRONLY)?;
            rustix::fs::ftruncate(file, size).map_err(error)?;
        }
        if change.user.is_some() || change.group.is_some() {
            let user = change.user.map(owner).transpose()?.flatten().map(Uid::from_raw);
            let group = change.group.map(owner).transpose()?.flatten().map(Gid::from_raw);
            rustix::fs::chownat(descriptor, "", user, group, AtFlags::EMPTY_PATH).map_err(error)?;
        }
        if let Some(permissions) = change.permissions {
            if node.kind == FileKind::SymbolicLink {
                return Err(FileError::NotSupported);
            }
            rustix::fs::chmod(own_path(descriptor), Mode::from_raw_mode(permissions)).map_err(error)?;
        }
        if change.accessed.is_some() || change.modified.is_some() {
            let times = Timestamps {
                last_access: timespec(change.accessed)?,
                last_modification: timespec(change.modified)?,
            };
            rustix::fs::utimensat(descriptor, "", &times, AtFlags::EMPTY_PATH).map_err(error)?;
        }
        Ok(())
    }

    fn read_link(&mut self, node: NodeId) -> Result<Vec<u8>, FileError> {
        let node = self.node(node)?;
        if node.kind != FileKind::SymbolicLink {
            return Err(FileError::Invalid);
        }
        let target = rustix::fs::readlinkat(&node.descriptor, "", Vec::new()).map_err(error)?;
        Ok(target.into_bytes())
    }

    fn open(&mut self, node: NodeId, mode: OpenMode) -> Result<HandleId, FileError> {
        let opened = self.node(node)?;
        let flags = match opened.kind {
            FileKind::Regular => access_flags(mode),
            FileKind::Directory if mode.is_writable || mode.is_truncating => {
                return Err(FileError::IsDirectory);
            }
            FileKind::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
            FileKind::SymbolicLink => return Err(FileError::Loop),
            // The guest's own kernel opens these; the host's pipes and devices are not shared.
            _ => return Err(FileError::NotSupported),
        };
        let file = Self::reopen(opened.descriptor.as_fd(), flags)?;
        self.keep_open(file, node, mode)
    }

    fn create(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        mode: OpenMode,
        new: NewFile,
    ) -> Result<(NodeId, Attributes, HandleId), FileError> {
        let flags = access_flags(mode) | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let first = Mode::from_raw_mode(0o600);
        let file =
            rustix::fs::openat(self.directory(directory)?, name.bytes(), flags, first).map_err(error)?;
        // By its descriptor and not its name, which may already lead elsewhere.
        let descriptor = Self::reopen(file.as_fd(), OFlags::PATH)?;
        let (node, _) = self.admit(descriptor, Some(directory))?;
        let finished = self
            .give_owner_and_permissions(node, FileKind::Regular, new)
            .and_then(|()| self.attributes_at(node))
            .and_then(|attributes| Ok((node, attributes, self.keep_open(file, node, mode)?)));
        if finished.is_err() {
            self.let_go(node);
        }
        finished
    }

    fn close(&mut self, handle: HandleId) {
        if let Some(closed) = self.handles.remove(&handle) {
            self.let_go(closed.node);
        }
    }

    fn read(&mut self, handle: HandleId, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        let handle = self.handle(handle)?;
        if !handle.mode.is_readable {
            return Err(FileError::BadHandle);
        }
        let mut finished = 0;
        while let Some(rest) = buffer.get_mut(finished..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pread(&handle.file, rest, offset.saturating_add(finished as u64)) {
                Ok(0) => break,
                Ok(length) => finished += length,
                Err(rustix::io::Errno::INTR) => {}
                // What was read is read; the error comes back with the next call.
                Err(_) if finished > 0 => break,
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(finished)
    }

    fn write(&mut self, handle: HandleId, offset: u64, data: &[u8]) -> Result<usize, FileError> {
        let handle = self.handle(handle)?;
        if !handle.mode.is_writable {
            return Err(FileError::BadHandle);
        }
        let mut finished = 0;
        while let Some(rest) = data.get(finished..).filter(|rest| !rest.is_empty()) {
            match rustix::io::pwrite(&handle.file, rest, offset.saturating_add(finished as u64)) {
                Ok(0) => break,
                Ok(length) => finished += length,
                Err(rustix::io::Errno::INTR) => {}
                Err(_) if finished > 0 => break,
                Err(errno) => return Err(error(errno)),
            }
        }
        Ok(finished)
    }

    fn read_directory(
        &mut self,
        handle: HandleId,
        cookie: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), FileError> {
        let Handle { file, node, .. } = self.handle(handle)?;
        let (node, file) = (*node, file.try_clone().map_err(|_| FileError::TooManyOpen)?);
        let own = self.attributes_at(node)?;
        let device = self.node(node)?.file.0;
        let is_root = Some(node) == self.root;
        rustix::fs::seek(&file, SeekFrom::Start(cookie)).map_err(error)?;
        let mut buffer = vec![MaybeUninit::uninit(); ENTRIES_BYTES];
        let mut entries = rustix::fs::RawDir::new(&file, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(error)?;
            let name = entry.file_name().to_bytes();
            let kind = match FileKind::from_mode(entry.file_type().as_raw_mode()) {
                Some(kind) => kind,
                // Some file systems do not tell.
                None => match rustix::fs::statat(&file, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => FileKind::from_mode(stat.st_mode).ok_or(FileError::InputOutput)?,
                    Err(rustix::io::Errno::NOENT) => continue,
                    Err(errno) => return Err(error(errno)),
                },
            };
            // What the top directory lies in is not part of the tree.
            let inode = if is_root && name == b".." { own.inode } else { self.inode((device, entry.ino())) };
            if !visit(DirectoryEntry { name, inode, kind, cookie: entry.next_entry_cookie() }) {
                break;
            }
        }
        Ok(())
    }

    fn synchronize(&mut self, handle: HandleId, is_data_only: bool) -> Result<(), FileError> {
        let file = &self.handle(handle)?.file;
        if is_data_only { rustix::fs::fdatasync(file) } else { rustix::fs::fsync(file) }.map_err(error)
    }

    fn make_directory(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        rustix::fs::mkdirat(self.directory(directory)?, name.bytes(), Mode::from_raw_mode(0o700))
            .map_err(error)?;
        self.finish_new(directory, name, new)
    }

    fn make_node(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        kind: FileKind,
        _device: (u32, u32),
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        let host_kind = match kind {
            FileKind::Regular => rustix::fs::FileType::RegularFile,
            FileKind::Fifo => rustix::fs::FileType::Fifo,
            FileKind::Socket => rustix::fs::FileType::Socket,
            // A device node would open the host's device, outside of the tree.
            FileKind::BlockDevice | FileKind::CharacterDevice => return Err(FileError::NotPermitted),
            FileKind::Directory | FileKind::SymbolicLink => return Err(FileError::Invalid),
        };
        let first = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(self.directory(directory)?, name.bytes(), host_kind, first, 0).map_err(error)?;
        self.finish_new(directory, name, new)
    }

    fn make_symbolic_link(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        target: &[u8],
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        rustix::fs::symlinkat(target, self.directory(directory)?, name.bytes()).map_err(error)?;
        self.finish_new(directory, name, new)
    }

    fn link(&mut self, node: NodeId, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        let file = self.node(node)?;
        if file.kind == FileKind::Directory {
            return Err(FileError::NotPermitted);
        }
        let path = own_path(file.descriptor.as_fd());
        let directory = self.directory(directory)?;
        rustix::fs::linkat(rustix::fs::CWD, path, directory, name.bytes(), AtFlags::SYMLINK_FOLLOW)
            .map_err(error)
    }

    fn rename(
        &mut self,
        from: NodeId,
        old_name: Name<'_>,
        to: NodeId,
        new_name: Name<'_>,
    ) -> Result<(), FileError> {
        let (source, target) = (self.directory(from)?, self.directory(to)?);
        rustix::fs::renameat(source, old_name.bytes(), target, new_name.bytes()).map_err(error)?;
        self.follow_move(to, new_name);
        Ok(())
    }

    fn remove_file(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        rustix::fs::unlinkat(self.directory(directory)?, name.bytes(), AtFlags::empty()).map_err(error)
    }

    fn remove_directory(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        rustix::fs::unlinkat(self.directory(directory)?, name.bytes(), AtFlags::REMOVEDIR).map_err(error)
    }

    fn statistics(&mut self, node: NodeId) -> Result<TreeStatistics, FileError> {
        let figures = rustix::fs::fstatvfs(&self.node(node)?.descriptor).map_err(error)?;
        Ok(TreeStatistics {
            block_bytes: u32::try_from(figures.f_frsize).unwrap_or(4096),
            blocks: figures.f_blocks,
            free_blocks: figures.f_bfree,
            available_blocks: figures.f_bavail,
            files: figures.f_files,
            free_files: figures.f_ffree,
            name_bytes_max: u32::try_from(figures.f_namemax).unwrap_or(255),
        })
    }

    fn extended(&mut self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, FileError> {
        self.extended_value(node, name)
    }

    fn extended_names(&mut self, node: NodeId) -> Result<Vec<u8>, FileError> {
        self.extended_list(node)
    }

    fn set_extended(
        &mut self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        change: ExtendedChange,
    ) -> Result<(), FileError> {
        self.change_extended(node, name, value, change)
    }

    fn remove_extended(&mut self, node: NodeId, name: &[u8]) -> Result<(), FileError> {
        self.drop_extended(node, name)
    }
}
