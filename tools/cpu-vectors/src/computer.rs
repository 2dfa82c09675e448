//! A processor that runs one vector.

use crate::code_host::WasmtimeHost;
use crate::hex::HexBytes;
use crate::pages::{PAGE, Pages, SYSTEM_BASE};
use crate::state;
use crate::vector::{Outcome, Vector, VectorError};
use dinghy::cpu::{Activity, DescriptorTable, Segment, SegmentIndex, Stop, SystemBus, Vcpu};
use dinghy::ir::Reg;
use dinghy::jit::{Engine as Compiler, EngineOptions};
use dinghy::mem::GuestPhysAddr;
use iced_x86::{Decoder, DecoderOptions, Mnemonic};

/// What executes the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Only the interpreter.
    Interpreter,
    /// Every block is compiled at first sight.
    Compiled,
}

/// The privilege that the code runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// CPL 0.
    Supervisor,
    /// CPL 3.
    User,
}

/// After so many instructions a vector is given up.
pub const MOST_INSTRUCTIONS: u64 = 10_000_000;

// The processor's own pages: descriptors, gates, handlers, stack.
const GDT: u64 = SYSTEM_BASE;
const TSS: u64 = SYSTEM_BASE + 0x100;
const IDT: u64 = SYSTEM_BASE + PAGE;
const HANDLERS: u64 = SYSTEM_BASE + 2 * PAGE;
const STACK_TOP: u64 = SYSTEM_BASE + 4 * PAGE;

const KERNEL_CODE: u16 = 0x08;
const KERNEL_DATA: u16 = 0x10;
const USER_DATA: u16 = 0x18;
const USER_CODE: u16 = 0x20;
const TASK: u16 = 0x28;
const GDT_LIMIT: u16 = 0x37;

const VECTORS: u64 = 32;
const HANDLER_BYTES: u64 = 16;
const HLT: u8 = 0xf4;

const NAMES: [&str; VECTORS as usize] = [
    "DE", "DB", "NMI", "BP", "OF", "BR", "UD", "NM", "DF", "MF", "TS", "NP", "SS", "GP", "PF", "15", "MF",
    "AC", "MC", "XM", "VE", "CP", "22", "23", "24", "25", "26", "27", "HV", "VC", "SX", "31",
];

/// RFLAGS.RF, which the frames of faults show set.
const RESUME_FLAG: u64 = 1 << 16;

/// Nothing is outside RAM.
struct NoDevices;

impl SystemBus for NoDevices {
    fn mmio_read(&mut self, _: GuestPhysAddr, data: &mut [u8]) {
        data.fill(0xff);
    }

    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}

    fn port_read(&mut self, _: u16, _: u8) -> u32 {
        u32::MAX
    }

    fn port_write(&mut self, _: u16, _: u8, _: u32) {}

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

    /// The same for every run: outcomes repeat.
    fn random_u64(&mut self) -> u64 {
        0x0123_4567_89ab_cdef
    }
}

/// Runs a vector on a new processor.
///
/// # Errors
/// When the vector does not describe a state that a processor can be in.
pub fn run(vector: &Vector, engine: Engine, privilege: Privilege) -> Result<Outcome, VectorError> {
    run_limited(vector, engine, privilege, MOST_INSTRUCTIONS)
}

/// As [`run`], for at most about `limit` instructions.
///
/// # Errors
/// As [`run`].
pub fn run_limited(
    vector: &Vector,
    engine: Engine,
    privilege: Privilege,
    limit: u64,
) -> Result<Outcome, VectorError> {
    let pages = Pages::of(vector)?;
    write_system(&pages)?;
    for (address, bytes) in &vector.memdata {
        pages.write(address.0, &bytes.0)?;
    }
    pages.write(vector.load.0, &vector.code.0)?;
    let vcpu = Vcpu::new(pages.memory.clone(), Box::new(NoDevices), 0);
    let mut vcpu = pages.memory.place(vcpu);
    if engine == Engine::Compiled {
        let host = Box::new(WasmtimeHost::new(&pages.memory));
        let compiler = Compiler::new(host, EngineOptions::AT_FIRST_SIGHT)?;
        let threshold = compiler.threshold();
        vcpu.set_compiled_code(Box::new(compiler), threshold);
    }
    enter_long_mode(&mut vcpu, pages.cr3, privilege);
    let rflags = state::load(&mut vcpu, &vector.regs)?;
    // Bit 1 is always set; what has no meaning stays clear.
    vcpu.set_rflags(rflags & 0x003f_7fd5 | 2);
    vcpu.set_reg(Reg::RIP, vector.entry.unwrap_or(vector.load).0);
    let stop = loop {
        match vcpu.run(limit) {
            Stop::Limit if vcpu.instructions < limit => {}
            stop => break stop,
        }
    };
    let end = End::of(&vcpu, stop, &pages)?;
    let mem = vector
        .regions
        .iter()
        .map(|&(address, length)| Ok((address, HexBytes(pages.read(address.0, length.0 as usize)?))))
        .collect::<Result<_, VectorError>>()?;
    let regs = state::store(&vcpu, end.rip, end.rflags, end.rsp);
    Ok(Outcome { name: vector.name.clone(), stop: end.stop, regs, mem })
}

