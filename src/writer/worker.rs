//! The writer's thread.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::{Builder, Uuid};

use super::{
    CLOSED, CRASHED, Command, Published, RUNNING, Reply, Shared,
    file::{Batch, Failure, Link, Outcome},
    keeper::Keeper,
    unpoisoned,
};
use crate::{
    Error, Timestamp,
    config::{Fsync, UsageStatistics},
    event::{EventRef, Show, UNKNOWN_MODEL},
    index::{Index, Snapshot},
    queue::Events,
    store::MAX_LINE,
    sync::{atomic::Ordering, mpsc, thread},
};

/// How long a full backlog waits for the file before the file counts as one that cannot be written.
const PATIENCE: Duration = Duration::from_secs(1);

/// The waits between tries to write a file that cannot be written: the first, doubled each time up to the last.
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// However fast events come, lines are written no more often than this for their number: to wake the file's thread, write
/// and sync costs as much as hundreds of calls.
pub(crate) const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// So many bytes of lines are written before that, which are some thousand: to wait for more would save hardly anything, and
/// the buffers would grow beyond what is [kept](KEPT_BUFFER) of them.
pub(crate) const MOST_PACED: usize = 512 * 1024;

/// Room for lines that is kept between batches.
const KEPT_BUFFER: usize = 1 << 20;

pub(super) struct Worker<T> {
    // The first four go in this order, on a panic as well; see the module.
    keeper: Option<Keeper>,
    file: Link,
    end: End,
    commands: mpsc::Receiver<Command>,

    events: Events<T>,
    index: Index,
    settings: UsageStatistics,
    shared: Arc<Shared>,
    ids: Ids,

    /// Lines that wait for the file.
    pending: Batch,
    /// The other buffer, while no batch is under way.
    spare: Vec<u8>,
    /// The line that is being made.
    line: Vec<u8>,
    /// Events that were accepted so far, how many of them are in the file, and how many of those for good.
    accepted: u64,
    written: u64,
    durable: u64,
    /// When lines are written however few they are: no event that waits came earlier than the interval before this.
    due: Option<Instant>,
    /// When lines are written for their number, not before, unless they are [many](MOST_PACED).
    paced_until: Instant,
    /// When what is in the file is synced although there is nothing to write.
    sync_due: Option<Instant>,
    /// When what went wrong without keeping lines from being written is tried again, although there is nothing to write.
    complaint_due: Option<Instant>,
    /// Set while the file cannot be written.
    retry: Option<Retry>,
    /// A flush that is not answered yet, or the end, has been asked for since the last try began, and does not wait for the
    /// next retry.
    is_urgent: bool,
    /// The file has not answered for a while.
    hangs: bool,
    /// The last failure, until all is well again.
    failure: Option<Failure>,
    closing: Option<Closing>,

    snapshots: Vec<Reply<Arc<Snapshot>>>,
    flushes: Vec<Flush>,
    closes: Vec<Reply<Result<(), Error>>>,
}

struct Flush {
    /// How many events have to be durable. Not known before what is queued has been taken.
    upto: Option<u64>,
    reply: Reply<Result<(), Error>>,
}

enum Next {
    Again,
    Wait(Option<Instant>),
    End,
}

#[derive(Debug)]
struct Retry {
    at: Instant,
    wait: Duration,
}

#[derive(Debug)]
struct Closing {
    /// When to stop trying.
    until: Option<Instant>,
    /// A try that began since then failed.
    failed: bool,
}

