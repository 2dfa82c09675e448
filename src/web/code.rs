//! Generated code in the engine that runs us: functions in our own table, on our own memory.

use super::local::Local;
use crate::host::{CodeError, CodeHost, CodeInstance, HelperFunction};
use js_sys::WebAssembly::{Global, Instance, Memory, Module, Table};
use js_sys::{Function, Object, Reflect, SharedArrayBuffer, Uint8Array};
use std::collections::HashMap;
use wasm_bindgen::prelude::*;

/// The engine of this worker.
pub struct WorkerCode {
    table: Local<Table>,
    memory: Local<Memory>,
    has_shared_memory: bool,
    instances: HashMap<u32, Local<Instance>>,
    next: u32,
    /// What stands at the places that no module uses.
    empty: Local<Option<Function>>,
}

fn refused(error: JsValue) -> CodeError {
    let message = Reflect::get(&error, &"message".into()).ok().and_then(|message| message.as_string());
    CodeError(message.unwrap_or_else(|| format!("{error:?}")))
}

impl WorkerCode {
    /// This worker's table and memory.
    pub fn new() -> Self {
        let memory: Memory = wasm_bindgen::memory().unchecked_into();
        Self {
            table: Local::new(wasm_bindgen::function_table().unchecked_into()),
            // The stable compiler, which does not know the feature `atomics` by name, does not tell.
            has_shared_memory: memory.buffer().is_instance_of::<SharedArrayBuffer>(),
            memory: Local::new(memory),
            instances: HashMap::new(),
            next: 0,
            empty: Local::new(None),
        }
    }

    fn instantiate(&self, bytes: &[u8], first_slot: u32) -> Result<Instance, JsValue> {
        // A copy: modules are not compiled from shared memory.
        let module = Module::new(&Uint8Array::from(bytes))?;
        let kind = Object::new();
        Reflect::set(&kind, &"value".into(), &"i32".into())?;
        let slot = Global::new(&kind, &first_slot.into())?;
        let names = Object::new();
        Reflect::set(&names, &"m".into(), self.memory.get())?;
        Reflect::set(&names, &"t".into(), self.table.get())?;
        Reflect::set(&names, &"s".into(), &slot)?;
        let imports = Object::new();
        Reflect::set(&imports, &"e".into(), &names)?;
        Instance::new(&module, &imports)
    }
}

impl CodeHost for WorkerCode {
    fn has_shared_memory(&self) -> bool {
        self.has_shared_memory
    }

    fn helper(&mut self, function: HelperFunction) -> u32 {
        // A function's address is its place in the table.
        let place = match function {
            HelperFunction::Region(function) => function as usize,
            HelperFunction::Call(function) => function as usize,
            HelperFunction::Interpret(function) => function as usize,
            HelperFunction::Condition(function) => function as usize,
        };
        if let HelperFunction::Region(_) = function {
            self.empty = Local::new(self.table.get().get(place as u32).ok());
        }
        place as u32
    }

    fn grow(&mut self, count: u32) -> Result<u32, CodeError> {
        self.table.get().grow(count).map_err(refused)
    }

    fn install(&mut self, module: &[u8], first_slot: u32) -> Result<CodeInstance, CodeError> {
        let instance = self.instantiate(module, first_slot).map_err(refused)?;
        self.next += 1;
        self.instances.insert(self.next, Local::new(instance));
        Ok(CodeInstance(self.next))
    }

    fn remove(&mut self, instance: CodeInstance, first_slot: u32, count: u32) {
        self.instances.remove(&instance.0);
        let Some(empty) = self.empty.get() else { return };
        for slot in first_slot..first_slot + count {
            if let Err(error) = self.table.get().set(slot, empty) {
                log::error!("the place {slot} of the table cannot be cleared: {}", refused(error));
            }
        }
    }

    fn seconds(&self) -> f64 {
        super::host::performance_now() / 1e3
    }

    #[inline]
    unsafe fn call(&mut self, function: u32, vcpu: *mut u8, rip: u64) -> u64 {
        // SAFETY: the caller promises that a region of this type stands at this place of our table, and on this
        // target a function's address is its place.
        let function = unsafe {
            std::mem::transmute::<usize, extern "C" fn(*mut u8, u32, u64) -> u64>(function as usize)
        };
        function(vcpu, 0, rip)
    }
}
