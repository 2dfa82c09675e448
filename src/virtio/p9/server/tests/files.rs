//! Opening, reading, writing, attributes.

use super::client::Field::{Text, Word32, Word64};
use super::client::*;
use crate::host::WallTime;
use crate::storage::tree::MemoryTree;

const TRUNCATE: u32 = 0o1000;
const DIRECTORY: u32 = 0o200_000;

#[test]
fn a_file_is_made_written_and_read() {
    let mut client = Client::new();
    client.attach(2, 1000);
    let create = [Word32(2), Text("file"), Word32(READ_WRITE), Word32(0o100_640), Word32(7)];
    let answer = client.call(14, &create).unwrap();
    assert_eq!(answer.len(), 13 + 4);
    assert_eq!(client.write(2, 0, b"hello"), Ok(5));
    assert_eq!(client.write(2, 10, b"world"), Ok(5));
    assert_eq!(client.read(2, 0, 100).unwrap(), b"hello\0\0\0\0\0world");
    assert_eq!(client.read(2, 11, 2).unwrap(), b"or");
    assert_eq!(client.read(2, 15, 9).unwrap(), b"");
    assert_eq!(client.read(2, u64::MAX, 9).unwrap(), b"");
    let stat = client.stat(2).unwrap();
    assert_eq!((stat.mode, stat.user, stat.group, stat.links, stat.size), (0o100_640, 1000, 7, 1, 15));
    assert_eq!(client.outcome(50, &[Word32(2), Word32(0)]), OK);
    assert_eq!(client.outcome(50, &[Word32(TOP), Word32(0)]), EBADF, "it is not open");
    client.find(3, &["file"]);
    assert_eq!(client.open(3, WRITE_ONLY | TRUNCATE), OK);
    assert_eq!(client.stat(2).unwrap().size, 0);
}

#[test]
fn creation_is_exclusive_on_request() {
    const EXCLUSIVE: u32 = 0o200;
    let mut client = Client::new();
    client.create(2, "file");
    assert_eq!(client.write(2, 0, b"kept"), Ok(4));
    client.find(3, &[]);
    let create = |flags| [Word32(3), Text("file"), Word32(flags), Word32(0o644), Word32(0)];
    assert_eq!(client.outcome(14, &create(EXCLUSIVE)), EEXIST);
    assert_eq!(client.outcome(14, &create(READ_ONLY)), OK);
    assert_eq!(client.read(3, 0, 10).unwrap(), b"kept");
    assert_eq!(client.outcome(14, &create(READ_ONLY)), EBADF, "the fid is open");
    // What is there already must be a file.
    assert_eq!(client.make_directory(TOP, "directory"), OK);
    assert_eq!(client.outcome(16, &[Word32(TOP), Text("link"), Text("file"), Word32(0)]), OK);
    client.find(4, &[]);
    for (name, error) in [("directory", EISDIR), ("link", ELOOP)] {
        let create = [Word32(4), Text(name), Word32(READ_WRITE), Word32(0o644), Word32(0)];
        assert_eq!(client.outcome(14, &create), error);
    }
    client.find(5, &["file"]);
    assert_eq!(client.outcome(14, &[Word32(5), Text("x"), Word32(0), Word32(0), Word32(0)]), ENOTDIR);
}

#[test]
fn a_fid_does_only_what_it_was_opened_for() {
    let mut client = Client::new();
    client.create(2, "file");
    client.find(3, &["file"]);
    assert_eq!(client.read(3, 0, 1), Err(EBADF));
    assert_eq!(client.write(3, 0, b"x"), Err(EBADF));
    assert_eq!(client.read_directory(3, 0, 100), Err(EBADF));
    assert_eq!(client.open(3, 3), EINVAL);
    assert_eq!(client.open(3, DIRECTORY), ENOTDIR);
    assert_eq!(client.open(3, READ_ONLY), OK);
    assert_eq!(client.open(3, READ_ONLY), EBADF);
    assert_eq!(client.write(3, 0, b"x"), Err(EBADF));
    assert_eq!(client.read_directory(3, 0, 100), Err(ENOTDIR));
    client.find(4, &["file"]);
    assert_eq!(client.open(4, WRITE_ONLY), OK);
    assert_eq!(client.read(4, 0, 1), Err(EBADF));
    client.find(5, &[]);
    assert_eq!(client.open(5, READ_WRITE), EISDIR);
    assert_eq!(client.open(5, DIRECTORY), OK);
    assert_eq!(client.read(5, 0, 1), Err(EISDIR));
    assert_eq!(client.write(5, 0, b"x"), Err(EBADF));
}

#[test]
fn a_read_fits_the_message_whatever_it_asks_for() {
    let mut client = Client::new();
    client.create(2, "file");
    for offset in [0, 8000, 16000] {
        assert_eq!(client.write(2, offset, &[5; 8000]), Ok(8000));
    }
    assert_eq!(client.read(2, 0, u32::MAX).unwrap().len(), 8192 - 11);
}

