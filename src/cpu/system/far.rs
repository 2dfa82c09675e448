//! Far jumps, calls and returns, and `IRET` (SDM vol. 2, "JMP", "CALL", "RET", "IRET"; vol. 3A 5.8).

use super::descriptor::*;
use super::registers::is_canonical;
use super::stack::Stack;
use crate::cpu::{Exception, Segment, SegmentIndex, Vcpu, flags};
use crate::ir::{Op, Reg};

/// Where a far transfer through a descriptor leads.
enum Target {
    Code(Descriptor),
    /// A call gate: its own offset counts, and parameters are copied (never in long mode).
    Gate {
        selector: u16,
        code: Descriptor,
        offset: u64,
        bytes: u64,
        parameters: u64,
    },
}

fn check_code_size(vcpu: &Vcpu, selector: u16, code: Descriptor) -> Result<(), Exception> {
    if vcpu.is_long_mode() && code.is_long() && code.is_default_32() {
        return Err(Exception::GeneralProtection(error_selector(selector)));
    }
    Ok(())
}

/// RIP must lie within the segment that is entered.
fn check_offset(vcpu: &Vcpu, code: Descriptor, offset: u64) -> Result<(), Exception> {
    let is_inside = if vcpu.is_long_mode() && code.is_long() {
        is_canonical(offset)
    } else {
        offset <= u64::from(code.limit())
    };
    if is_inside { Ok(()) } else { Err(Exception::GeneralProtection(0)) }
}

fn far_target(vcpu: &mut Vcpu, selector: u16) -> Result<Target, Exception> {
    if is_null(selector) {
        return Err(Exception::GeneralProtection(0));
    }
    let refused = Err(Exception::GeneralProtection(error_selector(selector)));
    let descriptor = vcpu.read_descriptor(selector, Exception::GeneralProtection)?;
    if descriptor.is_code() {
        let is_permitted = if descriptor.is_conforming() {
            descriptor.dpl() <= vcpu.cpl
        } else {
            descriptor.dpl() == vcpu.cpl && rpl(selector) <= vcpu.cpl
        };
        if !is_permitted {
            return refused;
        }
        check_code_size(vcpu, selector, descriptor)?;
        if !descriptor.is_present() {
            return Err(Exception::SegmentNotPresent(error_selector(selector)));
        }
        return Ok(Target::Code(vcpu.mark_accessed(selector, descriptor)?));
    }
    let is_gate = descriptor.is_system()
        && (descriptor.kind() == TYPE_CALL_GATE
            || descriptor.kind() == TYPE_CALL_GATE16 && !vcpu.is_long_mode());
    // Task gates and task-state segments: hardware task switches are not provided.
    if !is_gate || descriptor.dpl() < vcpu.cpl || descriptor.dpl() < rpl(selector) {
        return refused;
    }
    if !descriptor.is_present() {
        return Err(Exception::SegmentNotPresent(error_selector(selector)));
    }
    gate_target(vcpu, selector, descriptor)
}

fn gate_target(vcpu: &mut Vcpu, gate_selector: u16, gate: Descriptor) -> Result<Target, Exception> {
    let is_16 = gate.kind() == TYPE_CALL_GATE16;
    let mut offset = gate.0 & 0xffff | if is_16 { 0 } else { gate.0 >> 32 & 0xffff_0000 };
    let mut parameters = gate.0 >> 32 & 0x1f;
    if vcpu.is_long_mode() {
        let upper = vcpu.read_descriptor_upper(gate_selector, Exception::GeneralProtection)?;
        if upper >> 40 & 0x1f != 0 {
            return Err(Exception::GeneralProtection(error_selector(gate_selector)));
        }
        offset |= upper << 32;
        parameters = 0;
    }
    let selector = (gate.0 >> 16) as u16;
    if is_null(selector) {
        return Err(Exception::GeneralProtection(0));
    }
    let code = vcpu.read_descriptor(selector, Exception::GeneralProtection)?;
    let is_wrong_size = vcpu.is_long_mode() && (!code.is_long() || code.is_default_32());
    if !code.is_code() || code.dpl() > vcpu.cpl || is_wrong_size {
        return Err(Exception::GeneralProtection(error_selector(selector)));
    }
    if !code.is_present() {
        return Err(Exception::SegmentNotPresent(error_selector(selector)));
    }
    let code = vcpu.mark_accessed(selector, code)?;
    let bytes = match (vcpu.is_long_mode(), is_16) {
        (true, _) => 8,
        (false, false) => 4,
        (false, true) => 2,
    };
    Ok(Target::Gate { selector, code, offset, bytes, parameters })
}

