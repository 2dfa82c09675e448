//! The local APIC of one processor (SDM vol. 3A chapter 11).
//!
//! The processor owns it and asks it for interrupts; everyone else reaches it only through its
//! [`ApicInbox`](super::apic_bus::ApicInbox).

mod registers;
mod state;
mod timer;

pub use registers::ApicAccessError;
pub use state::LocalApicState;

use super::apic_bus::{ApicBus, ApicInbox, DeliveryMode, LVT_MASKED, TriggerMode, highest_set};
use crate::host::Clock;
use std::sync::Arc;
use timer::Timer;

/// Where the register page is mapped; it cannot be moved.
pub const LOCAL_APIC_BASE: u64 = 0xfee0_0000;

const APIC_BASE_BSP: u64 = 1 << 8;
const APIC_BASE_X2APIC: u64 = 1 << 10;
const APIC_BASE_ENABLED: u64 = 1 << 11;

const SPURIOUS_SOFTWARE_ENABLED: u32 = 1 << 8;

const LVT_TIMER: usize = 0;
const LVT_LINT0: usize = 3;
const LVT_ERROR: usize = 5;
/// Timer, thermal, performance, LINT0, LINT1, error, in the order of their registers from 0x320.
const LVT_COUNT: usize = 6;

/// Hears of the end of level-triggered interrupts: the I/O APIC.
pub trait EndOfInterrupt: Send + Sync {
    /// The processor has finished serving the level-triggered interrupt `vector`.
    fn end_of_interrupt(&self, vector: u8);
}

/// Supplies the vectors of external interrupts: the pair of 8259As.
pub trait ExternalInterrupts: Send + Sync {
    /// The interrupt-acknowledge cycle: the vector to serve.
    fn acknowledge(&self) -> u8;
}

/// The local APIC of one processor.
pub struct LocalApic {
    inbox: Arc<ApicInbox>,
    bus: Arc<ApicBus>,
    clock: Arc<dyn Clock>,
    end_of_interrupt: Option<Arc<dyn EndOfInterrupt>>,
    external_interrupts: Option<Arc<dyn ExternalInterrupts>>,
    id: u32,
    base: u64,
    task_priority: u8,
    in_service: [u32; 8],
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    error_status: u32,
    /// Errors since the last write of the error status register.
    errors: u32,
    local_vectors: [u32; LVT_COUNT],
    interrupt_command: u64,
    timer: Timer,
}

impl LocalApic {
    /// The APIC of the processor with index `index` on `bus`, in the state after reset.
    ///
    /// Processor 0 is the bootstrap processor. `None` when the bus has no such processor.
    pub fn new(index: u32, bus: Arc<ApicBus>, clock: Arc<dyn Clock>) -> Option<Self> {
        let inbox = bus.inbox(usize::try_from(index).ok()?)?.clone();
        let role = if index == 0 { APIC_BASE_BSP } else { 0 };
        let mut apic = Self {
            inbox,
            bus,
            clock,
            end_of_interrupt: None,
            external_interrupts: None,
            id: index,
            base: LOCAL_APIC_BASE | APIC_BASE_ENABLED | role,
            task_priority: 0,
            in_service: [0; 8],
            logical_destination: 0,
            destination_format: u32::MAX,
            spurious: 0xff,
            error_status: 0,
            errors: 0,
            local_vectors: [LVT_MASKED; LVT_COUNT],
            interrupt_command: 0,
            timer: Timer::default(),
        };
        apic.reset_registers();
        Some(apic)
    }

    /// Connects the I/O APIC, which must hear of the end of level-triggered interrupts.
    pub fn connect_end_of_interrupt(&mut self, listener: Arc<dyn EndOfInterrupt>) {
        self.end_of_interrupt = Some(listener);
    }

    /// Connects the 8259As, which supply the vectors of external interrupts.
    pub fn connect_external_interrupts(&mut self, source: Arc<dyn ExternalInterrupts>) {
        self.external_interrupts = Some(source);
    }

    /// Where others send this APIC their interrupts; also holds INIT, start-up and NMI for the processor.
    pub fn inbox(&self) -> &Arc<ApicInbox> {
        &self.inbox
    }

    /// The INIT reset: everything but the APIC's id and its mode (SDM vol. 3A 11.4.7.3).
    pub fn reset_by_init(&mut self) {
        self.reset_registers();
    }

    fn reset_registers(&mut self) {
        self.task_priority = 0;
        self.in_service = [0; 8];
        self.logical_destination = 0;
        self.destination_format = u32::MAX;
        self.spurious = 0xff;
        self.error_status = 0;
        self.errors = 0;
        self.local_vectors = [LVT_MASKED; LVT_COUNT];
        self.interrupt_command = 0;
        self.timer = Timer::default();
        self.inbox.clear_requests();
        self.publish();
    }

    /// Tells the inbox what it needs to know of the registers.
    fn publish(&self) {
        let is_accepting = self.is_enabled() && self.spurious & SPURIOUS_SOFTWARE_ENABLED != 0;
        self.inbox.set_accepting(is_accepting);
        self.inbox.set_lint0(self.local_vectors[LVT_LINT0]);
        let logical = match self.is_x2apic() {
            true => self.x2apic_logical_id(),
            false => self.logical_destination >> 24,
        };
        let has_cluster_model = self.destination_format >> 28 != 0xf;
        self.inbox.set_identity(self.id, logical, has_cluster_model, self.is_x2apic());
    }

