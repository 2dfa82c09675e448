//! The `cpu-vectors` command: vectors as lines of JSON on standard input, outcomes on standard output.

use std::process::ExitCode;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod command {
    use clap::{Parser, ValueEnum};
    use cpu_vectors::{Engine, Privilege, Vector};
    use std::io::{self, BufRead, BufWriter, Write};
    use std::process::ExitCode;

    /// Runs snippets of x86-64 code from given states on dinghy's processor.
    ///
    /// Reads vectors as lines of JSON on standard input and writes what they leave as lines of JSON. A line that
    /// is no vector is answered by a line with an "error", and the exit code is 1 at the end.
    #[derive(Parser)]
    struct Arguments {
        /// What executes the code.
        #[arg(long, value_enum, default_value = "interp")]
        engine: EngineArgument,
        /// The privilege level that it runs with.
        #[arg(long, value_name = "LEVEL", default_value = "0", value_parser = ["0", "3"])]
        cpl: String,
    }

    #[derive(Clone, Copy, ValueEnum)]
    enum EngineArgument {
        /// The interpreter.
        Interp,
        /// Compiled code.
        Jit,
    }

    #[derive(serde::Serialize)]
    struct Failure {
        name: Option<String>,
        error: String,
    }

    fn outcome(line: &str, engine: Engine, privilege: Privilege) -> Result<String, Failure> {
        let vector: Vector = serde_json::from_str(line)
            .map_err(|error| Failure { name: name_of(line), error: error.to_string() })?;
        let failed = |error: String| Failure { name: Some(vector.name.clone()), error };
        let outcome =
            cpu_vectors::run(&vector, engine, privilege).map_err(|error| failed(error.to_string()))?;
        serde_json::to_string(&outcome).map_err(|error| failed(error.to_string()))
    }

    /// The name in a line whose other fields make no sense.
    fn name_of(line: &str) -> Option<String> {
        let value: serde_json::Value = serde_json::from_str(line).ok()?;
        Some(value.get("name")?.as_str()?.to_owned())
    }

    pub fn run() -> io::Result<ExitCode> {
        let arguments = Arguments::parse();
        let engine = match arguments.engine {
            EngineArgument::Interp => Engine::Interpreter,
            EngineArgument::Jit => Engine::Compiled,
        };
        let privilege = if arguments.cpl == "0" { Privilege::Supervisor } else { Privilege::User };
        let mut output = BufWriter::new(io::stdout().lock());
        let mut code = ExitCode::SUCCESS;
        let mut input = io::stdin().lock();
        let mut line = String::new();
        loop {
            line.clear();
            if input.read_line(&mut line)? == 0 {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            match outcome(&line, engine, privilege) {
                Ok(outcome) => writeln!(output, "{outcome}")?,
                Err(failure) => {
                    code = ExitCode::FAILURE;
                    writeln!(output, "{}", serde_json::to_string(&failure)?)?;
                }
            }
            // Who writes a line may wait for its answer before the next.
            output.flush()?;
        }
        Ok(code)
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn main() -> ExitCode {
    command::run().unwrap_or_else(|error| {
        eprintln!("cpu-vectors: {error}");
        ExitCode::FAILURE
    })
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
fn main() -> ExitCode {
    eprintln!("cpu-vectors: this runs on x86-64 Linux only");
    ExitCode::FAILURE
}
