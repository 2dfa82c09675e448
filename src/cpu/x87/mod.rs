//! The x87 floating-point unit and MMX (SDM vol. 1 chapters 8 and 9).
//!
//! [`float80`] has the number format and its rounding, [`arithmetic`], [`exponent`] and [`convert`] the
//! operations on numbers, [`stack`] how instructions use them on the register stack in [`state`]. The
//! helpers are in [`registers`], [`operands`] (with memory operands) and [`control`].

mod arithmetic;
mod control;
mod convert;
mod exponent;
mod float80;
#[cfg(all(test, target_arch = "x86_64"))]
mod host_tests;
mod lift;
mod mmx;
mod mmx_convert;
mod mmx_lift;
mod operands;
mod registers;
mod stack;
mod state;
mod transcendental;
mod wide;

use super::{FlagsEffect, Helper, HelperEffects, HelperId};
use crate::ir::{Op, Reg};
use arithmetic::{add, divide, multiply, square_root, subtract};
use exponent::Quotient;
use operands::combine_memory;
use registers::{combine, on_stack};

pub use lift::lift;
pub use operands::Format;
pub use state::{X87, offset};

macro_rules! helpers {
    ($($(#[$doc:meta])* $name:ident = $helper:expr;)*) => {
        /// The places of the helpers in [`HELPERS`].
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        #[repr(u8)]
        enum Place { $($name,)* COUNT }
        $($(#[$doc])* pub const $name: HelperId = HelperId::x87(Place::$name as u8);)*
        /// The family's helpers by place.
        pub static HELPERS: [Helper; Place::COUNT as usize] = [$($helper,)*];
    };
}

helpers! {
    /// Raises #NM.
    NOT_AVAILABLE = registers::not_available;
    /// `WAIT`.
    WAIT = registers::wait;
    /// `FNOP`.
    NO_OPERATION = |vcpu, op| on_stack(vcpu, op, |_| {});
    /// `FNINIT`.
    INITIALIZE = control::initialize;
    /// `FNCLEX`.
    CLEAR_EXCEPTIONS = control::clear_exceptions;
    /// `FLDCW` from T4.
    LOAD_CONTROL = control::load_control;
    /// The control word into T4.
    READ_CONTROL = control::read_control;
    /// The status word into T4.
    READ_STATUS = control::read_status;
    /// `FLDENV` from T1; `d` = 1 for the 32-bit layout.
    LOAD_ENVIRONMENT = control::load_environment;
    /// `FNSTENV` to T1; `d` as above.
    STORE_ENVIRONMENT = control::store_environment;
    /// `FRSTOR` from T1; `d` as above.
    RESTORE = control::restore;
    /// `FNSAVE` to T1; `d` as above.
    SAVE = control::save;
    /// TOP goes up by `a`.
    ROTATE = |vcpu, op| on_stack(vcpu, op, |x87| x87.rotate(op.a));
    /// Empties ST(`a`), and `c` pops.
    FREE = |vcpu, op| on_stack(vcpu, op, |x87| x87.free_register(op.a, op.c));
    /// Exchanges ST(0) and ST(`a`).
    EXCHANGE = |vcpu, op| on_stack(vcpu, op, |x87| x87.exchange(op.a));
    /// `FCHS`.
    CHANGE_SIGN = |vcpu, op| on_stack(vcpu, op, |x87| x87.change(|_, value| Some(value.negated())));
    /// `FABS`.
    ABSOLUTE = |vcpu, op| on_stack(vcpu, op, |x87| x87.change(|_, value| Some(value.with_sign(false))));
    /// `FXAM`.
    EXAMINE = |vcpu, op| on_stack(vcpu, op, |x87| x87.examine());
    /// `FTST`.
    TEST = registers::test;
    /// Pushes constant `a`.
    LOAD_CONSTANT = registers::load_constant;
    /// Pushes ST(`a`).
    LOAD_REGISTER = |vcpu, op| on_stack(vcpu, op, |x87| x87.load_register(op.a));
    /// Pushes T4, of format `d`.
    LOAD = operands::load;
    /// Pushes the 80-bit operand at T1.
    LOAD_80 = operands::load_80;
    /// `FBLD` from T1.
    LOAD_BCD = operands::load_bcd;
    /// ST(`a`) = ST(0), and `c` pops.
    STORE_REGISTER = |vcpu, op| on_stack(vcpu, op, |x87| x87.store_register(op.a, op.c));
    /// ST(0) in single precision to T1, and `c` pops.
    STORE_SINGLE = operands::store_single;
    /// ST(0) in double precision to T1, and `c` pops.
    STORE_DOUBLE = operands::store_double;
    /// ST(0) to T1, and `c` pops.
    STORE_80 = operands::store_80;
    /// `FBSTP` to T1.
    STORE_BCD = operands::store_bcd;
    /// ST(0) as an integer of format `d` to T1, truncated when `a` is 1; `c` pops.
    STORE_INTEGER = operands::store_integer;
    /// ST(`a`) += ST(`b`), and `c` pops.
    ADD = |vcpu, op| combine(vcpu, op, add);
    /// ST(`a`) *= ST(`b`), and `c` pops.
    MULTIPLY = |vcpu, op| combine(vcpu, op, multiply);
    /// ST(`a`) -= ST(`b`), and `c` pops.
    SUBTRACT = |vcpu, op| combine(vcpu, op, subtract);
    /// ST(`a`) = ST(`b`) - ST(`a`), and `c` pops.
    SUBTRACT_REVERSED = |vcpu, op| combine(vcpu, op, |environment, a, b| subtract(environment, b, a));
    /// ST(`a`) /= ST(`b`), and `c` pops.
    DIVIDE = |vcpu, op| combine(vcpu, op, divide);
    /// ST(`a`) = ST(`b`) / ST(`a`), and `c` pops.
    DIVIDE_REVERSED = |vcpu, op| combine(vcpu, op, |environment, a, b| divide(environment, b, a));
    /// ST(0) += T4 of format `d`.
    ADD_MEMORY = |vcpu, op| combine_memory(vcpu, op, add);
    /// ST(0) *= T4 of format `d`.
    MULTIPLY_MEMORY = |vcpu, op| combine_memory(vcpu, op, multiply);
    /// ST(0) -= T4 of format `d`.
    SUBTRACT_MEMORY = |vcpu, op| combine_memory(vcpu, op, subtract);
    /// ST(0) = T4 of format `d` - ST(0).
    SUBTRACT_REVERSED_MEMORY =
        |vcpu, op| combine_memory(vcpu, op, |environment, a, b| subtract(environment, b, a));
    /// ST(0) /= T4 of format `d`.
    DIVIDE_MEMORY = |vcpu, op| combine_memory(vcpu, op, divide);
    /// ST(0) = T4 of format `d` / ST(0).
    DIVIDE_REVERSED_MEMORY =
        |vcpu, op| combine_memory(vcpu, op, |environment, a, b| divide(environment, b, a));
    /// Compares ST(0) with ST(`a`), quietly when `b` is 1, and `c` pops.
    COMPARE = registers::compare_registers;
    /// Compares ST(0) with T4 of format `d`, and `c` pops.
    COMPARE_MEMORY = operands::compare_memory;
    /// As [`COMPARE`], into the arithmetic flags.
    COMPARE_TO_FLAGS = registers::compare_to_flags;
    /// ST(0) = ST(`a`) when condition `c` holds.
    MOVE_IF = registers::move_if;
    /// `FSQRT`.
    SQUARE_ROOT = |vcpu, op| on_stack(vcpu, op, |x87| x87.change(square_root));
    /// `FRNDINT`.
    ROUND_TO_INTEGER = |vcpu, op| on_stack(vcpu, op, |x87| x87.change(convert::round_to_integer));
    /// `FSCALE`; `b` is 1.
    SCALE = |vcpu, op| combine(vcpu, op, exponent::scale);
    /// `FXTRACT`.
    EXTRACT = |vcpu, op| on_stack(vcpu, op, |x87| x87.change_and_push(exponent::extract));
    /// `FPREM`.
    REMAINDER_TRUNCATED = |vcpu, op| remainder(vcpu, op, Quotient::Truncated);
    /// `FPREM1`.
    REMAINDER_NEAREST = |vcpu, op| remainder(vcpu, op, Quotient::Nearest);
    /// `FSIN`.
    SINE = |vcpu, op| on_stack(vcpu, op, |x87| x87.trigonometric(transcendental::fsin));
    /// `FCOS`.
    COSINE = |vcpu, op| on_stack(vcpu, op, |x87| x87.trigonometric(transcendental::fcos));
    /// `FSINCOS`.
    SINE_AND_COSINE = |vcpu, op| on_stack(vcpu, op, |x87| x87.trigonometric_pair(transcendental::fsincos));
    /// `FPTAN`.
    TANGENT = |vcpu, op| on_stack(vcpu, op, |x87| x87.trigonometric_pair(transcendental::fptan));
    /// `FPATAN`, as all that follow with `a` = 1, `b` = 0, `c` = 1: into ST(1), and one pop.
    ARCTANGENT = |vcpu, op| combine(vcpu, op, transcendental::fpatan);
    /// `FYL2X`.
    LOGARITHM = |vcpu, op| combine(vcpu, op, transcendental::fyl2x);
    /// `FYL2XP1`.
    LOGARITHM_PLUS_ONE = |vcpu, op| combine(vcpu, op, transcendental::fyl2xp1);
    /// `F2XM1`.
    POWER_MINUS_ONE = |vcpu, op| on_stack(vcpu, op, |x87| x87.change(transcendental::f2xm1));
    /// `EMMS`.
    MMX_EMPTY = mmx::empty;
    /// MM(`a`) = operation `d` of MM(`a`) and MM(`b`), or T4 when `c` is 1.
    MMX_COMBINE = mmx::combine;
    /// T4 = MM(`a`).
    MMX_READ = mmx::read;
    /// MM(`a`) to T1, `d` bytes.
    MMX_STORE = mmx::store;
    /// `PSHUFW` into MM(`a`), source as for [`MMX_COMBINE`], immediate `d`.
    MMX_SHUFFLE_WORDS = mmx::shuffle_words;
    /// `PALIGNR`, as above.
    MMX_ALIGN_RIGHT = mmx::align_right;
    /// `PINSRW` of T4 into MM(`a`), immediate `d`.
    MMX_INSERT_WORD = mmx::insert_word;
    /// `PEXTRW` of MM(`b`) into register `a`, immediate `d`.
    MMX_EXTRACT_WORD = mmx::extract_word;
    /// `PMOVMSKB` of MM(`b`) into register `a`.
    MMX_MOVE_MASK = mmx::move_mask;
    /// `MASKMOVQ` of MM(`a`) by MM(`b`) to T1.
    MMX_MASKED_STORE = mmx::masked_store;
    /// `MOVQ2DQ`.
    MMX_TO_VECTOR = mmx::move_to_vector;
    /// `MOVDQ2Q`.
    MMX_FROM_VECTOR = mmx::move_from_vector;
    /// `CVTPI2PS` into XMM(`a`), source as for [`MMX_COMBINE`].
    MMX_TO_SINGLES = mmx_convert::to_singles;
    /// `CVTPI2PD`, as above.
    MMX_TO_DOUBLES = mmx_convert::to_doubles;
    /// `CVTPS2PI` into MM(`a`) from XMM(`b`), or from T4 by bit 0 of `c`; bit 1: `CVTTPS2PI`.
    MMX_FROM_SINGLES = mmx_convert::from_singles;
    /// `CVTPD2PI` into MM(`a`) from vector register `b`; bit 1 of `c`: `CVTTPD2PI`.
    MMX_FROM_DOUBLES = mmx_convert::from_doubles;
}

/// What the family's helpers do with the integer registers: those of the floating-point unit take operands in T1
/// and T4 only. They note the instruction's address, so RIP must stand in memory.
pub fn effects(op: &Op) -> Option<HelperEffects> {
    let place = op.imm as u8;
    if place <= Place::WAIT as u8 || place >= Place::MMX_EMPTY as u8 {
        return None;
    }
    let bit = |register: Reg| 1u32 << register.0;
    let is_read = place == Place::READ_CONTROL as u8 || place == Place::READ_STATUS as u8;
    let uses_flags = place == Place::COMPARE_TO_FLAGS as u8 || place == Place::MOVE_IF as u8;
    Some(HelperEffects {
        reads: bit(Reg::T1) | bit(Reg::T4),
        writes: if is_read { bit(Reg::T4) } else { 0 },
        flags: if uses_flags { FlagsEffect::Changes } else { FlagsEffect::None },
        may_leave: true,
    })
}

fn remainder(vcpu: &mut super::Vcpu, op: &Op, quotient: Quotient) -> Result<(), super::Exception> {
    on_stack(vcpu, op, |x87| {
        x87.reduce(|environment, a, b| exponent::remainder(environment, a, b, quotient));
    })
}
