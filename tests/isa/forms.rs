//! Which instruction forms there are, and which of them can be compared with the host's processor.

use iced_x86::{Code, CpuidFeature, EncodingKind, Mnemonic};
use std::arch::x86_64::__cpuid_count;

/// Whether a form is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Compared,
    /// The reason why it is not.
    NotCompared(&'static str),
}

const SYSTEM_CALL: &str = "calls the host's system";
const SEGMENTS: &str = "shows or changes the host's segments";
const OWN_STATE: &str = "answers with the processor's own state";
const APPROXIMATE: &str = "an approximation, which the manual leaves to the processor";
const WITHIN_AN_ULP: &str = "within an ulp rather than exact: compared by the x87 unit tests";
const UNDEFINED: &str = "the manual leaves the result undefined";
const OBSOLETE: &str = "a coprocessor's, without effect since the 387";
const TWO_INSTRUCTIONS: &str = "FWAIT and another instruction, which are compared on their own";
const UNDOCUMENTED: &str = "no instruction of the manual";
const LOWEST_ADDRESSES: &str = "goes to the lowest 64 KiB, where programs of the host have nothing";
const HOST_LACKS: &str = "the host's processor lacks it";

/// The features of the processor model `max`.
fn is_supported(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    matches!(
        feature,
        INTEL8086
            | INTEL186
            | INTEL286
            | INTEL386
            | INTEL486
            | X64
            | CMOV
            | CX8
            | CMPXCHG16B
            | CPUID
            | FPU
            | FPU287
            | FPU387
            | FXSR
            | MMX
            | SSE
            | SSE2
            | SSE3
            | SSSE3
            | SSE4_1
            | SSE4_2
            | POPCNT
            | MULTIBYTENOP
            | PREFETCHW
            | PAUSE
            | TSC
            | MSR
            | SEP
            | SYSCALL
            | RDTSCP
            | FSGSBASE
            | RDRAND
            | RDSEED
            | INVPCID
            | SMAP
            | CLFSH
            | CLFLUSHOPT
            | CLWB
            | AVX
            | AVX2
            | FMA
            | F16C
            | BMI1
            | BMI2
            | LZCNT
            | MOVBE
            | ADX
            | AES
            | PCLMULQDQ
            | SHA
            | RDPID
            | SERIALIZE
            | XSAVE
            | XSAVEC
            | XSAVEOPT
    )
}

fn is_on_host(feature: CpuidFeature) -> bool {
    use CpuidFeature::*;
    // Leaf 7: what the standard library has no name for.
    let extended = || __cpuid_count(7, 0);
    match feature {
        AVX => is_x86_feature_detected!("avx"),
        AVX2 => is_x86_feature_detected!("avx2"),
        FMA => is_x86_feature_detected!("fma"),
        F16C => is_x86_feature_detected!("f16c"),
        BMI1 => is_x86_feature_detected!("bmi1"),
        BMI2 => is_x86_feature_detected!("bmi2"),
        LZCNT => is_x86_feature_detected!("lzcnt"),
        MOVBE => is_x86_feature_detected!("movbe"),
        ADX => is_x86_feature_detected!("adx"),
        AES => is_x86_feature_detected!("aes"),
        PCLMULQDQ => is_x86_feature_detected!("pclmulqdq"),
        SHA => is_x86_feature_detected!("sha"),
        SSE3 => is_x86_feature_detected!("sse3"),
        SSSE3 => is_x86_feature_detected!("ssse3"),
        SSE4_1 => is_x86_feature_detected!("sse4.1"),
        SSE4_2 => is_x86_feature_detected!("sse4.2"),
        POPCNT => is_x86_feature_detected!("popcnt"),
        XSAVE => is_x86_feature_detected!("xsave"),
        XSAVEC => is_x86_feature_detected!("xsavec"),
        XSAVEOPT => is_x86_feature_detected!("xsaveopt"),
        CLFLUSHOPT => extended().ebx & 1 << 23 != 0,
        CLWB => extended().ebx & 1 << 24 != 0,
        SERIALIZE => extended().edx & 1 << 14 != 0,
        _ => true,
    }
}

