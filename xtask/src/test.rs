//! Every check of the project, one after the other, with the runners' own summaries at the end.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::command::{command, command_line};
use crate::toolchain::{self, Toolchain};
use crate::{build_all, node, workspace, www};

/// One check: its name, and the command that succeeds if all is well.
struct Check {
    name: &'static str,
    command: Command,
}

/// What became of a check.
struct Outcome {
    name: &'static str,
    passed: bool,
    duration: Duration,
    /// The lines in which the runner sums up, as it wrote them.
    summary: Vec<String>,
}

/// Runs every check, also after one has failed, then repeats what each runner said of itself.
///
/// # Errors
/// If something cannot be built or a check fails.
pub fn run_all() -> Result<()> {
    let started = Instant::now();
    build_all()?;
    crate::bench::make_initramfs()?;
    www::install_packages()?;
    let mut outcomes =
        vec![Outcome { name: "build", passed: true, duration: started.elapsed(), summary: Vec::new() }];
    for check in checks(&toolchain::build()?)? {
        outcomes.push(run(check)?);
    }
    println!("\n==== Summary");
    for outcome in &outcomes {
        let verdict = if outcome.passed { "ok" } else { "FAILED" };
        println!("{:<24} {verdict:<7} {:>7.1} s", outcome.name, outcome.duration.as_secs_f64());
        for line in &outcome.summary {
            println!("    {line}");
        }
    }
    let failed = outcomes.iter().filter(|outcome| !outcome.passed).count();
    println!(
        "steps: {} passed, {failed} failed, in {:.0} s",
        outcomes.len() - failed,
        started.elapsed().as_secs_f64()
    );
    if failed > 0 {
        bail!("{failed} of {} steps failed", outcomes.len());
    }
    Ok(())
}

/// The checks in the order in which they run: the quick ones first.
fn checks(toolchain: &Toolchain) -> Result<Vec<Check>> {
    let root = workspace::root();
    let cargo = |arguments: &[&str]| {
        let mut cargo = command("/usr/bin/cargo");
        cargo.current_dir(&root).args(arguments);
        cargo
    };
    let npm = |script: &str| -> Result<Command> {
        let mut npm = node::npm()?;
        npm.args(["run", "--silent", script]);
        Ok(npm)
    };
    let mut browser = toolchain.wasm_pack()?;
    browser
        .current_dir(&root)
        .env("CHROMEDRIVER", "/usr/bin/chromedriver")
        .env("CARGO_TARGET_DIR", root.join("target/wasm-test"))
        .args(["test", "--mode", "no-install", "--headless", "--chrome"]);
    Ok(vec![
        Check { name: "cargo fmt", command: cargo(&["fmt", "--all", "--check"]) },
        Check {
            name: "cargo clippy",
            command: cargo(&[
                "clippy",
                "--workspace",
                "--all-targets",
                "--features",
                "dinghy-fuzz/targets",
                "--",
                "-D",
                "warnings",
            ]),
        },
        Check { name: "cargo test", command: cargo(&["test", "--workspace"]) },
        Check { name: "wasm-pack test", command: browser },
        Check { name: "npm run lint", command: npm("lint")? },
        Check { name: "npm test", command: npm("test")? },
        Check { name: "npm run e2e", command: npm("e2e")? },
    ])
}

/// Runs a check, showing its output as it comes.
fn run(check: Check) -> Result<Outcome> {
    let Check { name, mut command } = check;
    let line = command_line(&command);
    println!("\n==== {name}: {line}");
    let started = Instant::now();
    // The runners put their summaries on standard output, their progress on standard error.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let output = child.stdout.take().context("the child's output was not captured")?;
    let mut summary = Vec::new();
    let mut reader = BufReader::new(output);
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes)? > 0 {
        std::io::stdout().write_all(&bytes)?;
        let text = without_colours(&String::from_utf8_lossy(&bytes));
        if is_summary(text.trim()) {
            summary.push(text.trim().to_owned());
        }
        bytes.clear();
    }
    let status = child.wait()?;
    let duration = started.elapsed();
    println!("==== {name}: {status}, {:.1} s", duration.as_secs_f64());
    Ok(Outcome { name, passed: status.success(), duration, summary })
}

/// Whether a line is one in which a test runner sums up: cargo's `test result: ...` with at least one
/// test, or node's counts (`# pass 12`, `ℹ fail 0`).
fn is_summary(line: &str) -> bool {
    if line.starts_with("test result: ") {
        return !line.contains(" 0 passed; 0 failed; 0 ignored;");
    }
    let Some(count) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) else { return false };
    let mut words = count.split(' ');
    matches!(words.next(), Some("tests" | "pass" | "fail" | "skipped"))
        && words.next().is_some_and(|number| number.parse::<u64>().is_ok())
        && words.next().is_none()
}

/// The text without the terminal's colour codes.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            characters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(character);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::{is_summary, without_colours};

    #[test]
    fn finds_the_summaries_of_the_runners() {
        assert!(is_summary("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out"));
        assert!(is_summary("test result: FAILED. 0 passed; 1 failed; 0 ignored"));
        assert!(is_summary("# pass 12"));
        assert!(is_summary("ℹ fail 0"));
        assert!(!is_summary("test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured"));
        assert!(!is_summary("# pass the salt"));
        assert!(!is_summary("test cpu::flags::tests::carry ... ok"));
    }

    #[test]
    fn removes_colours() {
        assert_eq!(without_colours("\u{1b}[32mok\u{1b}[39m."), "ok.");
    }
}
