//! `FXSAVE`, `XSAVE` and their kin (SDM vol. 1 ch. 13).

use super::control::XCR0_SUPPORTED;
use super::registers::{CR0_EM, CR0_TS, CR4_OSFXSR, CR4_OSXSAVE};
use crate::cpu::x87::X87;
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg};

/// Bit of x87 state in XCR0 and XSTATE_BV.
const X87_STATE: u64 = 1;
/// Bit of SSE state.
const SSE_STATE: u64 = 2;
/// Bit of AVX state: the upper halves of the YMM registers.
const AVX_STATE: u64 = 4;
/// XCOMP_BV: the compacted format.
const COMPACTED: u64 = 1 << 63;

/// MXCSR after reset.
const MXCSR_RESET: u32 = 0x1f80;
/// The bits of MXCSR that exist.
pub const MXCSR_MASK: u32 = 0xffff;

/// Bytes of the legacy region that software may use for itself.
const LEGACY_BYTES: usize = 416;
const MXCSR_OFFSET: usize = 24;
const XMM_OFFSET: usize = 160;
const HEADER_OFFSET: u64 = 512;
const HEADER_BYTES: usize = 64;
/// Where AVX state stands in both formats, being the only extended component.
pub const AVX_OFFSET: u64 = 576;
/// Bytes of AVX state.
pub const AVX_BYTES: u64 = 256;

const REFUSED: Exception = Exception::GeneralProtection(0);

impl Vcpu {
    /// XINUSE: the state components that are not in their initial configuration.
    pub fn components_in_use(&self) -> u64 {
        let count = self.vector_count();
        let has_vectors = self.vectors[..count].iter().any(|vector| vector.low() != 0);
        let is_initial = {
            let (mut now, mut initial) = ([0; 160], [0; 160]);
            self.x87.store_fxsave(&mut now, true);
            X87::default().store_fxsave(&mut initial, true);
            now == initial
        };
        let sse = if has_vectors || self.mxcsr != MXCSR_RESET { SSE_STATE } else { 0 };
        let x87 = if is_initial { 0 } else { X87_STATE };
        let has_upper_halves = self.vectors[..count].iter().any(|vector| vector.high() != 0);
        let avx = if has_upper_halves { AVX_STATE } else { 0 };
        x87 | sse | avx
    }

    /// Bytes of an `XSAVE` area with some components.
    pub(super) const fn extended_area_bytes(components: u64) -> u64 {
        if components & AVX_STATE != 0 { AVX_OFFSET + AVX_BYTES } else { AVX_OFFSET }
    }

    /// Writes the upper halves of the registers that the mode can name to an `XSAVE` area.
    fn store_upper_halves(&mut self, area: u64) -> Result<(), Exception> {
        for index in 0..self.vector_count() {
            let place = area.wrapping_add(AVX_OFFSET + index as u64 * 16);
            self.write_u128(place, self.vectors[index].high())?;
        }
        Ok(())
    }

    /// The upper halves in an `XSAVE` area.
    fn upper_halves_at(&mut self, area: u64) -> Result<[u128; 16], Exception> {
        let mut halves = [0; 16];
        for (index, half) in halves.iter_mut().take(self.vector_count()).enumerate() {
            *half = self.read_u128(area.wrapping_add(AVX_OFFSET + index as u64 * 16))?;
        }
        Ok(halves)
    }

    /// XMM registers that the mode can name.
    fn vector_count(&self) -> usize {
        if self.is_64_bit() { 16 } else { 8 }
    }

