//! A machine with the options that JavaScript gives, and what it prints.

use dinghy::web::{WebMachine, WebPort};
use js_sys::{Array, Error, Object, Reflect, Uint8Array};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::JsCast;
use wasm_bindgen::prelude::*;

/// Instructions between two looks at the outcome.
const STEP: f64 = 100_000.0;
/// A program that has not ended after so many steps never will.
const PATIENCE: u32 = 1000;

/// What can execute a guest: the programs do the same with each.
pub const ENGINES: [&str; 3] = ["interp", "auto", "jit"];

/// What the guest has printed on one of its consoles.
pub struct Output {
    bytes: Rc<RefCell<Vec<u8>>>,
    // The function lives as long as the machine may call it.
    function: Closure<dyn FnMut(Uint8Array)>,
}

impl Output {
    fn new() -> Self {
        let bytes = Rc::<RefCell<Vec<u8>>>::default();
        let printed = bytes.clone();
        let function = Closure::new(move |piece: Uint8Array| printed.borrow_mut().extend(piece.to_vec()));
        Self { bytes, function }
    }

    pub fn take(&self) -> Vec<u8> {
        self.bytes.take()
    }

    pub fn len(&self) -> usize {
        self.bytes.borrow().len()
    }
}

/// A JavaScript object with these properties.
pub fn object(properties: &[(&str, JsValue)]) -> Object {
    let object = Object::new();
    for (name, value) in properties {
        assert!(Reflect::set(&object, &JsValue::from(*name), value).unwrap());
    }
    object
}

/// What a machine is made from.
pub struct Setup {
    pub kernel: Vec<u8>,
    pub memory_bytes: f64,
    pub clock: &'static str,
    /// One of [`ENGINES`].
    pub engine: &'static str,
    pub disks: Vec<Object>,
}

impl Setup {
    pub fn new(kernel: Vec<u8>) -> Self {
        Self { kernel, memory_bytes: f64::from(64 << 20), clock: "icount", engine: "auto", disks: Vec::new() }
    }

    /// With another engine.
    pub fn on(self, engine: &'static str) -> Self {
        Self { engine, ..self }
    }

    /// Builds the machine, or tells what it says to the user.
    pub fn build(self) -> Result<Guest, String> {
        let (serial, console) = (Output::new(), Output::new());
        let options = object(&[
            ("memoryBytes", self.memory_bytes.into()),
            ("kernel", Uint8Array::from(self.kernel.as_slice()).into()),
            ("commandLine", "".into()),
            ("clock", self.clock.into()),
            ("engine", self.engine.into()),
            ("columns", 80.into()),
            ("rows", 24.into()),
            ("disks", self.disks.into_iter().collect::<Array>().into()),
            ("onSerialOutput", serial.function.as_ref().clone()),
            ("onConsoleOutput", console.function.as_ref().clone()),
        ]);
        let machine =
            WebMachine::new(options.unchecked_ref()).map_err(|error: Error| String::from(error.message()))?;
        let port = WebPort::new(machine.port_handle());
        Ok(Guest { machine, port, serial, console })
    }

    /// Builds the machine, which must go well.
    pub fn start(self) -> Guest {
        self.build().unwrap_or_else(|sentence| panic!("{sentence}"))
    }
}

/// A machine, its port, and its consoles.
pub struct Guest {
    pub machine: WebMachine,
    pub port: WebPort,
    /// ttyS0.
    pub serial: Output,
    /// hvc0.
    pub console: Output,
}

impl Guest {
    /// Runs until `is_reached`, which must be before the machine ends.
    pub fn run_until(&mut self, is_reached: impl Fn(&Self) -> bool) {
        for _ in 0..PATIENCE {
            if is_reached(self) {
                return;
            }
            let outcome = self.machine.run(STEP);
            assert!(outcome == "limit" || is_reached(self), "{outcome}");
        }
        panic!("what was waited for has not come");
    }

    /// Runs until the machine ends or sleeps; which of them.
    pub fn run_to_end(&mut self) -> String {
        (0..PATIENCE)
            .map(|_| self.machine.run(STEP))
            .find(|outcome| outcome != "limit")
            .unwrap_or_else(|| panic!("the program has not ended"))
    }

    /// One of the statistics.
    pub fn figure(&self, name: &str) -> f64 {
        let statistics = self.machine.statistics();
        let value = Reflect::get(&statistics, &name.into()).unwrap();
        value.as_f64().unwrap_or_else(|| panic!("the statistics have no {name}"))
    }
}
