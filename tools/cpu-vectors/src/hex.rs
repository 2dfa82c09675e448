//! Bytes as hexadecimal text, and addresses as numbers or text.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes that JSON shows as hexadecimal digits, the first byte first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HexBytes(pub Vec<u8>);

impl HexBytes {
    fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|character| !character.is_ascii_whitespace())
            .map(|character| character.to_digit(16).map(|digit| digit as u8))
            .collect::<Option<_>>()?;
        let pairs = digits.chunks_exact(2);
        let is_whole = pairs.remainder().is_empty();
        is_whole.then(|| Self(pairs.map(|pair| pair[0] << 4 | pair[1]).collect()))
    }
}

impl fmt::Display for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &"an even number of hex digits"))
    }
}

/// A number of 64 bits. JSON may give it as a number, negative too, or as text: `"0x…"`, or decimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Word(pub u64);

struct WordVisitor;

impl Visitor<'_> for WordVisitor {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of 64 bits, or one as text like \"0x1000\"")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Word, E> {
        Ok(Word(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Word, E> {
        Ok(Word(value as u64))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
        let value = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        value.map(Word).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_as_numbers_or_text() {
        let words: Vec<Word> =
            serde_json::from_str(r#"[1, -1, "0x10", "18446744073709551615", 18446744073709551615]"#).unwrap();
        assert_eq!(words, [1, u64::MAX, 16, u64::MAX, u64::MAX].map(Word));
        assert!(serde_json::from_str::<Word>(r#""0xg""#).is_err());
        assert!(serde_json::from_str::<Word>("1.5").is_err());
    }

    #[test]
    fn bytes_are_pairs_of_digits() {
        let bytes: HexBytes = serde_json::from_str(r#""0f A2""#).unwrap();
        assert_eq!(bytes.0, [0x0f, 0xa2]);
        assert_eq!(serde_json::to_string(&bytes).unwrap(), r#""0fa2""#);
        assert!(serde_json::from_str::<HexBytes>(r#""0fa""#).is_err());
        assert!(serde_json::from_str::<HexBytes>(r#""0é""#).is_err());
    }
}
