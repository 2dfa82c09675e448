//! State after power-up, reset and INIT (SDM vol. 3A table 9-1).

use super::Msrs;
use super::control::{DR6_FIXED, DR7_FIXED};
use super::registers::{CR0_CD, CR0_ET, CR0_NW};
use crate::cpu::x87::X87;
use crate::cpu::{Activity, DescriptorTable, LazyFlags, Segment, SegmentIndex, Vcpu, flags};
use crate::ir::Reg;

/// Attributes of real mode's data segments: present, writable, accessed.
const DATA: u16 = 0x93;
/// Attributes of real mode's code segment.
const CODE: u16 = 0x9b;
/// Attributes of LDTR and TR: present, LDT and busy 16-bit TSS.
const LDT: u16 = 0x82;
const TSS: u16 = 0x83;

impl Vcpu {
    /// Puts the processor into its state after reset: real mode, at the reset vector.
    pub fn reset(&mut self) {
        self.regs[..16].fill(0);
        self.set_reg(Reg::ZERO, 0);
        self.set_reg(Reg::RDX, u64::from(self.cpuid(1, 0).eax));
        self.set_reg(Reg::RIP, 0xfff0);
        self.flags = LazyFlags::explicit(0);
        self.system_flags = flags::RESERVED_ONE;
        for vector in &mut self.vectors {
            vector.0 = [0; 4];
        }
        self.mxcsr = 0x1f80;
        self.x87 = X87::default();
        let real = |selector, base, attributes| Segment { selector, base, limit: 0xffff, attributes };
        use SegmentIndex::{Cs, Ds, Es, Fs, Gs, Ss};
        for index in [Es, Ss, Ds, Fs, Gs] {
            self.set_segment(index, real(0, 0, DATA));
        }
        self.set_segment(Cs, real(0xf000, 0xffff_0000, CODE));
        self.ldtr = real(0, 0, LDT);
        self.tr = real(0, 0, TSS);
        self.gdtr = DescriptorTable { base: 0, limit: 0xffff };
        self.idtr = DescriptorTable { base: 0, limit: 0xffff };
        self.cpl = 0;
        self.cr0 = CR0_CD | CR0_NW | CR0_ET;
        self.cr2 = 0;
        self.cr3 = 0;
        self.cr4 = 0;
        self.debug = [0; 8];
        self.debug[6] = DR6_FIXED;
        self.debug[7] = DR7_FIXED;
        self.xcr0 = 1;
        self.msr = Msrs::default();
        self.activity = Activity::Running;
        self.interrupt_shadow = false;
        self.flush_tlb();
        self.switch_tlb_context(false);
        self.select_tlb();
        self.must_leave = true;
    }
}
