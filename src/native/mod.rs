//! Host traits natively, and what the `dinghy` command is made of.

mod clock;
#[cfg(feature = "cli")]
pub mod command;
mod directory_tree;
mod entropy;
mod file_disk;
mod files_beside;
mod net;

pub use clock::SystemClock;
pub use directory_tree::{DirectoryTree, DirectoryTreeError};
pub use entropy::SystemEntropy;
pub use file_disk::{FileDisk, FileDiskError};
pub use files_beside::FilesBeside;
pub use net::{HostNetwork, HostNetworkError, NetworkWaker, Published};
