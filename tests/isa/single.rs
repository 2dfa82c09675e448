//! Makes cases of one instruction, of a given form.

use crate::forms;
use crate::generate::{self, Case, Family};
use crate::random::Random;
use crate::state::{CODE, Registers, SCRATCH, SCRATCH_BYTES};
use iced_x86::{
    Code, Decoder, DecoderOptions, Encoder, FlowControl, Instruction, Mnemonic, OpCodeOperandKind, OpKind,
    Register,
};

/// Where branches go.
const TARGET: u64 = CODE + 64;
/// Bytes of `HLT` behind a branch, its target among them.
const PADDED: usize = 128;
const HLT: u8 = 0xf4;
const MIDDLE: u64 = SCRATCH + SCRATCH_BYTES as u64 / 2;

/// What a memory operand points to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Aligned,
    Misaligned,
    /// Over the edge between two pages.
    Crossing,
    /// Over the last page's end.
    HalfOutside,
    Outside,
    NotCanonical,
}

impl Place {
    fn random(random: &mut Random) -> Self {
        match random.below(16) {
            0..=7 => Self::Aligned,
            8..=10 => Self::Misaligned,
            11 | 12 => Self::Crossing,
            13 => Self::HalfOutside,
            14 => Self::Outside,
            _ => Self::NotCanonical,
        }
    }

    fn address(self, random: &mut Random) -> u64 {
        match self {
            Self::Aligned => MIDDLE + 64 * random.below(24),
            Self::Misaligned => MIDDLE + random.below(1536),
            Self::Crossing => MIDDLE - 1 - random.below(63),
            Self::HalfOutside if random.one_in(4) => SCRATCH - 1 - random.below(15),
            Self::HalfOutside => SCRATCH + SCRATCH_BYTES as u64 - 1 - random.below(63),
            Self::Outside => SCRATCH + SCRATCH_BYTES as u64 + random.below(0x4000),
            Self::NotCanonical => random.pick(&[0x8000_0000_0000, 1 << 63, 0xffff_7fff_ffff_f000]),
        }
    }
}

/// One instruction, and what its operands ask of the registers.
pub struct Single {
    instruction: Instruction,
    code: Vec<u8>,
    scratch: Vec<u8>,
    family: Family,
    /// A memory operand's place, when the instruction itself says where.
    fixed: Option<u64>,
}

impl Single {
    /// A random encoding of a form; `None` when these operands have none of that form.
    pub fn new(random: &mut Random, form: Code) -> Option<Self> {
        let op_code = form.op_code();
        let is_narrow = forms::is_narrow(form);
        let kinds = op_code.op_kinds();
        let mut instruction = Instruction::default();
        instruction.set_code(form);
        let mut operands =
            Operands { random: &mut *random, used: Vec::new(), fixed: None, is_byte_high: false, is_narrow };
        // Code of 32 bits has the registers that there are without a REX prefix.
        operands.is_byte_high = operands.random.one_in(4) || is_narrow;
        for (index, &kind) in (0..).zip(kinds) {
            operands.fill(&mut instruction, index, kind)?;
        }
        let fixed = operands.fixed;
        if op_code.can_use_lock_prefix() && instruction.op0_kind() == OpKind::Memory && random.one_in(3) {
            instruction.set_has_lock_prefix(true);
        }
        if op_code.can_use_rep_prefix() && random.one_in(2) {
            instruction.set_has_rep_prefix(true);
        } else if op_code.can_use_repne_prefix() && random.one_in(2) {
            instruction.set_has_repne_prefix(true);
        }
        let bits = if is_narrow { 32 } else { 64 };
        let mut encoder = Encoder::new(bits);
        encoder.encode(&instruction, CODE).ok()?;
        let mut code = encoder.take_buffer();
        let instruction = Decoder::with_ip(bits, &code, CODE, DecoderOptions::NONE).decode();
        let named = |index| instruction.op_register(index).full_register();
        let is_address = |register| {
            let address = [instruction.memory_base(), instruction.memory_index()];
            address.into_iter().any(|part| part.full_register() == register)
        };
        // What a bit test reaches must stay near, and a call must not push onto itself.
        let is_far = is_bit_string(&instruction) && is_address(named(1));
        let is_on_itself = instruction.mnemonic() == Mnemonic::Call && named(0) == Register::RSP;
        if instruction.code() != form || is_far || is_on_itself {
            return None;
        }
        // What goes elsewhere, or may raise a trap behind itself, ends at a fault, which says where it went.
        let is_branch = instruction.flow_control() != FlowControl::Next;
        if is_branch || matches!(instruction.mnemonic(), Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq) {
            code.resize(PADDED, HLT);
        }
        let is_vsib = instruction.is_vsib();
        let names = |check: fn(Register) -> bool| {
            (0..instruction.op_count()).any(|index| check(instruction.op_register(index)))
        };
        let is_x87 =
            instruction.cpuid_features().iter().any(|feature| format!("{feature:?}").starts_with("FPU"));
        let family = match () {
            () if is_vsib => Family::Gather,
            () if is_x87 || names(Register::is_mm) => Family::X87,
            () if names(Register::is_vector_register) => Family::Vector,
            () => Family::Integer,
        };
        Some(Self { instruction, code, scratch: generate::scratch(random), family, fixed })
    }

