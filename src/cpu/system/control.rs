//! Control and debug registers, TLB invalidation, extended control registers.

use super::registers::*;
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg};

/// The bits of CR0 that exist.
const CR0_WRITABLE: u64 =
    CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;

/// The bits of CR4 that exist on every model; others raise #GP(0).
const CR4_WRITABLE: u64 = CR4_VME
    | CR4_PVI
    | CR4_TSD
    | CR4_DE
    | CR4_PSE
    | CR4_PAE
    | CR4_MCE
    | CR4_PGE
    | CR4_PCE
    | CR4_OSFXSR
    | CR4_OSXMMEXCPT
    | CR4_UMIP
    | CR4_FSGSBASE
    | CR4_PCIDE
    | CR4_SMEP
    | CR4_SMAP;

/// Bits of CR4 whose change drops all translations (SDM vol. 3A 4.10.4.1).
const CR4_FLUSHING: u64 = CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP;

/// Bits of DR6 that read as one.
pub const DR6_FIXED: u64 = 0xffff_0ff0;
/// DR6.BD: a debug register was accessed while DR7.GD was set.
const DR6_BD: u64 = 1 << 13;
/// Bits of DR7 that read as one.
pub const DR7_FIXED: u64 = 1 << 10;
/// DR7.GD: accesses to the debug registers raise #DB.
pub const DR7_GD: u64 = 1 << 13;

/// XCR0: x87, SSE and AVX state, what `XSAVE` manages here.
pub const XCR0_SUPPORTED: u64 = 7;

const REFUSED: Exception = Exception::GeneralProtection(0);

impl Vcpu {
    /// Writes CR0 and switches modes as it says (SDM vol. 3A 2.5, 9.8.5).
    ///
    /// # Errors
    /// #GP(0) for combinations that the manual forbids.
    pub fn set_cr0(&mut self, value: u64) -> Result<(), Exception> {
        let is_paging = value & CR0_PG != 0;
        if value >> 32 != 0 || is_paging && value & CR0_PE == 0 || value & (CR0_NW | CR0_CD) == CR0_NW {
            return Err(REFUSED);
        }
        let value = value & CR0_WRITABLE | CR0_ET;
        let changed = self.cr0 ^ value;
        if changed & CR0_PG != 0 {
            if is_paging && self.msr.efer & EFER_LME != 0 {
                let is_long_code = self.segments[crate::cpu::SegmentIndex::Cs as usize].is_long();
                if self.cr4 & CR4_PAE == 0 || is_long_code {
                    return Err(REFUSED);
                }
                self.msr.efer |= EFER_LMA;
            } else if !is_paging {
                if self.is_64_bit() || self.cr4 & CR4_PCIDE != 0 {
                    return Err(REFUSED);
                }
                self.msr.efer &= !EFER_LMA;
            }
        }
        self.cr0 = value;
        if changed & (CR0_PG | CR0_WP | CR0_PE) != 0 {
            self.flush_tlb();
        }
        self.select_tlb();
        self.must_leave = true;
        Ok(())
    }

    /// Writes CR3 (SDM vol. 3A 4.10.4.1). Translations carry no identifier, so all but global ones go.
    ///
    /// # Errors
    /// #GP(0) for reserved bits.
    pub fn set_cr3(&mut self, value: u64) -> Result<(), Exception> {
        const KEEPS_TRANSLATIONS: u64 = 1 << 63;
        let mut value = value;
        let mut keeps = false;
        if self.is_long_mode() {
            if self.cr4 & CR4_PCIDE != 0 {
                keeps = value & KEEPS_TRANSLATIONS != 0;
                value &= !KEEPS_TRANSLATIONS;
            }
            if value >> PHYSICAL_ADDRESS_BITS != 0 {
                return Err(REFUSED);
            }
        } else {
            value &= 0xffff_ffff;
        }
        self.cr3 = value;
        self.switch_tlb_context(keeps);
        Ok(())
    }

    /// Writes CR4 (SDM vol. 3A 2.5).
    ///
    /// # Errors
    /// #GP(0) for reserved bits and forbidden combinations.
    pub fn set_cr4(&mut self, value: u64) -> Result<(), Exception> {
        let changed = self.cr4 ^ value;
        let loses_pae = self.is_long_mode() && value & CR4_PAE == 0;
        let sets_pcid = changed & value & CR4_PCIDE != 0;
        let may_set_pcid = self.is_long_mode() && self.cr3 & 0xfff == 0;
        let extended_state = if self.model.has_extended_state() { CR4_OSXSAVE } else { 0 };
        if value & !(CR4_WRITABLE | extended_state) != 0 || loses_pae || sets_pcid && !may_set_pcid {
            return Err(REFUSED);
        }
        self.cr4 = value;
        if changed & CR4_FLUSHING != 0 {
            self.flush_tlb();
            self.switch_tlb_context(false);
        }
        self.select_tlb();
        self.must_leave = true;
        Ok(())
    }
}

/// `MOV` from control register `b` to register `a`.
pub fn read_control(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    let value = match op.b {
        0 => vcpu.cr0,
        2 => vcpu.cr2,
        3 => vcpu.cr3,
        4 => vcpu.cr4,
        8 => u64::from(vcpu.bus.task_priority()),
        _ => return Err(Exception::InvalidOpcode),
    };
    vcpu.set_reg(Reg(op.a), value);
    Ok(())
}

