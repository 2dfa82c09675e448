//! The machine as other workers on the same memory reach it.

use crate::machine::MachineHandle;
use crate::storage::ChunkInbox;
use js_sys::{Error, Uint8Array};
use wasm_bindgen::prelude::*;

/// What a port needs of a machine; lives in the shared memory and may be used by any worker on it.
pub struct PortState {
    /// The way into the machine.
    pub handle: MachineHandle,
    /// The inboxes of the chunked disks, by the disks' places.
    pub inboxes: Vec<Option<ChunkInbox>>,
}

/// `EnginePort` of the package's `engine.ts`.
#[wasm_bindgen(js_name = MachinePort)]
pub struct WebPort(Box<PortState>);

impl PortState {
    /// Gives the state out as a number, for [`WebPort::new`] in this worker or in another.
    pub fn into_handle(self) -> u32 {
        Box::into_raw(Box::new(self)) as usize as u32
    }
}

#[wasm_bindgen(js_class = MachinePort)]
impl WebPort {
    /// Takes a handle from a machine's `portHandle`, each of them once.
    #[wasm_bindgen(constructor)]
    pub fn new(handle: u32) -> Self {
        // SAFETY: the handle is a box that `into_handle` leaked in this memory; the package's own workers are
        // the only callers, and make one port of each.
        Self(unsafe { Box::from_raw(handle as usize as *mut PortState) })
    }

    /// Bytes typed at the virtio console.
    #[wasm_bindgen(js_name = consoleInput)]
    pub fn console_input(&self, bytes: &[u8]) {
        self.0.handle.console_input(bytes);
    }

    /// Bytes typed at the serial port.
    #[wasm_bindgen(js_name = serialInput)]
    pub fn serial_input(&self, bytes: &[u8]) {
        self.0.handle.serial_input(bytes);
    }

    /// The terminal's new size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.0.handle.resize(columns, rows);
    }

    /// A short press of the power button.
    #[wasm_bindgen(js_name = pressPowerButton)]
    pub fn press_power_button(&self) {
        self.0.handle.press_power_button();
    }

    /// Asks for the machine to be saved: `run` says `save`.
    #[wasm_bindgen(js_name = requestSave)]
    pub fn request_save(&self) {
        self.0.handle.request_save();
    }

    /// Chunk `index` of disk `disk` has arrived.
    ///
    /// # Errors
    /// When there is no such chunked disk.
    #[wasm_bindgen(js_name = completeChunk)]
    pub fn complete_chunk(&self, disk: usize, index: f64, bytes: &Uint8Array) -> Result<(), Error> {
        self.complete(disk, index, Ok(bytes.to_vec()))
    }

    /// Chunk `index` of disk `disk` cannot be had.
    ///
    /// # Errors
    /// When there is no such chunked disk.
    #[wasm_bindgen(js_name = failChunk)]
    pub fn fail_chunk(&self, disk: usize, index: f64, reason: String) -> Result<(), Error> {
        self.complete(disk, index, Err(reason))
    }
}

impl WebPort {
    fn complete(&self, disk: usize, index: f64, outcome: Result<Vec<u8>, String>) -> Result<(), Error> {
        let inbox = self.0.inboxes.get(disk).and_then(Option::as_ref);
        let inbox = inbox.ok_or_else(|| Error::new(&format!("disk {disk} is not fetched in chunks")))?;
        inbox.complete(index as u64, outcome);
        self.0.handle.storage_progressed();
        Ok(())
    }
}
