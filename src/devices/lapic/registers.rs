//! The local APIC's registers, by memory (xAPIC) and by MSR (x2APIC) (SDM vol. 3A 11.4.1, 11.12.1).

use super::super::BusDevice;
use super::super::apic_bus::{DeliveryMode, Destination, InterruptMessage, LVT_MASKED, TriggerMode};
use super::timer::TimerMode;
use super::{
    APIC_BASE_BSP, APIC_BASE_ENABLED, APIC_BASE_X2APIC, LOCAL_APIC_BASE, LVT_COUNT, LVT_TIMER, LocalApic,
    SPURIOUS_SOFTWARE_ENABLED,
};

/// `IA32_APIC_BASE`.
pub const MSR_APIC_BASE: u32 = 0x1b;
/// `IA32_TSC_DEADLINE`.
pub const MSR_TSC_DEADLINE: u32 = 0x6e0;
/// First x2APIC register; register page offset `n` is at `0x800 + n / 16`.
pub const MSR_X2APIC_FIRST: u32 = 0x800;
/// Last MSR reserved for the x2APIC.
pub const MSR_X2APIC_LAST: u32 = 0x8ff;

const ID: u32 = 0x20;
const VERSION: u32 = 0x30;
const TASK_PRIORITY: u32 = 0x80;
const PROCESSOR_PRIORITY: u32 = 0xa0;
const END_OF_INTERRUPT: u32 = 0xb0;
const LOGICAL_DESTINATION: u32 = 0xd0;
const DESTINATION_FORMAT: u32 = 0xe0;
const SPURIOUS: u32 = 0xf0;
const IN_SERVICE: u32 = 0x100;
const TRIGGER_MODE: u32 = 0x180;
const REQUEST: u32 = 0x200;
const ERROR_STATUS: u32 = 0x280;
const COMMAND_LOW: u32 = 0x300;
const COMMAND_HIGH: u32 = 0x310;
const LOCAL_VECTORS: u32 = 0x320;
const LAST_LOCAL_VECTOR: u32 = LOCAL_VECTORS + 16 * (LVT_COUNT as u32 - 1);
const INITIAL_COUNT: u32 = 0x380;
const CURRENT_COUNT: u32 = 0x390;
const DIVIDE_CONFIGURATION: u32 = 0x3e0;
const SELF_IPI: u32 = 0x3f0;

const ERROR_SENT_ILLEGAL_VECTOR: u32 = 1 << 5;
pub(super) const ERROR_RECEIVED_ILLEGAL_VECTOR: u32 = 1 << 6;
const ERROR_ILLEGAL_REGISTER: u32 = 1 << 7;

/// Version 0x14 (integrated, with timer deadline), six local vectors (SDM vol. 3A 11.4.8).
const VERSION_VALUE: u32 = (LVT_COUNT as u32 - 1) << 16 | 0x14;

/// Writable bits of the local vectors: timer, thermal, performance, LINT0, LINT1, error.
const LVT_WRITABLE: [u32; LVT_COUNT] = [0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff];

/// An MSR access that the processor answers with a general-protection fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApicAccessError {
    /// There is no such register, or the APIC is not in the mode that has it.
    #[error("MSR {0:#x} is not a register of the local APIC in its present mode")]
    NoRegister(u32),
    /// The register does not take this value.
    #[error("MSR {msr:#x} of the local APIC does not take {value:#x}")]
    IllegalValue {
        /// The register.
        msr: u32,
        /// The refused value.
        value: u64,
    },
}

impl LocalApic {
    /// Reads `IA32_APIC_BASE`, `IA32_TSC_DEADLINE` or an x2APIC register. An error is a #GP.
    pub fn read_msr(&mut self, msr: u32) -> Result<u64, ApicAccessError> {
        match msr {
            MSR_APIC_BASE => return Ok(self.base),
            MSR_TSC_DEADLINE => {
                self.advance_to(self.clock.now_ns());
                return Ok(self.timer.tsc_deadline());
            }
            MSR_X2APIC_FIRST..=MSR_X2APIC_LAST if self.is_x2apic() => {}
            _ => return Err(ApicAccessError::NoRegister(msr)),
        }
        match (msr - MSR_X2APIC_FIRST) << 4 {
            ID => Ok(u64::from(self.id)),
            LOGICAL_DESTINATION => Ok(u64::from(self.x2apic_logical_id())),
            COMMAND_LOW => Ok(self.interrupt_command),
            DESTINATION_FORMAT | COMMAND_HIGH | SELF_IPI | END_OF_INTERRUPT => {
                Err(ApicAccessError::NoRegister(msr))
            }
            register => self.read_register(register).map(u64::from).ok_or(ApicAccessError::NoRegister(msr)),
        }
    }

