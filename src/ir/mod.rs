//! The micro-operation set that the lifter emits and that every executor runs.
//!
//! A block is a flat list of fixed-size [`Op`]s over one register file ([`Reg`]). Address arithmetic
//! is folded into loads and stores; an operation's name says its width and whether it defines the
//! flags. What is rare is a [`OpCode::Call`] of a named helper.

mod code;
mod condition;
mod reg;
mod shape;
mod width;

pub use code::OpCode;
pub use condition::Condition;
pub use reg::{Reg, VectorReg};
pub use shape::{Binary, Extension, Right, Shape, Shift};
pub use width::Width;

/// One micro-operation, 16 bytes.
///
/// What the fields mean depends on [`OpCode`]; its documentation uses their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Op {
    /// What to do.
    pub code: OpCode,
    /// Offset in bytes of the guest instruction from the start of its block.
    pub pc: u16,
    /// Destination, or the data register of a store.
    pub a: u8,
    /// First source, or the base register of an address.
    pub b: u8,
    /// Second source, or the index register of an address.
    pub c: u8,
    /// Left shift of the index register (0 to 3), or a further small operand.
    pub d: u8,
    /// Displacement of an address in bytes, or a further operand.
    pub disp: i32,
    /// Immediate operand, sign-extended to the operation's width.
    pub imm: i32,
}

/// Base, index shifted left, and displacement, as loads and stores take them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// First register of the sum ([`Reg::ZERO`] when there is none).
    pub base: Reg,
    /// Second register of the sum ([`Reg::ZERO`] when there is none).
    pub index: Reg,
    /// Left shift of the index, 0 to 3.
    pub shift: u8,
    /// Constant part in bytes.
    pub disp: i32,
}

impl Address {
    /// The address that a register holds.
    pub const fn register(base: Reg) -> Self {
        Self { base, index: Reg::ZERO, shift: 0, disp: 0 }
    }
}

const _: () = assert!(size_of::<Op>() == 16);