#[test]
fn attributes_are_set_one_by_one() {
    let mut client = Client::new();
    client.server.set_time(WallTime { unix_ns: 7_000_000_008 });
    client.create(2, "file");
    let before = client.stat(2).unwrap();
    assert_eq!(before.modified, (7, 8));
    let mut set = |valid, nanoseconds| {
        let times = [1, 2, 3, nanoseconds].map(Word64);
        let mut fields =
            vec![Word32(2), Word32(valid), Word32(0o170_7751), Word32(11), Word32(12), Word64(99)];
        fields.extend(times);
        (client.outcome(26, &fields), client.stat(2).unwrap())
    };
    assert_eq!(set(0, 4), (OK, Stat { ..before }));
    let (outcome, stat) = set(1, 4);
    assert_eq!((outcome, stat.mode, stat.user, stat.size), (OK, 0o100_751 | 0o7000, 0, 0));
    let (_, stat) = set(2 | 4 | 8, 4);
    assert_eq!((stat.user, stat.group, stat.size), (11, 12, 99));
    let (_, stat) = set(0x20 | 0x100, 4);
    assert_eq!(stat.modified, (3, 4));
    assert_eq!(set(0x20 | 0x100, 1_000_000_000).0, EINVAL);
    let (_, stat) = set(0x20, 4);
    assert_eq!(stat.modified, (7, 8));
    let directory = |valid| {
        let mut fields = vec![Word32(TOP), Word32(valid), Word32(0), Word32(0), Word32(0), Word64(0)];
        fields.extend([0; 4].map(Word64));
        fields
    };
    assert_eq!(client.outcome(26, &directory(8)), EISDIR);
}

#[test]
fn a_directory_is_read_in_pieces() {
    let mut client = Client::new();
    for number in 0..50 {
        client.create(10 + number, &format!("file{number:02}"));
    }
    client.find(2, &[]);
    assert_eq!(client.open(2, READ_ONLY), OK);
    let (mut names, mut offset) = (Vec::new(), 0);
    loop {
        let entries = client.read_directory(2, offset, 100).unwrap();
        assert!(entries.len() <= 3);
        let Some((.., last)) = entries.last() else { break };
        offset = *last;
        names.extend(entries.into_iter().map(|(name, kind, _)| (name, kind)));
    }
    assert_eq!(names.len(), 52);
    assert_eq!(names[0], (".".to_owned(), 4));
    assert_eq!(names[51], ("file49".to_owned(), 8));
    assert_eq!(client.read_directory(2, 0, 20), Err(EINVAL), "not even one fits");
    assert_eq!(client.read_directory(2, u64::MAX, 100).unwrap(), []);
}

#[test]
fn a_read_only_share_refuses_every_change() {
    let mut tree = MemoryTree::new(1 << 20);
    tree.write_file("folder/file", b"contents", 0o644).unwrap();
    let mut client = Client::with_tree(tree, true);
    client.find(2, &["folder", "file"]);
    client.find(3, &["folder"]);
    let times = [0; 4].map(Word64);
    let mut set = vec![Word32(2), Word32(1), Word32(0), Word32(0), Word32(0), Word64(0)];
    set.extend(times);
    let refused: [(u8, &[Field<'_>]); 12] = [
        (12, &[Word32(2), Word32(WRITE_ONLY)]),
        (12, &[Word32(2), Word32(TRUNCATE)]),
        (14, &[Word32(3), Text("x"), Word32(0), Word32(0), Word32(0)]),
        (16, &[Word32(3), Text("x"), Text("y"), Word32(0)]),
        (18, &[Word32(3), Text("x"), Word32(0o100_644), Word32(0), Word32(0), Word32(0)]),
        (20, &[Word32(2), Word32(3), Text("x")]),
        (26, &set),
        (32, &[Word32(2), Text("user.x"), Word64(1), Word32(0)]),
        (70, &[Word32(3), Word32(2), Text("x")]),
        (72, &[Word32(3), Text("x"), Word32(0), Word32(0)]),
        (74, &[Word32(3), Text("file"), Word32(3), Text("x")]),
        (76, &[Word32(3), Text("file"), Word32(0)]),
    ];
    for (kind, fields) in refused {
        assert_eq!(client.outcome(kind, fields), EROFS, "{kind}");
    }
    assert_eq!(client.open(2, READ_ONLY), OK);
    assert_eq!(client.read(2, 0, 100).unwrap(), b"contents");
    assert_eq!(client.outcome(122, &[Word32(2)]), EROFS);
    assert_eq!(client.clunk(2), EBADF, "a removal ends the fid in any case");
    assert_eq!(client.names(&["folder"]), [".", "..", "file"]);
}
