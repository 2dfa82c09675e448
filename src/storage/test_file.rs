//! A file in memory that can be damaged, filled up, and caught in the middle of its writes.

use crate::host::{ByteFile, ByteFileError};
use std::sync::{Arc, Mutex, MutexGuard};

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

#[derive(Clone, Default)]
struct Contents {
    /// What survives whatever happens.
    flushed: Vec<u8>,
    /// What was changed since.
    changes: Vec<Change>,
    now: Vec<u8>,
    room: Option<u64>,
    flush_fails: bool,
}

/// A file in memory. Clones are the same file.
#[derive(Clone, Default)]
pub(crate) struct TestFile(Arc<Mutex<Contents>>);

impl TestFile {
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        let contents = Contents { flushed: bytes.clone(), now: bytes, ..Contents::default() };
        Self(Arc::new(Mutex::new(contents)))
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.lock().now.clone()
    }

    /// Changes a bit of byte `at`, if there is such a byte.
    pub(crate) fn damage(&self, at: usize) {
        if let Some(byte) = self.lock().now.get_mut(at) {
            *byte ^= 0x10;
        }
    }

    /// Lets the file grow to `bytes` and no further.
    pub(crate) fn set_room(&self, bytes: u64) {
        self.lock().room = Some(bytes);
    }

    pub(crate) fn set_flush_fails(&self, fails: bool) {
        self.lock().flush_fails = fails;
    }

    /// What a crash may leave: of the changes since the last flush, those that `choose` keeps, the
    /// last of them cut short after as many bytes as it says. `choose` gets the change's number.
    pub(crate) fn after_crash(&self, mut choose: impl FnMut(usize) -> Option<usize>) -> Self {
        let contents = self.lock();
        let mut left = contents.flushed.clone();
        for (number, change) in contents.changes.iter().enumerate() {
            let Some(kept) = choose(number) else { continue };
            match change {
                Change::Write(offset, data) => put(&mut left, *offset, &data[..kept.min(data.len())]),
                Change::Truncate(size) => left.truncate(*size as usize),
            }
        }
        Self::of(left)
    }
}

fn put(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let (start, end) = (offset as usize, offset as usize + data.len());
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[start..end].copy_from_slice(data);
}

impl ByteFile for TestFile {
    fn size(&mut self) -> Result<u64, ByteFileError> {
        Ok(self.lock().now.len() as u64)
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ByteFileError> {
        let contents = self.lock();
        let bytes = contents.now.get(offset as usize..offset as usize + buffer.len());
        buffer.copy_from_slice(bytes.ok_or_else(|| ByteFileError("read past the end".to_owned()))?);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ByteFileError> {
        let mut contents = self.lock();
        let end = offset + data.len() as u64;
        let room = contents.room.unwrap_or(u64::MAX).max(contents.now.len() as u64);
        let stored = data.len() - end.saturating_sub(room).min(data.len() as u64) as usize;
        put(&mut contents.now, offset, &data[..stored]);
        contents.changes.push(Change::Write(offset, data[..stored].to_vec()));
        if stored < data.len() { Err(ByteFileError("the quota is used up".to_owned())) } else { Ok(()) }
    }

    fn truncate(&mut self, size: u64) -> Result<(), ByteFileError> {
        let mut contents = self.lock();
        contents.now.truncate(size as usize);
        contents.changes.push(Change::Truncate(size));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ByteFileError> {
        let mut contents = self.lock();
        if contents.flush_fails {
            return Err(ByteFileError("the host is out of order".to_owned()));
        }
        contents.flushed = contents.now.clone();
        contents.changes.clear();
        Ok(())
    }
}
