//! Loops of one block: MXCSR, and the operands of stretches that stay the same from round to round, are looked at once, before
//! the first round.

use super::float::{self, Format, Zero};
use super::plain::Fact;
use super::stretch::{Stretch, stretches};
use super::{Direct, Emitter, UPPER};
use crate::cpu::Numbers;
use crate::ir::{Op, Shape, VectorReg};

/// A register that a loop's stretches compute with and that no operation of the loop writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Invariant {
    number: u8,
    is_wide: bool,
    /// It is a factor.
    is_factor: bool,
}

/// The floating-point operation that an operation is, if it is one, and whether it works on 256 bits.
fn computation(op: &Op) -> Option<(float::Direct, bool)> {
    match (op.code.shape(), Direct::of(op)?) {
        (Shape::Vector | Shape::Vector256, Direct::Float(direct)) => Some((direct, false)),
        (Shape::Vector | Shape::Vector256, Direct::WideFloat(direct)) => Some((direct, true)),
        _ => None,
    }
}

/// Whether an operation leaves MXCSR as it is, and writes no vector register but its `a`.
fn is_simple(op: &Op) -> bool {
    match op.code.shape() {
        Shape::Call | Shape::CallAndExit => false,
        Shape::Vector | Shape::Vector256 => match Direct::of(op) {
            Some(Direct::Float(direct) | Direct::WideFloat(direct)) => matches!(
                direct,
                float::Direct::Arithmetic(..) | float::Direct::Exact(..) | float::Direct::Fused(..)
            ),
            Some(direct) => !direct.effects(op).may_exit,
            None => false,
        },
        _ => true,
    }
}

/// Whether an operation writes the vector register `a`.
fn writes_vector(op: &Op) -> bool {
    match op.code.shape() {
        Shape::VectorLoad { .. } | Shape::VectorMove { .. } | Shape::VectorClearUpper => true,
        // Some write integer registers: that is taken for a vector register of the same number.
        Shape::Vector | Shape::Vector256 => true,
        _ => false,
    }
}

/// The invariants of a block that is a loop by itself.
fn invariants(ops: &[Op], stretches: &[Stretch]) -> Vec<Invariant> {
    let written = ops.iter().filter(|op| writes_vector(op)).fold(0_u64, |all, op| all | 1 << (op.a & 31));
    // Of each register, what it is a copy of.
    let mut originals: [u8; 32] = std::array::from_fn(|number| number as u8);
    let mut found: Vec<Invariant> = Vec::new();
    for (place, op) in ops.iter().enumerate() {
        let is_in_stretch = stretches.iter().any(|stretch| stretch.places().contains(&place));
        if let Some((direct, is_wide)) = computation(op).filter(|_| is_in_stretch) {
            let (operands, factors) = match direct {
                float::Direct::Arithmetic(_, _, Zero::Product, _) => (vec![op.a, op.c], 2),
                float::Direct::Arithmetic(..) => (vec![op.a, op.c], 0),
                float::Direct::Fused(..) => (vec![op.b, op.c, op.d], 0),
                _ => (Vec::new(), 0),
            };
            for (place, operand) in operands.into_iter().enumerate() {
                let number = originals[usize::from(operand & 31)];
                if written & 1 << number != 0 || number >= VectorReg::T0.0 {
                    continue;
                }
                let is_factor = place < factors;
                match found.iter_mut().find(|other| other.number == number) {
                    Some(other) => {
                        other.is_wide |= is_wide;
                        other.is_factor |= is_factor;
                    }
                    None => found.push(Invariant { number, is_wide, is_factor }),
                }
            }
        }
        if writes_vector(op) {
            let copied = match op.code.shape() {
                Shape::VectorMove { .. } => originals[usize::from(op.b & 31)],
                _ => op.a & 31,
            };
            for original in originals.iter_mut().filter(|original| **original == op.a & 31) {
                *original = VectorReg::T0.0;
            }
            originals[usize::from(op.a & 31)] = copied;
        }
    }
    found
}

impl Emitter<'_> {
    /// Before the loop that begins with a node, when its vectors are in their locals: looks at what does not change in it. Each
    /// round's look behind its stretches takes in what was found.
    pub(in crate::jit::emit) fn look_ahead(&mut self, head: usize) {
        let region = self.region;
        let node = &region.nodes[head];
        let numbers = node.block.compiled.numbers.get();
        let ops = node.block.ops();
        let mut comes_back = region.nodes.iter().enumerate().filter(|(from, node)| {
            self.graph.is_back(*from, head) && node.successors().any(|next| next == head)
        });
        let is_alone = comes_back.all(|(from, _)| from == head);
        if numbers == Numbers::Any || !is_alone || !ops.iter().all(is_simple) {
            return;
        }
        let stretches = stretches(ops, self.relaxed.fuses);
        let Some((format, lanes)) = stretches.first().map(Stretch::lanes) else { return };
        if stretches.iter().any(|stretch| stretch.lanes() != (format, lanes)) {
            return;
        }
        self.node = head;
        self.look_at_mxcsr();
        self.vectors.known.plain.enter(numbers);
        for Invariant { number, is_wide, is_factor } in invariants(ops, &stretches) {
            for &half in if is_wide { &[0, UPPER][..] } else { &[0] } {
                let local = self.cached_vector(number | half);
                self.expect_now(format, local, is_factor && numbers == Numbers::Normal);
                self.vectors.known.plain.learn(Fact::Large, number | half, format, lanes);
                if is_factor && numbers == Numbers::Normal {
                    self.vectors.known.plain.learn(Fact::Bounded, number | half, format, lanes);
                }
            }
        }
    }

    /// Has what was found of MXCSR hold in those lanes only where a vector is large, and bounded if it has to be.
    fn expect_now(&mut self, format: Format, local: u32, is_bounded: bool) {
        self.magnitude(format, local);
        self.are_large(format);
        if self.numbers() == Numbers::OrZero {
            self.is_zero(format, local);
            self.wasm().v128_or();
        }
        self.narrow_quick_lanes();
        if is_bounded {
            self.magnitude(format, local);
            self.are_bounded(format);
            self.narrow_quick_lanes();
        }
    }
}
