//! One file in memory.

use super::contents::{Contents, PAGE_BYTES};
use super::directory::Directory;
use crate::host::WallTime;
use crate::storage::tree::{Attributes, FileError, FileKind, NewFile, PERMISSION_BITS};
use std::collections::BTreeMap;

/// What a file holds, by its kind.
pub(super) enum Body {
    Regular(Contents),
    Directory(Directory),
    SymbolicLink(Box<[u8]>),
    /// A pipe, socket or device, with major and minor number.
    Special(FileKind, (u32, u32)),
}

/// A file.
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) permissions: u32,
    pub(super) user: u32,
    pub(super) group: u32,
    /// Names; of a directory also its own `.` and the `..` of those in it.
    pub(super) links: u64,
    pub(super) accessed: WallTime,
    pub(super) modified: WallTime,
    pub(super) changed: WallTime,
    pub(super) extended: BTreeMap<Box<[u8]>, Box<[u8]>>,
    /// Those who have got the node's id and not forgotten it, and its open handles.
    pub(super) holders: u64,
}

impl Node {
    /// A file without a name.
    pub(super) fn new(body: Body, new: NewFile, now: WallTime) -> Self {
        Self {
            body,
            permissions: new.permissions & PERMISSION_BITS,
            user: new.user,
            group: new.group,
            links: 0,
            accessed: now,
            modified: now,
            changed: now,
            extended: BTreeMap::new(),
            holders: 0,
        }
    }

    pub(super) fn kind(&self) -> FileKind {
        match &self.body {
            Body::Regular(_) => FileKind::Regular,
            Body::Directory(_) => FileKind::Directory,
            Body::SymbolicLink(_) => FileKind::SymbolicLink,
            Body::Special(kind, _) => *kind,
        }
    }

    /// Bytes of memory that contents and attributes take.
    pub(super) fn memory_bytes(&self) -> u64 {
        let extended: usize = self.extended.iter().map(|(name, value)| name.len() + value.len()).sum();
        let body = match &self.body {
            Body::Regular(contents) => contents.memory_bytes(),
            Body::SymbolicLink(target) => target.len() as u64,
            Body::Directory(_) | Body::Special(..) => 0,
        };
        body + extended as u64
    }

    /// What `stat` tells, for the node with this number.
    pub(super) fn attributes(&self, inode: u64) -> Attributes {
        let (size, blocks) = match &self.body {
            Body::Regular(contents) => (contents.size(), contents.memory_bytes() / 512),
            Body::SymbolicLink(target) => (target.len() as u64, 0),
            Body::Directory(_) => (PAGE_BYTES, 0),
            Body::Special(..) => (0, 0),
        };
        Attributes {
            inode,
            kind: self.kind(),
            permissions: self.permissions,
            user: self.user,
            group: self.group,
            links: self.links,
            device: if let Body::Special(_, device) = self.body { device } else { (0, 0) },
            size,
            block_bytes: PAGE_BYTES,
            blocks,
            accessed: self.accessed,
            modified: self.modified,
            changed: self.changed,
        }
    }

    pub(super) fn directory(&self) -> Result<&Directory, FileError> {
        if let Body::Directory(directory) = &self.body { Ok(directory) } else { Err(FileError::NotDirectory) }
    }

    pub(super) fn directory_mut(&mut self) -> Result<&mut Directory, FileError> {
        if let Body::Directory(directory) = &mut self.body {
            Ok(directory)
        } else {
            Err(FileError::NotDirectory)
        }
    }
}
