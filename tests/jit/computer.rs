//! A processor with page tables, exception handlers that log and recover, and an executor of choice.

use crate::host::WasmtimeHost;
use dinghy::cpu::{Activity, DescriptorTable, Segment, SegmentIndex, Stop, SystemBus, Vcpu};
use dinghy::host::CodeHost;
use dinghy::ir::Reg;
use dinghy::jit::{Engine, EngineOptions, EngineStatistics};
use dinghy::mem::{Addressable, GuestMemory, GuestPhysAddr};
use iced_x86::code_asm::*;

/// Where programs begin.
pub const CODE: u64 = 0x1000_0000;
/// Pages of code.
pub const CODE_PAGES: u64 = 8;
/// The first page of code in RAM.
pub const CODE_FRAME: u64 = 0x2_0000;
/// Data: two pages, a page that can only be read, one that is absent, and the first page a second time.
pub const DATA: u64 = 0x2000_0000;
/// The first page of data in RAM.
pub const DATA_FRAME: u64 = 0x3_0000;
/// The table that maps the pages of code.
pub const CODE_TABLE: u64 = 0x4000;
/// Where an exception goes on: RIP, then RSP. The program ends at an exception when RIP is 0.
pub const RECOVERY: u64 = 0xc000;
/// Frames that nothing else uses.
pub const SPARE_FRAME: u64 = 0x4_0000;
/// The stack's end.
pub const STACK_TOP: u64 = 0x1_6000;
/// Present and writable, in a page table's entry.
pub const WRITABLE: u64 = 3;

const RAM_BYTES: u64 = 1 << 20;
const PML4: u64 = 0x1000;
const PDPT: u64 = 0x2000;
const DIRECTORY: u64 = 0x3000;
const DATA_TABLE: u64 = 0x5000;
const SYSTEM_TABLE: u64 = 0x6000;
const GDT: u64 = 0x7000;
const IDT: u64 = 0x8000;
const HANDLERS: u64 = 0xa000;
/// Where the next entry of the log goes.
const LOG_NEXT: u64 = RECOVERY + 16;
const LOG: u64 = 0xd000;
const LOG_ENTRY_BYTES: i32 = 256;
const LOG_ENTRIES: u64 = 48;
const CODE_SELECTOR: u16 = 0x08;
const DATA_SELECTOR: u16 = 0x10;

/// A port whose device writes a byte (bits 0 to 7) to an offset from [`CODE_FRAME`] on (the bits above).
pub const PATCH_PORT: u16 = 0x80;

/// One device, behind [`PATCH_PORT`].
struct PatchDevice(GuestMemory);

