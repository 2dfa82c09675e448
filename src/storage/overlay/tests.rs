//! An overlay against a plain array of bytes, with crashes at every place.

use super::*;
use crate::storage::MemoryDisk;
use crate::storage::test_file::TestFile;

/// No whole number of grains, so that the last one is short.
const SIZE: u64 = 64 * 4096 + 512;

/// A linear congruence: the same tests each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn base_bytes() -> Vec<u8> {
    (0..SIZE).map(|at| (at / 512) as u8 ^ at as u8 | 1).collect()
}

fn base() -> Box<dyn BlockSource> {
    let mut disk = MemoryDisk::new(SIZE);
    assert_eq!(disk.write(0, &base_bytes()), Poll::Ready(Ok(())));
    Box::new(disk)
}

fn open(file: &TestFile) -> Result<PersistentDisk, OverlayError> {
    PersistentDisk::open(base(), Box::new(file.clone()), Digest::of(b"image"))
}

fn contents(disk: &mut PersistentDisk) -> Vec<u8> {
    let mut buffer = vec![0xEE; SIZE as usize];
    assert_eq!(disk.read(0, &mut buffer), Poll::Ready(Ok(())));
    buffer
}

/// One random change to both.
fn change(random: &mut Random, disk: &mut PersistentDisk, model: &mut [u8]) -> Result<(), BlockError> {
    let first = random.below(SIZE / 512);
    let sectors = 1 + random.below(40.min(SIZE / 512 - first));
    let (offset, length) = (first * 512, sectors * 512);
    let range = offset as usize..(offset + length) as usize;
    let progress = if random.below(5) == 0 {
        model[range].fill(0);
        disk.discard(offset, length)
    } else {
        let data: Vec<u8> = (0..length).map(|_| random.below(256) as u8).collect();
        model[range].copy_from_slice(&data);
        disk.write(offset, &data)
    };
    match progress {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("the base does not wait"),
    }
}

#[test]
fn it_shows_what_a_plain_disk_would_also_after_reopening() {
    let file = TestFile::default();
    let (mut disk, mut model, mut random) = (open(&file).unwrap(), base_bytes(), Random(1));
    for round in 0..3000 {
        change(&mut random, &mut disk, &mut model).unwrap();
        match random.below(8) {
            0 => assert_eq!(disk.flush(), Poll::Ready(Ok(()))),
            1 => disk.stage().unwrap(),
            _ => {}
        }
        if round % 50 == 0 {
            assert!(contents(&mut disk) == model, "differs after round {round}");
        }
        if round % 300 == 0 {
            assert_eq!(disk.flush(), Poll::Ready(Ok(())));
            disk = open(&file).unwrap();
            assert!(contents(&mut disk) == model, "differs when reopened after round {round}");
        }
    }
    // 65 grains, twice over for a batch, and a log that is shortened now and then.
    assert!(disk.file_bytes() < 400 * 4096, "{} bytes", disk.file_bytes());
}

#[test]
fn a_crash_leaves_the_last_flush_or_the_one_under_way() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let file = TestFile::default();
        let mut disk = open(&file).unwrap();
        let (mut model, mut flushed) = (base_bytes(), base_bytes());
        let flushes = random.below(120);
        for _ in 0..flushes {
            for _ in 0..1 + random.below(3) {
                change(&mut random, &mut disk, &mut model).unwrap();
                if random.below(4) == 0 {
                    disk.stage().unwrap();
                }
            }
            assert_eq!(disk.flush(), Poll::Ready(Ok(())));
            flushed.clone_from(&model);
        }
        // A flush is cut short: the file's own flush does not come back.
        for _ in 0..1 + random.below(4) {
            change(&mut random, &mut disk, &mut model).unwrap();
        }
        file.set_flush_fails(true);
        let _ = disk.flush();
        for _ in 0..20 {
            let kind = random.below(3);
            let whole = random.below(100);
            let left = file.after_crash(|_| match (kind, random.below(100) < whole) {
                (0, true) | (1, true) => Some(usize::MAX),
                (1, false) => None,
                // Cut short at any byte.
                _ => Some(random.below(5000) as usize),
            });
            let mut again = open(&left).unwrap();
            let found = contents(&mut again);
            assert!(found == flushed || found == model, "seed {seed}: neither the one state nor the other");
            // It goes on from there, and a further crash does not bring the dropped batch back.
            let mut model = found;
            change(&mut random, &mut again, &mut model).unwrap();
            assert_eq!(again.flush(), Poll::Ready(Ok(())));
            drop(again);
            assert!(contents(&mut open(&left.after_crash(|_| None)).unwrap()) == model, "seed {seed}");
        }
    }
}

