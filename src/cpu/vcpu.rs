//! Architectural state of one virtual processor.

use super::code::CodeCache;
use super::flags::{self, LazyFlags};
use super::tlb::Tlbs;
use super::x87::X87;
use super::{BlockStart, CompiledCode, CpuModel, Exception, Linkage, SystemBus};
use crate::ir::{Op, Reg, VectorReg};
use crate::mem::GuestMemory;
use serde::{Deserialize, Serialize};

/// A vector register: 256 bits as four little-endian quadwords, element 0 lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
pub struct Vector(pub [u64; 4]);

impl Vector {
    /// The low 128 bits.
    #[inline(always)]
    pub const fn low(&self) -> u128 {
        self.0[0] as u128 | (self.0[1] as u128) << 64
    }

    /// Writes the low 128 bits and keeps the upper half.
    #[inline(always)]
    pub const fn set_low(&mut self, value: u128) {
        self.0[0] = value as u64;
        self.0[1] = (value >> 64) as u64;
    }

    /// The upper 128 bits.
    #[inline(always)]
    pub const fn high(&self) -> u128 {
        self.0[2] as u128 | (self.0[3] as u128) << 64
    }

    /// Writes the upper 128 bits and keeps the low half.
    #[inline(always)]
    pub const fn set_high(&mut self, value: u128) {
        self.0[2] = value as u64;
        self.0[3] = (value >> 64) as u64;
    }
}

/// A segment register, numbered as the instruction encoding numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum SegmentIndex {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
}

/// The visible and hidden parts of a segment register. Bases live in the register file
/// ([`Reg::ES_BASE`] and on) for ES to GS, and in `base` for LDTR and TR.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Segment {
    /// Visible selector.
    pub selector: u16,
    /// Base address, for LDTR and TR only.
    pub base: u64,
    /// Last valid offset, granularity applied.
    pub limit: u32,
    /// Bits 8 to 23 of the descriptor's second doubleword: type, S, DPL, P, AVL, L, D/B, G at bits 0 to 15.
    pub attributes: u16,
}

impl Segment {
    /// Descriptor privilege level.
    pub const fn dpl(&self) -> u8 {
        (self.attributes >> 5) as u8 & 3
    }

    /// Present bit.
    pub const fn is_present(&self) -> bool {
        self.attributes & 1 << 7 != 0
    }

    /// L: 64-bit code.
    pub const fn is_long(&self) -> bool {
        self.attributes & 1 << 13 != 0
    }

    /// D/B: 32-bit default size.
    pub const fn is_default_32(&self) -> bool {
        self.attributes & 1 << 14 != 0
    }
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct DescriptorTable {
    /// Linear base address.
    pub base: u64,
    /// Last valid offset.
    pub limit: u16,
}

/// Whether the processor executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activity {
    /// Executing instructions.
    Running,
    /// After `HLT`: waits for an interrupt.
    Halted,
    /// An application processor that waits for a start-up IPI.
    WaitForSipi,
    /// After a triple fault.
    Shutdown,
}

/// One virtual processor. The first fields are the interface of generated code.
#[repr(C)]
pub struct Vcpu {
    /// The integer register file ([`Reg`]).
    pub regs: [u64; Reg::COUNT],
    /// The arithmetic flags.
    pub flags: LazyFlags,
    /// What compiled code and the run loop tell each other.
    pub linkage: Linkage,
    /// RFLAGS without the arithmetic flags (they read as zero here); bit 1 is set.
    pub system_flags: u64,
    /// The vector file ([`VectorReg`]).
    pub vectors: [Vector; VectorReg::COUNT],
    /// MXCSR (SDM vol. 1 10.2.3).
    pub mxcsr: u32,
    /// x87 and MMX state.
    pub x87: X87,

    /// ES, CS, SS, DS, FS, GS.
    pub segments: [Segment; 6],
    /// Local descriptor table.
    pub ldtr: Segment,
    /// Task register.
    pub tr: Segment,
    /// Global descriptor table.
    pub gdtr: DescriptorTable,
    /// Interrupt descriptor table.
    pub idtr: DescriptorTable,
    /// Current privilege level.
    pub cpl: u8,

    /// CR0.
    pub cr0: u64,
    /// CR2.
    pub cr2: u64,
    /// CR3.
    pub cr3: u64,
    /// CR4.
    pub cr4: u64,
    /// DR0 to DR3, then DR6 and DR7 at their numbers.
    pub debug: [u64; 8],
    /// XCR0.
    pub xcr0: u64,
    /// Model-specific registers that are plain state.
    pub msr: super::system::Msrs,

    /// One TLB a privilege; see [`Tlb`].
    pub tlbs: Tlbs,
    /// Which of [`tlbs`](Self::tlbs) is in force: 0 user, 1 supervisor, 2 supervisor with AC set.
    pub tlb_in_force: usize,
    /// Guest RAM.
    pub memory: GuestMemory,
    /// Everything outside RAM.
    pub bus: Box<dyn SystemBus>,

