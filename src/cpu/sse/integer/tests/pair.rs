//! Operations of two registers.

use super::{Operation as O, Pair, agree};
use std::arch::x86_64::*;

/// Intrinsics on registers of single or double precision, or on the second operand only.
///
/// They are called by [`agree`] only, which sees to it that the host has what they need.
macro_rules! cast {
    (single $name:ident) => {
        // SAFETY: as said above.
        |x, y| unsafe { _mm_castps_si128($name(_mm_castsi128_ps(x), _mm_castsi128_ps(y))) }
    };
    (double $name:ident) => {
        // SAFETY: as said above.
        |x, y| unsafe { _mm_castpd_si128($name(_mm_castsi128_pd(x), _mm_castsi128_pd(y))) }
    };
    (second $name:ident) => {
        // SAFETY: as said above.
        |_, y| unsafe { $name(y) }
    };
    (single second $name:ident) => {
        // SAFETY: as said above.
        |_, y| unsafe { _mm_castps_si128($name(_mm_castsi128_ps(y))) }
    };
}

#[test]
fn logic_and_moves() {
    let pairs: &[(O, Pair)] = &[
        (O::And, _mm_and_si128),
        (O::AndNot, _mm_andnot_si128),
        (O::Or, _mm_or_si128),
        (O::Xor, _mm_xor_si128),
        (O::MergeLow32, cast!(single _mm_move_ss)),
        (O::MergeLow64, cast!(double _mm_move_sd)),
        (O::MoveLow64, cast!(second _mm_move_epi64)),
        // SAFETY: SSE2 is part of x86_64.
        (O::MoveHigh64, |_, y| unsafe { _mm_srli_si128::<8>(y) }),
        (O::HighToLow64, cast!(single _mm_movehl_ps)),
        // SAFETY: `agree` has seen that the host has SSE3.
        (O::DuplicateLow64, |_, y| unsafe { _mm_castpd_si128(_mm_movedup_pd(_mm_castsi128_pd(y))) }),
        (O::DuplicateEven32, cast!(single second _mm_moveldup_ps)),
        (O::DuplicateOdd32, cast!(single second _mm_movehdup_ps)),
    ];
    agree(pairs, 0);
}

#[test]
fn sums_and_differences() {
    let pairs: &[(O, Pair)] = &[
        (O::Add8, _mm_add_epi8),
        (O::Add16, _mm_add_epi16),
        (O::Add32, _mm_add_epi32),
        (O::Add64, _mm_add_epi64),
        (O::Subtract8, _mm_sub_epi8),
        (O::Subtract16, _mm_sub_epi16),
        (O::Subtract32, _mm_sub_epi32),
        (O::Subtract64, _mm_sub_epi64),
        (O::AddSaturatingSigned8, _mm_adds_epi8),
        (O::AddSaturatingSigned16, _mm_adds_epi16),
        (O::AddSaturatingUnsigned8, _mm_adds_epu8),
        (O::AddSaturatingUnsigned16, _mm_adds_epu16),
        (O::SubtractSaturatingSigned8, _mm_subs_epi8),
        (O::SubtractSaturatingSigned16, _mm_subs_epi16),
        (O::SubtractSaturatingUnsigned8, _mm_subs_epu8),
        (O::SubtractSaturatingUnsigned16, _mm_subs_epu16),
        (O::Average8, _mm_avg_epu8),
        (O::Average16, _mm_avg_epu16),
        (O::Absolute8, cast!(second _mm_abs_epi8)),
        (O::Absolute16, cast!(second _mm_abs_epi16)),
        (O::Absolute32, cast!(second _mm_abs_epi32)),
        (O::WithSignOf8, _mm_sign_epi8),
        (O::WithSignOf16, _mm_sign_epi16),
        (O::WithSignOf32, _mm_sign_epi32),
        (O::SumOfAbsoluteDifferences, _mm_sad_epu8),
        (O::HorizontalAdd16, _mm_hadd_epi16),
        (O::HorizontalAdd32, _mm_hadd_epi32),
        (O::HorizontalAddSaturating16, _mm_hadds_epi16),
        (O::HorizontalSubtract16, _mm_hsub_epi16),
        (O::HorizontalSubtract32, _mm_hsub_epi32),
        (O::HorizontalSubtractSaturating16, _mm_hsubs_epi16),
    ];
    agree(pairs, 0);
}

