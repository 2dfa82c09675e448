//! Time, randomness, and waiting for interrupts.

use super::registers::CR4_TSD;
use crate::cpu::{Activity, Exception, LazyFlags, Vcpu, flags};
use crate::ir::{Op, Reg};

impl Vcpu {
    /// The time-stamp counter: nanoseconds of machine time, moved by what the guest wrote.
    pub fn time_stamp(&mut self) -> u64 {
        let now = self.bus.now_ns(self.instructions);
        now.wrapping_add(self.msr.tsc_adjust)
    }

    /// EDX:EAX.
    pub fn pair(&self) -> u64 {
        self.reg(Reg::RDX) << 32 | self.reg(Reg::RAX) & 0xffff_ffff
    }

    /// Writes EDX:EAX; the upper halves of RDX and RAX become zero.
    pub fn set_pair(&mut self, value: u64) {
        self.set_reg(Reg::RAX, value & 0xffff_ffff);
        self.set_reg(Reg::RDX, value >> 32);
    }
}

/// `RDTSC`, and `RDTSCP` when `a` is 1; ends the block, so that the count of instructions is exact.
pub fn read_time_stamp(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if vcpu.cr4 & CR4_TSD != 0 {
        vcpu.require_cpl0()?;
    }
    let value = vcpu.time_stamp();
    vcpu.set_pair(value);
    if op.a == 1 {
        vcpu.set_reg(Reg::RCX, vcpu.msr.tsc_aux);
    }
    vcpu.advance(op);
    Ok(())
}

/// `RDPID`: register `a` = IA32_TSC_AUX.
pub fn read_processor_id(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.set_reg(Reg(op.a), vcpu.msr.tsc_aux);
    Ok(())
}

/// `RDPMC`: there are no performance counters.
pub fn read_performance_counter(_vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    Err(Exception::GeneralProtection(0))
}

/// `RDRAND`, `RDSEED`: register `a` of `d` bytes; CF says that the value is good.
pub fn random(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let value = vcpu.bus.random_u64();
    vcpu.set_reg_sized(Reg(op.a), op.d, value);
    vcpu.flags = LazyFlags::explicit(flags::CF);
    Ok(())
}

/// `HLT`; ends the block.
pub fn halt(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    vcpu.advance(op);
    vcpu.activity = Activity::Halted;
    vcpu.must_leave = true;
    Ok(())
}

/// `WBINVD`, `INVD`: privileged, and nothing to write back.
pub fn write_back_caches(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()
}
