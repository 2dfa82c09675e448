//! Operations of 256 bits whose halves are not alike: moves across the halves, broadcasts, extensions, masks.

use super::{Emitter, UPPER, VectorEffects};
use crate::cpu::sse::avx::Operation as Wide;
use crate::cpu::sse::integer::Operation as Integer;
use crate::ir::{Op, OpCode};
use wasm_encoder::InstructionSink;

/// Emits what works on the operands on the stack.
type Emit = fn(&mut InstructionSink<'_>);

/// Where a half of the result comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// All bits clear.
    Zero,
    /// This register or upper half.
    Of(u8),
}

/// How an operation is emitted.
#[derive(Clone, Copy)]
pub enum Direct {
    /// The lowest lane of `c`, which this takes from a vector and puts into all lanes.
    Broadcast(Emit),
    /// The low half, then the upper half.
    Halves(Half, Half),
    /// Quadwords of `c` by the fields of the immediate byte.
    Quadwords,
    /// Lanes of the low half of `c`, so many bytes of it for each half of the result, which this extends.
    Extend(u8, Emit),
    /// Integer register `a` = bits that this takes from each half of `c`, so many of them.
    Mask(u32, Emit),
}

macro_rules! emits {
    ($($instruction:ident),*) => {
        |wasm| { wasm$(.$instruction())*; }
    };
}

impl Direct {
    /// How the operation is emitted, if it is one of these.
    pub fn of(op: &Op) -> Option<Self> {
        let is_wide = op.code == OpCode::Vector256;
        if let Some(operation) = Integer::from_number(op.imm) {
            return if is_wide { Self::of_integer(operation) } else { None };
        }
        let (b, c, d) = (op.b, op.c, op.d);
        let half = |number: u8, is_upper: bool| Half::Of(if is_upper { number | UPPER } else { number });
        Some(match Wide::from_number(op.imm)? {
            Wide::Broadcast8 => Self::Broadcast(|wasm| {
                wasm.i8x16_extract_lane_u(0).i8x16_splat();
            }),
            Wide::Broadcast16 => Self::Broadcast(|wasm| {
                wasm.i16x8_extract_lane_u(0).i16x8_splat();
            }),
            Wide::Broadcast32 => Self::Broadcast(|wasm| {
                wasm.i32x4_extract_lane(0).i32x4_splat();
            }),
            Wide::Broadcast64 => Self::Broadcast(|wasm| {
                wasm.i64x2_extract_lane(0).i64x2_splat();
            }),
            Wide::Broadcast128 => Self::Halves(half(c, false), half(c, false)),
            Wide::InsertHalf if d & 1 == 0 => Self::Halves(half(c, false), half(b, true)),
            Wide::InsertHalf => Self::Halves(half(b, false), half(c, false)),
            Wide::ExtractHalf if d & 1 == 0 => Self::Halves(half(c, false), half(c, true)),
            Wide::ExtractHalf => Self::Halves(half(c, true), Half::Zero),
            Wide::PermuteHalves => {
                let of = |field: u8| {
                    if field & 8 != 0 {
                        Half::Zero
                    } else {
                        half(if field & 2 == 0 { b } else { c }, field & 1 != 0)
                    }
                };
                Self::Halves(of(d), of(d >> 4))
            }
            Wide::PermuteQuadwords => Self::Quadwords,
            _ => return None,
        })
    }

