//! The 9P2000.L server: messages in, answers out; no queue and no guest memory.
//!
//! A message is answered at once, or it waits: for the tree, which has no answer at hand, or for a lock. One
//! that waits has changed nothing, and is put again as a whole when something may have changed.

mod attributes;
mod entries;
mod fid;
mod files;
mod locking;
mod locks;
mod session;
mod state;
#[cfg(test)]
mod tests;

pub(super) use session::MESSAGE_BYTES_MAX;
pub use state::{FidState, LockState, ServerState, UsageState};

use super::wire::{ERROR_BYTES, HEADER_BYTES, Message, NO_TAG, Reply, header};
use crate::host::WallTime;
use crate::storage::tree::{FileError, FileTree};
use fid::Fid;
use locks::LockTable;
use std::collections::HashMap;

/// What becomes of requests that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cancelled {
    None,
    /// The client does not want the answer to this one any more.
    One(u16),
    /// The session is over.
    All,
}

/// What the server has done with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The answer is there. Requests that it cancels must be given back before it.
    Answered(Cancelled),
    /// It must wait.
    Waiting,
}

/// One share's server.
pub(super) struct Server {
    tree: Box<dyn FileTree>,
    is_read_only: bool,
    fids: HashMap<u32, Fid>,
    locks: LockTable,
    /// Bytes of extended attributes that fids hold.
    extended_bytes: usize,
    /// Whether locks were freed since the device has last asked.
    has_freed_locks: bool,
    /// Most bytes of a message, once the session has begun.
    message_bytes: Option<u32>,
}

impl Server {
    /// A server for `tree`, which may only be read with `is_read_only`.
    pub(super) fn new(tree: Box<dyn FileTree>, is_read_only: bool) -> Self {
        Self {
            tree,
            is_read_only,
            fids: HashMap::new(),
            locks: LockTable::default(),
            extended_bytes: 0,
            has_freed_locks: false,
            message_bytes: None,
        }
    }

    /// The time at which the next messages happen.
    pub(super) fn set_time(&mut self, now: WallTime) {
        self.tree.set_time(now);
    }

    /// The next message is request `number`, which may have been put before.
    pub(super) fn begin_request(&mut self, number: u64) {
        self.tree.begin_request(number);
    }

    /// Request `number` is answered, or will not be put again.
    pub(super) fn end_request(&mut self, number: u64) {
        self.tree.end_request(number);
    }

    /// Whether requests that wait for a lock should be put again.
    pub(super) fn take_freed_locks(&mut self) -> bool {
        std::mem::take(&mut self.has_freed_locks)
    }

    /// Ends the session.
    pub(super) fn reset(&mut self) {
        self.clear();
        self.has_freed_locks = false;
    }

    /// Answers `message` in up to `room` bytes. With `may_wait`, a lock that somebody else holds is waited for.
    pub(super) fn answer(
        &mut self,
        message: &[u8],
        room: usize,
        may_wait: bool,
        reply: &mut Reply,
    ) -> Outcome {
        let limit = self.message_bytes.unwrap_or(MESSAGE_BYTES_MAX) as usize;
        let Some((size, kind, tag)) = header(message) else {
            reply.begin(0, NO_TAG, ERROR_BYTES);
            reply.fail(NO_TAG, FileError::Protocol);
            return Outcome::Answered(Cancelled::None);
        };
        reply.begin(kind, tag, room.min(limit));
        let answered = self.parse(message, size, kind, limit).and_then(|message| {
            let cancelled = match message {
                Message::Version { .. } => Cancelled::All,
                Message::Flush { old_tag } => Cancelled::One(old_tag),
                _ => Cancelled::None,
            };
            self.perform(message, may_wait, reply).map(|()| cancelled)
        });
        match answered {
            Ok(cancelled) => Outcome::Answered(cancelled),
            Err(FileError::Pending) => Outcome::Waiting,
            Err(error) => {
                log::debug!("9p: message {kind} with tag {tag}: {error}");
                reply.fail(tag, error);
                // A version that is refused has ended the session nevertheless.
                let is_over = self.message_bytes.is_none();
                Outcome::Answered(if is_over { Cancelled::All } else { Cancelled::None })
            }
        }
    }

