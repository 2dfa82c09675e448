//! What is asked of an engine before generated code relies on it.

use crate::host::RelaxedSimd;
use std::array::from_fn;
use wasm_encoder::{
    CodeSection, ExportKind, ExportSection, Function, FunctionSection, InstructionSink, Module, TypeSection,
    ValType,
};

/// Two factors, an addend, and the product and sum of these rounded once, which two roundings make zero.
type Case = [f64; 4];

/// What the rounding of products of numbers at a distance of `e` from 1 loses.
fn cases(e: f64) -> [Case; 4] {
    [
        [1.0 + e, 1.0 - e, -1.0, -e * e],
        [1.0 + e, 1.0 + e, -1.0 - 2.0 * e, e * e],
        [-1.0 - e, 1.0 - e, 1.0, e * e],
        [1.0 - e, e - 1.0, 1.0 - 2.0 * e, -e * e],
    ]
}

/// Numbers as the lanes of a vector, with the first one lowest.
fn singles(numbers: [f64; 4]) -> i128 {
    let bits = numbers.map(|number| u128::from((number as f32).to_bits()));
    bits.into_iter().rev().fold(0, |all, lane| all << 32 | lane) as i128
}

/// As [`singles`].
fn doubles(numbers: [f64; 2]) -> i128 {
    let [low, high] = numbers.map(|number| u128::from(number.to_bits()));
    (high << 64 | low) as i128
}

/// Emits an operation on the vectors on the stack.
type Emit = fn(&mut InstructionSink<'_>);

/// A run of an operation: operands, and the result.
struct Run {
    operation: Emit,
    operands: Vec<i128>,
    result: i128,
}

fn run<const COUNT: usize>(operation: Emit, operands: [i128; COUNT], result: i128) -> Run {
    Run { operation, operands: operands.into(), result }
}

/// What [`RelaxedSimd::fuses`](RelaxedSimd::fuses) tells.
fn fused() -> Vec<Run> {
    let lanes = cases(f64::from_bits((1023 - 13) << 52));
    let [factor, other, addend, result] = [0, 1, 2, 3].map(|place| singles(lanes.map(|lane| lane[place])));
    // The product of the negated factor, negated, is the same.
    let mut runs = vec![
        run(|wasm| _ = wasm.f32x4_relaxed_madd(), [factor, other, addend], result),
        run(|wasm| _ = wasm.f32x4_relaxed_nmadd(), [factor ^ SINGLE_SIGNS, other, addend], result),
    ];
    let [a, b, c, d] = cases(f64::from_bits((1023 - 30) << 52));
    for lanes in [[a, b], [c, d]] {
        let [factor, other, addend, result] =
            [0, 1, 2, 3].map(|place| doubles(lanes.map(|lane| lane[place])));
        runs.push(run(|wasm| _ = wasm.f64x2_relaxed_madd(), [factor, other, addend], result));
        runs.push(run(|wasm| _ = wasm.f64x2_relaxed_nmadd(), [factor ^ DOUBLE_SIGNS, other, addend], result));
    }
    runs
}

/// What [`RelaxedSimd::swizzles`](RelaxedSimd::swizzles) tells, of all places.
fn swizzled() -> Vec<Run> {
    let bytes = |of: &dyn Fn(u8) -> u8| i128::from_le_bytes(from_fn(|byte| of(byte as u8)));
    let from = bytes(&|byte| 0xa0 | byte);
    let places = (0..16).map(|high| high << 4);
    let one = |high: u8| {
        let result = if high & 0x80 != 0 { 0 } else { from };
        run(|wasm| _ = wasm.i8x16_relaxed_swizzle(), [from, bytes(&|byte| high | byte)], result)
    };
    places.map(one).collect()
}

/// What [`RelaxedSimd::selects`](RelaxedSimd::selects) tells: masks whose highest bits are set, and are
/// the only ones that are clear.
fn selected() -> Vec<Run> {
    const OPERATIONS: [(Emit, u32); 3] = [
        (|wasm| _ = wasm.i8x16_relaxed_laneselect(), 8),
        (|wasm| _ = wasm.i32x4_relaxed_laneselect(), 32),
        (|wasm| _ = wasm.i64x2_relaxed_laneselect(), 64),
    ];
    let (one, other) = (repeated(0x5a), repeated(0xc3));
    let runs = OPERATIONS.into_iter().map(|(operation, bits)| {
        let signs = (0..128 / bits).fold(0, |all, lane| all | 1_i128 << (lane * bits + bits - 1));
        [run(operation, [one, other, signs], one), run(operation, [one, other, !signs], other)]
    });
    runs.flatten().collect()
}

fn repeated(byte: u8) -> i128 {
    i128::from_le_bytes([byte; 16])
}

/// A module whose functions, of the names [`RelaxedSimd::PROBES`], return 1 if relaxed SIMD instructions do what
/// [`RelaxedSimd`] says. An engine that does not know them refuses it.
///
/// The specification of relaxed SIMD has an engine choose once, for all of its code, what such an instruction does:
/// what these functions see holds for modules compiled after it.
pub fn encode() -> Vec<u8> {
    let mut signatures = TypeSection::new();
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut exports = ExportSection::new();
    signatures.ty().function([], [ValType::I32]);
    for count in [2, 3] {
        signatures.ty().function(vec![ValType::V128; count], [ValType::V128]);
    }
    let mut next = 0;
    for (name, runs) in RelaxedSimd::PROBES.into_iter().zip([fused(), swizzled(), selected()]) {
        let mut probe = Function::new([]);
        probe.instructions().i32_const(1);
        for Run { operation, operands, result } in runs {
            // A function of its own with parameters: of constants the engine's compiler might make a result by itself.
            let count = operands.len() as u32;
            functions.function(count - 1);
            let mut body = Function::new([]);
            let mut wasm = body.instructions();
            (0..count).for_each(|operand| _ = wasm.local_get(operand));
            operation(&mut wasm);
            wasm.end();
            code.function(&body);
            let mut wasm = probe.instructions();
            operands.into_iter().for_each(|operand| _ = wasm.v128_const(operand));
            wasm.call(next).v128_const(result).i64x2_eq().i64x2_all_true().i32_and();
            next += 1;
        }
        probe.instructions().end();
        functions.function(0);
        code.function(&probe);
        exports.export(name, ExportKind::Func, next);
        next += 1;
    }
    let mut module = Module::new();
    module.section(&signatures).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// The sign bits of all lanes.
const SINGLE_SIGNS: i128 = 0x8000_0000_8000_0000_8000_0000_8000_0000_u128 as i128;
const DOUBLE_SIGNS: i128 = 0x8000_0000_0000_0000_8000_0000_0000_0000_u128 as i128;
