//! Makes random cases: sequences that confine their memory operands, and the registers they start from.

use crate::random::Random;
use crate::state::{CODE, Registers, SCRATCH, SCRATCH_BYTES};
use iced_x86::{
    Code, CodeSize, CpuidFeature, Decoder, DecoderOptions, EncodingKind, FlowControl, Instruction,
    InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register, RflagsBits,
};

/// What kind of instructions a case is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Integer,
    Vector,
    X87,
    /// VEX forms on XMM and YMM registers.
    Avx,
    /// VEX forms of floating-point arithmetic and moves, mostly on normal numbers, mostly of one format.
    Arithmetic,
    /// One gather each.
    Gather,
}

/// A sequence with its initial state.
pub struct Case {
    pub code: Vec<u8>,
    pub instructions: Vec<Instruction>,
    pub registers: Registers,
    pub scratch: Vec<u8>,
    /// It is code of 32 bits; else of 64.
    pub is_narrow: bool,
    /// Flags, at their places in RFLAGS, that are undefined before each instruction, and at the end.
    undefined_flags: Vec<u64>,
}

impl Case {
    /// One instruction with a state to start from. The code may be longer.
    pub fn single(code: Vec<u8>, instruction: Instruction, registers: Registers, scratch: Vec<u8>) -> Self {
        let undefined_flags = vec![0, undefined_after(&instruction, 0)];
        let is_narrow = instruction.code_size() == CodeSize::Code32;
        Self { code, instructions: vec![instruction], registers, scratch, is_narrow, undefined_flags }
    }

    /// Whether it is a gather.
    pub fn is_gather(&self) -> bool {
        self.instructions.iter().any(Instruction::is_vsib)
    }

    /// Whether it is `MASKMOVQ` or `MASKMOVDQU`.
    pub fn is_masked_move(&self) -> bool {
        use Mnemonic::{Maskmovdqu, Maskmovq, Vmaskmovdqu};
        self.instructions
            .iter()
            .any(|instruction| matches!(instruction.mnemonic(), Maskmovq | Maskmovdqu | Vmaskmovdqu))
    }

    /// Whether an operand is an MMX register.
    pub fn uses_mmx(&self) -> bool {
        self.instructions.iter().any(|instruction| {
            (0..instruction.op_count()).any(|index| instruction.op_register(index).is_mm())
        })
    }

    /// The flags that are undefined when the sequence ends, or faults at an offset.
    pub fn undefined_flags_at(&self, offset: Option<u64>) -> u64 {
        let place = offset.and_then(|offset| {
            self.instructions.iter().position(|instruction| instruction.ip() == CODE.wrapping_add(offset))
        });
        self.undefined_flags[place.unwrap_or(self.instructions.len())]
    }
}

/// A sequence of one to six instructions.
pub fn case(random: &mut Random, family: Family) -> Case {
    let uses_strings = family == Family::Integer && random.one_in(8);
    let length = 1 + random.below(6) as usize;
    let mut sequence = Sequence {
        family,
        uses_strings,
        code: Vec::new(),
        instructions: Vec::new(),
        undefined_flags: vec![0],
        is_closed: false,
        factory: InstructionInfoFactory::new(),
    };
    while sequence.instructions.len() < length && !sequence.is_closed {
        let bytes = encoding(random, family);
        sequence.add_if_fit(&bytes);
    }
    Case {
        code: sequence.code,
        instructions: sequence.instructions,
        registers: registers(random, family, uses_strings),
        scratch: if family == Family::Arithmetic && !random.one_in(8) {
            (0..SCRATCH_BYTES / 16).flat_map(|_| normal_numbers(random).to_le_bytes()).collect()
        } else {
            scratch(random)
        },
        is_narrow: false,
        undefined_flags: sequence.undefined_flags,
    }
}

