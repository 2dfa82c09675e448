//! Files of the emulator that JavaScript keeps, and the cache of chunks in one.

use super::disk::message;
use super::local::Local;
use super::options::EngineFile;
use crate::host::{ByteFile, ByteFileError};
use crate::snapshot::ChunkFiles;
use crate::storage::{ChunkCache, Digest};
use js_sys::Uint8Array;
use wasm_bindgen::prelude::*;

/// A file whose operations are JavaScript functions.
pub struct FunctionFile(Local<EngineFile>);

impl FunctionFile {
    /// The file behind `file`.
    pub fn new(file: EngineFile) -> Self {
        Self(Local::new(file))
    }
}

fn failure(error: JsValue) -> ByteFileError {
    ByteFileError(message(&error))
}

impl ByteFile for FunctionFile {
    fn size(&mut self) -> Result<u64, ByteFileError> {
        self.0.get().size().map(|size| size as u64).map_err(failure)
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ByteFileError> {
        let bytes = self.0.get().read(offset as f64, buffer.len() as f64).map_err(failure)?;
        if bytes.length() as usize != buffer.len() {
            return Err(ByteFileError(format!("{} of {} bytes were read", bytes.length(), buffer.len())));
        }
        bytes.copy_to(buffer);
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ByteFileError> {
        self.0.get().write(offset as f64, &Uint8Array::from(data)).map_err(failure)
    }

    fn truncate(&mut self, size: u64) -> Result<(), ByteFileError> {
        self.0.get().truncate(size as f64).map_err(failure)
    }

    fn flush(&mut self) -> Result<(), ByteFileError> {
        self.0.get().flush().map_err(failure)
    }
}

#[wasm_bindgen]
extern "C" {
    /// Size of the cache's file; negative on failure.
    #[wasm_bindgen(js_namespace = dinghyCacheFile, js_name = size)]
    fn cache_size() -> f64;
    /// Fills a part of the buffer and tells how much; negative on failure.
    #[wasm_bindgen(js_namespace = dinghyCacheFile, js_name = read)]
    fn cache_read(offset: f64, buffer: &mut [u8]) -> f64;
    /// Tells whether all was written.
    #[wasm_bindgen(js_namespace = dinghyCacheFile, js_name = write)]
    fn cache_write(offset: f64, data: &[u8]) -> bool;
    #[wasm_bindgen(js_namespace = dinghyCacheFile, js_name = truncate)]
    fn cache_truncate(size: f64) -> bool;
}

/// The worker's one file for the cache. The worker has an instance of its own, in which no JavaScript value can
/// be kept (see [`WebPort`](super::port::WebPort)), so it is reached by name.
struct CacheFile;

fn outcome(is_done: bool, what: &str) -> Result<(), ByteFileError> {
    if is_done { Ok(()) } else { Err(ByteFileError(format!("the browser could not {what} its file"))) }
}

impl ByteFile for CacheFile {
    fn size(&mut self) -> Result<u64, ByteFileError> {
        let size = cache_size();
        outcome(size >= 0.0, "measure").map(|()| size as u64)
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Result<(), ByteFileError> {
        let length = buffer.len() as f64;
        outcome(cache_read(offset as f64, buffer) == length, "read")
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), ByteFileError> {
        outcome(cache_write(offset as f64, data), "write")
    }

    fn truncate(&mut self, size: u64) -> Result<(), ByteFileError> {
        outcome(cache_truncate(size as f64), "cut")
    }

    fn flush(&mut self) -> Result<(), ByteFileError> {
        // Whatever of the cache is lost is fetched again.
        Ok(())
    }
}

#[wasm_bindgen]
extern "C" {
    /// The bytes of a file beside the snapshot, as `globalThis.dinghyMemoryFile` of the vCPU's worker has it.
    #[wasm_bindgen(catch, js_name = dinghyMemoryFile)]
    fn memory_file(name: &str, attempt: u32) -> Result<Uint8Array, JsValue>;
}

/// The files beside a snapshot. The machine's memory, which asks for them, is known to other workers too, so they are
/// reached by name as the [cache](CacheFile) is; only the vCPU's worker, which can keep JavaScript values, loads them.
pub struct MemoryFiles;

impl ChunkFiles for MemoryFiles {
    fn load(&self, name: &str, attempt: u32) -> Result<Vec<u8>, String> {
        memory_file(name, attempt).map(|bytes| bytes.to_vec()).map_err(|error| message(&error))
    }
}

/// `EngineChunkCache` of the package's `engine.ts`.
#[wasm_bindgen(js_name = ChunkCache)]
pub struct WebChunkCache(ChunkCache);

#[wasm_bindgen(js_class = ChunkCache)]
impl WebChunkCache {
    /// Opens the cache in the worker's `dinghyCacheFile`; `undefined` if that cannot be used.
    pub fn open(limit_bytes: f64) -> Option<Self> {
        ChunkCache::open(Box::new(CacheFile), limit_bytes as u64).ok().map(Self)
    }

    /// What is kept under a digest, not verified.
    pub fn get(&mut self, digest: &str) -> Option<Vec<u8>> {
        self.0.get(&Digest::parse(digest)?).ok().flatten()
    }

    /// Keeps bytes under their digest. Tells whether the file could be written.
    pub fn put(&mut self, digest: &str, bytes: &[u8]) -> bool {
        Digest::parse(digest).is_some_and(|digest| self.0.put(&digest, bytes).is_ok())
    }

    /// Forgets what is kept under a digest. Tells whether the file could be written.
    pub fn remove(&mut self, digest: &str) -> bool {
        Digest::parse(digest).is_some_and(|digest| self.0.remove(&digest).is_ok())
    }
}