    /// Writes `IA32_APIC_BASE`, `IA32_TSC_DEADLINE` (in machine nanoseconds) or an x2APIC register.
    /// An error is a #GP.
    pub fn write_msr(&mut self, msr: u32, value: u64) -> Result<(), ApicAccessError> {
        match msr {
            MSR_APIC_BASE => return self.write_base(value),
            MSR_TSC_DEADLINE => {
                self.timer.set_tsc_deadline(value);
                self.advance_to(self.clock.now_ns());
                return Ok(());
            }
            MSR_X2APIC_FIRST..=MSR_X2APIC_LAST if self.is_x2apic() => {}
            _ => return Err(ApicAccessError::NoRegister(msr)),
        }
        let illegal = ApicAccessError::IllegalValue { msr, value };
        let register = (msr - MSR_X2APIC_FIRST) << 4;
        if register == COMMAND_LOW {
            self.interrupt_command = value;
            self.send_command(x2apic_destination((value >> 32) as u32, value));
            return Ok(());
        }
        let value = u32::try_from(value).map_err(|_| illegal)?;
        let legal = match register {
            TASK_PRIORITY | SELF_IPI => 0xff,
            END_OF_INTERRUPT | ERROR_STATUS => 0,
            SPURIOUS => 0x1ff,
            // The delivery status bit is read-only; software writes back what it read.
            LOCAL_VECTORS..=LAST_LOCAL_VECTOR => {
                LVT_WRITABLE.get(((register - LOCAL_VECTORS) >> 4) as usize).copied().unwrap_or(0) | 1 << 12
            }
            INITIAL_COUNT => u32::MAX,
            DIVIDE_CONFIGURATION => 0b1011,
            _ => return Err(ApicAccessError::NoRegister(msr)),
        };
        if value & !legal != 0 {
            return Err(illegal);
        }
        if register == SELF_IPI {
            self.accept(value as u8, TriggerMode::Edge);
            return Ok(());
        }
        self.write_register(register, value);
        Ok(())
    }

    /// The mode transitions of SDM vol. 3A figure 11-27.
    fn write_base(&mut self, value: u64) -> Result<(), ApicAccessError> {
        let illegal = ApicAccessError::IllegalValue { msr: MSR_APIC_BASE, value };
        let mode = |base: u64| (base & APIC_BASE_ENABLED != 0, base & APIC_BASE_X2APIC != 0);
        let is_legal = match (mode(self.base), mode(value)) {
            (_, (false, true)) => false,
            ((true, true), (true, false)) => false,
            ((false, false), (true, true)) => false,
            _ => value & !(APIC_BASE_BSP | APIC_BASE_X2APIC | APIC_BASE_ENABLED) == LOCAL_APIC_BASE,
        };
        if !is_legal {
            return Err(illegal);
        }
        let was_enabled = self.is_enabled();
        self.base = value & !APIC_BASE_BSP | self.base & APIC_BASE_BSP;
        if was_enabled && !self.is_enabled() {
            self.reset_registers();
        }
        self.publish();
        self.call_attention_if_pending();
        Ok(())
    }

    fn read_register(&mut self, register: u32) -> Option<u32> {
        let word = (register >> 4 & 7) as usize;
        Some(match register {
            ID => self.id << 24,
            VERSION => VERSION_VALUE,
            TASK_PRIORITY => u32::from(self.task_priority),
            PROCESSOR_PRIORITY => u32::from(self.processor_priority()),
            END_OF_INTERRUPT => 0,
            LOGICAL_DESTINATION => self.logical_destination,
            DESTINATION_FORMAT => self.destination_format,
            SPURIOUS => self.spurious,
            IN_SERVICE..TRIGGER_MODE => self.in_service[word],
            TRIGGER_MODE..REQUEST => self.inbox.tmr_word(word),
            REQUEST..ERROR_STATUS => self.inbox.irr_word(word),
            ERROR_STATUS => self.error_status,
            COMMAND_LOW => self.interrupt_command as u32,
            COMMAND_HIGH => (self.interrupt_command >> 32) as u32,
            LOCAL_VECTORS..=LAST_LOCAL_VECTOR => {
                *self.local_vectors.get(((register - LOCAL_VECTORS) >> 4) as usize)?
            }
            INITIAL_COUNT => self.timer.initial_count(),
            CURRENT_COUNT => {
                let now_ns = self.clock.now_ns();
                self.advance_to(now_ns);
                self.timer.current_count(now_ns)
            }
            DIVIDE_CONFIGURATION => self.timer.divide_configuration(),
            _ => return None,
        })
    }