    fn is_enabled(&self) -> bool {
        self.base & APIC_BASE_ENABLED != 0
    }

    fn is_x2apic(&self) -> bool {
        self.base & APIC_BASE_X2APIC != 0
    }

    /// The logical id that x2APIC mode derives from the id (SDM vol. 3A 11.12.10.2).
    fn x2apic_logical_id(&self) -> u32 {
        self.id >> 4 << 16 | 1 << (self.id & 15)
    }

    fn highest_in_service(&self) -> Option<u8> {
        highest_set(self.in_service.iter().copied().enumerate().rev())
    }

    /// The processor-priority register (SDM vol. 3A 11.8.3.1).
    fn processor_priority(&self) -> u8 {
        let served = self.highest_in_service().unwrap_or(0);
        if self.task_priority >> 4 >= served >> 4 { self.task_priority } else { served & 0xf0 }
    }

    fn deliverable_request(&self) -> Option<u8> {
        let vector = self.inbox.highest_request()?;
        (vector >> 4 > self.processor_priority() >> 4).then_some(vector)
    }

    /// Whether the 8259As ask for an interrupt and LINT0, or a disabled APIC, lets it through.
    fn has_external_interrupt(&self) -> bool {
        if self.inbox.has_ext_int_message() {
            return true;
        }
        if !self.inbox.intr_level() {
            return false;
        }
        let lint0 = self.inbox.lint0();
        let is_wired_through =
            lint0 & LVT_MASKED == 0 && DeliveryMode::from_bits(lint0 >> 8) == Some(DeliveryMode::ExtInt);
        !self.is_enabled() || is_wired_through
    }

    /// Whether a maskable interrupt waits that the processor would take with its interrupt flag set.
    pub fn is_interrupt_pending(&self) -> bool {
        self.has_external_interrupt() || self.deliverable_request().is_some()
    }

    /// Takes the pending maskable interrupt: its vector, or `None` if it has gone meanwhile.
    pub fn acknowledge(&mut self) -> Option<u8> {
        if self.has_external_interrupt()
            && let Some(source) = &self.external_interrupts
        {
            self.inbox.clear_ext_int_message();
            return Some(source.acknowledge());
        }
        let vector = self.deliverable_request()?;
        self.inbox.take_request(vector);
        self.in_service[usize::from(vector >> 5)] |= 1 << (vector & 31);
        Some(vector)
    }

    /// Requests an interrupt of this processor, as its own timer and its peers do.
    pub fn accept(&mut self, vector: u8, trigger: TriggerMode) {
        if vector < 16 {
            self.note_error(registers::ERROR_RECEIVED_ILLEGAL_VECTOR);
            return;
        }
        self.inbox.accept(vector, trigger);
    }

    /// Drives LINT0, to which the 8259As' INTR output is wired.
    pub fn set_external_interrupt(&self, is_high: bool) {
        self.inbox.set_external_interrupt(is_high);
    }

    /// Ends the interrupt of highest priority in service (SDM vol. 3A 11.8.5).
    pub fn end_of_interrupt(&mut self) {
        let Some(vector) = self.highest_in_service() else { return };
        self.in_service[usize::from(vector >> 5)] &= !(1 << (vector & 31));
        if self.inbox.is_level(vector)
            && let Some(listener) = &self.end_of_interrupt
        {
            listener.end_of_interrupt(vector);
        }
        self.call_attention_if_pending();
    }

    /// CR8: the class of the task priority.
    pub fn cr8(&self) -> u8 {
        self.task_priority >> 4
    }

    /// Writes CR8 (bits 3:0; the processor refuses the others).
    pub fn set_cr8(&mut self, class: u8) {
        self.set_task_priority(class << 4);
    }

    fn set_task_priority(&mut self, priority: u8) {
        self.task_priority = priority;
        self.call_attention_if_pending();
    }

    fn call_attention_if_pending(&self) {
        if self.is_interrupt_pending() {
            self.inbox.raise_attention();
        }
    }

    /// When the timer fires next, in machine nanoseconds; `None` when it would interrupt nobody.
    pub fn next_timer_deadline_ns(&self) -> Option<u64> {
        let is_masked = self.local_vectors[LVT_TIMER] & LVT_MASKED != 0;
        self.timer.deadline_ns().filter(|_| !is_masked)
    }

    /// Moves the timer on to `now_ns`, and raises its interrupt if it is due.
    pub fn advance_to(&mut self, now_ns: u64) {
        if self.timer.advance_to(now_ns) {
            let entry = self.local_vectors[LVT_TIMER];
            if entry & LVT_MASKED == 0 {
                self.accept(entry as u8, TriggerMode::Edge);
            }
        }
    }

    fn note_error(&mut self, error: u32) {
        self.errors |= error;
        let entry = self.local_vectors[LVT_ERROR];
        if entry & LVT_MASKED == 0 && entry as u8 >= 16 {
            self.inbox.accept(entry as u8, TriggerMode::Edge);
        }
    }
}

#[cfg(test)]
mod tests;
