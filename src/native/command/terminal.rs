//! The terminal that the command runs in.

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetwinsize,
    tcsetattr,
};
use std::io;
use std::sync::{Mutex, PoisonError};

/// The terminal's settings before they were changed. Not part of [`RawMode`], because a panic has to find them.
static ORIGINAL: Mutex<Option<Termios>> = Mutex::new(None);

/// While it lives, every key goes to the guest as it is typed, also Ctrl-C.
pub struct RawMode(());

impl RawMode {
    /// Changes the terminal on standard input; `None` when there is none.
    ///
    /// # Errors
    /// When the terminal does not take the settings.
    pub fn enter() -> io::Result<Option<Self>> {
        let input = io::stdin();
        if !isatty(&input) {
            return Ok(None);
        }
        let original = tcgetattr(&input)?;
        let mut raw = original.clone();
        // Output modes stay, so that log lines still begin at the left margin.
        raw.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.input_modes -= InputModes::ICRNL
            | InputModes::INLCR
            | InputModes::IGNCR
            | InputModes::IXON
            | InputModes::ISTRIP
            | InputModes::BRKINT;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        *ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner) = Some(original);
        let report_panic = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            report_panic(panic);
        }));
        tcsetattr(&input, OptionalActions::Now, &raw)?;
        Ok(Some(Self(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let original = ORIGINAL.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(original) = original
        && let Err(error) = tcsetattr(io::stdin(), OptionalActions::Now, &original)
    {
        log::warn!("cannot restore the terminal: {error}");
    }
}

/// Columns and rows of the terminal on standard output, if it is one.
pub fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
