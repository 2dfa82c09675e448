//! Framing: sections, their compression and their digests.

use super::{SnapshotError, VERSION};
use ruzstd::decoding::FrameDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

const MAGIC: [u8; 8] = *b"DINGHYSN";
const FILE_HEADER_BYTES: usize = MAGIC.len() + 4;
pub(super) const DIGEST_BYTES: usize = 32;
/// Kind, encoding, two bytes of zero, bytes stored, bytes decoded.
const DESCRIPTION_BYTES: usize = 12;
const SECTION_HEADER_BYTES: usize = DESCRIPTION_BYTES + DIGEST_BYTES;
/// Most bytes of a section, decoded. What is damaged or made up cannot ask for more memory.
const SECTION_BYTES_MAX: u32 = 16 << 20;

const ENCODING_PLAIN: u8 = 0;
const ENCODING_ZSTD: u8 = 1;

/// What a section holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SectionKind {
    /// What the machine is made of.
    Configuration = 1,
    /// Processor and devices.
    State = 2,
    /// Pages of RAM.
    Pages = 3,
    /// What was written to the disks.
    Disk = 4,
    /// Which pages are in which files beside this one.
    Elsewhere = 5,
    /// The end, with the digest of all digests.
    End = 255,
}

impl SectionKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Configuration, Self::State, Self::Pages, Self::Disk, Self::Elsewhere, Self::End]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// A section with its bytes decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Where in the file it begins.
    pub at: u64,
}

impl Section {
    /// The value that the bytes stand for.
    ///
    /// # Errors
    /// When they stand for none.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, SnapshotError> {
        postcard::from_bytes(&self.bytes).map_err(|_| self.damaged("its contents make no sense"))
    }

    /// The error that says what is wrong with this section.
    pub fn damaged(&self, problem: &'static str) -> SnapshotError {
        SnapshotError::Damaged { at: self.at, problem }
    }
}

/// A section as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSection {
    /// What it holds.
    pub kind: SectionKind,
    description: [u8; DESCRIPTION_BYTES],
    digest: [u8; DIGEST_BYTES],
    stored: Vec<u8>,
    at: u64,
}

impl StoredSection {
    /// The digest that it has in the file.
    pub fn digest(&self) -> &[u8; DIGEST_BYTES] {
        &self.digest
    }

    /// The section with its bytes decoded.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn open(self) -> Result<Section, SnapshotError> {
        let Self { kind, description, digest, stored, at } = self;
        let damaged = |problem| SnapshotError::Damaged { at, problem };
        if digest_of(&description, &stored) != digest {
            return Err(damaged("a section's digest is wrong"));
        }
        let [_, encoding, ..] = description;
        let bytes = match encoding {
            ENCODING_PLAIN => stored,
            _ => decompress(&stored, u32_at(&description, 8) as usize)
                .ok_or(damaged("it cannot be decompressed"))?,
        };
        Ok(Section { kind, bytes, at })
    }
}

fn digest_of(description: &[u8], stored: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::new().chain_update(description).chain_update(stored).finalize().into()
}

/// Writes a snapshot to a sink that takes bytes in order.
pub struct SectionWriter<'a> {
    sink: &'a mut dyn FnMut(&[u8]) -> Result<(), SnapshotError>,
    all: Sha256,
}

impl<'a> SectionWriter<'a> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn new(sink: &'a mut dyn FnMut(&[u8]) -> Result<(), SnapshotError>) -> Result<Self, SnapshotError> {
        sink(&MAGIC)?;
        sink(&VERSION.to_le_bytes())?;
        Ok(Self { sink, all: Sha256::new() })
    }

    /// Writes a section, compressed where that makes it smaller.
    ///
    /// # Errors
    /// Those of the sink, and when the section is too large.
    pub fn write(&mut self, kind: SectionKind, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.write_compressed(kind, bytes, compress_to_vec(bytes, CompressionLevel::Fastest))
    }

    /// Writes a value as a section.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub fn write_value(&mut self, kind: SectionKind, value: &impl Serialize) -> Result<(), SnapshotError> {
        let bytes = postcard::to_stdvec(value).map_err(|error| SnapshotError::Output(error.to_string()))?;
        self.write(kind, &bytes)
    }

    fn write_compressed(
        &mut self,
        kind: SectionKind,
        bytes: &[u8],
        compressed: Vec<u8>,
    ) -> Result<(), SnapshotError> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length <= SECTION_BYTES_MAX);
        let length = length.ok_or_else(|| SnapshotError::Output("a section is too large".to_owned()))?;
        let (encoding, stored) = if compressed.len() < bytes.len() {
            (ENCODING_ZSTD, compressed.as_slice())
        } else {
            (ENCODING_PLAIN, bytes)
        };
        let mut description = [0; DESCRIPTION_BYTES];
        description[0] = kind as u8;
        description[1] = encoding;
        description[4..8].copy_from_slice(&(stored.len() as u32).to_le_bytes());
        description[8..].copy_from_slice(&length.to_le_bytes());
        let digest = digest_of(&description, stored);
        self.all.update(digest);
        (self.sink)(&description)?;
        (self.sink)(&digest)?;
        (self.sink)(stored)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of the sink.
    pub fn finish(mut self) -> Result<(), SnapshotError> {
        let all: [u8; DIGEST_BYTES] = self.all.clone().finalize().into();
        self.write_compressed(SectionKind::End, &all, all.to_vec())
    }
}

