//! Sparse storage in grains of 4 KiB: the memory of [`MemoryDisk`](super::MemoryDisk) and
//! [`CopyOnWrite`](super::CopyOnWrite).
//!
//! Two levels, like a page table: 512 grains make a table of 2 MiB. A table that was zeroed as a
//! whole takes one map entry, so that a guest that discards a large disk costs next to nothing.

use crate::host::{BlockError, DiskChange};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of a grain: a guest page, the unit in which file systems write.
pub(super) const GRAIN_BYTES: u64 = 4096;
const GRAIN_LENGTH: usize = GRAIN_BYTES as usize;
const GRAINS_PER_TABLE: u64 = 512;

/// What is known of a grain.
#[derive(Clone, Default)]
enum Grain {
    /// Never written.
    #[default]
    Absent,
    /// Zeroes, whatever lies below.
    Zeroes,
    Data(Box<[u8; GRAIN_LENGTH]>),
}

enum Table {
    /// All grains are [`Grain::Zeroes`].
    Zeroes,
    /// 512 grains.
    Mixed(Box<[Grain]>),
}

/// What a grain holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Never written, or forgotten.
    Absent,
    /// Zeroes.
    Zeroes,
    /// These bytes.
    Data(&'a [u8; GRAIN_LENGTH]),
}

/// A sparse array of grains.
#[derive(Default)]
pub(super) struct Grains {
    tables: BTreeMap<u64, Table>,
    data_grains: u64,
}

impl Grains {
    /// What grain `index` holds.
    pub(super) fn content(&self, index: u64) -> Content<'_> {
        match self.tables.get(&(index / GRAINS_PER_TABLE)) {
            None => Content::Absent,
            Some(Table::Zeroes) => Content::Zeroes,
            Some(Table::Mixed(grains)) => match grains.get(place(index)) {
                None | Some(Grain::Absent) => Content::Absent,
                Some(Grain::Zeroes) => Content::Zeroes,
                Some(Grain::Data(bytes)) => Content::Data(bytes),
            },
        }
    }

    /// All grains that are not absent, in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Content<'_>)> {
        self.tables.keys().flat_map(|table| {
            let first = table * GRAINS_PER_TABLE;
            (first..first + GRAINS_PER_TABLE)
                .map(|index| (index, self.content(index)))
                .filter(|(_, content)| *content != Content::Absent)
        })
    }

    /// Shows `visitor` all grains of a disk of `size` bytes that are not absent, in order. Zeroed tables
    /// are shown as one change.
    pub(super) fn visit(&self, size: u64, visitor: &mut dyn FnMut(DiskChange<'_>)) {
        for (table, contents) in &self.tables {
            let first = table * GRAINS_PER_TABLE * GRAIN_BYTES;
            let room = |offset: u64, length: u64| length.min(size.saturating_sub(offset));
            let Table::Mixed(grains) = contents else {
                visitor(DiskChange::Zeroes(first, room(first, GRAINS_PER_TABLE * GRAIN_BYTES)));
                continue;
            };
            for (index, grain) in (0..).zip(grains) {
                let offset = first + index * GRAIN_BYTES;
                let length = room(offset, GRAIN_BYTES);
                match grain {
                    Grain::Absent => {}
                    Grain::Zeroes => visitor(DiskChange::Zeroes(offset, length)),
                    Grain::Data(bytes) => {
                        visitor(DiskChange::Data(offset, bytes.get(..length as usize).unwrap_or_default()));
                    }
                }
            }
        }
    }

    /// Bytes of memory that data takes.
    pub(super) fn data_bytes(&self) -> u64 {
        self.data_grains * GRAIN_BYTES
    }

    /// Stores `bytes` in grain `index`, from its byte `at`. The rest of a grain without data becomes
    /// zeroes.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub(super) fn store(&mut self, index: u64, at: usize, bytes: &[u8]) -> Result<(), BlockError> {
        let grain = self.grain_mut(index)?;
        if !matches!(grain, Grain::Data(_)) {
            *grain = Grain::Data(zeroed_grain()?);
            self.data_grains += 1;
        }
        if let Grain::Data(data) = self.grain_mut(index)?
            && let Some(target) = data.get_mut(at..at + bytes.len())
        {
            target.copy_from_slice(bytes);
        }
        Ok(())
    }

    /// Makes the grains read as zeroes, and gives their memory back.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub(super) fn zero(&mut self, grains: Range<u64>) -> Result<(), BlockError> {
        for (table, part) in by_table(grains) {
            if part.end - part.start == GRAINS_PER_TABLE {
                let replaced = self.tables.insert(table, Table::Zeroes);
                self.data_grains -= data_grains_of(replaced.as_ref());
                continue;
            }
            for index in part {
                // Grains of a zeroed table are zero already; going on would take the table apart.
                if self.content(index) == Content::Zeroes {
                    continue;
                }
                let old = std::mem::replace(self.grain_mut(index)?, Grain::Zeroes);
                self.data_grains -= u64::from(matches!(old, Grain::Data(_)));
            }
        }
        Ok(())
    }

    /// Makes the grains absent, and gives their memory back.
    ///
    /// # Errors
    /// When the host has no memory left.
    pub(super) fn forget(&mut self, grains: Range<u64>) -> Result<(), BlockError> {
        for (table, part) in by_table(grains) {
            if !self.tables.contains_key(&table) {
                continue;
            }
            if part.end - part.start < GRAINS_PER_TABLE {
                for index in part {
                    let old = std::mem::take(self.grain_mut(index)?);
                    self.data_grains -= u64::from(matches!(old, Grain::Data(_)));
                }
                let is_needed = !matches!(self.tables.get(&table), Some(Table::Mixed(grains))
                    if grains.iter().all(|grain| matches!(grain, Grain::Absent)));
                if is_needed {
                    continue;
                }
            }
            let removed = self.tables.remove(&table);
            self.data_grains -= data_grains_of(removed.as_ref());
        }
        Ok(())
    }

    /// Grain `index`, in a table with a place for each of its grains.
    fn grain_mut(&mut self, index: u64) -> Result<&mut Grain, BlockError> {
        let table = self.tables.entry(index / GRAINS_PER_TABLE);
        let table = match table {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Table::Mixed(table_of(&Grain::Absent)?))
            }
            std::collections::btree_map::Entry::Occupied(entry) => {
                let table = entry.into_mut();
                if matches!(table, Table::Zeroes) {
                    *table = Table::Mixed(table_of(&Grain::Zeroes)?);
                }
                table
            }
        };
        match table {
            Table::Mixed(grains) => grains.get_mut(place(index)),
            Table::Zeroes => None,
        }
        .ok_or_else(|| BlockError::Host(format!("grain {index} of the disk has no place in its table")))
    }
}

