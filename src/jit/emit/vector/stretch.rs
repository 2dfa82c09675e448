//! Stretches of instructions that only compute with vectors: what their floating-point operations work on is looked at once,
//! behind the last. Until then memory holds the registers from before the first, and whatever leaves the stretch has the
//! interpreter begin there.

use super::float::{self, Format, Lanes, Zero};
use super::{Direct, UPPER};
use crate::cpu::Numbers;
use crate::ir::{Op, Shape, VectorReg};
use crate::jit::emit::{Emitter, TEMPORARIES};
use crate::jit::flow::effects;
use std::ops::Range;

/// The first of the scratch locals that gather, two for each that is [`Gathered`].
const GATHERING: u32 = 16;
/// The scratch local of a sum whose magnitude is looked at.
const MAGNITUDE: u32 = GATHERING + 2 * Gathered::COUNT as u32;

/// What is gathered until the look back, of each half.
#[derive(Clone, Copy, Debug)]
enum Gathered {
    /// The least magnitude of what must be large.
    Least,
    /// The largest magnitude of what must be bounded.
    Most,
    /// The sum of what must be finite.
    Sum,
}

impl Gathered {
    const COUNT: usize = 3;

    fn scratch(self, half: usize) -> u32 {
        GATHERING + 2 * self as u32 + half as u32
    }
}

/// A stretch of a block.
#[derive(Clone, Debug)]
pub struct Stretch {
    /// The places of its operations, whole instructions.
    places: Range<usize>,
    /// The lanes that its floating-point operations work on.
    lanes: (Format, Lanes),
}

impl Stretch {
    /// The places of its operations.
    pub fn places(&self) -> Range<usize> {
        self.places.clone()
    }

    /// The lanes that its floating-point operations work on.
    pub fn lanes(&self) -> (Format, Lanes) {
        self.lanes
    }
}

/// The stretch that code is emitted for.
#[derive(Clone, Debug)]
pub struct Current {
    stretch: Stretch,
    /// Halves of registers whose local alone is right.
    unstored: u64,
    /// Whether the gathering locals hold something, by half.
    has: [[bool; 2]; Gathered::COUNT],
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
    /// Ends and begins stretches at the current operation, and stores what it may show.
    pub(in crate::jit::emit) fn enter_or_leave_stretch(&mut self) {
        let place = self.place;
        if self.vectors.current.as_ref().is_some_and(|current| current.stretch.places.end <= place) {
            self.look_back();
        }
        let begins = self.vectors.stretches.iter().find(|stretch| stretch.places.start == place).cloned();
        let ops = self.region.nodes[self.node].block.ops();
        let is_last = place + 1 == ops.len();
        self.vectors.is_hidden =
            !is_last && begins.is_none() && ops.get(place).is_some_and(|op| self.is_out_of_sight(op));
        if self.vectors.current.is_none() && !self.vectors.is_hidden {
            self.store_pending();
        }
        if let Some(stretch) = begins {
            self.look_at_mxcsr();
            self.vectors.current = Some(Current { stretch, unstored: 0, has: Default::default() });
        }
    }

    /// Has the look behind the stretch leave unless a vector is large, or zero if it may be and zeroes are expected.
    pub(super) fn expect_large(&mut self, format: Format, half: u8, local: u32, may_be_zero: bool) {
        if !may_be_zero || self.numbers() == Numbers::Normal {
            self.magnitude(format, local);
            return self.gather(Gathered::Least, half, |emitter| emitter.least(format));
        }
        // The minimum is the first operand if the second is a NaN.
        let least = self.scratch(Gathered::Least.scratch(usize::from(half != 0)));
        if self.gathers(Gathered::Least, half) {
            self.wasm().local_get(least);
        } else {
            self.wasm().v128_const(format.splat(f64::INFINITY));
        }
        self.magnitude(format, local);
        self.zero_to_nan(format);
        self.least(format);
        self.wasm().local_set(least);
    }

    /// Has the look behind the stretch leave unless a vector is within the bound.
    pub(super) fn expect_bounded(&mut self, format: Format, half: u8, local: u32) {
        self.magnitude(format, local);
        self.gather(Gathered::Most, half, |emitter| emitter.most(format));
    }

    /// Has the look behind the stretch leave unless a result is finite, which goes into a register.
    pub(super) fn expect_finite(&mut self, format: Format, half: u8, local: u32, register: u8) {
        let ops = self.region.nodes[self.node].block.ops();
        let end = self.vectors.current.as_ref().map_or(0, |current| current.stretch.places.end);
        if is_looked_at_later(register, ops.get(self.place + 1..end).unwrap_or_default()) {
            return;
        }
        // With an infinity or a NaN the sum is not finite, whatever the signs.
        self.wasm().local_get(local);
        self.gather(Gathered::Sum, half, |emitter| emitter.sum(format));
    }

    /// Takes a vector from the stack into one of the gathering locals.
    fn gather(&mut self, gathered: Gathered, half: u8, join: impl Fn(&mut Self)) {
        let has_some = self.gathers(gathered, half);
        let local = self.scratch(gathered.scratch(usize::from(half != 0)));
        if has_some {
            self.wasm().local_get(local);
            join(self);
        }
        self.wasm().local_set(local);
    }

    /// Whether a gathering local holds something; from here on it does.
    fn gathers(&mut self, gathered: Gathered, half: u8) -> bool {
        let Some(current) = &mut self.vectors.current else { return false };
        std::mem::replace(&mut current.has[gathered as usize][usize::from(half != 0)], true)
    }

    /// Behind the last operation: leaves unless everything was normal, and stores what has changed.
    fn look_back(&mut self) {
        let Some(Current { stretch, unstored, has }) = self.vectors.current.clone() else {
            return;
        };
        let (format, lanes) = stretch.lanes;
        self.quick_lanes();
        for gathered in [Gathered::Least, Gathered::Most, Gathered::Sum] {
            let mut is_first = true;
            for half in (0..2).filter(|&half| has[gathered as usize][half]) {
                let local = self.scratch(gathered.scratch(half));
                self.wasm().local_get(local);
                if !std::mem::take(&mut is_first) {
                    match gathered {
                        Gathered::Least => self.least(format),
                        Gathered::Most => self.most(format),
                        Gathered::Sum => self.sum(format),
                    }
                }
            }
            if is_first {
                continue;
            }
            match gathered {
                Gathered::Least => self.are_large(format),
                Gathered::Most => self.are_bounded(format),
                Gathered::Sum => {
                    let sum = self.scratch(MAGNITUDE);
                    self.wasm().local_set(sum);
                    self.magnitude(format, sum);
                    self.are_less_than_infinite(format);
                }
            }
            self.wasm().v128_and();
        }
        self.go_on_if(format, lanes);
        self.vectors.current = None;
        self.vectors.pending = unstored;
    }
}
