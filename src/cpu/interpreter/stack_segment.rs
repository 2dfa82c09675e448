//! Which exception an address that is not canonical raises: #SS(0) in the stack segment, else #GP(0).

use crate::cpu::system::is_canonical;
use crate::cpu::{Exception, SegmentIndex, Vcpu};
use crate::ir::Reg;
use iced_x86::{Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};

const LONGEST_INSTRUCTION: usize = 15;

impl Vcpu {
    /// What an instruction raises that has raised `exception` and whose address is RIP: micro-operations do not know
    /// segments, and raise #GP(0) for each address that is not canonical (SDM vol. 1 3.7.5, vol. 3A 6.15).
    #[cold]
    #[inline(never)]
    pub(super) fn in_stack_segment(&mut self, exception: Exception) -> Exception {
        let is_possible = exception == Exception::GeneralProtection(0) && self.is_64_bit();
        let is_stack_fault = is_possible
            && self.instruction_at_rip().is_some_and(|instruction| self.misses_stack_segment(&instruction));
        if is_stack_fault { Exception::StackFault(0) } else { exception }
    }

    fn instruction_at_rip(&mut self) -> Option<Instruction> {
        let rip = self.reg(Reg::RIP);
        let mut bytes = [0; LONGEST_INSTRUCTION];
        let mut length = 0;
        while length < LONGEST_INSTRUCTION {
            let at = rip.wrapping_add(length as u64);
            let part = (4096 - at as usize % 4096).min(LONGEST_INSTRUCTION - length);
            // What runs over into a page that is not there may end before it.
            let Ok(place) = self.fetch_page(at) else { break };
            self.memory.read(place, bytes.get_mut(length..length + part)?).ok()?;
            length += part;
        }
        let instruction = Decoder::with_ip(64, bytes.get(..length)?, rip, DecoderOptions::NONE).decode();
        (!instruction.is_invalid()).then_some(instruction)
    }

    /// Whether an operand based on RSP or RBP, or the stack that the instruction uses by itself, is not canonical.
    fn misses_stack_segment(&self, instruction: &Instruction) -> bool {
        if instruction.is_privileged() && self.cpl != 0 {
            return false;
        }
        let is_outside = |address: u64, bytes: usize| {
            let last = address.wrapping_add(bytes.max(1) as u64 - 1);
            !is_canonical(address) || !is_canonical(last)
        };
        let register = |register: Register| match register {
            Register::None => 0,
            other => self.reg(Reg(other.full_register().number() as u8 & 15)),
        };
        let base = instruction.memory_base();
        let segment = match instruction.segment_prefix() {
            Register::FS => self.segment_base(SegmentIndex::Fs),
            Register::GS => self.segment_base(SegmentIndex::Gs),
            _ => 0,
        };
        let has_prefix = matches!(instruction.segment_prefix(), Register::FS | Register::GS);
        let index = instruction.memory_index();
        // Addresses of 32 bits are all canonical.
        let is_wide = base.is_gpr64() || base == Register::None && index.is_gpr64();
        if is_wide && !instruction.is_vsib() {
            let index = register(index);
            let address = register(base)
                .wrapping_add(index.wrapping_mul(instruction.memory_index_scale().into()))
                .wrapping_add(instruction.memory_displacement64())
                .wrapping_add(segment);
            let is_memory = instruction.op_kinds().any(|kind| kind == OpKind::Memory);
            if is_memory && is_outside(address, instruction.memory_size().size()) {
                if matches!(base, Register::RSP | Register::RBP) && !has_prefix {
                    return true;
                }
                // What is pushed is read first.
                if instruction.stack_pointer_increment() < 0 {
                    return false;
                }
            }
        }
        let top = match instruction.mnemonic() {
            Mnemonic::Leave => self.reg(Reg::RBP),
            _ if instruction.stack_pointer_increment() < 0 => self.reg(Reg::RSP).wrapping_sub(8),
            _ => self.reg(Reg::RSP),
        };
        instruction.is_stack_instruction() && is_outside(top, 8)
    }
}
