//! A tree of files in memory.

mod contents;
mod directory;
mod names;
mod node;
#[cfg(test)]
mod tests;

use super::{
    AttributeChange, Attributes, DirectoryEntry, ExtendedChange, FileError, FileKind, FileTree, HandleId,
    Name, NewFile, NodeId, OpenMode, PERMISSION_BITS, TimeChange, TreeStatistics,
};
use crate::host::WallTime;
use contents::{Contents, PAGE_BYTES};
use directory::{Directory, PARENT_COOKIE, SELF_COOKIE};
use node::{Body, Node};
use std::collections::HashMap;

const ROOT: NodeId = NodeId(1);
/// What a file costs beside its contents, roughly: its node and its entry. Each further name costs as much.
const FILE_BYTES: u64 = 512;
/// Most bytes of the value of an extended attribute, and of all names (linux/limits.h).
const EXTENDED_BYTES_MAX: usize = 64 << 10;
/// Most bytes of an extended attribute's name (linux/limits.h).
const EXTENDED_NAME_BYTES_MAX: usize = 255;
/// Most bytes of a symbolic link (PATH_MAX without its zero).
const TARGET_BYTES_MAX: usize = 4095;

struct Handle {
    node: NodeId,
    mode: OpenMode,
}

/// A file system in memory, of a limited size.
pub struct MemoryTree {
    nodes: HashMap<NodeId, Node>,
    handles: HashMap<HandleId, Handle>,
    next_node: u64,
    next_handle: u64,
    now: WallTime,
    capacity_bytes: u64,
    used_bytes: u64,
}

impl MemoryTree {
    /// An empty tree that takes about `capacity_bytes` of memory at most.
    pub fn new(capacity_bytes: u64) -> Self {
        let now = WallTime { unix_ns: 0 };
        let top = NewFile { permissions: 0o755, user: 0, group: 0 };
        let mut root = Node::new(Body::Directory(Directory::new(ROOT)), top, now);
        root.links = 2;
        Self {
            nodes: HashMap::from([(ROOT, root)]),
            handles: HashMap::new(),
            next_node: ROOT.0 + 1,
            next_handle: 1,
            now,
            capacity_bytes,
            used_bytes: 0,
        }
    }

