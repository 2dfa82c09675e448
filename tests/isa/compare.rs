//! Says where two outcomes differ.

use crate::generate::Case;
use crate::state::{Outcome, Registers, SCRATCH};
use iced_x86::{Formatter, IntelFormatter};
use std::fmt::Write;

const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// CF, PF, AF, ZF, SF, DF, OF.
const COMPARED_FLAGS: u64 = 0xcd5;

/// FOP, FIP, FDP, MXCSR_MASK, and reserved bytes are not compared.
fn x87_bytes(registers: &Registers) -> Vec<u8> {
    let image = &registers.extended;
    let mut bytes = image[..5].to_vec();
    for index in 0..8 {
        bytes.extend(&image[32 + index * 16..42 + index * 16]);
    }
    bytes
}

/// What differs, with the case; `None` when nothing does.
pub fn difference(case: &Case, theirs: &Outcome, ours: &Outcome) -> Option<String> {
    // Whether bytes that the mask leaves out are checked, the manual leaves open.
    if theirs.fault.is_some() && case.is_masked_move() {
        return None;
    }
    let mut lines = String::new();
    let mut line = |name: &str, host: String, dinghy: String| {
        writeln!(lines, "  {name}: host {host}, dinghy {dinghy}").unwrap();
    };
    if theirs.fault != ours.fault {
        line("fault", format!("{:?}", theirs.fault), format!("{:?}", ours.fault));
    }
    let (host, dinghy) = (&theirs.registers, &ours.registers);
    for (place, name) in NAMES.iter().enumerate() {
        if host.general[place] != dinghy.general[place] {
            line(name, format!("{:#x}", host.general[place]), format!("{:#x}", dinghy.general[place]));
        }
    }
    let mask = COMPARED_FLAGS & !case.undefined_flags_at(theirs.fault.map(|fault| fault.offset));
    if (host.flags ^ dinghy.flags) & mask != 0 {
        line("flags", format!("{:#x}", host.flags & mask), format!("{:#x}", dinghy.flags & mask));
    }
    // What a gather that faults has done so far, the manual leaves open: which lanes in which order, and what
    // becomes of those that it does not use.
    let is_open = case.is_gather() && theirs.fault.is_some();
    let registers = if is_open { 0 } else { 16 };
    for index in 0..registers {
        if host.vector(index) != dinghy.vector(index) {
            let name = format!("xmm{index}");
            line(&name, format!("{:#034x}", host.vector(index)), format!("{:#034x}", dinghy.vector(index)));
        }
    }
    for index in 0..registers {
        let (host, dinghy) = (host.upper_half(index), dinghy.upper_half(index));
        if host != dinghy {
            line(&format!("upper half of ymm{index}"), format!("{host:#034x}"), format!("{dinghy:#034x}"));
        }
    }
    if host.mxcsr() != dinghy.mxcsr() {
        line("mxcsr", format!("{:#x}", host.mxcsr()), format!("{:#x}", dinghy.mxcsr()));
    }
    let (host_x87, dinghy_x87) = (x87_bytes(host), x87_bytes(dinghy));
    // Whether the unit has entered its MMX state when a store of an MMX register faults, the manual leaves open.
    let is_open = theirs.fault.is_some() && case.uses_mmx();
    if host_x87 != dinghy_x87 && !is_open {
        line("x87", format!("{host_x87:02x?}"), format!("{dinghy_x87:02x?}"));
    }
    if theirs.scratch != ours.scratch
        && let Some(at) = theirs.scratch.iter().zip(&ours.scratch).position(|(host, dinghy)| host != dinghy)
    {
        let name = format!("memory at {:#x}", SCRATCH + at as u64);
        let end = (at + 16).min(theirs.scratch.len());
        line(&name, format!("{:02x?}", &theirs.scratch[at..end]), format!("{:02x?}", &ours.scratch[at..end]));
    }
    if lines.is_empty() {
        return None;
    }
    Some(format!("{}{lines}", listing(case)))
}

fn listing(case: &Case) -> String {
    let mut text = String::new();
    let mut formatter = IntelFormatter::new();
    for instruction in &case.instructions {
        let mut line = String::new();
        formatter.format(instruction, &mut line);
        let at = (instruction.ip() - crate::state::CODE) as usize;
        let bytes = &case.code[at..at + instruction.len()];
        writeln!(text, "  {line}  {bytes:02x?}").unwrap();
    }
    let general: Vec<String> =
        NAMES.iter().zip(case.registers.general).map(|(name, value)| format!("{name}={value:#x}")).collect();
    writeln!(
        text,
        "  from {} flags={:#x} mxcsr={:#x}",
        general.join(" "),
        case.registers.flags,
        case.registers.mxcsr()
    )
    .unwrap();
    let vectors: Vec<String> = case
        .instructions
        .iter()
        .flat_map(|instruction| (0..instruction.op_count()).map(move |index| instruction.op_register(index)))
        .filter(|register| register.is_xmm() || register.is_ymm())
        .map(|register| {
            let number = register.number();
            let (high, low) = (case.registers.upper_half(number), case.registers.vector(number));
            format!("{register:?}={high:#034x}:{low:032x}")
        })
        .collect();
    writeln!(text, "  {}", vectors.join(" ")).unwrap();
    text
}
