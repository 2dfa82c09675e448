//! Static ELF64 programs made of Linux system calls, assembled from integer instructions only.

use iced_x86::code_asm::*;

const BASE: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;
/// Zeroed memory that the program may write, far behind its code.
pub const SCRATCH: u64 = BASE + 0x1_0000;
const MEMORY_SIZE: u64 = 0x2_0000;

/// System call numbers (Linux `arch/x86/entry/syscalls/syscall_64.tbl`).
pub mod number {
    pub const READ: u64 = 0;
    pub const WRITE: u64 = 1;
    pub const OPEN: u64 = 2;
    pub const RT_SIGPROCMASK: u64 = 14;
    pub const IOCTL: u64 = 16;
    pub const PREAD64: u64 = 17;
    pub const PWRITE64: u64 = 18;
    pub const NANOSLEEP: u64 = 35;
    pub const FORK: u64 = 57;
    pub const EXECVE: u64 = 59;
    pub const EXIT: u64 = 60;
    pub const FCNTL: u64 = 72;
    pub const FSYNC: u64 = 74;
    pub const RENAME: u64 = 82;
    pub const MKDIR: u64 = 83;
    pub const RMDIR: u64 = 84;
    pub const LINK: u64 = 86;
    pub const UNLINK: u64 = 87;
    pub const SYMLINK: u64 = 88;
    pub const CHMOD: u64 = 90;
    pub const SETSID: u64 = 112;
    pub const RT_SIGTIMEDWAIT: u64 = 128;
    pub const MOUNT: u64 = 165;
    pub const REBOOT: u64 = 169;
}

/// The last argument of reboot(2).
#[derive(Clone, Copy)]
pub enum Reboot {
    PowerOff = 0x4321_fedc,
    Restart = 0x0123_4567,
}

/// An argument of a system call.
pub enum Argument<'a> {
    /// A number, or an address in [`SCRATCH`].
    Number(u64),
    /// The address of these bytes.
    Bytes(&'a [u8]),
    /// What the last system call to [keep](Program::keep) its result has returned.
    Kept,
    /// What the last system call has returned.
    Result,
}

/// A program in the making.
pub struct Program {
    assembler: CodeAssembler,
    data: Vec<(CodeLabel, Vec<u8>)>,
}

impl Program {
    pub fn new() -> Self {
        Self { assembler: CodeAssembler::new(64).unwrap(), data: Vec::new() }
    }

    /// Makes a system call. Its result can be an argument of the next one.
    pub fn call(mut self, number: u64, arguments: &[Argument]) -> Self {
        let registers = [rdi, rsi, rdx, r10, r8];
        assert!(arguments.len() <= registers.len());
        let assembler = &mut self.assembler;
        for (register, argument) in registers.into_iter().zip(arguments) {
            match argument {
                Argument::Number(value) => assembler.mov(register, *value).unwrap(),
                Argument::Bytes(bytes) => {
                    let label = assembler.create_label();
                    assembler.lea(register, ptr(label)).unwrap();
                    self.data.push((label, bytes.to_vec()));
                }
                Argument::Kept => assembler.mov(register, r12).unwrap(),
                Argument::Result => assembler.mov(register, rax).unwrap(),
            }
        }
        assembler.mov(rax, number).unwrap();
        assembler.syscall().unwrap();
        self
    }

    /// Keeps the result of the last system call (a file descriptor, say).
    pub fn keep(mut self) -> Self {
        self.assembler.mov(r12, rax).unwrap();
        self
    }

    /// Prints on standard output.
    pub fn print(self, text: &str) -> Self {
        let bytes = text.as_bytes();
        let length = Argument::Number(bytes.len() as u64);
        self.call(number::WRITE, &[Argument::Number(1), Argument::Bytes(bytes), length])
    }

    /// Prints `text` and ends the machine unless the last result is `expected`.
    pub fn expect(mut self, expected: i32, text: &str) -> Self {
        let mut well = self.assembler.create_label();
        self.assembler.cmp(rax, expected).unwrap();
        self.assembler.je(well).unwrap();
        let mut program = self.print(text).reboot(Reboot::PowerOff);
        program.assembler.set_label(&mut well).unwrap();
        program.assembler.nop().unwrap();
        program
    }

