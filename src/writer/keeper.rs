//! The thread that looks after closed segments.

use std::{io, sync::Arc, time::Duration};

use super::{Command, WriterHandle, unpoisoned};
use crate::{
    Timestamp,
    store::{Done, Upkeep},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
        thread::{self, JoinHandle},
    },
};

/// How long nothing is looked at when nothing happens. Time alone makes segments old.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// How long after a failure it is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The thread that looks after closed segments: one for all of that, at its own pace. Its end is that of the thread.
pub(super) struct Keeper {
    bell: mpsc::Sender<()>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Tells the writer what has left the disk.
    pub(super) fn spawn(upkeep: Upkeep, writer: WriterHandle) -> io::Result<Self> {
        let (bell, rings) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let is_stopped = || stopped.load(Ordering::Relaxed);
            while !is_stopped() {
                let Done { retired, result } = upkeep.run(Timestamp::now(), &is_stopped);
                if let Some(before) = retired {
                    writer.send(Command::Retire(before));
                }
                let shared = &writer.shared;
                if let Ok(inventory) = upkeep.inventory() {
                    *unpoisoned(&shared.inventory) = inventory;
                }
                let wait = if result.is_ok() { IDLE } else { RETRY };
                unpoisoned(&shared.health).keeps(result.err().map(|complaint| shared.text(&complaint)));
                if rings.recv_timeout(wait) == Err(mpsc::RecvTimeoutError::Disconnected) {
                    break;
                }
                // One look serves all that has happened so far.
                while rings.try_recv().is_ok() {}
            }
        };
        let thread = thread::Builder::new().name("llm-usage-keeper".into()).spawn(run)?;
        Ok(Self { bell, stop, thread: Some(thread) })
    }

    /// What to ring when there is something to look at.
    pub(super) fn bell(&self) -> mpsc::Sender<()> {
        self.bell.clone()
    }
}

/// Waits for the thread, so that no file is touched afterwards. What it is at is given up at the next piece.
impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.bell.send(());
        if let Some(thread) = self.thread.take() {
            // If it panicked, segments are left as they were, and the next start looks after them.
            let _ = thread.join();
        }
    }
}
