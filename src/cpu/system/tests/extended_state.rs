//! What AVX needs of the system: XCR0, `XSAVE`, and accesses that fault half way.

use super::*;
use crate::cpu::Vector;

/// Where the areas are.
const AREA: u64 = 0x2_0000;
const OSFXSR: u64 = 1 << 9;
const OSXSAVE: u64 = 1 << 18;
/// `VPADDD ymm0, ymm1, ymm2`.
const VPADDD: [u8; 4] = [0xc5, 0xf5, 0xfe, 0xc2];

fn processor_with_avx() -> Vcpu {
    let mut vcpu = processor(None);
    vcpu.cr4 |= OSFXSR | OSXSAVE;
    vcpu.xcr0 = 7;
    vcpu
}

/// Runs an instruction and gives the vector of its exception.
fn exception_of(vcpu: &mut Vcpu, instruction: &[u8]) -> Option<u64> {
    let mut code = instruction.to_vec();
    code.push(HLT);
    assert_eq!(run(vcpu, &code), Stop::Halted);
    (vcpu.reg(Reg::RIP) != CODE + code.len() as u64).then(|| vector(vcpu))
}

#[test]
fn fxsave_and_xsave_bring_back_what_they_saved() {
    let mut vcpu = processor(None);
    vcpu.cr4 |= 1 << 9 | 1 << 18;
    vcpu.xcr0 = 3;
    vcpu.vectors[3].set_low(0x1234_5678_9abc_def0_1122_3344_5566_7788);
    vcpu.mxcsr = 0x1fa0;
    let saved = vcpu.vectors;
    // mov edi, 0x20000; mov eax, 3; xor edx, edx; then SAVE [rdi]; hlt
    let program = |opcode: &[u8]| {
        let mut code = vec![0xbf, 0, 0, 2, 0, 0xb8, 3, 0, 0, 0, 0x31, 0xd2];
        code.extend(opcode);
        code.push(HLT);
        code
    };
    let pairs: [(&[u8], &[u8]); 3] = [
        (&[0x48, 0x0f, 0xae, 0x07], &[0x48, 0x0f, 0xae, 0x0f]),
        (&[0x48, 0x0f, 0xae, 0x27], &[0x48, 0x0f, 0xae, 0x2f]),
        (&[0x48, 0x0f, 0xc7, 0x27], &[0x48, 0x0f, 0xae, 0x2f]),
    ];
    for (save, restore) in pairs {
        vcpu.memory.write(GuestPhysAddr(0x2_0000), &[0; 1024]).unwrap();
        assert_eq!(run(&mut vcpu, &program(save)), Stop::Halted);
        vcpu.vectors[3].set_low(0);
        vcpu.mxcsr = 0x1f80;
        assert_eq!(run(&mut vcpu, &program(restore)), Stop::Halted);
        assert_eq!(vcpu.reg(Reg::RIP), CODE + program(restore).len() as u64, "{restore:02x?} ended");
        assert_eq!((vcpu.vectors, vcpu.mxcsr), (saved, 0x1fa0), "{save:02x?}");
    }
}

#[test]
fn avx_needs_the_system_to_have_enabled_it() {
    let mut vcpu = processor_with_avx();
    assert_eq!(exception_of(&mut vcpu, &VPADDD), None);
    vcpu.cr4 &= !OSFXSR;
    assert_eq!(exception_of(&mut vcpu, &VPADDD), None, "CR4.OSFXSR is SSE's");
    vcpu.cr0 |= 1 << 3;
    assert_eq!(exception_of(&mut vcpu, &VPADDD), Some(7), "CR0.TS");
    vcpu.xcr0 = 3;
    assert_eq!(exception_of(&mut vcpu, &VPADDD), Some(6), "#UD goes before #NM");
    vcpu.cr0 &= !(1 << 3);
    assert_eq!(exception_of(&mut vcpu, &VPADDD), Some(6), "XCR0 without AVX state");
    vcpu.xcr0 = 7;
    vcpu.cr4 &= !OSXSAVE;
    assert_eq!(exception_of(&mut vcpu, &VPADDD), Some(6), "CR4.OSXSAVE clear");
    // ANDN eax, ecx, edx.
    assert_eq!(exception_of(&mut vcpu, &[0xc4, 0xe2, 0x70, 0xf2, 0xc2]), None, "no vector state");
}

