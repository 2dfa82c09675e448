//! Making, moving and removing entries of directories.

use super::Server;
use super::fid::{Entry, Usage};
use crate::storage::tree::{FileError, FileKind, Name, NewFile, NodeId, PERMISSION_BITS};
use crate::virtio::p9::wire::Reply;

/// Flag of `Tunlinkat`: remove a directory.
const REMOVE_DIRECTORY: u32 = 0x200;
const KIND_BITS: u32 = 0o170_000;

impl Server {
    /// The directory `fid`, a name in it, and how a new file of its user begins.
    fn place<'a>(
        &self,
        fid: u32,
        name: &'a [u8],
        mode: u32,
        group: u32,
    ) -> Result<(NodeId, Name<'a>, NewFile), FileError> {
        self.check_writable()?;
        let directory = self.file(fid)?;
        let user = self.fid(fid)?.user;
        Ok((directory, Name::new(name)?, NewFile { permissions: mode & PERMISSION_BITS, user, group }))
    }

    pub(super) fn make_directory(
        &mut self,
        fid: u32,
        name: &[u8],
        mode: u32,
        group: u32,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let (directory, name, new) = self.place(fid, name, mode, group)?;
        let (node, attributes) = self.tree.make_directory(directory, name, new)?;
        self.tree.forget(node);
        reply.identity_of(&attributes);
        Ok(())
    }

    pub(super) fn make_node(
        &mut self,
        fid: u32,
        name: &[u8],
        (mode, major, minor): (u32, u32, u32),
        group: u32,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let (directory, name, new) = self.place(fid, name, mode, group)?;
        // As for mknod(2), no kind is a regular file.
        let kind = match mode & KIND_BITS {
            0 => FileKind::Regular,
            _ => FileKind::from_mode(mode).ok_or(FileError::Invalid)?,
        };
        let (node, attributes) = self.tree.make_node(directory, name, kind, (major, minor), new)?;
        self.tree.forget(node);
        reply.identity_of(&attributes);
        Ok(())
    }

    pub(super) fn make_symbolic_link(
        &mut self,
        fid: u32,
        name: &[u8],
        target: &[u8],
        group: u32,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let (directory, name, new) = self.place(fid, name, 0o777, group)?;
        let (node, attributes) = self.tree.make_symbolic_link(directory, name, target, new)?;
        self.tree.forget(node);
        reply.identity_of(&attributes);
        Ok(())
    }

    pub(super) fn link(&mut self, directory: u32, fid: u32, name: &[u8]) -> Result<(), FileError> {
        self.check_writable()?;
        let (directory, node) = (self.file(directory)?, self.file(fid)?);
        self.tree.link(node, directory, Name::new(name)?)
    }

    pub(super) fn rename_at(
        &mut self,
        from: u32,
        old_name: &[u8],
        to: u32,
        new_name: &[u8],
    ) -> Result<(), FileError> {
        self.check_writable()?;
        let (from, to) = (self.file(from)?, self.file(to)?);
        self.tree.rename(from, Name::new(old_name)?, to, Name::new(new_name)?)?;
        self.follow_rename((from, old_name), (to, new_name))
    }

    /// Lets fids that were found under the old name know the new one.
    fn follow_rename(
        &mut self,
        (from, old_name): (NodeId, &[u8]),
        (to, new_name): (NodeId, &[u8]),
    ) -> Result<(), FileError> {
        for fid in self.fids.values_mut() {
            let Some(entry) = &mut fid.entry else { continue };
            if entry.directory == from && entry.name == old_name {
                self.tree.hold(to)?;
                self.tree.forget(from);
                *entry = Entry { directory: to, name: new_name.to_vec() };
            }
        }
        Ok(())
    }

    /// The entry of `fid`, if it still leads to the fid's file.
    fn current_entry(&mut self, number: u32) -> Result<Entry, FileError> {
        let node = self.file(number)?;
        // The top directory, and one that was reached as the parent of another.
        let entry = self.fid(number)?.entry.clone().ok_or(FileError::Busy)?;
        let (found, _) = self.tree.look_up(entry.directory, Name::new(&entry.name)?)?;
        self.tree.forget(found);
        if found == node { Ok(entry) } else { Err(FileError::NotFound) }
    }

    pub(super) fn rename(&mut self, fid: u32, directory: u32, name: &[u8]) -> Result<(), FileError> {
        self.check_writable()?;
        let to = self.file(directory)?;
        let entry = self.current_entry(fid)?;
        self.tree.rename(entry.directory, Name::new(&entry.name)?, to, Name::new(name)?)?;
        self.follow_rename((entry.directory, &entry.name), (to, name))
    }

    pub(super) fn unlink_at(&mut self, fid: u32, name: &[u8], flags: u32) -> Result<(), FileError> {
        self.check_writable()?;
        let directory = self.file(fid)?;
        let name = Name::new(name)?;
        match flags {
            0 => self.tree.remove_file(directory, name),
            REMOVE_DIRECTORY => self.tree.remove_directory(directory, name),
            _ => Err(FileError::Invalid),
        }
    }

    /// Removes the file of `fid`; the fid is free even if that fails.
    pub(super) fn remove(&mut self, number: u32) -> Result<(), FileError> {
        let outcome = self.remove_entry(number);
        if outcome != Err(FileError::Pending)
            && let Some(fid) = self.fids.remove(&number)
        {
            self.release(number, fid);
        }
        outcome
    }

    fn remove_entry(&mut self, number: u32) -> Result<(), FileError> {
        self.check_writable()?;
        if !matches!(self.fid(number)?.usage, Usage::Path | Usage::Open(..)) {
            return Err(FileError::BadHandle);
        }
        let entry = self.current_entry(number)?;
        let node = self.file(number)?;
        let name = Name::new(&entry.name)?;
        match self.tree.attributes(node)?.kind {
            FileKind::Directory => self.tree.remove_directory(entry.directory, name),
            _ => self.tree.remove_file(entry.directory, name),
        }
    }
}
