//! The interpreter: one `match` over the micro-operations of cached blocks.
//!
//! Hot arms are inlined generic functions; slow paths stand out of line.

mod arithmetic;
mod resume;
mod run;
mod stack_segment;

use super::code::Block;
use super::flags::{FlagsKind, LazyFlags};
use super::tlb::{Tlb, TlbEntries};
use super::{Exception, Vcpu, Vector, helpers, sse};
use crate::ir::{Condition, Op, OpCode, Reg, VectorReg};
use arithmetic as alu;
use std::cell::Cell;

pub use resume::ExitSite;
pub use run::Stop;

/// Why the block loop was left. RIP is the next instruction's.
enum Exit {
    /// The next block was not found by its link or in the jump cache.
    Lookup,
    /// As above; the block can be linked there.
    LookupLink(*const Cell<*const Block>),
    /// The next block does not fit into the instruction limit.
    Limit,
    /// The next block is hot or compiled.
    Warm,
    /// Interrupts, modes, mappings or translations may have changed.
    Look,
    /// An instruction raised an exception. RIP is the faulting instruction's, or the next one's of a trap.
    Raised(Exception),
}

/// Where to go on after an access that took the slow path.
enum AfterStore {
    Continue,
    Leave,
    Raised(Exception),
}

/// The page offset mask.
const PAGE_MASK: u64 = !0xfff;

struct Registers(*mut u64);

impl Registers {
    #[inline(always)]
    fn get(&self, number: u8) -> u64 {
        // SAFETY: `self.0` points to the `Reg::COUNT` registers of the running vCPU, and lifters emit only
        // numbers below that (`Reg`'s constants and decoded registers).
        unsafe { *self.0.add(usize::from(number)) }
    }

    #[inline(always)]
    fn set(&self, number: u8, value: u64) {
        // SAFETY: as in `get`.
        unsafe { *self.0.add(usize::from(number)) = value }
    }

    #[inline(always)]
    fn set8(&self, number: u8, value: u64) {
        self.set(number, self.get(number) & !0xff | value & 0xff);
    }

    #[inline(always)]
    fn set16(&self, number: u8, value: u64) {
        self.set(number, self.get(number) & !0xffff | value & 0xffff);
    }

    #[inline(always)]
    fn set_sized<const BITS: u32>(&self, number: u8, value: u64) {
        match BITS {
            8 => self.set8(number, value),
            16 => self.set16(number, value),
            32 => self.set(number, value & 0xffff_ffff),
            _ => self.set(number, value),
        }
    }

    #[inline(always)]
    fn address(&self, op: &Op) -> u64 {
        self.get(op.b).wrapping_add(self.get(op.c) << op.d).wrapping_add(op.disp as i64 as u64)
    }
}

/// The host address of an access, if the TLB has it and it may go straight to memory.
#[inline(always)]
fn host_address<const IS_STORE: bool>(tlb: *const TlbEntries, address: u64, bytes: u64) -> Option<*mut u8> {
    // SAFETY: `tlb` points to the TLB in force of the running vCPU, which is not borrowed otherwise here.
    let entry = unsafe { &(*tlb)[Tlb::index(address)] };
    let tag = if IS_STORE { entry.write_tag } else { entry.read_tag };
    let last = address.wrapping_add(bytes - 1);
    (last & PAGE_MASK == tag).then(|| address.wrapping_add(entry.addend) as usize as *mut u8)
}

#[cold]
#[inline(never)]
fn load_slowly(vcpu: &mut Vcpu, address: u64, bytes: u64) -> Result<u64, Exception> {
    match bytes {
        1 => vcpu.read_u8(address).map(u64::from),
        2 => vcpu.read_u16(address).map(u64::from),
        4 => vcpu.read_u32(address).map(u64::from),
        _ => vcpu.read_u64(address),
    }
}

#[cold]
#[inline(never)]
fn store_slowly(vcpu: &mut Vcpu, address: u64, bytes: u64, value: u64) -> AfterStore {
    let stored = match bytes {
        1 => vcpu.write_u8(address, value as u8),
        2 => vcpu.write_u16(address, value as u16),
        4 => vcpu.write_u32(address, value as u32),
        _ => vcpu.write_u64(address, value),
    };
    match stored {
        Err(exception) => AfterStore::Raised(exception),
        Ok(()) if vcpu.must_leave => AfterStore::Leave,
        Ok(()) => AfterStore::Continue,
    }
}

#[cold]
#[inline(never)]
fn load_for_update_slowly(vcpu: &mut Vcpu, address: u64, bytes: u64) -> Result<u64, Exception> {
    vcpu.check_write(address, bytes)?;
    load_slowly(vcpu, address, bytes)
}

#[cold]
#[inline(never)]
fn load128_slowly(vcpu: &mut Vcpu, address: u64) -> Result<u128, Exception> {
    vcpu.read_u128(address)
}

#[cold]
#[inline(never)]
fn store128_slowly(vcpu: &mut Vcpu, address: u64, value: u128) -> AfterStore {
    match vcpu.write_u128(address, value) {
        Err(exception) => AfterStore::Raised(exception),
        Ok(()) if vcpu.must_leave => AfterStore::Leave,
        Ok(()) => AfterStore::Continue,
    }
}

#[cold]
#[inline(never)]
fn load256_slowly(vcpu: &mut Vcpu, address: u64) -> Result<[u64; 4], Exception> {
    let mut value = Vector::default();
    value.set_low(vcpu.read_u128(address)?);
    value.set_high(vcpu.read_u128(address.wrapping_add(16))?);
    Ok(value.0)
}

#[cold]
#[inline(never)]
fn store256_slowly(vcpu: &mut Vcpu, address: u64, value: [u64; 4]) -> AfterStore {
    let value = Vector(value);
    // Nothing may be written when the second half faults.
    let stored = vcpu
        .check_write(address, 32)
        .and_then(|()| vcpu.write_u128(address, value.low()))
        .and_then(|()| vcpu.write_u128(address.wrapping_add(16), value.high()));
    match stored {
        Err(exception) => AfterStore::Raised(exception),
        Ok(()) if vcpu.must_leave => AfterStore::Leave,
        Ok(()) => AfterStore::Continue,
    }
}

/// The operations that are left of the instruction at `op` behind `op`, closed by one that leaves the
/// block loop; they run in place of the rest of the block.
#[cold]
#[inline(never)]
fn rest_of_instruction(vcpu: &mut Vcpu, block: &Block, op: &Op) -> *const Op {
    if vcpu.leaving.as_ptr_range().contains(&(&raw const *op)) {
        // Already among the rest; it is closed by a `Leave`, behind which nothing takes the slow path.
        return (&raw const *op).wrapping_add(1);
    }
    let next_offset = block.offset_behind(op.pc);
    let place = (&raw const *op as usize).wrapping_sub(block.first_op() as usize) / size_of::<Op>();
    vcpu.leaving.clear();
    vcpu.leaving.extend(block.ops().iter().skip(place + 1).take_while(|other| other.pc == op.pc));
    vcpu.leaving.push(Op {
        code: OpCode::Leave,
        pc: op.pc,
        a: 0,
        b: 0,
        c: 0,
        d: 0,
        disp: i32::from(next_offset),
        imm: 0,
    });
    vcpu.leaving.as_ptr()
}

