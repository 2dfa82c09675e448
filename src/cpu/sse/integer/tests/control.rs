//! Operations with an immediate byte.

use super::{
    Op, Operation as O, Pair, Random, Reg, agree, agree_times, execute, from_host, op, processor, to_host,
};
use crate::cpu::Vcpu;
use crate::cpu::flags::{ARITHMETIC, CF, OF, SF, ZF};
use std::arch::x86_64::*;

/// Calls `$function::<n>()` for every `n` from 0 to 127.
macro_rules! for_each_control {
    ($function:ident($($argument:expr),*)) => {
        for_each_control!(@high $function ($($argument),*) 0x00 0x10 0x20 0x30 0x40 0x50 0x60 0x70)
    };
    (@high $function:ident $arguments:tt $($high:literal)*) => {
        $(for_each_control!(@low $function $arguments $high
            0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);)*
    };
    (@low $function:ident $arguments:tt $high:literal $($low:literal)*) => {
        $($function::<{ $high + $low }> $arguments;)*
    };
}

/// An expression of intrinsics as a [`Pair`].
macro_rules! host {
    ($x:tt, $y:tt => $expression:expr) => {
        // SAFETY: `agree_times` sees to it that the host has SSE4.2, which is all that the intrinsics need.
        |$x, $y| unsafe { $expression }
    };
}

fn full_immediates<const N: i32>() {
    let pairs: &[(O, Pair)] = &[
        (O::ShuffleDoublewords, host!(_, y => _mm_shuffle_epi32::<N>(y) )),
        (O::ShuffleLowWords, host!(_, y => _mm_shufflelo_epi16::<N>(y) )),
        (O::ShuffleHighWords, host!(_, y => _mm_shufflehi_epi16::<N>(y) )),
        (
            O::ShuffleSingles,
            host!(x, y =>
                _mm_castps_si128(_mm_shuffle_ps::<N>(_mm_castsi128_ps(x), _mm_castsi128_ps(y)))
            ),
        ),
        (
            O::InsertSingle,
            host!(x, y =>
                _mm_castps_si128(_mm_insert_ps::<N>(_mm_castsi128_ps(x), _mm_castsi128_ps(y)))
            ),
        ),
        (O::BlendWords, host!(x, y => _mm_blend_epi16::<N>(x, y) )),
        (O::AlignRight, host!(x, y => _mm_alignr_epi8::<N>(x, y) )),
        (O::ShiftLeftBytes, host!(x, _ => _mm_slli_si128::<N>(x) )),
        (O::ShiftRightBytes, host!(x, _ => _mm_srli_si128::<N>(x) )),
        (O::ShiftLeftImmediate16, host!(x, _ => _mm_slli_epi16::<N>(x) )),
        (O::ShiftLeftImmediate32, host!(x, _ => _mm_slli_epi32::<N>(x) )),
        (O::ShiftLeftImmediate64, host!(x, _ => _mm_slli_epi64::<N>(x) )),
        (O::ShiftRightImmediate16, host!(x, _ => _mm_srli_epi16::<N>(x) )),
        (O::ShiftRightImmediate32, host!(x, _ => _mm_srli_epi32::<N>(x) )),
        (O::ShiftRightImmediate64, host!(x, _ => _mm_srli_epi64::<N>(x) )),
        (O::ShiftRightSignedImmediate16, host!(x, _ => _mm_srai_epi16::<N>(x) )),
        (O::ShiftRightSignedImmediate32, host!(x, _ => _mm_srai_epi32::<N>(x) )),
    ];
    agree_times(pairs, N as u8, 50);
}

#[test]
fn immediates() {
    for_each_control!(full_immediates());
}

fn few_immediates<const N: i32>() {
    let pairs: &[(O, Pair)] =
        &[(O::MultipleSumsOfAbsoluteDifferences, host!(x, y => _mm_mpsadbw_epu8::<N>(x, y) ))];
    agree(pairs, N as u8);
}

fn four_lanes<const N: i32>() {
    let pairs: &[(O, Pair)] = &[(
        O::BlendSingles,
        host!(x, y =>
            _mm_castps_si128(_mm_blend_ps::<N>(_mm_castsi128_ps(x), _mm_castsi128_ps(y)))
        ),
    )];
    agree(pairs, N as u8);
}

fn two_lanes<const N: i32>() {
    let pairs: &[(O, Pair)] = &[
        (
            O::BlendDoubles,
            host!(x, y =>
                _mm_castpd_si128(_mm_blend_pd::<N>(_mm_castsi128_pd(x), _mm_castsi128_pd(y)))
            ),
        ),
        (
            O::ShuffleDoubles,
            host!(x, y =>
                _mm_castpd_si128(_mm_shuffle_pd::<N>(_mm_castsi128_pd(x), _mm_castsi128_pd(y)))
            ),
        ),
    ];
    agree(pairs, N as u8);
}

