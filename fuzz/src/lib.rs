//! What a fuzzer may do to dinghy: each function takes bytes, and must come back.
//!
//! `targets/` hands them to libFuzzer, `tests/corpus.rs` runs what is kept in `corpus/`, and random bytes.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod answers;
mod bytes;
mod code;
mod files;
mod machine;
mod script;

pub use answers::answers;
pub use code::code;
pub use files::{elsewhere, manifests, overlays, snapshots};
pub use machine::{kernels, protected};
pub use script::{messages, queues, registers};

/// What takes a fuzzer's bytes.
pub type Target = fn(&[u8]);

/// The functions by the names of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 11] = [
    ("code", code),
    ("protected", protected),
    ("kernels", kernels),
    ("queues", queues),
    ("registers", registers),
    ("messages", messages),
    ("manifests", manifests),
    ("snapshots", snapshots),
    ("elsewhere", elsewhere),
    ("answers", answers),
    ("overlays", overlays),
];
