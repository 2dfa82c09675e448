//! What the lifter emits where the oracle's random instructions do not reach.

use super::super::{helper, lift};
use super::{Op, OpCode, Reg};
use crate::cpu::CpuModel;
use crate::cpu::lift::{Builder, CodeSize, Lifted, Mode};
use iced_x86::{Decoder, DecoderOptions};

fn lifted(bytes: &[u8]) -> (Option<Lifted>, Vec<Op>) {
    let mode = Mode {
        code_size: CodeSize::Bits64,
        is_stack_32: false,
        is_flat: true,
        x87_traps: false,
        sse_undefined: false,
        sse_traps: false,
        is_single_step: false,
        vex_undefined: false,
        avx_undefined: false,
        model: CpuModel::Max,
    };
    let instruction = Decoder::new(64, bytes, DecoderOptions::NONE).decode();
    let mut builder = Builder::new(mode, 0);
    builder.begin(&instruction);
    let outcome = lift(&mut builder, &instruction);
    (outcome, builder.ops)
}

#[test]
fn masked_stores_go_to_rdi() {
    // MASKMOVDQU xmm1, xmm2; with a 32-bit address; in FS.
    let plain = lifted(&[0x66, 0x0f, 0xf7, 0xca]).1;
    let [address, call] = plain[..] else { panic!("{plain:?}") };
    assert_eq!((address.code, address.a, address.b), (OpCode::Lea64, Reg::T1.0, Reg::RDI.0));
    assert_eq!((call.code, call.imm), (OpCode::Call, helper::STORE_MASKED.number()));
    assert_eq!([call.a, call.b, call.c], [Reg::T1.0, 1, 2]);

    let truncated = lifted(&[0x67, 0x66, 0x0f, 0xf7, 0xca]).1;
    assert_eq!((truncated[0].code, truncated[0].a, truncated[0].b), (OpCode::Lea32, Reg::T1.0, Reg::RDI.0));
    assert_eq!((truncated[1].code, truncated[1].b), (OpCode::Lea64, Reg::T1.0));

    let in_fs = lifted(&[0x64, 0x66, 0x0f, 0xf7, 0xca]).1;
    assert_eq!([in_fs[0].b, in_fs[0].c], [Reg::RDI.0, Reg::FS_BASE.0]);
}

#[test]
fn hints_and_fences_are_nothing() {
    // LFENCE, MFENCE, SFENCE, PREFETCHT0 [rax], PREFETCHNTA [rax], PREFETCHW [rax].
    for bytes in [
        [0x0f, 0xae, 0xe8],
        [0x0f, 0xae, 0xf0],
        [0x0f, 0xae, 0xf8],
        [0x0f, 0x18, 0x08],
        [0x0f, 0x18, 0x00],
        [0x0f, 0x0d, 0x08],
    ] {
        assert_eq!(lifted(&bytes), (Some(Lifted::Continues), vec![]), "{bytes:02x?}");
    }
}

#[test]
fn others_are_left_alone() {
    // PXOR mm0, mm1; MOVQ2DQ xmm0, mm1; VPXOR xmm0, xmm1, xmm2; ADDPS xmm0, xmm1; MOVSD (string); ADD eax, ecx.
    let others: [&[u8]; 6] = [
        &[0x0f, 0xef, 0xc1],
        &[0xf3, 0x0f, 0xd6, 0xc1],
        &[0xc5, 0xf1, 0xef, 0xc2],
        &[0x0f, 0x58, 0xc1],
        &[0xa5],
        &[0x01, 0xc8],
    ];
    for bytes in others {
        assert_eq!(lifted(bytes), (None, vec![]), "{bytes:02x?}");
    }
}
