//! What the guest takes over when it starts: environment, files and a command, as the files of a share of their own.

use crate::storage::tree::{FileError, MemoryTree};
use crate::virtio::p9::{Share, ShareTag};
use sha2::{Digest, Sha256};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;

/// The tag by which the guest knows the share.
const TAG: &str = "dinghy.start-up";
/// The most that the guest can be given, in bytes.
const CAPACITY_BYTES: u64 = 1 << 30;
const PERMISSIONS: u32 = 0o644;

/// A variable of the guest's environment: `NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    name: String,
    value: String,
}

impl FromStr for Variable {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, value) = text.split_once('=').ok_or("give NAME=VALUE")?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        if !is_name {
            return Err("a variable's name has letters, digits and _");
        }
        Ok(Self { name: name.to_owned(), value: value.to_owned() })
    }
}

/// A file for the guest: `FILE:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestFile {
    file: PathBuf,
    /// Below the guest's top directory.
    path: String,
}

impl FromStr for GuestFile {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (file, path) =
            text.rsplit_once(":/").ok_or("give FILE:PATH, with an absolute path in the guest")?;
        let is_path =
            path.split('/').all(|name| !matches!(name, "" | "." | "..") && !name.contains(['\n', '\0']));
        if file.is_empty() || !is_path {
            return Err("give FILE:PATH, with an absolute path in the guest");
        }
        Ok(Self { file: file.into(), path: path.to_owned() })
    }
}

/// Why the guest cannot be given something.
#[derive(Debug, thiserror::Error)]
pub enum StartUpError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}; name a file that you may read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It does not go into the share.
    #[error("the guest cannot be given {path}: {source}")]
    Share {
        /// The path in the share.
        path: String,
        /// What is wrong.
        source: FileError,
    },
}

/// A text as a word of the shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The share, if there is anything to take over. It has an id by which the guest knows what it has taken over.
///
/// # Errors
/// When a file cannot be read, or does not go into the share.
pub fn share(
    variables: &[Variable],
    files: &[GuestFile],
    command: Option<&str>,
) -> Result<Option<Share>, StartUpError> {
    if variables.is_empty() && files.is_empty() && command.is_none() {
        return Ok(None);
    }
    let environment: String = variables
        .iter()
        .map(|Variable { name, value }| format!("export {name}={}\n", quoted(value)))
        .collect();
    let mut contents = vec![("environment".to_owned(), environment.into_bytes(), PERMISSIONS)];
    if let Some(command) = command {
        contents.push(("command".to_owned(), format!("{command}\n").into_bytes(), PERMISSIONS));
    }
    for GuestFile { file, path } in files {
        let failed = |source| StartUpError::Read { path: file.clone(), source };
        let bytes = std::fs::read(file).map_err(failed)?;
        let permissions = std::fs::metadata(file).map_err(failed)?.permissions().mode() & 0o777;
        contents.push((format!("files/{path}"), bytes, permissions));
    }
    let mut digest = Sha256::new();
    for (path, bytes, permissions) in &contents {
        digest.update(format!("{path}\0{permissions}\0{}\0", bytes.len()));
        digest.update(bytes);
    }
    let id: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    contents.push(("id".to_owned(), format!("{id}\n").into_bytes(), PERMISSIONS));
    let mut tree = MemoryTree::new(CAPACITY_BYTES);
    for (path, bytes, permissions) in contents {
        tree.write_file(&path, &bytes, permissions).map_err(|source| StartUpError::Share { path, source })?;
    }
    let tag = ShareTag::new(TAG)
        .map_err(|_| StartUpError::Share { path: TAG.to_owned(), source: FileError::Invalid })?;
    Ok(Some(Share { tag, tree: Box::new(tree), is_read_only: true }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::tree::{FileTree, Name, OpenMode};

    fn read(tree: &mut dyn FileTree, path: &str) -> String {
        let mut node = tree.root().unwrap().0;
        for name in path.split('/') {
            node = tree.look_up(node, Name::new(name.as_bytes()).unwrap()).unwrap().0;
        }
        let handle = tree.open(node, OpenMode { is_readable: true, ..OpenMode::default() }).unwrap();
        let mut buffer = [0; 1024];
        let length = tree.read(handle, 0, &mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn arguments_are_variables_and_paths() {
        assert_eq!("A=b=c".parse(), Ok(Variable { name: "A".to_owned(), value: "b=c".to_owned() }));
        for text in ["A", "=b", "1A=b", "A B=c"] {
            assert!(text.parse::<Variable>().is_err(), "{text}");
        }
        assert_eq!("a:b:/c/d".parse(), Ok(GuestFile { file: "a:b".into(), path: "c/d".to_owned() }));
        for text in ["a", "a:b", ":/b", "a:/", "a:/b/../c", "a:/b//c"] {
            assert!(text.parse::<GuestFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_given_is_in_the_share() {
        assert!(share(&[], &[], None).unwrap().is_none());
        let place = std::env::temp_dir().join(format!("dinghy-start-up-{}", std::process::id()));
        std::fs::write(&place, "text").unwrap();
        let file = GuestFile { file: place.clone(), path: "etc/note".to_owned() };
        let variable: Variable = "A=it's".parse().unwrap();
        let mut given = share(&[variable], std::slice::from_ref(&file), Some("ls")).unwrap().unwrap();
        assert_eq!(read(given.tree.as_mut(), "environment"), "export A='it'\\''s'\n");
        assert_eq!(read(given.tree.as_mut(), "command"), "ls\n");
        assert_eq!(read(given.tree.as_mut(), "files/etc/note"), "text");
        let mut other = share(&[], &[file], Some("ls")).unwrap().unwrap();
        assert_ne!(read(given.tree.as_mut(), "id"), read(other.tree.as_mut(), "id"));
        std::fs::remove_file(&place).unwrap();
        let missing = GuestFile { file: place, path: "a".to_owned() };
        assert!(matches!(share(&[], &[missing], None), Err(StartUpError::Read { .. })));
    }
}