    /// Makes the file at `path`, components divided by `/`, with all directories that it needs, or replaces
    /// its contents.
    ///
    /// # Errors
    /// When a component is no name or no directory, or the contents do not fit.
    pub fn write_file(&mut self, path: &str, contents: &[u8], permissions: u32) -> Result<(), FileError> {
        let (folders, name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = Name::new(name.as_bytes())?;
        let mut directory = ROOT;
        for folder in folders.split('/').filter(|folder| !folder.is_empty()) {
            let folder = Name::new(folder.as_bytes())?;
            let found = match self.node(directory)?.directory()?.get(folder) {
                Err(FileError::NotFound) => {
                    let new = NewFile { permissions: 0o755, user: 0, group: 0 };
                    self.make_directory(directory, folder, new)?.0
                }
                found => {
                    let found = found?;
                    self.hold(found)?;
                    found
                }
            };
            self.forget(directory);
            directory = found;
        }
        let written = self.write_whole(directory, name, contents, permissions);
        self.forget(directory);
        written
    }

    fn write_whole(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        contents: &[u8],
        permissions: u32,
    ) -> Result<(), FileError> {
        let mode = OpenMode { is_writable: true, is_truncating: true, ..OpenMode::default() };
        let (node, handle) = match self.look_up(directory, name) {
            Ok((node, _)) => (node, self.open(node, mode)),
            Err(FileError::NotFound) => {
                let new = NewFile { permissions, user: 0, group: 0 };
                let (node, _, handle) = self.create(directory, name, mode, new)?;
                (node, Ok(handle))
            }
            Err(error) => return Err(error),
        };
        let written = handle.and_then(|handle| {
            let written = self.write(handle, 0, contents);
            self.close(handle);
            written
        });
        self.forget(node);
        written.map(|_| ())
    }

    fn node(&self, node: NodeId) -> Result<&Node, FileError> {
        self.nodes.get(&node).ok_or(FileError::BadHandle)
    }

    fn node_mut(&mut self, node: NodeId) -> Result<&mut Node, FileError> {
        self.nodes.get_mut(&node).ok_or(FileError::BadHandle)
    }

    /// The node behind `handle`.
    fn opened(&self, handle: HandleId) -> Result<&Handle, FileError> {
        self.handles.get(&handle).ok_or(FileError::BadHandle)
    }

    /// Counts one holder of `node` more and tells its attributes.
    fn give_away(&mut self, node: NodeId) -> Result<(NodeId, Attributes), FileError> {
        let held = self.node_mut(node)?;
        held.holders += 1;
        Ok((node, held.attributes(node.0)))
    }

    /// Checks that `bytes` more fit.
    fn check_room(&self, bytes: u64) -> Result<(), FileError> {
        if bytes > self.capacity_bytes.saturating_sub(self.used_bytes) {
            return Err(FileError::NoSpace);
        }
        Ok(())
    }

    /// Removes `node` if nobody can reach it any more.
    fn drop_if_unused(&mut self, node: NodeId) {
        let is_unused = |node: &Node| node.links == 0 && node.holders == 0;
        if node != ROOT && self.nodes.get(&node).is_some_and(is_unused) {
            let removed = self.nodes.remove(&node);
            let bytes = removed.map_or(0, |node| node.memory_bytes() + FILE_BYTES);
            self.used_bytes = self.used_bytes.saturating_sub(bytes);
        }
    }

    /// Resizes a regular file and accounts for it.
    fn resize(&mut self, node: NodeId, size: u64) -> Result<(), FileError> {
        let now = self.now;
        let target = self.nodes.get_mut(&node).ok_or(FileError::BadHandle)?;
        let contents = match &mut target.body {
            Body::Regular(contents) => contents,
            Body::Directory(_) => return Err(FileError::IsDirectory),
            Body::SymbolicLink(_) | Body::Special(..) => return Err(FileError::Invalid),
        };
        let before = contents.memory_bytes();
        contents.resize(size)?;
        self.used_bytes = self.used_bytes.saturating_sub(before - contents.memory_bytes());
        (target.modified, target.changed) = (now, now);
        // A changed program is no longer the one that was trusted (as truncate(2) does).
        target.permissions &= !0o6000 | if target.permissions & 0o010 == 0 { 0o2000 } else { 0 };
        Ok(())
    }
}

impl FileTree for MemoryTree {
    fn set_time(&mut self, now: WallTime) {
        self.now = now;
    }

    fn root(&mut self) -> Result<(NodeId, Attributes), FileError> {
        self.give_away(ROOT)
    }

    fn look_up(&mut self, directory: NodeId, name: Name<'_>) -> Result<(NodeId, Attributes), FileError> {
        let found = self.node(directory)?.directory()?.get(name)?;
        self.give_away(found)
    }

    fn parent(&mut self, directory: NodeId) -> Result<(NodeId, Attributes), FileError> {
        let parent = self.node(directory)?.directory()?.parent;
        if !self.nodes.contains_key(&parent) {
            return Err(FileError::NotFound);
        }
        self.give_away(parent)
    }

    fn hold(&mut self, node: NodeId) -> Result<(), FileError> {
        self.give_away(node).map(|_| ())
    }

    fn forget(&mut self, node: NodeId) {
        if let Some(held) = self.nodes.get_mut(&node) {
            held.holders = held.holders.saturating_sub(1);
            self.drop_if_unused(node);
        }
    }

    fn attributes(&mut self, node: NodeId) -> Result<Attributes, FileError> {
        Ok(self.node(node)?.attributes(node.0))
    }

    fn set_attributes(&mut self, node: NodeId, change: &AttributeChange) -> Result<(), FileError> {
        let now = self.now;
        if change.permissions.is_some() && matches!(self.node(node)?.body, Body::SymbolicLink(_)) {
            return Err(FileError::NotSupported);
        }
        if let Some(size) = change.size {
            self.resize(node, size)?;
        }
        let target = self.node_mut(node)?;
        let time = |change: TimeChange| match change {
            TimeChange::Now => now,
            TimeChange::To(time) => time,
        };
        target.user = change.user.unwrap_or(target.user);
        target.group = change.group.unwrap_or(target.group);
        target.permissions = change.permissions.map_or(target.permissions, |bits| bits & PERMISSION_BITS);
        target.accessed = change.accessed.map_or(target.accessed, time);
        target.modified = change.modified.map_or(target.modified, time);
        target.changed = now;
        Ok(())
    }

