//! Operations with integer registers, flags, or a third register; and the helpers.

use super::{Op, Operation as O, Random, Reg, execute, from_host, helper, op, ours, processor, to_host};
use crate::cpu::flags::{ARITHMETIC, CF, ZF};
use std::arch::x86_64::*;

#[test]
fn masks() {
    let mut vcpu = processor();
    let mut random = Random(1);
    for _ in 0..5000 {
        let x = random.vector();
        let host = to_host(x);
        // SAFETY: SSE2 is part of x86_64.
        let theirs = unsafe {
            [
                _mm_movemask_epi8(host),
                _mm_movemask_ps(_mm_castsi128_ps(host)),
                _mm_movemask_pd(_mm_castsi128_pd(host)),
            ]
        };
        vcpu.vectors[5].set_low(x);
        for (operation, theirs) in [O::Mask8, O::Mask32, O::Mask64].into_iter().zip(theirs) {
            execute(&mut vcpu, &Op { a: Reg::RDX.0, c: 5, ..op(operation) }).unwrap();
            assert_eq!(vcpu.reg(Reg::RDX), theirs as u64, "{operation:?} of {x:#034x}");
        }
    }
}

#[test]
fn test_sets_the_flags() {
    assert!(is_x86_feature_detected!("sse4.1"));
    let mut vcpu = processor();
    let mut random = Random(2);
    for round in 0..5000 {
        let x = random.vector();
        let y = match round % 4 {
            0 => random.vector(),
            1 => x & random.vector(),
            2 => !x & random.vector(),
            _ => 0,
        };
        vcpu.vectors[1].set_low(x);
        vcpu.vectors[2].set_low(y);
        execute(&mut vcpu, &Op { b: 1, c: 2, ..op(O::Test) }).unwrap();
        // SAFETY: the host has SSE4.1.
        let (zero, carry) =
            unsafe { (_mm_testz_si128(to_host(x), to_host(y)), _mm_testc_si128(to_host(x), to_host(y))) };
        let expected = (ZF * zero as u64) | (CF * carry as u64);
        assert_eq!(vcpu.rflags() & ARITHMETIC, expected, "{x:#034x} and {y:#034x}");
    }
}

#[test]
fn variable_blends() {
    assert!(is_x86_feature_detected!("sse4.1"));
    let mut vcpu = processor();
    let mut random = Random(3);
    for _ in 0..5000 {
        let operands @ [x, y, mask] = [random.vector(), random.vector(), random.vector()];
        let [a, b, m] = operands.map(to_host);
        // SAFETY: the host has SSE4.1.
        let theirs = unsafe {
            let singles = [a, b, m].map(|vector| _mm_castsi128_ps(vector));
            let doubles = [a, b, m].map(|vector| _mm_castsi128_pd(vector));
            [
                _mm_blendv_epi8(a, b, m),
                _mm_castps_si128(_mm_blendv_ps(singles[0], singles[1], singles[2])),
                _mm_castpd_si128(_mm_blendv_pd(doubles[0], doubles[1], doubles[2])),
            ]
        };
        for (operation, theirs) in
            [O::BlendVariable8, O::BlendVariable32, O::BlendVariable64].into_iter().zip(theirs)
        {
            let ours = ours(&mut vcpu, operation, operands, 0);
            assert_eq!(from_host(theirs), ours, "{operation:?} of {x:#x}, {y:#x}, {mask:#x}");
        }
    }
}

