//! The oracle: random user-mode instruction sequences on the host's processor and on ours.
//!
//! `DINGHY_ORACLE_CASES` sets the number of cases of the random sequences, `DINGHY_ORACLE_SEED` the seed.
//!
//! The tests of all forms run each form's instructions one by one and print a table. `DINGHY_ORACLE_SECONDS` makes
//! them go on for so long, `DINGHY_ORACLE_FORM` takes one form alone, by iced's name.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

mod compare;
mod forms;
mod generate;
mod guest;
#[path = "../jit/host.rs"]
mod jit_host;
mod native;
mod random;
mod record;
mod single;
mod state;
mod table;

use generate::Family;
use iced_x86::Code;
use random::Random;
use std::collections::{BTreeMap, BTreeSet};

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Runs `cases` sequences of a family and compares what both processors made of them.
fn agree(family: Family, cases: u64, is_compiled: bool) {
    let seed = setting("DINGHY_ORACLE_SEED", 0x5eed);
    let cases = setting("DINGHY_ORACLE_CASES", cases);
    let mut random = Random::new(seed);
    let mut native = native::Processor::claim();
    let mut guest = guest::Processor::new(is_compiled);
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut forms: BTreeSet<Code> = BTreeSet::new();
    let mut faults = 0;
    let mut failures = Vec::new();
    for number in 0..cases {
        let case = generate::case(&mut random, family);
        let theirs = native.run(&case);
        let ours = guest.run(&case);
        faults += u64::from(theirs.fault.is_some());
        for instruction in &case.instructions {
            forms.insert(instruction.code());
            *counts.entry(format!("{:?}", instruction.mnemonic())).or_default() += 1;
        }
        if let Some(difference) = compare::difference(&case, &theirs, &ours) {
            failures.push(format!("case {number} of seed {seed:#x}:\n{difference}"));
            if failures.len() == setting("DINGHY_ORACLE_FAILURES", 10) as usize {
                break;
            }
        }
    }
    let list: Vec<String> = counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
    println!(
        "{family:?}: {cases} cases, seed {seed:#x}, {faults} faulted, {} mnemonics: {}",
        counts.len(),
        list.join(", ")
    );
    let expected: Vec<Code> = generate::forms(family).collect();
    let missing: Vec<String> =
        expected.iter().filter(|code| !forms.contains(code)).map(|code| format!("{code:?}")).collect();
    if !expected.is_empty() {
        println!("{} forms, not run: [{}]", expected.len(), missing.join(", "));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn every_form_agrees_with_the_host() {
    table::every_form_agrees(false);
}

#[test]
fn every_compiled_form_agrees_with_the_host() {
    table::every_form_agrees(true);
}

#[test]
fn integer_instructions_agree_with_the_host() {
    agree(Family::Integer, 30_000, false);
}

#[test]
fn vector_instructions_agree_with_the_host() {
    agree(Family::Vector, 30_000, false);
}

#[test]
fn avx_instructions_agree_with_the_host() {
    agree(Family::Avx, 30_000, false);
}

#[test]
fn gathers_agree_with_the_host() {
    if is_x86_feature_detected!("avx2") {
        agree(Family::Gather, 20_000, false);
    }
}

#[test]
fn x87_and_mmx_instructions_agree_with_the_host() {
    agree(Family::X87, 20_000, false);
}

#[test]
fn compiled_integer_instructions_agree_with_the_host() {
    agree(Family::Integer, 2_000, true);
}

#[test]
fn compiled_vector_instructions_agree_with_the_host() {
    agree(Family::Vector, 2_000, true);
}

#[test]
fn compiled_avx_instructions_agree_with_the_host() {
    agree(Family::Avx, 2_000, true);
}

#[test]
fn compiled_x87_and_mmx_instructions_agree_with_the_host() {
    agree(Family::X87, 1_000, true);
}
