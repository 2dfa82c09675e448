//! Host traits on browser and node APIs: the only room that names wasm-bindgen, web-sys or js-sys.
//!
//! What it exports is described, for those who call it, in the npm package's `engine.ts`.

mod code;
mod console_log;
mod disk;
mod file;
mod host;
mod local;
mod machine;
mod net;
mod options;
mod port;
mod share;

pub use file::WebChunkCache;
pub use machine::{WebKeeper, WebMachine, WebPageDecoder, WebRestorer};
pub use port::WebPort;

use crate::storage::CHUNK_BYTES;
use wasm_bindgen::prelude::*;

/// Makes errors appear on the console, and a panic's message instead of a bare `unreachable`.
#[wasm_bindgen(start)]
pub fn start() {
    console_error_panic_hook::set_once();
    console_log::start();
}

/// This instance's memory (a `WebAssembly.Memory`), for further instances on it.
///
/// The module's export of the memory itself has the plain name.
#[wasm_bindgen(js_name = wasmMemory)]
pub fn memory() -> JsValue {
    wasm_bindgen::memory()
}

/// Size of a chunk of a chunked disk in bytes.
#[wasm_bindgen(js_name = chunkBytes)]
pub fn chunk_bytes() -> f64 {
    CHUNK_BYTES as f64
}
