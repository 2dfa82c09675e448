//! Guest memory: the TLB hit inline, everything else in the interpreter.

use super::{ADDRESS, ENTRY, Emitter, HOSTS, SITE, TLB, VALUE, at};
use crate::cpu::{TLB_ENTRIES, TlbEntry};
use crate::ir::{Op, Reg, Shape, Width};
use crate::jit::window::Access;
use std::mem::offset_of;
use wasm_encoder::MemArg;

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

    /// Puts the linear address of the operation's access on the stack.
    fn access_address(&mut self, op: &Op) {
        match op.code.shape() {
            Shape::Push | Shape::PushImmediate | Shape::CallNear | Shape::CallRegister => {
                self.get(Reg::RSP.0);
                self.wasm().i64_const(-8).i64_add();
            }
            Shape::Pop | Shape::Return => self.get(Reg::RSP.0),
            _ => self.address(op),
        }
    }

    /// Puts the low 32 bits of the host address of the current operation's access on the stack, less the offset that
    /// it returns. An address that is not a multiple of `alignment` has the interpreter raise #GP(0).
    fn host_address(&mut self, op: &Op, bytes: u32, is_write: bool, alignment: u8) -> MemArg {
        let access = self.accesses[self.place];
        if let Access::Within { number, offset } = access {
            let local = HOSTS + number as u32;
            if alignment > 1 {
                let site = self.redo_site(None);
                let mut wasm = self.wasm();
                wasm.i32_const(site).local_set(SITE);
                wasm.local_get(local).i32_const(offset as i32).i32_add();
                wasm.i32_const(i32::from(alignment) - 1).i32_and();
                self.leave_if();
            }
            self.wasm().local_get(local);
            return at(offset as usize);
        }
        let (window, before, bytes, is_write) = match access {
            Access::First(window) => (Some(window), window.before, window.bytes, window.is_written),
            _ => (None, 0, bytes, is_write),
        };
        self.access_address(op);
        let site = self.redo_site(window);
        let mut wasm = self.wasm();
        wasm.local_set(ADDRESS).i32_const(site).local_set(SITE);
        if alignment > 1 {
            wasm.local_get(ADDRESS).i32_wrap_i64().i32_const(i32::from(alignment) - 1).i32_and();
            self.leave_if();
        }
        if before != 0 {
            self.wasm().local_get(ADDRESS).i64_const(-i64::from(before)).i64_add().local_set(ADDRESS);
        }
        self.look_up_page(bytes, is_write);
        if let Some(window) = window {
            self.wasm().local_tee(HOSTS + window.number as u32);
        }
        at(before as usize)
    }

    /// Leaves the low 32 bits of the host address of the address in its local, where the TLB maps `bytes` bytes
    /// for plain access. Where it does not, the interpreter runs the operation and the rest of the block: a call from
    /// here would have the engine keep all registers on its stack.
    fn look_up_page(&mut self, bytes: u32, is_write: bool) {
        self.find_page(bytes, is_write);
        self.leave_if();
        self.host_of_page();
    }

    /// Finds the TLB's entry for the address in its local; leaves whether it does not map `bytes` bytes for plain access.
    pub(super) fn find_page(&mut self, bytes: u32, is_write: bool) {
        const _: () = assert!(size_of::<TlbEntry>() == 32);
        let tag = if is_write { offset_of!(TlbEntry, write_tag) } else { offset_of!(TlbEntry, read_tag) };
        // The page's number modulo the number of entries, times the 32 bytes of an entry.
        let mask = (TLB_ENTRIES as i32 - 1) << 5;
        let mut wasm = self.wasm();
        wasm.local_get(ADDRESS).i64_const(7).i64_shr_u().i32_wrap_i64().i32_const(mask).i32_and();
        wasm.local_get(TLB).i32_add().local_tee(ENTRY).i64_load(at(tag));
        wasm.local_get(ADDRESS);
        if bytes > 1 {
            wasm.i64_const(i64::from(bytes) - 1).i64_add();
        }
        wasm.i64_const(!0xfff).i64_and().i64_ne();
    }

    /// Leaves the host address of the address in its local, by the TLB's entry that was found.
    pub(super) fn host_of_page(&mut self) {
        let mut wasm = self.wasm();
        wasm.local_get(ADDRESS).i32_wrap_i64();
        wasm.local_get(ENTRY).i32_load(at(offset_of!(TlbEntry, addend))).i32_add();
    }

    /// Leaves where the bytes that a vector operation reads can be loaded from.
    pub(super) fn readable(&mut self, op: &Op, bytes: u8, alignment: u8) -> MemArg {
        self.host_address(op, bytes.into(), false, alignment)
    }

    /// Leaves the value that the operation reads, extended to 64 bits.
    pub(super) fn load(&mut self, op: &Op, width: Width, is_signed: bool) {
        let place = self.host_address(op, width.bytes().into(), false, 1);
        let mut wasm = self.wasm();
        match (width, is_signed) {
            (Width::W8, false) => wasm.i64_load8_u(place),
            (Width::W16, false) => wasm.i64_load16_u(place),
            (Width::W32, false) => wasm.i64_load32_u(place),
            (Width::W8, true) => wasm.i64_load8_s(place),
            (Width::W16, true) => wasm.i64_load16_s(place),
            (Width::W32, true) => wasm.i64_load32_s(place),
            (Width::W64, _) => wasm.i64_load(place),
        };
    }

    /// As [`load`](Self::load), zero-extended, of memory that must be writable.
    pub(super) fn load_for_update(&mut self, op: &Op, width: Width) {
        let place = self.host_address(op, width.bytes().into(), true, 1);
        let mut wasm = self.wasm();
        match width {
            Width::W8 => wasm.i64_load8_u(place),
            Width::W16 => wasm.i64_load16_u(place),
            Width::W32 => wasm.i64_load32_u(place),
            Width::W64 => wasm.i64_load(place),
        };
    }

    /// Leaves the low 32 bits of the host address of the address on the stack, whose bytes must be writable.
    pub(super) fn updatable(&mut self, width: Width) {
        self.wasm().local_set(ADDRESS);
        self.look_up_page(width.bytes().into(), true);
    }

    /// Stores the value in its local where the operation writes.
    pub(super) fn store(&mut self, op: &Op, width: Width) {
        let place = self.host_address(op, width.bytes().into(), true, 1);
        let mut wasm = self.wasm();
        wasm.local_get(VALUE);
        match width {
            Width::W8 => wasm.i64_store8(place),
            Width::W16 => wasm.i64_store16(place),
            Width::W32 => wasm.i64_store32(place),
            Width::W64 => wasm.i64_store(place),
        };
    }

    /// Stores 16 or 32 bytes of the operation's vector register.
    pub(super) fn store_vector(&mut self, op: &Op, bytes: u8, alignment: u8) {
        let number = op.a;
        let local = self.cached_vector(number);
        let upper = if bytes == 32 { Some(self.cached_vector(number | super::vector::UPPER)) } else { None };
        let place = self.host_address(op, bytes.into(), true, alignment);
        let mut wasm = self.wasm();
        if let Some(upper) = upper {
            // The TLB's entry has served.
            let behind = MemArg { offset: place.offset + 16, ..place };
            wasm.local_tee(ENTRY).local_get(upper).v128_store(behind).local_get(ENTRY);
        }
        wasm.local_get(local).v128_store(place);
    }

    /// Pushes the value in its local.
    pub(super) fn push(&mut self, op: &Op) {
        self.store(op, Width::W64);
        self.move_stack(-8);
    }

    /// Adds to RSP.
    pub(super) fn move_stack(&mut self, bytes: i64) {
        self.get(Reg::RSP.0);
        self.wasm().i64_const(bytes).i64_add();
        self.set(Reg::RSP.0);
    }
}
