//! dinghy: an x86_64 system emulator that boots Linux and runs Docker in a browser tab.
//!
//! The map of the house, lowest floor first; a room imports only from floors below it.

pub mod host;
pub mod ir;
pub mod mem;

pub mod cpu;
pub mod devices;
pub mod net;
pub mod storage;

pub mod jit;
pub mod virtio;

pub mod boot;
pub mod snapshot;

pub mod machine;

#[cfg(not(target_arch = "wasm32"))]
pub mod native;
#[cfg(target_arch = "wasm32")]
pub mod web;
