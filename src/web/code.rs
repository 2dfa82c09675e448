//! Generated code in the engine that runs us: functions in a table of their own, on our own memory.

use super::local::Local;
use crate::host::{CodeError, CodeHost, CodeInstance, HelperFunction, RelaxedSimd};
use crate::jit;
use js_sys::WebAssembly::{Global, Instance, Memory, Module, Table};
use js_sys::{Function, Object, Reflect, SharedArrayBuffer, Uint8Array};
use std::collections::BTreeMap;
use wasm_bindgen::prelude::*;

/// Removed modules after which the table is renewed. Some engines (V8 up to node 20's) keep every instance that ever
/// imported a table for as long as the table lives, each with a copy of the table, 0.5 MB for Docker's.
const MOST_REMOVED: u32 = 64;

/// A module that is installed.
struct Installed {
    module: Local<Module>,
    first_slot: u32,
    /// Keeps the functions in the table alive in engines whose tables do not.
    _instance: Local<Instance>,
}

/// The engine of this worker.
pub struct WorkerCode {
    /// Our own functions, where [`enter`](Self::enter) stands.
    own_table: Local<Table>,
    /// The generated functions.
    table: Local<Table>,
    memory: Local<Memory>,
    has_shared_memory: bool,
    relaxed: RelaxedSimd,
    installed: BTreeMap<u32, Installed>,
    next: u32,
    /// Modules removed since the table is there.
    removed: u32,
    /// Our functions in the table: their places there and in our own.
    helpers: Vec<(u32, u32)>,
    /// What stands at the places that no module uses.
    empty: Local<Option<Function>>,
    /// The function in our own table that calls a generated one; 0 until there is one.
    enter: u32,
}

fn refused(error: JsValue) -> CodeError {
    let message = Reflect::get(&error, &"message".into()).ok().and_then(|message| message.as_string());
    CodeError(message.unwrap_or_else(|| format!("{error:?}")))
}

/// What relaxed SIMD does here; nothing where there is none.
fn relaxed_simd() -> RelaxedSimd {
    let probe = || -> Result<RelaxedSimd, JsValue> {
        let module = Module::new(&Uint8Array::from(&*jit::relaxed_probe()))?;
        let exports = Instance::new(&module, &Object::new())?.exports();
        let mut found = [false; RelaxedSimd::PROBES.len()];
        for (found, name) in found.iter_mut().zip(RelaxedSimd::PROBES) {
            let function: Function = Reflect::get(&exports, &name.into())?.unchecked_into();
            *found = function.call0(&JsValue::NULL)?.as_f64() == Some(1.0);
        }
        Ok(RelaxedSimd::from_probes(found))
    };
    probe().unwrap_or_else(|error| {
        log::info!("no relaxed SIMD: {}", refused(error));
        RelaxedSimd::default()
    })
}

impl WorkerCode {
    /// This worker's memory, and no functions so far.
    ///
    /// # Errors
    /// When the engine refuses a table.
    pub fn new() -> Result<Self, CodeError> {
        let memory: Memory = wasm_bindgen::memory().unchecked_into();
        Ok(Self {
            own_table: Local::new(wasm_bindgen::function_table().unchecked_into()),
            table: Local::new(new_table(1).map_err(refused)?),
            // The stable compiler, which does not know the feature `atomics` by name, does not tell.
            has_shared_memory: memory.buffer().is_instance_of::<SharedArrayBuffer>(),
            relaxed: relaxed_simd(),
            memory: Local::new(memory),
            installed: BTreeMap::new(),
            next: 0,
            removed: 0,
            helpers: Vec::new(),
            empty: Local::new(None),
            enter: 0,
        })
    }

    fn instantiate(&self, module: &Module, table: &Table, first_slot: u32) -> Result<Instance, JsValue> {
        let kind = Object::new();
        Reflect::set(&kind, &"value".into(), &"i32".into())?;
        let slot = Global::new(&kind, &first_slot.into())?;
        let names = Object::new();
        Reflect::set(&names, &"m".into(), self.memory.get())?;
        Reflect::set(&names, &"t".into(), table)?;
        Reflect::set(&names, &"s".into(), &slot)?;
        let imports = Object::new();
        Reflect::set(&imports, &"e".into(), &names)?;
        Instance::new(module, &imports)
    }