/// The place of a vector register in the file.
#[inline(always)]
fn vector(number: u8) -> usize {
    usize::from(number).min(VectorReg::COUNT - 1)
}

#[inline(never)]
fn call_helper(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    helpers::call(vcpu, op)
}

/// Runs blocks from `block` on until something makes the caller look; at most `limit` instructions are
/// retired in all (`vcpu.instructions`). Hot and compiled blocks are run too when `runs_warm` is set.
///
/// The first block is entered at the operation at `place`, its instructions counted before.
fn execute(
    vcpu: &mut Vcpu,
    first: *const Block,
    place: usize,
    limit: u64,
    context: u64,
    runs_warm: bool,
) -> Exit {
    let regs = Registers(vcpu.regs.as_mut_ptr());
    let mut tlb: *const TlbEntries = &raw const *vcpu.tlbs[vcpu.tlb_in_force].entries;
    let mut block: &Block;
    let mut op: *const Op;

    macro_rules! enter {
        ($next:expr) => {{
            // SAFETY: links, jump entries and `first` point to blocks of the cache, which frees none while
            // this loop runs.
            block = unsafe { &*$next };
            let heat = block.compiled.heat.get().wrapping_sub(1);
            if heat >= 0 {
                block.compiled.heat.set(heat);
            } else if !runs_warm {
                return Exit::Warm;
            }
            let count = block.instruction_count();
            vcpu.instructions += count;
            if vcpu.instructions > limit {
                vcpu.instructions -= count;
                return Exit::Limit;
            }
            op = block.first_op();
        }};
    }
    // Goes on at the address in RIP: by the jump cache, or out.
    macro_rules! jump {
        ($rip:expr, $otherwise:expr) => {{
            let rip: u64 = $rip;
            regs.set(Reg::RIP.0, rip);
            let entry = vcpu.code.jumps.entry(rip);
            if entry.rip == rip && entry.context == context {
                enter!(entry.block);
                continue;
            }
            return $otherwise;
        }};
    }
    macro_rules! succeed {
        ($place:expr) => {{
            let rip = regs.get(Reg::RIP.0).wrapping_add(block.distances[$place] as u64) & block.rip_mask();
            let link = block.links[$place].get();
            if !link.is_null() {
                regs.set(Reg::RIP.0, rip);
                enter!(link);
                continue;
            }
            jump!(
                rip,
                if block.is_linkable($place) {
                    Exit::LookupLink(&raw const block.links[$place])
                } else {
                    Exit::Lookup
                }
            );
        }};
    }
    // Leaves with an exception of the instruction at `op`.
    macro_rules! raise {
        ($op:expr, $exception:expr) => {{
            let exception: Exception = $exception;
            return raised(vcpu, block, $op, exception);
        }};
    }
    macro_rules! load {
        ($op:expr, $type:ty, $address:expr) => {{
            const BYTES: u64 = size_of::<$type>() as u64;
            let address: u64 = $address;
            match host_address::<false>(tlb, address, BYTES) {
                // SAFETY: the TLB maps the whole access to guest RAM.
                Some(host) => unsafe { u64::from(host.cast::<$type>().read_unaligned()) },
                None => match load_slowly(vcpu, address, BYTES) {
                    Ok(value) => value,
                    Err(exception) => raise!($op, exception),
                },
            }
        }};
    }
    // Stores; `$leave` runs when the block loop must be left behind this instruction.
    macro_rules! store {
        ($op:expr, $type:ty, $address:expr, $value:expr, $leave:expr) => {{
            const BYTES: u64 = size_of::<$type>() as u64;
            let address: u64 = $address;
            let value: u64 = $value;
            match host_address::<true>(tlb, address, BYTES) {
                // SAFETY: the TLB maps the whole access to guest RAM.
                Some(host) => unsafe { host.cast::<$type>().write_unaligned(value as $type) },
                None => match store_slowly(vcpu, address, BYTES, value) {
                    AfterStore::Continue => {}
                    AfterStore::Leave => $leave,
                    AfterStore::Raised(exception) => raise!($op, exception),
                },
            }
        }};
    }
    macro_rules! store_op {
        ($op:expr, $type:ty, $address:expr, $value:expr) => {
            store!($op, $type, $address, $value, {
                op = rest_of_instruction(vcpu, block, $op);
                continue;
            })
        };
    }
    macro_rules! condition {
        ($code:expr) => {
            vcpu.flags.holds(Condition::from_code($code))
        };
    }
    macro_rules! branch {
        ($is_taken:expr) => {{ if $is_taken { succeed!(0) } else { succeed!(1) } }};
    }
    // Two-operand arithmetic that defines the flags.
    macro_rules! binary {
        ($op:expr, $bits:literal, $function:ident, $right:expr) => {{
            let (left, right) = (regs.get($op.b), $right);
            let (result, flags) = alu::$function::<$bits>(left, right);
            regs.set_sized::<$bits>($op.a, result);
            vcpu.flags = flags;
        }};
    }
    macro_rules! binary_carry {
        ($op:expr, $bits:literal, $function:ident) => {{
            let carry = vcpu.flags.carry();
            let (result, flags) = alu::$function::<$bits>(regs.get($op.b), regs.get($op.c), carry);
            regs.set_sized::<$bits>($op.a, result);
            vcpu.flags = flags;
        }};
    }
    macro_rules! compare {
        ($op:expr, $bits:literal, $function:ident, $right:expr) => {{
            let (_, flags) = alu::$function::<$bits>(regs.get($op.b), $right);
            vcpu.flags = flags;
        }};
    }
    macro_rules! quiet {
        ($op:expr, $bits:literal, $expression:expr) => {{
            let value: u64 = $expression;
            regs.set_sized::<$bits>($op.a, value);
        }};
    }
    macro_rules! step {
        ($op:expr, $bits:literal, $kind:ident, $delta:expr) => {{
            let carry = u64::from(vcpu.flags.carry());
            let result = regs.get($op.b).wrapping_add($delta);
            regs.set_sized::<$bits>($op.a, result);
            vcpu.flags = LazyFlags::of(FlagsKind::$kind, alu::width($bits), result, carry);
        }};
    }
    macro_rules! shift {
        ($op:expr, $bits:literal, $function:ident, $count:expr) => {{
            let count = ($count) as u32 & if $bits == 64 { 63 } else { 31 };
            if count != 0 {
                let (result, flags) = alu::$function::<$bits>(regs.get($op.b), count);
                regs.set_sized::<$bits>($op.a, result);
                vcpu.flags = flags;
            } else {
                let value = regs.get($op.b);
                regs.set_sized::<$bits>($op.a, value);
            }
        }};
    }
    macro_rules! compare_jump {
        ($op:expr, $bits:literal, $function:ident, $right:expr, $condition:ident) => {{
            let (left, right): (u64, u64) = (regs.get($op.b), $right);
            let (_, flags) = alu::$function::<$bits>(left, right);
            vcpu.flags = flags;
            branch!(alu::$condition::<$bits>(left, right, flags.result))
        }};
    }
    macro_rules! imm {
        ($op:expr) => {
            $op.imm as i64 as u64
        };
    }
    macro_rules! low {
        ($type:ty, $value:expr) => {
            ($value) as $type
        };
    }

    macro_rules! update {
        ($op:expr, $type:ty) => {{
            const BYTES: u64 = size_of::<$type>() as u64;
            let address = regs.address($op);
            let value = match host_address::<true>(tlb, address, BYTES) {
                // SAFETY: the TLB maps the whole access to guest RAM.
                Some(host) => unsafe { u64::from(host.cast::<$type>().read_unaligned()) },
                None => match load_for_update_slowly(vcpu, address, BYTES) {
                    Ok(value) => value,
                    Err(exception) => raise!($op, exception),
                },
            };
            regs.set($op.a, value);
        }};
    }
    macro_rules! push {
        ($op:expr, $value:expr) => {{
            let stack = regs.get(Reg::RSP.0).wrapping_sub(8);
            store!($op, u64, stack, $value, {
                regs.set(Reg::RSP.0, stack);
                op = rest_of_instruction(vcpu, block, $op);
                continue;
            });
            regs.set(Reg::RSP.0, stack);
        }};
    }
    // Pushes the return address; a store that makes the loop leave goes out at the target.
    macro_rules! call_push {
        ($op:expr $(, $target:expr)?) => {{
            let stack = regs.get(Reg::RSP.0).wrapping_sub(8);
            let behind = regs.get(Reg::RIP.0).wrapping_add($op.disp as i64 as u64);
            store!($op, u64, stack, behind, {
                regs.set(Reg::RSP.0, stack);
                #[allow(unused_mut, unused_assignments)]
                let mut target =
                    regs.get(Reg::RIP.0).wrapping_add(block.distances[0] as u64) & block.rip_mask();
                $(target = $target;)?
                regs.set(Reg::RIP.0, target);
                return Exit::Look;
            });
            regs.set(Reg::RSP.0, stack);
        }};
    }
    macro_rules! load128 {
        ($op:expr, $address:expr) => {{
            let address: u64 = $address;
            let value = match host_address::<false>(tlb, address, 16) {
                // SAFETY: the TLB maps the whole access to guest RAM.
                Some(host) => unsafe { host.cast::<u128>().read_unaligned() },
                None => match load128_slowly(vcpu, address) {
                    Ok(value) => value,
                    Err(exception) => raise!($op, exception),
                },
            };
            vcpu.vectors[vector($op.a)].set_low(value);
        }};
    }
    macro_rules! load256 {
        ($op:expr, $address:expr) => {{
            let address: u64 = $address;
            let value = match host_address::<false>(tlb, address, 32) {
                // SAFETY: the TLB maps the whole access to guest RAM.
                Some(host) => unsafe { host.cast::<[u64; 4]>().read_unaligned() },
                None => match load256_slowly(vcpu, address) {
                    Ok(value) => value,
                    Err(exception) => raise!($op, exception),
                },
            };
            vcpu.vectors[vector($op.a)].0 = value;
        }};
    }
    macro_rules! store256 {
        ($op:expr, $address:expr) => {{
            let address: u64 = $address;
            let value = vcpu.vectors[vector($op.a)].0;
            match host_address::<true>(tlb, address, 32) {
                // SAFETY: the TLB maps the whole access to guest RAM.
                Some(host) => unsafe { host.cast::<[u64; 4]>().write_unaligned(value) },
                None => match store256_slowly(vcpu, address, value) {
                    AfterStore::Continue => {}
                    AfterStore::Leave => {
                        op = rest_of_instruction(vcpu, block, $op);
                        continue;
                    }
                    AfterStore::Raised(exception) => raise!($op, exception),
                },
            }
        }};
    }
    macro_rules! store128 {
        ($op:expr, $address:expr) => {{
            let address: u64 = $address;
            let value = vcpu.vectors[vector($op.a)].low();
            match host_address::<true>(tlb, address, 16) {
                // SAFETY: the TLB maps the whole access to guest RAM.
                Some(host) => unsafe { host.cast::<u128>().write_unaligned(value) },
                None => match store128_slowly(vcpu, address, value) {
                    AfterStore::Continue => {}
                    AfterStore::Leave => {
                        op = rest_of_instruction(vcpu, block, $op);
                        continue;
                    }
                    AfterStore::Raised(exception) => raise!($op, exception),
                },
            }
        }};
    }

    // SAFETY: as in `enter`.
    block = unsafe { &*first };
    op = block.ops()[place.min(block.ops().len() - 1)..].as_ptr();
    loop {
        // SAFETY: `op` points into the block's operations or into `vcpu.leaving`; both end with an operation
        // that does not fall through.
        let current = unsafe { &*op };
        // SAFETY: one past the current operation is within or one past the end of the same list.
        op = unsafe { op.add(1) };
        match current.code {
            OpCode::Mov8 => quiet!(current, 8, regs.get(current.b)),
            OpCode::Mov16 => quiet!(current, 16, regs.get(current.b)),
            OpCode::Mov32 => quiet!(current, 32, regs.get(current.b)),
            OpCode::Mov64 => quiet!(current, 64, regs.get(current.b)),
            OpCode::MovImm8 => quiet!(current, 8, imm!(current)),
            OpCode::MovImm16 => quiet!(current, 16, imm!(current)),
            OpCode::MovImm32 => quiet!(current, 32, imm!(current)),
            OpCode::MovImm64 => quiet!(current, 64, imm!(current)),
            OpCode::MovImmWide => regs.set(current.a, u64::from(current.disp as u32) | imm!(current) << 32),
            OpCode::ZeroExtend8 => regs.set(current.a, u64::from(low!(u8, regs.get(current.b)))),
            OpCode::ZeroExtend16 => regs.set(current.a, u64::from(low!(u16, regs.get(current.b)))),
            OpCode::SignExtend8To16 => quiet!(current, 16, low!(i8, regs.get(current.b)) as i64 as u64),
            OpCode::SignExtend8To32 => quiet!(current, 32, low!(i8, regs.get(current.b)) as i64 as u64),
            OpCode::SignExtend8To64 => quiet!(current, 64, low!(i8, regs.get(current.b)) as i64 as u64),
            OpCode::SignExtend16To32 => quiet!(current, 32, low!(i16, regs.get(current.b)) as i64 as u64),
            OpCode::SignExtend16To64 => quiet!(current, 64, low!(i16, regs.get(current.b)) as i64 as u64),
            OpCode::SignExtend32To64 => quiet!(current, 64, low!(i32, regs.get(current.b)) as i64 as u64),
            OpCode::ExtractHigh8 => regs.set(current.a, regs.get(current.b) >> 8 & 0xff),
            OpCode::InsertHigh8 => {
                regs.set(current.a, regs.get(current.a) & !0xff00 | (regs.get(current.b) & 0xff) << 8)
            }
            OpCode::Lea16 => regs.set(current.a, regs.address(current) & 0xffff),
            OpCode::Lea32 => regs.set(current.a, regs.address(current) & 0xffff_ffff),
            OpCode::Lea64 => regs.set(current.a, regs.address(current)),
            OpCode::Load8 => quiet!(current, 8, load!(current, u8, regs.address(current))),
            OpCode::LoadZero8 => quiet!(current, 64, load!(current, u8, regs.address(current))),
            OpCode::Load16 => quiet!(current, 16, load!(current, u16, regs.address(current))),
            OpCode::LoadZero16 => quiet!(current, 64, load!(current, u16, regs.address(current))),
            OpCode::Load32 => quiet!(current, 64, load!(current, u32, regs.address(current))),
            OpCode::Load64 => quiet!(current, 64, load!(current, u64, regs.address(current))),
            OpCode::LoadSign8To16 => {
                quiet!(current, 16, low!(i8, load!(current, u8, regs.address(current))) as i64 as u64)
            }
            OpCode::LoadSign8To32 => {
                quiet!(current, 32, low!(i8, load!(current, u8, regs.address(current))) as i64 as u64)
            }
            OpCode::LoadSign8To64 => {
                quiet!(current, 64, low!(i8, load!(current, u8, regs.address(current))) as i64 as u64)
            }
            OpCode::LoadSign16To32 => {
                quiet!(current, 32, low!(i16, load!(current, u16, regs.address(current))) as i64 as u64)
            }
            OpCode::LoadSign16To64 => {
                quiet!(current, 64, low!(i16, load!(current, u16, regs.address(current))) as i64 as u64)
            }
            OpCode::LoadSign32To64 => {
                quiet!(current, 64, low!(i32, load!(current, u32, regs.address(current))) as i64 as u64)
            }
            OpCode::Store8 => store_op!(current, u8, regs.address(current), regs.get(current.a)),
            OpCode::Store16 => store_op!(current, u16, regs.address(current), regs.get(current.a)),
            OpCode::Store32 => store_op!(current, u32, regs.address(current), regs.get(current.a)),
            OpCode::Store64 => store_op!(current, u64, regs.address(current), regs.get(current.a)),
            OpCode::StoreImm8 => store_op!(current, u8, regs.address(current), imm!(current)),
            OpCode::StoreImm16 => store_op!(current, u16, regs.address(current), imm!(current)),
            OpCode::StoreImm32 => store_op!(current, u32, regs.address(current), imm!(current)),
            OpCode::StoreImm64 => store_op!(current, u64, regs.address(current), imm!(current)),
            OpCode::LoadForUpdate8 => update!(current, u8),
            OpCode::LoadForUpdate16 => update!(current, u16),
            OpCode::LoadForUpdate32 => update!(current, u32),
            OpCode::LoadForUpdate64 => update!(current, u64),
            OpCode::Push64 => push!(current, regs.get(current.a)),
            OpCode::PushImm64 => push!(current, imm!(current)),
            OpCode::Pop64 => {
                let stack = regs.get(Reg::RSP.0);
                let value = load!(current, u64, stack);
                regs.set(Reg::RSP.0, stack.wrapping_add(8));
                regs.set(current.a, value);
            }
            OpCode::Add8 => binary!(current, 8, add, regs.get(current.c)),
            OpCode::Add16 => binary!(current, 16, add, regs.get(current.c)),
            OpCode::Add32 => binary!(current, 32, add, regs.get(current.c)),
            OpCode::Add64 => binary!(current, 64, add, regs.get(current.c)),
            OpCode::AddImm8 => binary!(current, 8, add, imm!(current)),
            OpCode::AddImm16 => binary!(current, 16, add, imm!(current)),
            OpCode::AddImm32 => binary!(current, 32, add, imm!(current)),
            OpCode::AddImm64 => binary!(current, 64, add, imm!(current)),
            OpCode::AddQuiet32 => quiet!(current, 32, regs.get(current.b).wrapping_add(regs.get(current.c))),
            OpCode::AddImmQuiet32 => quiet!(current, 32, regs.get(current.b).wrapping_add(imm!(current))),
            OpCode::AddQuiet64 => quiet!(current, 64, regs.get(current.b).wrapping_add(regs.get(current.c))),
            OpCode::AddImmQuiet64 => quiet!(current, 64, regs.get(current.b).wrapping_add(imm!(current))),
            OpCode::Sub8 => binary!(current, 8, sub, regs.get(current.c)),
            OpCode::Sub16 => binary!(current, 16, sub, regs.get(current.c)),
            OpCode::Sub32 => binary!(current, 32, sub, regs.get(current.c)),
            OpCode::Sub64 => binary!(current, 64, sub, regs.get(current.c)),
            OpCode::SubImm8 => binary!(current, 8, sub, imm!(current)),
            OpCode::SubImm16 => binary!(current, 16, sub, imm!(current)),
            OpCode::SubImm32 => binary!(current, 32, sub, imm!(current)),
            OpCode::SubImm64 => binary!(current, 64, sub, imm!(current)),
            OpCode::SubQuiet32 => quiet!(current, 32, regs.get(current.b).wrapping_sub(regs.get(current.c))),
            OpCode::SubImmQuiet32 => quiet!(current, 32, regs.get(current.b).wrapping_sub(imm!(current))),
            OpCode::SubQuiet64 => quiet!(current, 64, regs.get(current.b).wrapping_sub(regs.get(current.c))),
            OpCode::SubImmQuiet64 => quiet!(current, 64, regs.get(current.b).wrapping_sub(imm!(current))),
            OpCode::And8 => binary!(current, 8, and, regs.get(current.c)),
            OpCode::And16 => binary!(current, 16, and, regs.get(current.c)),
            OpCode::And32 => binary!(current, 32, and, regs.get(current.c)),
            OpCode::And64 => binary!(current, 64, and, regs.get(current.c)),
            OpCode::AndImm8 => binary!(current, 8, and, imm!(current)),
            OpCode::AndImm16 => binary!(current, 16, and, imm!(current)),
            OpCode::AndImm32 => binary!(current, 32, and, imm!(current)),
            OpCode::AndImm64 => binary!(current, 64, and, imm!(current)),
            OpCode::AndQuiet32 => quiet!(current, 32, regs.get(current.b) & regs.get(current.c)),
            OpCode::AndImmQuiet32 => quiet!(current, 32, regs.get(current.b) & imm!(current)),
            OpCode::AndQuiet64 => quiet!(current, 64, regs.get(current.b) & regs.get(current.c)),
            OpCode::AndImmQuiet64 => quiet!(current, 64, regs.get(current.b) & imm!(current)),
            OpCode::Or8 => binary!(current, 8, or, regs.get(current.c)),
            OpCode::Or16 => binary!(current, 16, or, regs.get(current.c)),
            OpCode::Or32 => binary!(current, 32, or, regs.get(current.c)),
            OpCode::Or64 => binary!(current, 64, or, regs.get(current.c)),
            OpCode::OrImm8 => binary!(current, 8, or, imm!(current)),
            OpCode::OrImm16 => binary!(current, 16, or, imm!(current)),
            OpCode::OrImm32 => binary!(current, 32, or, imm!(current)),
            OpCode::OrImm64 => binary!(current, 64, or, imm!(current)),
            OpCode::OrQuiet32 => quiet!(current, 32, regs.get(current.b) | regs.get(current.c)),
            OpCode::OrImmQuiet32 => quiet!(current, 32, regs.get(current.b) | imm!(current)),
            OpCode::OrQuiet64 => quiet!(current, 64, regs.get(current.b) | regs.get(current.c)),
            OpCode::OrImmQuiet64 => quiet!(current, 64, regs.get(current.b) | imm!(current)),
            OpCode::Xor8 => binary!(current, 8, xor, regs.get(current.c)),
            OpCode::Xor16 => binary!(current, 16, xor, regs.get(current.c)),
            OpCode::Xor32 => binary!(current, 32, xor, regs.get(current.c)),
            OpCode::Xor64 => binary!(current, 64, xor, regs.get(current.c)),
            OpCode::XorImm8 => binary!(current, 8, xor, imm!(current)),
            OpCode::XorImm16 => binary!(current, 16, xor, imm!(current)),
            OpCode::XorImm32 => binary!(current, 32, xor, imm!(current)),
            OpCode::XorImm64 => binary!(current, 64, xor, imm!(current)),
            OpCode::XorQuiet32 => quiet!(current, 32, regs.get(current.b) ^ regs.get(current.c)),
            OpCode::XorImmQuiet32 => quiet!(current, 32, regs.get(current.b) ^ imm!(current)),
            OpCode::XorQuiet64 => quiet!(current, 64, regs.get(current.b) ^ regs.get(current.c)),
            OpCode::XorImmQuiet64 => quiet!(current, 64, regs.get(current.b) ^ imm!(current)),
            OpCode::Adc8 => binary_carry!(current, 8, adc),
            OpCode::Adc16 => binary_carry!(current, 16, adc),
            OpCode::Adc32 => binary_carry!(current, 32, adc),
            OpCode::Adc64 => binary_carry!(current, 64, adc),
            OpCode::Sbb8 => binary_carry!(current, 8, sbb),
            OpCode::Sbb16 => binary_carry!(current, 16, sbb),
            OpCode::Sbb32 => binary_carry!(current, 32, sbb),
            OpCode::Sbb64 => binary_carry!(current, 64, sbb),
            OpCode::Cmp8 => compare!(current, 8, sub, regs.get(current.c)),
            OpCode::Cmp16 => compare!(current, 16, sub, regs.get(current.c)),
            OpCode::Cmp32 => compare!(current, 32, sub, regs.get(current.c)),
            OpCode::Cmp64 => compare!(current, 64, sub, regs.get(current.c)),
            OpCode::CmpImm8 => compare!(current, 8, sub, imm!(current)),
            OpCode::CmpImm16 => compare!(current, 16, sub, imm!(current)),
            OpCode::CmpImm32 => compare!(current, 32, sub, imm!(current)),
            OpCode::CmpImm64 => compare!(current, 64, sub, imm!(current)),
            OpCode::Test8 => compare!(current, 8, and, regs.get(current.c)),
            OpCode::Test16 => compare!(current, 16, and, regs.get(current.c)),
            OpCode::Test32 => compare!(current, 32, and, regs.get(current.c)),
            OpCode::Test64 => compare!(current, 64, and, regs.get(current.c)),
            OpCode::TestImm8 => compare!(current, 8, and, imm!(current)),
            OpCode::TestImm16 => compare!(current, 16, and, imm!(current)),
            OpCode::TestImm32 => compare!(current, 32, and, imm!(current)),
            OpCode::TestImm64 => compare!(current, 64, and, imm!(current)),
            OpCode::Inc8 => step!(current, 8, Inc, 1),
            OpCode::Inc16 => step!(current, 16, Inc, 1),
            OpCode::Inc32 => step!(current, 32, Inc, 1),
            OpCode::Inc64 => step!(current, 64, Inc, 1),
            OpCode::Dec8 => step!(current, 8, Dec, u64::MAX),
            OpCode::Dec16 => step!(current, 16, Dec, u64::MAX),
            OpCode::Dec32 => step!(current, 32, Dec, u64::MAX),
            OpCode::Dec64 => step!(current, 64, Dec, u64::MAX),
            OpCode::Neg8 => {
                let (result, flags) = alu::sub::<8>(0, regs.get(current.b));
                regs.set_sized::<8>(current.a, result);
                vcpu.flags = flags;
            }
            OpCode::Neg16 => {
                let (result, flags) = alu::sub::<16>(0, regs.get(current.b));
                regs.set_sized::<16>(current.a, result);
                vcpu.flags = flags;
            }
            OpCode::Neg32 => {
                let (result, flags) = alu::sub::<32>(0, regs.get(current.b));
                regs.set_sized::<32>(current.a, result);
                vcpu.flags = flags;
            }
            OpCode::Neg64 => {
                let (result, flags) = alu::sub::<64>(0, regs.get(current.b));
                regs.set_sized::<64>(current.a, result);
                vcpu.flags = flags;
            }
            OpCode::Not8 => quiet!(current, 8, !regs.get(current.b)),
            OpCode::Not16 => quiet!(current, 16, !regs.get(current.b)),
            OpCode::Not32 => quiet!(current, 32, !regs.get(current.b)),
            OpCode::Not64 => quiet!(current, 64, !regs.get(current.b)),
            OpCode::ShlImm8 => binary!(current, 8, shl, current.imm as u32),
            OpCode::ShlImm16 => binary!(current, 16, shl, current.imm as u32),
            OpCode::ShlImm32 => binary!(current, 32, shl, current.imm as u32),
            OpCode::ShlImm64 => binary!(current, 64, shl, current.imm as u32),
            OpCode::Shl8 => shift!(current, 8, shl, regs.get(current.c)),
            OpCode::Shl16 => shift!(current, 16, shl, regs.get(current.c)),
            OpCode::Shl32 => shift!(current, 32, shl, regs.get(current.c)),
            OpCode::Shl64 => shift!(current, 64, shl, regs.get(current.c)),
            OpCode::ShrImm8 => binary!(current, 8, shr, current.imm as u32),
            OpCode::ShrImm16 => binary!(current, 16, shr, current.imm as u32),
            OpCode::ShrImm32 => binary!(current, 32, shr, current.imm as u32),
            OpCode::ShrImm64 => binary!(current, 64, shr, current.imm as u32),
            OpCode::Shr8 => shift!(current, 8, shr, regs.get(current.c)),
            OpCode::Shr16 => shift!(current, 16, shr, regs.get(current.c)),
            OpCode::Shr32 => shift!(current, 32, shr, regs.get(current.c)),
            OpCode::Shr64 => shift!(current, 64, shr, regs.get(current.c)),
            OpCode::SarImm8 => binary!(current, 8, sar, current.imm as u32),
            OpCode::SarImm16 => binary!(current, 16, sar, current.imm as u32),
            OpCode::SarImm32 => binary!(current, 32, sar, current.imm as u32),
            OpCode::SarImm64 => binary!(current, 64, sar, current.imm as u32),
            OpCode::Sar8 => shift!(current, 8, sar, regs.get(current.c)),
            OpCode::Sar16 => shift!(current, 16, sar, regs.get(current.c)),
            OpCode::Sar32 => shift!(current, 32, sar, regs.get(current.c)),
            OpCode::Sar64 => shift!(current, 64, sar, regs.get(current.c)),
            OpCode::ShlImmQuiet32 => quiet!(current, 32, regs.get(current.b) << (current.imm as u32 & 63)),
            OpCode::ShrImmQuiet32 => {
                quiet!(current, 32, (regs.get(current.b) & 0xffff_ffff) >> (current.imm as u32 & 63))
            }
            OpCode::SarImmQuiet32 => quiet!(
                current,
                32,
                (low!(i32, regs.get(current.b)) >> (current.imm as u32 & 31)) as i64 as u64
            ),
            OpCode::ShlImmQuiet64 => quiet!(current, 64, regs.get(current.b) << (current.imm as u32 & 63)),
            OpCode::ShrImmQuiet64 => quiet!(current, 64, (regs.get(current.b)) >> (current.imm as u32 & 63)),
            OpCode::SarImmQuiet64 => {
                quiet!(current, 64, (low!(i64, regs.get(current.b)) >> (current.imm as u32 & 63)) as u64)
            }
            OpCode::ShlQuiet32 => quiet!(current, 32, regs.get(current.b) << (regs.get(current.c) & 31)),
            OpCode::ShrQuiet32 => {
                quiet!(current, 32, (regs.get(current.b) & 0xffff_ffff) >> (regs.get(current.c) & 31))
            }
            OpCode::SarQuiet32 => quiet!(
                current,
                32,
                (low!(i32, regs.get(current.b)) >> (regs.get(current.c) & 31)) as i64 as u64
            ),
            OpCode::ShlQuiet64 => quiet!(current, 64, regs.get(current.b) << (regs.get(current.c) & 63)),
            OpCode::ShrQuiet64 => quiet!(current, 64, regs.get(current.b) >> (regs.get(current.c) & 63)),
            OpCode::SarQuiet64 => {
                quiet!(current, 64, (low!(i64, regs.get(current.b)) >> (regs.get(current.c) & 63)) as u64)
            }
            OpCode::RolImm8 => {
                let result = alu::rol::<8>(regs.get(current.b), current.imm as u32);
                regs.set_sized::<8>(current.a, result);
                vcpu.flags = alu::rol_flags::<8>(vcpu.flags, result);
            }
            OpCode::RolImm16 => {
                let result = alu::rol::<16>(regs.get(current.b), current.imm as u32);
                regs.set_sized::<16>(current.a, result);
                vcpu.flags = alu::rol_flags::<16>(vcpu.flags, result);
            }
            OpCode::RolImm32 => {
                let result = alu::rol::<32>(regs.get(current.b), current.imm as u32);
                regs.set_sized::<32>(current.a, result);
                vcpu.flags = alu::rol_flags::<32>(vcpu.flags, result);
            }
            OpCode::RolImm64 => {
                let result = alu::rol::<64>(regs.get(current.b), current.imm as u32);
                regs.set_sized::<64>(current.a, result);
                vcpu.flags = alu::rol_flags::<64>(vcpu.flags, result);
            }
            OpCode::RorImm8 => {
                let result = alu::rol::<8>(regs.get(current.b), 8 - current.imm as u32);
                regs.set_sized::<8>(current.a, result);
                vcpu.flags = alu::ror_flags::<8>(vcpu.flags, result);
            }
            OpCode::RorImm16 => {
                let result = alu::rol::<16>(regs.get(current.b), 16 - current.imm as u32);
                regs.set_sized::<16>(current.a, result);
                vcpu.flags = alu::ror_flags::<16>(vcpu.flags, result);
            }
            OpCode::RorImm32 => {
                let result = alu::rol::<32>(regs.get(current.b), 32 - current.imm as u32);
                regs.set_sized::<32>(current.a, result);
                vcpu.flags = alu::ror_flags::<32>(vcpu.flags, result);
            }
            OpCode::RorImm64 => {
                let result = alu::rol::<64>(regs.get(current.b), 64 - current.imm as u32);
                regs.set_sized::<64>(current.a, result);
                vcpu.flags = alu::ror_flags::<64>(vcpu.flags, result);
            }
            OpCode::RolImmQuiet32 => {
                quiet!(current, 32, u64::from(low!(u32, regs.get(current.b)).rotate_left(current.imm as u32)))
            }
            OpCode::RolImmQuiet64 => {
                quiet!(current, 64, low!(u64, regs.get(current.b)).rotate_left(current.imm as u32))
            }
            OpCode::Imul16 => binary!(current, 16, imul, regs.get(current.c)),
            OpCode::Imul32 => binary!(current, 32, imul, regs.get(current.c)),
            OpCode::Imul64 => binary!(current, 64, imul, regs.get(current.c)),
            OpCode::ImulQuiet32 => quiet!(current, 32, regs.get(current.b).wrapping_mul(regs.get(current.c))),
            OpCode::ImulQuiet64 => quiet!(current, 64, regs.get(current.b).wrapping_mul(regs.get(current.c))),
            OpCode::ByteSwap32 => quiet!(current, 32, u64::from(low!(u32, regs.get(current.b)).swap_bytes())),
            OpCode::ByteSwap64 => quiet!(current, 64, low!(u64, regs.get(current.b)).swap_bytes()),
            OpCode::SetCondition => regs.set8(current.a, u64::from(condition!(current.c))),
            OpCode::MoveIf32 => {
                quiet!(current, 32, regs.get(if condition!(current.c) { current.b } else { current.a }))
            }
            OpCode::MoveIf64 => {
                quiet!(current, 64, regs.get(if condition!(current.c) { current.b } else { current.a }))
            }
            OpCode::VectorLoad32 => {
                let value = load!(current, u32, regs.address(current));
                vcpu.vectors[vector(current.a)].set_low(u128::from(value));
            }
            OpCode::VectorLoad64 => {
                let value = load!(current, u64, regs.address(current));
                vcpu.vectors[vector(current.a)].set_low(u128::from(value));
            }
            OpCode::VectorLoad128 => load128!(current, regs.address(current)),
            OpCode::VectorLoad128Aligned => {
                let address = regs.address(current);
                if !address.is_multiple_of(16) {
                    raise!(current, Exception::GeneralProtection(0));
                }
                load128!(current, address);
            }
            OpCode::VectorLoad256 => load256!(current, regs.address(current)),
            OpCode::VectorLoad256Aligned => {
                let address = regs.address(current);
                if !address.is_multiple_of(32) {
                    raise!(current, Exception::GeneralProtection(0));
                }
                load256!(current, address);
            }
            OpCode::VectorStore32 => {
                store_op!(current, u32, regs.address(current), vcpu.vectors[vector(current.a)].0[0])
            }
            OpCode::VectorStore64 => {
                store_op!(current, u64, regs.address(current), vcpu.vectors[vector(current.a)].0[0])
            }
            OpCode::VectorStore128 => store128!(current, regs.address(current)),
            OpCode::VectorStore128Aligned => {
                let address = regs.address(current);
                if !address.is_multiple_of(16) {
                    raise!(current, Exception::GeneralProtection(0));
                }
                store128!(current, address);
            }
            OpCode::VectorStore256 => store256!(current, regs.address(current)),
            OpCode::VectorStore256Aligned => {
                let address = regs.address(current);
                if !address.is_multiple_of(32) {
                    raise!(current, Exception::GeneralProtection(0));
                }
                store256!(current, address);
            }
            OpCode::VectorMove128 => {
                let value = vcpu.vectors[vector(current.b)].low();
                vcpu.vectors[vector(current.a)].set_low(value);
            }
            OpCode::VectorMove256 => vcpu.vectors[vector(current.a)] = vcpu.vectors[vector(current.b)],
            OpCode::VectorClearUpper => vcpu.vectors[vector(current.a)].set_high(0),
            OpCode::Vector | OpCode::Vector256 => {
                if let Err(exception) = sse::execute(vcpu, current) {
                    raise!(current, exception);
                }
            }
            OpCode::Call => {
                if let Err(exception) = call_helper(vcpu, current) {
                    raise!(current, exception);
                }
                tlb = &raw const *vcpu.tlbs[vcpu.tlb_in_force].entries;
                if vcpu.must_leave {
                    op = rest_of_instruction(vcpu, block, current);
                }
            }
            OpCode::CallAndExit => match call_helper(vcpu, current) {
                Err(exception) => raise!(current, exception),
                Ok(()) if vcpu.must_leave => return Exit::Look,
                // The helper has set RIP, truncated as its mode has it.
                Ok(()) => {
                    tlb = &raw const *vcpu.tlbs[vcpu.tlb_in_force].entries;
                    jump!(regs.get(Reg::RIP.0), Exit::Lookup)
                }
            },
            OpCode::Leave => {
                vcpu.instructions -= block.instruction_count() - block.instructions_before(current.pc) - 1;
                let rip = regs.get(Reg::RIP.0).wrapping_add(current.disp as i64 as u64) & block.rip_mask();
                regs.set(Reg::RIP.0, rip);
                return Exit::Look;
            }
            OpCode::Jump => succeed!(0),
            OpCode::JumpIf => branch!(condition!(current.c)),
            OpCode::JumpRegister => jump!(regs.get(current.b) & block.rip_mask(), Exit::Lookup),
            OpCode::CallNear => {
                call_push!(current);
                succeed!(0)
            }
            OpCode::CallRegister => {
                let target = regs.get(current.b);
                call_push!(current, target);
                jump!(target, Exit::Lookup)
            }
            OpCode::Return => {
                let stack = regs.get(Reg::RSP.0);
                let target = load!(current, u64, stack);
                regs.set(Reg::RSP.0, stack.wrapping_add(8).wrapping_add(imm!(current)));
                if target == vcpu.linkage.awaited {
                    regs.set(Reg::RIP.0, target);
                    return Exit::Lookup;
                }
                jump!(target, Exit::Lookup)
            }
            OpCode::CmpJumpBelow8 => compare_jump!(current, 8, sub, regs.get(current.c), below),
            OpCode::CmpJumpBelow16 => compare_jump!(current, 16, sub, regs.get(current.c), below),
            OpCode::CmpJumpBelow32 => compare_jump!(current, 32, sub, regs.get(current.c), below),
            OpCode::CmpJumpBelow64 => compare_jump!(current, 64, sub, regs.get(current.c), below),
            OpCode::CmpImmJumpBelow8 => compare_jump!(current, 8, sub, imm!(current), below),
            OpCode::CmpImmJumpBelow16 => compare_jump!(current, 16, sub, imm!(current), below),
            OpCode::CmpImmJumpBelow32 => compare_jump!(current, 32, sub, imm!(current), below),
            OpCode::CmpImmJumpBelow64 => compare_jump!(current, 64, sub, imm!(current), below),
            OpCode::CmpJumpEqual8 => compare_jump!(current, 8, sub, regs.get(current.c), equal),
            OpCode::CmpJumpEqual16 => compare_jump!(current, 16, sub, regs.get(current.c), equal),
            OpCode::CmpJumpEqual32 => compare_jump!(current, 32, sub, regs.get(current.c), equal),
            OpCode::CmpJumpEqual64 => compare_jump!(current, 64, sub, regs.get(current.c), equal),
            OpCode::CmpImmJumpEqual8 => compare_jump!(current, 8, sub, imm!(current), equal),
            OpCode::CmpImmJumpEqual16 => compare_jump!(current, 16, sub, imm!(current), equal),
            OpCode::CmpImmJumpEqual32 => compare_jump!(current, 32, sub, imm!(current), equal),
            OpCode::CmpImmJumpEqual64 => compare_jump!(current, 64, sub, imm!(current), equal),
            OpCode::CmpJumpBelowOrEqual8 => {
                compare_jump!(current, 8, sub, regs.get(current.c), below_or_equal)
            }
            OpCode::CmpJumpBelowOrEqual16 => {
                compare_jump!(current, 16, sub, regs.get(current.c), below_or_equal)
            }
            OpCode::CmpJumpBelowOrEqual32 => {
                compare_jump!(current, 32, sub, regs.get(current.c), below_or_equal)
            }
            OpCode::CmpJumpBelowOrEqual64 => {
                compare_jump!(current, 64, sub, regs.get(current.c), below_or_equal)
            }
            OpCode::CmpImmJumpBelowOrEqual8 => compare_jump!(current, 8, sub, imm!(current), below_or_equal),
            OpCode::CmpImmJumpBelowOrEqual16 => {
                compare_jump!(current, 16, sub, imm!(current), below_or_equal)
            }
            OpCode::CmpImmJumpBelowOrEqual32 => {
                compare_jump!(current, 32, sub, imm!(current), below_or_equal)
            }
            OpCode::CmpImmJumpBelowOrEqual64 => {
                compare_jump!(current, 64, sub, imm!(current), below_or_equal)
            }
            OpCode::CmpJumpSign8 => compare_jump!(current, 8, sub, regs.get(current.c), sign),
            OpCode::CmpJumpSign16 => compare_jump!(current, 16, sub, regs.get(current.c), sign),
            OpCode::CmpJumpSign32 => compare_jump!(current, 32, sub, regs.get(current.c), sign),
            OpCode::CmpJumpSign64 => compare_jump!(current, 64, sub, regs.get(current.c), sign),
            OpCode::CmpImmJumpSign8 => compare_jump!(current, 8, sub, imm!(current), sign),
            OpCode::CmpImmJumpSign16 => compare_jump!(current, 16, sub, imm!(current), sign),
            OpCode::CmpImmJumpSign32 => compare_jump!(current, 32, sub, imm!(current), sign),
            OpCode::CmpImmJumpSign64 => compare_jump!(current, 64, sub, imm!(current), sign),
            OpCode::CmpJumpLess8 => compare_jump!(current, 8, sub, regs.get(current.c), less),
            OpCode::CmpJumpLess16 => compare_jump!(current, 16, sub, regs.get(current.c), less),
            OpCode::CmpJumpLess32 => compare_jump!(current, 32, sub, regs.get(current.c), less),
            OpCode::CmpJumpLess64 => compare_jump!(current, 64, sub, regs.get(current.c), less),
            OpCode::CmpImmJumpLess8 => compare_jump!(current, 8, sub, imm!(current), less),
            OpCode::CmpImmJumpLess16 => compare_jump!(current, 16, sub, imm!(current), less),
            OpCode::CmpImmJumpLess32 => compare_jump!(current, 32, sub, imm!(current), less),
            OpCode::CmpImmJumpLess64 => compare_jump!(current, 64, sub, imm!(current), less),
            OpCode::CmpJumpLessOrEqual8 => compare_jump!(current, 8, sub, regs.get(current.c), less_or_equal),
            OpCode::CmpJumpLessOrEqual16 => {
                compare_jump!(current, 16, sub, regs.get(current.c), less_or_equal)
            }
            OpCode::CmpJumpLessOrEqual32 => {
                compare_jump!(current, 32, sub, regs.get(current.c), less_or_equal)
            }
            OpCode::CmpJumpLessOrEqual64 => {
                compare_jump!(current, 64, sub, regs.get(current.c), less_or_equal)
            }
            OpCode::CmpImmJumpLessOrEqual8 => compare_jump!(current, 8, sub, imm!(current), less_or_equal),
            OpCode::CmpImmJumpLessOrEqual16 => compare_jump!(current, 16, sub, imm!(current), less_or_equal),
            OpCode::CmpImmJumpLessOrEqual32 => compare_jump!(current, 32, sub, imm!(current), less_or_equal),
            OpCode::CmpImmJumpLessOrEqual64 => compare_jump!(current, 64, sub, imm!(current), less_or_equal),
            OpCode::TestJumpEqual8 => compare_jump!(current, 8, and, regs.get(current.c), equal),
            OpCode::TestJumpEqual16 => compare_jump!(current, 16, and, regs.get(current.c), equal),
            OpCode::TestJumpEqual32 => compare_jump!(current, 32, and, regs.get(current.c), equal),
            OpCode::TestJumpEqual64 => compare_jump!(current, 64, and, regs.get(current.c), equal),
            OpCode::TestImmJumpEqual8 => compare_jump!(current, 8, and, imm!(current), equal),
            OpCode::TestImmJumpEqual16 => compare_jump!(current, 16, and, imm!(current), equal),
            OpCode::TestImmJumpEqual32 => compare_jump!(current, 32, and, imm!(current), equal),
            OpCode::TestImmJumpEqual64 => compare_jump!(current, 64, and, imm!(current), equal),
            OpCode::TestJumpSign8 => compare_jump!(current, 8, and, regs.get(current.c), sign),
            OpCode::TestJumpSign16 => compare_jump!(current, 16, and, regs.get(current.c), sign),
            OpCode::TestJumpSign32 => compare_jump!(current, 32, and, regs.get(current.c), sign),
            OpCode::TestJumpSign64 => compare_jump!(current, 64, and, regs.get(current.c), sign),
            OpCode::TestImmJumpSign8 => compare_jump!(current, 8, and, imm!(current), sign),
            OpCode::TestImmJumpSign16 => compare_jump!(current, 16, and, imm!(current), sign),
            OpCode::TestImmJumpSign32 => compare_jump!(current, 32, and, imm!(current), sign),
            OpCode::TestImmJumpSign64 => compare_jump!(current, 64, and, imm!(current), sign),
            OpCode::TestJumpLessOrEqual8 => compare_jump!(current, 8, and, regs.get(current.c), not_positive),
            OpCode::TestJumpLessOrEqual16 => {
                compare_jump!(current, 16, and, regs.get(current.c), not_positive)
            }
            OpCode::TestJumpLessOrEqual32 => {
                compare_jump!(current, 32, and, regs.get(current.c), not_positive)
            }
            OpCode::TestJumpLessOrEqual64 => {
                compare_jump!(current, 64, and, regs.get(current.c), not_positive)
            }
            OpCode::TestImmJumpLessOrEqual8 => compare_jump!(current, 8, and, imm!(current), not_positive),
            OpCode::TestImmJumpLessOrEqual16 => compare_jump!(current, 16, and, imm!(current), not_positive),
            OpCode::TestImmJumpLessOrEqual32 => compare_jump!(current, 32, and, imm!(current), not_positive),
            OpCode::TestImmJumpLessOrEqual64 => compare_jump!(current, 64, and, imm!(current), not_positive),
        }
    }
}

/// Takes the instructions behind the one at `op` back from the count and sets RIP.
#[cold]
#[inline(never)]
fn raised(vcpu: &mut Vcpu, block: &Block, op: &Op, exception: Exception) -> Exit {
    let mut retired = block.instructions_before(op.pc);
    let mut offset = op.pc;
    if exception.is_trap() {
        retired += 1;
        offset = block.offset_behind(op.pc);
    }
    vcpu.instructions -= block.instruction_count() - retired;
    let rip = vcpu.reg(Reg::RIP).wrapping_add(u64::from(offset)) & block.rip_mask();
    vcpu.set_reg(Reg::RIP, rip);
    Exit::Raised(exception)
}
