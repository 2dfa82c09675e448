//! Passes over a block's operations: flags that nobody reads, compare and branch in one.

use super::ends_block;
use crate::ir::{Condition, Op, OpCode};

/// The block's operations, improved; what they do is the same.
pub fn optimized(mut ops: Vec<Op>) -> Vec<Op> {
    drop_dead_flags(&mut ops);
    fuse_branch(&mut ops);
    ops
}

/// What an operation does with the flags.
enum FlagsUse {
    /// Defines all six.
    Defines,
    /// Neither reads nor defines them, and cannot fault.
    Ignores,
    /// Reads them, or may show them to the guest by faulting.
    Needs,
}

/// Replaces operations by their quiet twins where all flags are defined again before anyone can see them.
///
/// An operation that may fault shows the flags to the fault's handler, so it counts as a reader.
fn drop_dead_flags(ops: &mut [Op]) {
    let mut are_dead = false;
    for op in ops.iter_mut().rev() {
        match flags_use(op.code) {
            FlagsUse::Defines => {
                if are_dead {
                    op.code = quiet_twin(op.code).unwrap_or(op.code);
                }
                are_dead = true;
            }
            FlagsUse::Ignores => {}
            FlagsUse::Needs => {
                if are_dead
                    && matches!(op.code, OpCode::Inc32 | OpCode::Inc64 | OpCode::Dec32 | OpCode::Dec64)
                {
                    op.imm = 1;
                    op.code = match op.code {
                        OpCode::Inc32 => OpCode::AddImmQuiet32,
                        OpCode::Inc64 => OpCode::AddImmQuiet64,
                        OpCode::Dec32 => OpCode::SubImmQuiet32,
                        _ => OpCode::SubImmQuiet64,
                    };
                } else if are_dead && keeps_flags_that_are_dead(op.code) {
                    op.code = quiet_twin(op.code).unwrap_or(op.code);
                } else if are_dead && matches!(op.code, OpCode::RorImm32 | OpCode::RorImm64) {
                    // The same to the left.
                    let (code, bits) = match op.code {
                        OpCode::RorImm32 => (OpCode::RolImmQuiet32, 32),
                        _ => (OpCode::RolImmQuiet64, 64),
                    };
                    (op.code, op.imm) = (code, bits - op.imm);
                } else {
                    are_dead = false;
                }
            }
        }
    }
}

/// Operations that leave some flags, or all for a count of zero, and for which that is all the same when
/// nobody reads them.
fn keeps_flags_that_are_dead(code: OpCode) -> bool {
    use OpCode as O;
    matches!(
        code,
        O::RolImm32 | O::RolImm64 | O::Shl32 | O::Shl64 | O::Shr32 | O::Shr64 | O::Sar32 | O::Sar64
    )
}

fn flags_use(code: OpCode) -> FlagsUse {
    use OpCode as O;
    let number = code as u16;
    let within = |first: OpCode, last: OpCode| (first as u16..=last as u16).contains(&number);
    if quiet_twin(code).is_some() && !within(O::RolImm8, O::RolImm64) && !within(O::Shl8, O::Sar64)
        || within(O::Cmp8, O::TestImm64)
        || within(O::Neg8, O::Neg64)
        || within(O::Imul16, O::Imul64)
        || within(O::ShlImm8, O::SarImm64)
        || [O::Add8, O::Sub8, O::And8, O::Or8, O::Xor8].iter().any(|&first| {
            // Register and immediate forms stand together: eight operations.
            (first as u16..first as u16 + 8).contains(&number)
        })
    {
        FlagsUse::Defines
    } else if within(O::Mov8, O::Lea64)
        || within(O::Not8, O::Not64)
        || within(O::ByteSwap32, O::ByteSwap64)
        || matches!(code, O::VectorMove128 | O::VectorMove256 | O::VectorClearUpper)
        || is_quiet(code)
    {
        FlagsUse::Ignores
    } else {
        FlagsUse::Needs
    }
}

fn is_quiet(code: OpCode) -> bool {
    use OpCode as O;
    matches!(
        code,
        O::AddQuiet32
            | O::AddQuiet64
            | O::AddImmQuiet32
            | O::AddImmQuiet64
            | O::SubQuiet32
            | O::SubQuiet64
            | O::SubImmQuiet32
            | O::SubImmQuiet64
            | O::AndQuiet32
            | O::AndQuiet64
            | O::AndImmQuiet32
            | O::AndImmQuiet64
            | O::OrQuiet32
            | O::OrQuiet64
            | O::OrImmQuiet32
            | O::OrImmQuiet64
            | O::XorQuiet32
            | O::XorQuiet64
            | O::XorImmQuiet32
            | O::XorImmQuiet64
            | O::ShlImmQuiet32
            | O::ShlImmQuiet64
            | O::ShrImmQuiet32
            | O::ShrImmQuiet64
            | O::SarImmQuiet32
            | O::SarImmQuiet64
            | O::ShlQuiet32
            | O::ShlQuiet64
            | O::ShrQuiet32
            | O::ShrQuiet64
            | O::SarQuiet32
            | O::SarQuiet64
            | O::RolImmQuiet32
            | O::RolImmQuiet64
            | O::ImulQuiet32
            | O::ImulQuiet64
    )
}

