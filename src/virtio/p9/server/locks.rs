//! Advisory locks on ranges of bytes (fcntl(2)), among the clients of one server.

use crate::storage::tree::NodeId;
use std::collections::HashMap;

/// Most ranges that are locked at a time: a guest must not fill the host's memory with them.
const LOCKS_MAX: usize = 1 << 16;

/// Who holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    /// The process, as its machine numbers it.
    pub(super) process: u32,
    /// The machine's name.
    pub(super) client: Vec<u8>,
}

/// A range from `start` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: u64,
    pub(super) last: u64,
}

impl Range {
    /// `length` bytes from `start`; length 0 is all up to the end, as for fcntl(2).
    pub(super) fn new(start: u64, length: u64) -> Self {
        let last = if length == 0 { u64::MAX } else { start.saturating_add(length - 1) };
        Self { start, last }
    }

    /// The length as the protocol tells it.
    pub(super) fn length(self) -> u64 {
        if self.last == u64::MAX { 0 } else { self.last - self.start + 1 }
    }

    fn meets(self, other: Self) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    /// What remains without `taken`: the part before and the part behind.
    fn without(self, taken: Self) -> impl Iterator<Item = Self> {
        let before = taken.start.checked_sub(1).filter(|last| *last >= self.start);
        let behind = taken.last.checked_add(1).filter(|start| *start <= self.last);
        let before = before.map(|last| Self { start: self.start, last: last.min(self.last) });
        let behind = behind.map(|start| Self { start: start.max(self.start), last: self.last });
        before.into_iter().chain(behind)
    }
}

/// A locked range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) owner: Owner,
    pub(super) range: Range,
    /// Nobody else may hold any lock on the range; otherwise others may hold locks that are not exclusive.
    pub(super) is_exclusive: bool,
    /// The fid by which it was taken, with which it goes at the latest.
    pub(super) fid: u32,
}

/// What became of a request for a lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locking {
    Done,
    /// Somebody else holds a lock on the range.
    Blocked,
    /// There are too many locks.
    Refused,
}

/// All locks of a server.
#[derive(Default)]
pub(super) struct LockTable {
    by_node: HashMap<NodeId, Vec<Lock>>,
    count: usize,
}

impl LockTable {
    /// The first lock that stands against `owner`'s locking `range`.
    pub(super) fn conflict(
        &self,
        node: NodeId,
        owner: &Owner,
        range: Range,
        is_exclusive: bool,
    ) -> Option<&Lock> {
        self.by_node.get(&node)?.iter().find(|lock| {
            lock.owner != *owner && lock.range.meets(range) && (is_exclusive || lock.is_exclusive)
        })
    }

    /// Takes `lock`, in place of what its owner has locked in its range.
    pub(super) fn lock(&mut self, node: NodeId, lock: Lock) -> Locking {
        if self.conflict(node, &lock.owner, lock.range, lock.is_exclusive).is_some() {
            return Locking::Blocked;
        }
        // An old range that the new one divides leaves one lock more.
        if self.count + 2 > LOCKS_MAX {
            return Locking::Refused;
        }
        self.unlock(node, &lock.owner, lock.range);
        self.by_node.entry(node).or_default().push(lock);
        self.count += 1;
        Locking::Done
    }

    /// Frees `owner`'s locks in `range`; whether there were any.
    pub(super) fn unlock(&mut self, node: NodeId, owner: &Owner, range: Range) -> bool {
        let Some(locks) = self.by_node.get_mut(&node) else { return false };
        let before = locks.len();
        let mut kept = Vec::with_capacity(before + 1);
        let mut has_freed = false;
        for lock in locks.drain(..) {
            if lock.owner == *owner && lock.range.meets(range) {
                has_freed = true;
                kept.extend(lock.range.without(range).map(|range| Lock { range, ..lock.clone() }));
            } else {
                kept.push(lock);
            }
        }
        self.count = self.count + kept.len() - before;
        *locks = kept;
        if locks.is_empty() {
            self.by_node.remove(&node);
        }
        has_freed
    }

