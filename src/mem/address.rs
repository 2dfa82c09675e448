//! Guest addresses, one type for each address space.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bytes in the smallest page (SDM vol. 3A 4.5).
pub const PAGE_SIZE: u64 = 4096;

/// A guest-physical address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct GuestPhysAddr(pub u64);

/// A guest-virtual (linear) address in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct GuestVirtAddr(pub u64);

impl GuestPhysAddr {
    /// The number of the 4 KiB page that holds this address.
    pub const fn page(self) -> u64 {
        self.0 / PAGE_SIZE
    }
}

impl fmt::Debug for GuestPhysAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "phys {:#x}", self.0)
    }
}

impl fmt::Debug for GuestVirtAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "virt {:#x}", self.0)
    }
}
