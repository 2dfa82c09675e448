//! What generated code and the vCPU agree on: offsets, and the functions of ours that it calls.

use super::emit::{self, LEFT_ON_THE_WAY, Onward, Site, UNWIND, types};
use super::installed::Regions;
use super::module;
use crate::cpu::{BlockStart, CompiledExit, Exception, LazyFlags, Linkage, Vcpu, divide_wide};
use crate::host::{CodeError, CodeHost, HelperFunction};
use crate::ir::{Condition, Op, OpCode, Reg};

/// Offsets into [`Vcpu`], in bytes.
pub mod offset {
    use super::{LazyFlags, Linkage, Vcpu};
    use std::mem::offset_of;

    /// The flags but the arithmetic ones.
    pub const SYSTEM_FLAGS: usize = offset_of!(Vcpu, system_flags);
    /// The integer register file.
    pub const REGS: usize = offset_of!(Vcpu, regs);
    /// The vector file.
    pub const VECTORS: usize = offset_of!(Vcpu, vectors);
    /// The x87 unit.
    pub const X87: usize = offset_of!(Vcpu, x87);
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
    pub const NEXT_FUNCTION: usize = LINKAGE + offset_of!(Linkage, next_function);
    /// See [`Linkage`].
    pub const BUDGET: usize = LINKAGE + offset_of!(Linkage, budget);
    /// See [`Linkage`].
    pub const EXIT_SITE: usize = LINKAGE + offset_of!(Linkage, exit_site);
    /// See [`Linkage`].
    pub const EXIT_REGION: usize = LINKAGE + offset_of!(Linkage, exit_region);
    /// See [`Linkage`].
    pub const EXIT_RIP: usize = LINKAGE + offset_of!(Linkage, exit_rip);
    /// See [`Linkage`].
    pub const CALLED_FROM: usize = LINKAGE + offset_of!(Linkage, called_from);
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
    /// See [`Linkage`].
    pub const FLAGS_OVERLAY: usize = LINKAGE + offset_of!(Linkage, flags_overlay);
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
    /// Operations of the vCPU.
    pub call: u32,
    /// Operations on vector registers, which at most raise an exception beside.
    pub vector: u32,
    /// Conditions on flags in memory.
    pub condition: u32,
    /// Puts CF and OF over the flags in memory.
    pub overlay: u32,
    /// What is not compiled: interprets it for a call, and goes out to the run loop for a jump.
    pub leave: u32,
    /// The quotient of a double-width dividend.
    pub divide: u32,
    /// Goes on until the guest returns to a call.
    pub await_return: u32,
}

impl Slots {
    /// Asks the host for the places.
    ///
    /// # Errors
    /// When the host refuses them.
    pub fn new(host: &mut dyn CodeHost) -> Result<Self, CodeError> {
        let leave = host.helper(HelperFunction::Region(run_uncompiled))?;
        let interpret = host.helper(HelperFunction::Interpret(interpret))?;
        let await_return = host.grow(1)?;
        let body = emit::await_return(interpret);
        let module = module::encode([(&*body, "")].into_iter(), types::AWAIT, host.has_shared_memory());
        host.install(&module, await_return)?;
        Ok(Self {
            call: host.helper(HelperFunction::Call(call))?,
            vector: host.helper(HelperFunction::Call(vector))?,
            condition: host.helper(HelperFunction::Condition(condition))?,
            overlay: host.helper(HelperFunction::Condition(overlay))?,
            divide: host.helper(HelperFunction::Divide(divide))?,
            leave,
            await_return,
        })
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

extern "C" fn divide(low: u64, high: u64, divisor: u64) -> u64 {
    divide_wide(low, high, divisor).0
}

extern "C" fn condition(vcpu: *mut u8, code: u32) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    u32::from(vcpu.flags.holds(Condition::from_code(code as u8)))
}

/// Puts CF and OF over the flags in memory, as [`overlaid`] takes them.
extern "C" fn overlay(vcpu: *mut u8, bits: u32) -> u32 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    vcpu.flags = overlaid(vcpu.flags, bits);
    0
}

/// Set in the bits of [`overlaid`] when OF stays.
pub const KEEPS_OVERFLOW: u32 = 1 << 2;

