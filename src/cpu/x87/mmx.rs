//! MMX, and the SSE instructions that work on MM registers (SDM vol. 1 chapter 9, vol. 2).

use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg};
use iced_x86::Mnemonic;

/// Applies a function to each of the eight bytes.
#[inline(always)]
fn bytes(a: u64, b: u64, operation: impl Fn(u8, u8) -> u8) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u64::from_le_bytes(std::array::from_fn(|lane| operation(a[lane], b[lane])))
}

/// The four words of a quadword.
#[inline(always)]
fn split_words(value: u64) -> [u16; 4] {
    std::array::from_fn(|lane| (value >> (16 * lane)) as u16)
}

#[inline(always)]
fn join_words(lanes: [u16; 4]) -> u64 {
    lanes.into_iter().rev().fold(0, |value, lane| value << 16 | u64::from(lane))
}

/// Applies a function to each of the four words.
#[inline(always)]
fn words(a: u64, b: u64, operation: impl Fn(u16, u16) -> u16) -> u64 {
    let (a, b) = (split_words(a), split_words(b));
    join_words(std::array::from_fn(|lane| operation(a[lane], b[lane])))
}

/// Applies a function to both doublewords.
#[inline(always)]
fn doublewords(a: u64, b: u64, operation: impl Fn(u32, u32) -> u32) -> u64 {
    let low = operation(a as u32, b as u32);
    let high = operation((a >> 32) as u32, (b >> 32) as u32);
    u64::from(low) | u64::from(high) << 32
}

/// As [`bytes`], on signed bytes.
#[inline(always)]
fn signed_bytes(a: u64, b: u64, operation: impl Fn(i8, i8) -> i8) -> u64 {
    bytes(a, b, |a, b| operation(a as i8, b as i8) as u8)
}

/// As [`words`], on signed words.
#[inline(always)]
fn signed_words(a: u64, b: u64, operation: impl Fn(i16, i16) -> i16) -> u64 {
    words(a, b, |a, b| operation(a as i16, b as i16) as u16)
}

/// As [`doublewords`], on signed doublewords.
#[inline(always)]
fn signed_doublewords(a: u64, b: u64, operation: impl Fn(i32, i32) -> i32) -> u64 {
    doublewords(a, b, |a, b| operation(a as i32, b as i32) as u32)
}

/// Combines neighbours: the words of `a` make the low half of the result, those of `b` the high half.
fn neighbour_words(a: u64, b: u64, operation: impl Fn(i16, i16) -> i16) -> u64 {
    let all = [split_words(a), split_words(b)].concat();
    join_words(std::array::from_fn(|lane| operation(all[2 * lane] as i16, all[2 * lane + 1] as i16) as u16))
}

/// As [`neighbour_words`], for doublewords.
fn neighbour_doublewords(a: u64, b: u64, operation: impl Fn(u32, u32) -> u32) -> u64 {
    let pair = |value: u64| u64::from(operation(value as u32, (value >> 32) as u32));
    pair(a) | pair(b) << 32
}

/// All ones when the condition holds.
macro_rules! mask {
    ($condition:expr, $type:ty) => {
        if $condition { <$type>::MAX } else { 0 }
    };
}

/// A byte of each sign: `a`, 0 or `-a` as `b` is positive, zero or negative.
macro_rules! sign {
    ($a:expr, $b:expr) => {
        if $b < 0 {
            $a.wrapping_neg()
        } else if $b == 0 {
            0
        } else {
            $a
        }
    };
}

/// Interleaves lanes of `size` bits from the low halves of two quadwords.
fn interleave(a: u64, b: u64, size: u32) -> u64 {
    let lanes = 32 / size;
    let lane_mask = u64::MAX >> (64 - size);
    (0..lanes).fold(0, |result, lane| {
        let pair = a >> (size * lane) & lane_mask | (b >> (size * lane) & lane_mask) << size;
        result | pair << (2 * size * lane)
    })
}

/// Saturates a word to a signed byte.
fn to_signed_byte(value: i16) -> u8 {
    value.clamp(-128, 127) as i8 as u8
}

/// Packs the words of `a`, then those of `b`, to bytes.
fn pack_words(a: u64, b: u64, saturate: impl Fn(i16) -> u8) -> u64 {
    let all = [split_words(a), split_words(b)].concat();
    u64::from_le_bytes(std::array::from_fn(|lane| saturate(all[lane] as i16)))
}

