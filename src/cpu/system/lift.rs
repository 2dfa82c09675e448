//! Lifts the system instructions to calls of the helpers.

use super::{port, save};
use crate::cpu::lift::{Builder, CodeSize, Lifted};
use crate::cpu::{FlagsEffect, HelperEffects, HelperId};
use crate::ir::{Address, Op, OpCode, Reg, Width};
use iced_x86::{Code, Instruction, Mnemonic as M, OpKind, Register};

/// Names the family's helpers by their places in [`HELPERS`](super::HELPERS), in order.
macro_rules! places {
    ($($name:ident)*) => {
        #[repr(u8)]
        #[allow(non_camel_case_types, clippy::upper_case_acronyms)]
        enum Place { $($name),* }
        $(const $name: HelperId = HelperId::system(Place::$name as u8);)*
    };
}

places! {
    PUSH_FLAGS POP_FLAGS CLEAR_INTERRUPT_FLAG SET_INTERRUPT_FLAG LOAD_AH STORE_AH
    SET_ACCESS_FLAG CLEAR_ACCESS_FLAG
    LOAD_SEGMENT LOAD_SEGMENT_AND_EXIT READ_SELECTOR PUSH_SEGMENT POP_SEGMENT LOAD_FAR_POINTER
    LOAD_GDTR LOAD_IDTR STORE_GDTR STORE_IDTR LOAD_LDTR LOAD_TASK_REGISTER READ_LDTR READ_TASK_REGISTER
    LOAD_ACCESS_RIGHTS LOAD_SEGMENT_LIMIT VERIFY_READ VERIFY_WRITE
    ADJUST_PRIVILEGE
    JUMP_FAR CALL_FAR RETURN_FAR INTERRUPT_RETURN
    SYSCALL SYSRET SYSENTER SYSEXIT SWAPGS READ_BASE WRITE_BASE
    SOFTWARE_INTERRUPT DEBUG_INTERRUPT INTERRUPT_ON_OVERFLOW
    READ_CONTROL WRITE_CONTROL READ_DEBUG WRITE_DEBUG CLEAR_TASK_SWITCHED
    LOAD_MACHINE_STATUS READ_MACHINE_STATUS INVALIDATE_PAGE INVALIDATE_CONTEXT
    READ_EXTENDED_CONTROL WRITE_EXTENDED_CONTROL
    READ_TIME_STAMP READ_PERFORMANCE_COUNTER RANDOM HALT WRITE_BACK_CACHES
    PORT PORT_STRING READ_MSR WRITE_MSR IDENTIFY
    FXSAVE FXRSTOR XSAVE XRSTOR READ_PROCESSOR_ID REQUIRE_PRIVILEGE
}

/// What the family's helpers do that work on a few registers only.
pub fn effects(op: &Op) -> Option<HelperEffects> {
    let known = |writes, flags| HelperEffects { reads: writes, writes, flags, may_leave: true };
    let bit = |register: Reg| 1u32 << register.0;
    match u16::try_from(op.imm).map(HelperId::from_number).ok()? {
        CLEAR_INTERRUPT_FLAG => Some(known(0, FlagsEffect::None)),
        SWAPGS => Some(known(bit(Reg::GS_BASE), FlagsEffect::None)),
        PUSH_FLAGS => Some(known(bit(Reg::RSP), FlagsEffect::Changes)),
        _ => None,
    }
}

/// Lifts the instruction if it belongs here.
pub fn lift(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    on_flags(builder, instruction)
        .or_else(|| on_segments(builder, instruction))
        .or_else(|| on_tables(builder, instruction))
        .or_else(|| far_transfer(builder, instruction))
        .or_else(|| on_control(builder, instruction))
        .or_else(|| on_ports(builder, instruction))
        .or_else(|| on_state(builder, instruction))
}

fn ends(builder: &mut Builder, helper: HelperId, operands: [u8; 4]) -> Option<Lifted> {
    builder.call_and_exit(helper, operands);
    Some(Lifted::Ends)
}

fn continues(builder: &mut Builder, helper: HelperId, operands: [u8; 4]) -> Option<Lifted> {
    builder.call(helper, operands);
    Some(Lifted::Continues)
}

