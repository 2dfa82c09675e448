//! Which registers and flags live where: what a region must load, and what its exits must write back.

use super::emit::{AtomicInstruction, BitInstruction, WideInstruction, x87_reads};
use super::graph::Graph;
use super::region::{End, Node, Region, Target};
use crate::cpu::{FlagsEffect, helper_effects};
use crate::ir::{Extension, Op, Reg, Right, Shape, Width};

/// A set of integer registers, a bit each.
pub type RegSet = u32;

/// RAX to R15: what the architecture shows and regions keep in locals.
pub const GENERAL: RegSet = 0xffff;
/// The temporaries.
pub const TEMPORARIES: RegSet = 0xff00_0000;
/// Registers that regions may hold in locals: the general ones, segment bases (never written here), temporaries.
pub const LOCAL: RegSet = GENERAL | 0x00fc_0000 | TEMPORARIES;

const fn bit(number: u8) -> RegSet {
    1 << (number & 31)
}

/// What an operation does with registers and flags.
#[derive(Clone, Copy, Debug, Default)]
pub struct Effects {
    /// Registers that it reads from locals.
    pub reads: RegSet,
    /// Registers that it writes to locals.
    pub writes: RegSet,
    /// Registers that it takes from memory: they are written back before it.
    pub stores: RegSet,
    /// It works on the vCPU's memory: everything is written back before it, and read again after it.
    pub is_barrier: bool,
    /// The region may be left at it.
    pub may_exit: bool,
    /// It reads the flags that stood before it.
    pub reads_flags: bool,
    /// It reads them if what it leaves of them is read later.
    pub passes_flags: bool,
    /// After it, the flags that stood before it are gone.
    pub defines_flags: bool,
}

