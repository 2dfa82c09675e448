//! Atomic read-modify-write: the LOCK prefix and XCHG (SDM vol. 3A 9.1.2).
//!
//! On plain RAM, host atomics make them atomic against other vCPUs and devices. What cannot be done that way
//! (misaligned, across pages, device memory) is a read and a write.

use super::width;
use crate::cpu::flags::{LazyFlags, ZF};
use crate::cpu::{Exception, Vcpu};
use crate::ir::{Op, Reg, Width};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// What an atomic instruction does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Rmw {
    Exchange,
    Add,
    Sub,
    And,
    Or,
    Xor,
    Adc,
    Sbb,
    Inc,
    Dec,
    Neg,
    Not,
    SetBit,
    ResetBit,
    ComplementBit,
}

impl Rmw {
    const ALL: [Self; 15] = [
        Self::Exchange,
        Self::Add,
        Self::Sub,
        Self::And,
        Self::Or,
        Self::Xor,
        Self::Adc,
        Self::Sbb,
        Self::Inc,
        Self::Dec,
        Self::Neg,
        Self::Not,
        Self::SetBit,
        Self::ResetBit,
        Self::ComplementBit,
    ];

    /// The operation of a number; the last for those that have none.
    pub fn from_number(number: u8) -> Self {
        Self::ALL[usize::from(number).min(Self::ALL.len() - 1)]
    }

    /// The new value, its low `width` bits.
    fn apply(self, old: u64, right: u64, carry: u64, width: Width) -> u64 {
        let bit = 1u64 << (right & u64::from(width.bits() - 1));
        match self {
            Self::Exchange => right,
            Self::Add => old.wrapping_add(right),
            Self::Sub => old.wrapping_sub(right),
            Self::And => old & right,
            Self::Or => old | right,
            Self::Xor => old ^ right,
            Self::Adc => old.wrapping_add(right).wrapping_add(carry),
            Self::Sbb => old.wrapping_sub(right).wrapping_sub(carry),
            Self::Inc => old.wrapping_add(1),
            Self::Dec => old.wrapping_sub(1),
            Self::Neg => old.wrapping_neg(),
            Self::Not => !old,
            Self::SetBit => old | bit,
            Self::ResetBit => old & !bit,
            Self::ComplementBit => old ^ bit,
        }
    }
}

/// See [`super::ATOMIC`].
pub fn read_modify_write(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let operation = Rmw::from_number(op.d >> 2);
    let (address, right) = (vcpu.reg(Reg(op.b)), vcpu.reg(Reg(op.c)));
    let carry = u64::from(vcpu.flags.carry());
    let old = vcpu.update(address, size, |old| Some(operation.apply(old, right, carry, size)))?;
    vcpu.set_reg(Reg(op.a), old);
    Ok(())
}

/// See [`super::COMPARE_EXCHANGE`].
pub fn compare_exchange(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let size = width(op.d);
    let (address, new) = (vcpu.reg(Reg(op.b)), vcpu.reg(Reg(op.c)));
    let expected = vcpu.value(Reg::RAX.0, size);
    let old = vcpu.update(address, size, |old| (old == expected).then_some(new))?;
    vcpu.set_reg(Reg(op.a), old);
    Ok(())
}

/// See [`super::COMPARE_EXCHANGE_WIDE`].
pub fn compare_exchange_wide(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = vcpu.reg(Reg(op.b));
    let half = if op.d == 1 { Width::W64 } else { Width::W32 };
    let [low, high, new_low, new_high] =
        [Reg::RAX, Reg::RDX, Reg::RBX, Reg::RCX].map(|reg| vcpu.value(reg.0, half));
    let (old_low, old_high);
    if half == Width::W32 {
        let expected = low | high << 32;
        let old =
            vcpu.update(address, Width::W64, |old| (old == expected).then_some(new_low | new_high << 32))?;
        (old_low, old_high) = (old & 0xffff_ffff, old >> 32);
    } else {
        if !address.is_multiple_of(16) {
            return Err(Exception::GeneralProtection(0));
        }
        // No host offers a 128-bit atomic to us; a machine with one vCPU does not need it.
        vcpu.check_write(address, 16)?;
        let old = vcpu.read_u128(address)?;
        (old_low, old_high) = (old as u64, (old >> 64) as u64);
        let is_equal = (old_low, old_high) == (low, high);
        let stored = if is_equal { u128::from(new_low) | u128::from(new_high) << 64 } else { old };
        vcpu.write_u128(address, stored)?;
    }
    let is_equal = (old_low, old_high) == (low, high);
    if !is_equal {
        vcpu.set_value(Reg::RAX, half, old_low);
        vcpu.set_value(Reg::RDX, half, old_high);
    }
    let zero = if is_equal { ZF } else { 0 };
    vcpu.flags = LazyFlags::explicit(vcpu.flags.bits() & !ZF | zero);
    Ok(())
}

impl Vcpu {
    /// Replaces the value at a linear address by what `change` makes of it (`None`: leaves it), atomically
    /// where the host can. Returns the old value.
    fn update(
        &mut self,
        address: u64,
        size: Width,
        change: impl Fn(u64) -> Option<u64>,
    ) -> Result<u64, Exception> {
        let bytes = u64::from(size.bytes());
        if address.is_multiple_of(bytes)
            && let Some(host) = self.rmw_pointer(address, bytes)?
        {
            macro_rules! with {
                ($atomic:ty, $type:ty) => {{
                    // SAFETY: `rmw_pointer` gives a pointer to guest RAM that is valid for `bytes` bytes and
                    // writable; guest RAM starts on a page boundary, so the alignment of the guest address
                    // (checked above) is that of the pointer. RAM is accessed without references elsewhere.
                    let cell = unsafe { <$atomic>::from_ptr(host.cast::<$type>()) };
                    let old = cell.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
                        change(u64::from(old)).map(|new| new as $type)
                    });
                    u64::from(match old {
                        Ok(old) | Err(old) => old,
                    })
                }};
            }
            return Ok(match size {
                Width::W8 => with!(AtomicU8, u8),
                Width::W16 => with!(AtomicU16, u16),
                Width::W32 => with!(AtomicU32, u32),
                Width::W64 => with!(AtomicU64, u64),
            });
        }
        self.check_write(address, bytes)?;
        let old = self.read_sized(address, size)?;
        // A failing CMPXCHG writes the old value back (SDM vol. 2A, CMPXCHG).
        self.write_sized(address, size, change(old).unwrap_or(old))?;
        Ok(old)
    }
}