    /// Frees what was locked by `fid`; whether there was anything.
    pub(super) fn release(&mut self, node: NodeId, fid: u32) -> bool {
        let Some(locks) = self.by_node.get_mut(&node) else { return false };
        let before = locks.len();
        locks.retain(|lock| lock.fid != fid);
        let freed = before - locks.len();
        self.count -= freed;
        if locks.is_empty() {
            self.by_node.remove(&node);
        }
        freed > 0
    }

    /// Every lock.
    pub(super) fn all(&self) -> impl Iterator<Item = &Lock> {
        self.by_node.values().flatten()
    }

    /// Frees everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: NodeId = NodeId(1);

    fn owner(process: u32) -> Owner {
        Owner { process, client: b"guest".to_vec() }
    }

    fn lock(process: u32, start: u64, length: u64, is_exclusive: bool) -> Lock {
        Lock { owner: owner(process), range: Range::new(start, length), is_exclusive, fid: process }
    }

    #[test]
    fn readers_share_and_writers_do_not() {
        let mut table = LockTable::default();
        assert_eq!(table.lock(FILE, lock(1, 0, 10, false)), Locking::Done);
        assert_eq!(table.lock(FILE, lock(2, 5, 10, false)), Locking::Done);
        assert_eq!(table.lock(FILE, lock(3, 9, 1, true)), Locking::Blocked);
        assert_eq!(table.lock(NodeId(2), lock(3, 9, 1, true)), Locking::Done);
        assert_eq!(table.lock(FILE, lock(3, 15, 0, true)), Locking::Done);
        assert_eq!(table.lock(FILE, lock(1, 1 << 40, 1, false)), Locking::Blocked);
        let conflict = table.conflict(FILE, &owner(1), Range::new(12, 9), true).unwrap();
        assert_eq!((conflict.owner.process, conflict.range.length()), (2, 10));
    }

    #[test]
    fn a_lock_is_divided_where_its_middle_is_freed() {
        let mut table = LockTable::default();
        assert_eq!(table.lock(FILE, lock(1, 0, 0, true)), Locking::Done);
        assert!(table.unlock(FILE, &owner(1), Range::new(10, 10)));
        assert!(!table.unlock(FILE, &owner(1), Range::new(10, 10)));
        assert_eq!(table.count, 2);
        assert_eq!(table.lock(FILE, lock(2, 10, 10, true)), Locking::Done);
        assert_eq!(table.lock(FILE, lock(2, 9, 1, true)), Locking::Blocked);
        assert_eq!(table.lock(FILE, lock(2, 20, 1, true)), Locking::Blocked);
        // The owner's own lock becomes another one.
        assert_eq!(table.lock(FILE, lock(1, 5, 5, false)), Locking::Done);
        assert_eq!(table.lock(FILE, lock(2, 5, 5, false)), Locking::Done);
        assert!(table.release(FILE, 1));
        assert!(table.release(FILE, 2));
        assert_eq!((table.count, table.by_node.len()), (0, 0));
    }

    #[test]
    fn ranges_end_where_numbers_do() {
        assert_eq!(Range::new(u64::MAX, 5).last, u64::MAX);
        assert_eq!(Range::new(3, 0).length(), 0);
        let whole = Range::new(0, 0);
        assert_eq!(whole.without(whole).count(), 0);
        assert_eq!(whole.without(Range::new(u64::MAX, 1)).count(), 1);
    }

    #[test]
    fn there_is_an_end_to_locking() {
        let mut table = LockTable::default();
        for start in 0..LOCKS_MAX as u64 - 1 {
            assert_eq!(table.lock(NodeId(start), lock(1, 0, 1, true)), Locking::Done);
        }
        assert_eq!(table.lock(FILE, lock(1, 5, 1, true)), Locking::Refused);
    }
}
