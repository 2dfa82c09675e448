//! `CPUID` (SDM vol. 2A): the processor that dinghy is.

use super::control::XCR0_SUPPORTED;
use super::registers::{CR4_OSXSAVE, PHYSICAL_ADDRESS_BITS};
use super::save::{AVX_BYTES, AVX_OFFSET};
use crate::cpu::{CpuModel, Exception, Vcpu};
use crate::ir::{Op, Reg};

/// The answer to a leaf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Leaf {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

const fn leaf(eax: u32, ebx: u32, ecx: u32, edx: u32) -> Leaf {
    Leaf { eax, ebx, ecx, edx }
}

const MAX_BASIC: u32 = 0x16;
const MAX_HYPERVISOR: u32 = 0x4000_0010;
const MAX_EXTENDED: u32 = 0x8000_0008;

/// Family 6, model 85, stepping 7: a server processor of the AVX2 generation and later, whose features are
/// then taken from the flags.
const SIGNATURE: u32 = 0x0005_0657;

/// Frequency of the time-stamp counter and of the APIC timer.
const FREQUENCY_HZ: u32 = 1_000_000_000;

/// 48 bytes, padded with zeros.
const BRAND: &[u8] = b"dinghy virtual CPU";

const fn bits(numbers: &[u32]) -> u32 {
    let mut word = 0;
    let mut place = 0;
    while place < numbers.len() {
        word |= 1 << numbers[place];
        place += 1;
    }
    word
}

/// The bits of a word of features that come with each model: v1, v2, v3, and what is beyond.
struct Features {
    v1: u32,
    v2: u32,
    v3: u32,
    max: u32,
}

impl Features {
    /// The bits of a model: its own and those of the models before it.
    const fn of(&self, model: CpuModel) -> u32 {
        match model {
            CpuModel::V1 => self.v1,
            CpuModel::V2 => self.v1 | self.v2,
            CpuModel::V3 => self.v1 | self.v2 | self.v3,
            CpuModel::Max => self.v1 | self.v2 | self.v3 | self.max,
        }
    }
}

/// Leaf 1 ECX.
const FEATURES_ECX: Features = Features {
    // PCID, x2APIC, TSC deadline, RDRAND, hypervisor.
    v1: bits(&[17, 21, 24, 30, 31]),
    // SSE3, SSSE3, CX16, SSE4.1, SSE4.2, POPCNT.
    v2: bits(&[0, 9, 13, 19, 20, 23]),
    // FMA, MOVBE, XSAVE, AVX, F16C.
    v3: bits(&[12, 22, 26, 28, 29]),
    // PCLMULQDQ, AES-NI.
    max: bits(&[1, 25]),
};
const FEATURE_OSXSAVE: u32 = 1 << 27;
/// Leaf 1 EDX: FPU, VME, DE, PSE, TSC, MSR, PAE, MCE, CX8, APIC, SEP, MTRR, PGE, MCA, CMOV, PAT, PSE-36,
/// CLFLUSH, MMX, FXSR, SSE, SSE2.
const FEATURES_EDX: u32 =
    bits(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26]);
/// Leaf 7 EBX.
const EXTENDED_EBX: Features = Features {
    // FSGSBASE, TSC_ADJUST, SMEP, ERMS, INVPCID, RDSEED, SMAP.
    v1: bits(&[0, 1, 7, 9, 10, 18, 20]),
    v2: 0,
    // BMI1, AVX2, BMI2.
    v3: bits(&[3, 5, 8]),
    // ADX, CLFLUSHOPT, CLWB, SHA.
    max: bits(&[19, 23, 24, 29]),
};
/// Leaf 7 ECX: UMIP; RDPID.
const EXTENDED_ECX: Features = Features { v1: bits(&[2]), v2: 0, v3: 0, max: bits(&[22]) };
/// Leaf 7 EDX: fast short REP MOV, IBRS and IBPB, ARCH_CAPABILITIES, SSBD; SERIALIZE.
const EXTENDED_EDX: Features = Features { v1: bits(&[4, 26, 29, 31]), v2: 0, v3: 0, max: bits(&[14]) };
/// Leaf 0x80000001 ECX: PREFETCHW; LAHF in 64-bit mode; LZCNT.
const AMD_ECX: Features = Features { v1: bits(&[8]), v2: bits(&[0]), v3: bits(&[5]), max: 0 };
/// Leaf 0x80000001 EDX: SYSCALL, NX, 1 GiB pages, RDTSCP, long mode.
const AMD_EDX: u32 = bits(&[11, 20, 26, 27, 29]);
/// KVM: clock at its new registers, clock that is stable.
const KVM_FEATURES: u32 = bits(&[0, 3, 24]);

impl Vcpu {
    /// What `CPUID` answers to a leaf and subleaf.
    pub fn cpuid(&self, number: u32, subleaf: u32) -> Leaf {
        match number {
            0x4000_0000..=0x4fff_ffff => hypervisor_leaf(number),
            0x8000_0000..=0xffff_ffff if number <= MAX_EXTENDED => self.extended_leaf(number),
            // A basic leaf above the highest answers as the highest does.
            0..=MAX_BASIC => self.basic_leaf(number, subleaf),
            _ => self.basic_leaf(MAX_BASIC, subleaf),
        }
    }

