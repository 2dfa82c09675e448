//! A batch of functions as a WebAssembly module.

use std::borrow::Cow;
use wasm_encoder::{
    CodeSection, ConstExpr, ElementSection, Elements, EntityType, ExportKind, ExportSection, FunctionSection,
    GlobalType, ImportSection, MemoryType, Module, NameMap, NameSection, RefType, TableType, TypeSection,
    ValType,
};

/// The table of generated code.
const TABLE: TableType =
    TableType { element_type: RefType::FUNCREF, table64: false, minimum: 0, maximum: None, shared: false };

/// The module with functions of these bodies and names, empty for none, in their order, all of one of the
/// [`types`](super::emit::types). It enters them into the table at the place that the global `s` tells.
pub fn encode<'a>(
    bodies: impl ExactSizeIterator<Item = (&'a [u8], &'a str)>,
    kind: u32,
    has_shared_memory: bool,
) -> Vec<u8> {
    use ValType::{I32, I64};
    let count = bodies.len() as u32;
    let mut signatures = TypeSection::new();
    // In the order of `types`.
    signatures.ty().function([I32, I32, I64], [I64]);
    signatures.ty().function([I32, I64, I64], [I32]);
    signatures.ty().function([I32, I32], [I32]);
    signatures.ty().function([I32, I32, I64, I64], [I64]);
    signatures.ty().function([I32, I64, I64], [I64]);
    signatures.ty().function([I64, I64, I64], [I64]);
    let mut imports = ImportSection::new();
    let memory = MemoryType {
        minimum: 0,
        maximum: has_shared_memory.then_some(65536),
        memory64: false,
        shared: has_shared_memory,
        page_size_log2: None,
    };
    imports.import("e", "m", EntityType::Memory(memory));
    imports.import("e", "t", TABLE);
    imports.import("e", "s", EntityType::Global(GlobalType { val_type: I32, mutable: false, shared: false }));
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut names = NameMap::new();
    for (number, (body, name)) in (0..).zip(bodies) {
        functions.function(kind);
        code.raw(body);
        if !name.is_empty() {
            names.append(number, name);
        }
    }
    let mut elements = ElementSection::new();
    let numbers: Vec<u32> = (0..count).collect();
    elements.active(None, &ConstExpr::global_get(0), Elements::Functions(Cow::Owned(numbers)));
    let mut module = Module::new();
    module.section(&signatures).section(&imports).section(&functions).section(&elements).section(&code);
    if !names.is_empty() {
        let mut section = NameSection::new();
        section.functions(&names);
        module.section(&section);
    }
    module.finish()
}

/// The module with the way into the functions of the table `t`: `enter` takes the address of the vCPU, the place in
/// the table and RIP, and returns the RIP to go on at.
pub fn encode_entry() -> Vec<u8> {
    use ValType::{I32, I64};
    let mut signatures = TypeSection::new();
    signatures.ty().function([I32, I32, I64], [I64]);
    let mut imports = ImportSection::new();
    imports.import("e", "t", TABLE);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    exports.export("enter", ExportKind::Func, 0);
    let mut body = wasm_encoder::Function::new([]);
    // Regions take the depth of the calls that wait where the place stands.
    body.instructions().local_get(0).i32_const(0).local_get(2).local_get(1).call_indirect(0, 0).end();
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = Module::new();
    module.section(&signatures).section(&imports).section(&functions).section(&exports).section(&code);
    module.finish()
}