fn on_flags(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    match instruction.mnemonic() {
        M::Pushf => continues(builder, PUSH_FLAGS, [0, 0, 0, 2]),
        M::Pushfd => continues(builder, PUSH_FLAGS, [0, 0, 0, 4]),
        M::Pushfq => continues(builder, PUSH_FLAGS, [0, 0, 0, 8]),
        M::Popf => ends(builder, POP_FLAGS, [0, 0, 0, 2]),
        M::Popfd => ends(builder, POP_FLAGS, [0, 0, 0, 4]),
        M::Popfq => ends(builder, POP_FLAGS, [0, 0, 0, 8]),
        M::Cli => continues(builder, CLEAR_INTERRUPT_FLAG, [0; 4]),
        M::Sti => ends(builder, SET_INTERRUPT_FLAG, [0; 4]),
        M::Lahf => continues(builder, LOAD_AH, [0; 4]),
        M::Sahf => continues(builder, STORE_AH, [0; 4]),
        M::Stac => continues(builder, SET_ACCESS_FLAG, [0; 4]),
        M::Clac => continues(builder, CLEAR_ACCESS_FLAG, [0; 4]),
        _ => None,
    }
}

/// The operand size that an instruction's code names in bytes.
fn register_bytes(instruction: &Instruction, index: u32) -> u8 {
    match instruction.op_kind(index) {
        OpKind::Register => instruction.op_register(index).size() as u8,
        _ => 2,
    }
}

/// A 16-bit selector operand: its register, or T4 after loading it there.
fn selector(builder: &mut Builder, instruction: &Instruction, index: u32) -> Reg {
    builder.source(instruction, index, Width::W16, Reg::T4)
}

/// Writes a helper's result in T4: to memory 16 bits, to a register by its size.
fn assign_selector(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let place = builder.place(instruction, 0);
    let width = Width::from_bytes(register_bytes(instruction, 0).into())?;
    builder.assign(place, width, Reg::T4);
    Some(Lifted::Continues)
}

fn on_segments(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let is_segment = |index| {
        instruction.op_kind(index) == OpKind::Register && instruction.op_register(index).is_segment_register()
    };
    match instruction.mnemonic() {
        M::Mov if is_segment(0) => {
            let register = instruction.op_register(0);
            if register == Register::CS {
                return Some(Lifted::Undefined);
            }
            let source = selector(builder, instruction, 1);
            let operands = [source.0, register.number() as u8, 0, 0];
            // In 64-bit code the bases of DS and ES play no part; elsewhere they are part of the mode.
            let is_data = matches!(register, Register::DS | Register::ES | Register::FS | Register::GS);
            if is_data && builder.mode.code_size == CodeSize::Bits64 {
                continues(builder, LOAD_SEGMENT, operands)
            } else {
                ends(builder, LOAD_SEGMENT_AND_EXIT, operands)
            }
        }
        M::Mov if instruction.op_count() == 2 && is_segment(1) => {
            builder.call(READ_SELECTOR, [Reg::T4.0, instruction.op_register(1).number() as u8, 0, 0]);
            assign_selector(builder, instruction)
        }
        M::Push if is_segment(0) => {
            let bytes = instruction.stack_pointer_increment().unsigned_abs() as u8;
            continues(builder, PUSH_SEGMENT, [0, instruction.op_register(0).number() as u8, 0, bytes])
        }
        M::Pop if is_segment(0) => {
            let bytes = instruction.stack_pointer_increment().unsigned_abs() as u8;
            ends(builder, POP_SEGMENT, [0, instruction.op_register(0).number() as u8, 0, bytes])
        }
        M::Lds | M::Les | M::Lss | M::Lfs | M::Lgs => {
            let segment = match instruction.mnemonic() {
                M::Les => 0,
                M::Lss => 2,
                M::Lds => 3,
                M::Lfs => 4,
                _ => 5,
            };
            let target = instruction.op_register(0);
            let address = address_in_register(builder, instruction);
            let operands = [Builder::reg(target).0, segment, address.0, target.size() as u8];
            ends(builder, LOAD_FAR_POINTER, operands)
        }
        M::Rdfsbase | M::Rdgsbase | M::Wrfsbase | M::Wrgsbase => {
            let mnemonic = instruction.mnemonic();
            let is_fs = matches!(mnemonic, M::Rdfsbase | M::Wrfsbase);
            let base = if is_fs { Reg::FS_BASE } else { Reg::GS_BASE };
            let helper = if matches!(mnemonic, M::Rdfsbase | M::Rdgsbase) { READ_BASE } else { WRITE_BASE };
            let register = instruction.op_register(0);
            continues(builder, helper, [Builder::reg(register).0, base.0, 0, register.size() as u8])
        }
        M::Swapgs => continues(builder, SWAPGS, [0; 4]),
        _ => None,
    }
}

