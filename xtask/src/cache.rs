//! The cache: one folder a thing, named by a hash of everything the thing is made from.
//!
//! An entry is made in a folder beside its final place and renamed when complete, so that an
//! interrupted build leaves nothing that looks finished, and a changed input never meets an old
//! result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Instant;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::workspace;

/// The inputs of a cached thing.
pub struct Key {
    hash: Sha256,
}

impl Key {
    /// The key of the thing `name`, with no inputs yet.
    pub fn new(name: &str) -> Self {
        Self { hash: Sha256::new() }.text("name", name)
    }

    /// Adds a named text, for example a version.
    pub fn text(mut self, name: &str, text: &str) -> Self {
        self.absorb(name.as_bytes());
        self.absorb(text.as_bytes());
        self
    }

    /// Adds the contents of a file.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn file(mut self, path: &Path) -> Result<Self> {
        let contents = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.absorb(path.file_name().unwrap_or_default().as_encoded_bytes());
        self.absorb(&contents);
        Ok(self)
    }

    /// Hashes a field with its length, so that no two lists of fields hash alike.
    fn absorb(&mut self, field: &[u8]) {
        self.hash.update((field.len() as u64).to_le_bytes());
        self.hash.update(field);
    }

    /// The first 64 bits of the hash, in hexadecimal.
    fn digest(self) -> String {
        self.hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Returns the folder of the thing `name` made from `key`, after `make` has filled it if it is new.
/// `make` gets the temporary folder to fill; as it is renamed afterwards, nothing in it may hold its
/// own path.
///
/// # Errors
/// If the thing cannot be made.
pub fn entry(name: &str, key: Key, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let parent = workspace::cache_folder()?;
    let place = parent.join(format!("{name}-{}", key.digest()));
    if place.is_dir() {
        return Ok(place);
    }
    let started = Instant::now();
    println!("Making {name} (kept in {}) ...", place.display());
    remove_abandoned(&parent)?;
    let unfinished = parent.join(format!(".{name}-{}", process::id()));
    fs::create_dir_all(&unfinished).with_context(|| format!("cannot create {}", unfinished.display()))?;
    if let Err(error) = make(&unfinished) {
        fs::remove_dir_all(&unfinished)
            .with_context(|| format!("cannot remove {} after a failure: {error:#}", unfinished.display()))?;
        return Err(error.context(format!("cannot make {name}")));
    }
    if let Err(error) = fs::rename(&unfinished, &place) {
        // Another build of the same thing may have come first; its result is as good.
        fs::remove_dir_all(&unfinished)?;
        if !place.is_dir() {
            return Err(error).with_context(|| format!("cannot rename to {}", place.display()));
        }
    }
    println!("Made {name} in {:.0} s.", started.elapsed().as_secs_f64());
    Ok(place)
}

/// Removes the folders of builds that were stopped before they ended: those whose process is gone.
fn remove_abandoned(parent: &Path) -> Result<()> {
    if !parent.is_dir() {
        return Ok(());
    }
    for folder in fs::read_dir(parent)? {
        let folder = folder?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some((_, process)) = name.strip_prefix('.').and_then(|name| name.rsplit_once('-')) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            fs::remove_dir_all(&folder)
                .with_context(|| format!("cannot remove the abandoned {}", folder.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Key;

    #[test]
    fn keys_tell_fields_apart() {
        let joined = Key::new("thing").text("ab", "c").digest();
        let split = Key::new("thing").text("a", "bc").digest();
        assert_ne!(joined, split);
        assert_eq!(joined, Key::new("thing").text("ab", "c").digest());
    }
}
