//! One PCI bus: configuration space, base address registers, MSI-X and the host bridge.
//!
//! A device is a [`PciFunction`]. [`PciRoot`] gives it a slot, assigns its base addresses as
//! firmware would, connects its interrupts, and routes the guest's accesses to it:
//!
//! ```text
//!  ports CF8h/CFCh ─┐
//!  ECAM ────────────┴─> PciRoot ─> PciFunction::read_config / write_config
//!  memory window ─────> PciRoot ─> PciFunction::read_bar / write_bar
//! ```

mod config_space;
mod host_bridge;
mod interrupt;
mod msix;
mod root;

pub use config_space::{BarWidth, Command, ConfigSpace, FunctionIdentity, MappedBar};
pub use host_bridge::HostBridge;
pub use interrupt::{FunctionInterrupts, IntxPin};
pub use msix::{MSIX_ENTRY_BYTES, MsixEntry, MsixState, MsixTable};
pub use root::{
    CONFIG_PORTS_BASE, CONFIG_PORTS_LENGTH, ConfigPorts, ECAM_BASE, ECAM_LENGTH, EcamWindow, INTX_FIRST_GSI,
    INTX_LINES, MEMORY_WINDOW_BASE, MEMORY_WINDOW_LENGTH, MemoryWindow, PciError, PciRoot, SharedFunction,
};

/// One function of the PCI bus (function 0 of its slot; there are no others).
pub trait PciFunction: Send {
    /// The function's configuration space.
    fn config_space(&self) -> &ConfigSpace;

    /// The function's configuration space, for the firmware's part of the set-up.
    fn config_space_mut(&mut self) -> &mut ConfigSpace;

    /// Takes the wires that the slot offers. Called once, when the function enters its slot.
    fn connect_interrupts(&mut self, interrupts: FunctionInterrupts);

    /// Reads 1, 2 or 4 bytes at `register` (bytes from the start of configuration space, < 256).
    fn read_config(&mut self, register: u16, data: &mut [u8]) {
        self.config_space().read(register, data);
    }

    /// Writes 1, 2 or 4 bytes at `register`.
    fn write_config(&mut self, register: u16, data: &[u8]) {
        self.config_space_mut().write(register, data);
    }

    /// Reads 1, 2, 4 or 8 bytes at `offset` into the memory of base address register `bar`.
    fn read_bar(&mut self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes 1, 2, 4 or 8 bytes at `offset` into the memory of base address register `bar`.
    fn write_bar(&mut self, bar: u8, offset: u64, data: &[u8]);
}
