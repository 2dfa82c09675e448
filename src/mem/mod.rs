//! Guest-physical memory: RAM, which of its pages hold translated code, and which are not there yet.

mod absent;
mod address;
mod ram;

pub use absent::PageSource;
pub use address::{GuestPhysAddr, GuestVirtAddr, PAGE_SIZE};
pub use ram::{Addressable, CodeWrite, GuestMemory, MemoryError};
