//! Fused multiply-add: one rounding of the exact product and sum (SDM vol. 1 14.5).

use super::Operation as O;
use super::context::{Context, INVALID};
use super::format::{Format, is_nan, is_normal, is_signalling, is_zero, quieted, smallest_normal, soft};
use iced_x86::Mnemonic as M;
use rustc_apfloat::{Float, Status};

/// The product's sign is inverted.
pub const NEGATED_PRODUCT: i32 = 1;
/// The addend's sign is inverted.
pub const NEGATED_ADDEND: i32 = 2;
/// In odd lanes the addend's sign is inverted once more.
pub const ALTERNATING: i32 = 4;

/// Which of an instruction's operands are factors, factor first, and which is the addend.
type Order = [usize; 3];
const ORDER_132: Order = [0, 2, 1];
const ORDER_213: Order = [1, 0, 2];
const ORDER_231: Order = [1, 2, 0];

/// What an instruction's name says.
pub struct FusedForm {
    /// The operation on lanes.
    pub operation: O,
    /// The places of the factors and of the addend among the operands.
    pub order: Order,
    /// For [`Op::disp`](crate::ir::Op::disp).
    pub signs: i32,
}

impl FusedForm {
    /// The form with this name, if it is one.
    #[rustfmt::skip]
    pub fn of(mnemonic: M) -> Option<Self> {
        let (operation, order, signs) = match mnemonic {
            M::Vfmadd132ss => (O::FusedSs, ORDER_132, 0),
            M::Vfmadd132sd => (O::FusedSd, ORDER_132, 0),
            M::Vfmadd132ps => (O::FusedPs, ORDER_132, 0),
            M::Vfmadd132pd => (O::FusedPd, ORDER_132, 0),
            M::Vfmadd213ss => (O::FusedSs, ORDER_213, 0),
            M::Vfmadd213sd => (O::FusedSd, ORDER_213, 0),
            M::Vfmadd213ps => (O::FusedPs, ORDER_213, 0),
            M::Vfmadd213pd => (O::FusedPd, ORDER_213, 0),
            M::Vfmadd231ss => (O::FusedSs, ORDER_231, 0),
            M::Vfmadd231sd => (O::FusedSd, ORDER_231, 0),
            M::Vfmadd231ps => (O::FusedPs, ORDER_231, 0),
            M::Vfmadd231pd => (O::FusedPd, ORDER_231, 0),
            M::Vfmsub132ss => (O::FusedSs, ORDER_132, NEGATED_ADDEND),
            M::Vfmsub132sd => (O::FusedSd, ORDER_132, NEGATED_ADDEND),
            M::Vfmsub132ps => (O::FusedPs, ORDER_132, NEGATED_ADDEND),
            M::Vfmsub132pd => (O::FusedPd, ORDER_132, NEGATED_ADDEND),
            M::Vfmsub213ss => (O::FusedSs, ORDER_213, NEGATED_ADDEND),
            M::Vfmsub213sd => (O::FusedSd, ORDER_213, NEGATED_ADDEND),
            M::Vfmsub213ps => (O::FusedPs, ORDER_213, NEGATED_ADDEND),
            M::Vfmsub213pd => (O::FusedPd, ORDER_213, NEGATED_ADDEND),
            M::Vfmsub231ss => (O::FusedSs, ORDER_231, NEGATED_ADDEND),
            M::Vfmsub231sd => (O::FusedSd, ORDER_231, NEGATED_ADDEND),
            M::Vfmsub231ps => (O::FusedPs, ORDER_231, NEGATED_ADDEND),
            M::Vfmsub231pd => (O::FusedPd, ORDER_231, NEGATED_ADDEND),
            M::Vfnmadd132ss => (O::FusedSs, ORDER_132, NEGATED_PRODUCT),
            M::Vfnmadd132sd => (O::FusedSd, ORDER_132, NEGATED_PRODUCT),
            M::Vfnmadd132ps => (O::FusedPs, ORDER_132, NEGATED_PRODUCT),
            M::Vfnmadd132pd => (O::FusedPd, ORDER_132, NEGATED_PRODUCT),
            M::Vfnmadd213ss => (O::FusedSs, ORDER_213, NEGATED_PRODUCT),
            M::Vfnmadd213sd => (O::FusedSd, ORDER_213, NEGATED_PRODUCT),
            M::Vfnmadd213ps => (O::FusedPs, ORDER_213, NEGATED_PRODUCT),
            M::Vfnmadd213pd => (O::FusedPd, ORDER_213, NEGATED_PRODUCT),
            M::Vfnmadd231ss => (O::FusedSs, ORDER_231, NEGATED_PRODUCT),
            M::Vfnmadd231sd => (O::FusedSd, ORDER_231, NEGATED_PRODUCT),
            M::Vfnmadd231ps => (O::FusedPs, ORDER_231, NEGATED_PRODUCT),
            M::Vfnmadd231pd => (O::FusedPd, ORDER_231, NEGATED_PRODUCT),
            M::Vfnmsub132ss => (O::FusedSs, ORDER_132, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub132sd => (O::FusedSd, ORDER_132, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub132ps => (O::FusedPs, ORDER_132, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub132pd => (O::FusedPd, ORDER_132, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub213ss => (O::FusedSs, ORDER_213, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub213sd => (O::FusedSd, ORDER_213, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub213ps => (O::FusedPs, ORDER_213, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub213pd => (O::FusedPd, ORDER_213, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub231ss => (O::FusedSs, ORDER_231, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub231sd => (O::FusedSd, ORDER_231, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub231ps => (O::FusedPs, ORDER_231, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfnmsub231pd => (O::FusedPd, ORDER_231, NEGATED_PRODUCT | NEGATED_ADDEND),
            M::Vfmaddsub132ps => (O::FusedPs, ORDER_132, NEGATED_ADDEND | ALTERNATING),
            M::Vfmaddsub132pd => (O::FusedPd, ORDER_132, NEGATED_ADDEND | ALTERNATING),
            M::Vfmaddsub213ps => (O::FusedPs, ORDER_213, NEGATED_ADDEND | ALTERNATING),
            M::Vfmaddsub213pd => (O::FusedPd, ORDER_213, NEGATED_ADDEND | ALTERNATING),
            M::Vfmaddsub231ps => (O::FusedPs, ORDER_231, NEGATED_ADDEND | ALTERNATING),
            M::Vfmaddsub231pd => (O::FusedPd, ORDER_231, NEGATED_ADDEND | ALTERNATING),
            M::Vfmsubadd132ps => (O::FusedPs, ORDER_132, ALTERNATING),
            M::Vfmsubadd132pd => (O::FusedPd, ORDER_132, ALTERNATING),
            M::Vfmsubadd213ps => (O::FusedPs, ORDER_213, ALTERNATING),
            M::Vfmsubadd213pd => (O::FusedPd, ORDER_213, ALTERNATING),
            M::Vfmsubadd231ps => (O::FusedPs, ORDER_231, ALTERNATING),
            M::Vfmsubadd231pd => (O::FusedPd, ORDER_231, ALTERNATING),
            _ => return None,
        };
        Some(Self { operation, order, signs })
    }
}

impl Context {
    /// One lane of `x * y + z`, signs inverted as `signs` says for even lanes.
    pub fn fused<F: Format>(&mut self, signs: i32, [x, y, z]: [u64; 3]) -> u64 {
        let [x, y, z] = [x, y, z].map(|operand| self.operand::<F>(operand));
        let is_invalid_product =
            is_zero::<F>(x) && y & !F::SIGN == F::INFINITY || is_zero::<F>(y) && x & !F::SIGN == F::INFINITY;
        if let Some(nan) = [x, y, z].into_iter().find(|&operand| is_nan::<F>(operand)) {
            if [x, y, z].into_iter().any(is_signalling::<F>) {
                self.found |= INVALID;
            }
            return quieted::<F>(nan);
        }
        if is_invalid_product {
            self.found |= INVALID;
            return F::DEFAULT_NAN;
        }
        let negated = |operand, is_negated| if is_negated { operand ^ F::SIGN } else { operand };
        let (factor, addend) =
            (negated(x, signs & NEGATED_PRODUCT != 0), negated(z, signs & NEGATED_ADDEND != 0));
        let round = self.round;
        let (left, right, sum) = (soft::<F>(factor), soft::<F>(y), soft::<F>(addend));
        let exact = left.mul_add_r(right, sum, round);
        if exact.status.contains(Status::INVALID_OP) {
            self.found |= INVALID;
            return F::DEFAULT_NAN;
        }
        for operand in [x, y, z] {
            self.note_denormal::<F>(operand);
        }
        // The same with the exponent out of the way: the factor is scaled that has room.
        let scaled = |scale: i32| {
            let addend = sum.scalbn(scale);
            if (x & !F::SIGN < y & !F::SIGN) == (scale > 0) {
                left.scalbn(scale).mul_add_r(right, addend, round).value
            } else {
                left.mul_add_r(right.scalbn(scale), addend, round).value
            }
        };
        let wide = || F::widened(left).mul_add(F::widened(right), F::widened(sum));
        self.rounded::<F>(exact.value, exact.status, scaled, wide)
    }
}

/// The host's result when nothing about it is special, as for [`quick`](super::arithmetic::quick).
pub fn quick_fused<F: Format>(signs: i32, [x, y, z]: [u64; 3]) -> Option<u64> {
    let is_plain = |x: u64| is_normal::<F>(x) || is_zero::<F>(x);
    if ![x, y, z].into_iter().all(is_plain) {
        return None;
    }
    let negated = |operand, is_negated| if is_negated { operand ^ F::SIGN } else { operand };
    let factor = negated(x, signs & NEGATED_PRODUCT != 0);
    let result = F::multiply_add(factor, y, negated(z, signs & NEGATED_ADDEND != 0));
    (is_normal::<F>(result) && result & !F::SIGN != smallest_normal::<F>()).then_some(result)
}