/// The address of the memory operand in T1.
fn address_in_register(builder: &mut Builder, instruction: &Instruction) -> Reg {
    let address = builder.address(instruction);
    builder.lea(Reg::T1, address);
    Reg::T1
}

fn on_tables(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let table = |builder: &mut Builder, helper| {
        let is_16 = matches!(
            instruction.code(),
            Code::Lgdt_m1632_16 | Code::Lidt_m1632_16 | Code::Sgdt_m1632_16 | Code::Sidt_m1632_16
        );
        let bytes = match builder.mode.code_size {
            CodeSize::Bits64 => 8,
            _ if is_16 => 2,
            _ => 4,
        };
        let address = address_in_register(builder, instruction);
        continues(builder, helper, [address.0, 0, 0, bytes])
    };
    match instruction.mnemonic() {
        M::Lgdt => table(builder, LOAD_GDTR),
        M::Lidt => table(builder, LOAD_IDTR),
        M::Sgdt => table(builder, STORE_GDTR),
        M::Sidt => table(builder, STORE_IDTR),
        M::Lldt | M::Ltr | M::Verr | M::Verw => {
            let helper = match instruction.mnemonic() {
                M::Lldt => LOAD_LDTR,
                M::Ltr => LOAD_TASK_REGISTER,
                M::Verr => VERIFY_READ,
                _ => VERIFY_WRITE,
            };
            // Privilege comes before what the operand raises.
            if matches!(instruction.mnemonic(), M::Lldt | M::Ltr) {
                builder.call(REQUIRE_PRIVILEGE, [0, 0, 0, 1]);
            }
            let source = selector(builder, instruction, 0);
            continues(builder, helper, [source.0, 0, 0, 0])
        }
        M::Arpl => {
            let place = builder.place(instruction, 0);
            let selector = builder.value_for_update(place, Width::W16, Reg::T4);
            let other = Builder::reg(instruction.op_register(1));
            builder.call(ADJUST_PRIVILEGE, [Reg::T4.0, selector.0, other.0, 0]);
            builder.assign(place, Width::W16, Reg::T4);
            Some(Lifted::Continues)
        }
        M::Sldt | M::Str | M::Smsw => {
            let helper = match instruction.mnemonic() {
                M::Sldt => READ_LDTR,
                M::Str => READ_TASK_REGISTER,
                _ => READ_MACHINE_STATUS,
            };
            builder.call(helper, [Reg::T4.0, 0, 0, 0]);
            assign_selector(builder, instruction)
        }
        M::Lar | M::Lsl => {
            let helper =
                if instruction.mnemonic() == M::Lar { LOAD_ACCESS_RIGHTS } else { LOAD_SEGMENT_LIMIT };
            let source = selector(builder, instruction, 1);
            let target = instruction.op_register(0);
            continues(builder, helper, [Builder::reg(target).0, source.0, 0, target.size() as u8])
        }
        _ => None,
    }
}

/// Puts a far pointer's selector into T4 and its offset into T5; gives the operand size in bytes.
fn far_pointer(builder: &mut Builder, instruction: &Instruction) -> Option<u8> {
    if instruction.op_kind(0) != OpKind::Memory {
        let (offset, bytes) = match instruction.op_kind(0) {
            OpKind::FarBranch16 => (u64::from(instruction.far_branch16()), 2),
            OpKind::FarBranch32 => (u64::from(instruction.far_branch32()), 4),
            _ => return None,
        };
        builder.constant(Reg::T4, u64::from(instruction.far_branch_selector()));
        builder.constant(Reg::T5, offset);
        return Some(bytes);
    }
    let width = match instruction.code() {
        Code::Jmp_m1616 | Code::Call_m1616 => Width::W16,
        Code::Jmp_m1632 | Code::Call_m1632 => Width::W32,
        Code::Jmp_m1664 | Code::Call_m1664 => Width::W64,
        _ => return None,
    };
    let address = address_in_register(builder, instruction);
    builder.load(width, Reg::T5, Address::register(address));
    let above = Address { disp: i32::from(width.bytes()), ..Address::register(address) };
    builder.load(Width::W16, Reg::T4, above);
    Some(width.bytes())
}

