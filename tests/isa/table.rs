//! Runs every form and counts.

use crate::forms::{self, Standing};
use crate::random::Random;
use crate::single::Single;
use crate::{compare, guest, native, setting};
use dinghy::cpu::Numbers;
use dinghy::jit::EngineOptions;
use iced_x86::Code;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Encodings that are tried for one of a form.
const ATTEMPTS: usize = 32;

/// What became of a form.
#[derive(Default)]
struct Tally {
    /// Cases that ran to the instruction's end.
    completed: u64,
    /// Cases that raised an exception.
    faulted: u64,
    failed: u64,
    first_failure: Option<String>,
}

/// How much is run.
struct Extent {
    rounds: u64,
    /// States that each encoding starts from.
    states: u64,
    end: Option<Instant>,
}

impl Extent {
    /// A bounded part, or as long as the environment says.
    fn new(is_compiled: bool) -> Self {
        let seconds = setting("DINGHY_ORACLE_SECONDS", 0);
        let end = (seconds > 0).then(|| Instant::now() + Duration::from_secs(seconds));
        let rounds = match (end, is_compiled) {
            (Some(_), _) => u64::MAX,
            (None, false) => 3,
            (None, true) => 1,
        };
        // Translating costs as much as running some ten times, compiling some hundred times.
        let states = if is_compiled { 40 } else { 24 };
        Self { rounds: setting("DINGHY_ORACLE_ROUNDS", rounds), states, end }
    }

    fn is_over(&self, round: u64) -> bool {
        round >= self.rounds || self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Compares every form that can be, and prints the table.
pub fn every_form_agrees(compiled: Option<EngineOptions>) {
    let is_compiled = compiled.is_some();
    let seed = setting("DINGHY_ORACLE_SEED", 0x5eed);
    let chosen = std::env::var("DINGHY_ORACLE_FORM").ok();
    let all: Vec<(Code, Standing)> = forms::all().collect();
    let compared = all.iter().filter(|(_, standing)| *standing == Standing::Compared).map(|(code, _)| *code);
    let compared: Vec<Code> =
        compared.filter(|code| chosen.as_ref().is_none_or(|name| *name == format!("{code:?}"))).collect();
    let mut tallies: BTreeMap<Code, Tally> = BTreeMap::new();
    let mut native = native::Processor::claim();
    let mut guest = guest::Processor::new(compiled);
    // The time begins when the processor is ours: the tests take it in turn.
    let extent = Extent::new(is_compiled);
    let mut round = setting("DINGHY_ORACLE_ROUND", 0);
    while !extent.is_over(round) {
        for &code in &compared {
            if extent.end.is_some_and(|end| Instant::now() >= end) {
                break;
            }
            let mut random = Random::new(seed ^ (code as u64) << 40 ^ round << 8);
            let Some(single) = (0..ATTEMPTS).find_map(|_| Single::new(&mut random, code)) else {
                continue;
            };
            let tally = tallies.entry(code).or_default();
            for _ in 0..extent.states {
                let case = single.case(&mut random);
                let theirs = native.run(&case);
                let ours = guest.run(&case);
                // A branch ends at the HLT that it leads to.
                let has_faulted = theirs.fault.is_some_and(|fault| fault.offset == 0);
                match compare::difference(&case, &theirs, &ours) {
                    None if has_faulted => tally.faulted += 1,
                    None => tally.completed += 1,
                    Some(difference) => {
                        tally.failed += 1;
                        tally.first_failure.get_or_insert_with(|| {
                            format!("{code:?}, seed {seed:#x}, round {round}:\n{difference}")
                        });
                    }
                }
            }
        }
        round += 1;
    }
    let engine = match compiled {
        None => "interpreted",
        Some(EngineOptions { numbers: Numbers::Any, .. }) => "compiled for all numbers",
        Some(_) => "compiled",
    };
    report(&all, &tallies, seed, engine, chosen.is_none());
}

#[derive(Default)]
struct Row {
    forms: u64,
    checked: u64,
    only_faulting: u64,
    failing: u64,
    not_compared: u64,
    cases: u64,
}

fn report(
    all: &[(Code, Standing)],
    tallies: &BTreeMap<Code, Tally>,
    seed: u64,
    engine: &str,
    is_whole: bool,
) {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let (mut only_faulting, mut not_run) = (Vec::new(), Vec::new());
    for &(code, standing) in all {
        let name = format!("{code:?}");
        let row = rows.entry(forms::group(code)).or_default();
        row.forms += 1;
        if let Standing::NotCompared(reason) = standing {
            row.not_compared += 1;
            reasons.entry(reason).or_default().push(name);
            continue;
        }
        let Some(tally) = tallies.get(&code) else {
            not_run.push(name);
            continue;
        };
        row.cases += tally.completed + tally.faulted + tally.failed;
        if tally.failed > 0 {
            row.failing += 1;
        } else if tally.completed > 0 {
            row.checked += 1;
        } else {
            row.only_faulting += 1;
            only_faulting.push(name);
        }
    }
    println!("Forms {engine}, seed {seed:#x}:\n");
    println!("| feature | forms | agree | agree, always an exception | failing | not compared | cases |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    let mut total = Row::default();
    let line = |name: &str, row: &Row| {
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            row.forms, row.checked, row.only_faulting, row.failing, row.not_compared, row.cases
        );
    };
    for (name, row) in &rows {
        line(name, row);
        total.forms += row.forms;
        total.checked += row.checked;
        total.only_faulting += row.only_faulting;
        total.failing += row.failing;
        total.not_compared += row.not_compared;
        total.cases += row.cases;
    }
    line("all", &total);
    println!("\nAlways an exception at privilege 3: {}", only_faulting.join(", "));
    for (reason, names) in &reasons {
        println!("\nNot compared, {reason}: {}", names.join(", "));
    }
    if !not_run.is_empty() {
        println!("\nNot run: {}", not_run.join(", "));
    }
    let failures: Vec<&str> = tallies.values().filter_map(|tally| tally.first_failure.as_deref()).collect();
    let most = setting("DINGHY_ORACLE_FAILURES", 10) as usize;
    let shown: Vec<&str> = failures.iter().take(most).copied().collect();
    assert!(failures.is_empty(), "{} forms fail:\n{}", failures.len(), shown.join("\n"));
    assert!(!is_whole || not_run.is_empty(), "forms that have no encoding: {}", not_run.join(", "));
}
