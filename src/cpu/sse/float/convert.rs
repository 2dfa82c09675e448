//! Conversions between the formats and integers.

use super::context::{Context, INVALID, PRECISION};
use super::format::{
    Double, Format, Half, Layout, Single, bits, is_denormal, is_nan, is_signalling, is_zero, soft,
};
use rustc_apfloat::{Float, FloatConvert, Round, Status, ieee};

impl Context {
    /// Single to double: exact.
    pub fn widened(&mut self, x: u32) -> u64 {
        let x = self.operand::<Single>(x.into());
        if is_nan::<Single>(x) {
            if is_signalling::<Single>(x) {
                self.found |= INVALID;
            }
            let sign = (x & Single::SIGN) << 32;
            let fraction = (x & ((1 << Single::FRACTION_BITS) - 1)) << 29;
            return sign | Double::INFINITY | fraction | 1 << (Double::FRACTION_BITS - 1);
        }
        self.note_denormal::<Single>(x);
        f64::from(f32::from_bits(x as u32)).to_bits()
    }

    /// Double to single.
    pub fn narrowed(&mut self, x: u64) -> u32 {
        let x = self.operand::<Double>(x);
        if is_nan::<Double>(x) {
            if is_signalling::<Double>(x) {
                self.found |= INVALID;
            }
            let sign = (x & Double::SIGN) >> 32;
            let fraction = x >> 29 & ((1 << Single::FRACTION_BITS) - 1);
            return (sign | Single::INFINITY | fraction | 1 << (Single::FRACTION_BITS - 1)) as u32;
        }
        self.note_denormal::<Double>(x);
        let narrow = |x: ieee::Double, round| {
            let mut loses = false;
            FloatConvert::<ieee::Single>::convert_r(x, round, &mut loses)
        };
        let round = self.round;
        let wide = soft::<Double>(x);
        let converted = narrow(wide, round);
        let scaled = |scale| narrow(wide.scalbn(scale), round).value;
        let exact = || Status::OK.and(Double::widened(wide));
        self.rounded::<Single>(converted.value, converted.status, scaled, exact) as u32
    }

    /// Half to single: exact. Denormal halves are numbers whatever DAZ says, and are not noted.
    pub fn single_of_half(&mut self, x: u16) -> u32 {
        let x = u64::from(x);
        if is_nan::<Half>(x) {
            if is_signalling::<Half>(x) {
                self.found |= INVALID;
            }
            let sign = (x & Half::SIGN) << 16;
            let fraction = (x & ((1 << Half::FRACTION_BITS) - 1)) << 13;
            return (sign | Single::INFINITY | fraction | 1 << (Single::FRACTION_BITS - 1)) as u32;
        }
        let mut loses = false;
        bits::<Single>(FloatConvert::<ieee::Single>::convert(soft::<Half>(x), &mut loses).value) as u32
    }

    /// Single to half. Tiny results stay denormal whatever FTZ says.
    pub fn half_of_single(&mut self, x: u32, round: Round) -> u16 {
        let x = self.operand::<Single>(x.into());
        if is_nan::<Single>(x) {
            if is_signalling::<Single>(x) {
                self.found |= INVALID;
            }
            let sign = (x & Single::SIGN) >> 16;
            let fraction = x >> 13 & ((1 << Half::FRACTION_BITS) - 1);
            return (sign | Half::INFINITY | fraction | 1 << (Half::FRACTION_BITS - 1)) as u16;
        }
        self.note_denormal::<Single>(x);
        let narrow = |x: ieee::Single| {
            let mut loses = false;
            FloatConvert::<ieee::Half>::convert_r(x, round, &mut loses)
        };
        let wide = soft::<Single>(x);
        let converted = narrow(wide);
        let flushes_to_zero = std::mem::replace(&mut self.flushes_to_zero, false);
        let scaled = |scale| narrow(wide.scalbn(scale)).value;
        // Denormal singles are too small for an adjusted exponent too; processors call them inexact.
        let status = if is_denormal::<Single>(x) { Status::INEXACT } else { Status::OK };
        let exact = || status.and(Single::widened(wide));
        let result = self.rounded::<Half>(converted.value, converted.status, scaled, exact);
        self.flushes_to_zero = flushes_to_zero;
        result as u16
    }

    /// To a signed integer of `width` bits (32 or 64); the indefinite integer when it does not fit.
    pub fn integer<F: Format>(&mut self, x: u64, width: u32, round: Round) -> u64 {
        let x = self.operand::<F>(x);
        let indefinite = 1 << (width - 1);
        let mut is_exact = false;
        let converted = soft::<F>(x).to_i128_r(width as usize, round, &mut is_exact);
        if is_nan::<F>(x) || converted.status.contains(Status::INVALID_OP) {
            self.found |= INVALID;
            return indefinite;
        }
        // A negative zero is an integer; so is what it stands for.
        if !is_exact && !is_zero::<F>(x) {
            self.found |= PRECISION;
        }
        converted.value as u64 & (u64::MAX >> (64 - width))
    }

    /// From a signed integer.
    pub fn float<F: Format>(&mut self, x: i64) -> u64 {
        let converted = F::Soft::from_i128_r(x.into(), self.round);
        if converted.status.contains(Status::INEXACT) {
            self.found |= PRECISION;
        }
        bits::<F>(converted.value)
    }
}