#[test]
fn cutting_the_file_off_costs_only_what_lay_behind_the_cut() {
    let file = TestFile::default();
    let (mut disk, mut model, mut random) = (open(&file).unwrap(), base_bytes(), Random(3));
    let mut states = vec![base_bytes()];
    for _ in 0..6 {
        change(&mut random, &mut disk, &mut model).unwrap();
        assert_eq!(disk.flush(), Poll::Ready(Ok(())));
        states.push(model.clone());
    }
    let bytes = file.bytes();
    for cut in (0..bytes.len()).step_by(97) {
        match open(&TestFile::of(bytes[..cut].to_vec())) {
            // Blocks that were superseded are used again, so an older state may lack some: that is an error.
            Ok(mut disk) => {
                let mut buffer = vec![0; SIZE as usize];
                if disk.read(0, &mut buffer) == Poll::Ready(Ok(())) {
                    assert!(states.contains(&buffer), "cut at {cut}");
                }
            }
            Err(error) => assert!(matches!(error, OverlayError::NoOverlay), "{error}"),
        }
    }
}

#[test]
fn a_damaged_byte_is_never_taken_for_data() {
    let file = TestFile::default();
    let (mut disk, mut model, mut random) = (open(&file).unwrap(), base_bytes(), Random(4));
    let mut states = vec![base_bytes()];
    for _ in 0..4 {
        change(&mut random, &mut disk, &mut model).unwrap();
        assert_eq!(disk.flush(), Poll::Ready(Ok(())));
        states.push(model.clone());
    }
    let bytes = file.bytes();
    for at in (0..bytes.len()).step_by(53) {
        let damaged = TestFile::of(bytes.clone());
        damaged.damage(at);
        let Ok(mut disk) = open(&damaged) else { continue };
        for offset in (0..SIZE - 512).step_by(4096) {
            let mut buffer = vec![0; 512];
            let range = offset as usize..offset as usize + 512;
            if disk.read(offset, &mut buffer) == Poll::Ready(Ok(())) {
                assert!(states.iter().any(|state| state[range.clone()] == buffer), "damage at {at}");
            }
        }
    }
}

#[test]
fn hostile_files_are_refused_or_read_without_a_panic() {
    let file = TestFile::default();
    let (mut disk, mut model, mut random) = (open(&file).unwrap(), base_bytes(), Random(5));
    for _ in 0..10 {
        change(&mut random, &mut disk, &mut model).unwrap();
        assert_eq!(disk.flush(), Poll::Ready(Ok(())));
    }
    let bytes = file.bytes();
    for _ in 0..300 {
        let mut hostile = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(hostile.len() as u64) as usize;
            hostile[at] = random.below(256) as u8;
        }
        // With checksums that are right, so that the numbers themselves are looked at.
        for block in hostile.chunks_exact_mut(4096) {
            let (at, from) = if block.starts_with(b"dinghyOv") { (12, 16) } else { (4, 8) };
            if block.starts_with(b"dinghyOv") || block.starts_with(b"dgOL") {
                let checksum = crc32fast::hash(&block[from..]);
                block[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
            }
        }
        if let Ok(mut disk) = open(&TestFile::of(hostile)) {
            let _ = disk.read(0, &mut vec![0; SIZE as usize]);
            let _ = change(&mut random, &mut disk, &mut model);
            let _ = disk.flush();
        }
    }
}

