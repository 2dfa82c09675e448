//! Operations on floating-point lanes: WebAssembly's own where operands and result are such that MXCSR does not
//! change, else a call that works on vector registers only.

use super::super::flags::Pending;
use super::super::{Emitter, FLAGS_SOURCE, SITE, VCPU, at, halves, types};
use super::plain::Fact;
use super::{Known, UPPER, VectorEffects};
use crate::cpu::Numbers;
use crate::cpu::sse::float::{MXCSR_QUICK, MXCSR_QUICK_MASK, Operation};
use crate::ir::{Op, Width};
use crate::jit::abi::offset;
use wasm_encoder::{BlockType, InstructionSink};

/// Emits what works on the operands on the stack.
pub(super) type Emit = fn(&mut InstructionSink<'_>);

/// A lane's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 32 bits.
    Single,
    /// 64 bits.
    Double,
}

/// Which lanes an operation works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// The lowest; the others stay.
    Low,
    /// All.
    All,
}

/// When an arithmetic result of zero is exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zero {
    /// Always.
    Sum,
    /// When one of the factors, the first two operands, is zero.
    Product,
    /// When the dividend is zero.
    Quotient,
}

/// How an operation is emitted.
#[derive(Clone, Copy)]
pub enum Direct {
    /// `a` = of `a` and `c`, rounded.
    Arithmetic(Format, Lanes, Zero, Emit),
    /// `a` = of `c` and `a`, exact but for special operands.
    Exact(Format, Lanes, Emit),
    /// `a` = root of `c`.
    Root(Format, Lanes, Emit),
    /// Flags of `a` compared with `c`.
    Flags(Format),
    /// The low lane of `a` = that of `c` in the other format.
    Widen,
    /// As above.
    Narrow,
    /// The low lane of `a` = integer register `b`.
    FromInteger(Format, Width),
    /// Integer register `a` = the low lane of `c`, truncated or rounded to nearest.
    ToInteger(Format, Width, bool),
    /// `a` = the 32-bit integers in `c`.
    FromLanes(Format),
    /// `a` = the singles in `c` as 32-bit integers, truncated or rounded to nearest.
    ToLanes(bool),
    /// `a` = `c` rounded to integers.
    Round(Format, Lanes, Emit),
    /// `a` = `b` times `c` plus `d`, rounded once.
    Fused(Format, Lanes),
    /// Always the slow way.
    Slow,
}

/// The upper 64 bits of the first operand, twice.
const UPPER_TWICE: [u8; 16] = [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15];

macro_rules! emits {
    ($($instruction:ident),*) => {
        |wasm| { wasm$(.$instruction())*; }
    };
}

