//! ACPI: the tables that describe the machine to the guest, and the registers that they name.

mod dsdt;
mod generation;
mod registers;
mod tables;

pub use generation::GenerationId;
pub use registers::{PM_BLOCK_LENGTH, PM_BLOCK_PORT, PowerManagement, PowerManagementState};
pub use tables::{AcpiConfig, AcpiTables, PciLayout};

const OEM_ID: [u8; 6] = *b"DINGHY";
const OEM_TABLE_ID: [u8; 8] = *b"DINGHYVM";
const OEM_REVISION: u32 = 1;
