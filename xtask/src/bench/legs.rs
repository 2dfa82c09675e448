//! The places where the yardstick runs: this machine itself, QEMU, and dinghy in node and Chromium.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::reading::{self, Figures};
use crate::command::{command, command_line};
use crate::{node, workspace};

/// How long after a command's own time limit it is ended from outside.
const GRACE: Duration = Duration::from_secs(15);

/// The guest's memory.
const MEMORY_MIB: &str = "1024";

/// A place where the yardstick runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Leg {
    /// This machine's processor and kernel
    Native,
    /// Debian's QEMU, translating to machine code
    Tcg,
    /// Dinghy in node
    Node,
    /// Dinghy in headless Chromium
    Chromium,
}

impl Leg {
    /// All of them, in the order in which they run.
    pub const ALL: [Self; 4] = [Self::Native, Self::Tcg, Self::Node, Self::Chromium];

    /// The name on the command line, and of the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tcg => "tcg",
            Self::Node => "node",
            Self::Chromium => "chromium",
        }
    }

    /// The name at the head of a column.
    pub fn title(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Tcg => "QEMU TCG",
            Self::Node => "node",
            Self::Chromium => "Chromium",
        }
    }

    /// Whether it is dinghy that runs there.
    pub fn is_dinghy(self) -> bool {
        matches!(self, Self::Node | Self::Chromium)
    }
}

impl std::fmt::Display for Leg {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What the guests are booted from.
pub struct Guest {
    /// The kernel, a vmlinux.
    pub kernel: PathBuf,
    /// The yardstick's initramfs.
    pub initramfs: PathBuf,
    /// The programs to run; none named: all.
    pub programs: Vec<String>,
    /// Whether the processor has AVX2 and FMA, which those that guests get by themselves have not.
    pub has_avx2: bool,
    /// What dinghy is given as `--engine`.
    pub engine: Option<String>,
    /// More words for the kernel's command line.
    pub append: String,
    /// When a run is given up.
    pub timeout_seconds: u64,
}

impl Guest {
    /// The words that follow the console's on the kernel's command line.
    fn words(&self) -> String {
        let programs = if self.programs.is_empty() {
            String::new()
        } else {
            format!("bench={}", self.programs.join(","))
        };
        format!("{programs} {}", self.append).trim().to_owned()
    }

    /// The kernel's whole command line.
    fn command_line(&self) -> String {
        format!("console=ttyS0 quiet panic=-1 {}", self.words()).trim().to_owned()
    }
}

/// Runs the yardstick in one place; what it prints goes to `log` as it comes.
///
/// # Errors
/// If it cannot be started, fails, takes too long, or if its lines are not those of a good run.
pub fn run(leg: Leg, guest: &Guest, log: &Path) -> Result<Figures> {
    let (mut command, patience) = match leg {
        Leg::Native => (native(guest)?, Duration::ZERO),
        Leg::Tcg => (tcg(guest), Duration::ZERO),
        Leg::Node => (in_node(guest)?, GRACE),
        Leg::Chromium => (in_chromium(guest)?, GRACE),
    };
    let output = capture(&mut command, log, Duration::from_secs(guest.timeout_seconds) + patience)?;
    reading::read(&output, &guest.programs)
}

/// The initramfs's tree and programs on this machine.
fn native(guest: &Guest) -> Result<Command> {
    let folder = workspace::build_folder().join("bench/native");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut command = command("sh");
    command
        .arg(workspace::root().join("tests/bench/native.sh"))
        .arg(&guest.initramfs)
        .arg(folder)
        .env("bench", guest.programs.join(","));
    Ok(command)
}

/// Debian's package qemu-system-x86, with the machine and processor that it has by itself.
fn tcg(guest: &Guest) -> Command {
    let mut command = command("qemu-system-x86_64");
    command
        .args(["-accel", "tcg", "-smp", "1", "-m", MEMORY_MIB, "-nodefaults", "-nographic", "-no-reboot"])
        .args(["-serial", "stdio", "-append", &guest.command_line(), "-kernel"])
        .arg(&guest.kernel)
        .arg("-initrd")
        .arg(&guest.initramfs);
    if guest.has_avx2 {
        command.args(["-cpu", "max"]);
    }
    command
}

/// The command of `www/bin`.
fn in_node(guest: &Guest) -> Result<Command> {
    let mut command = node::node()?;
    command
        .arg("bin/dinghy.mjs")
        .args(["run", "--memory", MEMORY_MIB, "--timeout", &guest.timeout_seconds.to_string()])
        .args(["--append", &guest.command_line(), "--stats"]);
    with_files_and_engine(&mut command, guest);
    Ok(command)
}

/// The page of `www/e2e/yardstick.mjs`; 1,024 MiB are what it gives a guest by itself.
fn in_chromium(guest: &Guest) -> Result<Command> {
    let mut command = node::node()?;
    command
        .arg("e2e/yardstick.mjs")
        .args(["--timeout", &guest.timeout_seconds.to_string()])
        .arg(format!("--append={}", guest.words()));
    with_files_and_engine(&mut command, guest);
    Ok(command)
}

/// The options that both of dinghy's commands take alike.
fn with_files_and_engine(command: &mut Command, guest: &Guest) {
    command.arg("--kernel").arg(&guest.kernel).arg("--initrd").arg(&guest.initramfs);
    if let Some(engine) = &guest.engine {
        command.args(["--engine", engine]);
    }
    if guest.has_avx2 {
        command.args(["--cpu", "v3"]);
    }
}

/// Runs a command and returns what it printed, which is also written to `log` line by line.
///
/// # Errors
/// If it cannot be started, does not succeed, or takes longer than `limit`: then it is ended.
fn capture(command: &mut Command, log: &Path, limit: Duration) -> Result<String> {
    let line = command_line(command);
    let mut file = File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    // Warnings and what the commands count are of use in the log, and hold no lines of the yardstick.
    let errors = file.try_clone().with_context(|| format!("cannot open {} twice", log.display()))?;
    let deadline = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(errors)
        .spawn()
        .with_context(|| format!("cannot start `{line}`; is its package installed?"))?;
    let read = read_lines(&mut child, &mut file, deadline);
    if read.is_err() {
        child.kill().with_context(|| format!("cannot end `{line}`"))?;
    }
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    let output = read.with_context(|| format!("`{line}`"))?;
    if !status.success() {
        // A wrong result says more than the exit code that follows from it.
        if let Some(wrong) = output.lines().find(|line| line.starts_with("WRONG")) {
            bail!("a program got a wrong result: `{}`", wrong.trim());
        }
        let said = fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
        bail!("`{line}` failed: {status}; its last line was `{}`", last_line(&said));
    }
    Ok(output)
}

/// Everything that a child prints, to its end.
///
/// # Errors
/// If it has not ended at the deadline, or `file` cannot be written.
fn read_lines(child: &mut Child, file: &mut File, deadline: Instant) -> Result<String> {
    let stdout = child.stdout.take().context("its output was not captured")?;
    let (sender, lines) = mpsc::channel();
    // Only a thread can wait for output and for a deadline at once; it ends with the child's output.
    std::thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        loop {
            let mut bytes = Vec::new();
            let read = reader.read_until(b'\n', &mut bytes);
            let is_end = !matches!(read, Ok(count) if count > 0);
            if sender.send(read.map(|_| bytes)).is_err() || is_end {
                return;
            }
        }
    });
    let mut output = String::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let bytes = match lines.recv_timeout(left) {
            Ok(read) => read.context("cannot read its output")?,
            Err(RecvTimeoutError::Timeout) => {
                bail!("did not end in time; the last line was `{}`", last_line(&output))
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(output),
        };
        file.write_all(&bytes).context("cannot write the log")?;
        output.push_str(&String::from_utf8_lossy(&bytes));
    }
}

