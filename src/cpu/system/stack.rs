//! Pushes and pops of several items that become visible together.

use super::mmu::{Access, Privilege};
use super::registers::is_canonical;
use crate::cpu::{Exception, Segment, SegmentIndex, Vcpu};
use crate::ir::Reg;
use crate::mem::PAGE_SIZE;

const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// A stack and a place in it. RSP changes only at [`commit`](Self::commit).
pub struct Stack {
    base: u64,
    /// Bits of the stack pointer that count: 16, 32 or 64.
    mask: u64,
    /// The stack pointer.
    offset: u64,
    segment: Segment,
    privilege: Privilege,
}

impl Stack {
    /// The stack in use.
    pub fn current(vcpu: &Vcpu) -> Self {
        let segment = vcpu.segments[SegmentIndex::Ss as usize];
        Self::new(segment, vcpu.reg(Reg::RSP), vcpu.is_64_bit(), vcpu.privilege())
    }

    /// A stack that an event or a call gate switches to. `is_64`: the code that is entered is 64-bit.
    pub fn new(segment: Segment, rsp: u64, is_64: bool, privilege: Privilege) -> Self {
        let (base, mask) = match (is_64, segment.is_default_32()) {
            (true, _) => (0, u64::MAX),
            (false, true) => (segment.base, 0xffff_ffff),
            (false, false) => (segment.base, 0xffff),
        };
        Self { base, mask, offset: rsp, segment, privilege }
    }

    fn address(&self, offset: u64, bytes: u64) -> Result<u64, Exception> {
        if self.mask == u64::MAX {
            let last = offset.wrapping_add(bytes - 1);
            return if is_canonical(offset) && is_canonical(last) {
                Ok(offset)
            } else {
                Err(Exception::StackFault(0))
            };
        }
        let offset = offset & self.mask;
        let limit = u64::from(self.segment.limit);
        let last = offset + bytes - 1;
        let is_inside = if self.segment.attributes & 1 << 2 == 0 {
            last <= limit
        } else {
            offset > limit && last <= self.mask
        };
        if !is_inside {
            return Err(Exception::StackFault(0));
        }
        Ok(self.base.wrapping_add(offset) & 0xffff_ffff)
    }

    /// Pushes the low `bytes` bytes (2, 4 or 8) of `value`.
    ///
    /// # Errors
    /// #SS(0), #PF.
    pub fn push(&mut self, vcpu: &mut Vcpu, bytes: u64, value: u64) -> Result<(), Exception> {
        let offset = self.offset.wrapping_sub(bytes);
        let address = self.address(offset, bytes)?;
        vcpu.store_slow(address, bytes, value, self.privilege)?;
        self.offset = offset;
        Ok(())
    }

    /// Raises now what pushing `count` items of `bytes` bytes would raise, the first one first.
    ///
    /// # Errors
    /// #SS(0), #PF.
    fn reserve_items(&self, vcpu: &mut Vcpu, bytes: u64, count: u64) -> Result<(), Exception> {
        let slot = |number: u64| self.address(self.offset.wrapping_sub(bytes * number), bytes);
        let last = slot(count)?;
        let mut page = None;
        for number in 1..=count {
            let address = slot(number)?;
            // What is in one page has one permission.
            if page.replace(address & PAGE_MASK) != Some(address & PAGE_MASK) {
                vcpu.check_access(address, bytes, Access::Write, self.privilege)?;
            }
            if page == Some(last & PAGE_MASK) {
                break;
            }
        }
        Ok(())
    }

    /// Pushes several items, all or none of them, the first one first.
    ///
    /// # Errors
    /// #SS(0), #PF.
    pub fn push_all(&mut self, vcpu: &mut Vcpu, bytes: u64, values: &[u64]) -> Result<(), Exception> {
        self.reserve_items(vcpu, bytes, values.len() as u64)?;
        values.iter().try_for_each(|&value| self.push(vcpu, bytes, value))
    }

    /// Pops `bytes` bytes (2, 4 or 8), zero-extended.
    ///
    /// # Errors
    /// #SS(0), #PF.
    pub fn pop(&mut self, vcpu: &mut Vcpu, bytes: u64) -> Result<u64, Exception> {
        let address = self.address(self.offset, bytes)?;
        let value = vcpu.load_slow(address, bytes, self.privilege)?;
        self.offset = self.offset.wrapping_add(bytes);
        Ok(value)
    }

    /// Drops `bytes` bytes.
    pub fn release(&mut self, bytes: u64) {
        self.offset = self.offset.wrapping_add(bytes);
    }

    /// Aligns the stack pointer downwards to 16 bytes.
    pub fn align(&mut self) {
        self.offset &= !15;
    }

    /// Makes the place the stack pointer; a 16-bit stack keeps the upper bits of RSP.
    pub fn commit(&self, vcpu: &mut Vcpu) {
        let rsp = if self.mask == 0xffff {
            vcpu.reg(Reg::RSP) & !0xffff | self.offset & 0xffff
        } else {
            self.offset & self.mask
        };
        vcpu.set_reg(Reg::RSP, rsp);
    }
}
