//! The list of an image's chunks, and their contents' verification.

use super::{CHUNK_BYTES, chunk_length};
use ruzstd::decoding::FrameDecoder;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use std::fmt;

/// What the manifest's `format` says.
const FORMAT: &str = "dinghy-chunks";
/// The version of the format that is read.
const VERSION: u32 = 1;
/// Largest disk: grains of an overlay are numbered in 32 bits, and so are chunks for JavaScript.
const SIZE_MAX: u64 = 1 << 42;
/// Largest frame of a chunk. zstd grows what it cannot compress by some bytes a block.
const STORED_BYTES_MAX: u32 = CHUNK_BYTES as u32 + 1024;

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        let mut digest = [0; 32];
        if digits.len() != 2 * digest.len() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
            for digit in pair {
                *byte = *byte << 4 | char::from(*digit).to_digit(16)? as u8;
            }
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is no manifest.
    #[error("it is not a list of chunks ({0})")]
    Syntax(#[from] serde_json::Error),
    /// The text is JSON of another kind.
    #[error("its format is {0:?}, not \"dinghy-chunks\"")]
    Format(String),
    /// The list was written for another version of this program.
    #[error(
        "it has version {0}, but version 1 is read here: write the image anew, or use the version that it is made for"
    )]
    Version(u32),
    /// Two things in it contradict each other, or the format.
    #[error("it contradicts itself: {0}")]
    Inconsistent(String),
}

/// Why the bytes of a chunk cannot be used.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum ChunkError {
    /// The image has no such chunk, or it is all zeroes and has no bytes.
    #[error("chunk {0} has no stored bytes")]
    NotStored(u64),
    /// The bytes are not those that the manifest names.
    #[error("chunk {index} has the digest {found}, but the manifest says {expected}")]
    Digest {
        /// The chunk.
        index: u64,
        /// What the manifest says.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// The bytes are those of the manifest, and still do not unpack to a chunk.
    #[error("chunk {index} cannot be unpacked: {reason}")]
    Unpack {
        /// The chunk.
        index: u64,
        /// What is wrong with them.
        reason: String,
    },
}

/// Where the bytes of a chunk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkLocation {
    /// The chunk: bytes from `index` times [`CHUNK_BYTES`].
    pub index: u64,
    /// The pack, by its place in [`Manifest::packs`].
    pub pack: u32,
    /// First byte within the pack.
    pub offset: u64,
    /// Bytes, packed.
    pub length: u32,
    /// The digest of those bytes.
    pub digest: Digest,
}

/// The list of an image's chunks.
///
/// ```json
/// { "format": "dinghy-chunks", "version": 1, "size": 1073741824, "chunkBytes": 262144,
///   "image": "<SHA-256 of the whole image>", "packs": ["0-<digest>.pack"],
///   "chunks": [[index, pack, offset, length, "<SHA-256 of the packed bytes>"]], "prefetch": [index] }
/// ```
///
/// Chunks are in ascending order; those that are not named are all zeroes. `prefetch` names chunks in
/// the order in which a boot reads them first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    size: u64,
    image: Digest,
    packs: Vec<String>,
    chunks: Vec<ChunkLocation>,
    prefetch: Vec<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestFile {
    format: String,
    version: u32,
    size: u64,
    chunk_bytes: u64,
    image: String,
    packs: Vec<String>,
    chunks: Vec<(u64, u32, u64, u32, String)>,
    prefetch: Vec<u64>,
}

