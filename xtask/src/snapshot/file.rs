//! The file of a snapshot as `src/snapshot/section.rs` has it: sections, read and written.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};
use sha2::{Digest, Sha256};

/// Magic and version.
const FILE_HEADER_BYTES: usize = 12;
/// Kind, encoding, two bytes of zero, bytes stored and decoded; then the digest.
const DESCRIPTION_BYTES: usize = 12;
const DIGEST_BYTES: usize = 32;
const ENCODING_PLAIN: u8 = 0;
const ENCODING_ZSTD: u8 = 1;
/// A snapshot of 176 MB took 70 MB by the emulator's own encoder, 45.6 MB by level 9 and 40.9 MB by level 19, which took
/// 44 s of processor time. Decoding takes the same time for all.
const LEVEL: i32 = 19;

/// Kinds of sections.
pub const PAGES: u8 = 3;
pub const ELSEWHERE: u8 = 5;
const END: u8 = 255;

/// A section with its contents decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub kind: u8,
    pub contents: Vec<u8>,
}

/// A section as it stands in a file, its digest before its contents.
pub struct Stored {
    pub digest: [u8; DIGEST_BYTES],
    pub bytes: Vec<u8>,
}

impl Section {
    /// Takes the first section off `rest`, with its digest.
    fn split_from(rest: &mut &[u8]) -> Result<(Self, [u8; DIGEST_BYTES])> {
        let cut = "the snapshot is cut short";
        let (description, after) = rest.split_first_chunk::<DESCRIPTION_BYTES>().context(cut)?;
        let (digest, after) = after.split_first_chunk::<DIGEST_BYTES>().context(cut)?;
        let [kind, encoding, _, _, s0, s1, s2, s3, length @ ..] = *description;
        let (stored, after) =
            after.split_at_checked(u32::from_le_bytes([s0, s1, s2, s3]) as usize).context(cut)?;
        let found = Sha256::new().chain_update(description).chain_update(stored).finalize();
        ensure!(found.as_slice() == digest, "the snapshot is damaged");
        *rest = after;
        let contents = match encoding {
            ENCODING_ZSTD => zstd::bulk::decompress(stored, u32::from_le_bytes(length) as usize)?,
            _ => stored.to_vec(),
        };
        Ok((Self { kind, contents }, *digest))
    }

    /// The section as it is to stand in a file, compressed where that makes it smaller.
    fn stored(&self) -> Result<Stored> {
        let compressed = zstd::bulk::compress(&self.contents, LEVEL)?;
        let is_smaller = compressed.len() < self.contents.len() && self.kind != END;
        let (encoding, stored) =
            if is_smaller { (ENCODING_ZSTD, &compressed) } else { (ENCODING_PLAIN, &self.contents) };
        let mut bytes = vec![self.kind, encoding, 0, 0];
        bytes.extend_from_slice(&u32::try_from(stored.len())?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.contents.len())?.to_le_bytes());
        let digest: [u8; DIGEST_BYTES] =
            Sha256::new().chain_update(&bytes).chain_update(stored).finalize().into();
        bytes.extend_from_slice(&digest);
        bytes.extend_from_slice(stored);
        Ok(Stored { digest, bytes })
    }
}

/// Sections as they are to stand in a file, by as many threads as there are processors.
pub fn store_all(sections: &[Section]) -> Result<Vec<Stored>> {
    let share = sections.len().div_ceil(thread::available_parallelism()?.get()).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = sections
            .chunks(share)
            .map(|share| scope.spawn(|| share.iter().map(Section::stored).collect::<Result<Vec<_>>>()))
            .collect();
        let mut all = Vec::new();
        for worker in workers {
            let stored =
                worker.join().map_err(|_| anyhow!("a thread that compresses the snapshot panicked"))?;
            all.extend(stored?);
        }
        Ok(all)
    })
}

/// The header of a snapshot's file, and its sections without the one at its end.
///
/// # Errors
/// When it is damaged.
pub fn read(file: &[u8]) -> Result<(Vec<u8>, Vec<Section>)> {
    let (header, mut rest) = file.split_at_checked(FILE_HEADER_BYTES).context("the snapshot is cut short")?;
    let mut sections = Vec::new();
    let mut all = Sha256::new();
    loop {
        let (section, digest) = Section::split_from(&mut rest)?;
        if section.kind == END {
            ensure!(
                rest.is_empty() && section.contents == all.finalize().as_slice(),
                "the snapshot's sections are not those that were written"
            );
            return Ok((header.to_vec(), sections));
        }
        all.update(digest);
        sections.push(section);
    }
}

/// The file of a snapshot with these sections.
///
/// # Errors
/// When a section cannot be compressed.
pub fn write(header: &[u8], sections: &[Section]) -> Result<Vec<u8>> {
    let mut file = header.to_vec();
    let mut all = Sha256::new();
    for stored in store_all(sections)? {
        all.update(stored.digest);
        file.extend(stored.bytes);
    }
    file.extend(Section { kind: END, contents: all.finalize().to_vec() }.stored()?.bytes);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sections() -> Vec<Section> {
        let contents = (0..100_000_u32).map(|at| (at / 7 * at % 251) as u8).collect();
        vec![Section { kind: 1, contents: b"abc".to_vec() }, Section { kind: PAGES, contents }]
    }

    const HEADER: &[u8; FILE_HEADER_BYTES] = b"DINGHYSN\x01\0\0\0";

    #[test]
    fn what_is_written_is_read_back() {
        let file = write(HEADER, &sections()).unwrap();
        assert!(file.len() < 80_000);
        assert_eq!(read(&file).unwrap(), (HEADER.to_vec(), sections()));
    }

    #[test]
    fn a_damaged_snapshot_is_not_read() {
        let file = write(HEADER, &sections()).unwrap();
        for at in (FILE_HEADER_BYTES..file.len()).step_by(997) {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(read(&damaged).is_err(), "byte {at}");
            assert!(read(&file[..at]).is_err(), "cut at {at}");
        }
        assert!(read(&[file.as_slice(), &[0]].concat()).is_err());
    }
}
