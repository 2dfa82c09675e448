//! The x87 registers (SDM vol. 1 8.1) and the MMX registers that lie in them (9.2.2).

use super::float80::Float80;

/// Exception flag IE in the status word, mask IM in the control word: invalid operation.
pub const INVALID: u16 = 1 << 0;
/// DE: denormal operand.
pub const DENORMAL: u16 = 1 << 1;
/// ZE: division by zero.
pub const ZERO_DIVIDE: u16 = 1 << 2;
/// OE: overflow.
pub const OVERFLOW: u16 = 1 << 3;
/// UE: underflow.
pub const UNDERFLOW: u16 = 1 << 4;
/// PE: inexact result.
pub const PRECISION: u16 = 1 << 5;
/// The six exceptions.
pub const EXCEPTIONS: u16 = 0x3f;
/// SF: the invalid operation was a stack overflow (C1 = 1) or underflow (C1 = 0).
pub const STACK_FAULT: u16 = 1 << 6;
/// ES: an unmasked exception is pending.
pub const SUMMARY: u16 = 1 << 7;
/// Condition code C0.
pub const C0: u16 = 1 << 8;
/// Condition code C1.
pub const C1: u16 = 1 << 9;
/// Condition code C2.
pub const C2: u16 = 1 << 10;
/// Condition code C3.
pub const C3: u16 = 1 << 14;
/// B: shows ES.
pub const BUSY: u16 = 1 << 15;
const TOP_SHIFT: u32 = 11;

/// The bits of the control word that can be written; bit 6 always reads as one.
const CONTROL_WRITABLE: u16 = 0x1f3f;
const CONTROL_ONES: u16 = 0x0040;

/// x87 and MMX state. The default is the state after `FNINIT`.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
#[repr(C)]
pub struct X87 {
    /// R0 to R7, by physical number.
    pub(super) registers: [Float80; 8],
    /// TOP: the physical number of ST(0).
    pub(super) top: u8,
    /// Bit n: physical register n is not empty.
    pub(super) in_use: u8,
    control: u16,
    /// The status word without TOP.
    pub(super) status: u16,
    /// The last instruction's opcode: the low three bits of its first byte, then its second byte.
    pub(super) opcode: u16,
    /// Offset of the last instruction that was not a control instruction.
    pub(super) instruction_pointer: u64,
    /// Offset of the last memory operand.
    pub(super) data_pointer: u64,
}

/// Where generated code finds the fields of [`X87`], in bytes.
pub mod offset {
    use super::{Float80, X87};
    use std::mem::offset_of;

    /// R0, 16 bytes before R1: the significand, and 8 bytes behind it sign and exponent.
    pub const REGISTERS: usize = offset_of!(X87, registers);
    /// TOP, and a byte behind it the registers in use.
    pub const TOP: usize = offset_of!(X87, top);
    /// The control word, and behind it the status word.
    pub const CONTROL: usize = offset_of!(X87, control);
    /// The status word.
    pub const STATUS: usize = offset_of!(X87, status);
    /// FIP.
    pub const INSTRUCTION_POINTER: usize = offset_of!(X87, instruction_pointer);
    /// FDP.
    pub const DATA_POINTER: usize = offset_of!(X87, data_pointer);
    const _: () = assert!(offset_of!(X87, in_use) == TOP + 1 && STATUS == CONTROL + 2);
    const _: () = assert!(size_of::<Float80>() == 16 && offset_of!(Float80, sign_exponent) == 8);
}

impl Default for X87 {
    fn default() -> Self {
        Self {
            registers: [Float80::ZERO; 8],
            top: 0,
            in_use: 0,
            control: 0x37f,
            status: 0,
            opcode: 0,
            instruction_pointer: 0,
            data_pointer: 0,
        }
    }
}

impl X87 {
    /// `FNINIT`: the registers keep their contents but are empty.
    pub fn init(&mut self) {
        *self = Self { registers: self.registers, ..Self::default() };
    }

    /// The state after reset (SDM vol. 3A table 9-1), which is not that of `FNINIT`.
    pub fn reset(&mut self) {
        *self = Self { control: CONTROL_ONES, in_use: 0xff, ..Self::default() };
    }