/// Random registers, with pointers into the scratch area.
pub fn registers(random: &mut Random, family: Family, uses_strings: bool) -> Registers {
    let mut registers = Registers::ZERO;
    for value in &mut registers.general {
        *value = random.integer();
    }
    let middle = SCRATCH + SCRATCH_BYTES as u64 / 2;
    // Now and then at the edge between the pages; always well inside for aligned operands.
    registers.general[3] = if random.one_in(4) { middle - 64 + random.below(128) } else { middle + 1024 };
    registers.general[4] = middle - 1024 + random.below(16) * 8;
    registers.general[15] = random.below(16);
    if uses_strings {
        registers.general[1] = random.below(33);
        registers.general[6] = middle + 512 + random.below(64);
        registers.general[7] = middle + 512 + random.below(64);
    }
    let direction = if random.one_in(4) { 1 << 10 } else { 0 };
    registers.flags = random.next() & 0x8d5 | direction | 0x202;
    let extended = &mut registers.extended;
    // FNINIT's control word, and now and then other precisions and roundings; all exceptions masked.
    let control = if random.one_in(3) {
        0x7f | random.next() as u16 & 0xc00 | 0x200 | 0x100 * random.below(2) as u16
    } else {
        0x37f
    };
    extended[..2].copy_from_slice(&control.to_le_bytes());
    let top = random.below(8) as u16;
    extended[2..4].copy_from_slice(&(top << 11).to_le_bytes());
    extended[4] = if family == Family::X87 { random.next() as u8 | random.next() as u8 } else { 0 };
    for index in 0..8 {
        let mut bytes = [0; 10];
        bytes.copy_from_slice(&x87_register(random));
        extended[32 + index * 16..42 + index * 16].copy_from_slice(&bytes);
    }
    let modes = if random.one_in(3) { random.next() as u32 & 0xe040 } else { 0 };
    // Mostly as programs have it: some result has been rounded already.
    let found = random.pick(&[0, 0x20, 0x20, 0x3f]);
    let masks = if random.one_in(8) { random.next() as u32 & 0x1f80 } else { 0x1f80 };
    extended[24..28].copy_from_slice(&(masks | modes | found).to_le_bytes());
    for index in 0..16 {
        extended[160 + index * 16..176 + index * 16].copy_from_slice(&random.vector().to_le_bytes());
    }
    if is_x86_feature_detected!("avx") {
        for index in 0..16 {
            registers.set_upper_half(index, random.vector());
        }
    }
    if family == Family::Arithmetic && !random.one_in(8) {
        for index in 0..16 {
            registers.set_vector(index, normal_numbers(random));
            registers.set_upper_half(index, normal_numbers(random));
        }
        if random.one_in(4) {
            registers.set_vector(random.below(4) as usize, random.vector());
        }
        registers.extended[24..28].copy_from_slice(&0x1fa0_u32.to_le_bytes());
    }
    if family == Family::Gather {
        for index in 0..16 {
            registers.set_vector(index, indices(random));
            registers.set_upper_half(index, indices(random));
        }
    }
    registers
}

/// Small signed numbers, which as a mask are as often chosen as not: quadwords, whose halves are small too,
/// and now and then doublewords, which as a quadword lead far away.
fn indices(random: &mut Random) -> u128 {
    let small = |random: &mut Random| random.below(129) as i64 - 64;
    let quadword = |random: &mut Random| {
        if random.one_in(8) {
            small(random) as u32 as u64 | (small(random) as u32 as u64) << 32
        } else {
            small(random) as u64
        }
    };
    u128::from(quadword(random)) | u128::from(quadword(random)) << 64
}

/// An 80-bit number, often special.
fn x87_register(random: &mut Random) -> [u8; 10] {
    let (mantissa, exponent) = match random.below(8) {
        0 => (0u64, 0u16),
        1 => (1 << 63, 0x7fff),
        2 => (random.next() | 1 << 63, 0x7fff),
        3 => (random.next() >> 1, 0),
        4 => (1 << 63, 0x3fff),
        5 => (random.integer() | 1 << 63, 0x3fff + random.below(64) as u16),
        6 => (random.next() | 1 << 63, 1 + random.below(0x7ffe) as u16),
        _ => (random.next() | 1 << 63, 0x3fdf + random.below(64) as u16),
    };
    let sign = (random.below(2) as u16) << 15;
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&mantissa.to_le_bytes());
    bytes[8..].copy_from_slice(&(exponent | sign).to_le_bytes());
    bytes
}

/// Random data.
pub fn scratch(random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SCRATCH_BYTES);
    while bytes.len() < SCRATCH_BYTES {
        bytes.extend(random.vector().to_le_bytes());
    }
    bytes
}