/// Packs the doublewords of `a`, then those of `b`, to words with signed saturation.
fn pack_doublewords(a: u64, b: u64) -> u64 {
    let all = [a as i32, (a >> 32) as i32, b as i32, (b >> 32) as i32];
    join_words(all.map(|value| value.clamp(-32768, 32767) as i16 as u16))
}

fn multiply_add(a: u64, b: u64) -> u64 {
    let (a, b) = (split_words(a), split_words(b));
    let product = |lane: usize| i32::from(a[lane] as i16) * i32::from(b[lane] as i16);
    let pair = |lane: usize| u64::from(product(lane).wrapping_add(product(lane + 1)) as u32);
    pair(0) | pair(2) << 32
}

/// `PMADDUBSW`: unsigned bytes of `a` times signed bytes of `b`, neighbours added with saturation.
fn multiply_add_bytes(a: u64, b: u64) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    let product = |lane: usize| i32::from(a[lane]) * i32::from(b[lane] as i8);
    join_words(std::array::from_fn(|lane| {
        (product(2 * lane) + product(2 * lane + 1)).clamp(-32768, 32767) as i16 as u16
    }))
}

fn sum_of_differences(a: u64, b: u64) -> u64 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(b))).sum()
}

/// `PSHUFB`: each byte of `b` chooses a byte of `a`, or zero by its top bit.
fn shuffle_bytes(a: u64, b: u64) -> u64 {
    let from = a.to_le_bytes();
    bytes(b, 0, |choice, _| if choice & 0x80 != 0 { 0 } else { from[usize::from(choice & 7)] })
}

/// A shift of all lanes by the whole second operand.
fn shift_words(a: u64, count: u64, shift: impl Fn(u16, u32) -> u16) -> u64 {
    words(a, 0, |lane, _| shift(lane, count.min(255) as u32))
}

fn shift_doublewords(a: u64, count: u64, shift: impl Fn(u32, u32) -> u32) -> u64 {
    doublewords(a, 0, |lane, _| shift(lane, count.min(255) as u32))
}

/// What a two-operand instruction computes of the destination and the source.
type Operation = fn(u64, u64) -> u64;

macro_rules! operations {
    ($($mnemonic:ident = $operation:expr;)*) => {
        #[repr(u8)]
        enum Place { $($mnemonic,)* Count }

        /// The operations by the numbers that [`number`] gives.
        static OPERATIONS: [Operation; Place::Count as usize] = [$($operation,)*];

        /// The number of a two-operand instruction whose destination is also its first source.
        pub fn number(mnemonic: Mnemonic) -> Option<u8> {
            match mnemonic {
                $(Mnemonic::$mnemonic => Some(Place::$mnemonic as u8),)*
                _ => None,
            }
        }
    };
}

