//! Compiled code against the interpreter, run by wasmtime.
//!
//! `DINGHY_BLESS=1` writes the golden files anew; `DINGHY_JIT_PROGRAMS` sets the number of random programs,
//! `DINGHY_JIT_SEED` the seed.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod boot;
mod computer;
mod differential;
mod generate;
mod golden;
mod host;
#[path = "../boot/guest.rs"]
#[allow(dead_code)]
mod kernel;
#[path = "../boot/initramfs.rs"]
#[allow(dead_code)]
mod kernel_initramfs;
#[path = "../boot/program.rs"]
#[allow(dead_code)]
mod kernel_program;
mod loops;
mod overwritten;
#[path = "../isa/random.rs"]
#[allow(dead_code)]
mod random;
mod relaxed;