    fn write_register(&mut self, register: u32, value: u32) {
        match register {
            // Read-only here: an id that software could change would need every sender to follow it.
            ID => {}
            TASK_PRIORITY => self.set_task_priority(value as u8),
            END_OF_INTERRUPT => self.end_of_interrupt(),
            LOGICAL_DESTINATION => {
                self.logical_destination = value & 0xff00_0000;
                self.publish();
            }
            DESTINATION_FORMAT => {
                self.destination_format = value | 0x0fff_ffff;
                self.publish();
            }
            SPURIOUS => self.write_spurious(value),
            ERROR_STATUS => self.error_status = std::mem::take(&mut self.errors),
            COMMAND_LOW => {
                self.interrupt_command = self.interrupt_command >> 32 << 32 | u64::from(value & !(1 << 12));
                let command = self.interrupt_command;
                let is_logical = command & 1 << 11 != 0;
                self.send_command(Destination::from_byte((command >> 56) as u8, is_logical));
            }
            COMMAND_HIGH => {
                let low = self.interrupt_command & 0xffff_ffff;
                self.interrupt_command = u64::from(value & 0xff00_0000) << 32 | low;
            }
            LOCAL_VECTORS..=LAST_LOCAL_VECTOR => {
                self.write_local_vector(((register - LOCAL_VECTORS) >> 4) as usize, value);
            }
            INITIAL_COUNT => {
                let now_ns = self.clock.now_ns();
                self.advance_to(now_ns);
                self.timer.set_initial_count(value, now_ns);
            }
            DIVIDE_CONFIGURATION => {
                let now_ns = self.clock.now_ns();
                self.advance_to(now_ns);
                self.timer.set_divide_configuration(value, now_ns);
            }
            _ => self.note_error(ERROR_ILLEGAL_REGISTER),
        }
    }

    fn write_spurious(&mut self, value: u32) {
        self.spurious = value & 0x1ff;
        if self.spurious & SPURIOUS_SOFTWARE_ENABLED == 0 {
            // A software-disabled APIC has all local vectors masked (SDM vol. 3A 11.4.7.2).
            for entry in &mut self.local_vectors {
                *entry |= LVT_MASKED;
            }
        }
        self.publish();
    }

    fn write_local_vector(&mut self, index: usize, value: u32) {
        self.advance_to(self.clock.now_ns());
        let is_disabled = self.spurious & SPURIOUS_SOFTWARE_ENABLED == 0;
        let (Some(entry), Some(writable)) = (self.local_vectors.get_mut(index), LVT_WRITABLE.get(index))
        else {
            return;
        };
        *entry = value & writable | if is_disabled { LVT_MASKED } else { 0 };
        if index == LVT_TIMER {
            self.timer.set_mode(TimerMode::from_lvt(value));
        }
        self.publish();
        self.call_attention_if_pending();
    }

    /// Sends what the interrupt command register says (SDM vol. 3A 11.6.1).
    fn send_command(&mut self, destination: Destination) {
        let command = self.interrupt_command;
        let vector = command as u8;
        let Some(delivery_mode) = DeliveryMode::from_bits((command >> 8) as u32) else { return };
        let is_level = command & 1 << 15 != 0;
        // The INIT level de-assert message means nothing to processors since the Pentium 4.
        if delivery_mode == DeliveryMode::Init && is_level && command & 1 << 14 == 0 {
            return;
        }
        if matches!(delivery_mode, DeliveryMode::Fixed | DeliveryMode::LowestPriority) && vector < 16 {
            self.note_error(ERROR_SENT_ILLEGAL_VECTOR);
            return;
        }
        // IPIs of these modes are edge-triggered whatever the command says (SDM vol. 3A table 11-3).
        let mut message = InterruptMessage { destination, delivery_mode, vector, trigger: TriggerMode::Edge };
        match command >> 18 & 3 {
            0 => {
                self.bus.deliver(message);
            }
            1 => {
                self.inbox.deliver(message);
            }
            shorthand => {
                message.destination = Destination::Everyone;
                let excluded = (shorthand == 3).then_some(&self.inbox);
                self.bus.deliver_except(message, excluded);
            }
        }
    }
}

fn x2apic_destination(field: u32, command: u64) -> Destination {
    match (field, command & 1 << 11 != 0) {
        (u32::MAX, _) => Destination::Everyone,
        (id, false) => Destination::Physical(id),
        (set, true) => Destination::Logical(set),
    }
}

/// The register page, as memory. In x2APIC mode and when disabled it is not there.
impl BusDevice for LocalApic {
    fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if !self.is_enabled() || self.is_x2apic() {
            return;
        }
        let register = offset as u32 & 0xff0;
        let value = self.read_register(register).unwrap_or_else(|| {
            self.note_error(ERROR_ILLEGAL_REGISTER);
            0
        });
        // Only the first four of a register's sixteen bytes are defined (SDM vol. 3A 11.4.1).
        let bytes = u128::from(value).to_le_bytes();
        for (target, source) in data.iter_mut().zip(bytes.iter().skip((offset & 15) as usize)) {
            *target = *source;
        }
    }

    fn write(&mut self, offset: u64, data: &[u8]) {
        if !self.is_enabled() || self.is_x2apic() {
            return;
        }
        let value = match data {
            [a, b, c, d, ..] if offset & 15 == 0 => u32::from_le_bytes([*a, *b, *c, *d]),
            _ => {
                log::debug!("{}-byte write at {offset:#x} of the local APIC is dropped", data.len());
                return;
            }
        };
        self.write_register(offset as u32 & 0xff0, value);
    }
}