fn far_transfer(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    match instruction.mnemonic() {
        M::Jmp | M::Call => {
            let helper = if instruction.mnemonic() == M::Jmp { JUMP_FAR } else { CALL_FAR };
            let bytes = far_pointer(builder, instruction)?;
            ends(builder, helper, [Reg::T4.0, Reg::T5.0, 0, bytes])
        }
        M::Retf => {
            let bytes = match instruction.code() {
                Code::Retfw | Code::Retfw_imm16 => 2,
                Code::Retfd | Code::Retfd_imm16 => 4,
                _ => 8,
            };
            let released = if instruction.op_count() == 1 { instruction.immediate16() } else { 0 };
            builder.constant(Reg::T4, u64::from(released));
            ends(builder, RETURN_FAR, [Reg::T4.0, 0, 0, bytes])
        }
        M::Iret => ends(builder, INTERRUPT_RETURN, [0, 0, 0, 2]),
        M::Iretd => ends(builder, INTERRUPT_RETURN, [0, 0, 0, 4]),
        M::Iretq => ends(builder, INTERRUPT_RETURN, [0, 0, 0, 8]),
        M::Int => ends(builder, SOFTWARE_INTERRUPT, [instruction.immediate8(), 0, 0, 0]),
        M::Int3 => ends(builder, SOFTWARE_INTERRUPT, [3, 0, 0, 0]),
        M::Int1 => ends(builder, DEBUG_INTERRUPT, [0; 4]),
        M::Into => ends(builder, INTERRUPT_ON_OVERFLOW, [0; 4]),
        M::Syscall => ends(builder, SYSCALL, [0; 4]),
        M::Sysret => ends(builder, SYSRET, [0, 0, 0, 4]),
        M::Sysretq => ends(builder, SYSRET, [0, 0, 0, 8]),
        M::Sysenter => ends(builder, SYSENTER, [0; 4]),
        M::Sysexit => ends(builder, SYSEXIT, [0, 0, 0, 4]),
        M::Sysexitq => ends(builder, SYSEXIT, [0, 0, 0, 8]),
        _ => None,
    }
}

fn on_control(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let is_control =
        |index| instruction.op_kind(index) == OpKind::Register && instruction.op_register(index).is_cr();
    let is_debug =
        |index| instruction.op_kind(index) == OpKind::Register && instruction.op_register(index).is_dr();
    let number = |index| instruction.op_register(index).number() as u8;
    let general = |index| Builder::reg(instruction.op_register(index)).0;
    let word = if builder.mode.code_size == CodeSize::Bits64 { 8 } else { 4 };
    match instruction.mnemonic() {
        M::Mov if is_control(0) => ends(builder, WRITE_CONTROL, [general(1), number(0), 0, word]),
        M::Mov if is_control(1) => continues(builder, READ_CONTROL, [general(0), number(1), 0, word]),
        M::Mov if is_debug(0) => ends(builder, WRITE_DEBUG, [general(1), number(0), 0, word]),
        M::Mov if is_debug(1) => continues(builder, READ_DEBUG, [general(0), number(1), 0, word]),
        M::Clts => ends(builder, CLEAR_TASK_SWITCHED, [0; 4]),
        M::Lmsw => {
            builder.call(REQUIRE_PRIVILEGE, [0; 4]);
            let source = selector(builder, instruction, 0);
            ends(builder, LOAD_MACHINE_STATUS, [source.0, 0, 0, 0])
        }
        M::Invlpg => {
            let address = address_in_register(builder, instruction);
            ends(builder, INVALIDATE_PAGE, [address.0, 0, 0, 0])
        }
        M::Invpcid => {
            let address = address_in_register(builder, instruction);
            ends(builder, INVALIDATE_CONTEXT, [general(0), address.0, 0, 0])
        }
        M::Xgetbv => continues(builder, READ_EXTENDED_CONTROL, [0; 4]),
        M::Xsetbv => ends(builder, WRITE_EXTENDED_CONTROL, [0; 4]),
        M::Rdpid => continues(builder, READ_PROCESSOR_ID, [general(0), 0, 0, 0]),
        M::Rdtsc => ends(builder, READ_TIME_STAMP, [0; 4]),
        M::Rdtscp => ends(builder, READ_TIME_STAMP, [1, 0, 0, 0]),
        M::Rdpmc => ends(builder, READ_PERFORMANCE_COUNTER, [0; 4]),
        M::Rdrand | M::Rdseed => {
            continues(builder, RANDOM, [general(0), 0, 0, instruction.op_register(0).size() as u8])
        }
        M::Hlt => ends(builder, HALT, [0; 4]),
        M::Wbinvd | M::Wbnoinvd | M::Invd => continues(builder, WRITE_BACK_CACHES, [0; 4]),
        M::Rdmsr => continues(builder, READ_MSR, [0; 4]),
        M::Wrmsr => ends(builder, WRITE_MSR, [0; 4]),
        M::Cpuid => continues(builder, IDENTIFY, [0; 4]),
        _ => None,
    }
}

