//! What the server answers.

use super::{DATA_HEADER_BYTES, HEADER_BYTES};
use crate::storage::tree::{Attributes, FileError, FileKind};

/// Type of the one answer that stands for all errors.
const ERROR_KIND: u8 = 7;

/// An answer in the making.
#[derive(Default)]
pub(in crate::virtio::p9) struct Reply {
    bytes: Vec<u8>,
    /// Most bytes that the answer may have.
    room: usize,
}

impl Reply {
    /// Begins the answer to a message of type `kind`, with room for `room` bytes, and forgets what was written.
    pub(in crate::virtio::p9) fn begin(&mut self, kind: u8, tag: u16, room: usize) {
        self.room = room;
        self.bytes.clear();
        self.bytes.extend([0; 4]);
        // Each answer has the number behind its request's.
        self.byte(kind.wrapping_add(1));
        self.word16(tag);
    }

    /// Makes the answer an error.
    pub(in crate::virtio::p9) fn fail(&mut self, tag: u16, error: FileError) {
        self.begin(ERROR_KIND - 1, tag, self.room);
        self.word32(error.errno().into());
    }

    /// The answer.
    ///
    /// # Errors
    /// [`FileError::MessageSize`] if it has become too long.
    pub(in crate::virtio::p9) fn finish(&mut self) -> Result<&[u8], FileError> {
        let size = u32::try_from(self.bytes.len()).map_err(|_| FileError::MessageSize)?;
        if self.bytes.len() > self.room {
            return Err(FileError::MessageSize);
        }
        for (byte, value) in self.bytes.iter_mut().zip(size.to_le_bytes()) {
            *byte = value;
        }
        Ok(&self.bytes)
    }

    pub(in crate::virtio::p9) fn byte(&mut self, value: u8) {
        self.bytes.push(value);
    }

    pub(in crate::virtio::p9) fn word16(&mut self, value: u16) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(in crate::virtio::p9) fn word32(&mut self, value: u32) {
        self.bytes.extend(value.to_le_bytes());
    }

    pub(in crate::virtio::p9) fn word64(&mut self, value: u64) {
        self.bytes.extend(value.to_le_bytes());
    }

    /// A string with its count.
    ///
    /// # Errors
    /// [`FileError::NameTooLong`] if the count cannot tell its length.
    pub(in crate::virtio::p9) fn string(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.word16(u16::try_from(bytes.len()).map_err(|_| FileError::NameTooLong)?);
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The identity of a file: kind, version, number. Linux takes files whose versions differ for different
    /// ones, so the version never changes.
    pub(in crate::virtio::p9) fn identity(&mut self, kind: FileKind, inode: u64) {
        self.byte(match kind {
            FileKind::Directory => 0x80,
            FileKind::SymbolicLink => 0x02,
            _ => 0,
        });
        self.word32(0);
        self.word64(inode);
    }

    /// The identity of the file with these attributes.
    pub(in crate::virtio::p9) fn identity_of(&mut self, attributes: &Attributes) {
        self.identity(attributes.kind, attributes.inode);
    }

    /// Bytes that still fit behind a count of four bytes, but no more than `count`.
    pub(in crate::virtio::p9) fn data_room(&self, count: u32) -> usize {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.room.saturating_sub(DATA_HEADER_BYTES).min(count)
    }

    /// Appends a count and as many bytes: those of up to `length` that `fill` has filled.
    ///
    /// # Errors
    /// Those of `fill`.
    pub(in crate::virtio::p9) fn data(
        &mut self,
        length: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, FileError>,
    ) -> Result<(), FileError> {
        self.bytes.resize(DATA_HEADER_BYTES + length, 0);
        let filled = fill(self.bytes.get_mut(DATA_HEADER_BYTES..).unwrap_or_default())?.min(length);
        self.bytes.truncate(DATA_HEADER_BYTES + filled);
        self.set_data_count();
        Ok(())
    }

    /// Begins a list of entries; [`entry`](Self::entry) adds them.
    pub(in crate::virtio::p9) fn begin_entries(&mut self) {
        self.word32(0);
    }

    /// Adds an entry of a directory, unless the list would become longer than `length` bytes.
    pub(in crate::virtio::p9) fn entry(
        &mut self,
        entry: crate::storage::tree::DirectoryEntry<'_>,
        length: usize,
    ) -> bool {
        const FIXED_BYTES: usize = 13 + 8 + 1 + 2;
        let end = self.bytes.len() + FIXED_BYTES + entry.name.len();
        let Ok(name_length) = u16::try_from(entry.name.len()) else { return false };
        if end - DATA_HEADER_BYTES > length {
            return false;
        }
        self.identity(entry.kind, entry.inode);
        self.word64(entry.cookie);
        self.byte(entry.kind.directory_type());
        self.word16(name_length);
        self.bytes.extend_from_slice(entry.name);
        self.set_data_count();
        true
    }

    fn set_data_count(&mut self) {
        let count = self.bytes.len().saturating_sub(DATA_HEADER_BYTES) as u32;
        for (byte, value) in self.bytes.iter_mut().skip(HEADER_BYTES).zip(count.to_le_bytes()) {
            *byte = value;
        }
    }
}
