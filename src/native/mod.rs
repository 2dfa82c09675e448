//! Host traits natively, and what the `dinghy` command is made of.

mod clock;
#[cfg(feature = "cli")]
pub mod command;
mod entropy;
mod file_disk;
mod net;

pub use clock::SystemClock;
pub use entropy::SystemEntropy;
pub use file_disk::{FileDisk, FileDiskError};
pub use net::{HostNetwork, HostNetworkError, NetworkWaker, Published};
