//! Which files are held, and where they are.

use super::operation::{ProvidedPath, Status};
use crate::storage::tree::{FileError, FileKind, NodeId};
use std::collections::HashMap;

pub(super) const ROOT: NodeId = NodeId(1);

/// A file that is held, or below which one is.
struct Node {
    /// Its directory and its name there; nothing for the top directory, and for a file that has lost its name.
    place: Option<(NodeId, String)>,
    holders: u64,
    /// Files in it that are known.
    children: u64,
    /// What it is; not known of files of a saved session before they are looked at.
    kind: Option<FileKind>,
    inode: u64,
    /// Handles by which it is open, and whether they can be written.
    handles: Vec<(u64, bool)>,
}

/// The files that are held.
pub(super) struct Places {
    nodes: HashMap<NodeId, Node>,
    by_place: HashMap<(NodeId, String), NodeId>,
    next_node: u64,
}

/// A number for a file whose provider gives none: FNV-1a of its path. The highest bit keeps it from others' numbers.
fn inode_of_path(path: &str) -> u64 {
    let hash = path.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash | 1 << 63
}

/// The path of `name` in the directory `path`.
pub(super) fn join(path: &str, name: &str) -> ProvidedPath {
    if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }
}

impl Places {
    pub(super) fn new() -> Self {
        let root = Node {
            place: None,
            holders: 1,
            children: 0,
            kind: Some(FileKind::Directory),
            inode: inode_of_path(""),
            handles: Vec::new(),
        };
        Self { nodes: HashMap::from([(ROOT, root)]), by_place: HashMap::new(), next_node: ROOT.0 + 1 }
    }

    fn node(&self, node: NodeId) -> Result<&Node, FileError> {
        self.nodes.get(&node).ok_or(FileError::BadHandle)
    }

    fn node_mut(&mut self, node: NodeId) -> Result<&mut Node, FileError> {
        self.nodes.get_mut(&node).ok_or(FileError::BadHandle)
    }

    /// What `node` is, if that is known.
    pub(super) fn kind(&self, node: NodeId) -> Result<Option<FileKind>, FileError> {
        self.node(node).map(|node| node.kind)
    }

    /// Checks that `node` may be a directory.
    pub(super) fn directory(&self, node: NodeId) -> Result<(), FileError> {
        let is_other = self.kind(node)?.is_some_and(|kind| kind != FileKind::Directory);
        if is_other { Err(FileError::NotDirectory) } else { Ok(()) }
    }

    /// The directory that `node` lies in; the top directory lies in itself.
    pub(super) fn parent(&self, node: NodeId) -> Result<NodeId, FileError> {
        match &self.node(node)?.place {
            Some((parent, _)) => Ok(*parent),
            None if node == ROOT => Ok(ROOT),
            None => Err(FileError::NotFound),
        }
    }

    /// The names from the top directory to `node`.
    ///
    /// # Errors
    /// [`FileError::NotFound`] if it, or a directory above it, has lost its name.
    pub(super) fn names(&self, node: NodeId) -> Result<Vec<&str>, FileError> {
        let mut names = Vec::new();
        let mut at = node;
        while at != ROOT {
            let (parent, name) = self.node(at)?.place.as_ref().ok_or(FileError::NotFound)?;
            names.push(name.as_str());
            at = *parent;
        }
        names.reverse();
        Ok(names)
    }

    /// The path of `node`; errors as for [`names`](Self::names).
    pub(super) fn path(&self, node: NodeId) -> Result<ProvidedPath, FileError> {
        Ok(self.names(node)?.join("/"))
    }

    /// The number of an entry of `directory`, whose path is `path`; the provider's `own` where it has one.
    pub(super) fn inode_of_entry(&self, directory: NodeId, path: &str, name: &str, own: Option<u64>) -> u64 {
        let held = self.by_place.get(&(directory, name.to_owned())).and_then(|node| self.nodes.get(node));
        own.or(held.map(|node| node.inode)).unwrap_or_else(|| inode_of_path(&join(path, name)))
    }

    /// The number of `node`.
    pub(super) fn inode(&self, node: NodeId) -> Result<u64, FileError> {
        self.node(node).map(|node| node.inode)
    }

    /// Takes over what the provider tells of `node`; its number.
    ///
    /// # Errors
    /// [`FileError::NotFound`] if another file has taken its place.
    pub(super) fn refresh(&mut self, node: NodeId, status: &Status) -> Result<u64, FileError> {
        let node = self.node_mut(node)?;
        let kind = status.kind.into();
        if node.kind.is_some_and(|known| known != kind) {
            return Err(FileError::NotFound);
        }
        node.kind = Some(kind);
        node.inode = status.own_inode().unwrap_or(node.inode);
        Ok(node.inode)
    }

