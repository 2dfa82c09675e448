//! The operating system's random bytes.

use crate::host::Entropy;

/// The operating system's random number generator.
pub struct SystemEntropy {
    _is_tried: (),
}

impl SystemEntropy {
    /// The generator, tried once.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new() -> Result<Self, getrandom::Error> {
        getrandom::fill(&mut [0; 8])?;
        Ok(Self { _is_tried: () })
    }
}

impl Entropy for SystemEntropy {
    /// # Panics
    /// When the operating system's generator fails after it has worked: to go on with bytes that can be
    /// guessed would be worse for the guest.
    fn fill(&mut self, buffer: &mut [u8]) {
        if let Err(error) = getrandom::fill(buffer) {
            panic!("the operating system's random number generator fails: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fills_differ() {
        let mut entropy = SystemEntropy::new().unwrap();
        let (mut first, mut second) = ([0; 32], [0; 32]);
        entropy.fill(&mut first);
        entropy.fill(&mut second);
        assert_ne!(first, second);
    }
}
