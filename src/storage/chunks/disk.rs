//! A read-only disk whose chunks are fetched when they are first read.

use super::inbox::ChunkInbox;
use super::{CHUNK_BYTES, chunk_length};
use crate::host::{BlockError, BlockSource, Progress};
use crate::storage::check_range;
use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::task::Poll;

/// Least bytes kept: a read of a block device touches two chunks, and some of them are under way.
const KEPT_BYTES_MIN: u64 = 16 * CHUNK_BYTES;
/// Most fetches under way. What a browser fetches in parallel from one host is no more than six;
/// the others only wait in its queue, ahead of what the guest asks for next.
const FETCHES_MAX: usize = 6;
/// Chunks fetched ahead of a sequential read.
const READ_AHEAD_CHUNKS: u64 = 4;
/// Fetches under way at which reading ahead stops, to leave room for what the guest waits for.
const READ_AHEAD_FETCHES_MAX: usize = 4;
/// Sequential streams that are told apart.
const STREAMS_MAX: usize = 8;
/// Times that a chunk is fetched before its read fails.
const ATTEMPTS_MAX: u32 = 3;

/// What fetches the chunks of a [`ChunkedDisk`] disk.
pub trait ChunkFetcher: Send {
    /// Starts to fetch chunk `index`, and returns at once.
    ///
    /// The outcome goes to the disk's [`ChunkInbox`], now or later, and then the machine has to be
    /// told that its storage has progressed. Every request needs one outcome. A fetcher may deliver
    /// chunks before they are requested; one that is delivered between two looks of the disk may
    /// still be requested.
    fn request(&mut self, index: u64);
}

struct Chunk {
    bytes: Vec<u8>,
    /// The read that used it last, or that asked for it.
    last_used: u64,
    /// Whether a read waited for it and has not come back yet.
    is_awaited: bool,
}

/// The failures of a chunk since it was last fetched well.
struct Failure {
    attempts: u32,
    reason: String,
}

/// A read-only disk of chunks that a [`ChunkFetcher`] brings.
///
/// A read whose chunks are not all at hand starts their fetches and waits. Chunks are kept up to a
/// bound in bytes; the least recently used goes first. Reads in ascending order fetch some chunks
/// ahead. A chunk that fails three times fails the read; the next read tries anew. Chunks of which the
/// image's manifest says that they are all zeroes are never fetched.
pub struct ChunkedDisk {
    size: u64,
    fetcher: Box<dyn ChunkFetcher>,
    inbox: ChunkInbox,
    kept_bytes_max: u64,
    kept_bytes: u64,
    chunks: BTreeMap<u64, Chunk>,
    /// Chunks under way, and whether a read waits for them.
    fetching: BTreeMap<u64, bool>,
    failures: BTreeMap<u64, Failure>,
    /// Counts reads, as the time of "recently used".
    reads: u64,
    /// Where recent reads ended, the latest last: a read from there goes on with its stream.
    stream_ends: VecDeque<u64>,
}

impl ChunkedDisk {
    /// A disk of `size` bytes, a multiple of 512, whose chunks `fetcher` delivers to `inbox`. At
    /// most `kept_bytes_max` bytes of them are kept, but never less than 4 MiB; chunks that a read
    /// waits for may take as much again.
    pub fn new(size: u64, fetcher: Box<dyn ChunkFetcher>, inbox: ChunkInbox, kept_bytes_max: u64) -> Self {
        Self {
            size: size / 512 * 512,
            fetcher,
            inbox,
            kept_bytes_max: kept_bytes_max.max(KEPT_BYTES_MIN),
            kept_bytes: 0,
            chunks: BTreeMap::new(),
            fetching: BTreeMap::new(),
            failures: BTreeMap::new(),
            reads: 0,
            stream_ends: VecDeque::new(),
        }
    }

    /// Bytes of the chunks that are kept.
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Fetches that are under way.
    pub fn fetches(&self) -> usize {
        self.fetching.len()
    }

