//! Going on where compiled code was left in the middle of a block.

use super::{Exit, execute};
use crate::cpu::code::{ASKS_NOTHING, OwnedBlock, Parts};
use crate::cpu::{CompiledExit, Exception, Vcpu, helpers, sse};
use crate::ir::{Op, OpCode, Reg, Shape};
use crate::mem::GuestPhysAddr;

/// An operation at which compiled code can be left.
#[derive(Clone, Debug)]
pub struct ExitSite {
    /// The operation.
    pub op: Op,
    /// Offset of the following instruction from the start of the block.
    pub next: u16,
    /// Instructions of the block from this one on, itself included.
    pub left: u16,
    /// What is left of the instruction behind the operation.
    pub rest: Box<[Op]>,
}

impl Vcpu {
    /// Leaves a block at an operation that has raised an exception, or behind its instruction when there is
    /// none. RIP is the block's; all of its instructions are counted.
    pub fn leave_at(&mut self, site: &ExitSite, exception: Option<Exception>) -> CompiledExit {
        let Some(exception) = exception else {
            if !site.rest.is_empty() {
                return self.finish_instruction(site);
            }
            self.instructions -= u64::from(site.left) - 1;
            self.set_reg(Reg::RIP, self.reg(Reg::RIP).wrapping_add(u64::from(site.next)));
            return CompiledExit::Look;
        };
        let (offset, retired) = if exception.is_trap() { (site.next, 1) } else { (site.op.pc, 0) };
        self.instructions -= u64::from(site.left) - retired;
        self.set_reg(Reg::RIP, self.reg(Reg::RIP).wrapping_add(u64::from(offset)));
        CompiledExit::Raised(exception)
    }

    /// The linear address of the access of an operation that loads or stores; RIP is its block's.
    pub fn access_address(&self, op: &Op) -> u64 {
        match op.code.shape() {
            Shape::Push | Shape::PushImmediate | Shape::CallNear | Shape::CallRegister => {
                self.reg(Reg::RSP).wrapping_sub(8)
            }
            Shape::Pop | Shape::Return => self.reg(Reg::RSP),
            _ => {
                let scaled = self.reg(Reg(op.c)).wrapping_shl(u32::from(op.d));
                self.reg(Reg(op.b)).wrapping_add(scaled).wrapping_add(i64::from(op.disp) as u64)
            }
        }
    }

    /// Runs an operation that calls a helper, on the registers in memory.
    ///
    /// # Errors
    /// What the instruction raises.
    pub fn execute_helper(&mut self, op: &Op) -> Result<(), Exception> {
        match op.code {
            OpCode::Vector | OpCode::Vector256 => sse::execute(self, op),
            OpCode::Call | OpCode::CallAndExit => helpers::call(self, op),
            _ => Err(Exception::InvalidOpcode),
        }
    }

    fn finish_instruction(&mut self, site: &ExitSite) -> CompiledExit {
        let leave = Op {
            code: OpCode::Leave,
            pc: site.op.pc,
            a: 0,
            b: 0,
            c: 0,
            d: 0,
            disp: i32::from(site.next),
            imm: 0,
        };
        let ops: Vec<Op> = site.rest.iter().copied().chain([leave]).collect();
        let block = OwnedBlock::new(Parts {
            ops: &ops,
            instruction_offsets: &[site.op.pc],
            distances: [0; 2],
            start: GuestPhysAddr(0),
            length: site.next,
            second_page: None,
            mode_bits: 0,
            rip_bits: 64,
        });
        // The instruction is counted as the block's only one.
        self.instructions -= u64::from(site.left) - 1;
        match execute(self, block.as_ptr(), 0, u64::MAX, ASKS_NOTHING, true) {
            Exit::Raised(exception) => CompiledExit::Raised(exception),
            _ => CompiledExit::Look,
        }
    }
}
