//! A writable disk over one that is only read.

use super::check_range;
use super::grains::{Content, GRAIN_BYTES, Grains, divide, shares};
use crate::host::{BlockError, BlockSource, DiskChange, Progress};
use std::task::{Poll, ready};

/// A writable disk whose changes stay in memory, over a base that is never written.
///
/// Changes are kept in grains of 4 KiB. A write of part of a grain first takes the rest from the
/// base, for which it may have to wait; whole grains never wait. Discarded ranges read as zeroes.
pub struct CopyOnWrite<Base = Box<dyn BlockSource>> {
    base: Base,
    grains: Grains,
}

impl<Base: BlockSource> CopyOnWrite<Base> {
    /// A disk that shows `base` until it is written.
    pub fn new(base: Base) -> Self {
        Self { base, grains: Grains::default() }
    }

    /// Bytes of memory that the changes take.
    pub fn data_bytes(&self) -> u64 {
        self.grains.data_bytes()
    }

    /// The base.
    pub(super) fn base(&self) -> &Base {
        &self.base
    }

    /// The base.
    pub(super) fn base_mut(&mut self) -> &mut Base {
        &mut self.base
    }

    /// Gives what was written to `store`, and forgets it if `store` has it now.
    pub(super) fn move_changes<E>(
        &mut self,
        store: impl FnOnce(&mut Base, &Grains) -> Result<(), E>,
    ) -> Result<(), E> {
        store(&mut self.base, &self.grains)?;
        self.grains = Grains::default();
        Ok(())
    }

    /// Reads `length` bytes of the base at `at` within `buffer`, which begins at `offset`.
    fn read_base(&mut self, offset: u64, buffer: &mut [u8], at: usize, length: usize) -> Progress {
        match buffer.get_mut(at..at + length) {
            Some([]) | None => Poll::Ready(Ok(())),
            Some(run) => self.base.read(offset + at as u64, run),
        }
    }

    /// Copies into the overlay those of `grains` that only the base has. All or none, so that a
    /// call that waits has no effect.
    fn copy_up(&mut self, grains: impl Iterator<Item = u64>) -> Progress {
        let mut copies = Vec::new();
        let mut is_waiting = false;
        for index in grains {
            if self.grains.content(index) != Content::Absent {
                continue;
            }
            let start = index * GRAIN_BYTES;
            let mut bytes = vec![0; (self.base.size() - start).min(GRAIN_BYTES) as usize];
            match self.base.read(start, &mut bytes) {
                Poll::Ready(Ok(())) => copies.push((index, bytes)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                // The others are still asked for, so that the host fetches them at the same time.
                Poll::Pending => is_waiting = true,
            }
        }
        if is_waiting {
            return Poll::Pending;
        }
        for (index, bytes) in copies {
            self.grains.store(index, 0, &bytes)?;
        }
        Poll::Ready(Ok(()))
    }

    fn store(&mut self, offset: u64, data: &[u8]) -> Result<(), BlockError> {
        for share in shares(offset, data.len()) {
            let bytes = data.get(share.offset..share.offset + share.length).unwrap_or_default();
            self.grains.store(share.index, share.at, bytes)?;
        }
        Ok(())
    }
}

impl<Base: BlockSource> BlockSource for CopyOnWrite<Base> {
    fn size(&self) -> u64 {
        self.base.size()
    }

