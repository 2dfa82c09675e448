//! From a region's micro-operations to the body of a WebAssembly function.
//!
//! The function is `(vcpu, depth, rip) -> rip`. It returns the RIP to go on at, with everything written
//! back; when it is left on the way (a fault, a used-up budget, a change that the run loop must see), it
//! writes the number of a [`Site`] beside the registers, and [`leave`](super::abi::leave) puts the state right.

mod access;
mod arithmetic;
mod atomic;
mod bits;
mod control;
mod flags;
mod string;
mod vector;
mod wide;
mod x87;

use super::abi::{Slots, offset};
use super::flow::{Effects, Flow, RegSet, TEMPORARIES, dirty_behind, effects, ends_instruction};
use super::graph::Graph;
use super::region::Region;
use super::window::{Access, MOST_WINDOWS, Window, accesses};
use crate::cpu::{ExitSite, FlagsEffect, HelperEffects, helper_effects};
use crate::host::RelaxedSimd;
use crate::ir::{Extension, Op, Reg, Shape, Width};
use flags::{FlagsState, Overlay};
use wasm_encoder::{InstructionSink, MemArg, MemArgTarget};

pub use atomic::AtomicInstruction;
pub use bits::BitInstruction;
pub use flags::FlagsAt;
use vector::VectorLocals;
pub use vector::vector_effects;
pub use wide::WideInstruction;
pub use x87::reads as x87_reads;

/// Numbers of the function types that every module begins with.
pub mod types {
    /// `(vcpu, depth, rip) -> rip`.
    pub const REGION: u32 = 0;
    /// `(vcpu, operation, operation) -> status`.
    pub const CALL: u32 = 1;
    /// `(vcpu, condition) -> holds`.
    pub const CONDITION: u32 = 2;
    /// `(vcpu, depth, rip, awaited) -> rip`.
    pub const AWAIT: u32 = 3;
    /// `(vcpu, rip, awaited) -> rip`.
    pub const INTERPRET: u32 = 4;
    /// `(low, high, divisor) -> quotient`.
    pub const DIVIDE: u32 = 5;
}

/// Where a region can be left on the way.
#[derive(Clone, Debug)]
pub struct Site {
    /// Bytes from the region's entry to the block that RIP is told of.
    pub distance: i64,
    /// Registers whose saved copy counts.
    pub dirty: RegSet,
    /// Where the flags are.
    pub flags: FlagsAt,
    /// How to go on.
    pub onward: Onward,
    /// How often a site that leads to [unseen](Onward::Unseen) code was left by.
    pub taken: u32,
}

/// How to go on behind a way out.
#[derive(Clone, Debug)]
pub enum Onward {
    /// With the block that RIP is told of.
    Block,
    /// As [`Block`](Self::Block), which had not run when the region was compiled.
    Unseen,
    /// A helper has raised an exception, or made a change that the run loop must see.
    Helper(ExitSite),
    /// With an operation of the region's block of this number, in the interpreter.
    Redo {
        /// The block.
        node: usize,
        /// The operation's place in it.
        place: usize,
        /// What is looked up, if that is more than one access, and the operation that does.
        window: Option<(Window, usize)>,
        /// It is a floating-point operation whose operands or results are no normal numbers.
        is_special: bool,
    },
}

/// An emitted region.
pub struct Function {
    /// The function's locals and code, as the code section has them.
    pub body: Vec<u8>,
    /// Where in the body the function's number in its module stands, as a [`Number`].
    pub number_at: usize,
    /// Where it can be left, by the number that it tells, less 1.
    pub sites: Vec<Site>,
    /// The budget that it needs at its entry.
    pub needs: u32,
}

