//! Runs sequences on the host's processor.
//!
//! The code jumps back through a pointer behind its end. A fault's signal handler keeps the registers of
//! the fault, and goes on at the way out.

use crate::generate::Case;
use crate::state::{CODE, EXTENDED_BYTES, Fault, Outcome, Registers, SCRATCH, SCRATCH_BYTES};
use std::arch::global_asm;
use std::sync::{Mutex, MutexGuard, Once};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static PREPARED: Once = Once::new();

global_asm!(
    ".bss",
    ".balign 64",
    "oracle_registers: .skip 1024",
    "oracle_host_stack: .skip 8",
    "oracle_target: .skip 8",
    "oracle_has_avx: .skip 8",
    "oracle_narrow_target: .skip 8",
    ".text",
    "oracle_enter:",
    "push rbx",
    "push rbp",
    "push r12",
    "push r13",
    "push r14",
    "push r15",
    "mov [rip + oracle_host_stack], rsp",
    "mov [rip + oracle_target], rdi",
    "cmp byte ptr [rip + oracle_has_avx], 0",
    "je 2f",
    "mov eax, 7",
    "xor edx, edx",
    "xrstor64 [rip + oracle_registers + 192]",
    "jmp 3f",
    "2:",
    "fxrstor64 [rip + oracle_registers + 192]",
    "3:",
    "push qword ptr [rip + oracle_registers + 128]",
    "popfq",
    "mov rax, [rip + oracle_registers + 0]",
    "mov rcx, [rip + oracle_registers + 8]",
    "mov rdx, [rip + oracle_registers + 16]",
    "mov rbx, [rip + oracle_registers + 24]",
    "mov rsp, [rip + oracle_registers + 32]",
    "mov rbp, [rip + oracle_registers + 40]",
    "mov rsi, [rip + oracle_registers + 48]",
    "mov rdi, [rip + oracle_registers + 56]",
    "mov r8, [rip + oracle_registers + 64]",
    "mov r9, [rip + oracle_registers + 72]",
    "mov r10, [rip + oracle_registers + 80]",
    "mov r11, [rip + oracle_registers + 88]",
    "mov r12, [rip + oracle_registers + 96]",
    "mov r13, [rip + oracle_registers + 104]",
    "mov r14, [rip + oracle_registers + 112]",
    "mov r15, [rip + oracle_registers + 120]",
    "jmp [rip + oracle_target]",
    // JMP m16:32, which goes over to code of 32 bits.
    "oracle_enter_narrow:",
    ".byte 0xff, 0x2d",
    ".long oracle_narrow_target - . - 4",
    "oracle_leave:",
    "mov [rip + oracle_registers + 0], rax",
    "mov [rip + oracle_registers + 8], rcx",
    "mov [rip + oracle_registers + 16], rdx",
    "mov [rip + oracle_registers + 24], rbx",
    "mov [rip + oracle_registers + 32], rsp",
    "mov [rip + oracle_registers + 40], rbp",
    "mov [rip + oracle_registers + 48], rsi",
    "mov [rip + oracle_registers + 56], rdi",
    "mov [rip + oracle_registers + 64], r8",
    "mov [rip + oracle_registers + 72], r9",
    "mov [rip + oracle_registers + 80], r10",
    "mov [rip + oracle_registers + 88], r11",
    "mov [rip + oracle_registers + 96], r12",
    "mov [rip + oracle_registers + 104], r13",
    "mov [rip + oracle_registers + 112], r14",
    "mov [rip + oracle_registers + 120], r15",
    "mov rsp, [rip + oracle_host_stack]",
    "pushfq",
    "pop qword ptr [rip + oracle_registers + 128]",
    "cmp byte ptr [rip + oracle_has_avx], 0",
    "je 2f",
    "mov eax, 7",
    "xor edx, edx",
    "xsave64 [rip + oracle_registers + 192]",
    "jmp oracle_out",
    "2:",
    "fxsave64 [rip + oracle_registers + 192]",
    "oracle_out:",
    "cld",
    "cmp byte ptr [rip + oracle_has_avx], 0",
    "je 2f",
    "vzeroupper",
    "2:",
    "fninit",
    "push 0x1f80",
    "ldmxcsr [rsp]",
    "pop rax",
    "pop r15",
    "pop r14",
    "pop r13",
    "pop r12",
    "pop rbp",
    "pop rbx",
    "ret",
);

unsafe extern "C" {
    static mut oracle_registers: Registers;
    static oracle_host_stack: u64;
    static mut oracle_has_avx: bool;
    static mut oracle_narrow_target: u64;
    fn oracle_enter_narrow();
    fn oracle_enter(code: u64);
    fn oracle_leave();
    fn oracle_out();
}

/// Linux's code segments, and its data segment.
const CODE_SEGMENT: u16 = 0x33;
const NARROW_CODE_SEGMENT: u16 = 0x23;
const DATA_SEGMENT: u16 = 0x2b;
/// Where code of 32 bits goes at its end, with room for a jump out of the lowest 4 GiB.
const WAY_OUT: u64 = CODE - 0x1_0000;

static mut FAULT: Option<Fault> = None;

const FAULT_SIGNALS: [i32; 5] = [libc::SIGSEGV, libc::SIGFPE, libc::SIGILL, libc::SIGBUS, libc::SIGTRAP];

