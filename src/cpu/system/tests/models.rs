//! What each model of processor has.

use super::*;
use crate::cpu::CpuModel;
use crate::cpu::integer::UNDEFINED;
use crate::cpu::lift::{CodeSize, Mode, block};
use crate::ir::{Op, OpCode};

const POPCNT: &[u8] = &[0xf3, 0x0f, 0xb8, 0xc1];
const PSHUFB: &[u8] = &[0x66, 0x0f, 0x38, 0x00, 0xc1];
const MOVBE: &[u8] = &[0x0f, 0x38, 0xf0, 0x07];
const VPADDD: &[u8] = &[0xc5, 0xf5, 0xfe, 0xc2];
const VFMADD: &[u8] = &[0xc4, 0xe2, 0xf1, 0x98, 0xc2];
const ANDN: &[u8] = &[0xc4, 0xe2, 0x70, 0xf2, 0xc2];
const AESENC: &[u8] = &[0x66, 0x0f, 0x38, 0xdc, 0xc1];
const ADCX: &[u8] = &[0x66, 0x0f, 0x38, 0xf6, 0xc1];
/// `VAESENC ymm0, ymm1, ymm2`, which no model has.
const VAESENC_256: &[u8] = &[0xc4, 0xe2, 0x75, 0xdc, 0xc2];

fn mode(model: CpuModel) -> Mode {
    Mode {
        code_size: CodeSize::Bits64,
        is_stack_32: false,
        is_flat: true,
        x87_traps: false,
        sse_undefined: false,
        sse_traps: false,
        vex_undefined: false,
        avx_undefined: false,
        is_single_step: false,
        model,
    }
}

fn operations(mode: Mode, code: &[u8]) -> Vec<Op> {
    let mut bytes = code.to_vec();
    bytes.resize(32, HLT);
    block(mode, 0, GuestPhysAddr(0), &bytes, None).unwrap().ops().to_vec()
}

fn is_undefined(mode: Mode, code: &[u8]) -> bool {
    let first = operations(mode, code)[0];
    first.code == OpCode::CallAndExit && first.imm == UNDEFINED.number()
}

#[test]
fn instructions_come_with_their_models() {
    use CpuModel::{Max, V1, V2, V3};
    let from = |code: &[u8]| [V1, V2, V3, Max].map(|model| !is_undefined(mode(model), code));
    for code in [POPCNT, PSHUFB] {
        assert_eq!(from(code), [false, true, true, true], "{code:02x?}");
    }
    for code in [MOVBE, VPADDD, VFMADD, ANDN] {
        assert_eq!(from(code), [false, false, true, true], "{code:02x?}");
    }
    for code in [AESENC, ADCX] {
        assert_eq!(from(code), [false, false, false, true], "{code:02x?}");
    }
    assert_eq!(from(VAESENC_256), [false; 4]);
}

#[test]
fn hints_of_later_processors_do_nothing() {
    // RDSSPQ rax, CLDEMOTE [rax], PREFETCHIT0 [rip], ENDBR64, MPX's BNDMK bnd0, [rax].
    for code in [
        &[0xf3, 0x48, 0x0f, 0x1e, 0xc8][..],
        &[0x0f, 0x1c, 0x00],
        &[0x0f, 0x18, 0x3d, 0, 0, 0, 0],
        &[0xf3, 0x0f, 0x1e, 0xfa],
        &[0xf3, 0x0f, 0x1b, 0x00],
    ] {
        let hlt = operations(mode(CpuModel::V1), &[])[0];
        let first = operations(mode(CpuModel::V1), code)[0];
        assert_eq!((first.code, first.imm), (hlt.code, hlt.imm), "{code:02x?}");
    }
}

#[test]
fn vex_prefixes_are_undefined_in_real_mode() {
    let real = Mode { code_size: CodeSize::Bits16, vex_undefined: true, ..mode(CpuModel::Max) };
    assert!(is_undefined(real, ANDN) && is_undefined(real, VPADDD));
    let protected = Mode { vex_undefined: false, ..real };
    assert!(!is_undefined(protected, ANDN) && !is_undefined(protected, VPADDD));
    // Without their prefix's registers in ModRM these bytes are LES and LDS.
    assert!(!is_undefined(real, &[0xc4, 0x07]) && !is_undefined(real, &[0xc5, 0x07]));
}

