//! Shared directories over the transport.

use crate::guest::{Buffer, Platform, RawDriver};
use dinghy::host::InstructionClock;
use dinghy::mem::GuestPhysAddr;
use dinghy::native::DirectoryTree;
use dinghy::storage::tree::{FileTree, MemoryTree};
use dinghy::virtio::VirtioPci;
use dinghy::virtio::p9::{P9Device, Share, ShareTag};
use std::sync::{Arc, Mutex};
use virtio_drivers::transport::{DeviceType, Transport};

const NO_FID: u32 = u32::MAX;

fn device(platform: &Platform, tree: impl FileTree + 'static) -> Arc<Mutex<VirtioPci<P9Device>>> {
    let tag = ShareTag::new("work").unwrap();
    let share = Share { tag, tree: Box::new(tree), is_read_only: false };
    let device = P9Device::new(share, Arc::new(InstructionClock::default()));
    Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), device)))
}

fn memory_tree() -> MemoryTree {
    let mut tree = MemoryTree::new(8 << 20);
    tree.write_file("etc/motd", b"ahoy", 0o644).unwrap();
    tree
}

fn message(kind: u8, tag: u16, fields: &[&[u8]]) -> Vec<u8> {
    let size = 7 + fields.iter().map(|field| field.len()).sum::<usize>();
    let mut bytes = (size as u32).to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(tag.to_le_bytes());
    bytes.extend(fields.concat());
    bytes
}

fn number(value: u32) -> [u8; 4] {
    value.to_le_bytes()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_le_bytes(), text.as_bytes()].concat()
}

/// A client in a guest.
struct Client {
    driver: RawDriver,
    answered: u16,
}

impl Client {
    /// A client whose fid 1 is the top of `tree`.
    fn new(platform: &Platform, tree: impl FileTree + 'static) -> Self {
        let driver = platform.attach_raw(device(platform, tree), 1);
        let mut client = Self { driver, answered: 0 };
        client.begin();
        client
    }

    fn begin(&mut self) {
        let version = self.call(&message(100, u16::MAX, &[&number(512 << 10), &string("9P2000.L")]));
        assert_eq!(version, message(101, u16::MAX, &[&number(512 << 10), &string("9P2000.L")]));
        let names = [string(""), string("")].concat();
        let attached = self.call(&message(104, 1, &[&number(1), &number(NO_FID), &names, &number(0)]));
        assert_eq!((attached.len(), attached[4]), (20, 105));
    }

    /// Offers a message at descriptor `head`, in two parts, with room for the answer in two parts.
    fn submit(&mut self, head: u16, bytes: &[u8]) -> GuestPhysAddr {
        let request = self.driver.place(bytes, bytes.len() as u32);
        let answer = self.driver.place(&[], 1 << 20);
        let split = bytes.len() as u32 / 2;
        let buffers = [
            Buffer::Readable(request, split),
            Buffer::Readable(GuestPhysAddr(request.0 + u64::from(split)), bytes.len() as u32 - split),
            Buffer::Writable(answer, 11),
            Buffer::Writable(GuestPhysAddr(answer.0 + 11), (1 << 20) - 11),
        ];
        self.driver.submit(0, head, &buffers);
        answer
    }

    /// The next request that was given back: its head, and what was written to `answer`.
    fn next_used(&mut self, answer: GuestPhysAddr) -> (u32, Vec<u8>) {
        assert!(self.driver.used_index(0) > self.answered, "there is an answer");
        let (head, written) = self.driver.used(0, self.answered);
        self.answered += 1;
        (head, self.driver.bytes(answer, written as usize))
    }

    fn call(&mut self, bytes: &[u8]) -> Vec<u8> {
        let answer = self.submit(0, bytes);
        self.next_used(answer).1
    }

    fn walk(&mut self, fid: u32, names: &[&str]) -> u8 {
        let count = (names.len() as u16).to_le_bytes();
        let names: Vec<u8> = names.iter().flat_map(|name| string(name)).collect();
        self.call(&message(110, 2, &[&number(1), &number(fid), &count, &names]))[4]
    }

    fn open(&mut self, fid: u32, flags: u32) {
        assert_eq!(self.call(&message(12, 3, &[&number(fid), &number(flags)]))[4], 13);
    }
}

