//! Vectors: snippets of x86-64 code with the state that they start from, and what dinghy's processor makes of them.
//!
//! A vector is a line of JSON; SPECIFICATION.md has the fields. Code runs in long mode with only its own regions
//! mapped, until `HLT`, an exception, or [`MOST_INSTRUCTIONS`].
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

#[path = "../../../tests/jit/host.rs"]
#[allow(missing_docs)]
mod code_host;
mod computer;
mod hex;
mod pages;
mod state;
mod vector;

pub use computer::{Engine, MOST_INSTRUCTIONS, Privilege, run, run_limited};
pub use vector::{Outcome, Vector, VectorError};
