//! Files that JavaScript gives to the guest as a shared directory.

use super::options::{EngineShare, EngineSharedFile};
use crate::storage::tree::MemoryTree;
use crate::virtio::p9::{Share, ShareTag};
use wasm_bindgen::{JsCast, JsValue};

/// Builds the share that an options object's entry describes.
///
/// # Errors
/// A sentence for the user.
pub fn build(share: JsValue) -> Result<Share, String> {
    let share: EngineShare = share.unchecked_into();
    let tag = ShareTag::new(&share.tag()).map_err(|error| error.to_string())?;
    let mut tree = MemoryTree::new(share.capacity_bytes() as u64);
    for file in share.files().iter() {
        let file: EngineSharedFile = file.unchecked_into();
        let path = file.path();
        tree.write_file(&path, &file.bytes().to_vec(), file.permissions())
            .map_err(|error| format!("the file {path:?} cannot be shared: {error}"))?;
    }
    Ok(Share { tag, tree: Box::new(tree), is_read_only: share.is_read_only() })
}
