//! Results that are rounded once: sums, differences, products, quotients, and products with a sum where the engine
//! fuses them.

use super::float::{Emit, Format, Lanes, Zero};
use super::plain::Fact;
use super::{Emitter, UPPER};
use crate::cpu::Numbers;
use crate::ir::{Op, VectorReg};
use wasm_encoder::BlockType;

/// 128 bits of a computation.
struct Half {
    /// 0 or [`UPPER`].
    half: u8,
    /// The locals of the operands.
    operands: Vec<u32>,
    /// The local of the register that the result goes into.
    target: u32,
    /// The local of the result.
    result: u32,
}

/// What is computed.
#[derive(Clone, Copy)]
struct Computation<'a> {
    format: Format,
    lanes: Lanes,
    zero: Zero,
    /// The registers of the operands.
    operands: &'a [u8],
}

impl Computation<'_> {
    fn is_fused(&self) -> bool {
        self.operands.len() == 3
    }

    /// Whether the result is a multiple of the smallest normal number when its operands are what
    /// [`look_later`](Emitter::look_later) asks for: sums of multiples are, and products of large numbers. Where zeroes are
    /// not expected, it costs less to look at a product than at its factors.
    fn result_is_coarse(&self, numbers: Numbers) -> bool {
        match self.zero {
            Zero::Sum => true,
            Zero::Product => numbers != Numbers::Normal || self.is_fused() && self.format == Format::Double,
            Zero::Quotient => false,
        }
    }
}

