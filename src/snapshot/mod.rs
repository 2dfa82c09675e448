//! The file of a snapshot: a saved machine as a stream of bytes.
//!
//! ```text
//! file    = "DINGHYSN", version, section …, end section
//! section = kind, encoding, bytes stored, bytes decoded, SHA-256 of all of it, stored bytes
//! ```
//!
//! The first section tells what the machine is made of, so that a reader can take its RAM before the
//! pages come; the second holds processor and devices; then come pages of RAM and what was written to
//! the disks, in sections of about 1 MiB that need nothing of each other. The end section holds a digest
//! of all digests. A file of another version, cut short or changed anywhere is refused.
//!
//! A snapshot that is shipped holds the pages that a first command needs; another section names files beside it that
//! hold the others ([`ChunkList`]), which come when they are needed.
//!
//! Sections are compressed with Zstandard, because its decoder keeps up with a download in WebAssembly too
//! (`ruzstd`, in Rust). The encoder of that crate knows the fastest level only; a
//! snapshot that is shipped is compressed again by `cargo xtask snapshot`.

mod decoding;
mod elsewhere;
#[cfg(test)]
mod elsewhere_tests;
mod kept;
mod pages;
mod section;
#[cfg(test)]
mod tests;

pub use decoding::PageDecoding;
pub use elsewhere::{AbsentChunks, ChunkFiles, ChunkList};
pub use kept::{KeptFile, KeptState};
pub use pages::{apply_pages, write_pages};
pub use section::{Section, SectionKind, SectionReader, SectionWriter, StoredSection};

/// Counted up whenever an older reader would misread a file: a changed section, or a changed state of any device.
pub const VERSION: u32 = 1;

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum SnapshotError {
    /// The file is none.
    #[error("this is no snapshot of a dinghy machine; name a file that --save or machine.save() has written")]
    NotASnapshot,
    /// The file was written by another version.
    #[error(
        "the snapshot has version {found}, this dinghy reads version {VERSION}: boot the machine and save it again"
    )]
    Version {
        /// The file's version.
        found: u32,
    },
    /// The file ends too soon.
    #[error("the snapshot is cut short; copy or download it again")]
    Truncated,
    /// Something in the file has changed.
    #[error("the snapshot is damaged at byte {at} ({problem}); copy or download it again")]
    Damaged {
        /// Where its section begins.
        at: u64,
        /// What is wrong there.
        problem: &'static str,
    },
    /// The file does not fit the machine that it is to be restored into.
    #[error("the snapshot does not fit this machine: {0}")]
    Mismatch(String),
    /// A device could not take its saved state back.
    #[error("the snapshot's state of {device} cannot be restored: {problem}")]
    Device {
        /// Which device.
        device: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The machine cannot be saved just now.
    #[error("the machine cannot be saved now: {0}")]
    NotNow(String),
    /// No machine was kept, or not by this version.
    #[error("no running machine is kept here; boot it")]
    NothingKept,
    /// A disk holds what the saved memory does not know of.
    #[error("the kept machine's disk was written to since; boot from the disk as it is")]
    MovedOn,
    /// Pages of it are in other files, and nobody has these.
    #[error(
        "the snapshot's memory is in files beside it: give its address or its path in place of its bytes"
    )]
    Elsewhere,
    /// Pages could not be had.
    #[error("{0}; download the snapshot again")]
    Lost(String),
    /// The host could not give the bytes.
    #[error("the kept machine cannot be read: {0}")]
    Unreadable(String),
    /// The host could not take the bytes.
    #[error("the snapshot cannot be written: {0}")]
    Output(String),
}
