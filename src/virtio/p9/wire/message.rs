//! What a client asks.

use super::Fields;
use crate::storage::tree::FileError;

/// Most names in one walk (MAXWELEM of Plan 9's manual, walk(5)).
const NAMES_MAX: u16 = 16;

/// Declares the messages with their types, and reads each message's fields in the order of its declaration.
macro_rules! messages {
    ($($(#[$documentation:meta])* $kind:literal $name:ident { $($field:ident: $reader:ident -> $type:ty),* })*) => {
        /// A request of a client.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub(in crate::virtio::p9) enum Message<'a> {
            $($(#[$documentation])* $name { $($field: $type),* },)*
        }

        impl<'a> Message<'a> {
            /// Reads the fields of a message of type `kind`.
            ///
            /// # Errors
            /// [`FileError::NotSupported`] for unknown types, [`FileError::Protocol`] when the fields end too
            /// soon or too late.
            pub(in crate::virtio::p9) fn parse(kind: u8, bytes: &'a [u8]) -> Result<Self, FileError> {
                let mut fields = Fields::new(bytes);
                let message = match kind {
                    $($kind => Self::$name { $($field: fields.$reader()?),* },)*
                    _ => return Err(FileError::NotSupported),
                };
                fields.end()?;
                Ok(message)
            }
        }
    };
}

messages! {
    /// The state of the file system.
    8 StatFs { fid: word32 -> u32 }
    /// Open a file.
    12 Open { fid: word32 -> u32, flags: word32 -> u32 }
    /// Make and open a file; `fid` becomes the file.
    14 Create {
        fid: word32 -> u32,
        name: string -> &'a [u8],
        flags: word32 -> u32,
        mode: word32 -> u32,
        group: word32 -> u32
    }
    /// Make a symbolic link.
    16 SymLink {
        fid: word32 -> u32,
        name: string -> &'a [u8],
        target: string -> &'a [u8],
        group: word32 -> u32
    }
    /// Make a file of any kind.
    18 MkNod {
        fid: word32 -> u32,
        name: string -> &'a [u8],
        mode: word32 -> u32,
        major: word32 -> u32,
        minor: word32 -> u32,
        group: word32 -> u32
    }
    /// Move the file of `fid`.
    20 Rename { fid: word32 -> u32, directory: word32 -> u32, name: string -> &'a [u8] }
    /// What a symbolic link leads to.
    22 ReadLink { fid: word32 -> u32 }
    /// What `stat` tells.
    24 GetAttr { fid: word32 -> u32, mask: word64 -> u64 }
    /// Set attributes.
    26 SetAttr { fid: word32 -> u32, change: set_attributes -> SetAttributes }
    /// Make `new_fid` the value of an extended attribute, or the list of all.
    30 XattrWalk { fid: word32 -> u32, new_fid: word32 -> u32, name: string -> &'a [u8] }
    /// Make `fid` the place to write a new value of an extended attribute to.
    32 XattrCreate {
        fid: word32 -> u32,
        name: string -> &'a [u8],
        size: word64 -> u64,
        flags: word32 -> u32
    }
    /// Entries of a directory.
    40 ReadDir { fid: word32 -> u32, offset: word64 -> u64, count: word32 -> u32 }
    /// Make what was written durable.
    50 FSync { fid: word32 -> u32, data_only: word32 -> u32 }
    /// Lock or unlock a range of bytes.
    52 Lock {
        fid: word32 -> u32,
        kind: byte -> u8,
        flags: word32 -> u32,
        start: word64 -> u64,
        length: word64 -> u64,
        process: word32 -> u32,
        client: string -> &'a [u8]
    }
    /// Who holds a lock against this one.
    54 GetLock {
        fid: word32 -> u32,
        kind: byte -> u8,
        start: word64 -> u64,
        length: word64 -> u64,
        process: word32 -> u32,
        client: string -> &'a [u8]
    }
    /// Give a file one more name.
    70 Link { directory: word32 -> u32, fid: word32 -> u32, name: string -> &'a [u8] }
    /// Make a directory.
    72 MkDir { fid: word32 -> u32, name: string -> &'a [u8], mode: word32 -> u32, group: word32 -> u32 }
    /// Move an entry.
    74 RenameAt {
        from: word32 -> u32,
        old_name: string -> &'a [u8],
        to: word32 -> u32,
        new_name: string -> &'a [u8]
    }
    /// Remove an entry.
    76 UnlinkAt { fid: word32 -> u32, name: string -> &'a [u8], flags: word32 -> u32 }
    /// Begin a session.
    100 Version { size: word32 -> u32, version: string -> &'a [u8] }
    /// Ask for a file to authenticate with.
    102 Auth {
        fid: word32 -> u32,
        user_name: string -> &'a [u8],
        tree: string -> &'a [u8],
        user: word32 -> u32
    }
    /// Make `fid` the top directory.
    104 Attach {
        fid: word32 -> u32,
        authentication: word32 -> u32,
        user_name: string -> &'a [u8],
        tree: string -> &'a [u8],
        user: word32 -> u32
    }
    /// Give up waiting for an answer.
    108 Flush { old_tag: word16 -> u16 }
    /// Make `new_fid` the file at the end of a path.
    110 Walk { fid: word32 -> u32, new_fid: word32 -> u32, names: names -> Vec<&'a [u8]> }
    /// Contents of a file.
    116 Read { fid: word32 -> u32, offset: word64 -> u64, count: word32 -> u32 }
    /// New contents for a file.
    118 Write { fid: word32 -> u32, offset: word64 -> u64, data: data -> &'a [u8] }
    /// End the use of a fid.
    120 Clunk { fid: word32 -> u32 }
    /// Remove the file, and end the use of the fid.
    122 Remove { fid: word32 -> u32 }
}

/// The fields of `Tsetattr` behind the fid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::virtio::p9) struct SetAttributes {
    /// Which of the fields count.
    pub(in crate::virtio::p9) valid: u32,
    pub(in crate::virtio::p9) mode: u32,
    pub(in crate::virtio::p9) user: u32,
    pub(in crate::virtio::p9) group: u32,
    pub(in crate::virtio::p9) size: u64,
    /// Seconds and nanoseconds.
    pub(in crate::virtio::p9) accessed: (u64, u64),
    /// Seconds and nanoseconds.
    pub(in crate::virtio::p9) modified: (u64, u64),
}

impl<'a> Fields<'a> {
    fn set_attributes(&mut self) -> Result<SetAttributes, FileError> {
        Ok(SetAttributes {
            valid: self.word32()?,
            mode: self.word32()?,
            user: self.word32()?,
            group: self.word32()?,
            size: self.word64()?,
            accessed: (self.word64()?, self.word64()?),
            modified: (self.word64()?, self.word64()?),
        })
    }

    fn names(&mut self) -> Result<Vec<&'a [u8]>, FileError> {
        let count = self.word16()?;
        if count > NAMES_MAX {
            return Err(FileError::Protocol);
        }
        (0..count).map(|_| self.string()).collect()
    }

    fn data(&mut self) -> Result<&'a [u8], FileError> {
        let length = usize::try_from(self.word32()?).map_err(|_| FileError::Protocol)?;
        self.bytes(length)
    }
}
