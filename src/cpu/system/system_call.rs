//! `SYSCALL`, `SYSENTER` and their returns, `SWAPGS`, software interrupts, FS and GS bases.

use super::exception::{Event, InterruptKind};
use super::registers::{CR4_FSGSBASE, EFER_SCE, is_canonical};
use crate::cpu::{Exception, Vcpu, flags};
use crate::ir::{Op, Reg};

/// Bits of RFLAGS that `SYSRET` loads from R11.
const SYSRET_FLAGS: u64 = 0x3c_7fd7;

/// `SYSCALL` (SDM vol. 2B); ends the block.
pub fn syscall(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    // As on Intel's processors, from 64-bit code only.
    if vcpu.msr.efer & EFER_SCE == 0 || !vcpu.is_64_bit() {
        return Err(Exception::InvalidOpcode);
    }
    let rflags = vcpu.rflags();
    vcpu.set_reg(Reg::RCX, vcpu.next_rip(op));
    vcpu.set_reg(Reg::R11, rflags & !flags::RF);
    let selector = (vcpu.msr.star >> 32) as u16;
    vcpu.set_rflags(rflags & !vcpu.msr.sfmask & !flags::RF);
    vcpu.enter_flat_segments(selector, selector.wrapping_add(8), true, 0);
    vcpu.set_rip(vcpu.msr.lstar);
    Ok(())
}

/// `SYSRET` with an operand of `d` bytes: 8 returns to 64-bit code; ends the block.
pub fn sysret(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if vcpu.msr.efer & EFER_SCE == 0 || !vcpu.is_64_bit() {
        return Err(Exception::InvalidOpcode);
    }
    vcpu.require_cpl0()?;
    let is_64 = op.d == 8;
    let rip = vcpu.reg(Reg::RCX);
    if is_64 && !is_canonical(rip) {
        return Err(Exception::GeneralProtection(0));
    }
    let selector = (vcpu.msr.star >> 48) as u16;
    let code_selector = if is_64 { selector.wrapping_add(16) } else { selector };
    let rflags = vcpu.reg(Reg::R11) & SYSRET_FLAGS | flags::RESERVED_ONE;
    vcpu.enter_flat_segments(code_selector, selector.wrapping_add(8), is_64, 3);
    vcpu.set_rflags(rflags);
    vcpu.set_rip(if is_64 { rip } else { rip & 0xffff_ffff });
    Ok(())
}

/// `SYSENTER` (SDM vol. 2B); ends the block.
pub fn sysenter(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    let selector = vcpu.msr.sysenter_cs as u16;
    if !vcpu.is_protected_mode() || selector & !3 == 0 {
        return Err(Exception::GeneralProtection(0));
    }
    let is_64 = vcpu.is_long_mode();
    let mask = if is_64 { u64::MAX } else { 0xffff_ffff };
    vcpu.set_rflags(vcpu.rflags() & !(flags::IF | flags::VM | flags::RF));
    vcpu.enter_flat_segments(selector, (selector & !3).wrapping_add(8), is_64, 0);
    vcpu.set_reg(Reg::RSP, vcpu.msr.sysenter_esp & mask);
    vcpu.set_rip(vcpu.msr.sysenter_eip & mask);
    Ok(())
}

/// `SYSEXIT` with an operand of `d` bytes: 8 returns to 64-bit code; ends the block.
pub fn sysexit(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let selector = vcpu.msr.sysenter_cs as u16 & !3;
    if !vcpu.is_protected_mode() || selector == 0 {
        return Err(Exception::GeneralProtection(0));
    }
    vcpu.require_cpl0()?;
    let (rip, rsp) = (vcpu.reg(Reg::RDX), vcpu.reg(Reg::RCX));
    if op.d == 8 {
        if !is_canonical(rip) || !is_canonical(rsp) {
            return Err(Exception::GeneralProtection(0));
        }
        vcpu.enter_flat_segments(selector.wrapping_add(32), selector.wrapping_add(40), true, 3);
        vcpu.set_reg(Reg::RSP, rsp);
        vcpu.set_rip(rip);
    } else {
        vcpu.enter_flat_segments(selector.wrapping_add(16), selector.wrapping_add(24), false, 3);
        vcpu.set_reg(Reg::RSP, rsp & 0xffff_ffff);
        vcpu.set_rip(rip & 0xffff_ffff);
    }
    Ok(())
}

/// `SWAPGS`.
pub fn swapgs(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    let base = vcpu.reg(Reg::GS_BASE);
    vcpu.set_reg(Reg::GS_BASE, vcpu.msr.kernel_gs_base);
    vcpu.msr.kernel_gs_base = base;
    Ok(())
}

fn require_base_instructions(vcpu: &Vcpu) -> Result<(), Exception> {
    if vcpu.cr4 & CR4_FSGSBASE != 0 { Ok(()) } else { Err(Exception::InvalidOpcode) }
}

/// `RDFSBASE`, `RDGSBASE`: register `a` of `d` bytes = segment base register `b`.
pub fn read_base(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    require_base_instructions(vcpu)?;
    vcpu.set_reg_sized(Reg(op.a), op.d, vcpu.reg(Reg(op.b)));
    Ok(())
}

/// `WRFSBASE`, `WRGSBASE`: segment base register `b` = register `a` of `d` bytes.
pub fn write_base(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    require_base_instructions(vcpu)?;
    let value = vcpu.reg(Reg(op.a));
    let value = if op.d == 8 { value } else { value & 0xffff_ffff };
    if !is_canonical(value) {
        return Err(Exception::GeneralProtection(0));
    }
    vcpu.set_reg(Reg(op.b), value);
    Ok(())
}

fn interrupt(vcpu: &mut Vcpu, op: &Op, vector: u8, kind: InterruptKind) -> Result<(), Exception> {
    let return_rip = vcpu.next_rip(op);
    vcpu.enter_gate(Event { vector, error_code: None, kind, return_rip, sets_resume_flag: false })
}

/// `INT n` and `INT3`: vector `a`; ends the block.
pub fn software_interrupt(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    interrupt(vcpu, op, op.a, InterruptKind::Software)
}

/// `INT1`: #DB without the privilege check; ends the block. What a load of SS before it has held back is told with it: a
/// second #DB would find the first one's handler on its stack.
pub fn debug_interrupt(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.debug[6] |= std::mem::take(&mut vcpu.watch_hits);
    interrupt(vcpu, op, 1, InterruptKind::Exception)
}

/// `INTO`; ends the block.
pub fn interrupt_on_overflow(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if vcpu.flags.overflow() {
        return interrupt(vcpu, op, 4, InterruptKind::Software);
    }
    vcpu.advance(op);
    Ok(())
}
