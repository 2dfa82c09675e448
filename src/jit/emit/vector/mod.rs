//! Vector registers: the vCPU's memory always holds them; within a straight stretch of code their low halves
//! also stand in locals, so that they are not read again. What operations that nobody sees in between change is written once. Hot operations are WebAssembly's own.

mod arithmetic;
mod float;
mod fused;
mod integer;
mod invariant;
mod permute;
mod plain;
mod shuffle;
mod stretch;
mod strings;

use super::{ENTRY, Emitter, VALUE, VCPU, at};
use crate::cpu::Numbers;
use crate::cpu::sse::{self, float::Operation as FloatOperation, integer::Operation as IntegerOperation};
use crate::ir::{Op, OpCode, Shape, VectorReg, Width};
use crate::jit::abi::offset;
use crate::jit::flow::{RegSet, effects};
use crate::jit::window::Access;
use plain::Plain;
use stretch::{Current, Stretch};
use wasm_encoder::MemArg;

/// Behind the numbers of the registers and their upper halves: locals of 128 bits that no register has.
const SCRATCH: u8 = 64;
/// Set in the number of a vector register's upper half.
pub(super) const UPPER: u8 = 32;

/// What a vector operation that is emitted directly does beside its work on vector registers.
#[derive(Clone, Copy, Debug, Default)]
pub struct VectorEffects {
    /// Integer registers that it reads.
    pub reads: RegSet,
    /// Integer registers that it writes.
    pub writes: RegSet,
    /// It sets all flags.
    pub defines_flags: bool,
    /// It may raise an exception.
    pub may_exit: bool,
}

/// What a vector operation that is emitted directly does; `None` for those that a helper runs.
pub fn vector_effects(op: &Op) -> Option<VectorEffects> {
    Some(Direct::of(op)?.effects(op))
}

/// Whether an operation is VZEROUPPER.
pub fn clears_upper_halves(op: &Op) -> bool {
    op.code == OpCode::Call && op.imm == sse::avx::ZERO.number() && op.d == 0
}

/// How an operation is emitted.
enum Direct {
    Integer(integer::Direct),
    Float(float::Direct),
    /// Both halves alike.
    Wide(IntegerOperation),
    /// Both halves at once.
    WideFloat(float::Direct),
    /// Across the halves.
    Permute(permute::Direct),
    /// By a call that works on vector registers only.
    Slow,
}

impl Direct {
    fn of(op: &Op) -> Option<Self> {
        if op.code == OpCode::Vector256 || sse::is_avx_or_crypto(op.imm) {
            if let Some(operation) = IntegerOperation::from_number(op.imm)
                && integer::has_halves_alike(operation, op)
            {
                return Some(Self::Wide(operation));
            }
            if let Some(operation) = FloatOperation::from_number(op.imm)
                && let Some(direct) = float::Direct::of_halves(operation, op)
            {
                return Some(Self::WideFloat(direct));
            }
            if let Some(direct) = permute::Direct::of(op) {
                return Some(Self::Permute(direct));
            }
            return (!sse::writes_integers(op.imm)).then_some(Self::Slow);
        }
        match IntegerOperation::from_number(op.imm) {
            Some(operation) => integer::Direct::of(operation, op).map(Self::Integer),
            None => Some(Self::Float(float::Direct::of(FloatOperation::from_number(op.imm)?, op))),
        }
    }

    fn effects(&self, op: &Op) -> VectorEffects {
        match self {
            Self::Integer(direct) => direct.effects(op),
            Self::Float(direct) => direct.effects(op),
            Self::Wide(operation) => integer::wide_effects(*operation, op),
            Self::WideFloat(direct) => direct.effects(op),
            Self::Permute(direct) => direct.effects(op),
            Self::Slow => VectorEffects { may_exit: true, ..VectorEffects::default() },
        }
    }
}