    /// Instructions retired.
    pub instructions: u64,
    /// Executing, halted, or shut down.
    pub activity: Activity,
    /// No interrupt is taken before the next block has run: after `STI` and loads of SS.
    pub interrupt_shadow: bool,
    /// An address-space, mode or interrupt-state change happened: leave the block loop and look again.
    pub must_leave: bool,
    /// Breakpoints on data that the instruction has met, as bits of DR6.
    pub(in crate::cpu) watch_hits: u64,
    /// The translated blocks.
    pub(in crate::cpu) code: CodeCache,
    /// The engine that compiles hot blocks, if there is one.
    pub(in crate::cpu) compiled_code: Option<Box<dyn CompiledCode>>,
    /// What is left of an instruction behind which the block loop must be left.
    pub(in crate::cpu) leaving: Vec<Op>,
    /// The initial APIC ID, as CPUID reports it.
    pub apic_id: u32,
    /// Which instructions there are. Chosen before the processor runs: translations are not made anew.
    pub model: CpuModel,
}

impl Vcpu {
    /// A processor in its state after reset (SDM vol. 3A 9.1.1).
    pub fn new(memory: GuestMemory, bus: Box<dyn SystemBus>, apic_id: u32) -> Self {
        let mut vcpu = Self {
            regs: [0; Reg::COUNT],
            flags: LazyFlags::explicit(0),
            linkage: Linkage::default(),
            system_flags: flags::RESERVED_ONE,
            vectors: [Vector::default(); VectorReg::COUNT],
            mxcsr: 0x1f80,
            x87: X87::default(),
            segments: [Segment::default(); 6],
            ldtr: Segment::default(),
            tr: Segment::default(),
            gdtr: DescriptorTable::default(),
            idtr: DescriptorTable::default(),
            cpl: 0,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            debug: [0; 8],
            xcr0: 1,
            msr: super::system::Msrs::default(),
            tlbs: Tlbs::new(&memory),
            tlb_in_force: 1,
            bus,
            instructions: 0,
            activity: Activity::Running,
            interrupt_shadow: false,
            must_leave: false,
            watch_hits: 0,
            code: CodeCache::new(&memory),
            compiled_code: None,
            leaving: Vec::new(),
            apic_id,
            model: CpuModel::default(),
            memory,
        };
        vcpu.reset();
        vcpu
    }

    /// The cache of translated blocks.
    pub fn code_cache(&self) -> &CodeCache {
        &self.code
    }

    /// Gives the processor an engine that compiles blocks after `threshold` executions.
    ///
    /// The processor must be [placed](GuestMemory::place) where compiled code can reach it.
    pub fn set_compiled_code(&mut self, engine: Box<dyn CompiledCode>, threshold: i32) {
        let memory = self.memory.clone();
        self.code.clear(&memory);
        self.code.threshold = threshold;
        self.code.leave_function = engine.leave_function();
        self.compiled_code = Some(engine);
    }

    /// Makes the jump cache follow functions that have moved in the table.
    pub fn move_functions(&mut self, moved: impl Fn(u32) -> Option<u32>) {
        for entry in self.code.jumps.entries.iter_mut() {
            if let Some(place) = moved(entry.function) {
                entry.function = place;
            }
        }
    }

    /// Makes jumps to a block leave compiled code: its function is gone.
    pub fn forget_function(&mut self, start: BlockStart) {
        let code = &mut self.code;
        if let Some(block) = code.blocks.get(&CodeCache::key(start.address, start.mode_bits)) {
            code.jumps.set_function(block, code.leave_function);
        }
    }

    /// The engine that compiles hot blocks.
    pub fn compiled_code(&self) -> Option<&dyn CompiledCode> {
        self.compiled_code.as_deref()
    }

    /// Reads an integer register.
    #[inline(always)]
    pub fn reg(&self, reg: Reg) -> u64 {
        self.regs[reg.index()]
    }

    /// Writes an integer register.
    #[inline(always)]
    pub fn set_reg(&mut self, reg: Reg, value: u64) {
        self.regs[reg.index()] = value;
    }

    /// RFLAGS, whole.
    pub fn rflags(&self) -> u64 {
        self.flags.bits() | self.system_flags
    }

    /// Writes all of RFLAGS; the caller has applied privilege and reserved bits.
    ///
    /// Changes of AC choose another TLB; changes of IF, TF make the block loop look again.
    pub fn set_rflags(&mut self, value: u64) {
        self.flags = LazyFlags::explicit(value);
        self.system_flags = value & !flags::ARITHMETIC | flags::RESERVED_ONE;
        self.select_tlb();
        self.must_leave = true;
    }

    /// Base address of a segment.
    pub fn segment_base(&self, segment: SegmentIndex) -> u64 {
        self.regs[Reg::ES_BASE.index() + segment as usize]
    }

    /// Sets the base address of a segment.
    pub fn set_segment_base(&mut self, segment: SegmentIndex, base: u64) {
        self.regs[Reg::ES_BASE.index() + segment as usize] = base;
    }

    /// Whether the processor runs 64-bit code.
    pub fn is_64_bit(&self) -> bool {
        self.is_long_mode() && self.segments[SegmentIndex::Cs as usize].is_long()
    }

    /// EFER.LMA.
    pub fn is_long_mode(&self) -> bool {
        self.msr.efer & super::system::EFER_LMA != 0
    }

    /// #GP(0) unless privileged code runs.
    pub fn require_cpl0(&self) -> Result<(), Exception> {
        if self.cpl == 0 { Ok(()) } else { Err(Exception::GeneralProtection(0)) }
    }
}
