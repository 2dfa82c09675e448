//! PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM (SDM vol. 2B 4.1).

use super::{Halves, Operation, lanes, shuffle};
use crate::cpu::Vcpu;
use crate::cpu::flags::{CF, LazyFlags, OF, SF, ZF};
use crate::ir::{Op, Reg};

/// What the control byte says of the elements.
#[derive(Clone, Copy)]
struct Elements {
    bits: u32,
    count: usize,
    is_signed: bool,
}

impl Elements {
    fn of(control: u8) -> Self {
        let bits = 8 << (control & 1);
        Self { bits, count: (128 / bits) as usize, is_signed: control & 2 != 0 }
    }

    /// Every element of a register, extended.
    fn split(self, x: Halves) -> [i32; 16] {
        std::array::from_fn(|place| {
            let element = shuffle::extract(x, self.bits, place as u8) as i32;
            match (self.is_signed, self.bits) {
                (false, _) => element,
                (true, 8) => element as i8 as i32,
                (true, _) => element as i16 as i32,
            }
        })
    }

    /// Elements before the first zero.
    fn implicit_length(self, elements: &[i32; 16]) -> usize {
        elements[..self.count].iter().position(|&element| element == 0).unwrap_or(self.count)
    }

    /// The magnitude of a length register, no more than the elements there are.
    fn explicit_length(self, register: u64, is_64: bool) -> usize {
        let length = if is_64 { register as i64 } else { i64::from(register as i32) };
        length.unsigned_abs().min(self.count as u64) as usize
    }
}

/// A bit for each element of `text`: the aggregation that bits 3 and 2 of the control byte choose.
fn aggregated(control: u8, count: usize, pattern: &[i32], text: &[i32]) -> u32 {
    let holds = |place: usize| match control >> 2 & 3 {
        0 => text.get(place).is_some_and(|element| pattern.contains(element)),
        1 => text.get(place).is_some_and(|element| {
            pattern.chunks_exact(2).any(|range| range[0] <= *element && *element <= range[1])
        }),
        2 => pattern.get(place) == text.get(place),
        _ => pattern.iter().zip(place..count).all(|(element, at)| text.get(at) == Some(element)),
    };
    (0..count).filter(|&place| holds(place)).map(|place| 1 << place).sum()
}

/// A bit for each byte of `x` that equals the byte of `y` at its place.
#[inline]
fn equal_bytes(x: Halves, y: Halves) -> u32 {
    let half = |difference: u64| {
        const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
        // The highest bit of a byte is set where the byte is zero; no byte carries into the next.
        let zero = !(((difference & LOW) + LOW) | difference | LOW);
        ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    half(x[0] ^ y[0]) | half(x[1] ^ y[1]) << 8
}

/// As [`aggregated`] for bytes whose signs do not matter: "equal any" and "equal each".
#[inline]
fn aggregated_bytes(control: u8, x: Halves, y: Halves, pattern_length: usize, text_length: usize) -> u32 {
    let first = |count: usize| (1u32 << count) - 1;
    let (pattern, text) = (first(pattern_length), first(text_length));
    if control >> 2 & 3 == 2 {
        // Behind both ends everything is equal, behind one of them nothing.
        return equal_bytes(x, y) & pattern & text | !(pattern | text) & 0xffff;
    }
    let any = (0..pattern_length).fold(0, |found, place| {
        let element = x[place / 8] >> (place % 8 * 8) & 0xff;
        found | equal_bytes([element * 0x0101_0101_0101_0101; 2], y)
    });
    any & text
}

/// Compares `x` (the pattern) with `y` (the text) and sets the flags, and ECX or XMM0.
#[inline(never)]
pub fn compare(vcpu: &mut Vcpu, op: &Op, operation: Operation, x: Halves, y: Halves) {
    let control = op.d;
    let elements = Elements::of(control);
    let are_bytes = elements.bits == 8 && control >> 2 & 1 == 0;
    let is_explicit = matches!(operation, Operation::StringExplicitIndex | Operation::StringExplicitMask);
    let (pattern_length, text_length) = if is_explicit {
        let is_64 = op.disp != 0;
        (
            elements.explicit_length(vcpu.reg(Reg::RAX), is_64),
            elements.explicit_length(vcpu.reg(Reg::RDX), is_64),
        )
    } else if elements.bits == 8 {
        let length = |x| (equal_bytes(x, [0; 2]) | 1 << 16).trailing_zeros() as usize;
        (length(x), length(y))
    } else {
        (elements.implicit_length(&elements.split(x)), elements.implicit_length(&elements.split(y)))
    };
    let all = u32::MAX >> (32 - elements.count);
    let found = if are_bytes {
        aggregated_bytes(control, x, y, pattern_length, text_length)
    } else {
        let (pattern, text) = (elements.split(x), elements.split(y));
        aggregated(control, elements.count, &pattern[..pattern_length], &text[..text_length])
    };
    let result = match control >> 4 & 3 {
        1 => found ^ all,
        3 => found ^ ((1 << text_length) - 1),
        _ => found,
    };
    let flag = |flag: u64, is_set: bool| if is_set { flag } else { 0 };
    vcpu.flags = LazyFlags::explicit(
        flag(CF, result != 0)
            | flag(ZF, text_length < elements.count)
            | flag(SF, pattern_length < elements.count)
            | flag(OF, result & 1 != 0),
    );
    let is_alternative = control & 0x40 != 0;
    if matches!(operation, Operation::StringExplicitIndex | Operation::StringImplicitIndex) {
        let index = match (result, is_alternative) {
            (0, _) => elements.count as u32,
            (_, false) => result.trailing_zeros(),
            (_, true) => result.ilog2(),
        };
        vcpu.set_reg(Reg::RCX, index.into());
    } else {
        let mask = match (is_alternative, elements.bits) {
            (false, _) => u128::from(result),
            (true, 8) => shuffle::wide(byte_lanes(result)),
            (true, _) => shuffle::wide(shuffle::lane_mask(result as u8, 8)),
        };
        vcpu.vectors[0].set_low(mask);
    }
}

/// All bits of the bytes whose bit in `chosen` is set.
fn byte_lanes(chosen: u32) -> Halves {
    let half = |chosen: u32| {
        lanes::equal::<8>((u64::from(chosen & 0xff) * 0x0101_0101_0101_0101) & 0x8040_2010_0804_0201, 0)
    };
    [!half(chosen), !half(chosen >> 8)]
}
