//! The thread that writes: takes events from the queue, appends them to the file and feeds the index.
//!
//! Three threads, in fact. The *writer* takes events, feeds the index, makes lines and answers; it never touches the
//! file. The *file's thread* does nothing but append and sync what it is given, one batch at a time. So a disk that
//! hangs holds up neither queries nor the emptying of the queue. The *keeper*, where there is something to keep, looks
//! after closed segments, which nobody else touches: it may take its time.
//!
//! An event that is taken from the queue is either *accepted*: it is in the index and its line waits for the file;
//! or it is *shed*: in neither, and counted as dropped. So an answer from the index and the counts agree. Events are
//! shed only when as many bytes of lines wait as the settings allow *and* the file cannot be written: the last try
//! failed, or has been hanging for a second. With a file that is merely slow, the writer waits and the queue fills.
//!
//! # The end, step by step, and what each step prevents
//!
//! It begins with a call of `close`, or with the last recorder.
//!
//! 1. The queue is closed. From here on a push drops and counts its event. *Before the last look into the queue, or
//!    an event could get in after it and would be neither written nor counted.*
//! 2. The queue is emptied until every push from before the closing is settled. *A push may have been let in and not
//!    have arrived yet; see the queue.*
//! 3. The last snapshot is published, as the last. *Before the rest is written, or queries would wait for a disk
//!    that hangs; after the queue is empty, or they would miss events for ever.*
//! 4. What waits is written and synced. If that fails it is tried again until the deadline, then given up.
//! 5. The keeper ends, then the file's thread, which closes the file and lets go of the lock. *In this order, or the
//!    keeper would be at files that are somebody else's; and before anybody is answered, or whoever opens the file
//!    again after `close` would find it locked.*
//! 6. The end is marked, which makes whatever is not in the file dropped. *Before anybody is answered, or
//!    the counts read after `close` could still change.*
//! 7. All who wait for a flush or a close are answered, with the same result.
//! 8. The commands' receiver goes, with all commands in it, whose askers find their reply gone. *After 6, so that
//!    they can tell an end from a crash.*
//!
//! A panic on the way unwinds through steps 5, 6 and 8 in the same order, by the order of the worker's fields.

mod file;
mod keeper;
mod worker;

use std::{
    fmt, io, mem,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use keeper::Keeper;
use tokio::sync::oneshot;
use worker::Worker;
pub(crate) use worker::{LEAST_INTERVAL, MOST_PACED};

use crate::{
    Error, Timestamp,
    config::UsageStatistics,
    event::Show,
    index::{self, Draft, Index, Snapshot},
    queue::{Events, Tally},
    store::{Aggregate, Complaint, Disk, History, Inventory, Opened, Past},
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU8, AtomicU64, Ordering},
        mpsc, thread,
    },
};

/// Takes in what the history is made of.
pub(crate) fn take_in(index: &mut Index, past: Past<'_, Draft>) {
    match past {
        Past::Events(draft) => index.take(draft),
        Past::Sums(Aggregate { cell, counts }) => index.insert_aggregate(&index::Aggregate {
            start: cell.start,
            model: &cell.model,
            key: cell.key,
            provider: cell.provider.as_deref(),
            class: cell.class,
            sums: index::Sums {
                requests: counts.requests,
                errors: counts.errors,
                aborted: counts.aborted,
                unknown: counts.unknown,
                input: counts.input,
                output: counts.output,
                total: counts.total,
                cache_read: counts.cache_read,
                cache_write: counts.cache_write,
                cache_write_1h: counts.cache_write_1h,
                reasoning: counts.reasoning,
            },
            spent: index::Spent {
                timed: counts.timed,
                duration: counts.duration_us / 1000,
                first_bytes: counts.first_bytes,
                first_byte: counts.first_byte_us / 1000,
            },
        }),
    }
}

/// How the writer is spoken to. Cheap to clone; does not keep the writer alive.
#[derive(Clone)]
pub(crate) struct WriterHandle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

impl WriterHandle {
    /// Starts the writer with `index`, which holds the history that was opened. It ends on `close`, or after the last
    /// recorder.
    ///
    /// `path` is for messages.
    pub(crate) fn spawn<T, D>(
        events: Events<T>,
        index: Index,
        opened: Opened<D>,
        path: PathBuf,
        settings: &UsageStatistics,
    ) -> io::Result<Self>
    where
        T: Show + Send + 'static,
        D: Disk + 'static,
    {
        let (handle, worker) = Self::prepare(events, index, opened, path, settings)?;
        thread::Builder::new().name("llm-usage-writer".into()).spawn(move || worker.run())?;
        Ok(handle)
    }

