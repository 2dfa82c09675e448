//! Every operation against the host's own unit: result and MXCSR, in all rounding modes, with DAZ and FTZ.
#![cfg(target_arch = "x86_64")]

use super::{Operation as O, execute};
use crate::cpu::{SystemBus, Vcpu};
use crate::ir::{Op, OpCode, Reg};
use crate::mem::{GuestMemory, GuestPhysAddr};
use std::arch::asm;
use std::arch::x86_64::__m128i;

/// Nothing is outside RAM.
struct NoDevices;

impl SystemBus for NoDevices {
    fn mmio_read(&mut self, _: GuestPhysAddr, _: &mut [u8]) {}
    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}
    fn port_read(&mut self, _: u16, _: u8) -> u32 {
        0
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32) {}
    fn apic_read_msr(&mut self, _: u32) -> Option<u64> {
        None
    }
    fn apic_write_msr(&mut self, _: u32, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn is_interrupt_pending(&mut self) -> bool {
        false
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn now_ns(&mut self, _: u64) -> u64 {
        0
    }
    fn started_at_unix_ns(&self) -> u64 {
        0
    }
    fn random_u64(&mut self) -> u64 {
        0
    }
}

/// Operands, result and MXCSR of one instruction on the host.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Unit {
    a: u128,
    c: u128,
    integer: u64,
    flags: u64,
    mxcsr: u32,
    saved: u32,
}

type Host = fn(&mut Unit);

/// A function that runs one instruction on `xmm0` (`a`), `xmm1` (`c`) and `rdx` (`integer`).
macro_rules! host {
    ($instruction:literal) => {{
        fn run(unit: &mut Unit) {
            let (mut a, c) = (to_host(unit.a), to_host(unit.c));
            // SAFETY: MXCSR is put back; only the registers named here change.
            unsafe {
                asm!(
                    "stmxcsr [{saved}]", "ldmxcsr [{mxcsr}]",
                    $instruction,
                    "stmxcsr [{mxcsr}]", "ldmxcsr [{saved}]",
                    "pushfq", "pop {flags}",
                    saved = in(reg) &raw mut unit.saved, mxcsr = in(reg) &raw mut unit.mxcsr,
                    flags = out(reg) unit.flags,
                    inout("xmm0") a, in("xmm1") c, inout("rdx") unit.integer,
                );
            }
            unit.a = from_host(a);
        }
        run as Host
    }};
}

fn to_host(value: u128) -> __m128i {
    // SAFETY: both are 16 bytes in which every bit pattern is valid.
    unsafe { std::mem::transmute::<u128, __m128i>(value) }
}

