//! Counted branches and stack frames.

use super::width;
use crate::cpu::{Exception, SegmentIndex, Vcpu};
use crate::ir::{Op, Reg};

/// See [`super::COUNT_BRANCH`].
pub fn count_branch(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let is_loop = op.c != 0;
    let mut count = vcpu.value(Reg::RCX.0, size);
    if is_loop {
        count = count.wrapping_sub(1) & size.mask();
        vcpu.set_value(Reg::RCX, size, count);
    }
    let is_taken = match op.c {
        0 => count == 0,
        1 => count != 0,
        2 => count != 0 && vcpu.flags.zero(),
        _ => count != 0 && !vcpu.flags.zero(),
    };
    let distance = if is_taken { vcpu.reg(Reg(op.b)) } else { op.disp as u64 };
    let rip = vcpu.truncate_rip(vcpu.reg(Reg::RIP).wrapping_add(distance));
    vcpu.set_rip(rip);
    Ok(())
}

/// See [`super::ENTER`]. RSP and RBP change only when nothing has faulted.
pub fn enter(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (pointer, size) = (width(op.a), width(op.d));
    let level = op.c & 31;
    let bytes = u64::from(size.bytes());
    let mut stack = vcpu.value(Reg::RSP.0, pointer);
    let mut frame = vcpu.value(Reg::RBP.0, pointer);
    let push = |vcpu: &mut Vcpu, stack: &mut u64, value: u64| -> Result<(), Exception> {
        *stack = stack.wrapping_sub(bytes) & pointer.mask();
        let address = vcpu.linear_address(SegmentIndex::Ss, *stack, bytes)?;
        vcpu.write_sized(address, size, value)
    };
    let old_frame = vcpu.reg(Reg::RBP);
    push(vcpu, &mut stack, old_frame)?;
    let new_frame = stack;
    for _ in 1..level {
        frame = frame.wrapping_sub(bytes) & pointer.mask();
        let address = vcpu.linear_address(SegmentIndex::Ss, frame, bytes)?;
        let display = vcpu.read_sized(address, size)?;
        push(vcpu, &mut stack, display)?;
    }
    if level > 0 {
        push(vcpu, &mut stack, new_frame)?;
    }
    stack = stack.wrapping_sub(vcpu.reg(Reg(op.b))) & pointer.mask();
    // The new top must be writable, as the pushes that follow expect.
    let address = vcpu.linear_address(SegmentIndex::Ss, stack, bytes)?;
    vcpu.check_write(address, bytes)?;
    vcpu.set_value(Reg::RBP, size, new_frame);
    vcpu.set_value(Reg::RSP, pointer, stack);
    Ok(())
}

/// See [`super::ALL_REGISTERS`].
pub fn all_registers(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (pointer, size) = (width(op.a), width(op.d));
    let bytes = u64::from(size.bytes());
    let stack = vcpu.value(Reg::RSP.0, pointer);
    let at = |vcpu: &Vcpu, offset: u64| vcpu.linear_address(SegmentIndex::Ss, offset & pointer.mask(), bytes);
    if op.c == 1 {
        let mut values = [0; 8];
        for place in 0..8u64 {
            let address = at(vcpu, stack.wrapping_add(place * bytes))?;
            values[place as usize] = vcpu.read_sized(address, size)?;
        }
        for (place, &value) in values.iter().enumerate() {
            let register = Reg(7 - place as u8);
            if register != Reg::RSP {
                vcpu.set_value(register, size, value);
            }
        }
        vcpu.set_value(Reg::RSP, pointer, stack.wrapping_add(8 * bytes));
        return Ok(());
    }
    for number in 0..8u8 {
        let address = at(vcpu, stack.wrapping_sub((u64::from(number) + 1) * bytes))?;
        let value = vcpu.value(number, size);
        vcpu.write_sized(address, size, value)?;
    }
    vcpu.set_value(Reg::RSP, pointer, stack.wrapping_sub(8 * bytes));
    Ok(())
}