fn operand_mask(bytes: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(bytes.clamp(2, 8)))
}

fn enter_real_mode_code(vcpu: &mut Vcpu, selector: u16, offset: u64) {
    let segment = vcpu.real_mode_segment(SegmentIndex::Cs, selector);
    vcpu.set_segment(SegmentIndex::Cs, segment);
    vcpu.set_rip(offset & 0xffff);
    vcpu.must_leave = true;
}

/// Far `JMP` to the selector in register `a` and the offset in `b`, of `d` bytes; ends the block.
pub fn jump(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = vcpu.reg(Reg(op.a)) as u16;
    let offset = vcpu.reg(Reg(op.b)) & operand_mask(op.d);
    if !vcpu.is_protected_mode() {
        enter_real_mode_code(vcpu, selector, offset);
        return Ok(());
    }
    let (selector, code, offset) = match far_target(vcpu, selector)? {
        Target::Code(code) => (selector, code, offset),
        Target::Gate { selector, code, offset, .. } => {
            if !code.is_conforming() && code.dpl() != vcpu.cpl {
                return Err(Exception::GeneralProtection(error_selector(selector)));
            }
            (selector, code, offset)
        }
    };
    check_offset(vcpu, code, offset)?;
    vcpu.enter_code_segment(selector, code, vcpu.cpl);
    vcpu.set_rip(offset);
    Ok(())
}

/// Far `CALL`, operands as for [`jump`]; ends the block.
pub fn call(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = vcpu.reg(Reg(op.a)) as u16;
    let offset = vcpu.reg(Reg(op.b)) & operand_mask(op.d);
    let old_code = u64::from(vcpu.segments[SegmentIndex::Cs as usize].selector);
    let next_rip = vcpu.next_rip(op);
    if !vcpu.is_protected_mode() {
        let mut stack = Stack::current(vcpu);
        stack.push_all(vcpu, u64::from(op.d), &[old_code, next_rip])?;
        stack.commit(vcpu);
        enter_real_mode_code(vcpu, selector, offset);
        return Ok(());
    }
    match far_target(vcpu, selector)? {
        Target::Code(code) => {
            check_offset(vcpu, code, offset)?;
            let mut stack = Stack::current(vcpu);
            stack.push_all(vcpu, u64::from(op.d), &[old_code, next_rip])?;
            stack.commit(vcpu);
            vcpu.enter_code_segment(selector, code, vcpu.cpl);
            vcpu.set_rip(offset);
        }
        Target::Gate { selector, code, offset, bytes, parameters } => {
            check_offset(vcpu, code, offset)?;
            if code.is_conforming() || code.dpl() == vcpu.cpl {
                let mut stack = Stack::current(vcpu);
                stack.push_all(vcpu, bytes, &[old_code, next_rip])?;
                stack.commit(vcpu);
                vcpu.enter_code_segment(selector, code, vcpu.cpl);
            } else {
                call_inner(vcpu, selector, code, [old_code, next_rip], bytes, parameters)?;
            }
            vcpu.set_rip(offset);
        }
    }
    Ok(())
}

