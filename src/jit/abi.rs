//! What generated code and the vCPU agree on: offsets, and the functions of ours that it calls.

use super::emit::{LEFT_ON_THE_WAY, Site};
use crate::cpu::{CompiledExit, Exception, LazyFlags, Linkage, Vcpu};
use crate::host::{CodeHost, HelperFunction};
use crate::ir::{Condition, Op, OpCode, Reg};

/// Offsets into [`Vcpu`], in bytes.
pub mod offset {
    use super::{LazyFlags, Linkage, Vcpu};
    use std::mem::offset_of;

    /// The integer register file.
    pub const REGS: usize = offset_of!(Vcpu, regs);
    /// The vector file.
    pub const VECTORS: usize = offset_of!(Vcpu, vectors);
    /// MXCSR.
    pub const MXCSR: usize = offset_of!(Vcpu, mxcsr);
    const LINKAGE: usize = offset_of!(Vcpu, linkage);
    /// See [`Linkage`].
    pub const CONTEXT: usize = LINKAGE + offset_of!(Linkage, context);
    /// See [`Linkage`].
    pub const TLB: usize = LINKAGE + offset_of!(Linkage, tlb);
    /// See [`Linkage`].
    pub const JUMPS: usize = LINKAGE + offset_of!(Linkage, jumps);
    /// See [`Linkage`].
    pub const BUDGET: usize = LINKAGE + offset_of!(Linkage, budget);
    /// See [`Linkage`].
    pub const EXIT_SITE: usize = LINKAGE + offset_of!(Linkage, exit_site);
    /// See [`Linkage`].
    pub const EXIT_REGION: usize = LINKAGE + offset_of!(Linkage, exit_region);
    /// See [`Linkage`].
    pub const EXIT_RIP: usize = LINKAGE + offset_of!(Linkage, exit_rip);
    /// See [`Linkage`].
    pub const SAVED: usize = LINKAGE + offset_of!(Linkage, saved);
    /// See [`Linkage`].
    pub const FLAGS_KIND: usize = LINKAGE + offset_of!(Linkage, flags_kind);
    /// See [`Linkage`].
    pub const FLAGS_LEFT: usize = LINKAGE + offset_of!(Linkage, flags_left);
    /// See [`Linkage`].
    pub const FLAGS_RESULT: usize = LINKAGE + offset_of!(Linkage, flags_result);
    /// See [`Linkage`].
    pub const FLAGS_SOURCE: usize = LINKAGE + offset_of!(Linkage, flags_source);
    const FLAGS: usize = offset_of!(Vcpu, flags);
    /// [`LazyFlags::result`].
    pub const LAZY_RESULT: usize = FLAGS + offset_of!(LazyFlags, result);
    /// [`LazyFlags::source`].
    pub const LAZY_SOURCE: usize = FLAGS + offset_of!(LazyFlags, source);
    /// [`LazyFlags::kind`], and behind it the width.
    pub const LAZY_KIND: usize = FLAGS + offset_of!(LazyFlags, kind);
    const _: () = assert!(offset_of!(LazyFlags, width) == offset_of!(LazyFlags, kind) + 1);
}

/// The places of our functions in the table.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// Loads that miss.
    pub load: u32,
    /// Stores that miss.
    pub store: u32,
    /// 16-byte stores that miss.
    pub store_vector: u32,
    /// Raises #GP(0).
    pub misaligned: u32,
    /// Operations of the vCPU.
    pub call: u32,
    /// Operations on vector registers, which at most raise an exception beside.
    pub vector: u32,
    /// Conditions on flags in memory.
    pub condition: u32,
    /// Goes out to the run loop.
    pub leave: u32,
}

impl Slots {
    /// Asks the host for the places.
    pub fn new(host: &mut dyn CodeHost) -> Self {
        Self {
            load: host.helper(HelperFunction::Load(load)),
            store: host.helper(HelperFunction::Store(store)),
            store_vector: host.helper(HelperFunction::Load(store_vector)),
            misaligned: host.helper(HelperFunction::Load(misaligned)),
            call: host.helper(HelperFunction::Call(call)),
            vector: host.helper(HelperFunction::Call(vector)),
            condition: host.helper(HelperFunction::Condition(condition)),
            leave: host.helper(HelperFunction::Region(leave_at_once)),
        }
    }
}

/// The vCPU that generated code runs on.
///
/// # Safety
/// `vcpu` must be the address that the code was called with.
unsafe fn vcpu_at<'a>(vcpu: *mut u8) -> &'a mut Vcpu {
    // SAFETY: generated code hands on the address that `CodeHost::call` was given, of a vCPU that its caller
    // does not touch during the call.
    unsafe { &mut *vcpu.cast::<Vcpu>() }
}

extern "C" fn load(vcpu: *mut u8, address: u64, packed: u32) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    let bytes = packed & 0xff;
    let is_update = packed & super::emit::FOR_UPDATE != 0;
    match vcpu.load_for_compiled(address, u64::from(bytes), is_update) {
        Ok(value) => {
            vcpu.linkage.bounce = value;
            (&raw const vcpu.linkage.bounce) as usize as u32
        }
        Err(exception) => {
            vcpu.linkage.pending = Some(exception);
            0
        }
    }
}

