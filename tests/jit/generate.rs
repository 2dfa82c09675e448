//! Random programs: functions with loops, branches, calls and accesses that fault.

use crate::computer::{CODE, CODE_PAGES, DATA, Program, RECOVERY};
use crate::random::Random;
use iced_x86::code_asm::*;
use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, FlowControl, IcedError, Instruction, InstructionInfoFactory,
    Mnemonic, OpAccess, OpKind, Register,
};

/// Functions of a program; each calls only those behind it, so that every program ends.
const FUNCTIONS: usize = 5;

/// A program of several functions on several pages.
///
/// RBX and RBP point to data near the edges of pages, R15 is a small index, R12 counts loops. Random
/// instructions write none of them, nor RSP, and reach memory by RBX and RBP only. An exception goes on behind
/// the group of instructions that it is in.
pub fn program(random: &mut Random) -> Program {
    loop {
        let mut writer = Writer { assembler: CodeAssembler::new(64).unwrap(), random, functions: Vec::new() };
        writer.functions = (0..FUNCTIONS).map(|_| writer.assembler.create_label()).collect();
        writer.program().unwrap();
        let code = writer.assembler.assemble(CODE).unwrap();
        // What would follow the last page is not mapped.
        if code.len() as u64 > CODE_PAGES << 12 {
            continue;
        }
        let mut general: [u64; 16] = std::array::from_fn(|_| random.integer());
        general[3] = DATA + 0x1000 * (1 + random.below(2)) - 160 + random.below(320);
        general[5] = DATA + random.pick(&[0x400, 0x1000, 0x3000, 0x4800]) - random.below(160);
        general[15] = random.below(16);
        let vectors = std::array::from_fn(|_| random.vector());
        let data = (0..3 << 8).flat_map(|_| random.vector().to_le_bytes()).collect();
        return Program { code, general, vectors, data };
    }
}

struct Writer<'a> {
    assembler: CodeAssembler,
    random: &'a mut Random,
    functions: Vec<CodeLabel>,
}