/// By the bytes of the register in memory, which is what a lane is.
#[test]
fn lanes_to_and_from_integer_registers() {
    let mut vcpu = processor();
    let mut random = Random(4);
    for _ in 0..2000 {
        let (x, value) = (random.vector(), random.next());
        let lane = random.next() as u8;
        vcpu.set_reg(Reg::RCX, value);
        vcpu.vectors[1].set_low(x);
        for (insert, extract, bytes) in [
            (O::Insert8, O::Extract8, 1),
            (O::Insert16, O::Extract16, 2),
            (O::Insert32, O::Extract32, 4),
            (O::Insert64, O::Extract64, 8),
        ] {
            let at = usize::from(lane) % (16 / bytes) * bytes;
            let mut expected = x.to_le_bytes();
            expected[at..at + bytes].copy_from_slice(&value.to_le_bytes()[..bytes]);
            execute(&mut vcpu, &Op { a: 2, b: 1, c: Reg::RCX.0, d: lane, ..op(insert) }).unwrap();
            assert_eq!(vcpu.vectors[2].low(), u128::from_le_bytes(expected), "{insert:?} {lane}");
            execute(&mut vcpu, &Op { a: Reg::RDX.0, c: 2, d: lane, ..op(extract) }).unwrap();
            let kept = value & u64::MAX >> (64 - 8 * bytes);
            assert_eq!(vcpu.reg(Reg::RDX), kept, "{extract:?} {lane}");
        }
        for (operation, expected) in
            [(O::FromInteger32, u128::from(value as u32)), (O::FromInteger64, u128::from(value))]
        {
            execute(&mut vcpu, &Op { a: 2, c: Reg::RCX.0, ..op(operation) }).unwrap();
            assert_eq!(vcpu.vectors[2].low(), expected, "{operation:?}");
        }
        for (operation, expected) in [(O::ToInteger32, u64::from(x as u32)), (O::ToInteger64, x as u64)] {
            execute(&mut vcpu, &Op { a: Reg::RDX.0, c: 1, ..op(operation) }).unwrap();
            assert_eq!(vcpu.reg(Reg::RDX), expected, "{operation:?}");
        }
    }
}

#[test]
fn crc32() {
    assert!(is_x86_feature_detected!("sse4.2"));
    let mut vcpu = processor();
    let mut random = Random(5);
    for _ in 0..5000 {
        let (sum, value) = (random.next(), random.next());
        let start = sum as u32;
        // SAFETY: the host has SSE4.2.
        let theirs = unsafe {
            [
                (1, u64::from(_mm_crc32_u8(start, value as u8))),
                (2, u64::from(_mm_crc32_u16(start, value as u16))),
                (4, u64::from(_mm_crc32_u32(start, value as u32))),
                (8, _mm_crc32_u64(sum, value)),
            ]
        };
        for (bytes, theirs) in theirs {
            vcpu.set_reg(Reg::RAX, sum);
            vcpu.set_reg(Reg::RCX, value);
            let op = Op { a: 0, b: 0, c: Reg::RCX.0, d: bytes, ..op(O::And) };
            helper::HELPERS[0](&mut vcpu, &op).unwrap();
            assert_eq!(vcpu.reg(Reg::RAX), theirs, "{bytes} bytes of {value:#x} on {sum:#x}");
        }
    }
}

#[test]
fn masked_stores_write_the_chosen_bytes() {
    let mut vcpu = processor();
    let mut random = Random(6);
    for _ in 0..500 {
        let [before, bytes, mask] = [random.vector(), random.vector(), random.vector()];
        let address = 0x2ff0 + random.next() % 32;
        vcpu.write_u128(address, before).unwrap();
        vcpu.vectors[1].set_low(bytes);
        vcpu.vectors[2].set_low(mask);
        vcpu.set_reg(Reg::RDI, address);
        let op = Op { a: Reg::RDI.0, b: 1, c: 2, ..op(O::And) };
        helper::HELPERS[1](&mut vcpu, &op).unwrap();
        let chosen = mask.to_le_bytes().map(|byte| if byte >> 7 != 0 { 0xff } else { 0 });
        let chosen = u128::from_le_bytes(chosen);
        let expected = bytes & chosen | before & !chosen;
        assert_eq!(vcpu.read_u128(address).unwrap(), expected, "mask {mask:#034x}");
    }
}

#[test]
fn unknown_numbers_are_undefined() {
    let mut vcpu = processor();
    for imm in [O::COUNT as i32, 0xff, -1] {
        execute(&mut vcpu, &Op { imm, ..op(O::And) }).unwrap_err();
    }
}
