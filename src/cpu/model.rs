//! Which processor the guest sees: the levels of the x86-64 psABI.

use iced_x86::CpuidFeature;
use serde::{Deserialize, Serialize};

/// A processor model, each with all of the one before it. What the operating system needs rather than
/// programs (SMEP, INVPCID, TSC deadline and the like) all of them have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[repr(u8)]
pub enum CpuModel {
    /// x86-64-v1: SSE2.
    V1,
    /// x86-64-v2: SSE4.2, POPCNT, CMPXCHG16B, LAHF in 64-bit mode.
    V2,
    /// x86-64-v3: AVX2, FMA, F16C, BMI1, BMI2, LZCNT, MOVBE, and XSAVE for their state.
    V3,
    /// Everything that works: AES-NI, PCLMULQDQ, SHA, ADX, RDPID, and what else there is.
    #[default]
    Max,
}

impl CpuModel {
    /// Whether instructions of a feature exist on this processor.
    ///
    /// Only features that some model lacks are told apart: what no lifter knows is undefined anyway.
    pub fn has(self, feature: CpuidFeature) -> bool {
        use CpuidFeature as F;
        match feature {
            F::SSE3 | F::SSSE3 | F::SSE4_1 | F::SSE4_2 | F::POPCNT | F::CMPXCHG16B => self >= Self::V2,
            F::AVX | F::AVX2 | F::FMA | F::F16C | F::BMI1 | F::BMI2 | F::LZCNT | F::MOVBE => self >= Self::V3,
            F::XSAVE | F::XSAVEOPT | F::XSAVEC => self >= Self::V3,
            F::AES | F::PCLMULQDQ | F::SHA | F::ADX | F::RDPID => self == Self::Max,
            F::CLWB | F::CLFLUSHOPT | F::SERIALIZE => self == Self::Max,
            // They share mnemonics with AES-NI and PCLMULQDQ.
            F::VAES | F::VPCLMULQDQ => false,
            _ => true,
        }
    }

    /// Whether the processor has the `XSAVE` family and AVX state.
    pub fn has_extended_state(self) -> bool {
        self >= Self::V3
    }
}
