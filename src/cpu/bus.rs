//! What a vCPU needs from the machine around it.

use crate::mem::GuestPhysAddr;

/// The machine as a vCPU sees it: devices behind physical addresses and ports, its local APIC, time.
///
/// All methods are off the hot path.
pub trait SystemBus: Send {
    /// Reads `data.len()` bytes (1 to 8) outside RAM. Unclaimed addresses read as all ones.
    fn mmio_read(&mut self, address: GuestPhysAddr, data: &mut [u8]);

    /// Writes `data.len()` bytes (1 to 8) outside RAM.
    fn mmio_write(&mut self, address: GuestPhysAddr, data: &[u8]);

    /// `IN`: reads `size` bytes (1, 2 or 4) from an I/O port, zero-extended.
    fn port_read(&mut self, port: u16, size: u8) -> u32;

    /// `OUT`: writes the low `size` bytes (1, 2 or 4) of `value` to an I/O port.
    fn port_write(&mut self, port: u16, size: u8, value: u32);

    /// Reads an MSR of the local APIC (`IA32_APIC_BASE`, `IA32_TSC_DEADLINE`, 0x800 to 0x8ff);
    /// `None` means #GP(0).
    fn apic_read_msr(&mut self, msr: u32) -> Option<u64>;

    /// Writes an MSR of the local APIC; `None` means #GP(0).
    fn apic_write_msr(&mut self, msr: u32, value: u64) -> Option<()>;

    /// The task priority register's class, as CR8 shows it (0 to 15).
    fn task_priority(&mut self) -> u8;

    /// Writes CR8.
    fn set_task_priority(&mut self, class: u8);

    /// Whether the local APIC (or the 8259 through it) asks for an interrupt.
    fn is_interrupt_pending(&mut self) -> bool;

    /// Whether there is a non-maskable interrupt to take.
    fn has_nmi(&mut self) -> bool {
        false
    }

    /// Takes a non-maskable interrupt, if there is one.
    fn take_nmi(&mut self) -> bool {
        false
    }

    /// Takes the vector of the interrupt to deliver.
    fn acknowledge_interrupt(&mut self) -> Option<u8>;

    /// Whether the machine has something to do before the processor goes on (a power request, input). Asked
    /// where interrupts are, so behind every access to a device.
    fn must_stop(&mut self) -> bool {
        false
    }

    /// Nanoseconds since the machine started; the TSC counts these (1 GHz).
    ///
    /// `instructions` is the vCPU's count of retired instructions, for machines whose time it is.
    fn now_ns(&mut self, instructions: u64) -> u64;

    /// Calendar time at `now_ns() == 0`, in nanoseconds since 1970.
    fn started_at_unix_ns(&self) -> u64;

    /// 64 unpredictable bits.
    fn random_u64(&mut self) -> u64;
}
