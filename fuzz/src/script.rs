//! Accesses to registers, as a list that a program in the guest works through.

use crate::bytes::Bytes;
use crate::machine::{ENTRY, run_kernel};

/// Accesses in a list at most.
const MOST_ACCESSES: usize = 600;

/// What the program does with an entry: its address is in EDX, its value in EAX.
const KINDS: [&[u8]; 12] = [
    &[0xee],             // out dx, al
    &[0x66, 0xef],       // out dx, ax
    &[0xef],             // out dx, eax
    &[0xec],             // in al, dx
    &[0x66, 0xed],       // in ax, dx
    &[0xed],             // in eax, dx
    &[0x88, 0x02],       // mov [edx], al
    &[0x66, 0x89, 0x02], // mov [edx], ax
    &[0x89, 0x02],       // mov [edx], eax
    &[0x8a, 0x02],       // mov al, [edx]
    &[0x66, 0x8b, 0x02], // mov ax, [edx]
    &[0x8b, 0x02],       // mov eax, [edx]
];

/// A program of accesses, each a handful of instructions.
#[derive(Default)]
struct Script {
    code: Vec<u8>,
    accesses: usize,
}

impl Script {
    fn access(&mut self, kind: u8, address: u32, value: u32) {
        self.accesses += 1;
        self.code.push(0xb8); // mov eax, value
        self.code.extend(value.to_le_bytes());
        self.code.push(0xba); // mov edx, address
        self.code.extend(address.to_le_bytes());
        self.code.extend_from_slice(KINDS[usize::from(kind) % KINDS.len()]);
    }

    fn store(&mut self, address: u32, value: u32) {
        self.access(8, address, value);
    }

    fn store_half(&mut self, address: u32, value: u16) {
        self.access(7, address, value.into());
    }

    fn is_full(&self) -> bool {
        self.accesses >= MOST_ACCESSES
    }

    /// Runs it, and then a while for what it has set going.
    fn run(mut self) {
        // sti; jmp to the jump: interrupts that come find no gate, and end the machine.
        self.code.extend([0xfb, 0xeb, 0xfe]);
        let instructions = 3 * self.accesses as u64;
        run_kernel(&self.code, instructions + 2_000);
    }
}

/// Ports that devices answer at, and how many.
const PORTS: [(u32, u32); 14] = [
    (0xcf8, 8),  // PCI configuration
    (0x600, 16), // ACPI
    (0x510, 12), // firmware configuration
    (0x20, 2),   // interrupt controllers
    (0xa0, 2),
    (0x4d0, 2),
    (0x40, 4), // timer
    (0x60, 5), // keyboard, system control
    (0x70, 2), // clock
    (0x80, 1),
    (0x92, 1),
    (0x3f8, 8), // serial port
    (0xcf9, 1), // reset
    (0, 0x1_0000),
];

/// Memory that devices answer at, and how much.
const WINDOWS: [(u32, u32); 6] = [
    (0xc000_0000, 0x4_0000), // BARs as they are at the start
    (0xe000_0000, 0x8000),   // configuration space of the first slots
    (0xfec0_0000, 0x40),     // I/O APIC
    (0xfee0_0000, 0x400),    // local APIC
    (0xc000_0000, 0x2000_0000),
    (0xe000_0000, 0x2000_0000),
];

/// Reads and writes registers of all devices: PCI, ACPI, firmware configuration, interrupt controllers, timers.
pub fn registers(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut script = Script::default();
    while !bytes.is_empty() && !script.is_full() {
        let kind = bytes.byte();
        let place = usize::from(bytes.byte());
        let is_port = kind % KINDS.len() as u8 <= 5;
        let (base, length) =
            if is_port { PORTS[place % PORTS.len()] } else { WINDOWS[place % WINDOWS.len()] };
        let offset = u32::from(bytes.half()) << if length > 0x1_0000 { kind >> 4 } else { 0 };
        let value = bytes.number(0) as u32;
        script.access(kind, base + offset % length, value);
    }
    script.run();
}

/// Where a device's registers are, and the parts of them.
const BAR_BYTES: u32 = 0x8000;
const NOTIFY: u32 = 0x3000;
/// Where queues are placed in RAM, and how far one is from the next.
const QUEUES: u32 = 0x30_0000;
const QUEUE_BYTES: u32 = 0x4000;
const MOST_QUEUES: u32 = 4;
/// Places in each queue.
const SIZE: u16 = 16;

