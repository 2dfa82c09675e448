//! The loop around the block loop: interrupts, exceptions, look-ups.

use super::{Exit, execute};
use crate::cpu::code::CodeCache;
use crate::cpu::system::InterruptKind;
use crate::cpu::{Activity, Exception, Vcpu, flags};
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

/// DR6.BS: a single step.
const DR6_SINGLE_STEP: u64 = 1 << 14;

impl Vcpu {
    /// Runs until `limit` instructions are retired in all ([`instructions`](Self::instructions)), or until
    /// nothing can run. Executes at least one block; the limit is overrun by less than a block.
    pub fn run(&mut self, limit: u64) -> Stop {
        loop {
            self.must_leave = false;
            self.drop_overwritten_code();
            self.code.free_dropped();
            if self.activity == Activity::Shutdown {
                return Stop::Shutdown;
            }
            self.take_interrupt();
            match self.activity {
                Activity::Running => {}
                Activity::Shutdown => return Stop::Shutdown,
                Activity::Halted | Activity::WaitForSipi => return Stop::Halted,
            }
            if self.instructions >= limit {
                return Stop::Limit;
            }
            if let Err(exception) = self.run_until_look(limit) {
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
        let mode = self.mode();
        let runs_one_block = std::mem::take(&mut self.interrupt_shadow) || mode.is_single_step;
        let mut link_from: Option<*const super::Successor> = None;
        loop {
            let context = self.jump_context(mode);
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
                let context = self.jump_context(mode);
                self.code.remember_jump(rip, context, block);
                block
            };
            if let Some(successor) = link_from.take() {
                // SAFETY: the successor belongs to the block that ran last. Blocks are freed only at the top
                // of `run`, and a dropped block is never entered again.
                unsafe { &*successor }.link.set(block);
            }
            // SAFETY: as above.
            let count = unsafe { &*block }.instruction_count();
            let fits = self.instructions + count;
            let until = if runs_one_block { fits } else { limit.max(fits) };
            let context = self.jump_context(mode);
            match execute(self, block, until, context) {
                Exit::Lookup if !runs_one_block && self.instructions < limit => {}
                Exit::LookupLink(successor) if !runs_one_block && self.instructions < limit => {
                    link_from = Some(successor);
                }
                Exit::Raised(exception) => return Err(exception),
                Exit::Lookup | Exit::LookupLink(_) | Exit::Limit | Exit::Look => break,
            }
        }
        if mode.is_single_step {
            return Err(Exception::Debug(DR6_SINGLE_STEP));
        }
        Ok(())
    }
}
