//! The loop around the block loop: interrupts, exceptions, look-ups.

use super::{Exit, execute};
use crate::cpu::code::{Block, CodeCache, NEVER_HOT};
use crate::cpu::system::InterruptKind;
use crate::cpu::{Activity, BlockStart, CompiledExit, Exception, Vcpu, flags};
use crate::ir::Reg;

/// Why [`Vcpu::run`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The instruction limit is reached, or the machine has something to do first.
    Limit,
    /// The processor waits for an interrupt, or for a start-up IPI.
    Halted,
    /// A triple fault.
    Shutdown,
}

/// The largest budget that compiled code is given.
const MOST_BUDGET: u64 = 1 << 30;

/// DR6.BS: a single step.
const DR6_SINGLE_STEP: u64 = 1 << 14;

impl Vcpu {
    /// Runs until `limit` instructions are retired in all ([`instructions`](Self::instructions)), or until
    /// nothing can run. Executes at least one block; the limit is overrun by less than a block.
    pub fn run(&mut self, limit: u64) -> Stop {
        loop {
            self.must_leave = false;
            self.drop_overwritten_code();
            self.drop_dead_regions();
            self.code.free_dropped();
            if self.activity == Activity::Shutdown {
                return Stop::Shutdown;
            }
            self.take_nmi();
            self.take_interrupt();
            match self.activity {
                Activity::Running => {}
                Activity::Shutdown => return Stop::Shutdown,
                Activity::Halted | Activity::WaitForSipi => return Stop::Halted,
            }
            if self.instructions >= limit {
                return Stop::Limit;
            }
            if let Some(mut engine) = self.compiled_code.take() {
                engine.settle(self);
                self.compiled_code = Some(engine);
            }
            // What an interrupt's delivery has changed is looked at by what follows.
            self.must_leave = false;
            if let Err(exception) = self.run_until_look(limit) {
                let exception = self.in_stack_segment(exception);
                log::trace!("{exception} at rip {:#x}", self.reg(Reg::RIP));
                self.deliver_exception(exception);
            }
            if self.bus.must_stop() {
                return Stop::Limit;
            }
        }
    }

    /// Whether an interrupt is pending that the processor can take now.
    pub fn has_open_interrupt(&mut self) -> bool {
        let is_open = self.system_flags & flags::IF != 0 && !self.interrupt_shadow;
        let is_awake = matches!(self.activity, Activity::Running | Activity::Halted);
        is_open && is_awake && self.bus.is_interrupt_pending()
    }

    fn take_nmi(&mut self) {
        let is_awake = matches!(self.activity, Activity::Running | Activity::Halted);
        if is_awake && !self.interrupt_shadow && !self.msr.is_nmi_blocked && self.bus.take_nmi() {
            self.activity = Activity::Running;
            self.deliver_nmi();
        }
    }

    fn take_interrupt(&mut self) {
        if !self.has_open_interrupt() {
            return;
        }
        if let Some(vector) = self.bus.acknowledge_interrupt() {
            self.activity = Activity::Running;
            self.deliver_interrupt(vector, InterruptKind::External);
        }
    }

