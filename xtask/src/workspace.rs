//! Where things are: the checkout, its `build` folder, and the cache outside of it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The root of the checkout.
pub fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask).to_path_buf()
}

/// The ignored folder `build` of the checkout, in which links to the cached results appear.
pub fn build_folder() -> PathBuf {
    root().join("build")
}

/// The page's folder.
pub fn www() -> PathBuf {
    root().join("www")
}

/// The cache, shared by every checkout of this user: `${XDG_CACHE_HOME:-~/.cache}/dinghy`.
pub fn cache_folder() -> Result<PathBuf> {
    if let Some(folder) = env::var_os("XDG_CACHE_HOME").filter(|folder| Path::new(folder).is_absolute()) {
        return Ok(PathBuf::from(folder).join("dinghy"));
    }
    let home =
        env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set: where may the cache be?")?;
    Ok(PathBuf::from(home).join(".cache/dinghy"))
}

/// Makes `link` a symbolic link to `target`, in place of an earlier link.
///
/// # Errors
/// If something else than a link is there.
pub fn link(target: &Path, link: &Path) -> Result<()> {
    match fs::symlink_metadata(link) {
        Ok(found) if found.is_symlink() => {
            if fs::read_link(link)? == target {
                return Ok(());
            }
            fs::remove_file(link)?;
        }
        Ok(_) => {
            bail!("{} should be a link to {}; remove it and try again", link.display(), target.display())
        }
        Err(_) => {}
    }
    if let Some(folder) = link.parent() {
        fs::create_dir_all(folder)?;
    }
    std::os::unix::fs::symlink(target, link)
        .with_context(|| format!("cannot link {} to {}", link.display(), target.display()))
}
