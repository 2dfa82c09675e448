//! Numbers from the fuzzer's bytes, in order.

/// What is left of the bytes. Behind their end there are zeros.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Whether all have been taken.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    /// The next two bytes.
    pub fn half(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// The next four bytes.
    pub fn word(&mut self) -> u32 {
        u32::from(self.half()) | u32::from(self.half()) << 16
    }

    /// A number of 64 bits, of which small ones and addresses of data take few bytes.
    pub fn number(&mut self, data: u64) -> u64 {
        match self.byte() % 4 {
            0 => self.byte().into(),
            1 => data.wrapping_add(self.half().into()),
            2 => self.word() as i32 as u64,
            _ => u64::from(self.word()) | u64::from(self.word()) << 32,
        }
    }
}
