//! What a snapshot keeps of a session. The files are their tree's business: fids are kept as paths, and find
//! their files again in the tree that there is after the restore.

use super::Server;
use super::fid::{Entry, Fid, Usage};
use super::locks::{Lock, Owner, Range};
use crate::storage::tree::{ExtendedChange, FileError, FileKind, Name, NodeId, OpenMode};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The names from the top directory to a file.
type Path = Vec<Vec<u8>>;

/// What a fid was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UsageState {
    /// Nothing but naming its file.
    Path,
    /// The file was open.
    Open(OpenMode),
    /// Reading this extended attribute's value.
    ExtendedRead(Vec<u8>),
    /// Writing an extended attribute.
    ExtendedWrite {
        /// Its name.
        name: Vec<u8>,
        /// What has been written so far.
        value: Vec<u8>,
        /// Bytes that the value will have.
        size: usize,
        /// How it is to be set.
        change: ExtendedChange,
    },
}

/// A fid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FidState {
    /// Its number.
    pub fid: u32,
    /// The names from the top directory to its file.
    pub path: Vec<Vec<u8>>,
    /// The user who makes files by it.
    pub user: u32,
    /// What it was used for.
    pub usage: UsageState,
}

/// A locked range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockState {
    /// The fid by which it was locked.
    pub fid: u32,
    /// The process that holds it.
    pub process: u32,
    /// The machine of that process.
    pub client: Vec<u8>,
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub last: u64,
    /// Whether nobody else may hold a lock on it.
    pub is_exclusive: bool,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServerState {
    /// Most bytes of a message, if the session has begun.
    pub message_bytes: Option<u32>,
    /// Its fids, but for those whose files have lost their names.
    pub fids: Vec<FidState>,
    /// Its locks.
    pub locks: Vec<LockState>,
}