/// Where grain `index` lies in its table.
fn place(index: u64) -> usize {
    (index % GRAINS_PER_TABLE) as usize
}

/// `grains`, divided into runs within one table each.
fn by_table(grains: Range<u64>) -> impl Iterator<Item = (u64, Range<u64>)> {
    let mut next = grains.start;
    std::iter::from_fn(move || {
        let table = next / GRAINS_PER_TABLE;
        let part = next..grains.end.min((table + 1) * GRAINS_PER_TABLE);
        next = part.end;
        (!part.is_empty()).then_some((table, part))
    })
}

fn data_grains_of(table: Option<&Table>) -> u64 {
    match table {
        Some(Table::Mixed(grains)) => {
            grains.iter().filter(|grain| matches!(grain, Grain::Data(_))).count() as u64
        }
        Some(Table::Zeroes) | None => 0,
    }
}

/// A grain of zeroes. Memory runs out in a browser tab sooner than elsewhere: that must become an
/// I/O error of the guest, not the end of the machine.
fn zeroed_grain() -> Result<Box<[u8; GRAIN_LENGTH]>, BlockError> {
    let grain = filled(GRAIN_LENGTH, &0)?;
    grain.try_into().map_err(|_| BlockError::Host("a grain has the wrong length".to_owned()))
}

fn table_of(grain: &Grain) -> Result<Box<[Grain]>, BlockError> {
    filled(GRAINS_PER_TABLE as usize, grain)
}

fn filled<T: Clone>(length: usize, value: &T) -> Result<Box<[T]>, BlockError> {
    let mut values = Vec::new();
    values.try_reserve_exact(length).map_err(|_| {
        BlockError::Host("no memory is left for what the guest writes to its disk".to_owned())
    })?;
    values.resize(length, value.clone());
    Ok(values.into_boxed_slice())
}

/// One grain's share of a byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    /// The grain.
    pub(super) index: u64,
    /// First byte within the grain.
    pub(super) at: usize,
    /// First byte within the range.
    pub(super) offset: usize,
    /// Bytes, one grain at most.
    pub(super) length: usize,
}