    /// All but the writer's own thread.
    fn prepare<T, D>(
        events: Events<T>,
        mut index: Index,
        opened: Opened<D>,
        path: PathBuf,
        settings: &UsageStatistics,
    ) -> io::Result<(Self, Worker<T>)>
    where
        T: Show,
        D: Disk + 'static,
    {
        let Opened { mut appender, history, inventory, upkeep } = opened;
        let (sender, commands) = mpsc::channel();
        let shared = Arc::new(Shared {
            tally: Arc::clone(events.tally()),
            path,
            bytes: AtomicU64::new(appender.bytes()),
            history,
            inventory: Mutex::new(inventory),
            accepted: AtomicU64::new(0),
            persisted: AtomicU64::new(0),
            backlog_full: AtomicU64::new(0),
            too_long: AtomicU64::new(0),
            since: Timestamp::now(),
            health: Mutex::default(),
            published: Mutex::new(Published { snapshot: index.snapshot(), settled: 0, is_last: false }),
            end: AtomicU8::new(RUNNING),
        });
        let handle = Self { commands: sender, shared: Arc::clone(&shared) };
        let keeper = upkeep.map(|upkeep| Keeper::spawn(upkeep, handle.clone())).transpose()?;
        if let Some(keeper) = &keeper {
            appender.report_to(keeper.bell());
        }
        let file = file::Link::spawn(appender, Arc::clone(&shared))?;
        Ok((handle, Worker::new(keeper, file, events, commands, index, settings, shared)))
    }

    /// Everything recorded before this call, flushed or not. After `close`, the last state there was.
    ///
    /// Asks the writer only if something was recorded since it was last asked.
    pub(crate) async fn snapshot(&self) -> Arc<Snapshot> {
        if let Some(snapshot) = self.shared.published().complete(&self.shared.tally) {
            return snapshot;
        }
        match self.ask(Command::Snapshot).await {
            Ok(snapshot) => snapshot,
            Err(_) => Arc::clone(&self.shared.published().snapshot),
        }
    }

    /// [`snapshot`](Self::snapshot) for threads that may wait.
    pub(crate) fn snapshot_blocking(&self) -> Arc<Snapshot> {
        if let Some(snapshot) = self.shared.published().complete(&self.shared.tally) {
            return snapshot;
        }
        match self.ask_blocking(Command::Snapshot).recv() {
            Ok(snapshot) => snapshot,
            Err(_) => Arc::clone(&self.shared.published().snapshot),
        }
    }

    /// Writes what is queued, and answers when it is on disk.
    pub(crate) async fn flush(&self) -> Result<(), Error> {
        self.ask(Command::Flush).await.unwrap_or_else(|_| Err(Error::closed()))
    }

    pub(crate) fn flush_blocking(&self) -> Result<(), Error> {
        self.ask_blocking(Command::Flush).recv().unwrap_or_else(|_| Err(Error::closed()))
    }

    /// [`flush_blocking`](Self::flush_blocking) that waits for `limit` at most. If the last recorder is gone, waits
    /// until the file is closed, too.
    pub(crate) fn flush_within(&self, limit: Duration) {
        // Whether it came to its end, failed or ran out of time: nobody is left to be told.
        let _ = self.ask_blocking(Command::Flush).recv_timeout(limit);
    }

    /// Writes what is queued and ends the writer; what is pushed from now on is dropped. Closing twice is harmless.
    pub(crate) async fn close(&self) -> Result<(), Error> {
        self.ask(Command::Close).await.unwrap_or_else(|_| self.shared.result_of_end())
    }

    pub(crate) fn close_blocking(&self) -> Result<(), Error> {
        self.ask_blocking(Command::Close).recv().unwrap_or_else(|_| self.shared.result_of_end())
    }

    /// A few loads and, for the error's text, a lock that nobody holds for long.
    pub(crate) fn status(&self) -> Status {
        self.shared.status()
    }

    /// Switches recording on or off, as a recorder does.
    pub(crate) fn set_recording(&self, on: bool) {
        self.shared.tally.set_on(on);
    }