#[test]
fn the_guest_sees_the_tag() {
    let platform = Platform::new();
    let mut transport = platform.attach(device(&platform, memory_tree()));
    assert_eq!(transport.device_type(), DeviceType::_9P);
    assert_eq!(transport.max_queue_size(0), 128);
    assert_eq!(transport.read_device_features() & 1, 1, "MOUNT_TAG");
    let tag: [u8; 8] = transport.read_config_space(0).unwrap();
    assert_eq!(&tag, b"\x04\0work\0\0");
}

#[test]
fn a_file_is_read_through_the_queue() {
    let platform = Platform::new();
    let mut client = Client::new(&platform, memory_tree());
    assert_eq!(client.walk(2, &["etc", "motd"]), 111);
    client.open(2, 0);
    let read = message(116, 9, &[&number(2), &[0; 8], &number(100)]);
    assert_eq!(client.call(&read), message(117, 9, &[&number(4), b"ahoy"]));
}

#[test]
fn large_messages_go_both_ways() {
    let platform = Platform::new();
    let mut client = Client::new(&platform, MemoryTree::new(8 << 20));
    let create = message(14, 1, &[&number(1), &string("big"), &number(2), &number(0o644), &number(0)]);
    assert_eq!(client.call(&create)[4], 15);
    let data: Vec<u8> = (0..500_000_u32).map(|index| (index % 251) as u8).collect();
    let write = message(118, 1, &[&number(1), &[0; 8], &number(500_000), &data]);
    assert_eq!(client.call(&write), message(119, 1, &[&number(500_000)]));
    let read = message(116, 1, &[&number(1), &[0; 8], &number(u32::MAX)]);
    assert_eq!(client.call(&read), message(117, 1, &[&number(500_000), &data]));
    let too_long = message(118, 1, &[&number(1), &[0; 8], &number(600_000), &vec![0; 600_000]]);
    assert_eq!(client.call(&too_long), message(7, 1, &[&number(90)]));
}

