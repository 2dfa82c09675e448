//! One directory in memory.

use crate::storage::tree::{FileError, Name, NodeId};
use std::collections::BTreeMap;

/// Cookies of `.` and `..`; entries follow.
pub(super) const SELF_COOKIE: u64 = 1;
pub(super) const PARENT_COOKIE: u64 = 2;

struct Entry {
    cookie: u64,
    node: NodeId,
}

/// Names and their files. Each entry has a number (its cookie) that no other entry of the directory ever has,
/// so that a reading goes on at the right place whatever was made or removed meanwhile.
pub(super) struct Directory {
    pub(super) parent: NodeId,
    entries: BTreeMap<Box<[u8]>, Entry>,
    names: BTreeMap<u64, Box<[u8]>>,
    next_cookie: u64,
}

impl Directory {
    /// An empty directory in `parent`.
    pub(super) fn new(parent: NodeId) -> Self {
        Self { parent, entries: BTreeMap::new(), names: BTreeMap::new(), next_cookie: PARENT_COOKIE + 1 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The file `name`.
    ///
    /// # Errors
    /// [`FileError::NotFound`].
    pub(super) fn get(&self, name: Name<'_>) -> Result<NodeId, FileError> {
        self.entries.get(name.bytes()).map(|entry| entry.node).ok_or(FileError::NotFound)
    }

    /// Adds an entry, in place of the one that has the name already.
    pub(super) fn insert(&mut self, name: Name<'_>, node: NodeId) {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        if let Some(replaced) = self.entries.insert(name.bytes().into(), Entry { cookie, node }) {
            self.names.remove(&replaced.cookie);
        }
        self.names.insert(cookie, name.bytes().into());
    }

    /// Takes the entry `name` away.
    pub(super) fn remove(&mut self, name: Name<'_>) {
        if let Some(removed) = self.entries.remove(name.bytes()) {
            self.names.remove(&removed.cookie);
        }
    }

    /// The entries behind `cookie`: cookie, name, file.
    pub(super) fn after(&self, cookie: u64) -> impl Iterator<Item = (u64, &[u8], NodeId)> {
        self.names
            .range((std::ops::Bound::Excluded(cookie), std::ops::Bound::Unbounded))
            .filter_map(|(cookie, name)| Some((*cookie, &**name, self.entries.get(name)?.node)))
    }
}
