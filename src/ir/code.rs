//! The operations.

/// What a micro-operation does. Operands are the fields of [`Op`](super::Op).
///
/// Four names that differ only in their width stand together, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
#[rustfmt::skip]
#[allow(missing_docs)]
pub enum OpCode {
    /// `a = b`; 8- and 16-bit forms keep the rest of `a`, the 32-bit form clears the upper half. These rules hold for every operation with a width in its name.
    Mov8, Mov16, Mov32, Mov64,
    /// `a = imm`.
    MovImm8, MovImm16, MovImm32, MovImm64,
    /// `a = disp | imm << 32`: a 64-bit constant.
    MovImmWide,
    /// `a = b`, its low bits zero-extended to 64 bits.
    ZeroExtend8, ZeroExtend16,
    /// `a = b`, sign-extended from the first width to the second.
    SignExtend8To16, SignExtend8To32, SignExtend8To64, SignExtend16To32, SignExtend16To64, SignExtend32To64,
    /// `a = b[15:8]`, zero-extended: reading AH, CH, DH, BH.
    ExtractHigh8,
    /// `a[15:8] = b[7:0]`: writing AH, CH, DH, BH.
    InsertHigh8,
    /// `a = b + (c << d) + disp`, truncated to the width and zero-extended to 64 bits.
    Lea16, Lea32, Lea64,
    /// `a = [b + (c << d) + disp]`, keeping the rest of `a`.
    Load8, Load16,
    /// `a = [b + (c << d) + disp]`, zero-extended to 64 bits.
    LoadZero8, LoadZero16, Load32, Load64,
    /// `a = [b + (c << d) + disp]`, sign-extended from the first width to the second.
    LoadSign8To16, LoadSign8To32, LoadSign8To64, LoadSign16To32, LoadSign16To64, LoadSign32To64,
    /// `[b + (c << d) + disp] = a`.
    Store8, Store16, Store32, Store64,
    /// `[b + (c << d) + disp] = imm`.
    StoreImm8, StoreImm16, StoreImm32, StoreImm64,
    /// Checks that `[b + (c << d) + disp]` of the width can be written, then loads it into `a`, zero-extended: the first half of a read-modify-write.
    LoadForUpdate8, LoadForUpdate16, LoadForUpdate32, LoadForUpdate64,
    /// `rsp -= 8; [rsp] = a`.
    Push64,
    /// `rsp -= 8; [rsp] = imm`.
    PushImm64,
    /// `a = [rsp]; rsp += 8` (`pop rsp` leaves the value loaded).
    Pop64,
    /// `a = b + c`, defines the flags.
    Add8, Add16, Add32, Add64,
    /// `a = b + imm`, defines the flags.
    AddImm8, AddImm16, AddImm32, AddImm64,
    /// `a = b + c`, leaves the flags.
    AddQuiet32, AddQuiet64,
    /// `a = b + imm`, leaves the flags.
    AddImmQuiet32, AddImmQuiet64,
    /// `a = b - c`, defines the flags.
    Sub8, Sub16, Sub32, Sub64,
    /// `a = b - imm`, defines the flags.
    SubImm8, SubImm16, SubImm32, SubImm64,
    /// `a = b - c`, leaves the flags.
    SubQuiet32, SubQuiet64,
    /// `a = b - imm`, leaves the flags.
    SubImmQuiet32, SubImmQuiet64,
    /// `a = b & c`, defines the flags.
    And8, And16, And32, And64,
    /// `a = b & imm`, defines the flags.
    AndImm8, AndImm16, AndImm32, AndImm64,
    /// `a = b & c`, leaves the flags.
    AndQuiet32, AndQuiet64,
    /// `a = b & imm`, leaves the flags.
    AndImmQuiet32, AndImmQuiet64,
    /// `a = b | c`, defines the flags.
    Or8, Or16, Or32, Or64,
    /// `a = b | imm`, defines the flags.
    OrImm8, OrImm16, OrImm32, OrImm64,
    /// `a = b | c`, leaves the flags.
    OrQuiet32, OrQuiet64,
    /// `a = b | imm`, leaves the flags.
    OrImmQuiet32, OrImmQuiet64,
    /// `a = b ^ c`, defines the flags.
    Xor8, Xor16, Xor32, Xor64,
    /// `a = b ^ imm`, defines the flags.
    XorImm8, XorImm16, XorImm32, XorImm64,
    /// `a = b ^ c`, leaves the flags.
    XorQuiet32, XorQuiet64,
    /// `a = b ^ imm`, leaves the flags.
    XorImmQuiet32, XorImmQuiet64,
    /// `a = b + c + CF`, defines the flags.
    Adc8, Adc16, Adc32, Adc64,
    /// `a = b - c - CF`, defines the flags.
    Sbb8, Sbb16, Sbb32, Sbb64,
    /// Flags of `b - c`.
    Cmp8, Cmp16, Cmp32, Cmp64,
    /// Flags of `b - imm`.
    CmpImm8, CmpImm16, CmpImm32, CmpImm64,
    /// Flags of `b & c`.
    Test8, Test16, Test32, Test64,
    /// Flags of `b & imm`.
    TestImm8, TestImm16, TestImm32, TestImm64,
    /// `a = b + 1`, defines all flags but CF.
    Inc8, Inc16, Inc32, Inc64,
    /// `a = b - 1`, defines all flags but CF.
    Dec8, Dec16, Dec32, Dec64,
    /// `a = -b`, defines the flags.
    Neg8, Neg16, Neg32, Neg64,
    /// `a = !b`, leaves the flags.
    Not8, Not16, Not32, Not64,
    /// `a = b << imm`, the count from 1 to the width less 1; defines the flags.
    ShlImm8, ShlImm16, ShlImm32, ShlImm64,
    /// `a = b >> imm`, unsigned, the count from 1 to the width less 1; defines the flags.
    ShrImm8, ShrImm16, ShrImm32, ShrImm64,
    /// `a = b >> imm`, signed, the count from 1 to the width less 1; defines the flags.
    SarImm8, SarImm16, SarImm32, SarImm64,
    /// As above, leaves the flags.
    ShlImmQuiet32, ShlImmQuiet64, ShrImmQuiet32, ShrImmQuiet64, SarImmQuiet32, SarImmQuiet64,
    /// `a = b << c`, the count masked as SHL masks it; a count of zero leaves the flags.
    Shl8, Shl16, Shl32, Shl64,
    /// `a = b >> c`, unsigned, as [`Shl8`](OpCode::Shl8).
    Shr8, Shr16, Shr32, Shr64,
    /// `a = b >> c`, signed, as [`Shl8`](OpCode::Shl8).
    Sar8, Sar16, Sar32, Sar64,
    /// `a = b` shifted by `c`, the count masked as above; leaves the flags.
    ShlQuiet32, ShlQuiet64, ShrQuiet32, ShrQuiet64, SarQuiet32, SarQuiet64,
    /// `a = b` rotated left by `imm`, 1 to the width less 1; defines CF and OF.
    RolImm8, RolImm16, RolImm32, RolImm64,
    /// `a = b` rotated right by `imm`, 1 to the width less 1; defines CF and OF.
    RorImm8, RorImm16, RorImm32, RorImm64,
    /// `a = b` rotated left by `imm`, 1 to the width less 1; leaves the flags.
    RolImmQuiet32, RolImmQuiet64,
    /// `a = b * c` truncated, signed; defines the flags.
    Imul16, Imul32, Imul64,
    /// `a = b * c` truncated; leaves the flags.
    ImulQuiet32, ImulQuiet64,
    /// `a = b`, bytes reversed.
    ByteSwap32, ByteSwap64,
    /// `a[7:0] = condition c ? 1 : 0`.
    SetCondition,
    /// `a = condition c ? b : a`.
    MoveIf32, MoveIf64,
    /// `a = [b + (c << d) + disp]`: 4 or 8 bytes into the low part of vector register `a`, the rest of its 128 bits zeroed.
    VectorLoad32, VectorLoad64,
    /// Vector register `a` (128 bits) `= [b + (c << d) + disp]`.
    VectorLoad128,
    /// As above; a misaligned address raises #GP(0).
    VectorLoad128Aligned,
    /// Vector register `a` (256 bits) `= [b + (c << d) + disp]`.
    VectorLoad256,
    /// As above; a misaligned address raises #GP(0).
    VectorLoad256Aligned,
    /// `[b + (c << d) + disp] =` the low part of vector register `a`.
    VectorStore32, VectorStore64, VectorStore128,
    /// As above; a misaligned address raises #GP(0).
    VectorStore128Aligned,
    /// `[b + (c << d) + disp] =` vector register `a` (256 bits).
    VectorStore256,
    /// As above; a misaligned address raises #GP(0).
    VectorStore256Aligned,
    /// Vector register `a = b` (128 bits; the upper half of `a` stays).
    VectorMove128,
    /// Vector register `a = b` (256 bits).
    VectorMove256,
    /// Zeroes the upper 128 bits of vector register `a`.
    VectorClearUpper,
    /// Vector operation number `imm & 0xffff` (see `cpu::sse`): vector registers `a` (destination), `b`, `c`; an immediate byte in `d`.
    /// On the low 128 bits; the upper half of `a` stays.
    Vector,
    /// As [`Vector`](OpCode::Vector), on 256 bits.
    Vector256,
    /// Helper number `imm` (see `cpu::helpers`) with `a`, `b`, `c`, `d` and `disp` as its operands. It may raise an exception.
    Call,
    /// As [`Call`](OpCode::Call), with which the block ends: the helper has set [`Reg::RIP`](super::Reg::RIP) to the next instruction.
    CallAndExit,
    /// Ends the block and leaves the block loop, going on `disp` bytes from the block's start.
    Leave,
    /// Ends the block, going on at successor 0.
    Jump,
    /// Ends the block: successor 0 when condition `c` holds, else successor 1.
    JumpIf,
    /// Ends the block, going on at the address in `b`.
    JumpRegister,
    /// Ends the block: pushes the address of the instruction behind (offset `disp` from the block) and goes on at successor 0.
    CallNear,
    /// Ends the block: pushes as [`CallNear`](OpCode::CallNear) and goes on at the address in `b`.
    CallRegister,
    /// Ends the block: pops the address to go on at, then adds `imm` to RSP.
    Return,
    /// Flags of `b - c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpJumpBelow8, CmpJumpBelow16, CmpJumpBelow32, CmpJumpBelow64,
    /// Flags of `b - imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpImmJumpBelow8, CmpImmJumpBelow16, CmpImmJumpBelow32, CmpImmJumpBelow64,
    /// Flags of `b - c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpJumpEqual8, CmpJumpEqual16, CmpJumpEqual32, CmpJumpEqual64,
    /// Flags of `b - imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpImmJumpEqual8, CmpImmJumpEqual16, CmpImmJumpEqual32, CmpImmJumpEqual64,
    /// Flags of `b - c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpJumpBelowOrEqual8, CmpJumpBelowOrEqual16, CmpJumpBelowOrEqual32, CmpJumpBelowOrEqual64,
    /// Flags of `b - imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpImmJumpBelowOrEqual8, CmpImmJumpBelowOrEqual16, CmpImmJumpBelowOrEqual32, CmpImmJumpBelowOrEqual64,
    /// Flags of `b - c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpJumpSign8, CmpJumpSign16, CmpJumpSign32, CmpJumpSign64,
    /// Flags of `b - imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpImmJumpSign8, CmpImmJumpSign16, CmpImmJumpSign32, CmpImmJumpSign64,
    /// Flags of `b - c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpJumpLess8, CmpJumpLess16, CmpJumpLess32, CmpJumpLess64,
    /// Flags of `b - imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpImmJumpLess8, CmpImmJumpLess16, CmpImmJumpLess32, CmpImmJumpLess64,
    /// Flags of `b - c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpJumpLessOrEqual8, CmpJumpLessOrEqual16, CmpJumpLessOrEqual32, CmpJumpLessOrEqual64,
    /// Flags of `b - imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    CmpImmJumpLessOrEqual8, CmpImmJumpLessOrEqual16, CmpImmJumpLessOrEqual32, CmpImmJumpLessOrEqual64,
    /// Flags of `b & c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    TestJumpEqual8, TestJumpEqual16, TestJumpEqual32, TestJumpEqual64,
    /// Flags of `b & imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    TestImmJumpEqual8, TestImmJumpEqual16, TestImmJumpEqual32, TestImmJumpEqual64,
    /// Flags of `b & c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    TestJumpSign8, TestJumpSign16, TestJumpSign32, TestJumpSign64,
    /// Flags of `b & imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    TestImmJumpSign8, TestImmJumpSign16, TestImmJumpSign32, TestImmJumpSign64,
    /// Flags of `b & c`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    TestJumpLessOrEqual8, TestJumpLessOrEqual16, TestJumpLessOrEqual32, TestJumpLessOrEqual64,
    /// Flags of `b & imm`, and ends the block as [`JumpIf`](OpCode::JumpIf) with the condition in the name.
    TestImmJumpLessOrEqual8, TestImmJumpLessOrEqual16, TestImmJumpLessOrEqual32, TestImmJumpLessOrEqual64,
}

impl OpCode {
    /// How many operations there are.
    pub const COUNT: usize = OpCode::TestImmJumpLessOrEqual64 as usize + 1;

    /// The operation with a number.
    pub const fn from_number(number: u16) -> Option<Self> {
        if number as usize >= Self::COUNT {
            return None;
        }
        // SAFETY: the discriminants are 0 to COUNT - 1 without gaps, and `number` is one of them.
        Some(unsafe { core::mem::transmute::<u16, Self>(number) })
    }

    /// The form of this 8-bit operation for another width; only for operations that come in four widths.
    pub const fn sized(self, width: super::Width) -> Self {
        let number = self as u16 + width as u16;
        assert!((number as usize) < Self::COUNT);
        // SAFETY: the discriminants are 0 to COUNT - 1 without gaps, and `number` is one of them.
        unsafe { core::mem::transmute::<u16, Self>(number) }
    }
}
