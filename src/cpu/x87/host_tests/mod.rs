//! Comparison with the floating-point unit of the machine that runs the tests.
//!
//! Both sides run the same bytes: load a state with FRSTOR, one instruction, save the state with FNSAVE.

mod mmx;
mod x87;

use crate::cpu::{SegmentIndex, Stop, SystemBus, Vcpu};
use crate::ir::Reg;
use crate::mem::{GuestMemory, GuestPhysAddr};
use vm_memory::MmapRegion;

/// An FNSAVE image in the 32-bit protected layout.
type Image = [u8; 108];

/// What an instruction sees, or leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Case {
    image: Image,
    operand: [u8; 32],
    flags: u64,
    ax: u16,
    mxcsr: u32,
}

struct NoBus;

impl SystemBus for NoBus {
    fn mmio_read(&mut self, _: GuestPhysAddr, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}
    fn port_read(&mut self, _: u16, _: u8) -> u32 {
        u32::MAX
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
        false
    }
    fn acknowledge_interrupt(&mut self) -> Option<u8> {
        None
    }
    fn now_ns(&mut self, _: u64) -> u64 {
        0
    }
    fn started_at_unix_ns(&self) -> u64 {
        0
    }
    fn random_u64(&mut self) -> u64 {
        0
    }
}

/// Bytes between the code of one instruction and of the next.
const CODE_STRIDE: usize = 64;
/// All SIMD exceptions masked.
const DEFAULT_MXCSR: u32 = 0x1f80;
const CODE: u64 = 0x1_0000;
const IMAGE: u64 = 0x2000;
const RESULT: u64 = 0x3000;
const OPERAND: u64 = 0x4000;
const FLAGS: u64 = 0x5000;
const STACK: u64 = 0x8000;

/// The code around an instruction: flags from [ecx], state from [esi]; state to [edx], flags to [ecx].
fn code_of(instruction: &[u8], end: u8) -> Vec<u8> {
    let mut code = vec![0xff, 0x31, 0x9d, 0xdd, 0x26];
    code.extend_from_slice(instruction);
    code.extend_from_slice(&[0xdd, 0x32, 0x9c, 0x8f, 0x01, end]);
    assert!(code.len() <= CODE_STRIDE);
    code
}

struct Machines {
    host_code: MmapRegion,
    guest: Vcpu,
}

impl Machines {
    fn new(instructions: &[Vec<u8>]) -> Self {
        const READ_WRITE_EXECUTE: i32 = 7;
        const PRIVATE_ANONYMOUS: i32 = 0x22;
        let size = (instructions.len() * CODE_STRIDE).max(1).next_multiple_of(4096);
        let host_code = MmapRegion::build(None, size, READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS).unwrap();
        let mut guest = Vcpu::new(GuestMemory::new(1 << 20).unwrap(), Box::new(NoBus), 0);
        for (number, instruction) in instructions.iter().enumerate() {
            let code = code_of(instruction, 0xc3);
            // SAFETY: the region has room for every instruction's code.
            unsafe {
                let target = host_code.as_ptr().add(number * CODE_STRIDE);
                target.copy_from_nonoverlapping(code.as_ptr(), code.len());
            }
            let at = GuestPhysAddr(CODE + (number * CODE_STRIDE) as u64);
            guest.memory.write(at, &code_of(instruction, 0xf4)).unwrap();
        }
        // PE and NE; OSFXSR and OSXMMEXCPT.
        guest.cr0 = 1 | 1 << 5;
        guest.cr4 = 3 << 9;
        for segment in 0..6 {
            let kind = if segment == SegmentIndex::Cs as usize { 0xb } else { 3 };
            guest.segments[segment].attributes = 0xc090 | kind;
            guest.segments[segment].limit = u32::MAX;
            guest.segments[segment].selector = 8;
            guest.regs[Reg::ES_BASE.index() + segment] = 0;
        }
        Self { host_code, guest }
    }

