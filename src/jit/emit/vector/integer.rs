//! Operations on integer lanes, and moves between vector and integer registers.

use super::super::flags::Pending;
use super::super::{Emitter, FLAGS_SOURCE, VALUE};
use super::shuffle::{Operands, Places, shuffle};
use super::{UPPER, VectorEffects, strings};
use crate::cpu::sse::integer::Operation;
use crate::ir::{Op, Reg, Width};
use wasm_encoder::InstructionSink;

/// Emits what works on the operands on the stack.
type Emit = fn(&mut InstructionSink<'_>);

/// How an operation is emitted.
#[derive(Clone, Copy)]
pub enum Direct {
    /// `a` = of `b` and `c`.
    Binary(Emit),
    /// `a` = of `c` and `b`.
    Swapped(Emit),
    /// `a` = of `c`.
    Unary(Emit),
    /// `a` = all these bits.
    Constant(i128),
    /// `a` = bytes of the operands.
    Shuffle(Operands, Places),
    /// The second operand's lanes as the first's with these of the second; then those bits kept.
    InsertSingle,
    /// `a` = of the even lanes of `b` and `c`, of so many bytes, and of the odd ones.
    Horizontal(u8, Emit),
    /// `a` = `b` shifted by so many bits, fewer than the width.
    ShiftImmediate(u8, Emit),
    /// `a` = `b` shifted by `c`, zero when that is not below the width.
    Shift(u32, Emit),
    /// `a` = `b` shifted by `c`, but at most by the width less one.
    ShiftSigned(u32, Emit),
    /// `a` = lanes of `c` where those of `d` are negative, else of `b`; this compares.
    BlendVariable(Emit, Emit),
    /// Bytes of `b` by the places in `c`.
    ShuffleBytes,
    /// The high halves of 16-bit products; these give the products of the low and of the high lanes.
    MultiplyHigh(Emit, Emit),
    /// Products of the even 32-bit lanes; this gives those of the low two.
    MultiplyEven(Emit),
    /// PMADDUBSW.
    MultiplyAddUnsignedSigned8,
    /// PSADBW.
    SumOfAbsoluteDifferences,
    /// PSIGNx: this compares greater, this subtracts, this compares equal.
    WithSignOf(Emit, Emit, Emit),
    /// Integer register `a` = 32 bits from `c`.
    ToInteger32(Emit),
    /// Integer register `a` = lane `d`, whose number this takes, of `c`.
    Extract(u32),
    /// `a` = integer register `c`.
    FromInteger(Width),
    /// `a` = `b` with integer register `c` in lane `d`.
    Insert(u32),
    /// PTEST.
    Test,
    /// PCMPISTRI of the kind that is emitted.
    CompareStrings,
    /// By a call that works on vector registers only.
    Slow,
}

macro_rules! emits {
    ($($instruction:ident),*) => {
        |wasm| { wasm$(.$instruction())*; }
    };
}

impl Direct {
    /// How the operation is emitted; `None` when a helper runs it.
    pub fn of(operation: Operation, op: &Op) -> Option<Self> {
        use Operation as O;
        if let Some((operands, places)) = shuffle(operation, op) {
            return Some(Self::Shuffle(operands, places));
        }
        let count = op.d;
        let by_immediate = |bits: u8, emit: Emit| {
            if count < bits { Self::ShiftImmediate(count, emit) } else { Self::Constant(0) }
        };
        Some(match operation {
            O::Xor if op.b == op.c => Self::Constant(0),
            O::Equal8 | O::Equal16 | O::Equal32 | O::Equal64 if op.b == op.c => Self::Constant(-1),
            O::And => Self::Binary(emits!(v128_and)),
            O::AndNot => Self::Swapped(emits!(v128_andnot)),
            O::Or => Self::Binary(emits!(v128_or)),
            O::Xor => Self::Binary(emits!(v128_xor)),
            O::Equal8 => Self::Binary(emits!(i8x16_eq)),
            O::Equal16 => Self::Binary(emits!(i16x8_eq)),
            O::Equal32 => Self::Binary(emits!(i32x4_eq)),
            O::Equal64 => Self::Binary(emits!(i64x2_eq)),
            O::GreaterSigned8 => Self::Binary(emits!(i8x16_gt_s)),
            O::GreaterSigned16 => Self::Binary(emits!(i16x8_gt_s)),
            O::GreaterSigned32 => Self::Binary(emits!(i32x4_gt_s)),
            O::GreaterSigned64 => Self::Binary(emits!(i64x2_gt_s)),
            O::Mask8 => Self::ToInteger32(emits!(i8x16_bitmask)),
            O::Mask32 => Self::ToInteger32(emits!(i32x4_bitmask)),
            O::Mask64 => Self::ToInteger32(emits!(i64x2_bitmask)),
            O::MinimumUnsigned8 => Self::Binary(emits!(i8x16_min_u)),
            O::MinimumUnsigned16 => Self::Binary(emits!(i16x8_min_u)),
            O::MinimumUnsigned32 => Self::Binary(emits!(i32x4_min_u)),
            O::MaximumUnsigned8 => Self::Binary(emits!(i8x16_max_u)),
            O::MaximumUnsigned16 => Self::Binary(emits!(i16x8_max_u)),
            O::MaximumUnsigned32 => Self::Binary(emits!(i32x4_max_u)),
            O::MinimumSigned8 => Self::Binary(emits!(i8x16_min_s)),
            O::MinimumSigned16 => Self::Binary(emits!(i16x8_min_s)),
            O::MinimumSigned32 => Self::Binary(emits!(i32x4_min_s)),
            O::MaximumSigned8 => Self::Binary(emits!(i8x16_max_s)),
            O::MaximumSigned16 => Self::Binary(emits!(i16x8_max_s)),
            O::MaximumSigned32 => Self::Binary(emits!(i32x4_max_s)),
            O::Add8 => Self::Binary(emits!(i8x16_add)),
            O::Add16 => Self::Binary(emits!(i16x8_add)),
            O::Add32 => Self::Binary(emits!(i32x4_add)),
            O::Add64 => Self::Binary(emits!(i64x2_add)),
            O::Subtract8 => Self::Binary(emits!(i8x16_sub)),
            O::Subtract16 => Self::Binary(emits!(i16x8_sub)),
            O::Subtract32 => Self::Binary(emits!(i32x4_sub)),
            O::Subtract64 => Self::Binary(emits!(i64x2_sub)),
            O::AddSaturatingSigned8 => Self::Binary(emits!(i8x16_add_sat_s)),
            O::AddSaturatingSigned16 => Self::Binary(emits!(i16x8_add_sat_s)),
            O::AddSaturatingUnsigned8 => Self::Binary(emits!(i8x16_add_sat_u)),
            O::AddSaturatingUnsigned16 => Self::Binary(emits!(i16x8_add_sat_u)),
            O::SubtractSaturatingSigned8 => Self::Binary(emits!(i8x16_sub_sat_s)),
            O::SubtractSaturatingSigned16 => Self::Binary(emits!(i16x8_sub_sat_s)),
            O::SubtractSaturatingUnsigned8 => Self::Binary(emits!(i8x16_sub_sat_u)),
            O::SubtractSaturatingUnsigned16 => Self::Binary(emits!(i16x8_sub_sat_u)),
            O::Average8 => Self::Binary(emits!(i8x16_avgr_u)),
            O::Average16 => Self::Binary(emits!(i16x8_avgr_u)),
            O::Absolute8 => Self::Unary(emits!(i8x16_abs)),
            O::Absolute16 => Self::Unary(emits!(i16x8_abs)),
            O::Absolute32 => Self::Unary(emits!(i32x4_abs)),
            O::WithSignOf8 => Self::WithSignOf(emits!(i8x16_gt_s), emits!(i8x16_sub), emits!(i8x16_eq)),
            O::WithSignOf16 => Self::WithSignOf(emits!(i16x8_gt_s), emits!(i16x8_sub), emits!(i16x8_eq)),
            O::WithSignOf32 => Self::WithSignOf(emits!(i32x4_gt_s), emits!(i32x4_sub), emits!(i32x4_eq)),
            O::MultiplyLow16 => Self::Binary(emits!(i16x8_mul)),
            O::MultiplyLow32 => Self::Binary(emits!(i32x4_mul)),
            O::MultiplyHighSigned16 => {
                Self::MultiplyHigh(emits!(i32x4_extmul_low_i16x8_s), emits!(i32x4_extmul_high_i16x8_s))
            }
            O::MultiplyHighUnsigned16 => {
                Self::MultiplyHigh(emits!(i32x4_extmul_low_i16x8_u), emits!(i32x4_extmul_high_i16x8_u))
            }
            O::MultiplyEvenUnsigned32 => Self::MultiplyEven(emits!(i64x2_extmul_low_i32x4_u)),
            O::MultiplyEvenSigned32 => Self::MultiplyEven(emits!(i64x2_extmul_low_i32x4_s)),
            O::MultiplyAdd16 => Self::Binary(emits!(i32x4_dot_i16x8_s)),
            O::MultiplyAddUnsignedSigned8 => Self::MultiplyAddUnsignedSigned8,
            O::SumOfAbsoluteDifferences => Self::SumOfAbsoluteDifferences,
            O::HorizontalAdd16 => Self::Horizontal(2, emits!(i16x8_add)),
            O::HorizontalAdd32 => Self::Horizontal(4, emits!(i32x4_add)),
            O::HorizontalAddSaturating16 => Self::Horizontal(2, emits!(i16x8_add_sat_s)),
            O::HorizontalSubtract16 => Self::Horizontal(2, emits!(i16x8_sub)),
            O::HorizontalSubtract32 => Self::Horizontal(4, emits!(i32x4_sub)),
            O::HorizontalSubtractSaturating16 => Self::Horizontal(2, emits!(i16x8_sub_sat_s)),
            O::PackSigned16 => Self::Binary(emits!(i8x16_narrow_i16x8_s)),
            O::PackUnsigned16 => Self::Binary(emits!(i8x16_narrow_i16x8_u)),
            O::PackSigned32 => Self::Binary(emits!(i16x8_narrow_i32x4_s)),
            O::PackUnsigned32 => Self::Binary(emits!(i16x8_narrow_i32x4_u)),
            O::FromInteger32 => Self::FromInteger(Width::W32),
            O::FromInteger64 => Self::FromInteger(Width::W64),
            O::ToInteger32 => Self::ToInteger32(|wasm| {
                wasm.i32x4_extract_lane(0);
            }),
            O::ToInteger64 => Self::Extract(64),
            O::ShuffleBytes => Self::ShuffleBytes,
            O::ShiftLeft16 => Self::Shift(16, emits!(i16x8_shl)),
            O::ShiftLeft32 => Self::Shift(32, emits!(i32x4_shl)),
            O::ShiftLeft64 => Self::Shift(64, emits!(i64x2_shl)),
            O::ShiftRight16 => Self::Shift(16, emits!(i16x8_shr_u)),
            O::ShiftRight32 => Self::Shift(32, emits!(i32x4_shr_u)),
            O::ShiftRight64 => Self::Shift(64, emits!(i64x2_shr_u)),
            O::ShiftRightSigned16 => Self::ShiftSigned(16, emits!(i16x8_shr_s)),
            O::ShiftRightSigned32 => Self::ShiftSigned(32, emits!(i32x4_shr_s)),
            O::ShiftLeftImmediate16 => by_immediate(16, emits!(i16x8_shl)),
            O::ShiftLeftImmediate32 => by_immediate(32, emits!(i32x4_shl)),
            O::ShiftLeftImmediate64 => by_immediate(64, emits!(i64x2_shl)),
            O::ShiftRightImmediate16 => by_immediate(16, emits!(i16x8_shr_u)),
            O::ShiftRightImmediate32 => by_immediate(32, emits!(i32x4_shr_u)),
            O::ShiftRightImmediate64 => by_immediate(64, emits!(i64x2_shr_u)),
            O::ShiftRightSignedImmediate16 => Self::ShiftImmediate(count.min(15), emits!(i16x8_shr_s)),
            O::ShiftRightSignedImmediate32 => Self::ShiftImmediate(count.min(31), emits!(i32x4_shr_s)),
            O::BlendVariable8 => Self::BlendVariable(emits!(i8x16_lt_s), emits!(i8x16_relaxed_laneselect)),
            O::BlendVariable32 => Self::BlendVariable(emits!(i32x4_lt_s), emits!(i32x4_relaxed_laneselect)),
            O::BlendVariable64 => Self::BlendVariable(emits!(i64x2_lt_s), emits!(i64x2_relaxed_laneselect)),
            O::InsertSingle => Self::InsertSingle,
            O::Insert8 => Self::Insert(8),
            O::Insert16 => Self::Insert(16),
            O::Insert32 => Self::Insert(32),
            O::Insert64 => Self::Insert(64),
            O::Extract8 => Self::Extract(8),
            O::Extract16 => Self::Extract(16),
            O::Extract32 => Self::Extract(32),
            O::Extract64 => Self::Extract(64),
            O::SignExtend8To16 => Self::Unary(emits!(i16x8_extend_low_i8x16_s)),
            O::SignExtend8To32 => Self::Unary(emits!(i16x8_extend_low_i8x16_s, i32x4_extend_low_i16x8_s)),
            O::SignExtend8To64 => Self::Unary(emits!(
                i16x8_extend_low_i8x16_s,
                i32x4_extend_low_i16x8_s,
                i64x2_extend_low_i32x4_s
            )),
            O::SignExtend16To32 => Self::Unary(emits!(i32x4_extend_low_i16x8_s)),
            O::SignExtend16To64 => Self::Unary(emits!(i32x4_extend_low_i16x8_s, i64x2_extend_low_i32x4_s)),
            O::SignExtend32To64 => Self::Unary(emits!(i64x2_extend_low_i32x4_s)),
            O::ZeroExtend8To16 => Self::Unary(emits!(i16x8_extend_low_i8x16_u)),
            O::ZeroExtend8To32 => Self::Unary(emits!(i16x8_extend_low_i8x16_u, i32x4_extend_low_i16x8_u)),
            O::ZeroExtend8To64 => Self::Unary(emits!(
                i16x8_extend_low_i8x16_u,
                i32x4_extend_low_i16x8_u,
                i64x2_extend_low_i32x4_u
            )),
            O::ZeroExtend16To32 => Self::Unary(emits!(i32x4_extend_low_i16x8_u)),
            O::ZeroExtend16To64 => Self::Unary(emits!(i32x4_extend_low_i16x8_u, i64x2_extend_low_i32x4_u)),
            O::ZeroExtend32To64 => Self::Unary(emits!(i64x2_extend_low_i32x4_u)),
            O::Test => Self::Test,
            O::StringImplicitIndex if strings::is_direct(op.d) => Self::CompareStrings,
            O::MultiplyHighRounded16 | O::MinimumWordAndPlace | O::MultipleSumsOfAbsoluteDifferences => {
                Self::Slow
            }
            _ => return None,
        })
    }

    /// What it does with integer registers and flags.
    pub fn effects(&self, op: &Op) -> VectorEffects {
        let bit = |number: u8| 1 << (number & 31);
        let mut effects = VectorEffects::default();
        match self {
            Self::ToInteger32(_) | Self::Extract(_) => effects.writes = bit(op.a),
            Self::FromInteger(_) | Self::Insert(_) => effects.reads = bit(op.c),
            Self::Test => effects.defines_flags = true,
            Self::CompareStrings => {
                effects.writes = bit(Reg::RCX.0);
                effects.defines_flags = true;
            }
            Self::Slow => effects.may_exit = true,
            _ => {}
        }
        effects
    }
}

/// Whether an operation on 256 bits does the same with both halves, but for its immediate byte.
pub fn has_halves_alike(operation: Operation, op: &Op) -> bool {
    use Operation as O;
    let is_extension = matches!(
        operation,
        O::SignExtend8To16
            | O::SignExtend8To32
            | O::SignExtend8To64
            | O::SignExtend16To32
            | O::SignExtend16To64
            | O::SignExtend32To64
            | O::ZeroExtend8To16
            | O::ZeroExtend8To32
            | O::ZeroExtend8To64
            | O::ZeroExtend16To32
            | O::ZeroExtend16To64
            | O::ZeroExtend32To64
    );
    // The low half's result would be the upper half's count.
    let loses_count = takes_common_count(operation) && op.a == op.c;
    if operation == O::Mask8 {
        return true;
    }
    let is_plain = !matches!(
        Direct::of(operation, op),
        None | Some(
            Direct::Slow
                | Direct::Test
                | Direct::CompareStrings
                | Direct::ToInteger32(_)
                | Direct::Extract(_)
                | Direct::FromInteger(_)
                | Direct::Insert(_)
                | Direct::InsertSingle
        )
    );
    is_plain && !is_extension && !loses_count
}

/// Shifts that take their count from the low half of `c` for both halves.
fn takes_common_count(operation: Operation) -> bool {
    use Operation as O;
    matches!(
        operation,
        O::ShiftLeft16
            | O::ShiftLeft32
            | O::ShiftLeft64
            | O::ShiftRight16
            | O::ShiftRight32
            | O::ShiftRight64
            | O::ShiftRightSigned16
            | O::ShiftRightSigned32
    )
}

/// What such an operation does with integer registers and flags.
pub fn wide_effects(operation: Operation, op: &Op) -> VectorEffects {
    let writes = if operation == Operation::Mask8 { 1 << (op.a & 31) } else { 0 };
    VectorEffects { writes, ..VectorEffects::default() }
}

impl Emitter<'_> {
    /// Emits an operation on 256 bits, half by half.
    pub(super) fn integer_halves(&mut self, operation: Operation, op: &Op) {
        use Operation as O;
        if operation == O::Mask8 {
            self.get_vector(op.c);
            self.wasm().i8x16_bitmask();
            self.get_vector(op.c | UPPER);
            self.wasm().i8x16_bitmask().i32_const(16).i32_shl().i32_or().i64_extend_i32_u();
            return self.set(op.a);
        }
        let d = match operation {
            O::BlendVariable8 | O::BlendVariable32 | O::BlendVariable64 => op.d | UPPER,
            O::BlendSingles => op.d >> 4,
            O::BlendDoubles | O::ShuffleDoubles => op.d >> 2,
            _ => op.d,
        };
        let c = if takes_common_count(operation) { op.c } else { op.c | UPPER };
        let upper = Op { a: op.a | UPPER, b: op.b | UPPER, c, d, ..*op };
        for half in [*op, upper] {
            if let Some(direct) = Direct::of(operation, &half) {
                self.integer_lanes(&direct, &half);
            }
        }
    }

    /// Emits an operation.
    pub(super) fn integer_lanes(&mut self, direct: &Direct, op: &Op) {
        match *direct {
            Direct::ToInteger32(emit) => {
                self.get_vector(op.c);
                emit(&mut self.wasm());
                self.wasm().i64_extend_i32_u();
                return self.set(op.a);
            }
            Direct::Extract(bits) => {
                self.get_vector(op.c);
                let lane = lane(op.d, bits);
                let mut wasm = self.wasm();
                match bits {
                    8 => wasm.i8x16_extract_lane_u(lane).i64_extend_i32_u(),
                    16 => wasm.i16x8_extract_lane_u(lane).i64_extend_i32_u(),
                    32 => wasm.i32x4_extract_lane(lane).i64_extend_i32_u(),
                    _ => wasm.i64x2_extract_lane(lane),
                };
                return self.set(op.a);
            }
            Direct::Test => return self.vector_test(op),
            Direct::CompareStrings => return self.compare_strings(op),
            Direct::Slow => {
                return self.vector_always_slowly(op);
            }
            Direct::Binary(emit) => {
                self.both(op);
                emit(&mut self.wasm());
            }
            Direct::Swapped(emit) => {
                self.get_vector(op.c);
                self.get_vector(op.b);
                emit(&mut self.wasm());
            }
            Direct::Unary(emit) => {
                self.get_vector(op.c);
                emit(&mut self.wasm());
            }
            Direct::Constant(bits) => {
                self.wasm().v128_const(bits);
            }
            Direct::Shuffle(operands, places) => self.shuffle(op, operands, places),
            Direct::InsertSingle => self.insert_single(op),
            Direct::Horizontal(bytes, emit) => {
                for odd in [0, 1] {
                    self.both(op);
                    self.wasm().i8x16_shuffle(std::array::from_fn(|byte| {
                        let byte = byte as u8;
                        (byte / bytes * 2 + odd) * bytes + byte % bytes
                    }));
                }
                emit(&mut self.wasm());
            }
            Direct::ShiftImmediate(count, emit) => {
                self.get_vector(op.b);
                self.wasm().i32_const(count.into());
                emit(&mut self.wasm());
            }
            Direct::Shift(bits, emit) => {
                self.get_vector(op.b);
                self.get_vector(op.c);
                self.wasm().i64x2_extract_lane(0).local_tee(VALUE).i32_wrap_i64();
                emit(&mut self.wasm());
                // All ones when the count is below the width, else zero.
                let mut wasm = self.wasm();
                wasm.i64_const(0).local_get(VALUE).i64_const(bits.into()).i64_lt_u().i64_extend_i32_u();
                wasm.i64_sub().i64x2_splat().v128_and();
            }
            Direct::ShiftSigned(bits, emit) => {
                self.get_vector(op.b);
                self.get_vector(op.c);
                let most = i64::from(bits) - 1;
                let mut wasm = self.wasm();
                wasm.i64x2_extract_lane(0).local_tee(VALUE).i64_const(most).local_get(VALUE);
                wasm.i64_const(most).i64_lt_u().select().i32_wrap_i64();
                emit(&mut self.wasm());
            }
            Direct::BlendVariable(less, select) => {
                self.get_vector(op.c);
                self.get_vector(op.b);
                self.get_vector(op.d);
                if self.relaxed.selects {
                    select(&mut self.wasm());
                } else {
                    self.wasm().v128_const(0);
                    less(&mut self.wasm());
                    self.wasm().v128_bitselect();
                }
            }
            Direct::ShuffleBytes => {
                self.both(op);
                if self.relaxed.swizzles {
                    self.wasm().i8x16_relaxed_swizzle();
                } else {
                    // WebAssembly gives zero for every place from 16 on.
                    self.wasm().v128_const(repeated(0x8f)).v128_and().i8x16_swizzle();
                }
            }
            Direct::MultiplyHigh(low, high) => {
                self.both(op);
                low(&mut self.wasm());
                self.both(op);
                high(&mut self.wasm());
                let places = std::array::from_fn(|byte| (byte as u8 / 2) * 4 + 2 + byte as u8 % 2);
                self.wasm().i8x16_shuffle(places);
            }
            Direct::MultiplyEven(emit) => {
                const EVEN: Places = [0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11];
                for number in [op.b, op.c] {
                    self.get_vector(number);
                    self.get_vector(number);
                    self.wasm().i8x16_shuffle(EVEN);
                }
                emit(&mut self.wasm());
            }
            Direct::MultiplyAddUnsignedSigned8 => {
                self.get_vector(op.b);
                let low_bytes =
                    i128::from_le_bytes(std::array::from_fn(|byte| if byte % 2 == 0 { 0xff } else { 0 }));
                self.wasm().v128_const(low_bytes).v128_and();
                self.get_vector(op.c);
                self.wasm().i32_const(8).i16x8_shl().i32_const(8).i16x8_shr_s().i16x8_mul();
                self.get_vector(op.b);
                self.wasm().i32_const(8).i16x8_shr_u();
                self.get_vector(op.c);
                self.wasm().i32_const(8).i16x8_shr_s().i16x8_mul().i16x8_add_sat_s();
            }
            Direct::SumOfAbsoluteDifferences => {
                let sums = self.scratch(0);
                self.both(op);
                self.wasm().i8x16_sub_sat_u();
                self.get_vector(op.c);
                self.get_vector(op.b);
                let mut wasm = self.wasm();
                wasm.i8x16_sub_sat_u().v128_or();
                wasm.i16x8_extadd_pairwise_i8x16_u().i32x4_extadd_pairwise_i16x8_u().local_tee(sums);
                wasm.local_get(sums).i32_const(32).i64x2_shr_u().i64x2_add();
                wasm.v128_const(0xffff_ffff << 64 | 0xffff_ffff).v128_and();
            }
            Direct::WithSignOf(greater, subtract, equal) => {
                let negative = self.scratch(0);
                self.get_vector(op.b);
                self.wasm().v128_const(0);
                self.get_vector(op.c);
                greater(&mut self.wasm());
                let mut wasm = self.wasm();
                wasm.local_tee(negative).v128_xor().local_get(negative);
                subtract(&mut self.wasm());
                self.get_vector(op.c);
                self.wasm().v128_const(0);
                equal(&mut self.wasm());
                self.wasm().v128_andnot();
            }
            Direct::FromInteger(width) => {
                self.wasm().v128_const(0);
                self.get(op.c);
                if width == Width::W32 {
                    self.wasm().i32_wrap_i64().i32x4_replace_lane(0);
                } else {
                    self.wasm().i64x2_replace_lane(0);
                }
            }
            Direct::Insert(bits) => {
                self.get_vector(op.b);
                self.get(op.c);
                let lane = lane(op.d, bits);
                let mut wasm = self.wasm();
                match bits {
                    8 => wasm.i32_wrap_i64().i8x16_replace_lane(lane),
                    16 => wasm.i32_wrap_i64().i16x8_replace_lane(lane),
                    32 => wasm.i32_wrap_i64().i32x4_replace_lane(lane),
                    _ => wasm.i64x2_replace_lane(lane),
                };
            }
        }
        self.set_blended(op);
    }

    pub(super) fn both(&mut self, op: &Op) {
        self.get_vector(op.b);
        self.get_vector(op.c);
    }

    fn shuffle(&mut self, op: &Op, operands: Operands, places: Places) {
        match operands {
            Operands::Both => self.both(op),
            Operands::Swapped => {
                self.get_vector(op.c);
                self.get_vector(op.b);
            }
            Operands::Second => {
                self.get_vector(op.c);
                self.get_vector(op.c);
            }
            Operands::FirstAndZero => {
                self.get_vector(op.b);
                self.wasm().v128_const(0);
            }
            Operands::ZeroAndFirst => {
                self.wasm().v128_const(0);
                self.get_vector(op.b);
            }
            Operands::SecondAndZero => {
                self.get_vector(op.c);
                self.wasm().v128_const(0);
            }
        }
        self.wasm().i8x16_shuffle(places);
    }

    /// INSERTPS: lane `d >> 6` of `c` into lane `d >> 4` of `b`, then zero where the low bits of `d` are set.
    fn insert_single(&mut self, op: &Op) {
        let (from, to) = (op.d >> 6, op.d >> 4 & 3);
        let places = std::array::from_fn(|byte| {
            let byte = byte as u8;
            if byte / 4 == to { 16 + from * 4 + byte % 4 } else { byte }
        });
        self.both(op);
        self.wasm().i8x16_shuffle(places);
        let kept = (0..4).filter(|lane| op.d >> lane & 1 == 0).map(|lane| 0xffff_ffffu128 << (32 * lane));
        let kept = kept.fold(0, |all, lane| all | lane);
        if kept != u128::MAX {
            self.wasm().v128_const(kept as i128).v128_and();
        }
    }

    /// PTEST: ZF when `b & c` is zero, CF when `!b & c` is.
    fn vector_test(&mut self, op: &Op) {
        const _: () = assert!(crate::cpu::flags::ZF == 1 << 6 && crate::cpu::flags::CF == 1);
        self.both(op);
        self.wasm().v128_and().v128_any_true().i32_eqz().i32_const(6).i32_shl();
        self.get_vector(op.c);
        self.get_vector(op.b);
        let mut wasm = self.wasm();
        wasm.v128_andnot().v128_any_true().i32_eqz().i32_or().i64_extend_i32_u().local_set(FLAGS_SOURCE);
        self.define_flags(Pending::Explicit, Width::W64);
    }
}

/// The lane of so many bits that the low bits of an immediate byte name.
fn lane(immediate: u8, bits: u32) -> u8 {
    immediate & (128 / bits - 1) as u8
}

/// A byte, sixteen times.
fn repeated(byte: u8) -> i128 {
    i128::from_le_bytes([byte; 16])
}
