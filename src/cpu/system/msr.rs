//! Model-specific registers (SDM vol. 4), and KVM's paravirtual clock.

use super::registers::*;
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg};
use crate::mem::GuestPhysAddr;

/// Model-specific registers that are plain state.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Msrs {
    /// IA32_EFER.
    pub efer: u64,
    /// IA32_STAR: selectors of `SYSCALL` and `SYSRET`.
    pub star: u64,
    /// IA32_LSTAR: target of `SYSCALL`.
    pub lstar: u64,
    /// IA32_CSTAR: stored only; Intel's processors have no `SYSCALL` in compatibility mode.
    pub cstar: u64,
    /// IA32_FMASK: bits of RFLAGS that `SYSCALL` clears.
    pub sfmask: u64,
    /// IA32_KERNEL_GS_BASE.
    pub kernel_gs_base: u64,
    /// IA32_SYSENTER_CS.
    pub sysenter_cs: u64,
    /// IA32_SYSENTER_ESP.
    pub sysenter_esp: u64,
    /// IA32_SYSENTER_EIP.
    pub sysenter_eip: u64,
    /// IA32_TSC_ADJUST: what the guest added to the time-stamp counter.
    pub tsc_adjust: u64,
    /// IA32_TSC_AUX, for `RDTSCP`.
    pub tsc_aux: u64,
    /// IA32_PAT. All memory is coherent, so that it is stored only.
    pub pat: u64,
    /// IA32_MISC_ENABLE.
    pub misc_enable: u64,
    /// IA32_SPEC_CTRL. Nothing is speculated, so that it is stored only.
    pub spec_ctrl: u64,
    /// IA32_MTRR_DEF_TYPE, stored only.
    pub mtrr_default: u64,
    /// The fixed-range MTRRs in order of their numbers, stored only.
    pub mtrr_fixed: [u64; 11],
    /// The variable-range MTRRs, base and mask in turn, stored only.
    pub mtrr_variable: [u64; 16],
    /// What was written to KVM's system-time register.
    pub kvm_system_time: u64,
    /// What was written to KVM's wall-clock register.
    pub kvm_wall_clock: u64,
    /// A non-maskable interrupt was taken and `IRET` has not come yet.
    pub is_nmi_blocked: bool,
}

/// The type of every PAT entry after reset (SDM vol. 3A 12.12.4).
const PAT_RESET: u64 = 0x0007_0406_0007_0406;
/// IA32_MISC_ENABLE: fast strings; no branch trace store, no precise event sampling.
const MISC_ENABLE_RESET: u64 = 1 | 1 << 11 | 1 << 12;
/// IA32_MTRR_DEF_TYPE: enabled, fixed ranges too, write-back.
const MTRR_DEFAULT_RESET: u64 = 0xc06;
/// Write-back in all eight ranges of a fixed MTRR.
const MTRR_WRITE_BACK: u64 = 0x0606_0606_0606_0606;

impl Default for Msrs {
    fn default() -> Self {
        Self {
            efer: 0,
            star: 0,
            lstar: 0,
            cstar: 0,
            sfmask: 0,
            kernel_gs_base: 0,
            sysenter_cs: 0,
            sysenter_esp: 0,
            sysenter_eip: 0,
            tsc_adjust: 0,
            tsc_aux: 0,
            pat: PAT_RESET,
            misc_enable: MISC_ENABLE_RESET,
            spec_ctrl: 0,
            mtrr_default: MTRR_DEFAULT_RESET,
            mtrr_fixed: [MTRR_WRITE_BACK; 11],
            mtrr_variable: [0; 16],
            kvm_system_time: 0,
            kvm_wall_clock: 0,
            is_nmi_blocked: false,
        }
    }
}