    fn ask<R: Send + 'static>(&self, command: impl FnOnce(Reply<R>) -> Command) -> oneshot::Receiver<R> {
        let (reply, answer) = oneshot::channel();
        self.send(command(Box::new(|result| {
            // Whoever asked may have left.
            let _ = reply.send(result);
        })));
        answer
    }

    /// As `ask`, but to be waited for on any thread, inside a runtime or not.
    fn ask_blocking<R: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<R>) -> Command,
    ) -> mpsc::Receiver<R> {
        let (reply, answer) = mpsc::channel();
        self.send(command(Box::new(move |result| {
            let _ = reply.send(result);
        })));
        answer
    }

    fn send(&self, command: Command) {
        // With the writer gone, the command goes, and its reply with it, which is what the asker waits for.
        let _ = self.commands.send(command);
        self.shared.tally.ring();
    }
}

impl fmt::Debug for WriterHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WriterHandle").field(&self.status()).finish()
    }
}

/// Where the events are, and how the file is.
///
/// At every moment `observed = persisted + queued + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Calls are recorded at the moment.
    pub recording: bool,
    /// Events that were to be recorded since the start.
    pub observed: u64,
    /// Events that are in the file.
    pub persisted: u64,
    /// Events on their way to the file.
    pub queued: u64,
    /// Events lost, for whatever reason.
    pub dropped: u64,
    /// The same by reason. Their sum is `dropped`.
    pub dropped_by: Dropped,
    /// Events that were loaded, and those recorded since. Of those that were removed before the start there are only
    /// sums, which are not counted here.
    pub events: u64,
    /// Lines of the history that could not be read.
    pub bad_lines: u64,
    /// The numbers of the first 20 of those in the usage file itself, counted from 1. In closed segments they are only
    /// counted: what has been compressed or removed has no lines to look up.
    pub bad_line_numbers: Vec<u64>,
    /// The length of the file.
    pub file_bytes: u64,
    /// When the writer was started: what the counts above count from.
    pub since: Option<Timestamp>,
    /// When the file was written to, or synced, without an error last.
    pub last_flush: Option<Timestamp>,
    /// Closed segments beside the file.
    pub segments: u64,
    /// Their length, compressed or not.
    pub segment_bytes: u64,
    /// Why the file cannot be written, synced or rotated at the moment, or a segment not be compressed or removed.
    pub error: Option<String>,
    /// The last such reason, over or not.
    pub last_error: Option<LastError>,
}

/// Events lost, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// The queue to the writer was full
    /// ([`queue_capacity`](crate::UsageStatistics::queue_capacity)): events come faster than they can be written.
    pub queue_full: u64,
    /// The file could not be written, and as many bytes as may wait were waiting
    /// ([`backlog_bytes`](crate::UsageStatistics::backlog_bytes)).
    pub backlog_full: u64,
    /// The event's line would have been longer than the 1 MiB that is read.
    pub too_long: u64,
    /// They came after the end.
    pub closed: u64,
    /// They waited for a file that could not be written before the end.
    pub unwritten: u64,
}

impl Dropped {
    fn sum(&self) -> u64 {
        let Self { queue_full, backlog_full, too_long, closed, unwritten } = self;
        queue_full + backlog_full + too_long + closed + unwritten
    }
}

/// Why the file could not be written or looked after.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastError {
    /// When this was found last.
    pub at: Timestamp,
    /// What could not be done, and why.
    pub text: String,
}

enum Command {
    /// What was from before then is in no file any more.
    Retire(Timestamp),
    Snapshot(Reply<Arc<Snapshot>>),
    Flush(Reply<Result<(), Error>>),
    Close(Reply<Result<(), Error>>),
}

/// Answers once. Dropped unused, it tells the asker that there is no answer.
type Reply<R> = Box<dyn FnOnce(R) + Send>;

/// What the two threads and the handles share.
struct Shared {
    tally: Arc<Tally>,
    /// The usage file, for messages.
    path: PathBuf,
    inventory: Mutex<Inventory>,
    history: History,
    /// Events taken from the queue into the index.
    accepted: AtomicU64,
    /// Accepted events whose line is whole in the file.
    persisted: AtomicU64,
    /// Events taken from the queue and dropped: for want of room in the backlog, and for their length.
    backlog_full: AtomicU64,
    too_long: AtomicU64,
    since: Timestamp,
    /// The length of the file.
    bytes: AtomicU64,
    health: Mutex<Health>,
    published: Mutex<Published>,
    /// One of the three below.
    end: AtomicU8,
}