/// A call through a gate to a more privileged segment: with a switch of stacks.
fn call_inner(
    vcpu: &mut Vcpu,
    selector: u16,
    code: Descriptor,
    return_address: [u64; 2],
    bytes: u64,
    parameters: u64,
) -> Result<(), Exception> {
    let cpl = code.dpl();
    let old_segment = vcpu.segments[SegmentIndex::Ss as usize];
    let is_64 = vcpu.is_long_mode();
    let (segment, rsp) = if is_64 {
        let offset = 4 + 8 * u64::from(cpl);
        if offset + 7 > u64::from(vcpu.tr.limit) {
            return Err(Exception::InvalidTss(error_selector(vcpu.tr.selector)));
        }
        let rsp = vcpu.read_system_u64(vcpu.tr.base.wrapping_add(offset))?;
        (Segment { selector: u16::from(cpl), ..Segment::default() }, rsp)
    } else {
        vcpu.task_stack(cpl, 0)?
    };
    let mut frame = vec![u64::from(old_segment.selector), vcpu.reg(Reg::RSP)];
    let mut old_stack = Stack::current(vcpu);
    let mut copied = Vec::with_capacity(parameters as usize);
    for _ in 0..parameters {
        copied.push(old_stack.pop(vcpu, bytes)?);
    }
    frame.extend(copied.into_iter().rev());
    frame.extend(return_address);
    let mut stack = Stack::new(segment, rsp, is_64, vcpu.privilege_at(cpl));
    stack.push_all(vcpu, bytes, &frame)?;
    vcpu.set_segment(SegmentIndex::Ss, segment);
    vcpu.enter_code_segment(selector, code, cpl);
    stack.commit(vcpu);
    Ok(())
}

/// The code segment that a return leads to.
fn return_code_segment(vcpu: &mut Vcpu, selector: u16) -> Result<Descriptor, Exception> {
    if is_null(selector) {
        return Err(Exception::GeneralProtection(0));
    }
    let refused = Err(Exception::GeneralProtection(error_selector(selector)));
    let code = vcpu.read_descriptor(selector, Exception::GeneralProtection)?;
    let level = rpl(selector);
    let has_level = if code.is_conforming() { code.dpl() <= level } else { code.dpl() == level };
    if !code.is_code() || level < vcpu.cpl || !has_level {
        return refused;
    }
    check_code_size(vcpu, selector, code)?;
    if !code.is_present() {
        return Err(Exception::SegmentNotPresent(error_selector(selector)));
    }
    vcpu.mark_accessed(selector, code)
}

/// The stack segment that a return leads to, at the privilege of the code segment's selector.
fn return_stack_segment(
    vcpu: &mut Vcpu,
    selector: u16,
    level: u8,
    code: Descriptor,
) -> Result<Segment, Exception> {
    if is_null(selector) {
        let is_permitted = vcpu.is_long_mode() && code.is_long() && level != 3 && rpl(selector) == level;
        return if is_permitted {
            Ok(Segment { selector, ..Segment::default() })
        } else {
            Err(Exception::GeneralProtection(0))
        };
    }
    vcpu.stack_segment(selector, level, Exception::GeneralProtection)
}

/// Takes away data segments that the outer privilege level may not use.
fn drop_inner_segments(vcpu: &mut Vcpu) {
    for index in [SegmentIndex::Es, SegmentIndex::Ds, SegmentIndex::Fs, SegmentIndex::Gs] {
        let segment = vcpu.segments[index as usize];
        if is_null(segment.selector) {
            // Whatever its low bits were.
            vcpu.segments[index as usize].selector = 0;
            continue;
        }
        let is_memory = segment.attributes & 1 << 4 != 0;
        let is_conforming = segment.attributes & 0xc == 0xc;
        if is_memory && !is_conforming && segment.dpl() < vcpu.cpl {
            let base = vcpu.segment_base(index);
            vcpu.set_null_segment(index, 0);
            if vcpu.is_long_mode() {
                // The base of a segment made null is not architecturally used; FS and GS keep theirs.
                vcpu.set_segment_base(index, base);
            }
        }
    }
}

/// A frame that a return has popped and checked.
struct Return {
    selector: u16,
    code: Descriptor,
    rip: u64,
    /// Stack segment and stack pointer, when the frame has them.
    stack: Option<(Segment, u64)>,
}

