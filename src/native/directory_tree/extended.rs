//! Extended attributes of the host's files.

use super::DirectoryTree;
use super::node::{error, own_path};
use crate::storage::tree::{ExtendedChange, FileError, NodeId};
use rustix::fd::AsFd;
use rustix::fs::XattrFlags;

/// Whether a guest may see and set the attribute: those of users, and access control lists. The others mean
/// something to the host (capabilities of programs, labels).
fn is_shared(name: &[u8]) -> bool {
    name.starts_with(b"user.") || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default")
}

/// Most bytes of a value and of all names (linux/limits.h).
const BYTES_MAX: usize = 64 << 10;

/// What `fill` puts into a buffer that has room for everything that there can be.
fn filled(fill: impl FnOnce(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>, FileError> {
    let mut buffer = vec![0; BYTES_MAX];
    let length = fill(&mut buffer).map_err(error)?;
    buffer.truncate(length);
    Ok(buffer)
}

impl DirectoryTree {
    fn path_of(&self, node: NodeId) -> Result<String, FileError> {
        Ok(own_path(self.node(node)?.descriptor.as_fd()))
    }

    pub(super) fn extended_value(&self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, FileError> {
        if !is_shared(name) {
            return Err(FileError::NoAttribute);
        }
        let path = self.path_of(node)?;
        filled(|buffer| rustix::fs::getxattr(path.as_str(), name, buffer))
    }

    pub(super) fn extended_list(&self, node: NodeId) -> Result<Vec<u8>, FileError> {
        let path = self.path_of(node)?;
        let names = match filled(|buffer| rustix::fs::listxattr(path.as_str(), buffer)) {
            // A file system without attributes has none to list.
            Err(FileError::NotSupported) => Vec::new(),
            names => names?,
        };
        let shared = names.split(|byte| *byte == 0).filter(|name| is_shared(name));
        Ok(shared.flat_map(|name| name.iter().copied().chain([0])).collect())
    }

    pub(super) fn change_extended(
        &self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        change: ExtendedChange,
    ) -> Result<(), FileError> {
        if !is_shared(name) {
            return Err(FileError::NotSupported);
        }
        let flags = match change {
            ExtendedChange::Any => XattrFlags::empty(),
            ExtendedChange::Create => XattrFlags::CREATE,
            ExtendedChange::Replace => XattrFlags::REPLACE,
        };
        rustix::fs::setxattr(self.path_of(node)?, name, value, flags).map_err(error)
    }

    pub(super) fn drop_extended(&self, node: NodeId, name: &[u8]) -> Result<(), FileError> {
        if !is_shared(name) {
            return Err(FileError::NoAttribute);
        }
        rustix::fs::removexattr(self.path_of(node)?, name).map_err(error)
    }
}