impl Server {
    /// The session, to be saved.
    ///
    /// # Errors
    /// When the tree cannot tell where its files are, or not yet.
    pub(in crate::virtio::p9) fn state(&mut self) -> Result<ServerState, FileError> {
        if !self.tree.is_settled() {
            return Err(FileError::Pending);
        }
        let mut known = HashMap::new();
        let mut fids = Vec::new();
        let mut numbers: Vec<u32> = self.fids.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Fid { node, entry, user, usage } = self.fid(number)?.clone();
            let path = match (&usage, &entry) {
                // The value is all that counts.
                (Usage::ExtendedRead(_), _) => Some(Path::new()),
                (_, None) => self.path_of(node, &mut known)?,
                (_, Some(entry)) => self.path_of_entry(node, entry, &mut known)?,
            };
            let usage = match usage {
                Usage::Path => UsageState::Path,
                Usage::Open(_, mode) => UsageState::Open(OpenMode { is_truncating: false, ..mode }),
                Usage::ExtendedRead(value) => UsageState::ExtendedRead(value),
                Usage::ExtendedWrite { name, value, size, change } => {
                    UsageState::ExtendedWrite { name, value, size, change }
                }
            };
            match path {
                Some(path) => fids.push(FidState { fid: number, path, user, usage }),
                None => log::warn!("9p: fid {number} cannot be saved: its file has no name any more"),
            }
        }
        let locks = self.locks.all().map(|lock| LockState {
            fid: lock.fid,
            process: lock.owner.process,
            client: lock.owner.client.clone(),
            start: lock.range.start,
            last: lock.range.last,
            is_exclusive: lock.is_exclusive,
        });
        Ok(ServerState { message_bytes: self.message_bytes, fids, locks: locks.collect() })
    }

    /// The path of a file that was found as `entry`; `None` if it is not there any more.
    fn path_of_entry(
        &mut self,
        node: NodeId,
        entry: &Entry,
        known: &mut HashMap<NodeId, Path>,
    ) -> Result<Option<Path>, FileError> {
        match self.tree.known_path(node) {
            Err(FileError::NotSupported) => {}
            path => return path,
        }
        match self.tree.look_up(entry.directory, Name::new(&entry.name)?) {
            Ok((found, _)) => {
                self.tree.forget(found);
                if found != node {
                    return Ok(None);
                }
            }
            Err(FileError::Pending) => return Err(FileError::Pending),
            Err(_) => return Ok(None),
        }
        let path = self.path_of(entry.directory, known)?;
        Ok(path.map(|path| path.into_iter().chain([entry.name.clone()]).collect()))
    }

    /// The path of a directory, from the top; `None` if it was removed.
    fn path_of(
        &mut self,
        directory: NodeId,
        known: &mut HashMap<NodeId, Path>,
    ) -> Result<Option<Path>, FileError> {
        match self.tree.known_path(directory) {
            Err(FileError::NotSupported) => {}
            path => return path,
        }
        if let Some(path) = known.get(&directory) {
            return Ok(Some(path.clone()));
        }
        let mut names = Path::new();
        let mut node = directory;
        self.tree.hold(node)?;
        let outcome = loop {
            match self.step_up(node) {
                Ok((parent, name)) => {
                    self.tree.forget(node);
                    node = parent;
                    match name {
                        Some(name) => names.push(name),
                        None => break Ok(true),
                    }
                }
                Err(FileError::NotFound) => break Ok(false),
                Err(error) => break Err(error),
            }
        };
        self.tree.forget(node);
        if !outcome? {
            return Ok(None);
        }
        names.reverse();
        known.insert(directory, names.clone());
        Ok(Some(names))
    }

    /// The directory above `node`, with one holder more, and the name that `node` has there; the top directory
    /// has none.
    fn step_up(&mut self, node: NodeId) -> Result<(NodeId, Option<Vec<u8>>), FileError> {
        let inode = self.tree.attributes(node)?.inode;
        let (parent, _) = self.tree.parent(node)?;
        if parent == node {
            return Ok((parent, None));
        }
        let found = self.name_in(parent, inode);
        if found.is_err() {
            self.tree.forget(parent);
        }
        Ok((parent, Some(found?)))
    }

    /// The name of the directory with this number in `parent`.
    fn name_in(&mut self, parent: NodeId, inode: u64) -> Result<Vec<u8>, FileError> {
        let handle = self.tree.open(parent, OpenMode { is_readable: true, ..OpenMode::default() })?;
        let mut name = None;
        let read = self.tree.read_directory(handle, 0, &mut |entry| {
            let is_it = entry.inode == inode
                && entry.kind == FileKind::Directory
                && !matches!(entry.name, b"." | b"..");
            name = is_it.then(|| entry.name.to_vec());
            !is_it
        });
        self.tree.close(handle);
        read?;
        name.ok_or(FileError::NotFound)
    }

    /// Goes on with a saved session. Fids whose files are not found are not in use afterwards.
    ///
    /// # Errors
    /// When the tree cannot tell yet whether its files are there.
    pub(in crate::virtio::p9) fn restore(&mut self, state: &ServerState) -> Result<(), FileError> {
        self.reset();
        self.message_bytes = state.message_bytes;
        self.tree.set_restoring(true);
        let restored = self.restore_fids(&state.fids);
        self.tree.set_restoring(false);
        restored?;
        for saved in &state.locks {
            let Ok(node) = self.file(saved.fid) else { continue };
            let owner = Owner { process: saved.process, client: saved.client.clone() };
            let range = Range { start: saved.start, last: saved.last };
            self.locks.lock(node, Lock { owner, range, is_exclusive: saved.is_exclusive, fid: saved.fid });
        }
        Ok(())
    }

    fn restore_fids(&mut self, fids: &[FidState]) -> Result<(), FileError> {
        for saved in fids {
            match self.restore_fid(saved) {
                Ok(()) => {}
                Err(FileError::Pending) => {
                    self.reset();
                    return Err(FileError::Pending);
                }
                Err(error) => log::warn!("9p: fid {} is lost by the restore: {error}", saved.fid),
            }
        }
        Ok(())
    }

    fn restore_fid(&mut self, saved: &FidState) -> Result<(), FileError> {
        self.check_free(saved.fid)?;
        let (node, _) = self.tree.root()?;
        let mut fid = Fid { node, entry: None, user: saved.user, usage: Usage::Path };
        let mut outcome = saved.path.iter().try_for_each(|name| self.step(&mut fid, name).map(|_| ()));
        if outcome.is_ok() {
            outcome = self.restore_usage(&mut fid, &saved.usage);
        }
        match outcome {
            Ok(()) => {
                self.fids.insert(saved.fid, fid);
            }
            Err(_) => self.release(saved.fid, fid),
        }
        outcome
    }

    fn restore_usage(&mut self, fid: &mut Fid, saved: &UsageState) -> Result<(), FileError> {
        let usage = match saved.clone() {
            UsageState::Path => Usage::Path,
            UsageState::Open(mode) => {
                let mode = OpenMode { is_truncating: false, ..mode };
                if mode.is_writable {
                    self.check_writable()?;
                }
                Usage::Open(self.tree.open(fid.node, mode)?, mode)
            }
            UsageState::ExtendedRead(value) => Usage::ExtendedRead(value),
            UsageState::ExtendedWrite { name, value, size, change } => {
                self.check_writable()?;
                if value.len() > size {
                    return Err(FileError::Invalid);
                }
                Usage::ExtendedWrite { name, value, size, change }
            }
        };
        self.reserve_extended(&usage)?;
        fid.usage = usage;
        Ok(())
    }
}
