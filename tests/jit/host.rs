//! Generated code in wasmtime, on the guest's own memory.

use dinghy::host::{CodeError, CodeHost, CodeInstance, HelperFunction, RelaxedSimd};
use dinghy::mem::GuestMemory;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;
use wasmtime::{
    Config, Engine, Extern, Func, Global, GlobalType, Instance, LinearMemory, Memory, MemoryCreator,
    MemoryType, Module, Mutability, Ref, RefType, Store, Table, TableType, Val, ValType,
};

const REACH: usize = 1 << 32;

/// Gives wasmtime the 4 GiB that guest memory begins.
struct Arena(GuestMemory);

impl Arena {
    fn base(&self) -> usize {
        let base = self.0.host_base() as usize;
        assert!(base.is_multiple_of(REACH));
        base
    }
}

// SAFETY: the arena is 4 GiB of zeroed, writable memory that lives as long as the memory handed out, with
// another reservation of up to 4 GiB behind it.
unsafe impl LinearMemory for Arena {
    fn byte_size(&self) -> usize {
        REACH
    }
    fn byte_capacity(&self) -> usize {
        REACH
    }
    fn grow_to(&mut self, _: usize) -> wasmtime::Result<()> {
        Err(wasmtime::Error::msg("the arena does not grow"))
    }
    fn as_ptr(&self) -> *mut u8 {
        self.base() as *mut u8
    }
}

struct Creator(GuestMemory);

// SAFETY: as for `Arena`.
unsafe impl MemoryCreator for Creator {
    fn new_memory(
        &self,
        _: MemoryType,
        _: usize,
        _: Option<usize>,
        _: Option<usize>,
        _: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        Ok(Box::new(Arena(self.0.clone())))
    }
}

/// A module that has a memory of 4 GiB.
fn module_with_memory() -> Vec<u8> {
    use wasm_encoder::{ExportKind, ExportSection, MemorySection, MemoryType};
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 65536,
        maximum: Some(65536),
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let mut exports = ExportSection::new();
    exports.export("m", ExportKind::Memory, 0);
    let mut module = wasm_encoder::Module::new();
    module.section(&memories).section(&exports);
    module.finish()
}

/// What relaxed SIMD does in an engine.
pub fn relaxed_simd(store: &mut Store<()>) -> RelaxedSimd {
    let probe = Module::new(store.engine(), dinghy::jit::relaxed_probe()).unwrap();
    let probe = Instance::new(&mut *store, &probe, &[]).unwrap();
    RelaxedSimd::from_probes(RelaxedSimd::PROBES.map(|name| {
        let function = probe.get_typed_func::<(), i32>(&mut *store, name).unwrap();
        function.call(&mut *store, ()).unwrap() == 1
    }))
}

/// wasmtime as the host of generated code.
pub struct WasmtimeHost {
    store: Store<()>,
    memory: Memory,
    table: Table,
    base: usize,
    instances: HashMap<u32, Range<u32>>,
    next: u32,
    begun: Instant,
    relaxed: RelaxedSimd,
}

impl WasmtimeHost {
    pub fn new(memory: &GuestMemory) -> Self {
        let mut config = Config::new();
        config.wasm_tail_call(true).wasm_simd(true).wasm_bulk_memory(true);
        config.wasm_relaxed_simd(true);
        config.memory_reservation(REACH as u64).memory_guard_size(0).signals_based_traps(true);
        config.memory_may_move(false);
        config.max_wasm_stack(4 << 20);
        config.cranelift_opt_level(wasmtime::OptLevel::None);
        config.with_host_memory(Arc::new(Creator(memory.clone())));
        let engine = Engine::new(&config).unwrap();
        let mut store = Store::new(&engine, ());
        // Memories of modules come from the creator.
        let owner = Module::new(&engine, module_with_memory()).unwrap();
        let owner = Instance::new(&mut store, &owner, &[]).unwrap();
        let linear = owner.get_memory(&mut store, "m").unwrap();
        let kind = TableType::new(RefType::FUNCREF, 1, None);
        let table = Table::new(&mut store, kind, Ref::Func(None)).unwrap();
        let base = memory.host_base() as usize;
        let relaxed = relaxed_simd(&mut store);
        let (instances, begun) = (HashMap::new(), Instant::now());
        Self { store, memory: linear, table, base, instances, next: 0, begun, relaxed }
    }
}

