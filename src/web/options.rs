//! The options object, as the package's `engine.ts` declares it.

use js_sys::{Array, Function, Uint8Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// What a machine is made from.
    #[wasm_bindgen(typescript_type = "EngineOptions")]
    pub type EngineOptions;

    #[wasm_bindgen(method, getter, js_name = memoryBytes)]
    pub fn memory_bytes(this: &EngineOptions) -> f64;
    #[wasm_bindgen(method, getter)]
    pub fn kernel(this: &EngineOptions) -> Uint8Array;
    #[wasm_bindgen(method, getter)]
    pub fn initrd(this: &EngineOptions) -> Option<Uint8Array>;
    #[wasm_bindgen(method, getter, js_name = commandLine)]
    pub fn command_line(this: &EngineOptions) -> String;
    #[wasm_bindgen(method, getter)]
    pub fn clock(this: &EngineOptions) -> String;
    /// `auto`, `interp` or `jit`.
    #[wasm_bindgen(method, getter)]
    pub fn engine(this: &EngineOptions) -> Option<String>;
    /// Whether compiled code carries names for profilers.
    #[wasm_bindgen(method, getter, js_name = hasNames)]
    pub fn has_names(this: &EngineOptions) -> Option<bool>;
    /// `v1`, `v2`, `v3` or `max`.
    #[wasm_bindgen(method, getter)]
    pub fn cpu(this: &EngineOptions) -> Option<String>;
    #[wasm_bindgen(method, getter)]
    pub fn columns(this: &EngineOptions) -> u16;
    #[wasm_bindgen(method, getter)]
    pub fn rows(this: &EngineOptions) -> u16;
    #[wasm_bindgen(method, getter)]
    pub fn disks(this: &EngineOptions) -> Array;
    /// Directories that are shared with the guest, if any.
    #[wasm_bindgen(method, getter)]
    pub fn shares(this: &EngineOptions) -> Option<Array>;
    /// Without it there is no network card.
    #[wasm_bindgen(method, getter)]
    pub fn network(this: &EngineOptions) -> Option<EngineNetwork>;
    #[wasm_bindgen(method, getter, js_name = onConsoleOutput)]
    pub fn on_console_output(this: &EngineOptions) -> Function;
    #[wasm_bindgen(method, getter, js_name = onSerialOutput)]
    pub fn on_serial_output(this: &EngineOptions) -> Function;

    /// What the guest's network may do.
    pub type EngineNetwork;

    /// Strings that name [`Destinations`](crate::net::Destinations).
    #[wasm_bindgen(method, getter)]
    pub fn allowed(this: &EngineNetwork) -> Array;
    #[wasm_bindgen(method, getter, js_name = nameServer)]
    pub fn name_server(this: &EngineNetwork) -> Option<String>;
    #[wasm_bindgen(method, catch, js_name = onWork)]
    pub fn on_work(this: &EngineNetwork) -> Result<(), JsValue>;

    /// A directory that the guest mounts: in memory, or provided.
    pub type EngineShare;

    /// `files` or `provided`.
    #[wasm_bindgen(method, getter)]
    pub fn kind(this: &EngineShare) -> String;
    #[wasm_bindgen(method, getter)]
    pub fn tag(this: &EngineShare) -> String;
    #[wasm_bindgen(method, getter, js_name = isReadOnly)]
    pub fn is_read_only(this: &EngineShare) -> bool;
    #[wasm_bindgen(method, getter, js_name = capacityBytes)]
    pub fn capacity_bytes(this: &EngineShare) -> f64;
    #[wasm_bindgen(method, getter)]
    pub fn files(this: &EngineShare) -> Array;
    /// Of a provided directory: has an operation done.
    #[wasm_bindgen(method, catch)]
    pub fn ask(this: &EngineShare, id: f64, operation: &str, data: Option<Uint8Array>)
    -> Result<(), JsValue>;

    /// A file of such a directory.
    pub type EngineSharedFile;

    #[wasm_bindgen(method, getter)]
    pub fn path(this: &EngineSharedFile) -> String;
    #[wasm_bindgen(method, getter)]
    pub fn bytes(this: &EngineSharedFile) -> Uint8Array;
    #[wasm_bindgen(method, getter)]
    pub fn permissions(this: &EngineSharedFile) -> u32;

    /// A disk, chunked or synchronous.
    pub type EngineDisk;

    #[wasm_bindgen(method, getter)]
    pub fn kind(this: &EngineDisk) -> String;
    #[wasm_bindgen(method, getter, js_name = sizeBytes)]
    pub fn size_bytes(this: &EngineDisk) -> f64;
    /// Of a chunked disk: its manifest, unless it is a raw image.
    #[wasm_bindgen(method, getter)]
    pub fn manifest(this: &EngineDisk) -> Option<Uint8Array>;
    /// Where the guest's writes are kept, if anywhere but in memory.
    #[wasm_bindgen(method, getter)]
    pub fn overlay(this: &EngineDisk) -> Option<EngineFile>;
    /// Of a synchronous disk with an overlay: what tells its image from others.
    #[wasm_bindgen(method, getter)]
    pub fn identity(this: &EngineDisk) -> Option<String>;
    /// Of a synchronous disk: `through`, `overlay` or `refused`.
    #[wasm_bindgen(method, getter)]
    pub fn writes(this: &EngineDisk) -> String;
    #[wasm_bindgen(method, catch)]
    pub fn request(this: &EngineDisk, index: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn read(this: &EngineDisk, offset: f64, length: f64) -> Result<Uint8Array, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn write(this: &EngineDisk, offset: f64, data: &Uint8Array) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn flush(this: &EngineDisk) -> Result<(), JsValue>;

    /// A file that belongs to the emulator.
    #[wasm_bindgen(typescript_type = "EngineFile")]
    pub type EngineFile;

    #[wasm_bindgen(method, catch)]
    pub fn size(this: &EngineFile) -> Result<f64, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn read(this: &EngineFile, offset: f64, length: f64) -> Result<Uint8Array, JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn write(this: &EngineFile, offset: f64, data: &Uint8Array) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn truncate(this: &EngineFile, size: f64) -> Result<(), JsValue>;
    #[wasm_bindgen(method, catch)]
    pub fn flush(this: &EngineFile) -> Result<(), JsValue>;
}
