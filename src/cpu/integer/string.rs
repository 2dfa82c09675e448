//! MOVS, STOS, LODS, SCAS and CMPS (SDM vol. 2, REP).
//!
//! A repeated instruction can be restarted: after each step RCX, RSI and RDI are up to date. It stops after
//! a bounded number of steps, so that interrupts are taken in between.

use super::width;
use crate::cpu::flags::{DF, LazyFlags};
use crate::cpu::{Exception, FlagsKind, SegmentIndex, Vcpu};
use crate::ir::{Op, Reg, Width};
use std::ptr;

/// A string instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum StringOp {
    Move,
    Store,
    Load,
    Scan,
    Compare,
}

/// A repeat prefix. For MOVS, STOS and LODS both prefixes repeat RCX times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Repeat {
    Once,
    WhileEqual,
    WhileNotEqual,
}

/// Steps of one execution of a repeated instruction; then the block loop looks for interrupts.
const MOST_STEPS: u64 = 65536;

struct Instruction {
    operation: StringOp,
    repeat: Repeat,
    /// Width of RSI, RDI and RCX.
    address: Width,
    segment: u8,
    size: Width,
}

impl Instruction {
    fn of(op: &Op) -> Self {
        const OPERATIONS: [StringOp; 5] =
            [StringOp::Move, StringOp::Store, StringOp::Load, StringOp::Scan, StringOp::Compare];
        const REPEATS: [Repeat; 3] = [Repeat::Once, Repeat::WhileEqual, Repeat::WhileNotEqual];
        Self {
            operation: OPERATIONS[usize::from(op.a).min(4)],
            repeat: REPEATS[usize::from(op.b >> 2).min(2)],
            address: width(op.b),
            segment: op.c,
            size: width(op.d),
        }
    }

    fn reads_source(&self) -> bool {
        matches!(self.operation, StringOp::Move | StringOp::Load | StringOp::Compare)
    }

    fn uses_destination(&self) -> bool {
        self.operation != StringOp::Load
    }
}

/// See [`super::STRING`].
pub fn string(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let instruction = Instruction::of(op);
    if instruction.repeat == Repeat::Once {
        return step(vcpu, &instruction);
    }
    let counter = instruction.address;
    let flags = vcpu.flags;
    let mut left = MOST_STEPS;
    let is_done = loop {
        let count = vcpu.value(Reg::RCX.0, counter);
        if count == 0 {
            break true;
        }
        if left == 0 || vcpu.must_leave {
            break false;
        }
        let moved = move_many(vcpu, &instruction, count.min(left));
        if moved > 0 {
            left -= moved;
            vcpu.set_value(Reg::RCX, counter, count - moved);
            continue;
        }
        if let Err(exception) = step(vcpu, &instruction) {
            // SDM vol. 2B, REP: a fault leaves the flags of before the instruction.
            vcpu.flags = flags;
            return Err(exception);
        }
        left -= 1;
        vcpu.set_value(Reg::RCX, counter, count - 1);
        let compares = matches!(instruction.operation, StringOp::Scan | StringOp::Compare);
        if compares && vcpu.flags.zero() != (instruction.repeat == Repeat::WhileEqual) {
            break true;
        }
    };
    let rip = if is_done { vcpu.next_rip(op) } else { vcpu.current_rip(op) };
    vcpu.set_rip(rip);
    Ok(())
}

/// One step, without the count.
fn step(vcpu: &mut Vcpu, instruction: &Instruction) -> Result<(), Exception> {
    let size = instruction.size;
    let bytes = u64::from(size.bytes());
    let source = |vcpu: &mut Vcpu| {
        let offset = vcpu.value(Reg::RSI.0, instruction.address);
        let address = vcpu.linear_address_in(instruction.segment, offset, bytes)?;
        vcpu.read_sized(address, size)
    };
    let destination = |vcpu: &Vcpu| {
        vcpu.linear_address(SegmentIndex::Es, vcpu.value(Reg::RDI.0, instruction.address), bytes)
    };
    match instruction.operation {
        StringOp::Move => {
            let value = source(vcpu)?;
            let address = destination(vcpu)?;
            vcpu.write_sized(address, size, value)?;
        }
        StringOp::Store => {
            let address = destination(vcpu)?;
            vcpu.write_sized(address, size, vcpu.reg(Reg::RAX))?;
        }
        StringOp::Load => {
            let value = source(vcpu)?;
            vcpu.set_value(Reg::RAX, size, value);
        }
        StringOp::Scan => {
            let address = destination(vcpu)?;
            let value = vcpu.read_sized(address, size)?;
            compare(vcpu, size, vcpu.reg(Reg::RAX), value);
        }
        StringOp::Compare => {
            let left = source(vcpu)?;
            let address = destination(vcpu)?;
            let right = vcpu.read_sized(address, size)?;
            compare(vcpu, size, left, right);
        }
    }
    advance(vcpu, instruction, 1);
    Ok(())
}

