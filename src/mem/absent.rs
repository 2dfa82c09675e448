//! Pages of RAM that are not there yet: whoever needs one first has it brought.

use super::GuestMemory;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Where absent pages come from.
pub trait PageSource: Send + Sync {
    /// Puts an absent page into `memory` ([`GuestMemory::place_absent`]), perhaps with others, and has it
    /// [arrive](GuestMemory::pages_arrived). It may have arrived in the meantime.
    ///
    /// # Errors
    /// One sentence for the user. The machine cannot go on then.
    fn bring(&self, memory: &GuestMemory, page: u64) -> Result<(), String>;
}

/// Which pages are absent, and who brings them.
#[derive(Default)]
pub(super) struct AbsentPages {
    /// Whether any page is absent: what every access but those through a TLB looks at.
    has_any: AtomicBool,
    count: AtomicUsize,
    /// One byte a page, 1 for an absent one.
    pages: OnceLock<Box<[AtomicU8]>>,
    source: Mutex<Option<Arc<dyn PageSource>>>,
    lost: OnceLock<String>,
}

impl AbsentPages {
    #[inline(always)]
    pub(super) fn has_any(&self) -> bool {
        self.has_any.load(Ordering::Acquire)
    }

    fn is_absent(&self, page: u64) -> bool {
        let entry = self.pages.get().and_then(|pages| pages.get(page as usize));
        entry.is_some_and(|entry| entry.load(Ordering::Acquire) != 0)
    }

    fn source(&self) -> Option<Arc<dyn PageSource>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn expect(&self, size: usize, runs: &[Range<u64>], source: Arc<dyn PageSource>) {
        let pages = self.pages.get_or_init(|| (0..size).map(|_| AtomicU8::new(0)).collect());
        let mut count = 0;
        for page in runs.iter().cloned().flatten() {
            if let Some(entry) = pages.get(page as usize) {
                count += usize::from(entry.swap(1, Ordering::AcqRel) == 0);
            }
        }
        *self.source.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        let before = self.count.fetch_add(count, Ordering::AcqRel);
        self.has_any.store(before + count != 0, Ordering::Release);
    }