/// `MOV` to control register `b` from register `a` of `d` bytes; ends the block.
pub fn write_control(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    let value = vcpu.reg(Reg(op.a));
    let value = if op.d == 8 { value } else { value & 0xffff_ffff };
    let next_rip = vcpu.next_rip(op);
    match op.b {
        0 => vcpu.set_cr0(value)?,
        2 => vcpu.cr2 = value,
        3 => vcpu.set_cr3(value)?,
        4 => vcpu.set_cr4(value)?,
        8 if value > 15 => return Err(REFUSED),
        8 => {
            vcpu.bus.set_task_priority(value as u8);
            vcpu.must_leave = true;
        }
        _ => return Err(Exception::InvalidOpcode),
    }
    vcpu.set_rip(next_rip);
    Ok(())
}

/// The place of a debug register: DR4 and DR5 are DR6 and DR7 unless CR4.DE says that they do not exist.
fn debug_place(vcpu: &mut Vcpu, number: u8) -> Result<usize, Exception> {
    if matches!(number, 4 | 5) && vcpu.cr4 & CR4_DE != 0 || number > 7 {
        return Err(Exception::InvalidOpcode);
    }
    vcpu.require_cpl0()?;
    if vcpu.debug[7] & DR7_GD != 0 {
        return Err(Exception::Debug(DR6_BD));
    }
    Ok(usize::from(if matches!(number, 4 | 5) { number + 2 } else { number }))
}

/// `MOV` from debug register `b` to register `a`.
pub fn read_debug(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let place = debug_place(vcpu, op.b)?;
    vcpu.set_reg(Reg(op.a), vcpu.debug[place]);
    Ok(())
}

/// `MOV` to debug register `b` from register `a`; ends the block.
pub fn write_debug(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let place = debug_place(vcpu, op.b)?;
    let value = vcpu.reg(Reg(op.a));
    let had_breakpoints = vcpu.has_breakpoints();
    vcpu.debug[place] = match place {
        6 | 7 if value >> 32 != 0 => return Err(REFUSED),
        6 => value & 0xe00f | DR6_FIXED,
        7 => value & 0xffff_2bff | DR7_FIXED,
        _ => value,
    };
    if had_breakpoints || vcpu.has_breakpoints() {
        // Watched pages take the slow path.
        vcpu.flush_tlb();
    }
    vcpu.advance(op);
    vcpu.must_leave = true;
    Ok(())
}

/// `CLTS`; ends the block.
pub fn clear_task_switched(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    vcpu.cr0 &= !CR0_TS;
    vcpu.advance(op);
    vcpu.must_leave = true;
    Ok(())
}

/// `LMSW` from register `a`; ends the block. It can set PE and not clear it.
pub fn load_machine_status(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    let value = vcpu.reg(Reg(op.a)) & 0xf;
    let next_rip = vcpu.next_rip(op);
    vcpu.set_cr0(vcpu.cr0 & !0xe | value)?;
    vcpu.set_rip(next_rip);
    Ok(())
}

/// `SMSW`: register `a` = CR0.
pub fn read_machine_status(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if vcpu.cr4 & CR4_UMIP != 0 {
        vcpu.require_cpl0()?;
    }
    vcpu.set_reg(Reg(op.a), vcpu.cr0);
    Ok(())
}

/// `INVLPG` of the address in register `a`; ends the block.
pub fn invalidate_page(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    vcpu.flush_tlb_page(vcpu.reg(Reg(op.a)));
    vcpu.advance(op);
    vcpu.must_leave = true;
    Ok(())
}

/// `INVPCID` of the type in register `a` with the descriptor at the address in `b`; ends the block.
pub fn invalidate_context(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    let address = vcpu.reg(Reg(op.b));
    let context = vcpu.read_u64(address)?;
    let linear = vcpu.read_u64(address.wrapping_add(8))?;
    let kind = vcpu.reg(Reg(op.a));
    let names_context = kind < 2;
    if kind > 3 || context >> 12 != 0 || names_context && context != 0 && vcpu.cr4 & CR4_PCIDE == 0 {
        return Err(REFUSED);
    }
    match kind {
        0 if !is_canonical(linear) => return Err(REFUSED),
        0 => vcpu.flush_tlb_page_everywhere(linear),
        1 => vcpu.flush_tlb_context(context as u16),
        2 => vcpu.flush_tlb(),
        _ => vcpu.flush_tlb_non_global(),
    }
    vcpu.advance(op);
    vcpu.must_leave = true;
    Ok(())
}

/// `XGETBV`: EDX:EAX = the extended control register in ECX.
pub fn read_extended_control(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    if vcpu.cr4 & CR4_OSXSAVE == 0 {
        return Err(Exception::InvalidOpcode);
    }
    let value = match vcpu.reg(Reg::RCX) as u32 {
        0 => vcpu.xcr0,
        1 => vcpu.xcr0 & vcpu.components_in_use(),
        _ => return Err(REFUSED),
    };
    vcpu.set_pair(value);
    Ok(())
}

/// `XSETBV`: the extended control register in ECX = EDX:EAX; ends the block.
pub fn write_extended_control(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    if vcpu.cr4 & CR4_OSXSAVE == 0 {
        return Err(Exception::InvalidOpcode);
    }
    vcpu.require_cpl0()?;
    let value = vcpu.pair();
    // AVX state cannot be enabled without SSE state.
    let lacks_sse = value & 0b110 == 0b100;
    if vcpu.reg(Reg::RCX) as u32 != 0 || value & 1 == 0 || value & !XCR0_SUPPORTED != 0 || lacks_sse {
        return Err(REFUSED);
    }
    vcpu.xcr0 = value;
    vcpu.advance(op);
    vcpu.must_leave = true;
    Ok(())
}
