//! Integer operands: registers, high bytes, memory, immediates.

use super::Builder;
use crate::ir::{Address, OpCode, Reg, Width};
use iced_x86::{Instruction, OpKind, Register};

/// An operand that an instruction writes.
#[derive(Clone, Copy)]
pub enum Place {
    /// A register of the file, written by the width's rule.
    Register(Reg),
    /// Bits 8 to 15 of a register: AH, CH, DH, BH.
    High(Reg),
    /// Memory.
    Memory(Address),
}

/// Whether a register is AH, CH, DH or BH.
pub fn is_high_byte(register: Register) -> bool {
    matches!(register, Register::AH | Register::CH | Register::DH | Register::BH)
}

/// The width of operand `index`, if it is 8, 16, 32 or 64 bits.
pub fn width(instruction: &Instruction, index: u32) -> Option<Width> {
    let bytes = match instruction.op_kind(index) {
        OpKind::Register => instruction.op_register(index).size(),
        OpKind::Memory => instruction.memory_size().size(),
        OpKind::Immediate8 => 1,
        OpKind::Immediate16 | OpKind::Immediate8to16 => 2,
        OpKind::Immediate32 | OpKind::Immediate8to32 => 4,
        OpKind::Immediate64 | OpKind::Immediate8to64 | OpKind::Immediate32to64 => 8,
        _ => return None,
    };
    Width::from_bytes(bytes)
}

impl Builder {
    /// Operand `index` as something to write. Memory operands may leave their address in T0.
    pub fn place(&mut self, instruction: &Instruction, index: u32) -> Place {
        match instruction.op_kind(index) {
            OpKind::Register => Self::register_place(instruction.op_register(index)),
            _ => Place::Memory(self.address(instruction)),
        }
    }

    /// A register operand as something to write.
    pub fn register_place(register: Register) -> Place {
        if is_high_byte(register) {
            Place::High(Reg(register.number() as u8 - 4))
        } else {
            Place::Register(Self::reg(register))
        }
    }

    /// The value of a place: its register, or `temporary` after loading it there. What stands above the
    /// width is undefined.
    pub fn value(&mut self, place: Place, width: Width, temporary: Reg) -> Reg {
        match place {
            Place::Register(reg) => reg,
            Place::High(reg) => {
                self.emit3(OpCode::ExtractHigh8, temporary, reg, Reg::ZERO);
                temporary
            }
            Place::Memory(address) => {
                self.load(width, temporary, address);
                temporary
            }
        }
    }

    /// As [`value`](Self::value), for a place that is written afterwards: a memory operand that cannot be
    /// written faults now.
    pub fn value_for_update(&mut self, place: Place, width: Width, temporary: Reg) -> Reg {
        match place {
            Place::Memory(address) => {
                self.emit_memory(OpCode::LoadForUpdate8.sized(width), temporary.0, address);
                temporary
            }
            other => self.value(other, width, temporary),
        }
    }

    /// Writes the low `width` bits of `source` to a place.
    pub fn assign(&mut self, place: Place, width: Width, source: Reg) {
        match place {
            Place::Register(reg) => self.emit3(OpCode::Mov8.sized(width), reg, source, Reg::ZERO),
            Place::High(reg) => self.emit3(OpCode::InsertHigh8, reg, source, Reg::ZERO),
            Place::Memory(address) => self.store(width, source, address),
        }
    }

    /// The value of operand `index`, whatever its kind.
    pub fn source(&mut self, instruction: &Instruction, index: u32, width: Width, temporary: Reg) -> Reg {
        match Self::immediate(instruction, index) {
            Some(value) => {
                self.constant(temporary, value);
                temporary
            }
            None => {
                let place = self.place(instruction, index);
                self.value(place, width, temporary)
            }
        }
    }

    /// The value of operand `index` if it is an immediate, sign-extended.
    pub fn immediate(instruction: &Instruction, index: u32) -> Option<u64> {
        match instruction.op_kind(index) {
            OpKind::Immediate8 => Some(instruction.immediate8() as i8 as i64 as u64),
            OpKind::Immediate16 => Some(instruction.immediate16() as i16 as i64 as u64),
            OpKind::Immediate32 => Some(instruction.immediate32() as i32 as i64 as u64),
            OpKind::Immediate64
            | OpKind::Immediate8to16
            | OpKind::Immediate8to32
            | OpKind::Immediate8to64
            | OpKind::Immediate32to64 => Some(instruction.immediate(index)),
            _ => None,
        }
    }
}