const IA32_TSC: u32 = 0x10;
const IA32_PLATFORM_ID: u32 = 0x17;
const IA32_APIC_BASE: u32 = 0x1b;
const IA32_FEATURE_CONTROL: u32 = 0x3a;
const FEATURE_CONTROL_LOCKED: u64 = 1;
const IA32_TSC_ADJUST: u32 = 0x3b;
const IA32_SPEC_CTRL: u32 = 0x48;
const IA32_PRED_CMD: u32 = 0x49;
const IA32_BIOS_SIGN_ID: u32 = 0x8b;
const PLATFORM_INFO: u32 = 0xce;
const IA32_MTRRCAP: u32 = 0xfe;
const IA32_ARCH_CAPABILITIES: u32 = 0x10a;
const MISC_FEATURES_ENABLES: u32 = 0x140;
const IA32_SYSENTER_CS: u32 = 0x174;
const IA32_SYSENTER_ESP: u32 = 0x175;
const IA32_SYSENTER_EIP: u32 = 0x176;
const IA32_MCG_CAP: u32 = 0x179;
const IA32_MCG_STATUS: u32 = 0x17a;
const IA32_MISC_ENABLE: u32 = 0x1a0;
const IA32_DEBUGCTL: u32 = 0x1d9;
const MTRR_VARIABLE_FIRST: u32 = 0x200;
const MTRR_VARIABLE_LAST: u32 = 0x20f;
const IA32_PAT: u32 = 0x277;
const IA32_MTRR_DEF_TYPE: u32 = 0x2ff;
const IA32_TSC_DEADLINE: u32 = 0x6e0;
const X2APIC_FIRST: u32 = 0x800;
const X2APIC_LAST: u32 = 0x8ff;
const IA32_EFER: u32 = 0xc000_0080;
const IA32_STAR: u32 = 0xc000_0081;
const IA32_LSTAR: u32 = 0xc000_0082;
const IA32_CSTAR: u32 = 0xc000_0083;
const IA32_FMASK: u32 = 0xc000_0084;
const IA32_FS_BASE: u32 = 0xc000_0100;
const IA32_GS_BASE: u32 = 0xc000_0101;
const IA32_KERNEL_GS_BASE: u32 = 0xc000_0102;
const IA32_TSC_AUX: u32 = 0xc000_0103;
const KVM_WALL_CLOCK: u32 = 0x11;
const KVM_SYSTEM_TIME: u32 = 0x12;
const KVM_WALL_CLOCK_NEW: u32 = 0x4b56_4d00;
const KVM_SYSTEM_TIME_NEW: u32 = 0x4b56_4d01;

/// Numbers of the fixed-range MTRRs.
const MTRR_FIXED: [u32; 11] = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

/// MTRRs are there, eight variable ranges, fixed ranges, write-combining.
const MTRR_CAPABILITIES: u64 = 8 | 1 << 8 | 1 << 10;

/// Known not to be affected, or without the feature that is: an interpreter does not speculate.
/// RDCL_NO, IBRS_ALL, RSBA clear, SKIP_L1DFL, SSB_NO, MDS_NO, PSCHANGE_MC_NO, TAA_NO, SBDR_SSDP_NO,
/// FBSDP_NO, PSDP_NO, BHI_NO, PBRSB_NO, GDS_NO, RFDS_NO.
const ARCH_CAPABILITIES: u64 = 1
    | 1 << 1
    | 1 << 3
    | 1 << 4
    | 1 << 5
    | 1 << 6
    | 1 << 8
    | 1 << 13
    | 1 << 14
    | 1 << 15
    | 1 << 20
    | 1 << 24
    | 1 << 26
    | 1 << 27;

/// The ratio of the nominal frequency, 1 GHz, to 100 MHz, at its place.
const PLATFORM_INFORMATION: u64 = 10 << 8;

/// Revision of the microcode, in the upper half of its register.
const MICROCODE_REVISION: u64 = 1 << 32;

/// PVCLOCK_TSC_STABLE_BIT: all processors' clocks agree.
const PVCLOCK_STABLE: u8 = 1;

const REFUSED: Exception = Exception::GeneralProtection(0);

fn canonical(value: u64) -> Result<u64, Exception> {
    if is_canonical(value) { Ok(value) } else { Err(REFUSED) }
}