impl Writer<'_> {
    fn program(&mut self) -> Result<(), IcedError> {
        let main = self.functions[0];
        let mut again = self.assembler.create_label();
        // The whole program runs a few times, for its later functions to become hot as well.
        let rounds = 1 + self.random.below(4) as i32;
        self.assembler.mov(r13d, rounds)?;
        self.assembler.set_label(&mut again)?;
        self.assembler.call(main)?;
        self.assembler.dec(r13d)?;
        self.assembler.jne(again)?;
        self.assembler.hlt()?;
        for number in 0..FUNCTIONS {
            if self.random.one_in(2) {
                // To another page, or over the edge of one.
                let gap = vec![0xcc; self.random.below(3000) as usize];
                self.assembler.db(&gap)?;
            }
            let mut label = self.functions[number];
            self.assembler.set_label(&mut label)?;
            self.body(number, 0)?;
            self.assembler.ret()?;
        }
        Ok(())
    }

    fn body(&mut self, function: usize, depth: u32) -> Result<(), IcedError> {
        for _ in 0..1 + self.random.below(4) {
            match self.random.below(if depth < 3 { 8 } else { 3 }) {
                0..=2 => self.group()?,
                3 | 4 => self.branch(function, depth)?,
                5 => self.counted_loop(function, depth)?,
                6 => self.call(function)?,
                _ => self.string_operation()?,
            }
        }
        Ok(())
    }

    /// A few instructions of which any may fault.
    fn group(&mut self) -> Result<(), IcedError> {
        let mut behind = self.assembler.create_label();
        self.recover_at(behind)?;
        for _ in 0..1 + self.random.below(6) {
            self.instruction()?;
        }
        self.assembler.set_label(&mut behind)?;
        // A label needs an instruction.
        self.assembler.nop()
    }

    fn recover_at(&mut self, label: CodeLabel) -> Result<(), IcedError> {
        let assembler = &mut self.assembler;
        assembler.lea(r14, ptr(label))?;
        assembler.mov(qword_ptr(RECOVERY), r14)?;
        assembler.mov(qword_ptr(RECOVERY + 8), rsp)
    }

    /// An if, or an if and an else.
    fn branch(&mut self, function: usize, depth: u32) -> Result<(), IcedError> {
        let (mut other, mut behind) = (self.assembler.create_label(), self.assembler.create_label());
        if self.random.one_in(3) {
            self.assembler.test(al, self.random.next() as u8 as i32)?;
        }
        self.conditional_jump(other)?;
        self.body(function, depth + 1)?;
        if self.random.one_in(2) {
            self.assembler.jmp(behind)?;
            self.assembler.set_label(&mut other)?;
            self.body(function, depth + 1)?;
        } else {
            self.assembler.set_label(&mut other)?;
            self.assembler.nop()?;
        }
        self.assembler.set_label(&mut behind)?;
        self.assembler.nop()
    }

    fn conditional_jump(&mut self, to: CodeLabel) -> Result<(), IcedError> {
        let assembler = &mut self.assembler;
        match self.random.below(16) {
            0 => assembler.jo(to),
            1 => assembler.jno(to),
            2 => assembler.jb(to),
            3 => assembler.jae(to),
            4 => assembler.je(to),
            5 => assembler.jne(to),
            6 => assembler.jbe(to),
            7 => assembler.ja(to),
            8 => assembler.js(to),
            9 => assembler.jns(to),
            10 => assembler.jp(to),
            11 => assembler.jnp(to),
            12 => assembler.jl(to),
            13 => assembler.jge(to),
            14 => assembler.jle(to),
            _ => assembler.jg(to),
        }
    }

    fn counted_loop(&mut self, function: usize, depth: u32) -> Result<(), IcedError> {
        let (mut head, mut behind) = (self.assembler.create_label(), self.assembler.create_label());
        let rounds = 1 + self.random.below(if depth == 0 { 24 } else { 5 }) as i32;
        let leaves_early = self.random.one_in(3);
        self.assembler.push(r12)?;
        self.assembler.mov(r12d, rounds)?;
        self.assembler.set_label(&mut head)?;
        self.body(function, depth + 1)?;
        if leaves_early {
            self.conditional_jump(behind)?;
            self.group()?;
        }
        self.assembler.dec(r12)?;
        self.assembler.jne(head)?;
        self.assembler.set_label(&mut behind)?;
        self.assembler.pop(r12)
    }

    /// A call by address or by register, or a jump through memory.
    fn call(&mut self, function: usize) -> Result<(), IcedError> {
        let later = self.functions.len() - function - 1;
        if later == 0 {
            return self.group();
        }
        let callee = self.functions[function + 1 + self.random.below(later as u64) as usize];
        let assembler = &mut self.assembler;
        match self.random.below(4) {
            0 => {
                assembler.lea(rax, ptr(callee))?;
                assembler.call(rax)
            }
            1 => {
                assembler.lea(r14, ptr(callee))?;
                assembler.push(r14)?;
                assembler.call(qword_ptr(rsp))?;
                assembler.pop(r14)
            }
            _ => assembler.call(callee),
        }
    }

    /// A copy or a fill, up or down, that may run into a page it cannot write.
    fn string_operation(&mut self) -> Result<(), IcedError> {
        let mut behind = self.assembler.create_label();
        self.recover_at(behind)?;
        let from = DATA + self.random.below(0x1000);
        let to = DATA + self.random.below(0x2000);
        let count = self.random.below(100) as i32;
        let is_down = self.random.one_in(4);
        let assembler = &mut self.assembler;
        assembler.mov(rsi, from)?;
        assembler.mov(rdi, to)?;
        assembler.mov(ecx, count)?;
        if is_down {
            assembler.std()?;
        }
        match self.random.below(7) {
            0 => assembler.rep().movsb()?,
            1 => assembler.rep().movsq()?,
            2 => assembler.rep().stosb()?,
            3 => assembler.rep().stosd()?,
            4 => assembler.repe().cmpsb()?,
            5 => assembler.repne().scasw()?,
            _ => assembler.lodsd()?,
        }
        self.assembler.set_label(&mut behind)?;
        self.assembler.cld()
    }

    fn instruction(&mut self) -> Result<(), IcedError> {
        let assembler = &mut self.assembler;
        match self.random.below(24) {
            0 => {
                assembler.push(rcx)?;
                assembler.push(rdx)?;
                assembler.pop(rcx)?;
                assembler.pop(rdx)
            }
            1 => {
                assembler.pushfq()?;
                assembler.xor(dword_ptr(rsp), (self.random.next() & 0x8d5) as i32)?;
                assembler.popfq()
            }
            2 => assembler.mov(eax, dword_ptr(rsp - 8)),
            3 => assembler.push(qword_ptr(rbx)).and_then(|()| assembler.pop(qword_ptr(rbx + 8))),
            _ => {
                let bytes = loop {
                    let bytes = encoding(self.random);
                    if let Some(length) = fitting_length(&bytes) {
                        break bytes[..length].to_vec();
                    }
                };
                assembler.db(&bytes)
            }
        }
    }
}

/// Fifteen random bytes whose start is likely to be an instruction.
fn encoding(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    if random.one_in(6) {
        // VEX of three bytes, without high index or base registers: those are the pointers.
        let map = random.pick(&[1u8, 1, 1, 2, 2, 3]);
        bytes.extend([
            0xc4,
            (random.next() as u8 & 0x80) | 0x60 | map,
            random.next() as u8,
            random.next() as u8,
        ]);
        push_operands(random, &mut bytes);
        return bytes;
    }
    let is_vector = random.one_in(4);
    if random.one_in(if is_vector { 2 } else { 5 }) {
        bytes.push(random.pick(&[0x66, 0x66, 0xf2, 0xf3]));
    }
    if random.one_in(2) {
        bytes.push(0x40 | random.below(16) as u8);
    }
    match random.below(4) {
        _ if is_vector => bytes.extend([0x0f, random.next() as u8]),
        0..=2 => bytes.push(random.next() as u8),
        _ => bytes.extend([0x0f, random.next() as u8]),
    }
    push_operands(random, &mut bytes);
    bytes
}

