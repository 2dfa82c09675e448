//! Masked moves, gathers, and the two instructions that zero registers.

use super::place;
use crate::cpu::{Exception, FlagsEffect, Helper, HelperEffects, HelperId, SegmentIndex, Vcpu, Vector};
use crate::ir::{Op, Reg};

/// The helpers by place.
pub static HELPERS: &[Helper] = &[load_masked, store_masked, gather, zero];

/// Vector register `a` = the lanes at the linear address in `b` whose highest bit in vector register `c` is
/// set, the others zero. `d`: [`IS_WIDE`], [`ARE_QUADWORDS`].
pub const LOAD_MASKED: HelperId = HelperId::avx(0);
/// Stores the lanes of vector register `a` likewise, leaving memory as it is where others would go.
pub const STORE_MASKED: HelperId = HelperId::avx(1);
/// Loads lanes into vector register `a` from offsets in segment number `b`: that in T1 plus the lanes of
/// vector register `c & 15`, scaled by the low two bits of `d`. The register `c >> 4` masks, and ends zero.
/// `d`: [`IS_WIDE`], [`ARE_QUADWORDS`], [`HAS_QUADWORD_INDICES`], [`HAS_32_BIT_ADDRESSES`].
pub const GATHER: HelperId = HelperId::avx(2);
/// Zeroes the vector registers that the mode can name; only their upper halves when `d` is 0.
pub const ZERO: HelperId = HelperId::avx(3);

/// What VZEROUPPER does: nothing that an integer register or the low half of a vector register shows.
pub fn effects(op: &Op) -> Option<HelperEffects> {
    let quiet = HelperEffects { reads: 0, writes: 0, flags: FlagsEffect::None, may_leave: false };
    (op.imm == ZERO.number() && op.d == 0).then_some(quiet)
}

/// The operation is of 256 bits: its result, or its indices if they are larger.
pub const IS_WIDE: u8 = 1 << 2;
/// Lanes are of 64 bits, else of 32.
pub const ARE_QUADWORDS: u8 = 1 << 3;
/// Indices are of 64 bits, else of 32.
pub const HAS_QUADWORD_INDICES: u8 = 1 << 4;
/// Offsets are truncated to 32 bits.
pub const HAS_32_BIT_ADDRESSES: u8 = 1 << 5;

/// Lanes of a register, of 32 or 64 bits.
#[derive(Clone, Copy)]
struct Lanes {
    are_quadwords: bool,
}

impl Lanes {
    fn bytes(self) -> u64 {
        if self.are_quadwords { 8 } else { 4 }
    }

    fn get(self, from: &Vector, place: usize) -> u64 {
        if self.are_quadwords {
            from.0[place & 3]
        } else {
            from.0[place / 2 & 3] >> (32 * (place & 1)) & 0xffff_ffff
        }
    }

    fn set(self, to: &mut Vector, place: usize, value: u64) {
        if self.are_quadwords {
            to.0[place & 3] = value;
        } else {
            let shift = 32 * (place & 1);
            let lane = &mut to.0[place / 2 & 3];
            *lane = *lane & !(0xffff_ffff << shift) | value << shift;
        }
    }

    fn signed(self, from: &Vector, place: usize) -> i64 {
        let lane = self.get(from, place);
        if self.are_quadwords { lane as i64 } else { i64::from(lane as i32) }
    }

    fn is_negative(self, from: &Vector, place: usize) -> bool {
        self.signed(from, place) < 0
    }

    fn load(self, vcpu: &mut Vcpu, address: u64) -> Result<u64, Exception> {
        if self.are_quadwords { vcpu.read_u64(address) } else { vcpu.read_u32(address).map(u64::from) }
    }
}

/// The lanes, and how many there are.
fn lanes(op: &Op) -> (Lanes, usize) {
    let lanes = Lanes { are_quadwords: op.d & ARE_QUADWORDS != 0 };
    let bytes = if op.d & IS_WIDE != 0 { 32 } else { 16 };
    (lanes, bytes / lanes.bytes() as usize)
}

