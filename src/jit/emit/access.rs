//! Guest memory: the TLB hit inline, everything else in a helper.

use super::{ADDRESS, Emitter, ENTRY, HOST, SITE, TLB, VALUE, VCPU, at, types};
use crate::cpu::TlbEntry;
use crate::ir::{Op, Reg, Width};
use std::mem::offset_of;
use wasm_encoder::{BlockType, ValType};

/// Set in the bytes of a load: the address must be writable, since it is written next.
pub const FOR_UPDATE: u32 = 1 << 8;

impl Emitter<'_> {
    /// Puts the linear address of a memory operand on the stack.
    pub(super) fn address(&mut self, op: &Op) {
        let mut displacement = i64::from(op.disp);
        let mut has_term = false;
        for (number, shift) in [(op.b, 0), (op.c, op.d)] {
            if number == Reg::ZERO.0 {
                continue;
            }
            if number == Reg::RIP.0 && shift == 0 {
                // The block's distance joins the displacement.
                displacement = displacement.wrapping_add(self.region.nodes[self.node].distance);
                self.rip(0);
            } else {
                self.get(number);
            }
            if shift != 0 {
                self.wasm().i64_const(i64::from(shift)).i64_shl();
            }
            if has_term {
                self.wasm().i64_add();
            }
            has_term = true;
        }
        if !has_term {
            self.wasm().i64_const(displacement);
        } else if displacement != 0 {
            self.wasm().i64_const(displacement).i64_add();
        }
    }

    /// Takes an address from the stack; leaves whether the TLB maps `bytes` bytes there for plain access.
    fn probe(&mut self, bytes: u32, tag: usize) {
        let mut wasm = self.wasm();
        // Bits 12 to 21 of the address, times the 32 bytes of an entry.
        const _: () = assert!(size_of::<TlbEntry>() == 32);
        wasm.local_tee(ADDRESS).i64_const(7).i64_shr_u().i32_wrap_i64().i32_const(1023 << 5).i32_and();
        wasm.local_get(TLB).i32_add().local_tee(ENTRY).i64_load(at(tag));
        wasm.local_get(ADDRESS);
        if bytes > 1 {
            wasm.i64_const(i64::from(bytes) - 1).i64_add();
        }
        wasm.i64_const(!0xfff).i64_and().i64_eq();
    }

    /// Behind a hit: the low 32 bits of the host address on the stack.
    fn hit(&mut self) {
        let mut wasm = self.wasm();
        wasm.local_get(ADDRESS).i32_wrap_i64();
        wasm.local_get(ENTRY).i32_load(at(offset_of!(TlbEntry, addend))).i32_add();
    }

    /// Takes an address from the stack; leaves where `bytes` bytes of guest memory can be loaded from.
    pub(super) fn readable(&mut self, bytes: u32, is_update: bool) {
        let tag = if is_update { offset_of!(TlbEntry, write_tag) } else { offset_of!(TlbEntry, read_tag) };
        self.probe(bytes, tag);
        self.wasm().if_(BlockType::Result(ValType::I32));
        self.depth += 1;
        self.hit();
        self.wasm().else_();
        let site = self.site();
        let slot = self.slots.load;
        let packed = bytes | if is_update { FOR_UPDATE } else { 0 };
        let mut wasm = self.wasm();
        wasm.i32_const(site).local_set(SITE);
        wasm.local_get(VCPU).local_get(ADDRESS).i32_const(packed as i32);
        wasm.i32_const(slot as i32).call_indirect(0, types::LOAD);
        wasm.local_tee(HOST).i32_eqz();
        self.leave_if();
        self.wasm().local_get(HOST).end();
        self.depth -= 1;
    }

    /// Takes an address from the stack; leaves the value there, extended to 64 bits.
    pub(super) fn load(&mut self, width: Width, is_signed: bool) {
        self.readable(width.bytes().into(), false);
        let mut wasm = self.wasm();
        match (width, is_signed) {
            (Width::W8, false) => wasm.i64_load8_u(at(0)),
            (Width::W16, false) => wasm.i64_load16_u(at(0)),
            (Width::W32, false) => wasm.i64_load32_u(at(0)),
            (Width::W8, true) => wasm.i64_load8_s(at(0)),
            (Width::W16, true) => wasm.i64_load16_s(at(0)),
            (Width::W32, true) => wasm.i64_load32_s(at(0)),
            (Width::W64, _) => wasm.i64_load(at(0)),
        };
    }

    /// As [`load`](Self::load), zero-extended, of memory that must be writable.
    pub(super) fn load_for_update(&mut self, width: Width) {
        self.readable(width.bytes().into(), true);
        let mut wasm = self.wasm();
        match width {
            Width::W8 => wasm.i64_load8_u(at(0)),
            Width::W16 => wasm.i64_load16_u(at(0)),
            Width::W32 => wasm.i64_load32_u(at(0)),
            Width::W64 => wasm.i64_load(at(0)),
        };
    }

    /// Takes an address from the stack and stores the value in its local there.
    pub(super) fn store(&mut self, width: Width) {
        self.spill_for_rest();
        self.probe(width.bytes().into(), offset_of!(TlbEntry, write_tag));
        self.wasm().if_(BlockType::Empty);
        self.depth += 1;
        self.hit();
        let mut wasm = self.wasm();
        wasm.local_get(VALUE);
        match width {
            Width::W8 => wasm.i64_store8(at(0)),
            Width::W16 => wasm.i64_store16(at(0)),
            Width::W32 => wasm.i64_store32(at(0)),
            Width::W64 => wasm.i64_store(at(0)),
        };
        self.wasm().else_();
        self.store_slowly(width.bytes().into(), VALUE);
        self.wasm().end();
        self.depth -= 1;
    }

    /// The miss of a store to the address in its local.
    pub(super) fn store_slowly(&mut self, bytes: u32, value: u32) {
        let site = self.site();
        let slot = self.slots.store;
        let mut wasm = self.wasm();
        wasm.i32_const(site).local_set(SITE);
        wasm.local_get(VCPU).local_get(ADDRESS).local_get(value).i32_const(bytes as i32);
        wasm.i32_const(slot as i32).call_indirect(0, types::STORE);
        self.leave_if();
    }

    /// Takes the address of 16 bytes from the stack and stores vector register `number` there.
    pub(super) fn store_vector(&mut self, number: u8) {
        let local = self.cached_vector(number);
        self.probe(16, offset_of!(TlbEntry, write_tag));
        self.wasm().if_(BlockType::Empty);
        self.depth += 1;
        self.hit();
        self.wasm().local_get(local).v128_store(at(0)).else_();
        let (site, slot) = (self.site(), self.slots.store_vector);
        let mut wasm = self.wasm();
        wasm.i32_const(site).local_set(SITE);
        wasm.local_get(VCPU).local_get(ADDRESS).i32_const(i32::from(number));
        wasm.i32_const(slot as i32).call_indirect(0, types::LOAD);
        self.leave_if();
        self.wasm().end();
        self.depth -= 1;
    }

    /// Leaves with #GP(0) when the address on the stack is not a multiple of 16; it stays there.
    pub(super) fn check_alignment(&mut self) {
        let (site, slot) = (self.site(), self.slots.misaligned);
        let mut wasm = self.wasm();
        wasm.local_tee(ADDRESS).i32_wrap_i64().i32_const(15).i32_and().if_(BlockType::Empty);
        self.depth += 1;
        let mut wasm = self.wasm();
        wasm.i32_const(site).local_set(SITE);
        wasm.local_get(VCPU).local_get(ADDRESS).i32_const(16);
        wasm.i32_const(slot as i32).call_indirect(0, types::LOAD);
        self.leave_if();
        self.wasm().end().local_get(ADDRESS);
        self.depth -= 1;
    }

    /// When the operation is not the last of its instruction, what follows may have to be run elsewhere: its
    /// temporaries must stand in memory.
    fn spill_for_rest(&mut self) {
        if self.ends_instruction() {
            return;
        }
        let written = self.written_temporaries(super::TEMPORARIES);
        self.store_registers(written);
    }

    /// Pushes the value in its local.
    pub(super) fn push(&mut self) {
        self.get(Reg::RSP.0);
        self.wasm().i64_const(-8).i64_add();
        self.store(Width::W64);
        self.move_stack(-8);
    }

    /// Adds to RSP.
    pub(super) fn move_stack(&mut self, bytes: i64) {
        self.get(Reg::RSP.0);
        self.wasm().i64_const(bytes).i64_add();
        self.set(Reg::RSP.0);
    }
}