/// Fifteen random bytes whose start is likely to be an instruction of the family.
fn encoding(random: &mut Random, family: Family) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    if family == Family::Gather {
        gather(random, &mut bytes);
        return bytes;
    }
    if family == Family::Arithmetic {
        arithmetic_opcode(random, &mut bytes);
        operands(random, &mut bytes);
        return bytes;
    }
    if family == Family::Avx || family == Family::Integer && random.one_in(4) {
        vex_opcode(random, family, &mut bytes);
        operands(random, &mut bytes);
        return bytes;
    }
    if family == Family::Integer && random.one_in(16) {
        // POPCNT, TZCNT and LZCNT, which need one of many prefixes.
        let size = random.pick(&[&[0xf3][..], &[0x66, 0xf3], &[0xf3, 0x48], &[0xf3, 0x4c]]);
        bytes.extend(size);
        bytes.extend([0x0f, random.pick(&[0xb8, 0xbc, 0xbd])]);
        operands(random, &mut bytes);
        return bytes;
    }
    let prefixes: &[u8] = match family {
        Family::Integer => &[0x66, 0xf0, 0xf2, 0xf3, 0x66],
        Family::Vector => &[0x66, 0xf2, 0xf3, 0x66, 0xf2, 0xf3],
        Family::X87 | Family::Avx | Family::Arithmetic | Family::Gather => &[0x66],
    };
    let prefix_odds = if family == Family::Vector { 4 } else { 1 };
    if random.below(5) < prefix_odds {
        bytes.push(random.pick(prefixes));
    }
    if random.one_in(2) {
        bytes.push(0x40 | random.below(16) as u8);
    }
    match family {
        Family::Integer => match random.below(4) {
            0 | 1 => bytes.push(random.next() as u8),
            2 => bytes.extend([0x0f, random.next() as u8]),
            _ => bytes.extend([0x0f, 0x38, 0xf0 | random.pick(&[0, 1, 6])]),
        },
        Family::Vector => match random.below(8) {
            0 => bytes.extend([0x0f, 0x38, random.next() as u8]),
            1 => bytes.extend([0x0f, 0x3a, random.next() as u8]),
            _ => bytes.extend([0x0f, random.next() as u8]),
        },
        Family::X87 | Family::Avx | Family::Arithmetic | Family::Gather => match random.below(4) {
            0 => bytes.extend([0x0f, random.next() as u8]),
            _ => bytes.push(0xd8 | random.below(8) as u8),
        },
    }
    operands(random, &mut bytes);
    bytes
}

/// VPGATHERDD and its kin, from RBX on.
fn gather(random: &mut Random, bytes: &mut Vec<u8>) {
    let extensions = (random.next() as u8) & 0xc0 | 0x20;
    let shape = (random.next() as u8) & 0xfc | 1;
    let opcode = 0x90 + random.below(4) as u8;
    let register = (random.below(8) as u8) << 3;
    let scale_and_index = (random.next() as u8) & 0xf8 | 3;
    let displacement = random.next() as u8;
    bytes.extend([0xc4, extensions | 2, shape, opcode, 0x44 | register, scale_and_index, displacement]);
}

/// A VEX prefix, and addition, multiplication, subtraction, minimum, division, maximum, comparison, a move, a
/// logical operation, or multiplication and addition fused.
fn arithmetic_opcode(random: &mut Random, bytes: &mut Vec<u8>) {
    if random.one_in(5) {
        let opcode = random.pick(&[0x90, 0xa0, 0xb0]) | random.pick(&[6, 7, 8, 8, 8, 9, 10, 12, 14]);
        let is_double = random.pick(&[0, 0x80, 0x80]);
        let first = 0x60 | (random.next() as u8) & 0x18;
        return bytes.extend([0xc4, 0xe2, is_double | first | random.pick(&[0, 4, 4]) | 1, opcode]);
    }
    let opcode =
        random.pick(&[0x58, 0x59, 0x5c, 0x58, 0x59, 0x5c, 0x5d, 0x5e, 0x5f, 0xc2, 0x10, 0x28, 0x29, 0x54]);
    let format = random.pick(&[0, 1, 1, 1, 1, 1, 2, 3]);
    let is_wide = random.pick(&[0, 4, 4]);
    let has_no_first = matches!(opcode, 0x10 | 0x28 | 0x29);
    let first = if has_no_first { 0x78 } else { 0x60 | (random.next() as u8) & 0x18 };
    bytes.extend([0xc5, 0x80 | first | is_wide | format, opcode]);
}

/// Numbers that are normal as singles and as doubles, and near enough to each other; now and then zeroes among them, or
/// numbers of any size.
fn normal_numbers(random: &mut Random) -> u128 {
    let kind = random.below(48);
    (0..4).fold(0, |numbers, lane| {
        let exponent = match kind {
            0 => 1 + random.below(254) as u32,
            _ => 100 + random.below(56) as u32,
        };
        let mut number = random.next() as u32 & 0x807f_ffff | exponent << 23;
        // Of both halves of a double.
        if kind == 1 || kind == 2 && lane < 2 {
            number &= if lane % 2 == 0 { 0x8000_0000 } else { 0 };
        }
        numbers << 32 | u128::from(number)
    })
}