    fn read_bytes(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), Exception> {
        for (index, chunk) in bytes.chunks_exact_mut(8).enumerate() {
            let value = self.read_u64(address.wrapping_add(index as u64 * 8))?;
            chunk.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn write_bytes(&mut self, address: u64, bytes: &[u8]) -> Result<(), Exception> {
        for (index, chunk) in bytes.chunks_exact(8).enumerate() {
            let mut value = [0; 8];
            value.copy_from_slice(chunk);
            self.write_u64(address.wrapping_add(index as u64 * 8), u64::from_le_bytes(value))?;
        }
        Ok(())
    }

    fn store_vectors(&self, image: &mut [u8; LEGACY_BYTES]) {
        for (index, vector) in self.vectors[..self.vector_count()].iter().enumerate() {
            let at = XMM_OFFSET + index * 16;
            image[at..at + 16].copy_from_slice(&vector.low().to_le_bytes());
        }
    }

    fn load_vectors(&mut self, image: &[u8; LEGACY_BYTES]) {
        let count = self.vector_count();
        for (index, vector) in self.vectors[..count].iter_mut().enumerate() {
            let at = XMM_OFFSET + index * 16;
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&image[at..at + 16]);
            vector.set_low(u128::from_le_bytes(bytes));
        }
    }

    fn store_x87(&self, image: &mut [u8; LEGACY_BYTES], is_64: bool) {
        let mut area = [0; 160];
        area.copy_from_slice(&image[..160]);
        self.x87.store_fxsave(&mut area, is_64);
        image[..160].copy_from_slice(&area);
    }

    fn load_x87(&mut self, image: &[u8; LEGACY_BYTES], is_64: bool) {
        let mut area = [0; 160];
        area.copy_from_slice(&image[..160]);
        self.x87.load_fxsave(&area, is_64);
    }

    fn store_mxcsr(&self, image: &mut [u8; LEGACY_BYTES]) {
        image[MXCSR_OFFSET..MXCSR_OFFSET + 4].copy_from_slice(&self.mxcsr.to_le_bytes());
        image[MXCSR_OFFSET + 4..MXCSR_OFFSET + 8].copy_from_slice(&MXCSR_MASK.to_le_bytes());
    }

    /// The operand's MXCSR; #GP(0) when it sets bits that do not exist.
    fn checked_mxcsr(image: &[u8; LEGACY_BYTES]) -> Result<u32, Exception> {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&image[MXCSR_OFFSET..MXCSR_OFFSET + 4]);
        let value = u32::from_le_bytes(bytes);
        if value & !MXCSR_MASK == 0 { Ok(value) } else { Err(REFUSED) }
    }

    fn require_fxsave(&self, address: u64) -> Result<(), Exception> {
        if self.cr0 & (CR0_EM | CR0_TS) != 0 {
            return Err(Exception::DeviceNotAvailable);
        }
        if address & 15 == 0 { Ok(()) } else { Err(REFUSED) }
    }

    fn require_xsave(&self, address: u64) -> Result<(), Exception> {
        if self.cr4 & CR4_OSXSAVE == 0 {
            return Err(Exception::InvalidOpcode);
        }
        if self.cr0 & CR0_TS != 0 {
            return Err(Exception::DeviceNotAvailable);
        }
        if address & 63 == 0 { Ok(()) } else { Err(REFUSED) }
    }
}

/// `FXSAVE` to the address in register `a`; `d` is 1 for the 64-bit form.
pub fn fxsave(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = vcpu.reg(Reg(op.a));
    vcpu.require_fxsave(address)?;
    vcpu.check_write(address, 512)?;
    // Reserved bytes and the registers that the mode cannot name stay as they are in memory.
    let mut image = [0; LEGACY_BYTES];
    vcpu.read_bytes(address, &mut image)?;
    vcpu.store_x87(&mut image, op.d == 1);
    vcpu.store_mxcsr(&mut image);
    if vcpu.cr4 & CR4_OSFXSR != 0 {
        vcpu.store_vectors(&mut image);
    }
    vcpu.write_bytes(address, &image)
}

/// `FXRSTOR` from the address in register `a`; `d` is 1 for the 64-bit form.
pub fn fxrstor(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = vcpu.reg(Reg(op.a));
    vcpu.require_fxsave(address)?;
    vcpu.check_read(address, 512)?;
    let mut image = [0; LEGACY_BYTES];
    vcpu.read_bytes(address, &mut image)?;
    if vcpu.cr4 & CR4_OSFXSR != 0 {
        vcpu.mxcsr = Vcpu::checked_mxcsr(&image)?;
        vcpu.load_vectors(&image);
    }
    vcpu.load_x87(&image, op.d == 1);
    Ok(())
}

/// Which instruction of the `XSAVE` family, in [`Op::c`].
pub const XSAVE: u8 = 0;
/// `XSAVEOPT`: may leave out what is in its initial configuration.
pub const XSAVEOPT: u8 = 1;
/// `XSAVEC`: leaves it out, and writes the compacted format.
pub const XSAVEC: u8 = 2;

