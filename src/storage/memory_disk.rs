//! A disk that stands alone in memory.

use super::check_range;
use super::grains::{Content, Grains, divide, shares};
use crate::host::{BlockError, BlockSource, DiskChange, Progress};
use std::task::Poll;

/// A writable disk in memory, all zeroes at first. Only what the guest writes takes memory.
pub struct MemoryDisk {
    size: u64,
    grains: Grains,
}

impl MemoryDisk {
    /// An empty disk of `size` bytes, rounded up to a multiple of 512.
    pub fn new(size: u64) -> Self {
        let size = size.checked_next_multiple_of(512).unwrap_or(u64::MAX - 511);
        Self { size, grains: Grains::default() }
    }

    /// A disk that holds `contents`, padded with zeroes to a multiple of 512 bytes.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub fn with_contents(contents: &[u8]) -> Result<Self, BlockError> {
        let mut disk = Self::new(contents.len() as u64);
        disk.store(0, contents)?;
        Ok(disk)
    }

    /// Bytes of memory that the contents take.
    pub fn data_bytes(&self) -> u64 {
        self.grains.data_bytes()
    }

    fn store(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        for share in shares(offset, data.len()) {
            let bytes = data.get(share.offset..share.offset + share.length).unwrap_or_default();
            self.grains.store(share.index, share.at, bytes)?;
        }
        Ok(())
    }

    fn load(&self, offset: u64, buffer: &mut [u8]) {
        for share in shares(offset, buffer.len()) {
            let Some(target) = buffer.get_mut(share.offset..share.offset + share.length) else { return };
            let data = match self.grains.content(share.index) {
                Content::Data(data) => data.get(share.at..share.at + share.length),
                Content::Absent | Content::Zeroes => None,
            };
            match data {
                Some(data) => target.copy_from_slice(data),
                None => target.fill(0),
            }
        }
    }

    fn clear(&mut self, offset: u64, length: u64) -> Result<(), BlockError> {
        let parts = divide(offset, length, self.size);
        for edge in [parts.head, parts.tail] {
            for share in shares(edge.start, (edge.end - edge.start) as usize) {
                // What holds no data is zero already.
                if matches!(self.grains.content(share.index), Content::Data(_)) {
                    self.grains.store(share.index, share.at, &vec![0; share.length])?;
                }
            }
        }
        self.grains.forget(parts.grains)
    }
}

impl BlockSource for MemoryDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        Poll::Ready(check_range(offset, buffer.len() as u64, self.size).map(|()| self.load(offset, buffer)))
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        Poll::Ready(check_range(offset, data.len() as u64, self.size).and_then(|()| self.store(offset, data)))
    }

    fn flush(&mut self) -> Progress {
        Poll::Ready(Ok(()))
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        Poll::Ready(check_range(offset, length, self.size).and_then(|()| self.clear(offset, length)))
    }

    fn visit_changes(&mut self, visitor: &mut dyn FnMut(DiskChange<'_>)) -> Result<(), BlockError> {
        self.grains.visit(self.size, visitor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(disk: &mut MemoryDisk, offset: u64, length: usize) -> Vec<u8> {
        let mut buffer = vec![0xEE; length];
        assert_eq!(disk.read(offset, &mut buffer), Poll::Ready(Ok(())));
        buffer
    }

    #[test]
    fn what_was_written_across_grains_is_read_back_and_the_rest_is_zero() {
        let mut disk = MemoryDisk::new(1 << 40);
        let data: Vec<u8> = (0..10_240u32).map(|byte| byte as u8 | 1).collect();
        assert_eq!(disk.write((1 << 39) + 512, &data), Poll::Ready(Ok(())));
        assert_eq!(read(&mut disk, (1 << 39) + 512, data.len()), data);
        assert_eq!(read(&mut disk, 1 << 39, 512), [0; 512]);
        assert_eq!(disk.data_bytes(), 3 * 4096);
    }

    #[test]
    fn a_discard_zeroes_just_its_range_and_gives_memory_back() {
        let mut disk = MemoryDisk::with_contents(&[0x55; 5 * 4096]).unwrap();
        assert_eq!(disk.discard(512, 3 * 4096), Poll::Ready(Ok(())));
        let expected: Vec<u8> =
            (0..5 * 4096).map(|at| if (512..512 + 3 * 4096).contains(&at) { 0 } else { 0x55 }).collect();
        assert_eq!(read(&mut disk, 0, 5 * 4096), expected);
        assert_eq!(disk.data_bytes(), 3 * 4096);
    }

    #[test]
    fn ranges_past_the_end_are_refused_even_when_their_end_overflows() {
        let mut disk = MemoryDisk::new(1000);
        assert_eq!(disk.size(), 1024);
        for (offset, length) in [(512, 1024), (u64::MAX - 511, 1024)] {
            let error = Poll::Ready(Err(BlockError::OutOfRange { offset, length, size: 1024 }));
            assert_eq!(disk.read(offset, &mut vec![0; length as usize]), error);
            assert_eq!(disk.write(offset, &vec![0; length as usize]), error);
            assert_eq!(disk.discard(offset, length), error);
        }
    }
}
