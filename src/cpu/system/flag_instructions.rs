//! Instructions on RFLAGS.

use super::stack::Stack;
use crate::cpu::{Exception, LazyFlags, Vcpu, flags};
use crate::ir::{Op, Reg};

impl Vcpu {
    /// I/O privilege level.
    pub fn iopl(&self) -> u8 {
        (self.system_flags >> 12) as u8 & 3
    }

    /// Whether the current privilege may change IF and use ports without the I/O bitmap.
    pub fn has_io_privilege(&self) -> bool {
        !self.is_protected_mode() || self.cpl <= self.iopl()
    }

    /// RFLAGS after `POPF` or `IRET` of `image`, an operand of `bytes` bytes, at privilege `cpl`.
    pub fn merged_flags(&self, image: u64, bytes: u8, cpl: u8) -> u64 {
        let mut writable = flags::ARITHMETIC | flags::TF | flags::DF | flags::NT;
        if bytes > 2 {
            writable |= flags::AC | flags::ID;
        }
        if cpl == 0 {
            writable |= flags::IOPL;
            if bytes > 2 {
                writable |= flags::VIF | flags::VIP;
            }
        }
        if !self.is_protected_mode() || cpl <= self.iopl() {
            writable |= flags::IF;
        }
        (self.rflags() & !writable | image & writable) & !flags::RF | flags::RESERVED_ONE
    }
}

/// `PUSHF` with an operand of `d` bytes.
pub fn push_flags(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let mut stack = Stack::current(vcpu);
    stack.push(vcpu, u64::from(op.d), vcpu.rflags() & !(flags::RF | flags::VM))?;
    stack.commit(vcpu);
    Ok(())
}

/// `POPF` with an operand of `d` bytes; ends the block.
pub fn pop_flags(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let mut stack = Stack::current(vcpu);
    let mut image = stack.pop(vcpu, u64::from(op.d))?;
    // VIF and VIP are not POPF's to set.
    image &= !(flags::VIF | flags::VIP);
    stack.commit(vcpu);
    vcpu.advance(op);
    vcpu.set_rflags(vcpu.merged_flags(image, op.d, vcpu.cpl));
    Ok(())
}

/// `CLI`.
pub fn clear_interrupt_flag(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    if !vcpu.has_io_privilege() {
        return Err(Exception::GeneralProtection(0));
    }
    vcpu.system_flags &= !flags::IF;
    Ok(())
}

/// `STI`; ends the block, and no interrupt comes before the next block has run.
pub fn set_interrupt_flag(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if !vcpu.has_io_privilege() {
        return Err(Exception::GeneralProtection(0));
    }
    if vcpu.system_flags & flags::IF == 0 {
        vcpu.system_flags |= flags::IF;
        // What is not pending yet comes at the run loop's next look, which is behind the next instruction.
        if vcpu.has_open_interrupt() {
            vcpu.interrupt_shadow = true;
            vcpu.must_leave = true;
        }
    }
    vcpu.advance(op);
    Ok(())
}

/// `LAHF`: AH = the low byte of RFLAGS.
pub fn load_ah(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    let ah = vcpu.rflags() & 0xff;
    vcpu.set_reg(Reg::RAX, vcpu.reg(Reg::RAX) & !0xff00 | ah << 8);
    Ok(())
}

/// `SAHF`: SF, ZF, AF, PF, CF from AH.
pub fn store_ah(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    let ah = vcpu.reg(Reg::RAX) >> 8 & 0xff & !flags::OF;
    let overflow = vcpu.flags.bits() & flags::OF;
    vcpu.flags = LazyFlags::explicit(ah | overflow);
    Ok(())
}

/// `STAC`.
pub fn set_access_flag(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    change_access_flag(vcpu, flags::AC)
}

/// `CLAC`.
pub fn clear_access_flag(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    change_access_flag(vcpu, 0)
}

fn change_access_flag(vcpu: &mut Vcpu, access: u64) -> Result<(), Exception> {
    if vcpu.cpl != 0 {
        return Err(Exception::InvalidOpcode);
    }
    vcpu.system_flags = vcpu.system_flags & !flags::AC | access;
    vcpu.select_tlb();
    Ok(())
}
