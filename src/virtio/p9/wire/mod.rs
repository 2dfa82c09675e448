//! Messages of 9P2000.L as bytes: `size[4] type[1] tag[2]` and fields in little-endian order; strings and
//! lists have a 16-bit count before them.
//!
//! The protocol is that of Linux (net/9p, Documentation/filesystems/9p.rst) and its predecessor's manual,
//! section 5 of Plan 9.

mod message;
mod reply;

pub(super) use message::{Message, SetAttributes};
pub(super) use reply::Reply;

use crate::storage::tree::FileError;

/// Bytes before the fields: size, type, tag.
pub(super) const HEADER_BYTES: usize = 7;
/// Bytes of an `Rlerror`, the longest answer that every request has room for.
pub(super) const ERROR_BYTES: usize = HEADER_BYTES + 4;
/// Bytes before the data of an `Rread` or an `Rreaddir`.
pub(super) const DATA_HEADER_BYTES: usize = HEADER_BYTES + 4;
/// The tag of what has none.
pub(super) const NO_TAG: u16 = u16::MAX;
/// The fid of what has none.
pub(super) const NO_FID: u32 = u32::MAX;

/// The fields of a message that are not read yet.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `length` bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], FileError> {
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(FileError::Protocol)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FileError> {
        self.bytes(N)?.try_into().map_err(|_| FileError::Protocol)
    }

    pub(super) fn byte(&mut self) -> Result<u8, FileError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn word16(&mut self) -> Result<u16, FileError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn word32(&mut self) -> Result<u32, FileError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn word64(&mut self) -> Result<u64, FileError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn string(&mut self) -> Result<&'a [u8], FileError> {
        let length = self.word16()?;
        self.bytes(length.into())
    }

    /// Checks that nothing follows.
    pub(super) fn end(&self) -> Result<(), FileError> {
        if self.0.is_empty() { Ok(()) } else { Err(FileError::Protocol) }
    }
}

/// The size, type and tag of a message; `None` if it has not even those.
pub(super) fn header(bytes: &[u8]) -> Option<(u32, u8, u16)> {
    let mut fields = Fields::new(bytes);
    Some((fields.word32().ok()?, fields.byte().ok()?, fields.word16().ok()?))
}