fn on_ports(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let is_output = match instruction.mnemonic() {
        M::In | M::Insb | M::Insw | M::Insd => false,
        M::Out | M::Outsb | M::Outsw | M::Outsd => true,
        _ => return None,
    };
    if matches!(instruction.mnemonic(), M::In | M::Out) {
        let (port_index, data_index) = if is_output { (0, 1) } else { (1, 0) };
        let bytes = instruction.op_register(data_index).size() as u8;
        let number = if instruction.op_kind(port_index) == OpKind::Register {
            Reg::RDX
        } else {
            builder.constant(Reg::T4, u64::from(instruction.immediate8()));
            Reg::T4
        };
        return ends(builder, PORT, [number.0, u8::from(is_output), 0, bytes]);
    }
    let bytes = match instruction.mnemonic() {
        M::Insb | M::Outsb => 1,
        M::Insw | M::Outsw => 2,
        _ => 4,
    };
    let memory_index = u32::from(is_output);
    let address = match instruction.op_kind(memory_index) {
        OpKind::MemorySegSI | OpKind::MemoryESDI => Width::W16,
        OpKind::MemorySegESI | OpKind::MemoryESEDI => Width::W32,
        _ => Width::W64,
    };
    let is_repeated = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    let kind = address as u8
        | if is_output { port::OUTPUT } else { 0 }
        | if is_repeated { port::REPEATED } else { 0 };
    let segment = if is_output { instruction.memory_segment().number() as u8 } else { 0 };
    ends(builder, PORT_STRING, [0, kind, segment, bytes])
}

fn on_state(builder: &mut Builder, instruction: &Instruction) -> Option<Lifted> {
    let (helper, kind, is_64) = match instruction.mnemonic() {
        M::Fxsave => (FXSAVE, 0, 0),
        M::Fxsave64 => (FXSAVE, 0, 1),
        M::Fxrstor => (FXRSTOR, 0, 0),
        M::Fxrstor64 => (FXRSTOR, 0, 1),
        M::Xsave => (XSAVE, save::XSAVE, 0),
        M::Xsave64 => (XSAVE, save::XSAVE, 1),
        M::Xsaveopt => (XSAVE, save::XSAVEOPT, 0),
        M::Xsaveopt64 => (XSAVE, save::XSAVEOPT, 1),
        M::Xsavec => (XSAVE, save::XSAVEC, 0),
        M::Xsavec64 => (XSAVE, save::XSAVEC, 1),
        M::Xrstor => (XRSTOR, 0, 0),
        M::Xrstor64 => (XRSTOR, 0, 1),
        // Hints, and orderings that one processor's program order already gives.
        M::Prefetch
        | M::Prefetchw
        | M::Prefetchwt1
        | M::Prefetchnta
        | M::Prefetcht0
        | M::Prefetcht1
        | M::Prefetcht2
        | M::Lfence
        | M::Mfence
        | M::Sfence => return Some(Lifted::Continues),
        _ => return None,
    };
    let address = builder.address(instruction);
    builder.emit_memory(OpCode::Lea64, Reg::T1.0, address);
    continues(builder, helper, [Reg::T1.0, 0, kind, is_64])
}

const _: () = assert!(Place::REQUIRE_PRIVILEGE as usize + 1 == super::HELPERS.len());
