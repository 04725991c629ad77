//! All events in memory, ready to be asked.
//!
//! ```text
//! Index ─ Day ─ Hour ─ Run ─ columns: the events of a quarter of an hour, sorted by time, at most 2,048 of them
//!   │      └──────┴─────┴─ sums: of all events below; of days and hours also by model, source and kind
//!   └─ prefix sums over the days, by model
//! ```
//!
//! A range of time is cut into the largest parts that lie in it as a whole: all its full days are one subtraction of
//! prefix sums for each model, then come hours, then runs, and at the two ragged ends rows found by binary search.
//! So an answer is exact to the millisecond, and reads the runs of at most two hours row by row.
//!
//! Why a tree, and not columns over the whole history beside one table of prefix sums:
//! - A late event changes its run, its hour and its day, and at the next snapshot the prefix sums of the days after it.
//!   In flat columns it would move every event that came after.
//! - A snapshot shares all nodes with the writer, and the writer copies a node only when it changes it while somebody
//!   still looks (`Arc::make_mut`). Readers hold no lock, and without readers nothing is copied.
//! - Retention can let go of a run's columns and keep its sums; a sealed segment is a day that nobody changes.
//!
//! Runs keep to quarters of an hour because the borders of days do so in every time zone in use: a day of any zone is
//! made of whole runs. The prefix sums end before the last day, so that events of today leave them alone.
//!
//! A day that is over also has sums by model, source and kind at once, unless those are many for its events: what is
//! asked about several of them reads the events of days that are cut, and no others. Likewise it has the hours of each
//! model side by side, for the series of one.
//!
//! Percentiles are read from histograms. A day that is over, and each of its hours, has those of all its events, and the
//! day also those by model, source and kind: a few bits an event, for they are sparse and sealed. By key there would be as
//! many counts as events; where keys matter, and in the parts of days that are cut, events are counted one by one.
//!
//! Sums never wrap: each is the true sum or, where that is larger, `u64::MAX`. This holds for differences of prefix sums
//! too, whatever the history: they are `u128`, and what they add up are days' sums that keep the rule themselves.
//!
//! Model names are told apart up to 10,000 of them and 256 bytes; the rest counts under `__other__`. What no query asks
//! for yet (key, provider, operation, endpoint, status, stream, quality, times) has its columns already: grouping by
//! them is a scan.

#![allow(dead_code, unused_imports, reason = "the routes that ask for all of this come next")]

mod answer;
mod columns;
mod draft;
mod events;
mod histogram;
mod names;
mod plan;
mod prefix;
mod query;
mod retired;
mod sealed;
mod sum;
mod sums;
mod tally;
#[cfg(test)]
pub(crate) mod tests;
mod times;
mod tree;
mod walk;
mod zone;

use std::{
    hash::{BuildHasher, RandomState},
    mem,
    sync::Arc,
};

pub(crate) use draft::Draft;
pub(crate) use events::{Cursor, EventRow, Export, InvalidCursor, Page};
pub(crate) use histogram::Histogram;
pub(crate) use names::{Caps, KeyName};
pub(crate) use query::{
    Answer, Bucket, Dimension, Durations, Filter, GroupRow, Grouping, Measure, Other, Pattern, Query, Stats,
    Table, Timing,
};
pub(crate) use retired::{Aggregate, Spent};
pub(crate) use sums::Sums;
pub(crate) use zone::{Interval, UnknownZone, Zone};

use crate::{Timestamp, event::EventRef};
use columns::Row;
use names::{Dictionaries, Kind, Names, Source};
use prefix::Prefix;
use retired::Cell;
use tally::Tally;
use tree::Day;
#[cfg(test)]
use zone::Calendar;

/// Events go into the tree so many at once: sorted, and summed up before they are added to the sums that there are. Few
/// enough to stay in the cache.
const WAITING: usize = 4096;

// More could not be summed up at once, nor sorted by keys that hold their number.
const _: () = assert!(WAITING <= u16::MAX as usize && WAITING <= 1 << ORDER_BITS);
const ORDER_BITS: u32 = 15;

/// Aggregates that wait, likewise.
const RETIRED_WAITING: usize = 4096;

/// The writer's side: takes events in any order of time, fastest when it mostly rises.
#[derive(Debug)]
pub(crate) struct Index {
    caps: Caps,
    /// Kept one by one.
    events: u64,
    retired: Retirements,
    /// Events that are not in the tree yet.
    waiting: Vec<Row>,
    tally: Tally,
    /// Aggregates that are not, with the hour that they are of.
    retired_waiting: Vec<(i64, Cell)>,
    days: Vec<Arc<Day>>,
    prefix: Arc<Prefix>,
    /// So many of the first days are sealed, and in `prefix` as they are now.
    summed: usize,
    names: Dictionaries,
    /// Begins anywhere, so that no two runs of a program have the same.
    revision: u64,
    /// The last snapshot, while nothing has changed since.
    published: Option<Arc<Snapshot>>,
}

