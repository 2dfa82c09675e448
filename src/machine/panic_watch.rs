//! Notices a kernel panic by what the kernel prints.

use super::time_message::LISTENING;
use crate::host::ConsoleOutput;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Lines kept to show after a panic.
const LINES_KEPT: usize = 40;
/// Bytes of a line that are looked at and kept.
const LINE_LIMIT: usize = 512;
/// Bytes of output kept of each console, to show them again when the machine is restored from a snapshot: some
/// screens, and a boot's log.
const TAIL_BYTES: usize = 64 * 1024;
/// Linux prints this when it panics, and then restarts if `panic=` says so …
const PANIC: &[u8] = b"Kernel panic - not syncing";
/// … or prints this and stays.
const PANIC_END: &[u8] = b"---[ end Kernel panic";

/// How far a panic has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PanicState {
    None,
    /// The kernel said so; a restart may follow.
    Announced,
    /// The kernel waits for ever.
    Stuck,
}

/// What the watched consoles have shown.
#[derive(Clone, Default)]
pub(super) struct ConsoleHistory {
    state: Arc<AtomicU8>,
    lines: Arc<Mutex<VecDeque<String>>>,
    is_listening: Arc<AtomicBool>,
}

impl ConsoleHistory {
    pub fn panic_state(&self) -> PanicState {
        match self.state.load(Ordering::Acquire) {
            0 => PanicState::None,
            1 => PanicState::Announced,
            _ => PanicState::Stuck,
        }
    }

    /// Whether the guest listens on its serial port.
    pub fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Acquire)
    }

    /// The guest listens on its serial port.
    pub fn set_listening(&self) {
        self.is_listening.store(true, Ordering::Release);
    }

    /// The last lines, oldest first.
    pub fn last_lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn take_line(&self, line: &[u8]) {
        let contains = |text: &[u8]| line.windows(text.len()).any(|window| window == text);
        if line.trim_ascii() == LISTENING {
            self.set_listening();
        }
        let state = if contains(PANIC_END) {
            PanicState::Stuck
        } else if contains(PANIC) {
            PanicState::Announced
        } else {
            PanicState::None
        };
        self.state.fetch_max(state as u8, Ordering::AcqRel);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES_KEPT {
            lines.pop_front();
        }
        lines.push_back(String::from_utf8_lossy(line).trim_end().to_owned());
    }
}

/// The last bytes that a console has shown.
#[derive(Clone, Default)]
pub(super) struct ConsoleTail(Arc<Mutex<VecDeque<u8>>>);

impl ConsoleTail {
    /// The bytes, oldest first.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn extend(&self, bytes: &[u8]) {
        let mut tail = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tail.extend(bytes);
        let surplus = tail.len().saturating_sub(TAIL_BYTES);
        tail.drain(..surplus);
    }
}

/// A console output that watches what passes through.
pub(super) struct WatchedOutput {
    output: Box<dyn ConsoleOutput>,
    history: ConsoleHistory,
    tail: ConsoleTail,
    line: Vec<u8>,
}

impl WatchedOutput {
    pub fn new(output: Box<dyn ConsoleOutput>, history: ConsoleHistory, tail: ConsoleTail) -> Self {
        Self { output, history, tail, line: Vec::new() }
    }
}

impl ConsoleOutput for WatchedOutput {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte == b'\n' {
                self.history.take_line(&self.line);
                self.line.clear();
            } else if self.line.len() < LINE_LIMIT {
                self.line.push(byte);
            }
        }
        self.tail.extend(bytes);
        self.output.write(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;

    impl ConsoleOutput for Nowhere {
        fn write(&mut self, _: &[u8]) {}
    }

    #[test]
    fn a_panic_is_noticed_across_writes() {
        let history = ConsoleHistory::default();
        let mut output = WatchedOutput::new(Box::new(Nowhere), history.clone(), ConsoleTail::default());
        output.write(b"[ 1.0] Kernel panic - not ");
        assert_eq!(history.panic_state(), PanicState::None);
        output.write(b"syncing: VFS\r\n");
        assert_eq!(history.panic_state(), PanicState::Announced);
        output.write(b"---[ end Kernel panic - not syncing ]---\n");
        assert_eq!(history.panic_state(), PanicState::Stuck);
        assert_eq!(history.last_lines().len(), 2);
    }
}
