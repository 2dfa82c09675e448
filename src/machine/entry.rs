//! Puts a processor into the state in which a boot loader enters a kernel.

use crate::boot::EntryState;
use crate::cpu::{DescriptorTable, Segment, SegmentIndex, Vcpu};
use crate::ir::Reg;

/// Sets what `entry` names; everything else stays as after reset.
pub(super) fn enter_kernel(vcpu: &mut Vcpu, entry: &EntryState) {
    vcpu.cr0 = entry.cr0;
    vcpu.cr3 = entry.cr3;
    vcpu.cr4 = entry.cr4;
    vcpu.msr.efer = entry.efer;
    vcpu.gdtr = DescriptorTable { base: entry.gdt_base, limit: entry.gdt_limit };
    vcpu.idtr = DescriptorTable::default();
    let code = segment(entry.code_selector, entry.code_descriptor);
    let data = segment(entry.data_selector, entry.data_descriptor);
    for index in [SegmentIndex::Es, SegmentIndex::Ss, SegmentIndex::Ds, SegmentIndex::Fs, SegmentIndex::Gs] {
        vcpu.segments[index as usize] = data;
        vcpu.set_segment_base(index, 0);
    }
    vcpu.segments[SegmentIndex::Cs as usize] = code;
    vcpu.set_segment_base(SegmentIndex::Cs, 0);
    vcpu.cpl = 0;
    vcpu.set_rflags(entry.rflags);
    for number in 0..16 {
        vcpu.set_reg(Reg(number), 0);
    }
    vcpu.set_reg(Reg::RAX, entry.rax);
    vcpu.set_reg(Reg::RBX, entry.rbx);
    vcpu.set_reg(Reg::RSI, entry.rsi);
    vcpu.set_reg(Reg::RSP, entry.rsp);
    vcpu.set_reg(Reg::RIP, entry.rip);
}

/// The hidden part of a flat segment, from its descriptor (SDM vol. 3A 3.4.5).
fn segment(selector: u16, descriptor: u64) -> Segment {
    let attributes = (descriptor >> 40) as u16 & 0xf0ff;
    let raw_limit = (descriptor & 0xffff | descriptor >> 32 & 0xf_0000) as u32;
    let has_page_granularity = descriptor & 1 << 55 != 0;
    let limit = if has_page_granularity { raw_limit << 12 | 0xfff } else { raw_limit };
    Segment { selector, base: 0, limit, attributes }
}
