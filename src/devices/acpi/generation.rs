//! The virtual machine generation ID: 16 random bytes that change when the machine is restored from a snapshot.
//!
//! A guest reseeds its random number generator then, so that two machines that were restored from one snapshot do
//! not draw the same numbers. Linux does (`drivers/virt/vmgenid.c`).

use crate::devices::InterruptLine;
use crate::host::Entropy;
use crate::mem::{GuestMemory, GuestPhysAddr, MemoryError};

/// Where it lies: at the end of the BIOS area, which the memory map keeps from the guest's allocator. It must
/// be aligned to 8 bytes.
pub(super) const GENERATION_ID_ADDRESS: u64 = 0xf_fe00;

/// The identifier, and how the guest hears of a new one.
pub struct GenerationId {
    memory: GuestMemory,
    line: Box<dyn InterruptLine>,
}

impl GenerationId {
    /// An identifier in `memory` whose changes are told by a pulse on `line`.
    pub fn new(memory: GuestMemory, line: Box<dyn InterruptLine>) -> Self {
        Self { memory, line }
    }

    /// Gives the machine its first identifier.
    ///
    /// # Errors
    /// When RAM ends below the BIOS area.
    pub fn initialize(&self, entropy: &mut dyn Entropy) -> Result<(), MemoryError> {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        self.memory.write(GuestPhysAddr(GENERATION_ID_ADDRESS), &id)
    }

    /// Gives the machine another identifier and tells the guest.
    ///
    /// # Errors
    /// When RAM ends below the BIOS area.
    pub fn renew(&self, entropy: &mut dyn Entropy) -> Result<(), MemoryError> {
        self.initialize(entropy)?;
        self.line.set_level(true);
        self.line.set_level(false);
        Ok(())
    }
}
