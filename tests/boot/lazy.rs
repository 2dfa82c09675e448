//! A machine whose memory comes when it is touched does what it would have done with all of it.

use crate::guest::{Guest, Setup};
use crate::snapshots::setup;
use dinghy::machine::{Machine, MachineConfig, MachineError, Restorer, RunOutcome};
use dinghy::snapshot::{ChunkFiles, SectionKind, SectionReader, SectionWriter, SnapshotError};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const FILE_HEADER_BYTES: usize = 12;
/// Kind, encoding, bytes stored and decoded; then the digest.
const DESCRIPTION_BYTES: usize = 12;
const SECTION_HEADER_BYTES: usize = DESCRIPTION_BYTES + 32;

/// The files beside a snapshot, by their names, and how many were asked for.
#[derive(Clone, Default)]
struct Files {
    files: Arc<HashMap<String, Vec<u8>>>,
    loads: Arc<AtomicUsize>,
}

impl ChunkFiles for Files {
    fn load(&self, name: &str, _attempt: u32) -> Result<Vec<u8>, String> {
        self.loads.fetch_add(1, Ordering::Relaxed);
        self.files.get(name).cloned().ok_or_else(|| format!("{name} is missing"))
    }
}

/// Leaves all of a snapshot's memory to files beside it, a section each.
fn split(snapshot: &[u8]) -> (Vec<u8>, Files) {
    let mut list = Vec::new();
    let mut files = HashMap::new();
    let mut reader = SectionReader::default();
    reader.push(snapshot);
    let (mut kept, mut at) = (Vec::new(), FILE_HEADER_BYTES);
    while let Some(section) = reader.next_section().unwrap() {
        let stored = u32::from_le_bytes(snapshot[at + 4..at + 8].try_into().unwrap()) as usize;
        let file = &snapshot[at..at + SECTION_HEADER_BYTES + stored];
        at += file.len();
        if section.kind != SectionKind::Pages {
            kept.push(section);
            continue;
        }
        let digest = &file[DESCRIPTION_BYTES..SECTION_HEADER_BYTES];
        let runs = 8 * u32::from_le_bytes(section.bytes[..4].try_into().unwrap()) as usize;
        list.extend_from_slice(digest);
        list.extend_from_slice(&(file.len() as u32).to_le_bytes());
        list.extend_from_slice(&section.bytes[..4 + runs]);
        files.insert(digest.iter().map(|byte| format!("{byte:02x}")).collect(), file.to_vec());
    }
    list.splice(..0, (files.len() as u32).to_le_bytes());
    let mut lazy = Vec::new();
    let mut sink = |bytes: &[u8]| {
        lazy.extend_from_slice(bytes);
        Ok(())
    };
    let mut writer = SectionWriter::new(&mut sink).unwrap();
    for section in kept {
        writer.write(section.kind, &section.bytes).unwrap();
        if section.kind == SectionKind::State {
            writer.write(SectionKind::Elsewhere, &list).unwrap();
        }
    }
    writer.finish().unwrap();
    (lazy, Files { files: Arc::new(files), ..Files::default() })
}

fn restore(snapshot: &[u8], files: Option<Files>) -> Result<Guest, MachineError> {
    let build = |config: MachineConfig| -> Result<Machine, MachineError> {
        let mut restorer = Restorer::new(config);
        if let Some(files) = files {
            restorer.fetch_pages_from(Box::new(files));
        }
        restorer.push(snapshot)?;
        restorer.finish()
    };
    Setup::build_by(setup(), build)
}

/// A machine in the middle of its program, and what becomes of it.
fn saved() -> (Vec<u8>, Guest) {
    let mut whole = setup().boot();
    whole.run_until("on disk");
    let snapshot = whole.save();
    assert_eq!(whole.run_to_end(), RunOutcome::PoweredOff);
    (snapshot, whole)
}

#[test]
fn memory_that_comes_when_it_is_touched_makes_no_difference() {
    let (snapshot, mut whole) = saved();
    let end = whole.save();
    let (lazy, files) = split(&snapshot);
    assert!(lazy.len() < snapshot.len() / 20);
    let mut restored = restore(&lazy, Some(files.clone())).unwrap();
    assert_eq!(restored.run_to_end(), RunOutcome::PoweredOff);
    assert_eq!(restored.console.text(), whole.console.text());
    assert_eq!(restored.instructions(), whole.instructions());
    let touched = files.loads.load(Ordering::Relaxed);
    assert!(0 < touched && touched < files.files.len(), "{touched} of {} parts", files.files.len());
    // Saving brings the rest.
    assert!(restored.save() == end, "the machines differ at their ends");
    assert_eq!(files.loads.load(Ordering::Relaxed), files.files.len());
}

#[test]
fn memory_that_comes_while_the_machine_runs_makes_no_difference_either() {
    let (snapshot, mut whole) = saved();
    let (lazy, files) = split(&snapshot);
    let mut restored = restore(&lazy, Some(files.clone())).unwrap();
    let rest = restored.machine.rest_of_memory().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for part in 0..rest.count() {
                if let Some(name) = rest.absent_name(part) {
                    rest.provide(part, &files.files[&name]).unwrap();
                }
            }
        });
        assert_eq!(restored.run_to_end(), RunOutcome::PoweredOff);
    });
    assert!(restored.machine.rest_of_memory().is_none(), "all has come");
    assert!(restored.save() == whole.save(), "the machines differ at their ends");
}

#[test]
fn a_machine_without_its_memory_ends_and_says_why() {
    let (snapshot, _) = saved();
    let (lazy, files) = split(&snapshot);
    assert!(matches!(restore(&lazy, None).err(), Some(MachineError::Snapshot(SnapshotError::Elsewhere))));
    let missing = Files::default();
    let mut restored = restore(&lazy, Some(missing)).unwrap();
    assert_eq!(restored.run_to_end(), RunOutcome::MemoryLost);
    assert!(restored.machine.lost_memory().unwrap().contains("is missing"));
    let saved = restored.machine.save(&mut |_| Ok(()));
    assert!(matches!(saved, Err(SnapshotError::Lost(_))), "{saved:?}");
    assert_eq!(restored.machine.run(1_000), RunOutcome::MemoryLost, "it never runs again");

    // One part that is another one, wherever it is needed first.
    let damaged = files.files.iter().map(|(name, file)| {
        let mut file = file.clone();
        file[SECTION_HEADER_BYTES + 7] ^= 1;
        (name.clone(), file)
    });
    let damaged = Files { files: Arc::new(damaged.collect()), ..Files::default() };
    let mut restored = restore(&lazy, Some(damaged)).unwrap();
    assert_eq!(restored.run_to_end(), RunOutcome::MemoryLost);
    assert!(restored.machine.lost_memory().unwrap().contains("digest"));
}

#[test]
fn pages_are_noted_at_their_first_access() {
    let (snapshot, _) = saved();
    let mut restored = setup()
        .build_by(|config| {
            let mut restorer = Restorer::new(config);
            restorer.record_touched_pages();
            restorer.push(&snapshot)?;
            restorer.finish()
        })
        .unwrap();
    restored.run_until("awake");
    let mut touched = restored.machine.touched_pages();
    let count = touched.len();
    touched.sort_unstable();
    touched.dedup();
    assert_eq!(touched.len(), count, "each once");
    assert!((10..20_000).contains(&count), "{count} pages");
}
