//! Records vectors on the host's processor, for `tools/cpu-vectors`.
//!
//! `DINGHY_RECORD=1` writes them: one that completes and one that faults of each mnemonic, where there are such.

use crate::forms::{self, Standing};
use crate::generate::Case;
use crate::native;
use crate::random::Random;
use crate::single::Single;
use crate::state::{CODE, Outcome, Registers, SCRATCH, SCRATCH_BYTES};
use iced_x86::{Code, Mnemonic};
use std::collections::BTreeSet;
use std::fmt::Write;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/cpu-vectors/tests/recorded.jsonl");
const SEED: u64 = 0xd1_6b;
const ATTEMPTS: u64 = 64;
const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];
/// CF, PF, AF, ZF, SF, DF, OF.
const FLAGS: u64 = 0xcd5;
/// What of the scratch area is not zero at the start.
const FILLED: std::ops::Range<usize> = SCRATCH_BYTES / 2 - 64..SCRATCH_BYTES / 2 + 64;
const HLT: &str = "f4";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// The registers by name, as values of JSON.
fn registers(registers: &Registers, rip: Option<u64>) -> Vec<(String, String)> {
    let image = &registers.extended;
    let word = |at: usize| u16::from_le_bytes([image[at], image[at + 1]]);
    let mut fields: Vec<(String, String)> = NAMES
        .iter()
        .zip(registers.general)
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    fields.extend(rip.map(|rip| ("rip".to_owned(), rip.to_string())));
    fields.push(("rflags".to_owned(), (registers.flags & (FLAGS | 0x202)).to_string()));
    for index in 0..16 {
        let bytes = [registers.vector(index).to_le_bytes(), registers.upper_half(index).to_le_bytes()];
        fields.push((format!("ymm{index}"), format!("\"{}\"", hex(bytes.as_flattened()))));
    }
    fields.push(("mxcsr".to_owned(), registers.mxcsr().to_string()));
    fields.push(("fcw".to_owned(), word(0).to_string()));
    fields.push(("fsw".to_owned(), word(2).to_string()));
    fields.push(("ftw".to_owned(), tag_word(registers).to_string()));
    for index in 0..8 {
        let at = 32 + 16 * index;
        fields.push((format!("st{index}"), format!("\"{}\"", hex(&image[at..at + 10]))));
    }
    fields
}

/// The tag word that belongs to the abridged one (SDM vol. 1 10.5.1.1).
fn tag_word(registers: &Registers) -> u16 {
    let image = &registers.extended;
    let top = usize::from(image[3] >> 3 & 7);
    (0..8).fold(0, |tags, physical| {
        let at = 32 + 16 * ((physical + 8 - top) % 8);
        let exponent = u16::from_le_bytes([image[at + 8], image[at + 9]]) & 0x7fff;
        let mantissa = u64::from_le_bytes(image[at..at + 8].try_into().unwrap());
        let tag = match (image[4] >> physical & 1, exponent) {
            (0, _) => 3,
            (_, 0) if mantissa == 0 => 1,
            (_, 0 | 0x7fff) => 2,
            _ if mantissa >> 63 == 0 => 2,
            _ => 0,
        };
        tags | tag << (2 * physical)
    })
}

