//! Fused multiply-add: one rounding of the exact product and sum. Engines with relaxed SIMD have an instruction for it on most
//! hosts. This is what others run.
//!
//! Singles are computed as doubles, where the product is exact; that the sum is rounded twice shows only where the
//! first rounding ends halfway between two singles. Doubles are computed as S. Boldo and G. Melquiond show in "Emulation of
//! FMA and correctly rounded sums" (IEEE Transactions on Computers 57, 2008): the sum of what the product and two
//! sums lose is rounded to odd, and then the last sum is right.

use super::Emitter;
use super::float::{Format, Lanes};
use crate::cpu::sse::float::{ALTERNATING, NEGATED_ADDEND, NEGATED_PRODUCT};
use crate::ir::Op;

/// The first of the scratch locals that this uses.
const FIRST: u32 = 2;
/// Factor and addend with their signs, and intermediate values.
const X: u32 = FIRST;
const Y: u32 = FIRST + 1;
const Z: u32 = FIRST + 2;
const PRODUCT: u32 = FIRST + 3;
const REST: u32 = FIRST + 4;
const SUM: u32 = FIRST + 5;
const SUM_REST: u32 = FIRST + 6;
const HIGH: u32 = FIRST + 7;
const HIGH_REST: u32 = FIRST + 8;
const ROUNDED: u32 = FIRST + 9;
const ROUNDED_REST: u32 = FIRST + 10;

/// The upper two singles where the lower two are, and of two vectors the lower halves.
const UPPER_HALF: [u8; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];
const LOWER_HALVES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23];
/// Of four doubles, the low 32 bits.
const LOW_DOUBLEWORDS: [u8; 16] = [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27];

/// Factors between these have products and rests that are neither tiny nor too large to be exact.
const LEAST_FACTOR: f64 = f64::from_bits((1023 - 480) << 52);
const LARGEST_FACTOR: f64 = f64::from_bits((1023 + 480) << 52);
/// Results from here on have no rest that is tiny.
const LEAST_RESULT: f64 = f64::from_bits((1023 - 900) << 52);
/// Takes a double apart into halves whose products are exact (T. J. Dekker).
const SPLITTER: f64 = 134_217_729.0;

