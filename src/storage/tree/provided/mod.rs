//! A tree of files that somebody outside serves, who answers later.
//!
//! Every operation of the tree is one question to the [`Provider`]. Until it is answered, the guest's request
//! waits; then it is put again as a whole, and the [journal](journal) hands it the answers that it has had.
//! Files are asked for by their paths, which follow renames within the tree; a file without a name can be
//! reached by the handles that are open on it.

mod journal;
mod operation;
mod places;
#[cfg(test)]
mod tests;

pub use journal::{AnswerInbox, OperationId, Provider};
pub use operation::{
    Answer, Item, Kind, Moment, NewStatus, Now, Operation, ProvidedPath, Room, Status, StatusChange,
};

use super::{
    AttributeChange, Attributes, DirectoryEntry, ExtendedChange, FileError, FileKind, FileTree, HandleId,
    NAME_BYTES_MAX, Name, NewFile, NodeId, OpenMode, PERMISSION_BITS, TimeChange, TreeStatistics,
};
use crate::host::WallTime;
use journal::Journal;
use places::{Places, ROOT, join};
use std::collections::HashMap;
use std::sync::Arc;

/// Bytes from which on JavaScript cannot count them any more.
const BYTES_MAX: u64 = 1 << 53;
/// Linux's EILSEQ: the name is no text, and providers know names that are texts only.
const NO_TEXT: FileError = FileError::Host(84);
/// Most bytes of a symbolic link (PATH_MAX without its zero).
const TARGET_BYTES_MAX: usize = 4095;
/// Cookie behind the entry `.`, behind `..`, and of the first other entry less one.
const SELF_COOKIE: u64 = 1;
const PARENT_COOKIE: u64 = 2;

struct Handle {
    node: NodeId,
    mode: OpenMode,
    /// Of a directory: its entries when they were last read from the beginning.
    items: Option<Arc<[Item]>>,
}

/// A tree of files that a [`Provider`] serves.
pub struct ProvidedTree {
    journal: Journal,
    places: Places,
    handles: HashMap<HandleId, Handle>,
    next_handle: u64,
    /// Whether files are taken for there without a look, because a saved session had them.
    is_restoring: bool,
}

fn text(bytes: &[u8]) -> Result<&str, FileError> {
    std::str::from_utf8(bytes).map_err(|_| NO_TEXT)
}

fn moment(change: TimeChange) -> Moment {
    match change {
        TimeChange::Now => Moment::Now(Now::Now),
        TimeChange::To(time) => Moment::At(time.unix_ns as f64 / 1e6),
    }
}

fn new_status(new: NewFile) -> NewStatus {
    NewStatus { permissions: new.permissions, user: new.user, group: new.group }
}

impl ProvidedTree {
    /// The tree that `provider` serves, whose answers come to `inbox`.
    pub fn new(provider: Box<dyn Provider>, inbox: AnswerInbox) -> Self {
        Self {
            journal: Journal::new(provider, inbox),
            places: Places::new(),
            handles: HashMap::new(),
            next_handle: 1,
            is_restoring: false,
        }
    }

    /// Asks for something that is answered by JSON and data.
    fn ask(&mut self, operation: Operation) -> Result<Arc<Answer>, FileError> {
        self.journal.ask(operation, &[])
    }

    /// Asks for something that is answered by nothing but that it is done.
    fn have_done(&mut self, operation: Operation) -> Result<(), FileError> {
        match &*self.ask(operation)? {
            Ok(_) => Ok(()),
            Err(error) => Err(*error),
        }
    }

    /// Asks for something that is answered by JSON.
    fn ask_json<T: serde::de::DeserializeOwned>(&mut self, operation: Operation) -> Result<T, FileError> {
        match &*self.ask(operation)? {
            Ok((json, _)) => operation::parse(json),
            Err(error) => Err(*error),
        }
    }

