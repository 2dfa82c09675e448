//! What a sequence starts from and what it leaves.

/// Where the code runs, in the host's process and in the guest.
pub const CODE: u64 = 0x1000_0000;
/// Where the data is: two pages, nothing mapped around them.
pub const SCRATCH: u64 = 0x2000_0000;
/// Bytes of data.
pub const SCRATCH_BYTES: usize = 8192;

/// Registers, in the layout that the trampoline's assembly knows.
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Registers {
    pub general: [u64; 16],
    pub flags: u64,
    pub padding: [u64; 7],
    /// An image as XSAVE64 writes it with x87, SSE and AVX state, at offset 192.
    pub extended: [u8; EXTENDED_BYTES],
}

/// Bytes of the `XSAVE` area.
pub const EXTENDED_BYTES: usize = 832;
/// Where the components in the area are named.
const COMPONENTS_AT: usize = 512;
/// Where the upper halves of the YMM registers stand.
const UPPER_HALVES_AT: usize = 576;

impl Registers {
    /// All zero, with all three components present.
    pub const ZERO: Self = {
        let mut extended = [0; EXTENDED_BYTES];
        extended[COMPONENTS_AT] = 7;
        Self { general: [0; 16], flags: 0, padding: [0; 7], extended }
    };

    pub fn mxcsr(&self) -> u32 {
        u32::from_le_bytes(self.extended[24..28].try_into().unwrap())
    }

    pub fn vector(&self, index: usize) -> u128 {
        let at = 160 + index * 16;
        u128::from_le_bytes(self.extended[at..at + 16].try_into().unwrap())
    }

    pub fn set_vector(&mut self, index: usize, value: u128) {
        let at = 160 + index * 16;
        self.extended[at..at + 16].copy_from_slice(&value.to_le_bytes());
    }

    pub fn upper_half(&self, index: usize) -> u128 {
        let at = UPPER_HALVES_AT + index * 16;
        u128::from_le_bytes(self.extended[at..at + 16].try_into().unwrap())
    }

    pub fn set_upper_half(&mut self, index: usize, value: u128) {
        let at = UPPER_HALVES_AT + index * 16;
        self.extended[at..at + 16].copy_from_slice(&value.to_le_bytes());
    }
}

/// An exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    pub vector: u8,
    /// Of the instruction, as an offset in the code.
    pub offset: u64,
}

/// What a sequence leaves.
pub struct Outcome {
    pub registers: Registers,
    pub scratch: Vec<u8>,
    pub fault: Option<Fault>,
}
