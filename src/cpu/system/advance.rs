//! Instruction pointers as helpers need them.

use crate::cpu::Vcpu;
use crate::ir::{Op, Reg};

impl Vcpu {
    /// RIP of the instruction that `op` belongs to.
    pub fn current_rip(&self, op: &Op) -> u64 {
        self.truncate_rip(self.reg(Reg::RIP).wrapping_add(u64::from(op.pc)))
    }

    /// RIP of the following instruction.
    pub fn next_rip(&self, op: &Op) -> u64 {
        self.truncate_rip(self.reg(Reg::RIP).wrapping_add(op.disp as u64))
    }

    /// Goes on at the following instruction: how helpers that end a block fall through.
    pub fn advance(&mut self, op: &Op) {
        self.set_rip(self.next_rip(op));
    }

    /// Writes the low `bytes` bytes of a register: 4 clear the upper half, 2 keep the rest.
    pub fn set_reg_sized(&mut self, reg: Reg, bytes: u8, value: u64) {
        let value = match bytes {
            8 => value,
            4 => value & 0xffff_ffff,
            2 => self.reg(reg) & !0xffff | value & 0xffff,
            _ => self.reg(reg) & !0xff | value & 0xff,
        };
        self.set_reg(reg, value);
    }
}
