//! SSE to SSE4.2: data movement and integer lanes in [`integer`], floating point in [`float`].
//!
//! [`avx`] has what AVX and AVX2 add, [`crypto`] AES, SHA and carry-less products.
//!
//! A vector operation's number ([`Op::imm`]) names its family by one of the bits 8 to 10, or none.

pub mod avx;
mod crypto;
pub mod float;
pub mod integer;

use super::lift::{Builder, Lifted};
use super::{Exception, Helper, HelperId, Vcpu};
use crate::ir::Op;
use iced_x86::{CpuidFeature, EncodingKind, Instruction, Mnemonic};

/// Set in the numbers of [`float`]'s vector operations.
pub const FLOAT_OPERATION: i32 = 1 << 8;
/// Set in the numbers of [`avx`]'s vector operations.
pub const AVX_OPERATION: i32 = 1 << 9;
/// Set in the numbers of [`crypto`]'s vector operations.
pub const CRYPTO_OPERATION: i32 = 1 << 10;

/// Whether a vector operation's number is of [`avx`] or [`crypto`].
pub const fn is_avx_or_crypto(number: i32) -> bool {
    number & (AVX_OPERATION | CRYPTO_OPERATION) != 0
}

/// Whether a vector operation that works on 256 bits, or is of [`avx`] or [`crypto`], writes an integer
/// register or the flags.
pub fn writes_integers(number: i32) -> bool {
    use integer::Operation as I;
    match integer::Operation::from_number(number) {
        Some(operation) => matches!(operation, I::Mask8 | I::Mask32 | I::Mask64 | I::Test),
        None => avx::Operation::from_number(number).is_some_and(|operation| {
            matches!(operation, avx::Operation::TestSigns32 | avx::Operation::TestSigns64)
        }),
    }
}

/// The family's own helpers by place: those of integer lanes.
pub static HELPERS: &[Helper] = integer::HELPERS;

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    if (builder.mode.sse_undefined || builder.mode.sse_traps) && needs_sse_state(instruction) {
        let helper = if builder.mode.sse_undefined { UNDEFINED } else { NOT_AVAILABLE };
        builder.call_and_exit(helper, [0; 4]);
        return Some(Lifted::Ends);
    }
    integer::lift(builder, instruction)
        .or_else(|| float::lift(builder, instruction))
        .or_else(|| crypto::lift(builder, instruction))
        .or_else(|| avx::lift(builder, instruction))
}

const UNDEFINED: HelperId = HelperId::float(0);
const NOT_AVAILABLE: HelperId = HelperId::float(1);

/// Raises #UD: CR0.EM is set or CR4.OSFXSR is clear.
pub(super) fn undefined(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::InvalidOpcode)
}

/// Raises #NM: CR0.TS is set.
pub(super) fn not_available(_: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    Err(Exception::DeviceNotAvailable)
}

/// Whether the instruction works on the XMM registers or MXCSR (SDM vol. 3A 14.1).
fn needs_sse_state(instruction: &Instruction) -> bool {
    use Mnemonic::*;
    let is_sse = instruction.cpuid_features().iter().any(|feature| {
        matches!(
            feature,
            CpuidFeature::SSE
                | CpuidFeature::SSE2
                | CpuidFeature::SSE3
                | CpuidFeature::SSSE3
                | CpuidFeature::SSE4_1
                | CpuidFeature::SSE4_2
                | CpuidFeature::AES
                | CpuidFeature::PCLMULQDQ
                | CpuidFeature::SHA
        )
    });
    is_sse
        && instruction.encoding() == EncodingKind::Legacy
        && !matches!(
            instruction.mnemonic(),
            Lfence
                | Sfence
                | Mfence
                | Pause
                | Clflush
                | Crc32
                | Movnti
                | Prefetchnta
                | Prefetcht0
                | Prefetcht1
                | Prefetcht2
                | Monitor
                | Mwait
                | Fisttp
        )
}

/// Runs a vector operation.
#[inline]
pub fn execute(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    match op.imm & (FLOAT_OPERATION | AVX_OPERATION | CRYPTO_OPERATION) {
        0 => integer::execute(vcpu, op),
        FLOAT_OPERATION => float::execute(vcpu, op),
        AVX_OPERATION => avx::execute(vcpu, op),
        _ => crypto::execute(vcpu, op),
    }
}