operations! {
    Paddb = |a, b| bytes(a, b, u8::wrapping_add);
    Paddw = |a, b| words(a, b, u16::wrapping_add);
    Paddd = |a, b| doublewords(a, b, u32::wrapping_add);
    Paddq = u64::wrapping_add;
    Paddsb = |a, b| signed_bytes(a, b, i8::saturating_add);
    Paddsw = |a, b| signed_words(a, b, i16::saturating_add);
    Paddusb = |a, b| bytes(a, b, u8::saturating_add);
    Paddusw = |a, b| words(a, b, u16::saturating_add);
    Psubb = |a, b| bytes(a, b, u8::wrapping_sub);
    Psubw = |a, b| words(a, b, u16::wrapping_sub);
    Psubd = |a, b| doublewords(a, b, u32::wrapping_sub);
    Psubq = u64::wrapping_sub;
    Psubsb = |a, b| signed_bytes(a, b, i8::saturating_sub);
    Psubsw = |a, b| signed_words(a, b, i16::saturating_sub);
    Psubusb = |a, b| bytes(a, b, u8::saturating_sub);
    Psubusw = |a, b| words(a, b, u16::saturating_sub);
    Pmullw = |a, b| words(a, b, u16::wrapping_mul);
    Pmulhw = |a, b| signed_words(a, b, |a, b| ((i32::from(a) * i32::from(b)) >> 16) as i16);
    Pmulhuw = |a, b| words(a, b, |a, b| ((u32::from(a) * u32::from(b)) >> 16) as u16);
    Pmuludq = |a, b| u64::from(a as u32) * u64::from(b as u32);
    Pmaddwd = multiply_add;
    Pand = |a, b| a & b;
    Pandn = |a, b| !a & b;
    Por = |a, b| a | b;
    Pxor = |a, b| a ^ b;
    Pcmpeqb = |a, b| bytes(a, b, |a, b| mask!(a == b, u8));
    Pcmpeqw = |a, b| words(a, b, |a, b| mask!(a == b, u16));
    Pcmpeqd = |a, b| doublewords(a, b, |a, b| mask!(a == b, u32));
    Pcmpgtb = |a, b| bytes(a, b, |a, b| mask!(a as i8 > b as i8, u8));
    Pcmpgtw = |a, b| words(a, b, |a, b| mask!(a as i16 > b as i16, u16));
    Pcmpgtd = |a, b| doublewords(a, b, |a, b| mask!(a as i32 > b as i32, u32));
    Packsswb = |a, b| pack_words(a, b, to_signed_byte);
    Packuswb = |a, b| pack_words(a, b, |value| value.clamp(0, 255) as u8);
    Packssdw = pack_doublewords;
    Punpcklbw = |a, b| interleave(a, b, 8);
    Punpcklwd = |a, b| interleave(a, b, 16);
    Punpckldq = |a, b| interleave(a, b, 32);
    Punpckhbw = |a, b| interleave(a >> 32, b >> 32, 8);
    Punpckhwd = |a, b| interleave(a >> 32, b >> 32, 16);
    Punpckhdq = |a, b| interleave(a >> 32, b >> 32, 32);
    Psllw = |a, b| shift_words(a, b, |lane, count| lane.checked_shl(count).unwrap_or(0));
    Pslld = |a, b| shift_doublewords(a, b, |lane, count| lane.checked_shl(count).unwrap_or(0));
    Psllq = |a, b| a.checked_shl(b.min(64) as u32).unwrap_or(0);
    Psrlw = |a, b| shift_words(a, b, |lane, count| lane.checked_shr(count).unwrap_or(0));
    Psrld = |a, b| shift_doublewords(a, b, |lane, count| lane.checked_shr(count).unwrap_or(0));
    Psrlq = |a, b| a.checked_shr(b.min(64) as u32).unwrap_or(0);
    Psraw = |a, b| shift_words(a, b, |lane, count| (lane as i16 >> count.min(15)) as u16);
    Psrad = |a, b| shift_doublewords(a, b, |lane, count| (lane as i32 >> count.min(31)) as u32);
    Pavgb = |a, b| bytes(a, b, |a, b| ((u16::from(a) + u16::from(b) + 1) >> 1) as u8);
    Pavgw = |a, b| words(a, b, |a, b| ((u32::from(a) + u32::from(b) + 1) >> 1) as u16);
    Pminub = |a, b| bytes(a, b, u8::min);
    Pmaxub = |a, b| bytes(a, b, u8::max);
    Pminsw = |a, b| signed_words(a, b, i16::min);
    Pmaxsw = |a, b| signed_words(a, b, i16::max);
    Psadbw = sum_of_differences;
    Movq = |_, b| b;
    Pshufb = shuffle_bytes;
    Phaddw = |a, b| neighbour_words(a, b, i16::wrapping_add);
    Phaddd = |a, b| neighbour_doublewords(a, b, u32::wrapping_add);
    Phaddsw = |a, b| neighbour_words(a, b, i16::saturating_add);
    Phsubw = |a, b| neighbour_words(a, b, i16::wrapping_sub);
    Phsubd = |a, b| neighbour_doublewords(a, b, u32::wrapping_sub);
    Phsubsw = |a, b| neighbour_words(a, b, i16::saturating_sub);
    Pmaddubsw = multiply_add_bytes;
    Pmulhrsw = |a, b| signed_words(a, b, |a, b| ((((i32::from(a) * i32::from(b)) >> 14) + 1) >> 1) as i16);
    Psignb = |a, b| signed_bytes(a, b, |a, b| sign!(a, b));
    Psignw = |a, b| signed_words(a, b, |a, b| sign!(a, b));
    Psignd = |a, b| signed_doublewords(a, b, |a, b| sign!(a, b));
    Pabsb = |_, b| signed_bytes(b, 0, |b, _| b.wrapping_abs());
    Pabsw = |_, b| signed_words(b, 0, |b, _| b.wrapping_abs());
    Pabsd = |_, b| signed_doublewords(b, 0, |b, _| b.wrapping_abs());
}

/// The source of an instruction: T4 when `c` is 1, else MM(`b`).
#[inline(always)]
fn source(vcpu: &Vcpu, op: &Op) -> u64 {
    if op.c == 0 { vcpu.x87.mmx(op.b) } else { vcpu.reg(Reg::T4) }
}