/// Starts a virtio device as a driver does, and then gives it whatever descriptors, rings and requests.
pub fn queues(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut script = Script::default();
    // Console, entropy, disk, network, share: in the order of their slots and BARs.
    let device = 0xc000_0000 + BAR_BYTES * u32::from(bytes.byte() % 5);
    // Memory and bus mastering on, wherever it stands.
    for slot in 1..8 {
        script.store_half(0xe000_0000 + (slot << 15) + 4, 6);
    }
    let features = bytes.word();
    start(&mut script, device, features);
    // Which places are available, and how far.
    let mut offered = [0u16; MOST_QUEUES as usize];
    while !bytes.is_empty() && !script.is_full() {
        let what = bytes.byte();
        let number = u32::from(what >> 6);
        let queue = QUEUES + QUEUE_BYTES * number;
        match what % 8 {
            // A descriptor.
            0..=2 => {
                let place = queue + 16 * u32::from(bytes.byte() % (SIZE as u8 + 1));
                let address = bytes.number(QUEUES.into());
                script.store(place, address as u32);
                script.store(place + 4, (address >> 32) as u32);
                let length = bytes.number(0) as u32;
                script.store(place + 8, length);
                let flags_and_next = bytes.half();
                script
                    .store(place + 12, u32::from(flags_and_next & 7) | u32::from(flags_and_next >> 8) << 16);
            }
            // Requests and tables of descriptors, in RAM behind the rings.
            3 | 4 => {
                let place = queue + 0x2000 + u32::from(bytes.half() % 0x1ff0);
                let value = bytes.number(QUEUES.into());
                script.store(place, value as u32);
                script.store(place + 4, (value >> 32) as u32);
            }
            // A head is offered, and the device told.
            5 | 6 => {
                let next = &mut offered[number as usize];
                let head = u16::from(bytes.byte());
                script.store_half(queue + 0x1000 + 4 + 2 * u32::from(*next % SIZE), head);
                *next = next.wrapping_add(1 + u16::from(head == 0xff));
                script.store_half(queue + 0x1000 + 2, *next);
                script.store_half(device + NOTIFY + 4 * number, number as u16);
            }
            // Any register of the device.
            _ => {
                let kind = 6 + bytes.byte() % 6;
                let offset = u32::from(bytes.half()) % BAR_BYTES;
                let value = bytes.number(QUEUES.into()) as u32;
                script.access(kind, device + offset, value);
            }
        }
    }
    script.run();
}

/// Talks to a shared directory: a session is begun, then come messages whose kind and fields are any, and whose size is
/// right unless the tag says otherwise.
pub fn messages(data: &[u8]) {
    const SHARE: u32 = 0xc000_0000 + BAR_BYTES * 4;
    const VERSION: &[u8] = b"\0\x10\0\0\x08\x009P2000.L";
    const ATTACH: &[u8] = b"\0\0\0\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
    const WRONG_SIZE: u16 = 0xeeee;
    let mut script = Script::default();
    for slot in 1..8 {
        script.store_half(0xe000_0000 + (slot << 15) + 4, 6);
    }
    start(&mut script, SHARE, 1);
    let (message, reply) = (QUEUES + 0x2000, QUEUES + 0x3000);
    let mut offered = 0u16;
    let mut send = |script: &mut Script, kind: u8, tag: u16, fields: &[u8]| {
        let size = 7 + fields.len() as u32;
        let stated = if tag == WRONG_SIZE { u32::from(kind) * 77 } else { size };
        let mut bytes = stated.to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend(tag.to_le_bytes());
        bytes.extend(fields);
        for (address, word) in (message..).step_by(4).zip(bytes.chunks(4)) {
            let mut padded = [0; 4];
            padded[..word.len()].copy_from_slice(word);
            script.store(address, u32::from_le_bytes(padded));
        }
        // The message, which the next descriptor follows, and room for the answer.
        for (place, (address, length, flags_and_next)) in
            (QUEUES..).step_by(16).zip([(message, size, 1 | 1 << 16), (reply, 0x1000, 2)])
        {
            for (at, value) in (place..).step_by(4).zip([address, 0, length, flags_and_next]) {
                script.store(at, value);
            }
        }
        script.store_half(QUEUES + 0x1000 + 4 + 2 * u32::from(offered % SIZE), 0);
        offered = offered.wrapping_add(1);
        script.store_half(QUEUES + 0x1000 + 2, offered);
        script.store_half(SHARE + NOTIFY, 0);
    };
    send(&mut script, 100, 0xffff, VERSION);
    send(&mut script, 104, 1, ATTACH);
    let mut bytes = Bytes(data);
    while !bytes.is_empty() && !script.is_full() {
        let kind = bytes.byte();
        let tag = bytes.half();
        let length = usize::from(bytes.byte());
        let fields: Vec<u8> = (0..length).map(|_| bytes.byte()).collect();
        send(&mut script, kind, tag, &fields);
    }
    script.run();
}

/// Negotiates these features and VERSION_1, and places the queues.
fn start(script: &mut Script, device: u32, features: u32) {
    script.access(6, device + 20, 0);
    script.access(6, device + 20, 3);
    for (word, value) in [(0, features), (1, 1)] {
        script.store(device + 8, word);
        script.store(device + 12, value);
    }
    script.access(6, device + 20, 11);
    for number in 0..MOST_QUEUES {
        let queue = QUEUES + QUEUE_BYTES * number;
        script.store_half(device + 22, number as u16);
        script.store_half(device + 24, SIZE);
        for (register, place) in [(32, queue), (40, queue + 0x1000), (48, queue + 0x1800)] {
            script.store(device + register, place);
            script.store(device + register + 4, 0);
        }
        script.store_half(device + 28, 1);
    }
    script.access(6, device + 20, 15);
}

const _: () = assert!(ENTRY < QUEUES);
