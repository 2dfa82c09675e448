//! The `dinghy` command: a machine with its console on the terminal.

mod arguments;
mod files;
mod input;
mod output;
mod session;
mod start_up;
mod terminal;

use arguments::{Action, Arguments, RunArguments};
use clap::Parser;
use clap::error::ErrorKind;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use session::{Ending, Session, SessionError};
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Instant;

/// The host has failed.
const EXIT_HOST: u8 = 1;
/// Bad arguments or files.
const EXIT_ARGUMENTS: u8 = 2;
/// The guest has crashed.
const EXIT_CRASH: u8 = 3;
/// The time is over; the code that timeout(1) has.
const EXIT_TIMEOUT: u8 = 124;

/// Does what `arguments` say, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return report_usage(&error),
    };
    let Action::Run(arguments) = arguments.action;
    match run_session(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("dinghy: {error}");
            ExitCode::from(if error.is_by_arguments() { EXIT_ARGUMENTS } else { EXIT_HOST })
        }
    }
}

/// Shows the help that was asked for, or one sentence about what is wrong.
fn report_usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            print!("{}", error.render().ansi());
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render());
            ExitCode::from(EXIT_ARGUMENTS)
        }
        _ => {
            let text = error.render().to_string();
            // The first paragraph says what is wrong; usage and tips follow.
            let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
            let sentence = lines.join(" ");
            let sentence = sentence.strip_prefix("error: ").unwrap_or(&sentence);
            eprintln!("dinghy: {sentence}; see dinghy run --help");
            ExitCode::from(EXIT_ARGUMENTS)
        }
    }
}

fn run_session(arguments: &RunArguments) -> Result<u8, SessionError> {
    let started = Instant::now();
    let mut session = Session::new(arguments)?;
    let outcome = session.run();
    if arguments.stats {
        RunStatistics::new(session.instructions(), started).print();
    }
    Ok(match outcome? {
        Ending::PoweredOff | Ending::Quit => 0,
        Ending::TimedOut => {
            eprintln!("dinghy: the timeout is over and the guest still runs");
            EXIT_TIMEOUT
        }
        // Like an exit status, the port's value has eight bits that count.
        Ending::Exited(value) => value as u8,
        Ending::Crashed { reason, last_lines } => {
            eprintln!("dinghy: {reason}; its last lines:");
            for line in last_lines {
                eprintln!("  {}", line.replace(char::is_control, ""));
            }
            EXIT_CRASH
        }
    })
}

/// What `--stats` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RunStatistics {
    instructions: u64,
    wall_seconds: f64,
    cpu_seconds: f64,
    /// Million instructions per second of CPU time.
    mips: f64,
}

impl RunStatistics {
    fn new(instructions: u64, started: Instant) -> Self {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu_seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
        let mips = if cpu_seconds > 0.0 { instructions as f64 / 1e6 / cpu_seconds } else { 0.0 };
        Self { instructions, wall_seconds: started.elapsed().as_secs_f64(), cpu_seconds, mips }
    }

    fn print(&self) {
        match serde_json::to_string(self) {
            Ok(line) => eprintln!("{line}"),
            Err(error) => log::error!("cannot write the statistics: {error}"),
        }
    }
}
