//! Time, randomness and console output.

use super::local::Local;
use crate::host::{Clock, ConsoleOutput, Entropy, WallTime};
use js_sys::{Date, Function, Uint8Array};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    /// Milliseconds since the worker began; never goes backwards.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    pub(super) fn performance_now() -> f64;

    /// Fills a view of at most 65,536 bytes that is not shared.
    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn get_random_values(bytes: &Uint8Array) -> Uint8Array;
}

/// The most bytes that `getRandomValues` gives at a time.
const MOST_RANDOM_BYTES: usize = 65_536;

/// The worker's monotonic clock, zero when it was made.
pub struct WorkerClock {
    origin_ms: f64,
    started_at: WallTime,
}

impl WorkerClock {
    /// A clock that starts now.
    pub fn new() -> Self {
        let started_at = WallTime { unix_ns: (Date::now() * 1e6) as u64 };
        Self { origin_ms: performance_now(), started_at }
    }
}

impl Clock for WorkerClock {
    fn now_ns(&self) -> u64 {
        ((performance_now() - self.origin_ms) * 1e6) as u64
    }

    fn started_at(&self) -> WallTime {
        self.started_at
    }
}

/// The platform's cryptographic generator.
pub struct CryptoEntropy;

impl Entropy for CryptoEntropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(MOST_RANDOM_BYTES) {
            // The generator refuses views on shared memory.
            let bytes = Uint8Array::new_with_length(part.len() as u32);
            get_random_values(&bytes);
            bytes.copy_to(part);
        }
    }
}

/// Hands what the guest prints to a JavaScript function.
pub struct FunctionOutput(Local<Function>);

impl FunctionOutput {
    /// Output to `function`, which takes a `Uint8Array`.
    pub fn new(function: Function) -> Self {
        Self(Local::new(function))
    }
}

impl ConsoleOutput for FunctionOutput {
    fn write(&mut self, bytes: &[u8]) {
        // A copy: views on the wasm memory do not survive its growth, and cannot be posted when shared.
        if let Err(error) = self.0.get().call1(&JsValue::NULL, &Uint8Array::from(bytes)) {
            log::warn!("the console's output function threw: {error:?}");
        }
    }
}
