//! The configuration structure: the name by which the guest mounts the share (virtio 1.2 §5.9.4).

/// Most bytes of a tag, as other machines have it.
const TAG_BYTES_MAX: usize = 31;

/// Why a text cannot be a tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be the tag of a share: use 1 to 31 letters, digits, `.`, `_` or `-`")]
pub struct ShareTagError(String);

/// The name by which a guest mounts a share: `mount -t 9p -o trans=virtio TAG /mnt`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareTag(String);

impl ShareTag {
    /// Checks `text`.
    ///
    /// # Errors
    /// When a guest could not name it in a mount command without quotes, or it is too long.
    pub fn new(text: &str) -> Result<Self, ShareTagError> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if text.is_empty() || text.len() > TAG_BYTES_MAX || !text.bytes().all(is_plain) {
            return Err(ShareTagError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text of the tag.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The structure: length and text.
    pub(super) fn structure(&self) -> Vec<u8> {
        let length = self.0.len() as u16;
        length.to_le_bytes().into_iter().chain(self.0.bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_needs_no_quotes() {
        for text in ["", "a b", "a/b", "a,b", "ä", "a\0", "0123456789abcdef0123456789abcdef"] {
            assert!(ShareTag::new(text).is_err(), "{text:?}");
        }
        assert_eq!(ShareTag::new("a-b_c.d").unwrap().structure(), b"\x07\0a-b_c.d");
    }
}
