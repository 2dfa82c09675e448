//! Windows: accesses of a block whose addresses are a few bytes apart, whatever the registers hold, are looked up in
//! the TLB once.

use super::flow::effects;
use crate::ir::{Binary, Op, Reg, Right, Shape, Width};

/// Bytes that a window spans at most. A window that runs over a page's end has its block interpreted, which the next
/// compilation knows; wider ones meet that more often and save hardly more.
const MOST_BYTES: i64 = 128;

/// Windows that are open at the same time, each in a local of the function.
pub const MOST_WINDOWS: usize = 4;

/// How an operation comes to the host address of its access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It looks its own bytes up.
    Alone,
    /// It looks up a window.
    First(Window),
    /// It lies in a window that was looked up before, at this distance from its start.
    Within {
        /// The window's number.
        number: usize,
        /// Bytes from its start.
        offset: u32,
    },
}

/// What is looked up once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its number, below [`MOST_WINDOWS`].
    pub number: usize,
    /// Bytes before the access that looks it up.
    pub before: u32,
    /// Bytes in all.
    pub bytes: u32,
    /// Whether any access writes.
    pub is_written: bool,
}

/// A value as a distance from one that is not known. Registers with the same root differ by a known distance.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Value {
    root: u32,
    distance: i64,
}

/// The roots and the scale of an address: addresses with the same one differ by a known distance.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Base {
    base: u32,
    index: u32,
    shift: u8,
}

struct Group {
    base: Base,
    /// The lowest byte, and the one behind the highest.
    range: (i64, i64),
    is_written: bool,
    /// Place and distance of each access.
    members: Vec<(usize, i64)>,
    is_open: bool,
}

/// The memory access of an operation: bytes, and whether it writes.
fn access(op: &Op) -> Option<(i64, bool)> {
    Some(match op.code.shape() {
        Shape::Load(width, _) => (i64::from(width.bytes()), false),
        Shape::LoadForUpdate(width) | Shape::Store(width) | Shape::StoreImmediate(width) => {
            (i64::from(width.bytes()), true)
        }
        Shape::Push | Shape::PushImmediate | Shape::CallNear | Shape::CallRegister => (8, true),
        Shape::Pop | Shape::Return => (8, false),
        Shape::VectorLoad { bytes, .. } => (i64::from(bytes), false),
        Shape::VectorStore { bytes, .. } => (i64::from(bytes), true),
        _ => return None,
    })
}

/// What the registers hold, as far as it counts here.
struct Values {
    registers: [Value; 32],
    next_root: u32,
}

impl Values {
    fn new() -> Self {
        let registers = std::array::from_fn(|number| Value { root: number as u32, distance: 0 });
        Self { registers, next_root: 32 }
    }

    fn get(&self, number: u8) -> Value {
        self.registers[usize::from(number) % 32]
    }

    fn set(&mut self, number: u8, value: Value) {
        self.registers[usize::from(number) % 32] = value;
    }

    fn moved(&self, number: u8, distance: i64) -> Value {
        let Value { root, distance: before } = self.get(number);
        Value { root, distance: before.wrapping_add(distance) }
    }

    /// Where an access lies.
    fn address(&self, op: &Op) -> (Base, i64) {
        let on_stack = |distance| {
            let Value { root, distance } = self.moved(Reg::RSP.0, distance);
            (Base { base: root, index: u32::from(Reg::ZERO.0), shift: 0 }, distance)
        };
        match op.code.shape() {
            Shape::Push | Shape::PushImmediate | Shape::CallNear | Shape::CallRegister => on_stack(-8),
            Shape::Pop | Shape::Return => on_stack(0),
            _ => {
                let (base, index) = (self.get(op.b), self.get(op.c));
                let scaled = index.distance.wrapping_shl(u32::from(op.d));
                let distance = base.distance.wrapping_add(scaled).wrapping_add(i64::from(op.disp));
                let shift = if op.c == Reg::ZERO.0 { 0 } else { op.d };
                (Base { base: base.root, index: index.root, shift }, distance)
            }
        }
    }

    /// Follows an operation.
    fn step(&mut self, op: &Op) {
        let immediate = i64::from(op.imm);
        let known = match op.code.shape() {
            Shape::Move(Width::W64) => Some(self.get(op.b)),
            Shape::Lea(Width::W64) if op.c == Reg::ZERO.0 && op.b != Reg::ZERO.0 => {
                Some(self.moved(op.b, i64::from(op.disp)))
            }
            Shape::Binary { operation: Binary::Add, right: Right::Immediate, width: Width::W64, .. } => {
                Some(self.moved(op.b, immediate))
            }
            Shape::Binary { operation: Binary::Sub, right: Right::Immediate, width: Width::W64, .. } => {
                Some(self.moved(op.b, immediate.wrapping_neg()))
            }
            Shape::Push | Shape::PushImmediate => {
                return self.set(Reg::RSP.0, self.moved(Reg::RSP.0, -8));
            }
            Shape::Pop => {
                self.set(Reg::RSP.0, self.moved(Reg::RSP.0, 8));
                return self.forget(1 << op.a);
            }
            _ => None,
        };
        match known {
            Some(value) => self.set(op.a, value),
            None if effects(op).is_barrier => self.forget(!(1 << Reg::ZERO.0)),
            None => self.forget(effects(op).writes),
        }
    }

    fn forget(&mut self, registers: u32) {
        for number in (0..32).filter(|number| registers >> number & 1 != 0) {
            self.set(number, Value { root: self.next_root, distance: 0 });
            self.next_root += 1;
        }
    }
}

