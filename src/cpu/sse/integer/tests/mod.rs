//! Every operation against the host's own unit.
#![cfg(target_arch = "x86_64")]

mod control;
mod lifted;
mod pair;
mod single;

use super::{Operation, execute, helper};
use crate::cpu::{SystemBus, Vcpu};
use crate::ir::{Op, OpCode, Reg};
use crate::mem::{GuestMemory, GuestPhysAddr};
use std::arch::x86_64::__m128i;

/// Nothing is outside RAM.
struct NoDevices;

impl SystemBus for NoDevices {
    fn mmio_read(&mut self, _: GuestPhysAddr, _: &mut [u8]) {}
    fn mmio_write(&mut self, _: GuestPhysAddr, _: &[u8]) {}
    fn port_read(&mut self, _: u16, _: u8) -> u32 {
        0
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

fn processor() -> Vcpu {
    Vcpu::new(GuestMemory::new(1 << 20).unwrap(), Box::new(NoDevices), 0)
}

/// An operation with all operands zero but its number.
fn op(operation: Operation) -> Op {
    Op { code: OpCode::Vector, pc: 0, a: 0, b: 0, c: 0, d: 0, disp: 0, imm: operation as i32 }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// 128 bits: random, or of edge values of some lane width, or small.
    fn vector(&mut self) -> u128 {
        let bits = 8 << (self.next() % 4);
        let lane = u64::MAX >> (64 - bits);
        let edges = [0, 1, lane, lane >> 1, (lane >> 1) + 1, lane - 1, 2, lane >> 1 ^ 1];
        match self.next() % 4 {
            0 | 1 => u128::from(self.next()) << 64 | u128::from(self.next()),
            2 => u128::from(self.next() % 70),
            _ => (0..128 / bits)
                .fold(0, |sum, place| sum | u128::from(edges[(self.next() % 8) as usize]) << (place * bits)),
        }
    }
}

fn to_host(value: u128) -> __m128i {
    // SAFETY: both are 16 bytes in which every bit pattern is valid.
    unsafe { std::mem::transmute::<u128, __m128i>(value) }
}

fn from_host(value: __m128i) -> u128 {
    // SAFETY: as above.
    unsafe { std::mem::transmute::<__m128i, u128>(value) }
}

/// What an operation makes of registers 1 and 2 in register 3, with register 0 and the immediate byte.
fn ours(vcpu: &mut Vcpu, operation: Operation, [x, y, mask]: [u128; 3], immediate: u8) -> u128 {
    vcpu.vectors[0].set_low(mask);
    vcpu.vectors[1].set_low(x);
    vcpu.vectors[2].set_low(y);
    vcpu.vectors[3].0 = [5, 6, 7, 8];
    execute(vcpu, &Op { a: 3, b: 1, c: 2, d: immediate, ..op(operation) }).unwrap();
    assert_eq!(vcpu.vectors[3].0[2..], [7, 8], "{operation:?} wrote the upper half");
    vcpu.vectors[3].low()
}

type Pair = unsafe fn(__m128i, __m128i) -> __m128i;

/// Compares operations with their intrinsics on many operands.
fn agree(pairs: &[(Operation, Pair)], immediate: u8) {
    agree_times(pairs, immediate, 2000);
}

fn agree_times(pairs: &[(Operation, Pair)], immediate: u8, times: usize) {
    assert!(is_x86_feature_detected!("sse4.2"));
    let mut vcpu = processor();
    for &(operation, host) in pairs {
        let mut random = Random(operation as u64 + (u64::from(immediate) << 8));
        for _ in 0..times {
            let (x, y) = (random.vector(), random.vector());
            // SAFETY: the host has SSE4.2, which is all that the intrinsics need.
            let theirs = from_host(unsafe { host(to_host(x), to_host(y)) });
            let ours = ours(&mut vcpu, operation, [x, y, 0], immediate);
            assert_eq!(theirs, ours, "{operation:?} of {x:#034x} and {y:#034x}, {immediate:#x}");
        }
    }
}