/// The head alone, which every version has.
#[derive(Deserialize)]
struct ManifestHead {
    format: String,
    version: u32,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// When it is none, of another version, or not in order.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        let head: ManifestHead = serde_json::from_slice(text)?;
        if head.format != FORMAT {
            return Err(ManifestError::Format(head.format));
        }
        if head.version != VERSION {
            return Err(ManifestError::Version(head.version));
        }
        Self::check(serde_json::from_slice(text)?).map_err(ManifestError::Inconsistent)
    }

    fn check(file: ManifestFile) -> Result<Self, String> {
        debug_assert!(file.format == FORMAT && file.version == VERSION);
        let size = file.size;
        if size == 0 || !size.is_multiple_of(512) || size > SIZE_MAX {
            return Err(format!("no disk has {size} bytes"));
        }
        if file.chunk_bytes != CHUNK_BYTES {
            return Err(format!("chunks have {} bytes, not {CHUNK_BYTES}", file.chunk_bytes));
        }
        let image = Digest::parse(&file.image).ok_or_else(|| format!("{:?} is no digest", file.image))?;
        // Packs stand beside the manifest: a name that leads elsewhere is none.
        if let Some(name) = file.packs.iter().find(|name| !is_plain_name(name)) {
            return Err(format!("{name:?} is no name of a pack"));
        }
        let mut chunks = Vec::with_capacity(file.chunks.len());
        let mut next = 0;
        for (index, pack, offset, length, digest) in file.chunks {
            if index < next || chunk_length(size, index) == 0 {
                return Err(format!("chunk {index} is named twice, out of order, or past the end"));
            }
            next = index + 1;
            if pack as usize >= file.packs.len() {
                return Err(format!("chunk {index} is in pack {pack} of {}", file.packs.len()));
            }
            // JavaScript counts bytes in floating point, exactly to 2^53.
            if length == 0 || length > STORED_BYTES_MAX || offset > 1 << 52 {
                return Err(format!("chunk {index} cannot have {length} bytes at {offset}"));
            }
            let digest = Digest::parse(&digest).ok_or_else(|| format!("{digest:?} is no digest"))?;
            chunks.push(ChunkLocation { index, pack, offset, length, digest });
        }
        let manifest = Self { size, image, packs: file.packs, chunks, prefetch: file.prefetch };
        if let Some(index) = manifest.prefetch.iter().find(|index| manifest.location(**index).is_none()) {
            return Err(format!("chunk {index} is to be fetched early but has no bytes"));
        }
        Ok(manifest)
    }

    /// Size of the image in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The digest of the whole image, unpacked: what an overlay over it belongs to.
    pub fn image(&self) -> Digest {
        self.image
    }

    /// The packs' names, relative to the manifest.
    pub fn packs(&self) -> &[String] {
        &self.packs
    }

    /// The chunks that have bytes, in ascending order.
    pub fn chunks(&self) -> &[ChunkLocation] {
        &self.chunks
    }

    /// The chunks that a boot reads, in the order in which it reads them first.
    pub fn prefetch(&self) -> &[u64] {
        &self.prefetch
    }

    /// Where the bytes of chunk `index` are; `None` if it is all zeroes.
    pub fn location(&self, index: u64) -> Option<&ChunkLocation> {
        let place = self.chunks.binary_search_by_key(&index, |chunk| chunk.index).ok()?;
        self.chunks.get(place)
    }

    /// Verifies the packed bytes of chunk `index` and unpacks them.
    ///
    /// # Errors
    /// When they are not what the manifest says.
    pub fn unpack(&self, index: u64, stored: &[u8]) -> Result<Vec<u8>, ChunkError> {
        let location = self.location(index).ok_or(ChunkError::NotStored(index))?;
        let found = Digest::of(stored);
        if found != location.digest {
            return Err(ChunkError::Digest { index, expected: location.digest, found });
        }
        let expected = chunk_length(self.size, index) as usize;
        let mut bytes = vec![0; expected];
        let unpacked = FrameDecoder::new()
            .decode_all(stored, &mut bytes)
            .map_err(|error| ChunkError::Unpack { index, reason: error.to_string() })?;
        if unpacked != expected {
            let reason = format!("it has {unpacked} bytes instead of {expected}");
            return Err(ChunkError::Unpack { index, reason });
        }
        Ok(bytes)
    }
}