impl<T: Show> Worker<T> {
    pub(super) fn new(
        keeper: Option<Keeper>,
        file: Link,
        events: Events<T>,
        commands: mpsc::Receiver<Command>,
        index: Index,
        settings: &UsageStatistics,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            keeper,
            file,
            end: End(Arc::clone(&shared)),
            commands,
            events,
            index,
            settings: settings.clone(),
            shared,
            ids: Ids::new(),
            pending: Batch::default(),
            spare: Vec::new(),
            line: Vec::new(),
            accepted: 0,
            written: 0,
            durable: 0,
            due: Instant::now().checked_add(settings.flush_interval),
            paced_until: Instant::now(),
            sync_due: None,
            complaint_due: None,
            retry: None,
            is_urgent: false,
            hangs: false,
            failure: None,
            closing: None,
            snapshots: Vec::new(),
            flushes: Vec::new(),
            closes: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        self.events.attach();
        loop {
            match self.turn(Instant::now()) {
                Next::Again => {}
                Next::Wait(deadline) => self.events.wait(deadline),
                Next::End => break,
            }
        }
        self.finish();
    }

    fn turn(&mut self, now: Instant) -> Next {
        if let Some(outcome) = self.file.outcome() {
            self.settle(outcome, now);
        }
        self.hear();
        if self.events.is_closed() && self.closing.is_none() {
            self.begin_closing(now);
        }
        self.drain();
        // Only now: all that was pushed before a command was sent is accepted, or shed.
        self.answer_snapshots();
        self.answer_flushes();
        if let Some(closing) = &self.closing {
            if !self.events.is_drained() {
                // A push was let in and has not arrived: a matter of nanoseconds, unless its thread lost its core.
                thread::yield_now();
                return Next::Again;
            }
            if !self.file.is_busy() && self.is_over(closing, now) {
                return Next::End;
            }
        }
        self.write(now);
        self.rest(now)
    }