const RUNNING: u8 = 0;
const CLOSED: u8 = 1;
const CRASHED: u8 = 2;

impl Shared {
    fn text(&self, complaint: &Complaint) -> String {
        format!("cannot {} {}: {}", complaint.action, self.path.display(), complaint.source)
    }

    fn status(&self) -> Status {
        // Counts of what became of events come before the count of events, for the reason given in the queue; and
        // the end before them all, since at the end they do not change any more.
        let is_over = self.end.load(Ordering::Acquire) != RUNNING;
        let persisted = self.persisted.load(Ordering::Acquire);
        let mut dropped_by = Dropped {
            queue_full: self.tally.full(),
            backlog_full: self.backlog_full.load(Ordering::Acquire),
            too_long: self.too_long.load(Ordering::Acquire),
            closed: self.tally.late(),
            unwritten: 0,
        };
        let observed = self.tally.observed();
        let mut queued = observed - persisted - dropped_by.sum();
        if is_over {
            // Nothing is on its way any more: what is not in the file by now is lost.
            dropped_by.unwritten = mem::take(&mut queued);
        }
        let Health { last_flush, error, rotation, upkeep, last_error } = unpoisoned(&self.health).clone();
        let Inventory { segments, bytes: segment_bytes } = *unpoisoned(&self.inventory);
        Status {
            recording: self.tally.is_on(),
            observed,
            persisted,
            queued,
            dropped: dropped_by.sum(),
            dropped_by,
            events: self.history.events + self.accepted.load(Ordering::Relaxed),
            bad_lines: self.history.bad_lines,
            bad_line_numbers: self.history.first_bad_lines.clone(),
            file_bytes: self.bytes.load(Ordering::Relaxed),
            since: Some(self.since),
            last_flush,
            segments,
            segment_bytes,
            error: error.or(rotation).or(upkeep),
            last_error,
        }
    }

    fn published(&self) -> MutexGuard<'_, Published> {
        unpoisoned(&self.published)
    }

    /// What `close` answers when there was nobody to close.
    fn result_of_end(&self) -> Result<(), Error> {
        match self.end.load(Ordering::Acquire) {
            CLOSED => Ok(()),
            _ => Err(Error::closed()),
        }
    }
}

/// How the file was when it was last written to.
#[derive(Clone, Debug, Default)]
struct Health {
    last_flush: Option<Timestamp>,
    /// Why events cannot be written or synced.
    error: Option<String>,
    /// Why a new file cannot be begun.
    rotation: Option<String>,
    /// Why a segment cannot be looked after.
    upkeep: Option<String>,
    last_error: Option<LastError>,
}

impl Health {
    fn is_well(&mut self) {
        self.last_flush = Some(Timestamp::now());
        self.error = None;
    }

    fn fails(&mut self, text: String) {
        self.note(&text);
        self.error = Some(text);
    }

    fn rotates(&mut self, complaint: Option<String>) {
        complaint.iter().for_each(|text| self.note(text));
        self.rotation = complaint;
    }

    fn keeps(&mut self, complaint: Option<String>) {
        complaint.iter().for_each(|text| self.note(text));
        self.upkeep = complaint;
    }

    fn note(&mut self, text: &str) {
        self.last_error = Some(LastError { at: Timestamp::now(), text: text.to_owned() });
    }
}

/// The snapshot that was made last. Its lock is held for no longer than it takes to clone an `Arc`.
struct Published {
    snapshot: Arc<Snapshot>,
    /// Pushes that were settled when it was made.
    settled: u64,
    /// There will not be another one.
    is_last: bool,
}

impl Published {
    /// The snapshot, unless something was pushed that it does not hold.
    fn complete(&self, tally: &Tally) -> Option<Arc<Snapshot>> {
        (self.is_last || self.settled == tally.observed()).then(|| Arc::clone(&self.snapshot))
    }
}

/// Nothing that is locked here is ever left half changed.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[cfg(interleaved)]
mod interleaved;
#[cfg(test)]
#[cfg(not(interleaved))]
mod tests;