/// `XSAVE` and the like to the address in register `a`; `d` is 1 for the 64-bit form.
pub fn xsave(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = vcpu.reg(Reg(op.a));
    vcpu.require_xsave(address)?;
    let requested = vcpu.pair() & vcpu.xcr0;
    vcpu.check_write(address, Vcpu::extended_area_bytes(requested))?;
    let mut image = [0; LEGACY_BYTES];
    let mut header = [0; 16];
    vcpu.read_bytes(address, &mut image)?;
    vcpu.read_bytes(address.wrapping_add(HEADER_OFFSET), &mut header)?;
    let used = vcpu.components_in_use();
    let written = if op.c == XSAVE { requested } else { requested & used };
    if written & X87_STATE != 0 {
        vcpu.store_x87(&mut image, op.d == 1);
    }
    if written & SSE_STATE != 0 {
        vcpu.store_vectors(&mut image);
    }
    let writes_mxcsr =
        if op.c == XSAVEC { written & SSE_STATE != 0 } else { requested & (SSE_STATE | AVX_STATE) != 0 };
    if writes_mxcsr {
        vcpu.store_mxcsr(&mut image);
    }
    vcpu.write_bytes(address, &image)?;
    if written & AVX_STATE != 0 {
        vcpu.store_upper_halves(address)?;
    }
    let mut state = [0; 8];
    state.copy_from_slice(&header[..8]);
    let old = u64::from_le_bytes(state);
    let header_at = address.wrapping_add(HEADER_OFFSET);
    if op.c == XSAVEC {
        vcpu.write_u64(header_at, requested & used)?;
        vcpu.write_u64(header_at.wrapping_add(8), COMPACTED | requested)
    } else {
        vcpu.write_u64(header_at, old & !requested | requested & used)
    }
}

/// `XRSTOR` from the address in register `a`; `d` is 1 for the 64-bit form.
pub fn xrstor(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = vcpu.reg(Reg(op.a));
    vcpu.require_xsave(address)?;
    let requested = vcpu.pair() & vcpu.xcr0;
    let mut image = [0; LEGACY_BYTES];
    let mut header = [0; HEADER_BYTES];
    vcpu.read_bytes(address.wrapping_add(HEADER_OFFSET), &mut header)?;
    vcpu.read_bytes(address, &mut image)?;
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&header[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (present, layout) = (word(0), word(8));
    let is_compacted = layout & COMPACTED != 0;
    let is_valid = if is_compacted {
        let components = layout & !COMPACTED;
        components & !vcpu.xcr0 == 0
            && present & !components == 0
            && header[16..].iter().all(|&byte| byte == 0)
    } else {
        layout == 0 && present & !vcpu.xcr0 == 0 && header[16..24].iter().all(|&byte| byte == 0)
    };
    if !is_valid {
        return Err(REFUSED);
    }
    let loads_upper_halves = requested & present & AVX_STATE != 0;
    let upper_halves = if loads_upper_halves { vcpu.upper_halves_at(address)? } else { [0; 16] };
    // The standard format loads MXCSR whenever SSE or AVX state is asked for; the compacted only when SSE
    // state is there.
    let loads_mxcsr = if is_compacted {
        requested & present & SSE_STATE != 0
    } else {
        requested & (SSE_STATE | AVX_STATE) != 0
    };
    let mxcsr = if loads_mxcsr {
        Vcpu::checked_mxcsr(&image)?
    } else if requested & SSE_STATE != 0 {
        MXCSR_RESET
    } else {
        vcpu.mxcsr
    };
    vcpu.mxcsr = mxcsr;
    if requested & SSE_STATE != 0 {
        if present & SSE_STATE == 0 {
            image[XMM_OFFSET..].fill(0);
        }
        vcpu.load_vectors(&image);
    }
    if requested & AVX_STATE != 0 {
        let count = vcpu.vector_count();
        for (vector, half) in vcpu.vectors[..count].iter_mut().zip(upper_halves) {
            vector.set_high(half);
        }
    }
    if requested & X87_STATE != 0 {
        if present & X87_STATE != 0 {
            vcpu.load_x87(&image, op.d == 1);
        } else {
            vcpu.x87 = X87::default();
        }
    }
    debug_assert!(vcpu.xcr0 & !XCR0_SUPPORTED == 0);
    Ok(())
}
