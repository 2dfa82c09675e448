//! Disks whose bytes JavaScript has, read by a driver that polls.

use crate::host::{ENGINES, Guest, Setup, object};
use crate::program::{Program, SCRATCH};
use iced_x86::code_asm::{al, ax, byte_ptr, dword_ptr, dx, eax, qword_ptr, r8, r8d, rax, rbx, word_ptr};
use js_sys::{Array, Object, Uint8Array};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;

const SECTOR_BYTES: u64 = 512;
/// The disk is behind the host bridge, the console and the generator of random numbers.
const DISK_SLOT: u32 = 3;

/// The queue's parts and the request in guest memory.
const DESCRIPTORS: u64 = SCRATCH;
const AVAILABLE: u64 = SCRATCH + 0x1000;
const USED: u64 = SCRATCH + 0x2000;
const HEADER: u64 = SCRATCH + 0x3000;
const STATUS: u64 = SCRATCH + 0x3010;
const DATA: u64 = SCRATCH + 0x4000;

/// Reads a sector of the first disk, prints it, and exits with the status (virtio 1.2 §5.2.6) as its value.
fn read_sector(sector: u64) -> Vec<u8> {
    let mut program = Program::new();
    let assembler = &mut program.assembler;
    // R8 becomes the address of the device's registers: BAR 0 in configuration space.
    assembler.mov(dx, 0xcf8).unwrap();
    assembler.mov(eax, 0x8000_0010 | DISK_SLOT << 11).unwrap();
    assembler.out(dx, eax).unwrap();
    assembler.mov(dx, 0xcfc).unwrap();
    assembler.in_(eax, dx).unwrap();
    assembler.and(eax, !0xf).unwrap();
    assembler.mov(r8d, eax).unwrap();
    // The command register: memory space and bus master.
    assembler.mov(dx, 0xcf8).unwrap();
    assembler.mov(eax, 0x8000_0004 | DISK_SLOT << 11).unwrap();
    assembler.out(dx, eax).unwrap();
    assembler.mov(dx, 0xcfc).unwrap();
    assembler.mov(ax, 6).unwrap();
    assembler.out(dx, ax).unwrap();

    let mut common = |offset: i32, bits: u32, value: u32| match bits {
        8 => assembler.mov(byte_ptr(r8 + offset), value).unwrap(),
        16 => assembler.mov(word_ptr(r8 + offset), value).unwrap(),
        _ => assembler.mov(dword_ptr(r8 + offset), value).unwrap(),
    };
    common(20, 8, 0); // reset
    common(20, 8, 1 | 2); // acknowledged, driver
    common(8, 32, 1); // the upper features:
    common(12, 32, 1); // version 1
    common(20, 8, 1 | 2 | 8); // features are fine
    common(22, 16, 0); // of queue 0:
    common(24, 16, 4); // the size,
    for (offset, part) in [(32, DESCRIPTORS), (40, AVAILABLE), (48, USED)] {
        // its addresses are 64 bits, written in halves (§4.1.3.1),
        common(offset, 32, part as u32);
        common(offset + 4, 32, 0);
    }
    common(28, 16, 1); // enable it
    common(20, 8, 1 | 2 | 4 | 8); // driver is fine

    let mut store = |address: u64, value: u64| {
        assembler.mov(rax, value).unwrap();
        assembler.mov(rbx, address).unwrap();
        assembler.mov(qword_ptr(rbx), rax).unwrap();
    };
    store(HEADER, 0); // read
    store(HEADER + 8, sector);
    store(STATUS, 0xff);
    let (is_followed, is_written) = (1_u64, 2_u64);
    let chain = [
        (HEADER, 16, is_followed, 1_u64),
        (DATA, SECTOR_BYTES, is_followed | is_written, 2),
        (STATUS, 1, is_written, 0),
    ];
    for (place, (address, length, flags, next)) in (DESCRIPTORS..).step_by(16).zip(chain) {
        store(place, address);
        store(place + 8, length | flags << 32 | next << 48);
    }
    // Flags, the index (one request), its descriptor.
    store(AVAILABLE, 1 << 16);

    assembler.mov(word_ptr(r8 + 0x3000), 0).unwrap(); // the doorbell
    let mut wait = assembler.create_label();
    assembler.mov(rbx, USED + 2).unwrap();
    assembler.set_label(&mut wait).unwrap();
    assembler.cmp(word_ptr(rbx), 1).unwrap();
    assembler.jne(wait).unwrap();

    let mut program = program.print_memory(DATA, SECTOR_BYTES as u32);
    program.assembler.mov(rbx, STATUS).unwrap();
    program.assembler.mov(al, byte_ptr(rbx)).unwrap();
    program.exit_with_al().finish()
}

/// What the virtio status of a read that went well, and of one that failed, becomes as an exit code.
const READ_WELL: Option<u32> = Some(1);
const READ_FAILED: Option<u32> = Some(3);

/// A disk's contents: each sector holds its number in every byte, wrapped around.
fn contents(range: std::ops::Range<u64>) -> Vec<u8> {
    range.map(|at| (at / SECTOR_BYTES) as u8).collect()
}

/// A chunked disk, and the chunks that it was asked for.
struct Chunked {
    disk: Object,
    requests: Rc<RefCell<Vec<f64>>>,
    _request: Closure<dyn FnMut(f64)>,
}

