//! The block device.

use crate::guest::{Buffer, GuestPages, Platform, RawDriver};
use dinghy::host::{BlockError, BlockSource, Progress};
use dinghy::mem::GuestPhysAddr;
use dinghy::storage::{CHUNK_BYTES, ChunkFetcher, ChunkInbox, ChunkedDisk, CopyOnWrite, MemoryDisk};
use dinghy::virtio::VirtioPci;
use dinghy::virtio::blk::BlkDevice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::transport::Transport;

const DISK_BYTES: u64 = 1 << 20;

type Shared = Arc<Mutex<VirtioPci<BlkDevice>>>;

fn device(platform: &Platform, source: impl BlockSource + 'static) -> Shared {
    let device = BlkDevice::new(Box::new(source), "dinghy-0001");
    Arc::new(Mutex::new(VirtioPci::new(platform.memory.clone(), device)))
}

fn memory_disk(platform: &Platform) -> Shared {
    device(platform, MemoryDisk::new(DISK_BYTES))
}

/// A disk whose operations wait until the gate is open.
struct Gated {
    disk: MemoryDisk,
    is_open: Arc<AtomicBool>,
    is_read_only: bool,
}

impl Gated {
    fn new() -> (Self, Arc<AtomicBool>) {
        let is_open = Arc::new(AtomicBool::new(false));
        let disk = MemoryDisk::new(DISK_BYTES);
        (Self { disk, is_open: is_open.clone(), is_read_only: false }, is_open)
    }

    /// Sectors above 1024 are always at hand.
    fn pass(&self, offset: u64, operation: Progress) -> Progress {
        if offset >= 1024 * 512 || self.is_open.load(Ordering::SeqCst) { operation } else { Poll::Pending }
    }
}

impl BlockSource for Gated {
    fn size(&self) -> u64 {
        self.disk.size()
    }

    fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        let outcome = self.disk.read(offset, buffer);
        self.pass(offset, outcome)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        if !self.is_open.load(Ordering::SeqCst) && offset < 1024 * 512 {
            return Poll::Pending;
        }
        self.disk.write(offset, data)
    }

    fn flush(&mut self) -> Progress {
        self.pass(0, Poll::Ready(Ok(())))
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        self.disk.discard(offset, length)
    }
}

struct Broken;

impl BlockSource for Broken {
    fn size(&self) -> u64 {
        DISK_BYTES
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&mut self, _offset: u64, _buffer: &mut [u8]) -> Progress {
        Poll::Ready(Err(BlockError::Host("the network is down".into())))
    }

    fn write(&mut self, _offset: u64, _data: &[u8]) -> Progress {
        unreachable!("the device refuses writes to a read-only disk itself")
    }

    fn flush(&mut self) -> Progress {
        Poll::Ready(Ok(()))
    }

    fn discard(&mut self, _offset: u64, _length: u64) -> Progress {
        unreachable!("the device refuses discards of a read-only disk itself")
    }
}

const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

fn header(kind: u32, sector: u64) -> [u8; 16] {
    (u128::from(sector) << 64 | u128::from(kind)).to_le_bytes()
}

/// Submits a request with `data` buffers at descriptor `head`; returns where its status will be.
fn submit(driver: &mut RawDriver, head: u16, kind: u32, sector: u64, data: &[Buffer]) -> GuestPhysAddr {
    let place = driver.place(&header(kind, sector), 32);
    let status = GuestPhysAddr(place.0 + 16);
    driver.memory.write(status, &[0xee]).unwrap();
    let mut buffers = vec![Buffer::Readable(place, 16)];
    buffers.extend_from_slice(data);
    buffers.push(Buffer::Writable(status, 1));
    driver.submit(0, head, &buffers);
    status
}

fn status_at(driver: &RawDriver, status: GuestPhysAddr) -> u8 {
    driver.bytes(status, 1)[0]
}

fn ranges(driver: &RawDriver, ranges: &[(u64, u32, u32)]) -> Buffer {
    let bytes: Vec<u8> = ranges
        .iter()
        .flat_map(|(sector, sectors, flags)| {
            (u128::from(*flags) << 96 | u128::from(*sectors) << 64 | u128::from(*sector)).to_le_bytes()
        })
        .collect();
    Buffer::Readable(driver.place(&bytes, bytes.len() as u32), bytes.len() as u32)
}

#[test]
fn what_the_guest_writes_it_reads_back() {
    let platform = Platform::new();
    let mut disk = VirtIOBlk::<GuestPages, _>::new(platform.attach(memory_disk(&platform))).unwrap();
    assert_eq!(disk.capacity(), DISK_BYTES / 512);
    assert!(!disk.readonly());
    let data: Vec<u8> = (0..512 * 300u32).map(|index| (index / 7) as u8).collect();
    disk.write_blocks(17, &data).unwrap();
    disk.flush().unwrap();
    let mut read = vec![0; data.len()];
    disk.read_blocks(17, &mut read).unwrap();
    assert!(read == data);
    disk.read_blocks(16, &mut read[..512]).unwrap();
    assert_eq!(read[..512], [0; 512]);
}

