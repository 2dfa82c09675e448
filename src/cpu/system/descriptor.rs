//! Segment and gate descriptors (SDM vol. 3A 3.4.5, 5.8.3, 7.2), and loading segment registers.

use super::registers::CR0_PE;
use crate::cpu::{Exception, Segment, SegmentIndex, Vcpu};
use crate::ir::Reg;

/// Type field of an available 16-bit TSS.
pub const TYPE_TSS16_AVAILABLE: u8 = 1;
/// Type field of a local descriptor table.
pub const TYPE_LDT: u8 = 2;
/// Type field of a busy 16-bit TSS.
pub const TYPE_TSS16_BUSY: u8 = 3;
/// Type field of a 16-bit call gate.
pub const TYPE_CALL_GATE16: u8 = 4;
/// Type field of an available 32- or 64-bit TSS.
pub const TYPE_TSS_AVAILABLE: u8 = 9;
/// Type field of a busy 32- or 64-bit TSS.
pub const TYPE_TSS_BUSY: u8 = 11;
/// Type field of a 32- or 64-bit call gate.
pub const TYPE_CALL_GATE: u8 = 12;

/// Attributes of a flat 64-bit code segment at privilege 0, accessed.
pub const ATTRIBUTES_CODE_64: u16 = 0xaf9b;
/// Attributes of a flat 32-bit code segment at privilege 0, accessed.
pub const ATTRIBUTES_CODE_32: u16 = 0xcf9b;
/// Attributes of a flat writable data segment at privilege 0, accessed.
pub const ATTRIBUTES_DATA: u16 = 0xcf93;

/// An 8-byte descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor(pub u64);

impl Descriptor {
    /// Base address, 32 bits.
    pub const fn base(self) -> u64 {
        self.0 >> 16 & 0xff_ffff | self.0 >> 32 & 0xff00_0000
    }

    /// Last valid offset, granularity applied.
    pub const fn limit(self) -> u32 {
        let limit = (self.0 & 0xffff | self.0 >> 32 & 0xf_0000) as u32;
        if self.0 & 1 << 55 != 0 { limit << 12 | 0xfff } else { limit }
    }

    /// What [`Segment::attributes`] keeps.
    pub const fn attributes(self) -> u16 {
        (self.0 >> 40) as u16
    }

    /// The type field, 4 bits.
    pub const fn kind(self) -> u8 {
        self.attributes() as u8 & 15
    }

    /// S = 0: not code or data.
    pub const fn is_system(self) -> bool {
        self.attributes() & 1 << 4 == 0
    }

    /// A code segment.
    pub const fn is_code(self) -> bool {
        !self.is_system() && self.attributes() & 1 << 3 != 0
    }

    /// A code segment that runs at its caller's privilege.
    pub const fn is_conforming(self) -> bool {
        self.is_code() && self.attributes() & 1 << 2 != 0
    }

    /// Data, or code that can be read.
    pub const fn is_readable(self) -> bool {
        !self.is_system() && (!self.is_code() || self.attributes() & 1 << 1 != 0)
    }

    /// Data that can be written.
    pub const fn is_writable(self) -> bool {
        !self.is_system() && !self.is_code() && self.attributes() & 1 << 1 != 0
    }

    /// Descriptor privilege level.
    pub const fn dpl(self) -> u8 {
        (self.attributes() >> 5) as u8 & 3
    }

    /// Present bit.
    pub const fn is_present(self) -> bool {
        self.attributes() & 1 << 7 != 0
    }

    /// L: 64-bit code.
    pub const fn is_long(self) -> bool {
        self.attributes() & 1 << 13 != 0
    }

    /// D/B: 32-bit default size.
    pub const fn is_default_32(self) -> bool {
        self.attributes() & 1 << 14 != 0
    }

    /// The segment register's content for this descriptor.
    pub const fn segment(self, selector: u16) -> Segment {
        Segment { selector, base: self.base(), limit: self.limit(), attributes: self.attributes() }
    }
}

/// The requestor's privilege level of a selector.
pub const fn rpl(selector: u16) -> u8 {
    selector as u8 & 3
}

/// Whether a selector is null.
pub const fn is_null(selector: u16) -> bool {
    selector & !3 == 0
}

/// The selector as an error code has it: without RPL.
pub const fn error_selector(selector: u16) -> u16 {
    selector & !3
}

impl SegmentIndex {
    /// The segment register with the encoding's number.
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Es,
            1 => Self::Cs,
            2 => Self::Ss,
            3 => Self::Ds,
            4 => Self::Fs,
            _ => Self::Gs,
        }
    }
}

