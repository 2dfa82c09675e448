//! `IN`, `OUT`, `INS`, `OUTS` (SDM vol. 1 ch. 19).

use crate::cpu::flags::DF;
use crate::cpu::{Exception, SegmentIndex, Vcpu};
use crate::ir::{Op, Reg, Width};

/// Offset of the I/O bitmap's offset in the task-state segment.
const TSS_BITMAP_OFFSET: u64 = 0x66;

/// Steps of one execution of a repeated instruction; then the block loop looks for interrupts.
const MOST_STEPS: u64 = 4096;

impl Vcpu {
    /// Whether the current privilege may access the ports: by IOPL, or by the task's bitmap.
    fn require_port(&mut self, port: u16, bytes: u8) -> Result<(), Exception> {
        if self.has_io_privilege() {
            return Ok(());
        }
        let refused = Err(Exception::GeneralProtection(0));
        let limit = u64::from(self.tr.limit);
        if TSS_BITMAP_OFFSET + 1 > limit {
            return refused;
        }
        let bitmap = self.read_system_u16(self.tr.base.wrapping_add(TSS_BITMAP_OFFSET))?;
        let place = u64::from(bitmap) + u64::from(port / 8);
        if place + 1 > limit {
            return refused;
        }
        let bits = self.read_system_u16(self.tr.base.wrapping_add(place))?;
        let mask = ((1u16 << bytes) - 1) << (port % 8);
        if bits & mask == 0 { Ok(()) } else { refused }
    }
}

/// `IN` to RAX, `OUT` when `b` is 1: `d` bytes at the port in register `a`; ends the block.
pub fn port(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let number = vcpu.reg(Reg(op.a)) as u16;
    vcpu.require_port(number, op.d)?;
    if op.b == 1 {
        let value = vcpu.reg(Reg::RAX) as u32;
        vcpu.bus.port_write(number, op.d, value);
    } else {
        let value = vcpu.bus.port_read(number, op.d);
        vcpu.set_reg_sized(Reg::RAX, op.d, u64::from(value));
    }
    vcpu.advance(op);
    vcpu.must_leave = true;
    Ok(())
}

/// The operands of [`port_string`] in [`Op::b`]: the address width's number, and these.
pub const OUTPUT: u8 = 1 << 2;
/// Repeat RCX times.
pub const REPEATED: u8 = 1 << 3;

/// `INS`, `OUTS` with and without repetition: `d` bytes, segment `c` for `OUTS`; ends the block.
pub fn port_string(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let address = match op.b & 3 {
        1 => Width::W16,
        2 => Width::W32,
        _ => Width::W64,
    };
    let number = vcpu.reg(Reg::RDX) as u16;
    vcpu.require_port(number, op.d)?;
    let is_repeated = op.b & REPEATED != 0;
    let mut left = if is_repeated { MOST_STEPS } else { 1 };
    let is_done = loop {
        let count = if is_repeated { vcpu.reg(Reg::RCX) & address.mask() } else { left };
        if count == 0 {
            break true;
        }
        if left == 0 {
            break false;
        }
        port_step(vcpu, op, number, address)?;
        left -= 1;
        if is_repeated {
            vcpu.set_value(Reg::RCX, address, count - 1);
        }
    };
    let rip = if is_done { vcpu.next_rip(op) } else { vcpu.current_rip(op) };
    vcpu.set_rip(rip);
    vcpu.must_leave = true;
    Ok(())
}

fn port_step(vcpu: &mut Vcpu, op: &Op, number: u16, address: Width) -> Result<(), Exception> {
    let bytes = u64::from(op.d);
    let is_output = op.b & OUTPUT != 0;
    let pointer = if is_output { Reg::RSI } else { Reg::RDI };
    let offset = vcpu.reg(pointer) & address.mask();
    let privilege = vcpu.privilege();
    if is_output {
        let linear = vcpu.linear_address(SegmentIndex::from_number(op.c), offset, bytes)?;
        let value = vcpu.load_slow(linear, bytes, privilege)?;
        vcpu.bus.port_write(number, op.d, value as u32);
    } else {
        let linear = vcpu.linear_address(SegmentIndex::Es, offset, bytes)?;
        vcpu.check_write(linear, bytes)?;
        let value = vcpu.bus.port_read(number, op.d);
        vcpu.store_slow(linear, bytes, u64::from(value), privilege)?;
    }
    let step = if vcpu.system_flags & DF != 0 { bytes.wrapping_neg() } else { bytes };
    vcpu.set_value(pointer, address, offset.wrapping_add(step));
    Ok(())
}
