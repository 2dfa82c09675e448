//! What stands in for the block cache.

use crate::cpu::Vcpu;
use crate::mem::GuestPhysAddr;

impl Vcpu {
    /// Notes a store into a page that holds translated code.
    pub fn note_code_write(&mut self, _address: GuestPhysAddr, _bytes: u64) {}
}