impl Direct {
    /// How the operation is emitted.
    pub fn of(operation: Operation, op: &Op) -> Self {
        use Format::{Double, Single};
        use Lanes::{All, Low};
        use Operation as O;
        let width = if op.d & 1 != 0 { Width::W64 } else { Width::W32 };
        let predicate = op.d;
        match operation {
            O::AddSs => Self::Arithmetic(Single, Low, Zero::Sum, emits!(f32x4_add)),
            O::AddSd => Self::Arithmetic(Double, Low, Zero::Sum, emits!(f64x2_add)),
            O::AddPs => Self::Arithmetic(Single, All, Zero::Sum, emits!(f32x4_add)),
            O::AddPd => Self::Arithmetic(Double, All, Zero::Sum, emits!(f64x2_add)),
            O::SubtractSs => Self::Arithmetic(Single, Low, Zero::Sum, emits!(f32x4_sub)),
            O::SubtractSd => Self::Arithmetic(Double, Low, Zero::Sum, emits!(f64x2_sub)),
            O::SubtractPs => Self::Arithmetic(Single, All, Zero::Sum, emits!(f32x4_sub)),
            O::SubtractPd => Self::Arithmetic(Double, All, Zero::Sum, emits!(f64x2_sub)),
            O::MultiplySs => Self::Arithmetic(Single, Low, Zero::Product, emits!(f32x4_mul)),
            O::MultiplySd => Self::Arithmetic(Double, Low, Zero::Product, emits!(f64x2_mul)),
            O::MultiplyPs => Self::Arithmetic(Single, All, Zero::Product, emits!(f32x4_mul)),
            O::MultiplyPd => Self::Arithmetic(Double, All, Zero::Product, emits!(f64x2_mul)),
            O::DivideSs => Self::Arithmetic(Single, Low, Zero::Quotient, emits!(f32x4_div)),
            O::DivideSd => Self::Arithmetic(Double, Low, Zero::Quotient, emits!(f64x2_div)),
            O::DividePs => Self::Arithmetic(Single, All, Zero::Quotient, emits!(f32x4_div)),
            O::DividePd => Self::Arithmetic(Double, All, Zero::Quotient, emits!(f64x2_div)),
            // The second operand unless the first is less; so is WebAssembly's with the operands swapped.
            O::MinimumSs => Self::Exact(Single, Low, emits!(f32x4_pmin)),
            O::MinimumSd => Self::Exact(Double, Low, emits!(f64x2_pmin)),
            O::MinimumPs => Self::Exact(Single, All, emits!(f32x4_pmin)),
            O::MinimumPd => Self::Exact(Double, All, emits!(f64x2_pmin)),
            O::MaximumSs => Self::Exact(Single, Low, emits!(f32x4_pmax)),
            O::MaximumSd => Self::Exact(Double, Low, emits!(f64x2_pmax)),
            O::MaximumPs => Self::Exact(Single, All, emits!(f32x4_pmax)),
            O::MaximumPd => Self::Exact(Double, All, emits!(f64x2_pmax)),
            O::CompareSs => comparison(Single, Low, predicate),
            O::CompareSd => comparison(Double, Low, predicate),
            O::ComparePs => comparison(Single, All, predicate),
            O::ComparePd => comparison(Double, All, predicate),
            O::SquareRootSs => Self::Root(Single, Low, emits!(f32x4_sqrt)),
            O::SquareRootSd => Self::Root(Double, Low, emits!(f64x2_sqrt)),
            O::SquareRootPs => Self::Root(Single, All, emits!(f32x4_sqrt)),
            O::SquareRootPd => Self::Root(Double, All, emits!(f64x2_sqrt)),
            O::FlagsSs => Self::Flags(Single),
            O::FlagsSd => Self::Flags(Double),
            O::SsToSd => Self::Widen,
            O::SdToSs => Self::Narrow,
            O::SiToSs => Self::FromInteger(Single, width),
            O::SiToSd => Self::FromInteger(Double, width),
            O::SsToSi => Self::ToInteger(Single, width, op.d & 2 != 0),
            O::SdToSi => Self::ToInteger(Double, width, op.d & 2 != 0),
            O::DqToPs => Self::FromLanes(Single),
            O::DqToPd => Self::FromLanes(Double),
            O::PsToDq => Self::ToLanes(op.d == 1),
            O::FusedSs => Self::Fused(Single, Low),
            O::FusedSd => Self::Fused(Double, Low),
            O::FusedPs => Self::Fused(Single, All),
            O::FusedPd => Self::Fused(Double, All),
            O::RoundSs => Self::Round(Single, Low, rounding(Single, op.d)),
            O::RoundSd => Self::Round(Double, Low, rounding(Double, op.d)),
            O::RoundPs => Self::Round(Single, All, rounding(Single, op.d)),
            O::RoundPd => Self::Round(Double, All, rounding(Double, op.d)),
            _ => Self::Slow,
        }
    }

    /// How the operation is emitted for 256 bits, if it works on all lanes by themselves.
    pub fn of_halves(operation: Operation, op: &Op) -> Option<Self> {
        let direct = Self::of(operation, op);
        let has_lanes = match direct {
            Self::Arithmetic(_, lanes, ..)
            | Self::Exact(_, lanes, _)
            | Self::Root(_, lanes, _)
            | Self::Round(_, lanes, _)
            | Self::Fused(_, lanes) => lanes == Lanes::All,
            Self::ToLanes(_) | Self::FromLanes(_) => true,
            _ => false,
        };
        has_lanes.then_some(direct)
    }

    /// The format of the lanes whose result is tested.
    fn format(&self) -> Format {
        match *self {
            Self::Arithmetic(format, ..)
            | Self::Exact(format, ..)
            | Self::Root(format, ..)
            | Self::Round(format, ..)
            | Self::Fused(format, _) => format,
            _ => Format::Single,
        }
    }

