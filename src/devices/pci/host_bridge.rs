//! The bridge between the processor and the bus, at 00:00.0.

use super::{ConfigSpace, FunctionIdentity, FunctionInterrupts, PciFunction};

/// A host bridge that only names itself: the windows it decodes are told by ACPI, not by registers.
pub struct HostBridge {
    config: ConfigSpace,
}

impl Default for HostBridge {
    fn default() -> Self {
        let identity = FunctionIdentity {
            // The generic PCI Express host bridge that virtual machines use: guests know it and
            // apply no chipset work-arounds to it.
            vendor: 0x1b36,
            device: 0x0008,
            revision: 0,
            class: 0x06_00_00,
            subsystem_vendor: 0x1af4,
            subsystem: 0x1100,
        };
        Self { config: ConfigSpace::new(identity) }
    }
}

impl PciFunction for HostBridge {
    fn config_space(&self) -> &ConfigSpace {
        &self.config
    }

    fn config_space_mut(&mut self) -> &mut ConfigSpace {
        &mut self.config
    }

    fn connect_interrupts(&mut self, _interrupts: FunctionInterrupts) {
        // A host bridge has no interrupts of its own.
    }

    fn read_bar(&mut self, _bar: u8, _offset: u64, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn write_bar(&mut self, _bar: u8, _offset: u64, _data: &[u8]) {
        // No BARs are declared, so that no access is ever routed here.
    }
}