fn from_host(value: __m128i) -> u128 {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<__m128i, u128>(value) }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A single: an edge, near an edge of the exponents, of middling size, or any bits.
    fn single(&mut self) -> u32 {
        const EDGES: [u32; 14] = [
            0,
            1,
            0x7f_ffff,
            0x80_0000,
            0x80_0001,
            0x3f80_0000,
            0x7f7f_ffff,
            0x7f80_0000,
            0x7fc0_1234,
            0x7f80_4321,
            0x4f00_0000,
            0x3f00_0000,
            0x4b00_0001,
            0x4020_0000,
        ];
        let bits = self.next();
        let magnitude = match bits >> 32 & 7 {
            0 | 1 => EDGES[(bits >> 40) as usize % EDGES.len()],
            2 => bits as u32 & 0x1ff_ffff,
            3 => 0x7e00_0000 | bits as u32 & 0x1ff_ffff,
            4 | 5 => (bits as u32 & 0x7f_ffff) + (((115 + (bits >> 40) % 44) as u32) << 23),
            6 => ((110 + (bits >> 40) % 30) as u32) << 23 | (bits as u32 & 7) << 20,
            _ => bits as u32,
        };
        magnitude & 0x7fff_ffff | (bits >> 63 << 31) as u32
    }

    /// As [`single`](Self::single), for doubles; some are near the edges of singles.
    fn double(&mut self) -> u64 {
        const EDGES: [u64; 13] = [
            0,
            1,
            0xf_ffff_ffff_ffff,
            0x10_0000_0000_0000,
            0x3ff0_0000_0000_0000,
            0x7fef_ffff_ffff_ffff,
            0x7ff0_0000_0000_0000,
            0x7ff8_0000_1234_5678,
            0x7ff0_0000_8765_4321,
            0x41e0_0000_0000_0000,
            0x43e0_0000_0000_0000,
            0x41df_ffff_ffff_ffff,
            0x3fe0_0000_0000_0000,
        ];
        let (bits, choice) = (self.next(), self.next());
        let fraction = bits & 0xf_ffff_ffff_ffff;
        let magnitude = match choice & 7 {
            0 | 1 => EDGES[(choice >> 8) as usize % EDGES.len()],
            2 => bits & 0x3f_ffff_ffff_ffff,
            3 => 0x7fc0_0000_0000_0000 | bits & 0x3f_ffff_ffff_ffff,
            4 => fraction + ((1010 + (choice >> 8) % 80) << 52),
            5 => (1010 + (choice >> 8) % 30) << 52 | (bits & 7) << 49,
            6 => {
                let edges = [870, 895, 1150];
                (fraction >> ((choice >> 40) % 40)) << 10
                    | (edges[(choice >> 8) as usize % 3] + (choice >> 16) % 5) << 52
            }
            _ => bits,
        };
        magnitude & (u64::MAX >> 1) | choice >> 63 << 63
    }

    fn operand(&mut self) -> u128 {
        if self.next().is_multiple_of(2) {
            u128::from(self.double()) | u128::from(self.double()) << 64
        } else {
            (0..4).fold(0, |sum, lane| sum | u128::from(self.single()) << (32 * lane))
        }
    }
}

/// All masked; every rounding mode with every setting of DAZ and FTZ, PE and the others clear or set.
fn controls() -> impl Iterator<Item = u32> {
    (0..32u32).map(|number| {
        let (rounding, daz, ftz, precise) = (number & 3, number >> 2 & 1, number >> 3 & 1, number >> 4);
        0x1f80 | rounding << 13 | daz << 6 | ftz << 15 | precise << 5
    })
}

const TIMES: usize = 600;

