//! String instructions, with and without repetition.

use super::{Builder, Lifted};
use crate::cpu::integer::{self, StringOp};
use crate::ir::Width;
use iced_x86::{Code, Instruction, Mnemonic as M, OpKind};

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    if !instruction.is_string_instruction() {
        return None;
    }
    let operation = match instruction.mnemonic() {
        M::Movsb | M::Movsw | M::Movsd | M::Movsq => StringOp::Move,
        M::Stosb | M::Stosw | M::Stosd | M::Stosq => StringOp::Store,
        M::Lodsb | M::Lodsw | M::Lodsd | M::Lodsq => StringOp::Load,
        M::Scasb | M::Scasw | M::Scasd | M::Scasq => StringOp::Scan,
        M::Cmpsb | M::Cmpsw | M::Cmpsd | M::Cmpsq => StringOp::Compare,
        _ => return None,
    };
    let size = match instruction.code() {
        Code::Movsb_m8_m8 | Code::Stosb_m8_AL | Code::Lodsb_AL_m8 | Code::Scasb_AL_m8 | Code::Cmpsb_m8_m8 => {
            Width::W8
        }
        Code::Movsw_m16_m16
        | Code::Stosw_m16_AX
        | Code::Lodsw_AX_m16
        | Code::Scasw_AX_m16
        | Code::Cmpsw_m16_m16 => Width::W16,
        Code::Movsd_m32_m32
        | Code::Stosd_m32_EAX
        | Code::Lodsd_EAX_m32
        | Code::Scasd_EAX_m32
        | Code::Cmpsd_m32_m32 => Width::W32,
        _ => Width::W64,
    };
    let address = (0..2).find_map(|index| match instruction.op_kind(index) {
        OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI => Some(Width::W16),
        OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI => Some(Width::W32),
        OpKind::MemorySegRSI | OpKind::MemorySegRDI | OpKind::MemoryESRDI => Some(Width::W64),
        _ => None,
    })?;
    let repeat = if instruction.has_repne_prefix() {
        integer::Repeat::WhileNotEqual
    } else if instruction.has_rep_prefix() || instruction.has_repe_prefix() {
        integer::Repeat::WhileEqual
    } else {
        integer::Repeat::Once
    };
    let segment = instruction.memory_segment().number() as u8;
    let operands = [operation as u8, (repeat as u8) << 2 | address as u8, segment, size as u8];
    if repeat == integer::Repeat::Once {
        builder.call(integer::STRING, operands);
        return Some(Lifted::Continues);
    }
    builder.call_and_exit(integer::STRING, operands);
    Some(Lifted::Ends)
}
