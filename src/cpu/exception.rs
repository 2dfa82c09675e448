//! Exceptions (SDM vol. 3A 6.15).

use std::fmt;

/// An exception that a guest instruction raises, with its error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// #DE, vector 0.
    DivideError,
    /// #DB, vector 1; the bits to set in DR6. Whether it is a trap or a fault is the raiser's matter:
    /// the saved RIP is what RIP holds.
    Debug(u64),
    /// #BP, vector 3, a trap.
    Breakpoint,
    /// #OF, vector 4, a trap.
    Overflow,
    /// #BR, vector 5.
    BoundRange,
    /// #UD, vector 6.
    InvalidOpcode,
    /// #NM, vector 7.
    DeviceNotAvailable,
    /// #DF, vector 8, error code 0.
    DoubleFault,
    /// #TS, vector 10.
    InvalidTss(u16),
    /// #NP, vector 11.
    SegmentNotPresent(u16),
    /// #SS, vector 12.
    StackFault(u16),
    /// #GP, vector 13.
    GeneralProtection(u16),
    /// #PF, vector 14.
    PageFault {
        /// The address for CR2.
        address: u64,
        /// P, W/R, U/S, RSVD, I/D … (SDM vol. 3A 4.7).
        error_code: u32,
    },
    /// #MF, vector 16.
    X87FloatingPoint,
    /// #AC, vector 17, error code 0.
    AlignmentCheck,
    /// #MC, vector 18: memory is lost ([`GuestMemory::lost`](crate::mem::GuestMemory::lost)). No program handles it:
    /// the processor shuts down.
    MachineCheck,
    /// #XM, vector 19.
    SimdFloatingPoint,
}

impl Exception {
    /// The vector in the interrupt descriptor table.
    pub const fn vector(self) -> u8 {
        match self {
            Self::DivideError => 0,
            Self::Debug(_) => 1,
            Self::Breakpoint => 3,
            Self::Overflow => 4,
            Self::BoundRange => 5,
            Self::InvalidOpcode => 6,
            Self::DeviceNotAvailable => 7,
            Self::DoubleFault => 8,
            Self::InvalidTss(_) => 10,
            Self::SegmentNotPresent(_) => 11,
            Self::StackFault(_) => 12,
            Self::GeneralProtection(_) => 13,
            Self::PageFault { .. } => 14,
            Self::X87FloatingPoint => 16,
            Self::AlignmentCheck => 17,
            Self::MachineCheck => 18,
            Self::SimdFloatingPoint => 19,
        }
    }

    /// The error code that is pushed, for the vectors that push one.
    pub const fn error_code(self) -> Option<u32> {
        match self {
            Self::DoubleFault | Self::AlignmentCheck => Some(0),
            Self::InvalidTss(code)
            | Self::SegmentNotPresent(code)
            | Self::StackFault(code)
            | Self::GeneralProtection(code) => Some(code as u32),
            Self::PageFault { error_code, .. } => Some(error_code),
            _ => None,
        }
    }

    /// Whether RIP in the frame is the next instruction's.
    pub const fn is_trap(self) -> bool {
        matches!(self, Self::Breakpoint | Self::Overflow)
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [&str; 20] = [
            "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "-", "#TS", "#NP", "#SS", "#GP",
            "#PF", "-", "#MF", "#AC", "#MC", "#XM",
        ];
        f.write_str(NAMES[usize::from(self.vector())])?;
        match *self {
            Self::PageFault { address, error_code } => write!(f, "({error_code:#x}) at {address:#x}"),
            other => other.error_code().map_or(Ok(()), |code| write!(f, "({code:#x})")),
        }
    }
}