    /// The instruction with a random state to start from.
    pub fn case(&self, random: &mut Random) -> Case {
        let instruction = &self.instruction;
        let uses_strings = instruction.is_string_instruction();
        let mut registers = generate::registers(random, self.family, uses_strings);
        let mut scratch = self.scratch.clone();
        let mnemonic = instruction.mnemonic();
        if matches!(mnemonic, Mnemonic::Shld | Mnemonic::Shrd) {
            // Counts beyond a word's width are undefined.
            registers.general[1] &= !0x1f;
            registers.general[1] |= random.below(17);
        }
        if instruction.is_jcx_short() || instruction.is_loop() || instruction.is_loopcc() {
            registers.general[1] = random.integer() & !3 | random.below(4);
        }
        if is_bit_string(instruction) {
            let bit = instruction.op1_register().full_register().number();
            registers.general[bit] = random.below(4096).wrapping_sub(2048);
        }
        if matches!(mnemonic, Mnemonic::Enter | Mnemonic::Leave) {
            registers.general[5] = MIDDLE - 512 + random.below(64) * 8;
        }
        if instruction.is_save_restore_instruction() || is_extended_save(mnemonic) {
            registers.general[0] &= 7;
            registers.general[2] = 0;
        }
        if uses_strings && random.one_in(4) {
            let pointer = random.pick(&[6, 7]);
            registers.general[pointer] = Place::random(random).address(random);
        }
        let address = self.point(random, &mut registers);
        self.fill_memory(random, address, &mut registers, &mut scratch);
        if forms::is_narrow(instruction.code()) {
            for register in &mut registers.general {
                *register &= 0xffff_ffff;
            }
        }
        Case::single(self.code.clone(), *instruction, registers, scratch)
    }

    /// Makes the memory operand point somewhere; returns where.
    fn point(&self, random: &mut Random, registers: &mut Registers) -> Option<u64> {
        let instruction = &self.instruction;
        let kinds: Vec<OpKind> =
            (0..instruction.op_count()).map(|index| instruction.op_kind(index)).collect();
        let mut place = Place::random(random);
        if instruction.mnemonic() == Mnemonic::Lea {
            return None;
        }
        if (instruction.is_save_restore_instruction() || is_large(instruction))
            && matches!(place, Place::HalfOutside | Place::Crossing | Place::Misaligned)
        {
            // How much of it is written before a fault is the processor's own.
            place = Place::Aligned;
        }
        let address = place.address(random);
        if kinds.contains(&OpKind::MemorySegRDI) {
            registers.general[7] = address;
            return Some(address);
        }
        if !kinds.contains(&OpKind::Memory) {
            return None;
        }
        if let Some(fixed) = self.fixed {
            return Some(fixed);
        }
        let base = instruction.memory_base();
        let index = instruction.memory_index();
        let is_narrow = base.size() == 4 || index.size() == 4;
        let address = if is_narrow && place == Place::NotCanonical { MIDDLE } else { address };
        if instruction.is_vsib() {
            registers.general[base.number()] = MIDDLE + 1024 + random.below(64);
            return None;
        }
        let mut rest = address.wrapping_sub(instruction.memory_displacement64());
        if index == Register::AL {
            rest = rest.wrapping_sub(registers.general[0] & 0xff);
        } else if index != Register::None {
            let value = registers.general[index.number()];
            rest = rest.wrapping_sub(value.wrapping_mul(instruction.memory_index_scale().into()));
        }
        if is_narrow {
            // The address is cut, whatever stands above.
            rest = rest & 0xffff_ffff | random.next() << 32;
        }
        registers.general[base.number()] = rest;
        Some(address)
    }