    /// Whether chunk `index` has no bytes anywhere because all of them are zero.
    fn is_zero(&self, index: u64) -> bool {
        self.inbox.manifest().is_some_and(|manifest| manifest.location(index).is_none())
    }

    /// Takes in what has been delivered.
    fn accept_deliveries(&mut self) {
        for (index, outcome) in self.inbox.take() {
            let is_awaited = match self.fetching.remove(&index) {
                Some(is_awaited) => is_awaited,
                // Fetched ahead. What the disk has already is as good.
                None if outcome.is_ok() && !self.chunks.contains_key(&index) => false,
                None => continue,
            };
            let expected = chunk_length(self.size, index);
            let outcome = match outcome {
                Ok(bytes) if bytes.len() as u64 != expected => {
                    Err(format!("it has {} bytes instead of {expected}", bytes.len()))
                }
                other => other,
            };
            match outcome {
                Ok(bytes) => {
                    self.failures.remove(&index);
                    self.kept_bytes += bytes.len() as u64;
                    let replaced =
                        self.chunks.insert(index, Chunk { bytes, last_used: self.reads, is_awaited });
                    self.kept_bytes -= replaced.map_or(0, |chunk| chunk.bytes.len() as u64);
                }
                Err(reason) => {
                    log::warn!("chunk {index} could not be fetched: {reason}");
                    let attempts = self.failures.get(&index).map_or(0, |failure| failure.attempts) + 1;
                    self.failures.insert(index, Failure { attempts, reason });
                }
            }
        }
    }

    /// Drops the least recently used chunks beyond `kept_bytes_max`. Chunks that a read waits for go
    /// only at twice the bound: dropping them sooner would have them fetched again and again, keeping
    /// them for ever would let a guest that resets its disk pin the whole image.
    fn evict(&mut self, kept_bytes_max: u64) {
        while self.kept_bytes > kept_bytes_max {
            let spares_awaited = self.kept_bytes <= kept_bytes_max.saturating_mul(2);
            let oldest = self
                .chunks
                .iter()
                .filter(|(_, chunk)| !(spares_awaited && chunk.is_awaited))
                .min_by_key(|(_, chunk)| (chunk.is_awaited, chunk.last_used))
                .map(|(index, _)| *index);
            let Some(chunk) = oldest.and_then(|index| self.chunks.remove(&index)) else { return };
            self.kept_bytes -= chunk.bytes.len() as u64;
        }
    }

    /// Starts to fetch chunk `index`, unless it is under way or `fetches_max` others are. A fetch put
    /// off starts when its read asks again, which it does after one of the others.
    fn fetch(&mut self, index: u64, is_awaited: bool, fetches_max: usize) {
        if let Some(is_already_awaited) = self.fetching.get_mut(&index) {
            *is_already_awaited |= is_awaited;
        } else if self.fetching.len() < fetches_max {
            self.fetching.insert(index, is_awaited);
            self.fetcher.request(index);
        }
    }

    /// Asks for those of `wanted` that are missing. Tells whether none is.
    ///
    /// # Errors
    /// When one of them has failed too often.
    fn gather(&mut self, wanted: &RangeInclusive<u64>) -> Result<bool, BlockError> {
        // A read larger than the bound must still find all its chunks at hand at once.
        let wanted_bytes = (wanted.end() - wanted.start() + 1).saturating_mul(CHUNK_BYTES);
        let kept_bytes_max = self.kept_bytes_max.max(wanted_bytes);
        // The loop repeats for a fetcher that delivers at once. A chunk that fails does so
        // `ATTEMPTS_MAX` times at most.
        loop {
            self.accept_deliveries();
            for (_, chunk) in self.chunks.range_mut(wanted.clone()) {
                chunk.last_used = self.reads;
            }
            self.evict(kept_bytes_max);
            let mut is_missing = false;
            for index in wanted.clone() {
                if self.chunks.contains_key(&index) || self.is_zero(index) {
                    continue;
                }
                is_missing = true;
                if self.failures.get(&index).is_some_and(|failure| failure.attempts >= ATTEMPTS_MAX)
                    && let Some(failure) = self.failures.remove(&index)
                {
                    return Err(BlockError::Host(format!(
                        "chunk {index} could not be fetched in {ATTEMPTS_MAX} attempts: {}",
                        failure.reason
                    )));
                }
                self.fetch(index, true, FETCHES_MAX);
            }
            if !is_missing || self.inbox.is_empty() {
                return Ok(!is_missing);
            }
        }
    }

