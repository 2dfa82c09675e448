//! Virtio 1.2: split queues, the PCI transport, and one folder a device.
//!
//! A device implements [`VirtioDevice`]; [`VirtioPci`] puts it on the bus. The device sees its
//! queues only while it is running, pops [`DescriptorChain`]s, and gives them back with
//! [`Virtqueue::push_used`]; the transport raises what interrupts are then due. An error puts the
//! device into NEEDS_RESET, and nothing else happens to the machine.
//!
//! To add a device: a folder with `mod.rs` (the device), `config.rs` (its configuration
//! structure), `request.rs` (what the guest asks), `state.rs` (what a snapshot keeps).

pub mod blk;
pub mod console;
pub mod net;
pub mod rng;

mod chain;
mod common_config;
mod device;
mod pci;
mod queue;

pub use chain::{DescriptorChain, Segment};
pub use common_config::{CommonConfig, ProgrammedQueue, Status, feature};
pub use device::{DeviceContext, DeviceError, DeviceType, VirtioDevice, read_config_bytes};
pub use pci::{VirtioPci, VirtioPciState};
pub use queue::{QueueError, QueueLayout, QueueState, Virtqueue};
