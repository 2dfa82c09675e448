//! What the user types, from standard input to the guest's console.

use crate::machine::MachineHandle;
use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

const CTRL_A: u8 = 1;

/// The console that the guest reads from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestConsole {
    /// ttyS0.
    Serial,
    /// hvc0.
    Virtio,
}

impl GuestConsole {
    /// The console behind the guest's /dev/console: the last one that the kernel's command line names.
    pub fn from_command_line(command_line: &str) -> Self {
        let last =
            command_line.split_whitespace().filter_map(|word| word.strip_prefix("console=")).next_back();
        if last.is_some_and(|name| name.starts_with("ttyS")) { Self::Serial } else { Self::Virtio }
    }
}

/// Carries standard input to whichever machine runs.
pub struct Keyboard {
    machine: Mutex<MachineHandle>,
    console: GuestConsole,
    wants_to_quit: AtomicBool,
}

impl Keyboard {
    /// Starts to read for `machine`. `has_escapes`: whether Ctrl-A is a prefix, for terminals. `sleeper` is unparked when
    /// there is something to look at.
    ///
    /// # Errors
    /// When the host has no thread to give.
    pub fn start(
        machine: MachineHandle,
        console: GuestConsole,
        has_escapes: bool,
        sleeper: Thread,
    ) -> io::Result<Arc<Self>> {
        let keyboard =
            Arc::new(Self { machine: Mutex::new(machine), console, wants_to_quit: AtomicBool::new(false) });
        let reader = keyboard.clone();
        std::thread::Builder::new()
            .name("keyboard".into())
            .spawn(move || reader.read_all(io::stdin(), has_escapes, &sleeper))?;
        Ok(keyboard)
    }

    /// Types to this machine from now on.
    pub fn connect(&self, machine: MachineHandle) {
        *self.machine.lock().unwrap_or_else(PoisonError::into_inner) = machine;
    }

    /// Whether the user has typed Ctrl-A X.
    pub fn wants_to_quit(&self) -> bool {
        self.wants_to_quit.load(Ordering::Acquire)
    }

    fn read_all(&self, mut input: impl Read, has_escapes: bool, sleeper: &Thread) {
        let mut escapes = has_escapes.then(Escapes::default);
        let mut buffer = [0; 4096];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    log::warn!("standard input cannot be read any more: {error}");
                    return;
                }
            };
            let typed = &buffer[..count];
            match &mut escapes {
                None => self.type_bytes(typed),
                Some(escapes) => {
                    let bytes = escapes.strip(typed);
                    self.type_bytes(&bytes);
                    if escapes.has_quit {
                        self.wants_to_quit.store(true, Ordering::Release);
                    }
                }
            }
            sleeper.unpark();
        }
    }

    fn type_bytes(&self, bytes: &[u8]) {
        let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        match self.console {
            _ if bytes.is_empty() => {}
            GuestConsole::Serial => machine.serial_input(bytes),
            GuestConsole::Virtio => machine.console_input(bytes),
        }
    }
}

/// The prefix key: Ctrl-A X quits, Ctrl-A Ctrl-A is one Ctrl-A, anything else after Ctrl-A goes on as typed.
#[derive(Default)]
struct Escapes {
    is_after_prefix: bool,
    has_quit: bool,
}

impl Escapes {
    fn strip(&mut self, typed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(typed.len());
        for &byte in typed {
            match (std::mem::take(&mut self.is_after_prefix), byte) {
                (false, CTRL_A) => self.is_after_prefix = true,
                (true, b'x' | b'X') => self.has_quit = true,
                (true, CTRL_A) | (false, _) => bytes.push(byte),
                (true, _) => bytes.extend([CTRL_A, byte]),
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_goes_to_the_last_console_named() {
        let console = GuestConsole::from_command_line;
        assert_eq!(console("quiet"), GuestConsole::Virtio);
        assert_eq!(console("console=hvc0 console=ttyS0,115200 quiet"), GuestConsole::Serial);
        assert_eq!(console("console=ttyS0 console=hvc0"), GuestConsole::Virtio);
    }

    #[test]
    fn the_prefix_key_works_across_reads() {
        let mut escapes = Escapes::default();
        assert_eq!(escapes.strip(b"a\x01"), b"a");
        assert_eq!(escapes.strip(b"\x01b\x01d"), b"\x01b\x01d");
        assert_eq!(escapes.strip(b"x\x01"), b"x");
        assert!(!escapes.has_quit);
        assert_eq!(escapes.strip(b"X"), b"");
        assert!(escapes.has_quit);
    }
}
