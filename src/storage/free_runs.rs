//! Free places of a file, in runs.

use std::collections::BTreeMap;

/// Which units of a file are free: runs, of which no two touch.
#[derive(Default)]
pub(crate) struct FreeRuns(BTreeMap<u64, u64>);

impl FreeRuns {
    /// Notes that the units of a run are free. Returns the whole run that they are part of now, as its
    /// start and its units.
    pub(crate) fn add(&mut self, mut start: u64, mut units: u64) -> (u64, u64) {
        if let Some(after) = self.0.remove(&(start + units)) {
            units += after;
        }
        if let Some((before, length)) = self.0.range(..start).next_back().map(|(at, length)| (*at, *length))
            && before + length == start
        {
            start = before;
            units += length;
        }
        self.0.insert(start, units);
        (start, units)
    }

    /// The first run of at least `units`, as its start and its units.
    pub(crate) fn first_of(&self, units: u64) -> Option<(u64, u64)> {
        self.0.iter().find(|(_, found)| **found >= units).map(|(start, found)| (*start, *found))
    }

    /// The longest run.
    pub(crate) fn longest(&self) -> Option<(u64, u64)> {
        self.0.iter().max_by_key(|(_, units)| **units).map(|(start, units)| (*start, *units))
    }

    /// Takes the first `units` of the run at `start` out.
    pub(crate) fn take(&mut self, start: u64, units: u64) {
        if let Some(found) = self.0.remove(&start)
            && found > units
        {
            self.0.insert(start + units, found - units);
        }
    }

    /// Takes out the whole run that ends at `end`, and returns its start.
    pub(crate) fn take_ending_at(&mut self, end: u64) -> Option<u64> {
        let (start, units) = self.0.range(..end).next_back().map(|(start, units)| (*start, *units))?;
        (start + units == end).then(|| {
            self.0.remove(&start);
            start
        })
    }
}

#[cfg(test)]
mod tests {
    use super::FreeRuns;

    #[test]
    fn neighbours_become_one_run() {
        let mut free = FreeRuns::default();
        free.add(10, 2);
        free.add(14, 2);
        assert_eq!(free.add(12, 2), (10, 6));
        assert_eq!(free.first_of(6), Some((10, 6)));
        free.take(10, 4);
        assert_eq!(free.longest(), Some((14, 2)));
        assert_eq!(free.take_ending_at(15), None);
        assert_eq!(free.take_ending_at(16), Some(14));
        assert_eq!(free.longest(), None);
    }
}
