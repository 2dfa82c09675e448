//! Versions, attaching, walking, clunking.

use super::client::Field::{Text, Word16, Word32};
use super::client::*;
use crate::storage::tree::MemoryTree;
use crate::virtio::p9::server::{Cancelled, Server};

#[test]
fn other_versions_are_unknown_and_begin_no_session() {
    let mut client = Client { server: Server::new(Box::new(MemoryTree::new(1 << 20)), false) };
    assert_eq!(client.outcome(24, &[Word32(1), Field::Word64(0)]), EPROTO);
    let answer = client.call(100, &[Word32(1 << 30), Text("9P2000.u")]).unwrap();
    assert_eq!(answer, b"\0\0\x08\0\x07\0unknown");
    let attach = [Word32(1), Word32(u32::MAX), Text(""), Text(""), Word32(0)];
    assert_eq!(client.outcome(104, &attach), EPROTO);
    assert_eq!(client.outcome(100, &[Word32(100), Text("9P2000.L")]), EMSGSIZE);
    let answer = client.call(100, &[Word32(1 << 30), Text("9P2000.L")]).unwrap();
    assert_eq!(answer, b"\0\0\x08\0\x08\09P2000.L");
    assert_eq!(client.outcome(104, &attach), OK);
}

#[test]
fn a_new_version_ends_the_session() {
    let mut client = Client::new();
    client.create(2, "file");
    let version = message(100, u16::MAX, &[Word32(8192), Text("9P2000.L")]);
    assert_eq!(client.cancelled(&version), Cancelled::All);
    assert_eq!(client.stat(TOP), Err(EBADF));
    assert_eq!(client.read(2, 0, 1), Err(EBADF));
    client.attach(TOP, 0);
    assert_eq!(client.names(&[]), [".", "..", "file"]);
}

#[test]
fn attaching_needs_a_free_fid_and_no_authentication() {
    let mut client = Client::new();
    let attach =
        |fid, authentication, tree| [Word32(fid), Word32(authentication), Text("u"), Text(tree), Word32(9)];
    assert_eq!(client.outcome(102, &[Word32(3), Text("u"), Text(""), Word32(9)]), EOPNOTSUPP);
    assert_eq!(client.outcome(104, &attach(3, 4, "")), EOPNOTSUPP);
    assert_eq!(client.outcome(104, &attach(TOP, u32::MAX, "")), EBADF);
    assert_eq!(client.outcome(104, &attach(u32::MAX, u32::MAX, "")), EBADF);
    assert_eq!(client.make_directory(TOP, "a"), OK);
    client.create(2, "file");
    assert_eq!(client.outcome(104, &attach(3, u32::MAX, "/a/")), OK);
    assert_eq!(client.make_directory(3, "b"), OK);
    client.find(4, &["a", "b"]);
    assert_eq!(client.stat(4).unwrap().user, 9);
    assert_eq!(client.outcome(104, &attach(5, u32::MAX, "../..")), EINVAL);
    assert_eq!(client.outcome(104, &attach(5, u32::MAX, "none")), ENOENT);
    assert_eq!(client.outcome(104, &attach(5, u32::MAX, "file")), ENOTDIR);
}

#[test]
fn a_walk_goes_as_far_as_it_can() {
    let mut client = Client::new();
    assert_eq!(client.make_directory(TOP, "a"), OK);
    client.find(2, &["a"]);
    assert_eq!(client.make_directory(2, "b"), OK);
    assert_eq!(client.walk(TOP, 3, &["none"]), Err(ENOENT));
    assert_eq!(client.walk(TOP, 3, &["a", "none", "b"]), Ok(1));
    assert_eq!(client.stat(3), Err(EBADF), "a walk that stops gives no fid");
    assert_eq!(client.walk(TOP, 3, &["a", "b"]), Ok(2));
    assert_eq!(client.walk(TOP, 3, &[]), Err(EBADF), "the fid is in use");
    assert_eq!(client.walk(99, 4, &[]), Err(EBADF));
    let (top, bottom) = (client.stat(TOP).unwrap().inode, client.stat(3).unwrap().inode);
    assert_ne!(top, bottom);
    // In place, and back up.
    assert_eq!(client.walk(3, 3, &["..", ".."]), Ok(2));
    assert_eq!(client.stat(3).unwrap().inode, top);
    assert_eq!(client.clunk(3), OK);
    assert_eq!(client.clunk(3), EBADF);
}

#[test]
fn no_walk_leaves_the_tree() {
    let mut client = Client::new();
    let top = client.stat(TOP).unwrap().inode;
    assert_eq!(client.walk(TOP, 2, &["..", "..", ".."]), Ok(3));
    assert_eq!(client.stat(2).unwrap().inode, top);
    for name in ["", ".", "/", "/etc", "a/b", "../x", "a\0"] {
        assert_eq!(client.walk(TOP, 3, &[name]), Err(EINVAL), "{name:?}");
    }
    assert_eq!(client.walk(TOP, 3, &["x".repeat(256).as_str()]), Err(ENAMETOOLONG));
    // A link leads nowhere on the server; the client follows it in its own tree.
    assert_eq!(client.outcome(16, &[Word32(TOP), Text("link"), Text("/"), Word32(0)]), OK);
    assert_eq!(client.walk(TOP, 4, &["link", "etc"]), Ok(1));
    client.create(5, "file");
    assert_eq!(client.walk(TOP, 6, &["file", ".."]), Ok(1));
    assert_eq!(client.walk(5, 6, &[".."]), Err(ENOTDIR));
}

#[test]
fn a_walk_has_sixteen_names_at_most() {
    let mut client = Client::new();
    assert_eq!(client.walk(TOP, 2, &[".."; 16]), Ok(16));
    assert_eq!(client.walk(TOP, 3, &[".."; 17]), Err(EPROTO));
}

#[test]
fn an_open_fid_cannot_walk_in_place() {
    let mut client = Client::new();
    assert_eq!(client.make_directory(TOP, "a"), OK);
    client.find(2, &[]);
    assert_eq!(client.open(2, READ_ONLY), OK);
    assert_eq!(client.walk(2, 2, &["a"]), Err(EBADF));
    assert_eq!(client.walk(2, 3, &["a"]), Ok(1));
}

#[test]
fn a_flush_names_the_request_to_give_back() {
    let mut client = Client::new();
    assert_eq!(client.cancelled(&message(108, 3, &[Word16(2)])), Cancelled::One(2));
}

#[test]
fn the_file_system_tells_its_state() {
    let mut client = Client::new();
    let answer = client.call(8, &[Word32(TOP)]).unwrap();
    assert_eq!(answer.len(), 4 + 4 + 6 * 8 + 4);
    assert_eq!(answer[..8], [0x97, 0x19, 0x02, 0x01, 0, 0x10, 0, 0]);
    assert_eq!(answer[8..16], 4096_u64.to_le_bytes());
    assert_eq!(answer[56..], 255_u32.to_le_bytes());
    assert_eq!(client.outcome(8, &[Word32(9)]), EBADF);
}
