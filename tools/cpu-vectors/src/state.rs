//! The registers of a processor by their names.

use crate::vector::{RegisterValue, VectorError};
use dinghy::cpu::Vcpu;
use dinghy::ir::Reg;
use std::collections::BTreeMap;

const GENERAL: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// x87 and MMX state as FXSAVE64 writes it.
const IMAGE_BYTES: usize = 160;
const CONTROL_AT: usize = 0;
const STATUS_AT: usize = 2;
const TAGS_AT: usize = 4;
const REGISTERS_AT: usize = 32;

impl RegisterValue {
    /// As a number of at most `bits`.
    fn number(&self, bits: u32) -> Option<u64> {
        let value = match self {
            Self::Number(value) => *value,
            Self::Negative(value) => *value as u64,
            Self::Text(text) => u64::from_str_radix(text.strip_prefix("0x")?, 16).ok()?,
        };
        (bits == 64 || value >> bits == 0).then_some(value)
    }

    /// As little-endian bytes.
    fn bytes<const N: usize>(&self) -> Option<[u8; N]> {
        let Self::Text(text) = self else {
            return None;
        };
        let mut bytes = [0; N];
        if text.len() != 2 * N || !text.is_ascii() {
            return None;
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
        }
        Some(bytes)
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        Self::Text(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// The number behind a prefix, below a bound.
fn numbered(name: &str, prefix: &str, bound: usize) -> Option<usize> {
    let number: usize = name.strip_prefix(prefix)?.parse().ok()?;
    (number < bound).then_some(number)
}

/// Sets registers by name on a processor whose registers are zero; returns RFLAGS, which may not be set before
/// the processor is ready to run.
///
/// A register of the x87 or MMX file that is named is taken into use, unless `ftw` says otherwise.
///
/// # Errors
/// When there is no such register, or it cannot have such a value.
pub fn load(vcpu: &mut Vcpu, registers: &BTreeMap<String, RegisterValue>) -> Result<u64, VectorError> {
    let mut rflags = 0x202;
    let mut stack_registers = Vec::new();
    let mut mmx_registers = Vec::new();
    let mut image = [0; IMAGE_BYTES];
    vcpu.x87.store_fxsave(&mut image, true);
    let mut tags: Option<u16> = None;
    for (name, value) in registers {
        let bad = || VectorError::Register { name: name.clone(), value: value.clone() };
        if let Some(place) = GENERAL.iter().position(|other| other == name) {
            vcpu.set_reg(Reg(place as u8), value.number(64).ok_or_else(bad)?);
        } else if let Some(place) = numbered(name, "xmm", 16) {
            vcpu.vectors[place].set_low(u128::from_le_bytes(value.bytes().ok_or_else(bad)?));
        } else if let Some(place) = numbered(name, "ymm", 16) {
            let bytes: [u8; 32] = value.bytes().ok_or_else(bad)?;
            let half =
                |at: usize| (0..16).fold(0, |sum, byte| sum | u128::from(bytes[at + byte]) << (8 * byte));
            vcpu.vectors[place].set_low(half(0));
            vcpu.vectors[place].set_high(half(16));
        } else if let Some(place) = numbered(name, "st", 8) {
            let bytes: [u8; 10] = value.bytes().ok_or_else(bad)?;
            let at = REGISTERS_AT + 16 * place;
            image[at..at + 10].copy_from_slice(&bytes);
            stack_registers.push(place);
        } else if let Some(place) = numbered(name, "mm", 8) {
            mmx_registers.push((place, u64::from_le_bytes(value.bytes().ok_or_else(bad)?)));
        } else {
            match name.as_str() {
                // The entry is named on its own.
                "rip" => {}
                "rflags" => rflags = value.number(64).ok_or_else(bad)?,
                "mxcsr" => vcpu.mxcsr = value.number(16).ok_or_else(bad)? as u32,
                "fcw" | "fsw" => {
                    let at = if name == "fcw" { CONTROL_AT } else { STATUS_AT };
                    let word = value.number(16).ok_or_else(bad)? as u16;
                    image[at..at + 2].copy_from_slice(&word.to_le_bytes());
                }
                "ftw" => tags = Some(value.number(16).ok_or_else(bad)? as u16),
                _ => return Err(VectorError::UnknownRegister(name.clone())),
            }
        }
    }
    let top = usize::from(image[STATUS_AT + 1] >> 3 & 7);
    for place in stack_registers {
        image[TAGS_AT] |= 1 << ((top + place) & 7);
    }
    for (place, _) in &mmx_registers {
        image[TAGS_AT] |= 1 << place;
    }
    vcpu.x87.load_fxsave(&image, true);
    for (place, value) in mmx_registers {
        vcpu.x87.set_mmx(place as u8, value);
    }
    if let Some(tags) = tags {
        vcpu.x87.set_tag_word(tags);
    }
    Ok(rflags)
}

/// All registers by name.
pub fn store(vcpu: &Vcpu, rip: u64, rflags: u64, rsp: u64) -> BTreeMap<String, RegisterValue> {
    let mut registers = BTreeMap::new();
    let mut put = |name: String, value| registers.insert(name, value);
    for (place, name) in GENERAL.into_iter().enumerate() {
        let value = if name == "rsp" { rsp } else { vcpu.reg(Reg(place as u8)) };
        put(name.to_owned(), RegisterValue::Number(value));
    }
    put("rip".to_owned(), RegisterValue::Number(rip));
    put("rflags".to_owned(), RegisterValue::Number(rflags));
    for (place, vector) in vcpu.vectors.iter().take(16).enumerate() {
        let bytes: Vec<u8> = vector.0.iter().flat_map(|quadword| quadword.to_le_bytes()).collect();
        put(format!("xmm{place}"), RegisterValue::of_bytes(&bytes[..16]));
        put(format!("ymm{place}"), RegisterValue::of_bytes(&bytes));
    }
    let mut image = [0; IMAGE_BYTES];
    vcpu.x87.store_fxsave(&mut image, true);
    for place in 0..8 {
        let at = REGISTERS_AT + 16 * place;
        put(format!("st{place}"), RegisterValue::of_bytes(&image[at..at + 10]));
        let mmx = vcpu.x87.mmx(place as u8).to_le_bytes();
        put(format!("mm{place}"), RegisterValue::of_bytes(&mmx));
    }
    put("mxcsr".to_owned(), RegisterValue::Number(vcpu.mxcsr.into()));
    put("fcw".to_owned(), RegisterValue::Number(vcpu.x87.control().into()));
    put("fsw".to_owned(), RegisterValue::Number(vcpu.x87.status_word().into()));
    put("ftw".to_owned(), RegisterValue::Number(vcpu.x87.tag_word().into()));
    registers
}