impl Chunked {
    fn new(size: u64) -> Self {
        let requests = Rc::<RefCell<Vec<f64>>>::default();
        let asked = requests.clone();
        let request = Closure::<dyn FnMut(f64)>::new(move |index| asked.borrow_mut().push(index));
        let disk = object(&[
            ("kind", "chunked".into()),
            ("sizeBytes", (size as f64).into()),
            ("request", request.as_ref().clone()),
        ]);
        Self { disk, requests, _request: request }
    }

    /// Boots a program that reads `sector`, and runs until it waits for the chunk.
    fn start(&self, sector: u64, engine: &'static str) -> Guest {
        let mut setup = Setup::new(read_sector(sector)).on(engine);
        setup.disks.push(self.disk.clone());
        let mut guest = setup.start();
        guest.run_until(|_| !self.requests.borrow().is_empty());
        assert_eq!(guest.machine.run(100_000.0), "limit", "the program waits");
        assert_eq!(guest.serial.len(), 0);
        guest
    }
}

#[wasm_bindgen_test]
fn a_chunk_that_arrives_at_the_port_reaches_the_program() {
    let chunk_bytes = dinghy::web::chunk_bytes() as u64;
    let size = 2 * chunk_bytes + 4 * SECTOR_BYTES;
    let sector = 2 * chunk_bytes / SECTOR_BYTES + 3;
    let last = contents(2 * chunk_bytes..size);
    for engine in ENGINES {
        let chunked = Chunked::new(size);
        let mut guest = chunked.start(sector, engine);
        assert_eq!(chunked.requests.take(), [2.0], "{engine}");
        assert_eq!(guest.port.complete_chunk(0, 2.0, &last), None);
        assert_eq!(guest.run_to_end(), "exited", "{engine}");
        assert_eq!(guest.machine.exit_code(), READ_WELL, "{engine}");
        assert_eq!(guest.serial.take(), vec![sector as u8; SECTOR_BYTES as usize], "{engine}");
    }
}

#[wasm_bindgen_test]
fn a_chunk_that_cannot_be_had_is_an_error_to_the_program() {
    let chunked = Chunked::new(1 << 20);
    let mut guest = chunked.start(1, "auto");
    let mut failures = 0;
    loop {
        for index in chunked.requests.take() {
            assert_eq!(guest.port.fail_chunk(0, index, "the server is gone".to_owned()), None);
            failures += 1;
        }
        match guest.machine.run(100_000.0).as_str() {
            "limit" => assert!(failures < 10, "the read goes on for ever"),
            outcome => break assert_eq!(outcome, "exited"),
        }
    }
    assert!(failures > 1, "a failed fetch is tried again");
    assert_eq!(guest.machine.exit_code(), READ_FAILED);
}

#[wasm_bindgen_test]
fn a_chunk_for_no_disk_is_refused() {
    let guest = Setup::new(Program::new().exit(0).finish()).start();
    let error = guest.port.complete_chunk(0, 0.0, &[0]);
    assert_eq!(error.as_deref(), Some("disk 0 is not fetched in chunks"));
}

/// A disk that is read at once, by a function that returns what `read` does.
fn synchronous(
    read: impl Fn(f64, f64) -> Result<Uint8Array, JsValue> + 'static,
) -> (Object, Closure<dyn FnMut(f64, f64) -> Result<Uint8Array, JsValue>>) {
    let read: Closure<dyn FnMut(f64, f64) -> Result<Uint8Array, JsValue>> = Closure::new(read);
    let disk = object(&[
        ("kind", "synchronous".into()),
        ("sizeBytes", 4096.into()),
        ("writes", "refused".into()),
        ("read", read.as_ref().clone()),
    ]);
    (disk, read)
}

#[wasm_bindgen_test]
fn a_file_is_read_at_once() {
    let reads = Array::new();
    let seen = reads.clone();
    let (disk, _function) = synchronous(move |offset, length| {
        seen.push(&offset.into());
        let range = offset as u64..(offset + length) as u64;
        Ok(Uint8Array::from(contents(range).as_slice()))
    });
    let mut setup = Setup::new(read_sector(5));
    setup.disks.push(disk);
    let mut guest = setup.start();
    assert_eq!(guest.run_to_end(), "exited");
    assert_eq!(guest.machine.exit_code(), READ_WELL);
    assert_eq!(guest.serial.take(), [5; SECTOR_BYTES as usize]);
    assert_eq!(reads.get(0), f64::from(5 * 512));
}

#[wasm_bindgen_test]
fn a_file_that_throws_or_gives_too_little_is_an_error_to_the_program() {
    let outcomes: [fn() -> Result<Uint8Array, JsValue>; 2] =
        [|| Err(js_sys::Error::new("the file is gone").into()), || Ok(Uint8Array::new_with_length(511))];
    for outcome in outcomes {
        let (disk, _function) = synchronous(move |_, _| outcome());
        let mut setup = Setup::new(read_sector(0));
        setup.disks.push(disk);
        let mut guest = setup.start();
        assert_eq!(guest.run_to_end(), "exited");
        assert_eq!(guest.machine.exit_code(), READ_FAILED);
    }
}
