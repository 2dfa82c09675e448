//! What is asked of an engine before generated code relies on it.

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

/// A module whose function `fuses` returns 1 if the relaxed `madd` and `nmadd` round once, of singles and doubles, in all
/// lanes. An engine without relaxed SIMD refuses it.
///
/// The specification of relaxed SIMD has an engine choose once, for all of its code, how these round: what the
/// function sees holds for modules compiled after it.
pub fn fused_probe_module() -> Vec<u8> {
    /// Numbers of the functions, each of which does one operation on parameters: of constants the engine's
    /// compiler might have made a result of its own.
    const OPERATIONS: [fn(&mut InstructionSink<'_>); 4] = [
        |wasm| _ = wasm.f32x4_relaxed_madd(),
        |wasm| _ = wasm.f32x4_relaxed_nmadd(),
        |wasm| _ = wasm.f64x2_relaxed_madd(),
        |wasm| _ = wasm.f64x2_relaxed_nmadd(),
    ];
    let mut signatures = TypeSection::new();
    signatures.ty().function([ValType::V128; 3], [ValType::V128]);
    signatures.ty().function([], [ValType::I32]);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    for operation in OPERATIONS {
        functions.function(0);
        let mut body = Function::new([]);
        let mut wasm = body.instructions();
        wasm.local_get(0).local_get(1).local_get(2);
        operation(&mut wasm);
        wasm.end();
        code.function(&body);
    }

    let [a, b, c, d] = cases(f64::from_bits((1023 - 30) << 52));
    let vectors = |lanes: [Case; 2]| [0, 1, 2, 3].map(|place| doubles(lanes.map(|lane| lane[place])));
    let of_doubles = [vectors([a, b]), vectors([c, d])];
    let lanes = cases(f64::from_bits((1023 - 13) << 52));
    let of_singles = [0, 1, 2, 3].map(|place| singles(lanes.map(|lane| lane[place])));
    let runs = [(0, of_singles, SINGLE_SIGNS), (2, of_doubles[0], DOUBLE_SIGNS), (2, of_doubles[1], DOUBLE_SIGNS)];
    functions.function(1);
    let mut body = Function::new([]);
    let mut wasm = body.instructions();
    wasm.i32_const(1);
    for (operation, [factor, other, addend, fused], signs) in runs {
        // The product of the negated factor, negated, is the same.
        for (operation, factor) in [(operation, factor), (operation + 1, factor ^ signs)] {
            wasm.v128_const(factor).v128_const(other).v128_const(addend).call(operation);
            wasm.v128_const(fused).i64x2_eq().i64x2_all_true().i32_and();
        }
    }
    wasm.end();
    code.function(&body);
    let mut exports = ExportSection::new();
    exports.export("fuses", ExportKind::Func, OPERATIONS.len() as u32);
    let mut module = Module::new();
    module.section(&signatures).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// The sign bits of all lanes.
const SINGLE_SIGNS: i128 = 0x8000_0000_8000_0000_8000_0000_8000_0000_u128 as i128;
const DOUBLE_SIGNS: i128 = 0x8000_0000_0000_0000_8000_0000_0000_0000_u128 as i128;