fn object(fields: &[(String, String)]) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// A line of JSON: the case, and what the host made of it.
fn line(name: &str, case: &Case, outcome: &Outcome) -> String {
    let zero = registers(&Registers::ZERO, None);
    let given: Vec<_> = registers(&case.registers, None)
        .into_iter()
        .filter(|field| {
            !zero.contains(field) || matches!(field.0.as_str(), "mxcsr" | "fcw" | "rflags" | "ftw")
        })
        .collect();
    // A privileged HLT ends what does not fault, and RIP is behind it.
    let end = case.code.len() as u64 + 1;
    let offset = outcome.fault.map_or(end, |fault| fault.offset);
    let stop = match outcome.fault.map(|fault| fault.vector) {
        None => "hlt".to_owned(),
        Some(vector) => format!("exception:{}:0", vector_name(vector)),
    };
    let before = registers(&case.registers, Some(CODE));
    let after = registers(&outcome.registers, Some(CODE + offset));
    let changed: Vec<_> = after.into_iter().filter(|field| !before.contains(field)).collect();
    let at = case.scratch.iter().zip(&outcome.scratch).position(|(before, after)| before != after);
    let changed_memory = at.map(|first| {
        let differs = |&place: &usize| case.scratch[place] != outcome.scratch[place];
        let last = (first..SCRATCH_BYTES).rfind(differs).unwrap_or(first);
        format!("[{},\"{}\"]", SCRATCH + first as u64, hex(&outcome.scratch[first..=last]))
    });
    let mask = FLAGS & !case.undefined_flags_at(outcome.fault.map(|fault| fault.offset));
    format!(
        "{{\"name\":\"{name}\",\"code\":\"{}{HLT}\",\"load\":{CODE},\"entry\":{CODE},\"regions\":[[{SCRATCH},{SCRATCH_BYTES}]],\
         \"memdata\":[[{},\"{}\"]],\"regs\":{},\"expect\":{{\"stop\":\"{stop}\",\"rflags_mask\":{mask},\"regs\":{},\
         \"mem\":[{}]}}}}",
        hex(&case.code),
        SCRATCH + FILLED.start as u64,
        hex(&case.scratch[FILLED]),
        object(&given),
        object(&changed),
        changed_memory.unwrap_or_default(),
    )
}

fn vector_name(vector: u8) -> &'static str {
    match vector {
        0 => "#DE",
        1 => "#DB",
        3 => "#BP",
        4 => "#OF",
        6 => "#UD",
        12 => "#SS",
        13 => "#GP",
        16 => "#MF",
        17 => "#AC",
        19 => "#XM",
        other => panic!("exception {other} is not recorded"),
    }
}

/// Makes a case small: only what its instruction names is not zero.
fn reduced(mut case: Case) -> Case {
    let keep = case.scratch[FILLED].to_vec();
    case.scratch.fill(0);
    case.scratch[FILLED].copy_from_slice(&keep);
    let instruction = case.instructions[0];
    let named: Vec<usize> = (0..instruction.op_count())
        .map(|index| instruction.op_register(index))
        .filter(|register| register.is_vector_register())
        .map(|register| register.number())
        .collect();
    // XMM0 is an operand of some that do not name it.
    for index in (1..16).filter(|index| !named.contains(index)) {
        case.registers.set_vector(index, 0);
        case.registers.set_upper_half(index, 0);
    }
    case
}

/// Whether the record can hold the outcome: the host's handler does not keep the error codes of page faults, and a
/// few addresses that are not canonical are enough.
fn is_recordable(outcome: &Outcome, code: Code) -> bool {
    outcome.fault.is_none_or(|fault| match fault.vector {
        14 => false,
        12 | 13 => (code as usize).is_multiple_of(16),
        _ => true,
    })
}

#[test]
fn vectors_are_recorded_when_asked_for() {
    if std::env::var_os("DINGHY_RECORD").is_none() {
        let recorded = std::fs::read_to_string(FILE).unwrap();
        assert!(
            recorded.lines().count() >= 200,
            "record them: DINGHY_RECORD=1 cargo test --test isa recorded"
        );
        return;
    }
    let mut native = native::Processor::claim();
    let mut seen = BTreeSet::new();
    let mut lines = String::new();
    for (code, standing) in forms::all() {
        if standing != Standing::Compared || code.mnemonic() == Mnemonic::Int || !code.op_code().mode64() {
            continue;
        }
        for attempt in 0..ATTEMPTS {
            let mut random = Random::new(SEED ^ (code as u64) << 40 ^ attempt);
            let Some(single) = Single::new(&mut random, code) else {
                continue;
            };
            let case = reduced(single.case(&mut random));
            if case.code.len() > 15 || case.is_gather() {
                continue;
            }
            let outcome = native.run(&case);
            let kind = (code.mnemonic(), outcome.fault.is_some());
            if !is_recordable(&outcome, code) || seen.contains(&kind) {
                continue;
            }
            seen.insert(kind);
            let suffix = if kind.1 { ", which faults" } else { "" };
            let name = format!("{code:?} {attempt}{suffix}");
            writeln!(lines, "{}", line(&name, &case, &outcome)).unwrap();
        }
    }
    std::fs::write(FILE, lines).unwrap();
}
