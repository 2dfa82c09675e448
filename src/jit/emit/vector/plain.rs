//! What is known of lanes without looking: that they are plain, neither denormal nor NaNs, because an operation before
//! in the same stretch of code has looked at them or has made them so.
//!
//! Code is first made for normal numbers alone: whatever else an operation meets has the interpreter go on from there. Where
//! that happens often, the block is compiled again, for zeroes among the operands of stretches too; and where that does
//! not do, with code that tells zeroes apart after each operation, and else goes the slow way.
//!
//! A stretch looks at MXCSR once. What it finds stands in a local, as ones or zeroes in all bits, which every condition
//! that rests on it, or on what is known, includes. An operation that went the slow way clears that local: then
//! neither MXCSR nor what the emitter knows is what it takes them for, until code looks again.

use super::super::{Emitter, SITE, VCPU, at};
use super::float::{Format, Lanes};
use crate::cpu::Numbers;
use crate::cpu::sse::float::{MXCSR_QUICK, MXCSR_QUICK_MASK};
use crate::cpu::sse::integer::Operation;
use crate::ir::VectorReg;
use crate::jit::abi::offset;
use wasm_encoder::{BlockType, MemArg};

/// The scratch local of what MXCSR was found to be.
const QUICK: u32 = 15;
const _: () = assert!(VectorReg::COUNT <= 32);

/// What may be known of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// It is neither denormal nor a NaN.
    Plain,
    /// It is plain, and a multiple of the smallest normal number: so are sums of such, which are never denormal therefore.
    Coarse,
    /// It is coarse, and zero, where zeroes are expected, or of a magnitude above [`Format::large`].
    Large,
    /// Its magnitude is at most [`Format::bound`]: who makes a large product with it is no denormal number.
    Bounded,
}

impl Fact {
    const COUNT: usize = 4;

    /// What is known with it.
    fn implied(self) -> &'static [Self] {
        match self {
            Self::Plain => &[Self::Plain],
            Self::Coarse => &[Self::Plain, Self::Coarse],
            Self::Large => &[Self::Plain, Self::Coarse, Self::Large],
            Self::Bounded => &[Self::Bounded],
        }
    }
}

/// Halves of registers, by fact and format.
type Halves = [[u64; 2]; Fact::COUNT];

/// What is known of the lanes of vector registers, as long as the local says so.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// Halves with all lanes so.
    all: Halves,
    /// Halves whose lowest lane is so.
    low: Halves,
    /// The expectation that [`Fact::Large`] is meant for.
    numbers: Numbers,
    /// The local tells of MXCSR.
    has_looked: bool,
    /// By half: the half that it was copied from, which has not changed since, plus one; 0 for none.
    copied: [u8; 64],
}

impl Default for Plain {
    fn default() -> Self {
        Self {
            all: Halves::default(),
            low: Halves::default(),
            numbers: Numbers::Normal,
            has_looked: false,
            copied: [0; 64],
        }
    }
}

impl Plain {
    fn place(format: Format) -> usize {
        match format {
            Format::Single => 0,
            Format::Double => 1,
        }
    }

    /// Whether a fact is known of lanes of a half.
    pub fn holds(&self, fact: Fact, number: u8, format: Format, lanes: Lanes) -> bool {
        let sets = if lanes == Lanes::All { &self.all } else { &self.low };
        sets[fact as usize][Self::place(format)] & 1 << number != 0
    }

    /// The half that a half was copied from, which still holds the same.
    pub fn original(&self, number: u8) -> Option<u8> {
        self.copied.get(usize::from(number))?.checked_sub(1)
    }

    /// Whether code has looked at MXCSR, which what is known rests on.
    pub fn has_looked(&self) -> bool {
        self.has_looked
    }

    /// From here on a fact is known of lanes of a half, and of what it was copied from, if code has looked at MXCSR.
    pub fn learn(&mut self, fact: Fact, number: u8, format: Format, lanes: Lanes) {
        if self.has_looked {
            let halves = 1 << number | self.original(number).map_or(0, |original| 1 << original);
            for &fact in fact.implied() {
                self.low[fact as usize][Self::place(format)] |= halves;
                if lanes == Lanes::All {
                    self.all[fact as usize][Self::place(format)] |= halves;
                }
            }
        }
    }

    /// From here on facts are those of a block with this expectation.
    pub fn enter(&mut self, numbers: Numbers) {
        if self.numbers != numbers {
            self.numbers = numbers;
            self.all[Fact::Large as usize] = [0; 2];
            self.low[Fact::Large as usize] = [0; 2];
        }
    }

    /// From here on nothing is known of a half.
    pub fn forget(&mut self, number: u8) {
        for set in self.all.iter_mut().chain(&mut self.low).flatten() {
            *set &= !(1 << number);
        }
        for (half, original) in self.copied.iter_mut().enumerate() {
            if half == usize::from(number) || *original == number + 1 {
                *original = 0;
            }
        }
    }