/// A VEX prefix, mostly of three bytes, and an opcode.
fn vex_opcode(random: &mut Random, family: Family, bytes: &mut Vec<u8>) {
    let (map, opcode) = match family {
        Family::Avx => (random.pick(&[1, 1, 1, 1, 2, 2, 2, 3]), random.next() as u8),
        _ => random.pick(&[(2, 0xf2), (2, 0xf3), (2, 0xf5), (2, 0xf6), (2, 0xf7), (3, 0xf0)]),
    };
    // Both bits of the operand's registers count as none when they are set.
    let extensions = random.pick(&[0xe0, 0x60, 0xa0, 0x20, 0xc0]);
    let unused_register = 0x78;
    let register = if random.one_in(2) { unused_register } else { (random.next() as u8) & 0x78 };
    if map == 1 && random.one_in(4) {
        // Two bytes, in which the inverted bit of the register in ModRM stands where W stands otherwise.
        let last = (random.next() as u8) & 0x80 | register | random.below(8) as u8;
        return bytes.extend([0xc5, last, opcode]);
    }
    let is_wide = random.pick(&[0, 0x80]);
    bytes.extend([0xc4, extensions | map, is_wide | register | random.below(8) as u8, opcode]);
}

/// A ModRM byte: registers, RBX with a displacement, or RBX and R15 with a displacement; and more bytes.
fn operands(random: &mut Random, bytes: &mut Vec<u8>) {
    let register = (random.below(8) as u8) << 3;
    let displacement = random.pick(&[0i8, 0, 8, 16, 32, -16, 48, 64, -64, 3, -7, 127]) as u8;
    match random.below(5) {
        0 | 1 => bytes.push(0xc0 | register | random.below(8) as u8),
        2 => {
            let scale = (random.below(4) as u8) << 6;
            bytes.extend([0x44 | register, scale | 0x3b, displacement]);
        }
        _ => bytes.extend([0x43 | register, displacement]),
    }
    while bytes.len() < 15 {
        bytes.push(random.integer() as u8);
    }
    bytes.truncate(15);
}

struct Sequence {
    family: Family,
    uses_strings: bool,
    code: Vec<u8>,
    instructions: Vec<Instruction>,
    undefined_flags: Vec<u64>,
    /// The last instruction wrote a register that later operands need.
    is_closed: bool,
    factory: InstructionInfoFactory,
}

/// The features of x86-64-v2, and those beyond that the host has.
fn is_known_feature(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    let is_on_host = match feature {
        AVX => is_x86_feature_detected!("avx"),
        AVX2 => is_x86_feature_detected!("avx2"),
        FMA => is_x86_feature_detected!("fma"),
        F16C => is_x86_feature_detected!("f16c"),
        BMI1 => is_x86_feature_detected!("bmi1"),
        BMI2 => is_x86_feature_detected!("bmi2"),
        LZCNT => is_x86_feature_detected!("lzcnt"),
        MOVBE => is_x86_feature_detected!("movbe"),
        ADX => is_x86_feature_detected!("adx"),
        AES => is_x86_feature_detected!("aes"),
        PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        SHA => is_x86_feature_detected!("sha"),
        _ => false,
    };
    is_on_host
        || matches!(
            feature,
            INTEL8086
                | INTEL186
                | INTEL286
                | INTEL386
                | INTEL486
                | X64
                | CMOV
                | CX8
                | CMPXCHG16B
                | FPU
                | FPU287
                | FPU387
                | MMX
                | SSE
                | SSE2
                | SSE3
                | SSSE3
                | SSE4_1
                | SSE4_2
                | POPCNT
                | MULTIBYTENOP
                | PREFETCHW
        )
}

/// The VEX forms that the host and we have; none for other families, whose encodings are not counted.
pub fn forms(family: Family) -> impl Iterator<Item = Code> {
    Code::values().filter(move |code| {
        let features = code.cpuid_features();
        let is_vector = features.iter().any(|feature| {
            use CpuidFeature::*;
            matches!(feature, AVX | AVX2 | FMA | F16C)
        });
        let is_known = features.iter().all(|&feature| is_known_feature(feature));
        let is_gather = format!("{code:?}").contains("gather");
        let is_family = match family {
            Family::Avx => is_vector && !is_gather,
            Family::Gather => is_gather,
            Family::Integer => !is_vector,
            Family::Vector | Family::Arithmetic | Family::X87 => false,
        };
        code.encoding() == EncodingKind::VEX && is_known && is_family
    })
}