#[test]
fn the_serial_number_is_shown() {
    let platform = Platform::new();
    let mut disk = VirtIOBlk::<GuestPages, _>::new(platform.attach(memory_disk(&platform))).unwrap();
    let mut id = [0xee; 20];
    assert_eq!(disk.device_id(&mut id).unwrap(), 11);
    assert_eq!(&id, b"dinghy-0001\0\0\0\0\0\0\0\0\0");
}

#[test]
fn accesses_past_the_end_fail_and_the_disk_lives_on() {
    let platform = Platform::new();
    let mut disk = VirtIOBlk::<GuestPages, _>::new(platform.attach(memory_disk(&platform))).unwrap();
    let mut sectors = [0; 1024];
    disk.read_blocks(DISK_BYTES as usize / 512 - 1, &mut sectors).unwrap_err();
    disk.write_blocks(usize::MAX / 512, &sectors).unwrap_err();
    disk.write_blocks(usize::MAX, &sectors).unwrap_err();
    disk.read_blocks(DISK_BYTES as usize / 512 - 2, &mut sectors).unwrap();
}

#[test]
fn several_segments_make_one_transfer() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(memory_disk(&platform), 0);
    let source = driver.place(&[0x5a; 1536], 4096);
    let at = |offset| GuestPhysAddr(source.0 + offset);
    // Segments need not be whole sectors; their sum must.
    let parts =
        [Buffer::Readable(at(0), 100), Buffer::Readable(at(100), 900), Buffer::Readable(at(1000), 536)];
    let status = submit(&mut driver, 0, WRITE, 3, &parts);
    assert_eq!(status_at(&driver, status), 0);
    assert_eq!(driver.used(0, 0), (0, 1));
    let target = driver.place(&[], 4096);
    let parts = [Buffer::Writable(target, 1), Buffer::Writable(GuestPhysAddr(target.0 + 1), 2559)];
    let status = submit(&mut driver, 8, READ, 2, &parts);
    assert_eq!(status_at(&driver, status), 0);
    assert_eq!(driver.used(0, 1), (8, 2561));
    assert_eq!(driver.bytes(target, 2560), [[0; 512].as_slice(), &[0x5a; 1536], &[0; 512]].concat());
}

#[test]
fn discarded_and_zeroed_ranges_read_as_zeroes() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(memory_disk(&platform), u64::MAX);
    let data = driver.place(&[0xaa; 16 * 512], 16 * 512);
    let status = submit(&mut driver, 0, WRITE, 0, &[Buffer::Readable(data, 16 * 512)]);
    assert_eq!(status_at(&driver, status), 0);
    let list = ranges(&driver, &[(1, 2, 0), (8, 1, 0)]);
    let status = submit(&mut driver, 0, DISCARD, 0, &[list]);
    assert_eq!(status_at(&driver, status), 0);
    let list = ranges(&driver, &[(15, 1, 1)]);
    let status = submit(&mut driver, 0, WRITE_ZEROES, 0, &[list]);
    assert_eq!(status_at(&driver, status), 0);
    submit(&mut driver, 0, READ, 0, &[Buffer::Writable(data, 16 * 512)]);
    let cleared = [1, 2, 8, 15];
    for (sector, bytes) in driver.bytes(data, 16 * 512).chunks(512).enumerate() {
        let expected = if cleared.contains(&sector) { 0 } else { 0xaa };
        assert!(bytes.iter().all(|byte| *byte == expected), "sector {sector}");
    }
}

#[test]
fn bad_requests_get_a_status_and_the_device_goes_on() {
    let platform = Platform::new();
    let mut driver = platform.attach_raw(memory_disk(&platform), u64::MAX);
    let page = driver.place(&[], 4096);
    let cases = [
        ("an unknown type", 77, 0, Buffer::Readable(page, 512), 2),
        ("half a sector", READ, 0, Buffer::Writable(page, 256), 1),
        ("a discard flag", DISCARD, 0, ranges(&driver, &[(0, 1, 1)]), 2),
        ("a write-zeroes flag", WRITE_ZEROES, 0, ranges(&driver, &[(0, 1, 2)]), 2),
        ("a discard past the end", DISCARD, 0, ranges(&driver, &[(u64::MAX / 512, u32::MAX, 0)]), 1),
        ("half a range", DISCARD, 0, Buffer::Readable(page, 8), 1),
        ("too many ranges", DISCARD, 0, Buffer::Readable(page, 17 * 16), 1),
        ("a sector beyond 2^64 bytes", WRITE, u64::MAX, Buffer::Readable(page, 512), 1),
    ];
    for (what, kind, sector, data, expected) in cases {
        let status = submit(&mut driver, 0, kind, sector, &[data]);
        assert_eq!(status_at(&driver, status), expected, "{what}");
    }
    assert!(!driver.needs_reset());
}

