//! Breakpoints of the debug registers (SDM vol. 3B 17.2.4, 17.3.1).
//!
//! While one is enabled, blocks hold one instruction. Accesses to pages with watched bytes take the slow path, which
//! notes hits here; the run loop raises #DB behind the instruction.

use crate::cpu::{SegmentIndex, Vcpu, flags};
use crate::ir::Reg;
use crate::mem::PAGE_SIZE;

const PAGE_MASK: u64 = !(PAGE_SIZE - 1);

/// L0 to G3: two bits of DR7 a breakpoint.
const ENABLES: u64 = 0xff;

/// What a breakpoint waits for: bits R/W of DR7.
const EXECUTION: u64 = 0;
const WRITE: u64 = 1;
const READ_OR_WRITE: u64 = 3;

struct Breakpoint {
    /// Its bit in DR6.
    bit: u64,
    kind: u64,
    first: u64,
    length: u64,
}

impl Vcpu {
    /// Whether DR7 enables a breakpoint.
    #[inline]
    pub fn has_breakpoints(&self) -> bool {
        self.debug[7] & ENABLES != 0
    }

    fn breakpoints(&self) -> impl Iterator<Item = Breakpoint> {
        let control = self.debug[7];
        (0..4).zip(self.debug).filter(move |(number, _)| control >> (2 * number) & 3 != 0).map(
            move |(number, address)| {
                let kind = control >> (16 + 4 * number) & 3;
                let length = match control >> (18 + 4 * number) & 3 {
                    0 => 1,
                    1 => 2,
                    2 => 8,
                    _ => 4,
                };
                Breakpoint { bit: 1 << number, kind, first: address & !(length - 1), length }
            },
        )
    }

    /// The bits of DR6 for breakpoints on the instruction at RIP; none with RF set.
    pub fn execution_breakpoints(&self) -> u64 {
        if !self.has_breakpoints() || self.system_flags & flags::RF != 0 {
            return 0;
        }
        let base = if self.is_64_bit() { 0 } else { self.segment_base(SegmentIndex::Cs) };
        let address = base.wrapping_add(self.reg(Reg::RIP));
        self.breakpoints()
            .filter(|breakpoint| breakpoint.kind == EXECUTION && breakpoint.first == address)
            .fold(0, |bits, breakpoint| bits | breakpoint.bit)
    }

    /// Whether bytes of a page are watched.
    pub fn watches_page(&self, page: u64) -> bool {
        self.has_breakpoints()
            && self
                .breakpoints()
                .any(|breakpoint| breakpoint.kind != EXECUTION && breakpoint.first & PAGE_MASK == page)
    }

    /// Notes a data access, for the run loop.
    #[inline]
    pub fn note_access(&mut self, address: u64, bytes: u64, is_write: bool) {
        if self.has_breakpoints() {
            let hits = self
                .breakpoints()
                .filter(|breakpoint| match breakpoint.kind {
                    WRITE => is_write,
                    READ_OR_WRITE => true,
                    _ => false,
                })
                .filter(|breakpoint| {
                    address.wrapping_sub(breakpoint.first) < breakpoint.length
                        || breakpoint.first.wrapping_sub(address) < bytes
                })
                .fold(0, |bits, breakpoint| bits | breakpoint.bit);
            self.watch_hits |= hits;
        }
    }
}
