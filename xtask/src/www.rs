//! The page.

use std::fs;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::command::run;
use crate::{node, workspace};

/// Builds the page into `www/dist`.
///
/// # Errors
/// If its packages cannot be installed or the build fails.
pub fn build() -> Result<()> {
    install_packages()?;
    println!("www: building the page ...");
    run(node::npm()?.args(["run", "--silent", "build"]))
}

/// Builds the npm package, which runs in node too, into `www/lib`.
///
/// # Errors
/// As for [`build`].
pub fn build_package() -> Result<()> {
    install_packages()?;
    run(node::npm()?.args(["run", "--silent", "lib"]))
}

/// Installs the page's npm packages exactly as the lock file says, unless that was done since the
/// lock file last changed.
///
/// # Errors
/// If npm fails.
pub fn install_packages() -> Result<()> {
    let www = workspace::www();
    let lock = www.join("package-lock.json");
    if !lock.is_file() {
        bail!("{} is missing", lock.display());
    }
    // npm writes this file last.
    let installed = www.join("node_modules/.package-lock.json");
    let modified = |path| -> Result<SystemTime> {
        fs::metadata(path).and_then(|metadata| metadata.modified()).context("cannot read a file's time")
    };
    if installed.is_file() && modified(&installed)? >= modified(&lock)? {
        return Ok(());
    }
    println!("www: installing npm packages ...");
    // Test tools would fetch browsers of their own; the tests use Debian's.
    run(node::npm()?.env("PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD", "1").env("PUPPETEER_SKIP_DOWNLOAD", "1").args([
        "ci",
        "--no-audit",
        "--no-fund",
    ]))
}
