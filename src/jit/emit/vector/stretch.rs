//! Stretches of instructions that only compute with vectors: what their floating-point operations work on is looked at once,
//! behind the last. Until then memory holds the registers from before the first, and whatever leaves the stretch has the
//! interpreter begin there.

use super::float::{self, Format, Lanes, Zero};
use super::{Direct, UPPER};
use crate::ir::{Op, Shape, VectorReg};
use crate::jit::emit::{Emitter, TEMPORARIES};
use crate::jit::flow::effects;
use std::ops::Range;

/// The first scratch locals of the least magnitudes and of the sums of magnitudes, by half.
const LEAST: u32 = 16;
const SUM: u32 = 18;
/// The scratch local of a magnitude.
const MAGNITUDE: u32 = 20;

/// A stretch of a block.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// The places of its operations, whole instructions.
    places: Range<usize>,
    /// The lanes that its floating-point operations work on.
    lanes: (Format, Lanes),
}

/// The stretch that code is emitted for.
#[derive(Clone, Debug)]
pub struct Current {
    stretch: Stretch,
    /// Halves of registers whose local alone is right.
    unstored: u64,
    /// By half: the locals of least magnitudes and of sums hold something.
    has_least: [bool; 2],
    has_sum: [bool; 2],
}

/// What an operation is to a stretch.
enum Part {
    /// Floating point on such lanes.
    Float(Format, Lanes),
    /// Something that may be done again.
    Other,
    /// What ends it.
    End,
}

fn part(op: &Op, fuses: bool) -> Part {
    match op.code.shape() {
        Shape::VectorLoad { .. } | Shape::VectorMove { .. } => Part::Other,
        Shape::Lea(_) | Shape::Move(_) | Shape::MoveImmediate(_) | Shape::MoveImmediateWide => {
            if effects(op).writes & !TEMPORARIES == 0 { Part::Other } else { Part::End }
        }
        Shape::Vector | Shape::Vector256 => match Direct::of(op) {
            Some(Direct::Float(direct) | Direct::WideFloat(direct)) => match direct {
                float::Direct::Arithmetic(format, lanes, ..) => Part::Float(format, lanes),
                float::Direct::Fused(format, lanes) if fuses => Part::Float(format, lanes),
                float::Direct::Exact(format, Lanes::All, _) => Part::Float(format, Lanes::All),
                _ => Part::End,
            },
            Some(direct) => {
                let effects = direct.effects(op);
                let is_pure = effects.writes == 0 && !effects.defines_flags && !effects.may_exit;
                if is_pure { Part::Other } else { Part::End }
            }
            None => Part::End,
        },
        _ => Part::End,
    }
}

/// The stretches of a block. Each begins and ends with an instruction that computes with floating point; fused
/// operations are among them if the engine has them.
pub fn stretches(ops: &[Op], fuses: bool) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    let mut is_open = false;
    let mut first = 0;
    // What ends the block belongs to none.
    for instruction in ops[..ops.len().saturating_sub(1)].chunk_by(|one, other| one.pc == other.pc) {
        let places = first..first + instruction.len();
        first = places.end;
        let mut lanes = None;
        let fits = instruction.iter().all(|op| match part(op, fuses) {
            Part::Float(format, of) => *lanes.get_or_insert((format, of)) == (format, of),
            Part::Other => true,
            Part::End => false,
        });
        match (found.last_mut(), lanes) {
            _ if !fits => is_open = false,
            (_, None) => {}
            (Some(last), Some(lanes)) if is_open && last.lanes == lanes => last.places.end = places.end,
            (_, Some(lanes)) => {
                found.push(Stretch { places, lanes });
                is_open = true;
            }
        }
    }
    // The last instruction's end may be what ends the block.
    let last = ops.last().map(|op| op.pc);
    found.retain(|stretch| ops.get(stretch.places.end - 1).map(|op| op.pc) != last);
    found
}

