//! Exceptions, interrupts, system calls and identification, by running small programs.

mod extended_state;
mod models;

use crate::cpu::{Activity, DescriptorTable, Segment, SegmentIndex, Stop, SystemBus, Vcpu, flags};
use crate::ir::Reg;
use crate::mem::{GuestMemory, GuestPhysAddr};

/// Nothing is outside RAM; one interrupt may be pending.
struct Bus {
    pending: Option<u8>,
}

impl SystemBus for Bus {
    fn mmio_read(&mut self, _: GuestPhysAddr, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}
    fn port_read(&mut self, port: u16, _: u8) -> u32 {
        u32::from(port) + 1
    }
    fn port_write(&mut self, _: u16, _: u8, _: u32) {}
    fn apic_read_msr(&mut self, _: u32) -> Option<u64> {
        None
    }
    fn apic_write_msr(&mut self, _: u32, _: u64) -> Option<()> {
        None
    }
    fn task_priority(&mut self) -> u8 {
        0
    }
    fn set_task_priority(&mut self, _: u8) {}
    fn is_interrupt_pending(&mut self) -> bool {
        self.pending.is_some()
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        self.pending.take()
    }
    fn now_ns(&mut self, instructions: u64) -> u64 {
        instructions
    }
    fn started_at_unix_ns(&self) -> u64 {
        1_700_000_000_123_456_789
    }
    fn random_u64(&mut self) -> u64 {
        4
    }
    fn must_stop(&mut self) -> bool {
        false
    }
}

const GDT: u64 = 0x7000;
const IDT: u64 = 0x8000;
const TSS: u64 = 0x9000;
/// Handlers of one `HLT` each, 16 bytes apart.
const HANDLERS: u64 = 0xa000;
const STACK_TOP: u64 = 0xd000;
const INTERRUPT_STACK_TOP: u64 = 0xe000;
const CODE: u64 = 0x1_0000;
const USER_STACK_TOP: u64 = 0x1_8000;
const KERNEL_CODE: u16 = 0x08;
const KERNEL_DATA: u16 = 0x10;
const USER_DATA: u16 = 0x18;
const USER_CODE: u16 = 0x20;
const INTERRUPT_GATE: u64 = 0x8e00 << 32;
const DPL_3: u64 = 0x6000 << 32;
const HLT: u8 = 0xf4;

fn put(vcpu: &Vcpu, address: u64, value: u64) {
    vcpu.memory.write(GuestPhysAddr(address), &value.to_le_bytes()).unwrap();
}

