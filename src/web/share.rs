//! Shared directories of JavaScript: files that it gives at once, or a provider that it asks.

use super::options::{EngineShare, EngineSharedFile};
use crate::storage::tree::provided::{Answer, AnswerInbox, Operation, OperationId, ProvidedTree, Provider};
use crate::storage::tree::{FileError, FileTree, MemoryTree};
use crate::virtio::p9::{Share, ShareTag};
use js_sys::Uint8Array;
use wasm_bindgen::{JsCast, JsValue};

/// Builds the share that an options object's entry describes, and the way for its answers if it is asked.
///
/// # Errors
/// A sentence for the user.
pub fn build(share: JsValue) -> Result<(Share, Option<AnswerInbox>), String> {
    let share: EngineShare = share.unchecked_into();
    let tag = ShareTag::new(&share.tag()).map_err(|error| error.to_string())?;
    let is_read_only = share.is_read_only();
    let (tree, inbox): (Box<dyn FileTree>, _) = match share.kind().as_str() {
        "provided" => {
            let inbox = AnswerInbox::default();
            (Box::new(ProvidedTree::new(Box::new(WorkerProvider(share)), inbox.clone())), Some(inbox))
        }
        _ => (Box::new(in_memory(&share)?), None),
    };
    Ok((Share { tag, tree, is_read_only }, inbox))
}

fn in_memory(share: &EngineShare) -> Result<MemoryTree, String> {
    let mut tree = MemoryTree::new(share.capacity_bytes() as u64);
    for file in share.files().iter() {
        let file: EngineSharedFile = file.unchecked_into();
        let path = file.path();
        tree.write_file(&path, &file.bytes().to_vec(), file.permissions())
            .map_err(|error| format!("the file {path:?} cannot be shared: {error}"))?;
    }
    Ok(tree)
}

/// A provider that JavaScript reaches from the vCPU's worker.
struct WorkerProvider(EngineShare);

// SAFETY: a machine, and so its shares, stays in the worker that made it: JavaScript cannot move it.
unsafe impl Send for WorkerProvider {}

impl Provider for WorkerProvider {
    fn ask(&mut self, id: OperationId, operation: &Operation, data: &[u8]) -> Result<(), FileError> {
        let json = serde_json::to_string(operation).map_err(|_| FileError::InputOutput)?;
        let data = (!data.is_empty()).then(|| Uint8Array::from(data));
        self.0.ask(id as f64, &json, data).map_err(|error| {
            log::warn!("a share's provider cannot be asked: {}", super::disk::message(&error));
            FileError::InputOutput
        })
    }
}

/// An answer as it comes from JavaScript: Linux's error number or 0, JSON, and data.
pub fn answer(errno: i32, json: String, data: Vec<u8>) -> Answer {
    if errno == 0 { Ok((json, data)) } else { Err(FileError::from_errno(errno)) }
}
