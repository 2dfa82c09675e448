//! The files beside a snapshot, which hold what its machine does not need at once.

use crate::snapshot::ChunkFiles;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folder beside a snapshot: its own path with `.pages` behind it.
pub struct FilesBeside(PathBuf);

impl FilesBeside {
    /// The folder beside the snapshot in the file `snapshot`.
    pub fn of(snapshot: &Path) -> Self {
        let mut name = OsString::from(snapshot);
        name.push(".pages");
        Self(name.into())
    }
}

impl ChunkFiles for FilesBeside {
    fn load(&self, name: &str, _attempt: u32) -> Result<Vec<u8>, String> {
        let path = self.0.join(name);
        std::fs::read(&path).map_err(|error| format!("{} cannot be read: {error}", path.display()))
    }
}
