//! What the families' lifters emit with.

use crate::cpu::{CpuModel, HelperId};
use crate::ir::{Address, Op, OpCode, Reg, VectorReg, Width};
use iced_x86::{Instruction, MemorySize, OpKind, Register};

/// Default operand and address size of the code segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeSize {
    /// 16-bit code: real mode, or a code segment with D = 0.
    Bits16,
    /// 32-bit code.
    Bits32,
    /// 64-bit code.
    Bits64,
}

/// What a block's translation depends on beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The code segment's size.
    pub code_size: CodeSize,
    /// SS.B: pushes and pops use ESP rather than SP. Without meaning in 64-bit code.
    pub is_stack_32: bool,
    /// Every segment has base 0 and limit 4 GiB, so that offsets are linear addresses.
    pub is_flat: bool,
    /// x87 and MMX instructions raise #NM (CR0.EM or CR0.TS).
    pub x87_traps: bool,
    /// SSE instructions raise #UD (CR0.EM, or CR4.OSFXSR clear).
    pub sse_undefined: bool,
    /// SSE instructions raise #NM (CR0.TS).
    pub sse_traps: bool,
    /// VEX prefixes raise #UD (real mode, virtual-8086 mode).
    pub vex_undefined: bool,
    /// AVX instructions raise #UD (CR4.OSXSAVE clear, or XCR0 without SSE and AVX state).
    pub avx_undefined: bool,
    /// RFLAGS.TF, or a breakpoint is enabled: blocks hold one instruction, behind which the run loop looks.
    pub is_single_step: bool,
    /// Which instructions there are.
    pub model: CpuModel,
}

/// What a family's lifter says of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifted {
    /// Emitted; the block goes on behind it.
    Continues,
    /// Emitted; it ended the block.
    Ends,
    /// Not an instruction that dinghy's processor has: raises #UD.
    Undefined,
}

/// Collects the micro-operations of a block.
pub struct Builder {
    /// What is emitted so far.
    pub ops: Vec<Op>,
    /// What the translation depends on.
    pub mode: Mode,
    pc: u16,
    next_pc: u16,
    block_rip: u64,
    successors: [i64; 2],
}

impl Builder {
    /// A builder for the block whose code starts at the offset `block_rip` of its segment.
    ///
    /// The translation must not depend on `block_rip`: the same bytes run at other addresses too.
    pub fn new(mode: Mode, block_rip: u64) -> Self {
        Self { ops: Vec::with_capacity(32), mode, pc: 0, next_pc: 0, block_rip, successors: [0; 2] }
    }

    /// Says which instruction the following operations belong to.
    pub fn begin(&mut self, instruction: &Instruction) {
        self.pc = instruction.ip().wrapping_sub(self.block_rip) as u16;
        self.next_pc = self.pc + instruction.len() as u16;
    }

    /// Offset of the instruction from the block's start.
    pub fn pc(&self) -> u16 {
        self.pc
    }

    /// Offset of the following instruction from the block's start.
    pub fn next_pc(&self) -> u16 {
        self.next_pc
    }

    /// Distance in bytes from the block's start to a near branch's target.
    pub fn branch_distance(&self, target: u64) -> i64 {
        target.wrapping_sub(self.block_rip) as i64
    }

    /// Sets the distance from the block's start to where successor `place` (0 or 1) begins.
    pub fn set_successor(&mut self, place: usize, distance: i64) {
        self.successors[place & 1] = distance;
    }

    /// The distances that [`set_successor`](Self::set_successor) set.
    pub fn successor_distances(&self) -> [i64; 2] {
        self.successors
    }

    /// An operation of the current instruction, its operands zero.
    pub fn op(&self, code: OpCode) -> Op {
        Op { code, pc: self.pc, a: 0, b: 0, c: 0, d: 0, disp: 0, imm: 0 }
    }

