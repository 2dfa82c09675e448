//! Requests for locks.

use super::Server;
use super::locks::{Lock, Locking, Owner, Range};
use crate::storage::tree::FileError;
use crate::virtio::p9::wire::Reply;

/// What is asked for.
const SHARED: u8 = 0;
const EXCLUSIVE: u8 = 1;
const UNLOCK: u8 = 2;
/// Flag: the client wants to wait.
const WAITS: u32 = 1;
/// Outcomes.
const SUCCESS: u8 = 0;
const BLOCKED: u8 = 1;
const ERROR: u8 = 2;
/// Most bytes of a machine's name (__NEW_UTS_LEN of Linux, with room to spare).
const CLIENT_BYTES_MAX: usize = 256;

fn owner(process: u32, client: &[u8]) -> Result<Owner, FileError> {
    if client.len() > CLIENT_BYTES_MAX {
        return Err(FileError::NameTooLong);
    }
    Ok(Owner { process, client: client.to_vec() })
}

impl Server {
    /// Locks or unlocks. Where somebody else has locked, a client that wants to wait gets its answer later if
    /// `may_wait`; the others are told to try again.
    #[expect(clippy::too_many_arguments, reason = "the message has them")]
    pub(super) fn lock(
        &mut self,
        fid: u32,
        kind: u8,
        flags: u32,
        (start, length): (u64, u64),
        (process, client): (u32, &[u8]),
        may_wait: bool,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        self.handle(fid)?;
        let node = self.fid(fid)?.node;
        let (owner, range) = (owner(process, client)?, Range::new(start, length));
        let outcome = match kind {
            UNLOCK => {
                self.has_freed_locks |= self.locks.unlock(node, &owner, range);
                Locking::Done
            }
            SHARED | EXCLUSIVE => {
                let is_exclusive = kind == EXCLUSIVE;
                let locked = self.locks.lock(node, Lock { owner, range, is_exclusive, fid });
                // A lock that is no longer exclusive lets others in.
                self.has_freed_locks |= locked == Locking::Done && !is_exclusive;
                locked
            }
            _ => return Err(FileError::Invalid),
        };
        if outcome == Locking::Blocked && flags & WAITS != 0 && may_wait {
            return Err(FileError::Pending);
        }
        reply.byte(match outcome {
            Locking::Done => SUCCESS,
            Locking::Blocked => BLOCKED,
            Locking::Refused => ERROR,
        });
        Ok(())
    }

    pub(super) fn test_lock(
        &mut self,
        fid: u32,
        kind: u8,
        (start, length): (u64, u64),
        (process, client): (u32, &[u8]),
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        self.handle(fid)?;
        let node = self.fid(fid)?.node;
        if kind > EXCLUSIVE {
            return Err(FileError::Invalid);
        }
        let (owner, range) = (owner(process, client)?, Range::new(start, length));
        match self.locks.conflict(node, &owner, range, kind == EXCLUSIVE) {
            Some(lock) => {
                reply.byte(if lock.is_exclusive { EXCLUSIVE } else { SHARED });
                reply.word64(lock.range.start);
                reply.word64(lock.range.length());
                reply.word32(lock.owner.process);
                reply.string(&lock.owner.client)
            }
            None => {
                reply.byte(UNLOCK);
                reply.word64(start);
                reply.word64(length);
                reply.word32(process);
                reply.string(client)
            }
        }
    }
}
