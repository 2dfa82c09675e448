//! Where the host puts the chunks that it has fetched.

use super::{ChunkError, Manifest};
use std::sync::{Arc, Mutex, PoisonError};

/// A chunk's index, and its bytes or why they could not be fetched.
pub(super) type Delivery = (u64, Result<Vec<u8>, String>);

/// Where the host puts the chunks that it has fetched. Clones share one inbox; any thread may
/// deliver, and does the work of verifying and unpacking.
#[derive(Clone, Default)]
pub struct ChunkInbox {
    deliveries: Arc<Mutex<Vec<Delivery>>>,
    manifest: Option<Arc<Manifest>>,
}

impl ChunkInbox {
    /// An inbox for the packed chunks of an image. The default one takes chunks of raw images.
    pub fn of_image(manifest: Arc<Manifest>) -> Self {
        Self { deliveries: Arc::default(), manifest: Some(manifest) }
    }

    /// The image's manifest, unless the image is raw.
    pub fn manifest(&self) -> Option<&Arc<Manifest>> {
        self.manifest.as_ref()
    }

    /// Delivers all bytes of chunk `index`, as the host has them: packed, or those of a raw image.
    ///
    /// # Errors
    /// When the bytes are not those of the chunk. Nothing was delivered then: fetch them anew, or
    /// [`fail`](Self::fail) the chunk.
    pub fn complete(&self, index: u64, stored: Vec<u8>) -> Result<(), ChunkError> {
        let bytes = match &self.manifest {
            Some(manifest) => manifest.unpack(index, &stored)?,
            None => stored,
        };
        self.deliver(index, Ok(bytes));
        Ok(())
    }

    /// Tells that chunk `index` cannot be had.
    pub fn fail(&self, index: u64, reason: String) {
        self.deliver(index, Err(reason));
    }

    fn deliver(&self, index: u64, outcome: Result<Vec<u8>, String>) {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    pub(super) fn take(&self) -> Vec<Delivery> {
        std::mem::take(&mut *self.deliveries.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
