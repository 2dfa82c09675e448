//! Vector registers: they live in the vCPU's memory; hot operations are WebAssembly's own.

use super::{Emitter, VALUE, VCPU, at};
use crate::ir::{Op, Shape, Width};
use crate::jit::flow::RegSet;

/// Locals of 128 bits.
pub const LOCALS: u32 = 2;

/// What a vector operation does with integer registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct VectorEffects {
    /// Registers that it reads.
    pub reads: RegSet,
    /// Registers that it writes.
    pub writes: RegSet,
}

/// What a vector operation that is emitted directly does; `None` for those that a helper runs.
pub fn vector_effects(_op: &Op) -> Option<VectorEffects> {
    None
}

impl Emitter<'_> {
    /// Puts a vector register's low 128 bits on the stack.
    pub(super) fn get_vector(&mut self, number: u8) {
        let place = self.vector_place(number);
        self.wasm().v128_load(at(place));
    }

    /// Loads, stores and moves of vector registers.
    pub(super) fn vector_move(&mut self, op: &Op) {
        match op.code.shape() {
            Shape::VectorLoad { bytes: 16, is_aligned } => {
                self.wasm().local_get(VCPU);
                self.address(op);
                if is_aligned {
                    self.check_alignment();
                }
                self.readable(16, false);
                let place = super::offset::VECTORS + 32 * usize::from(op.a);
                self.wasm().v128_load(at(0)).v128_store(at(place));
            }
            Shape::VectorLoad { bytes, .. } => {
                self.wasm().local_get(VCPU);
                self.address(op);
                self.readable(bytes.into(), false);
                let place = super::offset::VECTORS + 32 * usize::from(op.a);
                let mut wasm = self.wasm();
                if bytes == 4 { wasm.v128_load32_zero(at(0)) } else { wasm.v128_load64_zero(at(0)) };
                wasm.v128_store(at(place));
            }
            Shape::VectorStore { bytes: 16, is_aligned } => {
                self.address(op);
                if is_aligned {
                    self.check_alignment();
                }
                self.store_vector(op.a);
            }
            Shape::VectorStore { bytes, .. } => {
                self.address(op);
                let place = super::offset::VECTORS + 32 * usize::from(op.a);
                self.wasm().local_get(VCPU).i64_load(at(place)).local_set(VALUE);
                self.store(if bytes == 4 { Width::W32 } else { Width::W64 });
            }
            _ => {
                self.wasm().local_get(VCPU);
                self.get_vector(op.b);
                let place = super::offset::VECTORS + 32 * usize::from(op.a);
                self.wasm().v128_store(at(place));
            }
        }
    }

    /// An operation that is emitted directly.
    pub(super) fn vector(&mut self, _op: &Op) {}
}
