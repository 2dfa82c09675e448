//! Packed chunks kept in a file, by digest.

use super::Digest;
use crate::host::{ByteFile, ByteFileError};
use crate::storage::free_runs::FreeRuns;
use std::collections::{BTreeMap, HashMap};

/// Bytes in which room is given out.
const UNIT_BYTES: u64 = 4096;
/// The first bytes of an extent; a change of the layout changes them.
const MAGIC: [u8; 4] = *b"dgC1";
const HEADER_BYTES: usize = 64;
/// Largest thing kept, so that a damaged length cannot ask for much memory.
const DATA_BYTES_MAX: usize = 1 << 20;

/// Why the cache could not do something. The cache stays usable.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[error("the cache of disk chunks cannot be used: {0}")]
pub struct ChunkCacheError(#[from] ByteFileError);

/// An extent that holds data.
#[derive(Clone, Copy)]
struct Entry {
    start: u64,
    units: u64,
    length: usize,
    /// Grows with each use.
    stamp: u64,
}

/// Packed chunks kept in a file, found by their digests.
///
/// The file is a row of extents, each with a header: length, data bytes (none: free), stamp of the
/// last use, digest. When the limit is reached the least recently used go. The cache checks its own
/// headers, not the data: whoever uses a chunk verifies it anyway, and [`remove`](Self::remove)s it
/// when it is damaged. Whatever is lost is fetched again, so nothing here is flushed.
pub struct ChunkCache {
    file: Box<dyn ByteFile>,
    limit_units: u64,
    end: u64,
    entries: HashMap<Digest, Entry>,
    /// Digests by the stamps of their last uses.
    by_use: BTreeMap<u64, Digest>,
    free: FreeRuns,
    next_stamp: u64,
}

impl ChunkCache {
    /// Opens the cache in `file`, to hold at most `limit_bytes`. What is damaged in it is dropped.
    ///
    /// # Errors
    /// When the file cannot be read or cut.
    pub fn open(file: Box<dyn ByteFile>, limit_bytes: u64) -> Result<Self, ChunkCacheError> {
        let mut cache = Self {
            file,
            limit_units: limit_bytes / UNIT_BYTES,
            end: 0,
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            free: FreeRuns::default(),
            next_stamp: 1,
        };
        let file_units = cache.file.size()? / UNIT_BYTES;
        while cache.end < file_units {
            let mut header = [0; HEADER_BYTES];
            cache.file.read(cache.end * UNIT_BYTES, &mut header)?;
            let Some((units, data)) = read_header(&header, file_units - cache.end) else { break };
            let start = cache.end;
            cache.end += units;
            match data {
                Some((digest, length, stamp))
                    if !cache.entries.contains_key(&digest) && !cache.by_use.contains_key(&stamp) =>
                {
                    cache.next_stamp = cache.next_stamp.max(stamp.saturating_add(1));
                    cache.by_use.insert(stamp, digest);
                    cache.entries.insert(digest, Entry { start, units, length, stamp });
                }
                _ => {
                    cache.free.add(start, units);
                }
            }
        }
        cache.file.truncate(cache.end * UNIT_BYTES)?;
        while cache.end > cache.limit_units && cache.evict()? {}
        Ok(cache)
    }

    /// Bytes that the file takes.
    pub fn file_bytes(&self) -> u64 {
        self.end * UNIT_BYTES
    }

    /// The bytes kept under `digest`, not verified. They count as used.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn get(&mut self, digest: &Digest) -> Result<Option<Vec<u8>>, ChunkCacheError> {
        let Some(entry) = self.entries.get(digest).copied() else { return Ok(None) };
        let mut bytes = vec![0; entry.length];
        self.file.read(entry.start * UNIT_BYTES + HEADER_BYTES as u64, &mut bytes)?;
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        self.by_use.remove(&entry.stamp);
        self.by_use.insert(stamp, *digest);
        let entry = Entry { stamp, ..entry };
        self.entries.insert(*digest, entry);
        let header = header(entry.units, Some((digest, entry.length, stamp)));
        self.file.write(entry.start * UNIT_BYTES, &header)?;
        Ok(Some(bytes))
    }

    /// Keeps `bytes` under `digest`, in place of what was used least recently if need be.
    ///
    /// # Errors
    /// When the file cannot be written. The cache does not grow any more then.
    pub fn put(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), ChunkCacheError> {
        let units = ((HEADER_BYTES + bytes.len()) as u64).div_ceil(UNIT_BYTES);
        let is_keepable = !bytes.is_empty() && bytes.len() <= DATA_BYTES_MAX && units <= self.limit_units;
        if !is_keepable || self.entries.contains_key(digest) {
            return Ok(());
        }
        let Some(start) = self.make_room(units)? else { return Ok(()) };
        let stamp = self.next_stamp;
        let mut extent = Vec::with_capacity((units * UNIT_BYTES) as usize);
        extent.extend_from_slice(&header(units, Some((digest, bytes.len(), stamp))));
        extent.extend_from_slice(bytes);
        // Whole units, so that the file's size tells how many there are.
        extent.resize((units * UNIT_BYTES) as usize, 0);
        if let Err(error) = self.file.write(start * UNIT_BYTES, &extent) {
            // Most likely the host has no room left.
            if start == self.end {
                self.limit_units = self.end;
                self.file.truncate(self.end * UNIT_BYTES)?;
            } else {
                self.file.write(start * UNIT_BYTES, &header(units, None))?;
                self.free.add(start, units);
            }
            return Err(error.into());
        }
        self.end = self.end.max(start + units);
        self.next_stamp += 1;
        self.by_use.insert(stamp, *digest);
        self.entries.insert(*digest, Entry { start, units, length: bytes.len(), stamp });
        Ok(())
    }

    /// Forgets what is kept under `digest`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn remove(&mut self, digest: &Digest) -> Result<(), ChunkCacheError> {
        let Some(entry) = self.entries.remove(digest) else { return Ok(()) };
        self.by_use.remove(&entry.stamp);
        let (start, units) = self.free.add(entry.start, entry.units);
        if start + units == self.end {
            self.free.take(start, units);
            self.end = start;
            self.file.truncate(start * UNIT_BYTES)?;
        } else {
            self.file.write(start * UNIT_BYTES, &header(units, None))?;
        }
        Ok(())
    }

    /// Forgets what was used least recently. Tells whether there was anything.
    fn evict(&mut self) -> Result<bool, ChunkCacheError> {
        let Some(digest) = self.by_use.values().next().copied() else { return Ok(false) };
        self.remove(&digest)?;
        Ok(true)
    }

    /// A place for an extent of `units`, taken out of the free ones or at the end.
    fn make_room(&mut self, units: u64) -> Result<Option<u64>, ChunkCacheError> {
        loop {
            if let Some((start, found)) = self.free.first_of(units) {
                if found > units {
                    // Before the extent shrinks, so that the row of headers never has a gap.
                    self.file.write((start + units) * UNIT_BYTES, &header(found - units, None))?;
                }
                self.free.take(start, units);
                return Ok(Some(start));
            }
            if self.end + units <= self.limit_units {
                return Ok(Some(self.end));
            }
            if !self.evict()? {
                return Ok(None);
            }
        }
    }
}

