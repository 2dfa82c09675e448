use super::*;
use crate::storage::test_file::TestFile;

const PAGES: u64 = 64;

fn memory(contents: &[(u64, u8)]) -> GuestMemory {
    let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
    for (page, byte) in contents {
        memory.write(GuestPhysAddr(page * PAGE_SIZE), &[*byte; BLOCK_LENGTH]).unwrap();
    }
    memory
}

fn bytes_of(memory: &GuestMemory) -> Vec<u8> {
    let mut bytes = vec![0; memory.size() as usize];
    memory.read(GuestPhysAddr(0), &mut bytes).unwrap();
    bytes
}

fn state(number: u64) -> KeptState {
    let marks = vec![Some(DiskMark([1, number, 7])), None];
    KeptState { marks, configuration: vec![1; 100], state: vec![number as u8; 5000] }
}

/// RAM of a machine at step `number`: some pages stay, some change, some become zero.
fn at_step(number: u64) -> GuestMemory {
    let changing = (0..9).map(|at| ((number * 5 + at * 7) % PAGES, (number + at) as u8));
    memory(&changing.chain([(3, 200), (4, 201)]).collect::<Vec<_>>())
}

fn open(file: &TestFile) -> KeptFile {
    KeptFile::open(Box::new(file.clone())).unwrap()
}

/// What a file gives when it is opened anew.
fn restored(file: &TestFile) -> Option<(KeptState, Vec<u8>)> {
    let mut kept = open(file);
    let state = kept.state()?;
    let memory = memory(&[]);
    kept.apply_pages(&memory).unwrap();
    Some((state, bytes_of(&memory)))
}

#[test]
fn the_newest_state_is_found_again_and_only_what_changed_is_written() {
    let file = TestFile::default();
    assert!(open(&file).state().is_none());
    let mut kept = open(&file);
    for step in 0..40 {
        let memory = at_step(step);
        kept.keep(state(step), &memory).unwrap();
        assert_eq!(kept.keep(state(step), &memory).unwrap(), 0, "nothing has changed");
        assert_eq!(restored(&file), Some((state(step), bytes_of(&memory))));
    }
    // Two states at most, with their indices, and the headers.
    assert!(file.bytes().len() < 40 * BLOCK_LENGTH, "{} bytes", file.bytes().len());
    kept.clear().unwrap();
    assert_eq!(restored(&file), None);
    assert_eq!(file.bytes().len(), 0);
}

#[test]
fn a_crash_leaves_the_last_state_or_the_one_that_was_under_way() {
    for seed in 0..300_usize {
        let file = TestFile::default();
        let mut kept = open(&file);
        for step in 0..4 {
            kept.keep(state(step), &at_step(step)).unwrap();
        }
        file.set_flush_fails(true);
        assert!(kept.keep(state(4), &at_step(4)).is_err());
        let chance = |number: usize| (seed * 2_654_435_761 + number * 40_503) >> 5;
        let left = file.after_crash(|number| match chance(number) % 4 {
            0 => None,
            1 => Some(chance(number + 1) % (8 * BLOCK_LENGTH)),
            _ => Some(usize::MAX),
        });
        let found = restored(&left);
        let state_at = |step| Some((state(step), bytes_of(&at_step(step))));
        assert!(found == state_at(3) || found == state_at(4), "seed {seed}");
    }
}

#[test]
fn a_state_that_finds_no_room_leaves_the_one_before() {
    let file = TestFile::default();
    let mut kept = open(&file);
    kept.keep(state(1), &at_step(1)).unwrap();
    file.set_room(file.bytes().len() as u64 + 3 * BLOCK_BYTES);
    assert!(matches!(kept.keep(state(2), &at_step(2)), Err(SnapshotError::Output(_))));
    assert_eq!(restored(&file), Some((state(1), bytes_of(&at_step(1)))));
    file.set_room(u64::MAX);
    kept.keep(state(3), &at_step(3)).unwrap();
    assert_eq!(restored(&file), Some((state(3), bytes_of(&at_step(3)))));
}

#[test]
fn damage_is_noticed() {
    let file = TestFile::default();
    let mut kept = open(&file);
    kept.keep(state(1), &at_step(1)).unwrap();
    kept.keep(state(2), &at_step(2)).unwrap();
    let whole = file.bytes();
    let right = [1, 2].map(|step| (state(step), bytes_of(&at_step(step))));
    for at in (0..whole.len()).step_by(61) {
        let damaged = TestFile::of(whole.clone());
        damaged.damage(at);
        let mut kept = open(&damaged);
        let memory = memory(&[]);
        let Some(state) = kept.state() else { continue };
        if kept.apply_pages(&memory).is_ok() {
            assert!(right.contains(&(state, bytes_of(&memory))), "byte {at}");
        }
    }
}

#[test]
fn what_another_version_kept_is_none() {
    let file = TestFile::default();
    open(&file).keep(state(1), &at_step(1)).unwrap();
    let mut bytes = file.bytes();
    for place in [0, BLOCK_LENGTH] {
        bytes[place + 12] ^= 1;
        let checksum = crc32fast::hash(&bytes[place..place + 64]);
        bytes[place + 64..place + 68].copy_from_slice(&checksum.to_le_bytes());
    }
    assert_eq!(restored(&TestFile::of(bytes)), None);
}

/// A file of four blocks more, whose index has right digests and says what it likes.
fn hostile(pages: Vec<KeptPage>, index_at: u32, index_bytes: Option<u32>) -> TestFile {
    let index = Index { pages, ..Index::default() };
    let bytes = postcard::to_stdvec(&index).unwrap();
    let header = Header {
        generation: 2,
        index: (index_at, index_bytes.unwrap_or(bytes.len() as u32)),
        digest: Sha256::digest(&bytes).into(),
    };
    let mut file = vec![0; 6 * BLOCK_LENGTH];
    file[..BLOCK_LENGTH].copy_from_slice(&header.encode());
    file[2 * BLOCK_LENGTH..][..bytes.len()].copy_from_slice(&bytes);
    TestFile::of(file)
}

#[test]
fn hostile_files_give_an_error_or_nothing() {
    let zeroes = PageDigest::of(&[0; BLOCK_LENGTH]);
    let page = |page, block| KeptPage { page, block, digest: zeroes };
    let outcome = |file: &TestFile| {
        let mut kept = open(file);
        kept.state().map(|_| kept.apply_pages(&memory(&[])))
    };
    assert_eq!(outcome(&hostile(vec![page(3, 4), page(9, 4)], 2, None)), Some(Ok(())));
    // Pages outside RAM, blocks that there are not, headers in the place of pages, pages out of order.
    assert!(matches!(outcome(&hostile(vec![page(u32::MAX, 4)], 2, None)), Some(Err(_))));
    assert!(matches!(outcome(&hostile(vec![page(PAGES as u32, 4)], 2, None)), Some(Err(_))));
    for pages in [vec![page(3, 6)], vec![page(3, u32::MAX)], vec![page(3, 1)], vec![page(9, 4), page(3, 4)]] {
        assert_eq!(outcome(&hostile(pages, 2, None)), None);
    }
    for (at, bytes) in [(u32::MAX, None), (2, Some(u32::MAX)), (2, Some(0)), (0, None), (5, Some(4097))] {
        assert_eq!(outcome(&hostile(vec![page(3, 4)], at, bytes)), None);
    }
    // And it can be used again.
    let file = hostile(vec![page(3, 4)], 2, Some(0));
    open(&file).keep(state(1), &at_step(1)).unwrap();
    assert_eq!(restored(&file), Some((state(1), bytes_of(&at_step(1)))));
}
