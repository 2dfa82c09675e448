//! The machine as other workers on the same memory reach it.

use crate::machine::MachineHandle;
use crate::storage::ChunkInbox;
use wasm_bindgen::prelude::*;

/// What a port needs of a machine; lives in the shared memory and may be used by any worker on it.
pub struct PortState {
    /// The way into the machine.
    pub handle: MachineHandle,
    /// The inboxes of the chunked disks, by the disks' places.
    pub inboxes: Vec<Option<ChunkInbox>>,
}

/// `EnginePort` of the package's `engine.ts`.
///
/// Nothing here gives JavaScript values out or keeps them, errors included: the table that holds them is each
/// instance's own, while the list of its free places lies in the memory that all of them share.
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

    /// The names of the packs that disk `disk` is stored in, a line each; `undefined` for a raw image.
    #[wasm_bindgen(js_name = chunkPacks)]
    pub fn chunk_packs(&self, disk: usize) -> Option<String> {
        self.inbox(disk)?.manifest().map(|manifest| manifest.packs().join("\n"))
    }

    /// Where chunk `index` of disk `disk` is stored: pack, first byte, bytes. `undefined` where the disk is
    /// a raw image, or the chunk zeroes.
    #[wasm_bindgen(js_name = chunkLocation)]
    pub fn chunk_location(&self, disk: usize, index: f64) -> Option<Vec<f64>> {
        let chunk = self.inbox(disk)?.manifest()?.location(index as u64)?;
        Some(vec![f64::from(chunk.pack), chunk.offset as f64, f64::from(chunk.length)])
    }

    /// The digest of the stored bytes of chunk `index` of disk `disk`, in hexadecimal.
    #[wasm_bindgen(js_name = chunkDigest)]
    pub fn chunk_digest(&self, disk: usize, index: f64) -> Option<String> {
        Some(self.inbox(disk)?.manifest()?.location(index as u64)?.digest.to_string())
    }

    /// The chunks of disk `disk` that a boot reads, in the order in which it reads them first.
    #[wasm_bindgen(js_name = chunksToPrefetch)]
    pub fn chunks_to_prefetch(&self, disk: usize) -> Vec<f64> {
        let manifest = self.inbox(disk).and_then(ChunkInbox::manifest);
        let prefetch = manifest.map(|manifest| manifest.prefetch()).unwrap_or_default();
        prefetch.iter().map(|index| *index as f64).collect()
    }

    /// Chunk `index` of disk `disk` has arrived, as it is stored. Says what is wrong with it; nothing has
    /// happened then.
    #[wasm_bindgen(js_name = completeChunk)]
    pub fn complete_chunk(&self, disk: usize, index: f64, bytes: &[u8]) -> Option<String> {
        let Some(inbox) = self.inbox(disk) else { return Some(no_such_disk(disk)) };
        if let Err(error) = inbox.complete(index as u64, bytes.to_vec()) {
            return Some(error.to_string());
        }
        self.0.handle.storage_progressed();
        None
    }

    /// Chunk `index` of disk `disk` cannot be had. Says what is wrong with that.
    #[wasm_bindgen(js_name = failChunk)]
    pub fn fail_chunk(&self, disk: usize, index: f64, reason: String) -> Option<String> {
        let Some(inbox) = self.inbox(disk) else { return Some(no_such_disk(disk)) };
        inbox.fail(index as u64, reason);
        self.0.handle.storage_progressed();
        None
    }
}

impl WebPort {
    fn inbox(&self, disk: usize) -> Option<&ChunkInbox> {
        self.0.inboxes.get(disk)?.as_ref()
    }
}

fn no_such_disk(disk: usize) -> String {
    format!("disk {disk} is not fetched in chunks")
}
