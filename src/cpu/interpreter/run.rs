//! The loop around the block loop: interrupts, exceptions, look-ups.

use super::{Exit, execute, host_address};
use crate::cpu::code::{Block, JumpCache, NEVER_HOT};
use crate::cpu::lift::Mode;
use crate::cpu::system::InterruptKind;
use crate::cpu::tlb::TlbEntries;
use crate::cpu::{Activity, BlockStart, CompiledExit, Exception, Vcpu, flags};
use crate::ir::Reg;
use std::cell::Cell;

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

/// Where interpreting begins.
#[derive(Clone, Copy, Debug)]
enum Start {
    /// With the block at RIP, unless it is hot or compiled.
    Rip,
    /// With the block at RIP in any case.
    Here,
    /// Within a block whose instructions are all counted; RIP is the block's.
    Within(BlockStart, usize),
}

/// Why interpreting ended. RIP is the next instruction's.
enum Interpreted {
    /// The guest has reached the awaited address.
    Reached,
    /// The block at RIP is hot or compiled.
    Warm(*const Block),
    /// Interrupts, modes, mappings or translations may have changed, or the limit is reached.
    Look,
    /// An instruction raised an exception.
    Raised(Exception),
}

/// No address that a guest can reach: it is not canonical.
const NOWHERE: u64 = 1 << 63 | 3;

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

    /// Whether something is pending that ends the processor's halt.
    pub fn can_wake(&mut self) -> bool {
        self.has_open_interrupt() || (self.bus.has_nmi() && !self.msr.is_nmi_blocked)
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
        if !is_in_shadow {
            self.watch_hits = 0;
        }
        let breakpoints = self.execution_breakpoints();
        if breakpoints != 0 {
            // The frame of this fault has RF set, so that the handler can return to the instruction.
            self.system_flags |= flags::RF;
            return Err(Exception::Debug(breakpoints));
        }
        if is_in_shadow || mode.is_single_step {
            // The shadow is one instruction long.
            mode.is_single_step |= self.system_flags & flags::IF != 0 && self.bus.is_interrupt_pending();
            if mode.is_single_step {
                // It holds for one instruction, and IRET sets it for the next.
                self.system_flags &= !flags::RF;
            }
            self.run_one_block(mode)?;
        } else {
            let mut start = Start::Rip;
            loop {
                let context = self.jump_context(mode);
                let block = match self.interpret(context, limit, start, NOWHERE) {
                    Interpreted::Warm(block) => block,
                    Interpreted::Raised(exception) => return Err(exception),
                    Interpreted::Reached | Interpreted::Look => break,
                };
                start = match self.run_compiled(block, self.jump_context(mode), limit) {
                    None => Start::Here,
                    Some(CompiledExit::Continue) if self.instructions < limit => Start::Rip,
                    Some(CompiledExit::Resume { block, place }) => Start::Within(block, place),
                    Some(CompiledExit::Look) if self.instructions < limit && self.needs_no_look() => {
                        self.must_leave = false;
                        mode = self.mode();
                        Start::Rip
                    }
                    Some(CompiledExit::Raised(exception)) => return Err(exception),
                    Some(CompiledExit::Continue | CompiledExit::Look) => break,
                };
            }
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

    /// Whether a look finds nothing but another context: system calls and their returns are left by such.
    fn needs_no_look(&mut self) -> bool {
        self.activity == Activity::Running
            && !self.interrupt_shadow
            && !self.mode().is_single_step
            && !self.memory.has_code_writes()
            && !self.has_open_interrupt()
            && !self.bus.has_nmi()
            && !self.bus.must_stop()
    }

    fn run_one_block(&mut self, mode: Mode) -> Result<(), Exception> {
        let block = self.find_block(mode)?;
        // SAFETY: the block has just been found in the cache; blocks are freed only at the top of `run`.
        self.instructions += unsafe { &*block }.instruction_count();
        match execute(self, block, 0, self.instructions, self.jump_context(mode), true) {
            Exit::Raised(exception) => Err(exception),
            _ => Ok(()),
        }
    }

    /// The block at RIP in a context, by the jump cache if that knows it.
    #[inline]
    fn block_at_rip(&mut self, context: &mut u64) -> Result<*const Block, Exception> {
        let rip = self.reg(Reg::RIP);
        let entry = self.code.jumps.entry(rip);
        if entry.rip == rip && entry.context == *context {
            return Ok(entry.block);
        }
        self.unknown_block_at_rip(context)
    }

    #[inline(never)]
    fn unknown_block_at_rip(&mut self, context: &mut u64) -> Result<*const Block, Exception> {
        let mode = self.mode();
        let block = self.find_block(mode)?;
        // Translating may have begun a new epoch.
        *context = self.jump_context(mode);
        self.code.remember_jump(self.reg(Reg::RIP), *context, block);
        Ok(block)
    }

    /// Interprets blocks of one mode until RIP is `awaited` behind a return or a look-up, or until a block is
    /// hot or compiled.
    #[inline(always)]
    fn interpret(&mut self, context: u64, limit: u64, start: Start, awaited: u64) -> Interpreted {
        self.linkage.awaited = awaited;
        let interpreted = self.interpret_awaiting(context, limit, start, awaited);
        self.linkage.awaited = NOWHERE;
        interpreted
    }

    #[inline(always)]
    fn interpret_awaiting(&mut self, context: u64, limit: u64, start: Start, awaited: u64) -> Interpreted {
        let (mut start, mut context) = (start, context);
        let mut link_from: Option<*const Cell<*const Block>> = None;
        loop {
            let must_run = matches!(start, Start::Here);
            let (block, place) = match std::mem::replace(&mut start, Start::Rip) {
                Start::Rip if self.reg(Reg::RIP) == awaited => return Interpreted::Reached,
                Start::Rip | Start::Here => match self.block_at_rip(&mut context) {
                    Ok(block) => (block, None),
                    Err(exception) => return Interpreted::Raised(exception),
                },
                Start::Within(known, place) => {
                    let Some(found) = self.code.get(known.address, known.mode_bits) else {
                        // Compiled code is gone before its blocks are.
                        log::error!("the block that compiled code was left in is gone");
                        self.activity = Activity::Shutdown;
                        return Interpreted::Look;
                    };
                    (&raw const *found, Some(place))
                }
            };
            // A block that runs over the page's end is checked at each look-up.
            // SAFETY: the block has just been found in the cache; blocks are freed only at the top of `run`.
            let is_linkable = unsafe { &*block }.second_page.is_none();
            if let Some(link) = link_from.take().filter(|_| is_linkable) {
                // SAFETY: the link belongs to the block that ran last. Blocks are freed only at the top
                // of `run`, and a dropped block is never entered again.
                unsafe { &*link }.set(block);
            }
            // SAFETY: as above.
            let compiled = &unsafe { &*block }.compiled;
            let heat = compiled.heat.get();
            if heat > 0 {
                compiled.heat.set(heat - 1);
            } else if place.is_none() && !must_run {
                return Interpreted::Warm(block);
            }
            // A compiled block must run here when its function needs more than the limit leaves.
            let runs_warm = must_run && compiled.function.get() != 0;
            // SAFETY: as above.
            let count = unsafe { &*block }.instruction_count();
            if place.is_none() {
                self.instructions += count;
            }
            let until = limit.max(self.instructions);
            match execute(self, block, place.unwrap_or(0), until, context, runs_warm) {
                Exit::Warm | Exit::Lookup if self.instructions < limit => {}
                Exit::LookupLink(link) if self.instructions < limit => link_from = Some(link),
                Exit::Raised(exception) => return Interpreted::Raised(exception),
                Exit::Lookup | Exit::LookupLink(_) | Exit::Limit | Exit::Look | Exit::Warm => {
                    return Interpreted::Look;
                }
            }
        }
    }

    /// Runs the compiled code that begins with a block at RIP, if there is some and the limit leaves it
    /// room; has hot blocks compiled.
    fn run_compiled(&mut self, block: *const Block, context: u64, limit: u64) -> Option<CompiledExit> {
        self.drop_dead_regions();
        // SAFETY: the block has just been found in the cache; blocks are freed only at the top of `run`.
        let block = unsafe { &*block };
        let compiled = &block.compiled;
        let Some(mut engine) = self.compiled_code.take() else {
            compiled.heat.set(NEVER_HOT);
            return None;
        };
        if compiled.function.get() == 0 {
            // It waits for its turn, or cannot be compiled.
            compiled.heat.set(NEVER_HOT);
            engine.note_hot(self, BlockStart { address: block.start, mode_bits: block.mode_bits });
        }
        self.linkage.end = self.instructions + limit.saturating_sub(self.instructions).min(MOST_BUDGET);
        let exit = self.ready_function(block, context).map(|function| {
            self.linkage.context = context;
            self.linkage.jumps = (&raw const *self.code.jumps.entries) as usize as u32;
            engine.run(self, function)
        });
        self.compiled_code = Some(engine);
        exit
    }

    /// The compiled function of a block at RIP, if there is one and the budget suffices for it.
    fn ready_function(&mut self, block: &Block, context: u64) -> Option<u32> {
        let function = block.compiled.function.get();
        let budget = self.linkage.end.saturating_sub(self.instructions);
        if function == 0 || budget < u64::from(block.compiled.needs.get()) {
            return None;
        }
        let rip = self.reg(Reg::RIP);
        let entry = &mut self.code.jumps.entries[JumpCache::index(rip)];
        if entry.rip == rip && entry.context == context {
            entry.function = function;
        }
        self.linkage.tlb = self.tlb_address();
        self.linkage.budget = budget as i32;
        Some(function)
    }

    /// Goes on behind compiled code that was left by `exit`, on behalf of compiled code that waits for the guest to
    /// return to `awaited`: interprets until then, or until compiled code is reached, whose function
    /// [`next_function`](crate::cpu::Linkage::next_function) then is. Returns RIP; `None` when all compiled code
    /// must be left, as [`unwinding`](crate::cpu::Linkage::unwinding) tells.
    pub fn await_return(&mut self, exit: CompiledExit, awaited: u64) -> Option<u64> {
        self.linkage.next_function = 0;
        let start = match exit {
            CompiledExit::Continue => Start::Rip,
            CompiledExit::Resume { block, place } => Start::Within(block, place),
            CompiledExit::Look | CompiledExit::Raised(_) => return self.unwind(exit),
        };
        if self.instructions >= self.linkage.end {
            let exit = if matches!(start, Start::Rip) { CompiledExit::Look } else { exit };
            return self.unwind(exit);
        }
        match self.interpret_for_call(start, awaited)? {
            None => Some(awaited),
            Some(block) => {
                // SAFETY: the block has just been found in the cache; blocks are freed only at the top of `run`.
                match self.ready_function(unsafe { &*block }, self.linkage.context) {
                    Some(function) => {
                        self.linkage.next_function = function;
                        Some(self.reg(Reg::RIP))
                    }
                    // The run loop has it compiled, or looks at the limit.
                    None => self.unwind(CompiledExit::Continue),
                }
            }
        }
    }

    /// Interprets the callee at `rip` of compiled code, until the guest returns from it or compiled code is reached.
    /// Returns RIP, at once if it is no call that leads here; `None` as [`await_return`](Self::await_return).
    pub fn interpret_callee(&mut self, rip: u64) -> Option<u64> {
        let awaited = self.linkage.called_from;
        let tlb: *const TlbEntries = &raw const *self.tlbs[self.tlb_in_force].entries;
        // What has jumped here may have called others before.
        let return_address = host_address::<false>(tlb, self.reg(Reg::RSP), 8)
            // SAFETY: the TLB maps the whole access to guest RAM.
            .map(|host| unsafe { host.cast::<u64>().read_unaligned() });
        let instructions = self.linkage.end.wrapping_sub(self.linkage.budget as u64);
        if return_address != Some(awaited) || instructions >= self.linkage.end {
            return Some(rip);
        }
        self.instructions = instructions;
        self.set_reg(Reg::RIP, rip);
        self.interpret_for_call(Start::Rip, awaited)?;
        Some(self.reg(Reg::RIP))
    }

    /// Interprets until the guest returns to `awaited`, or until a block is hot or compiled, which it then gives.
    /// `None` when all compiled code must be left. What runs short callees, as `selfmod` does, spent half of its time
    /// on the way to the block loop before all of this was one function.
    #[inline(always)]
    fn interpret_for_call(&mut self, start: Start, awaited: u64) -> Option<Option<*const Block>> {
        let (context, limit) = (self.linkage.context, self.linkage.end);
        let epoch = self.code.jumps.epoch;
        let before = self.instructions;
        let interpreted = self.interpret(context, limit, start, awaited);
        // A fault takes back what its block counted ahead.
        let interpreted_now = self.instructions.wrapping_sub(before);
        self.linkage.interpreted = self.linkage.interpreted.wrapping_add(interpreted_now);
        let warm = match interpreted {
            Interpreted::Look => return self.unwind(CompiledExit::Look),
            Interpreted::Raised(exception) => return self.unwind(CompiledExit::Raised(exception)),
            Interpreted::Reached => None,
            Interpreted::Warm(block) => Some(block),
        };
        if !self.code.dead_regions.is_empty() || self.code.jumps.epoch != epoch {
            return self.unwind(CompiledExit::Continue);
        }
        self.linkage.tlb = self.tlb_address();
        self.linkage.budget = limit.saturating_sub(self.instructions) as i32;
        Some(warm)
    }

    fn unwind<T>(&mut self, exit: CompiledExit) -> Option<T> {
        self.linkage.unwinding = Some(exit);
        None
    }

    /// Low 32 bits of the address of the TLB in force, as compiled code knows it.
    pub fn tlb_address(&self) -> u32 {
        (&raw const *self.tlbs[self.tlb_in_force].entries) as usize as u32
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