    /// Makes restored state one that can be: registers are numbered by TOP.
    pub(in crate::cpu) fn put_right(&mut self) {
        self.top &= 7;
        self.set_control(self.control);
    }

    /// The control word.
    #[inline]
    pub fn control(&self) -> u16 {
        self.control
    }

    /// Writes the control word; unmasking a flagged exception makes it pending.
    pub fn set_control(&mut self, value: u16) {
        self.control = value & CONTROL_WRITABLE | CONTROL_ONES;
        self.summarize();
    }

    /// The status word.
    #[inline]
    pub fn status_word(&self) -> u16 {
        self.status | u16::from(self.top & 7) << TOP_SHIFT
    }

    /// Writes the status word; ES and B follow from the exceptions and their masks.
    pub fn set_status_word(&mut self, value: u16) {
        self.top = (value >> TOP_SHIFT) as u8 & 7;
        self.status = value & !(7 << TOP_SHIFT);
        self.summarize();
    }

    /// Brings ES and B in line with the exceptions and masks.
    #[inline]
    pub(super) fn summarize(&mut self) {
        self.status &= !(SUMMARY | BUSY);
        if self.status & !self.control & EXCEPTIONS != 0 {
            self.status |= SUMMARY | BUSY;
        }
    }

    /// Whether an unmasked exception waits for the next waiting instruction.
    #[inline]
    pub fn has_pending_exception(&self) -> bool {
        self.status & SUMMARY != 0
    }

    /// The tag word: two bits a physical register, computed from the contents (SDM vol. 1 figure 8-7).
    pub fn tag_word(&self) -> u16 {
        (0..8).fold(0, |word, index| word | self.tag(index) << (2 * index))
    }

    fn tag(&self, physical: usize) -> u16 {
        if self.in_use & 1 << physical == 0 {
            return 3;
        }
        let value = self.registers[physical & 7];
        match value.exponent() {
            0 if value.mantissa == 0 => 1,
            0 | 0x7fff => 2,
            _ if value.mantissa >> 63 == 0 => 2,
            _ => 0,
        }
    }

    /// Writes the tag word, of which only "empty or not" is kept.
    pub fn set_tag_word(&mut self, word: u16) {
        self.in_use = (0..8).fold(0, |bits, index| bits | u8::from(word >> (2 * index) & 3 != 3) << index);
    }

    /// The physical number of ST(`index`).
    #[inline]
    pub(super) const fn physical(&self, index: u8) -> usize {
        (self.top.wrapping_add(index) & 7) as usize
    }

    /// The contents of ST(`index`), whether or not it is empty.
    #[inline]
    pub fn st(&self, index: u8) -> Float80 {
        self.registers[self.physical(index)]
    }

    /// Writes ST(`index`) and marks it in use.
    #[inline]
    pub fn set_st(&mut self, index: u8, value: Float80) {
        let physical = self.physical(index);
        self.registers[physical] = value;
        self.in_use |= 1 << physical;
    }

    /// Whether ST(`index`) is empty.
    #[inline]
    pub const fn is_empty(&self, index: u8) -> bool {
        self.in_use & 1 << self.physical(index) == 0
    }

    /// Marks ST(`index`) empty.
    #[inline]
    pub fn free(&mut self, index: u8) {
        self.in_use &= !(1 << self.physical(index));
    }

    /// Empties ST(0) and moves TOP up.
    #[inline]
    pub fn pop(&mut self) {
        self.free(0);
        self.top = self.top.wrapping_add(1) & 7;
    }

    /// Moves TOP down and fills the new ST(0).
    #[inline]
    pub fn push(&mut self, value: Float80) {
        self.top = self.top.wrapping_sub(1) & 7;
        self.set_st(0, value);
    }

    /// MM(`index`), for the low three bits of `index`.
    #[inline]
    pub fn mmx(&self, index: u8) -> u64 {
        self.registers[usize::from(index & 7)].mantissa
    }

    /// Writes MM(`index`): the exponent and sign become all ones.
    #[inline]
    pub fn set_mmx(&mut self, index: u8, value: u64) {
        self.registers[usize::from(index & 7)] = Float80 { mantissa: value, sign_exponent: 0xffff };
    }