    fn run_on_host(&self, number: usize, case: &mut Case) {
        let mut result: Image = [0; 108];
        let mut ax = u64::from(case.ax);
        // SAFETY: the code was written for this instruction; it touches only the operands given here, and
        // FNSAVE leaves the unit initialized.
        unsafe {
            let code = self.host_code.as_ptr().add(number * CODE_STRIDE);
            core::arch::asm!(
                "ldmxcsr [{mxcsr}]",
                "call {code}",
                "stmxcsr [{mxcsr}]",
                "ldmxcsr [{default_mxcsr}]",
                code = in(reg) code,
                mxcsr = in(reg) &mut case.mxcsr,
                default_mxcsr = in(reg) &DEFAULT_MXCSR,
                in("rsi") case.image.as_ptr(),
                in("rdi") case.operand.as_mut_ptr(),
                in("rdx") result.as_mut_ptr(),
                in("rcx") &mut case.flags,
                inout("rax") ax,
                out("xmm2") _,
                out("st(0)") _, out("st(1)") _, out("st(2)") _, out("st(3)") _,
                out("st(4)") _, out("st(5)") _, out("st(6)") _, out("st(7)") _,
            );
        }
        case.image = result;
        case.ax = ax as u16;
    }

    fn run_in_guest(&mut self, number: usize, case: &mut Case) {
        let guest = &mut self.guest;
        guest.memory.write(GuestPhysAddr(IMAGE), &case.image).unwrap();
        guest.memory.write(GuestPhysAddr(OPERAND), &case.operand).unwrap();
        guest.memory.write(GuestPhysAddr(FLAGS), &case.flags.to_le_bytes()).unwrap();
        guest.mxcsr = case.mxcsr;
        guest.set_reg(Reg::RSI, IMAGE);
        guest.set_reg(Reg::RDI, OPERAND);
        guest.set_reg(Reg::RDX, RESULT);
        guest.set_reg(Reg::RCX, FLAGS);
        guest.set_reg(Reg::RSP, STACK);
        guest.set_reg(Reg::RAX, u64::from(case.ax));
        guest.set_reg(Reg::RIP, CODE + (number * CODE_STRIDE) as u64);
        guest.activity = crate::cpu::Activity::Running;
        let limit = guest.instructions + 1000;
        assert_eq!(guest.run(limit), Stop::Halted, "instruction {number}");
        case.image = guest.memory.read_array(GuestPhysAddr(RESULT)).unwrap();
        case.operand = guest.memory.read_array(GuestPhysAddr(OPERAND)).unwrap();
        case.flags = guest.memory.read_u64(GuestPhysAddr(FLAGS)).unwrap();
        case.ax = guest.reg(Reg::RAX) as u16;
        case.mxcsr = guest.mxcsr;
    }
}

/// Fields of the pointers, which are not compared.
fn without_pointers(mut case: Case) -> Case {
    case.image[12..28].fill(0);
    case.flags &= 0xcd5;
    case
}