/// Long mode with paging, all that a user program finds switched on, registers zero.
fn enter_long_mode(vcpu: &mut Vcpu, cr3: u64, privilege: Privilege) {
    // PG, AM, WP, NE, ET, MP, PE.
    vcpu.cr0 = 0x8005_0033;
    vcpu.cr3 = cr3;
    // PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE.
    vcpu.cr4 = 1 << 5 | 1 << 9 | 1 << 10 | 1 << 16 | 1 << 18;
    vcpu.xcr0 = 7;
    // LME, LMA, NXE.
    vcpu.msr.efer = 1 << 8 | 1 << 10 | 1 << 11;
    vcpu.gdtr = DescriptorTable { base: GDT, limit: GDT_LIMIT };
    vcpu.idtr = DescriptorTable { base: IDT, limit: (VECTORS * 16 - 1) as u16 };
    vcpu.tr = Segment { selector: TASK, base: TSS, limit: 0x67, attributes: 0x8b };
    let (code, data, level) = match privilege {
        Privilege::Supervisor => (KERNEL_CODE, KERNEL_DATA, 0),
        Privilege::User => (USER_CODE, USER_DATA, 3),
    };
    let segment = |selector: u16, attributes: u16| Segment {
        selector: selector | level,
        base: 0,
        limit: u32::MAX,
        attributes: attributes | level << 5,
    };
    vcpu.segments[SegmentIndex::Cs as usize] = segment(code, 0xaf9b);
    for index in [SegmentIndex::Ss, SegmentIndex::Ds, SegmentIndex::Es, SegmentIndex::Fs, SegmentIndex::Gs] {
        vcpu.segments[index as usize] = segment(data, 0xcf93);
    }
    vcpu.cpl = level as u8;
    vcpu.activity = Activity::Running;
    vcpu.mxcsr = 0x1f80;
    vcpu.x87.init();
    for number in 0..16 {
        vcpu.set_reg(Reg(number), 0);
    }
}

/// Descriptors, a task with a stack for every exception, and handlers that halt.
fn write_system(pages: &Pages) -> Result<(), VectorError> {
    let put = |address: u64, value: u64| pages.write(address, &value.to_le_bytes());
    put(GDT + u64::from(KERNEL_CODE), 0x00af_9b00_0000_ffff)?;
    put(GDT + u64::from(KERNEL_DATA), 0x00cf_9300_0000_ffff)?;
    put(GDT + u64::from(USER_DATA), 0x00cf_f300_0000_ffff)?;
    put(GDT + u64::from(USER_CODE), 0x00af_fb00_0000_ffff)?;
    // Behind its end: no ports for programs.
    pages.write(TSS + 0x66, &0x68_u16.to_le_bytes())?;
    // RSP0, and the first stack of the interrupt stack table.
    pages.write(TSS + 4, &STACK_TOP.to_le_bytes())?;
    pages.write(TSS + 0x24, &STACK_TOP.to_le_bytes())?;
    for vector in 0..VECTORS {
        let handler = HANDLERS + vector * HANDLER_BYTES;
        // Programs may raise #BP and #OF themselves (SDM vol. 3A 6.12.1.2).
        let gate = if matches!(vector, 3 | 4) { 0xee01 } else { 0x8e01 };
        let low =
            handler & 0xffff | u64::from(KERNEL_CODE) << 16 | gate << 32 | (handler >> 16 & 0xffff) << 48;
        put(IDT + vector * 16, low)?;
        put(IDT + vector * 16 + 8, handler >> 32)?;
        pages.write(handler, &[HLT])?;
    }
    Ok(())
}

/// How and where a vector has ended.
struct End {
    stop: String,
    rip: u64,
    rflags: u64,
    rsp: u64,
}

impl End {
    fn of(vcpu: &Vcpu, stop: Stop, pages: &Pages) -> Result<Self, VectorError> {
        let rip = vcpu.reg(Reg::RIP);
        let here =
            |stop: &str| Self { stop: stop.to_owned(), rip, rflags: vcpu.rflags(), rsp: vcpu.reg(Reg::RSP) };
        match stop {
            Stop::Limit => return Ok(here("limit")),
            Stop::Shutdown => return Ok(here("shutdown")),
            Stop::Halted => {}
        }
        let handler = rip.wrapping_sub(HANDLERS + 1);
        if handler >= VECTORS * HANDLER_BYTES {
            return Ok(here("hlt"));
        }
        let vector = handler / HANDLER_BYTES;
        let frame = vcpu.reg(Reg::RSP);
        let word = |place: u64| -> Result<u64, VectorError> {
            let bytes = pages.read(frame.wrapping_add(place * 8), 8)?;
            Ok(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
        };
        let has_error_code = matches!(vector, 8 | 10..=14 | 17 | 21);
        let first = u64::from(has_error_code);
        let error_code = if has_error_code { word(0)? } else { 0 };
        let (rip, rflags, rsp) = (word(first)?, word(first + 2)? & !RESUME_FLAG, word(first + 3)?);
        if vector == 13
            && error_code == 0
            && let Some(length) = halt_length(pages, rip)
        {
            return Ok(Self { stop: "hlt".to_owned(), rip: rip.wrapping_add(length), rflags, rsp });
        }
        let stop = format!("exception:#{}:{error_code}", NAMES[vector as usize]);
        Ok(Self { stop, rip, rflags, rsp })
    }
}

/// The length of a `HLT` at an address, if there is one.
fn halt_length(pages: &Pages, rip: u64) -> Option<u64> {
    let code: Vec<u8> =
        (0..15).map_while(|offset| pages.read(rip.checked_add(offset)?, 1).ok()).flatten().collect();
    let instruction = Decoder::with_ip(64, &code, rip, DecoderOptions::NONE).decode();
    (instruction.mnemonic() == Mnemonic::Hlt).then_some(instruction.len() as u64)
}