    /// The path of `name` in `directory`, and the name as a text.
    fn entry<'a>(&self, directory: NodeId, name: Name<'a>) -> Result<(ProvidedPath, &'a str), FileError> {
        self.places.directory(directory)?;
        let name = text(name.bytes())?;
        Ok((join(&self.places.path(directory)?, name), name))
    }

    /// Takes the file that was found, or made, in.
    fn admit(
        &mut self,
        directory: NodeId,
        name: &str,
        status: &Status,
    ) -> Result<(NodeId, Attributes), FileError> {
        let node = self.places.admit(directory, name, Some(status.kind.into()), status.own_inode())?;
        let inode = self.places.inode(node)?;
        Ok((node, status.attributes(inode)))
    }

    /// What `stat` tells of `node`.
    fn status(&mut self, node: NodeId) -> Result<Attributes, FileError> {
        let path = match self.places.path(node) {
            Err(FileError::NotFound) => None,
            path => Some(path?),
        };
        let handle = self.places.handle(node, false)?;
        if path.is_none() && handle.is_none() {
            return Err(FileError::NotFound);
        }
        let status: Status = self.ask_json(Operation::Stat { path, handle })?;
        let inode = self.places.refresh(node, &status)?;
        let mut attributes = status.attributes(inode);
        if self.places.path(node).is_err() {
            attributes.links = 0;
        }
        Ok(attributes)
    }

    /// The number for a handle that is to be opened, which is the same when the request is put again.
    fn handle_to_open(&mut self) -> u64 {
        self.journal.next_handle().unwrap_or_else(|| {
            let handle = self.next_handle;
            self.next_handle += 1;
            handle
        })
    }

    fn keep_open(&mut self, handle: u64, node: NodeId, mode: OpenMode) -> Result<HandleId, FileError> {
        self.places.hold(node)?;
        self.places.opened(node, handle, mode.is_writable)?;
        self.handles.insert(HandleId(handle), Handle { node, mode, items: None });
        Ok(HandleId(handle))
    }

    fn opened(&self, handle: HandleId) -> Result<&Handle, FileError> {
        self.handles.get(&handle).ok_or(FileError::BadHandle)
    }
}

impl FileTree for ProvidedTree {
    fn set_time(&mut self, _now: WallTime) {
        // Whoever keeps the files keeps their times.
    }

    fn begin_request(&mut self, request: u64) {
        self.journal.begin(request);
    }

    fn end_request(&mut self, request: u64) {
        self.journal.end(request);
    }

    fn is_settled(&self) -> bool {
        self.journal.is_settled()
    }

    fn set_restoring(&mut self, is_restoring: bool) {
        self.is_restoring = is_restoring;
    }

    fn known_path(&self, node: NodeId) -> Result<Option<Vec<Vec<u8>>>, FileError> {
        match self.places.names(node) {
            Err(FileError::NotFound) => Ok(None),
            names => Ok(Some(names?.into_iter().map(|name| name.as_bytes().to_vec()).collect())),
        }
    }

    fn root(&mut self) -> Result<(NodeId, Attributes), FileError> {
        let attributes =
            if self.is_restoring { Status::presumed().attributes(0) } else { self.status(ROOT)? };
        self.places.hold(ROOT)?;
        Ok((ROOT, attributes))
    }

    fn look_up(&mut self, directory: NodeId, name: Name<'_>) -> Result<(NodeId, Attributes), FileError> {
        let (path, name) = self.entry(directory, name)?;
        if self.is_restoring {
            let node = self.places.admit(directory, name, None, None)?;
            return Ok((node, Status::presumed().attributes(0)));
        }
        match self.ask_json::<Status>(Operation::Stat { path: Some(path), handle: None }) {
            Ok(status) => self.admit(directory, name, &status),
            Err(error) => {
                if error == FileError::NotFound {
                    self.places.lose(directory, name);
                }
                Err(error)
            }
        }
    }

    fn parent(&mut self, directory: NodeId) -> Result<(NodeId, Attributes), FileError> {
        self.places.directory(directory)?;
        let parent = self.places.parent(directory)?;
        let attributes =
            if self.is_restoring { Status::presumed().attributes(0) } else { self.status(parent)? };
        self.places.hold(parent)?;
        Ok((parent, attributes))
    }

    fn hold(&mut self, node: NodeId) -> Result<(), FileError> {
        self.places.hold(node)
    }

    fn forget(&mut self, node: NodeId) {
        self.places.forget(node);
    }

    fn attributes(&mut self, node: NodeId) -> Result<Attributes, FileError> {
        self.status(node)
    }

    fn set_attributes(&mut self, node: NodeId, change: &AttributeChange) -> Result<(), FileError> {
        if change.size.is_some_and(|size| size >= BYTES_MAX) {
            return Err(FileError::TooLarge);
        }
        if change.size.is_some() && self.places.kind(node)? == Some(FileKind::Directory) {
            return Err(FileError::IsDirectory);
        }
        let path = match self.places.path(node) {
            Err(FileError::NotFound) => None,
            path => Some(path?),
        };
        let change = StatusChange {
            permissions: change.permissions.map(|bits| bits & PERMISSION_BITS),
            user: change.user,
            group: change.group,
            size: change.size,
            accessed: change.accessed.map(moment),
            modified: change.modified.map(moment),
        };
        self.have_done(Operation::Change { path, handle: self.places.handle(node, true)?, change })
    }

    fn read_link(&mut self, node: NodeId) -> Result<Vec<u8>, FileError> {
        if self.places.kind(node)?.is_some_and(|kind| kind != FileKind::SymbolicLink) {
            return Err(FileError::Invalid);
        }
        let target: String = self.ask_json(Operation::ReadLink { path: self.places.path(node)? })?;
        if target.len() > TARGET_BYTES_MAX { Err(FileError::InputOutput) } else { Ok(target.into_bytes()) }
    }

