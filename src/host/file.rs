//! A file of the host that belongs to the emulator: what a cache or an overlay is kept in.

/// A file whose operations finish at once.
///
/// Another process or a fault of the disk may have changed any byte of it since it was written:
/// who reads it verifies what it reads.
pub trait ByteFile: Send {
    /// Size in bytes.
    ///
    /// # Errors
    /// When the host cannot tell.
    fn size(&mut self) -> Result<u64, ByteFileError>;

    /// Fills `buffer` from byte `offset`.
    ///
    /// # Errors
    /// When the file ends before that, or the host cannot read it.
    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ByteFileError>;

    /// Stores `data` at byte `offset`, and makes the file longer where needed; what lies between its
    /// old end and `offset` becomes zeroes. After an error any part of `data` may be stored.
    ///
    /// # Errors
    /// When the host has no room left, or cannot write.
    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ByteFileError>;

    /// Cuts the file off after `size` bytes.
    ///
    /// # Errors
    /// When the host cannot.
    fn truncate(&mut self, size: u64) -> Result<(), ByteFileError>;

    /// Returns when all that was written survives the end of the process and of the machine.
    ///
    /// # Errors
    /// When that is not certain.
    fn flush(&mut self) -> Result<(), ByteFileError>;
}

/// What the host says about an operation on a file that failed.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("{0}")]
pub struct ByteFileError(pub String);
