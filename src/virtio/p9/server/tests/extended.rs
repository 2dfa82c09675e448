//! Extended attributes: written to a fid, set when it ends.

use super::client::Field::{Text, Word32, Word64};
use super::client::*;

const REPLACE: u32 = 2;

/// Writes `value` in two pieces.
fn set(client: &mut Client, name: &str, value: &[u8], flags: u32) -> u16 {
    client.find(8, &["file"]);
    let size = value.len() as u64;
    let begun = client.outcome(32, &[Word32(8), Text(name), Word64(size), Word32(flags)]);
    let (first, second) = value.split_at(value.len() / 2);
    if begun == OK {
        assert_eq!(client.write(8, 0, first), Ok(first.len() as u32));
        assert_eq!(client.write(8, first.len() as u64, second), Ok(second.len() as u32));
    }
    let ended = client.clunk(8);
    if begun == OK { ended } else { begun }
}

fn get(client: &mut Client, name: &str) -> Result<Vec<u8>, u16> {
    client.find(8, &["file"]);
    let size = client.call(30, &[Word32(8), Word32(9), Text(name)]);
    assert_eq!(client.clunk(8), OK);
    let size = u64::from_le_bytes(size?.try_into().unwrap());
    let value = client.read(9, 0, 8000).unwrap();
    assert_eq!(value.len() as u64, size);
    assert_eq!(client.read(9, size + 1, 10).unwrap(), b"");
    assert_eq!(client.clunk(9), OK);
    Ok(value)
}

#[test]
fn attributes_come_and_go() {
    let mut client = Client::new();
    client.create(2, "file");
    assert_eq!(get(&mut client, "user.a"), Err(ENODATA));
    assert_eq!(set(&mut client, "user.a", b"value", REPLACE), ENODATA);
    assert_eq!(set(&mut client, "user.a", b"value", 1), OK);
    assert_eq!(set(&mut client, "user.a", b"value", 1), EEXIST);
    assert_eq!(set(&mut client, "user.b", b"", 0), OK);
    assert_eq!(get(&mut client, "user.a").unwrap(), b"value");
    assert_eq!(get(&mut client, "user.b").unwrap(), b"");
    assert_eq!(get(&mut client, "").unwrap(), b"user.a\0user.b\0");
    // Linux's removal.
    assert_eq!(set(&mut client, "user.a", b"", REPLACE), OK);
    assert_eq!(get(&mut client, "").unwrap(), b"user.b\0");
    assert_eq!(set(&mut client, "", b"x", 0), 34);
    assert_eq!(set(&mut client, "user.c", &[1; 70_000], 0), ENOSPC);
    assert_eq!(set(&mut client, "user.c", b"x", 3), EINVAL);
}

#[test]
fn an_unfinished_value_is_not_set() {
    let mut client = Client::new();
    client.create(2, "file");
    client.find(8, &["file"]);
    assert_eq!(client.outcome(32, &[Word32(8), Text("user.a"), Word64(4), Word32(0)]), OK);
    assert_eq!(client.write(8, 1, b"x"), Err(EINVAL));
    assert_eq!(client.write(8, 0, b"12345"), Err(ENOSPC));
    assert_eq!(client.write(8, 0, b"12"), Ok(2));
    // Meanwhile the fid is nothing else.
    assert_eq!(client.read(8, 0, 1), Err(EBADF));
    assert_eq!(client.stat(8), Err(EBADF));
    assert_eq!(client.walk(8, 9, &[]), Err(EBADF));
    assert_eq!(client.clunk(8), EINVAL);
    assert_eq!(client.clunk(8), EBADF);
    assert_eq!(get(&mut client, ""), Ok(Vec::new()));
}

#[test]
fn fids_hold_only_so_much() {
    const ENOMEM: u16 = 12;
    let mut client = Client::new();
    client.create(2, "file");
    let begin = |client: &mut Client, fid| {
        client.find(fid, &["file"]);
        client.outcome(32, &[Word32(fid), Text("user.a"), Word64(64 << 10), Word32(0)])
    };
    for fid in 1000..1256 {
        assert_eq!(begin(&mut client, fid), OK);
    }
    assert_eq!(begin(&mut client, 2000), ENOMEM);
    assert_eq!(client.clunk(1000), EINVAL, "the value is not complete");
    assert_eq!(begin(&mut client, 2001), OK);
}

#[test]
fn the_fid_of_a_value_must_be_free() {
    let mut client = Client::new();
    client.create(2, "file");
    assert_eq!(client.outcome(30, &[Word32(2), Word32(TOP), Text("")]), EBADF);
    assert_eq!(client.outcome(30, &[Word32(2), Word32(2), Text("")]), EBADF);
    assert_eq!(client.outcome(32, &[Word32(2), Text("user.a"), Word64(4), Word32(0)]), EBADF, "it is open");
}