/// ModRM and what follows it, to fifteen bytes.
fn push_operands(random: &mut Random, bytes: &mut Vec<u8>) {
    let register = (random.below(8) as u8) << 3;
    let displacement = random.pick(&[0i8, 0, 8, 16, 32, -16, 48, 64, -64, 3, -7, 127]) as u8;
    match random.below(6) {
        0..=2 => bytes.push(0xc0 | register | random.below(8) as u8),
        3 => bytes.extend([0x44 | register, (random.below(4) as u8) << 6 | 0x3b, displacement]),
        4 => bytes.extend([0x43 | register, displacement]),
        _ => bytes.extend([0x45 | register, displacement]),
    }
    while bytes.len() < 15 {
        bytes.push(random.integer() as u8);
    }
    bytes.truncate(15);
}

/// The length of the instruction that the bytes begin with, when a program may hold it anywhere.
fn fitting_length(bytes: &[u8]) -> Option<usize> {
    let mut decoder =
        Decoder::with_ip(64, bytes, CODE, DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD);
    let instruction = decoder.decode();
    let is_fit = !instruction.is_invalid()
        && instruction.flow_control() == FlowControl::Next
        && !instruction.is_privileged()
        && !instruction.is_stack_instruction()
        && !instruction.is_string_instruction()
        && instruction.cpuid_features().iter().all(|&feature| is_known_feature(feature))
        && !is_excluded(&instruction)
        && !matches!(instruction.segment_prefix(), Register::FS | Register::GS)
        && !(0..instruction.op_count()).any(|index| {
            instruction.op_kind(index) == OpKind::Register
                && instruction.op_register(index).is_segment_register()
        })
        && keeps_pointers(&instruction);
    is_fit.then(|| instruction.len())
}

fn is_known_feature(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    matches!(
        feature,
        INTEL8086
            | INTEL186
            | INTEL286
            | INTEL386
            | INTEL486
            | X64
            | CMOV
            | CX8
            | SSE
            | SSE2
            | POPCNT
            | MULTIBYTENOP
            | AVX
            | AVX2
            | FMA
            | F16C
            | BMI1
            | BMI2
    )
}

/// The system's instructions, those that read time, and approximations.
fn is_excluded(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let mnemonic = instruction.mnemonic();
    let names_mmx = (0..instruction.op_count()).any(|index| instruction.op_register(index).is_mm());
    names_mmx
        || matches!(
            mnemonic,
            Rcpps
                | Rcpss
                | Rsqrtps
                | Rsqrtss
                | Vrcpps
                | Vrcpss
                | Vrsqrtps
                | Vrsqrtss
                | Rdtsc
                | Cpuid
                | Rdpmc
                | Sgdt
                | Sidt
                | Sldt
                | Str
                | Smsw
                | Lar
                | Lsl
                | Verr
                | Verw
                | Syscall
                | Sysenter
                | Sysexit
                | Sysret
                | Int
                | Int1
                | Int3
                | Into
                | Ud0
                | Ud1
                | Ud2
                | Fxsave
                | Fxsave64
                | Fxrstor
                | Fxrstor64
                | Ldmxcsr
                | Vldmxcsr
                | Wait
                | Jmpe
                | Reservednop
                | Xlatb
                | Maskmovdqu
                | Vmaskmovdqu
                | Maskmovq
                | Lss
                | Lfs
                | Lgs
                | Clflush
                | Hlt
                | Cli
                | Sti
                | In
                | Out
                | Enter
                | Leave
                | Std
                | Emms
                | Cvtpi2ps
                | Cvtpi2pd
        )
}

/// Whether memory is reached by RBX and RBP only, and the registers that programs rely on stay.
fn keeps_pointers(instruction: &Instruction) -> bool {
    let mut factory = InstructionInfoFactory::new();
    let info = factory.info(instruction);
    let reaches_data = info.used_memory().iter().all(|memory| {
        memory.access() == OpAccess::NoMemAccess
            || matches!(memory.base(), Register::RBX | Register::RBP)
                && matches!(memory.index(), Register::None | Register::R15)
                && (-128..=128).contains(&(memory.displacement() as i64))
    });
    // Bit strings reach as far as the bit offset says.
    let is_bit_string =
        matches!(instruction.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc)
            && instruction.op0_kind() == OpKind::Memory
            && instruction.op1_kind() == OpKind::Register;
    let writes_pointer = info.used_registers().iter().any(|used| {
        let is_written = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
        is_written
            && matches!(
                used.register().full_register(),
                Register::RBX
                    | Register::RBP
                    | Register::RSP
                    | Register::R12
                    | Register::R13
                    | Register::R14
                    | Register::R15
            )
    });
    reaches_data && !is_bit_string && !writes_pointer
}