/// Whether `name` names a file in the folder where the manifest is, whatever reads it as a path or address.
fn is_plain_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use serde_json::{Value, json};

    fn packed(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// Two chunks and a half, of which the second is all zeroes.
    fn sample() -> (Value, [Vec<u8>; 2]) {
        let parts = [packed(&[7; CHUNK_BYTES as usize]), packed(&[9; CHUNK_BYTES as usize / 2])];
        let digests = parts.each_ref().map(|part| Digest::of(part).to_string());
        let manifest = json!({
            "format": "dinghy-chunks", "version": 1, "size": CHUNK_BYTES * 5 / 2, "chunkBytes": CHUNK_BYTES,
            "image": "00".repeat(32), "packs": ["0-ab.pack"],
            "chunks": [
                [0, 0, 0, parts[0].len(), digests[0]],
                [2, 0, parts[0].len(), parts[1].len(), digests[1]],
            ],
            "prefetch": [2, 0],
        });
        (manifest, parts)
    }

    fn parse(value: &Value) -> Result<Manifest, ManifestError> {
        Manifest::parse(value.to_string().as_bytes())
    }

    #[test]
    fn chunks_are_found_verified_and_unpacked() {
        let (value, parts) = sample();
        let manifest = parse(&value).unwrap();
        assert_eq!(manifest.location(0).unwrap().length as usize, parts[0].len());
        assert_eq!(manifest.location(1), None);
        assert_eq!(manifest.unpack(0, &parts[0]).unwrap(), vec![7; CHUNK_BYTES as usize]);
        assert_eq!(manifest.unpack(2, &parts[1]).unwrap(), vec![9; CHUNK_BYTES as usize / 2]);
        assert_eq!(manifest.unpack(1, &parts[1]), Err(ChunkError::NotStored(1)));
        assert_eq!(manifest.prefetch(), [2, 0]);
    }

    #[test]
    fn any_damage_to_a_chunk_is_noticed() {
        let (value, [part, other]) = sample();
        let manifest = parse(&value).unwrap();
        for at in 0..part.len() {
            let mut damaged = part.clone();
            damaged[at] ^= 1;
            assert!(matches!(manifest.unpack(0, &damaged), Err(ChunkError::Digest { .. })));
            assert!(manifest.unpack(0, &part[..at]).is_err());
        }
        assert!(matches!(manifest.unpack(0, &other), Err(ChunkError::Digest { .. })));
    }

    #[test]
    fn a_frame_of_another_length_is_refused_though_its_digest_is_right() {
        for length in [0, 1, CHUNK_BYTES as usize - 1, CHUNK_BYTES as usize + 1] {
            let (mut value, _) = sample();
            let part = packed(&vec![1; length]);
            value["chunks"][0][3] = part.len().into();
            value["chunks"][0][4] = Digest::of(&part).to_string().into();
            let error = parse(&value).unwrap().unpack(0, &part).unwrap_err();
            assert!(matches!(error, ChunkError::Unpack { index: 0, .. }), "{error}");
        }
        let (mut value, _) = sample();
        let nonsense = [0x55; 40];
        value["chunks"][0][4] = Digest::of(&nonsense).to_string().into();
        assert!(matches!(parse(&value).unwrap().unpack(0, &nonsense), Err(ChunkError::Unpack { .. })));
    }

    #[test]
    fn other_formats_and_versions_are_named() {
        let (mut value, _) = sample();
        value["version"] = 2.into();
        value["chunks"] = "in a way of the future".into();
        assert!(parse(&value).unwrap_err().to_string().contains("version 2"));
        value["format"] = "other".into();
        assert!(matches!(parse(&value), Err(ManifestError::Format(name)) if name == "other"));
        assert!(matches!(Manifest::parse(b"<!doctype html>"), Err(ManifestError::Syntax(_))));
    }

    #[test]
    fn contradictions_are_refused() {
        let places: &[(&str, Value)] = &[
            ("/size", 0.into()),
            ("/size", 513.into()),
            ("/size", (1u64 << 50).into()),
            ("/size", CHUNK_BYTES.into()),
            ("/chunkBytes", 4096.into()),
            ("/image", "12".into()),
            ("/packs/0", "../secret".into()),
            ("/packs/0", "https://elsewhere/".into()),
            ("/packs/0", "".into()),
            ("/packs", json!([])),
            ("/chunks/0/0", 2.into()),
            ("/chunks/1/0", 3.into()),
            ("/chunks/0/2", (1u64 << 60).into()),
            ("/chunks/0/3", 0.into()),
            ("/chunks/0/3", (1 << 20).into()),
            ("/chunks/0/4", "zz".repeat(32).into()),
            ("/prefetch/0", 1.into()),
            ("/prefetch/0", 99.into()),
        ];
        for (place, replacement) in places {
            let (mut value, _) = sample();
            *value.pointer_mut(place).unwrap() = replacement.clone();
            assert!(matches!(parse(&value), Err(ManifestError::Inconsistent(_))), "{place} {replacement}");
        }
    }

    #[test]
    fn damaged_text_is_an_error_or_a_manifest_but_never_a_panic() {
        let (value, parts) = sample();
        let text = value.to_string().into_bytes();
        // A linear congruence chooses what is damaged.
        let mut state = 1u64;
        for _ in 0..5000 {
            let mut damaged = text.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % damaged.len();
                damaged[at] =
                    if state & 1 == 0 { b'0' + (state >> 60) as u8 % 10 } else { (state >> 20) as u8 };
            }
            damaged.truncate(text.len() - (state >> 50) as usize % 3);
            if let Ok(manifest) = Manifest::parse(&damaged) {
                let _ = manifest.unpack(0, &parts[0]);
            }
        }
    }
}