// Locals.
const VCPU: u32 = 0;
const DEPTH: u32 = 1;
const RIP: u32 = 2;
const TLB: u32 = 3;
const BUDGET: u32 = 4;
const ENTRY: u32 = 5;
const SITE: u32 = 6;
const FLAGS_KIND: u32 = 7;
const CHOICE: u32 = 8;
/// Where windows begin, in the host's memory.
const HOSTS: u32 = 9;
const I32_LOCALS: u32 = 6 + MOST_WINDOWS as u32;
const ADDRESS: u32 = HOSTS + MOST_WINDOWS as u32;
const VALUE: u32 = ADDRESS + 1;
const FLAGS_LEFT: u32 = ADDRESS + 2;
const FLAGS_RESULT: u32 = ADDRESS + 3;
const FLAGS_SOURCE: u32 = ADDRESS + 4;
const SECOND: u32 = ADDRESS + 5;
const FLAGS_OVERLAY: u32 = ADDRESS + 6;
const I64_LOCALS: u32 = 7;
const FIRST_REGISTER: u32 = ADDRESS + I64_LOCALS;

/// What a function returns when it was left on the way: no canonical address.
pub const LEFT_ON_THE_WAY: i64 = i64::MIN + 1;

/// What a function returns when all calls of functions are to be unwound: no canonical address.
pub const UNWIND: i64 = i64::MIN + 2;

/// The function that a call goes on in when the callee's function did not return to it: it interprets, and calls
/// compiled functions from there, until the guest returns to the call. Else it returns as a region does.
pub fn await_return(interpret: u32) -> Vec<u8> {
    use wasm_encoder::{BlockType, ValType};
    const AWAITED: u32 = 3;
    const FUNCTION: u32 = 4;
    let mut body = wasm_encoder::Function::new([(1, ValType::I32)]);
    let mut wasm = body.instructions();
    wasm.loop_(BlockType::Empty);
    wasm.local_get(VCPU).local_get(RIP).local_get(AWAITED);
    wasm.i32_const(interpret as i32).call_indirect(0, types::INTERPRET);
    wasm.local_tee(RIP).local_get(AWAITED).i64_eq();
    wasm.local_get(VCPU).i32_load(at(offset::NEXT_FUNCTION)).local_tee(FUNCTION).i32_eqz().i32_or();
    wasm.if_(BlockType::Empty).local_get(RIP).return_().end();
    wasm.local_get(VCPU).local_get(DEPTH).i32_const(1).i32_add().local_get(RIP);
    wasm.local_get(FUNCTION).call_indirect(0, types::REGION);
    wasm.local_tee(RIP).local_get(AWAITED).i64_ne().br_if(0).end();
    wasm.local_get(RIP).end();
    body.into_raw_body()
}

/// Emits the function of a region, of these relaxed SIMD instructions beside the others.
pub fn function(region: &Region, slots: &Slots, relaxed: RelaxedSimd) -> Function {
    let graph = Graph::new(region);
    let flow = Flow::new(region, &graph);
    let has_x87 = region.nodes.iter().flat_map(|node| node.block.ops()).any(|op| x87_reads(op).is_some());
    let mut emitter = Emitter {
        region,
        graph: &graph,
        flow: &flow,
        slots,
        relaxed,
        code: Vec::with_capacity(4096),
        depth: 0,
        labels: Vec::new(),
        sites: Vec::new(),
        dirty: 0,
        flags: FlagsState::Memory,
        overlay: None,
        rip_stored: None,
        node: 0,
        place: 0,
        accesses: Vec::new(),
        uses_flags: false,
        number_at: 0,
        vectors: VectorLocals::default(),
        has_x87,
        x87_known: x87::Known::default(),
    };
    emitter.whole();
    let Emitter { code, sites, vectors, number_at, .. } = emitter;
    let registers = flow.used.count_ones();
    let mut body = Vec::with_capacity(code.len() + 16);
    let has_x87 = u32::from(has_x87);
    let groups = [
        (I32_LOCALS, wasm_encoder::ValType::I32),
        (I64_LOCALS + registers + has_x87 * x87::I64_LOCALS, wasm_encoder::ValType::I64),
        (has_x87 * x87::I32_LOCALS, wasm_encoder::ValType::I32),
        (vectors.count(), wasm_encoder::ValType::V128),
    ];
    use wasm_encoder::Encode;
    (groups.len() as u32).encode(&mut body);
    for (count, kind) in groups {
        count.encode(&mut body);
        kind.encode(&mut body);
    }
    let number_at = body.len() + number_at;
    body.extend_from_slice(&code);
    Function { body, number_at, sites, needs: graph.longest[0] }
}