impl Share {
    /// Whether all of the grain lies in the range.
    pub(super) fn is_whole(&self) -> bool {
        self.length == GRAIN_LENGTH
    }
}

/// The shares that grains have in `length` bytes from `offset`, in order.
pub(super) fn shares(offset: u64, length: usize) -> impl Iterator<Item = Share> {
    let mut finished = 0;
    std::iter::from_fn(move || {
        let start = offset + finished as u64;
        let at = (start % GRAIN_BYTES) as usize;
        let share = Share {
            index: start / GRAIN_BYTES,
            at,
            offset: finished,
            length: (length - finished).min(GRAIN_LENGTH - at),
        };
        finished += share.length;
        (share.length > 0).then_some(share)
    })
}

/// A byte range as whole grains between two edges, any of which may be empty.
pub(super) struct Division {
    /// The bytes before the first whole grain.
    pub(super) head: Range<u64>,
    /// The whole grains, as grain indices.
    pub(super) grains: Range<u64>,
    /// The bytes after the last whole grain.
    pub(super) tail: Range<u64>,
}

/// Divides `length` bytes from `offset`, which lie within a disk of `size` bytes. A last grain that
/// the end of the disk cuts short counts as whole.
pub(super) fn divide(offset: u64, length: u64, size: u64) -> Division {
    let end = offset + length;
    let first_whole = offset.div_ceil(GRAIN_BYTES);
    let end_whole = if end == size { end.div_ceil(GRAIN_BYTES) } else { end / GRAIN_BYTES };
    if first_whole >= end_whole {
        return Division { head: offset..end, grains: 0..0, tail: end..end };
    }
    Division {
        head: offset..first_whole * GRAIN_BYTES,
        grains: first_whole..end_whole,
        tail: end_whole.saturating_mul(GRAIN_BYTES).min(end)..end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_store_leaves_zeroes_around_it() {
        let mut grains = Grains::default();
        grains.store(7, 512, &[0xAA; 512]).unwrap();
        let Content::Data(data) = grains.content(7) else { panic!("grain 7 has no data") };
        assert!(data[..512].iter().chain(&data[1024..]).all(|byte| *byte == 0));
        assert!(data[512..1024].iter().all(|byte| *byte == 0xAA));
        assert_eq!(grains.content(6), Content::Absent);
        assert_eq!(grains.data_bytes(), 4096);
    }

    #[test]
    fn zeroing_whole_tables_gives_all_memory_back() {
        let mut grains = Grains::default();
        for index in 0..2048 {
            grains.store(index, 0, &[1]).unwrap();
        }
        grains.zero(100..1900).unwrap();
        assert_eq!(grains.data_bytes(), (100 + 148) * 4096);
        assert_eq!(grains.content(100), Content::Zeroes);
        assert_eq!(grains.content(1899), Content::Zeroes);
        assert!(matches!(grains.content(99), Content::Data(_)));
        assert!(matches!(grains.content(1900), Content::Data(_)));
        // A store into a zeroed table keeps its neighbours zero.
        grains.store(600, 0, &[9]).unwrap();
        assert_eq!(grains.content(599), Content::Zeroes);
        assert!(matches!(grains.content(600), Content::Data(_)));
    }

    #[test]
    fn forgetting_all_grains_of_a_table_removes_it() {
        let mut grains = Grains::default();
        grains.store(5, 0, &[1]).unwrap();
        grains.store(600, 0, &[1]).unwrap();
        grains.forget(0..10).unwrap();
        assert_eq!(grains.content(5), Content::Absent);
        assert_eq!(grains.tables.len(), 1);
        grains.forget(512..1024).unwrap();
        assert!(grains.tables.is_empty());
        assert_eq!(grains.data_bytes(), 0);
    }

    #[test]
    fn a_range_divides_into_edges_and_whole_grains() {
        let parts = divide(512, 3 * 4096, 1 << 20);
        assert_eq!((parts.head, parts.grains, parts.tail), (512..4096, 1..3, 3 * 4096..3 * 4096 + 512));
        let within_one = divide(512, 1024, 1 << 20);
        assert_eq!((within_one.head, within_one.grains), (512..1536, 0..0));
        assert!(within_one.tail.is_empty());
        let to_the_end = divide(4096, 512, 4608);
        assert!(to_the_end.head.is_empty() && to_the_end.tail.is_empty());
        assert_eq!(to_the_end.grains, 1..2);
    }
}