/// What an operation does.
pub fn effects(op: &Op) -> Effects {
    let address = (bit(op.b) | bit(op.c)) & LOCAL;
    let two = |width: Width| if width < Width::W32 { bit(op.a) } else { 0 };
    let right = |right: Right| if right == Right::Register { bit(op.c) } else { 0 };
    let mut effects = Effects::default();
    let result = &mut effects;
    match op.code.shape() {
        Shape::Move(width) => (result.reads, result.writes) = (bit(op.b) | two(width), bit(op.a)),
        Shape::MoveImmediate(width) => (result.reads, result.writes) = (two(width), bit(op.a)),
        Shape::MoveImmediateWide => result.writes = bit(op.a),
        Shape::ZeroExtend(_) | Shape::ExtractHigh8 | Shape::ByteSwap(_) => {
            (result.reads, result.writes) = (bit(op.b), bit(op.a));
        }
        Shape::SignExtend { to: width, .. } | Shape::Not(width) => {
            (result.reads, result.writes) = (bit(op.b) | two(width), bit(op.a));
        }
        Shape::InsertHigh8 => (result.reads, result.writes) = (bit(op.a) | bit(op.b), bit(op.a)),
        Shape::Lea(_) => (result.reads, result.writes) = (address, bit(op.a)),
        Shape::Load(width, extension) => {
            let kept = match extension {
                Extension::Keep => two(width),
                Extension::Zero => 0,
                Extension::Sign(to) => two(to),
            };
            (result.reads, result.writes, result.may_exit) = (address | kept, bit(op.a), true);
        }
        Shape::LoadForUpdate(_) => {
            (result.reads, result.writes, result.may_exit) = (address, bit(op.a), true);
        }
        Shape::Store(_) => (result.reads, result.may_exit) = (address | bit(op.a), true),
        Shape::StoreImmediate(_) => (result.reads, result.may_exit) = (address, true),
        Shape::Push => {
            let stack = bit(Reg::RSP.0);
            (result.reads, result.writes, result.may_exit) = (bit(op.a) | stack, stack, true);
        }
        Shape::PushImmediate => {
            let stack = bit(Reg::RSP.0);
            (result.reads, result.writes, result.may_exit) = (stack, stack, true);
        }
        Shape::Pop => {
            let stack = bit(Reg::RSP.0);
            (result.reads, result.writes, result.may_exit) = (stack, stack | bit(op.a), true);
        }
        Shape::Binary { right: place, width, is_quiet, .. } => {
            (result.reads, result.writes) = (bit(op.b) | right(place) | two(width), bit(op.a));
            result.defines_flags = !is_quiet;
        }
        Shape::AddCarry(width) | Shape::SubBorrow(width) => {
            (result.reads, result.writes) = (bit(op.b) | bit(op.c) | two(width), bit(op.a));
            (result.reads_flags, result.defines_flags) = (true, true);
        }
        Shape::Compare { right: place, .. } => {
            (result.reads, result.defines_flags) = (bit(op.b) | right(place), true);
        }
        Shape::Increment(width) | Shape::Decrement(width) => {
            (result.reads, result.writes) = (bit(op.b) | two(width), bit(op.a));
            (result.passes_flags, result.defines_flags) = (true, true);
        }
        Shape::Negate(width) => {
            (result.reads, result.writes) = (bit(op.b) | two(width), bit(op.a));
            result.defines_flags = true;
        }
        Shape::ShiftImmediate { width, is_quiet, .. } => {
            (result.reads, result.writes) = (bit(op.b) | two(width), bit(op.a));
            result.defines_flags = !is_quiet;
        }
        Shape::Multiply { width, is_quiet } => {
            (result.reads, result.writes) = (bit(op.b) | bit(op.c) | two(width), bit(op.a));
            result.defines_flags = !is_quiet;
        }
        Shape::Shift { width, is_quiet, .. } => {
            (result.reads, result.writes) = (bit(op.b) | bit(op.c) | two(width), bit(op.a));
            (result.passes_flags, result.defines_flags) = (!is_quiet, !is_quiet);
        }
        Shape::RotateImmediate { width, is_quiet, .. } => {
            (result.reads, result.writes) = (bit(op.b) | two(width), bit(op.a));
            (result.passes_flags, result.defines_flags) = (!is_quiet, !is_quiet);
        }
        Shape::SetCondition => {
            (result.reads, result.writes, result.reads_flags) = (bit(op.a), bit(op.a), true);
        }
        Shape::MoveIf(_) => {
            let both = bit(op.a) | bit(op.b);
            (result.reads, result.writes, result.reads_flags) = (both, bit(op.a), true);
        }
        Shape::VectorLoad { .. } | Shape::VectorStore { .. } => {
            (result.reads, result.may_exit) = (address, true);
        }
        Shape::VectorMove { .. } | Shape::VectorClearUpper => {}
        Shape::Vector | Shape::Vector256 => {
            if let Some(direct) = super::emit::vector_effects(op) {
                (result.reads, result.writes) = (direct.reads, direct.writes);
                (result.defines_flags, result.may_exit) = (direct.defines_flags, direct.may_exit);
            } else {
                (result.is_barrier, result.may_exit) = (true, true);
            }
        }
        Shape::Call => match helper_effects(op) {
            Some(known) if let Some(bits) = BitInstruction::of(op) => {
                (result.reads, result.writes) = (known.reads, known.writes);
                (result.passes_flags, result.defines_flags) = (bits.passes_flags(), true);
            }
            Some(known) if let Some(wide) = WideInstruction::of(op) => {
                (result.reads, result.writes) = (known.reads, known.writes);
                (result.passes_flags, result.defines_flags) = (wide.passes_flags(), wide.defines_flags());
                result.may_exit = wide.may_exit();
            }
            Some(_) if let Some(reads) = x87_reads(op) => (result.reads, result.may_exit) = (reads, true),
            Some(known) if AtomicInstruction::of(op).is_some() => {
                (result.reads, result.writes, result.may_exit) = (known.reads, known.writes, true);
            }
            Some(known) => {
                // Its results are read from memory, where they need not be written back to.
                (result.stores, result.writes) = (known.reads | known.writes, known.writes);
                result.may_exit = known.may_leave;
                result.reads_flags = known.flags == FlagsEffect::Changes;
                result.defines_flags = known.flags == FlagsEffect::Defines;
            }
            None => (result.is_barrier, result.may_exit) = (true, true),
        },
        Shape::CallAndExit => (result.is_barrier, result.may_exit) = (true, true),
        Shape::Leave | Shape::Jump => {}
        Shape::JumpIf => result.reads_flags = true,
        Shape::JumpRegister => result.reads = bit(op.b),
        Shape::CallNear => (result.reads, result.writes, result.may_exit) = (bit(4), bit(4), true),
        Shape::CallRegister => {
            (result.reads, result.writes, result.may_exit) = (bit(4) | bit(op.b), bit(4), true);
        }
        Shape::Return => (result.reads, result.writes, result.may_exit) = (bit(4), bit(4), true),
        Shape::CompareJump { right: place, .. } => {
            (result.reads, result.defines_flags) = (bit(op.b) | right(place), true);
        }
    }
    effects.stores &= LOCAL;
    effects.reads &= LOCAL;
    effects.writes &= LOCAL;
    effects
}

/// What the passes have found of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeFlow {
    /// General registers that may be newer in their local than in memory, at the start.
    pub dirty_in: RegSet,
    /// Registers whose local counts at the start.
    pub live_in: RegSet,
    /// Registers whose local counts behind each operation.
    pub live_after: Vec<RegSet>,
    /// Whether the flags that stand at the start are read.
    pub flags_live_in: bool,
    /// Whether the flags that stand behind each operation are read.
    pub flags_live_after: Vec<bool>,
}

/// Registers and flags of a region.
pub struct Flow {
    /// By node.
    pub nodes: Vec<NodeFlow>,
    /// Registers that need a local.
    pub used: RegSet,
}