/// What a branch within the function leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Label {
    /// The way out to where VALUE says.
    Dispatch,
    /// The head of the loop that begins with a node.
    Loop(usize),
    /// The block behind which a node begins.
    Before(usize),
}

struct Emitter<'a> {
    region: &'a Region<'a>,
    graph: &'a Graph,
    flow: &'a Flow,
    slots: &'a Slots,
    /// The relaxed SIMD instructions that serve.
    relaxed: RelaxedSimd,
    code: Vec<u8>,
    /// How many constructs are open.
    depth: u32,
    /// The constructs that branches lead to, each with the depth outside it.
    labels: Vec<(Label, u32)>,
    sites: Vec<Site>,
    /// Registers that may be newer in their local than in memory, here.
    dirty: RegSet,
    /// Where the flags are, here.
    flags: FlagsState,
    /// What stands over those flags.
    overlay: Option<Overlay>,
    /// The distance from the entry that RIP in memory stands for, if that is known.
    rip_stored: Option<i64>,
    /// The node that is being emitted.
    node: usize,
    /// The operation in its block.
    place: usize,
    /// How the operations of the node come to their host addresses.
    accesses: Vec<Access>,
    /// Whether any site needs the locals of the flags.
    uses_flags: bool,
    /// Where vector registers are, here.
    vectors: VectorLocals,
    /// Where the function's number stands.
    number_at: usize,
    /// Whether there are locals for the x87 unit.
    has_x87: bool,
    /// What they hold, here.
    x87_known: x87::Known,
}

/// A function's number in its module, in a constant of fixed length (LEB128 with trailing groups of zero).
#[derive(Clone, Copy, Debug)]
pub struct Number(pub u32);

impl Number {
    /// The bytes of the constant.
    pub fn bytes(self) -> [u8; 4] {
        let group = |shift: u32| (self.0 >> shift & 0x7f) as u8;
        [group(0) | 0x80, group(7) | 0x80, group(14) | 0x80, group(21)]
    }
}

/// A memory operand at an offset from the address on the stack; alignment is never promised.
fn at(offset: usize) -> MemArg {
    MemArg { offset: offset as u64, align: 0, target: MemArgTarget::Memory(0), ordering: None }
}