    /// Fetches some chunks after `last` if the read from `offset` to `end` goes on where another
    /// ended.
    fn read_ahead(&mut self, offset: u64, end: u64, last: u64) {
        let stream = self.stream_ends.iter().position(|stream_end| *stream_end == offset);
        if let Some(stream) = stream {
            self.stream_ends.remove(stream);
        }
        // A read that had to wait asks again with the same end.
        if !self.stream_ends.contains(&end) {
            self.stream_ends.push_back(end);
        }
        if self.stream_ends.len() > STREAMS_MAX {
            self.stream_ends.pop_front();
        }
        if stream.is_none() {
            return;
        }
        let chunk_count = self.size.div_ceil(CHUNK_BYTES);
        for index in (last + 1..chunk_count).take(READ_AHEAD_CHUNKS as usize) {
            // What failed is left to a read that needs it.
            let is_known = self.chunks.contains_key(&index) || self.failures.contains_key(&index);
            if !is_known && !self.is_zero(index) {
                self.fetch(index, false, READ_AHEAD_FETCHES_MAX);
            }
        }
    }

    /// Copies from the chunks, which are all at hand or zero.
    fn copy(&mut self, offset: u64, buffer: &mut [u8], wanted: RangeInclusive<u64>) {
        let end = offset + buffer.len() as u64;
        if wanted.clone().any(|index| self.is_zero(index)) {
            buffer.fill(0);
        }
        for (index, chunk) in self.chunks.range_mut(wanted) {
            chunk.is_awaited = false;
            let chunk_start = index * CHUNK_BYTES;
            let from = offset.max(chunk_start);
            let to = end.min(chunk_start + chunk.bytes.len() as u64);
            let source = chunk.bytes.get((from - chunk_start) as usize..(to - chunk_start) as usize);
            let target = buffer.get_mut((from - offset) as usize..(to - offset) as usize);
            if let (Some(source), Some(target)) = (source, target) {
                target.copy_from_slice(source);
            }
        }
    }
}