fn load_masked(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (lanes, count) = lanes(op);
    let address = vcpu.reg(Reg(op.b));
    let mask = vcpu.vectors[place(op.c)];
    let mut result = Vector::default();
    for number in 0..count {
        if lanes.is_negative(&mask, number) {
            let value = lanes.load(vcpu, address.wrapping_add(number as u64 * lanes.bytes()))?;
            lanes.set(&mut result, number, value);
        }
    }
    vcpu.vectors[place(op.a)] = result;
    Ok(())
}

fn store_masked(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (lanes, count) = lanes(op);
    let address = vcpu.reg(Reg(op.b));
    let (source, mask) = (vcpu.vectors[place(op.a)], vcpu.vectors[place(op.c)]);
    let chosen = || {
        let place_of = move |number: usize| address.wrapping_add(number as u64 * lanes.bytes());
        (0..count)
            .filter(move |&number| lanes.is_negative(&mask, number))
            .map(move |number| (number, place_of(number)))
    };
    for (_, address) in chosen() {
        vcpu.check_write(address, lanes.bytes())?;
    }
    for (number, address) in chosen() {
        let value = lanes.get(&source, number);
        if lanes.are_quadwords {
            vcpu.write_u64(address, value)?;
        } else {
            vcpu.write_u32(address, value as u32)?;
        }
    }
    Ok(())
}

/// Lanes that are loaded before a fault stay so, and their part of the mask is zero: the instruction goes on
/// where it was (SDM vol. 2C, VGATHERDPS).
fn gather(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    use SegmentIndex::{Cs, Ds, Es, Fs, Gs, Ss};
    let lanes = Lanes { are_quadwords: op.d & ARE_QUADWORDS != 0 };
    let indices = Lanes { are_quadwords: op.d & HAS_QUADWORD_INDICES != 0 };
    let bytes = if op.d & IS_WIDE != 0 { 32 } else { 16 };
    let count = bytes / lanes.bytes().max(indices.bytes()) as usize;
    let segment = [Es, Cs, Ss, Ds, Fs, Gs][usize::from(op.b).min(5)];
    let (target, mask) = (place(op.a), place(op.c >> 4));
    let index = vcpu.vectors[place(op.c & 15)];
    // All bits of a lane of the mask follow its highest.
    for number in 0..count {
        let is_chosen = lanes.is_negative(&vcpu.vectors[mask], number);
        let all = if is_chosen { u64::MAX >> (64 - 8 * lanes.bytes()) } else { 0 };
        lanes.set(&mut vcpu.vectors[mask], number, all);
    }
    for number in 0..count {
        if !lanes.is_negative(&vcpu.vectors[mask], number) {
            continue;
        }
        let scaled = (indices.signed(&index, number) as u64) << (op.d & 3);
        let offset = vcpu.reg(Reg::T1).wrapping_add(scaled);
        let offset = if op.d & HAS_32_BIT_ADDRESSES != 0 { offset & 0xffff_ffff } else { offset };
        let address = vcpu.linear_address(segment, offset, lanes.bytes())?;
        let value = lanes.load(vcpu, address)?;
        lanes.set(&mut vcpu.vectors[target], number, value);
        lanes.set(&mut vcpu.vectors[mask], number, 0);
    }
    let loaded = count * lanes.bytes() as usize / 8;
    vcpu.vectors[target].0[loaded.min(4)..].fill(0);
    vcpu.vectors[mask] = Vector::default();
    Ok(())
}

fn zero(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let count = if vcpu.is_64_bit() { 16 } else { 8 };
    for vector in &mut vcpu.vectors[..count] {
        if op.d == 0 {
            vector.set_high(0);
        } else {
            *vector = Vector::default();
        }
    }
    Ok(())
}
