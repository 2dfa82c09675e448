//! What a provider is asked, and what it answers.

use crate::host::WallTime;
use crate::storage::tree::{Attributes, FileError, FileKind, TreeStatistics};
use serde::{Deserialize, Serialize};

/// A path below the top directory, components divided by `/`; the top directory's is empty.
pub type ProvidedPath = String;

/// What a provider is to do. Numbers of bytes are below 2⁵³, so that JavaScript can count them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Operation {
    /// Tells of the file at `path`, or of the one that is open as `handle` where there is one; answered by [`Status`].
    Stat {
        /// Where it is; nowhere any more if not given.
        path: Option<ProvidedPath>,
        /// A handle of the file.
        handle: Option<u64>,
    },
    /// Tells the entries of a directory; answered by a list of [`Item`].
    List {
        /// The directory.
        path: ProvidedPath,
    },
    /// Opens a regular file, as `handle` from then on.
    Open {
        /// The file.
        path: ProvidedPath,
        /// The number that it gets.
        handle: u64,
        /// Whether it is to be read.
        read: bool,
        /// Whether it is to be written.
        write: bool,
        /// Whether it becomes empty.
        truncate: bool,
    },
    /// Makes a regular file that must not exist, and opens it as `handle`; answered by [`Status`].
    Create {
        /// The file.
        path: ProvidedPath,
        /// The number that it gets.
        handle: u64,
        /// Whether it is to be read.
        read: bool,
        /// How it begins.
        new: NewStatus,
    },
    /// Ends the use of a handle. Not answered.
    Close {
        /// The handle.
        handle: u64,
    },
    /// Reads `length` bytes, fewer at the end of the file only; answered by the data.
    Read {
        /// The handle.
        handle: u64,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Stores the data that goes with it.
    Write {
        /// The handle.
        handle: u64,
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// Makes what was written durable.
    Sync {
        /// The handle.
        handle: u64,
    },
    /// Sets attributes.
    Change {
        /// Where the file is; nowhere any more if not given.
        path: Option<ProvidedPath>,
        /// A handle of the file that can be written.
        handle: Option<u64>,
        /// What to set.
        change: StatusChange,
    },
    /// Makes a directory; answered by [`Status`].
    MakeDirectory {
        /// The directory.
        path: ProvidedPath,
        /// How it begins.
        new: NewStatus,
    },
    /// Makes a symbolic link; answered by [`Status`].
    MakeLink {
        /// The link.
        path: ProvidedPath,
        /// What it leads to.
        target: String,
        /// Whose it is.
        new: NewStatus,
    },
    /// Tells what a symbolic link leads to; answered by a string.
    ReadLink {
        /// The link.
        path: ProvidedPath,
    },
    /// Gives a file one more name.
    Link {
        /// The file.
        path: ProvidedPath,
        /// The new name.
        to: ProvidedPath,
    },
    /// Moves an entry, over an existing one if need be.
    Rename {
        /// The entry.
        path: ProvidedPath,
        /// Its new place.
        to: ProvidedPath,
    },
    /// Takes the name of a file that is no directory away.
    Remove {
        /// The file.
        path: ProvidedPath,
    },
    /// Removes an empty directory.
    RemoveDirectory {
        /// The directory.
        path: ProvidedPath,
    },
    /// Tells of the file system; answered by [`Room`].
    Room {
        /// A file on it.
        path: ProvidedPath,
    },
}

impl Operation {
    /// Whether it changes files, so that doing it twice is not the same as doing it once.
    pub(super) fn is_change(&self) -> bool {
        !matches!(
            self,
            Self::Stat { .. }
                | Self::List { .. }
                | Self::Read { .. }
                | Self::Sync { .. }
                | Self::ReadLink { .. }
                | Self::Room { .. }
                | Self::Open { truncate: false, .. }
        )
    }

    /// The handle that it opens.
    pub(super) fn opens(&self) -> Option<u64> {
        match self {
            Self::Open { handle, .. } | Self::Create { handle, .. } => Some(*handle),
            _ => None,
        }
    }
}

/// How a new file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NewStatus {
    /// Permission bits.
    pub permissions: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
}

/// A time to set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Moment {
    /// The present.
    Now(Now),
    /// Milliseconds since 1970.
    At(f64),
}

/// The text `now`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Now {
    /// The present.
    Now,
}

/// Attributes to set; what is not given stays.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct StatusChange {
    /// Permission bits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permissions: Option<u32>,
    /// Owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<u32>,
    /// Bytes of contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Last access to the contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accessed: Option<Moment>,
    /// Last change of the contents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Moment>,
}

/// What a file is, by the names that JavaScript has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A device that gives and takes characters.
    CharacterDevice,
    /// A device that gives and takes blocks.
    BlockDevice,
}