    fn arrived(&self, run: Range<u64>) {
        let Some(pages) = self.pages.get() else { return };
        let mut count = 0;
        for page in run {
            if let Some(entry) = pages.get(page as usize) {
                count += usize::from(entry.swap(0, Ordering::AcqRel) != 0);
            }
        }
        if count != 0 && self.count.fetch_sub(count, Ordering::AcqRel) == count {
            self.has_any.store(false, Ordering::Release);
            *self.source.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Has all absent pages of a run brought; whether they are there now.
    fn bring(&self, memory: &GuestMemory, run: Range<u64>) -> bool {
        for page in run {
            if !self.is_absent(page) {
                continue;
            }
            if self.lost.get().is_some() {
                return false;
            }
            let Some(source) = self.source() else {
                // The last page has arrived in the meantime.
                continue;
            };
            let outcome = source.bring(memory, page);
            let problem = outcome.err().or_else(|| {
                self.is_absent(page).then(|| format!("page {page} of the saved memory is nowhere"))
            });
            if let Some(problem) = problem {
                log::error!("{problem}");
                // Of several failures at once, one is told.
                let _ = self.lost.set(problem);
                return false;
            }
        }
        true
    }
}

impl GuestMemory {
    /// Has `source` bring the pages in `runs` when they are needed: their bytes are not there yet.
    pub fn expect_pages(&self, runs: &[Range<u64>], source: Arc<dyn PageSource>) {
        self.absent().expect((self.size() / super::PAGE_SIZE) as usize, runs, source);
    }

    /// Notes that the bytes of pages are there.
    pub fn pages_arrived(&self, run: Range<u64>) {
        self.absent().arrived(run);
    }

    /// Whether no page is absent.
    #[inline(always)]
    pub fn is_whole(&self) -> bool {
        !self.absent().has_any()
    }

    /// Has the absent pages among those of a run brought. Blocks meanwhile. Whether all of the run is there now; if
    /// not, [`lost`](Self::lost) says why.
    #[must_use]
    pub fn bring_pages(&self, run: Range<u64>) -> bool {
        self.is_whole() || self.absent().bring(self, run)
    }

    /// Why a page could not be brought, in one sentence for the user: a machine whose memory has holes cannot go on.
    pub fn lost(&self) -> Option<&str> {
        self.absent().lost.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{GuestPhysAddr, MemoryError, PAGE_SIZE};
    use super::*;

    const PAGES: u64 = 64;

    /// Brings pages whose bytes are their number, two at a time, and notes how often; page 13 cannot be had.
    #[derive(Default)]
    struct Numbered(Mutex<Vec<u64>>);

    impl PageSource for Numbered {
        fn bring(&self, memory: &GuestMemory, page: u64) -> Result<(), String> {
            if page == 13 {
                return Err("page 13 is gone".to_owned());
            }
            let mut brought = self.0.lock().unwrap();
            let first = page & !1;
            if brought.contains(&first) {
                return Ok(());
            }
            brought.push(first);
            for page in first..first + 2 {
                let bytes = [page as u8; PAGE_SIZE as usize];
                memory.place_absent(GuestPhysAddr(page * PAGE_SIZE), &bytes).unwrap();
            }
            memory.pages_arrived(first..first + 2);
            Ok(())
        }
    }

    fn memory() -> (GuestMemory, Arc<Numbered>) {
        let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
        let source = Arc::new(Numbered::default());
        memory.expect_pages(&[4..20, 30..32], source.clone());
        (memory, source)
    }

    #[test]
    fn absent_pages_come_at_the_first_access_of_any_kind() {
        let (memory, source) = memory();
        assert_eq!(memory.read_u8(GuestPhysAddr(3 * PAGE_SIZE)), Ok(0));
        assert!(source.0.lock().unwrap().is_empty());
        // Across a page's end, into an absent one; and a write that leaves the rest of its page as it was saved.
        assert_eq!(memory.read_u16(GuestPhysAddr(8 * PAGE_SIZE - 1)), Ok(0x0807));
        memory.write(GuestPhysAddr(10 * PAGE_SIZE + 5), &[0xee]).unwrap();
        assert_eq!(memory.read_u32(GuestPhysAddr(10 * PAGE_SIZE + 4)), Ok(0x0a0a_ee0a));
        assert_eq!(memory.read_u8(GuestPhysAddr(11 * PAGE_SIZE)), Ok(11));
        assert_eq!(*source.0.lock().unwrap(), [6, 8, 10]);
    }

    #[test]
    fn a_page_that_cannot_be_had_is_an_error_and_never_zeroes() {
        let (memory, _) = memory();
        let address = GuestPhysAddr(13 * PAGE_SIZE);
        assert_eq!(memory.read_u8(address), Err(MemoryError::Lost { address }));
        assert_eq!(memory.write(address, &[1]), Err(MemoryError::Lost { address }));
        assert_eq!(memory.lost(), Some("page 13 is gone"));
        assert_eq!(memory.read_u8(GuestPhysAddr(3 * PAGE_SIZE)), Ok(0));
    }

    #[test]
    fn memory_is_whole_when_the_last_page_has_come() {
        let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
        assert!(memory.is_whole());
        let source = Arc::new(Numbered::default());
        memory.expect_pages(&[4..12, 20..22], source.clone());
        assert!(!memory.is_whole());
        assert!(memory.bring_pages(0..PAGES));
        assert!(memory.is_whole());
        assert_eq!(Arc::strong_count(&source), 1, "nobody is asked any more");
    }

    #[test]
    fn two_threads_never_see_a_page_half_there_nor_lose_a_write() {
        let memory = GuestMemory::new(PAGES * PAGE_SIZE).unwrap();
        memory.expect_pages(&[0..12, 14..PAGES], Arc::new(Numbered::default()));
        std::thread::scope(|scope| {
            for thread in 0..2_u64 {
                let memory = memory.clone();
                scope.spawn(move || {
                    for page in (0..PAGES).filter(|page| !(12..14).contains(page)) {
                        let place = GuestPhysAddr(page * PAGE_SIZE + thread);
                        assert_eq!(memory.read_u8(place), Ok(page as u8));
                        memory.write(place, &[0xf0 + thread as u8]).unwrap();
                    }
                });
            }
        });
        for page in (0..PAGES).filter(|page| !(12..14).contains(page)) {
            assert_eq!(memory.read_u16(GuestPhysAddr(page * PAGE_SIZE)), Ok(0xf1f0));
        }
    }
}
