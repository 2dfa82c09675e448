//! Assembly: memory map, vCPUs, run loop, time; the public Rust API.

mod handle;
mod panic_watch;
mod time;
