//! What the outside world gives a machine: time, randomness, a terminal, block storage and a network.
//!
//! Every trait has one implementation for browsers and node (`web`) and one for native programs
//! (`native`). Nothing below those two rooms reaches the outside in any other way.

mod block;
mod clock;
mod code;
mod entropy;
mod file;
mod net;

pub use block::{BlockError, BlockSource, DiskChange, DiskMark, Progress};
pub use clock::{Clock, InstructionClock, WallTime};
pub use code::{CodeError, CodeHost, CodeInstance, HelperFunction, RelaxedSimd};
pub use entropy::RepeatableEntropy;
pub use file::{ByteFile, ByteFileError};
pub use net::{Acceptance, Frame, NetBackend, Offload, PartialChecksum, Segmentation};

/// A source of unpredictable bytes, for virtio-rng, `RDRAND` and `RDSEED`.
pub trait Entropy: Send {
    /// Fills all of `buffer`.
    fn fill(&mut self, buffer: &mut [u8]);

    /// Where a source whose bytes repeat has come to, for a snapshot; `None` of any other.
    fn position(&self) -> Option<u64> {
        None
    }

    /// Makes a source whose bytes repeat go on from where another has come to. Others are not moved.
    fn go_on_from(&mut self, _position: u64) {}
}

/// Where a console device puts what the guest prints.
pub trait ConsoleOutput: Send {
    /// Takes all of `bytes`, in the guest's order.
    fn write(&mut self, bytes: &[u8]);
}