    /// What it does with integer registers and flags.
    pub fn effects(&self, op: &Op) -> VectorEffects {
        let bit = |number: u8| 1 << (number & 31);
        let mut effects = VectorEffects { may_exit: true, ..VectorEffects::default() };
        match self {
            Self::FromInteger(..) => effects.reads = bit(op.b),
            Self::ToInteger(..) => effects.writes = bit(op.a),
            Self::Flags(_) => effects.defines_flags = true,
            _ => {}
        }
        effects
    }
}

/// Comparison of two operands that are no NaNs, which stand on the stack the second first.
fn comparison(format: Format, lanes: Lanes, predicate: u8) -> Direct {
    let emit: Emit = match (format, predicate) {
        (Format::Single, 0) => emits!(f32x4_eq),
        (Format::Single, 1) => emits!(f32x4_gt),
        (Format::Single, 2) => emits!(f32x4_ge),
        (Format::Single, 4) => emits!(f32x4_ne),
        (Format::Single, 5) => emits!(f32x4_le),
        (Format::Single, 6) => emits!(f32x4_lt),
        (Format::Double, 0) => emits!(f64x2_eq),
        (Format::Double, 1) => emits!(f64x2_gt),
        (Format::Double, 2) => emits!(f64x2_ge),
        (Format::Double, 4) => emits!(f64x2_ne),
        (Format::Double, 5) => emits!(f64x2_le),
        (Format::Double, 6) => emits!(f64x2_lt),
        // Ordered and unordered look for what the direct way leaves out.
        _ => return Direct::Slow,
    };
    Direct::Exact(format, lanes, emit)
}

/// Rounding as an immediate byte says, MXCSR's being to nearest.
fn rounding(format: Format, immediate: u8) -> Emit {
    let control = if immediate & 4 != 0 { 0 } else { immediate & 3 };
    match (format, control) {
        (Format::Single, 0) => emits!(f32x4_nearest),
        (Format::Single, 1) => emits!(f32x4_floor),
        (Format::Single, 2) => emits!(f32x4_ceil),
        (Format::Single, _) => emits!(f32x4_trunc),
        (Format::Double, 0) => emits!(f64x2_nearest),
        (Format::Double, 1) => emits!(f64x2_floor),
        (Format::Double, 2) => emits!(f64x2_ceil),
        (Format::Double, _) => emits!(f64x2_trunc),
    }
}

impl Format {
    /// A number's bits in all lanes.
    pub(super) fn splat(self, value: f64) -> i128 {
        let bits = match self {
            Self::Single => u128::from((value as f32).to_bits()) * 0x1_0000_0001_0000_0001_0000_0001,
            Self::Double => u128::from(value.to_bits()) * (1 << 64 | 1),
        };
        bits as i128
    }

    /// The smallest normal number in all lanes.
    fn smallest(self) -> i128 {
        match self {
            Self::Single => self.splat(f32::MIN_POSITIVE.into()),
            Self::Double => self.splat(f64::MIN_POSITIVE),
        }
    }

    /// A power of two far above the smallest normal number. Larger numbers are multiples of it times 2^-24, or 2^-53, and
    /// products of doubles of 2^-1006. Where zeroes are expected, products of singles must be no tiny numbers either:
    /// they are multiples of 2^-126.
    pub(super) fn large(self, numbers: Numbers) -> i128 {
        match (self, numbers) {
            (Self::Single, Numbers::Normal) => self.splat(2f64.powi(-94)),
            (Self::Single, _) => self.splat(2f64.powi(-39)),
            (Self::Double, _) => self.splat(2f64.powi(-450)),
        }
    }

    /// What [`large`](Self::large), for normal numbers, is times the smallest normal number.
    pub(super) fn bound(self) -> i128 {
        match self {
            Self::Single => self.splat(2f64.powi(126 - 94)),
            Self::Double => self.splat(2f64.powi(1022 - 450)),
        }
    }

    pub(super) const fn bytes(self) -> u8 {
        match self {
            Self::Single => 4,
            Self::Double => 8,
        }
    }
}

