//! Trees of files: what a shared directory shows to a guest.
//!
//! A [`FileTree`] is a file system without paths: nodes are found by their directory and one [`Name`], so no
//! request can name a place outside the tree. [`MemoryTree`] keeps its files in memory; others lie on the
//! host's file system, or are [provided](provided) by somebody who answers later.

mod attributes;
mod error;
mod memory;
mod name;
pub mod provided;

pub use attributes::{
    AttributeChange, Attributes, FileKind, NewFile, PERMISSION_BITS, TimeChange, TreeStatistics,
};
pub use error::FileError;
pub use memory::MemoryTree;
pub use name::{NAME_BYTES_MAX, Name};

use crate::host::WallTime;

/// A file that the user of a tree holds. One file has one id for as long as it is held, whatever the names it
/// was found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

/// A file that is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HandleId(pub u64);

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct OpenMode {
    /// The contents may be read.
    pub is_readable: bool,
    /// The contents may be written.
    pub is_writable: bool,
    /// The contents become empty.
    pub is_truncating: bool,
    /// Every write is durable when it ends.
    pub is_synchronous: bool,
}

/// One entry of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectoryEntry<'a> {
    /// Its name; `.` and `..` are among the entries.
    pub name: &'a [u8],
    /// Number of the file.
    pub inode: u64,
    /// What it is.
    pub kind: FileKind,
    /// Where a later reading begins behind this entry.
    pub cookie: u64,
}

/// How an extended attribute is set (setxattr(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ExtendedChange {
    /// Make it or replace it.
    Any,
    /// It must not exist yet.
    Create,
    /// It must exist.
    Replace,
}

/// A file system.
///
/// Every method that gives a [`NodeId`] away counts one holder more for it, and [`forget`](Self::forget)
/// counts one less; a held file is usable even after its last name is gone. An unknown id is
/// [`FileError::BadHandle`]. A method that fails has changed nothing, but for
/// [`set_attributes`](Self::set_attributes), which may have set some of them. [`hold`](Self::hold) is never
/// [`FileError::Pending`].
pub trait FileTree: Send {
    /// The time at which operations happen from here on, for trees that keep times themselves.
    fn set_time(&mut self, now: WallTime);

    /// The operations that follow belong to `request`, from its beginning: a request of which one was
    /// [`FileError::Pending`] is put again as a whole, and asks the same again in the same order.
    fn begin_request(&mut self, _request: u64) {}

    /// `request` is answered, or will not be put again.
    fn end_request(&mut self, _request: u64) {}

    /// Whether requests that are not at their end could be put again to a tree that does not remember them, as a
    /// restored machine does.
    fn is_settled(&self) -> bool {
        true
    }

    /// Begins or ends the restore of a session. Meanwhile nothing is [`FileError::Pending`]: a tree that cannot
    /// look takes its files for there.
    fn set_restoring(&mut self, _is_restoring: bool) {}

    /// The names from the top directory to `node`, or nothing if it has lost its name.
    ///
    /// # Errors
    /// [`FileError::NotSupported`] if the tree must be searched for them.
    fn known_path(&self, _node: NodeId) -> Result<Option<Vec<Vec<u8>>>, FileError> {
        Err(FileError::NotSupported)
    }

    /// The top directory, with one holder more.
    fn root(&mut self) -> Result<(NodeId, Attributes), FileError>;

    /// The file `name` of `directory`, with one holder more. Symbolic links are not followed.
    fn look_up(&mut self, directory: NodeId, name: Name<'_>) -> Result<(NodeId, Attributes), FileError>;

    /// The directory that `directory` lies in, with one holder more; the top directory lies in itself.
    fn parent(&mut self, directory: NodeId) -> Result<(NodeId, Attributes), FileError>;

    /// Counts one holder more.
    fn hold(&mut self, node: NodeId) -> Result<(), FileError>;

    /// Counts one holder less. Unknown nodes are ignored.
    fn forget(&mut self, node: NodeId);

    /// What `stat` tells of `node`.
    fn attributes(&mut self, node: NodeId) -> Result<Attributes, FileError>;

    /// Sets attributes of `node`. Permissions of a symbolic link cannot be set.
    fn set_attributes(&mut self, node: NodeId, change: &AttributeChange) -> Result<(), FileError>;

    /// What a symbolic link leads to.
    fn read_link(&mut self, node: NodeId) -> Result<Vec<u8>, FileError>;

    /// Opens a regular file or a directory.
    fn open(&mut self, node: NodeId, mode: OpenMode) -> Result<HandleId, FileError>;

    /// Makes a regular file that must not exist, and opens it; with one holder more.
    fn create(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        mode: OpenMode,
        new: NewFile,
    ) -> Result<(NodeId, Attributes, HandleId), FileError>;

    /// Ends the use of `handle`. Unknown handles are ignored.
    fn close(&mut self, handle: HandleId);

    /// Fills `buffer` from byte `offset`; the bytes read, fewer only at the end of the file.
    fn read(&mut self, handle: HandleId, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError>;

    /// Stores `data` at byte `offset`; the bytes written.
    fn write(&mut self, handle: HandleId, offset: u64, data: &[u8]) -> Result<usize, FileError>;

    /// Shows the entries behind `cookie` (0: all) to `visit` until there are no more or it returns false. The
    /// entry for which it does so counts as unread.
    fn read_directory(
        &mut self,
        handle: HandleId,
        cookie: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), FileError>;

    /// Makes what was written durable; with `is_data_only` not the times.
    fn synchronize(&mut self, handle: HandleId, is_data_only: bool) -> Result<(), FileError>;

    /// Makes a directory; with one holder more.
    fn make_directory(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError>;

    /// Makes a file of another kind than directories and symbolic links; with one holder more. `device` is
    /// major and minor number.
    fn make_node(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        kind: FileKind,
        device: (u32, u32),
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError>;

    /// Makes a symbolic link to `target`; with one holder more.
    fn make_symbolic_link(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        target: &[u8],
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError>;

    /// Gives `node`, which is no directory, one more name.
    fn link(&mut self, node: NodeId, directory: NodeId, name: Name<'_>) -> Result<(), FileError>;

    /// Moves an entry, over an existing one if need be (rename(2)).
    fn rename(
        &mut self,
        from: NodeId,
        old_name: Name<'_>,
        to: NodeId,
        new_name: Name<'_>,
    ) -> Result<(), FileError>;

    /// Takes the name of a file that is no directory away.
    fn remove_file(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError>;

    /// Removes an empty directory.
    fn remove_directory(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError>;

    /// What `statfs` tells of the file system of `node`.
    fn statistics(&mut self, node: NodeId) -> Result<TreeStatistics, FileError>;

    /// The value of an extended attribute.
    fn extended(&mut self, node: NodeId, name: &[u8]) -> Result<Vec<u8>, FileError>;

    /// The names of all extended attributes, each followed by a zero byte.
    fn extended_names(&mut self, node: NodeId) -> Result<Vec<u8>, FileError>;

    /// Sets an extended attribute.
    fn set_extended(
        &mut self,
        node: NodeId,
        name: &[u8],
        value: &[u8],
        change: ExtendedChange,
    ) -> Result<(), FileError>;

    /// Takes an extended attribute away.
    fn remove_extended(&mut self, node: NodeId, name: &[u8]) -> Result<(), FileError>;
}