    fn open(&mut self, node: NodeId, mode: OpenMode) -> Result<HandleId, FileError> {
        let kind = self.places.kind(node)?;
        match kind {
            Some(FileKind::Directory) if mode.is_writable || mode.is_truncating => {
                return Err(FileError::IsDirectory);
            }
            Some(FileKind::Directory | FileKind::Regular) | None => {}
            Some(FileKind::SymbolicLink) => return Err(FileError::Loop),
            Some(_) => return Err(FileError::NotPermitted),
        }
        let handle = self.handle_to_open();
        if kind == Some(FileKind::Directory) {
            return self.keep_open(handle, node, mode);
        }
        let operation = Operation::Open {
            path: self.places.path(node)?,
            handle,
            read: mode.is_readable,
            write: mode.is_writable,
            truncate: mode.is_truncating,
        };
        if self.is_restoring {
            // If it cannot be opened any more, its next use will tell.
            self.journal.tell(&operation);
        } else {
            self.have_done(operation)?;
        }
        self.keep_open(handle, node, mode)
    }

    fn create(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        mode: OpenMode,
        new: NewFile,
    ) -> Result<(NodeId, Attributes, HandleId), FileError> {
        let (path, name) = self.entry(directory, name)?;
        let handle = self.handle_to_open();
        let read = mode.is_readable;
        let status: Status = self.ask_json(Operation::Create { path, handle, read, new: new_status(new) })?;
        // A file of that name that was known is another one.
        self.places.lose(directory, name);
        let (node, attributes) = self.admit(directory, name, &status)?;
        let handle = self.keep_open(handle, node, OpenMode { is_writable: true, ..mode })?;
        Ok((node, attributes, handle))
    }

    fn close(&mut self, handle: HandleId) {
        let Some(Handle { node, .. }) = self.handles.remove(&handle) else { return };
        self.places.closed(node, handle.0);
        if self.places.kind(node) != Ok(Some(FileKind::Directory)) {
            self.journal.close(handle.0);
        }
        self.places.forget(node);
    }

    fn read(&mut self, handle: HandleId, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        let Handle { node, mode, .. } = self.opened(handle)?;
        if !mode.is_readable {
            return Err(FileError::BadHandle);
        }
        if self.places.kind(*node)? == Some(FileKind::Directory) {
            return Err(FileError::IsDirectory);
        }
        if offset >= BYTES_MAX || buffer.is_empty() {
            return Ok(0);
        }
        let answer = self.ask(Operation::Read { handle: handle.0, offset, length: buffer.len() as u64 })?;
        match &*answer {
            Ok((_, data)) => {
                let room = buffer.get_mut(..data.len()).ok_or(FileError::InputOutput)?;
                room.copy_from_slice(data);
                Ok(data.len())
            }
            Err(error) => Err(*error),
        }
    }

