//! Integer instructions whose semantics need more than micro-operations.

mod atomic;
mod bits;
mod decimal;
mod divide;
mod flow;
mod manipulate;
mod rotate;
mod string;

pub use atomic::Rmw;
pub use bits::BitOp;
pub use decimal::Decimal;
pub use divide::divide_wide;
pub use manipulate::BitManipulation;
pub use rotate::Rotate;
pub use string::{Repeat, StringOp};

use super::{Exception, FlagsEffect, Helper, HelperEffects, HelperId, SegmentIndex, Vcpu};
use crate::ir::{Op, Reg, Width};

/// `a` = linear address of the offset in `b` within segment number `c`, for `d` bytes; #GP(0) or #SS(0)
/// past the limit.
pub const SEGMENT_ADDRESS: HelperId = HelperId::integer(0);
/// Raises #UD.
pub const UNDEFINED: HelperId = HelperId::integer(1);
/// MUL (IMUL when `c` is 1) by `b`, of width `d`.
pub const MULTIPLY: HelperId = HelperId::integer(2);
/// DIV (IDIV when `c` is 1) by `b`, of width `d`.
pub const DIVIDE: HelperId = HelperId::integer(3);
/// `a` = old value at the address in `b`; when it equals the accumulator, stores `c`. Atomic, width `d`.
pub const COMPARE_EXCHANGE: HelperId = HelperId::integer(4);
/// CMPXCHG8B at the address in `b`, CMPXCHG16B when `d` is 1.
pub const COMPARE_EXCHANGE_WIDE: HelperId = HelperId::integer(5);
/// `a` = old value at the address in `b`, which [`Rmw`] number `d >> 2` then changes with `c`; width `d & 3`.
pub const ATOMIC: HelperId = HelperId::integer(6);
/// `a` = `b` after [`BitOp`] number `d >> 2` on bit `c`; defines CF. Width `d & 3`.
pub const BIT_OPERATION: HelperId = HelperId::integer(7);
/// `a` = address in `b` moved to the operand of width `d` that holds bit `c`, counted from there.
pub const BIT_ADDRESS: HelperId = HelperId::integer(8);
/// BSF.
pub const BIT_SCAN_FORWARD: HelperId = HelperId::integer(9);
/// BSR.
pub const BIT_SCAN_REVERSE: HelperId = HelperId::integer(10);
/// POPCNT.
pub const POPULATION_COUNT: HelperId = HelperId::integer(11);
/// CLC, STC, CMC, CLD, STD by `d` = 0 to 4.
pub const SET_FLAG: HelperId = HelperId::integer(12);
/// [`Decimal`] instruction number `d`, with the base `c` for AAM and AAD.
pub const DECIMAL_ADJUST: HelperId = HelperId::integer(13);
/// BOUND: #BR unless `b <= a <= c`, signed, width `d`.
pub const CHECK_BOUND: HelperId = HelperId::integer(14);
/// JCXZ (`c` = 0), LOOP, LOOPE, LOOPNE with a counter of width `d`; `b` = target's distance.
pub const COUNT_BRANCH: HelperId = HelperId::integer(15);
/// ENTER with `b` bytes and nesting level `c`; `a` = width of the stack pointer, `d` of the operand.
pub const ENTER: HelperId = HelperId::integer(16);
/// PUSHA, POPA when `c` is 1; `a` and `d` as for [`ENTER`].
pub const ALL_REGISTERS: HelperId = HelperId::integer(17);
/// `a` = `b` after [`Rotate`] number `d >> 2` by `c`; width `d & 3`.
pub const ROTATE: HelperId = HelperId::integer(18);
/// `a` = SHLD (SHRD when `d >> 2` is 1) of `b`, filled from `c`, by the count in T2; width `d & 3`.
pub const DOUBLE_SHIFT: HelperId = HelperId::integer(19);
/// [`StringOp`] number `a` of width `d`, source segment `c`, [`Repeat`] number `b >> 2`, address width `b & 3`.
pub const STRING: HelperId = HelperId::integer(20);
/// `a` = [`BitManipulation`] number `d >> 2` of `b` and `c`; width `d & 3`.
pub const MANIPULATE_BITS: HelperId = HelperId::integer(21);
/// MULX: high half into `a`, low half into `c`, of RDX times `b`; width `d`.
pub const MULTIPLY_QUIETLY: HelperId = HelperId::integer(22);
/// `a` = `b + c` and CF (ADCX), or OF (ADOX) when `d >> 2` is 1, which then takes the carry; width `d & 3`.
pub const ADD_WITH_ONE_FLAG: HelperId = HelperId::integer(23);

/// The family's helpers by place.
pub static HELPERS: [Helper; 24] = [
    segment_address,
    |_, _| Err(Exception::InvalidOpcode),
    divide::multiply,
    divide::divide,
    atomic::compare_exchange,
    atomic::compare_exchange_wide,
    atomic::read_modify_write,
    bits::operate,
    bits::address,
    bits::scan_forward,
    bits::scan_reverse,
    bits::population_count,
    bits::set_flag,
    decimal::adjust,
    decimal::check_bound,
    flow::count_branch,
    flow::enter,
    flow::all_registers,
    rotate::rotate,
    rotate::double_shift,
    string::string,
    manipulate::manipulate,
    manipulate::multiply_quietly,
    manipulate::add_with_one_flag,
];

const ADC: u8 = Rmw::Adc as u8;
const SBB: u8 = Rmw::Sbb as u8;