    /// From here on a half holds what another does.
    pub fn copy(&mut self, number: u8, other: u8) {
        if number != other {
            let before = *self;
            self.blend(number, [other; 2], &[Format::Single, Format::Double], &before);
            if let Some(original) = self.copied.get_mut(usize::from(number)) {
                *original = other + 1;
            }
        }
    }

    /// From here on a half has only lanes of others, in their places, of what was known `before`.
    pub fn blend(&mut self, number: u8, others: [u8; 2], formats: &[Format], before: &Self) {
        self.forget(number);
        for place in formats.iter().copied().map(Self::place) {
            for (set, before) in [(&mut self.all, before.all), (&mut self.low, before.low)] {
                for (set, before) in set.iter_mut().zip(before) {
                    let holds = others.iter().all(|other| before[place] & 1 << other != 0);
                    set[place] |= u64::from(holds) << number;
                }
            }
        }
    }
}

/// The formats whose lanes an operation takes whole from one or the other operand.
pub fn blended(operation: Option<Operation>) -> &'static [Format] {
    match operation {
        Some(Operation::BlendVariable32 | Operation::BlendSingles) => &[Format::Single],
        Some(Operation::BlendVariable64 | Operation::BlendDoubles) => &[Format::Single, Format::Double],
        _ => &[],
    }
}

impl Emitter<'_> {
    /// Has the local tell of MXCSR. Code that only some ways run must not be the first to ask.
    pub(super) fn look_at_mxcsr(&mut self) {
        if !self.vectors.known.plain.has_looked {
            let quick = self.scratch(QUICK);
            let splat = |bits: u32| (u128::from(bits) * 0x1_0000_0001_0000_0001_0000_0001) as i128;
            let mut wasm = self.wasm();
            wasm.local_get(VCPU).v128_load32_splat(MemArg { align: 2, ..at(offset::MXCSR) });
            wasm.v128_const(splat(MXCSR_QUICK_MASK)).v128_and().v128_const(splat(MXCSR_QUICK)).i32x4_eq();
            wasm.local_set(quick);
            self.vectors.known.plain.has_looked = true;
        }
    }

    /// Puts lanes on the stack that are all set, or all clear, as MXCSR is.
    pub(super) fn quick_lanes(&mut self) {
        let quick = self.scratch(QUICK);
        self.wasm().local_get(quick);
    }

    /// Has what was found of MXCSR hold in those lanes only that are on the stack.
    pub(super) fn narrow_quick_lanes(&mut self) {
        let quick = self.scratch(QUICK);
        self.wasm().local_get(quick).v128_and().local_set(quick);
    }

    /// Takes lanes from the stack; leaves those of them where results of plain operands leave MXCSR alone, which are
    /// all or none.
    pub(super) fn and_quick_lanes(&mut self) {
        let quick = self.scratch(QUICK);
        self.wasm().local_get(quick).v128_and();
    }

    /// What the block's operations meet.
    pub(super) fn numbers(&self) -> Numbers {
        self.region.nodes[self.node].block.compiled.numbers.get()
    }

    /// Whether the block is one whose operations meet more than normal numbers and zeroes.
    pub(super) fn expects_special_numbers(&self) -> bool {
        self.numbers() == Numbers::Any
    }

    /// Takes lanes from the stack; leaves unless all are set that the operation works on.
    pub(super) fn go_on_if(&mut self, format: Format, lanes: Lanes) {
        let site = self.special_site();
        self.fail(format, lanes);
        self.leave_when(site);
    }

    /// Takes a condition from the stack, and leaves at a site for the interpreter to run the operation if it holds.
    pub(super) fn leave_when(&mut self, site: i32) {
        self.wasm().if_(BlockType::Empty);
        self.depth += 1;
        if self.vectors.current.is_none() {
            self.store_temporaries();
        }
        self.wasm().i32_const(site).local_set(SITE).i32_const(1);
        self.leave_if();
        self.wasm().end();
        self.depth -= 1;
    }

    /// Takes lanes from the stack; leaves whether one is clear that the operation works on.
    fn fail(&mut self, format: Format, lanes: Lanes) {
        let all = 16 / i32::from(format.bytes());
        let mut wasm = self.wasm();
        match format {
            Format::Single => wasm.i32x4_bitmask(),
            Format::Double => wasm.i64x2_bitmask(),
        };
        match lanes {
            Lanes::All => wasm.i32_const((1 << all) - 1).i32_ne(),
            Lanes::Low => wasm.i32_const(1).i32_and().i32_eqz(),
        };
    }

    /// Behind an operation that went the slow way: nothing holds that is known.
    pub(super) fn doubt(&mut self) {
        if self.vectors.known.plain.has_looked {
            let quick = self.scratch(QUICK);
            self.wasm().v128_const(0).local_set(quick);
        }
    }
}