    fn write(&mut self, handle: HandleId, offset: u64, data: &[u8]) -> Result<usize, FileError> {
        let mode = self.opened(handle)?.mode;
        if !mode.is_writable {
            return Err(FileError::BadHandle);
        }
        let length = data.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end >= BYTES_MAX) {
            return Err(FileError::TooLarge);
        }
        if data.is_empty() {
            return Ok(0);
        }
        match &*self.journal.ask(Operation::Write { handle: handle.0, offset, length }, data)? {
            Ok(_) => {}
            Err(error) => return Err(*error),
        }
        if mode.is_synchronous {
            self.have_done(Operation::Sync { handle: handle.0 })?;
        }
        Ok(data.len())
    }

    fn read_directory(
        &mut self,
        handle: HandleId,
        cookie: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), FileError> {
        let Handle { node, items, .. } = self.opened(handle)?;
        let (node, known) = (*node, items.clone());
        self.places.directory(node)?;
        let path = self.places.path(node)?;
        let items = match known {
            Some(items) if cookie > 0 => items,
            _ => {
                let items: Vec<Item> = self.ask_json(Operation::List { path: path.clone() })?;
                let items: Arc<[Item]> = items.into();
                let opened = self.handles.get_mut(&handle).ok_or(FileError::BadHandle)?;
                opened.items = Some(items.clone());
                items
            }
        };
        let own = (b".".as_slice(), node, SELF_COOKIE);
        let above = (b"..".as_slice(), self.places.parent(node)?, PARENT_COOKIE);
        for (name, node, entry_cookie) in [own, above] {
            let inode = self.places.inode(node)?;
            let entry = DirectoryEntry { name, inode, kind: FileKind::Directory, cookie: entry_cookie };
            if cookie < entry_cookie && !visit(entry) {
                return Ok(());
            }
        }
        let read = usize::try_from(cookie.saturating_sub(PARENT_COOKIE)).unwrap_or(usize::MAX);
        for (place, Item { name, kind, inode }) in items.iter().enumerate().skip(read) {
            if name.len() > NAME_BYTES_MAX || Name::new(name.as_bytes()).is_err() {
                log::warn!("a share's provider lists the name {name:?}, which no file can have");
                continue;
            }
            let own = inode.as_ref().and_then(|inode| inode.parse().ok());
            let inode = self.places.inode_of_entry(node, &path, name, own);
            let cookie = PARENT_COOKIE + 1 + place as u64;
            if !visit(DirectoryEntry { name: name.as_bytes(), inode, kind: (*kind).into(), cookie }) {
                break;
            }
        }
        Ok(())
    }

    fn synchronize(&mut self, handle: HandleId, _is_data_only: bool) -> Result<(), FileError> {
        let node = self.opened(handle)?.node;
        if self.places.kind(node)? == Some(FileKind::Directory) {
            // What a provider has answered is as durable as it can make it.
            return Ok(());
        }
        self.have_done(Operation::Sync { handle: handle.0 })
    }

    fn make_directory(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        let (path, name) = self.entry(directory, name)?;
        let status: Status = self.ask_json(Operation::MakeDirectory { path, new: new_status(new) })?;
        self.places.lose(directory, name);
        self.admit(directory, name, &status)
    }

    fn make_node(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        kind: FileKind,
        _device: (u32, u32),
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        match kind {
            FileKind::Regular => {
                let mode = OpenMode { is_writable: true, ..OpenMode::default() };
                let (node, attributes, handle) = self.create(directory, name, mode, new)?;
                self.close(handle);
                Ok((node, attributes))
            }
            FileKind::Directory | FileKind::SymbolicLink => Err(FileError::Invalid),
            _ => Err(FileError::NotPermitted),
        }
    }

    fn make_symbolic_link(
        &mut self,
        directory: NodeId,
        name: Name<'_>,
        target: &[u8],
        new: NewFile,
    ) -> Result<(NodeId, Attributes), FileError> {
        let (path, name) = self.entry(directory, name)?;
        if target.is_empty() || target.contains(&0) {
            return Err(if target.is_empty() { FileError::NotFound } else { FileError::Invalid });
        }
        if target.len() > TARGET_BYTES_MAX {
            return Err(FileError::NameTooLong);
        }
        let target = text(target)?.to_owned();
        let status: Status = self.ask_json(Operation::MakeLink { path, target, new: new_status(new) })?;
        self.places.lose(directory, name);
        self.admit(directory, name, &status)
    }

    fn link(&mut self, node: NodeId, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        let (to, name) = self.entry(directory, name)?;
        if self.places.kind(node)? == Some(FileKind::Directory) {
            return Err(FileError::NotPermitted);
        }
        self.have_done(Operation::Link { path: self.places.path(node)?, to })?;
        self.places.lose(directory, name);
        Ok(())
    }

    fn rename(
        &mut self,
        from: NodeId,
        old_name: Name<'_>,
        to: NodeId,
        new_name: Name<'_>,
    ) -> Result<(), FileError> {
        let (path, old_name) = self.entry(from, old_name)?;
        let (new_path, new_name) = self.entry(to, new_name)?;
        self.have_done(Operation::Rename { path, to: new_path })?;
        self.places.rename(from, old_name, to, new_name);
        Ok(())
    }

    fn remove_file(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        let (path, name) = self.entry(directory, name)?;
        self.have_done(Operation::Remove { path })?;
        self.places.lose(directory, name);
        Ok(())
    }

    fn remove_directory(&mut self, directory: NodeId, name: Name<'_>) -> Result<(), FileError> {
        let (path, name) = self.entry(directory, name)?;
        self.have_done(Operation::RemoveDirectory { path })?;
        self.places.lose(directory, name);
        Ok(())
    }

    fn statistics(&mut self, node: NodeId) -> Result<TreeStatistics, FileError> {
        let path = self.places.path(node)?;
        let room: Room = self.ask_json(Operation::Room { path })?;
        Ok(room.statistics())
    }

    fn extended(&mut self, _node: NodeId, _name: &[u8]) -> Result<Vec<u8>, FileError> {
        Err(FileError::NotSupported)
    }

    fn extended_names(&mut self, _node: NodeId) -> Result<Vec<u8>, FileError> {
        Err(FileError::NotSupported)
    }

    fn set_extended(
        &mut self,
        _node: NodeId,
        _name: &[u8],
        _value: &[u8],
        _change: ExtendedChange,
    ) -> Result<(), FileError> {
        Err(FileError::NotSupported)
    }

    fn remove_extended(&mut self, _node: NodeId, _name: &[u8]) -> Result<(), FileError> {
        Err(FileError::NotSupported)
    }
}