/// Whether a result in a register goes into a sum, difference or product of the operations behind: these are infinite or
/// NaNs if it is, and are looked at in its place.
fn is_looked_at_later(register: u8, behind: &[Op]) -> bool {
    let mut holders = 1_u64 << register;
    for op in behind {
        let [a, b, c, d] = [op.a, op.b, op.c, op.d].map(|number| 1_u64 << (number & 31));
        let direct = match op.code.shape() {
            Shape::Vector | Shape::Vector256 => Direct::of(op),
            _ => None,
        };
        let looked_at = match direct {
            Some(Direct::Float(direct) | Direct::WideFloat(direct)) => match direct {
                float::Direct::Arithmetic(_, _, Zero::Sum | Zero::Product, _) => a | c,
                float::Direct::Fused(..) => b | c | d,
                _ => 0,
            },
            _ => 0,
        };
        match (op.code.shape(), looked_at) {
            (_, looked_at) if holders & looked_at != 0 => return true,
            (Shape::VectorMove { .. }, _) if holders & b != 0 => holders |= a,
            (Shape::Lea(_) | Shape::Move(_) | Shape::MoveImmediate(_) | Shape::MoveImmediateWide, _) => {}
            _ => holders &= !a,
        }
        if holders == 0 {
            break;
        }
    }
    false
}

impl Current {
    /// Where whatever leaves the stretch begins again.
    pub fn start(&self) -> usize {
        self.stretch.places.start
    }

    /// Notes that memory does not hold a half.
    pub fn change(&mut self, number: u8) {
        if usize::from(number & !UPPER) < usize::from(VectorReg::T0.0) {
            self.unstored |= 1 << number;
        }
    }
}

impl Emitter<'_> {
    /// Ends and begins stretches at the current operation.
    pub(in crate::jit::emit) fn enter_or_leave_stretch(&mut self) {
        let place = self.place;
        if self.vectors.current.as_ref().is_some_and(|current| current.stretch.places.end <= place) {
            self.look_back();
        }
        let begins = self.vectors.stretches.iter().find(|stretch| stretch.places.start == place).cloned();
        if let Some(stretch) = begins {
            self.look_at_mxcsr();
            self.vectors.current =
                Some(Current { stretch, unstored: 0, has_least: [false; 2], has_sum: [false; 2] });
        }
    }

    /// Has the look behind the stretch take in an operand, or the result that goes into a register.
    pub(super) fn remember(&mut self, format: Format, half: u8, local: u32, register: Option<u8>) {
        let half = usize::from(half != 0);
        let ops = self.region.nodes[self.node].block.ops();
        let Some(current) = &mut self.vectors.current else { return };
        let behind = ops.get(self.place + 1..current.stretch.places.end).unwrap_or_default();
        let is_result = register.is_some_and(|register| !is_looked_at_later(register, behind));
        let has_least = std::mem::replace(&mut current.has_least[half], true);
        let has_sum = is_result && std::mem::replace(&mut current.has_sum[half], true);
        let (least, sum) = (self.scratch(LEAST + half as u32), self.scratch(SUM + half as u32));
        let magnitude = self.scratch(MAGNITUDE);
        self.magnitude(format, local);
        if is_result {
            self.wasm().local_tee(magnitude);
        }
        if has_least {
            self.wasm().local_get(least);
            self.least(format);
        }
        self.wasm().local_set(least);
        if is_result {
            self.wasm().local_get(magnitude);
            if has_sum {
                self.wasm().local_get(sum);
                self.sum(format);
            }
            self.wasm().local_set(sum);
        }
    }

    /// Behind the last operation: leaves unless everything was normal, and stores what has changed.
    fn look_back(&mut self) {
        let Some(Current { stretch, unstored, has_least, has_sum }) = self.vectors.current.clone() else {
            return;
        };
        let (format, lanes) = stretch.lanes;
        let of = |has: [bool; 2], first: u32| {
            (0..2).filter(move |&half| has[half]).map(move |half| first + half as u32)
        };
        self.quick_lanes();
        let (mut least, mut sums) = (of(has_least, LEAST), of(has_sum, SUM));
        if let Some(first) = least.next() {
            let first = self.scratch(first);
            self.wasm().local_get(first);
            for other in least {
                let other = self.scratch(other);
                self.wasm().local_get(other);
                self.least(format);
            }
            self.are_larger_than_tiny(format);
            self.wasm().v128_and();
        }
        if let Some(first) = sums.next() {
            let first = self.scratch(first);
            self.wasm().local_get(first);
            for other in sums {
                let other = self.scratch(other);
                self.wasm().local_get(other);
                self.sum(format);
            }
            self.are_less_than_infinite(format);
            self.wasm().v128_and();
        }
        self.go_on_if(format, lanes);
        self.vectors.current = None;
        for number in (0..64).filter(|number| unstored & 1 << number != 0) {
            self.store_vector_local(number);
        }
    }
}
