//! The lines that the yardstick prints, read into figures.
//!
//! A run is `RUN cold`, lines `BENCH name wall cpu` in seconds, `RUN warm`, the same again, and `DONE
//! uptime`. `WRONG name wall cpu` in place of `BENCH` tells that a program got a wrong result.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// The half of the printed unit, 0.1 ms: a program that reads as zero took at most that.
const LEAST_SECONDS: f64 = 0.00005;

/// CPU seconds of a program's first and second run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passes {
    /// In the first pass, when nothing of the program has run yet.
    pub cold: f64,
    /// In the second pass.
    pub warm: f64,
}

/// What a whole run says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// The programs, in the order in which they ran.
    pub order: Vec<String>,
    /// CPU seconds by program.
    pub seconds: BTreeMap<String, Passes>,
}

/// Reads a run's whole output; other lines than the yardstick's are passed over.
///
/// # Errors
/// If a program got a wrong result, a line is damaged, a program ran in one pass only, one of `wanted`
/// did not run, or the run did not come to its end.
pub fn read(output: &str, wanted: &[String]) -> Result<Figures> {
    let mut order = Vec::new();
    let mut passes: [BTreeMap<String, f64>; 2] = Default::default();
    let mut pass = None;
    let mut is_done = false;
    for line in output.lines().map(str::trim) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("RUN") => {
                pass = match words.next() {
                    Some("cold") => Some(0),
                    Some("warm") => Some(1),
                    _ => bail!("there is no such pass: `{line}`"),
                }
            }
            Some("BENCH") => {
                let pass = pass.with_context(|| format!("`{line}` comes before the first `RUN`"))?;
                let (name, seconds) =
                    figure(&mut words).with_context(|| format!("cannot read the line `{line}`"))?;
                if pass == 0 {
                    order.push(name.clone());
                }
                let earlier = passes[pass].insert(name, seconds);
                ensure!(earlier.is_none(), "`{line}` is the second of that program in one pass");
            }
            Some("WRONG") => bail!("a program got a wrong result: `{line}`"),
            Some("DONE") => is_done = true,
            _ => {}
        }
    }
    ensure!(is_done, "the run ended without its last line, `DONE`");
    let [cold, mut warm] = passes;
    let mut seconds = BTreeMap::new();
    for (name, cold) in cold {
        let warm = warm.remove(&name).with_context(|| format!("{name} ran in the cold pass only"))?;
        seconds.insert(name, Passes { cold, warm });
    }
    if let Some(name) = warm.keys().next() {
        bail!("{name} ran in the warm pass only");
    }
    ensure!(!seconds.is_empty(), "no program ran");
    for name in wanted {
        ensure!(seconds.contains_key(name), "{name} did not run; is there such a program?");
    }
    Ok(Figures { order, seconds })
}

/// The name and CPU seconds of a line, after its first word.
fn figure<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<(String, f64)> {
    let name = words.next().context("the name is missing")?;
    let mut seconds = || -> Result<f64> {
        let value: f64 = words.next().context("a number is missing")?.parse()?;
        ensure!(value.is_finite() && value >= 0.0, "{value} is no time");
        Ok(value)
    };
    let _wall = seconds()?;
    let cpu = seconds()?;
    ensure!(words.next().is_none(), "there is more than a name and two numbers");
    Ok((name.to_owned(), cpu.max(LEAST_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::{LEAST_SECONDS, Passes, read};

    const RUN: &str = "[    0.1] Linux\r\nINIT 0.10 0.05\r\nRUN cold\r\nBENCH sh_10k 0.5 0.25\r\nBENCH fib 1.0 0.0\r\n\
                       RUN warm\r\nBENCH sh_10k 0.4 0.2\r\nBENCH fib 1.0 0.9\r\nDONE 9.0 1.0\r\n";

    fn message(output: &str, wanted: &[&str]) -> String {
        let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
        read(output, &wanted).unwrap_err().to_string()
    }

    #[test]
    fn reads_the_cpu_seconds_of_both_passes_in_the_order_of_the_run() {
        let figures = read(RUN, &["fib".to_owned()]).unwrap();
        assert_eq!(figures.order, ["sh_10k", "fib"]);
        assert_eq!(figures.seconds["sh_10k"], Passes { cold: 0.25, warm: 0.2 });
        assert_eq!(figures.seconds["fib"], Passes { cold: LEAST_SECONDS, warm: 0.9 });
    }

    #[test]
    fn refuses_a_wrong_result() {
        let output = RUN.replace("BENCH fib 1.0 0.9", "WRONG fib 1.0 0.9");
        assert_eq!(message(&output, &[]), "a program got a wrong result: `WRONG fib 1.0 0.9`");
    }

    #[test]
    fn refuses_a_run_that_did_not_come_to_its_end() {
        assert!(message(&RUN.replace("DONE", "DON"), &[]).contains("without its last line"));
    }

    #[test]
    fn refuses_programs_of_one_pass() {
        assert_eq!(message(&RUN.replace("BENCH fib 1.0 0.9", ""), &[]), "fib ran in the cold pass only");
        assert_eq!(message(&RUN.replace("BENCH fib 1.0 0.0", ""), &[]), "fib ran in the warm pass only");
    }

    #[test]
    fn refuses_a_run_without_a_program_that_was_asked_for() {
        assert!(message(RUN, &["fibb"]).starts_with("fibb did not run"));
        assert_eq!(message("RUN cold\nRUN warm\nDONE 1 1", &[]), "no program ran");
    }

    #[test]
    fn refuses_damaged_lines() {
        for damaged in
            ["BENCH fib 1.0", "BENCH fib 1.0 x", "BENCH fib 1.0 -1", "BENCH fib 1.0 1.0 1.0", "BENCH"]
        {
            let output = RUN.replace("BENCH fib 1.0 0.9", damaged);
            assert_eq!(message(&output, &[]), format!("cannot read the line `{damaged}`"));
        }
        assert!(message("BENCH fib 1 1\nDONE 1 1", &[]).contains("before the first"));
        assert!(message(&RUN.replace("BENCH fib 1.0 0.9", "BENCH sh_10k 1 1"), &[]).contains("second"));
    }
}