    fn read_link(&mut self, node: NodeId) -> Result<Vec<u8>, FileError> {
        match &self.node(node)?.body {
            Body::SymbolicLink(target) => Ok(target.to_vec()),
            _ => Err(FileError::Invalid),
        }
    }

    fn open(&mut self, node: NodeId, mode: OpenMode) -> Result<HandleId, FileError> {
        match &self.node(node)?.body {
            Body::Regular(_) if mode.is_truncating => self.resize(node, 0)?,
            Body::Regular(_) => {}
            Body::Directory(_) if mode.is_writable || mode.is_truncating => {
                return Err(FileError::IsDirectory);
            }
            Body::Directory(_) => {}
            Body::SymbolicLink(_) => return Err(FileError::Loop),
            Body::Special(..) => return Err(FileError::NotSupported),
        }
        self.node_mut(node)?.holders += 1;
        let handle = HandleId(self.next_handle);
        self.next_handle += 1;
        self.handles.insert(handle, Handle { node, mode });
        Ok(handle)
    }

    fn create(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        mode: OpenMode,
        new: NewFile,
    ) -> Result<(NodeId, Attributes, HandleId), FileError> {
        let node = self.add(directory, name, Body::Regular(Contents::default()), new)?;
        let (node, attributes) = self.give_away(node)?;
        Ok((node, attributes, self.open(node, mode)?))
    }

    fn close(&mut self, handle: HandleId) {
        if let Some(closed) = self.handles.remove(&handle) {
            self.forget(closed.node);
        }
    }

    fn read(&mut self, handle: HandleId, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        let opened = self.opened(handle)?;
        if !opened.mode.is_readable {
            return Err(FileError::BadHandle);
        }
        let (now, node) = (self.now, opened.node);
        let node = self.node_mut(node)?;
        match &node.body {
            Body::Regular(contents) => {
                let length = contents.read(offset, buffer);
                // As with Linux's "relatime": once after each change is enough to tell that it was read.
                if node.accessed.unix_ns <= node.modified.unix_ns {
                    node.accessed = now;
                }
                Ok(length)
            }
            _ => Err(FileError::IsDirectory),
        }
    }

    fn write(&mut self, handle: HandleId, offset: u64, data: &[u8]) -> Result<usize, FileError> {
        let opened = self.opened(handle)?;
        if !opened.mode.is_writable {
            return Err(FileError::BadHandle);
        }
        let (now, node) = (self.now, opened.node);
        let Body::Regular(contents) = &self.node(node)?.body else { return Err(FileError::IsDirectory) };
        let before = contents.memory_bytes();
        self.check_room(contents.growth(offset, data.len())?)?;
        let node = self.node_mut(node)?;
        let Body::Regular(contents) = &mut node.body else { return Err(FileError::IsDirectory) };
        let written = contents.write(offset, data);
        (node.modified, node.changed) = (now, now);
        let growth = contents.memory_bytes() - before;
        self.used_bytes += growth;
        written.map(|()| data.len())
    }

    fn read_directory(
        &mut self,
        handle: HandleId,
        cookie: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), FileError> {
        let node = self.opened(handle)?.node;
        let directory = self.node(node)?.directory()?;
        let own = [(SELF_COOKIE, b".".as_slice(), node), (PARENT_COOKIE, b"..", directory.parent)];
        let own = own.into_iter().filter(|(own, ..)| *own > cookie);
        for (cookie, name, node) in own.chain(directory.after(cookie)) {
            // Only the `..` of a removed directory can lead nowhere.
            let kind = self.nodes.get(&node).map_or(FileKind::Directory, Node::kind);
            if !visit(DirectoryEntry { name, inode: node.0, kind, cookie }) {
                break;
            }
        }
        Ok(())
    }

    fn synchronize(&mut self, handle: HandleId, _is_data_only: bool) -> Result<(), FileError> {
        // Memory is as durable as it gets.
        self.opened(handle).map(|_| ())
    }

    fn make_directory(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        let node = self.add(directory, name, Body::Directory(Directory::new(directory)), new)?;
        self.give_away(node)
    }

    fn make_node(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        kind: FileKind,
        device: (u32, u32),
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        let body = match kind {
            FileKind::Regular => Body::Regular(Contents::default()),
            FileKind::Directory | FileKind::SymbolicLink => return Err(FileError::Invalid),
            FileKind::BlockDevice | FileKind::CharacterDevice => Body::Special(kind, device),
            FileKind::Fifo | FileKind::Socket => Body::Special(kind, (0, 0)),
        };
        let node = self.add(directory, name, body, new)?;
        self.give_away(node)
    }

