//! The name of a file in its directory.

use super::FileError;

/// Most bytes of a name, as on every Linux file system.
pub const NAME_BYTES_MAX: usize = 255;

/// One component of a path. It cannot lead anywhere but to an entry of its directory: it is not empty, is
/// neither `.` nor `..`, and has neither `/` nor a zero byte. It need not be UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`FileError::NameTooLong`], or [`FileError::Invalid`] for what is no component.
    pub fn new(bytes: &'a [u8]) -> Result<Self, FileError> {
        if bytes.is_empty()
            || matches!(bytes, b"." | b"..")
            || bytes.iter().any(|byte| matches!(byte, b'/' | 0))
        {
            return Err(FileError::Invalid);
        }
        if bytes.len() > NAME_BYTES_MAX {
            return Err(FileError::NameTooLong);
        }
        Ok(Self(bytes))
    }

    /// The bytes of the name.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_directory() {
        for bytes in [b"".as_slice(), b".", b"..", b"/", b"a/b", b"../x", b"a\0b", b"\0"] {
            assert_eq!(Name::new(bytes), Err(FileError::Invalid), "{bytes:?}");
        }
        assert_eq!(Name::new(&[b'x'; 256]), Err(FileError::NameTooLong));
        for bytes in [b"...".as_slice(), b".x", b"a b", b"\xff\xfe", &[b'x'; 255]] {
            assert_eq!(Name::new(bytes).unwrap().bytes(), bytes);
        }
    }
}
