//! Structured control flow: the dominator tree gives the nesting of loops and blocks (as in N. Ramsey, "Beyond
//! Relooper", ICFP 2022), and the ends of blocks give the branches.

use super::flags::FlagsState;
use super::string::StringInstruction;
use super::{BUDGET, DEPTH, ENTRY, Emitter, Label, Onward, SECOND, SITE, TLB, VALUE, VCPU, at, types};
use crate::cpu::{JUMP_ENTRIES, JumpEntry};
use crate::ir::{Condition, Op, Reg, Shape, Width};
use crate::jit::abi::offset;
use crate::jit::region::{End, Target};
use std::mem::offset_of;
use wasm_encoder::BlockType;

/// How deep guest calls nest as calls of functions. The engine's stack holds some ten times as many frames of the
/// largest size; what recurses deeper goes on by jumps.
const MOST_DEPTH: i32 = 128;

impl Emitter<'_> {
    /// Emits a node and all that it dominates.
    pub(super) fn tree(&mut self, node: usize) {
        self.rip_stored = None;
        if self.graph.is_loop[node] || self.graph.is_merge[node] {
            let is_live = self.flow.nodes[node].flags_live_in;
            self.flags = if is_live { FlagsState::Lazy } else { FlagsState::Memory };
            self.overlay = None;
            if self.graph.is_merge[node] {
                self.vectors.keep(0);
            }
        }
        if !self.graph.is_loop[node] {
            self.within(node);
            return;
        }
        self.carry_vectors(node);
        self.look_ahead(node);
        self.wasm().loop_(BlockType::Empty);
        self.labels.push((Label::Loop(node), self.depth));
        self.depth += 1;
        self.within(node);
        self.wasm().end();
        self.depth -= 1;
        self.labels.pop();
    }

    /// Emits a node within the blocks behind which the merges that it dominates begin.
    fn within(&mut self, node: usize) {
        let graph = self.graph;
        let mut merges: Vec<usize> =
            graph.children[node].iter().copied().filter(|&child| graph.is_merge[child]).collect();
        // The one that comes last is the outermost.
        merges.sort_by_key(|&child| std::cmp::Reverse(graph.place[child]));
        for &merge in &merges {
            self.wasm().block(BlockType::Empty);
            self.labels.push((Label::Before(merge), self.depth));
            self.depth += 1;
        }
        self.operations(node);
        self.ending(node);
        for &merge in merges.iter().rev() {
            self.wasm().end();
            self.depth -= 1;
            self.labels.pop();
            self.tree(merge);
        }
    }

    /// Branches to a label.
    pub(super) fn branch(&mut self, label: Label) {
        let depth = self.labels.iter().rev().find(|(other, _)| *other == label).map(|&(_, depth)| depth);
        debug_assert!(depth.is_some(), "{label:?} is not open");
        let levels = self.depth - 1 - depth.unwrap_or(0);
        self.wasm().br(levels);
    }

    /// Goes on in a target.
    fn go(&mut self, from: usize, target: Target) {
        let node = match target {
            Target::Outside(distance) => return self.leave_to(distance),
            Target::Unseen(distance) => return self.leave_unseen(distance),
            Target::Node(node) if !self.graph.is_structured(from, node) => {
                return self.leave_to(self.region.nodes[node].distance);
            }
            Target::Node(node) => node,
        };
        if self.graph.is_back(from, node) {
            self.check_budget(node);
            self.join(node);
            self.carry_vectors(node);
            self.branch(Label::Loop(node));
        } else if self.graph.is_merge[node] {
            self.join(node);
            self.branch(Label::Before(node));
        } else {
            if self.graph.is_loop[node] {
                self.join(node);
            }
            self.tree(node);
        }
    }

    /// Brings the flags into the form in which ways join.
    fn join(&mut self, node: usize) {
        if self.flow.nodes[node].flags_live_in {
            self.make_flags_lazy();
        }
    }

    /// Leaves when the budget does not suffice for the way that begins with a node.
    fn check_budget(&mut self, node: usize) {
        let site = self.site_at(self.region.nodes[node].distance);
        let longest = self.graph.longest[node];
        let mut wasm = self.wasm();
        wasm.i32_const(site).local_set(SITE).local_get(BUDGET).i32_const(longest as i32).i32_lt_s();
        self.leave_if();
    }

    /// Writes everything back: what follows works on memory.
    fn write_back(&mut self) {
        self.store_registers(self.dirty);
        self.write_flags();
        self.wasm().local_get(VCPU).local_get(BUDGET).i32_store(at(offset::BUDGET));
    }

    /// Goes on where nothing has run so far: the run loop finds the way, and counts.
    fn leave_unseen(&mut self, distance: i64) {
        let site = self.note_site(distance, self.dirty, Onward::Unseen);
        let depth = self.depth - 1;
        self.wasm().i32_const(site).local_set(SITE).br(depth);
    }

    /// Goes on outside the region.
    fn leave_to(&mut self, distance: i64) {
        self.write_back();
        self.rip(distance);
        self.wasm().local_set(VALUE);
        self.branch(Label::Dispatch);
    }

    /// Puts on the stack whether the jump cache knows the address in a local; its entry goes to its local.
    fn look_up(&mut self, address: u32) {
        const _: () = assert!(size_of::<JumpEntry>() == 32 && JUMP_ENTRIES.is_power_of_two());
        let mut wasm = self.wasm();
        // The entry's place is (rip ^ rip >> 12) modulo the number of entries, times 32 bytes.
        wasm.local_get(address).i32_wrap_i64();
        wasm.local_get(address).i64_const(12).i64_shr_u().i32_wrap_i64().i32_xor();
        wasm.i32_const(JUMP_ENTRIES as i32 - 1).i32_and().i32_const(5).i32_shl();
        wasm.local_get(VCPU).i32_load(at(offset::JUMPS)).i32_add().local_tee(ENTRY);
        wasm.i64_load(at(offset_of!(JumpEntry, rip))).local_get(address).i64_eq();
        wasm.local_get(ENTRY).i64_load(at(offset_of!(JumpEntry, context)));
        wasm.local_get(VCPU).i64_load(at(offset::CONTEXT)).i64_eq().i32_and();
    }

    /// Goes on at the address in VALUE: in compiled code if the jump cache knows some, else in the run loop.
    pub(super) fn dispatch(&mut self) {
        self.look_up(VALUE);
        let mut wasm = self.wasm();
        wasm.if_(BlockType::Empty);
        wasm.local_get(VCPU).local_get(DEPTH).local_get(VALUE);
        wasm.local_get(ENTRY).i32_load(at(offset_of!(JumpEntry, function)));
        wasm.return_call_indirect(0, types::REGION).end();
        wasm.local_get(VALUE).return_();
    }

    /// Emits the operation that ends a node, and where it leads.
    fn ending(&mut self, node: usize) {
        let region = self.region;
        let op = region.nodes[node].last();
        match (region.nodes[node].end, op.code.shape()) {
            (End::Branch(first, second), shape) => {
                match shape {
                    Shape::CompareJump { is_test, right, condition, width } => {
                        self.compare_and_choose(op, is_test, right, condition, width);
                    }
                    _ => self.condition(Condition::from_code(op.c)),
                }
                let before = (self.flags, self.overlay, self.dirty, self.rip_stored);
                let vectors = self.vectors.known();
                self.wasm().if_(BlockType::Empty);
                self.depth += 1;
                self.go(node, first);
                self.wasm().end();
                self.depth -= 1;
                (self.flags, self.overlay, self.dirty, self.rip_stored) = before;
                self.vectors.return_to(vectors);
                (self.node, self.place) = (node, region.nodes[node].block.ops().len() - 1);
                self.go(node, second);
            }
            (End::Jump(target), _) => self.go(node, target),
            (End::Call(distance, target), _) => self.call(node, op, distance, target),
            (End::Helper(target), _) => {
                self.call_last_helper(op);
                self.rip_stored = None;
                if let Target::Node(next) = target {
                    self.wasm().local_get(VALUE);
                    self.rip(region.nodes[next].distance);
                    self.wasm().i64_eq().if_(BlockType::Empty);
                    self.depth += 1;
                    self.go(node, target);
                    self.wasm().end();
                    self.depth -= 1;
                }
                self.branch(Label::Dispatch);
            }
            (End::Dynamic, Shape::Return) => {
                self.load(op, Width::W64, false);
                self.wasm().local_set(VALUE);
                self.move_stack(8 + i64::from(op.imm));
                self.dirty |= 1 << Reg::RSP.0;
                self.write_back();
                // A call that waits for it goes on behind itself; without one, the address is looked up.
                let mut wasm = self.wasm();
                wasm.local_get(DEPTH).if_(BlockType::Empty).local_get(VALUE).return_().end();
                self.branch(Label::Dispatch);
            }
            (End::Dynamic, _) => {
                self.get(op.b);
                self.wasm().local_set(VALUE);
                self.write_back();
                self.branch(Label::Dispatch);
            }
        }
    }

    /// Calls the helper that ends a block; RIP goes to VALUE.
    fn call_last_helper(&mut self, op: &Op) {
        let rip = at(offset::REGS + 8 * Reg::RIP.index());
        self.write_back_for_helper();
        if let Some(instruction) = StringInstruction::of(op) {
            let behind =
                self.region.nodes[self.node].distance + i64::from(self.region.nodes[self.node].block.length);
            self.wasm().block(BlockType::Empty).block(BlockType::Empty);
            self.move_string(instruction);
            self.rip(behind);
            self.wasm().local_set(VALUE).br(1).end();
            self.depth += 1;
            self.call_written_back(op);
            self.wasm().local_get(VCPU).i64_load(rip).local_set(VALUE).end();
            self.depth -= 1;
        } else {
            self.call_written_back(op);
            self.wasm().local_get(VCPU).i64_load(rip).local_set(VALUE);
        }
        self.load_registers(self.live_after());
        self.vectors.keep(0);
    }

    /// A guest call is a call of the callee's function, which returns here when the guest returns here.
    fn call(&mut self, node: usize, op: &Op, distance: Option<i64>, target: Target) {
        let region = self.region;
        let behind = region.nodes[node].distance + i64::from(op.disp);
        match distance {
            Some(distance) => self.rip(distance),
            None => self.get(op.b),
        }
        self.wasm().local_set(SECOND);
        self.rip(behind);
        self.wasm().local_set(VALUE);
        self.push(op);
        self.dirty |= 1 << Reg::RSP.0;
        self.write_back();
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).local_get(VALUE).i64_store(at(offset::CALLED_FROM));
        wasm.local_get(DEPTH).i32_const(MOST_DEPTH).i32_ge_u().if_(BlockType::Empty);
        wasm.local_get(SECOND).local_set(VALUE);
        self.depth += 1;
        self.branch(Label::Dispatch);
        self.wasm().end();
        self.depth -= 1;
        self.look_up(SECOND);
        let mut wasm = self.wasm();
        wasm.if_(BlockType::Empty);
        wasm.local_get(VCPU).local_get(DEPTH).i32_const(1).i32_add().local_get(SECOND);
        wasm.local_get(ENTRY).i32_load(at(offset_of!(JumpEntry, function)));
        wasm.call_indirect(0, types::REGION).local_set(SECOND).end();
        // What is not compiled is interpreted until it returns here; so is what left the callee on its way.
        wasm.local_get(SECOND);
        self.rip(behind);
        self.wasm().local_tee(VALUE).i64_ne().if_(BlockType::Empty);
        let await_return = self.slots.await_return;
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).local_get(DEPTH).local_get(SECOND).local_get(VALUE);
        wasm.i32_const(await_return as i32).call_indirect(0, types::AWAIT).local_tee(SECOND);
        wasm.local_get(VALUE).i64_ne().if_(BlockType::Empty).local_get(SECOND).return_().end().end();
        self.forget_flags();
        self.dirty = 0;
        self.rip_stored = None;
        self.vectors.keep(0);
        let Target::Node(next) = target else {
            return self.branch(Label::Dispatch);
        };
        self.wasm().local_get(VCPU).i32_load(at(offset::BUDGET)).local_set(BUDGET);
        self.check_budget(next);
        self.wasm().local_get(VCPU).i32_load(at(offset::TLB)).local_set(TLB);
        self.load_registers(self.live_after());
        self.go(node, target);
    }
}
