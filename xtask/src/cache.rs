//! The cache: one folder a thing, named by a hash of everything the thing is made from.
//!
//! An entry is made in a folder beside its final place and renamed when complete, so that an
//! interrupted build leaves nothing that looks finished, and a changed input never meets an old
//! result.

use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::workspace;

/// How long an entry is kept that nothing asks for. A guest with its chunks and its snapshot takes 300 MB.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

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
        note_use(&place)?;
        return Ok(place);
    }
    let started = Instant::now();
    println!("Making {name} (kept in {}) ...", place.display());
    remove_abandoned(&parent)?;
    remove_unused(&parent, name, SystemTime::now() - KEPT)?;
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

/// Notes in an entry's own time that it is in use. A cache that belongs to others is theirs to tidy.
fn note_use(place: &Path) -> Result<()> {
    use std::io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    match fs::File::open(place).and_then(|folder| folder.set_modified(SystemTime::now())) {
        Err(error) if !matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem) => {
            Err(error).with_context(|| format!("cannot note the use of {}", place.display()))
        }
        _ => Ok(()),
    }
}

/// Removes the entries of the thing `name` that nothing has asked for since `limit`.
fn remove_unused(parent: &Path, name: &str, limit: SystemTime) -> Result<()> {
    if !parent.is_dir() {
        return Ok(());
    }
    for folder in fs::read_dir(parent)? {
        let folder = folder?;
        let file_name = folder.file_name();
        let digest = file_name.to_str().and_then(|other| other.strip_prefix(name)?.strip_prefix('-'));
        let is_entry = digest.is_some_and(|digest| digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
        if is_entry && folder.metadata()?.modified()? < limit {
            println!("Removing {}, which was not used for long.", folder.path().display());
            fs::remove_dir_all(folder.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays() {
        let parent = std::env::temp_dir().join(format!("dinghy-cache-{}", process::id()));
        let place = |name: &str| parent.join(name);
        let now = SystemTime::now();
        for name in ["guest-00ff", "guest-11ff", "guest-image-22ff", "chunks-33ff"] {
            fs::create_dir_all(place(name)).unwrap();
            fs::write(place(name).join("file"), "x").unwrap();
            fs::File::open(place(name)).unwrap().set_modified(now - 2 * KEPT).unwrap();
        }
        note_use(&place("guest-11ff")).unwrap();
        remove_unused(&parent, "guest", now - KEPT).unwrap();
        let mut left: Vec<_> = fs::read_dir(&parent)
            .unwrap()
            .map(|found| found.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        fs::remove_dir_all(&parent).unwrap();
        assert_eq!(left, ["chunks-33ff", "guest-11ff", "guest-image-22ff"]);
    }

    #[test]
    fn keys_tell_fields_apart() {
        let joined = Key::new("thing").text("ab", "c").digest();
        let split = Key::new("thing").text("a", "bc").digest();
        assert_ne!(joined, split);
        assert_eq!(joined, Key::new("thing").text("ab", "c").digest());
    }
}