/// Reads a snapshot whose bytes come in pieces.
#[derive(Default)]
pub struct SectionReader {
    /// What has come and is not read yet, from `taken` on.
    waiting: Vec<u8>,
    taken: usize,
    /// Where in the file `waiting` begins.
    at: u64,
    has_begun: bool,
    has_ended: bool,
    all: Sha256,
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    if let Some(bytes) = bytes.get(at..at + 4) {
        value.copy_from_slice(bytes);
    }
    u32::from_le_bytes(value)
}

impl SectionReader {
    /// A reader of sections that are in no snapshot's file: without the file's header, and without an end.
    pub(super) fn without_header() -> Self {
        Self { has_begun: true, ..Self::default() }
    }

    /// Whether bytes have come that are not read yet.
    pub(super) fn has_more(&self) -> bool {
        self.taken < self.waiting.len()
    }

    /// Takes the file's next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.waiting.drain(..self.taken);
        self.at += self.taken as u64;
        self.taken = 0;
        self.waiting.extend_from_slice(bytes);
    }

    /// The next section, or `None` when its bytes have not all come. The end section is checked and not given.
    ///
    /// # Errors
    /// When the file is none, of another version, or damaged.
    pub fn next_section(&mut self) -> Result<Option<Section>, SnapshotError> {
        self.next_stored()?.map(StoredSection::open).transpose()
    }

    /// The next section as it is stored, or `None` when its bytes have not all come: whether it is damaged, only
    /// [`StoredSection::open`] tells. The end section is checked and not given.
    ///
    /// # Errors
    /// When the file is none, of another version, or damaged in another place.
    pub fn next_stored(&mut self) -> Result<Option<StoredSection>, SnapshotError> {
        if !self.has_begun && !self.begin()? {
            return Ok(None);
        }
        let Some(section) = self.take_stored()? else { return Ok(None) };
        if section.kind != SectionKind::End {
            self.all.update(section.digest);
            return Ok(Some(section));
        }
        let all: [u8; DIGEST_BYTES] = self.all.clone().finalize().into();
        let end = section.open()?;
        if end.bytes != all {
            return Err(end.damaged("sections are missing or out of order"));
        }
        self.has_ended = true;
        Ok(None)
    }

    /// Checks that the file has ended as it should.
    ///
    /// # Errors
    /// When it has not.
    pub fn finish(&self) -> Result<(), SnapshotError> {
        if !self.has_ended {
            return Err(SnapshotError::Truncated);
        }
        if self.has_more() {
            let at = self.at + self.taken as u64;
            return Err(SnapshotError::Damaged { at, problem: "it goes on behind its end" });
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<bool, SnapshotError> {
        let magic = self.waiting.get(..MAGIC.len().min(self.waiting.len())).unwrap_or_default();
        if !MAGIC.starts_with(magic) {
            return Err(SnapshotError::NotASnapshot);
        }
        if self.waiting.len() < FILE_HEADER_BYTES {
            return Ok(false);
        }
        let found = u32_at(&self.waiting, MAGIC.len());
        if found != VERSION {
            return Err(SnapshotError::Version { found });
        }
        self.taken = FILE_HEADER_BYTES;
        self.has_begun = true;
        Ok(true)
    }

    /// Takes the next section when it has all come.
    fn take_stored(&mut self) -> Result<Option<StoredSection>, SnapshotError> {
        let at = self.at + self.taken as u64;
        let damaged = |problem| SnapshotError::Damaged { at, problem };
        let waiting = self.waiting.get(self.taken..).unwrap_or_default();
        let Some((description, rest)) = waiting.split_first_chunk::<DESCRIPTION_BYTES>() else {
            return Ok(None);
        };
        let Some((digest, rest)) = rest.split_first_chunk::<DIGEST_BYTES>() else { return Ok(None) };
        if self.has_ended {
            return Err(damaged("it goes on behind its end"));
        }
        let (stored, length) = (u32_at(description, 4), u32_at(description, 8));
        let [kind, encoding, ..] = *description;
        if stored > SECTION_BYTES_MAX || length > SECTION_BYTES_MAX || encoding > ENCODING_ZSTD {
            return Err(damaged("a section's header makes no sense"));
        }
        let kind = SectionKind::from_byte(kind).ok_or(damaged("a section is of an unknown kind"))?;
        let Some(bytes) = rest.get(..stored as usize) else { return Ok(None) };
        let section =
            StoredSection { kind, description: *description, digest: *digest, stored: bytes.to_vec(), at };
        self.taken += SECTION_HEADER_BYTES + bytes.len();
        Ok(Some(section))
    }
}

/// The `length` bytes that `stored` stands for.
fn decompress(stored: &[u8], length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    let written = FrameDecoder::new().decode_all(stored, &mut bytes).ok()?;
    (written == length).then_some(bytes)
}
