//! Why an operation on a tree of files fails, in Linux's terms.

/// An error of a [`FileTree`](super::FileTree).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The answer is not at hand. Nothing has happened; ask again with the same arguments after the host
    /// has reported progress.
    #[error("the answer is not at hand yet")]
    Pending,
    /// The operation is never allowed (EPERM).
    #[error("the operation is not permitted")]
    NotPermitted,
    /// There is no such file (ENOENT).
    #[error("there is no such file")]
    NotFound,
    /// The host failed to read or write (EIO).
    #[error("the host failed to read or write")]
    InputOutput,
    /// The fid, node or handle is not in use, or not open in the way needed (EBADF).
    #[error("the file is not open for this")]
    BadHandle,
    /// The host has no memory left (ENOMEM).
    #[error("the host has no memory left")]
    OutOfMemory,
    /// The host's permissions forbid it (EACCES).
    #[error("permission is denied")]
    AccessDenied,
    /// The file is in use (EBUSY).
    #[error("the file is in use")]
    Busy,
    /// There is a file of that name (EEXIST).
    #[error("there is a file of that name")]
    Exists,
    /// The two files lie on different file systems (EXDEV).
    #[error("the files lie on different file systems")]
    CrossDevice,
    /// Only a directory can do this (ENOTDIR).
    #[error("it is not a directory")]
    NotDirectory,
    /// A directory cannot do this (EISDIR).
    #[error("it is a directory")]
    IsDirectory,
    /// The arguments make no sense (EINVAL).
    #[error("an argument is invalid")]
    Invalid,
    /// Too many files are open (EMFILE).
    #[error("too many files are open")]
    TooManyOpen,
    /// The file would become too large (EFBIG).
    #[error("the file would become too large")]
    TooLarge,
    /// There is no room left (ENOSPC).
    #[error("there is no room left")]
    NoSpace,
    /// The tree may only be read (EROFS).
    #[error("the tree is read-only")]
    ReadOnly,
    /// The file has too many names (EMLINK).
    #[error("the file has too many names")]
    TooManyLinks,
    /// The value is larger than the room for it (ERANGE).
    #[error("the value does not fit")]
    OutOfRange,
    /// The name is too long (ENAMETOOLONG).
    #[error("the name is too long")]
    NameTooLong,
    /// The directory is not empty (ENOTEMPTY).
    #[error("the directory is not empty")]
    NotEmpty,
    /// A symbolic link stands where none is followed (ELOOP).
    #[error("a symbolic link is not followed")]
    Loop,
    /// There is no such extended attribute (ENODATA).
    #[error("there is no such attribute")]
    NoAttribute,
    /// The message is malformed (EPROTO).
    #[error("the message is malformed")]
    Protocol,
    /// A message does not fit the negotiated size (EMSGSIZE).
    #[error("the message is too long")]
    MessageSize,
    /// The tree or the server cannot do this (EOPNOTSUPP).
    #[error("the operation is not supported")]
    NotSupported,
    /// The host refuses with an error that has no name here.
    #[error("the host refuses with Linux error {0}")]
    Host(u16),
}

/// Pairs of names and Linux's numbers (asm-generic/errno.h).
const NUMBERS: [(FileError, u16); 27] = [
    // Nobody should be answered so; a caller that is, may try again.
    (FileError::Pending, 11),
    (FileError::NotPermitted, 1),
    (FileError::NotFound, 2),
    (FileError::InputOutput, 5),
    (FileError::BadHandle, 9),
    (FileError::OutOfMemory, 12),
    (FileError::AccessDenied, 13),
    (FileError::Busy, 16),
    (FileError::Exists, 17),
    (FileError::CrossDevice, 18),
    (FileError::NotDirectory, 20),
    (FileError::IsDirectory, 21),
    (FileError::Invalid, 22),
    (FileError::TooManyOpen, 24),
    (FileError::TooLarge, 27),
    (FileError::NoSpace, 28),
    (FileError::ReadOnly, 30),
    (FileError::TooManyLinks, 31),
    (FileError::OutOfRange, 34),
    (FileError::NameTooLong, 36),
    (FileError::NotEmpty, 39),
    (FileError::Loop, 40),
    (FileError::NoAttribute, 61),
    (FileError::Protocol, 71),
    (FileError::MessageSize, 90),
    (FileError::NotSupported, 95),
    // Zero is success; an error without a number is none that Linux has.
    (FileError::Host(0), 5),
];

impl FileError {
    /// Linux's number for the error.
    pub fn errno(self) -> u16 {
        match NUMBERS.iter().find(|(error, _)| *error == self) {
            Some((_, number)) => *number,
            None => match self {
                Self::Host(number) => number,
                _ => 5,
            },
        }
    }

    /// The error for a number of the host's Linux.
    pub fn from_errno(errno: i32) -> Self {
        let Ok(errno) = u16::try_from(errno) else { return Self::InputOutput };
        match NUMBERS.iter().skip(1).find(|(_, number)| *number == errno) {
            Some((error, _)) => *error,
            None => Self::Host(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_both_ways() {
        for (error, number) in &NUMBERS[1..NUMBERS.len() - 1] {
            assert_eq!(error.errno(), *number);
            assert_eq!(FileError::from_errno(i32::from(*number)), *error);
        }
        assert_eq!(FileError::from_errno(122).errno(), 122);
        assert_eq!(FileError::from_errno(-1), FileError::InputOutput);
        assert_ne!(FileError::Host(0).errno(), 0);
    }
}
