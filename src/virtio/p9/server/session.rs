//! Beginning a session, finding files, and letting them go.

use super::Server;
use super::fid::{Entry, Fid, Usage};
use crate::storage::tree::{Attributes, ExtendedChange, FileError, FileKind, Name, NodeId};
use crate::virtio::p9::wire::{NO_FID, Reply};

const VERSION: &[u8] = b"9P2000.L";
/// The answer to a client that speaks another version.
const UNKNOWN_VERSION: &[u8] = b"unknown";
/// Most bytes of a message: what Linux asks for at most (500 KiB in a queue of 128) and some more.
pub(in crate::virtio::p9) const MESSAGE_BYTES_MAX: u32 = 512 << 10;
/// Fewest bytes of a message with which every answer but data fits: PATH_MAX and its header.
const MESSAGE_BYTES_MIN: u32 = 4096 + 24;
/// The user of an attachment that names none.
const NO_USER: u32 = u32::MAX;

impl Server {
    pub(super) fn begin_session(
        &mut self,
        size: u32,
        version: &[u8],
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        self.clear();
        if size < MESSAGE_BYTES_MIN {
            return Err(FileError::MessageSize);
        }
        let size = size.min(MESSAGE_BYTES_MAX);
        reply.word32(size);
        if version != VERSION {
            return reply.string(UNKNOWN_VERSION);
        }
        self.message_bytes = Some(size);
        reply.string(VERSION)
    }

    /// `path` names a directory below the top to begin at instead, if it has any names.
    pub(super) fn attach(
        &mut self,
        fid: u32,
        authentication: u32,
        path: &[u8],
        user: u32,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        if authentication != NO_FID {
            return Err(FileError::NotSupported);
        }
        self.check_free(fid)?;
        let mut found = self.tree.root()?;
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            let next = Name::new(name).and_then(|name| self.tree.look_up(found.0, name));
            self.tree.forget(found.0);
            found = next?;
        }
        let (node, attributes) = found;
        if attributes.kind != FileKind::Directory {
            self.tree.forget(node);
            return Err(FileError::NotDirectory);
        }
        let user = if user == NO_USER { 0 } else { user };
        self.fids.insert(fid, Fid { node, entry: None, user, usage: Usage::Path });
        reply.identity_of(&attributes);
        Ok(())
    }

    pub(super) fn walk(
        &mut self,
        fid: u32,
        new_fid: u32,
        names: &[&[u8]],
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let start = self.file(fid)?;
        let source = self.fid(fid)?;
        let (user, entry) = (source.user, source.entry.clone());
        if fid != new_fid {
            self.check_free(new_fid)?;
        } else if source.usage != Usage::Path {
            return Err(FileError::BadHandle);
        }
        self.tree.hold(start)?;
        if let Some(entry) = &entry
            && let Err(error) = self.tree.hold(entry.directory)
        {
            self.tree.forget(start);
            return Err(error);
        }
        let mut at = Fid { node: start, entry, user, usage: Usage::Path };
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            match self.step(&mut at, name) {
                Ok(attributes) => found.push(attributes),
                // A walk that gets somewhere tells how far; the new fid then stays free.
                Err(error) if found.is_empty() || error == FileError::Pending => {
                    self.release(NO_FID, at);
                    return Err(error);
                }
                Err(_) => break,
            }
        }
        reply.word16(found.len() as u16);
        for attributes in &found {
            reply.identity_of(attributes);
        }
        if found.len() < names.len() {
            self.release(NO_FID, at);
        } else if let Some(replaced) = self.fids.insert(new_fid, at) {
            self.release(new_fid, replaced);
        }
        Ok(())
    }

    /// Goes from `at` to the file `name` in it.
    pub(super) fn step(&mut self, at: &mut Fid, name: &[u8]) -> Result<Attributes, FileError> {
        let ((node, attributes), entry): ((NodeId, Attributes), _) = if name == b".." {
            (self.tree.parent(at.node)?, None)
        } else {
            let found = self.tree.look_up(at.node, Name::new(name)?)?;
            (found, Some(Entry { directory: at.node, name: name.to_vec() }))
        };
        // The directory passes from the fid to the entry, if there is one.
        if entry.is_none() {
            self.tree.forget(at.node);
        }
        if let Some(left) = std::mem::replace(&mut at.entry, entry) {
            self.tree.forget(left.directory);
        }
        at.node = node;
        Ok(attributes)
    }

    /// Ends the use of `fid`. Fails when an extended attribute that was written to it cannot be set; the fid is
    /// free even so.
    pub(super) fn clunk(&mut self, number: u32) -> Result<(), FileError> {
        let fid = self.fids.get(&number).ok_or(FileError::BadHandle)?;
        let outcome = match &fid.usage {
            Usage::ExtendedWrite { value, size, .. } if value.len() != *size => Err(FileError::Invalid),
            // Linux removes an attribute by replacing it with nothing.
            Usage::ExtendedWrite { name, size: 0, change: ExtendedChange::Replace, .. } => {
                self.tree.remove_extended(fid.node, name)
            }
            Usage::ExtendedWrite { name, value, change, .. } => {
                self.tree.set_extended(fid.node, name, value, *change)
            }
            _ => Ok(()),
        };
        if outcome != Err(FileError::Pending)
            && let Some(fid) = self.fids.remove(&number)
        {
            self.release(number, fid);
        }
        outcome
    }
}