impl Default for Index {
    fn default() -> Self {
        Self::new(Caps::default())
    }
}

impl Index {
    pub(crate) fn new(caps: Caps) -> Self {
        Self {
            caps,
            events: 0,
            retired: Retirements::default(),
            waiting: Vec::new(),
            tally: Tally::default(),
            retired_waiting: Vec::new(),
            days: Vec::new(),
            prefix: Arc::default(),
            summed: 0,
            names: Dictionaries::new(caps),
            revision: RandomState::new().hash_one(()),
            published: None,
        }
    }

    /// Takes `event` in. It is seen by the snapshots made from now on.
    pub(crate) fn insert<'a>(&mut self, event: impl Into<EventRef<'a>>) {
        self.change();
        let row = Row::of(&event.into(), &mut self.names);
        self.wait(row);
    }

    /// Takes in the events of `draft`, and leaves it empty.
    pub(crate) fn take(&mut self, draft: &mut Draft) {
        self.change();
        draft.learn(&mut self.names);
        draft.drain().for_each(|row| self.wait(row));
    }

    fn wait(&mut self, row: Row) {
        self.events += 1;
        self.waiting.push(row);
        if self.waiting.len() == WAITING {
            self.settle();
        }
    }

    /// Takes in what is left of events that are not kept one by one any more.
    pub(crate) fn insert_aggregate(&mut self, aggregate: &Aggregate<'_>) {
        self.change();
        self.retired.requests = self.retired.requests.saturating_add(aggregate.sums.requests);
        let at = aggregate.start.unix_millis();
        let class = if (1..=5).contains(&aggregate.class) { aggregate.class as u8 } else { 0 };
        let cell = Cell {
            quarter: (at.rem_euclid(tree::HOUR) / i64::from(tree::QUARTER)) as u8,
            model: self.names.model(aggregate.model),
            source: self.names.source(&Source::retired(aggregate.provider)),
            kind: self.names.kind(Kind::retired(class), 0),
            key: self.names.key(aggregate.key),
            sums: aggregate.sums,
            spent: aggregate.spent,
        };
        self.retired_waiting.push((tree::hour_start(at), cell));
        if self.retired_waiting.len() == RETIRED_WAITING {
            self.settle_retired();
        }
    }

    /// Makes aggregates of the events in the quarters of an hour that end at or before `end`: their sums are all that
    /// is kept of them.
    pub(crate) fn retire(&mut self, end: Timestamp) {
        self.settle();
        self.change();
        self.retire_settled(end.unix_millis());
    }

    fn retire_settled(&mut self, end: i64) -> u64 {
        let Self { days, names, .. } = self;
        let mut retired = 0;
        for day in days.iter_mut().take_while(|day| day.start() < end) {
            if day.has_before(end) {
                retired += Arc::make_mut(day).retire(end, names);
            }
        }
        if retired > 0 {
            self.summed = 0;
        }
        self.events -= retired;
        self.retired.requests = self.retired.requests.saturating_add(retired);
        retired
    }

    fn change(&mut self) {
        // Nodes that only this snapshot shared need no copy when they change.
        self.published = None;
        self.revision = self.revision.wrapping_add(1);
    }

    /// Takes the waiting events into the tree.
    fn settle(&mut self) {
        let (mut waiting, mut tally) = (mem::take(&mut self.waiting), mem::take(&mut self.tally));
        let known = self.days.len();
        for rows in tree::by_time(&sorted(&waiting), tree::DAY) {
            self.day(tree::day_number(rows[0].at)).insert(rows, &mut tally);
        }
        waiting.clear();
        (self.waiting, self.tally) = (waiting, tally);
        self.keep_to_cap();
        if self.days.len() > known {
            // Of a long history not all at the end, while other threads wait. Not yet the day before the last, which
            // may still be getting late ones.
            let over = known.saturating_sub(2)..self.days.len().saturating_sub(2);
            seal(&mut self.days[over]);
        }
    }

    fn settle_retired(&mut self) {
        self.retired_waiting.sort_by_key(|(hour, _)| *hour);
        let waiting = mem::take(&mut self.retired_waiting);
        for cells in waiting.chunk_by(|a, b| a.0 == b.0) {
            let hour = cells[0].0;
            self.day(tree::day_number(hour))
                .insert_retired(hour, cells.iter().map(|(_, cell)| *cell).collect());
        }
    }

    /// To be changed.
    fn day(&mut self, number: i32) -> &mut Day {
        let at = self.days.binary_search_by_key(&number, |day| day.number).unwrap_or_else(|at| {
            self.days.insert(at, Arc::new(Day::new(number)));
            at
        });
        self.summed = self.summed.min(at);
        Arc::make_mut(&mut self.days[at])
    }

    /// Retires the oldest events if there are more than the settings allow, and some more, so that it is not always
    /// at it.
    fn keep_to_cap(&mut self) {
        if self.events <= self.caps.events {
            return;
        }
        let mut over = self.events - (self.caps.events - self.caps.events / 64);
        let mut runs =
            self.days.iter().flat_map(|day| &day.hours).flat_map(|hour| {
                hour.runs.iter().map(|run| (hour.quarter_end(run), run.columns.len() as u64))
            });
        let last = runs.find(|(_, events)| {
            over = over.saturating_sub(*events);
            over == 0
        });
        if let Some((end, _)) = last {
            self.retired.by_cap += self.retire_settled(end);
        }
    }

    /// Everything taken in so far, for readers. Costs a pointer a day, and afterwards the copies of what changes while it
    /// is held.
    pub(crate) fn snapshot(&mut self) -> Arc<Snapshot> {
        let snapshot = self.published.take().unwrap_or_else(|| Arc::new(self.publish()));
        self.published = Some(Arc::clone(&snapshot));
        snapshot
    }

    fn publish(&mut self) -> Snapshot {
        self.settle();
        self.settle_retired();
        let closed = self.days.len().saturating_sub(1);
        if self.summed < closed {
            Arc::make_mut(&mut self.prefix).replace(&self.days[self.summed..closed]);
            seal(&mut self.days[self.summed..closed]);
            self.summed = closed;
        }
        Snapshot {
            caps: self.caps,
            events: self.events,
            retired: self.retired,
            days: self.days.clone(),
            prefix: Arc::clone(&self.prefix),
            names: self.names.names(),
            revision: self.revision,
            other_bytes: self.waiting.capacity() * size_of::<Row>()
                + self.tally.heap_bytes()
                + self.retired_waiting.capacity() * size_of::<(i64, Cell)>()
                + self.names.heap_bytes(),
        }
    }
}