    fn hear(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Retire(before) => self.index.retire(before),
                Command::Snapshot(reply) => self.snapshots.push(reply),
                Command::Flush(reply) => {
                    self.flushes.push(Flush { upto: None, reply });
                    self.is_urgent = true;
                }
                Command::Close(reply) => {
                    self.closes.push(reply);
                    self.events.close();
                }
            }
        }
    }

    fn begin_closing(&mut self, now: Instant) {
        // If it was the end of the last recorder that closed the queue, this fixes the number of pushes.
        self.events.close();
        self.closing = Some(Closing { until: now.checked_add(self.settings.drop_deadline), failed: false });
        self.is_urgent = true;
    }

    /// Takes what is in the queue, or all that can still come once it is closed.
    fn drain(&mut self) {
        let now = Timestamp::now();
        let mut waiting = self.events.waiting();
        while let Some(item) = self.events.next(&mut waiting) {
            item.show(|event| self.take(event, now));
        }
        self.shared.accepted.store(self.accepted, Ordering::Relaxed);
    }

    /// Accepts `event`, or sheds it.
    fn take(&mut self, event: EventRef<'_>, now: Timestamp) {
        let mut id = Uuid::encode_buffer();
        let mut event = event;
        if event.id.is_none_or(str::is_empty) {
            event.id = Some(self.ids.next(now).simple().encode_lower(&mut id));
        }
        if event.model.is_empty() {
            event.model = UNKNOWN_MODEL;
        }
        self.line.clear();
        event.write_line(&mut self.line);
        let is_too_long = self.line.len() > MAX_LINE;
        self.line.push(b'\n');
        if is_too_long {
            self.shared.too_long.fetch_add(1, Ordering::Release);
            return;
        }
        if !self.make_room() {
            self.shared.backlog_full.fetch_add(1, Ordering::Release);
            return;
        }
        self.pending.bytes.extend_from_slice(&self.line);
        self.pending.lines += 1;
        self.accepted += 1;
        self.index.insert(event);
    }

    /// Room for the line in the backlog; false if there is none and the file cannot be written.
    fn make_room(&mut self) -> bool {
        loop {
            let waiting = self.pending.bytes.len() + self.file.bytes_in_flight();
            if waiting == 0 || waiting + self.line.len() <= self.settings.backlog_bytes {
                return true;
            }
            if self.retry.is_some() || self.hangs {
                return false;
            }
            if !self.file.is_busy() {
                self.submit(Instant::now());
            }
            match self.file.outcome_within(PATIENCE) {
                Some(outcome) => self.settle(outcome, Instant::now()),
                None => self.hangs = true,
            }
        }
    }

    fn answer_snapshots(&mut self) {
        let is_last = self.closing.is_some() && self.events.is_drained();
        if is_last && self.shared.published().is_last {
            let snapshot = Arc::clone(&self.shared.published().snapshot);
            self.snapshots.drain(..).for_each(|reply| reply(Arc::clone(&snapshot)));
        } else if is_last || !self.snapshots.is_empty() {
            let snapshot = self.index.snapshot();
            let published =
                Published { snapshot: Arc::clone(&snapshot), settled: self.events.settled(), is_last };
            let before = mem::replace(&mut *self.shared.published(), published);
            self.snapshots.drain(..).for_each(|reply| reply(Arc::clone(&snapshot)));
            // Not under the lock: this may be its last owner.
            drop(before);
        }
    }

    /// Those whose events are durable. While closing, everybody waits for the end.
    fn answer_flushes(&mut self) {
        if self.closing.is_none() {
            let Self { accepted, durable, .. } = *self;
            let done = self.flushes.extract_if(.., |flush| *flush.upto.get_or_insert(accepted) <= durable);
            done.for_each(|flush| (flush.reply)(Ok(())));
        }
    }

    /// The queue is drained and the file's thread idle: is there any use in going on?
    fn is_over(&self, closing: &Closing, now: Instant) -> bool {
        if self.durable == self.accepted {
            return true;
        }
        // All is written and only the sync failed; or it cannot be written, and the time is up.
        let is_late = closing.until.is_some_and(|until| now >= until);
        closing.failed && (self.pending.bytes.is_empty() || (self.retry.is_some() && is_late))
    }

    /// Gives the lines that wait to the file's thread, or has it sync those that did, if it is idle and it is time.
    fn write(&mut self, now: Instant) {
        if self.file.is_busy() {
            return;
        }
        if self.written == self.accepted {
            // Whatever comes next comes after `now`, and waits no longer than it may.
            self.due = now.checked_add(self.settings.flush_interval);
        }
        let is_past = |at: Option<Instant>| at.is_some_and(|at| now >= at);
        let is_unwell = self.complaint_due.is_some() && (self.is_urgent || is_past(self.complaint_due));
        if self.durable == self.accepted && !is_unwell {
            return;
        }
        let is_time = match &self.retry {
            Some(retry) => self.is_urgent || now >= retry.at,
            None => {
                self.closing.is_some()
                    || !self.flushes.is_empty()
                    || is_unwell
                    || self.is_full() && (now >= self.paced_until || self.pending.bytes.len() >= MOST_PACED)
                    || is_past(self.due)
                    || is_past(self.sync_due)
            }
        };
        if is_time {
            self.due = now.checked_add(self.settings.flush_interval);
            self.submit(now);
        }
    }

    /// As many lines wait as are to be written at once.
    fn is_full(&self) -> bool {
        self.pending.lines >= self.settings.flush_events
    }

    fn submit(&mut self, now: Instant) {
        self.is_urgent = false;
        self.paced_until = now + LEAST_INTERVAL;
        let sync = match self.settings.fsync {
            Fsync::Flush => true,
            Fsync::Interval(_) => {
                self.closing.is_some()
                    || !self.flushes.is_empty()
                    || self.sync_due.is_some_and(|due| now >= due)
            }
            Fsync::None => false,
        };
        let next = Batch { bytes: mem::take(&mut self.spare), lines: 0 };
        self.file.submit(mem::replace(&mut self.pending, next), self.accepted, sync);
    }

    fn settle(&mut self, outcome: Outcome, now: Instant) {
        let Outcome { mut rest, upto, sync, complains, result } = outcome;
        let is_written = rest.bytes.is_empty();
        if is_written {
            self.written = upto;
            rest.bytes.shrink_to(KEPT_BUFFER);
            self.spare = rest.bytes;
        } else {
            // Back in front of what has come since, to the byte.
            rest.bytes.append(&mut self.pending.bytes);
            rest.lines += self.pending.lines;
            self.spare = mem::replace(&mut self.pending, rest).bytes;
        }
        self.hangs = false;
        self.complaint_due = if complains { now.checked_add(self.settings.flush_interval) } else { None };
        match result {
            Ok(()) => {
                self.retry = None;
                match self.settings.fsync {
                    // The disk is well only if what failed before, which may have been a sync, is done.
                    Fsync::Interval(interval) if !sync => {
                        self.sync_due = self.sync_due.or_else(|| now.checked_add(interval));
                        if self.failure.as_ref().is_some_and(|failure| failure.is_sync) {
                            return;
                        }
                    }
                    _ => (self.durable, self.sync_due) = (upto, None),
                }
                self.failure = None;
                unpoisoned(&self.shared.health).is_well();
            }
            Err(failure) => {
                // A failed sync does not hold up the lines behind it; a failed write does.
                self.retry = (!is_written).then(|| Retry::after(self.retry.take(), now));
                if failure.is_sync {
                    self.sync_due = now.checked_add(self.settings.flush_interval);
                }
                unpoisoned(&self.shared.health).fails(self.shared.text(&failure.complaint));
                match &mut self.closing {
                    // One that began before the end was asked for is not its only try.
                    Some(closing) => closing.failed |= !self.is_urgent,
                    None => {
                        for flush in mem::take(&mut self.flushes) {
                            (flush.reply)(Err(failure.error(&self.shared.path)));
                        }
                        // Nobody waits any more, whether or not this try began before it was asked for.
                        self.is_urgent = false;
                    }
                }
                self.failure = Some(failure);
            }
        }
    }

    /// What there is to wait for, besides the bell.
    fn rest(&self, now: Instant) -> Next {
        // The clock wakes this thread then, and no call has to, unless many come.
        let is_paced = self.is_full() || now < self.paced_until;
        let is_blocked = self.file.is_busy() || self.retry.is_some() || is_paced;
        let more = if is_blocked {
            // Nothing can be written now: no need to be woken before there is a lot.
            self.events.half()
        } else {
            self.settings.flush_events.saturating_sub(self.pending.lines)
        };
        if self.closing.is_none() && !self.events.arm(more.max(1) as u64) {
            if self.events.is_empty() {
                // Counted, but not arrived yet.
                thread::yield_now();
            }
            return Next::Again;
        }
        Next::Wait(match (&self.retry, &self.closing) {
            _ if self.file.is_busy() => None,
            (Some(retry), Some(Closing { until: Some(until), .. })) => Some(retry.at.min(*until)),
            (Some(retry), _) => Some(retry.at),
            (None, _) => {
                let paced = is_paced.then_some(self.paced_until);
                [self.due, paced, self.sync_due, self.complaint_due].into_iter().flatten().min()
            }
        })
    }

    /// Steps 5 to 8 of the end.
    fn finish(self) {
        let Self { keeper, file, end, flushes, closes, failure, shared, .. } = self;
        drop(keeper);
        drop(file);
        end.mark(CLOSED);
        for reply in closes.into_iter().chain(flushes.into_iter().map(|flush| flush.reply)) {
            reply(failure.as_ref().map_or(Ok(()), |failure| Err(failure.error(&shared.path))));
        }
    }
}