extern "C" fn on_fault(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid context, and the sequence runs on this thread alone.
    unsafe {
        let context = &mut *context.cast::<libc::ucontext_t>();
        let general = &mut context.uc_mcontext.gregs;
        let rip = general[libc::REG_RIP as usize] as u64;
        // Code of 32 bits is always a sequence, wherever it has jumped to.
        let is_narrow = general[libc::REG_CSGSFS as usize] as u16 == NARROW_CODE_SEGMENT;
        if !(CODE..CODE + 4096).contains(&rip) && !is_narrow {
            libc::signal(signal, libc::SIG_DFL);
            return;
        }
        const ORDER: [i32; 16] = [
            libc::REG_RAX,
            libc::REG_RCX,
            libc::REG_RDX,
            libc::REG_RBX,
            libc::REG_RSP,
            libc::REG_RBP,
            libc::REG_RSI,
            libc::REG_RDI,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
        ];
        for (place, number) in ORDER.into_iter().enumerate() {
            oracle_registers.general[place] = general[number as usize] as u64;
        }
        oracle_registers.flags = general[libc::REG_EFL as usize] as u64;
        // With AVX the kernel's frame is an area as XSAVE writes it, and what it writes is whole.
        let bytes = if oracle_has_avx { EXTENDED_BYTES } else { 512 };
        let image = context.uc_mcontext.fpregs.cast::<u8>();
        std::ptr::copy_nonoverlapping(image, (&raw mut oracle_registers.extended).cast(), bytes);
        let vector = general[libc::REG_TRAPNO as usize] as u8;
        FAULT = Some(Fault { vector, offset: rip.wrapping_sub(CODE) });
        let segments = &mut general[libc::REG_CSGSFS as usize];
        *segments = *segments & !0xffff | i64::from(CODE_SEGMENT);
        general[libc::REG_RIP as usize] = oracle_out as *const () as i64;
        general[libc::REG_RSP as usize] = oracle_host_stack as i64;
        general[libc::REG_EFL as usize] = 0x202;
    }
}

fn map(address: u64, bytes: usize, protection: i32) {
    // SAFETY: a new mapping that replaces none.
    let mapped = unsafe {
        libc::mmap(
            address as *mut libc::c_void,
            bytes,
            protection,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
            -1,
            0,
        )
    };
    assert_eq!(mapped as u64, address, "the address {address:#x} is not free");
}

fn prepare() {
    map(CODE, 4096, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    map(SCRATCH, SCRATCH_BYTES, libc::PROT_READ | libc::PROT_WRITE);
    map(WAY_OUT, 4096, libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC);
    let way_out = jump(oracle_leave as *const () as u64);
    // SAFETY: the page is there, and nothing else is in it.
    unsafe { std::ptr::copy_nonoverlapping(way_out.as_ptr(), WAY_OUT as *mut u8, way_out.len()) };
    // SAFETY: no sequence runs yet, and this runs once.
    unsafe { oracle_has_avx = is_x86_feature_detected!("avx") };
}

/// `JMP [RIP]`, and behind it where to.
fn jump(target: u64) -> Vec<u8> {
    [&[0xff, 0x25, 0, 0, 0, 0][..], &target.to_le_bytes()].concat()
}

/// Handlers run on a stack of their own; the sequence's stack pointer may be anything.
fn catch_faults() {
    // SAFETY: the stack lives for ever, and the handler touches only its context and this module's state.
    unsafe {
        let stack = Box::leak(vec![0u8; 65536].into_boxed_slice());
        let alternate = libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        assert_eq!(libc::sigaltstack(&alternate, std::ptr::null_mut()), 0);
        for signal in FAULT_SIGNALS {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fault as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    }
}

/// The host's processor, for one test at a time.
pub struct Processor {
    _guard: MutexGuard<'static, ()>,
}

impl Processor {
    pub fn claim() -> Self {
        let guard = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        PREPARED.call_once(prepare);
        // The alternate stack belongs to the thread.
        catch_faults();
        Self { _guard: guard }
    }

    pub fn run(&mut self, case: &Case) -> Outcome {
        let mut code = case.code.clone();
        if case.is_narrow {
            // JMP ptr16:32
            code.push(0xea);
            code.extend((WAY_OUT as u32).to_le_bytes());
            code.extend(CODE_SEGMENT.to_le_bytes());
        } else {
            code.extend(jump(oracle_leave as *const () as u64));
        }
        let entry = if case.is_narrow { oracle_enter_narrow as *const () as u64 } else { CODE };
        // SAFETY: both mappings are there; the guard keeps other tests away; the code can touch no other
        // memory, since its operands are confined, and comes back by its end or by a fault.
        unsafe {
            std::ptr::copy_nonoverlapping(code.as_ptr(), CODE as *mut u8, code.len());
            std::ptr::copy_nonoverlapping(case.scratch.as_ptr(), SCRATCH as *mut u8, SCRATCH_BYTES);
            oracle_registers = case.registers.clone();
            FAULT = None;
            oracle_narrow_target = CODE | u64::from(NARROW_CODE_SEGMENT) << 32;
            if case.is_narrow {
                // Programs of 64 bits have none, and need none.
                std::arch::asm!("mov ds, {0:x}", "mov es, {0:x}", in(reg) DATA_SEGMENT);
            }
            oracle_enter(entry);
            let mut registers = std::ptr::read(&raw const oracle_registers);
            if case.is_narrow {
                // What becomes of the upper halves, the manual leaves open.
                registers.general[..8].iter_mut().for_each(|register| *register &= 0xffff_ffff);
                registers.general[8..].copy_from_slice(&case.registers.general[8..]);
            }
            let scratch = std::slice::from_raw_parts(SCRATCH as *const u8, SCRATCH_BYTES).to_vec();
            Outcome { registers, scratch, fault: FAULT }
        }
    }
}
