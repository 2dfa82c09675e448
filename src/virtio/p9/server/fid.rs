//! Fids: the numbers by which a client names files.

use super::Server;
use crate::storage::tree::{ExtendedChange, FileError, HandleId, NodeId, OpenMode};

/// Most fids at a time. Each holds a file of the host's; Linux keeps one for each name that it caches.
const FIDS_MAX: usize = 1 << 18;

/// Most bytes of extended attributes that fids hold at a time.
const EXTENDED_BYTES_MAX: usize = 16 << 20;

/// Under which name a file was found. Holds the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) directory: NodeId,
    pub(super) name: Vec<u8>,
}

/// What a fid is used for beside naming its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Usage {
    /// Nothing yet.
    Path,
    /// The file is open.
    Open(HandleId, OpenMode),
    /// Reading an extended attribute, or the list of them.
    ExtendedRead(Vec<u8>),
    /// Writing an extended attribute, which is set when the fid's use ends.
    ExtendedWrite { name: Vec<u8>, value: Vec<u8>, size: usize, change: ExtendedChange },
}

impl Usage {
    /// Bytes that the fid holds, or has promised to take.
    fn extended_bytes(&self) -> usize {
        match self {
            Self::Path | Self::Open(..) => 0,
            Self::ExtendedRead(value) => value.len(),
            Self::ExtendedWrite { size, .. } => *size,
        }
    }
}

/// A file of a client. Holds its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fid {
    pub(super) node: NodeId,
    pub(super) entry: Option<Entry>,
    /// The user who makes files by this fid.
    pub(super) user: u32,
    pub(super) usage: Usage,
}

impl Server {
    /// The file that `fid` stands for.
    ///
    /// # Errors
    /// [`FileError::BadHandle`] if the number is not in use.
    pub(super) fn fid(&self, fid: u32) -> Result<&Fid, FileError> {
        self.fids.get(&fid).ok_or(FileError::BadHandle)
    }

    /// As [`fid`](Self::fid).
    pub(super) fn fid_mut(&mut self, fid: u32) -> Result<&mut Fid, FileError> {
        self.fids.get_mut(&fid).ok_or(FileError::BadHandle)
    }

    /// The file of a fid that is no extended attribute.
    ///
    /// # Errors
    /// [`FileError::BadHandle`].
    pub(super) fn file(&self, fid: u32) -> Result<NodeId, FileError> {
        let fid = self.fid(fid)?;
        match fid.usage {
            Usage::Path | Usage::Open(..) => Ok(fid.node),
            Usage::ExtendedRead(_) | Usage::ExtendedWrite { .. } => Err(FileError::BadHandle),
        }
    }

    /// The handle of a fid that is open.
    ///
    /// # Errors
    /// [`FileError::BadHandle`].
    pub(super) fn handle(&self, fid: u32) -> Result<HandleId, FileError> {
        match self.fid(fid)?.usage {
            Usage::Open(handle, _) => Ok(handle),
            _ => Err(FileError::BadHandle),
        }
    }

    /// Checks that `fid` can become the number of another file.
    pub(super) fn check_free(&self, fid: u32) -> Result<(), FileError> {
        if self.fids.contains_key(&fid) || fid == crate::virtio::p9::wire::NO_FID {
            return Err(FileError::BadHandle);
        }
        if self.fids.len() >= FIDS_MAX { Err(FileError::TooManyOpen) } else { Ok(()) }
    }

    /// Accounts for a fid that becomes an extended attribute.
    ///
    /// # Errors
    /// [`FileError::OutOfMemory`] when fids hold too much already.
    pub(super) fn reserve_extended(&mut self, usage: &Usage) -> Result<(), FileError> {
        let bytes = self.extended_bytes + usage.extended_bytes();
        if bytes > EXTENDED_BYTES_MAX {
            return Err(FileError::OutOfMemory);
        }
        self.extended_bytes = bytes;
        Ok(())
    }

    /// Gives back what `fid` holds.
    pub(super) fn release(&mut self, number: u32, fid: Fid) {
        self.extended_bytes -= fid.usage.extended_bytes();
        self.has_freed_locks |= self.locks.release(fid.node, number);
        if let Usage::Open(handle, _) = fid.usage {
            self.tree.close(handle);
        }
        self.tree.forget(fid.node);
        if let Some(entry) = fid.entry {
            self.tree.forget(entry.directory);
        }
    }

    /// Ends the session: no fid and no lock remains.
    pub(super) fn clear(&mut self) {
        for (number, fid) in std::mem::take(&mut self.fids) {
            self.release(number, fid);
        }
        self.locks.clear();
        self.message_bytes = None;
    }
}