fn get(vcpu: &Vcpu, address: u64) -> u64 {
    let mut bytes = [0; 8];
    vcpu.memory.read(GuestPhysAddr(address), &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// A gate for each vector below 64, to its handler. Vector 8 has a stack of its own, 0x30 may be called.
fn processor(pending: Option<u8>) -> Vcpu {
    let memory = GuestMemory::new(2 << 20).unwrap();
    let mut vcpu = Vcpu::new(memory, Box::new(Bus { pending }), 0);
    put(&vcpu, 0x1000, 0x2000 | 7);
    put(&vcpu, 0x2000, 0x3000 | 7);
    // 2 MiB, user, writable.
    put(&vcpu, 0x3000, 0x87);
    put(&vcpu, GDT + u64::from(KERNEL_CODE), 0x00af_9b00_0000_ffff);
    put(&vcpu, GDT + u64::from(KERNEL_DATA), 0x00cf_9300_0000_ffff);
    put(&vcpu, GDT + u64::from(USER_DATA), 0x00cf_f300_0000_ffff);
    put(&vcpu, GDT + u64::from(USER_CODE), 0x00af_fb00_0000_ffff);
    put(&vcpu, TSS + 4, STACK_TOP);
    put(&vcpu, TSS + 0x24, INTERRUPT_STACK_TOP);
    // No bitmap of ports within the segment.
    vcpu.memory.write(GuestPhysAddr(TSS + 0x66), &[0xff, 0xff]).unwrap();
    for vector in 0..64 {
        let handler = HANDLERS + vector * 16;
        let stack = if vector == 8 { 1 << 32 } else { 0 };
        let privilege = if vector == 0x30 { DPL_3 } else { 0 };
        let gate = handler | u64::from(KERNEL_CODE) << 16 | INTERRUPT_GATE | stack | privilege;
        put(&vcpu, IDT + vector * 16, gate);
        vcpu.memory.write(GuestPhysAddr(handler), &[HLT]).unwrap();
    }
    vcpu.cr0 = 0x8000_0033;
    vcpu.cr3 = 0x1000;
    vcpu.cr4 = 1 << 5;
    vcpu.msr.efer = 1 | 1 << 8 | 1 << 10;
    vcpu.gdtr = DescriptorTable { base: GDT, limit: 0x2f };
    vcpu.idtr = DescriptorTable { base: IDT, limit: 64 * 16 - 1 };
    vcpu.tr = Segment { selector: 0x28, base: TSS, limit: 0x67, attributes: 0x8b };
    vcpu.load_flat_segments_64(KERNEL_CODE, KERNEL_DATA);
    vcpu.set_reg(Reg::RSP, STACK_TOP - 0x800);
    vcpu
}

fn enter_user_mode(vcpu: &mut Vcpu) {
    vcpu.enter_flat_segments(USER_CODE | 3, USER_DATA | 3, true, 3);
    vcpu.set_reg(Reg::RSP, USER_STACK_TOP);
}

fn run(vcpu: &mut Vcpu, code: &[u8]) -> Stop {
    vcpu.memory.write(GuestPhysAddr(CODE), code).unwrap();
    vcpu.set_reg(Reg::RIP, CODE);
    vcpu.activity = Activity::Running;
    vcpu.run(vcpu.instructions + 1000)
}

/// The vector whose handler the processor has halted in.
fn vector(vcpu: &Vcpu) -> u64 {
    (vcpu.reg(Reg::RIP) - 1 - HANDLERS) / 16
}

#[test]
fn a_user_fault_switches_to_the_task_stack_with_a_whole_frame() {
    let mut vcpu = processor(None);
    enter_user_mode(&mut vcpu);
    vcpu.set_rflags(flags::IF | flags::RESERVED_ONE);
    // mov rax, [0x4000_0000]: not mapped.
    assert_eq!(run(&mut vcpu, &[0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0x40]), Stop::Halted);
    assert_eq!((vector(&vcpu), vcpu.cr2, vcpu.cpl), (14, 0x4000_0000, 0));
    let frame = vcpu.reg(Reg::RSP);
    assert_eq!(frame, STACK_TOP - 48);
    let words: Vec<u64> = (0..6).map(|place| get(&vcpu, frame + place * 8)).collect();
    let saved_flags = flags::IF | flags::RESERVED_ONE | flags::RF;
    assert_eq!(
        words,
        [4, CODE, u64::from(USER_CODE | 3), saved_flags, USER_STACK_TOP, u64::from(USER_DATA | 3)]
    );
    assert_eq!(vcpu.system_flags & flags::IF, 0, "an interrupt gate masks interrupts");
    assert_eq!(vcpu.segments[SegmentIndex::Ss as usize].selector, 0);
}

#[test]
fn the_stack_is_aligned_to_16_bytes_and_iretq_goes_back() {
    let mut vcpu = processor(None);
    vcpu.set_reg(Reg::RSP, STACK_TOP - 0x803);
    // int 0x30 to a handler of iretq; mov eax, 7; hlt
    vcpu.memory.write(GuestPhysAddr(HANDLERS + 0x300), &[0x48, 0xcf]).unwrap();
    assert_eq!(run(&mut vcpu, &[0xcd, 0x30, 0xb8, 7, 0, 0, 0, HLT]), Stop::Halted);
    assert_eq!((vcpu.reg(Reg::RAX), vcpu.reg(Reg::RSP)), (7, STACK_TOP - 0x803));
    assert_eq!(get(&vcpu, STACK_TOP - 0x810 - 40), CODE + 2, "the frame is below the aligned stack pointer");
}

#[test]
fn software_interrupts_need_the_gates_privilege() {
    let mut vcpu = processor(None);
    enter_user_mode(&mut vcpu);
    assert_eq!(run(&mut vcpu, &[0xcd, 0x30]), Stop::Halted);
    assert_eq!((vector(&vcpu), get(&vcpu, vcpu.reg(Reg::RSP))), (0x30, CODE + 2));
    enter_user_mode(&mut vcpu);
    assert_eq!(run(&mut vcpu, &[0xcd, 0x31]), Stop::Halted);
    // #GP with the gate's index and the IDT bit.
    assert_eq!((vector(&vcpu), get(&vcpu, vcpu.reg(Reg::RSP))), (13, 0x31 << 3 | 2));
}

#[test]
fn a_fault_in_the_delivery_of_a_fault_is_a_double_fault_and_another_one_shuts_down() {
    let mut vcpu = processor(None);
    put(&vcpu, IDT + 13 * 16, 0);
    // rdmsr of a register that does not exist.
    let no_register = [0xb9, 0x99, 0x99, 0, 0, 0x0f, 0x32];
    assert_eq!(run(&mut vcpu, &no_register), Stop::Halted);
    assert_eq!(vector(&vcpu), 8);
    assert_eq!(vcpu.reg(Reg::RSP), INTERRUPT_STACK_TOP - 48, "by its own stack");
    assert_eq!(get(&vcpu, vcpu.reg(Reg::RSP)), 0);
    put(&vcpu, IDT + 8 * 16, 0);
    assert_eq!(run(&mut vcpu, &no_register), Stop::Shutdown);
    assert_eq!(vcpu.activity, Activity::Shutdown);
}

#[test]
fn an_interrupt_waits_for_the_instruction_behind_sti() {
    let mut vcpu = processor(Some(0x20));
    // sti; nop; mov eax, 1 (not reached before the interrupt); hlt
    assert_eq!(run(&mut vcpu, &[0xfb, 0xb8, 1, 0, 0, 0, 0xeb, 0, 0xb8, 2, 0, 0, 0, HLT]), Stop::Halted);
    assert_eq!(vector(&vcpu), 0x20);
    assert_eq!(vcpu.reg(Reg::RAX), 1, "one block behind STI has run, and no more");
}

#[test]
fn an_interrupt_wakes_a_halted_processor() {
    let mut vcpu = processor(Some(0x21));
    vcpu.memory.write(GuestPhysAddr(HANDLERS + 0x210), &[0x48, 0xcf]).unwrap();
    // sti; hlt; mov ebx, 5; cli; hlt
    assert_eq!(run(&mut vcpu, &[0xfb, HLT, 0xbb, 5, 0, 0, 0, 0xfa, HLT]), Stop::Halted);
    assert_eq!(vcpu.reg(Reg::RBX), 5);
}

#[test]
fn syscall_and_sysret_go_there_and_back() {
    let mut vcpu = processor(None);
    let kernel_entry = HANDLERS + 0x3f0;
    vcpu.msr.star = u64::from(KERNEL_CODE) << 32 | 0x10 << 48;
    vcpu.msr.lstar = kernel_entry;
    vcpu.msr.sfmask = flags::IF | flags::DF;
    // sysretq
    vcpu.memory.write(GuestPhysAddr(kernel_entry), &[0x48, 0x0f, 0x07]).unwrap();
    enter_user_mode(&mut vcpu);
    vcpu.set_rflags(flags::IF | flags::DF | flags::RESERVED_ONE);
    // syscall; hlt, which user mode may not
    assert_eq!(run(&mut vcpu, &[0x0f, 0x05, HLT]), Stop::Halted);
    assert_eq!(vector(&vcpu), 13);
    assert_eq!(vcpu.reg(Reg::RCX), CODE + 2);
    assert_eq!(vcpu.reg(Reg::R11), flags::IF | flags::DF | flags::RESERVED_ONE);
    let frame = vcpu.reg(Reg::RSP);
    assert_eq!(get(&vcpu, frame + 8), CODE + 2);
    assert_eq!(get(&vcpu, frame + 16), u64::from(USER_CODE | 3), "back at privilege 3");
}

#[test]
fn a_single_step_traps_behind_each_instruction() {
    let mut vcpu = processor(None);
    vcpu.set_rflags(flags::TF | flags::RESERVED_ONE);
    assert_eq!(run(&mut vcpu, &[0x90, 0x90, HLT]), Stop::Halted);
    assert_eq!((vector(&vcpu), get(&vcpu, vcpu.reg(Reg::RSP))), (1, CODE + 1));
    assert_eq!(vcpu.debug[6] & 1 << 14, 1 << 14);
}

#[test]
fn ports_need_iopl_or_the_tasks_bitmap() {
    // in al, 0x10
    let code = [0xe4, 0x10];
    let mut vcpu = processor(None);
    enter_user_mode(&mut vcpu);
    assert_eq!(run(&mut vcpu, &code), Stop::Halted);
    assert_eq!(vector(&vcpu), 13);
    // A bitmap at 0x68 that opens port 0x10 alone.
    vcpu.tr.limit = 0x68 + 0x10;
    vcpu.memory.write(GuestPhysAddr(TSS + 0x66), &[0x68, 0]).unwrap();
    vcpu.memory.write(GuestPhysAddr(TSS + 0x68), &[0xff, 0xff, 0xfe, 0xff]).unwrap();
    enter_user_mode(&mut vcpu);
    assert_eq!(run(&mut vcpu, &[0xe4, 0x10, HLT]), Stop::Halted);
    assert_eq!(vcpu.reg(Reg::RAX) & 0xff, 0x11);
    enter_user_mode(&mut vcpu);
    vcpu.set_rflags(flags::IOPL | flags::RESERVED_ONE);
    assert_eq!(run(&mut vcpu, &[0xe4, 0x20, HLT]), Stop::Halted);
    assert_eq!(vcpu.reg(Reg::RAX) & 0xff, 0x21);
}

#[test]
fn the_paravirtual_clock_tells_nanoseconds_since_the_start() {
    let mut vcpu = processor(None);
    vcpu.write_msr(0x4b56_4d01, 0x2_0000 | 1).unwrap();
    let version = get(&vcpu, 0x2_0000) as u32;
    assert!(version != 0 && version.is_multiple_of(2));
    let (time_stamp, system_time) = (get(&vcpu, 0x2_0008), get(&vcpu, 0x2_0010));
    assert_eq!(time_stamp, system_time, "the counter counts nanoseconds");
    vcpu.write_msr(0x4b56_4d00, 0x2_0100).unwrap();
    assert_eq!(get(&vcpu, 0x2_0100) >> 32, 1_700_000_000);
    assert!(vcpu.write_msr(0xc000_0082, 1 << 63).is_err(), "LSTAR takes canonical addresses only");
    assert_eq!(vcpu.read_msr(0x3a), Ok(1), "IA32_FEATURE_CONTROL is locked");
    assert!(vcpu.write_msr(0x3a, 1).is_err());
}