impl SystemBus for PatchDevice {
    fn mmio_read(&mut self, _: GuestPhysAddr, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}
    fn port_read(&mut self, _: u16, _: u8) -> u32 {
        u32::MAX
    }
    fn port_write(&mut self, port: u16, _: u8, value: u32) {
        assert_eq!(port, PATCH_PORT);
        let address = GuestPhysAddr(CODE_FRAME + u64::from(value >> 8));
        self.0.write(address, &[value as u8]).unwrap();
    }
    fn apic_read_msr(&mut self, _: u32) -> Option<u64> {
        None
    }
    fn apic_write_msr(&mut self, _: u32, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn is_interrupt_pending(&mut self) -> bool {
        false
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn now_ns(&mut self, instructions: u64) -> u64 {
        instructions
    }
    fn started_at_unix_ns(&self) -> u64 {
        0
    }
    fn random_u64(&mut self) -> u64 {
        4
    }
}

/// What a program starts from.
#[derive(Clone)]
pub struct Program {
    /// The bytes from [`CODE`] on.
    pub code: Vec<u8>,
    /// The sixteen general registers; RSP begins at [`STACK_TOP`] whatever stands here.
    pub general: [u64; 16],
    /// The vector registers.
    pub vectors: [u128; 16],
    /// The bytes from [`DATA`] on.
    pub data: Vec<u8>,
}

impl Program {
    /// Assembled code, all else zero.
    pub fn new(write: impl FnOnce(&mut CodeAssembler)) -> Self {
        Self { code: assembled(CODE, write), general: [0; 16], vectors: [0; 16], data: Vec::new() }
    }
}

/// The bytes of code at `address`.
pub fn assembled(address: u64, write: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
    let mut assembler = CodeAssembler::new(64).unwrap();
    write(&mut assembler);
    assembler.assemble(address).unwrap()
}

/// What a program leaves.
#[derive(Clone, PartialEq, Eq)]
pub struct State {
    pub general: [u64; 16],
    pub rip: u64,
    pub rflags: u64,
    pub vectors: [u128; 16],
    /// Their upper halves.
    pub upper_vectors: [u128; 16],
    pub mxcsr: u32,
    pub cr2: u64,
    /// Retired since the start.
    pub instructions: u64,
    pub ram: Vec<u8>,
}

impl State {
    /// Exceptions that were taken.
    pub fn logged_exceptions(&self) -> u64 {
        let at = LOG_NEXT as usize;
        let next = u64::from_le_bytes(self.ram[at..at + 8].try_into().unwrap());
        (next - LOG) / LOG_ENTRY_BYTES as u64
    }

    /// Where two states differ; `None` when they do not.
    pub fn difference(&self, other: &Self) -> Option<String> {
        let mut lines = Vec::new();
        let mut line = |name: String, mine: u128, others: u128| {
            if mine != others {
                lines.push(format!("{name}: {mine:#x} and {others:#x}"));
            }
        };
        for number in 0..16 {
            line(format!("register {number}"), self.general[number].into(), other.general[number].into());
            line(format!("xmm{number}"), self.vectors[number], other.vectors[number]);
            let (mine, others) = (self.upper_vectors[number], other.upper_vectors[number]);
            line(format!("upper half of ymm{number}"), mine, others);
        }
        line("rip".into(), self.rip.into(), other.rip.into());
        line("rflags".into(), self.rflags.into(), other.rflags.into());
        line("mxcsr".into(), self.mxcsr.into(), other.mxcsr.into());
        line("cr2".into(), self.cr2.into(), other.cr2.into());
        line("instructions".into(), self.instructions.into(), other.instructions.into());
        let places = (0..self.ram.len()).filter(|&place| self.ram[place] != other.ram[place]);
        for place in places.take(16) {
            line(format!("memory at {place:#x}"), self.ram[place].into(), other.ram[place].into());
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }
}

/// How a program is run.
#[derive(Clone, Copy, Debug)]
pub enum Executor {
    Interpreter,
    Compiled(EngineOptions),
}

/// A processor with its memory.
pub struct Computer {
    vcpu: Addressable<Vcpu>,
    /// Retired instructions at the start of the program.
    begun: u64,
}

impl Computer {
    pub fn new(executor: Executor) -> Self {
        match executor {
            Executor::Interpreter => Self::bare(),
            Executor::Compiled(options) => Self::with_host(options, |host| Box::new(host)),
        }
    }

    /// Compiles for the host that `wrap` makes of wasmtime.
    pub fn with_host(options: EngineOptions, wrap: impl FnOnce(WasmtimeHost) -> Box<dyn CodeHost>) -> Self {
        let mut computer = Self::bare();
        let host = wrap(WasmtimeHost::new(&computer.vcpu.memory));
        let engine = Engine::new(host, options).unwrap();
        let threshold = engine.threshold();
        computer.vcpu.set_compiled_code(Box::new(engine), threshold);
        computer
    }

    fn bare() -> Self {
        let memory = GuestMemory::new(RAM_BYTES).unwrap();
        let vcpu = memory.place(Vcpu::new(memory.clone(), Box::new(PatchDevice(memory.clone())), 0));
        Self { vcpu, begun: 0 }
    }

    /// Puts a program into fresh memory and the processor at its start.
    pub fn start(&mut self, program: &Program) {
        let image = image(program);
        let vcpu = &mut self.vcpu;
        vcpu.memory.write(GuestPhysAddr(0), &image).unwrap();
        vcpu.cr0 = 0x8001_0033;
        vcpu.cr2 = 0;
        vcpu.cr3 = PML4;
        // PAE, OSFXSR, OSXMMEXCPT, OSXSAVE.
        vcpu.cr4 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 18;
        vcpu.xcr0 = 7;
        vcpu.msr.efer = 1 << 8 | 1 << 10;
        vcpu.gdtr = DescriptorTable { base: GDT, limit: 0x17 };
        vcpu.idtr = DescriptorTable { base: IDT, limit: 0x1ff };
        let segment = |selector, attributes| Segment { selector, base: 0, limit: u32::MAX, attributes };
        vcpu.segments[SegmentIndex::Cs as usize] = segment(CODE_SELECTOR, 0xaf9b);
        for index in [SegmentIndex::Ss, SegmentIndex::Ds, SegmentIndex::Es] {
            vcpu.segments[index as usize] = segment(DATA_SELECTOR, 0xcf93);
        }
        vcpu.cpl = 0;
        vcpu.activity = Activity::Running;
        vcpu.mxcsr = 0x1f80;
        for (number, value) in program.vectors.into_iter().enumerate() {
            vcpu.vectors[number].set_low(value);
            vcpu.vectors[number].set_high(value.rotate_left(32));
        }
        vcpu.set_rflags(2);
        // CR3 is loaded by an instruction, for the mappings of the program before to go.
        vcpu.set_reg(Reg::RAX, PML4);
        vcpu.set_reg(Reg::RIP, HANDLERS + 0xe00);
        assert_eq!(self.vcpu.run(u64::MAX), Stop::Halted);
        self.vcpu.activity = Activity::Running;
        for (number, value) in program.general.into_iter().enumerate() {
            self.vcpu.set_reg(Reg(number as u8), value);
        }
        self.vcpu.set_reg(Reg::RSP, STACK_TOP);
        self.begun = self.vcpu.instructions;
        self.enter(CODE);
    }

    /// Continues at an address, after a halt too.
    pub fn enter(&mut self, rip: u64) {
        self.vcpu.activity = Activity::Running;
        self.vcpu.set_reg(Reg::RIP, rip);
    }

    /// Runs until `HLT`, in slices whose lengths `slice` tells.
    pub fn run(&mut self, mut slice: impl FnMut() -> u64) {
        const PATIENCE: u64 = 10_000_000;
        let end = self.vcpu.instructions + PATIENCE;
        loop {
            let limit = self.vcpu.instructions.saturating_add(slice()).min(end);
            match self.vcpu.run(limit) {
                Stop::Halted => return,
                Stop::Limit => assert!(self.vcpu.instructions < end, "the program does not end"),
                Stop::Shutdown => panic!("triple fault"),
            }
        }
    }

    /// Runs until `HLT` in one piece.
    pub fn run_to_halt(&mut self) {
        self.run(|| u64::MAX);
    }

    /// Runs a program from start to end.
    pub fn run_program(&mut self, program: &Program) -> State {
        self.start(program);
        self.run_to_halt();
        self.state()
    }

    pub fn register(&self, register: Reg) -> u64 {
        self.vcpu.reg(register)
    }

    pub fn set_register(&mut self, register: Reg, value: u64) {
        self.vcpu.set_reg(register, value);
    }

    /// Writes RAM as a device does.
    pub fn write_as_device(&self, address: u64, bytes: &[u8]) {
        self.vcpu.memory.write(GuestPhysAddr(address), bytes).unwrap();
    }

    /// What the engine has done.
    pub fn engine(&self) -> EngineStatistics {
        let engine = self.vcpu.compiled_code().expect("there is an engine");
        engine.as_any().downcast_ref::<Engine>().expect("it is ours").statistics()
    }

    pub fn state(&self) -> State {
        let vcpu = &self.vcpu;
        let mut ram = vec![0; RAM_BYTES as usize];
        vcpu.memory.read(GuestPhysAddr(0), &mut ram).unwrap();
        State {
            general: std::array::from_fn(|number| vcpu.reg(Reg(number as u8))),
            rip: vcpu.reg(Reg::RIP),
            rflags: vcpu.rflags(),
            vectors: std::array::from_fn(|number| vcpu.vectors[number].low()),
            upper_vectors: std::array::from_fn(|number| vcpu.vectors[number].high()),
            mxcsr: vcpu.mxcsr,
            cr2: vcpu.cr2,
            instructions: vcpu.instructions - self.begun,
            ram,
        }
    }
}

/// All of RAM.
fn image(program: &Program) -> Vec<u8> {
    let mut ram = vec![0; RAM_BYTES as usize];
    let mut put = |address: u64, bytes: &[u8]| {
        ram[address as usize..address as usize + bytes.len()].copy_from_slice(bytes);
    };
    let mut map = |table: u64, index: u64, entry: u64| put(table + index * 8, &entry.to_le_bytes());
    const READABLE: u64 = 1;
    map(PML4, 0, PDPT | WRITABLE);
    map(PDPT, 0, DIRECTORY | WRITABLE);
    map(DIRECTORY, 0, SYSTEM_TABLE | WRITABLE);
    map(DIRECTORY, CODE >> 21, CODE_TABLE | WRITABLE);
    map(DIRECTORY, DATA >> 21, DATA_TABLE | WRITABLE);
    for page in 0..RAM_BYTES >> 12 {
        map(SYSTEM_TABLE, page, page << 12 | WRITABLE);
    }
    for page in 0..CODE_PAGES {
        map(CODE_TABLE, page, CODE_FRAME + (page << 12) | WRITABLE);
    }
    map(DATA_TABLE, 0, DATA_FRAME | WRITABLE);
    map(DATA_TABLE, 1, DATA_FRAME + 0x1000 | WRITABLE);
    map(DATA_TABLE, 2, DATA_FRAME + 0x2000 | READABLE);
    map(DATA_TABLE, 4, DATA_FRAME | WRITABLE);
    put(GDT + u64::from(CODE_SELECTOR), &0x00af_9b00_0000_ffff_u64.to_le_bytes());
    put(GDT + u64::from(DATA_SELECTOR), &0x00cf_9300_0000_ffff_u64.to_le_bytes());
    for vector in 0..32 {
        let gate = (HANDLERS + vector * 16) | u64::from(CODE_SELECTOR) << 16 | 0x8e00 << 32;
        put(IDT + vector * 16, &gate.to_le_bytes());
    }
    put(HANDLERS, &handlers());
    let loader = assembled(HANDLERS + 0xe00, |a| {
        a.mov(cr3, rax).unwrap();
        a.hlt().unwrap();
    });
    put(HANDLERS + 0xe00, &loader);
    put(LOG_NEXT, &LOG.to_le_bytes());
    put(CODE_FRAME, &program.code);
    put(DATA_FRAME, &program.data);
    assert!(program.code.len() as u64 <= CODE_PAGES << 12 && program.data.len() <= 3 << 12);
    ram
}

/// An entry every 16 bytes that logs the exception with all registers and goes on where [`RECOVERY`] says.
fn handlers() -> Vec<u8> {
    let mut code = Vec::new();
    let common = HANDLERS + 32 * 16;
    for vector in 0..32 {
        let entry = HANDLERS + vector * 16;
        let bytes = assembled(entry, |a| {
            if !matches!(vector, 8 | 10..=14 | 17) {
                a.push(0).unwrap();
            }
            a.push(vector as i32).unwrap();
            a.jmp(common).unwrap();
        });
        assert!(bytes.len() <= 16);
        code.extend(&bytes);
        code.resize((entry - HANDLERS) as usize + 16, 0xcc);
    }
    code.extend(assembled(common, |a| logging(a).unwrap()));
    code
}

/// Stack on entry: vector, error code, RIP, CS, RFLAGS, RSP, SS.
fn logging(a: &mut CodeAssembler) -> Result<(), iced_x86::IcedError> {
    let registers = [rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15];
    let mut end = a.create_label();
    a.push(rax)?;
    a.push(rbx)?;
    a.mov(rbx, qword_ptr(LOG_NEXT))?;
    for place in 0..9 {
        a.mov(rax, qword_ptr(rsp + place * 8))?;
        a.mov(qword_ptr(rbx + place * 8), rax)?;
    }
    for (place, register) in (9..).zip(registers) {
        a.mov(qword_ptr(rbx + place * 8), register)?;
    }
    a.add(rbx, LOG_ENTRY_BYTES)?;
    a.mov(qword_ptr(LOG_NEXT), rbx)?;
    a.cmp(rbx, (LOG + LOG_ENTRIES * LOG_ENTRY_BYTES as u64) as i32)?;
    a.jae(end)?;
    a.mov(rax, qword_ptr(RECOVERY))?;
    a.test(rax, rax)?;
    a.je(end)?;
    a.mov(qword_ptr(rsp + 32), rax)?;
    a.mov(rax, qword_ptr(RECOVERY + 8))?;
    a.mov(qword_ptr(rsp + 56), rax)?;
    a.pop(rbx)?;
    a.pop(rax)?;
    a.add(rsp, 16)?;
    a.iretq()?;
    a.set_label(&mut end)?;
    a.hlt()
}
