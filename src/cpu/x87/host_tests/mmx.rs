//! Instructions on MM registers.

use super::{assert_no_difference, differences};

/// Second opcode bytes of `0F xx /r` with MM(0) and an MM register or a memory operand.
const TWO_BYTE: [u8; 65] = [
    0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6f, 0x74, 0x75, 0x76, 0xd1,
    0xd2, 0xd3, 0xd4, 0xd5, 0xd8, 0xd9, 0xda, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xe1, 0xe2, 0xe3, 0xe4,
    0xe5, 0xe8, 0xe9, 0xea, 0xeb, 0xec, 0xed, 0xee, 0xef, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf8, 0xf9,
    0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0x6e, 0x7f, 0x7e, 0x6e, 0x7f, 0x7e, 0x6f, 0x7f, 0xe7,
];

/// Third opcode bytes of `0F 38 xx /r`.
const SSSE3: [u8; 16] =
    [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x1c, 0x1d, 0x1e, 0x00];

/// ModRM of MM(3) with memory at [rdi], and of MM(3) with MM(5).
const MEMORY: u8 = 0x1f;
const REGISTER: u8 = 0xdd;
/// ModRM of MM(3) with [rdi] or EAX as the integer operand.
const ACCUMULATOR: u8 = 0xd8;

fn forms() -> Vec<Vec<u8>> {
    let mut forms = vec![vec![0x0f, 0x77]];
    for opcode in TWO_BYTE {
        forms.push(vec![0x0f, opcode, MEMORY]);
        match opcode {
            0x6e | 0x7e => forms.push(vec![0x0f, opcode, ACCUMULATOR]),
            0xe7 => {}
            _ => forms.push(vec![0x0f, opcode, REGISTER]),
        }
    }
    for opcode in SSSE3 {
        forms.push(vec![0x0f, 0x38, opcode, MEMORY]);
        forms.push(vec![0x0f, 0x38, opcode, REGISTER]);
    }
    for immediate in [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 200] {
        for (opcode, extensions) in [(0x71, [2, 4, 6]), (0x72, [2, 4, 6]), (0x73, [2, 6, 2])] {
            for extension in extensions {
                forms.push(vec![0x0f, opcode, 0xc0 | extension << 3 | 5, immediate]);
            }
        }
        for operand in [MEMORY, REGISTER] {
            forms.push(vec![0x0f, 0x70, operand, immediate]);
            forms.push(vec![0x0f, 0x3a, 0x0f, operand, immediate]);
        }
        forms.push(vec![0x0f, 0xc4, MEMORY, immediate]);
        forms.push(vec![0x0f, 0xc4, ACCUMULATOR, immediate]);
        // PEXTRW EAX, MM3.
        forms.push(vec![0x0f, 0xc5, 0xc3, immediate]);
    }
    // PMOVMSKB EAX, MM3; MASKMOVQ MM3, MM5.
    forms.push(vec![0x0f, 0xd7, 0xc3]);
    forms.push(vec![0x0f, 0xf7, REGISTER]);
    forms
}

/// Through XMM2: into it and back, since only MM registers are compared.
fn conversions() -> Vec<Vec<u8>> {
    const CLEAR: [u8; 4] = [0x66, 0x0f, 0xef, 0xd2];
    let back: [&[u8]; 7] = [
        &[0xf2, 0x0f, 0xd6, 0xda],
        &[0x0f, 0x2d, 0xda],
        &[0x0f, 0x2c, 0xda],
        &[0x66, 0x0f, 0x2d, 0xda],
        &[0x66, 0x0f, 0x2c, 0xda],
        &[0x0f, 0x2d, 0x1f],
        &[0x0f, 0x2c, 0x1f],
    ];
    let to: [&[u8]; 5] = [
        &[0xf3, 0x0f, 0xd6, 0xd5],
        &[0x0f, 0x2a, 0xd5],
        &[0x66, 0x0f, 0x2a, 0xd5],
        &[0x66, 0x0f, 0x2a, 0x17],
        &[0x0f, 0x2a, 0x17],
    ];
    let mut forms = Vec::new();
    for to in to {
        for back in back {
            forms.push([&CLEAR, to, back].concat());
        }
    }
    forms
}

#[test]
fn mm_instructions_give_what_the_host_gives() {
    assert_no_difference(&differences(&forms(), 300, 0x55aa_1234_7777_0001));
}

#[test]
fn conversions_of_mm_registers_give_what_the_host_gives() {
    assert_no_difference(&differences(&conversions(), 2000, 0x55aa_1234_7777_0003));
}