    /// Mounts a file system that has no device.
    pub fn mount(self, kind: &str, folder: &str) -> Self {
        let (kind, folder) = (format!("{kind}\0"), format!("{folder}\0"));
        let zero = || Argument::Number(0);
        let name = Argument::Bytes(kind.as_bytes());
        let arguments =
            [name, Argument::Bytes(folder.as_bytes()), Argument::Bytes(kind.as_bytes()), zero(), zero()];
        self.call(number::MOUNT, &arguments).expect(0, "cannot mount\n")
    }

    /// Opens a file for reading and writing, or for reading only; the descriptor is kept.
    pub fn open(self, path: &str, is_writable: bool) -> Self {
        let path = format!("{path}\0");
        let flags = if is_writable { 2 } else { 0 };
        self.call(number::OPEN, &[Argument::Bytes(path.as_bytes()), Argument::Number(flags)]).keep()
    }

    /// Fills a YMM register with what is [kept](Self::keep).
    pub fn fill_vector_with_kept(mut self) -> Self {
        self.assembler.vmovq(xmm7, r12).unwrap();
        self.assembler.vpbroadcastq(ymm7, xmm7).unwrap();
        self
    }

    /// Prints `text` and ends the machine unless [the register](Self::fill_vector_with_kept) is as it was.
    pub fn expect_vector_as_kept(mut self, text: &str) -> Self {
        let assembler = &mut self.assembler;
        assembler.vmovq(xmm6, r12).unwrap();
        assembler.vpbroadcastq(ymm6, xmm6).unwrap();
        assembler.vpcmpeqq(ymm6, ymm6, ymm7).unwrap();
        assembler.vmovmskpd(eax, ymm6).unwrap();
        self.expect(0b1111, text)
    }

    /// Sleeps.
    pub fn sleep(self, nanoseconds: u64) -> Self {
        let mut interval = 0u64.to_le_bytes().to_vec();
        interval.extend(nanoseconds.to_le_bytes());
        self.call(number::NANOSLEEP, &[Argument::Bytes(&interval), Argument::Number(0)])
            .expect(0, "cannot sleep\n")
    }

    /// Switches the machine off or restarts it.
    pub fn reboot(self, how: Reboot) -> Self {
        let arguments = [0xfee1_dead, 0x2812_1969, how as u64].map(Argument::Number);
        self.call(number::REBOOT, &arguments)
    }

    /// Ends the program.
    pub fn exit(self, code: u64) -> Self {
        self.call(number::EXIT, &[Argument::Number(code)])
    }

    /// The ELF file: one segment that may be read, written and executed.
    pub fn finish(mut self) -> Vec<u8> {
        self.assembler.ud2().unwrap();
        for (mut label, bytes) in std::mem::take(&mut self.data) {
            self.assembler.set_label(&mut label).unwrap();
            self.assembler.db(&bytes).unwrap();
        }
        let code = self.assembler.assemble(BASE + HEADERS).unwrap();
        let size = HEADERS + code.len() as u64;
        assert!(BASE + size <= SCRATCH);

        let mut file = b"\x7fELF\x02\x01\x01".to_vec();
        file.resize(16, 0);
        let mut put = |value: u64, length: usize| file.extend_from_slice(&value.to_le_bytes()[..length]);
        // An executable for x86-64, version 1; entry point; program headers at 64, no sections; flags.
        for (value, length) in [(2, 2), (62, 2), (1, 4), (BASE + HEADERS, 8), (64, 8), (0, 8), (0, 4)] {
            put(value, length);
        }
        // Sizes and counts: this header, a program header, one of them, no section headers.
        for (value, length) in [(64, 2), (56, 2), (1, 2), (64, 2), (0, 2), (0, 2)] {
            put(value, length);
        }
        // PT_LOAD, read + write + execute; offset, addresses, sizes, alignment.
        for (value, length) in
            [(1, 4), (7, 4), (0, 8), (BASE, 8), (BASE, 8), (size, 8), (MEMORY_SIZE, 8), (4096, 8)]
        {
            put(value, length);
        }
        file.extend_from_slice(&code);
        file
    }
}