#[test]
fn a_full_host_is_an_error_that_loses_nothing_flushed() {
    let file = TestFile::default();
    let mut disk = open(&file).unwrap();
    let mut model = base_bytes();
    model[..8192].fill(1);
    assert_eq!(disk.write(0, &[1; 8192]), Poll::Ready(Ok(())));
    assert_eq!(disk.flush(), Poll::Ready(Ok(())));
    file.set_room(disk.file_bytes() + 4096);
    assert_eq!(disk.write(8192, &[2; 40960]), Poll::Ready(Ok(())));
    let Poll::Ready(Err(BlockError::Host(message))) = disk.flush() else { panic!("the flush did not fail") };
    assert!(message.contains("quota"), "{message}");
    // The machine still sees what it wrote; who opens the file sees what was flushed.
    let mut now = model.clone();
    now[8192..8192 + 40960].fill(2);
    assert!(contents(&mut disk) == now);
    assert!(contents(&mut open(&TestFile::of(file.bytes())).unwrap()) == model);
    // With room again, the same flush succeeds.
    file.set_room(u64::MAX);
    assert_eq!(disk.flush(), Poll::Ready(Ok(())));
    assert!(contents(&mut open(&TestFile::of(file.bytes())).unwrap()) == now);
}

#[test]
fn another_image_or_another_file_is_named() {
    let file = TestFile::default();
    drop(open(&file).unwrap());
    let other = PersistentDisk::open(base(), Box::new(file.clone()), Digest::of(b"another"));
    assert_eq!(other.err(), Some(OverlayError::OtherImage));
    let text = TestFile::of(vec![b'x'; 70_000]);
    assert_eq!(open(&text).err(), Some(OverlayError::NoOverlay));
    assert!(open(&TestFile::default()).is_ok());
}

#[test]
fn discarding_gives_room_in_the_file_back() {
    let file = TestFile::default();
    let mut disk = open(&file).unwrap();
    for round in 0..50u8 {
        assert_eq!(disk.write(0, &[round; 32 * 4096]), Poll::Ready(Ok(())));
        assert_eq!(disk.flush(), Poll::Ready(Ok(())));
        assert_eq!(disk.discard(0, 32 * 4096), Poll::Ready(Ok(())));
        assert_eq!(disk.flush(), Poll::Ready(Ok(())));
    }
    assert!(disk.file_bytes() < 200 * 4096, "{} bytes", disk.file_bytes());
    let bytes = disk.file_bytes();
    let mut again = open(&file).unwrap();
    assert!(again.file_bytes() <= bytes);
}

#[test]
fn a_snapshot_takes_all_changes_flushed_or_not() {
    let file = TestFile::default();
    let mut disk = open(&file).unwrap();
    assert!(!disk.has_changes());
    assert_eq!(disk.write(4096, &[1; 3 * 4096]), Poll::Ready(Ok(())));
    assert_eq!(disk.flush(), Poll::Ready(Ok(())));
    let mut disk = open(&file).unwrap();
    assert!(disk.has_changes());
    // Newer than what is in the file, and over it.
    assert_eq!(disk.discard(4096, 4096), Poll::Ready(Ok(())));
    assert_eq!(disk.write(8192, &[2; 512]), Poll::Ready(Ok(())));

    let mut restored = open(&TestFile::default()).unwrap();
    let mut shown = std::collections::BTreeSet::new();
    let visited = disk.visit_changes(&mut |change| {
        let (offset, outcome) = match change {
            DiskChange::Data(offset, data) => (offset, restored.write(offset, data)),
            DiskChange::Zeroes(offset, length) => (offset, restored.discard(offset, length)),
        };
        assert_eq!(outcome, Poll::Ready(Ok(())));
        assert!(shown.insert(offset), "byte {offset} is shown twice");
    });
    assert_eq!(visited, Ok(()));
    assert!(contents(&mut restored) == contents(&mut disk));
}