impl Emitter<'_> {
    /// Computes 128 bits of the result into a scratch local; leaves the lanes where it is right.
    pub(super) fn attempt_fused(&mut self, format: Format, lanes: Lanes, op: &Op, result: u32) {
        let [x, y, z] = [op.b, op.c, op.d].map(|number| self.cached_vector(number));
        match format {
            Format::Single => self.fused_singles(lanes, op.disp, [x, y, z], result),
            Format::Double => self.fused_doubles(op.disp, [x, y, z], result),
        }
    }

    /// The sign bits of the addend's lanes that are inverted.
    fn addend_signs(format: Format, signs: i32) -> i128 {
        let is_negated = signs & NEGATED_ADDEND != 0;
        let of_lane = |lane: u32| is_negated != (signs & ALTERNATING != 0 && !lane.is_multiple_of(2));
        let bits = 8 * u32::from(format.bytes());
        let signs = (0..128 / bits).filter(|&lane| of_lane(lane));
        signs.fold(0u128, |all, lane| all | 1 << (bits * lane + bits - 1)) as i128
    }

    /// Puts factor and addend with their signs into X and Z.
    fn signed(&mut self, format: Format, signs: i32, x: u32, z: u32) -> [u32; 2] {
        let mut signed = [x, z];
        if signs & NEGATED_PRODUCT != 0 {
            signed[0] = self.scratch(X);
            self.wasm().local_get(x);
            match format {
                Format::Single => self.wasm().f32x4_neg(),
                Format::Double => self.wasm().f64x2_neg(),
            };
            self.wasm().local_set(signed[0]);
        }
        let inverted = Self::addend_signs(format, signs);
        if inverted != 0 {
            signed[1] = self.scratch(Z);
            self.wasm().local_get(z).v128_const(inverted).v128_xor().local_set(signed[1]);
        }
        signed
    }

    /// Leaves the first of these locals times the second plus the third, as the engine does it.
    pub(super) fn multiply_add(&mut self, format: Format, signs: i32, operands: &[u32]) {
        let inverted = Self::addend_signs(format, signs);
        for &operand in operands {
            self.wasm().local_get(operand);
        }
        let mut wasm = self.wasm();
        if inverted != 0 {
            wasm.v128_const(inverted).v128_xor();
        }
        match (format, signs & NEGATED_PRODUCT != 0) {
            (Format::Single, false) => wasm.f32x4_relaxed_madd(),
            (Format::Single, true) => wasm.f32x4_relaxed_nmadd(),
            (Format::Double, false) => wasm.f64x2_relaxed_madd(),
            (Format::Double, true) => wasm.f64x2_relaxed_nmadd(),
        };
    }

    fn fused_singles(&mut self, lanes: Lanes, signs: i32, [x, y, z]: [u32; 3], result: u32) {
        let [factor, addend] = self.signed(Format::Single, signs, x, z);
        let (low, high) = (self.scratch(PRODUCT), self.scratch(REST));
        let halves: &[u32] = if lanes == Lanes::Low { &[low] } else { &[low, high] };
        for (place, &target) in halves.iter().enumerate() {
            for (step, operand) in [factor, y, addend].into_iter().enumerate() {
                self.wasm().local_get(operand);
                if place == 1 {
                    self.wasm().local_get(operand).i8x16_shuffle(UPPER_HALF);
                }
                self.wasm().f64x2_promote_low_f32x4();
                match step {
                    0 => {}
                    1 => {
                        self.wasm().f64x2_mul();
                    }
                    _ => {
                        self.wasm().f64x2_add().local_tee(target).f32x4_demote_f64x2_zero();
                    }
                }
            }
        }
        if lanes == Lanes::All {
            self.wasm().i8x16_shuffle(LOWER_HALVES);
        }
        self.wasm().local_set(result);
        let format = Format::Single;
        for operand in [x, y, z] {
            self.plain(format, operand);
        }
        self.wasm().v128_and().v128_and();
        self.normal(format, result);
        self.exact_zero(format, [x, y], result);
        self.wasm().v128_or().v128_and();
        // Halfway between two singles: the 29 bits that a single has not.
        let other = halves.last().copied().unwrap_or(low);
        let mut wasm = self.wasm();
        wasm.local_get(low).local_get(other).i8x16_shuffle(LOW_DOUBLEWORDS);
        wasm.v128_const(0x1fff_ffff_1fff_ffff_1fff_ffff_1fff_ffff).v128_and();
        wasm.v128_const(0x1000_0000_1000_0000_1000_0000_1000_0000).i32x4_eq().v128_andnot();
    }

    /// Puts on the stack the lanes whose result is zero as a factor is: others may have become zero by rounding.
    fn exact_zero(&mut self, format: Format, [x, y]: [u32; 2], result: u32) {
        self.is_zero(format, result);
        self.is_zero(format, x);
        self.is_zero(format, y);
        self.wasm().v128_or().v128_and();
    }

    fn fused_doubles(&mut self, signs: i32, [x, y, z]: [u32; 3], result: u32) {
        let format = Format::Double;
        let [factor, addend] = self.signed(format, signs, x, z);
        let [product, rest] = [PRODUCT, REST].map(|place| self.scratch(place));
        let [sum, sum_rest] = [SUM, SUM_REST].map(|place| self.scratch(place));
        let [high, high_rest] = [HIGH, HIGH_REST].map(|place| self.scratch(place));
        let [rounded, rounded_rest] = [ROUNDED, ROUNDED_REST].map(|place| self.scratch(place));
        self.exact_product(factor, y, [product, rest]);
        self.exact_sum(addend, rest, [sum, sum_rest]);
        self.exact_sum(product, sum, [high, high_rest]);
        self.exact_sum(sum_rest, high_rest, [rounded, rounded_rest]);
        self.round_to_odd(rounded, rounded_rest);
        // A product of zero adds nothing; the sum of its rests might have another sign than that of zeros.
        let mut wasm = self.wasm();
        wasm.local_get(product).local_get(addend).f64x2_add();
        wasm.local_get(high).local_get(rounded).f64x2_add();
        self.is_zero(format, product);
        self.wasm().v128_bitselect().local_set(result);

        for operand in [x, y] {
            let mut wasm = self.wasm();
            wasm.local_get(operand).f64x2_abs().v128_const(format.splat(LEAST_FACTOR)).f64x2_ge();
            self.is_zero(format, operand);
            let mut wasm = self.wasm();
            wasm.v128_or().local_get(operand).f64x2_abs();
            wasm.v128_const(format.splat(LARGEST_FACTOR)).f64x2_le().v128_and();
        }
        self.plain(format, z);
        self.wasm().v128_and().v128_and();
        let mut wasm = self.wasm();
        wasm.local_get(result).f64x2_abs().v128_const(format.splat(LEAST_RESULT)).f64x2_gt();
        self.finite(format, result);
        self.wasm().v128_and();
        self.exact_zero(format, [x, y], result);
        self.wasm().v128_or().v128_and();
    }

    /// The product of doubles, and what its rounding has lost.
    fn exact_product(&mut self, x: u32, y: u32, [product, rest]: [u32; 2]) {
        let halves =
            [[SUM, SUM_REST], [HIGH, HIGH_REST]].map(|places| places.map(|place| self.scratch(place)));
        let scaled = self.scratch(Y);
        for (number, [high, low]) in [x, y].into_iter().zip(halves) {
            let mut wasm = self.wasm();
            wasm.local_get(number).v128_const(Format::Double.splat(SPLITTER)).f64x2_mul().local_tee(scaled);
            wasm.local_get(scaled).local_get(number).f64x2_sub().f64x2_sub().local_set(high);
            wasm.local_get(number).local_get(high).f64x2_sub().local_set(low);
        }
        let [[x_high, x_low], [y_high, y_low]] = halves;
        let mut wasm = self.wasm();
        wasm.local_get(x).local_get(y).f64x2_mul().local_set(product);
        wasm.local_get(x_high).local_get(y_high).f64x2_mul().local_get(product).f64x2_sub();
        for (one, other) in [(x_high, y_low), (x_low, y_high), (x_low, y_low)] {
            wasm.local_get(one).local_get(other).f64x2_mul().f64x2_add();
        }
        wasm.local_set(rest);
    }

    /// The sum of doubles, and what its rounding has lost (D. E. Knuth).
    fn exact_sum(&mut self, x: u32, y: u32, [sum, rest]: [u32; 2]) {
        let part = self.scratch(Y);
        let mut wasm = self.wasm();
        wasm.local_get(x).local_get(y).f64x2_add().local_set(sum);
        wasm.local_get(sum).local_get(x).f64x2_sub().local_set(part);
        wasm.local_get(x).local_get(sum).local_get(part).f64x2_sub().f64x2_sub();
        wasm.local_get(y).local_get(part).f64x2_sub().f64x2_add().local_set(rest);
    }

    /// Where a sum is even and has lost something, the neighbour on that side, which is odd.
    fn round_to_odd(&mut self, sum: u32, rest: u32) {
        const ONES: i128 = 1 << 64 | 1;
        let mut wasm = self.wasm();
        wasm.local_get(sum);
        // One up in magnitude when both have the same sign, else one down.
        wasm.local_get(sum).local_get(rest).v128_xor().i32_const(63).i64x2_shr_s().v128_const(ONES).v128_or();
        wasm.local_get(rest).v128_const(0).f64x2_ne();
        wasm.local_get(sum).v128_const(ONES).v128_and().v128_const(0).i64x2_eq();
        wasm.v128_and().v128_and().i64x2_add().local_set(sum);
    }
}