#[test]
fn blends_and_multiple_sums() {
    few_immediates::<0>();
    few_immediates::<1>();
    few_immediates::<2>();
    few_immediates::<3>();
    few_immediates::<4>();
    few_immediates::<5>();
    few_immediates::<6>();
    few_immediates::<7>();
    four_lanes::<0>();
    four_lanes::<5>();
    four_lanes::<10>();
    four_lanes::<12>();
    four_lanes::<15>();
    two_lanes::<0>();
    two_lanes::<1>();
    two_lanes::<2>();
    two_lanes::<3>();
}

/// Text over few letters, with zeroes, so that elements match.
fn text(random: &mut Random) -> u128 {
    let letters = random.next();
    let letter = |random: &mut Random| match random.next() % 12 {
        0 => 0,
        1 => 0xff,
        pick => letters >> (8 * (pick & 1)) & 0x83,
    };
    let zeroes_from = random.next() % 40;
    (0..16).fold(0, |sum, place| {
        let byte = if place >= zeroes_from { 0 } else { letter(random) };
        sum | u128::from(byte) << (8 * place)
    })
}

/// A length register: often within the register's elements, sometimes negative or huge.
fn length(random: &mut Random) -> u64 {
    let small = random.next() % 20;
    match random.next() % 4 {
        0 => small.wrapping_neg(),
        1 => random.next(),
        _ => small | random.next() << 32,
    }
}

fn control_byte<const N: i32>(vcpu: &mut Vcpu, random: &mut Random) {
    for _ in 0..300 {
        let (x, y) = (text(random), text(random));
        let (pattern, string) = (to_host(x), to_host(y));
        let lengths = [length(random), length(random)];
        let [a, d] = lengths.map(|length| length as i32);
        // SAFETY: the test has seen that the host has SSE4.2.
        let explicit = unsafe {
            (
                _mm_cmpestri::<N>(pattern, a, string, d),
                from_host(_mm_cmpestrm::<N>(pattern, a, string, d)),
                [
                    _mm_cmpestrc::<N>(pattern, a, string, d),
                    _mm_cmpestrz::<N>(pattern, a, string, d),
                    _mm_cmpestrs::<N>(pattern, a, string, d),
                    _mm_cmpestro::<N>(pattern, a, string, d),
                ],
            )
        };
        // SAFETY: as above.
        let implicit = unsafe {
            (
                _mm_cmpistri::<N>(pattern, string),
                from_host(_mm_cmpistrm::<N>(pattern, string)),
                [
                    _mm_cmpistrc::<N>(pattern, string),
                    _mm_cmpistrz::<N>(pattern, string),
                    _mm_cmpistrs::<N>(pattern, string),
                    _mm_cmpistro::<N>(pattern, string),
                ],
            )
        };
        for (theirs, index, mask) in [
            (explicit, O::StringExplicitIndex, O::StringExplicitMask),
            (implicit, O::StringImplicitIndex, O::StringImplicitMask),
        ] {
            vcpu.vectors[1].set_low(x);
            vcpu.vectors[2].set_low(y);
            vcpu.set_reg(Reg::RAX, lengths[0]);
            vcpu.set_reg(Reg::RDX, lengths[1]);
            vcpu.set_reg(Reg::RCX, u64::MAX);
            let case = format!("{index:?} of {x:#034x} and {y:#034x}, lengths {a} {d}, control {N:#x}");
            let flags =
                [CF, ZF, SF, OF].iter().zip(theirs.2).map(|(flag, set)| flag * set as u64).sum::<u64>();
            execute(vcpu, &Op { b: 1, c: 2, d: N as u8, ..op(index) }).unwrap();
            assert_eq!(vcpu.reg(Reg::RCX), theirs.0 as u64, "{case}");
            assert_eq!(vcpu.rflags() & ARITHMETIC, flags, "{case}");
            execute(vcpu, &Op { b: 1, c: 2, d: N as u8, ..op(mask) }).unwrap();
            assert_eq!(vcpu.vectors[0].low(), theirs.1, "{case}");
            assert_eq!(vcpu.rflags() & ARITHMETIC, flags, "{case}");
        }
    }
}

#[test]
fn string_comparisons() {
    assert!(is_x86_feature_detected!("sse4.2"));
    let mut vcpu = processor();
    let mut random = Random(42);
    for_each_control!(control_byte(&mut vcpu, &mut random));
}

#[test]
fn explicit_lengths_of_64_bits() {
    let mut vcpu = processor();
    vcpu.vectors[1].set_low(u128::MAX);
    vcpu.vectors[2].set_low(u128::MAX);
    // Equal each, negated where valid: elements of which only one is valid differ.
    for (disp, length, expected) in [(0, 1 << 32, 0), (1, 1 << 32, 16), (1, u64::MAX, 1), (1, 1 << 63, 16)] {
        vcpu.set_reg(Reg::RAX, 16);
        vcpu.set_reg(Reg::RDX, length);
        execute(&mut vcpu, &Op { b: 1, c: 2, d: 0x18, disp, ..op(O::StringExplicitIndex) }).unwrap();
        assert_eq!(vcpu.reg(Reg::RCX), expected, "length {length:#x} with {disp}");
    }
}
