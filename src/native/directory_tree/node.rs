//! The files of the host that a tree holds.

use super::DirectoryTree;
use crate::host::WallTime;
use crate::storage::tree::{Attributes, FileError, FileKind, Name, NodeId, PERMISSION_BITS};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, Stat};

/// Device and inode: which file of the host it is, as long as it is held.
pub(super) type HostFile = (u64, u64);

/// A file of the host. Its descriptor (`O_PATH`) names the file and nothing else: it opens nothing.
pub(super) struct Node {
    pub(super) descriptor: OwnedFd,
    pub(super) file: HostFile,
    pub(super) kind: FileKind,
    /// Of a directory below the top: where it was found. Held.
    pub(super) parent: Option<NodeId>,
    /// Those who have got the node's id and not forgotten it.
    pub(super) holders: u64,
}

/// The error of a system call.
pub(super) fn error(errno: rustix::io::Errno) -> FileError {
    FileError::from_errno(errno.raw_os_error())
}

/// A path that leads to the file of `descriptor` itself, even if that is a symbolic link: for calls that take no
/// `O_PATH` descriptor.
pub(super) fn own_path(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Seconds and nanoseconds; times before 1970 become its beginning.
fn wall_time(seconds: impl TryInto<u64>, nanoseconds: impl TryInto<u64>) -> WallTime {
    let Ok(seconds) = seconds.try_into() else { return WallTime { unix_ns: 0 } };
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    WallTime { unix_ns: seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds) }
}

impl DirectoryTree {
    /// The number of a file in this tree. Files of the top directory's file system keep theirs.
    pub(super) fn inode(&mut self, (device, inode): HostFile) -> u64 {
        let index = match self.devices.iter().position(|known| *known == device) {
            Some(index) => index,
            None => {
                self.devices.push(device);
                self.devices.len() - 1
            }
        };
        inode ^ (index as u64) << 48
    }

    fn attributes_of(&mut self, stat: &Stat) -> Result<Attributes, FileError> {
        Ok(Attributes {
            inode: self.inode((stat.st_dev, stat.st_ino)),
            kind: FileKind::from_mode(stat.st_mode).ok_or(FileError::InputOutput)?,
            permissions: stat.st_mode & PERMISSION_BITS,
            user: stat.st_uid,
            group: stat.st_gid,
            links: stat.st_nlink,
            device: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            block_bytes: u64::try_from(stat.st_blksize).unwrap_or(4096),
            blocks: u64::try_from(stat.st_blocks).unwrap_or(0),
            accessed: wall_time(stat.st_atime, stat.st_atime_nsec),
            modified: wall_time(stat.st_mtime, stat.st_mtime_nsec),
            changed: wall_time(stat.st_ctime, stat.st_ctime_nsec),
        })
    }

    pub(super) fn node(&self, node: NodeId) -> Result<&Node, FileError> {
        self.nodes.get(&node).ok_or(FileError::BadHandle)
    }

    /// The descriptor of a directory.
    pub(super) fn directory(&self, node: NodeId) -> Result<BorrowedFd<'_>, FileError> {
        let node = self.node(node)?;
        if node.kind != FileKind::Directory {
            return Err(FileError::NotDirectory);
        }
        Ok(node.descriptor.as_fd())
    }

    pub(super) fn attributes_at(&mut self, node: NodeId) -> Result<Attributes, FileError> {
        let stat = rustix::fs::fstat(&self.node(node)?.descriptor).map_err(error)?;
        self.attributes_of(&stat)
    }

    /// The file `name` of `directory`, with one holder more. One component, and no symbolic link is followed:
    /// that keeps every file within the tree.
    pub(super) fn find(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
    ) -> Result<(NodeId, Attributes), FileError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let descriptor = rustix::fs::openat(self.directory(directory)?, name.bytes(), flags, Mode::empty());
        self.admit(descriptor.map_err(error)?, Some(directory))
    }

    /// Makes a node of a file that was found in `parent`, with one holder more.
    pub(super) fn admit(
        &mut self,
        descriptor: OwnedFd,
        parent: Option<NodeId>,
    ) -> Result<(NodeId, Attributes), FileError> {
        let stat = rustix::fs::fstat(&descriptor).map_err(error)?;
        let attributes = self.attributes_of(&stat)?;
        let file = (stat.st_dev, stat.st_ino);
        let kind = attributes.kind;
        let node = match self.by_file.get(&file) {
            Some(node) => *node,
            None => {
                let node = NodeId(self.next_node);
                self.next_node += 1;
                self.nodes.insert(node, Node { descriptor, file, kind, parent: None, holders: 0 });
                self.by_file.insert(file, node);
                node
            }
        };
        self.nodes.get_mut(&node).ok_or(FileError::BadHandle)?.holders += 1;
        if kind == FileKind::Directory
            && let Some(parent) = parent
        {
            self.set_parent(node, parent);
        }
        Ok((node, attributes))
    }

    /// Notes that the directory `node` lies in `parent` now.
    fn set_parent(&mut self, node: NodeId, parent: NodeId) {
        // The top directory has none, wherever else the host has mounted it.
        if Some(node) == self.root || node == parent {
            return;
        }
        let Some(held) = self.nodes.get_mut(&parent) else { return };
        held.holders += 1;
        let left = self.nodes.get_mut(&node).and_then(|node| node.parent.replace(parent));
        if let Some(left) = left {
            self.let_go(left);
        }
    }

    /// After a move: if the moved file is a directory that is held, it lies elsewhere now.
    pub(super) fn follow_move(&mut self, to: NodeId, name: Name<'_>) {
        let stat = self.directory(to).map(|directory| {
            rustix::fs::statat(directory, name.bytes(), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
        });
        // If the host has moved it on meanwhile, the next look-up tells where it is.
        let Ok(Ok(stat)) = stat else { return };
        let Some(node) = self.by_file.get(&(stat.st_dev, stat.st_ino)).copied() else { return };
        if self.nodes.get(&node).is_some_and(|node| node.kind == FileKind::Directory) {
            self.set_parent(node, to);
        }
    }

    /// Counts one holder of `node` less; with the last one, the node goes, and lets its parent go.
    pub(super) fn let_go(&mut self, node: NodeId) {
        let mut next = Some(node);
        while let Some(node) = next.take() {
            let Some(held) = self.nodes.get_mut(&node) else { return };
            held.holders = held.holders.saturating_sub(1);
            if held.holders == 0
                && let Some(removed) = self.nodes.remove(&node)
            {
                self.by_file.remove(&removed.file);
                next = removed.parent;
            }
        }
    }
}