/// The flags with CF and OF, bits 0 and 1 of `bits`, replaced; or, with [`KEEPS_OVERFLOW`], CF alone.
pub fn overlaid(flags: LazyFlags, bits: u32) -> LazyFlags {
    use crate::cpu::flags::{CF, OF};
    if bits & KEEPS_OVERFLOW != 0 {
        return flags.with_carry(bits & 1 != 0);
    }
    let carry = if bits & 1 != 0 { CF } else { 0 };
    let overflow = if bits & 2 != 0 { OF } else { 0 };
    LazyFlags::explicit(flags.bits() & !(CF | OF) | carry | overflow)
}

/// The function of what has none of its own.
extern "C" fn run_uncompiled(vcpu: *mut u8, depth: u32, rip: u64) -> u64 {
    if depth == 0 {
        return rip;
    }
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    vcpu.interpret_callee(rip).unwrap_or(UNWIND as u64)
}

/// Goes on where a function that a call waits for went on to; see [`Vcpu::await_return`].
extern "C" fn interpret(vcpu: *mut u8, rip: u64, awaited: u64) -> u64 {
    // SAFETY: called by generated code only.
    let vcpu = unsafe { vcpu_at(vcpu) };
    if rip == UNWIND as u64 {
        vcpu.linkage.next_function = 0;
        return rip;
    }
    if rip != LEFT_ON_THE_WAY as u64 {
        vcpu.instructions = vcpu.linkage.end.wrapping_sub(vcpu.linkage.budget as u64);
        vcpu.set_reg(Reg::RIP, rip);
        return vcpu.await_return(CompiledExit::Continue, awaited).unwrap_or(UNWIND as u64);
    }
    let regions = std::ptr::with_exposed_provenance_mut::<Regions>(vcpu.linkage.regions);
    // SAFETY: the engine that called generated code has put its own regions there, and does not use them during the
    // call.
    let regions = unsafe { &mut *regions };
    regions.resumptions += 1;
    let exit = regions.leave(vcpu, rip);
    vcpu.await_return(exit, awaited).unwrap_or(UNWIND as u64)
}

/// Puts the state right behind a call of generated code that returned `rip`; `site` finds the site of a region,
/// both by their numbers, and with it the start of the block whose number it names.
pub fn leave<'a>(
    vcpu: &mut Vcpu,
    rip: u64,
    site: impl FnOnce(u32, usize) -> Option<(&'a Site, Option<BlockStart>)>,
) -> CompiledExit {
    vcpu.instructions = vcpu.linkage.end.wrapping_sub(vcpu.linkage.budget as u64);
    let number = std::mem::take(&mut vcpu.linkage.exit_site);
    let exception = vcpu.linkage.pending.take();
    if rip != LEFT_ON_THE_WAY as u64 || number == 0 {
        vcpu.set_reg(Reg::RIP, rip);
        return CompiledExit::Continue;
    }
    let Some((site, block)) = site(vcpu.linkage.exit_region, number as usize - 1) else {
        return lost(vcpu, "the site is unknown");
    };
    for register in 0..Reg::COUNT {
        if site.dirty & 1 << register != 0 {
            vcpu.regs[register] = vcpu.linkage.saved[register];
        }
    }
    if let Some(flags) = site.flags.lazy(vcpu.flags, &vcpu.linkage) {
        vcpu.flags = flags;
    }
    let start = vcpu.linkage.exit_rip.wrapping_add(site.distance as u64);
    match &site.onward {
        // The helper has set RIP itself.
        Onward::Helper(helper) if exception.is_none() && helper.op.code == OpCode::CallAndExit => {
            CompiledExit::Look
        }
        Onward::Helper(helper) => {
            vcpu.set_reg(Reg::RIP, start);
            vcpu.leave_at(helper, exception)
        }
        Onward::Block | Onward::Unseen => {
            vcpu.set_reg(Reg::RIP, start);
            CompiledExit::Continue
        }
        Onward::Redo { place, .. } => {
            vcpu.set_reg(Reg::RIP, start);
            match block {
                Some(block) => CompiledExit::Resume { block, place: *place },
                None => lost(vcpu, "the block is unknown"),
            }
        }
    }
}

/// Only a mistake of the generator leads here: the guest's state is lost.
#[cold]
fn lost(vcpu: &mut Vcpu, why: &str) -> CompiledExit {
    log::error!(
        "generated code left at {} of region {}: {why}",
        vcpu.linkage.exit_site,
        vcpu.linkage.exit_region
    );
    vcpu.activity = crate::cpu::Activity::Shutdown;
    CompiledExit::Look
}
