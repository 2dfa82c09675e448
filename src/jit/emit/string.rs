//! REP MOVS and REP STOS of a few elements between mapped pages; the helper does all else.

use super::{ADDRESS, Emitter, HOSTS, SECOND, VALUE, VCPU, at};
use crate::cpu::{Repeat, STRING, StringOp, flags::DF};
use crate::ir::{Op, Reg, Shape, Width};
use crate::jit::abi::offset;
use crate::jit::window::MOST_WINDOWS;
use wasm_encoder::{BlockType, MemArg};

/// The most elements that are moved without the helper.
const MOST_ELEMENTS: i64 = 128;

/// The most elements that are moved one by one: engines call out for bulk moves, for some 20 ns.
const MOST_SINGLE: i32 = 16;

/// A repeated string instruction that moves without comparing, with 64-bit addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StringInstruction {
    /// MOVS, else STOS.
    is_move: bool,
    /// Of an element.
    width: Width,
}

impl StringInstruction {
    /// The instruction of an operation that ends its block, if it is one of these.
    pub fn of(op: &Op) -> Option<Self> {
        const FS: u8 = 4;
        let is_string = op.code.shape() == Shape::CallAndExit && op.imm == STRING.number();
        let has_wide_addresses = op.b & 3 == Width::W64 as u8 && op.b >> 2 != Repeat::Once as u8;
        let is_move = op.a == StringOp::Move as u8;
        let is_one =
            is_string && has_wide_addresses && (is_move && op.c < FS || op.a == StringOp::Store as u8);
        is_one.then_some(Self { is_move, width: Width::from_bytes(1 << (op.d & 3))? })
    }
}

const TARGET: u32 = HOSTS;
const SOURCE: u32 = HOSTS + 1;
const END: u32 = HOSTS + 2;
const _: () = assert!(MOST_WINDOWS >= 3);

fn register(register: Reg) -> MemArg {
    at(offset::REGS + 8 * register.index())
}

impl Emitter<'_> {
    /// Moves the elements, or branches out of one construct when that is left to the helper. Everything is written
    /// back, and the registers are changed in memory.
    pub(super) fn move_string(&mut self, instruction: StringInstruction) {
        let StringInstruction { is_move, width } = instruction;
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).i64_load(register(Reg::RCX)).local_tee(SECOND);
        wasm.i64_const(1).i64_sub().i64_const(MOST_ELEMENTS).i64_ge_u().br_if(0);
        wasm.local_get(VCPU).i64_load(at(offset::SYSTEM_FLAGS)).i32_wrap_i64();
        wasm.i32_const(DF as i32).i32_and().br_if(0);
        wasm.local_get(SECOND).i64_const(width as i64).i64_shl().local_set(SECOND);
        self.end_of_string(Reg::RDI, true, TARGET);
        if is_move {
            self.end_of_string(Reg::RSI, false, SOURCE);
            let mut wasm = self.wasm();
            // The target may overlap what is still to be read: the steps repeat a pattern.
            wasm.local_get(TARGET).local_get(SOURCE).i32_sub();
            wasm.local_get(SECOND).i32_wrap_i64().i32_lt_u().br_if(0);
        } else {
            self.wasm().local_get(VCPU).i64_load(register(Reg::RAX)).local_set(VALUE);
        }
        let may_be_bulk = is_move || width == Width::W8;
        if may_be_bulk {
            let mut wasm = self.wasm();
            wasm.local_get(SECOND).i32_wrap_i64().i32_const(MOST_SINGLE << width as i32).i32_gt_u();
            wasm.if_(BlockType::Empty).local_get(TARGET);
            if is_move {
                wasm.local_get(SOURCE).local_get(SECOND).i32_wrap_i64().memory_copy(0, 0);
            } else {
                wasm.local_get(VALUE).i32_wrap_i64().local_get(SECOND).i32_wrap_i64().memory_fill(0);
            }
            wasm.else_();
        }
        self.move_elements(is_move, width);
        if may_be_bulk {
            self.wasm().end();
        }
        for moved in [Reg::RDI, Reg::RSI].into_iter().take(1 + usize::from(is_move)) {
            let mut wasm = self.wasm();
            wasm.local_get(VCPU).local_get(VCPU).i64_load(register(moved));
            wasm.local_get(SECOND).i64_add().i64_store(register(moved));
        }
        self.wasm().local_get(VCPU).i64_const(0).i64_store(register(Reg::RCX));
    }

    /// Takes the host address of one end to a local, where its page holds all bytes and is mapped; else branches out.
    fn end_of_string(&mut self, pointer: Reg, is_write: bool, host: u32) {
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).i64_load(register(pointer)).local_tee(ADDRESS);
        wasm.i32_wrap_i64().i32_const(0xfff).i32_and().local_get(SECOND).i32_wrap_i64().i32_add();
        wasm.i32_const(0x1000).i32_gt_u().br_if(0);
        self.find_page(1, is_write);
        self.wasm().br_if(0);
        self.host_of_page();
        self.wasm().local_set(host);
    }

    fn move_elements(&mut self, is_move: bool, width: Width) {
        let bytes = i32::from(width.bytes());
        let mut wasm = self.wasm();
        wasm.local_get(TARGET).local_get(SECOND).i32_wrap_i64().i32_add().local_set(END);
        wasm.loop_(BlockType::Empty).local_get(TARGET);
        if is_move {
            wasm.local_get(SOURCE);
            match width {
                Width::W8 => wasm.i64_load8_u(at(0)),
                Width::W16 => wasm.i64_load16_u(at(0)),
                Width::W32 => wasm.i64_load32_u(at(0)),
                Width::W64 => wasm.i64_load(at(0)),
            };
            wasm.local_get(SOURCE).i32_const(bytes).i32_add().local_set(SOURCE);
        } else {
            wasm.local_get(VALUE);
        }
        match width {
            Width::W8 => wasm.i64_store8(at(0)),
            Width::W16 => wasm.i64_store16(at(0)),
            Width::W32 => wasm.i64_store32(at(0)),
            Width::W64 => wasm.i64_store(at(0)),
        };
        wasm.local_get(TARGET)
            .i32_const(bytes)
            .i32_add()
            .local_tee(TARGET)
            .local_get(END)
            .i32_ne()
            .br_if(0)
            .end();
    }
}
