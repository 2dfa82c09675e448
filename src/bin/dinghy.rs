//! The `dinghy` command.

use std::process::ExitCode;

#[cfg(not(target_arch = "wasm32"))]
fn main() -> ExitCode {
    env_logger::init();
    dinghy::native::command::run(std::env::args_os())
}

/// There is no command line in a browser; cargo builds every program of the package beside its tests.
#[cfg(target_arch = "wasm32")]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