impl CodeHost for WasmtimeHost {
    fn has_shared_memory(&self) -> bool {
        false
    }

    fn relaxed_simd(&self) -> RelaxedSimd {
        self.relaxed
    }

    fn helper(&mut self, function: HelperFunction) -> Result<u32, CodeError> {
        let base = self.base;
        let at = move |vcpu: u32| (base + vcpu as usize) as *mut u8;
        let store = &mut self.store;
        let function = match function {
            HelperFunction::Region(function) => {
                Func::wrap(store, move |vcpu: u32, depth: u32, rip: u64| function(at(vcpu), depth, rip))
            }
            HelperFunction::Call(function) => {
                Func::wrap(store, move |vcpu: u32, low: u64, high: u64| function(at(vcpu), low, high))
            }
            HelperFunction::Interpret(function) => {
                Func::wrap(store, move |vcpu: u32, rip: u64, awaited: u64| function(at(vcpu), rip, awaited))
            }
            HelperFunction::Condition(function) => {
                Func::wrap(store, move |vcpu: u32, code: u32| function(at(vcpu), code))
            }
            HelperFunction::Divide(function) => {
                Func::wrap(store, move |low: u64, high: u64, divisor: u64| function(low, high, divisor))
            }
        };
        let grown = self.table.grow(&mut self.store, 1, Ref::Func(Some(function)));
        grown.map(|place| place as u32).map_err(|error| CodeError(error.to_string()))
    }

    fn grow(&mut self, count: u32) -> Result<u32, CodeError> {
        let grown = self.table.grow(&mut self.store, count.into(), Ref::Func(None));
        grown.map(|first| first as u32).map_err(|error| CodeError(error.to_string()))
    }

    fn install(&mut self, module: &[u8], first_slot: u32) -> Result<CodeInstance, CodeError> {
        let refused = |error: wasmtime::Error| CodeError(format!("{error:?}"));
        let module = Module::new(self.store.engine(), module).map_err(refused)?;
        let kind = GlobalType::new(ValType::I32, Mutability::Const);
        let slot = Global::new(&mut self.store, kind, Val::I32(first_slot as i32)).map_err(refused)?;
        let imports = [Extern::Memory(self.memory), Extern::Table(self.table), Extern::Global(slot)];
        Instance::new(&mut self.store, &module, &imports).map_err(refused)?;
        self.next += 1;
        self.instances.insert(self.next, 0..0);
        Ok(CodeInstance(self.next))
    }

    fn remove(&mut self, instance: CodeInstance, first_slot: u32, count: u32) {
        self.instances.remove(&instance.0).expect("the instance is installed");
        for slot in first_slot..first_slot + count {
            self.table.set(&mut self.store, slot.into(), Ref::Func(None)).unwrap();
        }
    }

    fn settle(&mut self) {}

    fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    unsafe fn call(&mut self, function: u32, vcpu: *mut u8, rip: u64) -> u64 {
        let Some(Ref::Func(Some(function))) = self.table.get(&mut self.store, function.into()) else {
            panic!("no function at {function}");
        };
        let vcpu = vcpu as usize;
        assert_eq!(vcpu & !(REACH - 1), self.base, "the vCPU is placed in the arena");
        let function = function.typed::<(u32, u32, u64), u64>(&self.store).unwrap();
        function.call(&mut self.store, (vcpu as u32, 0, rip)).expect("generated code does not trap")
    }
}