impl Vcpu {
    /// Reads a model-specific register.
    ///
    /// # Errors
    /// #GP(0) for those that do not exist.
    pub fn read_msr(&mut self, number: u32) -> Result<u64, Exception> {
        Ok(match number {
            IA32_TSC => self.time_stamp(),
            IA32_TSC_ADJUST => self.msr.tsc_adjust,
            IA32_APIC_BASE | IA32_TSC_DEADLINE | X2APIC_FIRST..=X2APIC_LAST => {
                return self.bus.apic_read_msr(number).ok_or(REFUSED);
            }
            IA32_PLATFORM_ID | MISC_FEATURES_ENABLES => 0,
            // Locked without VMX, as firmware leaves it: writes are refused (SDM vol. 3C 24.7).
            IA32_FEATURE_CONTROL => FEATURE_CONTROL_LOCKED,
            IA32_MCG_CAP | IA32_MCG_STATUS | IA32_DEBUGCTL => 0,
            IA32_SPEC_CTRL => self.msr.spec_ctrl,
            IA32_BIOS_SIGN_ID => MICROCODE_REVISION,
            PLATFORM_INFO => PLATFORM_INFORMATION,
            IA32_MTRRCAP => MTRR_CAPABILITIES,
            IA32_ARCH_CAPABILITIES => ARCH_CAPABILITIES,
            IA32_SYSENTER_CS => self.msr.sysenter_cs,
            IA32_SYSENTER_ESP => self.msr.sysenter_esp,
            IA32_SYSENTER_EIP => self.msr.sysenter_eip,
            IA32_MISC_ENABLE => self.msr.misc_enable,
            IA32_PAT => self.msr.pat,
            IA32_MTRR_DEF_TYPE => self.msr.mtrr_default,
            MTRR_VARIABLE_FIRST..=MTRR_VARIABLE_LAST => {
                self.msr.mtrr_variable[(number - MTRR_VARIABLE_FIRST) as usize]
            }
            IA32_EFER => self.msr.efer,
            IA32_STAR => self.msr.star,
            IA32_LSTAR => self.msr.lstar,
            IA32_CSTAR => self.msr.cstar,
            IA32_FMASK => self.msr.sfmask,
            IA32_FS_BASE => self.reg(Reg::FS_BASE),
            IA32_GS_BASE => self.reg(Reg::GS_BASE),
            IA32_KERNEL_GS_BASE => self.msr.kernel_gs_base,
            IA32_TSC_AUX => self.msr.tsc_aux,
            KVM_WALL_CLOCK | KVM_WALL_CLOCK_NEW => self.msr.kvm_wall_clock,
            KVM_SYSTEM_TIME | KVM_SYSTEM_TIME_NEW => self.msr.kvm_system_time,
            _ => match MTRR_FIXED.iter().position(|&fixed| fixed == number) {
                Some(place) => self.msr.mtrr_fixed[place],
                None => {
                    log::debug!("RDMSR of {number:#x}, which does not exist");
                    return Err(REFUSED);
                }
            },
        })
    }

    /// Writes a model-specific register.
    ///
    /// # Errors
    /// #GP(0) for those that do not exist, for reserved bits and addresses that are not canonical.
    pub fn write_msr(&mut self, number: u32, value: u64) -> Result<(), Exception> {
        match number {
            IA32_TSC => {
                let now = self.bus.now_ns(self.instructions);
                self.msr.tsc_adjust = value.wrapping_sub(now);
                self.publish_system_time();
            }
            IA32_TSC_ADJUST => {
                self.msr.tsc_adjust = value;
                self.publish_system_time();
            }
            IA32_APIC_BASE | IA32_TSC_DEADLINE | X2APIC_FIRST..=X2APIC_LAST => {
                return self.bus.apic_write_msr(number, value).ok_or(REFUSED);
            }
            IA32_SPEC_CTRL if value & !7 == 0 => self.msr.spec_ctrl = value,
            IA32_PRED_CMD if value & !1 == 0 => {}
            // What only starts an update or clears a record that is empty.
            IA32_BIOS_SIGN_ID | IA32_MCG_STATUS | IA32_DEBUGCTL if value == 0 => {}
            MISC_FEATURES_ENABLES if value == 0 => {}
            IA32_SYSENTER_CS => self.msr.sysenter_cs = value & 0xffff_ffff,
            IA32_SYSENTER_ESP => self.msr.sysenter_esp = canonical(value)?,
            IA32_SYSENTER_EIP => self.msr.sysenter_eip = canonical(value)?,
            IA32_MISC_ENABLE => self.msr.misc_enable = value,
            IA32_PAT => {
                let is_valid = value.to_le_bytes().iter().all(|&kind| matches!(kind, 0 | 1 | 4..=7));
                if !is_valid {
                    return Err(REFUSED);
                }
                self.msr.pat = value;
            }
            IA32_MTRR_DEF_TYPE => self.msr.mtrr_default = value & 0xcff,
            MTRR_VARIABLE_FIRST..=MTRR_VARIABLE_LAST => {
                self.msr.mtrr_variable[(number - MTRR_VARIABLE_FIRST) as usize] = value;
            }
            IA32_EFER => self.write_efer(value)?,
            IA32_STAR => self.msr.star = value,
            IA32_LSTAR => self.msr.lstar = canonical(value)?,
            IA32_CSTAR => self.msr.cstar = canonical(value)?,
            IA32_FMASK => self.msr.sfmask = value & 0xffff_ffff,
            IA32_FS_BASE => self.set_reg(Reg::FS_BASE, canonical(value)?),
            IA32_GS_BASE => self.set_reg(Reg::GS_BASE, canonical(value)?),
            IA32_KERNEL_GS_BASE => self.msr.kernel_gs_base = canonical(value)?,
            IA32_TSC_AUX => self.msr.tsc_aux = value & 0xffff_ffff,
            KVM_WALL_CLOCK | KVM_WALL_CLOCK_NEW => {
                self.msr.kvm_wall_clock = value;
                self.publish_wall_clock();
            }
            KVM_SYSTEM_TIME | KVM_SYSTEM_TIME_NEW => {
                self.msr.kvm_system_time = value;
                self.publish_system_time();
            }
            _ => match MTRR_FIXED.iter().position(|&fixed| fixed == number) {
                Some(place) => self.msr.mtrr_fixed[place] = value,
                None => {
                    log::debug!("WRMSR of {value:#x} to {number:#x}, which does not take it");
                    return Err(REFUSED);
                }
            },
        }
        Ok(())
    }

