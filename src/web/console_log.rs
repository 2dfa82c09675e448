//! What goes wrong inside, on the worker's console.

use log::{Level, LevelFilter, Log, Metadata, Record};
use wasm_bindgen::prelude::*;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = console, js_name = error)]
    fn console_error(text: &str);
}

/// The console of whichever worker writes.
struct ConsoleLog;

impl Log for ConsoleLog {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= Level::Error
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            console_error(&format!("dinghy: {}", record.args()));
        }
    }

    fn flush(&self) {}
}

/// Shows errors from now on, as the native command does; warnings are of interest to who debugs a guest.
pub fn start() {
    // Of several instances on one memory, the first has done it for all.
    if log::set_logger(&ConsoleLog).is_ok() {
        log::set_max_level(LevelFilter::Error);
    }
}