    /// Puts what makes sense into memory and registers for those that would otherwise only fault.
    fn fill_memory(
        &self,
        random: &mut Random,
        address: Option<u64>,
        registers: &mut Registers,
        scratch: &mut [u8],
    ) {
        let mut put = |address: u64, bytes: &[u8]| {
            let Some(at) = address.checked_sub(SCRATCH) else {
                return;
            };
            let at = at as usize;
            if at + bytes.len() <= scratch.len() {
                scratch[at..at + bytes.len()].copy_from_slice(bytes);
            }
        };
        let instruction = &self.instruction;
        let is_sensible = !random.one_in(8);
        match instruction.mnemonic() {
            Mnemonic::Ret => put(registers.general[4], &TARGET.to_le_bytes()),
            // Without AC, which would outlast the sequence.
            Mnemonic::Bound if is_sensible => {
                // The smallest and the largest number, for what an array of them is.
                if let Some(address) = address {
                    let half = instruction.op0_register().size();
                    let bounds = if half == 2 { 0x7fff_8000 } else { 0x7fff_ffff_8000_0000_u64 };
                    put(address, &bounds.to_le_bytes()[..2 * half]);
                }
            }
            Mnemonic::Popf | Mnemonic::Popfd | Mnemonic::Popfq => {
                put(registers.general[4], &(random.next() & !(1 << 18)).to_le_bytes());
            }
            Mnemonic::Jmp | Mnemonic::Call => {
                if let Some(address) = address {
                    put(address, &TARGET.to_le_bytes());
                } else if instruction.op0_kind() == OpKind::Register {
                    registers.general[instruction.op0_register().number()] = TARGET;
                }
            }
            Mnemonic::Ldmxcsr | Mnemonic::Vldmxcsr if is_sensible => {
                if let Some(address) = address {
                    put(address, &(random.next() as u32 & 0xffff).to_le_bytes());
                }
            }
            Mnemonic::Fxrstor | Mnemonic::Fxrstor64 | Mnemonic::Xrstor | Mnemonic::Xrstor64
                if is_sensible =>
            {
                if let Some(address) = address {
                    put(address + 24, &(random.next() as u32 & 0xffff).to_le_bytes());
                    put(address + 512, &[0; 64]);
                    put(address + 512, &[random.next() as u8 & 7]);
                }
            }
            _ => {}
        }
    }
}

fn is_extended_save(mnemonic: Mnemonic) -> bool {
    use Mnemonic::*;
    matches!(mnemonic, Xsave | Xsave64 | Xsavec | Xsavec64 | Xsaveopt | Xsaveopt64 | Xrstor | Xrstor64)
}

/// More than one store's memory, of which some may be written before a fault.
fn is_large(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    is_extended_save(instruction.mnemonic())
        || matches!(instruction.code(), Code::Fstp_m80fp | Code::Fbstp_m80bcd)
        || matches!(
            instruction.mnemonic(),
            Fxsave | Fxsave64 | Fxrstor | Fxrstor64 | Fnsave | Fsave | Frstor | Fnstenv | Fstenv | Fldenv
        )
}

/// Bit tests that reach as far as a register says.
fn is_bit_string(instruction: &Instruction) -> bool {
    let is_test =
        matches!(instruction.mnemonic(), Mnemonic::Bt | Mnemonic::Bts | Mnemonic::Btr | Mnemonic::Btc);
    is_test && instruction.op0_kind() == OpKind::Memory && instruction.op1_kind() == OpKind::Register
}

/// Chooses operands.
struct Operands<'a> {
    random: &'a mut Random,
    /// General registers, by number, that an address may not be made of.
    used: Vec<usize>,
    fixed: Option<u64>,
    /// Whether byte registers are AH to BH, which no other operand may then forbid by a REX prefix.
    is_byte_high: bool,
    /// For code of 32 bits.
    is_narrow: bool,
}

