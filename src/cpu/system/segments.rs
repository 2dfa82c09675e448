//! Instructions on segment and descriptor-table registers.

use super::descriptor::*;
use super::registers::{CR4_UMIP, EFER_LMA, is_canonical};
use super::stack::Stack;
use crate::cpu::{DescriptorTable, Exception, Segment, SegmentIndex, Vcpu, flags};
use crate::ir::{Op, Reg};

/// `MOV` to a segment register `b` from the register `a`; ends the block where it must.
pub fn load_segment(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.load_segment(SegmentIndex::from_number(op.b), vcpu.reg(Reg(op.a)) as u16)
}

/// As [`load_segment`], and goes on at the next instruction in a new block.
pub fn load_segment_and_exit(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    load_segment(vcpu, op)?;
    vcpu.advance(op);
    vcpu.interrupt_shadow = SegmentIndex::from_number(op.b) == SegmentIndex::Ss;
    vcpu.must_leave = true;
    Ok(())
}

/// Register `a` = the selector in segment register `b`, zero-extended.
pub fn read_selector(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = vcpu.segments[SegmentIndex::from_number(op.b) as usize].selector;
    vcpu.set_reg(Reg(op.a), u64::from(selector));
    Ok(())
}

/// `PUSH` of segment register `b` with an operand of `d` bytes.
pub fn push_segment(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = vcpu.segments[SegmentIndex::from_number(op.b) as usize].selector;
    let mut stack = Stack::current(vcpu);
    stack.push(vcpu, u64::from(op.d), u64::from(selector))?;
    stack.commit(vcpu);
    Ok(())
}

/// `POP` of segment register `b` with an operand of `d` bytes; ends the block.
pub fn pop_segment(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let index = SegmentIndex::from_number(op.b);
    let mut stack = Stack::current(vcpu);
    let selector = stack.pop(vcpu, u64::from(op.d))? as u16;
    let next_rip = vcpu.next_rip(op);
    vcpu.load_segment(index, selector)?;
    stack.commit(vcpu);
    vcpu.set_rip(next_rip);
    vcpu.interrupt_shadow = index == SegmentIndex::Ss;
    vcpu.must_leave = true;
    Ok(())
}

/// `LDS`, `LES`, `LSS`, `LFS`, `LGS`: offset of `d` bytes at address `c` into register `a`, the selector
/// behind it into segment register `b`; ends the block.
pub fn load_far_pointer(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = vcpu.reg(Reg(op.c));
    let offset = vcpu.load_slow(address, u64::from(op.d), vcpu.privilege())?;
    let selector = vcpu.read_u16(address.wrapping_add(u64::from(op.d)))?;
    vcpu.load_segment(SegmentIndex::from_number(op.b), selector)?;
    vcpu.set_reg_sized(Reg(op.a), op.d, offset);
    vcpu.advance(op);
    vcpu.must_leave = true;
    Ok(())
}

fn require_user_mode_instructions(vcpu: &Vcpu) -> Result<(), Exception> {
    if vcpu.cr4 & CR4_UMIP != 0 { vcpu.require_cpl0() } else { Ok(()) }
}

fn require_protected_mode(vcpu: &Vcpu) -> Result<(), Exception> {
    if vcpu.is_protected_mode() { Ok(()) } else { Err(Exception::InvalidOpcode) }
}

/// #GP(0) unless privileged code runs, and before that #UD outside protected mode when `d` is 1.
pub fn require_privilege(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if op.d == 1 {
        require_protected_mode(vcpu)?;
    }
    vcpu.require_cpl0()
}

fn read_table(vcpu: &mut Vcpu, op: &Op) -> Result<DescriptorTable, Exception> {
    vcpu.require_cpl0()?;
    let address = vcpu.reg(Reg(op.a));
    let limit = vcpu.read_u16(address)?;
    let base = if op.d == 8 {
        vcpu.read_u64(address.wrapping_add(2))?
    } else {
        let base = u64::from(vcpu.read_u32(address.wrapping_add(2))?);
        if op.d == 2 { base & 0xff_ffff } else { base }
    };
    if op.d == 8 && !is_canonical(base) {
        return Err(Exception::GeneralProtection(0));
    }
    Ok(DescriptorTable { base, limit })
}

