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

use dinghy::cpu::Numbers;
use dinghy::jit::EngineOptions;
use generate::Family;
use iced_x86::Code;
use random::Random;
use std::collections::{BTreeMap, BTreeSet};

/// As compiled code, which is made for normal numbers first.
const COMPILED: Option<EngineOptions> = Some(EngineOptions::AT_FIRST_SIGHT);
/// As code of blocks that have met zeroes, denormal numbers and the like often.
const COMPILED_FOR_ALL_NUMBERS: Option<EngineOptions> =
    Some(EngineOptions { numbers: Numbers::Any, ..EngineOptions::AT_FIRST_SIGHT });
/// As code of blocks that have met zeroes often.
const COMPILED_FOR_ZEROES: Option<EngineOptions> =
    Some(EngineOptions { numbers: Numbers::OrZero, ..EngineOptions::AT_FIRST_SIGHT });
/// As on engines without relaxed SIMD.
const COMPILED_WITHOUT_RELAXED_SIMD: Option<EngineOptions> =
    Some(EngineOptions { has_relaxed_simd: false, ..EngineOptions::AT_FIRST_SIGHT });

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Runs `cases` sequences of a family and compares what both processors made of them.
fn agree(family: Family, cases: u64, compiled: Option<EngineOptions>) {
    let seed = setting("DINGHY_ORACLE_SEED", 0x5eed);
    let cases = setting("DINGHY_ORACLE_CASES", cases);
    let mut random = Random::new(seed);
    let mut native = native::Processor::claim();
    let mut guest = guest::Processor::new(compiled);
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
    table::every_form_agrees(None);
}

#[test]
fn every_compiled_form_agrees_with_the_host() {
    table::every_form_agrees(COMPILED);
}

#[test]
fn every_form_compiled_for_all_numbers_agrees_with_the_host() {
    table::every_form_agrees(COMPILED_FOR_ALL_NUMBERS);
}

#[test]
fn integer_instructions_agree_with_the_host() {
    agree(Family::Integer, 30_000, None);
}

#[test]
fn vector_instructions_agree_with_the_host() {
    agree(Family::Vector, 30_000, None);
}

#[test]
fn avx_instructions_agree_with_the_host() {
    agree(Family::Avx, 30_000, None);
}

#[test]
fn gathers_agree_with_the_host() {
    if is_x86_feature_detected!("avx2") {
        agree(Family::Gather, 20_000, None);
    }
}

#[test]
fn x87_and_mmx_instructions_agree_with_the_host() {
    agree(Family::X87, 20_000, None);
}

#[test]
fn compiled_integer_instructions_agree_with_the_host() {
    agree(Family::Integer, 2_000, COMPILED);
}

#[test]
fn compiled_vector_instructions_agree_with_the_host() {
    agree(Family::Vector, 2_000, COMPILED);
}

#[test]
fn compiled_avx_instructions_agree_with_the_host() {
    agree(Family::Avx, 2_000, COMPILED);
}

#[test]
fn compiled_arithmetic_agrees_with_the_host() {
    agree(Family::Arithmetic, 6_000, COMPILED);
}

#[test]
fn arithmetic_compiled_for_zeroes_agrees_with_the_host() {
    agree(Family::Arithmetic, 6_000, COMPILED_FOR_ZEROES);
}

#[test]
fn instructions_compiled_without_relaxed_simd_agree_with_the_host() {
    agree(Family::Avx, 1_000, COMPILED_WITHOUT_RELAXED_SIMD);
    agree(Family::Arithmetic, 2_000, COMPILED_WITHOUT_RELAXED_SIMD);
}

#[test]
fn instructions_compiled_for_all_numbers_agree_with_the_host() {
    agree(Family::Vector, 1_000, COMPILED_FOR_ALL_NUMBERS);
    agree(Family::Avx, 1_000, COMPILED_FOR_ALL_NUMBERS);
    agree(Family::Arithmetic, 1_000, COMPILED_FOR_ALL_NUMBERS);
}

#[test]
fn compiled_x87_and_mmx_instructions_agree_with_the_host() {
    agree(Family::X87, 1_000, COMPILED);
}