    /// The file `name` of `directory`, with one holder more. A file that was known there and is another one now
    /// has lost its name.
    pub(super) fn admit(
        &mut self,
        directory: NodeId,
        name: &str,
        kind: Option<FileKind>,
        own_inode: Option<u64>,
    ) -> Result<NodeId, FileError> {
        let place = (directory, name.to_owned());
        if let Some(known) = self.by_place.get(&place).copied() {
            let node = self.node_mut(known)?;
            // What is not known of one of them, cannot tell it from the other.
            let is_new = node.kind.is_none();
            let is_same_kind = is_new || kind.is_none() || node.kind == kind;
            if is_same_kind && (is_new || own_inode.is_none_or(|inode| inode == node.inode)) {
                node.kind = kind.or(node.kind);
                node.inode = own_inode.unwrap_or(node.inode);
                node.holders += 1;
                return Ok(known);
            }
            self.lose(directory, name);
        }
        let inode = match own_inode {
            Some(inode) => inode,
            None => inode_of_path(&join(&self.path(directory)?, name)),
        };
        self.node_mut(directory)?.children += 1;
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let (place_of_node, handles) = (Some(place.clone()), Vec::new());
        self.nodes.insert(id, Node { place: place_of_node, holders: 1, children: 0, kind, inode, handles });
        self.by_place.insert(place, id);
        Ok(id)
    }

    pub(super) fn hold(&mut self, node: NodeId) -> Result<(), FileError> {
        self.node_mut(node)?.holders += 1;
        Ok(())
    }

    pub(super) fn forget(&mut self, node: NodeId) {
        if let Some(held) = self.nodes.get_mut(&node) {
            held.holders = held.holders.saturating_sub(1);
            self.drop_unused(node);
        }
    }

    /// Drops `node` if nobody needs it, and then what was kept for it only.
    fn drop_unused(&mut self, mut node: NodeId) {
        while node != ROOT {
            let is_unused = self.nodes.get(&node).is_some_and(|node| node.holders == 0 && node.children == 0);
            if !is_unused {
                return;
            }
            let Some(Node { place: Some(place), .. }) = self.nodes.remove(&node) else { return };
            self.by_place.remove(&place);
            let Some(parent) = self.nodes.get_mut(&place.0) else { return };
            parent.children = parent.children.saturating_sub(1);
            node = place.0;
        }
    }

    /// The entry `name` of `directory` is gone, or leads elsewhere.
    pub(super) fn lose(&mut self, directory: NodeId, name: &str) {
        let Some(node) = self.by_place.remove(&(directory, name.to_owned())) else { return };
        if let Some(node) = self.nodes.get_mut(&node) {
            node.place = None;
        }
        if let Some(parent) = self.nodes.get_mut(&directory) {
            parent.children = parent.children.saturating_sub(1);
        }
        self.drop_unused(directory);
    }

    /// The entry `old_name` of `from` has become `new_name` of `to`.
    pub(super) fn rename(&mut self, from: NodeId, old_name: &str, to: NodeId, new_name: &str) {
        if (from, old_name) == (to, new_name) {
            return;
        }
        self.lose(to, new_name);
        let Some(node) = self.by_place.remove(&(from, old_name.to_owned())) else { return };
        let place = (to, new_name.to_owned());
        if let Some(moved) = self.nodes.get_mut(&node) {
            moved.place = Some(place.clone());
        }
        self.by_place.insert(place, node);
        if let Some(parent) = self.nodes.get_mut(&to) {
            parent.children += 1;
        }
        if let Some(parent) = self.nodes.get_mut(&from) {
            parent.children = parent.children.saturating_sub(1);
        }
        self.drop_unused(from);
    }

    /// `node` is open as `handle`.
    pub(super) fn opened(&mut self, node: NodeId, handle: u64, is_writable: bool) -> Result<(), FileError> {
        self.node_mut(node)?.handles.push((handle, is_writable));
        Ok(())
    }

    /// `handle` of `node` is open no more.
    pub(super) fn closed(&mut self, node: NodeId, handle: u64) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.handles.retain(|(open, _)| *open != handle);
        }
    }

    /// A handle of `node`, one that can be written if that is asked for.
    pub(super) fn handle(&self, node: NodeId, is_writable: bool) -> Result<Option<u64>, FileError> {
        let handles = &self.node(node)?.handles;
        let found = handles.iter().find(|(_, can_write)| *can_write || !is_writable);
        Ok(found.map(|(handle, _)| *handle))
    }

    /// Files that are known, the top directory among them.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.nodes.len()
    }
}