fn write_table(vcpu: &mut Vcpu, op: &Op, table: DescriptorTable) -> Result<(), Exception> {
    require_user_mode_instructions(vcpu)?;
    let address = vcpu.reg(Reg(op.a));
    let is_64 = op.d == 8;
    vcpu.check_write(address, if is_64 { 10 } else { 6 })?;
    vcpu.write_u16(address, table.limit)?;
    if is_64 {
        vcpu.write_u64(address.wrapping_add(2), table.base)
    } else {
        vcpu.write_u32(address.wrapping_add(2), table.base as u32)
    }
}

/// `LGDT` from address `a`; `d` is 8 in 64-bit code, else the operand size in bytes.
pub fn load_gdtr(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.gdtr = read_table(vcpu, op)?;
    Ok(())
}

/// `LIDT`, as [`load_gdtr`].
pub fn load_idtr(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.idtr = read_table(vcpu, op)?;
    Ok(())
}

/// `SGDT` to address `a`; `d` as for [`load_gdtr`].
pub fn store_gdtr(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    write_table(vcpu, op, vcpu.gdtr)
}

/// `SIDT`, as [`store_gdtr`].
pub fn store_idtr(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    write_table(vcpu, op, vcpu.idtr)
}

fn system_segment(vcpu: &mut Vcpu, selector: u16, kinds: &[u8]) -> Result<(Descriptor, Segment), Exception> {
    let refused = Err(Exception::GeneralProtection(error_selector(selector)));
    if selector & 4 != 0 {
        return refused;
    }
    let descriptor = vcpu.read_descriptor(selector, Exception::GeneralProtection)?;
    if !descriptor.is_system() || !kinds.contains(&descriptor.kind()) {
        return refused;
    }
    if !descriptor.is_present() {
        return Err(Exception::SegmentNotPresent(error_selector(selector)));
    }
    let mut segment = descriptor.segment(selector);
    if vcpu.msr.efer & EFER_LMA != 0 {
        let upper = vcpu.read_descriptor_upper(selector, Exception::GeneralProtection)?;
        segment.base |= upper << 32;
        if !is_canonical(segment.base) || upper >> 40 & 0x1f != 0 {
            return refused;
        }
    }
    Ok((descriptor, segment))
}

/// `LLDT` with the selector in register `a`.
pub fn load_ldtr(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    require_protected_mode(vcpu)?;
    vcpu.require_cpl0()?;
    let selector = vcpu.reg(Reg(op.a)) as u16;
    vcpu.ldtr = if is_null(selector) {
        Segment { selector, ..Segment::default() }
    } else {
        system_segment(vcpu, selector, &[TYPE_LDT])?.1
    };
    Ok(())
}

/// `LTR` with the selector in register `a`.
pub fn load_task_register(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    require_protected_mode(vcpu)?;
    vcpu.require_cpl0()?;
    let selector = vcpu.reg(Reg(op.a)) as u16;
    if is_null(selector) {
        return Err(Exception::GeneralProtection(0));
    }
    let kinds: &[u8] =
        if vcpu.is_long_mode() { &[TYPE_TSS_AVAILABLE] } else { &[TYPE_TSS16_AVAILABLE, TYPE_TSS_AVAILABLE] };
    let (descriptor, mut segment) = system_segment(vcpu, selector, kinds)?;
    if let Some(address) = vcpu.descriptor_address(selector, 8) {
        vcpu.write_system_u8(address.wrapping_add(5), descriptor.attributes() as u8 | 2)?;
    }
    segment.attributes |= 2;
    vcpu.tr = segment;
    Ok(())
}

/// `SLDT`: register `a` = LDTR's selector.
pub fn read_ldtr(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    require_protected_mode(vcpu)?;
    require_user_mode_instructions(vcpu)?;
    vcpu.set_reg(Reg(op.a), u64::from(vcpu.ldtr.selector));
    Ok(())
}

/// `STR`: register `a` = TR's selector.
pub fn read_task_register(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    require_protected_mode(vcpu)?;
    require_user_mode_instructions(vcpu)?;
    vcpu.set_reg(Reg(op.a), u64::from(vcpu.tr.selector));
    Ok(())
}