    fn of_integer(operation: Integer) -> Option<Self> {
        use Integer as O;
        Some(match operation {
            O::Mask32 => Self::Mask(4, emits!(i32x4_bitmask)),
            O::Mask64 => Self::Mask(2, emits!(i64x2_bitmask)),
            O::SignExtend8To16 => Self::Extend(8, emits!(i16x8_extend_low_i8x16_s)),
            O::SignExtend8To32 => Self::Extend(4, emits!(i16x8_extend_low_i8x16_s, i32x4_extend_low_i16x8_s)),
            O::SignExtend8To64 => Self::Extend(
                2,
                emits!(i16x8_extend_low_i8x16_s, i32x4_extend_low_i16x8_s, i64x2_extend_low_i32x4_s),
            ),
            O::SignExtend16To32 => Self::Extend(8, emits!(i32x4_extend_low_i16x8_s)),
            O::SignExtend16To64 => {
                Self::Extend(4, emits!(i32x4_extend_low_i16x8_s, i64x2_extend_low_i32x4_s))
            }
            O::SignExtend32To64 => Self::Extend(8, emits!(i64x2_extend_low_i32x4_s)),
            O::ZeroExtend8To16 => Self::Extend(8, emits!(i16x8_extend_low_i8x16_u)),
            O::ZeroExtend8To32 => Self::Extend(4, emits!(i16x8_extend_low_i8x16_u, i32x4_extend_low_i16x8_u)),
            O::ZeroExtend8To64 => Self::Extend(
                2,
                emits!(i16x8_extend_low_i8x16_u, i32x4_extend_low_i16x8_u, i64x2_extend_low_i32x4_u),
            ),
            O::ZeroExtend16To32 => Self::Extend(8, emits!(i32x4_extend_low_i16x8_u)),
            O::ZeroExtend16To64 => {
                Self::Extend(4, emits!(i32x4_extend_low_i16x8_u, i64x2_extend_low_i32x4_u))
            }
            O::ZeroExtend32To64 => Self::Extend(8, emits!(i64x2_extend_low_i32x4_u)),
            _ => return None,
        })
    }

    /// What it does with integer registers and flags.
    pub fn effects(&self, op: &Op) -> VectorEffects {
        let writes = if matches!(self, Self::Mask(..)) { 1 << (op.a & 31) } else { 0 };
        VectorEffects { writes, ..VectorEffects::default() }
    }
}

impl Emitter<'_> {
    /// Emits an operation.
    pub(super) fn permute(&mut self, direct: &Direct, op: &Op) {
        let is_wide = op.code == OpCode::Vector256;
        match *direct {
            Direct::Broadcast(emit) => {
                self.get_vector(op.c);
                emit(&mut self.wasm());
                self.set_vector(op.a);
                if is_wide {
                    self.get_vector(op.a);
                    self.set_vector(op.a | UPPER);
                }
            }
            Direct::Halves(low, upper) => {
                // Both are taken before either is put down.
                self.half(upper);
                self.half(low);
                self.set_vector(op.a);
                self.set_vector(op.a | UPPER);
            }
            Direct::Quadwords => {
                for fields in [op.d >> 4, op.d] {
                    self.get_vector(op.c);
                    self.get_vector(op.c | UPPER);
                    self.wasm().i8x16_shuffle(std::array::from_fn(|byte| {
                        let byte = byte as u8;
                        (fields >> (byte / 8 * 2) & 3) * 8 + byte % 8
                    }));
                }
                self.set_vector(op.a);
                self.set_vector(op.a | UPPER);
            }
            Direct::Extend(bytes, emit) => {
                for first in [bytes, 0] {
                    self.get_vector(op.c);
                    if first != 0 {
                        self.get_vector(op.c);
                        // What stands behind the lanes that are extended does not count.
                        self.wasm().i8x16_shuffle(std::array::from_fn(|byte| byte as u8 + first));
                    }
                    emit(&mut self.wasm());
                }
                self.set_vector(op.a);
                self.set_vector(op.a | UPPER);
            }
            Direct::Mask(bits, emit) => {
                self.get_vector(op.c);
                emit(&mut self.wasm());
                self.get_vector(op.c | UPPER);
                emit(&mut self.wasm());
                self.wasm().i32_const(bits as i32).i32_shl().i32_or().i64_extend_i32_u();
                self.set(op.a);
            }
        }
    }

    fn half(&mut self, half: Half) {
        match half {
            Half::Zero => {
                self.wasm().v128_const(0);
            }
            Half::Of(number) => self.get_vector(number),
        }
    }
}
