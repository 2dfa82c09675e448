//! The machine as JavaScript has it, in a browser's worker. `wasm-pack test --headless --chrome` runs these.
//!
//! The guests are bare programs, assembled here: a failure points at the host's side and not at a kernel.
//! They run in the unshared build; the npm package's own tests run the shared one.

#![cfg(target_arch = "wasm32")]

mod consoles;
mod disks;
mod endings;
mod engines;
mod host;
mod program;
mod refusals;
mod time;

wasm_bindgen_test::wasm_bindgen_test_configure!(run_in_dedicated_worker);
