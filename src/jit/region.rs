//! What is compiled as one function: the blocks that direct jumps reach from an entry, within its page.

use crate::cpu::{Block, CodeCache};
use crate::ir::{Op, OpCode};
use crate::mem::GuestPhysAddr;
use std::collections::HashMap;

/// Blocks in a region at most.
pub const MOST_NODES: usize = 48;
/// Operations in a region at most. Functions above some 10 KiB of wasm take the engine's optimising compiler
/// long, and a third of such a region is cold.
const MOST_OPS: usize = 800;

/// Where a block of a region goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// In another block of the region, by number.
    Node(usize),
    /// Outside, at a distance in bytes from the region's entry.
    Outside(i64),
    /// Outside as well, and never run so far.
    Unseen(i64),
}

/// How a block ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// One target.
    Jump(Target),
    /// The first when the condition holds, else the second.
    Branch(Target, Target),
    /// A near call: where it goes, and the target that it returns to. `None` for an address in a register.
    Call(Option<i64>, Target),
    /// A helper that sets RIP, most often to what follows.
    Helper(Target),
    /// An address that is only known when it runs.
    Dynamic,
}

/// A block of a region.
pub struct Node<'a> {
    /// The block.
    pub block: &'a Block,
    /// Bytes from the region's entry.
    pub distance: i64,
    /// How it ends.
    pub end: End,
}

/// The blocks of a region; the first is its entry.
pub struct Region<'a> {
    /// In the order in which they were found.
    pub nodes: Vec<Node<'a>>,
}

impl Node<'_> {
    /// The operation that ends the block.
    pub fn last(&self) -> &Op {
        &self.block.ops()[self.block.ops().len() - 1]
    }

    /// The blocks of the region that this one goes on in.
    pub fn successors(&self) -> impl Iterator<Item = usize> + use<> {
        let targets = match self.end {
            End::Jump(target) | End::Helper(target) | End::Call(_, target) => [Some(target), None],
            End::Branch(first, second) => [Some(first), Some(second)],
            End::Dynamic => [None, None],
        };
        targets.into_iter().flatten().filter_map(|target| match target {
            Target::Node(number) => Some(number),
            Target::Outside(_) | Target::Unseen(_) => None,
        })
    }
}

impl<'a> Region<'a> {
    /// The region that begins with `entry`: what was translated of the code that it reaches in its page.
    pub fn discover(cache: &'a CodeCache, entry: &'a Block) -> Self {
        let mut found: HashMap<u64, usize> = HashMap::new();
        let mut nodes: Vec<Node<'a>> = Vec::new();
        let mut waiting = std::collections::VecDeque::from([(entry, 0)]);
        let mut ops = 0;
        while let Some((block, distance)) = waiting.pop_front() {
            if found.contains_key(&block.start.0) {
                continue;
            }
            let is_full = nodes.len() >= MOST_NODES || ops + block.ops().len() > MOST_OPS;
            if is_full && !nodes.is_empty() {
                continue;
            }
            ops += block.ops().len();
            found.insert(block.start.0, nodes.len());
            nodes.push(Node { block, distance, end: End::Dynamic });
            for step in steps(block).into_iter().flatten() {
                if let Some(next) = neighbour(cache, block, step) {
                    waiting.push_back((next, distance + step));
                }
            }
        }
        let entry_start = entry.start.0;
        for node in &mut nodes {
            let target = |step: i64| {
                let distance = node.distance + step;
                // An entry that runs over the page's end is checked only when it is looked up.
                let is_checked = distance == 0 && entry.second_page.is_some();
                let start = entry_start.wrapping_add(distance as u64);
                if !is_within_page(node.block, step) || is_checked {
                    return Target::Outside(distance);
                }
                match found.get(&start) {
                    Some(&number) => Target::Node(number),
                    None => match cache.get(GuestPhysAddr(start), entry.mode_bits) {
                        Some(block) if is_warm(cache, block) => Target::Outside(distance),
                        _ => Target::Unseen(distance),
                    },
                }
            };
            let [first, second] = steps(node.block);
            node.end = match (node.last().code, first, second) {
                (OpCode::CallNear, Some(_), _) => End::Call(
                    Some(node.distance + node.block.distances[0]),
                    target(i64::from(node.last().disp)),
                ),
                (OpCode::CallRegister, ..) => End::Call(None, target(i64::from(node.last().disp))),
                (OpCode::CallAndExit, ..) => End::Helper(target(i64::from(node.last().disp))),
                (_, Some(first), None) => End::Jump(target(first)),
                (_, Some(first), Some(second)) => End::Branch(target(first), target(second)),
                _ => End::Dynamic,
            };
        }
        Self { nodes }
    }
}

/// Distances from the start of a block to where it goes on within the function.
fn steps(block: &Block) -> [Option<i64>; 2] {
    let Some(last) = block.ops().last() else { return [None, None] };
    let [first, second] = block.distances;
    match last.code {
        OpCode::Jump => [Some(first), None],
        OpCode::CallNear | OpCode::CallRegister | OpCode::CallAndExit => [Some(i64::from(last.disp)), None],
        OpCode::JumpRegister | OpCode::Return | OpCode::Leave => [None, None],
        _ => [Some(first), Some(second)],
    }
}

fn is_within_page(block: &Block, step: i64) -> bool {
    let offset = (block.start.0 % 4096) as i64;
    (0..4096).contains(&(offset + step))
}

fn neighbour<'a>(cache: &'a CodeCache, block: &Block, step: i64) -> Option<&'a Block> {
    if !is_within_page(block, step) {
        return None;
    }
    let next = cache.get(GuestPhysAddr(block.start.0.wrapping_add(step as u64)), block.mode_bits)?;
    (next.second_page.is_none() && is_warm(cache, next)).then_some(next)
}

/// Whether a block has run often enough to belong to a region: a thirtieth of what makes one hot. What ran once or
/// twice on the way, as the start of a program does, would be three quarters of all that is compiled.
fn is_warm(cache: &CodeCache, block: &Block) -> bool {
    block.compiled.has_run(cache.threshold / 32)
}
