//! The register file of the micro-operations.

/// A register of the integer file: 32 registers of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reg(pub u8);

#[allow(missing_docs)]
impl Reg {
    pub const RAX: Self = Self(0);
    pub const RCX: Self = Self(1);
    pub const RDX: Self = Self(2);
    pub const RBX: Self = Self(3);
    pub const RSP: Self = Self(4);
    pub const RBP: Self = Self(5);
    pub const RSI: Self = Self(6);
    pub const RDI: Self = Self(7);
    pub const R11: Self = Self(11);
    /// The guest-virtual address (with the code segment's base taken off) of the block that runs.
    pub const RIP: Self = Self(16);
    /// Always zero; never written.
    pub const ZERO: Self = Self(17);
    /// Base of ES. The six segment bases follow in the encoding's order ES, CS, SS, DS, FS, GS.
    pub const ES_BASE: Self = Self(18);
    pub const CS_BASE: Self = Self(19);
    pub const SS_BASE: Self = Self(20);
    pub const DS_BASE: Self = Self(21);
    pub const FS_BASE: Self = Self(22);
    pub const GS_BASE: Self = Self(23);
    /// First temporary: its value ends with the guest instruction. For addresses.
    pub const T0: Self = Self(24);
    pub const T1: Self = Self(25);
    pub const T2: Self = Self(26);
    pub const T3: Self = Self(27);
    pub const T4: Self = Self(28);
    pub const T5: Self = Self(29);
    pub const T6: Self = Self(30);
    /// Last temporary.
    pub const T7: Self = Self(31);

    /// Registers in the file.
    pub const COUNT: usize = 32;

    /// Place in the file; always below [`COUNT`](Self::COUNT).
    pub const fn index(self) -> usize {
        (self.0 & 31) as usize
    }
}

/// A register of the vector file: XMM/YMM 0 to 15, then temporaries. 256 bits each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorReg(pub u8);

impl VectorReg {
    /// First temporary: its value ends with the guest instruction. For memory operands.
    pub const T0: Self = Self(16);
    /// Second temporary.
    pub const T1: Self = Self(17);
    /// Third temporary.
    pub const T2: Self = Self(18);
    /// Fourth temporary.
    pub const T3: Self = Self(19);

    /// Registers in the file.
    pub const COUNT: usize = 20;
}