    fn make_symbolic_link(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        target: &[u8],
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        if target.is_empty() || target.contains(&0) {
            return Err(if target.is_empty() { FileError::NotFound } else { FileError::Invalid });
        }
        if target.len() > TARGET_BYTES_MAX {
            return Err(FileError::NameTooLong);
        }
        let new = NewFile { permissions: 0o777, ..new };
        let node = self.add(directory, name, Body::SymbolicLink(target.into()), new)?;
        self.give_away(node)
    }

    fn link(&mut self, node: NodeId, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        self.add_name(node, directory, name)
    }

    fn rename(
        &mut self,
        from: NodeId,
        old_name: Name<'_>,
        to: NodeId,
        new_name: Name<'_>,
    ) -> Result<(), FileError> {
        self.move_entry(from, old_name, to, new_name)
    }

    fn remove_file(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        let node = self.node(directory)?.directory()?.get(name)?;
        if self.node(node)?.kind() == FileKind::Directory {
            return Err(FileError::IsDirectory);
        }
        self.take_name(directory, name, node)
    }

    fn remove_directory(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        let node = self.node(directory)?.directory()?.get(name)?;
        if !self.node(node)?.directory()?.is_empty() {
            return Err(FileError::NotEmpty);
        }
        self.take_name(directory, name, node)
    }

    fn statistics(&mut self, node: NodeId) -> Result<TreeStatistics, FileError> {
        self.node(node)?;
        let free_bytes = self.capacity_bytes.saturating_sub(self.used_bytes);
        let free_blocks = free_bytes / PAGE_BYTES;
        Ok(TreeStatistics {
            block_bytes: PAGE_BYTES as u32,
            blocks: self.capacity_bytes / PAGE_BYTES,
            free_blocks,
            available_blocks: free_blocks,
            files: self.nodes.len() as u64 + free_bytes / FILE_BYTES,
            free_files: free_bytes / FILE_BYTES,
            name_bytes_max: super::NAME_BYTES_MAX as u32,
        })
    }

    fn extended(&mut self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, FileError> {
        let value = self.node(node)?.extended.get(name);
        value.map(|value| value.to_vec()).ok_or(FileError::NoAttribute)
    }

    fn extended_names(&mut self, node: NodeId) -> Result<Vec<u8>, FileError> {
        let names = self.node(node)?.extended.keys();
        Ok(names.flat_map(|name| name.iter().copied().chain([0])).collect())
    }

    fn set_extended(
        &mut self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        change: ExtendedChange,
    ) -> Result<(), FileError> {
        if name.is_empty() || name.contains(&0) || name.len() > EXTENDED_NAME_BYTES_MAX {
            return Err(FileError::OutOfRange);
        }
        if value.len() > EXTENDED_BYTES_MAX {
            return Err(FileError::MessageSize);
        }
        let (now, target) = (self.now, self.node(node)?);
        let present = target.extended.get(name);
        match (change, present) {
            (ExtendedChange::Create, Some(_)) => return Err(FileError::Exists),
            (ExtendedChange::Replace, None) => return Err(FileError::NoAttribute),
            _ => {}
        }
        let names: usize = target.extended.keys().map(|name| name.len() + 1).sum();
        if present.is_none() && names + name.len() >= EXTENDED_BYTES_MAX {
            return Err(FileError::NoSpace);
        }
        let old = present.map_or(0, |value| (name.len() + value.len()) as u64);
        let new = (name.len() + value.len()) as u64;
        self.check_room(new.saturating_sub(old))?;
        let target = self.node_mut(node)?;
        target.extended.insert(name.into(), value.into());
        target.changed = now;
        self.used_bytes = self.used_bytes.saturating_add(new).saturating_sub(old);
        Ok(())
    }

    fn remove_extended(&mut self, node: NodeId, name: &[u8]) -> Result<(), FileError> {
        let now = self.now;
        let target = self.node_mut(node)?;
        let value = target.extended.remove(name).ok_or(FileError::NoAttribute)?;
        target.changed = now;
        self.used_bytes = self.used_bytes.saturating_sub((name.len() + value.len()) as u64);
        Ok(())
    }
}
