//! Disks whose bytes JavaScript has.

use super::file::FunctionFile;
use super::local::Local;
use super::options::{EngineDisk, EngineFile};
use crate::host::{BlockError, BlockSource, Progress};
use crate::storage::{ChunkFetcher, ChunkInbox, ChunkedDisk, CopyOnWrite, Digest, Manifest, PersistentDisk};
use js_sys::Uint8Array;
use std::sync::Arc;
use std::task::Poll;
use wasm_bindgen::{JsCast, JsValue};

/// Bytes of fetched chunks that are kept for each disk; what is dropped is fetched again when needed.
const KEPT_BYTES: u64 = 256 << 20;

/// Builds the disk that an options object's entry describes, and its inbox when it is chunked.
///
/// # Errors
/// A sentence for the user.
pub fn build(disk: JsValue) -> Result<(Box<dyn BlockSource>, Option<ChunkInbox>), String> {
    let disk: EngineDisk = disk.unchecked_into();
    if disk.kind() == "chunked" {
        return build_chunked(disk).map(|(disk, inbox)| (disk, Some(inbox)));
    }
    let size = checked_size(disk.size_bytes())?;
    let writes = disk.writes();
    let (overlay, identity) = (disk.overlay(), disk.identity().unwrap_or_default());
    let is_read_only = writes != "through";
    let image = Digest::parse(&identity).map(|digest| digest.0);
    let source = Box::new(SynchronousDisk { disk: Local::new(disk), size, is_read_only, image });
    let disk: Box<dyn BlockSource> = match writes.as_str() {
        "overlay" => writable(source, overlay, image_of(&identity))?,
        _ => source,
    };
    Ok((disk, None))
}

fn build_chunked(disk: EngineDisk) -> Result<(Box<dyn BlockSource>, ChunkInbox), String> {
    let (inbox, size, image) = match disk.manifest() {
        Some(text) => {
            let manifest = Manifest::parse(&text.to_vec())
                .map_err(|error| format!("The manifest of the disk image cannot be used: {error}."))?;
            let (size, image) = (manifest.size(), manifest.image());
            (ChunkInbox::of_image(Arc::new(manifest)), size, image)
        }
        None if disk.overlay().is_some() => {
            return Err(
                "A raw image can be another one at the next start: only an image in chunks can keep \
                        what the guest writes."
                    .to_owned(),
            );
        }
        None => (ChunkInbox::default(), checked_size(disk.size_bytes())?, Digest([0; 32])),
    };
    let overlay = disk.overlay();
    let fetcher = Box::new(FunctionFetcher { disk: Local::new(disk), inbox: inbox.clone() });
    let chunks = ChunkedDisk::new(size, fetcher, inbox.clone(), KEPT_BYTES);
    Ok((writable(Box::new(chunks), overlay, image)?, inbox))
}

/// A disk that shows `base` until it is written: what is written stays in the file `overlay`, or in memory.
fn writable(
    base: Box<dyn BlockSource>,
    overlay: Option<EngineFile>,
    image: Digest,
) -> Result<Box<dyn BlockSource>, String> {
    let Some(file) = overlay else { return Ok(Box::new(CopyOnWrite::new(base))) };
    let disk = PersistentDisk::open(base, Box::new(FunctionFile::new(file)), image);
    Ok(Box::new(disk.map_err(|error| error.to_string())?))
}

/// The digest of a whole image, if that is what `identity` is, and else something as good.
fn image_of(identity: &str) -> Digest {
    Digest::parse(identity).unwrap_or_else(|| Digest::of(identity.as_bytes()))
}

fn checked_size(size: f64) -> Result<u64, String> {
    if !(size >= 512.0 && size % 512.0 == 0.0) {
        return Err(format!(
            "a disk of {size} bytes cannot be used: its size must be a multiple of 512 bytes"
        ));
    }
    Ok(size as u64)
}

struct FunctionFetcher {
    disk: Local<EngineDisk>,
    inbox: ChunkInbox,
}

impl ChunkFetcher for FunctionFetcher {
    fn request(&mut self, index: u64) {
        if let Err(error) = self.disk.get().request(index as f64) {
            self.inbox.fail(index, message(&error));
        }
    }
}

/// A file that is read and written at once.
struct SynchronousDisk {
    disk: Local<EngineDisk>,
    size: u64,
    is_read_only: bool,
    /// The SHA-256 of the whole file, if it is known.
    image: Option<[u8; 32]>,
}

impl SynchronousDisk {
    fn check(&self, offset: u64, length: usize) -> Result<(), BlockError> {
        let length = length as u64;
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(BlockError::OutOfRange { offset, length, size: self.size }),
        }
    }

    fn check_write(&self, offset: u64, length: usize) -> Result<(), BlockError> {
        if self.is_read_only {
            return Err(BlockError::ReadOnly);
        }
        self.check(offset, length)
    }

    fn read_now(&self, offset: u64, buffer: &mut [u8]) -> Result<(), BlockError> {
        self.check(offset, buffer.len())?;
        let bytes = self.disk.get().read(offset as f64, buffer.len() as f64).map_err(host_error)?;
        if bytes.length() as usize != buffer.len() {
            return Err(BlockError::Host(format!("{} of {} bytes were read", bytes.length(), buffer.len())));
        }
        bytes.copy_to(buffer);
        Ok(())
    }

    fn write_now(&self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        self.check_write(offset, data.len())?;
        self.disk.get().write(offset as f64, &Uint8Array::from(data)).map_err(host_error)
    }

    fn discard_now(&self, offset: u64, length: u64) -> Result<(), BlockError> {
        const ZEROES: [u8; 65_536] = [0; 65_536];
        let end = offset.saturating_add(length);
        let mut at = offset;
        while at < end {
            let part = (end - at).min(ZEROES.len() as u64) as usize;
            self.write_now(at, &ZEROES[..part])?;
            at += part as u64;
        }
        Ok(())
    }
}

impl BlockSource for SynchronousDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        Poll::Ready(self.read_now(offset, buffer))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        Poll::Ready(self.write_now(offset, data))
    }

    fn flush(&mut self) -> Progress {
        if self.is_read_only {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.disk.get().flush().map_err(host_error))
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        Poll::Ready(self.discard_now(offset, length))
    }

    fn image(&self) -> Option<[u8; 32]> {
        // A file that is written to is not that image for long.
        if self.is_read_only { self.image } else { None }
    }
}

fn host_error(error: JsValue) -> BlockError {
    BlockError::Host(message(&error))
}

/// What a thrown value says.
pub fn message(error: &JsValue) -> String {
    match error.dyn_ref::<js_sys::Error>() {
        Some(error) => String::from(error.message()),
        None => format!("{error:?}"),
    }
}