/// The last line that is not empty.
fn last_line(output: &str) -> &str {
    output.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or("(none)")
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::{Guest, Leg, capture, command, in_chromium, in_node, run, tcg};
    use crate::command::command_line;

    fn guest() -> Guest {
        Guest {
            kernel: PathBuf::from("KERNEL"),
            initramfs: PathBuf::from("INITRAMFS"),
            programs: vec!["fib".to_owned(), "sh_10k".to_owned()],
            has_avx2: false,
            engine: Some("interp".to_owned()),
            append: "loglevel=7".to_owned(),
            timeout_seconds: 60,
        }
    }

    fn log(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("dinghy-bench-{name}-{}.log", std::process::id()))
    }

    fn sh(script: &str, log: &Path, limit: Duration) -> anyhow::Result<String> {
        capture(command("sh").args(["-c", script]), log, limit)
    }

    #[test]
    fn programs_engine_and_further_words_reach_the_guests() {
        let words = "bench=fib,sh_10k loglevel=7";
        for command in [tcg(&guest()), in_node(&guest()).unwrap(), in_chromium(&guest()).unwrap()] {
            let line = command_line(&command);
            assert!(line.contains(words), "{line}");
            assert_eq!(line.contains("--engine interp"), !line.contains("qemu"), "{line}");
        }
    }

    #[test]
    fn processors_with_avx2_are_asked_for() {
        let guest = Guest { has_avx2: true, ..guest() };
        assert!(command_line(&tcg(&guest)).ends_with("-cpu max"));
        for command in [in_node(&guest).unwrap(), in_chromium(&guest).unwrap()] {
            assert!(command_line(&command).ends_with("--cpu v3"));
        }
    }

    #[test]
    fn without_wishes_the_command_line_is_the_console_s_alone() {
        let guest = Guest { programs: Vec::new(), append: String::new(), ..guest() };
        assert_eq!(guest.command_line(), "console=ttyS0 quiet panic=-1");
    }

    #[test]
    fn output_is_returned_and_kept() {
        let log = log("kept");
        let output = sh("echo one; echo two >&2; echo three", &log, Duration::from_secs(60)).unwrap();
        assert_eq!(output, "one\nthree\n");
        let kept = std::fs::read_to_string(&log).unwrap();
        for line in ["one", "two", "three"] {
            assert!(kept.lines().any(|kept| kept == line), "{line} in {kept:?}");
        }
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_failure_names_the_wrong_program() {
        let log = log("wrong");
        let error = sh("echo WRONG fib 1 1; exit 1", &log, Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.to_string(), "a program got a wrong result: `WRONG fib 1 1`");
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_run_that_hangs_is_ended() {
        let log = log("hangs");
        let started = Instant::now();
        let error = sh("echo RUN cold; exec sleep 60", &log, Duration::from_millis(300)).unwrap_err();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(
            format!("{error:#}").ends_with("did not end in time; the last line was `RUN cold`"),
            "{error:#}"
        );
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn a_missing_initramfs_fails_the_native_leg() {
        let log = log("native");
        let error = run(Leg::Native, &guest(), &log).unwrap_err();
        assert!(error.to_string().contains("native.sh"), "{error:#}");
        std::fs::remove_file(log).unwrap();
    }
}