fn compare(vcpu: &mut Vcpu, size: Width, left: u64, right: u64) {
    vcpu.flags = LazyFlags::of(FlagsKind::Sub, size, left.wrapping_sub(right), right);
}

fn advance(vcpu: &mut Vcpu, instruction: &Instruction, steps: u64) {
    let bytes = steps * u64::from(instruction.size.bytes());
    let delta = if vcpu.system_flags & DF != 0 { bytes.wrapping_neg() } else { bytes };
    for (is_used, register) in
        [(instruction.reads_source(), Reg::RSI), (instruction.uses_destination(), Reg::RDI)]
    {
        if is_used {
            let moved = vcpu.reg(register).wrapping_add(delta);
            vcpu.set_value(register, instruction.address, moved);
        }
    }
}

/// Does up to `count` steps of MOVS or STOS at once where both ends are plain RAM within a page, upwards and
/// without overlap; returns how many, zero when one step must do.
fn move_many(vcpu: &mut Vcpu, instruction: &Instruction, count: u64) -> u64 {
    let is_move = instruction.operation == StringOp::Move;
    let is_bulk = is_move || instruction.operation == StringOp::Store;
    if !is_bulk || count < 4 || vcpu.system_flags & DF != 0 || instruction.address == Width::W16 {
        return 0;
    }
    let bytes = u64::from(instruction.size.bytes());
    let to_page_end = |address: u64| 4096 - address % 4096;
    let offset = vcpu.value(Reg::RDI.0, instruction.address);
    let Ok(target) = vcpu.linear_address(SegmentIndex::Es, offset, bytes) else { return 0 };
    let mut length = (count * bytes).min(to_page_end(target));
    let mut from = None;
    if is_move {
        let offset = vcpu.value(Reg::RSI.0, instruction.address);
        let Ok(source) = vcpu.linear_address_in(instruction.segment, offset, bytes) else { return 0 };
        length = length.min(to_page_end(source));
        from = Some(source);
    }
    length -= length % bytes;
    let last_offset = |register: Reg| vcpu.value(register.0, instruction.address).checked_add(length);
    // Limits and wrap-around are left to single steps.
    if length == 0 || !vcpu.is_64_bit() && last_offset(Reg::RDI).is_none_or(|end| end > 0xffff_0000) {
        return 0;
    }
    if !vcpu.is_64_bit() && !vcpu.mode().is_flat {
        return 0;
    }
    let Some(target) = vcpu.writable_pointer(target, length) else { return 0 };
    match from {
        Some(source) => {
            let Some(source) = vcpu.readable_pointer(source, length) else { return 0 };
            let distance = (target as usize).wrapping_sub(source as usize);
            if distance != 0 && distance < length as usize {
                // The destination overlaps what is still to be read: the steps repeat a pattern.
                return 0;
            }
            // SAFETY: both pointers are valid for `length` bytes of guest RAM.
            unsafe { ptr::copy(source, target, length as usize) };
        }
        None => fill(target, length, bytes, vcpu.reg(Reg::RAX)),
    }
    advance(vcpu, instruction, length / bytes);
    length / bytes
}

/// Fills `length` bytes at `target` with the low `bytes` bytes of `value`.
fn fill(target: *mut u8, length: u64, bytes: u64, value: u64) {
    let pattern = value.to_le_bytes();
    let is_uniform = pattern[..bytes as usize].iter().all(|&byte| byte == pattern[0]);
    if is_uniform {
        // SAFETY: the caller's pointer is valid for `length` bytes of guest RAM.
        unsafe { ptr::write_bytes(target, pattern[0], length as usize) };
        return;
    }
    for offset in (0..length).step_by(bytes as usize) {
        // SAFETY: `length` is a multiple of `bytes`, so each step lies within the range.
        unsafe { target.add(offset as usize).copy_from_nonoverlapping(pattern.as_ptr(), bytes as usize) };
    }
}