    /// Appends an operation.
    pub fn emit(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// `a = b (code) c`.
    pub fn emit3(&mut self, code: OpCode, a: Reg, b: Reg, c: Reg) {
        let op = Op { a: a.0, b: b.0, c: c.0, ..self.op(code) };
        self.emit(op);
    }

    /// `a = b (code) imm`.
    pub fn emit_imm(&mut self, code: OpCode, a: Reg, b: Reg, imm: i32) {
        let op = Op { a: a.0, b: b.0, imm, ..self.op(code) };
        self.emit(op);
    }

    /// An operation with a data register (integer or vector) and an address.
    pub fn emit_memory(&mut self, code: OpCode, data: u8, address: Address) {
        let op = Op {
            a: data,
            b: address.base.0,
            c: address.index.0,
            d: address.shift,
            disp: address.disp,
            ..self.op(code)
        };
        self.emit(op);
    }

    /// Loads an integer of `width`, zero-extended, into `target`.
    pub fn load(&mut self, width: Width, target: Reg, address: Address) {
        let code = match width {
            Width::W8 => OpCode::LoadZero8,
            Width::W16 => OpCode::LoadZero16,
            Width::W32 => OpCode::Load32,
            Width::W64 => OpCode::Load64,
        };
        self.emit_memory(code, target.0, address);
    }

    /// Stores the low `width` bits of `source`.
    pub fn store(&mut self, width: Width, source: Reg, address: Address) {
        self.emit_memory(OpCode::Store8.sized(width), source.0, address);
    }

    /// Loads a constant.
    pub fn constant(&mut self, target: Reg, value: u64) {
        let op = if let Ok(imm) = i32::try_from(value as i64) {
            Op { a: target.0, imm, ..self.op(OpCode::MovImm64) }
        } else if let Ok(imm) = u32::try_from(value) {
            Op { a: target.0, imm: imm as i32, ..self.op(OpCode::MovImm32) }
        } else {
            let (disp, imm) = (value as i32, (value >> 32) as i32);
            Op { a: target.0, disp, imm, ..self.op(OpCode::MovImmWide) }
        };
        self.emit(op);
    }

    /// `target = ` the address, all 64 bits.
    pub fn lea(&mut self, target: Reg, address: Address) {
        self.emit_memory(OpCode::Lea64, target.0, address);
    }

    /// Calls a helper with register numbers and small operands; the block goes on.
    ///
    /// The offset of the next instruction from the block's start stands in `disp`.
    pub fn call(&mut self, helper: HelperId, operands: [u8; 4]) {
        self.emit_call(OpCode::Call, helper, operands);
    }

    /// Calls a helper that sets [`Reg::RIP`] itself; the block ends.
    ///
    /// The offset of the next instruction from the block's start stands in `disp`.
    pub fn call_and_exit(&mut self, helper: HelperId, operands: [u8; 4]) {
        self.emit_call(OpCode::CallAndExit, helper, operands);
    }

    fn emit_call(&mut self, code: OpCode, helper: HelperId, [a, b, c, d]: [u8; 4]) {
        let op = Op { a, b, c, d, disp: i32::from(self.next_pc), imm: helper.number(), ..self.op(code) };
        self.emit(op);
    }

    /// The linear address of the instruction's memory operand.
    ///
    /// May emit operations that leave the address in [`Reg::T0`]; then T0 must live until it is used.
    /// Segment bases, address-size truncation and RIP-relative forms are all taken care of;
    /// outside flat and 64-bit segments the helper that checks the limit is called.
    pub fn address(&mut self, instruction: &Instruction) -> Address {
        super::address::memory_operand(self, instruction)
    }

    /// The integer register file's number of a 16-, 32- or 64-bit register, or of AL to R15B without
    /// AH, CH, DH, BH.
    pub fn reg(register: Register) -> Reg {
        super::address::file_register(register)
    }

    /// The vector file's number of an XMM or YMM register.
    pub fn vector_reg(register: Register) -> VectorReg {
        VectorReg(register.number() as u8)
    }

    /// Whether operand `index` is in memory.
    pub fn is_memory(instruction: &Instruction, index: u32) -> bool {
        instruction.op_kind(index) == OpKind::Memory
    }

    /// Bytes of the instruction's memory operand.
    pub fn memory_bytes(instruction: &Instruction) -> usize {
        match instruction.memory_size() {
            MemorySize::Unknown => 0,
            size => size.size(),
        }
    }
}