impl Emitter<'_> {
    fn wasm(&mut self) -> InstructionSink<'_> {
        InstructionSink::new(&mut self.code)
    }

    fn whole(&mut self) {
        use wasm_encoder::BlockType;
        let longest = self.graph.longest[0] as i32;
        // The outermost block ends where regions are left on the way, the next where they go on elsewhere.
        self.wasm().block(BlockType::Empty).block(BlockType::Empty);
        self.depth = 2;
        self.labels.push((Label::Dispatch, 1));
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).i32_load(at(offset::BUDGET)).local_tee(BUDGET).i32_const(longest).i32_lt_s();
        wasm.if_(BlockType::Empty).local_get(RIP).return_().end();
        wasm.local_get(VCPU).i32_load(at(offset::TLB)).local_set(TLB);
        self.load_registers(self.flow.nodes[0].live_in);
        if self.graph.is_loop[0] && self.flow.nodes[0].flags_live_in {
            self.make_flags_lazy();
        }
        self.tree(0);
        self.wasm().unreachable().end();
        self.labels.pop();
        self.depth = 1;
        self.dispatch();
        self.wasm().end();
        self.depth = 0;
        self.exit();
        self.wasm().end();
    }

    /// Writes down the state at an exit on the way, and leaves.
    fn exit(&mut self) {
        let dirty = self.sites.iter().fold(0, |all, site| all | site.dirty);
        for register in registers(dirty) {
            let local = self.local(register);
            let place = offset::SAVED + 8 * usize::from(register.0);
            self.wasm().local_get(VCPU).local_get(local).i64_store(at(place));
        }
        if self.uses_flags {
            let mut wasm = self.wasm();
            wasm.local_get(VCPU).local_get(FLAGS_LEFT).i64_store(at(offset::FLAGS_LEFT));
            wasm.local_get(VCPU).local_get(FLAGS_RESULT).i64_store(at(offset::FLAGS_RESULT));
            wasm.local_get(VCPU).local_get(FLAGS_SOURCE).i64_store(at(offset::FLAGS_SOURCE));
            wasm.local_get(VCPU).local_get(FLAGS_KIND).i32_store(at(offset::FLAGS_KIND));
            wasm.local_get(VCPU).local_get(FLAGS_OVERLAY).i64_store(at(offset::FLAGS_OVERLAY));
        }
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).local_get(SITE).i32_store(at(offset::EXIT_SITE));
        wasm.local_get(VCPU).global_get(0);
        // The opcode of `i32.const`; the number is put in when the function's place in a module is known.
        self.code.push(0x41);
        self.number_at = self.code.len();
        self.code.extend_from_slice(&Number(0).bytes());
        let mut wasm = self.wasm();
        wasm.i32_add().i32_store(at(offset::EXIT_REGION));
        wasm.local_get(VCPU).local_get(RIP).i64_store(at(offset::EXIT_RIP));
        wasm.local_get(VCPU).local_get(BUDGET).i32_store(at(offset::BUDGET));
        wasm.i64_const(LEFT_ON_THE_WAY);
    }

    /// The local of a register.
    fn local(&self, register: Reg) -> u32 {
        let below = self.flow.used & ((1u32 << register.0) - 1);
        debug_assert!(self.flow.used & 1 << register.0 != 0, "{register:?} has no local");
        FIRST_REGISTER + below.count_ones()
    }

    /// The first local of vectors.
    fn first_vector(&self) -> u32 {
        let before = if self.has_x87 { x87::I64_LOCALS + x87::I32_LOCALS } else { 0 };
        FIRST_REGISTER + self.flow.used.count_ones() + before
    }

    /// Puts a register's value on the stack.
    fn get(&mut self, number: u8) {
        let register = Reg(number);
        if register == Reg::ZERO {
            self.wasm().i64_const(0);
        } else if register == Reg::RIP {
            let distance = self.region.nodes[self.node].distance;
            self.rip(distance);
        } else {
            let local = self.local(register);
            self.wasm().local_get(local);
        }
    }

    /// Takes a register's value from the stack.
    fn set(&mut self, number: u8) {
        let local = self.local(Reg(number));
        self.wasm().local_set(local);
    }

    /// Puts a guest address on the stack.
    fn rip(&mut self, distance: i64) {
        let mut wasm = self.wasm();
        wasm.local_get(RIP);
        if distance != 0 {
            wasm.i64_const(distance).i64_add();
        }
    }

    /// Reads registers from memory into their locals.
    fn load_registers(&mut self, set: RegSet) {
        for register in registers(set & self.flow.used) {
            let local = self.local(register);
            self.wasm().local_get(VCPU).i64_load(at(offset::REGS + 8 * register.index())).local_set(local);
        }
    }

    /// Writes registers back to memory.
    fn store_registers(&mut self, set: RegSet) {
        for register in registers(set & self.flow.used) {
            let local = self.local(register);
            self.wasm().local_get(VCPU).local_get(local).i64_store(at(offset::REGS + 8 * register.index()));
        }
    }

    /// Makes RIP in memory that of the node's block, as helpers expect it.
    fn store_rip(&mut self) {
        let distance = self.region.nodes[self.node].distance;
        if self.rip_stored != Some(distance) {
            self.wasm().local_get(VCPU);
            self.rip(distance);
            self.wasm().i64_store(at(offset::REGS + 8 * Reg::RIP.index()));
            self.rip_stored = Some(distance);
        }
    }

    /// Notes a way out behind the helper that the current operation calls; its number.
    fn site(&mut self) -> i32 {
        let node = &self.region.nodes[self.node];
        let ops = node.block.ops();
        let op = ops[self.place];
        let rest = ops[self.place + 1..].iter().take_while(|other| other.pc == op.pc);
        let next = node.block.instruction_offsets().iter().copied().find(|&offset| offset > op.pc);
        let before = node.block.instructions_before(op.pc);
        let operation = ExitSite {
            op,
            next: next.unwrap_or(node.block.length),
            left: (node.block.instruction_count() - before) as u16,
            rest: rest.copied().collect(),
        };
        self.note_site(node.distance, self.dirty, Onward::Helper(operation))
    }

    /// Notes a way out that goes on at a distance from the entry.
    fn site_at(&mut self, distance: i64) -> i32 {
        self.note_site(distance, self.dirty, Onward::Block)
    }

    /// Notes a way out that has the interpreter run the current operation, which looks up a window or its own bytes,
    /// and the rest of its block.
    fn redo_site(&mut self, window: Option<Window>) -> i32 {
        self.redo_site_because(window, false)
    }

    /// As [`redo_site`](Self::redo_site), for a floating-point operation on what is no normal number.
    fn special_site(&mut self) -> i32 {
        self.redo_site_because(None, true)
    }

    fn redo_site_because(&mut self, window: Option<Window>, is_special: bool) -> i32 {
        let node = &self.region.nodes[self.node];
        let place = self.vectors.redone_from(self.place);
        let Effects { reads, writes, .. } = effects(&node.block.ops()[place]);
        // What this operation and those behind it read.
        let live_after = self.flow.nodes[self.node].live_after[place];
        let temporaries = (live_after & !writes | reads) & TEMPORARIES;
        let distance = node.distance;
        let onward = Onward::Redo {
            node: self.node,
            place,
            window: window.map(|window| (window, self.place)),
            is_special,
        };
        self.note_site(distance, self.dirty | temporaries, onward)
    }

    fn note_site(&mut self, distance: i64, dirty: RegSet, onward: Onward) -> i32 {
        let flags = FlagsAt { base: self.flags, overlay: self.overlay };
        self.uses_flags |= flags.is_in_locals();
        self.sites.push(Site { distance, dirty, flags, onward, taken: 0 });
        self.sites.len() as i32
    }

    /// Leaves at a site when the number on the stack is not zero. The site's number stands in its local.
    fn leave_if(&mut self) {
        let depth = self.depth - 1;
        self.wasm().br_if(depth);
    }

    /// Emits the operations of a node but what ends it.
    fn operations(&mut self, node: usize) {
        let region = self.region;
        let ops = region.nodes[node].block.ops();
        self.node = node;
        self.dirty = self.flow.nodes[node].dirty_in;
        self.accesses = match region.nodes[node].block.compiled.has_split_windows.get() {
            false => accesses(ops),
            true => vec![Access::Alone; ops.len()],
        };
        let numbers = region.nodes[node].block.compiled.numbers.get();
        self.vectors.begin(ops, numbers, self.relaxed.fuses);
        self.x87_known = x87::Known::default();
        let count = region.nodes[node].block.instruction_count();
        self.wasm().local_get(BUDGET).i32_const(count as i32).i32_sub().local_set(BUDGET);
        for (place, op) in ops.iter().enumerate().take(ops.len() - 1) {
            self.place = place;
            self.enter_or_leave_stretch();
            self.operation(op);
            self.dirty = dirty_behind(self.dirty, &effects(op));
        }
        self.place = ops.len() - 1;
        self.enter_or_leave_stretch();
    }

    fn live_after(&self) -> RegSet {
        self.flow.nodes[self.node].live_after[self.place]
    }

    fn flags_live_after(&self) -> bool {
        self.flow.nodes[self.node].flags_live_after[self.place]
    }

    fn operation(&mut self, op: &Op) {
        let immediate = i64::from(op.imm);
        match op.code.shape() {
            Shape::Move(width) => {
                self.get(op.b);
                self.assign(op.a, width);
            }
            Shape::MoveImmediate(width) => {
                let value = if width < Width::W64 { immediate & width.mask() as i64 } else { immediate };
                self.wasm().i64_const(value);
                self.assign_clean(op.a, width);
            }
            Shape::MoveImmediateWide => {
                self.wasm().i64_const(i64::from(op.disp as u32) | immediate << 32);
                self.set(op.a);
            }
            Shape::ZeroExtend(width) => {
                self.get(op.b);
                self.wasm().i64_const(width.mask() as i64).i64_and();
                self.set(op.a);
            }
            Shape::SignExtend { from, to } => {
                self.get(op.b);
                self.sign_extend(from);
                self.assign(op.a, to);
            }
            Shape::ExtractHigh8 => {
                self.get(op.b);
                self.wasm().i64_const(8).i64_shr_u().i64_const(0xff).i64_and();
                self.set(op.a);
            }
            Shape::InsertHigh8 => {
                self.get(op.a);
                self.wasm().i64_const(!0xff00).i64_and();
                self.get(op.b);
                self.wasm().i64_const(0xff).i64_and().i64_const(8).i64_shl().i64_or();
                self.set(op.a);
            }
            Shape::Lea(width) => {
                self.address(op);
                if width < Width::W64 {
                    self.wasm().i64_const(width.mask() as i64).i64_and();
                }
                self.set(op.a);
            }
            Shape::Load(width, extension) => {
                self.load(op, width, matches!(extension, Extension::Sign(_)));
                match extension {
                    Extension::Keep => self.assign_clean(op.a, width),
                    Extension::Zero => self.set(op.a),
                    Extension::Sign(to) => self.assign(op.a, to),
                }
            }
            Shape::Store(width) => {
                self.get(op.a);
                self.wasm().local_set(VALUE);
                self.store(op, width);
            }
            Shape::StoreImmediate(width) => {
                self.wasm().i64_const(immediate).local_set(VALUE);
                self.store(op, width);
            }
            Shape::LoadForUpdate(width) => {
                self.load_for_update(op, width);
                self.set(op.a);
            }
            Shape::Push => {
                self.get(op.a);
                self.wasm().local_set(VALUE);
                self.push(op);
            }
            Shape::PushImmediate => {
                self.wasm().i64_const(immediate).local_set(VALUE);
                self.push(op);
            }
            Shape::Pop => {
                self.load(op, Width::W64, false);
                self.wasm().local_set(VALUE);
                self.move_stack(8);
                self.wasm().local_get(VALUE);
                self.set(op.a);
            }
            Shape::VectorLoad { .. }
            | Shape::VectorStore { .. }
            | Shape::VectorMove { .. }
            | Shape::VectorClearUpper => self.vector_move(op),
            Shape::Vector | Shape::Vector256 if self.vector(op) => {}
            Shape::Call => {
                if let Some(instruction) = BitInstruction::of(op) {
                    self.bits(op, instruction);
                } else if let Some(instruction) = AtomicInstruction::of(op) {
                    self.atomic(op, instruction);
                } else if let Some(instruction) = WideInstruction::of(op) {
                    self.wide(op, instruction);
                } else if vector::clears_upper_halves(op) {
                    self.clear_upper_halves();
                } else if let Some(known) = helper_effects(op) {
                    if !self.x87(op) {
                        self.call_known(op, &known);
                        self.x87_known = x87::Known::default();
                    }
                } else {
                    self.call_helper(op);
                }
            }
            Shape::Vector | Shape::Vector256 => self.call_helper(op),
            _ => self.arithmetic(op),
        }
    }

    /// Calls a helper that works on the vCPU's memory.
    fn call_helper(&mut self, op: &Op) {
        self.write_back_for_helper();
        self.call_written_back(op);
        self.load_registers(self.live_after());
        self.vectors.keep(0);
        self.x87_known = x87::Known::default();
    }

    /// Writes everything back that helpers work on.
    fn write_back_for_helper(&mut self) {
        let temporaries = self.flow.used & TEMPORARIES;
        self.store_registers(self.dirty | self.written_temporaries(temporaries));
        self.store_flags();
        self.store_rip();
        self.wasm().local_get(VCPU).local_get(BUDGET).i32_store(at(offset::BUDGET));
        self.dirty = 0;
    }

    /// Calls a helper when everything is written back; what it has done is in memory.
    fn call_written_back(&mut self, op: &Op) {
        let halves = halves(op);
        let site = self.site();
        let slot = self.slots.call;
        let mut wasm = self.wasm();
        wasm.i32_const(site).local_set(SITE);
        wasm.local_get(VCPU).i64_const(halves[0]).i64_const(halves[1]);
        wasm.i32_const(slot as i32).call_indirect(0, types::CALL);
        self.leave_if();
        self.wasm().local_get(VCPU).i32_load(at(offset::TLB)).local_set(TLB);
    }

    /// Calls a helper that works on a few registers only.
    fn call_known(&mut self, op: &Op, known: &HelperEffects) {
        let mut handed = (known.reads | known.writes) & (self.dirty | TEMPORARIES);
        if known.may_leave && !self.ends_instruction() {
            handed |= TEMPORARIES;
        }
        let written = self.written_temporaries(handed & TEMPORARIES);
        self.store_registers(handed & self.dirty | written);
        self.dirty &= !(known.reads | known.writes);
        match known.flags {
            FlagsEffect::None => {}
            FlagsEffect::Defines if !known.may_leave => self.forget_flags(),
            _ => self.store_flags(),
        }
        let halves = halves(op);
        let slot = self.slots.call;
        if known.may_leave {
            self.store_rip();
            let site = self.site();
            self.wasm().i32_const(site).local_set(SITE);
        }
        let mut wasm = self.wasm();
        wasm.local_get(VCPU).i64_const(halves[0]).i64_const(halves[1]);
        wasm.i32_const(slot as i32).call_indirect(0, types::CALL);
        if known.may_leave {
            self.leave_if();
        } else {
            self.wasm().drop();
        }
        self.load_registers(known.writes & self.live_after());
    }

    /// The temporaries that the operations of this instruction before the current one have written.
    fn written_temporaries(&self, among: RegSet) -> RegSet {
        let ops = self.region.nodes[self.node].block.ops();
        let pc = ops[self.place].pc;
        let before = ops[..self.place].iter().rev().take_while(|op| op.pc == pc);
        // Behind a barrier the locals hold what memory does, or nothing that counts.
        let since = before.map(effects).take_while(|effect| !effect.is_barrier);
        since.fold(0, |written, Effects { writes, .. }| written | writes) & among
    }

    /// Whether the current operation is the last of its instruction.
    fn ends_instruction(&self) -> bool {
        ends_instruction(self.region.nodes[self.node].block.ops(), self.place)
    }
}

/// An operation as two numbers.
fn halves(op: &Op) -> [i64; 2] {
    let low = u64::from(op.code as u16)
        | u64::from(op.pc) << 16
        | u64::from(op.a) << 32
        | u64::from(op.b) << 40
        | u64::from(op.c) << 48
        | u64::from(op.d) << 56;
    let high = u64::from(op.disp as u32) | u64::from(op.imm as u32) << 32;
    [low as i64, high as i64]
}

/// The registers of a set.
fn registers(set: RegSet) -> impl Iterator<Item = Reg> {
    (0..32).filter(move |number| set & 1 << number != 0).map(Reg)
}
