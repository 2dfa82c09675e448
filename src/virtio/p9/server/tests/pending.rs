//! A tree that has no answers at hand until the host has reported progress.

use super::client::Field::{Bytes, Text, Word16, Word32, Word64};
use super::client::*;
use crate::host::WallTime;
use crate::storage::tree::{
    AttributeChange, Attributes, DirectoryEntry, ExtendedChange, FileError, FileKind, FileTree, HandleId,
    MemoryTree, Name, NewFile, NodeId, OpenMode, TreeStatistics,
};
use crate::virtio::p9::server::Outcome;
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Answers each question only when it is asked for the second time, and counts who holds its nodes.
struct Slow {
    tree: MemoryTree,
    asked: HashSet<String>,
    holders: Arc<Mutex<i64>>,
}

impl Slow {
    fn ask(&mut self, question: String) -> Result<(), FileError> {
        if self.asked.insert(question.clone()) {
            return Err(FileError::Pending);
        }
        Ok(())
    }

    fn give(&self) {
        *self.holders.lock().unwrap() += 1;
    }
}

macro_rules! slow {
    ($($(#[$gives:ident])? $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {$(
        fn $name(&mut self, $($argument: $type),*) -> Result<$result, FileError> {
            let question = [stringify!($name).to_owned(), $(format!("{:?}", $argument)),*].join(" ");
            self.ask(question)?;
            let answer = self.tree.$name($($argument),*)?;
            $(stringify!($gives); self.give();)?
            Ok(answer)
        }
    )*};
}

impl FileTree for Slow {
    fn set_time(&mut self, now: WallTime) {
        self.tree.set_time(now);
    }

    fn hold(&mut self, node: NodeId) -> Result<(), FileError> {
        self.give();
        self.tree.hold(node)
    }

    fn forget(&mut self, node: NodeId) {
        *self.holders.lock().unwrap() -= 1;
        self.tree.forget(node);
    }

    fn close(&mut self, handle: HandleId) {
        self.tree.close(handle);
    }

    fn read(&mut self, handle: HandleId, offset: u64, buffer: &mut [u8]) -> Result<usize, FileError> {
        self.ask(format!("read {handle:?} {offset}"))?;
        self.tree.read(handle, offset, buffer)
    }

    fn read_directory(
        &mut self,
        handle: HandleId,
        cookie: u64,
        visit: &mut dyn FnMut(DirectoryEntry<'_>) -> bool,
    ) -> Result<(), FileError> {
        self.ask(format!("read_directory {handle:?} {cookie}"))?;
        self.tree.read_directory(handle, cookie, visit)
    }

    slow! {
        #[gives] root() -> (NodeId, Attributes);
        #[gives] look_up(directory: NodeId, name: Name<'_>) -> (NodeId, Attributes);
        #[gives] parent(directory: NodeId) -> (NodeId, Attributes);
        attributes(node: NodeId) -> Attributes;
        set_attributes(node: NodeId, change: &AttributeChange) -> ();
        read_link(node: NodeId) -> Vec<u8>;
        open(node: NodeId, mode: OpenMode) -> HandleId;
        #[gives] create(directory: NodeId, name: Name<'_>, mode: OpenMode, new: NewFile)
            -> (NodeId, Attributes, HandleId);
        write(handle: HandleId, offset: u64, data: &[u8]) -> usize;
        synchronize(handle: HandleId, is_data_only: bool) -> ();
        #[gives] make_directory(directory: NodeId, name: Name<'_>, new: NewFile) -> (NodeId, Attributes);
        #[gives] make_node(
            directory: NodeId, name: Name<'_>, kind: FileKind, device: (u32, u32), new: NewFile
        ) -> (NodeId, Attributes);
        #[gives] make_symbolic_link(directory: NodeId, name: Name<'_>, target: &[u8], new: NewFile)
            -> (NodeId, Attributes);
        link(node: NodeId, directory: NodeId, name: Name<'_>) -> ();
        rename(from: NodeId, old_name: Name<'_>, to: NodeId, new_name: Name<'_>) -> ();
        remove_file(directory: NodeId, name: Name<'_>) -> ();
        remove_directory(directory: NodeId, name: Name<'_>) -> ();
        statistics(node: NodeId) -> TreeStatistics;
        extended(node: NodeId, name: &[u8]) -> Vec<u8>;
        extended_names(node: NodeId) -> Vec<u8>;
        set_extended(node: NodeId, name: &[u8], value: &[u8], change: ExtendedChange) -> ();
        remove_extended(node: NodeId, name: &[u8]) -> ();
    }
}

/// Puts a message again until it is answered, as the device does; how often it waited, and the answer's type.
fn put(client: &mut Client, kind: u8, fields: &[Field<'_>]) -> (u32, u8) {
    let bytes = message(kind, 1, fields);
    for waited in 0..20 {
        let (outcome, answer) = client.raw(&bytes, true);
        if outcome != Outcome::Waiting {
            return (waited, answer[4]);
        }
    }
    panic!("message {kind} waits for ever");
}

#[test]
fn messages_that_waited_happen_once_and_leave_nothing_behind() {
    let mut tree = MemoryTree::new(1 << 20);
    tree.write_file("a/b/file", b"contents", 0o644).unwrap();
    let holders = Arc::new(Mutex::new(0));
    let slow = Slow { tree, asked: HashSet::new(), holders: holders.clone() };
    let mut client = Client { server: crate::virtio::p9::server::Server::new(Box::new(slow), false) };
    let mut put = |kind, fields: &[Field<'_>]| put(&mut client, kind, fields);
    assert_eq!(put(100, &[Word32(8192), Text("9P2000.L")]), (0, 101));
    assert_eq!(put(104, &[Word32(1), Word32(u32::MAX), Text(""), Text("a"), Word32(0)]), (2, 105));
    let up_and_down = [Word32(1), Word32(2), Word16(4), Text(".."), Text("a"), Text("b"), Text("file")];
    // The way down to `a` is known from the attachment.
    assert_eq!(put(110, &up_and_down), (3, 111));
    let half_way = [Word32(1), Word32(3), Word16(3), Text("b"), Text("none"), Text("file")];
    assert_eq!(put(110, &half_way), (1, 111));
    assert_eq!(put(12, &[Word32(2), Word32(READ_WRITE)]), (2, 13));
    assert_eq!(put(116, &[Word32(2), Word64(0), Word32(100)]), (1, 117));
    assert_eq!(put(118, &[Word32(2), Word64(8), Word32(1), Bytes(b"!")]), (1, 119));
    assert_eq!(put(72, &[Word32(1), Text("made"), Word32(0o755), Word32(0)]), (1, 73));
    assert_eq!(put(16, &[Word32(1), Text("link"), Text("made"), Word32(0)]), (1, 17));
    assert_eq!(put(20, &[Word32(2), Word32(1), Text("moved")]), (1, 21));
    assert_eq!(put(110, &[Word32(1), Word32(4), Word16(0)]), (0, 111));
    let create = [Word32(4), Text("moved"), Word32(READ_ONLY), Word32(0o644), Word32(0)];
    assert_eq!(put(14, &create), (3, 15), "it is there, is found, and is opened");
    assert_eq!(put(110, &[Word32(1), Word32(5), Word16(1), Text("moved")]), (0, 111));
    assert_eq!(put(32, &[Word32(5), Text("user.x"), Word64(1), Word32(0)]), (0, 33));
    assert_eq!(put(118, &[Word32(5), Word64(0), Word32(1), Bytes(b"!")]), (0, 119));
    assert_eq!(put(120, &[Word32(5)]), (1, 121), "the attribute is set at the end");
    assert_eq!(put(120, &[Word32(5)]), (0, 7));
    assert_eq!(put(30, &[Word32(2), Word32(6), Text("user.x")]), (1, 31));
    assert_eq!(put(122, &[Word32(2)]), (1, 123), "its entry is known; it is looked at and removed");
    assert_eq!(put(76, &[Word32(1), Text("made"), Word32(0x200)]), (1, 77));
    assert!(*holders.lock().unwrap() > 0);
    client.server.reset();
    assert_eq!(*holders.lock().unwrap(), 0);
}
