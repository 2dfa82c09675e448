//! Bare programs for the machine, as ELF64 files.

use iced_x86::code_asm::*;

/// Where the only segment is loaded; the program begins there.
const ENTRY: u64 = 0x100_0000;
/// Where the file has the segment.
const SEGMENT_OFFSET: usize = 0x1000;
/// Memory behind the segment that the program may write.
pub const SCRATCH: u64 = ENTRY + 0x10_0000;

const SERIAL_DATA: u16 = 0x3f8;
const SERIAL_LINE_STATUS: u16 = 0x3fd;
const DEBUG_EXIT: u16 = 0xf4;

/// A program in the making. It runs in 64-bit mode with interrupts off, and memory is mapped to itself.
pub struct Program {
    pub assembler: CodeAssembler,
}

impl Program {
    pub fn new() -> Self {
        Self { assembler: CodeAssembler::new(64).unwrap() }
    }

    /// Writes the byte in AL to a port.
    pub fn out(mut self, port: u16) -> Self {
        self.assembler.mov(dx, i32::from(port)).unwrap();
        self.assembler.out(dx, al).unwrap();
        self
    }

    /// Ends the machine; the exit code is twice the byte in AL and one.
    pub fn exit_with_al(self) -> Self {
        self.out(DEBUG_EXIT)
    }

    /// Ends the machine; the exit code is `value * 2 + 1`.
    pub fn exit(mut self, value: u8) -> Self {
        self.assembler.mov(al, i32::from(value)).unwrap();
        self.exit_with_al()
    }

    /// Prints on the serial port.
    pub fn print(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self.assembler.mov(al, i32::from(byte)).unwrap();
            self = self.out(SERIAL_DATA);
        }
        self
    }

    /// Prints the eight bytes of RBX on the serial port, the lowest first.
    pub fn print_rbx(mut self) -> Self {
        for _ in 0..8 {
            self.assembler.mov(al, bl).unwrap();
            self = self.out(SERIAL_DATA);
            self.assembler.shr(rbx, 8).unwrap();
        }
        self
    }

    /// Prints `length` bytes at `address` on the serial port.
    pub fn print_memory(mut self, address: u64, length: u32) -> Self {
        let assembler = &mut self.assembler;
        assembler.mov(rsi, address).unwrap();
        assembler.mov(ecx, length).unwrap();
        assembler.mov(dx, i32::from(SERIAL_DATA)).unwrap();
        assembler.rep().outsb().unwrap();
        self
    }

    /// Waits until a byte is typed at the serial port and takes it into AL.
    pub fn read_serial(mut self) -> Self {
        let assembler = &mut self.assembler;
        let mut wait = assembler.create_label();
        assembler.mov(dx, i32::from(SERIAL_LINE_STATUS)).unwrap();
        assembler.set_label(&mut wait).unwrap();
        assembler.in_(al, dx).unwrap();
        assembler.test(al, 1).unwrap();
        assembler.je(wait).unwrap();
        assembler.mov(dx, i32::from(SERIAL_DATA)).unwrap();
        assembler.in_(al, dx).unwrap();
        self
    }

    /// Writes the byte in AL to the serial port.
    pub fn print_al(self) -> Self {
        self.out(SERIAL_DATA)
    }

    /// Stops the processor for good.
    pub fn halt(mut self) -> Self {
        self.assembler.hlt().unwrap();
        self
    }

    /// The ELF file.
    pub fn finish(mut self) -> Vec<u8> {
        let code = self.assembler.assemble(ENTRY).unwrap();
        let size = code.len() as u64;
        assert!(ENTRY + size <= SCRATCH);
        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        let offset = SEGMENT_OFFSET as u64;
        let fields: [(u64, usize); 21] = [
            // An executable for x86-64, version 1; entry point; program headers at 64, no sections; flags.
            (2, 2),
            (62, 2),
            (1, 4),
            (ENTRY, 8),
            (64, 8),
            (0, 8),
            (0, 4),
            // Sizes and counts: this header, a program header, one of them, no section headers.
            (64, 2),
            (56, 2),
            (1, 2),
            (64, 2),
            (0, 2),
            (0, 2),
            // PT_LOAD, read + write + execute; offset, addresses, sizes, alignment.
            (1, 4),
            (7, 4),
            (offset, 8),
            (ENTRY, 8),
            (ENTRY, 8),
            (size, 8),
            (size, 8),
            (4096, 8),
        ];
        for (value, length) in fields {
            file.extend_from_slice(&value.to_le_bytes()[..length]);
        }
        file.resize(SEGMENT_OFFSET, 0);
        file.extend_from_slice(&code);
        file
    }
}