#[test]
fn comparisons() {
    let pairs: &[(O, Pair)] = &[
        (O::Equal8, _mm_cmpeq_epi8),
        (O::Equal16, _mm_cmpeq_epi16),
        (O::Equal32, _mm_cmpeq_epi32),
        (O::Equal64, _mm_cmpeq_epi64),
        (O::GreaterSigned8, _mm_cmpgt_epi8),
        (O::GreaterSigned16, _mm_cmpgt_epi16),
        (O::GreaterSigned32, _mm_cmpgt_epi32),
        (O::GreaterSigned64, _mm_cmpgt_epi64),
        (O::MinimumUnsigned8, _mm_min_epu8),
        (O::MinimumUnsigned16, _mm_min_epu16),
        (O::MinimumUnsigned32, _mm_min_epu32),
        (O::MaximumUnsigned8, _mm_max_epu8),
        (O::MaximumUnsigned16, _mm_max_epu16),
        (O::MaximumUnsigned32, _mm_max_epu32),
        (O::MinimumSigned8, _mm_min_epi8),
        (O::MinimumSigned16, _mm_min_epi16),
        (O::MinimumSigned32, _mm_min_epi32),
        (O::MaximumSigned8, _mm_max_epi8),
        (O::MaximumSigned16, _mm_max_epi16),
        (O::MaximumSigned32, _mm_max_epi32),
        (O::MinimumWordAndPlace, cast!(second _mm_minpos_epu16)),
    ];
    agree(pairs, 0);
}

#[test]
fn products() {
    let pairs: &[(O, Pair)] = &[
        (O::MultiplyLow16, _mm_mullo_epi16),
        (O::MultiplyLow32, _mm_mullo_epi32),
        (O::MultiplyHighSigned16, _mm_mulhi_epi16),
        (O::MultiplyHighUnsigned16, _mm_mulhi_epu16),
        (O::MultiplyHighRounded16, _mm_mulhrs_epi16),
        (O::MultiplyEvenUnsigned32, _mm_mul_epu32),
        (O::MultiplyEvenSigned32, _mm_mul_epi32),
        (O::MultiplyAdd16, _mm_madd_epi16),
        (O::MultiplyAddUnsignedSigned8, _mm_maddubs_epi16),
    ];
    agree(pairs, 0);
}

#[test]
fn shifts_by_a_register() {
    let pairs: &[(O, Pair)] = &[
        (O::ShiftLeft16, _mm_sll_epi16),
        (O::ShiftLeft32, _mm_sll_epi32),
        (O::ShiftLeft64, _mm_sll_epi64),
        (O::ShiftRight16, _mm_srl_epi16),
        (O::ShiftRight32, _mm_srl_epi32),
        (O::ShiftRight64, _mm_srl_epi64),
        (O::ShiftRightSigned16, _mm_sra_epi16),
        (O::ShiftRightSigned32, _mm_sra_epi32),
    ];
    agree(pairs, 0);
}

#[test]
fn packs_unpacks_and_extensions() {
    let pairs: &[(O, Pair)] = &[
        (O::PackSigned16, _mm_packs_epi16),
        (O::PackSigned32, _mm_packs_epi32),
        (O::PackUnsigned16, _mm_packus_epi16),
        (O::PackUnsigned32, _mm_packus_epi32),
        (O::UnpackLow8, _mm_unpacklo_epi8),
        (O::UnpackLow16, _mm_unpacklo_epi16),
        (O::UnpackLow32, _mm_unpacklo_epi32),
        (O::UnpackLow64, _mm_unpacklo_epi64),
        (O::UnpackHigh8, _mm_unpackhi_epi8),
        (O::UnpackHigh16, _mm_unpackhi_epi16),
        (O::UnpackHigh32, _mm_unpackhi_epi32),
        (O::UnpackHigh64, _mm_unpackhi_epi64),
        (O::ShuffleBytes, _mm_shuffle_epi8),
        (O::SignExtend8To16, cast!(second _mm_cvtepi8_epi16)),
        (O::SignExtend8To32, cast!(second _mm_cvtepi8_epi32)),
        (O::SignExtend8To64, cast!(second _mm_cvtepi8_epi64)),
        (O::SignExtend16To32, cast!(second _mm_cvtepi16_epi32)),
        (O::SignExtend16To64, cast!(second _mm_cvtepi16_epi64)),
        (O::SignExtend32To64, cast!(second _mm_cvtepi32_epi64)),
        (O::ZeroExtend8To16, cast!(second _mm_cvtepu8_epi16)),
        (O::ZeroExtend8To32, cast!(second _mm_cvtepu8_epi32)),
        (O::ZeroExtend8To64, cast!(second _mm_cvtepu8_epi64)),
        (O::ZeroExtend16To32, cast!(second _mm_cvtepu16_epi32)),
        (O::ZeroExtend16To64, cast!(second _mm_cvtepu16_epi64)),
        (O::ZeroExtend32To64, cast!(second _mm_cvtepu32_epi64)),
    ];
    agree(pairs, 0);
}
