//! The `dinghy` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    env_logger::init();
    dinghy::native::command::run(std::env::args_os())
}
