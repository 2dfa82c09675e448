//! The machine that figures are of, and whether it had other work.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::command::{command, output_of};

/// How long the machine is watched for other work before a leg.
const WATCHED: Duration = Duration::from_secs(1);

/// From which share of the processors' time on other work is worth a warning.
pub const BUSY: f64 = 0.1;

/// The processors and the kernel.
///
/// # Errors
/// If the system does not tell.
pub fn description() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let kernel = output_of(command("uname").arg("-r"))?;
    let (model, count) = processors(&text);
    Ok(format!("{model}, {count} processors, Linux {kernel}"))
}

/// The first model's name, and how many processors there are.
fn processors(cpuinfo: &str) -> (&str, usize) {
    let values = |key| {
        let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.filter(move |(name, _)| name.trim() == key).map(|(_, value)| value.trim())
    };
    (values("model name").next().unwrap_or("unknown processor"), values("processor").count())
}

/// The share of the processors' time, 0 to 1, that went to anything, watched for a moment.
///
/// # Errors
/// If the system does not tell.
pub fn busy_share() -> Result<f64> {
    let before = ticks(&fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?)?;
    thread::sleep(WATCHED);
    let after = ticks(&fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?)?;
    let all = after.all.saturating_sub(before.all);
    let idle = after.idle.saturating_sub(before.idle);
    Ok(if all == 0 { 0.0 } else { 1.0 - idle as f64 / all as f64 })
}

/// The time of all processors since the start, in the kernel's ticks.
#[derive(Debug, PartialEq)]
struct Ticks {
    all: u64,
    idle: u64,
}

/// Reads the first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and two that
/// user and nice include.
fn ticks(stat: &str) -> Result<Ticks> {
    let line =
        stat.lines().find_map(|line| line.strip_prefix("cpu ")).context("/proc/stat has no line of all")?;
    let fields: Vec<u64> = line
        .split_ascii_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .with_context(|| format!("cannot read the line `cpu {line}` of /proc/stat"))?;
    ensure!(fields.len() >= 8, "/proc/stat has fewer fields than kernels from 2.6.11 on give");
    Ok(Ticks { all: fields[..8].iter().sum(), idle: fields[3] + fields[4] })
}

#[cfg(test)]
mod tests {
    use super::{Ticks, busy_share, processors, ticks};

    #[test]
    fn processors_are_counted() {
        let cpuinfo = "processor\t: 0\nmodel name\t: A: 1\n\nprocessor\t: 1\nmodel name\t: A: 1\n";
        assert_eq!(processors(cpuinfo), ("A: 1", 2));
    }

    #[test]
    fn waiting_for_disks_is_idle_and_guests_count_once() {
        let stat = "cpu  10 20 30 400 50 6 7 8 10 20\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(ticks(stat).unwrap(), Ticks { all: 531, idle: 450 });
        assert!(ticks("cpu  1 2 3").is_err());
        assert!(ticks("cpu0 1 2 3").is_err());
    }

    #[test]
    fn this_machine_tells_its_share() {
        assert!((0.0..=1.0).contains(&busy_share().unwrap()));
    }
}
