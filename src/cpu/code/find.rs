//! From RIP to a translated block.

use super::{Block, CodeCache, OwnedBlock, TAG_SHIFT};
use crate::cpu::lift::{self, CodeSize, Mode};
use crate::cpu::{Exception, SegmentIndex, Vcpu, flags};
use crate::ir::Reg;
use crate::mem::{GuestPhysAddr, PAGE_SIZE};

/// The longest instruction (SDM vol. 2A 2.3.11).
const LONGEST_INSTRUCTION: usize = 15;
/// Set in the context of code that the jump cache does not hold.
const BASED: u64 = 1 << 15;

/// Bytes that the longest block can take.
const LONGEST_BLOCK: usize = lift::MOST_INSTRUCTIONS * LONGEST_INSTRUCTION;

impl Vcpu {
    /// What a translation of the code at RIP depends on beside its bytes.
    pub fn mode(&self) -> Mode {
        const CR0_EM: u64 = 1 << 2;
        const CR0_TS: u64 = 1 << 3;
        const CR0_PE: u64 = 1;
        const CR4_OSFXSR: u64 = 1 << 9;
        const CR4_OSXSAVE: u64 = 1 << 18;
        const SSE_AND_AVX_STATE: u64 = 6;
        let is_64_bit = self.is_64_bit();
        let code_size = if is_64_bit {
            CodeSize::Bits64
        } else if self.segments[SegmentIndex::Cs as usize].is_default_32() {
            CodeSize::Bits32
        } else {
            CodeSize::Bits16
        };
        let traps = self.cr0 & CR0_TS != 0;
        Mode {
            code_size,
            is_stack_32: !is_64_bit && self.segments[SegmentIndex::Ss as usize].is_default_32(),
            is_flat: is_64_bit || self.has_flat_segments(),
            x87_traps: traps || self.cr0 & CR0_EM != 0,
            sse_undefined: self.cr0 & CR0_EM != 0 || self.cr4 & CR4_OSFXSR == 0,
            sse_traps: traps,
            vex_undefined: self.cr0 & CR0_PE == 0 || self.system_flags & flags::VM != 0,
            avx_undefined: self.cr4 & CR4_OSXSAVE == 0 || self.xcr0 & SSE_AND_AVX_STATE != SSE_AND_AVX_STATE,
            is_single_step: self.system_flags & flags::TF != 0 || self.has_breakpoints(),
            model: self.model,
        }
    }

    fn has_flat_segments(&self) -> bool {
        use SegmentIndex::{Cs, Ds, Es, Ss};
        [Es, Cs, Ss, Ds].into_iter().all(|index| {
            let segment = &self.segments[index as usize];
            // An expand-down segment's limit is a lower bound.
            let is_expand_down = segment.attributes & 0b1_1100 == 0b1_0100;
            self.segment_base(index) == 0 && segment.limit == u32::MAX && !is_expand_down
        })
    }

    /// The context that the jump cache's entries are tagged with: mappings, mode, privilege.
    pub(in crate::cpu) fn jump_context(&self, mode: Mode) -> u64 {
        let is_user = self.cpl == 3;
        let context =
            self.code.jumps.tag(is_user) << TAG_SHIFT | u64::from(mode.bits()) << 1 | u64::from(is_user);
        if self.has_code_base(mode) { context | BASED } else { context }
    }

    /// Whether RIP is not the linear address. Such code is looked up at every jump: the jump cache knows no bases.
    fn has_code_base(&self, mode: Mode) -> bool {
        mode.code_size != CodeSize::Bits64 && self.segment_base(SegmentIndex::Cs) != 0
    }

    /// Finds or translates the block at RIP.
    ///
    /// Raises what fetching its first instruction raises.
    pub(in crate::cpu) fn find_block(&mut self, mode: Mode) -> Result<*const Block, Exception> {
        let rip = self.reg(Reg::RIP);
        let linear = match mode.code_size {
            CodeSize::Bits64 => rip,
            _ => {
                let code_segment = &self.segments[SegmentIndex::Cs as usize];
                if rip > u64::from(code_segment.limit) {
                    return Err(Exception::GeneralProtection(0));
                }
                rip.wrapping_add(self.segment_base(SegmentIndex::Cs)) & 0xffff_ffff
            }
        };
        let start = self.fetch_page(linear)?;
        if let Some(block) = self.code.get(start, mode.bits()) {
            let Some(second) = block.second_page else { return Ok(block) };
            // The page behind may be mapped elsewhere by now, or not at all.
            let block: *const Block = block;
            let next = self.fetch_page((linear | (PAGE_SIZE - 1)).wrapping_add(1))?;
            if next.page() == second {
                return Ok(block);
            }
        }
        let block = self.translate_block(mode, rip, linear, start)?;
        if mode.code_size == CodeSize::Bits64 && !mode.is_single_step {
            block.compiled.cool(self.code.heat_at(start));
        }
        let memory = self.memory.clone();
        let (block, new_pages) = self.code.insert(&memory, block);
        for page in new_pages {
            self.tlb_protect_page(page);
        }
        Ok(block)
    }

    fn translate_block(
        &mut self,
        mode: Mode,
        rip: u64,
        linear: u64,
        start: GuestPhysAddr,
    ) -> Result<OwnedBlock, Exception> {
        let mut bytes = [0; LONGEST_BLOCK];
        let left_in_page = (PAGE_SIZE - start.0 % PAGE_SIZE) as usize;
        let available = left_in_page.min(LONGEST_BLOCK);
        self.fetch_bytes(start, &mut bytes[..available])?;
        if let Some(block) = lift::block(mode, rip, start, &bytes[..available], None) {
            return Ok(block);
        }
        // The first instruction runs over the end of the page.
        let next = self.fetch_page((linear | (PAGE_SIZE - 1)).wrapping_add(1))?;
        let whole = available + LONGEST_INSTRUCTION;
        self.fetch_bytes(next, &mut bytes[available..whole])?;
        lift::block(mode, rip, start, &bytes[..whole], Some(next.page()))
            .ok_or(Exception::GeneralProtection(0))
    }

    fn fetch_bytes(&self, address: GuestPhysAddr, buffer: &mut [u8]) -> Result<(), Exception> {
        self.memory.read(address, buffer).map_err(|error| {
            log::warn!("instruction fetch from outside RAM: {error}");
            Exception::GeneralProtection(0)
        })
    }

    /// Drops the translations of bytes that a store of this vCPU has just changed.
    pub(in crate::cpu) fn note_code_write(&mut self, address: GuestPhysAddr, length: u64) {
        let memory = self.memory.clone();
        if self.code.invalidate(&memory, address, length) {
            self.must_leave = true;
        }
    }

    /// Drops the translations of bytes that devices have changed.
    pub(in crate::cpu) fn drop_overwritten_code(&mut self) {
        for write in self.memory.take_code_writes() {
            self.note_code_write(write.address, write.length);
        }
    }
}

impl CodeCache {
    /// Notes a block found by virtual address.
    pub(in crate::cpu) fn remember_jump(&mut self, rip: u64, context: u64, block: *const Block) {
        if context & BASED != 0 {
            return;
        }
        // SAFETY: the caller has just found the block in the cache.
        let block = unsafe { &*block };
        let function = match block.compiled.function.get() {
            0 => self.leave_function,
            function => function,
        };
        self.jumps.remember(rip, context, block, function);
    }
}
