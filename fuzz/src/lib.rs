//! What a fuzzer may do to dinghy: each function takes bytes, and must come back.
//!
//! `targets/` hands them to libFuzzer, `tests/corpus.rs` runs what is kept in `corpus/`, and random bytes.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod bytes;
mod code;
mod machine;
mod script;

pub use code::code;
pub use machine::{kernels, protected};
pub use script::{queues, registers};

/// The functions by the names of their folders in `corpus/`.
pub const TARGETS: [(&str, fn(&[u8])); 5] = [
    ("code", code),
    ("protected", protected),
    ("kernels", kernels),
    ("queues", queues),
    ("registers", registers),
];