/// What the family's helpers do that work on a few registers only.
pub fn effects(op: &Op) -> Option<HelperEffects> {
    use FlagsEffect::{Changes, Defines, None as Nothing};
    let bit = |number: u8| 1u32 << (number & 31);
    let (a, b, c) = (bit(op.a), bit(op.b), bit(op.c));
    let wide = bit(Reg::RAX.0) | bit(Reg::RDX.0);
    let known = |reads, writes, flags| HelperEffects { reads, writes, flags, may_leave: false };
    let leaving = |effects: HelperEffects| HelperEffects { may_leave: true, ..effects };
    Some(match HelperId::integer(op.imm as u8) {
        MULTIPLY => known(wide | b, wide, Defines),
        DIVIDE => leaving(known(wide | b, wide, Nothing)),
        COMPARE_EXCHANGE => leaving(known(bit(Reg::RAX.0) | b | c, a, Nothing)),
        // Two of the operations read CF.
        ATOMIC if !matches!(op.d >> 2, ADC | SBB) => leaving(known(b | c, a, Nothing)),
        BIT_OPERATION => known(a | b | c, if op.d >> 2 == 0 { 0 } else { a }, Changes),
        BIT_ADDRESS => known(b | c, a, Nothing),
        BIT_SCAN_FORWARD | BIT_SCAN_REVERSE | POPULATION_COUNT => known(a | b, a, Defines),
        SET_FLAG => known(0, 0, Changes),
        ROTATE => known(a | b | c, a, Changes),
        // PDEP and PEXT leave the flags.
        MANIPULATE_BITS if op.d >> 2 >= BitManipulation::Deposit as u8 => known(b | c, a, Nothing),
        MANIPULATE_BITS => known(a | b | c, a, Defines),
        MULTIPLY_QUIETLY => known(bit(Reg::RDX.0) | b, a | c, Nothing),
        ADD_WITH_ONE_FLAG => known(b | c, a, Changes),
        DOUBLE_SHIFT => known(a | b | c | bit(Reg::T2.0), a, Changes),
        _ => return None,
    })
}

/// The width with the number in the low two bits.
const fn width(number: u8) -> Width {
    match number & 3 {
        0 => Width::W8,
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    }
}

impl Vcpu {
    /// The low `width` bits of a register of the file.
    fn value(&self, number: u8, width: Width) -> u64 {
        self.reg(Reg(number)) & width.mask()
    }

    /// Writes the low bits of a register by the width's rule: 8 and 16 bits keep the rest, 32 bits clear it.
    pub(in crate::cpu) fn set_value(&mut self, register: Reg, width: Width, value: u64) {
        let mask = width.mask();
        let kept = if width < Width::W32 { self.reg(register) & !mask } else { 0 };
        self.set_reg(register, kept | value & mask);
    }

    /// The linear address of an offset within a segment; checks the limit outside 64-bit code.
    pub(in crate::cpu) fn linear_address(
        &self,
        segment: SegmentIndex,
        offset: u64,
        bytes: u64,
    ) -> Result<u64, Exception> {
        let base = self.segment_base(segment);
        if self.is_64_bit() {
            let is_based = matches!(segment, SegmentIndex::Fs | SegmentIndex::Gs);
            return Ok(if is_based { offset.wrapping_add(base) } else { offset });
        }
        let offset = offset & 0xffff_ffff;
        let hidden = &self.segments[segment as usize];
        let last = offset + (bytes - 1);
        let is_expand_down = hidden.attributes & 0b1_1100 == 0b1_0100;
        let is_inside = if is_expand_down {
            let top = if hidden.is_default_32() { 0xffff_ffff } else { 0xffff };
            offset > u64::from(hidden.limit) && last <= top
        } else {
            last <= u64::from(hidden.limit)
        };
        if !is_inside {
            return Err(match segment {
                SegmentIndex::Ss => Exception::StackFault(0),
                _ => Exception::GeneralProtection(0),
            });
        }
        Ok(offset.wrapping_add(base) & 0xffff_ffff)
    }

    /// As [`linear_address`](Self::linear_address) with the segment by number.
    fn linear_address_in(&self, segment: u8, offset: u64, bytes: u64) -> Result<u64, Exception> {
        use SegmentIndex::{Cs, Ds, Es, Fs, Gs, Ss};
        let index = [Es, Cs, Ss, Ds, Fs, Gs][usize::from(segment).min(5)];
        self.linear_address(index, offset, bytes)
    }

    fn read_sized(&mut self, address: u64, width: Width) -> Result<u64, Exception> {
        match width {
            Width::W8 => self.read_u8(address).map(u64::from),
            Width::W16 => self.read_u16(address).map(u64::from),
            Width::W32 => self.read_u32(address).map(u64::from),
            Width::W64 => self.read_u64(address),
        }
    }

    fn write_sized(&mut self, address: u64, width: Width, value: u64) -> Result<(), Exception> {
        match width {
            Width::W8 => self.write_u8(address, value as u8),
            Width::W16 => self.write_u16(address, value as u16),
            Width::W32 => self.write_u32(address, value as u32),
            Width::W64 => self.write_u64(address, value),
        }
    }
}

fn segment_address(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let linear = vcpu.linear_address_in(op.c, vcpu.reg(Reg(op.b)), u64::from(op.d.max(1)))?;
    vcpu.set_reg(Reg(op.a), linear);
    Ok(())
}