#[test]
fn xsetbv_takes_effect_at_the_next_instruction_and_refuses_what_cannot_be() {
    let mut vcpu = processor_with_avx();
    vcpu.xcr0 = 1;
    // mov eax, 7; xor ecx, ecx; xor edx, edx; xsetbv
    let enable = |components: u8| vec![0xb8, components, 0, 0, 0, 0x31, 0xc9, 0x31, 0xd2, 0x0f, 0x01, 0xd1];
    let program = [enable(7), VPADDD.to_vec()].concat();
    assert_eq!(exception_of(&mut vcpu, &program), None);
    assert_eq!(vcpu.xcr0, 7);
    for components in [0, 2, 5, 4, 15] {
        assert_eq!(exception_of(&mut vcpu, &enable(components)), Some(13), "XCR0 = {components}");
    }
    assert_eq!(vcpu.xcr0, 7);
}

/// mov edi, AREA; mov eax, `components`; xor edx, edx; the instruction.
fn on_area(components: u8, instruction: &[u8]) -> Vec<u8> {
    let mut code = vec![0xbf, 0, 0, 2, 0, 0xb8, components, 0, 0, 0, 0x31, 0xd2];
    code.extend(instruction);
    code
}

const XSAVE: &[u8] = &[0x48, 0x0f, 0xae, 0x27];
const XSAVEOPT: &[u8] = &[0x48, 0x0f, 0xae, 0x37];
const XSAVEC: &[u8] = &[0x48, 0x0f, 0xc7, 0x27];
const XRSTOR: &[u8] = &[0x48, 0x0f, 0xae, 0x2f];

#[test]
fn xsave_keeps_the_upper_halves_in_every_format() {
    let mut vcpu = processor_with_avx();
    for (number, vector) in vcpu.vectors[..16].iter_mut().enumerate() {
        let number = number as u64;
        *vector = Vector([number, number << 8, number << 16 | 1, !number]);
    }
    let saved = vcpu.vectors;
    for save in [XSAVE, XSAVEOPT, XSAVEC] {
        vcpu.memory.write(GuestPhysAddr(AREA), &[0; 1024]).unwrap();
        assert_eq!(exception_of(&mut vcpu, &on_area(7, save)), None);
        assert_eq!(get(&vcpu, AREA + 512), 6, "x87 is in its initial configuration");
        assert_eq!(get(&vcpu, AREA + 576 + 3 * 16), 3 << 16 | 1, "{save:02x?}");
        vcpu.vectors = Default::default();
        assert_eq!(exception_of(&mut vcpu, &on_area(4, XRSTOR)), None);
        assert_eq!(vcpu.vectors[3].0, [0, 0, 3 << 16 | 1, !3], "the upper halves alone");
        assert_eq!(exception_of(&mut vcpu, &on_area(7, XRSTOR)), None);
        assert_eq!(vcpu.vectors[..16], saved[..16], "{save:02x?}");
    }
}

#[test]
fn xrstor_clears_upper_halves_that_the_area_does_not_have() {
    let mut vcpu = processor_with_avx();
    vcpu.vectors[5] = Vector([1, 2, 3, 4]);
    vcpu.memory.write(GuestPhysAddr(AREA), &[0; 1024]).unwrap();
    assert_eq!(exception_of(&mut vcpu, &on_area(3, XSAVE)), None);
    put(&vcpu, AREA + 576 + 5 * 16, 99);
    assert_eq!(exception_of(&mut vcpu, &on_area(7, XRSTOR)), None);
    assert_eq!(vcpu.vectors[5].0, [1, 2, 0, 0]);
}

