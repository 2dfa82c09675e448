//! A vector and its outcome, as JSON has them.

use crate::hex::{HexBytes, Word};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What to run. Fields that are not named here are left to who brings them.
#[derive(Clone, Debug, Deserialize)]
pub struct Vector {
    /// Repeated in the outcome.
    pub name: String,
    /// Machine code.
    pub code: HexBytes,
    /// Where the code is put. Its pages are mapped beside the regions.
    pub load: Word,
    /// The first instruction; `load` without it.
    pub entry: Option<Word>,
    /// Address and size of what is mapped, in whole pages, and shown at the end.
    #[serde(default)]
    pub regions: Vec<(Word, Word)>,
    /// Address and bytes of what is not zero at the start.
    #[serde(default)]
    pub memdata: Vec<(Word, HexBytes)>,
    /// Registers that are not as a reset program would find them.
    #[serde(default)]
    pub regs: BTreeMap<String, RegisterValue>,
}

/// A register's content: a number, or little-endian bytes for what is longer than 64 bits, and for MMX.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum RegisterValue {
    /// JSON's number.
    Number(u64),
    /// JSON's negative number.
    Negative(i64),
    /// Hexadecimal digits: of a number behind `0x`, else of little-endian bytes.
    Text(String),
}

/// What a vector leaves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Outcome {
    /// The vector's.
    pub name: String,
    /// `hlt`, `exception:#XX:errorcode` (decimal, 0 where there is none), `limit` or `shutdown`.
    pub stop: String,
    /// All registers. RIP is behind a `HLT`, at an instruction that faults, behind one that traps.
    pub regs: BTreeMap<String, RegisterValue>,
    /// The regions.
    pub mem: Vec<(Word, HexBytes)>,
}

/// Why a vector cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    /// There is no compiled code.
    #[error(transparent)]
    Code(#[from] dinghy::host::CodeError),
    /// A register has no such content.
    #[error("the register {name} cannot be {value:?}")]
    Register {
        /// As the vector names it.
        name: String,
        /// Its value there.
        value: RegisterValue,
    },
    /// There is no such register.
    #[error("there is no register {0}")]
    UnknownRegister(String),
    /// An address that cannot be mapped, or that the tool needs itself.
    #[error("{length:#x} bytes at {address:#x} cannot be mapped")]
    Unmappable {
        /// The first one.
        address: u64,
        /// How many.
        length: u64,
    },
    /// All regions together are too large.
    #[error("the regions have more than {0} bytes together")]
    TooLarge(u64),
    /// Data outside of what is mapped.
    #[error("memdata at {0:#x} lies in no region")]
    DataOutside(u64),
    /// The computer has no memory left.
    #[error("there is no memory for the regions")]
    OutOfMemory,
}
