//! Results that are rounded once: sums, differences, products, quotients, and products with a sum where the engine
//! fuses them.

use super::float::{Emit, Format, Lanes, Zero};
use super::{Emitter, UPPER};
use crate::ir::Op;
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

impl Emitter<'_> {
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
            let operands: Vec<u32> = operands.iter().map(|number| self.cached_vector(number | half)).collect();
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
                if !self.vectors.known.plain.holds(number | half, format, lanes) && !unknown.contains(&local) {
                    unknown.push(local);
                }
            }
        }

        if self.vectors.current.is_some() {
            for Half { half, operands, result, .. } in &halves {
                for &operand in operands {
                    if unknown.contains(&operand) {
                        self.remember(format, *half, operand, None);
                    }
                }
                self.remember(format, *half, *result, Some(op.a));
            }
            return self.put_results(op, &halves, computation);
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
            let is_plain = self.vectors.known.plain.holds(target, format, Lanes::All);
            let learnt = if is_plain { Lanes::All } else { lanes };
            for operand in operands {
                self.vectors.known.plain.learn(operand | half, format, lanes);
            }
            self.put_lanes(target, local, result, format, lanes);
            self.vectors.known.plain.learn(target, format, learnt);
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