fn quiet_twin(code: OpCode) -> Option<OpCode> {
    use OpCode as O;
    Some(match code {
        O::Add32 => O::AddQuiet32,
        O::Add64 => O::AddQuiet64,
        O::AddImm32 => O::AddImmQuiet32,
        O::AddImm64 => O::AddImmQuiet64,
        O::Sub32 => O::SubQuiet32,
        O::Sub64 => O::SubQuiet64,
        O::SubImm32 => O::SubImmQuiet32,
        O::SubImm64 => O::SubImmQuiet64,
        O::And32 => O::AndQuiet32,
        O::And64 => O::AndQuiet64,
        O::AndImm32 => O::AndImmQuiet32,
        O::AndImm64 => O::AndImmQuiet64,
        O::Or32 => O::OrQuiet32,
        O::Or64 => O::OrQuiet64,
        O::OrImm32 => O::OrImmQuiet32,
        O::OrImm64 => O::OrImmQuiet64,
        O::Xor32 => O::XorQuiet32,
        O::Xor64 => O::XorQuiet64,
        O::XorImm32 => O::XorImmQuiet32,
        O::XorImm64 => O::XorImmQuiet64,
        O::ShlImm32 => O::ShlImmQuiet32,
        O::ShlImm64 => O::ShlImmQuiet64,
        O::ShrImm32 => O::ShrImmQuiet32,
        O::ShrImm64 => O::ShrImmQuiet64,
        O::SarImm32 => O::SarImmQuiet32,
        O::SarImm64 => O::SarImmQuiet64,
        O::Shl32 => O::ShlQuiet32,
        O::Shl64 => O::ShlQuiet64,
        O::Shr32 => O::ShrQuiet32,
        O::Shr64 => O::ShrQuiet64,
        O::Sar32 => O::SarQuiet32,
        O::Sar64 => O::SarQuiet64,
        O::RolImm32 => O::RolImmQuiet32,
        O::RolImm64 => O::RolImmQuiet64,
        O::Imul32 => O::ImulQuiet32,
        O::Imul64 => O::ImulQuiet64,
        _ => return None,
    })
}

/// Joins a compare or test and the conditional branch behind it.
///
/// Only one of a condition and its negation has an operation; for the other the successors change places,
/// which the caller cannot do here, so the branch keeps its own operation then.
fn fuse_branch(ops: &mut Vec<Op>) {
    let [.., compare, branch] = ops.as_slice() else { return };
    if branch.code != OpCode::JumpIf {
        return;
    }
    debug_assert!(ends_block(branch.code));
    let condition = Condition::from_code(branch.c);
    let Some(code) = fused(compare.code, condition) else { return };
    let joined = Op { code, ..*compare };
    ops.truncate(ops.len() - 2);
    ops.push(joined);
}

fn fused(compare: OpCode, condition: Condition) -> Option<OpCode> {
    use Condition as C;
    use OpCode as O;
    let number = compare as u16;
    let place = |first: OpCode| number.wrapping_sub(first as u16);
    let (first, width) = match number {
        _ if place(O::Cmp8) < 4 => {
            let first = match condition {
                C::Below => O::CmpJumpBelow8,
                C::Equal => O::CmpJumpEqual8,
                C::BelowOrEqual => O::CmpJumpBelowOrEqual8,
                C::Sign => O::CmpJumpSign8,
                C::Less => O::CmpJumpLess8,
                C::LessOrEqual => O::CmpJumpLessOrEqual8,
                _ => return None,
            };
            (first, place(O::Cmp8))
        }
        _ if place(O::CmpImm8) < 4 => {
            let first = match condition {
                C::Below => O::CmpImmJumpBelow8,
                C::Equal => O::CmpImmJumpEqual8,
                C::BelowOrEqual => O::CmpImmJumpBelowOrEqual8,
                C::Sign => O::CmpImmJumpSign8,
                C::Less => O::CmpImmJumpLess8,
                C::LessOrEqual => O::CmpImmJumpLessOrEqual8,
                _ => return None,
            };
            (first, place(O::CmpImm8))
        }
        _ if place(O::Test8) < 4 => {
            let first = match condition {
                C::Equal => O::TestJumpEqual8,
                C::Sign | C::Less => O::TestJumpSign8,
                C::LessOrEqual => O::TestJumpLessOrEqual8,
                _ => return None,
            };
            (first, place(O::Test8))
        }
        _ if place(O::TestImm8) < 4 => {
            let first = match condition {
                C::Equal => O::TestImmJumpEqual8,
                C::Sign | C::Less => O::TestImmJumpSign8,
                C::LessOrEqual => O::TestImmJumpLessOrEqual8,
                _ => return None,
            };
            (first, place(O::TestImm8))
        }
        _ => return None,
    };
    let width = crate::ir::Width::from_bytes(1 << width)?;
    Some(first.sized(width))
}