    /// Makes the way into the functions of a table, at [`enter`](Self::enter) of our own.
    fn open(&mut self, table: &Table) -> Result<(), JsValue> {
        if self.enter == 0 {
            self.enter = self.own_table.get().grow(1)?;
        }
        let module = Module::new(&Uint8Array::from(&*jit::entry_module()))?;
        let names = Object::new();
        Reflect::set(&names, &"t".into(), table)?;
        let imports = Object::new();
        Reflect::set(&imports, &"e".into(), &names)?;
        let enter = Reflect::get(&Instance::new(&module, &imports)?.exports(), &"enter".into())?;
        self.own_table.get().set(self.enter, enter.unchecked_ref())
    }

    /// Puts all that is installed into a new table, and forgets the old one.
    fn renew(&mut self) -> Result<(), JsValue> {
        let length = self.table.get().length();
        let table = new_table(length)?;
        if let Some(empty) = self.empty.get() {
            for slot in 0..length {
                table.set(slot, empty)?;
            }
        }
        for &(place, own) in &self.helpers {
            table.set(place, &self.own_table.get().get(own)?)?;
        }
        let mut instances = Vec::with_capacity(self.installed.len());
        for installed in self.installed.values() {
            instances.push(self.instantiate(installed.module.get(), &table, installed.first_slot)?);
        }
        self.open(&table)?;
        for (installed, instance) in self.installed.values_mut().zip(instances) {
            installed._instance = Local::new(instance);
        }
        self.table = Local::new(table);
        Ok(())
    }
}

/// A table of functions; the first place stays empty, for 0 means none.
fn new_table(length: u32) -> Result<Table, JsValue> {
    let kind = Object::new();
    Reflect::set(&kind, &"element".into(), &"anyfunc".into())?;
    Reflect::set(&kind, &"initial".into(), &length.into())?;
    Table::new(&kind)
}

impl CodeHost for WorkerCode {
    fn has_shared_memory(&self) -> bool {
        self.has_shared_memory
    }

    fn relaxed_simd(&self) -> RelaxedSimd {
        self.relaxed
    }

    fn helper(&mut self, function: HelperFunction) -> Result<u32, CodeError> {
        // A function's address is its place in our own table.
        let own = match function {
            HelperFunction::Region(function) => function as usize,
            HelperFunction::Call(function) => function as usize,
            HelperFunction::Interpret(function) => function as usize,
            HelperFunction::Condition(function) => function as usize,
            HelperFunction::Divide(function) => function as usize,
        } as u32;
        let helper = self.own_table.get().get(own).map_err(refused)?;
        let place = self.table.get().grow(1).map_err(refused)?;
        self.table.get().set(place, &helper).map_err(refused)?;
        self.helpers.push((place, own));
        if let HelperFunction::Region(_) = function {
            self.empty = Local::new(Some(helper));
        }
        Ok(place)
    }

    fn grow(&mut self, count: u32) -> Result<u32, CodeError> {
        self.table.get().grow(count).map_err(refused)
    }

    fn install(&mut self, module: &[u8], first_slot: u32) -> Result<CodeInstance, CodeError> {
        // A copy: modules are not compiled from shared memory.
        let module = Module::new(&Uint8Array::from(module)).map_err(refused)?;
        let instance = self.instantiate(&module, self.table.get(), first_slot).map_err(refused)?;
        if self.enter == 0 {
            let table = self.table.get().clone();
            self.open(&table).map_err(refused)?;
        }
        self.next += 1;
        let (module, instance) = (Local::new(module), Local::new(instance));
        self.installed.insert(self.next, Installed { module, first_slot, _instance: instance });
        Ok(CodeInstance(self.next))
    }

    fn remove(&mut self, instance: CodeInstance, first_slot: u32, count: u32) {
        if self.installed.remove(&instance.0).is_some() {
            self.removed += 1;
        }
        let Some(empty) = self.empty.get() else { return };
        for slot in first_slot..first_slot + count {
            if let Err(error) = self.table.get().set(slot, empty) {
                log::error!("the place {slot} of the table cannot be cleared: {}", refused(error));
            }
        }
    }

    fn settle(&mut self) {
        if self.removed < MOST_REMOVED {
            return;
        }
        self.removed = 0;
        // All goes on with the old one.
        if let Err(error) = self.renew() {
            log::warn!("the table of generated code cannot be renewed: {}", refused(error));
        }
    }

    fn seconds(&self) -> f64 {
        super::host::performance_now() / 1e3
    }

    #[inline]
    unsafe fn call(&mut self, function: u32, vcpu: *mut u8, rip: u64) -> u64 {
        // SAFETY: on this target a function's address is its place in our own table, where a function of this type
        // has stood since the first module was installed, and the caller promises that one is.
        let enter = unsafe {
            std::mem::transmute::<usize, extern "C" fn(*mut u8, u32, u64) -> u64>(self.enter as usize)
        };
        enter(vcpu, function, rip)
    }
}
