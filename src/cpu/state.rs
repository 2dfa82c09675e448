//! What a snapshot keeps of a processor.
//!
//! Translations, compiled code and TLBs are not kept: all of them follow from guest memory.

use super::system::Msrs;
use super::x87::X87;
use super::{Activity, DescriptorTable, Segment, Vcpu, Vector};
use crate::ir::Reg;
use serde::{Deserialize, Serialize};

/// Integer registers that outlive an instruction: the 16 general ones, RIP, zero, the segment bases.
const LASTING_REGISTERS: usize = Reg::T0.index();
/// Vector registers that outlive an instruction.
const LASTING_VECTORS: usize = 16;

/// The architectural state between two instructions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VcpuState {
    regs: [u64; LASTING_REGISTERS],
    rflags: u64,
    vectors: [[u64; 4]; LASTING_VECTORS],
    mxcsr: u32,
    x87: X87,
    segments: [Segment; 6],
    ldtr: Segment,
    tr: Segment,
    gdtr: DescriptorTable,
    idtr: DescriptorTable,
    cpl: u8,
    cr0: u64,
    cr2: u64,
    cr3: u64,
    cr4: u64,
    debug: [u64; 8],
    xcr0: u64,
    msr: Msrs,
    instructions: u64,
    activity: Activity,
    interrupt_shadow: bool,
}

impl Vcpu {
    /// The processor between two calls of [`run`](Self::run), to be saved.
    pub fn state(&self) -> VcpuState {
        VcpuState {
            regs: std::array::from_fn(|index| self.regs[index]),
            rflags: self.rflags(),
            vectors: std::array::from_fn(|index| self.vectors[index].0),
            mxcsr: self.mxcsr,
            x87: self.x87.clone(),
            segments: self.segments,
            ldtr: self.ldtr,
            tr: self.tr,
            gdtr: self.gdtr,
            idtr: self.idtr,
            cpl: self.cpl,
            cr0: self.cr0,
            cr2: self.cr2,
            cr3: self.cr3,
            cr4: self.cr4,
            debug: self.debug,
            xcr0: self.xcr0,
            msr: self.msr.clone(),
            instructions: self.instructions,
            activity: self.activity,
            interrupt_shadow: self.interrupt_shadow,
        }
    }

    /// Drops what a restored processor does not have: what TLBs hold stale, and where translated blocks end, which
    /// decides between which instructions an interrupt comes. Afterwards both go on alike.
    pub fn forget_history(&mut self) {
        let memory = self.memory.clone();
        self.code.clear(&memory);
        self.flush_tlb();
    }

    /// Puts a saved processor back, into one that has not run.
    ///
    /// A state that no processor can be in makes the guest fail, not the emulator.
    pub fn restore(&mut self, state: &VcpuState) {
        self.regs[..LASTING_REGISTERS].copy_from_slice(&state.regs);
        self.set_reg(Reg::ZERO, 0);
        for (vector, saved) in self.vectors.iter_mut().zip(state.vectors) {
            *vector = Vector(saved);
        }
        self.mxcsr = state.mxcsr & super::system::MXCSR_MASK;
        self.x87 = state.x87.clone();
        self.x87.put_right();
        self.segments = state.segments;
        self.ldtr = state.ldtr;
        self.tr = state.tr;
        self.gdtr = state.gdtr;
        self.idtr = state.idtr;
        self.cpl = state.cpl & 3;
        self.cr0 = state.cr0;
        self.cr2 = state.cr2;
        self.cr3 = state.cr3;
        self.cr4 = state.cr4;
        self.debug = state.debug;
        self.xcr0 = state.xcr0 & super::system::XCR0_SUPPORTED | 1;
        self.msr = state.msr.clone();
        self.instructions = state.instructions;
        self.activity = state.activity;
        self.interrupt_shadow = state.interrupt_shadow;
        self.flush_tlb();
        self.switch_tlb_context(false);
        self.set_rflags(state.rflags);
    }
}