impl From<Kind> for FileKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::File => Self::Regular,
            Kind::Directory => Self::Directory,
            Kind::Link => Self::SymbolicLink,
            Kind::Fifo => Self::Fifo,
            Kind::Socket => Self::Socket,
            Kind::CharacterDevice => Self::CharacterDevice,
            Kind::BlockDevice => Self::BlockDevice,
        }
    }
}

/// What a provider tells of a file. Times are milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Status {
    /// What it is.
    pub kind: Kind,
    /// Bytes of contents.
    pub size: f64,
    /// Permission bits; all may read and the owner write if not given.
    pub permissions: Option<u32>,
    /// Owner; root if not given.
    pub user: Option<u32>,
    /// Group; root's if not given.
    pub group: Option<u32>,
    /// Names of the file; one if not given.
    pub links: Option<u32>,
    /// Number of the file, in decimal; one is made up from its path if not given.
    pub inode: Option<String>,
    /// Units of 512 bytes that it takes; as many as its size needs if not given.
    pub blocks: Option<f64>,
    /// Last access to the contents.
    pub accessed: Option<f64>,
    /// Last change of the contents.
    pub modified: Option<f64>,
    /// Last change of anything.
    pub changed: Option<f64>,
}

/// Preferred bytes of a transfer.
const BLOCK_BYTES: u64 = 4096;
/// Units in which a file's room is told, in bytes.
const ROOM_UNIT_BYTES: u64 = 512;

fn wall_time(milliseconds: Option<f64>) -> WallTime {
    // Casts of numbers that do not fit end at the type's limits, and that of no number is zero.
    WallTime { unix_ns: (milliseconds.unwrap_or(0.0) * 1e6).round() as u64 }
}

impl Status {
    /// What stands for the status of a file that is taken for there without a look.
    pub(super) fn presumed() -> Self {
        Self {
            kind: Kind::Directory,
            size: 0.0,
            permissions: None,
            user: None,
            group: None,
            links: None,
            inode: None,
            blocks: None,
            accessed: None,
            modified: None,
            changed: None,
        }
    }

    /// The provider's own number of the file, if it has one.
    pub(super) fn own_inode(&self) -> Option<u64> {
        self.inode.as_ref()?.parse().ok()
    }

    /// What `stat` tells of it.
    pub(super) fn attributes(&self, inode: u64) -> Attributes {
        let kind = FileKind::from(self.kind);
        let size = self.size as u64;
        let default_permissions = match kind {
            FileKind::Directory => 0o755,
            FileKind::SymbolicLink => 0o777,
            _ => 0o644,
        };
        let modified = wall_time(self.modified);
        Attributes {
            inode,
            kind,
            permissions: self.permissions.unwrap_or(default_permissions) & super::PERMISSION_BITS,
            user: self.user.unwrap_or(0),
            group: self.group.unwrap_or(0),
            links: self.links.unwrap_or(1).into(),
            device: (0, 0),
            size,
            block_bytes: BLOCK_BYTES,
            blocks: self.blocks.map_or(size.div_ceil(ROOM_UNIT_BYTES), |blocks| blocks as u64),
            accessed: self.accessed.map_or(modified, |time| wall_time(Some(time))),
            modified,
            changed: self.changed.map_or(modified, |time| wall_time(Some(time))),
        }
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Number of the file, in decimal, as [`Status::inode`].
    pub inode: Option<String>,
}

/// What a provider tells of its file system.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct Room {
    /// All bytes.
    pub bytes: f64,
    /// Bytes that are free.
    pub free: f64,
}

/// Files that there can be, where nobody knows a limit.
const FILES: u64 = 1 << 32;

impl Room {
    /// What `statfs` tells of it.
    pub(super) fn statistics(&self) -> TreeStatistics {
        let free = self.free as u64 / BLOCK_BYTES;
        TreeStatistics {
            block_bytes: BLOCK_BYTES as u32,
            blocks: self.bytes as u64 / BLOCK_BYTES,
            free_blocks: free,
            available_blocks: free,
            files: FILES,
            free_files: FILES,
            name_bytes_max: super::NAME_BYTES_MAX as u32,
        }
    }
}

/// What a provider has answered: JSON, and data where it was asked for them; or why it cannot.
pub type Answer = Result<(String, Vec<u8>), FileError>;

/// Reads the JSON of an answer.
///
/// # Errors
/// [`FileError::InputOutput`] if it is not what was asked for.
pub(super) fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, FileError> {
    serde_json::from_str(json).map_err(|error| {
        log::warn!("a share's provider has answered what nobody asked: {error}");
        FileError::InputOutput
    })
}