#[test]
fn tzcnt_is_bsf_before_v3() {
    // TZCNT eax, ecx of zero: the width, where BSF leaves the register.
    let result = |model| {
        let mut vcpu = processor(None);
        vcpu.model = model;
        vcpu.set_reg(Reg::RCX, 0);
        assert_eq!(run(&mut vcpu, &[0xb8, 7, 0, 0, 0, 0xf3, 0x0f, 0xbc, 0xc1, HLT]), Stop::Halted);
        vcpu.reg(Reg::RAX)
    };
    assert_eq!([CpuModel::V2, CpuModel::V3].map(result), [7, 32]);
}

#[test]
fn cpuid_reports_each_level() {
    let mut vcpu = processor(None);
    let features = |vcpu: &Vcpu| {
        let (basic, extended) = (vcpu.cpuid(1, 0), vcpu.cpuid(7, 0));
        [basic.ecx, extended.ebx, vcpu.cpuid(0x8000_0001, 0).ecx]
    };
    let bits = |numbers: &[u32]| numbers.iter().map(|number| 1 << number).sum::<u32>();
    // SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT; LAHF.
    let v2 = [bits(&[0, 9, 13, 19, 20, 23]), 0, 1];
    // FMA, MOVBE, XSAVE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT.
    let v3 = [bits(&[12, 22, 26, 28, 29]), bits(&[3, 5, 8]), 1 << 5];
    // PCLMULQDQ, AES; ADX, CLFLUSHOPT, CLWB, SHA.
    let max = [bits(&[1, 25]), bits(&[19, 23, 24, 29]), 0];
    let has = |vcpu: &Vcpu, wanted: [u32; 3]| {
        features(vcpu).into_iter().zip(wanted).map(|(has, wanted)| has & wanted).eq(wanted)
    };
    let lacks = |vcpu: &Vcpu, wanted: [u32; 3]| {
        features(vcpu).into_iter().zip(wanted).all(|(has, wanted)| has & wanted == 0)
    };
    vcpu.model = CpuModel::V1;
    assert!(lacks(&vcpu, v2) && lacks(&vcpu, v3) && lacks(&vcpu, max));
    vcpu.model = CpuModel::V2;
    assert!(has(&vcpu, v2) && lacks(&vcpu, v3) && lacks(&vcpu, max));
    assert_eq!(vcpu.cpuid(0xd, 0).ebx, 0, "no XSAVE area");
    assert!(vcpu.set_cr4(vcpu.cr4 | 1 << 18).is_err(), "CR4.OSXSAVE is reserved without XSAVE");
    vcpu.model = CpuModel::V3;
    assert!(has(&vcpu, v2) && has(&vcpu, v3) && lacks(&vcpu, max));
    assert!(vcpu.set_cr4(vcpu.cr4 | 1 << 18).is_ok());
    assert_ne!(vcpu.cpuid(1, 0).ecx & 1 << 27, 0, "OSXSAVE shows CR4");
    vcpu.model = CpuModel::Max;
    assert!(has(&vcpu, v2) && has(&vcpu, v3) && has(&vcpu, max));
}

#[test]
fn cpuid_describes_the_xsave_area() {
    let mut vcpu = processor(None);
    vcpu.xcr0 = 3;
    let area = vcpu.cpuid(0xd, 0);
    assert_eq!((area.eax, area.ebx, area.ecx), (7, 576, 832));
    vcpu.xcr0 = 7;
    assert_eq!(vcpu.cpuid(0xd, 0).ebx, 832);
    assert_eq!(vcpu.cpuid(0xd, 1).ebx, 832);
    let avx = vcpu.cpuid(0xd, 2);
    assert_eq!((avx.eax, avx.ebx), (256, 576));
}

#[test]
fn cpuid_names_its_maker_and_answers_leaves_too_high() {
    let vcpu = processor(None);
    let basic = vcpu.cpuid(0, 0);
    assert_eq!((basic.ebx, basic.edx, basic.ecx), (0x756e_6547, 0x4965_6e69, 0x6c65_746e));
    assert_eq!(vcpu.cpuid(0x4000_0000, 0).ebx.to_le_bytes(), *b"KVMK");
    assert_eq!(vcpu.cpuid(0x1234, 0), vcpu.cpuid(0x16, 0), "a leaf too high answers as the highest");
}