/// 0 to go on, 1 to leave.
fn status(vcpu: &mut Vcpu, done: Result<(), Exception>) -> u32 {
    match done {
        Ok(()) => u32::from(vcpu.must_leave),
        Err(exception) => {
            vcpu.linkage.pending = Some(exception);
            1
        }
    }
}

extern "C" fn store(vcpu: *mut u8, address: u64, value: u64, bytes: u32) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    let done = match bytes {
        1 => vcpu.write_u8(address, value as u8),
        2 => vcpu.write_u16(address, value as u16),
        4 => vcpu.write_u32(address, value as u32),
        _ => vcpu.write_u64(address, value),
    };
    status(vcpu, done)
}

extern "C" fn store_vector(vcpu: *mut u8, address: u64, register: u32) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    let value = vcpu.vectors.get(register as usize).map_or(0, |vector| vector.low());
    let done = vcpu.write_u128(address, value);
    status(vcpu, done)
}

extern "C" fn misaligned(vcpu: *mut u8, _: u64, _: u32) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    vcpu.linkage.pending = Some(Exception::GeneralProtection(0));
    1
}

/// The operation that two numbers stand for.
fn operation(low: u64, high: u64) -> Option<Op> {
    Some(Op {
        code: OpCode::from_number(low as u16)?,
        pc: (low >> 16) as u16,
        a: (low >> 32) as u8,
        b: (low >> 40) as u8,
        c: (low >> 48) as u8,
        d: (low >> 56) as u8,
        disp: high as i32,
        imm: (high >> 32) as i32,
    })
}

/// Unlike [`call`] with nothing written back but vector registers and what the operation reads.
extern "C" fn vector(vcpu: *mut u8, low: u64, high: u64) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    let done = operation(low, high).ok_or(Exception::InvalidOpcode).and_then(|op| vcpu.execute_helper(&op));
    match done {
        Ok(()) => 0,
        Err(exception) => {
            vcpu.linkage.pending = Some(exception);
            1
        }
    }
}

extern "C" fn call(vcpu: *mut u8, low: u64, high: u64) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    let Some(op) = operation(low, high) else { return status(vcpu, Err(Exception::InvalidOpcode)) };
    vcpu.instructions = vcpu.linkage.end.wrapping_sub(vcpu.linkage.budget as u64);
    let done = vcpu.execute_helper(&op);
    vcpu.linkage.tlb = vcpu.tlb_address();
    status(vcpu, done)
}

/// What the condition helper takes for AF, which no instruction's condition reads.
pub const AUXILIARY_CARRY: u32 = 16;

extern "C" fn condition(vcpu: *mut u8, code: u32) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    let holds = match code {
        AUXILIARY_CARRY => vcpu.flags.auxiliary(),
        _ => vcpu.flags.holds(Condition::from_code(code as u8)),
    };
    u32::from(holds)
}

extern "C" fn leave_at_once(_: *mut u8, _: u32, rip: u64) -> u64 {
    rip
}

/// Puts the state right behind a call of generated code that returned `rip`; `sites` finds the sites of a
/// region by its number.
pub fn leave<'a>(vcpu: &mut Vcpu, rip: u64, sites: impl FnOnce(u32) -> Option<&'a [Site]>) -> CompiledExit {
    vcpu.instructions = vcpu.linkage.end.wrapping_sub(vcpu.linkage.budget as u64);
    let number = std::mem::take(&mut vcpu.linkage.exit_site);
    let exception = vcpu.linkage.pending.take();
    if rip != LEFT_ON_THE_WAY as u64 || number == 0 {
        vcpu.set_reg(Reg::RIP, rip);
        return CompiledExit::Continue;
    }
    let Some(site) = sites(vcpu.linkage.exit_region).and_then(|sites| sites.get(number as usize - 1)) else {
        // Only a mistake of the generator leads here; the guest's state is lost.
        log::error!("generated code left at the unknown site {number} of region {}", vcpu.linkage.exit_region);
        vcpu.activity = crate::cpu::Activity::Shutdown;
        return CompiledExit::Look;
    };
    for register in 0..16 {
        if site.dirty & 1 << register != 0 {
            vcpu.regs[register] = vcpu.linkage.saved[register];
        }
    }
    if let Some(flags) = site.flags.lazy(&vcpu.linkage) {
        vcpu.flags = flags;
    }
    if exception.is_none() && site.operation.as_ref().is_some_and(|site| site.op.code == OpCode::CallAndExit) {
        // The helper has set RIP itself.
        return CompiledExit::Look;
    }
    vcpu.set_reg(Reg::RIP, vcpu.linkage.exit_rip.wrapping_add(site.distance as u64));
    match &site.operation {
        Some(operation) => vcpu.leave_at(operation, exception),
        None => CompiledExit::Continue,
    }
}
