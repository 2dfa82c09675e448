//! Control instructions, and the images of FNSTENV and FNSAVE (SDM vol. 1 8.1.10).

use super::float80::Float80;
use super::state::{EXCEPTIONS, X87};
use crate::cpu::system::CR0_PE;
use crate::cpu::{Exception, Vcpu, flags};
use crate::ir::{Op, Reg};

/// Which of the four layouts an environment has (SDM vol. 1 figures 8-9 to 8-12).
#[derive(Clone, Copy)]
struct Layout {
    is_32: bool,
    is_real: bool,
}

impl Layout {
    /// By the operand size in [`Op::d`] (1: 32 bits) and the processor's mode.
    fn of(vcpu: &Vcpu, op: &Op) -> Self {
        let is_real = vcpu.cr0 & CR0_PE == 0 || vcpu.rflags() & flags::VM != 0;
        Self { is_32: op.d != 0, is_real }
    }

    /// Bytes of the environment.
    const fn bytes(self) -> usize {
        if self.is_32 { 28 } else { 14 }
    }

    /// The seven fields of the environment. Selectors are zero.
    fn environment(self, x87: &X87) -> [u32; 7] {
        let (rip, data) = (x87.instruction_pointer as u32, x87.data_pointer as u32);
        let opcode = u32::from(x87.opcode);
        let words = [x87.control(), x87.status_word(), x87.tag_word()];
        let upper = if self.is_32 { 0xffff_0000 } else { 0 };
        let [control, status, tag] = words.map(|word| u32::from(word) | upper);
        let pointers = match (self.is_real, self.is_32) {
            (true, true) => {
                [rip & 0xffff | upper, rip >> 16 << 12 | opcode, data & 0xffff | upper, data >> 16 << 12]
            }
            (true, false) => [rip, rip >> 16 << 12 | opcode, data, data >> 16 << 12],
            (false, true) => [rip, opcode << 16, data, upper],
            (false, false) => [rip, 0, data, 0],
        };
        [control, status, tag, pointers[0], pointers[1], pointers[2], pointers[3]]
    }

    fn set_environment(self, x87: &mut X87, fields: [u32; 7]) {
        let [control, status, tag, rip, rip_rest, data, data_rest] = fields;
        x87.set_tag_word(tag as u16);
        x87.set_control(control as u16);
        x87.set_status_word(status as u16);
        let joined = |low: u32, rest: u32| u64::from(low & 0xffff | (rest >> 12 & 0xffff) << 16);
        let (rip, data, opcode) = match (self.is_real, self.is_32) {
            (true, _) => (joined(rip, rip_rest), joined(data, data_rest), rip_rest),
            (false, true) => (u64::from(rip), u64::from(data), rip_rest >> 16),
            (false, false) => (u64::from(rip), u64::from(data), 0),
        };
        x87.instruction_pointer = rip;
        x87.data_pointer = data;
        x87.opcode = opcode as u16 & 0x7ff;
    }

    fn write(self, vcpu: &mut Vcpu, address: u64) -> Result<(), Exception> {
        let fields = self.environment(&vcpu.x87);
        for (field, place) in fields.into_iter().zip(0..) {
            if self.is_32 {
                vcpu.write_u32(address.wrapping_add(4 * place), field)?;
            } else {
                vcpu.write_u16(address.wrapping_add(2 * place), field as u16)?;
            }
        }
        Ok(())
    }

    fn read(self, vcpu: &mut Vcpu, address: u64) -> Result<[u32; 7], Exception> {
        let mut fields = [0; 7];
        for (field, place) in fields.iter_mut().zip(0..) {
            *field = if self.is_32 {
                vcpu.read_u32(address.wrapping_add(4 * place))?
            } else {
                u32::from(vcpu.read_u16(address.wrapping_add(2 * place))?)
            };
        }
        Ok(fields)
    }
}

/// Bytes of the eight registers in an FNSAVE image.
const REGISTER_BYTES: usize = 80;

/// `FNINIT`.
pub fn initialize(vcpu: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    vcpu.x87.init();
    Ok(())
}

/// `FNCLEX`.
pub fn clear_exceptions(vcpu: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    vcpu.x87.clear_exceptions();
    Ok(())
}

/// `FLDCW` of the word in T4.
pub fn load_control(vcpu: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    vcpu.x87.set_control(vcpu.reg(Reg::T4) as u16);
    Ok(())
}

/// The control word into T4.
pub fn read_control(vcpu: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    vcpu.set_reg(Reg::T4, u64::from(vcpu.x87.control()));
    Ok(())
}

/// The status word into T4.
pub fn read_status(vcpu: &mut Vcpu, _: &Op) -> Result<(), Exception> {
    vcpu.set_reg(Reg::T4, u64::from(vcpu.x87.status_word()));
    Ok(())
}

/// `FNSTENV` to the address in T1; masks all exceptions.
pub fn store_environment(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (layout, address) = (Layout::of(vcpu, op), vcpu.reg(Reg::T1));
    vcpu.check_write(address, layout.bytes() as u64)?;
    layout.write(vcpu, address)?;
    vcpu.x87.set_control(vcpu.x87.control() | EXCEPTIONS);
    Ok(())
}

/// `FLDENV` from the address in T1.
pub fn load_environment(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let layout = Layout::of(vcpu, op);
    let fields = layout.read(vcpu, vcpu.reg(Reg::T1))?;
    layout.set_environment(&mut vcpu.x87, fields);
    Ok(())
}

/// `FNSAVE` to the address in T1, which ends as `FNINIT`.
pub fn save(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    let (layout, address) = (Layout::of(vcpu, op), vcpu.reg(Reg::T1));
    vcpu.check_write(address, (layout.bytes() + REGISTER_BYTES) as u64)?;
    layout.write(vcpu, address)?;
    let mut at = address.wrapping_add(layout.bytes() as u64);
    for index in 0..8 {
        let value = vcpu.x87.st(index);
        vcpu.write_u64(at, value.mantissa)?;
        vcpu.write_u16(at.wrapping_add(8), value.sign_exponent)?;
        at = at.wrapping_add(10);
    }
    vcpu.x87.init();
    Ok(())
}

/// `FRSTOR` from the address in T1.
pub fn restore(vcpu: &mut Vcpu, op: &Op) -> Result<(), Exception> {
    vcpu.x87_wait()?;
    let (layout, address) = (Layout::of(vcpu, op), vcpu.reg(Reg::T1));
    let fields = layout.read(vcpu, address)?;
    let mut values = [Float80::ZERO; 8];
    let mut at = address.wrapping_add(layout.bytes() as u64);
    for value in &mut values {
        *value = Float80 { mantissa: vcpu.read_u64(at)?, sign_exponent: vcpu.read_u16(at.wrapping_add(8))? };
        at = at.wrapping_add(10);
    }
    layout.set_environment(&mut vcpu.x87, fields);
    for (index, value) in (0..).zip(values) {
        let physical = vcpu.x87.physical(index);
        vcpu.x87.registers[physical] = value;
    }
    Ok(())
}