impl Operands<'_> {
    fn general(&mut self, first: Register) -> Register {
        let count = if self.is_byte_high { 8 } else { 16 };
        let number = self.random.below(count) as usize;
        self.used.push(number);
        first + number as u32
    }

    fn vector(&mut self, first: Register) -> Register {
        first + self.random.below(16) as u32
    }

    /// Fills one operand.
    fn fill(&mut self, instruction: &mut Instruction, index: u32, kind: OpCodeOperandKind) -> Option<()> {
        use OpCodeOperandKind as K;
        let register = match kind {
            K::r8_or_mem
            | K::r16_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::mm_or_mem
            | K::xmm_or_mem
            | K::ymm_or_mem
                if self.random.one_in(2) =>
            {
                return self.memory(instruction, index);
            }
            K::mem | K::mem_vsib32x | K::mem_vsib32y | K::mem_vsib64x | K::mem_vsib64y => {
                return match kind {
                    K::mem => self.memory(instruction, index),
                    K::mem_vsib32x | K::mem_vsib64x => self.vector_memory(instruction, index, Register::XMM0),
                    _ => self.vector_memory(instruction, index, Register::YMM0),
                };
            }
            K::mem_offs => {
                let address = Place::Aligned.address(self.random);
                instruction.set_op_kind(index, OpKind::Memory);
                instruction.set_memory_displ_size(8);
                instruction.set_memory_displacement64(address);
                self.fixed = Some(address);
                return Some(());
            }
            K::r8_or_mem | K::r8_reg | K::r8_opcode => self.byte_register(),
            K::r16_or_mem | K::r16_reg | K::r16_reg_mem | K::r16_rm | K::r16_opcode => {
                self.general(Register::AX)
            }
            K::r32_or_mem | K::r32_reg | K::r32_reg_mem | K::r32_rm | K::r32_opcode | K::r32_vvvv => {
                self.general(Register::EAX)
            }
            K::r64_or_mem | K::r64_reg | K::r64_reg_mem | K::r64_rm | K::r64_opcode | K::r64_vvvv => {
                self.general(Register::RAX)
            }
            K::mm_or_mem | K::mm_reg | K::mm_rm => Register::MM0 + self.random.below(8) as u32,
            K::xmm_or_mem | K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 | K::xmm_is5 => {
                self.vector(Register::XMM0)
            }
            K::ymm_or_mem | K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 | K::ymm_is5 => {
                self.vector(Register::YMM0)
            }
            K::cr_reg => Register::CR0 + self.random.pick(&[0, 2, 3, 4, 8]),
            K::dr_reg => Register::DR0 + self.random.pick(&[0, 1, 2, 3, 6, 7]),
            K::al => Register::AL,
            K::cl => Register::CL,
            K::ax => Register::AX,
            K::dx => Register::DX,
            K::eax => Register::EAX,
            K::rax => Register::RAX,
            K::st0 => Register::ST0,
            K::sti_opcode => Register::ST0 + self.random.below(8) as u32,
            _ => return self.fill_other(instruction, index, kind),
        };
        instruction.set_op_kind(index, OpKind::Register);
        instruction.set_op_register(index, register);
        Some(())
    }

    fn fill_other(
        &mut self,
        instruction: &mut Instruction,
        index: u32,
        kind: OpCodeOperandKind,
    ) -> Option<()> {
        use OpCodeOperandKind as K;
        let value = self.random.integer();
        match kind {
            K::imm8 | K::imm8_const_1 => {
                let value = match instruction.mnemonic() {
                    _ if kind == K::imm8_const_1 => 1,
                    Mnemonic::Shld | Mnemonic::Shrd => self.random.below(17) as u8,
                    // Not the host's system call.
                    Mnemonic::Int => self.random.pick(&[0, 1, 2, 3, 4, 5, 13, 14, 31, 32, 64, 255]),
                    _ => value as u8,
                };
                if index > 0 && instruction.op_kind(index - 1) == OpKind::Immediate16 {
                    instruction.set_op_kind(index, OpKind::Immediate8_2nd);
                    instruction.set_immediate8_2nd(value);
                } else {
                    instruction.set_op_kind(index, OpKind::Immediate8);
                    instruction.set_immediate8(value);
                }
            }
            K::imm8sex16 => {
                instruction.set_op_kind(index, OpKind::Immediate8to16);
                instruction.set_immediate8to16((value as i8).into());
            }
            K::imm8sex32 => {
                instruction.set_op_kind(index, OpKind::Immediate8to32);
                instruction.set_immediate8to32((value as i8).into());
            }
            K::imm8sex64 => {
                instruction.set_op_kind(index, OpKind::Immediate8to64);
                instruction.set_immediate8to64((value as i8).into());
            }
            K::imm16 => {
                let is_frame = instruction.mnemonic() == Mnemonic::Enter;
                instruction.set_op_kind(index, OpKind::Immediate16);
                instruction.set_immediate16(value as u16 & if is_frame { 0x1ff } else { 0xffff });
            }
            K::imm32 => {
                instruction.set_op_kind(index, OpKind::Immediate32);
                instruction.set_immediate32(value as u32);
            }
            K::imm32sex64 => {
                instruction.set_op_kind(index, OpKind::Immediate32to64);
                instruction.set_immediate32to64((value as i32).into());
            }
            K::imm64 => {
                instruction.set_op_kind(index, OpKind::Immediate64);
                instruction.set_immediate64(value);
            }
            K::seg_rSI => instruction.set_op_kind(index, OpKind::MemorySegRSI),
            K::es_rDI => instruction.set_op_kind(index, OpKind::MemoryESRDI),
            K::seg_rDI => instruction.set_op_kind(index, OpKind::MemorySegRDI),
            K::seg_rBX_al => {
                instruction.set_op_kind(index, OpKind::Memory);
                instruction.set_memory_base(Register::RBX);
                instruction.set_memory_index(Register::AL);
                instruction.set_memory_index_scale(1);
            }
            K::br32_1 | K::br32_4 => {
                instruction.set_op_kind(index, OpKind::NearBranch32);
                instruction.set_near_branch32(TARGET as u32);
            }
            K::br64_1 | K::br64_4 => {
                instruction.set_op_kind(index, OpKind::NearBranch64);
                instruction.set_near_branch64(TARGET);
            }
            _ => return None,
        }
        Some(())
    }

    fn byte_register(&mut self) -> Register {
        let number = self.random.below(if self.is_byte_high { 4 } else { 16 }) as usize;
        self.used.push(number);
        match (self.is_byte_high && self.random.one_in(2), number) {
            (true, _) => Register::AH + number as u32,
            (false, 0..4) => Register::AL + number as u32,
            (false, 4..8) => Register::SPL + (number as u32 - 4),
            (false, _) => Register::R8L + (number as u32 - 8),
        }
    }

    /// A register for an address: none that another operand has, nor those that instructions take by themselves.
    fn address_register(&mut self, first: Register, is_index: bool) -> Option<Register> {
        for _ in 0..64 {
            let number = self.random.below(if self.is_byte_high { 8 } else { 16 }) as usize;
            let is_implicit = matches!(number, 0..=2 | 5) || number == 4 && is_index;
            if !is_implicit && !self.used.contains(&number) {
                self.used.push(number);
                return Some(first + number as u32);
            }
        }
        None
    }

    fn memory(&mut self, instruction: &mut Instruction, index: u32) -> Option<()> {
        instruction.set_op_kind(index, OpKind::Memory);
        let shape = self.random.below(8);
        if shape == 0 {
            let place = if is_large(instruction) { Place::Aligned } else { Place::random(self.random) };
            let address = place.address(self.random) & 0x7fff_ffff;
            let is_relative = self.random.one_in(2);
            let is_relative = is_relative && !self.is_narrow;
            instruction.set_memory_base(if is_relative { Register::RIP } else { Register::None });
            instruction.set_memory_displ_size(if self.is_narrow { 4 } else { 8 });
            instruction.set_memory_displacement64(address);
            self.fixed = Some(address);
            return Some(());
        }
        let shape = if self.is_narrow { 1 } else { shape };
        let first = if shape == 1 { Register::EAX } else { Register::RAX };
        let base = self.address_register(first, false)?;
        instruction.set_memory_base(base);
        if self.random.one_in(2) {
            let scaled = self.address_register(first, true)?;
            instruction.set_memory_index(scaled);
            instruction.set_memory_index_scale(self.random.pick(&[1, 2, 4, 8]));
        }
        match self.random.below(3) {
            0 => {}
            1 => {
                instruction.set_memory_displ_size(1);
                let near = self.random.below(256) as i8 as i64 as u64;
                let narrow = if shape == 1 { near & 0xffff_ffff } else { near };
                instruction.set_memory_displacement64(narrow);
            }
            _ => {
                instruction.set_memory_displ_size(if shape == 1 { 4 } else { 8 });
                let far = self.random.next() as i32 as i64 as u64;
                let narrow = if shape == 1 { far & 0xffff_ffff } else { far };
                instruction.set_memory_displacement64(narrow);
            }
        }
        if self.random.one_in(16) && !self.is_narrow {
            // Its base is zero on both sides.
            instruction.set_segment_prefix(Register::GS);
        }
        Some(())
    }

    fn vector_memory(&mut self, instruction: &mut Instruction, index: u32, first: Register) -> Option<()> {
        instruction.set_op_kind(index, OpKind::Memory);
        let base = self.address_register(Register::RAX, true)?;
        instruction.set_memory_base(base);
        let indices = self.vector(first);
        instruction.set_memory_index(indices);
        instruction.set_memory_index_scale(self.random.pick(&[1, 2, 4, 8]));
        Some(())
    }
}
