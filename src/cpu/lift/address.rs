//! Addresses of memory operands (SDM vol. 1 3.7.5).

use super::{Builder, CodeSize};
use crate::cpu::integer;
use crate::ir::{Address, OpCode, Reg};
use iced_x86::{Instruction, OpKind, Register};

/// See [`Builder::reg`].
pub fn file_register(register: Register) -> Reg {
    Reg(register.full_register().number() as u8 & 15)
}

/// See [`Builder::address`].
pub fn memory_operand(builder: &mut Builder, instruction: &Instruction) -> Address {
    let segment = instruction.memory_segment();
    let offset = effective_address(builder, instruction);
    linear_address(builder, offset, segment, Builder::memory_bytes(instruction).max(1))
}

/// The offset within the segment, truncated to the address size.
pub fn effective_address(builder: &mut Builder, instruction: &Instruction) -> Address {
    // MASKMOVQ and MASKMOVDQU name no register: they write to rDI.
    let truncation = match instruction.op0_kind() {
        OpKind::MemorySegRDI => return Address::register(Reg::RDI),
        OpKind::MemorySegEDI => Some(OpCode::Lea32),
        OpKind::MemorySegDI => Some(OpCode::Lea16),
        _ => None,
    };
    if let Some(code) = truncation {
        return truncated(builder, Address::register(Reg::RDI), code);
    }
    let component = |register: Register| match register {
        Register::None => Reg::ZERO,
        other => file_register(other),
    };
    let index = component(instruction.memory_index());
    let shift = instruction.memory_index_scale().trailing_zeros() as u8;
    let displacement = instruction.memory_displacement64();
    if instruction.is_ip_rel_memory_operand() {
        // iced gives the target; what is constant is its distance from the block's start.
        let distance = builder.branch_distance(displacement);
        let address = with_wide_displacement(builder, Reg::RIP, Reg::ZERO, 0, distance);
        return if instruction.memory_base() == Register::EIP {
            truncated(builder, address, OpCode::Lea32)
        } else {
            address
        };
    }
    let address = with_wide_displacement(
        builder,
        component(instruction.memory_base()),
        index,
        shift,
        displacement as i64,
    );
    match address_size(instruction) {
        8 => address,
        4 => truncated(builder, address, OpCode::Lea32),
        _ => truncated(builder, address, OpCode::Lea16),
    }
}

fn address_size(instruction: &Instruction) -> usize {
    let register = match (instruction.memory_base(), instruction.memory_index()) {
        (Register::None, Register::None) => return instruction.memory_displ_size().max(2) as usize,
        (Register::None, index) => index,
        (base, _) => base,
    };
    register.size()
}

fn truncated(builder: &mut Builder, address: Address, code: OpCode) -> Address {
    builder.emit_memory(code, Reg::T0.0, address);
    Address::register(Reg::T0)
}

fn with_wide_displacement(
    builder: &mut Builder,
    base: Reg,
    index: Reg,
    shift: u8,
    displacement: i64,
) -> Address {
    match i32::try_from(displacement) {
        Ok(disp) => Address { base, index, shift, disp },
        Err(_) if base == Reg::ZERO => {
            builder.constant(Reg::T0, displacement as u64);
            Address { base: Reg::T0, index, shift, disp: 0 }
        }
        Err(_) => {
            builder.constant(Reg::T0, displacement as u64);
            builder.emit3(OpCode::AddQuiet64, Reg::T0, Reg::T0, base);
            Address { base: Reg::T0, index, shift, disp: 0 }
        }
    }
}

/// Adds the segment's base; outside 64-bit and flat segments checks the limit too.
pub fn linear_address(builder: &mut Builder, offset: Address, segment: Register, bytes: usize) -> Address {
    let number = segment.number() as u8;
    let base = Reg(Reg::ES_BASE.0 + number);
    if builder.mode.code_size == CodeSize::Bits64 {
        return match segment {
            Register::FS | Register::GS => with_base(builder, offset, base),
            _ => offset,
        };
    }
    if builder.mode.is_flat && !matches!(segment, Register::FS | Register::GS) {
        return offset;
    }
    let target = flattened(builder, offset);
    builder.call(integer::SEGMENT_ADDRESS, [Reg::T0.0, target.0, number, bytes.min(255) as u8]);
    Address::register(Reg::T0)
}

fn flattened(builder: &mut Builder, offset: Address) -> Reg {
    if offset != Address::register(offset.base) {
        builder.lea(Reg::T0, offset);
        return Reg::T0;
    }
    offset.base
}

fn with_base(builder: &mut Builder, offset: Address, segment_base: Reg) -> Address {
    if offset.base == Reg::ZERO {
        Address { base: segment_base, ..offset }
    } else if offset.index == Reg::ZERO {
        Address { index: segment_base, shift: 0, ..offset }
    } else {
        builder.lea(Reg::T0, offset);
        Address { base: segment_base, index: Reg::T0, shift: 0, disp: 0 }
    }
}