/// Instructions whose result is not the same on all processors, or that are the system's.
fn is_excluded(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let mnemonic = instruction.mnemonic();
    matches!(
        mnemonic,
        Rcpps | Rcpss | Rsqrtps | Rsqrtss | Vrcpps | Vrcpss | Vrsqrtps | Vrsqrtss // approximations
            | Vldmxcsr | Vmaskmovdqu
            | Popf | Popfq | Pushf | Pushfq | Enter | Leave | Rdtsc | Cpuid | Rdpmc
            | Sgdt | Sidt | Sldt | Str | Smsw | Lar | Lsl | Verr | Verw
            | Syscall | Sysenter | Int | Int1 | Int3 | Into | Ud0 | Ud1 | Ud2
            | Fxsave | Fxsave64 | Fxrstor | Fxrstor64 | Fldenv | Fnstenv | Fstenv | Frstor | Fnsave | Fsave
            | Fldcw | Ldmxcsr | Wait | Jmpe | Reservednop | Xlatb | Maskmovdqu | Maskmovq
            // Within an ulp rather than exact.
            | Fsin | Fcos | Fsincos | Fptan | Fpatan | F2xm1 | Fyl2x | Fyl2xp1
            // No instruction of the manual's.
            | Fstpnce
            | Lss | Lfs | Lgs | Clflush | Fndisi | Fneni | Fnsetpm | Fdisi | Feni | Fsetpm | Frstpm
    )
}

/// The flags that are undefined behind an instruction, from those before it.
fn undefined_after(instruction: &Instruction, undefined: u64) -> u64 {
    let defined = instruction.rflags_written() | instruction.rflags_cleared() | instruction.rflags_set();
    let next = undefined & !flag_bits(defined) | flag_bits(instruction.rflags_undefined());
    let next = if matches!(instruction.mnemonic(), Mnemonic::Rcl | Mnemonic::Rcr) {
        // Defined only for a count of one, which is not known here.
        next | flag_bits(RflagsBits::OF)
    } else {
        next
    };
    // A shift by a count of zero, and a string comparison repeated no times, leave the flags alone: what was
    // undefined stays so.
    let is_repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    if is_shift(instruction) || is_repeated { next | undefined } else { next }
}

