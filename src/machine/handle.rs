//! How the outside reaches a running machine, from any thread.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the outside has sent since the run loop last looked.
#[derive(Default)]
pub(super) struct Inbox {
    pub console_input: Vec<u8>,
    pub serial_input: Vec<u8>,
    pub console_size: Option<(u16, u16)>,
    pub is_power_button_pressed: bool,
    pub has_storage_progressed: bool,
    pub has_network_progressed: bool,
    pub is_save_requested: bool,
    pub is_keep_requested: bool,
}

/// Sends input to a machine and wakes it.
#[derive(Clone)]
pub struct MachineHandle {
    pub(super) inbox: Arc<Mutex<Inbox>>,
    pub(super) attention: Arc<AtomicU32>,
}

impl MachineHandle {
    pub(super) fn new(attention: Arc<AtomicU32>) -> Self {
        Self { inbox: Arc::default(), attention }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut self.lock());
        self.attention.store(1, Ordering::SeqCst);
    }

    /// Types on the virtio console (hvc0).
    pub fn console_input(&self, bytes: &[u8]) {
        self.send(|inbox| inbox.console_input.extend_from_slice(bytes));
    }

    /// Types on the first serial port (ttyS0).
    pub fn serial_input(&self, bytes: &[u8]) {
        self.send(|inbox| inbox.serial_input.extend_from_slice(bytes));
    }

    /// Tells the size of the terminal behind the virtio console.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.send(|inbox| inbox.console_size = Some((columns, rows)));
    }

    /// Presses the ACPI power button: an orderly guest shuts down.
    pub fn press_power_button(&self) {
        self.send(|inbox| inbox.is_power_button_pressed = true);
    }

    /// Tells that a block operation that was pending can go on.
    pub fn storage_progressed(&self) {
        self.send(|inbox| inbox.has_storage_progressed = true);
    }

    /// Tells that the network has something for the guest, or can take what it could not.
    pub fn network_progressed(&self) {
        self.send(|inbox| inbox.has_network_progressed = true);
    }

    /// Asks whoever runs the machine to save it: [`Machine::run`](super::Machine::run) returns for that.
    pub fn request_save(&self) {
        self.send(|inbox| inbox.is_save_requested = true);
    }

    /// Asks whoever runs the machine to [keep](super::Machine::keep) it, if it keeps it at all.
    pub fn request_keep(&self) {
        self.send(|inbox| inbox.is_keep_requested = true);
    }

    /// Becomes nonzero when the run loop must look. What a host sleeps on while the machine is idle.
    pub fn attention(&self) -> &AtomicU32 {
        &self.attention
    }
}
