//! Vectors recorded on a processor, on dinghy's.
//!
//! `tests/isa` records them (`DINGHY_RECORD=1`).
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use cpu_vectors::{Engine, Outcome, Privilege, Vector};
use serde_json::Value;

const RECORDED: &str = include_str!("recorded.jsonl");

/// What was recorded: registers that are not as they were given, memory that has changed, RFLAGS that are defined.
#[derive(serde::Deserialize)]
struct Expected {
    stop: String,
    regs: serde_json::Map<String, Value>,
    rflags_mask: u64,
    mem: Vec<(u64, String)>,
}

#[derive(serde::Deserialize)]
struct Recorded {
    expect: Expected,
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// The regions as they should be: zero, then what was given, then what has changed.
fn expected_memory(vector: &Vector, expected: &Expected) -> Vec<(u64, Vec<u8>)> {
    let mut regions: Vec<(u64, Vec<u8>)> =
        vector.regions.iter().map(|(address, length)| (address.0, vec![0; length.0 as usize])).collect();
    let given = vector.memdata.iter().map(|(address, bytes)| (address.0, bytes.0.clone()));
    let changed = expected.mem.iter().map(|(address, text)| (*address, bytes(text)));
    for (address, bytes) in given.chain(changed) {
        for (base, region) in &mut regions {
            if let Some(at) = address.checked_sub(*base).filter(|&at| at < region.len() as u64) {
                region[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
            }
        }
    }
    regions
}

/// The names of what differs.
fn differences(vector: &Vector, expected: &Expected, outcome: &Outcome) -> Vec<String> {
    let mut lines = Vec::new();
    if outcome.stop != expected.stop {
        lines.push(format!("stop: {} and {}", outcome.stop, expected.stop));
    }
    let found = serde_json::to_value(&outcome.regs).unwrap();
    for (name, value) in &expected.regs {
        let is_equal = if name == "rflags" {
            let flags = |value: &Value| value.as_u64().unwrap() & expected.rflags_mask;
            flags(&found[name]) == flags(value)
        } else {
            found[name] == *value
        };
        if !is_equal {
            lines.push(format!("{name}: {} and {value}", found[name]));
        }
    }
    for ((address, memory), (_, bytes)) in expected_memory(vector, expected).iter().zip(&outcome.mem) {
        if let Some(at) = memory.iter().zip(&bytes.0).position(|(expected, found)| expected != found) {
            lines.push(format!(
                "memory at {:#x}: {:#x} and {:#x}",
                address + at as u64,
                bytes.0[at],
                memory[at]
            ));
        }
    }
    lines
}

fn replay(engine: Engine) {
    let mut failures = Vec::new();
    let mut count = 0;
    for line in RECORDED.lines() {
        let vector: Vector = serde_json::from_str(line).unwrap();
        let recorded: Recorded = serde_json::from_str(line).unwrap();
        let outcome = cpu_vectors::run(&vector, engine, Privilege::User).unwrap();
        let lines = differences(&vector, &recorded.expect, &outcome);
        if !lines.is_empty() {
            failures.push(format!("{}: {}", vector.name, lines.join(", ")));
        }
        count += 1;
    }
    assert!(count >= 200, "{count} vectors");
    assert!(failures.is_empty(), "of {count} vectors, dinghy and the record:\n{}", failures.join("\n"));
}

#[test]
fn interpreted_vectors_end_as_recorded() {
    replay(Engine::Interpreter);
}

#[test]
fn compiled_vectors_end_as_recorded() {
    replay(Engine::Compiled);
}

fn outcome_of(json: &str, privilege: Privilege) -> Outcome {
    let vector: Vector = serde_json::from_str(json).unwrap();
    let outcomes = [Engine::Interpreter, Engine::Compiled]
        .map(|engine| cpu_vectors::run(&vector, engine, privilege).unwrap());
    assert_eq!(outcomes[0], outcomes[1]);
    outcomes.into_iter().next().unwrap()
}

fn number(outcome: &Outcome, name: &str) -> u64 {
    serde_json::to_value(&outcome.regs[name]).unwrap().as_u64().unwrap()
}

#[test]
fn a_halt_ends_a_vector_at_either_privilege() {
    // mov eax, 5; hlt
    let json =
        r#"{"name": "five", "code": "b805000000f4", "load": 4096, "entry": 4096, "regions": [[8192, 8]]}"#;
    for privilege in [Privilege::Supervisor, Privilege::User] {
        let outcome = outcome_of(json, privilege);
        assert_eq!(outcome.stop, "hlt");
        assert_eq!((number(&outcome, "rax"), number(&outcome, "rip")), (5, 4102));
        assert_eq!((number(&outcome, "rflags"), number(&outcome, "mxcsr")), (0x202, 0x1f80));
        assert_eq!(
            serde_json::to_value(&outcome.mem).unwrap(),
            serde_json::json!([[8192, "0000000000000000"]])
        );
    }
}

#[test]
fn exceptions_are_named_with_their_error_codes() {
    let stop = |code: &str, privilege| {
        let json = format!(
            r#"{{"name": "fault", "code": "{code}f4", "load": "0x7ffff000", "regs": {{"rax": -1}}}}"#
        );
        outcome_of(&json, privilege).stop
    };
    for (code, user, supervisor) in [
        ("f7f1", "exception:#DE:0", "exception:#DE:0"),
        ("0f0b", "exception:#UD:0", "exception:#UD:0"),
        ("cc", "exception:#BP:0", "exception:#BP:0"),
        ("8b042500100000", "exception:#PF:4", "exception:#PF:0"),
        ("88042500100000", "exception:#PF:6", "exception:#PF:2"),
        ("ff242500f0ff7f", "exception:#GP:0", "exception:#GP:0"),
        ("e8fbff0000", "exception:#PF:6", "exception:#PF:2"),
        ("e9fbff0000", "exception:#PF:20", "exception:#PF:16"),
        ("cd80", "exception:#GP:1026", "exception:#GP:1026"),
        ("fa", "exception:#GP:0", "hlt"),
    ] {
        assert_eq!(stop(code, Privilege::User), user, "{code} at CPL 3");
        assert_eq!(stop(code, Privilege::Supervisor), supervisor, "{code} at CPL 0");
    }
}

#[test]
fn what_does_not_end_is_given_up() {
    // jmp $
    let outcome = outcome_of(r#"{"name": "endless", "code": "ebfe", "load": 65536}"#, Privilege::User);
    assert_eq!(outcome.stop, "limit");
}

#[test]
fn registers_of_the_x87_and_mmx_file_are_given_by_name() {
    // fadd st, st(1); movq mm?, … would leave the x87 file: two vectors.
    let one = "0000000000000080ff3f";
    let json = format!(
        r#"{{"name": "two", "code": "d8c1f4", "load": 4096, "regs": {{"st0": "{one}", "st1": "{one}"}}}}"#
    );
    let outcome = outcome_of(&json, Privilege::User);
    let text = |name: &str| serde_json::to_value(&outcome.regs[name]).unwrap();
    assert_eq!(text("st0"), "00000000000000800040");
    assert_eq!(number(&outcome, "ftw"), 0xfff0);
    // paddb mm0, mm1
    let json = r#"{"name": "sum", "code": "0ffcc1f4", "load": 4096, "regs": {"mm0": "0102030405060708", "mm1": "ff00000000000001"}}"#;
    let outcome = outcome_of(json, Privilege::User);
    assert_eq!(serde_json::to_value(&outcome.regs["mm0"]).unwrap(), "0002030405060709");
}

#[test]
fn vectors_that_cannot_be_are_refused() {
    for json in [
        r#"{"name": "x", "code": "f4", "load": 140737488355328}"#,
        r#"{"name": "x", "code": "f4", "load": 4096, "regions": [[0, 1099511627776]]}"#,
        r#"{"name": "x", "code": "f4", "load": 4096, "memdata": [[16384, "00"]]}"#,
        r#"{"name": "x", "code": "f4", "load": 4096, "regs": {"cr9": 1}}"#,
        r#"{"name": "x", "code": "f4", "load": 4096, "regs": {"xmm0": "00"}}"#,
        r#"{"name": "x", "code": "f4", "load": 4096, "regs": {"mxcsr": 65536}}"#,
        r#"{"name": "x", "code": "f4", "load": "0xfffffe0000000000"}"#,
    ] {
        let vector: Vector = serde_json::from_str(json).unwrap();
        assert!(cpu_vectors::run(&vector, Engine::Interpreter, Privilege::User).is_err(), "{json}");
    }
}
