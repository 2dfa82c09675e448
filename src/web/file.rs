//! Files of the emulator that JavaScript keeps, and the cache of chunks in one.

use super::disk::message;
use super::local::Local;
use super::options::EngineFile;
use crate::host::{ByteFile, ByteFileError};
use crate::storage::{ChunkCache, Digest};
use js_sys::{Error, Uint8Array};
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

/// `EngineChunkCache` of the package's `engine.ts`.
#[wasm_bindgen(js_name = ChunkCache)]
pub struct WebChunkCache(ChunkCache);

#[wasm_bindgen(js_class = ChunkCache)]
impl WebChunkCache {
    /// Opens the cache in `file`.
    ///
    /// # Errors
    /// An `Error` that says why the file cannot be used.
    #[wasm_bindgen(constructor)]
    pub fn new(file: EngineFile, limit_bytes: f64) -> Result<Self, Error> {
        let cache = ChunkCache::open(Box::new(FunctionFile::new(file)), limit_bytes as u64);
        cache.map(Self).map_err(|error| Error::new(&error.to_string()))
    }

    /// What is kept under a digest, not verified.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&mut self, digest: &str) -> Result<Option<Vec<u8>>, Error> {
        self.0.get(&parse(digest)?).map_err(|error| Error::new(&error.to_string()))
    }

    /// Keeps bytes under their digest.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put(&mut self, digest: &str, bytes: &[u8]) -> Result<(), Error> {
        self.0.put(&parse(digest)?, bytes).map_err(|error| Error::new(&error.to_string()))
    }

    /// Forgets what is kept under a digest.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove(&mut self, digest: &str) -> Result<(), Error> {
        self.0.remove(&parse(digest)?).map_err(|error| Error::new(&error.to_string()))
    }
}

fn parse(digest: &str) -> Result<Digest, Error> {
    Digest::parse(digest).ok_or_else(|| Error::new(&format!("\"{digest}\" is no digest")))
}
