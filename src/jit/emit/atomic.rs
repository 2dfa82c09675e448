//! Atomic read-modify-write in place of its helper. A machine has one vCPU, whose reads and writes nothing comes
//! between, and devices do not touch what guests lock: so they are a read and a write of memory that is writable.

use super::{ENTRY, Emitter, SITE, VALUE, at};
use crate::cpu::{ATOMIC, COMPARE_EXCHANGE, HelperId, Rmw};
use crate::ir::{Op, Reg, Shape, Width};

/// An atomic instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtomicInstruction {
    /// Exchange, or an operation with the old value.
    Update(Rmw, Width),
    /// CMPXCHG.
    CompareExchange(Width),
}

impl AtomicInstruction {
    /// The instruction of an operation that calls a helper, if it is one of these.
    pub fn of(op: &Op) -> Option<Self> {
        if op.code.shape() != Shape::Call {
            return None;
        }
        let width = Width::from_bytes(1 << (op.d & 3))?;
        match u16::try_from(op.imm).map(HelperId::from_number).ok()? {
            COMPARE_EXCHANGE => Some(Self::CompareExchange(width)),
            ATOMIC => match Rmw::from_number(op.d >> 2) {
                // They read CF.
                Rmw::Adc | Rmw::Sbb => None,
                operation => Some(Self::Update(operation, width)),
            },
            _ => None,
        }
    }
}

impl Emitter<'_> {
    /// Emits an atomic instruction.
    pub(super) fn atomic(&mut self, op: &Op, instruction: AtomicInstruction) {
        let (AtomicInstruction::Update(_, width) | AtomicInstruction::CompareExchange(width)) = instruction;
        let site = self.redo_site(None);
        self.wasm().i32_const(site).local_set(SITE);
        self.get(op.b);
        self.updatable(width);
        let mut wasm = self.wasm();
        wasm.local_tee(ENTRY);
        match width {
            Width::W8 => wasm.i64_load8_u(at(0)),
            Width::W16 => wasm.i64_load16_u(at(0)),
            Width::W32 => wasm.i64_load32_u(at(0)),
            Width::W64 => wasm.i64_load(at(0)),
        };
        wasm.local_set(VALUE).local_get(ENTRY);
        match instruction {
            AtomicInstruction::Update(operation, width) => self.updated(op, operation, width),
            AtomicInstruction::CompareExchange(width) => {
                self.get(op.c);
                // A failing CMPXCHG writes the old value back (SDM vol. 2A, CMPXCHG).
                self.wasm().local_get(VALUE).local_get(VALUE);
                self.get(Reg::RAX.0);
                let mut wasm = self.wasm();
                if width < Width::W64 {
                    wasm.i64_const(width.mask() as i64).i64_and();
                }
                wasm.i64_eq().select();
            }
        }
        let mut wasm = self.wasm();
        match width {
            Width::W8 => wasm.i64_store8(at(0)),
            Width::W16 => wasm.i64_store16(at(0)),
            Width::W32 => wasm.i64_store32(at(0)),
            Width::W64 => wasm.i64_store(at(0)),
        };
        self.wasm().local_get(VALUE);
        self.set(op.a);
    }

    /// Puts on the stack what an operation makes of the old value; bits above the width do not count.
    fn updated(&mut self, op: &Op, operation: Rmw, width: Width) {
        match operation {
            Rmw::Exchange => return self.get(op.c),
            Rmw::Neg => self.wasm().i64_const(0).local_get(VALUE).i64_sub(),
            _ => self.wasm().local_get(VALUE),
        };
        match operation {
            Rmw::Inc | Rmw::Dec => {
                self.wasm().i64_const(1);
            }
            Rmw::Not => {
                self.wasm().i64_const(-1);
            }
            Rmw::SetBit | Rmw::ResetBit | Rmw::ComplementBit => {
                self.wasm().i64_const(1);
                self.get(op.c);
                self.wasm().i64_const(i64::from(width.bits()) - 1).i64_and().i64_shl();
            }
            Rmw::Neg => {}
            _ => self.get(op.c),
        }
        let mut wasm = self.wasm();
        match operation {
            Rmw::Add | Rmw::Inc => wasm.i64_add(),
            Rmw::Sub | Rmw::Dec => wasm.i64_sub(),
            Rmw::And => wasm.i64_and(),
            Rmw::Or | Rmw::SetBit => wasm.i64_or(),
            Rmw::ResetBit => wasm.i64_const(-1).i64_xor().i64_and(),
            Rmw::Xor | Rmw::ComplementBit | Rmw::Not => wasm.i64_xor(),
            // The first two are complete, the others are not among these instructions.
            Rmw::Exchange | Rmw::Neg | Rmw::Adc | Rmw::Sbb => &mut wasm,
        };
    }
}