    fn write_efer(&mut self, value: u64) -> Result<(), Exception> {
        let writable = EFER_SCE | EFER_LME | EFER_NXE;
        let changed = self.msr.efer ^ value;
        if value & !(writable | EFER_LMA) != 0 || changed & EFER_LME != 0 && self.cr0 & CR0_PG != 0 {
            return Err(REFUSED);
        }
        self.msr.efer = value & writable | self.msr.efer & EFER_LMA;
        if changed & EFER_NXE != 0 {
            self.flush_tlb();
        }
        self.must_leave = true;
        Ok(())
    }

    /// Fills the guest's `pvclock_vcpu_time_info`. The counter runs at 1 GHz for good, so once is enough.
    fn publish_system_time(&mut self) {
        const ENABLED: u64 = 1;
        if self.msr.kvm_system_time & ENABLED == 0 {
            return;
        }
        let time_stamp = self.time_stamp();
        let system_time = time_stamp.wrapping_sub(self.msr.tsc_adjust);
        let mut info = [0; 32];
        info[8..16].copy_from_slice(&time_stamp.to_le_bytes());
        info[16..24].copy_from_slice(&system_time.to_le_bytes());
        // ns = (ticks << 1) * 2^31 >> 32: one tick is one nanosecond.
        info[24..28].copy_from_slice(&0x8000_0000u32.to_le_bytes());
        info[28] = 1;
        info[29] = PVCLOCK_STABLE;
        let address = self.msr.kvm_system_time & !ENABLED;
        self.publish(address, &mut info);
    }

    /// Fills the guest's `pvclock_wall_clock`: calendar time when system time was zero.
    fn publish_wall_clock(&mut self) {
        let started_at = self.bus.started_at_unix_ns();
        let (seconds, nanoseconds) = (started_at / 1_000_000_000, started_at % 1_000_000_000);
        let mut clock = [0; 12];
        clock[4..8].copy_from_slice(&(seconds as u32).to_le_bytes());
        clock[8..12].copy_from_slice(&(nanoseconds as u32).to_le_bytes());
        let address = self.msr.kvm_wall_clock;
        self.publish(address, &mut clock);
    }

    /// Writes a structure that begins with a version, which is odd while it is being written.
    ///
    /// Readers on other processors do not exist while this one writes, so that it goes from even to even.
    fn publish(&mut self, address: u64, structure: &mut [u8]) {
        let mut version = [0; 4];
        let is_ram = self.memory.read(GuestPhysAddr(address), &mut version).is_ok();
        let next = (u32::from_le_bytes(version) & !1).wrapping_add(2);
        structure[..4].copy_from_slice(&next.to_le_bytes());
        if !is_ram || self.memory.write(GuestPhysAddr(address), structure).is_err() {
            log::warn!("the guest asked for a clock at {address:#x}, which is not RAM");
        }
    }
}

/// `RDMSR`.
pub fn read_register(vcpu: &mut Vcpu, _op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    let value = vcpu.read_msr(vcpu.reg(Reg::RCX) as u32)?;
    vcpu.set_pair(value);
    Ok(())
}

/// `WRMSR`; ends the block.
pub fn write_register(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.require_cpl0()?;
    let next_rip = vcpu.next_rip(op);
    vcpu.write_msr(vcpu.reg(Reg::RCX) as u32, vcpu.pair())?;
    vcpu.set_rip(next_rip);
    vcpu.must_leave = true;
    Ok(())
}
