//! A writable disk over an image, whose changes are kept in a file.

mod format;
mod recovery;
mod store;
#[cfg(test)]
mod tests;

use super::Digest;
use super::check_range;
use super::copy_on_write::CopyOnWrite;
use super::grains::shares;
use crate::host::{BlockError, BlockSource, ByteFile, ByteFileError, DiskChange, DiskMark, Progress};
use std::task::{Poll, ready};
use store::{GrainStore, Placed};

/// Bytes of changes at which they go to the file without a flush of the guest's.
const PENDING_BYTES_MAX: u64 = 4 << 20;

/// Why an overlay cannot be used.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum OverlayError {
    /// The host cannot read or write the file.
    #[error("what the guest writes cannot be kept: {0}")]
    File(#[from] ByteFileError),
    /// The file is something else, or damaged from the start.
    #[error("the file with the guest's changes is none, or damaged; import a copy of it, or reset it")]
    NoOverlay,
    /// The file has a layout that this version does not know.
    #[error(
        "the file with the guest's changes has version {0}, but version 1 is read here; reset it, or use the version that wrote it"
    )]
    Version(u32),
    /// The changes were made to another image.
    #[error(
        "the guest's changes belong to another version of its disk image; export them with that version, or reset them"
    )]
    OtherImage,
    /// The disk has more grains than the file can name.
    #[error("a disk of {0} bytes is too large to keep its changes")]
    DiskTooLarge(u64),
    /// A block of the file is not what was written.
    #[error("block {0} of the file with the guest's changes is damaged")]
    DamagedBlock(u32),
    /// An earlier failure left the file in a state that cannot be written to.
    #[error("the file with the guest's changes cannot be written any more ({0}); restart the machine")]
    Broken(String),
}

impl From<OverlayError> for BlockError {
    fn from(error: OverlayError) -> Self {
        Self::Host(error.to_string())
    }
}

/// A writable disk over a base that is never written, whose changes are kept in a file.
///
/// Writes gather in memory, and go to the file at the guest's next flush, or when there are 4 MiB of them.
/// What was flushed survives whatever ends the machine; of what was written later, the next start shows
/// nothing, or all up to a flush that was under way. A flush that fails (the host's storage is full) can be
/// tried again, and costs nothing that was flushed before. Every grain read from the file is verified.
pub struct PersistentDisk {
    changes: CopyOnWrite<StoredGrains>,
}

impl PersistentDisk {
    /// A disk that shows `base` with the changes in `file`, which is empty or holds an overlay over the
    /// same `image`.
    ///
    /// # Errors
    /// When the file cannot be read, or belongs to something else.
    pub fn open(
        base: Box<dyn BlockSource>,
        file: Box<dyn ByteFile>,
        image: Digest,
    ) -> Result<Self, OverlayError> {
        let store = GrainStore::open(file, image, base.size())?;
        Ok(Self { changes: CopyOnWrite::new(StoredGrains { base, store }) })
    }

    /// Bytes that the file takes.
    pub fn file_bytes(&mut self) -> u64 {
        self.changes.base_mut().store.file_bytes()
    }

    /// Writes the changes in memory to the file.
    fn stage(&mut self) -> Result<(), OverlayError> {
        self.changes.move_changes(|stored, grains| stored.store.stage(grains.iter()))
    }

    fn stage_if_many(&mut self) -> Result<(), OverlayError> {
        if self.changes.data_bytes() < PENDING_BYTES_MAX { Ok(()) } else { self.stage() }
    }
}

impl BlockSource for PersistentDisk {
    fn size(&self) -> u64 {
        self.changes.size()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        self.changes.read(offset, buffer)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        ready!(self.changes.write(offset, data))?;
        Poll::Ready(self.stage_if_many().map_err(BlockError::from))
    }

    fn flush(&mut self) -> Progress {
        self.stage()?;
        Poll::Ready(self.changes.base_mut().store.commit().map_err(BlockError::from))
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        self.changes.discard(offset, length)
    }

    fn image(&self) -> Option<[u8; 32]> {
        self.changes.image()
    }

    fn has_changes(&self) -> bool {
        self.changes.has_changes() || self.changes.base().store.has_grains()
    }

    fn mark(&self) -> Option<DiskMark> {
        Some(self.changes.base().store.mark())
    }

    fn visit_changes(&mut self, visitor: &mut dyn FnMut(DiskChange<'_>)) -> Result<(), BlockError> {
        // Then all of them are in the file.
        self.stage()?;
        let size = self.size();
        Ok(self.changes.base_mut().store.visit(size, visitor)?)
    }
}

/// The base, as the grains in the file change it.
struct StoredGrains {
    base: Box<dyn BlockSource>,
    store: GrainStore,
}

/// Bytes in a row that come from one place.
enum Run {
    Base,
    Zeroes,
    /// From `first` on, blocks with these checksums.
    Blocks {
        first: u32,
        checksums: Vec<u32>,
        skipped: usize,
    },
}

impl StoredGrains {
    /// Divides `length` bytes from `offset` into runs, with their bytes.
    fn runs(&self, offset: u64, length: usize) -> Vec<(Run, usize)> {
        let mut runs: Vec<(Run, usize)> = Vec::new();
        for share in shares(offset, length) {
            let placed = self.store.placed(share.index);
            match (runs.last_mut(), placed) {
                (Some((Run::Base, bytes)), None) => *bytes += share.length,
                (Some((Run::Zeroes, bytes)), Some(Placed { block: format::ZEROES, .. })) => {
                    *bytes += share.length
                }
                (Some((Run::Blocks { first, checksums, .. }, bytes)), Some(placed))
                    if u64::from(placed.block) == u64::from(*first) + checksums.len() as u64 =>
                {
                    checksums.push(placed.checksum);
                    *bytes += share.length;
                }
                (_, None) => runs.push((Run::Base, share.length)),
                (_, Some(Placed { block: format::ZEROES, .. })) => runs.push((Run::Zeroes, share.length)),
                (_, Some(Placed { block: first, checksum })) => {
                    let run = Run::Blocks { first, checksums: vec![checksum], skipped: share.at };
                    runs.push((run, share.length));
                }
            }
        }
        runs
    }
}

impl BlockSource for StoredGrains {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        check_range(offset, buffer.len() as u64, self.size())?;
        let mut is_waiting = false;
        let mut at = 0;
        for (run, length) in self.runs(offset, buffer.len()) {
            let Some(target) = buffer.get_mut(at..at + length) else { break };
            match run {
                // The others are still asked for, so that the host fetches them at the same time.
                Run::Base => is_waiting |= self.base.read(offset + at as u64, target)?.is_pending(),
                Run::Zeroes => target.fill(0),
                Run::Blocks { first, checksums, skipped } => {
                    let bytes = self.store.read(first, &checksums)?;
                    if let Some(found) = bytes.get(skipped..skipped + length) {
                        target.copy_from_slice(found);
                    }
                }
            }
            at += length;
        }
        if is_waiting { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn write(&mut self, _offset: u64, _data: &[u8]) -> Progress {
        Poll::Ready(Err(BlockError::ReadOnly))
    }

    fn flush(&mut self) -> Progress {
        Poll::Ready(Ok(()))
    }

    fn image(&self) -> Option<[u8; 32]> {
        self.base.image()
    }

    fn discard(&mut self, _offset: u64, _length: u64) -> Progress {
        Poll::Ready(Err(BlockError::ReadOnly))
    }
}
