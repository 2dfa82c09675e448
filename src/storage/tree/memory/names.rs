//! Entries made, taken away and moved.

use super::node::{Body, Node};
use super::{FILE_BYTES, MemoryTree};
use crate::storage::tree::{FileError, FileKind, Name, NewFile, NodeId};

/// Most names of a file.
const LINKS_MAX: u64 = u32::MAX as u64;

impl MemoryTree {
    /// The directory may get entries: it has not been removed.
    fn check_alive(&self, directory: NodeId) -> Result<(), FileError> {
        let node = self.node(directory)?;
        node.directory()?;
        if node.links == 0 { Err(FileError::NotFound) } else { Ok(()) }
    }

    /// Checks that `directory` may get an entry `name`.
    fn check_free(&self, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        self.check_alive(directory)?;
        match self.node(directory)?.directory()?.get(name) {
            Ok(_) => Err(FileError::Exists),
            Err(FileError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn touch(&mut self, directory: NodeId) -> Result<&mut Node, FileError> {
        let now = self.now;
        let node = self.node_mut(directory)?;
        (node.modified, node.changed) = (now, now);
        Ok(node)
    }

    /// Makes a file with the one name `name`.
    pub(super) fn add(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        body: Body,
        new: NewFile,
    ) -> Result<NodeId, FileError> {
        self.check_free(directory, name)?;
        let mut node = Node::new(body, new, self.now);
        let bytes = FILE_BYTES + node.memory_bytes();
        self.check_room(bytes)?;
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let is_directory = node.kind() == FileKind::Directory;
        node.links = if is_directory { 2 } else { 1 };
        let parent = self.touch(directory)?;
        parent.links += u64::from(is_directory);
        parent.directory_mut()?.insert(name, id);
        self.nodes.insert(id, node);
        self.used_bytes += bytes;
        Ok(id)
    }

    /// Gives `node` one more name.
    pub(super) fn add_name(
        &mut self,
        node: NodeId,
        directory: NodeId,
        name: Name<'_>,
    ) -> Result<(), FileError> {
        self.check_free(directory, name)?;
        let (now, target) = (self.now, self.node(node)?);
        match target.kind() {
            FileKind::Directory => return Err(FileError::NotPermitted),
            // Its last name is gone; the file must go with its holders.
            _ if target.links == 0 => return Err(FileError::NotFound),
            _ if target.links >= LINKS_MAX => return Err(FileError::TooManyLinks),
            _ => {}
        }
        self.check_room(FILE_BYTES)?;
        self.used_bytes += FILE_BYTES;
        let target = self.node_mut(node)?;
        target.links += 1;
        target.changed = now;
        self.touch(directory)?.directory_mut()?.insert(name, node);
        Ok(())
    }

    /// Takes the entry `name`, which leads to `node`, out of `directory`.
    pub(super) fn take_name(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        node: NodeId,
    ) -> Result<(), FileError> {
        let is_directory = self.node(node)?.kind() == FileKind::Directory;
        let parent = self.touch(directory)?;
        parent.directory_mut()?.remove(name);
        parent.links -= u64::from(is_directory);
        let now = self.now;
        let target = self.node_mut(node)?;
        // An empty directory has its name and its `.`, which go together.
        target.links = if is_directory { 0 } else { target.links.saturating_sub(1) };
        target.changed = now;
        // The last name's share goes with the file.
        if target.links > 0 {
            self.used_bytes = self.used_bytes.saturating_sub(FILE_BYTES);
        }
        self.drop_if_unused(node);
        Ok(())
    }

    /// Whether `node` is `ancestor` or lies below it.
    fn lies_in(&self, node: NodeId, ancestor: NodeId) -> Result<bool, FileError> {
        let mut node = node;
        loop {
            if node == ancestor {
                return Ok(true);
            }
            let parent = self.node(node)?.directory()?.parent;
            if parent == node {
                return Ok(false);
            }
            node = parent;
        }
    }

    /// Moves an entry, over an existing one if need be.
    pub(super) fn move_entry(
        &mut self,
        from: NodeId,
        old_name: Name<'_>,
        to: NodeId,
        new_name: Name<'_>,
    ) -> Result<(), FileError> {
        self.check_alive(to)?;
        let node = self.node(from)?.directory()?.get(old_name)?;
        let is_directory = self.node(node)?.kind() == FileKind::Directory;
        if is_directory && self.lies_in(to, node)? {
            return Err(FileError::Invalid);
        }
        match self.node(to)?.directory()?.get(new_name) {
            // Two names of one file: rename(2) leaves both.
            Ok(replaced) if replaced == node => return Ok(()),
            Ok(replaced) => {
                let other = self.node(replaced)?;
                match (is_directory, &other.body) {
                    (true, Body::Directory(directory)) if !directory.is_empty() => {
                        return Err(FileError::NotEmpty);
                    }
                    (true, Body::Directory(_)) => {}
                    (true, _) => return Err(FileError::NotDirectory),
                    (false, Body::Directory(_)) => return Err(FileError::IsDirectory),
                    (false, _) => {}
                }
                self.take_name(to, new_name, replaced)?;
            }
            Err(FileError::NotFound) => {}
            Err(error) => return Err(error),
        }
        let source = self.touch(from)?;
        source.directory_mut()?.remove(old_name);
        source.links -= u64::from(is_directory);
        let target = self.touch(to)?;
        target.directory_mut()?.insert(new_name, node);
        target.links += u64::from(is_directory);
        let now = self.now;
        let moved = self.node_mut(node)?;
        moved.changed = now;
        if let Body::Directory(directory) = &mut moved.body {
            directory.parent = to;
        }
        Ok(())
    }
}
