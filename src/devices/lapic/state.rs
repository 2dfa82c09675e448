//! What a snapshot keeps of a local APIC.

use super::timer::Timer;
use super::{APIC_BASE_BSP, APIC_BASE_ENABLED, APIC_BASE_X2APIC, LOCAL_APIC_BASE, LVT_COUNT, LocalApic};
use crate::devices::apic_bus::InboxState;
use serde::{Deserialize, Serialize};

/// The registers, the timer, and what has arrived in the inbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LocalApicState {
    base: u64,
    task_priority: u8,
    in_service: [u32; 8],
    logical_destination: u32,
    destination_format: u32,
    spurious: u32,
    error_status: u32,
    errors: u32,
    local_vectors: [u32; LVT_COUNT],
    interrupt_command: u64,
    timer: Timer,
    inbox: InboxState,
}

impl LocalApic {
    /// The APIC, to be saved.
    pub fn state(&self) -> LocalApicState {
        LocalApicState {
            base: self.base,
            task_priority: self.task_priority,
            in_service: self.in_service,
            logical_destination: self.logical_destination,
            destination_format: self.destination_format,
            spurious: self.spurious,
            error_status: self.error_status,
            errors: self.errors,
            local_vectors: self.local_vectors,
            interrupt_command: self.interrupt_command,
            timer: self.timer.clone(),
            inbox: self.inbox.state(),
        }
    }

    /// Puts a saved APIC back.
    pub fn restore(&mut self, state: LocalApicState) {
        // Where it is mapped and whether it is the bootstrap processor's does not change.
        let mode = state.base & (APIC_BASE_ENABLED | APIC_BASE_X2APIC);
        self.base = LOCAL_APIC_BASE | self.base & APIC_BASE_BSP | mode;
        self.task_priority = state.task_priority;
        self.in_service = state.in_service;
        self.logical_destination = state.logical_destination;
        self.destination_format = state.destination_format;
        self.spurious = state.spurious;
        self.error_status = state.error_status;
        self.errors = state.errors;
        self.local_vectors = state.local_vectors;
        self.interrupt_command = state.interrupt_command;
        self.timer = state.timer;
        self.inbox.restore(&state.inbox);
        self.publish();
        self.call_attention_if_pending();
    }
}