#[test]
fn a_read_only_disk_says_so_and_refuses_writes() {
    let platform = Platform::new();
    let (mut source, is_open) = Gated::new();
    source.is_read_only = true;
    is_open.store(true, Ordering::SeqCst);
    let shared = device(&platform, source);
    let mut transport = platform.attach(shared);
    let features = transport.read_device_features();
    assert_ne!(features & 1 << 5, 0, "VIRTIO_BLK_F_RO");
    assert_eq!(features & (1 << 13 | 1 << 14), 0, "neither discard nor write-zeroes");
    let mut driver = RawDriver::start(transport, platform.memory.clone(), u64::MAX);
    let page = driver.place(&[1; 512], 512);
    let status = submit(&mut driver, 0, WRITE, 0, &[Buffer::Readable(page, 512)]);
    assert_eq!(status_at(&driver, status), 1);
}

#[test]
fn a_sources_error_becomes_an_io_error() {
    let platform = Platform::new();
    let mut disk = VirtIOBlk::<GuestPages, _>::new(platform.attach(device(&platform, Broken))).unwrap();
    assert!(disk.readonly());
    disk.read_blocks(0, &mut [0; 512]).unwrap_err();
    disk.flush().unwrap();
}

#[test]
fn requests_that_wait_are_overtaken_and_finish_when_the_host_progresses() {
    let platform = Platform::new();
    let (source, is_open) = Gated::new();
    let shared = device(&platform, source);
    let mut driver = platform.attach_raw(shared.clone(), 0);
    let page = driver.place(&[0x77; 1024], 4096);
    let slow_write = submit(&mut driver, 0, WRITE, 0, &[Buffer::Readable(page, 1024)]);
    let slow_flush = submit(&mut driver, 3, FLUSH, 0, &[]);
    let quick = submit(&mut driver, 5, READ, 1024, &[Buffer::Writable(page, 512)]);
    assert_eq!(driver.used_index(0), 1);
    assert_eq!(driver.used(0, 0), (5, 513));
    assert_eq!([slow_write, slow_flush, quick].map(|at| status_at(&driver, at)), [0xee, 0xee, 0]);
    driver.transport.ack_interrupt();

    shared.lock().unwrap().resume();
    assert_eq!(driver.used_index(0), 1, "the gate is still closed");
    assert!(!platform.line(1));
    is_open.store(true, Ordering::SeqCst);
    shared.lock().unwrap().resume();
    assert_eq!(driver.used_index(0), 3);
    assert_eq!([driver.used(0, 1).0, driver.used(0, 2).0], [0, 3]);
    assert_eq!([slow_write, slow_flush].map(|at| status_at(&driver, at)), [0, 0]);
    assert!(platform.line(1));
}

/// Remembers which chunks were asked for.
struct Requests(Arc<Mutex<Vec<u64>>>);

impl ChunkFetcher for Requests {
    fn request(&mut self, index: u64) {
        self.0.lock().unwrap().push(index);
    }
}

#[test]
fn a_disk_over_a_fetched_image_waits_for_chunks_and_keeps_what_is_written() {
    let platform = Platform::new();
    let (requests, inbox) = (Arc::<Mutex<Vec<u64>>>::default(), ChunkInbox::default());
    let image = ChunkedDisk::new(4 * CHUNK_BYTES, Box::new(Requests(requests.clone())), inbox.clone(), 0);
    let shared = device(&platform, CopyOnWrite::new(Box::new(image)));
    let mut driver = platform.attach_raw(shared.clone(), 0);
    let written = driver.place(&[0x99; 512], 512);
    let read = driver.place(&[], 4096);
    // A sector written within a grain needs the rest of the grain from the image.
    let last_of_chunk_1 = 2 * CHUNK_BYTES / 512 - 1;
    let write = submit(&mut driver, 0, WRITE, last_of_chunk_1, &[Buffer::Readable(written, 512)]);
    assert_eq!((driver.used_index(0), status_at(&driver, write)), (0, 0xee));
    assert_eq!(*requests.lock().unwrap(), [1]);
    inbox.complete(1, vec![1; CHUNK_BYTES as usize]).unwrap();
    shared.lock().unwrap().resume();
    assert_eq!((driver.used_index(0), status_at(&driver, write)), (1, 0));

    let both = submit(&mut driver, 3, READ, last_of_chunk_1 - 1, &[Buffer::Writable(read, 3 * 512)]);
    // What is read of the image goes on where the grain ended: chunk 3 is fetched ahead.
    assert_eq!(*requests.lock().unwrap(), [1, 2, 3]);
    inbox.complete(2, vec![2; CHUNK_BYTES as usize]).unwrap();
    shared.lock().unwrap().resume();
    assert_eq!((driver.used(0, 1), status_at(&driver, both)), ((3, 3 * 512 + 1), 0));
    assert_eq!(driver.bytes(read, 3 * 512), [[1; 512], [0x99; 512], [2; 512]].concat());
}

