//! Opening, reading and writing.

use super::Server;
use super::fid::{Entry, Usage};
use crate::storage::tree::{FileError, FileKind, Name, NewFile, OpenMode, PERMISSION_BITS};
use crate::virtio::p9::wire::Reply;

/// Flags of `Tlopen` and `Tlcreate`: those of open(2) on x86.
mod flag {
    pub const ACCESS: u32 = 0o3;
    pub const WRITE_ONLY: u32 = 0o1;
    pub const READ_WRITE: u32 = 0o2;
    pub const EXCLUSIVE: u32 = 0o200;
    pub const TRUNCATE: u32 = 0o1000;
    pub const DATA_SYNC: u32 = 0o10_000;
    pub const DIRECTORY: u32 = 0o200_000;
    pub const SYNC: u32 = 0o4_000_000;
}

fn open_mode(flags: u32) -> Result<OpenMode, FileError> {
    let access = flags & flag::ACCESS;
    if access > flag::READ_WRITE {
        return Err(FileError::Invalid);
    }
    Ok(OpenMode {
        is_readable: access != flag::WRITE_ONLY,
        is_writable: access != 0,
        is_truncating: flags & flag::TRUNCATE != 0,
        is_synchronous: flags & (flag::DATA_SYNC | flag::SYNC) != 0,
    })
}

/// The client is to choose how much it transfers at a time.
const ANY_UNIT: u32 = 0;

impl Server {
    pub(super) fn open(&mut self, number: u32, flags: u32, reply: &mut Reply) -> Result<(), FileError> {
        let mode = open_mode(flags)?;
        let fid = self.fid(number)?;
        let node = fid.node;
        if fid.usage != Usage::Path {
            return Err(FileError::BadHandle);
        }
        if mode.is_writable || mode.is_truncating {
            self.check_writable()?;
        }
        let attributes = self.tree.attributes(node)?;
        if flags & flag::DIRECTORY != 0 && attributes.kind != FileKind::Directory {
            return Err(FileError::NotDirectory);
        }
        let handle = self.tree.open(node, mode)?;
        self.fid_mut(number)?.usage = Usage::Open(handle, mode);
        reply.identity_of(&attributes);
        reply.word32(ANY_UNIT);
        Ok(())
    }

    pub(super) fn create(
        &mut self,
        number: u32,
        name: &[u8],
        flags: u32,
        mode: u32,
        group: u32,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let checked = Name::new(name)?;
        let open = open_mode(flags)?;
        let fid = self.fid(number)?;
        let (directory, user) = (fid.node, fid.user);
        if fid.usage != Usage::Path {
            return Err(FileError::BadHandle);
        }
        self.check_writable()?;
        let new = NewFile { permissions: mode & PERMISSION_BITS, user, group };
        let (node, attributes, handle) = match self.tree.create(directory, checked, open, new) {
            // Somebody else was faster; only an exclusive creation minds.
            Err(FileError::Exists) if flags & flag::EXCLUSIVE == 0 => {
                let (node, attributes) = self.tree.look_up(directory, checked)?;
                match self.tree.open(node, open) {
                    Ok(handle) => (node, attributes, handle),
                    Err(error) => {
                        self.tree.forget(node);
                        return Err(error);
                    }
                }
            }
            created => created?,
        };
        let fid = self.fid_mut(number)?;
        fid.node = node;
        fid.usage = Usage::Open(handle, open);
        // The directory passes from the fid to the entry.
        if let Some(left) = fid.entry.replace(Entry { directory, name: name.to_vec() }) {
            self.tree.forget(left.directory);
        }
        reply.identity_of(&attributes);
        reply.word32(ANY_UNIT);
        Ok(())
    }

    pub(super) fn read(
        &mut self,
        number: u32,
        offset: u64,
        count: u32,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let length = reply.data_room(count);
        let fid = self.fids.get(&number).ok_or(FileError::BadHandle)?;
        match &fid.usage {
            Usage::Open(handle, _) => reply.data(length, |buffer| self.tree.read(*handle, offset, buffer)),
            Usage::ExtendedRead(value) => reply.data(length, |buffer| {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let rest = value.get(start..).unwrap_or_default();
                for (byte, value) in buffer.iter_mut().zip(rest) {
                    *byte = *value;
                }
                Ok(rest.len())
            }),
            Usage::Path | Usage::ExtendedWrite { .. } => Err(FileError::BadHandle),
        }
    }

    pub(super) fn write(
        &mut self,
        number: u32,
        offset: u64,
        data: &[u8],
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let fid = self.fids.get_mut(&number).ok_or(FileError::BadHandle)?;
        let written = match &mut fid.usage {
            Usage::Open(handle, _) => self.tree.write(*handle, offset, data)?,
            Usage::ExtendedWrite { value, size, .. } => {
                // The value comes from its beginning to its end.
                if usize::try_from(offset) != Ok(value.len()) {
                    return Err(FileError::Invalid);
                }
                if data.len() > *size - value.len() {
                    return Err(FileError::NoSpace);
                }
                value.extend_from_slice(data);
                data.len()
            }
            Usage::Path | Usage::ExtendedRead(_) => return Err(FileError::BadHandle),
        };
        reply.word32(u32::try_from(written).map_err(|_| FileError::InputOutput)?);
        Ok(())
    }

    pub(super) fn read_directory(
        &mut self,
        number: u32,
        offset: u64,
        count: u32,
        reply: &mut Reply,
    ) -> Result<(), FileError> {
        let handle = self.handle(number)?;
        let length = reply.data_room(count);
        reply.begin_entries();
        let (mut has_entry, mut is_full) = (false, false);
        self.tree.read_directory(handle, offset, &mut |entry| {
            is_full = !reply.entry(entry, length);
            has_entry |= !is_full;
            !is_full
        })?;
        // An empty answer would mean the end of the directory.
        if is_full && !has_entry { Err(FileError::Invalid) } else { Ok(()) }
    }

    pub(super) fn synchronize(&mut self, number: u32, is_data_only: bool) -> Result<(), FileError> {
        let handle = self.handle(number)?;
        self.tree.synchronize(handle, is_data_only)
    }
}
