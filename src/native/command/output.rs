//! What the guest prints, on standard output.

use crate::host::ConsoleOutput;
use std::io::{self, BufWriter, Stdout, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Standard output, shared by all consoles of the guest and buffered until [`flush`](Self::flush): guests
/// print byte by byte.
#[derive(Clone)]
pub struct StandardOutput(Arc<Mutex<Buffered>>);

struct Buffered {
    writer: BufWriter<Stdout>,
    /// The first error since the last flush: consoles themselves cannot report one.
    error: Option<io::Error>,
}

impl StandardOutput {
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Buffered { writer: BufWriter::new(io::stdout()), error: None })))
    }

    fn lock(&self) -> MutexGuard<'_, Buffered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows everything printed so far.
    ///
    /// # Errors
    /// When anything since the last flush could not be written.
    pub fn flush(&self) -> io::Result<()> {
        let mut buffered = self.lock();
        match buffered.error.take() {
            Some(error) => Err(error),
            None => {
                buffered.writer.flush()?;
                // Standard output has a line buffer of its own below.
                buffered.writer.get_mut().flush()
            }
        }
    }
}

impl ConsoleOutput for StandardOutput {
    fn write(&mut self, bytes: &[u8]) {
        let mut buffered = self.lock();
        if let Err(error) = buffered.writer.write_all(bytes) {
            buffered.error.get_or_insert(error);
        }
    }
}