impl Emitter<'_> {
    /// Emits an operation on the low 128 bits.
    pub(super) fn float_lanes(&mut self, direct: &Direct, op: &Op) {
        match *direct {
            Direct::Arithmetic(format, lanes, zero, emit) => {
                self.rounded(op, false, (format, lanes), zero, emit);
            }
            Direct::Fused(format, lanes) if self.relaxed.fuses => self.fused(op, false, (format, lanes)),
            Direct::Exact(format, lanes, _)
            | Direct::Root(format, lanes, _)
            | Direct::Round(format, lanes, _)
            | Direct::Fused(format, lanes) => {
                self.attempt(direct, op, 0);
                if self.vectors.current.is_some() {
                    self.narrow_quick_lanes();
                    let result = self.scratch(0);
                    self.wasm().local_get(result);
                    return self.set_vector(op.a);
                }
                self.and_quick(direct);
                self.holds(format, lanes);
                self.result_or_slowly(op, format, lanes);
            }
            Direct::ToLanes(_) => {
                self.attempt(direct, op, 0);
                self.and_quick(direct);
                self.holds(Format::Single, Lanes::All);
                self.result_or_slowly(op, Format::Single, Lanes::All);
            }
            Direct::Widen => {
                let y = self.cached_vector(op.c);
                let result = self.scratch(0);
                self.wasm().local_get(y).f64x2_promote_low_f32x4().local_set(result);
                self.plain(Format::Single, y);
                self.holds(Format::Single, Lanes::Low);
                self.result_or_slowly(op, Format::Double, Lanes::Low);
            }
            Direct::Narrow => {
                let y = self.cached_vector(op.c);
                let result = self.scratch(0);
                self.wasm().local_get(y).f32x4_demote_f64x2_zero().local_set(result);
                self.is_quick();
                self.plain(Format::Double, y);
                self.holds(Format::Double, Lanes::Low);
                self.normal(Format::Single, result);
                self.holds(Format::Single, Lanes::Low);
                self.is_zero(Format::Double, y);
                self.holds(Format::Double, Lanes::Low);
                self.wasm().i32_or().i32_and().i32_and();
                self.result_or_slowly(op, Format::Single, Lanes::Low);
            }
            Direct::FromLanes(Format::Double) => {
                self.get_vector(op.c);
                self.wasm().f64x2_convert_low_i32x4_s();
                self.set_vector(op.a);
            }
            Direct::FromLanes(Format::Single) => {
                let y = self.cached_vector(op.c);
                let result = self.scratch(0);
                self.wasm().local_get(y).f32x4_convert_i32x4_s().local_set(result);
                self.is_quick();
                self.result_or_slowly(op, Format::Single, Lanes::All);
            }
            Direct::Slow => self.vector_always_slowly(op),
            Direct::Flags(format) => self.float_flags(op, format),
            Direct::FromInteger(format, width) => self.float_from_integer(op, format, width),
            Direct::ToInteger(format, width, is_truncated) => {
                self.float_to_integer(op, format, width, is_truncated);
            }
        }
    }

    /// Emits an operation on 256 bits: both halves first, and only when all their lanes are right does the
    /// register change, for the slow way takes its operands from there.
    pub(super) fn float_halves(&mut self, direct: &Direct, op: &Op) {
        let mut upper = Op { a: op.a | UPPER, c: op.c | UPPER, ..*op };
        if let Direct::Fused(..) = direct {
            (upper.b, upper.d) = (op.b | UPPER, op.d | UPPER);
        }
        match *direct {
            Direct::Arithmetic(format, lanes, zero, emit) => {
                return self.rounded(op, true, (format, lanes), zero, emit);
            }
            Direct::Fused(format, lanes) if self.relaxed.fuses => {
                return self.fused(op, true, (format, lanes));
            }
            Direct::FromLanes(Format::Double) => {
                let y = self.cached_vector(op.c);
                let low = self.scratch(0);
                self.wasm().local_get(y).f64x2_convert_low_i32x4_s().local_set(low);
                self.wasm().local_get(y).local_get(y).i8x16_shuffle(UPPER_TWICE).f64x2_convert_low_i32x4_s();
                self.set_vector(upper.a);
                self.wasm().local_get(low);
                return self.set_vector(op.a);
            }
            Direct::FromLanes(Format::Single) => {
                for (half, number) in [(0, op.c), (1, upper.c)] {
                    self.get_vector(number);
                    let result = self.scratch(half);
                    self.wasm().f32x4_convert_i32x4_s().local_set(result);
                }
                self.is_quick();
            }
            _ => {
                self.attempt(direct, op, 0);
                self.attempt(direct, &upper, 1);
                self.wasm().v128_and();
                if self.vectors.current.is_some() {
                    self.narrow_quick_lanes();
                    return self.put_halves(op);
                }
                self.and_quick(direct);
                if !self.expects_special_numbers() {
                    self.go_on_if(direct.format(), Lanes::All);
                    return self.put_halves(op);
                }
                self.holds(direct.format(), Lanes::All);
            }
        }
        self.wasm().if_(BlockType::Empty);
        self.depth += 1;
        self.put_halves(op);
        self.wasm().else_();
        self.vector_slowly(op);
        self.reload_vector(op.a);
        self.reload_vector(upper.a);
        self.wasm().end();
        self.depth -= 1;
    }

    /// Makes a register of the halves of a result in their locals.
    fn put_halves(&mut self, op: &Op) {
        for (half, number) in [(0, op.a), (1, op.a | UPPER)] {
            let result = self.scratch(half);
            self.wasm().local_get(result);
            self.set_vector(number);
        }
    }

    /// The lesser of the lanes of two vectors on the stack, which are magnitudes.
    pub(super) fn least(&mut self, format: Format) {
        self.by_format(format, emits!(f32x4_pmin), emits!(f64x2_pmin));
    }

    /// The sum of two vectors on the stack.
    pub(super) fn sum(&mut self, format: Format) {
        self.by_format(format, emits!(f32x4_add), emits!(f64x2_add));
    }

    /// Takes magnitudes from the stack; leaves the lanes where they are larger than the smallest normal number.
    pub(super) fn are_larger_than_tiny(&mut self, format: Format) {
        self.wasm().v128_const(format.smallest());
        self.by_format(format, emits!(f32x4_gt), emits!(f64x2_gt));
    }

    /// The larger of the lanes of two vectors on the stack, which are magnitudes.
    pub(super) fn most(&mut self, format: Format) {
        self.by_format(format, emits!(f32x4_pmax), emits!(f64x2_pmax));
    }

    /// Takes magnitudes from the stack; leaves the lanes where they are larger than the large number.
    pub(super) fn are_large(&mut self, format: Format) {
        let large = format.large(self.numbers());
        self.wasm().v128_const(large);
        self.by_format(format, emits!(f32x4_gt), emits!(f64x2_gt));
    }

    /// Takes magnitudes from the stack; leaves the lanes where they are within the bound.
    pub(super) fn are_bounded(&mut self, format: Format) {
        self.wasm().v128_const(format.bound());
        self.by_format(format, emits!(f32x4_le), emits!(f64x2_le));
    }

    /// Takes magnitudes from the stack; leaves the next smaller numbers of those that are not zero, and of zero a NaN.
    pub(super) fn zero_to_nan(&mut self, format: Format) {
        self.wasm().v128_const(-1);
        self.by_format(format, emits!(i32x4_add), emits!(i64x2_add));
    }

    /// Takes magnitudes from the stack; leaves the lanes where they are finite.
    pub(super) fn are_less_than_infinite(&mut self, format: Format) {
        self.wasm().v128_const(format.splat(f64::INFINITY));
        self.by_format(format, emits!(f32x4_lt), emits!(f64x2_lt));
    }

    /// Computes 128 bits of the result into a scratch local; leaves the lanes where that is all there is to it,
    /// if MXCSR is as [`and_quick`](Self::and_quick) wants it.
    fn attempt(&mut self, direct: &Direct, op: &Op, scratch: u32) {
        let result = self.scratch(scratch);
        if let Direct::Fused(format, lanes) = *direct {
            return self.attempt_fused(format, lanes, op, result);
        }
        let y = self.cached_vector(op.c);
        match *direct {
            Direct::Exact(format, lanes, emit) => {
                let x = self.cached_vector(op.a);
                self.wasm().local_get(y).local_get(x);
                emit(&mut self.wasm());
                self.wasm().local_set(result);
                self.are_plain(format, lanes, [op.a, op.c]);
            }
            Direct::Root(format, _, emit) => {
                self.wasm().local_get(y);
                emit(&mut self.wasm());
                self.wasm().local_set(result);
                self.wasm().local_get(y).v128_const(format.smallest());
                self.by_format(format, emits!(f32x4_ge), emits!(f64x2_ge));
                self.is_zero(format, y);
                self.wasm().v128_or();
            }
            Direct::Round(format, _, emit) => {
                self.wasm().local_get(y);
                emit(&mut self.wasm());
                self.wasm().local_set(result);
                self.wasm().local_get(y).local_get(y);
                self.by_format(format, emits!(f32x4_eq), emits!(f64x2_eq));
            }
            Direct::ToLanes(is_truncated) => {
                self.whole_numbers(y, result, Format::Single, Width::W32, is_truncated);
                self.wasm().local_get(result).i32x4_trunc_sat_f32x4_s().local_set(result);
            }
            // The others do not work lane by lane; without a lane that is right, the slow way is taken.
            _ => {
                self.wasm().v128_const(0);
            }
        }
    }

    /// Takes lanes from the stack; leaves those of them where MXCSR is such that results of plain operands leave it
    /// alone. Comparisons and the like leave it alone anyhow, unless it is not known whether their operands are plain.
    fn and_quick(&mut self, direct: &Direct) {
        if !matches!(direct, Direct::Exact(..)) || self.vectors.known.plain.has_looked() {
            self.look_at_mxcsr();
            self.and_quick_lanes();
        }
    }

    /// Puts on the stack the lanes where these registers are plain, as far as that is not known.
    fn are_plain(&mut self, format: Format, lanes: Lanes, numbers: [u8; 2]) {
        let unknown: Vec<u8> = numbers
            .into_iter()
            .filter(|&number| !self.vectors.known.plain.holds(Fact::Plain, number, format, lanes))
            .collect();
        match unknown[..] {
            [] => {
                self.wasm().v128_const(-1);
            }
            [number] => self.vector_is_plain(format, number),
            _ => {
                for &number in &unknown {
                    self.vector_is_plain(format, number);
                }
                self.wasm().v128_and();
            }
        }
        for number in unknown {
            self.vectors.known.plain.learn(Fact::Plain, number, format, lanes);
        }
    }

    fn vector_is_plain(&mut self, format: Format, number: u8) {
        let local = self.cached_vector(number);
        self.plain(format, local);
    }

    pub(super) fn by_format(&mut self, format: Format, single: Emit, double: Emit) {
        match format {
            Format::Single => single(&mut self.wasm()),
            Format::Double => double(&mut self.wasm()),
        }
    }

    /// Puts on the stack whether results of normal numbers leave MXCSR alone.
    fn is_quick(&mut self) {
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).i32_load(at(offset::MXCSR)).i32_const(MXCSR_QUICK_MASK as i32).i32_and();
        wasm.i32_const(MXCSR_QUICK as i32).i32_eq();
    }

    /// Puts lanes without their signs on the stack: by a mask, since engines make three instructions of WebAssembly's own.
    pub(super) fn magnitude(&mut self, format: Format, vector: u32) {
        let signs = format.splat(-0.0);
        self.wasm().local_get(vector).v128_const(!signs).v128_and();
    }

    /// Puts on the stack the lanes that are no NaNs and not denormal.
    pub(super) fn plain(&mut self, format: Format, vector: u32) {
        self.magnitude(format, vector);
        self.wasm().v128_const(format.smallest());
        self.by_format(format, emits!(f32x4_ge), emits!(f64x2_ge));
        self.is_zero(format, vector);
        self.wasm().v128_or();
    }

    /// Puts on the stack the lanes that are zero.
    pub(super) fn is_zero(&mut self, format: Format, vector: u32) {
        self.wasm().local_get(vector).v128_const(0);
        self.by_format(format, emits!(f32x4_eq), emits!(f64x2_eq));
    }

    /// Puts on the stack the lanes that are finite and larger than the smallest normal number, which may have
    /// been rounded up from a tiny one.
    pub(super) fn normal(&mut self, format: Format, vector: u32) {
        self.magnitude(format, vector);
        self.wasm().v128_const(format.smallest());
        self.by_format(format, emits!(f32x4_gt), emits!(f64x2_gt));
        self.finite(format, vector);
        self.wasm().v128_and();
    }

    /// Puts on the stack the lanes that are neither infinite nor NaNs.
    pub(super) fn finite(&mut self, format: Format, vector: u32) {
        self.magnitude(format, vector);
        self.wasm().v128_const(format.splat(f64::INFINITY));
        self.by_format(format, emits!(f32x4_lt), emits!(f64x2_lt));
    }

    /// Takes lanes from the stack; leaves whether all that the operation works on are set.
    pub(super) fn holds(&mut self, format: Format, lanes: Lanes) {
        match lanes {
            Lanes::Low => {
                self.by_format(format, emits!(i32x4_bitmask), emits!(i64x2_bitmask));
                self.wasm().i32_const(1).i32_and();
            }
            Lanes::All => self.by_format(format, emits!(i32x4_all_true), emits!(i64x2_all_true)),
        }
    }

    /// `a` = the result in the scratch local if the condition on the stack holds, else what the slow way gives.
    fn result_or_slowly(&mut self, op: &Op, format: Format, lanes: Lanes) {
        let result = self.scratch(0);
        let target = match lanes {
            Lanes::Low => self.cached_vector(op.a),
            Lanes::All => self.vector_local(op.a),
        };
        if !self.expects_special_numbers() {
            let site = self.special_site();
            self.wasm().i32_eqz();
            self.leave_when(site);
            return self.put_lanes(op.a, target, result, format, lanes);
        }
        self.wasm().if_(BlockType::Empty);
        self.depth += 1;
        self.put_lanes(op.a, target, result, format, lanes);
        self.wasm().else_();
        self.vector_slowly(op);
        self.reload_vector(op.a);
        self.wasm().end();
        self.depth -= 1;
    }

    /// Makes a register of the result in a local, and of its own other lanes, which stand in `target`.
    pub(super) fn put_lanes(&mut self, number: u8, target: u32, result: u32, format: Format, lanes: Lanes) {
        if lanes == Lanes::Low {
            let bytes = format.bytes();
            let places = std::array::from_fn(|byte| byte as u8 + if (byte as u8) < bytes { 16 } else { 0 });
            self.wasm().local_get(target).local_get(result).i8x16_shuffle(places);
        } else {
            self.wasm().local_get(result);
        }
        self.set_vector(number);
    }

    /// Runs an operation that is never emitted; what it does to MXCSR is not known.
    pub(super) fn vector_always_slowly(&mut self, op: &Op) {
        self.call_vector_helper(op);
        let Known { valid, unstored, .. } = self.vectors.known;
        self.vectors.known = Known { valid, unstored, ..Known::default() };
        self.reload_vector(op.a);
    }

    /// Runs an operation that touches vector registers and MXCSR only, in the vCPU's memory, in the place of code that
    /// has been emitted for it.
    pub(super) fn vector_slowly(&mut self, op: &Op) {
        self.call_vector_helper(op);
        self.doubt();
    }

    fn call_vector_helper(&mut self, op: &Op) {
        self.store_temporaries();
        let halves = halves(op);
        let (site, slot) = (self.site(), self.slots.vector);
        let mut wasm = self.wasm();
        wasm.i32_const(site).local_set(SITE);
        wasm.local_get(VCPU).i64_const(halves[0]).i64_const(halves[1]);
        wasm.i32_const(slot as i32).call_indirect(0, types::CALL);
        self.leave_if();
    }

    fn float_flags(&mut self, op: &Op, format: Format) {
        const _: () = assert!(crate::cpu::flags::ZF == 1 << 6 && crate::cpu::flags::CF == 1);
        let (x, y) = (self.cached_vector(op.a), self.cached_vector(op.c));
        self.are_plain(format, Lanes::Low, [op.a, op.c]);
        if self.vectors.known.plain.has_looked() {
            self.and_quick_lanes();
        }
        if self.expects_special_numbers() {
            self.holds(format, Lanes::Low);
            self.wasm().if_(BlockType::Empty);
            self.depth += 1;
        } else {
            self.go_on_if(format, Lanes::Low);
        }
        for is_equal in [false, true] {
            let mut wasm = self.wasm();
            for local in [x, y] {
                wasm.local_get(local);
                match format {
                    Format::Single => wasm.f32x4_extract_lane(0),
                    Format::Double => wasm.f64x2_extract_lane(0),
                };
            }
            match (format, is_equal) {
                (Format::Single, false) => wasm.f32_lt(),
                (Format::Double, false) => wasm.f64_lt(),
                (Format::Single, true) => wasm.f32_eq(),
                (Format::Double, true) => wasm.f64_eq(),
            };
        }
        self.wasm().i32_const(6).i32_shl().i32_or().i64_extend_i32_u().local_set(FLAGS_SOURCE);
        if self.expects_special_numbers() {
            self.wasm().else_();
            self.vector_slowly(op);
            let mut wasm = self.wasm();
            wasm.local_get(VCPU).i64_load(at(offset::LAZY_SOURCE)).local_set(FLAGS_SOURCE).end();
            self.depth -= 1;
        }
        self.define_flags(Pending::Explicit, Width::W64);
    }

    fn float_from_integer(&mut self, op: &Op, format: Format, width: Width) {
        let target = self.cached_vector(op.a);
        let is_exact = format == Format::Double && width == Width::W32;
        if !is_exact {
            self.is_quick();
            self.wasm().if_(BlockType::Empty);
            self.depth += 1;
        }
        self.wasm().local_get(target);
        self.get(op.b);
        let mut wasm = self.wasm();
        match (format, width) {
            (Format::Single, Width::W64) => wasm.f32_convert_i64_s(),
            (Format::Single, _) => wasm.i32_wrap_i64().f32_convert_i32_s(),
            (Format::Double, Width::W64) => wasm.f64_convert_i64_s(),
            (Format::Double, _) => wasm.i32_wrap_i64().f64_convert_i32_s(),
        };
        match format {
            Format::Single => wasm.f32x4_replace_lane(0),
            Format::Double => wasm.f64x2_replace_lane(0),
        };
        self.set_vector(op.a);
        if !is_exact {
            let source = usize::from(op.b);
            self.wasm().else_().local_get(VCPU);
            self.get(op.b);
            self.wasm().i64_store(at(offset::REGS + 8 * source));
            self.vector_slowly(op);
            self.reload_vector(op.a);
            self.wasm().end();
            self.depth -= 1;
        }
    }

    /// Rounds lanes to integers, and puts those on the stack that a signed integer of the width can hold.
    fn whole_numbers(&mut self, from: u32, whole: u32, format: Format, width: Width, is_truncated: bool) {
        self.wasm().local_get(from);
        if is_truncated {
            self.by_format(format, emits!(f32x4_trunc), emits!(f64x2_trunc));
        } else {
            self.by_format(format, emits!(f32x4_nearest), emits!(f64x2_nearest));
        }
        self.wasm().local_set(whole);
        let limit = (1u64 << (width.bits() - 1)) as f64;
        self.wasm().local_get(whole).v128_const(format.splat(-limit));
        self.by_format(format, emits!(f32x4_ge), emits!(f64x2_ge));
        self.wasm().local_get(whole).v128_const(format.splat(limit));
        self.by_format(format, emits!(f32x4_lt), emits!(f64x2_lt));
        self.wasm().v128_and();
    }

    fn float_to_integer(&mut self, op: &Op, format: Format, width: Width, is_truncated: bool) {
        let (y, whole) = (self.cached_vector(op.c), self.scratch(0));
        self.whole_numbers(y, whole, format, width, is_truncated);
        self.holds(format, Lanes::Low);
        self.is_quick();
        self.wasm().i32_and();
        let mut wasm = self.wasm();
        wasm.if_(BlockType::Empty).local_get(whole);
        match (format, width) {
            (Format::Single, Width::W64) => wasm.f32x4_extract_lane(0).i64_trunc_sat_f32_s(),
            (Format::Single, _) => wasm.f32x4_extract_lane(0).i32_trunc_sat_f32_s().i64_extend_i32_u(),
            (Format::Double, Width::W64) => wasm.f64x2_extract_lane(0).i64_trunc_sat_f64_s(),
            (Format::Double, _) => wasm.f64x2_extract_lane(0).i32_trunc_sat_f64_s().i64_extend_i32_u(),
        };
        self.depth += 1;
        self.set(op.a);
        self.wasm().else_();
        self.vector_slowly(op);
        let place = offset::REGS + 8 * usize::from(op.a);
        self.wasm().local_get(VCPU).i64_load(at(place));
        self.set(op.a);
        self.wasm().end();
        self.depth -= 1;
    }
}
