//! The configuration structure (virtio 1.2 §5.3.4).

/// Offset of the emergency write register.
pub(super) const EMERGENCY_WRITE: u64 = 8;

/// The size of the terminal in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ConsoleConfig {
    pub(super) columns: u16,
    pub(super) rows: u16,
}

impl ConsoleConfig {
    /// The structure: columns, rows, maximum ports (one), emergency write (reads as zero).
    pub(super) fn structure(self) -> [u8; 12] {
        let size = u128::from(self.columns) | u128::from(self.rows) << 16;
        let mut bytes = [0; 12];
        for (byte, value) in bytes.iter_mut().zip((size | 1 << 32).to_le_bytes()) {
            *byte = value;
        }
        bytes
    }
}
