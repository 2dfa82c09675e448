//! Hot code as WebAssembly: regions of blocks become functions, batches of functions become modules.
//!
//! [`region`] finds what belongs together, [`graph`], [`flow`] and [`window`] analyse it, [`emit`] writes the function,
//! [`module`] packs a batch, and [`engine`] keeps what is [`installed`]. Generated code and the vCPU agree on
//! [`abi`].

mod abi;
mod emit;
mod engine;
mod flow;
mod graph;
mod installed;
mod module;
mod probe;
mod region;
mod window;

pub use engine::{Engine, EngineOptions, EngineStatistics};
pub use module::encode_entry as entry_module;
pub use probe::encode as relaxed_probe;