/// How each operation of a block comes to the host address of its access; [`Access::Alone`] for those without one.
pub fn accesses(ops: &[Op]) -> Vec<Access> {
    let mut values = Values::new();
    let mut groups: Vec<Group> = Vec::new();
    for (place, op) in ops.iter().enumerate() {
        if let Some((bytes, is_write)) = access(op) {
            let (base, distance) = values.address(op);
            let fitting = groups.iter_mut().rev().find(|group| group.is_open && group.base == base);
            let joined = fitting.and_then(|group| {
                let range = (group.range.0.min(distance), group.range.1.max(distance.checked_add(bytes)?));
                (range.1.checked_sub(range.0)? <= MOST_BYTES).then_some((group, range))
            });
            match joined {
                Some((group, range)) => {
                    group.range = range;
                    group.is_written |= is_write;
                    group.members.push((place, distance));
                }
                None => {
                    let range = (distance, distance.saturating_add(bytes));
                    let members = vec![(place, distance)];
                    groups.push(Group { base, range, is_written: is_write, members, is_open: true });
                }
            }
        }
        if effects(op).is_barrier {
            // What pages are mapped may have changed.
            groups.iter_mut().for_each(|group| group.is_open = false);
        }
        values.step(op);
    }
    number(&groups, ops.len())
}

/// Gives the groups their windows.
fn number(groups: &[Group], count: usize) -> Vec<Access> {
    let mut accesses = vec![Access::Alone; count];
    let mut busy_until = [None::<usize>; MOST_WINDOWS];
    for group in groups {
        let [(first, distance), .., (last, _)] = group.members[..] else { continue };
        let is_free = |until: &Option<usize>| until.is_none_or(|until| until < first);
        let Some(number) = busy_until.iter().position(is_free) else { continue };
        busy_until[number] = Some(last);
        let start = group.range.0;
        accesses[first] = Access::First(Window {
            number,
            before: (distance - start) as u32,
            bytes: (group.range.1 - start) as u32,
            is_written: group.is_written,
        });
        for &(place, distance) in &group.members[1..] {
            accesses[place] = Access::Within { number, offset: (distance - start) as u32 };
        }
    }
    accesses
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpCode;

    fn op(code: OpCode, a: Reg, b: Reg, disp: i32) -> Op {
        Op { code, pc: 0, a: a.0, b: b.0, c: Reg::ZERO.0, d: 0, disp, imm: 0 }
    }

    fn load(target: Reg, base: Reg, disp: i32) -> Op {
        op(OpCode::Load64, target, base, disp)
    }

    fn windows(ops: &[Op]) -> Vec<Access> {
        accesses(ops).into_iter().filter(|access| *access != Access::Alone).collect()
    }

    fn first(number: usize, before: u32, bytes: u32, is_written: bool) -> Access {
        Access::First(Window { number, before, bytes, is_written })
    }

    #[test]
    fn pushes_and_what_lies_around_them_share_a_window() {
        let ops = [
            op(OpCode::Push64, Reg::RBP, Reg::ZERO, 0),
            op(OpCode::Mov64, Reg::RBP, Reg::RSP, 0),
            op(OpCode::Push64, Reg::RBX, Reg::ZERO, 0),
            op(OpCode::Lea64, Reg::RSP, Reg::RSP, -24),
            op(OpCode::Store64, Reg::RDI, Reg::RBP, -24),
            load(Reg::RAX, Reg::RSP, 0),
        ];
        let within = |offset| Access::Within { number: 0, offset };
        assert_eq!(windows(&ops), [first(0, 32, 40, true), within(24), within(8), within(0)]);
    }

    #[test]
    fn a_changed_base_begins_anew() {
        let ops = [load(Reg::RAX, Reg::RDI, 0), load(Reg::RDI, Reg::RDI, 8), load(Reg::RCX, Reg::RDI, 16)];
        assert_eq!(windows(&ops), [first(0, 0, 16, false), Access::Within { number: 0, offset: 8 }]);
    }

    #[test]
    fn far_apart_is_not_one_window() {
        let ops = [load(Reg::RAX, Reg::RDI, 0), load(Reg::RCX, Reg::RDI, 121)];
        assert_eq!(windows(&ops), []);
        let ops = [load(Reg::RAX, Reg::RDI, 0), load(Reg::RCX, Reg::RDI, 120)];
        assert_eq!(windows(&ops).len(), 2);
    }

    #[test]
    fn a_scaled_index_belongs_to_the_base() {
        let indexed = |scale| Op { c: Reg::RSI.0, d: scale, ..load(Reg::RAX, Reg::RDI, 0) };
        assert_eq!(windows(&[indexed(3), indexed(2)]), []);
        assert_eq!(windows(&[indexed(3), indexed(3)]).len(), 2);
    }

    #[test]
    fn what_may_change_mappings_ends_windows() {
        let clac = Op { imm: 263, ..op(OpCode::Call, Reg::RAX, Reg::ZERO, 0) };
        assert_eq!(windows(&[load(Reg::RAX, Reg::RDI, 0), clac, load(Reg::RCX, Reg::RDI, 8)]), []);
    }

    #[test]
    fn more_windows_than_locals_leave_the_last_alone() {
        let bases = [Reg::RAX, Reg::RCX, Reg::RDX, Reg::RBX, Reg::RSI];
        let ops: Vec<Op> = bases.iter().chain(&bases).map(|&base| load(Reg::RDI, base, 0)).collect();
        assert_eq!(windows(&ops).len(), 2 * MOST_WINDOWS);
    }
}