fn describe(case: &Case) -> String {
    use std::fmt::Write;
    let word = |at: usize| u16::from_le_bytes([case.image[at], case.image[at + 1]]);
    let mut text = format!("cw {:04x} sw {:04x} tw {:04x}", word(0), word(4), word(8));
    for index in 0..8 {
        let slot = &case.image[28 + 10 * index..][..10];
        let mantissa = u64::from_le_bytes(slot[..8].try_into().unwrap());
        write!(text, "\n   st{index} {:04x} {mantissa:016x}", u16::from_le_bytes([slot[8], slot[9]]))
            .unwrap();
    }
    write!(
        text,
        "\n   mem {:02x?} flags {:x} ax {:x} mxcsr {:x}",
        case.operand, case.flags, case.ax, case.mxcsr
    )
    .unwrap();
    text
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 20) % limit
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Significand bits with interesting patterns.
    fn mantissa(&mut self) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => u64::MAX,
            2 => 1 << self.below(64),
            3 => u64::MAX << self.below(64),
            4 => self.next() << self.below(64),
            5 => 1 << 62 | self.next() >> 40,
            _ => self.next(),
        }
    }

    fn float80(&mut self) -> (u64, u16) {
        const EXPONENTS: [u16; 8] = [0, 0, 1, 2, 0x3fff, 0x7ffe, 0x7fff, 0x7fff];
        let sign = (self.next() as u16) & 0x8000;
        let exponent = match self.below(8) {
            0 => EXPONENTS[self.below(8) as usize],
            1 => self.next() as u16 & 0x7fff,
            2 => 0x3fff + self.below(70) as u16,
            3 => 0x3fff - self.below(70) as u16,
            4 => 0x3c01 - 70 + self.below(80) as u16,
            5 => 0x7ffe - self.below(3) as u16,
            _ => 0x3fff - 4 + self.below(8) as u16,
        };
        let mantissa = self.mantissa();
        let is_odd_format = self.chance(4);
        let mantissa = match exponent {
            _ if is_odd_format => mantissa,
            0 if self.chance(50) => 0,
            0 => mantissa & !(1 << 63),
            0x7fff if self.chance(40) => 1 << 63,
            _ => mantissa | 1 << 63,
        };
        (mantissa, sign | exponent)
    }

    fn operand(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let (mantissa, sign_exponent) = self.float80();
        let value = match self.below(6) {
            0 => mantissa,
            1 => self.mantissa(),
            2 => u64::from(f32::to_bits((self.next() as i32 >> self.below(32)) as f32)),
            3 => f64::to_bits((self.next() as i64 >> self.below(64)) as f64),
            4 => {
                let exponent = [0, 1, 0x7ff, 0x7fe, 0x3ff][self.below(5) as usize];
                exponent << 52 | self.mantissa() >> 12 | self.next() << 63
            }
            _ => {
                let exponent = [0, 1, 0xff, 0xfe, 0x7f][self.below(5) as usize];
                exponent << 23 | self.mantissa() >> 41 | (self.next() & 1) << 31
            }
        };
        bytes[..8].copy_from_slice(&value.to_le_bytes());
        bytes[8..10].copy_from_slice(&sign_exponent.to_le_bytes());
        bytes
    }

    fn case(&mut self) -> Case {
        let mut image: Image = [0; 108];
        let masks = if self.chance(70) { 0x3f } else { self.next() as u16 & 0x3f };
        let precision = [0, 2, 3, 3][self.below(4) as usize] << 8;
        let control = 0x40 | masks | precision | (self.below(4) as u16) << 10;
        let top = self.below(8) as u16;
        let codes = self.next() as u16 & 0x4700;
        let sticky = if self.chance(30) { self.next() as u16 & 0x3f & masks } else { 0 };
        let status = codes | sticky | top << 11;
        let empty = if self.chance(85) { 0x80u8 } else { self.next() as u8 };
        let mut tag = 0u16;
        for index in 0..8 {
            if empty >> index & 1 != 0 {
                tag |= 3 << (2 * ((top + index) & 7));
            }
        }
        image[0..2].copy_from_slice(&control.to_le_bytes());
        image[4..6].copy_from_slice(&status.to_le_bytes());
        image[8..10].copy_from_slice(&tag.to_le_bytes());
        let mut previous = (0, 0);
        for index in 0..8 {
            let mut value = self.float80();
            match self.below(12) {
                0 => value = previous,
                1 => value.1 = previous.1 ^ (self.next() as u16 & 0x8001),
                2 => value.0 = previous.0,
                _ => {}
            }
            previous = value;
            let slot = &mut image[28 + 10 * index..][..10];
            slot[..8].copy_from_slice(&value.0.to_le_bytes());
            slot[8..].copy_from_slice(&value.1.to_le_bytes());
        }
        Case {
            image,
            operand: self.operand(),
            flags: 2 | self.next() & 0x8d5,
            ax: self.next() as u16,
            mxcsr: DEFAULT_MXCSR | (self.next() as u32 & 3) << 13,
        }
    }
}

/// Runs `count` random cases of each form on both sides; gives what differs.
fn differences(forms: &[Vec<u8>], count: usize, seed: u64) -> Vec<String> {
    let mut machines = Machines::new(forms);
    let mut random = Random(seed);
    let mut found = Vec::new();
    for (number, form) in forms.iter().enumerate() {
        let mut of_form = 0;
        for _ in 0..count {
            let start = random.case();
            let (mut host, mut guest) = (start, start);
            machines.run_on_host(number, &mut host);
            machines.run_in_guest(number, &mut guest);
            if without_pointers(host) != without_pointers(guest) {
                of_form += 1;
                if of_form <= 2 {
                    found.push(format!(
                        "{form:02x?}\n from {}\n host {}\n got  {}",
                        describe(&start),
                        describe(&host),
                        describe(&guest)
                    ));
                }
            }
        }
        if of_form > 0 {
            found.push(format!("{form:02x?}: {of_form} of {count} differ"));
        }
    }
    found
}

#[track_caller]
fn assert_no_difference(found: &[String]) {
    assert!(found.is_empty(), "{}", found.join("\n"));
}