impl Retry {
    fn after(before: Option<Self>, now: Instant) -> Self {
        let wait = before.map_or(FIRST_RETRY, |before| (before.wait * 2).min(LAST_RETRY));
        Self { at: now + wait, wait }
    }
}

/// Makes ids: UUIDs of version 7 whose random part is drawn once and counted up from there (RFC 9562, section 6.2,
/// method 2). To draw it for each costs as much as to make the line.
struct Ids(u128);

impl Ids {
    fn new() -> Self {
        Self(Uuid::now_v7().as_u128())
    }

    fn next(&mut self, now: Timestamp) -> Uuid {
        self.0 = self.0.wrapping_add(1);
        let [_, _, _, _, _, _, random @ ..] = self.0.to_be_bytes();
        let millis = u64::try_from(now.unix_millis()).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

/// Marks the writer's end, by whatever way it comes.
struct End(Arc<Shared>);

impl End {
    fn mark(&self, how: u8) {
        // The first mark stays.
        let _ = self.0.end.compare_exchange(RUNNING, how, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.mark(CRASHED);
    }
}

#[cfg(test)]
#[cfg(not(interleaved))]
mod tests {
    use std::io;

    use super::*;
    use crate::{UsageEvent, queue, store::faulty::Faulty, writer::WriterHandle};

    #[test]
    fn calls_that_keep_coming_wake_nobody_to_have_their_lines_written() {
        let (mut worker, record, written) = after_a_write();
        let Next::Wait(Some(until)) = worker.turn(written) else { panic!("there is nothing to wait for") };
        assert_eq!(until, written + LEAST_INTERVAL);
        let calls = worker.events.half() - 1;
        (0..calls).for_each(|_| record());
        assert!(!worker.events.is_rung());
        assert!(matches!(worker.turn(until), Next::Wait(None)));
        worker.events.wait(None);
        assert!(matches!(worker.turn(until), Next::Wait(Some(_))));
        assert_eq!(worker.durable, calls as u64 + 1);
    }

    #[test]
    fn lines_that_have_become_many_are_written_before_it_is_time() {
        let (mut worker, record, written) = after_a_write();
        let soon = written + LEAST_INTERVAL / 2;
        while worker.pending.bytes.len() < MOST_PACED {
            assert!(matches!(worker.turn(soon), Next::Wait(Some(_))));
            (0..worker.events.half()).for_each(|_| record());
            assert!(worker.events.is_rung());
            worker.drain();
        }
        assert!(matches!(worker.turn(soon), Next::Wait(None)));
        worker.events.wait(None);
        worker.turn(soon);
        assert_eq!(worker.durable, worker.accepted);
    }

    #[test]
    fn a_flush_that_a_failed_try_has_answered_does_not_ask_for_another() {
        let disk = Faulty::default();
        disk.plan(|plan| plan.error = Some(io::ErrorKind::Other));
        let (handle, mut worker, record) = on(&disk);
        let start = Instant::now();
        record();
        assert!(matches!(worker.turn(start), Next::Wait(None)));
        let flush = handle.ask_blocking(Command::Flush);
        worker.hear();
        let outcome = worker.file.outcome_within(Duration::from_secs(3600)).unwrap();
        worker.settle(outcome, start);
        assert!(flush.recv().unwrap().is_err());
        let Next::Wait(Some(until)) = worker.turn(start) else { panic!("it is tried again at once") };
        assert_eq!((until, disk.calls()), (start + FIRST_RETRY, 1));
    }

    /// A writer that writes each line at once, and what gives it one.
    fn on(disk: &Faulty) -> (WriterHandle, Worker<UsageEvent>, impl Fn() + use<>) {
        let settings = UsageStatistics { flush_events: 1, ..UsageStatistics::default() };
        let (recorder, events) = queue::channel(settings.queue_capacity);
        let opened = disk.open();
        let (handle, worker) =
            WriterHandle::prepare(events, Index::default(), opened, "u.json".into(), &settings).unwrap();
        worker.events.attach();
        (handle, worker, move || recorder.push(UsageEvent::new(Timestamp::now(), "gpt-4o")))
    }

    /// A writer that has just written a line, what gives it one more, and when the first was.
    fn after_a_write() -> (Worker<UsageEvent>, impl Fn(), Instant) {
        let (_handle, mut worker, record) = on(&Faulty::default());
        let start = Instant::now();
        assert!(matches!(worker.turn(start), Next::Wait(Some(_))));
        record();
        assert!(worker.events.is_rung(), "after a rest, the first is written at once");
        assert!(matches!(worker.turn(start), Next::Wait(None)));
        // The file's thread says that it is done.
        worker.events.wait(None);
        (worker, record, start)
    }
}
