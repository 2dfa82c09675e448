//! Block storage, as a disk device sees it.

use serde::{Deserialize, Serialize};
use std::task::Poll;

/// The outcome of a block operation: done (well or badly), or begun and to be asked again.
pub type Progress = Poll<Result<(), BlockError>>;

/// A byte-addressed store whose operations may have to wait for the outside (a fetch, a file).
///
/// A call that returns [`Poll::Pending`] has no effect yet. The source has started what it needs;
/// the machine asks again with the same arguments after the host has reported progress.
/// Offsets and lengths are in bytes and multiples of 512.
pub trait BlockSource: Send {
    /// Size in bytes, a multiple of 512.
    fn size(&self) -> u64;

    /// Whether writes are refused.
    fn is_read_only(&self) -> bool;

    /// Fills `buffer` from `offset`.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress;

    /// Stores `data` at `offset`. Durable only after a later [`flush`](Self::flush).
    fn write(&mut self, offset: u64, data: &[u8]) -> Progress;

    /// Makes all finished writes durable.
    fn flush(&mut self) -> Progress;

    /// Tells that the range holds nothing of use any more; it reads as zeroes afterwards.
    fn discard(&mut self, offset: u64, length: u64) -> Progress;

    /// The SHA-256 of the image that is never written, where it is known: a snapshot goes over the same one only.
    fn image(&self) -> Option<[u8; 32]> {
        None
    }

    /// Whether something was written over an image that stays as it is. Such a disk is another one than the
    /// memory of a snapshot knows.
    fn has_changes(&self) -> bool {
        false
    }

    /// Where the durable contents stand, if what is written is kept beyond the machine's end. As long as nothing
    /// becomes durable, the mark stays; over the same image, what has the same mark holds the same.
    fn mark(&self) -> Option<DiskMark> {
        None
    }

    /// Shows `visitor` what was written over contents that stay as they are, for a snapshot: writing it over
    /// the same contents makes the same disk. A store whose writes reach its contents shows none: it must be
    /// kept beside the snapshot. No byte is shown twice.
    ///
    /// # Errors
    /// When the changes cannot be read.
    fn visit_changes(&mut self, visitor: &mut dyn FnMut(DiskChange<'_>)) -> Result<(), BlockError> {
        let _ = visitor;
        Ok(())
    }
}

/// Tells one durable state of a kept disk from all others that it has had or will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskMark(pub [u64; 3]);

/// A part of a disk that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskChange<'a> {
    /// These bytes, from this byte of the disk on.
    Data(u64, &'a [u8]),
    /// So many zeroes, from this byte of the disk on.
    Zeroes(u64, u64),
}

impl<Source: BlockSource + ?Sized> BlockSource for Box<Source> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn is_read_only(&self) -> bool {
        (**self).is_read_only()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        (**self).read(offset, buffer)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        (**self).write(offset, data)
    }

    fn flush(&mut self) -> Progress {
        (**self).flush()
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        (**self).discard(offset, length)
    }

    fn image(&self) -> Option<[u8; 32]> {
        (**self).image()
    }

    fn has_changes(&self) -> bool {
        (**self).has_changes()
    }

    fn mark(&self) -> Option<DiskMark> {
        (**self).mark()
    }

    fn visit_changes(&mut self, visitor: &mut dyn FnMut(DiskChange<'_>)) -> Result<(), BlockError> {
        (**self).visit_changes(visitor)
    }
}

/// Why a block operation failed.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum BlockError {
    /// The range does not lie within the store.
    #[error("bytes {offset}..+{length} lie outside a disk of {size} bytes")]
    OutOfRange {
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// Size of the store in bytes.
        size: u64,
    },
    /// A write to a store that takes none.
    #[error("the disk is read-only")]
    ReadOnly,
    /// The host could not read or write.
    #[error("{0}")]
    Host(String),
}