/// The descriptor of a selector when the current privilege may look at it.
fn visible_descriptor(vcpu: &mut Vcpu, selector: u16) -> Result<Option<Descriptor>, Exception> {
    require_protected_mode(vcpu)?;
    if is_null(selector) || vcpu.descriptor_address(selector, 8).is_none() {
        return Ok(None);
    }
    let descriptor = vcpu.read_descriptor(selector, Exception::GeneralProtection)?;
    let is_visible =
        descriptor.is_conforming() || descriptor.dpl() >= vcpu.cpl && descriptor.dpl() >= rpl(selector);
    Ok(is_visible.then_some(descriptor))
}

fn set_zero_flag(vcpu: &mut Vcpu, is_set: bool) {
    let bits = vcpu.flags.bits() & !flags::ZF | if is_set { flags::ZF } else { 0 };
    vcpu.flags = crate::cpu::LazyFlags::explicit(bits);
}

fn is_known_to_lar_and_lsl(vcpu: &Vcpu, descriptor: Descriptor, lists_gates: bool) -> bool {
    if !descriptor.is_system() {
        return true;
    }
    let kind = descriptor.kind();
    let is_segment = matches!(kind, TYPE_LDT | TYPE_TSS_AVAILABLE | TYPE_TSS_BUSY);
    let is_gate = lists_gates && kind == TYPE_CALL_GATE;
    // 16-bit types and task gates do not exist in long mode.
    let is_legacy = !vcpu.is_long_mode()
        && (matches!(kind, TYPE_TSS16_AVAILABLE | TYPE_TSS16_BUSY)
            || lists_gates && matches!(kind, TYPE_CALL_GATE16 | 5));
    is_segment || is_gate || is_legacy
}

/// `LAR`: access rights of the selector in `b` into register `a` of `d` bytes; ZF says whether.
pub fn load_access_rights(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let descriptor = visible_descriptor(vcpu, vcpu.reg(Reg(op.b)) as u16)?
        .filter(|&descriptor| is_known_to_lar_and_lsl(vcpu, descriptor, true));
    if let Some(descriptor) = descriptor {
        vcpu.set_reg_sized(Reg(op.a), op.d, descriptor.0 >> 32 & 0x00f0_ff00);
    }
    set_zero_flag(vcpu, descriptor.is_some());
    Ok(())
}

/// `LSL`: limit of the selector in `b` into register `a` of `d` bytes; ZF says whether.
pub fn load_segment_limit(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let descriptor = visible_descriptor(vcpu, vcpu.reg(Reg(op.b)) as u16)?
        .filter(|&descriptor| is_known_to_lar_and_lsl(vcpu, descriptor, false));
    if let Some(descriptor) = descriptor {
        vcpu.set_reg_sized(Reg(op.a), op.d, u64::from(descriptor.limit()));
    }
    set_zero_flag(vcpu, descriptor.is_some());
    Ok(())
}

/// `VERR`: ZF says whether the segment of the selector in `a` can be read.
pub fn verify_read(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let descriptor = visible_descriptor(vcpu, vcpu.reg(Reg(op.a)) as u16)?;
    set_zero_flag(vcpu, descriptor.is_some_and(Descriptor::is_readable));
    Ok(())
}

/// `VERW`: ZF says whether the segment of the selector in `a` can be written.
pub fn verify_write(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let descriptor = visible_descriptor(vcpu, vcpu.reg(Reg(op.a)) as u16)?;
    set_zero_flag(vcpu, descriptor.is_some_and(Descriptor::is_writable));
    Ok(())
}

/// `ARPL`: register `a` = the selector in `b`, with the privilege of the one in `c` if that is lower; ZF says whether.
pub fn adjust_privilege(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    require_protected_mode(vcpu)?;
    let (selector, other) = (vcpu.reg(Reg(op.b)) as u16, vcpu.reg(Reg(op.c)) as u16);
    let is_raised = rpl(selector) < rpl(other);
    let adjusted = if is_raised { selector & !3 | other & 3 } else { selector };
    vcpu.set_reg(Reg(op.a), adjusted.into());
    set_zero_flag(vcpu, is_raised);
    Ok(())
}
