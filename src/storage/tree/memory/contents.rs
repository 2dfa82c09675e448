//! The bytes of one regular file in memory, without its holes.

use crate::storage::tree::FileError;
use std::collections::BTreeMap;

/// Bytes of a page, the unit in which files take memory.
pub(super) const PAGE_BYTES: u64 = 4096;
const PAGE_LENGTH: usize = PAGE_BYTES as usize;

/// Most bytes of a file: Linux's file offsets are signed.
const SIZE_MAX: u64 = i64::MAX as u64;

/// A sparse array of bytes.
#[derive(Default)]
pub(super) struct Contents {
    size: u64,
    pages: BTreeMap<u64, Box<[u8; PAGE_LENGTH]>>,
}

/// One page's share of a range of bytes.
struct Share {
    page: u64,
    at: usize,
    offset: usize,
    length: usize,
}

/// The shares that pages have in `length` bytes from `offset`, in order.
fn shares(offset: u64, length: usize) -> impl Iterator<Item = Share> {
    let mut finished = 0;
    std::iter::from_fn(move || {
        let start = offset + finished as u64;
        let at = (start % PAGE_BYTES) as usize;
        let share = Share {
            page: start / PAGE_BYTES,
            at,
            offset: finished,
            length: (length - finished).min(PAGE_LENGTH - at),
        };
        finished += share.length;
        (share.length > 0).then_some(share)
    })
}

/// Memory runs out in a browser tab sooner than elsewhere: that must become an error of the guest.
fn zeroed_page() -> Result<Box<[u8; PAGE_LENGTH]>, FileError> {
    let mut page = Vec::new();
    page.try_reserve_exact(PAGE_LENGTH).map_err(|_| FileError::OutOfMemory)?;
    page.resize(PAGE_LENGTH, 0);
    page.into_boxed_slice().try_into().map_err(|_| FileError::OutOfMemory)
}

impl Contents {
    /// Bytes from the beginning to the end, holes included.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory that the contents take.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.pages.len() as u64 * PAGE_BYTES
    }

    /// Bytes of memory that a write would add.
    pub(super) fn growth(&self, offset: u64, length: usize) -> Result<u64, FileError> {
        if offset.checked_add(length as u64).is_none_or(|end| end > SIZE_MAX) {
            return Err(FileError::TooLarge);
        }
        let absent = shares(offset, length).filter(|share| !self.pages.contains_key(&share.page)).count();
        Ok(absent as u64 * PAGE_BYTES)
    }

    /// Fills `buffer` from `offset`; the bytes read.
    pub(super) fn read(&self, offset: u64, buffer: &mut [u8]) -> usize {
        let length = self.size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        for share in shares(offset, length) {
            let Some(target) = buffer.get_mut(share.offset..share.offset + share.length) else { break };
            match self.pages.get(&share.page).and_then(|page| page.get(share.at..share.at + share.length)) {
                Some(bytes) => target.copy_from_slice(bytes),
                None => target.fill(0),
            }
        }
        length
    }

    /// Stores `data` at `offset`, which [`growth`](Self::growth) has accepted.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) -> Result<(), FileError> {
        for share in shares(offset, data.len()) {
            let page = match self.pages.entry(share.page) {
                std::collections::btree_map::Entry::Occupied(page) => page.into_mut(),
                std::collections::btree_map::Entry::Vacant(place) => place.insert(zeroed_page()?),
            };
            let target = page.get_mut(share.at..share.at + share.length);
            if let (Some(target), Some(bytes)) = (target, data.get(share.offset..share.offset + share.length))
            {
                target.copy_from_slice(bytes);
            }
        }
        if !data.is_empty() {
            self.size = self.size.max(offset + data.len() as u64);
        }
        Ok(())
    }

    /// Cuts the end off or appends a hole.
    ///
    /// # Errors
    /// [`FileError::TooLarge`] beyond Linux's largest file.
    pub(super) fn resize(&mut self, size: u64) -> Result<(), FileError> {
        if size > SIZE_MAX {
            return Err(FileError::TooLarge);
        }
        if size < self.size {
            self.pages.split_off(&size.div_ceil(PAGE_BYTES));
            // What lies behind the end must read as zeroes when the file grows again.
            if let Some(page) = self.pages.get_mut(&(size / PAGE_BYTES))
                && let Some(rest) = page.get_mut((size % PAGE_BYTES) as usize..)
            {
                rest.fill(0);
            }
        }
        self.size = size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_take_no_memory_and_read_as_zeroes() {
        let mut contents = Contents::default();
        assert_eq!(contents.growth(1 << 40, 3), Ok(PAGE_BYTES));
        contents.write(1 << 40, b"end").unwrap();
        assert_eq!((contents.size(), contents.memory_bytes()), ((1 << 40) + 3, PAGE_BYTES));
        let mut buffer = [7; 10];
        assert_eq!(contents.read((1 << 40) - 5, &mut buffer), 8);
        assert_eq!(&buffer, b"\0\0\0\0\0end\x07\x07");
        assert_eq!(contents.read(u64::MAX, &mut buffer), 0);
        assert_eq!(contents.growth(SIZE_MAX, 1), Err(FileError::TooLarge));
        assert_eq!(contents.growth(u64::MAX, 1), Err(FileError::TooLarge));
    }

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut contents = Contents::default();
        contents.write(4090, b"abcdefghijkl").unwrap();
        contents.resize(4092).unwrap();
        assert_eq!(contents.memory_bytes(), PAGE_BYTES);
        contents.resize(5000).unwrap();
        let mut buffer = [7; 8];
        assert_eq!(contents.read(4090, &mut buffer), 8);
        assert_eq!(&buffer, b"ab\0\0\0\0\0\0");
        contents.resize(0).unwrap();
        assert_eq!(contents.memory_bytes(), 0);
    }
}
