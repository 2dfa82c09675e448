//! Making, moving and removing entries.

use super::client::Field::{Text, Word32};
use super::client::*;

#[test]
fn directories_are_made_and_removed() {
    let mut client = Client::new();
    assert_eq!(client.make_directory(TOP, "a"), OK);
    assert_eq!(client.make_directory(TOP, "a"), EEXIST);
    client.find(2, &["a"]);
    assert_eq!(client.make_directory(2, "b"), OK);
    let stat = client.stat(2).unwrap();
    assert_eq!((stat.mode, stat.links), (0o40_755, 3));
    client.create(3, "file");
    assert_eq!(client.make_directory(3, "x"), ENOTDIR);
    for name in ["", ".", "..", "x/y"] {
        assert_eq!(client.make_directory(TOP, name), EINVAL, "{name:?}");
    }
    let mut unlink = |fid, name, flags| client.outcome(76, &[Word32(fid), Text(name), Word32(flags)]);
    assert_eq!(unlink(TOP, "a", 0), EISDIR);
    assert_eq!(unlink(TOP, "a", 0x200), ENOTEMPTY);
    assert_eq!(unlink(TOP, "file", 0x200), ENOTDIR);
    assert_eq!(unlink(TOP, "file", 1), EINVAL);
    assert_eq!(unlink(TOP, "none", 0), ENOENT);
    assert_eq!(unlink(TOP, "..", 0x200), EINVAL);
    assert_eq!(unlink(2, "b", 0x200), OK);
    assert_eq!(unlink(TOP, "a", 0x200), OK);
    assert_eq!(unlink(TOP, "file", 0), OK);
    assert_eq!(client.names(&[]), [".", ".."]);
    assert_eq!(client.stat(3).unwrap().links, 0, "the open file is still there");
}

#[test]
fn links_lead_and_count() {
    let mut client = Client::new();
    client.create(2, "file");
    assert_eq!(client.outcome(16, &[Word32(TOP), Text("link"), Text("../etc/passwd"), Word32(3)]), OK);
    client.find(3, &["link"]);
    assert_eq!(client.call(22, &[Word32(3)]).unwrap(), b"\x0d\0../etc/passwd");
    assert_eq!(client.stat(3).unwrap().mode, 0o120_777);
    assert_eq!(client.outcome(22, &[Word32(2)]), EINVAL);
    assert_eq!(client.open(3, READ_ONLY), ELOOP);
    assert_eq!(client.outcome(70, &[Word32(TOP), Word32(2), Text("second")]), OK);
    assert_eq!(client.outcome(70, &[Word32(TOP), Word32(2), Text("second")]), EEXIST);
    assert_eq!(client.outcome(70, &[Word32(TOP), Word32(TOP), Text("top")]), EPERM);
    assert_eq!(client.outcome(70, &[Word32(2), Word32(2), Text("x")]), ENOTDIR);
    client.find(4, &["second"]);
    let (first, second) = (client.stat(2).unwrap(), client.stat(4).unwrap());
    assert_eq!((first.inode, first.links), (second.inode, 2));
}

#[test]
fn nodes_are_made_of_every_kind() {
    let mut client = Client::new();
    let mut make = |name, mode| {
        client.outcome(18, &[Word32(TOP), Text(name), Word32(mode), Word32(8), Word32(1), Word32(0)])
    };
    assert_eq!(make("regular", 0o644), OK);
    assert_eq!(make("pipe", 0o10_644), OK);
    assert_eq!(make("characters", 0o20_644), OK);
    assert_eq!(make("blocks", 0o60_644), OK);
    assert_eq!(make("socket", 0o140_644), OK);
    assert_eq!(make("directory", 0o40_644), EINVAL);
    assert_eq!(make("link", 0o120_644), EINVAL);
    assert_eq!(make("strange", 0o150_644), EINVAL);
    client.find(2, &["blocks"]);
    let stat = client.stat(2).unwrap();
    assert_eq!((stat.mode, stat.device), (0o60_644, 0x801));
    assert_eq!(client.open(2, READ_ONLY), EOPNOTSUPP, "it is the guest's kernel that opens devices");
    client.find(3, &["regular"]);
    assert_eq!(client.stat(3).unwrap().mode, 0o100_644);
}

#[test]
fn renames_move_and_replace() {
    let mut client = Client::new();
    assert_eq!(client.make_directory(TOP, "a"), OK);
    client.find(2, &["a"]);
    client.create(3, "file");
    client.create(4, "other");
    assert_eq!(client.write(4, 0, b"other"), Ok(5));
    let mut rename =
        |from, old, to, new| client.outcome(74, &[Word32(from), Text(old), Word32(to), Text(new)]);
    assert_eq!(rename(TOP, "file", 2, "moved"), OK);
    assert_eq!(rename(TOP, "file", 2, "moved"), ENOENT);
    assert_eq!(rename(TOP, "other", 2, "moved"), OK);
    assert_eq!(rename(TOP, "a", 2, "inside"), EINVAL);
    assert_eq!(rename(TOP, "a", TOP, ".."), EINVAL);
    assert_eq!(rename(2, "moved", TOP, "x/y"), EINVAL);
    assert_eq!(rename(3, "x", TOP, "y"), ENOTDIR);
    assert_eq!(client.stat(3).unwrap().links, 0);
    client.find(5, &["a", "moved"]);
    assert_eq!(client.stat(5).unwrap().inode, client.stat(4).unwrap().inode);
}

#[test]
fn a_fid_follows_its_file_through_renames() {
    let mut client = Client::new();
    assert_eq!(client.make_directory(TOP, "a"), OK);
    client.find(2, &["a"]);
    client.create(3, "file");
    // By the directory first, then by the file's own fid, then it is removed by that.
    assert_eq!(client.outcome(74, &[Word32(TOP), Text("file"), Word32(2), Text("one")]), OK);
    assert_eq!(client.outcome(20, &[Word32(3), Word32(TOP), Text("two")]), OK);
    assert_eq!(client.names(&[]), [".", "..", "a", "two"]);
    assert_eq!(client.names(&["a"]), [".", ".."]);
    assert_eq!(client.outcome(20, &[Word32(TOP), Word32(2), Text("x")]), EBUSY);
    assert_eq!(client.outcome(122, &[Word32(3)]), OK);
    assert_eq!(client.names(&[]), [".", "..", "a"]);
    assert_eq!(client.outcome(122, &[Word32(2)]), OK);
    assert_eq!(client.names(&[]), [".", ".."]);
}

#[test]
fn a_removal_never_hits_another_file_of_the_same_name() {
    let mut client = Client::new();
    client.create(2, "file");
    assert_eq!(client.outcome(76, &[Word32(TOP), Text("file"), Word32(0)]), OK);
    client.create(3, "file");
    assert_eq!(client.outcome(122, &[Word32(2)]), ENOENT);
    assert_eq!(client.names(&[]), [".", "..", "file"]);
    assert_eq!(client.outcome(122, &[Word32(TOP)]), EBUSY);
}