impl Sequence {
    fn add_if_fit(&mut self, bytes: &[u8]) {
        let ip = CODE + self.code.len() as u64;
        let mut decoder = Decoder::with_ip(64, bytes, ip, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() || !self.is_fit(&instruction) {
            return;
        }
        let undefined = *self.undefined_flags.last().unwrap_or(&0);
        if flag_bits(instruction.rflags_read()) & undefined != 0 {
            return;
        }
        self.undefined_flags.push(undefined_after(&instruction, undefined));
        self.code.extend(&bytes[..instruction.len()]);
        self.instructions.push(instruction);
    }

    fn is_fit(&mut self, instruction: &Instruction) -> bool {
        let is_family = {
            let features = instruction.cpuid_features();
            let is_conversion = matches!(
                instruction.mnemonic(),
                Mnemonic::Cvtsd2si | Mnemonic::Cvttsd2si | Mnemonic::Cvtss2si | Mnemonic::Cvttss2si
            );
            let is_vector = is_conversion
                || (0..instruction.op_count()).any(|index| {
                    instruction.op_register(index).is_xmm() || instruction.op_register(index).is_ymm()
                })
                || matches!(
                    instruction.mnemonic(),
                    Mnemonic::Stmxcsr
                        | Mnemonic::Movnti
                        | Mnemonic::Vstmxcsr
                        | Mnemonic::Vzeroupper
                        | Mnemonic::Vzeroall
                );
            let is_x87 = features.iter().any(|feature| {
                matches!(feature, CpuidFeature::FPU | CpuidFeature::FPU287 | CpuidFeature::FPU387)
            }) || (0..instruction.op_count())
                .any(|index| instruction.op_register(index).is_mm())
                || matches!(instruction.mnemonic(), Mnemonic::Emms | Mnemonic::Cvtpi2ps | Mnemonic::Cvtpi2pd);
            match self.family {
                Family::Integer => !is_vector && !is_x87,
                Family::Vector | Family::Avx | Family::Arithmetic | Family::Gather => is_vector && !is_x87,
                Family::X87 => is_x87,
            }
        };
        let is_plain = instruction.cpuid_features().iter().all(|&feature| is_known_feature(feature))
            && instruction.flow_control() == FlowControl::Next
            && !instruction.is_privileged()
            && !is_excluded(instruction)
            && !matches!(instruction.segment_prefix(), Register::FS | Register::GS);
        if !is_family || !is_plain || is_undefined_result(instruction) {
            return false;
        }
        if instruction.is_string_instruction() {
            if !self.uses_strings {
                return false;
            }
            // The pointers and the count are the registers' initial values only once.
            self.is_closed = true;
            return !uses_32_bit_strings(instruction);
        }
        let names_segment = (0..instruction.op_count()).any(|index| {
            instruction.op_kind(index) == OpKind::Register
                && instruction.op_register(index).is_segment_register()
        });
        if names_segment {
            return false;
        }
        if self.family == Family::Gather {
            // What it loads would be the next one's indices.
            self.is_closed = true;
            return true;
        }
        let info = self.factory.info(instruction);
        for memory in info.used_memory() {
            let is_stack = memory.base() == Register::RSP && memory.index() == Register::None;
            let is_based = memory.base() == Register::RBX
                && matches!(memory.index(), Register::None | Register::R15)
                && memory.displacement() as i64 >= -128
                && memory.displacement() as i64 <= 128;
            let is_address_only = memory.access() == OpAccess::NoMemAccess;
            // Bit strings reach as far as the bit offset says.
            let is_bit_string = matches!(
                instruction.code(),
                Code::Bt_rm16_r16
                    | Code::Bt_rm32_r32
                    | Code::Bt_rm64_r64
                    | Code::Bts_rm16_r16
                    | Code::Bts_rm32_r32
                    | Code::Bts_rm64_r64
                    | Code::Btr_rm16_r16
                    | Code::Btr_rm32_r32
                    | Code::Btr_rm64_r64
                    | Code::Btc_rm16_r16
                    | Code::Btc_rm32_r32
                    | Code::Btc_rm64_r64
            );
            if !is_address_only && (!is_stack && !is_based || is_bit_string) {
                return false;
            }
        }
        let is_stack_instruction = instruction.is_stack_instruction();
        for used in info.used_registers() {
            let is_written = !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::None);
            let full = used.register().full_register();
            if is_written
                && (matches!(full, Register::RBX | Register::R15)
                    || full == Register::RSP && !is_stack_instruction)
            {
                self.is_closed = true;
            }
            let is_string_register = matches!(full, Register::RCX | Register::RSI | Register::RDI);
            if is_written && self.uses_strings && is_string_register {
                return false;
            }
        }
        true
    }
}

/// With a 32-bit address size the upper halves go; the pointers fit, but pushes of them need not.
fn uses_32_bit_strings(instruction: &Instruction) -> bool {
    (0..instruction.op_count()).any(|index| {
        matches!(instruction.op_kind(index), OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI)
    })
}

fn is_shift(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    matches!(instruction.mnemonic(), Shl | Shr | Sar | Sal | Rol | Ror | Rcl | Rcr | Shld | Shrd)
}

/// Forms whose result the manual leaves undefined.
fn is_undefined_result(instruction: &Instruction) -> bool {
    match instruction.mnemonic() {
        // Counts beyond the operand's width.
        Mnemonic::Shld | Mnemonic::Shrd => instruction.op_register(1).size() == 2,
        Mnemonic::Bswap => instruction.op_register(0).size() == 2,
        // With this prefix the host's processor counts zeros.
        Mnemonic::Bsf | Mnemonic::Bsr => instruction.has_rep_prefix() || instruction.has_repne_prefix(),
        _ => false,
    }
}

/// iced's flags at their places in RFLAGS.
fn flag_bits(flags: u32) -> u64 {
    const PLACES: [(u32, u64); 7] = [
        (RflagsBits::CF, 1),
        (RflagsBits::PF, 1 << 2),
        (RflagsBits::AF, 1 << 4),
        (RflagsBits::ZF, 1 << 6),
        (RflagsBits::SF, 1 << 7),
        (RflagsBits::DF, 1 << 10),
        (RflagsBits::OF, 1 << 11),
    ];
    PLACES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, place)| place).sum()
}
