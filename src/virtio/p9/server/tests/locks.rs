//! Advisory locks between clients.

use super::client::Field::{Byte, Text, Word32, Word64};
use super::client::*;
use crate::virtio::p9::server::Outcome;

const SHARED: u8 = 0;
const EXCLUSIVE: u8 = 1;
const UNLOCK: u8 = 2;
const WAITS: u32 = 1;

fn lock_fields(fid: u32, kind: u8, flags: u32, range: (u64, u64), process: u32) -> [Field<'static>; 7] {
    [Word32(fid), Byte(kind), Word32(flags), Word64(range.0), Word64(range.1), Word32(process), Text("guest")]
}

fn lock(client: &mut Client, fid: u32, kind: u8, range: (u64, u64), process: u32) -> u8 {
    client.call(52, &lock_fields(fid, kind, 0, range, process)).unwrap()[0]
}

#[test]
fn a_lock_stands_until_it_is_freed_or_its_fid_goes() {
    let mut client = Client::new();
    client.create(2, "file");
    client.find(3, &["file"]);
    assert_eq!(client.outcome(52, &lock_fields(3, SHARED, 0, (0, 1), 5)), EBADF, "it is not open");
    assert_eq!(client.open(3, READ_WRITE), OK);
    assert_eq!(lock(&mut client, 2, EXCLUSIVE, (0, 10), 4), 0);
    assert_eq!(lock(&mut client, 3, SHARED, (9, 0), 5), 1);
    assert_eq!(lock(&mut client, 3, SHARED, (10, 0), 5), 0);
    let test = |fid, kind, range: (u64, u64), process| {
        [Word32(fid), Byte(kind), Word64(range.0), Word64(range.1), Word32(process), Text("guest")]
    };
    let answer = client.call(54, &test(3, SHARED, (0, 0), 5)).unwrap();
    assert_eq!(answer, b"\x01\0\0\0\0\0\0\0\0\x0a\0\0\0\0\0\0\0\x04\0\0\0\x05\0guest");
    let answer = client.call(54, &test(3, SHARED, (20, 5), 5)).unwrap();
    assert_eq!(answer, b"\x02\x14\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x05\0\0\0\x05\0guest");
    assert_eq!(client.outcome(54, &test(3, 2, (0, 0), 5)), EINVAL);
    assert_eq!(client.outcome(52, &lock_fields(3, 3, 0, (0, 0), 5)), EINVAL);
    assert_eq!(lock(&mut client, 2, UNLOCK, (0, 5), 4), 0);
    assert_eq!(lock(&mut client, 3, EXCLUSIVE, (0, 5), 5), 0);
    assert_eq!(lock(&mut client, 3, EXCLUSIVE, (5, 5), 5), 1);
    assert_eq!(client.clunk(2), OK);
    assert_eq!(lock(&mut client, 3, EXCLUSIVE, (5, 5), 5), 0);
}

#[test]
fn who_wants_to_wait_waits_if_there_is_room() {
    let mut client = Client::new();
    client.create(2, "file");
    client.find(3, &["file"]);
    assert_eq!(client.open(3, READ_WRITE), OK);
    assert_eq!(lock(&mut client, 2, EXCLUSIVE, (0, 0), 4), 0);
    client.server.take_freed_locks();
    let waiting = message(52, 9, &lock_fields(3, EXCLUSIVE, WAITS, (0, 0), 5));
    assert_eq!(client.raw(&waiting, true).0, Outcome::Waiting);
    assert!(!client.server.take_freed_locks());
    assert_eq!(client.raw(&waiting, false).1, b"\x08\0\0\0\x35\x09\0\x01");
    assert_eq!(lock(&mut client, 2, UNLOCK, (0, 0), 4), 0);
    assert!(client.server.take_freed_locks());
    assert_eq!(client.raw(&waiting, true).1, b"\x08\0\0\0\x35\x09\0\0");
}
