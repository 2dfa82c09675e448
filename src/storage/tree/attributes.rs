//! What is known of a file beside its contents.

use crate::host::WallTime;

/// What a file is: the type bits of Linux's `st_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum FileKind {
    /// A pipe with a name.
    Fifo = 0o010_000,
    /// A device that gives and takes characters.
    CharacterDevice = 0o020_000,
    /// A directory.
    Directory = 0o040_000,
    /// A device that gives and takes blocks.
    BlockDevice = 0o060_000,
    /// A regular file.
    Regular = 0o100_000,
    /// A symbolic link.
    SymbolicLink = 0o120_000,
    /// A socket with a name.
    Socket = 0o140_000,
}

impl FileKind {
    const ALL: [Self; 7] = [
        Self::Fifo,
        Self::CharacterDevice,
        Self::Directory,
        Self::BlockDevice,
        Self::Regular,
        Self::SymbolicLink,
        Self::Socket,
    ];

    /// The kind that the type bits of `mode` name; `None` if they name none.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == mode & 0o170_000)
    }

    /// The type as directories tell it (`d_type`, dirent.h).
    pub fn directory_type(self) -> u8 {
        (self as u32 >> 12) as u8
    }
}

/// The bits of a mode that are no type: permissions, set-user-ID, set-group-ID, sticky.
pub const PERMISSION_BITS: u32 = 0o7777;

/// What `stat` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Number of the file, unique in its tree.
    pub inode: u64,
    /// What it is.
    pub kind: FileKind,
    /// [`PERMISSION_BITS`].
    pub permissions: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
    /// Names of the file.
    pub links: u64,
    /// For devices: major and minor number.
    pub device: (u32, u32),
    /// Bytes of contents.
    pub size: u64,
    /// Preferred bytes of a transfer.
    pub block_bytes: u64,
    /// Room that the contents take, in units of 512 bytes.
    pub blocks: u64,
    /// Last access to the contents.
    pub accessed: WallTime,
    /// Last change of the contents.
    pub modified: WallTime,
    /// Last change of the contents or of the attributes.
    pub changed: WallTime,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeChange {
    /// The present.
    Now,
    /// This time.
    To(WallTime),
}

/// Attributes to set; what is `None` stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttributeChange {
    /// [`PERMISSION_BITS`].
    pub permissions: Option<u32>,
    /// Owner.
    pub user: Option<u32>,
    /// Group.
    pub group: Option<u32>,
    /// Bytes of contents.
    pub size: Option<u64>,
    /// Last access to the contents.
    pub accessed: Option<TimeChange>,
    /// Last change of the contents.
    pub modified: Option<TimeChange>,
}

/// How a new file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewFile {
    /// [`PERMISSION_BITS`].
    pub permissions: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// What `statfs` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeStatistics {
    /// Bytes of a block, the unit of the figures below.
    pub block_bytes: u32,
    /// All blocks.
    pub blocks: u64,
    /// Blocks without data.
    pub free_blocks: u64,
    /// Blocks without data that anybody may fill.
    pub available_blocks: u64,
    /// Files that there can be.
    pub files: u64,
    /// Files that can still be made.
    pub free_files: u64,
    /// Most bytes of a name.
    pub name_bytes_max: u32,
}