    /// What every MMX instruction but `EMMS` does first: TOP is 0 and all registers are in use.
    #[inline]
    pub fn enter_mmx(&mut self) {
        self.top = 0;
        self.in_use = 0xff;
    }

    /// `EMMS`: TOP is 0 and all registers are empty.
    #[inline]
    pub fn empty_mmx(&mut self) {
        self.top = 0;
        self.in_use = 0;
    }

    /// Writes the x87 part of an FXSAVE image (SDM vol. 1 table 10-2): bytes 0 to 23 and 32 to 159.
    ///
    /// `is_64` is REX.W: 64-bit pointers. Selectors are saved as zero.
    pub fn store_fxsave(&self, image: &mut [u8; 160], is_64: bool) {
        image[0..2].copy_from_slice(&self.control.to_le_bytes());
        image[2..4].copy_from_slice(&self.status_word().to_le_bytes());
        image[4] = self.in_use;
        image[5] = 0;
        image[6..8].copy_from_slice(&self.opcode.to_le_bytes());
        let mask = if is_64 { u64::MAX } else { 0xffff_ffff };
        image[8..16].copy_from_slice(&(self.instruction_pointer & mask).to_le_bytes());
        image[16..24].copy_from_slice(&(self.data_pointer & mask).to_le_bytes());
        for (index, slot) in (0..).zip(image[32..].chunks_exact_mut(16)) {
            let value = self.st(index);
            slot[0..8].copy_from_slice(&value.mantissa.to_le_bytes());
            slot[8..10].copy_from_slice(&value.sign_exponent.to_le_bytes());
            slot[10..].fill(0);
        }
    }

    /// Reads what [`store_fxsave`](Self::store_fxsave) writes.
    pub fn load_fxsave(&mut self, image: &[u8; 160], is_64: bool) {
        let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
        let quad = |at: usize| (0..4).fold(0, |value, n| value | u64::from(word(at + 2 * n)) << (16 * n));
        self.control = word(0) & CONTROL_WRITABLE | CONTROL_ONES;
        self.set_status_word(word(2));
        self.in_use = image[4];
        self.opcode = word(6) & 0x7ff;
        let mask = if is_64 { u64::MAX } else { 0xffff_ffff };
        self.instruction_pointer = quad(8) & mask;
        self.data_pointer = quad(16) & mask;
        for index in 0..8 {
            let at = 32 + 16 * usize::from(index);
            let physical = self.physical(index);
            self.registers[physical] = Float80 { mantissa: quad(at), sign_exponent: word(at + 8) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_fxsave_image_restores_the_state_it_was_made_of() {
        let mut saved = X87::default();
        saved.push(Float80 { mantissa: 1 << 63, sign_exponent: 0xbfff });
        saved.push(Float80 { mantissa: 3 << 62, sign_exponent: 0x4000 });
        saved.set_control(0x27f);
        saved.instruction_pointer = 0xffff_8000_1234_5678;
        let mut image = [0xa5; 160];
        saved.store_fxsave(&mut image, true);
        assert_eq!(image[24..32], [0xa5; 8]);
        assert_eq!(image[4], 0b1100_0000);
        let mut loaded = X87::default();
        loaded.load_fxsave(&image, true);
        assert_eq!(format!("{saved:?}"), format!("{loaded:?}"));
    }

    #[test]
    fn an_unmasked_flag_in_a_loaded_status_word_is_pending() {
        let mut state = X87::default();
        state.set_status_word(INVALID);
        assert!(!state.has_pending_exception());
        state.set_control(0x37e);
        assert!(state.has_pending_exception());
        assert_eq!(state.status_word(), INVALID | SUMMARY | BUSY);
    }

    #[test]
    fn the_tag_word_tells_zero_special_and_valid_apart() {
        let mut state = X87::default();
        assert_eq!(state.tag_word(), 0xffff);
        state.push(Float80::ZERO);
        state.push(Float80::ONE);
        state.push(Float80::INDEFINITE);
        assert_eq!(state.tag_word(), 0b0100_1011_1111_1111);
    }
}