    fn parse<'a>(
        &self,
        message: &'a [u8],
        size: u32,
        kind: u8,
        limit: usize,
    ) -> Result<Message<'a>, FileError> {
        let size = usize::try_from(size).map_err(|_| FileError::MessageSize)?;
        if size > limit {
            return Err(FileError::MessageSize);
        }
        let fields = message.get(HEADER_BYTES..size).ok_or(FileError::Protocol)?;
        let message = Message::parse(kind, fields)?;
        if self.message_bytes.is_none() && !matches!(message, Message::Version { .. }) {
            return Err(FileError::Protocol);
        }
        Ok(message)
    }

    /// Checks that the share may be changed.
    fn check_writable(&self) -> Result<(), FileError> {
        if self.is_read_only { Err(FileError::ReadOnly) } else { Ok(()) }
    }

    fn perform(&mut self, message: Message<'_>, may_wait: bool, reply: &mut Reply) -> Result<(), FileError> {
        match message {
            Message::Version { size, version } => self.begin_session(size, version, reply),
            // There is nobody to convince: the share belongs to the machine.
            Message::Auth { .. } => Err(FileError::NotSupported),
            Message::Attach { fid, authentication, tree, user, .. } => {
                self.attach(fid, authentication, tree, user, reply)
            }
            // The device gives the old request back; there is nothing else to undo.
            Message::Flush { .. } => Ok(()),
            Message::Walk { fid, new_fid, names } => self.walk(fid, new_fid, &names, reply),
            Message::Clunk { fid } => self.clunk(fid),
            Message::Open { fid, flags } => self.open(fid, flags, reply),
            Message::Create { fid, name, flags, mode, group } => {
                self.create(fid, name, flags, mode, group, reply)
            }
            Message::Read { fid, offset, count } => self.read(fid, offset, count, reply),
            Message::Write { fid, offset, data } => self.write(fid, offset, data, reply),
            Message::ReadDir { fid, offset, count } => self.read_directory(fid, offset, count, reply),
            Message::FSync { fid, data_only } => self.synchronize(fid, data_only != 0),
            Message::SymLink { fid, name, target, group } => {
                self.make_symbolic_link(fid, name, target, group, reply)
            }
            Message::MkNod { fid, name, mode, major, minor, group } => {
                self.make_node(fid, name, (mode, major, minor), group, reply)
            }
            Message::MkDir { fid, name, mode, group } => self.make_directory(fid, name, mode, group, reply),
            Message::Link { directory, fid, name } => self.link(directory, fid, name),
            Message::Rename { fid, directory, name } => self.rename(fid, directory, name),
            Message::RenameAt { from, old_name, to, new_name } => {
                self.rename_at(from, old_name, to, new_name)
            }
            Message::UnlinkAt { fid, name, flags } => self.unlink_at(fid, name, flags),
            Message::Remove { fid } => self.remove(fid),
            Message::ReadLink { fid } => self.read_link(fid, reply),
            Message::GetAttr { fid, .. } => self.attributes(fid, reply),
            Message::SetAttr { fid, change } => self.set_attributes(fid, change),
            Message::StatFs { fid } => self.statistics(fid, reply),
            Message::XattrWalk { fid, new_fid, name } => self.read_extended(fid, new_fid, name, reply),
            Message::XattrCreate { fid, name, size, flags } => self.write_extended(fid, name, size, flags),
            Message::Lock { fid, kind, flags, start, length, process, client } => {
                self.lock(fid, kind, flags, (start, length), (process, client), may_wait, reply)
            }
            Message::GetLock { fid, kind, start, length, process, client } => {
                self.test_lock(fid, kind, (start, length), (process, client), reply)
            }
        }
    }
}
