//! Sessions that are saved and go on elsewhere.

use super::client::Field::{Byte, Text, Word32, Word64};
use super::client::*;
use crate::storage::tree::{FileTree, MemoryTree};
use crate::virtio::p9::server::Server;

fn tree() -> MemoryTree {
    let mut tree = MemoryTree::new(1 << 20);
    tree.write_file("a/b/file", b"contents", 0o644).unwrap();
    tree.write_file("a/other", b"", 0o644).unwrap();
    tree
}

/// A client of another machine's server, which goes on with the session of `client`.
fn go_on(client: &mut Client, tree: impl FileTree + 'static, is_read_only: bool) -> Client {
    let state = client.server.state().unwrap();
    let mut server = Server::new(Box::new(tree), is_read_only);
    server.restore(&state).unwrap();
    if !is_read_only {
        assert_eq!(server.state().map(|again| again.message_bytes), Ok(state.message_bytes));
    }
    Client { server }
}

#[test]
fn a_session_goes_on_in_another_machine() {
    let mut client = Client::with_tree(tree(), false);
    client.find(2, &["a", "b", "file"]);
    assert_eq!(client.open(2, READ_WRITE | 0o1000), OK);
    assert_eq!(client.walk(2, 3, &[]), Ok(0));
    client.find(4, &["a", "b", ".."]);
    client.find(5, &["a", "other"]);
    assert_eq!(client.outcome(32, &[Word32(5), Text("user.x"), Word64(4), Word32(0)]), OK);
    assert_eq!(client.write(5, 0, b"12"), Ok(2));
    assert_eq!(client.outcome(30, &[Word32(3), Word32(6), Text("")]), OK);
    let lock =
        |process| [Word32(2), Byte(1), Word32(0), Word64(3), Word64(4), Word32(process), Text("guest")];
    assert_eq!(client.call(52, &lock(7)).unwrap(), [0]);

    let mut client = go_on(&mut client, tree(), false);
    assert_eq!(client.read(2, 0, 100).unwrap(), b"contents", "opening again cuts nothing off");
    assert_eq!(client.write(2, 0, b"C"), Ok(1));
    assert_eq!(client.call(52, &lock(8)).unwrap(), [1]);
    assert_eq!(client.call(52, &lock(7)).unwrap(), [0]);
    assert_eq!(client.open(3, READ_ONLY), OK);
    assert_eq!(client.read(3, 0, 1).unwrap(), b"C");
    assert_eq!(client.outcome(72, &[Word32(4), Text("made"), Word32(0o755), Word32(0)]), OK);
    assert_eq!(client.names(&["a"]), [".", "..", "b", "other", "made"]);
    assert_eq!(client.write(5, 2, b"34"), Ok(2));
    assert_eq!(client.clunk(5), OK);
    assert_eq!(client.read(6, 0, 10).unwrap(), b"");
    // A removal by fid knows its entry again.
    assert_eq!(client.outcome(122, &[Word32(3)]), OK);
    assert_eq!(client.names(&["a", "b"]), [".", ".."]);
}

#[test]
fn files_that_are_gone_are_lost_alone() {
    let mut client = Client::with_tree(tree(), false);
    client.find(2, &["a", "b", "file"]);
    client.find(3, &["a", "other"]);
    assert_eq!(client.open(3, READ_WRITE), OK);
    client.find(4, &["a", "b"]);
    // Removed before it is saved, and not there after the restore.
    assert_eq!(client.outcome(76, &[Word32(4), Text("file"), Word32(0)]), OK);
    let mut other = MemoryTree::new(1 << 20);
    other.write_file("a/b/file", b"", 0o644).unwrap();
    let mut client = go_on(&mut client, other, false);
    assert_eq!(client.stat(2), Err(EBADF));
    assert_eq!(client.stat(3), Err(EBADF));
    assert!(client.stat(4).is_ok() && client.stat(TOP).is_ok());
}

#[test]
fn a_share_that_has_become_read_only_stays_so() {
    let mut client = Client::with_tree(tree(), false);
    client.find(2, &["a", "other"]);
    assert_eq!(client.open(2, READ_WRITE), OK);
    client.find(3, &["a", "other"]);
    assert_eq!(client.open(3, READ_ONLY), OK);
    let mut client = go_on(&mut client, tree(), true);
    assert_eq!(client.write(2, 0, b"x"), Err(EBADF));
    assert_eq!(client.read(3, 0, 1).unwrap(), b"");
}
