//! Guest-physical memory: RAM, and which of its pages hold translated code.

mod address;
mod ram;

pub use address::{GuestPhysAddr, GuestVirtAddr, PAGE_SIZE};
pub use ram::{Addressable, CodeWrite, GuestMemory, MemoryError};