    /// Runs blocks in one mode until the block loop says that something may have changed.
    fn run_until_look(&mut self, limit: u64) -> Result<(), Exception> {
        let mut mode = self.mode();
        let is_stepped = self.system_flags & flags::TF != 0;
        let is_in_shadow = std::mem::take(&mut self.interrupt_shadow);
        let runs_one_block = is_in_shadow || mode.is_single_step;
        if runs_one_block && self.system_flags & flags::IF != 0 && self.bus.is_interrupt_pending() {
            // The shadow is one instruction long.
            mode.is_single_step = true;
        }
        if !is_in_shadow {
            self.watch_hits = 0;
        }
        let breakpoints = self.execution_breakpoints();
        if breakpoints != 0 {
            // The frame of this fault has RF set, so that the handler can return to the instruction.
            self.system_flags |= flags::RF;
            return Err(Exception::Debug(breakpoints));
        }
        let mut link_from: Option<*const super::Successor> = None;
        loop {
            let mut context = self.jump_context(mode);
            let rip = self.reg(Reg::RIP);
            let entry = self.code.jumps[CodeCache::jump_index(rip)];
            let block = if entry.rip == rip && entry.context == context {
                entry.block
            } else {
                let block = self.find_block(mode)?;
                // Translating may have dropped blocks, and with them the successor to link.
                if self.jump_context(mode) != context {
                    link_from = None;
                }
                context = self.jump_context(mode);
                self.code.remember_jump(rip, context, block);
                block
            };
            self.drop_dead_regions();
            let mut block = block;
            let mut place = None;
            if !runs_one_block {
                match self.run_compiled(block, context, limit) {
                    None => {}
                    Some(CompiledExit::Continue) if self.instructions < limit => {
                        link_from = None;
                        continue;
                    }
                    Some(CompiledExit::Resume { block: start, place: resumed }) => {
                        let Some(found) = self.code.get(start.address, start.mode_bits) else {
                            // Compiled code is gone before its blocks are.
                            log::error!("the block that compiled code was left in is gone");
                            self.activity = Activity::Shutdown;
                            break;
                        };
                        (block, place, link_from) = (found, Some(resumed), None);
                    }
                    Some(CompiledExit::Raised(exception)) => return Err(exception),
                    Some(CompiledExit::Continue | CompiledExit::Look) => break,
                }
            }
            // A block that runs over the page's end is checked at each look-up.
            // SAFETY: the block has just been found in the cache; blocks are freed only at the top of `run`.
            let is_linkable = unsafe { &*block }.second_page.is_none();
            if let Some(successor) = link_from.take().filter(|_| is_linkable) {
                // SAFETY: the successor belongs to the block that ran last. Blocks are freed only at the top
                // of `run`, and a dropped block is never entered again.
                unsafe { &*successor }.link.set(block);
            }
            // SAFETY: as above.
            let count = unsafe { &*block }.instruction_count();
            if place.is_none() {
                self.instructions += count;
            }
            let until = if runs_one_block { self.instructions } else { limit.max(self.instructions) };
            // SAFETY: as above.
            let compiled = &unsafe { &*block }.compiled;
            let heat = compiled.heat.get();
            if heat > 0 {
                compiled.heat.set(heat - 1);
            }
            let is_compiled = compiled.function.get() != 0;
            // SAFETY: as above. A compiled block runs here when the function needs more than the limit leaves.
            let runs_warm = runs_one_block || place.is_none() && is_compiled;
            match execute(self, block, place.unwrap_or(0), until, context, runs_warm) {
                Exit::Warm if self.instructions < limit => {}
                Exit::Lookup if !runs_one_block && self.instructions < limit => {}
                Exit::LookupLink(successor) if !runs_one_block && self.instructions < limit => {
                    link_from = Some(successor);
                }
                Exit::Raised(exception) => return Err(exception),
                Exit::Lookup | Exit::LookupLink(_) | Exit::Limit | Exit::Look | Exit::Warm => break,
            }
        }
        if mode.is_single_step {
            self.system_flags &= !flags::RF;
        }
        if self.interrupt_shadow && self.watch_hits != 0 {
            // Behind a load of SS the trap waits for one instruction, and is lost when that faults (SDM vol. 3A 6.8.3).
            return Ok(());
        }
        let stepped = if is_stepped { DR6_SINGLE_STEP } else { 0 };
        let reasons = stepped | std::mem::take(&mut self.watch_hits);
        if reasons != 0 {
            return Err(Exception::Debug(reasons));
        }
        Ok(())
    }

    /// Runs the compiled code that begins with a block at RIP, if there is some and the limit leaves it
    /// room; has hot blocks compiled.
    fn run_compiled(&mut self, block: *const Block, context: u64, limit: u64) -> Option<CompiledExit> {
        // SAFETY: the block has just been found in the cache; blocks are freed only at the top of `run`.
        let block = unsafe { &*block };
        let compiled = &block.compiled;
        if compiled.heat.get() > 0 {
            return None;
        }
        let Some(mut engine) = self.compiled_code.take() else {
            compiled.heat.set(NEVER_HOT);
            return None;
        };
        if compiled.function.get() == 0 {
            engine.note_hot(self, BlockStart { address: block.start, mode_bits: block.mode_bits });
            if compiled.function.get() == 0 {
                // It waits for its turn, or cannot be compiled.
                compiled.heat.set(NEVER_HOT);
            }
        }
        let function = compiled.function.get();
        let budget = limit.saturating_sub(self.instructions).min(MOST_BUDGET);
        let mut exit = None;
        if function != 0 && budget >= u64::from(compiled.needs.get()) {
            let rip = self.reg(Reg::RIP);
            let entry = &mut self.code.jumps[CodeCache::jump_index(rip)];
            if entry.rip == rip && entry.context == context {
                entry.function = function;
            }
            self.linkage.context = context;
            self.linkage.jumps = (&raw const *self.code.jumps) as usize as u32;
            self.linkage.tlb = self.tlb_address();
            self.linkage.budget = budget as i32;
            self.linkage.end = self.instructions + budget;
            exit = Some(engine.run(self, function));
        }
        self.compiled_code = Some(engine);
        exit
    }

    /// Low 32 bits of the address of the TLB in force, as compiled code knows it.
    pub fn tlb_address(&self) -> u32 {
        (&raw const *self.tlbs[self.tlb_in_force]) as usize as u32
    }

    /// Has the engine forget the regions whose blocks are gone.
    fn drop_dead_regions(&mut self) {
        if self.code.dead_regions.is_empty() {
            return;
        }
        let dead = std::mem::take(&mut self.code.dead_regions);
        if let Some(mut engine) = self.compiled_code.take() {
            engine.drop_regions(self, &dead);
            self.compiled_code = Some(engine);
        }
    }
}