impl Vcpu {
    /// Whether CR0.PE is set.
    pub fn is_protected_mode(&self) -> bool {
        self.cr0 & CR0_PE != 0
    }

    /// Linear address of a selector's descriptor when `bytes` bytes of it lie within its table.
    pub fn descriptor_address(&self, selector: u16, bytes: u64) -> Option<u64> {
        let (base, limit) = if selector & 4 == 0 {
            (self.gdtr.base, u64::from(self.gdtr.limit))
        } else if is_null(self.ldtr.selector) {
            return None;
        } else {
            (self.ldtr.base, u64::from(self.ldtr.limit))
        };
        let offset = u64::from(selector & !7);
        (offset + bytes - 1 <= limit).then(|| base.wrapping_add(offset))
    }

    /// Reads the descriptor of a selector that is not null.
    ///
    /// # Errors
    /// `fault` with the selector when it lies outside its table; #PF.
    pub fn read_descriptor(
        &mut self,
        selector: u16,
        fault: fn(u16) -> Exception,
    ) -> Result<Descriptor, Exception> {
        let address = self.descriptor_address(selector, 8).ok_or(fault(error_selector(selector)))?;
        self.read_system_u64(address).map(Descriptor)
    }

    /// The upper half of a 16-byte system descriptor: long mode's TSS, LDT and gates.
    ///
    /// # Errors
    /// `fault` with the selector when it lies outside its table; #PF.
    pub fn read_descriptor_upper(
        &mut self,
        selector: u16,
        fault: fn(u16) -> Exception,
    ) -> Result<u64, Exception> {
        let address = self.descriptor_address(selector, 16).ok_or(fault(error_selector(selector)))?;
        self.read_system_u64(address.wrapping_add(8))
    }

    /// Sets the accessed bit of a code or data descriptor in its table.
    ///
    /// # Errors
    /// #PF.
    pub fn mark_accessed(&mut self, selector: u16, descriptor: Descriptor) -> Result<Descriptor, Exception> {
        if descriptor.attributes() & 1 != 0 {
            return Ok(descriptor);
        }
        if let Some(address) = self.descriptor_address(selector, 8) {
            self.write_system_u8(address.wrapping_add(5), descriptor.attributes() as u8 | 1)?;
        }
        Ok(Descriptor(descriptor.0 | 1 << 40))
    }

    /// Puts a segment with its base into a segment register, without checks.
    pub fn set_segment(&mut self, index: SegmentIndex, segment: Segment) {
        self.set_segment_base(index, segment.base);
        self.segments[index as usize] = segment;
    }

    /// Makes a segment register null. In 64-bit mode FS and GS lose their bases, as on Intel's processors.
    pub fn set_null_segment(&mut self, index: SegmentIndex, selector: u16) {
        self.set_segment(index, Segment { selector, ..Segment::default() });
    }

    /// A segment's content as real mode loads it.
    pub fn real_mode_segment(&self, index: SegmentIndex, selector: u16) -> Segment {
        // The limit stays, which is what makes "unreal mode" work.
        let limit = self.segments[index as usize].limit;
        Segment { selector, base: u64::from(selector) << 4, limit, attributes: 0x93 }
    }

    /// `MOV` to a segment register other than CS (SDM vol. 2B, "MOV").
    ///
    /// # Errors
    /// #GP, #NP, #SS with the selector; #PF.
    pub fn load_segment(&mut self, index: SegmentIndex, selector: u16) -> Result<(), Exception> {
        if !self.is_protected_mode() {
            let segment = self.real_mode_segment(index, selector);
            self.set_segment(index, segment);
            return Ok(());
        }
        if index == SegmentIndex::Ss {
            return self.load_stack_segment(selector);
        }
        if is_null(selector) {
            self.set_null_segment(index, selector);
            return Ok(());
        }
        let refused = Err(Exception::GeneralProtection(error_selector(selector)));
        let descriptor = self.read_descriptor(selector, Exception::GeneralProtection)?;
        if !descriptor.is_readable() {
            return refused;
        }
        let is_too_private = descriptor.dpl() < self.cpl || descriptor.dpl() < rpl(selector);
        if is_too_private && !descriptor.is_conforming() {
            return refused;
        }
        if !descriptor.is_present() {
            return Err(Exception::SegmentNotPresent(error_selector(selector)));
        }
        let descriptor = self.mark_accessed(selector, descriptor)?;
        self.set_segment(index, descriptor.segment(selector));
        Ok(())
    }