fn agree(cases: &[(O, u8, Host)]) {
    let mut vcpu = Vcpu::new(GuestMemory::new(1 << 20).unwrap(), Box::new(NoDevices), 0);
    let mut wrong = Vec::new();
    for &(operation, d, host) in cases {
        let mut random = Random(operation as u64 + (u64::from(d) << 8));
        let mut differences = 0;
        for mxcsr in controls() {
            for _ in 0..TIMES {
                let (a, c, integer) =
                    (random.operand(), random.operand(), random.next() >> (random.next() % 64));
                let integer = if random.next().is_multiple_of(2) { integer } else { integer.wrapping_neg() };
                let mut unit = Unit { a, c, integer, flags: 0, mxcsr, saved: 0 };
                host(&mut unit);
                vcpu.mxcsr = mxcsr;
                vcpu.vectors[0].0 = [a as u64, (a >> 64) as u64, 7, 8];
                vcpu.vectors[1].set_low(c);
                vcpu.set_reg(Reg::RDX, integer);
                let is_to_integer = matches!(operation, O::SsToSi | O::SdToSi);
                let op = Op {
                    code: OpCode::Vector,
                    pc: 0,
                    a: if is_to_integer { Reg::RDX.0 } else { 0 },
                    b: Reg::RDX.0,
                    c: 1,
                    d,
                    disp: 0,
                    imm: operation.number(),
                };
                execute(&mut vcpu, &op).unwrap();
                let compares = matches!(operation, O::FlagsSs | O::FlagsSd);
                let ours = (
                    vcpu.vectors[0].low(),
                    vcpu.reg(Reg::RDX),
                    vcpu.mxcsr,
                    if compares { vcpu.flags.bits() & 0x8d5 } else { 0 },
                );
                let theirs =
                    (unit.a, unit.integer, unit.mxcsr, if compares { unit.flags & 0x8d5 } else { 0 });
                assert_eq!(vcpu.vectors[0].0[2..], [7, 8], "{operation:?} wrote the upper half");
                if ours != theirs {
                    differences += 1;
                    if differences == 1 {
                        wrong.push(format!(
                            "{operation:?} {d} of {a:#034x}, {c:#034x}, {integer:#x} under {mxcsr:#x}:\n  ours {ours:x?}\n  host {theirs:x?}"
                        ));
                    }
                }
            }
        }
        if differences > 0 {
            wrong.push(format!("  ({differences} differences)"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

macro_rules! cases {
    ($($operation:ident $d:literal $instruction:literal,)*) => {
        agree(&[$((O::$operation, $d, host!($instruction))),*])
    };
}

#[test]
fn arithmetic_is_the_hosts() {
    cases! {
        AddSs 0 "addss xmm0, xmm1", AddSd 0 "addsd xmm0, xmm1",
        AddPs 0 "addps xmm0, xmm1", AddPd 0 "addpd xmm0, xmm1",
        SubtractSs 0 "subss xmm0, xmm1", SubtractSd 0 "subsd xmm0, xmm1",
        SubtractPs 0 "subps xmm0, xmm1", SubtractPd 0 "subpd xmm0, xmm1",
        MultiplySs 0 "mulss xmm0, xmm1", MultiplySd 0 "mulsd xmm0, xmm1",
        MultiplyPs 0 "mulps xmm0, xmm1", MultiplyPd 0 "mulpd xmm0, xmm1",
        DivideSs 0 "divss xmm0, xmm1", DivideSd 0 "divsd xmm0, xmm1",
        DividePs 0 "divps xmm0, xmm1", DividePd 0 "divpd xmm0, xmm1",
        SquareRootSs 0 "sqrtss xmm0, xmm1", SquareRootSd 0 "sqrtsd xmm0, xmm1",
        SquareRootPs 0 "sqrtps xmm0, xmm1", SquareRootPd 0 "sqrtpd xmm0, xmm1",
        AddSubtractPs 0 "addsubps xmm0, xmm1", AddSubtractPd 0 "addsubpd xmm0, xmm1",
        HorizontalAddPs 0 "haddps xmm0, xmm1", HorizontalAddPd 0 "haddpd xmm0, xmm1",
        HorizontalSubtractPs 0 "hsubps xmm0, xmm1", HorizontalSubtractPd 0 "hsubpd xmm0, xmm1",
    }
}

#[test]
fn order_is_the_hosts() {
    cases! {
        MinimumSs 0 "minss xmm0, xmm1", MinimumSd 0 "minsd xmm0, xmm1",
        MinimumPs 0 "minps xmm0, xmm1", MinimumPd 0 "minpd xmm0, xmm1",
        MaximumSs 0 "maxss xmm0, xmm1", MaximumSd 0 "maxsd xmm0, xmm1",
        MaximumPs 0 "maxps xmm0, xmm1", MaximumPd 0 "maxpd xmm0, xmm1",
        CompareSs 0 "cmpss xmm0, xmm1, 0", CompareSd 1 "cmpsd xmm0, xmm1, 1",
        ComparePs 0 "cmpps xmm0, xmm1, 0", ComparePd 0 "cmppd xmm0, xmm1, 0",
        ComparePs 1 "cmpps xmm0, xmm1, 1", ComparePd 2 "cmppd xmm0, xmm1, 2",
        ComparePs 2 "cmpps xmm0, xmm1, 2", ComparePd 3 "cmppd xmm0, xmm1, 3",
        ComparePs 3 "cmpps xmm0, xmm1, 3", ComparePd 4 "cmppd xmm0, xmm1, 4",
        ComparePs 4 "cmpps xmm0, xmm1, 4", ComparePd 5 "cmppd xmm0, xmm1, 5",
        ComparePs 6 "cmpps xmm0, xmm1, 6", ComparePd 7 "cmppd xmm0, xmm1, 7",
        FlagsSs 0 "comiss xmm0, xmm1", FlagsSd 0 "comisd xmm0, xmm1",
        FlagsSs 1 "ucomiss xmm0, xmm1", FlagsSd 1 "ucomisd xmm0, xmm1",
    }
}

#[test]
fn conversions_are_the_hosts() {
    cases! {
        SsToSd 0 "cvtss2sd xmm0, xmm1", SdToSs 0 "cvtsd2ss xmm0, xmm1",
        PsToPd 0 "cvtps2pd xmm0, xmm1", PdToPs 0 "cvtpd2ps xmm0, xmm1",
        DqToPs 0 "cvtdq2ps xmm0, xmm1", DqToPd 0 "cvtdq2pd xmm0, xmm1",
        PsToDq 0 "cvtps2dq xmm0, xmm1", PdToDq 0 "cvtpd2dq xmm0, xmm1",
        PsToDq 1 "cvttps2dq xmm0, xmm1", PdToDq 1 "cvttpd2dq xmm0, xmm1",
        SiToSs 0 "cvtsi2ss xmm0, edx", SiToSs 1 "cvtsi2ss xmm0, rdx",
        SiToSd 0 "cvtsi2sd xmm0, edx", SiToSd 1 "cvtsi2sd xmm0, rdx",
        SsToSi 0 "cvtss2si edx, xmm1", SsToSi 1 "cvtss2si rdx, xmm1",
        SsToSi 2 "cvttss2si edx, xmm1", SsToSi 3 "cvttss2si rdx, xmm1",
        SdToSi 0 "cvtsd2si edx, xmm1", SdToSi 1 "cvtsd2si rdx, xmm1",
        SdToSi 2 "cvttsd2si edx, xmm1", SdToSi 3 "cvttsd2si rdx, xmm1",
    }
}

#[test]
fn rounding_and_dot_products_are_the_hosts() {
    assert!(is_x86_feature_detected!("sse4.1"));
    cases! {
        RoundSs 0 "roundss xmm0, xmm1, 0", RoundSd 1 "roundsd xmm0, xmm1, 1",
        RoundPs 2 "roundps xmm0, xmm1, 2", RoundPd 3 "roundpd xmm0, xmm1, 3",
        RoundPs 4 "roundps xmm0, xmm1, 4", RoundPd 4 "roundpd xmm0, xmm1, 4",
        RoundPs 9 "roundps xmm0, xmm1, 9", RoundPd 12 "roundpd xmm0, xmm1, 12",
        DotProductPs 0xff "dpps xmm0, xmm1, 0xff", DotProductPs 0x7a "dpps xmm0, xmm1, 0x7a",
        DotProductPd 0x33 "dppd xmm0, xmm1, 0x33", DotProductPd 0x21 "dppd xmm0, xmm1, 0x21",
    }
}

/// The approximations are not the host's to the bit: within 1.5 * 2^-12 of the exact value, and without flags.
#[test]
fn approximations_are_near_enough() {
    let mut vcpu = Vcpu::new(GuestMemory::new(1 << 20).unwrap(), Box::new(NoDevices), 0);
    let mut random = Random(1);
    for _ in 0..20_000 {
        let x = f32::from_bits(random.single()).abs();
        if !(1e-37..1e37).contains(&x) {
            continue;
        }
        for (operation, exact) in
            [(O::ReciprocalSs, 1.0 / f64::from(x)), (O::ReciprocalRootSs, 1.0 / f64::from(x).sqrt())]
        {
            vcpu.vectors[1].set_low(x.to_bits().into());
            let op =
                Op { code: OpCode::Vector, pc: 0, a: 0, b: 0, c: 1, d: 0, disp: 0, imm: operation.number() };
            execute(&mut vcpu, &op).unwrap();
            let ours = f64::from(f32::from_bits(vcpu.vectors[0].0[0] as u32));
            assert!((ours / exact - 1.0).abs() <= 1.5 / 4096.0, "{operation:?} of {x}: {ours}");
            assert_eq!(vcpu.mxcsr, 0x1f80);
        }
    }
}
