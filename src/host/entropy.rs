//! Bytes that repeat, for runs that repeat.

use super::Entropy;

/// A generator that a seed determines (SplitMix64). Its bytes are predictable: for machines whose time is
/// the instruction count, never for others.
pub struct RepeatableEntropy {
    state: u64,
}

impl RepeatableEntropy {
    /// The generator with this seed.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

impl Entropy for RepeatableEntropy {
    fn fill(&mut self, buffer: &mut [u8]) {
        for part in buffer.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            part.copy_from_slice(&bytes[..part.len()]);
        }
    }

    fn position(&self) -> Option<u64> {
        Some(self.state)
    }

    fn go_on_from(&mut self, position: u64) {
        self.state = position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_bytes() {
        let bytes = |seed| {
            let mut bytes = [0; 20];
            RepeatableEntropy::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(bytes(1), bytes(1));
        assert_ne!(bytes(1), bytes(2));
    }
}