#[test]
fn a_directory_of_the_host_is_shared() {
    let path = std::env::temp_dir().join(format!("dinghy-device-{}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("from the host"), "hello").unwrap();
    let platform = Platform::new();
    let mut client = Client::new(&platform, DirectoryTree::open(&path).unwrap());
    assert_eq!(client.walk(2, &["from the host"]), 111);
    client.open(2, 0);
    let read = message(116, 9, &[&number(2), &[0; 8], &number(100)]);
    assert_eq!(client.call(&read), message(117, 9, &[&number(5), b"hello"]));
    assert_eq!(client.walk(3, &["..", "..", "etc"]), 111, "the walk stops at what is not there");
    assert_eq!(client.call(&message(120, 1, &[&number(3)]))[4], 7);
    let create =
        message(14, 1, &[&number(1), &string("from the guest"), &number(2), &number(0o640), &number(0)]);
    assert_eq!(client.call(&create)[4], 15);
    let write = message(118, 1, &[&number(1), &[0; 8], &number(5), b"world"]);
    assert_eq!(client.call(&write)[4], 119);
    assert_eq!(std::fs::read(path.join("from the guest")).unwrap(), b"world");
    std::fs::remove_dir_all(&path).unwrap();
}

/// A `Tlock` of the whole file by `process`, which wants to wait.
fn lock(tag: u16, fid: u32, kind: u8, process: u32) -> Vec<u8> {
    let owner = [number(process).as_slice(), &string("guest")].concat();
    message(52, tag, &[&number(fid), &[kind], &number(1), &[0; 16], &owner])
}

/// A client with the file that fids 2 and 3 have open, locked by fid 2, for which fid 3 waits with tag 20.
fn client_that_waits(platform: &Platform) -> (Client, GuestPhysAddr) {
    let mut client = Client::new(platform, memory_tree());
    for fid in [2, 3] {
        assert_eq!(client.walk(fid, &["etc", "motd"]), 111);
        client.open(fid, 2);
    }
    assert_eq!(client.call(&lock(10, 2, 1, 100)), message(53, 10, &[&[0]]));
    let answer = client.submit(4, &lock(20, 3, 1, 200));
    assert_eq!(client.driver.used_index(0), client.answered, "it waits");
    (client, answer)
}

#[test]
fn a_request_waits_for_a_lock_and_others_overtake_it() {
    let platform = Platform::new();
    let (mut client, answer) = client_that_waits(&platform);
    assert_eq!(client.call(&message(24, 5, &[&number(1), &[0; 8]]))[4], 25);
    let unlocked = client.submit(0, &lock(11, 2, 2, 100));
    assert_eq!(client.next_used(unlocked), (0, message(53, 11, &[&[0]])));
    assert_eq!(client.next_used(answer), (4, message(53, 20, &[&[0]])));
}

#[test]
fn the_end_of_a_fid_frees_its_locks() {
    let platform = Platform::new();
    let (mut client, answer) = client_that_waits(&platform);
    assert_eq!(client.call(&message(120, 5, &[&number(2)]))[4], 121);
    assert_eq!(client.next_used(answer), (4, message(53, 20, &[&[0]])));
}

#[test]
fn a_flushed_request_comes_back_before_the_answer_to_the_flush() {
    let platform = Platform::new();
    let (mut client, answer) = client_that_waits(&platform);
    let flushed = client.submit(0, &message(108, 6, &[&99_u16.to_le_bytes()]));
    assert_eq!(client.next_used(flushed), (0, message(109, 6, &[])), "there is no such request");
    let flushed = client.submit(0, &message(108, 6, &[&20_u16.to_le_bytes()]));
    assert_eq!(client.next_used(answer), (4, message(7, 20, &[&number(4)])));
    assert_eq!(client.next_used(flushed), (0, message(109, 6, &[])));
    // The lock was not taken.
    assert_eq!(client.call(&lock(11, 2, 2, 100))[4], 53);
    assert_eq!(client.driver.used_index(0), client.answered);
}

#[test]
fn a_new_session_gives_waiting_requests_back() {
    let platform = Platform::new();
    let (mut client, answer) = client_that_waits(&platform);
    let version = client.submit(0, &message(100, u16::MAX, &[&number(8192), &string("9P2000.L")]));
    assert_eq!(client.next_used(answer), (4, message(7, 20, &[&number(4)])));
    assert_eq!(client.next_used(version).1[4], 101);
}

#[test]
fn a_reset_forgets_the_session() {
    let platform = Platform::new();
    let (client, _) = client_that_waits(&platform);
    let driver = RawDriver::start(client.driver.transport, client.driver.memory, 1);
    let mut client = Client { driver, answered: 0 };
    assert_eq!(client.call(&message(24, 5, &[&number(1), &[0; 8]])), message(7, 5, &[&number(71)]));
    client.begin();
    assert_eq!(client.walk(2, &["etc", "motd"]), 111);
    client.open(2, 2);
    assert_eq!(client.call(&lock(10, 2, 1, 300)), message(53, 10, &[&[0]]));
}

#[test]
fn what_is_no_message_is_answered_with_an_error() {
    let platform = Platform::new();
    let mut client = Client::new(&platform, memory_tree());
    assert_eq!(client.call(b"\x07\0\0\0"), message(7, u16::MAX, &[&number(71)]));
    assert_eq!(client.call(&[0xff; 40]), message(7, u16::MAX, &[&number(90)]));
    assert_eq!(client.call(&message(6, 8, &[])), message(7, 8, &[&number(95)]));
}

#[test]
fn an_answer_that_does_not_fit_becomes_an_error() {
    let platform = Platform::new();
    let mut client = Client::new(&platform, memory_tree());
    let bytes = message(24, 5, &[&number(1), &[0; 8]]);
    let request = client.driver.place(&bytes, 64);
    let answer = client.driver.place(&[], 64);
    let buffers = [Buffer::Readable(request, bytes.len() as u32), Buffer::Writable(answer, 20)];
    client.driver.submit(0, 0, &buffers);
    assert_eq!(client.next_used(answer), (0, message(7, 5, &[&number(90)])));
}

#[test]
fn a_request_without_room_for_any_answer_needs_a_reset() {
    let platform = Platform::new();
    let mut client = Client::new(&platform, memory_tree());
    let bytes = message(120, 5, &[&number(1)]);
    let request = client.driver.place(&bytes, 64);
    client.driver.submit(0, 0, &[Buffer::Readable(request, 11), Buffer::Writable(request, 10)]);
    assert!(client.driver.needs_reset());
}