#[test]
fn requests_that_wait_stay_while_the_device_may_not_access_memory() {
    let platform = Platform::new();
    let (source, is_open) = Gated::new();
    let shared = device(&platform, source);
    let mut driver = platform.attach_raw(shared.clone(), 0);
    let page = driver.place(&[0x77; 512], 512);
    let status = submit(&mut driver, 0, READ, 0, &[Buffer::Writable(page, 512)]);
    driver.transport.write_config(4, &2u16.to_le_bytes());
    is_open.store(true, Ordering::SeqCst);
    shared.lock().unwrap().resume();
    assert_eq!((driver.used_index(0), status_at(&driver, status)), (0, 0xee));
    assert_eq!(driver.bytes(page, 512), [0x77; 512]);
    driver.transport.write_config(4, &6u16.to_le_bytes());
    assert_eq!((driver.used_index(0), status_at(&driver, status)), (1, 0));
    assert_eq!(driver.bytes(page, 512), [0; 512]);
}

#[test]
fn a_chain_offered_over_and_over_breaks_the_device_before_it_fills_the_host() {
    let platform = Platform::new();
    let (source, _) = Gated::new();
    let shared = device(&platform, source);
    let mut driver = platform.attach_raw(shared.clone(), 0);
    let page = driver.place(&[], 512);
    submit(&mut driver, 0, READ, 0, &[Buffer::Writable(page, 512)]);
    for _ in 1..16 {
        driver.offer(0, 0);
        driver.notify(0);
    }
    assert!(!driver.needs_reset());
    assert_eq!(shared.lock().unwrap().device().waiting_requests(), 16);
    driver.offer(0, 0);
    driver.notify(0);
    assert!(driver.needs_reset());
    assert_eq!(shared.lock().unwrap().device().waiting_requests(), 0);
}

#[test]
fn a_reset_forgets_the_requests_that_wait() {
    let platform = Platform::new();
    let (source, is_open) = Gated::new();
    let shared = device(&platform, source);
    let mut driver = platform.attach_raw(shared.clone(), 0);
    let page = driver.place(&[], 512);
    submit(&mut driver, 0, READ, 0, &[Buffer::Writable(page, 512)]);
    assert_eq!(shared.lock().unwrap().device().waiting_requests(), 1);
    let memory = driver.memory.clone();
    let mut driver = RawDriver::start(driver.transport, memory, 0);
    is_open.store(true, Ordering::SeqCst);
    shared.lock().unwrap().resume();
    assert_eq!(driver.used_index(0), 0);
    let status = submit(&mut driver, 0, READ, 0, &[Buffer::Writable(page, 512)]);
    assert_eq!(status_at(&driver, status), 0);
}

#[test]
fn a_saved_disk_goes_on_with_the_requests_that_waited() {
    let platform = Platform::new();
    let (source, _) = Gated::new();
    let shared = device(&platform, source);
    let mut driver = platform.attach_raw(shared.clone(), u64::MAX);
    let page = driver.place(&[0x11; 512], 512);
    let status = submit(&mut driver, 4, WRITE, 2, &[Buffer::Readable(page, 512)]);
    let (transport_state, device_state) = {
        let saved = shared.lock().unwrap();
        (saved.state(), saved.device().state())
    };

    let (source, is_open) = Gated::new();
    is_open.store(true, Ordering::SeqCst);
    let restored = device(&platform, source);
    platform.root.add(restored.clone()).unwrap();
    let mut other = restored.lock().unwrap();
    other.restore(&transport_state, |disk, context| disk.restore(&device_state, context)).unwrap();
    assert_eq!(other.state(), transport_state);
    assert_eq!(other.device().state(), device_state);
    other.resume();
    assert_eq!(status_at(&driver, status), 0);
    assert_eq!(driver.used(0, 0), (4, 1));
    assert_eq!(other.device().waiting_requests(), 0);
}

#[test]
fn the_configuration_tells_the_geometry_of_the_disk() {
    let platform = Platform::new();
    let transport = platform.attach(memory_disk(&platform));
    assert_eq!(transport.read_config_space::<u64>(0), Ok(DISK_BYTES / 512));
    let seg_max = transport.read_config_space::<u32>(12).unwrap();
    assert_eq!(seg_max, 254);
    assert_eq!(transport.read_config_space::<u32>(20), Ok(512));
    assert_eq!(transport.read_config_space::<u32>(0xffc), Ok(0));
}
