//! The front end: decodes a basic block with iced-x86 and lifts it to micro-operations.
//!
//! Each instruction's meaning is written once: here and in the families' `lift` modules, or in a helper.

mod address;
mod builder;

pub use builder::{Builder, CodeSize, Lifted, Mode};