#[test]
fn what_is_in_use_decides_what_xgetbv_and_xsavec_tell() {
    let mut vcpu = processor_with_avx();
    // mov ecx, 1; xgetbv
    let in_use = [0xb9, 1, 0, 0, 0, 0x0f, 0x01, 0xd0];
    assert_eq!(exception_of(&mut vcpu, &in_use), None);
    assert_eq!(vcpu.reg(Reg::RAX), 0);
    vcpu.vectors[15].set_high(1);
    assert_eq!(exception_of(&mut vcpu, &in_use), None);
    assert_eq!(vcpu.reg(Reg::RAX), 4);
    vcpu.memory.write(GuestPhysAddr(AREA), &[0; 1024]).unwrap();
    assert_eq!(exception_of(&mut vcpu, &on_area(7, XSAVEC)), None);
    assert_eq!((get(&vcpu, AREA + 512), get(&vcpu, AREA + 520)), (4, 1 << 63 | 7));
}

/// Where the mapped memory ends.
const END: u64 = 0x20_0000;

#[test]
fn masked_moves_fault_only_for_lanes_that_are_chosen() {
    let mut vcpu = processor_with_avx();
    vcpu.set_reg(Reg::RBX, END - 4);
    vcpu.vectors[1] = Vector([0x8000_0000, 0, 0, 0]);
    vcpu.vectors[2] = Vector([0x1234_5678, 9, 9, 9]);
    // vpmaskmovd [rbx], ymm1, ymm2; vpmaskmovd ymm3, ymm1, [rbx]
    assert_eq!(exception_of(&mut vcpu, &[0xc4, 0xe2, 0x75, 0x8e, 0x13]), None);
    assert_eq!(exception_of(&mut vcpu, &[0xc4, 0xe2, 0x75, 0x8c, 0x1b]), None);
    assert_eq!(vcpu.vectors[3].0, [0x1234_5678, 0, 0, 0]);
    vcpu.vectors[1].0[3] = 1 << 63;
    put(&vcpu, END - 8, 0);
    assert_eq!(exception_of(&mut vcpu, &[0xc4, 0xe2, 0x75, 0x8e, 0x13]), Some(14));
    assert_eq!(get(&vcpu, END - 8), 0, "nothing is stored when a lane faults");
}

#[test]
fn a_gather_that_faults_goes_on_where_it_was() {
    let mut vcpu = processor_with_avx();
    vcpu.set_reg(Reg::RBX, END - 16);
    put(&vcpu, END - 16, 0x1111);
    vcpu.vectors[1] = Vector([7; 4]);
    vcpu.vectors[2] = Vector([0, 16, 0, 0]);
    vcpu.vectors[3] = Vector([u64::MAX, u64::MAX, 0, 0]);
    // vpgatherqq xmm1, [rbx + xmm2], xmm3
    let gather = [0xc4, 0xe2, 0xe1, 0x91, 0x0c, 0x13];
    assert_eq!(exception_of(&mut vcpu, &gather), Some(14));
    assert_eq!(vcpu.cr2, END);
    assert_eq!((vcpu.vectors[1].0[0], vcpu.vectors[3].0[..2].to_vec()), (0x1111, vec![0, u64::MAX]));
    vcpu.vectors[2].0[1] = 0;
    assert_eq!(exception_of(&mut vcpu, &gather), None);
    assert_eq!((vcpu.vectors[1].0, vcpu.vectors[3].0), ([0x1111, 0x1111, 0, 0], [0; 4]));
}

#[test]
fn a_store_of_256_bits_over_the_end_of_memory_stores_nothing() {
    let mut vcpu = processor_with_avx();
    vcpu.set_reg(Reg::RBX, END - 16);
    vcpu.vectors[2] = Vector([5; 4]);
    put(&vcpu, END - 16, 0);
    // vmovdqu [rbx], ymm2
    assert_eq!(exception_of(&mut vcpu, &[0xc5, 0xfe, 0x7f, 0x13]), Some(14));
    assert_eq!(get(&vcpu, END - 16), 0);
    // vmovdqa [rbx - 16], ymm2: 32 bytes, aligned to 16 only.
    vcpu.set_reg(Reg::RBX, END - 48);
    assert_eq!(exception_of(&mut vcpu, &[0xc5, 0xfd, 0x7f, 0x13]), Some(13));
}