/// The header of an extent: magic, checksum of the rest, units, data bytes, stamp, digest.
fn header(units: u64, data: Option<(&Digest, usize, u64)>) -> [u8; HEADER_BYTES] {
    let mut rest = Vec::with_capacity(HEADER_BYTES);
    rest.extend_from_slice(&units.to_le_bytes());
    let (digest, length, stamp) =
        data.map_or(([0; 32], 0, 0), |(digest, length, stamp)| (digest.0, length, stamp));
    rest.extend_from_slice(&(length as u64).to_le_bytes());
    rest.extend_from_slice(&stamp.to_le_bytes());
    rest.extend_from_slice(&digest);
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4..8].copy_from_slice(&crc32fast::hash(&rest).to_le_bytes());
    header[8..].copy_from_slice(&rest);
    header
}

/// The units of an extent, and its digest, data bytes and stamp if it is not free. `None` for a header
/// that is damaged or does not fit in `units_max`.
#[allow(clippy::type_complexity)]
fn read_header(header: &[u8; HEADER_BYTES], units_max: u64) -> Option<(u64, Option<(Digest, usize, u64)>)> {
    let (head, rest) = header.split_at(8);
    let (magic, checksum) = head.split_at(4);
    if magic != MAGIC || checksum != crc32fast::hash(rest).to_le_bytes() {
        return None;
    }
    let number = |at: usize| Some(u64::from_le_bytes(rest.get(at..at + 8)?.try_into().ok()?));
    let (units, length, stamp) = (number(0)?, number(8)?, number(16)?);
    let digest = Digest(rest.get(24..56)?.try_into().ok()?);
    if units == 0 || units > units_max {
        return None;
    }
    if length == 0 {
        return Some((units, None));
    }
    let length = usize::try_from(length).ok().filter(|length| *length <= DATA_BYTES_MAX)?;
    let fits = (HEADER_BYTES + length) as u64 <= units * UNIT_BYTES && stamp < u64::MAX / 2;
    fits.then_some((units, Some((digest, length, stamp))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::test_file::TestFile;

    fn thing(number: u32, length: usize) -> (Digest, Vec<u8>) {
        let bytes: Vec<u8> =
            (0..length).map(|at| (at as u32).wrapping_mul(number + 1) as u8 ^ 0x5A).collect();
        let mut named = bytes.clone();
        named.extend_from_slice(&number.to_le_bytes());
        (Digest::of(&named), bytes)
    }

    fn open(file: &TestFile, limit: u64) -> ChunkCache {
        ChunkCache::open(Box::new(file.clone()), limit).unwrap()
    }

    #[test]
    fn what_is_put_is_found_again_after_reopening() {
        let file = TestFile::default();
        let mut cache = open(&file, 1 << 20);
        for number in 0..20 {
            let (digest, bytes) = thing(number, 1000 * number as usize + 1);
            cache.put(&digest, &bytes).unwrap();
        }
        let mut cache = open(&file, 1 << 20);
        for number in 0..20 {
            let (digest, bytes) = thing(number, 1000 * number as usize + 1);
            assert_eq!(cache.get(&digest).unwrap(), Some(bytes));
        }
        assert_eq!(cache.get(&Digest::of(b"other")).unwrap(), None);
    }

    #[test]
    fn the_least_recently_used_go_and_the_limit_holds() {
        let file = TestFile::default();
        let limit = 10 * 4096;
        let mut cache = open(&file, limit);
        for number in 0..10 {
            let (digest, bytes) = thing(number, 4000);
            cache.put(&digest, &bytes).unwrap();
        }
        let (first, _) = thing(0, 4000);
        assert!(cache.get(&first).unwrap().is_some());
        // Uses are remembered in the file.
        let mut cache = open(&file, limit);
        let (large, bytes) = thing(99, 2 * 4096);
        cache.put(&large, &bytes).unwrap();
        assert_eq!(cache.get(&large).unwrap(), Some(bytes));
        assert!(cache.get(&first).unwrap().is_some());
        assert_eq!(cache.get(&thing(1, 4000).0).unwrap(), None);
        assert!(cache.file_bytes() <= limit);
        let mut smaller = open(&file, limit / 2);
        assert!(smaller.file_bytes() <= limit / 2);
        assert!(smaller.get(&first).unwrap().is_some());
    }

    #[test]
    fn many_sizes_share_the_room_without_mixing() {
        let file = TestFile::default();
        let mut cache = open(&file, 60 * 4096);
        let mut state = 7u64;
        for round in 0..3000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (state >> 40) as u32 % 64;
            let (digest, bytes) = thing(number, 1 + number as usize * 300);
            match state >> 62 {
                0 => cache.remove(&digest).unwrap(),
                1 => cache.put(&digest, &bytes).unwrap(),
                _ => assert!(cache.get(&digest).unwrap().is_none_or(|found| found == bytes)),
            }
            assert!(cache.file_bytes() <= 60 * 4096);
            if round % 100 == 0 {
                let entries = cache.entries.len();
                cache = open(&file, 60 * 4096);
                assert_eq!(cache.entries.len(), entries);
            }
        }
    }

    #[test]
    fn a_damaged_file_loses_entries_and_nothing_else() {
        for at in (0..6 * 4096).step_by(61) {
            let file = TestFile::default();
            let mut cache = open(&file, 1 << 20);
            for number in 0..6 {
                let (digest, bytes) = thing(number, 4000);
                cache.put(&digest, &bytes).unwrap();
            }
            file.damage(at);
            let mut cache = open(&file, 1 << 20);
            let mut lost = 0;
            for number in 0..6 {
                let (digest, bytes) = thing(number, 4000);
                match cache.get(&digest).unwrap() {
                    None => lost += 1,
                    Some(found) if found == bytes => {}
                    Some(_) => cache.remove(&digest).unwrap(),
                }
                cache.put(&digest, &bytes).unwrap();
                assert_eq!(cache.get(&digest).unwrap(), Some(bytes));
            }
            assert!(lost <= 6 - at / 4096);
        }
    }

    #[test]
    fn a_full_host_stops_growth_and_keeps_what_is_there() {
        let file = TestFile::default();
        let mut cache = open(&file, 1 << 20);
        let (kept, bytes) = thing(1, 4000);
        cache.put(&kept, &bytes).unwrap();
        file.set_room(4096);
        let (refused, other) = thing(2, 4000);
        assert!(cache.put(&refused, &other).is_err());
        assert_eq!(cache.get(&refused).unwrap(), None);
        assert_eq!(cache.get(&kept).unwrap(), Some(bytes));
        // There is room for one: it takes the older one's.
        cache.put(&refused, &other).unwrap();
        assert_eq!(cache.get(&refused).unwrap(), Some(other));
    }
}
