//! The front end: decodes a basic block with iced-x86 and lifts it to micro-operations.
//!
//! Each instruction's meaning is written once: here and in the families' `lift` modules, or in a helper.

mod address;
mod builder;
mod control;
mod data;
mod manipulate;
mod operand;
mod optimize;
mod shift;
mod string;

pub use address::linear_address;
pub use builder::{Builder, CodeSize, Lifted, Mode};

use super::code::{OwnedBlock, Parts};
use super::{CpuModel, integer, sse, system, x87};
use crate::ir::OpCode;
use crate::mem::GuestPhysAddr;
use iced_x86::{Decoder, DecoderError, DecoderOptions, EncodingKind, Instruction};

/// Instructions in the longest block. Longer blocks were no faster; they delay interrupts.
pub const MOST_INSTRUCTIONS: usize = 32;

/// Without BMI1 and LZCNT in CPUID, F3 0F BC and F3 0F BD are BSF and BSR; without them there are no VEX
/// prefixes either, which changes nothing in what is defined.
const fn decoder_options(model: CpuModel) -> u32 {
    match model {
        CpuModel::V1 | CpuModel::V2 => DecoderOptions::NO_MPFX_0FBC | DecoderOptions::NO_MPFX_0FBD,
        CpuModel::V3 | CpuModel::Max => DecoderOptions::NONE,
    }
}

/// Translates the block that starts with `bytes`, at the offset `rip` of its segment.
///
/// `second_page` is given when `bytes` go on into another page; then the block is the one instruction that
/// runs over. `None` when not even one instruction lies within `bytes`.
pub fn block(
    mode: Mode,
    rip: u64,
    start: GuestPhysAddr,
    bytes: &[u8],
    second_page: Option<u64>,
) -> Option<OwnedBlock> {
    let bitness = match mode.code_size {
        CodeSize::Bits16 => 16,
        CodeSize::Bits32 => 32,
        CodeSize::Bits64 => 64,
    };
    let most = if second_page.is_some() || mode.is_single_step { 1 } else { MOST_INSTRUCTIONS };
    let mut decoder = Decoder::with_ip(bitness, bytes, rip, decoder_options(mode.model));
    let mut builder = Builder::new(mode, rip);
    let mut offsets = Vec::with_capacity(most);
    let mut instruction = Instruction::default();
    let mut has_ended = false;
    let mut length = 0;
    while offsets.len() < most && !has_ended {
        if !decoder.can_decode() {
            break;
        }
        decoder.decode_out(&mut instruction);
        if instruction.is_invalid() && decoder.last_error() == DecoderError::NoMoreBytes {
            if bytes.len() - usize::from(length) < 15 {
                break;
            }
            // More than 15 bytes: #GP(0), and the instruction counts as one byte.
            instruction.set_len(1);
        }
        builder.begin(&instruction);
        offsets.push(builder.pc());
        has_ended = lift(&mut builder, &instruction) == Lifted::Ends;
        length = builder.next_pc();
    }
    if offsets.is_empty() {
        return None;
    }
    if !has_ended {
        control::fall_through(&mut builder);
    }
    let distances = builder.successor_distances();
    Some(OwnedBlock::new(Parts {
        ops: &optimize::optimized(builder.ops),
        instruction_offsets: &offsets,
        distances,
        start,
        length,
        second_page,
        mode_bits: mode.bits(),
        rip_bits: if mode.code_size == CodeSize::Bits64 { 64 } else { 32 },
    }))
}

/// Whether the processor has the instruction in this mode.
fn exists(mode: Mode, instruction: &Instruction) -> bool {
    let is_vex = instruction.encoding() == EncodingKind::VEX;
    !(is_vex && mode.vex_undefined)
        && instruction.cpuid_features().iter().all(|&feature| mode.model.has(feature))
}

fn lift(builder: &mut Builder, instruction: &Instruction) -> Lifted {
    let lifted = if instruction.is_invalid() || !exists(builder.mode, instruction) {
        Lifted::Undefined
    } else {
        control::lift(builder, instruction)
            .or_else(|| data::lift(builder, instruction))
            .or_else(|| shift::lift(builder, instruction))
            .or_else(|| manipulate::lift(builder, instruction))
            .or_else(|| string::lift(builder, instruction))
            .or_else(|| system::lift(builder, instruction))
            .or_else(|| sse::lift(builder, instruction))
            .or_else(|| x87::lift(builder, instruction))
            .unwrap_or(Lifted::Undefined)
    };
    match lifted {
        Lifted::Undefined => {
            log::debug!("undefined instruction {:?} ({:?})", instruction.mnemonic(), instruction.code());
            builder.call_and_exit(integer::UNDEFINED, [0; 4]);
            Lifted::Ends
        }
        other => other,
    }
}

impl Mode {
    /// The mode as a number below 4096, for keys.
    pub const fn bits(&self) -> u16 {
        self.code_size as u16
            | (self.is_stack_32 as u16) << 2
            | (self.is_flat as u16) << 3
            | (self.x87_traps as u16) << 4
            | (self.sse_undefined as u16) << 5
            | (self.sse_traps as u16) << 6
            | (self.is_single_step as u16) << 7
            | (self.vex_undefined as u16) << 8
            | (self.avx_undefined as u16) << 9
            | (self.model as u16) << 10
    }
}

/// Whether a block ends behind the operation.
const fn ends_block(code: OpCode) -> bool {
    code as u16 >= OpCode::Leave as u16 || matches!(code, OpCode::CallAndExit)
}