impl BlockSource for ChunkedDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn image(&self) -> Option<[u8; 32]> {
        self.inbox.manifest().map(|manifest| manifest.image().0)
    }

    fn is_read_only(&self) -> bool {
        true
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        check_range(offset, buffer.len() as u64, self.size)?;
        if buffer.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let end = offset + buffer.len() as u64;
        let wanted = offset / CHUNK_BYTES..=(end - 1) / CHUNK_BYTES;
        self.reads += 1;
        let is_at_hand = self.gather(&wanted)?;
        self.read_ahead(offset, end, *wanted.end());
        if !is_at_hand {
            return Poll::Pending;
        }
        self.copy(offset, buffer, wanted);
        Poll::Ready(Ok(()))
    }

    fn write(&mut self, _offset: u64, _data: &[u8]) -> Progress {
        Poll::Ready(Err(BlockError::ReadOnly))
    }

    fn flush(&mut self) -> Progress {
        Poll::Ready(Ok(()))
    }

    fn discard(&mut self, _offset: u64, _length: u64) -> Progress {
        Poll::Ready(Err(BlockError::ReadOnly))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Digest, Manifest};
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};
    use serde_json::json;
    use std::sync::{Arc, Mutex};

    const LAST_BYTES: u64 = 1024;
    const SIZE: u64 = 40 * CHUNK_BYTES + LAST_BYTES;

    type Outcome = fn(u64) -> Result<Vec<u8>, String>;

    /// Remembers what was asked of it; with `instant`, delivers at once.
    struct Fetcher {
        requests: Arc<Mutex<Vec<u64>>>,
        instant: Option<(ChunkInbox, Outcome)>,
    }

    impl ChunkFetcher for Fetcher {
        fn request(&mut self, index: u64) {
            self.requests.lock().unwrap().push(index);
            if let Some((inbox, outcome)) = &self.instant {
                match outcome(index) {
                    Ok(bytes) => inbox.complete(index, bytes).unwrap(),
                    Err(reason) => inbox.fail(index, reason),
                }
            }
        }
    }

    struct Bench {
        disk: ChunkedDisk,
        inbox: ChunkInbox,
        requests: Arc<Mutex<Vec<u64>>>,
    }

    fn bench(instant: Option<Outcome>) -> Bench {
        let (inbox, requests) = (ChunkInbox::default(), Arc::<Mutex<Vec<u64>>>::default());
        let instant = instant.map(|outcome| (inbox.clone(), outcome));
        let fetcher = Fetcher { requests: requests.clone(), instant };
        let disk = ChunkedDisk::new(SIZE, Box::new(fetcher), inbox.clone(), 0);
        Bench { disk, inbox, requests }
    }

    fn chunk(index: u64) -> Vec<u8> {
        let length = if index == 40 { LAST_BYTES } else { CHUNK_BYTES };
        (0..length).map(|at| (at / 512) as u8 ^ index as u8).collect()
    }

    impl Bench {
        fn requested(&self) -> Vec<u64> {
            std::mem::take(&mut *self.requests.lock().unwrap())
        }

        fn deliver(&self, index: u64) {
            self.inbox.complete(index, chunk(index)).unwrap();
        }

        fn read(&mut self, offset: u64, length: usize) -> Poll<Result<Vec<u8>, BlockError>> {
            let mut buffer = vec![0xEE; length];
            self.disk.read(offset, &mut buffer).map_ok(|()| buffer)
        }
    }

    #[test]
    fn a_read_across_chunks_waits_for_both_and_fetches_each_once() {
        let mut bench = bench(None);
        let offset = 6 * CHUNK_BYTES - 512;
        assert_eq!(bench.read(offset, 1024), Poll::Pending);
        assert_eq!(bench.read(offset, 1024), Poll::Pending);
        assert_eq!(bench.requested(), [5, 6]);
        bench.deliver(6);
        assert_eq!(bench.read(offset, 1024), Poll::Pending);
        bench.deliver(5);
        let expected = [&chunk(5)[CHUNK_BYTES as usize - 512..], &chunk(6)[..512]].concat();
        assert_eq!(bench.read(offset, 1024), Poll::Ready(Ok(expected)));
        assert!(bench.requested().is_empty());
    }

    #[test]
    fn the_last_chunk_is_short() {
        let mut bench = bench(Some(|index| Ok(chunk(index))));
        assert_eq!(bench.read(40 * CHUNK_BYTES, 1024), Poll::Ready(Ok(chunk(40))));
        let beyond = BlockError::OutOfRange { offset: 40 * CHUNK_BYTES, length: 1536, size: SIZE };
        assert_eq!(bench.read(40 * CHUNK_BYTES, 1536), Poll::Ready(Err(beyond)));
    }

    #[test]
    fn chunks_may_be_delivered_by_another_thread() {
        let mut bench = bench(None);
        assert_eq!(bench.read(0, 512), Poll::Pending);
        let inbox = bench.inbox.clone();
        std::thread::spawn(move || inbox.complete(0, chunk(0)).unwrap()).join().unwrap();
        assert_eq!(bench.read(0, 512), Poll::Ready(Ok(chunk(0)[..512].to_vec())));
    }

    #[test]
    fn a_chunk_that_fails_three_times_fails_its_read_and_the_next_read_tries_anew() {
        let mut bench = bench(None);
        for _ in 0..ATTEMPTS_MAX {
            assert_eq!(bench.read(512, 512), Poll::Pending);
            assert_eq!(bench.requested(), [0]);
            bench.inbox.fail(0, "the network is down".to_owned());
        }
        let Poll::Ready(Err(BlockError::Host(reason))) = bench.read(512, 512) else {
            panic!("the read did not fail");
        };
        assert!(reason.contains("chunk 0") && reason.contains("the network is down"), "{reason}");
        assert_eq!(bench.read(512, 512), Poll::Pending);
        bench.deliver(0);
        assert_eq!(bench.read(512, 512), Poll::Ready(Ok(chunk(0)[512..1024].to_vec())));
    }

    #[test]
    fn a_fetcher_that_fails_at_once_does_not_hang_the_read() {
        let mut bench = bench(Some(|_| Err("no such file".to_owned())));
        assert!(matches!(bench.read(0, 512), Poll::Ready(Err(BlockError::Host(_)))));
        assert_eq!(bench.requested(), [0, 0, 0]);
    }

    #[test]
    fn a_chunk_of_the_wrong_length_is_a_failure() {
        let mut bench = bench(None);
        assert_eq!(bench.read(0, 512), Poll::Pending);
        bench.inbox.complete(0, vec![1; 512]).unwrap();
        assert_eq!(bench.read(0, 512), Poll::Pending);
        assert_eq!(bench.requested(), [0, 0]);
        assert_eq!(bench.disk.kept_bytes(), 0);
    }

    #[test]
    fn chunks_that_come_before_they_are_asked_for_are_kept_and_not_asked_for() {
        let mut bench = bench(None);
        bench.deliver(9);
        bench.deliver(9);
        bench.inbox.fail(8, "nobody waits for it".to_owned());
        assert_eq!(bench.read(9 * CHUNK_BYTES, 512), Poll::Ready(Ok(chunk(9)[..512].to_vec())));
        assert_eq!(bench.disk.kept_bytes(), CHUNK_BYTES);
        assert!(bench.requested().is_empty());
        assert_eq!(bench.read(8 * CHUNK_BYTES, 512), Poll::Pending);
        assert_eq!(bench.requested(), [8]);
    }

    #[test]
    fn chunks_of_zeroes_are_never_fetched() {
        let packed = compress_to_vec([5; CHUNK_BYTES as usize].as_slice(), CompressionLevel::Fastest);
        let manifest = json!({
            "format": "dinghy-chunks", "version": 1, "size": 3 * CHUNK_BYTES, "chunkBytes": CHUNK_BYTES,
            "image": "00".repeat(32), "packs": ["a"], "prefetch": [],
            "chunks": [[1, 0, 0, packed.len(), Digest::of(&packed).to_string()]],
        });
        let manifest = Arc::new(Manifest::parse(manifest.to_string().as_bytes()).unwrap());
        let requests = Arc::<Mutex<Vec<u64>>>::default();
        let inbox = ChunkInbox::of_image(manifest);
        let fetcher = Fetcher { requests: requests.clone(), instant: None };
        let mut disk = ChunkedDisk::new(3 * CHUNK_BYTES, Box::new(fetcher), inbox.clone(), 0);
        let mut buffer = vec![0xEE; 3 * CHUNK_BYTES as usize];
        assert_eq!(disk.read(2 * CHUNK_BYTES, &mut buffer[..512]), Poll::Ready(Ok(())));
        assert_eq!(buffer[..512], [0; 512]);
        assert_eq!(disk.read(0, &mut buffer), Poll::Pending);
        assert_eq!(*requests.lock().unwrap(), [1]);
        assert!(inbox.complete(1, packed[1..].to_vec()).is_err());
        inbox.complete(1, packed).unwrap();
        assert_eq!(disk.read(0, &mut buffer), Poll::Ready(Ok(())));
        let expected = [0, 5, 0].map(|byte| vec![byte; CHUNK_BYTES as usize]).concat();
        assert!(buffer == expected);
    }

    #[test]
    fn the_least_recently_used_chunks_go_first() {
        let mut bench = bench(Some(|index| Ok(chunk(index))));
        for index in 0..16 {
            assert!(bench.read(index * CHUNK_BYTES + 512, 512).is_ready());
        }
        assert!(bench.read(512, 512).is_ready());
        assert_eq!(bench.disk.kept_bytes(), KEPT_BYTES_MIN);
        bench.requested();
        assert!(bench.read(20 * CHUNK_BYTES, 512).is_ready());
        assert_eq!(bench.disk.kept_bytes(), KEPT_BYTES_MIN);
        assert!(bench.read(512, 512).is_ready());
        assert_eq!(bench.requested(), [20]);
        assert!(bench.read(CHUNK_BYTES + 512, 512).is_ready());
        assert_eq!(bench.requested(), [1]);
    }

    #[test]
    fn sequential_reads_fetch_ahead_and_scattered_ones_do_not() {
        let mut bench = bench(None);
        for index in [3, 30, 12] {
            assert_eq!(bench.read(index * CHUNK_BYTES, 512), Poll::Pending);
            bench.deliver(index);
            assert!(bench.read(index * CHUNK_BYTES, 512).is_ready());
        }
        assert_eq!(bench.requested(), [3, 30, 12]);
        assert!(bench.read(3 * CHUNK_BYTES + 512, 4096).is_ready());
        assert_eq!(bench.requested(), [4, 5, 6, 7]);
        for index in 4..8 {
            bench.deliver(index);
        }
        assert!(bench.read(4 * CHUNK_BYTES, 512).is_ready());
        assert!(bench.requested().is_empty());
    }

    #[test]
    fn fetches_beyond_the_limit_start_as_others_end() {
        let mut bench = bench(None);
        for index in 0..10 {
            assert_eq!(bench.read(index * CHUNK_BYTES + 512, 512), Poll::Pending);
        }
        assert_eq!(bench.requested(), [0, 1, 2, 3, 4, 5]);
        bench.deliver(3);
        for index in 0..10 {
            assert_eq!(bench.read(index * CHUNK_BYTES + 512, 512).is_ready(), index == 3);
        }
        assert_eq!(bench.requested(), [6]);
        assert_eq!(bench.disk.fetches(), FETCHES_MAX);
    }

    #[test]
    fn a_read_larger_than_the_bound_succeeds() {
        let mut bench = bench(Some(|index| Ok(chunk(index))));
        let Poll::Ready(Ok(all)) = bench.read(0, SIZE as usize) else { panic!("the read did not succeed") };
        assert!(all == (0..=40).flat_map(chunk).collect::<Vec<_>>());
    }

    #[test]
    fn chunks_that_nobody_comes_back_for_stay_within_twice_the_bound() {
        let mut bench = bench(None);
        for index in 0..40 {
            assert_eq!(bench.read(index * CHUNK_BYTES, 512), Poll::Pending);
            bench.deliver(index);
        }
        assert!(bench.disk.kept_bytes() <= 2 * KEPT_BYTES_MIN);
        assert!(bench.disk.kept_bytes() > KEPT_BYTES_MIN);
    }

    #[test]
    fn it_takes_no_writes() {
        let mut bench = bench(None);
        assert_eq!(bench.disk.write(0, &[0; 512]), Poll::Ready(Err(BlockError::ReadOnly)));
        assert_eq!(bench.disk.discard(0, 512), Poll::Ready(Err(BlockError::ReadOnly)));
    }
}