/// The forms of 64-bit code that the supported features have, and those that only code of 32 bits has.
pub fn all() -> impl Iterator<Item = (Code, Standing)> {
    Code::values().filter_map(|code| {
        let op_code = code.op_code();
        let features = code.cpuid_features();
        let is_ours = op_code.is_instruction()
            && (op_code.mode64() && op_code.intel_decoder64() || is_narrow(code))
            && matches!(op_code.encoding(), EncodingKind::Legacy | EncodingKind::VEX)
            && features.iter().copied().all(is_supported);
        is_ours.then(|| (code, standing(code)))
    })
}

/// Whether only code of 32 bits has the form.
pub fn is_narrow(code: Code) -> bool {
    let op_code = code.op_code();
    op_code.mode32() && op_code.intel_decoder32() && !op_code.mode64()
}

/// The name of the group that a form is counted in: the feature that it came with.
pub fn group(code: Code) -> String {
    let features = code.cpuid_features();
    // AVX beside another feature is that feature's VEX form.
    let feature = features.iter().find(|&&feature| feature != CpuidFeature::AVX).or(features.first());
    if is_narrow(code) {
        return "only in 32-bit code".to_owned();
    }
    let is_vex = code.op_code().encoding() == EncodingKind::VEX;
    let name = feature.map_or_else(String::new, |feature| format!("{feature:?}"));
    match (is_vex, name.as_str()) {
        (true, "AES" | "PCLMULQDQ") => format!("{name}, VEX"),
        _ => name,
    }
}

/// Near branches whose target is of 16 bits.
fn leaves_by_16_bits(code: Code) -> bool {
    use iced_x86::OpCodeOperandKind as Kind;
    code.op_code().op_kinds().iter().any(|kind| matches!(kind, Kind::br16_1 | Kind::br16_2))
}

fn standing(code: Code) -> Standing {
    use Mnemonic::*;
    if !code.cpuid_features().iter().copied().all(is_on_host) {
        return Standing::NotCompared(HOST_LACKS);
    }
    if code.op_code().fwait() {
        return Standing::NotCompared(TWO_INSTRUCTIONS);
    }
    let operands = code.op_code().op_kinds();
    use iced_x86::OpCodeOperandKind as Kind;
    let names_segment = operands.iter().any(|kind| {
        matches!(kind, Kind::seg_reg | Kind::es | Kind::cs | Kind::ss | Kind::ds | Kind::fs | Kind::gs)
    });
    let reason = match code.mnemonic() {
        Syscall | Sysenter => SYSTEM_CALL,
        Lss | Lfs | Lgs | Lar | Lsl | Verr | Verw | Retf | Iret | Iretd | Iretq | Rdfsbase | Wrfsbase
        | Rdgsbase | Wrgsbase => SEGMENTS,
        Jmp | Call if code.op_code().instruction_string().contains("m16:") => SEGMENTS,
        _ if names_segment => SEGMENTS,
        Lds | Les => SEGMENTS,
        Salc => UNDOCUMENTED,
        _ if is_narrow(code) && leaves_by_16_bits(code) => LOWEST_ADDRESSES,
        Sgdt | Sidt | Sldt | Str | Smsw | Rdtsc | Rdtscp | Rdpmc | Cpuid | Xgetbv | Rdpid | Rdrand
        | Rdseed => OWN_STATE,
        Rcpps | Rcpss | Rsqrtps | Rsqrtss | Vrcpps | Vrcpss | Vrsqrtps | Vrsqrtss => APPROXIMATE,
        Fsin | Fcos | Fsincos | Fptan | Fpatan | F2xm1 | Fyl2x | Fyl2xp1 => WITHIN_AN_ULP,
        Bswap if code == Code::Bswap_r16 => UNDEFINED,
        Fndisi | Fneni | Fnsetpm | Fdisi | Feni | Fsetpm | Frstpm => OBSOLETE,
        Fstpnce => UNDOCUMENTED,
        _ => return Standing::Compared,
    };
    Standing::NotCompared(reason)
}