impl Emitter<'_> {
    /// Within a stretch: has the look behind it take in what decides whether a computation leaves MXCSR alone.
    ///
    /// Each NaN or infinity among the operands makes the result one, or zero, so of finite numbers only the small ones matter.
    fn look_later(&mut self, op: &Op, half: &Half, computation: Computation<'_>) {
        let Computation { format, lanes, zero, operands: numbers } = computation;
        let known = |emitter: &Self, fact: Fact, place: usize| {
            let number = numbers.get(place).map_or(op.a, |&number| number) | half.half;
            emitter.vectors.known.plain.holds(fact, number, format, lanes)
        };
        let is_coarse = computation.result_is_coarse(self.numbers());
        let wanted = |place: usize| match zero {
            Zero::Sum => Fact::Coarse,
            Zero::Product if is_coarse && place < 2 => Fact::Large,
            Zero::Product if is_coarse => Fact::Coarse,
            Zero::Product | Zero::Quotient => Fact::Plain,
        };
        let mut unknown: Vec<usize> =
            (0..numbers.len()).filter(|&place| !known(self, wanted(place), place)).collect();
        if zero == Zero::Product && !computation.is_fused() && !is_coarse {
            if half.operands.first() == half.operands.get(1) {
                // A large square is that of no small number.
                unknown.clear();
            } else if let [place] = unknown[..]
                && known(self, Fact::Bounded, 1 - place)
            {
                unknown.clear();
            } else if unknown.len() == 2 {
                // What stands in a register serves again, most likely; what was loaded does not.
                let is_loaded = |place: usize| {
                    let number = numbers[place] | half.half;
                    let original = self.vectors.known.plain.original(number).unwrap_or(number);
                    original & !UPPER >= VectorReg::T0.0
                };
                let place = usize::from(is_loaded(0));
                self.expect_bounded(format, half.half, half.operands[place]);
                self.learn_of(computation, half, place, Fact::Bounded);
                unknown = vec![place];
            }
        }
        for place in unknown {
            // The same register may be an operand twice.
            if !known(self, wanted(place), place) {
                self.expect_large(format, half.half, half.operands[place], true);
                self.learn_of(computation, half, place, Fact::Large);
            }
        }
        if !is_coarse {
            self.expect_large(format, half.half, half.result, false);
        }
        self.expect_finite(format, half.half, half.result, op.a);
    }

    fn learn_of(&mut self, computation: Computation<'_>, half: &Half, place: usize, fact: Fact) {
        if let Some(number) = computation.operands.get(place) {
            let Computation { format, lanes, .. } = computation;
            self.vectors.known.plain.learn(fact, number | half.half, format, lanes);
        }
    }

    /// Emits a sum, difference, product or quotient of `a` and `c`.
    pub(super) fn rounded(
        &mut self,
        op: &Op,
        is_wide: bool,
        (format, lanes): (Format, Lanes),
        zero: Zero,
        emit: Emit,
    ) {
        let computation = Computation { format, lanes, zero, operands: &[op.a, op.c] };
        self.compute(op, is_wide, computation, |emitter, operands| {
            for &operand in operands {
                emitter.wasm().local_get(operand);
            }
            emit(&mut emitter.wasm());
        });
    }

    /// Emits `b` times `c` plus `d` by the engine's own operation.
    pub(super) fn fused(&mut self, op: &Op, is_wide: bool, (format, lanes): (Format, Lanes)) {
        let computation = Computation { format, lanes, zero: Zero::Product, operands: &[op.b, op.c, op.d] };
        self.compute(op, is_wide, computation, |emitter, operands| {
            emitter.multiply_add(format, op.disp, operands);
        });
    }

    /// Emits a computation, whose code takes locals and leaves the result. First it asks whether all that code does not know
    /// yet is normal, the result included: one comparison of the least magnitude, one of the largest. Only if not, zeroes
    /// are told apart.
    fn compute(
        &mut self,
        op: &Op,
        is_wide: bool,
        computation: Computation<'_>,
        emit: impl Fn(&mut Self, &[u32]),
    ) {
        let Computation { format, lanes, zero, operands } = computation;
        self.look_at_mxcsr();
        let mut halves = Vec::new();
        for (place, &half) in [0, UPPER].iter().enumerate().take(1 + usize::from(is_wide)) {
            let operands: Vec<u32> =
                operands.iter().map(|number| self.cached_vector(number | half)).collect();
            let target = match lanes {
                Lanes::Low => self.cached_vector(op.a | half),
                Lanes::All => self.vector_local(op.a | half),
            };
            let result = self.scratch(place as u32);
            emit(self, &operands);
            self.wasm().local_set(result);
            halves.push(Half { half, operands, target, result });
        }
        let mut unknown = Vec::new();
        for Half { half, operands: locals, .. } in &halves {
            for (number, &local) in operands.iter().zip(locals) {
                if !self.vectors.known.plain.holds(Fact::Plain, number | half, format, lanes)
                    && !unknown.contains(&local)
                {
                    unknown.push(local);
                }
            }
        }

        if self.vectors.current.is_some() {
            for half in &halves {
                self.look_later(op, half, computation);
            }
            self.put_results(op, &halves, computation);
            let fact = if computation.result_is_coarse(self.numbers()) { Fact::Coarse } else { Fact::Large };
            for Half { half, .. } in &halves {
                self.vectors.known.plain.learn(fact, op.a | half, format, lanes);
            }
            return;
        }
        if !self.expects_special_numbers() {
            self.are_normal(format, &halves, &unknown);
            self.and_quick_lanes();
            self.go_on_if(format, lanes);
            return self.put_results(op, &halves, computation);
        }
        // Two blocks: out of the inner one with the result, out of the outer one behind the slow way.
        self.wasm().block(BlockType::Empty).block(BlockType::Empty);
        self.depth += 2;
        self.are_normal(format, &halves, &unknown);
        self.and_quick_lanes();
        self.holds(format, lanes);
        self.wasm().br_if(0);
        for (place, half) in halves.iter().enumerate() {
            self.is_exact(format, zero, half, &unknown);
            if place > 0 {
                self.wasm().v128_and();
            }
        }
        self.and_quick_lanes();
        self.holds(format, lanes);
        self.wasm().br_if(0);
        self.vector_slowly(op);
        for Half { half, .. } in &halves {
            self.reload_vector(op.a | half);
        }
        self.wasm().br(1).end();
        self.depth -= 1;
        self.put_results(op, &halves, computation);
        self.wasm().end();
        self.depth -= 1;
    }

    /// Puts down the halves of a result that is plain, as its operands are.
    fn put_results(&mut self, op: &Op, halves: &[Half], computation: Computation<'_>) {
        let Computation { format, lanes, operands, .. } = computation;
        for &Half { half, target: local, result, .. } in halves {
            let target = op.a | half;
            let is_plain = self.vectors.known.plain.holds(Fact::Plain, target, format, Lanes::All);
            let learnt = if is_plain { Lanes::All } else { lanes };
            for operand in operands {
                self.vectors.known.plain.learn(Fact::Plain, operand | half, format, lanes);
            }
            self.put_lanes(target, local, result, format, lanes);
            self.vectors.known.plain.learn(Fact::Plain, target, format, learnt);
        }
    }

    /// Puts lanes on the stack that are all set only if the results and these operands are normal: finite, and larger than the
    /// smallest normal number, which a result may have been rounded up to.
    fn are_normal(&mut self, format: Format, halves: &[Half], operands: &[u32]) {
        let magnitudes: Vec<u32> = (2..).take(halves.len()).map(|place| self.scratch(place)).collect();
        for (place, (half, &magnitude)) in halves.iter().zip(&magnitudes).enumerate() {
            self.magnitude(format, half.result);
            self.wasm().local_tee(magnitude);
            if place > 0 {
                self.least(format);
            }
        }
        // A minimum may lose NaNs, but with one of these among the operands there is one in the sum of results.
        for &operand in operands {
            self.magnitude(format, operand);
            self.least(format);
        }
        self.are_larger_than_tiny(format);
        for (place, &magnitude) in magnitudes.iter().enumerate() {
            self.wasm().local_get(magnitude);
            if place > 0 {
                self.sum(format);
            }
        }
        self.are_less_than_infinite(format);
        self.wasm().v128_and();
    }

    /// Puts the lanes on the stack where operands are plain, and the result too and such that only PE can come of it.
    fn is_exact(&mut self, format: Format, zero: Zero, half: &Half, unknown: &[u32]) {
        let (operands, result) = (&half.operands, half.result);
        // A tiny sum is exact, but it is denormal.
        if zero == Zero::Sum {
            self.plain(format, result);
            self.finite(format, result);
            self.wasm().v128_and();
        } else {
            self.normal(format, result);
            let factors = if zero == Zero::Product { 2 } else { 1 };
            for (place, &operand) in operands.iter().take(factors).enumerate() {
                self.is_zero(format, operand);
                if place > 0 {
                    self.wasm().v128_or();
                }
            }
            self.is_zero(format, result);
            self.wasm().v128_and().v128_or();
        }
        for &operand in operands {
            if unknown.contains(&operand) {
                self.plain(format, operand);
                self.wasm().v128_and();
            }
        }
    }
}