/// Begins an instruction on MM registers: #MF for a pending exception, then the unit is in MMX state.
#[inline(always)]
fn enter(vcpu: &mut Vcpu) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    vcpu.x87.enter_mmx();
    Ok(())
}

/// `EMMS`.
pub fn empty(vcpu: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    vcpu.x87.empty_mmx();
    Ok(())
}

/// MM(`a`) = operation number `d` of MM(`a`) and the source.
pub fn combine(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    if let Some(operation) = OPERATIONS.get(usize::from(op.d)) {
        let result = operation(vcpu.x87.mmx(op.a), source(vcpu, op));
        vcpu.x87.set_mmx(op.a, result);
    }
    Ok(())
}

/// T4 = MM(`a`).
pub fn read(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    vcpu.set_reg(Reg::T4, vcpu.x87.mmx(op.a));
    Ok(())
}

/// Writes the low `d` bytes of MM(`a`) to the address in T1.
pub fn store(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let (address, value) = (vcpu.reg(Reg::T1), vcpu.x87.mmx(op.a));
    if op.d == 4 {
        vcpu.write_u32(address, value as u32)?;
    } else {
        vcpu.write_u64(address, value)?;
    }
    vcpu.x87.enter_mmx();
    Ok(())
}

/// `PSHUFW` by the immediate `d`.
pub fn shuffle_words(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    let from = split_words(source(vcpu, op));
    let choice = usize::from(op.d);
    let lanes = std::array::from_fn(|lane| from[choice >> (2 * lane) & 3]);
    vcpu.x87.set_mmx(op.a, join_words(lanes));
    Ok(())
}

/// `PALIGNR` by the immediate `d`.
pub fn align_right(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    let both = u128::from(vcpu.x87.mmx(op.a)) << 64 | u128::from(source(vcpu, op));
    let result = both.checked_shr(8 * u32::from(op.d)).unwrap_or(0);
    vcpu.x87.set_mmx(op.a, result as u64);
    Ok(())
}

/// `PINSRW` of T4 at word `d`.
pub fn insert_word(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    let shift = 16 * u32::from(op.d & 3);
    let kept = vcpu.x87.mmx(op.a) & !(0xffff << shift);
    vcpu.x87.set_mmx(op.a, kept | (vcpu.reg(Reg::T4) & 0xffff) << shift);
    Ok(())
}

/// `PEXTRW`: register `a` = word `d` of MM(`b`).
pub fn extract_word(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    let word = vcpu.x87.mmx(op.b) >> (16 * u32::from(op.d & 3)) & 0xffff;
    vcpu.set_reg(Reg(op.a), word);
    Ok(())
}

/// `PMOVMSKB`: register `a` = the top bits of the bytes of MM(`b`).
pub fn move_mask(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    let lanes = vcpu.x87.mmx(op.b).to_le_bytes();
    let mask = lanes.iter().rev().fold(0, |mask, lane| mask << 1 | u64::from(lane >> 7));
    vcpu.set_reg(Reg(op.a), mask);
    Ok(())
}

/// `MASKMOVQ`: the bytes of MM(`a`) that MM(`b`) marks, to the address in T1.
pub fn masked_store(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let address = vcpu.reg(Reg::T1);
    let (data, mask) = (vcpu.x87.mmx(op.a).to_le_bytes(), vcpu.x87.mmx(op.b).to_le_bytes());
    let marked = || (0..).zip(data.into_iter().zip(mask)).filter(|(_, (_, mask))| mask & 0x80 != 0);
    for (place, _) in marked() {
        vcpu.check_write(address.wrapping_add(place), 1)?;
    }
    for (place, (byte, _)) in marked() {
        vcpu.write_u8(address.wrapping_add(place), byte)?;
    }
    vcpu.x87.enter_mmx();
    Ok(())
}

/// `MOVQ2DQ`: XMM(`a`) = MM(`b`), the upper half zero.
pub fn move_to_vector(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    let value = vcpu.x87.mmx(op.b);
    vcpu.vectors[usize::from(op.a & 15)].set_low(u128::from(value));
    Ok(())
}

/// `MOVDQ2Q`: MM(`a`) = the low half of XMM(`b`).
pub fn move_from_vector(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    enter(vcpu)?;
    let value = vcpu.vectors[usize::from(op.b & 15)].low() as u64;
    vcpu.x87.set_mmx(op.a, value);
    Ok(())
}
