//! Guest memory: the TLB hit inline, everything else in the interpreter.

use super::{ADDRESS, ENTRY, Emitter, SITE, TLB, VALUE, at};
use crate::cpu::{TLB_ENTRIES, TlbEntry};
use crate::ir::{Op, Reg, Width};
use std::mem::offset_of;

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

    /// Takes an address from the stack and leaves the low 32 bits of the host address, where the TLB maps `bytes`
    /// bytes for plain access by `tag`. Where it does not, the interpreter runs the operation and the rest of the
    /// block: a call from here would have the engine keep all registers on its stack.
    fn host_address(&mut self, bytes: u32, tag: usize) {
        const _: () = assert!(size_of::<TlbEntry>() == 32);
        let site = self.redo_site();
        let mut wasm = self.wasm();
        wasm.local_set(ADDRESS).i32_const(site).local_set(SITE);
        // The page's number modulo the number of entries, times the 32 bytes of an entry.
        let mask = (TLB_ENTRIES as i32 - 1) << 5;
        wasm.local_get(ADDRESS).i64_const(7).i64_shr_u().i32_wrap_i64().i32_const(mask).i32_and();
        wasm.local_get(TLB).i32_add().local_tee(ENTRY).i64_load(at(tag));
        wasm.local_get(ADDRESS);
        if bytes > 1 {
            wasm.i64_const(i64::from(bytes) - 1).i64_add();
        }
        wasm.i64_const(!0xfff).i64_and().i64_ne();
        self.leave_if();
        let mut wasm = self.wasm();
        wasm.local_get(ADDRESS).i32_wrap_i64();
        wasm.local_get(ENTRY).i32_load(at(offset_of!(TlbEntry, addend))).i32_add();
    }

    /// Takes an address from the stack; leaves where `bytes` bytes of guest memory can be loaded from.
    pub(super) fn readable(&mut self, bytes: u32, is_update: bool) {
        let tag = if is_update { offset_of!(TlbEntry, write_tag) } else { offset_of!(TlbEntry, read_tag) };
        self.host_address(bytes, tag);
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
        self.host_address(width.bytes().into(), offset_of!(TlbEntry, write_tag));
        let mut wasm = self.wasm();
        wasm.local_get(VALUE);
        match width {
            Width::W8 => wasm.i64_store8(at(0)),
            Width::W16 => wasm.i64_store16(at(0)),
            Width::W32 => wasm.i64_store32(at(0)),
            Width::W64 => wasm.i64_store(at(0)),
        };
    }

    /// Takes an address from the stack and stores 16 or 32 bytes of vector register `number` there.
    pub(super) fn store_vector(&mut self, number: u8, bytes: u8) {
        let local = self.cached_vector(number);
        let upper = if bytes == 32 { Some(self.cached_vector(number | super::vector::UPPER)) } else { None };
        self.host_address(bytes.into(), offset_of!(TlbEntry, write_tag));
        let mut wasm = self.wasm();
        if let Some(upper) = upper {
            // The TLB's entry has served.
            wasm.local_tee(ENTRY).local_get(upper).v128_store(at(16)).local_get(ENTRY);
        }
        wasm.local_get(local).v128_store(at(0));
    }

    /// Leaves for the interpreter, which raises #GP(0), when the address on the stack is not a multiple of
    /// `bytes`; else it stays there.
    pub(super) fn check_alignment(&mut self, bytes: u8) {
        let site = self.redo_site();
        let mut wasm = self.wasm();
        wasm.local_set(ADDRESS).i32_const(site).local_set(SITE);
        wasm.local_get(ADDRESS).i32_wrap_i64().i32_const(i32::from(bytes) - 1).i32_and();
        self.leave_if();
        self.wasm().local_get(ADDRESS);
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