/// Which vector registers have locals, and which of these hold what memory does.
#[derive(Default)]
pub struct VectorLocals {
    /// Registers in the order of their locals.
    order: Vec<u8>,
    /// What is known, here.
    known: Known,
    /// The stretches of the block.
    stretches: Vec<Stretch>,
    /// The stretch that the current operation belongs to.
    current: Option<Current>,
    /// Halves of registers whose local alone is right, until something may look at memory.
    pending: u64,
    /// Nothing looks at memory during the current operation.
    is_hidden: bool,
}

/// What is known of vector registers at a place of the code.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Registers whose local is right.
    valid: u64,
    /// Temporaries whose local alone is right.
    unstored: u64,
    /// Registers whose lanes are plain.
    plain: Plain,
}

impl VectorLocals {
    /// How many locals of 128 bits the function needs.
    pub fn count(&self) -> u32 {
        self.order.len() as u32
    }

    /// Begins with the operations of a block, which meet such `numbers`; `fuses` tells whether fused operations are the
    /// engine's own.
    pub fn begin(&mut self, ops: &[Op], numbers: Numbers, fuses: bool) {
        self.known.plain.enter(numbers);
        // Where anything is met, it is looked at after each operation.
        self.stretches = if numbers == Numbers::Any { Vec::new() } else { stretch::stretches(ops, fuses) };
    }

    /// Where the interpreter goes on if the operation at a place cannot be run.
    pub fn redone_from(&self, place: usize) -> usize {
        self.current.as_ref().map_or(place, Current::start)
    }

    /// What is known here.
    pub fn known(&self) -> Known {
        self.known
    }

    /// From here on that is known which was known at another place.
    pub fn return_to(&mut self, known: Known) {
        self.known = known;
    }

    /// From here on only the locals of `valid` are right, and nothing else is known.
    pub fn keep(&mut self, valid: u64) {
        self.known = Known { valid, ..Known::default() };
    }

    /// From here on the locals of upper halves are not right.
    pub fn forget_upper_halves(&mut self) {
        self.pending &= (1 << UPPER) - 1;
        self.keep(self.known.valid & ((1 << UPPER) - 1));
    }

    /// From here on the local of this half is not right.
    fn forget(&mut self, number: u8) {
        self.known.valid &= !(1 << number);
        self.known.plain.forget(number);
    }

    /// From here on the local of this half is right, and has another value.
    fn know(&mut self, number: u8) {
        self.known.valid |= 1 << number;
        self.known.unstored &= !(1 << number);
        self.known.plain.forget(number);
    }

    fn place(&mut self, number: u8) -> u32 {
        let place = self.order.iter().position(|&other| other == number).unwrap_or_else(|| {
            self.order.push(number);
            self.order.len() - 1
        });
        place as u32
    }
}

/// The halves of vector registers that an operation may read; registers of other kinds may be among them.
fn operands(op: &Op) -> u64 {
    let low = |number: u8| match usize::from(number) {
        register @ 0..VectorReg::COUNT => 1 << register,
        _ => 0,
    };
    let both = |number: u8| low(number) << UPPER | low(number);
    match op.code.shape() {
        Shape::Vector => low(op.a) | low(op.b) | low(op.c),
        Shape::Vector256 => both(op.a) | both(op.b) | both(op.c) | both(op.d),
        Shape::VectorStore { bytes: 32, .. } => both(op.a),
        Shape::VectorStore { .. } => low(op.a),
        Shape::VectorMove { bytes: 32 } => both(op.b),
        Shape::VectorMove { .. } => low(op.b),
        _ => 0,
    }
}

/// The offset of a half of a vector register in the vCPU.
fn vector_offset(number: u8) -> usize {
    let upper = if number & UPPER != 0 { 16 } else { 0 };
    offset::VECTORS + 32 * usize::from(number & !UPPER).min(VectorReg::COUNT - 1) + upper
}