    fn load_stack_segment(&mut self, selector: u16) -> Result<(), Exception> {
        if is_null(selector) {
            if !self.is_64_bit() || self.cpl == 3 || rpl(selector) != self.cpl {
                return Err(Exception::GeneralProtection(0));
            }
            self.set_null_segment(SegmentIndex::Ss, selector);
            return Ok(());
        }
        let segment = self.stack_segment(selector, self.cpl, Exception::GeneralProtection)?;
        self.set_segment(SegmentIndex::Ss, segment);
        Ok(())
    }

    /// Checks a selector that is not null as a stack segment for `cpl`, and reads its descriptor.
    ///
    /// # Errors
    /// `fault` with the selector, #SS when it is not present, #PF.
    pub fn stack_segment(
        &mut self,
        selector: u16,
        cpl: u8,
        fault: fn(u16) -> Exception,
    ) -> Result<Segment, Exception> {
        let descriptor = self.read_descriptor(selector, fault)?;
        if rpl(selector) != cpl || !descriptor.is_writable() || descriptor.dpl() != cpl {
            return Err(fault(error_selector(selector)));
        }
        if !descriptor.is_present() {
            return Err(Exception::StackFault(error_selector(selector)));
        }
        Ok(self.mark_accessed(selector, descriptor)?.segment(selector))
    }

    /// Loads CS, checked by the caller, and makes `cpl` current.
    pub fn enter_code_segment(&mut self, selector: u16, descriptor: Descriptor, cpl: u8) {
        let selector = selector & !3 | u16::from(cpl);
        self.set_segment(SegmentIndex::Cs, descriptor.segment(selector));
        self.cpl = cpl;
        self.select_tlb();
        self.must_leave = true;
    }

    /// Loads CS and SS with flat segments, as `SYSCALL` and the like do.
    pub fn enter_flat_segments(&mut self, code_selector: u16, stack_selector: u16, is_64: bool, cpl: u8) {
        let dpl = u16::from(cpl) << 5;
        let code = if is_64 { ATTRIBUTES_CODE_64 } else { ATTRIBUTES_CODE_32 };
        let flat = |selector: u16, attributes: u16| Segment {
            selector: selector & !3 | u16::from(cpl),
            base: 0,
            limit: u32::MAX,
            attributes: attributes | dpl,
        };
        self.set_segment(SegmentIndex::Cs, flat(code_selector, code));
        self.set_segment(SegmentIndex::Ss, flat(stack_selector, ATTRIBUTES_DATA));
        self.cpl = cpl;
        self.select_tlb();
        self.must_leave = true;
    }

    /// Loads all segment registers as a 64-bit boot loader leaves them: flat, privilege 0, FS and GS too.
    pub fn load_flat_segments_64(&mut self, code_selector: u16, data_selector: u16) {
        self.enter_flat_segments(code_selector, data_selector, true, 0);
        let data = Segment { selector: data_selector, base: 0, limit: u32::MAX, attributes: ATTRIBUTES_DATA };
        for index in [SegmentIndex::Ds, SegmentIndex::Es, SegmentIndex::Fs, SegmentIndex::Gs] {
            self.set_segment(index, data);
        }
    }

    /// Truncates an instruction pointer to the code segment's size.
    pub fn truncate_rip(&self, rip: u64) -> u64 {
        let code = &self.segments[SegmentIndex::Cs as usize];
        if self.is_64_bit() {
            rip
        } else if code.is_default_32() {
            rip & 0xffff_ffff
        } else {
            rip & 0xffff
        }
    }

    /// Sets RIP.
    pub fn set_rip(&mut self, rip: u64) {
        self.set_reg(Reg::RIP, rip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_descriptor_has_base_zero_and_a_four_gigabyte_limit() {
        let descriptor = Descriptor(0x00cf_9b00_0000_ffff);
        assert_eq!((descriptor.base(), descriptor.limit()), (0, u32::MAX));
        assert_eq!(descriptor.attributes(), ATTRIBUTES_CODE_32);
        assert!(descriptor.is_code() && descriptor.is_readable() && !descriptor.is_writable());
    }

    #[test]
    fn the_scattered_base_is_put_together() {
        let descriptor = Descriptor(0x1240_9234_5678_0fff);
        assert_eq!((descriptor.base(), descriptor.limit()), (0x1234_5678, 0xfff));
    }
}
