//! Code in long mode, on both executors.

use crate::bytes::Bytes;
use cpu_vectors::{Engine, Privilege, Vector, run_limited};
use std::fmt::Write;

/// A loop that runs longer ends somewhere else with each executor.
const MOST_INSTRUCTIONS: u64 = 2_000;
const DATA: u64 = 0x20_0000;

/// Decodes, lifts and runs code at one of the privileges, interpreted and compiled.
///
/// # Panics
/// When the executors make something else of it.
pub fn code(data: &[u8]) {
    let mut bytes = Bytes(data);
    let privilege = if bytes.byte() & 1 == 0 { Privilege::User } else { Privilege::Supervisor };
    let mut registers = format!("\"rsp\":{}", DATA + 0x1000);
    for name in ["rax", "rcx", "rdx", "rbx", "rbp", "rsi", "rdi", "r8"] {
        // Writing to a string cannot fail.
        let _ = write!(registers, ",\"{name}\":\"{:#x}\"", bytes.number(DATA));
    }
    let mut hex = String::new();
    for byte in bytes.0.iter().take(256) {
        let _ = write!(hex, "{byte:02x}");
    }
    let json = format!(
        "{{\"name\":\"fuzz\",\"code\":\"{hex}f4\",\"load\":4096,\"regions\":[[{DATA},8192]],\"regs\":{{{registers}}}}}"
    );
    let vector: Vector = serde_json::from_str(&json).expect("it was written as a vector is");
    let run =
        |engine| run_limited(&vector, engine, privilege, MOST_INSTRUCTIONS).expect("it is a right vector");
    let (interpreted, compiled) = (run(Engine::Interpreter), run(Engine::Compiled));
    if interpreted.stop != "limit" || compiled.stop != "limit" {
        assert_eq!(interpreted, compiled, "{privilege:?}: {json}");
    }
}