fn finish_return(vcpu: &mut Vcpu, target: Return, frame: &Stack, released: u64) {
    let level = rpl(target.selector);
    let is_outward = level > vcpu.cpl;
    match target.stack {
        Some((segment, rsp)) => {
            vcpu.set_segment(SegmentIndex::Ss, segment);
            vcpu.enter_code_segment(target.selector, target.code, level);
            let mut stack = Stack::new(segment, rsp, vcpu.is_64_bit(), vcpu.privilege());
            stack.release(released);
            stack.commit(vcpu);
        }
        None => {
            frame.commit(vcpu);
            vcpu.enter_code_segment(target.selector, target.code, level);
        }
    }
    if is_outward {
        drop_inner_segments(vcpu);
    }
    vcpu.set_rip(target.rip);
}

/// Far `RET` with an operand of `d` bytes, releasing the number of bytes in register `a`; ends the block.
pub fn return_far(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let bytes = u64::from(op.d);
    let released = vcpu.reg(Reg(op.a));
    let mut frame = Stack::current(vcpu);
    let rip = frame.pop(vcpu, bytes)?;
    let selector = frame.pop(vcpu, bytes)? as u16;
    frame.release(released);
    if !vcpu.is_protected_mode() {
        frame.commit(vcpu);
        enter_real_mode_code(vcpu, selector, rip);
        return Ok(());
    }
    let code = return_code_segment(vcpu, selector)?;
    check_offset(vcpu, code, rip)?;
    let level = rpl(selector);
    let stack = if level > vcpu.cpl {
        let rsp = frame.pop(vcpu, bytes)?;
        let stack_selector = frame.pop(vcpu, bytes)? as u16;
        Some((return_stack_segment(vcpu, stack_selector, level, code)?, rsp))
    } else {
        None
    };
    finish_return(vcpu, Return { selector, code, rip, stack }, &frame, released);
    Ok(())
}

/// `IRET` with an operand of `d` bytes; ends the block.
pub fn interrupt_return(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let bytes = u64::from(op.d);
    let mut frame = Stack::current(vcpu);
    if vcpu.is_protected_mode() && vcpu.system_flags & flags::NT != 0 {
        if !vcpu.is_long_mode() {
            log::warn!("IRET with NT set: hardware task switches are not provided");
        }
        return Err(Exception::GeneralProtection(0));
    }
    let rip = frame.pop(vcpu, bytes)?;
    let selector = frame.pop(vcpu, bytes)? as u16;
    let image = frame.pop(vcpu, bytes)?;
    if !vcpu.is_protected_mode() {
        frame.commit(vcpu);
        enter_real_mode_code(vcpu, selector, rip);
        vcpu.set_rflags(vcpu.merged_flags(image, op.d, 0));
        vcpu.msr.is_nmi_blocked = false;
        return Ok(());
    }
    if image & flags::VM != 0 && bytes == 4 && !vcpu.is_long_mode() && vcpu.cpl == 0 {
        log::warn!("IRET to virtual-8086 mode, which is not provided");
        return Err(Exception::GeneralProtection(0));
    }
    let code = return_code_segment(vcpu, selector)?;
    let level = rpl(selector);
    let stack = if level > vcpu.cpl || vcpu.is_64_bit() {
        let rsp = frame.pop(vcpu, bytes)?;
        let stack_selector = frame.pop(vcpu, bytes)? as u16;
        Some((return_stack_segment(vcpu, stack_selector, level, code)?, rsp))
    } else {
        None
    };
    check_offset(vcpu, code, rip)?;
    let merged = vcpu.merged_flags(image, op.d, vcpu.cpl);
    finish_return(vcpu, Return { selector, code, rip, stack }, &frame, 0);
    // RF comes from the frame here, unlike POPF.
    let resume = if bytes == 2 { 0 } else { image & flags::RF };
    vcpu.set_rflags(merged & !flags::RF | resume);
    vcpu.msr.is_nmi_blocked = false;
    Ok(())
}