    fn is_read_only(&self) -> bool {
        false
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        check_range(offset, buffer.len() as u64, self.size())?;
        let mut is_waiting = false;
        // The run of bytes, ending at the current grain, that comes from the base.
        let (mut run_start, mut run_length) = (0, 0);
        for share in shares(offset, buffer.len()) {
            let target = share.offset..share.offset + share.length;
            match (self.grains.content(share.index), buffer.get_mut(target)) {
                (Content::Data(data), Some(target)) => {
                    target.copy_from_slice(data.get(share.at..share.at + share.length).unwrap_or(&[]));
                }
                (Content::Zeroes, Some(target)) => target.fill(0),
                (Content::Absent, _) | (_, None) => {
                    run_length += share.length;
                    continue;
                }
            }
            is_waiting |= self.read_base(offset, buffer, run_start, run_length)?.is_pending();
            (run_start, run_length) = (share.offset + share.length, 0);
        }
        is_waiting |= self.read_base(offset, buffer, run_start, run_length)?.is_pending();
        if is_waiting { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        check_range(offset, data.len() as u64, self.size())?;
        let partial = shares(offset, data.len()).filter(|share| !share.is_whole());
        ready!(self.copy_up(partial.map(|share| share.index)))?;
        Poll::Ready(self.store(offset, data))
    }

    fn flush(&mut self) -> Progress {
        // Memory is as durable as it gets, and the base has not changed.
        Poll::Ready(Ok(()))
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        check_range(offset, length, self.size())?;
        let parts = divide(offset, length, self.size());
        let edges = || {
            [&parts.head, &parts.tail]
                .into_iter()
                .flat_map(|edge| shares(edge.start, (edge.end - edge.start) as usize))
        };
        ready!(self.copy_up(edges().map(|share| share.index)))?;
        for share in edges() {
            if self.grains.content(share.index) != Content::Zeroes {
                self.grains.store(share.index, share.at, &vec![0; share.length])?;
            }
        }
        Poll::Ready(self.grains.zero(parts.grains))
    }

    fn image(&self) -> Option<[u8; 32]> {
        self.base.image()
    }

    fn has_changes(&self) -> bool {
        self.grains.iter().next().is_some()
    }

    fn visit_changes(&mut self, visitor: &mut dyn FnMut(DiskChange<'_>)) -> Result<(), BlockError> {
        self.grains.visit(self.size(), visitor);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    const SIZE: u64 = 64 * 1024 + 512;

    /// A read-only base in which every byte tells its offset, and that can be made to wait.
    struct Base {
        is_waiting: Arc<AtomicBool>,
    }

    fn base_byte(offset: u64) -> u8 {
        (offset / 512) as u8 ^ offset as u8 | 1
    }

    impl BlockSource for Base {
        fn size(&self) -> u64 {
            SIZE
        }
        fn is_read_only(&self) -> bool {
            true
        }
        fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
            check_range(offset, buffer.len() as u64, SIZE)?;
            if self.is_waiting.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
            for (at, byte) in buffer.iter_mut().enumerate() {
                *byte = base_byte(offset + at as u64);
            }
            Poll::Ready(Ok(()))
        }
        fn write(&mut self, _: u64, _: &[u8]) -> Progress {
            panic!("the overlay wrote to its base");
        }
        fn flush(&mut self) -> Progress {
            Poll::Ready(Ok(()))
        }
        fn discard(&mut self, _: u64, _: u64) -> Progress {
            panic!("the overlay discarded in its base");
        }
    }

    fn disk() -> (CopyOnWrite<Base>, Arc<AtomicBool>) {
        let is_waiting = Arc::new(AtomicBool::new(false));
        (CopyOnWrite::new(Base { is_waiting: is_waiting.clone() }), is_waiting)
    }

    fn contents(disk: &mut CopyOnWrite<Base>) -> Vec<u8> {
        let mut buffer = vec![0xEE; SIZE as usize];
        assert_eq!(disk.read(0, &mut buffer), Poll::Ready(Ok(())));
        buffer
    }

    #[test]
    fn reads_mix_base_changes_and_zeroes_as_a_flat_disk_would() {
        let (mut disk, _) = disk();
        let mut expected: Vec<u8> = (0..SIZE).map(base_byte).collect();
        // A fixed sequence of writes and discards of many alignments (a linear congruence).
        let mut state = 12345u64;
        for round in 0..400u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let first = (state >> 33) % (SIZE / 512);
            let sectors = 1 + (state >> 13) % 40.min(SIZE / 512 - first);
            let range = (first * 512) as usize..((first + sectors) * 512) as usize;
            if round % 3 == 0 {
                assert_eq!(disk.discard(first * 512, sectors * 512), Poll::Ready(Ok(())));
                expected[range].fill(0);
            } else {
                let data = vec![round as u8; (sectors * 512) as usize];
                assert_eq!(disk.write(first * 512, &data), Poll::Ready(Ok(())));
                expected[range].fill(round as u8);
            }
            assert!(contents(&mut disk) == expected, "differs after round {round}");
        }
    }

    #[test]
    fn a_partial_write_waits_for_the_base_and_has_no_effect_before() {
        let (mut disk, is_waiting) = disk();
        is_waiting.store(true, Ordering::Relaxed);
        assert_eq!(disk.write(512, &[7; 8192]), Poll::Pending);
        assert_eq!(disk.discard(512, 512), Poll::Pending);
        assert_eq!(disk.data_bytes(), 0);
        is_waiting.store(false, Ordering::Relaxed);
        assert!(contents(&mut disk) == (0..SIZE).map(base_byte).collect::<Vec<_>>());
        assert_eq!(disk.write(512, &[7; 8192]), Poll::Ready(Ok(())));
        let after = contents(&mut disk);
        assert_eq!(
            (after[511], after[512], after[8703], after[8704]),
            (base_byte(511), 7, 7, base_byte(8704))
        );
    }

    #[test]
    fn whole_grains_are_written_and_read_back_without_the_base() {
        let (mut disk, is_waiting) = disk();
        is_waiting.store(true, Ordering::Relaxed);
        assert_eq!(disk.write(4096, &[3; 8192]), Poll::Ready(Ok(())));
        assert_eq!(disk.discard(16 * 1024, 8192), Poll::Ready(Ok(())));
        let mut buffer = [0xEE; 8192];
        assert_eq!(disk.read(4096, &mut buffer), Poll::Ready(Ok(())));
        assert!(buffer.iter().all(|byte| *byte == 3));
        assert_eq!(disk.read(16 * 1024, &mut buffer), Poll::Ready(Ok(())));
        assert!(buffer.iter().all(|byte| *byte == 0));
        assert_eq!(disk.read(8192, &mut buffer), Poll::Pending);
        assert_eq!(disk.data_bytes(), 8192);
    }

    #[test]
    fn ranges_past_the_end_are_refused() {
        let (mut disk, _) = disk();
        let error = Poll::Ready(Err(BlockError::OutOfRange { offset: SIZE, length: 512, size: SIZE }));
        assert_eq!(disk.read(SIZE, &mut [0; 512]), error);
        assert_eq!(disk.write(SIZE, &[0; 512]), error);
        assert_eq!(disk.discard(SIZE, 512), error);
    }
}
