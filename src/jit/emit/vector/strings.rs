//! PCMPISTRI with "equal each" and "equal any" on bytes: what `strcmp`, `strspn` and their kin are made of.

use super::super::flags::Pending;
use super::super::{ENTRY, Emitter, FLAGS_LEFT, FLAGS_RESULT, FLAGS_SOURCE, SECOND, VALUE};
use crate::cpu::flags::{CF, OF, SF, ZF};
use crate::ir::{Op, Reg, Width};
use wasm_encoder::BlockType;

const AGGREGATION: u8 = 3 << 2;
const EQUAL_ANY: u8 = 0 << 2;
const EQUAL_EACH: u8 = 2 << 2;

/// Whether a control byte asks for bytes, "equal each" or "equal any", and the lowest set bit's place.
pub fn is_direct(control: u8) -> bool {
    const ELEMENTS_16: u8 = 1;
    const HIGHEST: u8 = 1 << 6;
    matches!(control & (ELEMENTS_16 | AGGREGATION | HIGHEST), EQUAL_ANY | EQUAL_EACH)
}

impl Emitter<'_> {
    /// Compares the strings in `b` and `c` by the control byte `d`.
    pub(super) fn compare_strings(&mut self, op: &Op) {
        const _: () = assert!(CF == 1 && ZF == 1 << 6 && SF == 1 << 7 && OF == 1 << 11);
        // The flags are defined anew: their locals are free.
        const STRINGS: [(u32, u32); 2] = [(VALUE, FLAGS_LEFT), (SECOND, FLAGS_RESULT)];
        for (string, (ends, within)) in [op.b, op.c].into_iter().zip(STRINGS) {
            // A bit for each byte that is zero; the bytes of the string are those below the lowest.
            self.get_vector(string);
            let mut wasm = self.wasm();
            wasm.v128_const(0).i8x16_eq().i8x16_bitmask().i64_extend_i32_u().local_tee(ends);
            wasm.i64_const(1).i64_sub().local_get(ends).i64_const(-1).i64_xor().i64_and().local_set(within);
        }
        let [(pattern_ends, in_pattern), (text_ends, in_text)] = STRINGS;
        if op.d & AGGREGATION == EQUAL_EACH {
            self.both(op);
            let mut wasm = self.wasm();
            // Bytes that are equal within both count, and all behind both.
            wasm.i8x16_eq().i8x16_bitmask().i64_extend_i32_u();
            wasm.local_get(in_pattern).i64_and().local_get(in_text).i64_and();
            wasm.local_get(in_pattern).local_get(in_text).i64_or().i64_const(-1).i64_xor().i64_or();
        } else {
            self.equal_to_any(op, in_pattern);
            self.wasm().local_get(in_text).i64_and();
        }
        let mut wasm = self.wasm();
        match op.d >> 4 & 3 {
            1 => wasm.i64_const(-1).i64_xor(),
            3 => wasm.local_get(in_text).i64_xor(),
            _ => &mut wasm,
        };
        wasm.i32_wrap_i64().i32_const(0xffff).i32_and().local_set(ENTRY);
        // Without a bit the place is that of the first byte behind.
        wasm.local_get(ENTRY).i32_const(1 << 16).i32_or().i32_ctz().i64_extend_i32_u();
        self.set(Reg::RCX.0);
        let mut wasm = self.wasm();
        wasm.local_get(ENTRY).i32_const(0).i32_ne();
        wasm.local_get(ENTRY).i32_const(1).i32_and().i32_const(11).i32_shl().i32_or();
        for (ends, flag) in [(text_ends, 6), (pattern_ends, 7)] {
            wasm.local_get(ends).i64_eqz().i32_eqz().i32_const(flag).i32_shl().i32_or();
        }
        wasm.i64_extend_i32_u().local_set(FLAGS_SOURCE);
        self.define_flags(Pending::Explicit, Width::W64);
    }

    /// Puts on the stack a bit for each byte of the text in `c` that is one of the pattern's in `b`, or maybe zero.
    /// The local has a bit for each byte of the pattern.
    fn equal_to_any(&mut self, op: &Op, in_pattern: u32) {
        let (pattern, text) = (self.cached_vector(op.b), self.cached_vector(op.c));
        let found = self.scratch(0);
        let mut wasm = self.wasm();
        wasm.v128_const(0).local_set(found).i32_const(0).local_set(ENTRY);
        // An empty pattern's first byte is zero, which no byte within the text is.
        wasm.loop_(BlockType::Empty);
        wasm.local_get(text).local_get(pattern).local_get(ENTRY).i8x16_splat().i8x16_swizzle().i8x16_eq();
        wasm.local_get(found).v128_or().local_set(found);
        wasm.local_get(ENTRY).i32_const(1).i32_add().local_tee(ENTRY);
        wasm.local_get(in_pattern)
            .i64_const(0xffff)
            .i64_and()
            .i64_popcnt()
            .i32_wrap_i64()
            .i32_lt_u()
            .br_if(0)
            .end();
        wasm.local_get(found).i8x16_bitmask().i64_extend_i32_u();
    }
}
