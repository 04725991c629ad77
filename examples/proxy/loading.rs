//! What a user sees of a long load.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use tower_llm_usage::Progress;

/// A line on the terminal that says how far the load of the history is, if that takes longer than a second.
#[derive(Debug)]
pub(crate) struct Loading<W: Write = io::Stderr> {
    terminal: W,
    /// When the line is written next. `None`: never.
    due: Option<Instant>,
    is_shown: bool,
}

/// Faster than a load that is worth a line, slow enough to be read.
const INTERVAL: Duration = Duration::from_millis(200);

impl Loading {
    pub(crate) fn start() -> Self {
        let stderr = io::stderr();
        let is_terminal = stderr.is_terminal();
        Self::on(stderr, is_terminal, Instant::now())
    }
}

impl<W: Write> Loading<W> {
    pub(crate) fn on(terminal: W, is_terminal: bool, now: Instant) -> Self {
        Self { terminal, due: is_terminal.then(|| now + Duration::from_secs(1)), is_shown: false }
    }

    pub(crate) fn show(&mut self, progress: &Progress, now: Instant) {
        if self.due.is_none_or(|due| now < due) {
            return;
        }
        self.due = Some(now + INTERVAL);
        self.is_shown = true;
        let Progress { bytes, total_bytes, events, .. } = *progress;
        let percent = bytes.saturating_mul(100) / total_bytes.max(1);
        // Nobody may be there to read it, which is no reason to stop.
        let _ = write!(self.terminal, "\r  loading      {percent} % ({events} events)");
        let _ = self.terminal.flush();
    }
}

/// Clears the line, for whatever comes next.
impl<W: Write> Drop for Loading<W> {
    fn drop(&mut self) {
        if self.is_shown {
            let _ = write!(self.terminal, "\r\x1b[K");
            let _ = self.terminal.flush();
        }
    }
}