    fn basic_leaf(&self, number: u32, subleaf: u32) -> Leaf {
        match number {
            0 => {
                let name = |at: usize| word(b"GenuineIntel", at);
                leaf(MAX_BASIC, name(0), name(8), name(4))
            }
            1 => {
                let os_xsave = if self.cr4 & CR4_OSXSAVE != 0 { FEATURE_OSXSAVE } else { 0 };
                // CLFLUSH of 64 bytes, one logical processor.
                let ebx = self.apic_id << 24 | 1 << 16 | 8 << 8;
                leaf(SIGNATURE, ebx, FEATURES_ECX.of(self.model) | os_xsave, FEATURES_EDX)
            }
            // Caches are in leaf 4.
            2 => leaf(0x00fe_ff01, 0, 0, 0),
            4 => cache_leaf(subleaf),
            7 if subleaf == 0 => {
                let model = self.model;
                leaf(0, EXTENDED_EBX.of(model), EXTENDED_ECX.of(model), EXTENDED_EDX.of(model))
            }
            // One thread of one core: shift, processors, level.
            0xb => match subleaf {
                0 => leaf(0, 1, 1 << 8, self.apic_id),
                1 => leaf(0, 1, 2 << 8 | 1, self.apic_id),
                other => leaf(0, 0, other & 0xff, self.apic_id),
            },
            0xd if self.model.has_extended_state() => {
                let enabled_bytes = Self::extended_area_bytes(self.xcr0) as u32;
                match subleaf {
                    0 => {
                        let most_bytes = Self::extended_area_bytes(XCR0_SUPPORTED) as u32;
                        leaf(XCR0_SUPPORTED as u32, enabled_bytes, most_bytes, 0)
                    }
                    // XSAVEOPT, XSAVEC, XGETBV with ECX = 1.
                    1 => leaf(7, enabled_bytes, 0, 0),
                    2 => leaf(AVX_BYTES as u32, AVX_OFFSET as u32, 0, 0),
                    _ => Leaf::default(),
                }
            }
            // Counter to crystal 1 to 1.
            0x15 => leaf(1, 1, FREQUENCY_HZ, 0),
            0x16 => leaf(FREQUENCY_HZ / 1_000_000, FREQUENCY_HZ / 1_000_000, 100, 0),
            _ => Leaf::default(),
        }
    }

    fn extended_leaf(&self, number: u32) -> Leaf {
        match number {
            0x8000_0000 => leaf(MAX_EXTENDED, 0, 0, 0),
            0x8000_0001 => leaf(0, 0, AMD_ECX.of(self.model), AMD_EDX),
            0x8000_0002..=0x8000_0004 => {
                let at = (number - 0x8000_0002) as usize * 16;
                leaf(word(BRAND, at), word(BRAND, at + 4), word(BRAND, at + 8), word(BRAND, at + 12))
            }
            // 1 MiB of second-level cache, 16 ways, lines of 64 bytes.
            0x8000_0006 => leaf(0, 0, 1024 << 16 | 8 << 12 | 64, 0),
            // The counter's rate never changes.
            0x8000_0007 => leaf(0, 0, 0, 1 << 8),
            0x8000_0008 => leaf(48 << 8 | PHYSICAL_ADDRESS_BITS, 0, 0, 0),
            _ => Leaf::default(),
        }
    }
}

fn word(text: &[u8], at: usize) -> u32 {
    let byte = |offset: usize| u32::from(text.get(at + offset).copied().unwrap_or(0));
    byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
}

/// Leaf 4: 32 KiB of data and of instructions, 1 MiB, 16 MiB shared; lines of 64 bytes.
fn cache_leaf(subleaf: u32) -> Leaf {
    const fn cache(kind: u32, level: u32, ways: u32, sets: u32) -> Leaf {
        let self_initializing = 1 << 8;
        leaf(kind | level << 5 | self_initializing, (ways - 1) << 22 | 63, sets - 1, 0)
    }
    match subleaf {
        0 => cache(1, 1, 8, 64),
        1 => cache(2, 1, 8, 64),
        2 => cache(3, 2, 16, 1024),
        3 => cache(3, 3, 16, 16384),
        _ => Leaf::default(),
    }
}

/// KVM's interface, by which Linux finds its clock.
fn hypervisor_leaf(number: u32) -> Leaf {
    match number {
        0x4000_0000 => {
            let name = |at: usize| word(b"KVMKVMKVM\0\0\0", at);
            leaf(MAX_HYPERVISOR, name(0), name(4), name(8))
        }
        0x4000_0001 => leaf(KVM_FEATURES, 0, 0, 0),
        // Frequencies of the counter and of the APIC's bus, in kHz.
        0x4000_0010 => leaf(FREQUENCY_HZ / 1000, FREQUENCY_HZ / 1000, 0, 0),
        _ => Leaf::default(),
    }
}

/// `CPUID`.
pub fn identify(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    let answer = vcpu.cpuid(vcpu.reg(Reg::RAX) as u32, vcpu.reg(Reg::RCX) as u32);
    let answers = [answer.eax, answer.ebx, answer.ecx, answer.edx];
    for (reg, value) in [Reg::RAX, Reg::RBX, Reg::RCX, Reg::RDX].into_iter().zip(answers) {
        vcpu.set_reg(reg, u64::from(value));
    }
    Ok(())
}