fn seal(days: &mut [Arc<Day>]) {
    days.iter_mut().filter(|day| !day.is_sealed()).for_each(|day| Arc::make_mut(day).seal());
}

/// By time, in the order of their coming where that is equal.
fn sorted(rows: &[Row]) -> Vec<&Row> {
    // In one number, time and place: the years 0 to 9999 have less than 2^49 milliseconds.
    let key =
        |(row, place): (&Row, u64)| ((row.at - Timestamp::MIN.unix_millis()) as u64) << ORDER_BITS | place;
    let mut keys = rows.iter().zip(0..).map(key).collect::<Vec<_>>();
    sort(&mut keys);
    keys.into_iter().map(|key| &rows[(key & ((1 << ORDER_BITS) - 1)) as usize]).collect()
}

/// Fast where each key is near its place: events come in the order of their ends, and are sorted by their beginnings.
fn sort(keys: &mut [u64]) {
    let mut steps = keys.len() * 16;
    for i in 1..keys.len() {
        let key = keys[i];
        let mut to = i;
        while to > 0 && keys[to - 1] > key {
            keys[to] = keys[to - 1];
            to -= 1;
        }
        keys[to] = key;
        let Some(left) = steps.checked_sub(i - to) else { return keys.sort_unstable() };
        steps = left;
    }
}

/// Events that are known only as aggregates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retirements {
    pub(crate) requests: u64,
    /// Of those, events that were retired because there were more than the settings allow.
    pub(crate) by_cap: u64,
}

/// The readers' side: immutable, cheap to share, unaffected by what the writer takes in later.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    caps: Caps,
    events: u64,
    retired: Retirements,
    /// By number, rising. None is empty.
    days: Vec<Arc<Day>>,
    /// Over all days but the last.
    prefix: Arc<Prefix>,
    names: Names,
    revision: u64,
    /// What the writer held besides, as it made this.
    other_bytes: usize,
}

impl Snapshot {
    /// How much may be kept.
    pub(crate) fn caps(&self) -> Caps {
        self.caps
    }

    /// Events that are kept one by one.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// Events that are known only as aggregates.
    pub(crate) fn retired(&self) -> Retirements {
        self.retired
    }

    /// Models that events are counted under, `__other__` included where it is needed.
    pub(crate) fn models(&self) -> usize {
        self.names.models.len()
    }

    /// Keys that events are counted under, without `__other__`.
    pub(crate) fn keys(&self) -> usize {
        self.names.keys.len()
    }

    /// Another number whenever the content is another.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Times of the first and the last event.
    pub(crate) fn span(&self) -> Option<(Timestamp, Timestamp)> {
        let (first, last) = (self.days.first()?.first()?, self.days.last()?.last()?);
        Some((Timestamp::from_unix_millis(first), Timestamp::from_unix_millis(last)))
    }

    /// Bytes of memory that the events, their sums and the dictionaries take, without the allocator's own. Walks every
    /// run, not every event.
    pub(crate) fn heap_bytes(&self) -> usize {
        let days = self.days.iter().map(|day| size_of::<(Arc<Day>, Day)>() + day.heap_bytes()).sum::<usize>();
        days + self.prefix.heap_bytes() + self.other_bytes
    }
}
