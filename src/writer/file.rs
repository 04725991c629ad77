//! The thread that appends to the file, and the writer's link to it.

use std::{io, mem, path::Path, sync::Arc, time::Duration};

use super::{Shared, unpoisoned};
use crate::{
    Error,
    store::{Appender, Complaint, Disk},
    sync::{
        atomic::Ordering,
        mpsc,
        thread::{self, JoinHandle},
    },
};

/// Whole lines on their way to the file; after a write that fell short, the rest of them.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Line ends in `bytes`.
    pub(super) lines: usize,
}

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What is not in the file. Empty if all is, and then good for the next batch.
    pub(super) rest: Batch,
    /// The number given with the batch.
    pub(super) upto: u64,
    /// It was to be synced as well.
    pub(super) sync: bool,
    /// Something else is to be tried again. With an empty batch that is all that is done.
    pub(super) complains: bool,
    pub(super) result: Result<(), Failure>,
}

#[derive(Debug)]
pub(super) struct Failure {
    pub(super) complaint: Complaint,
    /// All is written, and it is only the sync that failed.
    pub(super) is_sync: bool,
}

impl Failure {
    /// For one of those who are to be told; each gets a copy of its own.
    pub(super) fn error(&self, path: &Path) -> Error {
        let Complaint { action, source } = &self.complaint;
        Error::file(path, action, io::Error::new(source.kind(), source.to_string()))
    }
}

/// The writer's link to the file's thread, which takes one batch at a time. Its end is the end of the thread.
pub(super) struct Link {
    batches: Option<mpsc::Sender<Order>>,
    outcomes: mpsc::Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
    /// Bytes in the batch that the thread has at the moment.
    in_flight: Option<usize>,
}

struct Order {
    batch: Batch,
    upto: u64,
    sync: bool,
}

const LIVES: &str = "the file's thread lives as long as its link";

impl Link {
    pub(super) fn spawn<D: Disk + 'static>(
        mut appender: Appender<D>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let (batches, given) = mpsc::channel();
        let (done, outcomes) = mpsc::channel();
        let run = move || {
            for order in given.iter() {
                if done.send(append(&mut appender, &shared, order)).is_err() {
                    break;
                }
                shared.tally.ring();
            }
        };
        let thread = thread::Builder::new().name("llm-usage-file".into()).spawn(run)?;
        Ok(Self { batches: Some(batches), outcomes, thread: Some(thread), in_flight: None })
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(super) fn bytes_in_flight(&self) -> usize {
        self.in_flight.unwrap_or(0)
    }

    /// Gives `batch` to the thread, which must not be busy, to append it and, if `sync`, to have it survive a loss of
    /// power. `upto` comes back with the outcome.
    pub(super) fn submit(&mut self, batch: Batch, upto: u64, sync: bool) {
        debug_assert!(!self.is_busy());
        self.in_flight = Some(batch.bytes.len());
        if let Some(batches) = &self.batches {
            batches.send(Order { batch, upto, sync }).expect(LIVES);
        }
    }

    /// What became of the batch that was submitted, once that is known.
    pub(super) fn outcome(&mut self) -> Option<Outcome> {
        match self.outcomes.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(mpsc::TryRecvError::Empty) => return None,
            Err(mpsc::TryRecvError::Disconnected) => panic!("{LIVES}"),
        }
        .inspect(|_| self.in_flight = None)
    }

    /// As [`outcome`](Self::outcome), waiting for `limit` at most.
    pub(super) fn outcome_within(&mut self, limit: Duration) -> Option<Outcome> {
        match self.outcomes.recv_timeout(limit) {
            Ok(outcome) => Some(outcome),
            Err(mpsc::RecvTimeoutError::Timeout) => return None,
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("{LIVES}"),
        }
        .inspect(|_| self.in_flight = None)
    }
}

/// Waits for the thread, so that the file is closed and its lock gone when the link is.
impl Drop for Link {
    fn drop(&mut self) {
        drop(self.batches.take());
        if let Some(thread) = self.thread.take() {
            // Its panic has become the writer's already, or comes when nothing is left to do.
            let _ = thread.join();
        }
    }
}

fn append<D: Disk>(appender: &mut Appender<D>, shared: &Shared, order: Order) -> Outcome {
    let Order { mut batch, upto, sync } = order;
    let (written, result) = appender.append(&batch.bytes);
    let lines = memchr::memchr_iter(b'\n', &batch.bytes[..written]).count();
    // Counted here and not by the writer, so that it is right even if the writer has crashed.
    shared.persisted.fetch_add(lines as u64, Ordering::Release);
    shared.bytes.store(appender.bytes(), Ordering::Relaxed);
    let complaint = appender.complaint().map(|complaint| shared.text(complaint));
    let complains = complaint.is_some();
    unpoisoned(&shared.health).rotates(complaint);
    let rest = if written == batch.bytes.len() {
        batch.bytes.clear();
        Batch { bytes: mem::take(&mut batch.bytes), lines: 0 }
    } else {
        Batch { bytes: batch.bytes.split_off(written), lines: batch.lines - lines }
    };
    let result = match result {
        Ok(()) if sync => appender.sync().map_err(|source| Failure {
            complaint: Complaint { action: "sync the usage file", source },
            is_sync: true,
        }),
        Ok(()) => Ok(()),
        Err(source) => Err(Failure {
            complaint: Complaint { action: "write to the usage file", source },
            is_sync: false,
        }),
    };
    Outcome { rest, upto, sync, complains, result }
}
