//! A disk that the test sees as well as the guest.

use dinghy::host::{BlockSource, Progress};
use dinghy::storage::MemoryDisk;
use std::sync::{Arc, Mutex};
use std::task::Poll;

#[derive(Clone)]
pub struct SharedDisk {
    disk: Arc<Mutex<MemoryDisk>>,
}

impl SharedDisk {
    pub fn with_contents(contents: &[u8]) -> Self {
        Self { disk: Arc::new(Mutex::new(MemoryDisk::with_contents(contents).unwrap())) }
    }

    /// What the sector holds.
    pub fn sector(&self, number: u64) -> [u8; 512] {
        let mut sector = [0; 512];
        let progress = self.disk.lock().unwrap().read(number * 512, &mut sector);
        assert_eq!(progress, Poll::Ready(Ok(())));
        sector
    }
}

impl BlockSource for SharedDisk {
    fn size(&self) -> u64 {
        self.disk.lock().unwrap().size()
    }

    fn is_read_only(&self) -> bool {
        self.disk.lock().unwrap().is_read_only()
    }

    fn read(&mut self, offset: u64, buffer: &mut [u8]) -> Progress {
        self.disk.lock().unwrap().read(offset, buffer)
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Progress {
        self.disk.lock().unwrap().write(offset, data)
    }

    fn flush(&mut self) -> Progress {
        self.disk.lock().unwrap().flush()
    }

    fn discard(&mut self, offset: u64, length: u64) -> Progress {
        self.disk.lock().unwrap().discard(offset, length)
    }
}