impl Flow {
    /// Runs the passes.
    pub fn new(region: &Region, graph: &Graph) -> Self {
        let effects: Vec<Vec<Effects>> =
            region.nodes.iter().map(|node| node.block.ops().iter().map(effects).collect()).collect();
        let mut nodes = vec![NodeFlow::default(); region.nodes.len()];
        let mut used = 0;
        for effect in graph.order.iter().flat_map(|&node| &effects[node]) {
            used |= effect.reads | effect.writes | effect.stores;
        }
        spread_dirty(region, graph, &effects, &mut nodes);
        spread_liveness(region, graph, &effects, &mut nodes);
        Self { nodes, used }
    }
}

/// The dirty set behind an operation.
pub fn dirty_behind(before: RegSet, effect: &Effects) -> RegSet {
    if effect.is_barrier {
        0
    } else if effect.stores != 0 {
        before & !effect.stores
    } else {
        before | effect.writes & GENERAL
    }
}

/// Whether everything is written back at the end of the node, so that what follows starts clean.
fn ends_clean(node: &Node) -> bool {
    matches!(node.end, End::Call(..) | End::Helper(_) | End::Dynamic)
}

fn spread_dirty(region: &Region, graph: &Graph, effects: &[Vec<Effects>], nodes: &mut [NodeFlow]) {
    let mut has_changed = true;
    while has_changed {
        has_changed = false;
        for &node in &graph.order {
            if ends_clean(&region.nodes[node]) {
                continue;
            }
            let out = effects[node].iter().fold(nodes[node].dirty_in, dirty_behind);
            for next in region.nodes[node].successors().filter(|&next| graph.is_structured(node, next)) {
                let before = nodes[next].dirty_in;
                nodes[next].dirty_in |= out;
                has_changed |= nodes[next].dirty_in != before;
            }
        }
    }
}

fn spread_liveness(region: &Region, graph: &Graph, effects: &[Vec<Effects>], nodes: &mut [NodeFlow]) {
    for (node, flow) in nodes.iter_mut().enumerate() {
        flow.live_after = vec![0; effects[node].len()];
        flow.flags_live_after = vec![false; effects[node].len()];
    }
    let mut has_changed = true;
    while has_changed {
        has_changed = false;
        for &number in graph.order.iter().rev() {
            let node = &region.nodes[number];
            let mut dirty_before = Vec::with_capacity(effects[number].len());
            let mut dirty = nodes[number].dirty_in;
            for effect in &effects[number] {
                dirty_before.push(dirty);
                dirty = dirty_behind(dirty, effect);
            }
            let mut live = 0;
            let mut flags = false;
            // Behind a call everything is clean.
            let dirty = if ends_clean(node) && !matches!(node.end, End::Dynamic) { 0 } else { dirty };
            let mut join = |target: Target| match target {
                Target::Node(next) if graph.is_structured(number, next) => {
                    live |= nodes[next].live_in;
                    flags |= nodes[next].flags_live_in;
                    // On the way back to the head of a loop the budget may be found used up.
                    if graph.is_back(number, next) {
                        live |= dirty;
                        flags = true;
                    }
                }
                _ => {
                    live |= dirty;
                    flags = true;
                }
            };
            match node.end {
                End::Jump(target) => join(target),
                End::Branch(first, second) => {
                    join(first);
                    join(second);
                }
                // Everything goes out by memory, and comes back by it.
                End::Call(_, target) | End::Helper(target) => {
                    join(target);
                    flags = true;
                }
                End::Dynamic => {
                    live |= dirty;
                    flags = true;
                }
            }
            let ends_by_memory = matches!(node.end, End::Call(..));
            for place in (0..effects[number].len()).rev() {
                let effect = &effects[number][place];
                let is_last = place + 1 == effects[number].len();
                nodes[number].live_after[place] = live;
                nodes[number].flags_live_after[place] = flags;
                if effect.is_barrier || is_last && ends_by_memory {
                    live = dirty_before[place] | effect.reads;
                    flags = true;
                } else {
                    // Temporaries are no part of the dirty set, and are always written back.
                    let stored = effect.stores & (dirty_before[place] | TEMPORARIES);
                    live = live & !effect.writes | effect.reads | stored;
                    if effect.defines_flags && !(effect.passes_flags && flags) {
                        flags = false;
                    }
                    flags |= effect.reads_flags;
                    if effect.may_exit {
                        live |= dirty_before[place];
                        flags = true;
                    }
                }
                // Temporaries do not outlive their instruction.
                if place > 0 && node.block.ops()[place - 1].pc != node.block.ops()[place].pc {
                    live &= !TEMPORARIES;
                }
            }
            live &= !TEMPORARIES;
            let flow = &mut nodes[number];
            has_changed |= flow.live_in | live != flow.live_in || flow.flags_live_in != flags;
            flow.live_in |= live;
            flow.flags_live_in |= flags;
        }
    }
}

/// Whether the operation ends its instruction: nothing of it follows in the block.
pub fn ends_instruction(ops: &[Op], place: usize) -> bool {
    ops.get(place + 1).is_none_or(|next| next.pc != ops[place].pc)
}