impl Emitter<'_> {
    /// The local of a vector register.
    fn vector_local(&mut self, number: u8) -> u32 {
        self.first_vector() + self.vectors.place(number)
    }

    /// One of the locals of 128 bits that no register has.
    fn scratch(&mut self, number: u32) -> u32 {
        self.first_vector() + self.vectors.place(SCRATCH + number as u8)
    }

    /// Puts a vector register's low 128 bits on the stack.
    fn get_vector(&mut self, number: u8) {
        let local = self.cached_vector(number);
        self.wasm().local_get(local);
    }

    /// The local of a vector register, made right. Code that only some ways run must not be the first to ask.
    pub(super) fn cached_vector(&mut self, number: u8) -> u32 {
        let local = self.vector_local(number);
        if self.vectors.known.valid & 1 << number == 0 {
            self.reload_vector(number);
        }
        local
    }

    /// Reads a vector register again, which our code has written.
    fn reload_vector(&mut self, number: u8) {
        let local = self.vector_local(number);
        self.wasm().local_get(VCPU).v128_load(at(vector_offset(number))).local_set(local);
        self.vectors.know(number);
    }

    /// Takes a vector register's low 128 bits from the stack.
    fn set_vector(&mut self, number: u8) {
        let local = self.vector_local(number);
        self.wasm().local_set(local);
        self.vectors.know(number);
        if let Some(current) = &mut self.vectors.current {
            return current.change(number);
        }
        if usize::from(number & !UPPER) >= usize::from(VectorReg::T0.0) && self.stays_in_locals() {
            self.vectors.known.unstored |= 1 << number;
        } else if self.vectors.is_hidden {
            self.vectors.pending |= 1 << number;
        } else {
            self.store_vector_local(number);
        }
    }

    /// Makes memory hold what the local of a vector register does.
    fn store_vector_local(&mut self, number: u8) {
        let local = self.vector_local(number);
        self.wasm().local_get(VCPU).local_get(local).v128_store(at(vector_offset(number)));
    }

    /// Has memory hold the registers that have been changed out of its sight.
    fn store_pending(&mut self) {
        let pending = std::mem::take(&mut self.vectors.pending);
        for number in (0..64).filter(|number| pending & 1 << number != 0) {
            self.store_vector_local(number);
        }
    }

    /// Whether the code of the current operation neither leaves the region nor lets anybody see the vCPU's memory.
    fn is_out_of_sight(&self, op: &Op) -> bool {
        let effects = effects(op);
        let is_within = match op.code.shape() {
            Shape::VectorLoad { is_aligned, .. } | Shape::VectorStore { is_aligned, .. } => !is_aligned,
            Shape::Load(..) | Shape::Store(_) | Shape::StoreImmediate(_) => true,
            _ => false,
        };
        let is_looked_up = is_within && matches!(self.accesses.get(self.place), Some(Access::Within { .. }));
        (is_looked_up || !effects.may_exit) && !effects.is_barrier && effects.stores == 0
    }

    /// The current operation and those behind it in its instruction.
    fn rest_of_instruction(&self) -> &[Op] {
        let ops = self.region.nodes[self.node].block.ops();
        let rest = ops.get(self.place..).unwrap_or_default();
        let is_same = |op: &&Op| Some(op.pc) == rest.first().map(|first| first.pc);
        &rest[..rest.iter().take_while(is_same).count()]
    }

    /// Whether nothing that follows in this instruction needs temporaries in memory, but for operations that go the slow
    /// way, which store them.
    fn stays_in_locals(&self) -> bool {
        self.rest_of_instruction().iter().skip(1).all(|op| match op.code.shape() {
            Shape::Vector | Shape::Vector256 => Direct::of(op).is_some(),
            Shape::VectorMove { .. } => true,
            _ => false,
        })
    }

    /// Stores the temporaries that memory does not hold yet and the rest of the instruction works on.
    fn store_temporaries(&mut self) {
        let rest = self.rest_of_instruction().iter().flat_map(|op| [op.a, op.b, op.c, op.d]);
        let numbers: Vec<u8> = rest.collect();
        let unstored = self.vectors.known.unstored;
        for number in (0..64).filter(|number| unstored & 1 << number != 0) {
            if numbers.contains(&(number & !UPPER)) {
                self.store_vector_local(number);
            }
        }
    }

    /// Makes the locals right of those vector registers that a loop's head works on, and of no others: on every way to
    /// the loop, for a sum not to go through memory on its way to the next round.
    pub(super) fn carry_vectors(&mut self, head: usize) {
        let carried = self.region.nodes[head].block.ops().iter().fold(0, |all, op| all | operands(op));
        let missing = carried & !self.vectors.known.valid;
        for number in (0..64).filter(|number| missing & 1 << number != 0) {
            self.reload_vector(number);
        }
        self.vectors.keep(carried);
    }

    /// Loads, stores and moves of vector registers.
    pub(super) fn vector_move(&mut self, op: &Op) {
        match op.code.shape() {
            Shape::VectorLoad { bytes, is_aligned } => {
                let place = self.readable(op, bytes, if is_aligned { bytes } else { 1 });
                if bytes == 32 {
                    // The TLB's entry has served.
                    let behind = MemArg { offset: place.offset + 16, ..place };
                    self.wasm().local_tee(ENTRY).v128_load(behind);
                    self.set_vector(op.a | UPPER);
                    self.wasm().local_get(ENTRY);
                }
                let mut wasm = self.wasm();
                match bytes {
                    4 => wasm.v128_load32_zero(place),
                    8 => wasm.v128_load64_zero(place),
                    _ => wasm.v128_load(place),
                };
                self.set_vector(op.a);
            }
            Shape::VectorStore { bytes: bytes @ (16 | 32), is_aligned } => {
                self.store_vector(op, bytes, if is_aligned { bytes } else { 1 });
            }
            Shape::VectorClearUpper => {
                self.wasm().v128_const(0);
                self.set_vector(op.a | UPPER);
            }
            Shape::VectorMove { bytes: 32 } => {
                self.copy_vector(op.a, op.b);
                self.copy_vector(op.a | UPPER, op.b | UPPER);
            }
            Shape::VectorStore { bytes, .. } => {
                self.get_vector(op.a);
                self.wasm().i64x2_extract_lane(0).local_set(VALUE);
                self.store(op, if bytes == 4 { Width::W32 } else { Width::W64 });
            }
            _ => self.copy_vector(op.a, op.b),
        }
    }

    /// Takes a vector register from the stack that an integer operation has made.
    fn set_blended(&mut self, op: &Op) {
        let before = self.vectors.known.plain;
        self.set_vector(op.a);
        let formats = plain::blended(IntegerOperation::from_number(op.imm));
        self.vectors.known.plain.blend(op.a, [op.b, op.c], formats, &before);
    }

    /// VZEROUPPER.
    pub(super) fn clear_upper_halves(&mut self) {
        let is_64_bit = self.region.nodes[self.node].block.rip_mask() == u64::MAX;
        for number in 0..if is_64_bit { 16 } else { 8 } {
            self.wasm().local_get(VCPU).v128_const(0).v128_store(at(vector_offset(number | UPPER)));
        }
        self.vectors.forget_upper_halves();
    }

    fn copy_vector(&mut self, to: u8, from: u8) {
        self.get_vector(from);
        let plain = self.vectors.known.plain;
        self.set_vector(to);
        self.vectors.known.plain = plain;
        self.vectors.known.plain.copy(to, from);
    }

    /// An operation that is emitted directly; whether it is one.
    pub(super) fn vector(&mut self, op: &Op) -> bool {
        match Direct::of(op) {
            Some(Direct::Integer(direct)) => self.integer_lanes(&direct, op),
            Some(Direct::Float(direct)) => self.float_lanes(&direct, op),
            Some(Direct::Wide(operation)) => self.integer_halves(operation, op),
            Some(Direct::WideFloat(direct)) => self.float_halves(&direct, op),
            Some(Direct::Permute(direct)) => self.permute(&direct, op),
            Some(Direct::Slow) => {
                self.vector_always_slowly(op);
                self.vectors.forget(op.a | UPPER);
            }
            None => return false,
        }
        true
    }
}
