//! Days of hours of runs of events; each node has the sums of what is below it.

use std::{iter, sync::Arc};

use super::{
    columns::{Columns, Row},
    names::Dictionaries,
    plan::Axis,
    retired::{Cell, Retired},
    sealed::SealedDay,
    sums::{ByNumber, Cells, Sums, insert},
    tally::Tally,
};

// In milliseconds.
pub(super) const DAY: i64 = 24 * HOUR;
pub(super) const HOUR: i64 = 60 * 60 * 1000;
pub(super) const QUARTER: u32 = 15 * 60 * 1000;

/// Events of a run at most: few enough to copy, and to be read one by one at the end of a range, in microseconds.
pub(super) const MAX_RUN: usize = 2048;

/// The day of `at`, both counted from 1970 UTC on. The years 0 to 9999 have less than 2^22 days.
pub(super) fn day_number(at: i64) -> i32 {
    at.div_euclid(DAY) as i32
}

/// The first millisecond of the hour of `at`.
pub(super) fn hour_start(at: i64) -> i64 {
    at - at.rem_euclid(HOUR)
}

/// `rows`, which are sorted by time, by pieces of time that are `length` milliseconds long.
pub(super) fn by_time<'a, 'r>(mut rows: &'a [&'r Row], length: i64) -> impl Iterator<Item = &'a [&'r Row]> {
    iter::from_fn(move || {
        let first = rows.first()?.at;
        let end = first - first.rem_euclid(length) + length;
        let (piece, later) = rows.split_at(rows.partition_point(|row| row.at < end));
        rows = later;
        Some(piece)
    })
}

/// A UTC day with events.
#[derive(Clone, Debug)]
pub(super) struct Day {
    pub(super) number: i32,
    pub(super) cells: Cells,
    /// By key.
    pub(super) keys: ByNumber,
    /// Rising.
    pub(super) hours: Vec<Arc<Hour>>,
    /// When each of the hours begins and what it comes to, side by side: a series of hours touches nothing else.
    pub(super) heads: Vec<Head>,
    /// From when it is sealed until it changes.
    pub(super) sealed: Option<Arc<SealedDay>>,
}

/// What most want to know of an hour.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Its first millisecond, since 1970 UTC.
    pub(super) start: i64,
    /// Of all events.
    pub(super) sums: Sums,
}

impl Day {
    pub(super) fn new(number: i32) -> Self {
        Self {
            number,
            cells: Cells::default(),
            keys: ByNumber::default(),
            hours: Vec::new(),
            heads: Vec::new(),
            sealed: None,
        }
    }

    pub(super) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// Keeps what a day that is over keeps, until it changes.
    pub(super) fn seal(&mut self) {
        self.sealed = Some(Arc::new(SealedDay::of(self)));
    }

    /// Its first millisecond.
    pub(super) fn start(&self) -> i64 {
        i64::from(self.number) * DAY
    }

    pub(super) fn by(&self, axis: Axis) -> &ByNumber {
        self.cells.by(axis).unwrap_or(&self.keys)
    }

    /// Takes in `rows`, which are sorted by time and of this day.
    pub(super) fn insert(&mut self, rows: &[&Row], tally: &mut Tally) {
        self.sealed = None;
        self.keys.merge(&tally.by_key(rows));
        for rows in by_time(rows, HOUR) {
            let at = self.hour(hour_start(rows[0].at));
            let cells = tally.cells(rows);
            Arc::make_mut(&mut self.hours[at]).insert(rows, &cells);
            self.heads[at].sums += cells.all;
            self.cells.merge(&cells);
        }
    }

    /// Takes in aggregates of the hour that begins at `start`.
    pub(super) fn insert_retired(&mut self, start: i64, retired: Vec<Cell>) {
        self.sealed = None;
        for cell in &retired {
            self.keys.add(cell.key, cell.sums);
            self.cells.add([cell.model, cell.source, cell.kind], cell.sums);
        }
        let at = self.hour(start);
        retired.iter().for_each(|cell| self.heads[at].sums += cell.sums);
        Arc::make_mut(&mut self.hours[at]).insert_retired(retired);
    }

    fn hour(&mut self, start: i64) -> usize {
        let to = self.heads.partition_point(|head| head.start < start);
        if self.heads.get(to).is_none_or(|head| head.start != start) {
            insert(&mut self.heads, to, Head { start, sums: Sums::default() });
            insert(&mut self.hours, to, Arc::new(Hour::new(start)));
        }
        to
    }

    /// Has events in a quarter of an hour that ends at or before `end`.
    pub(super) fn has_before(&self, end: i64) -> bool {
        self.hours.iter().any(|hour| hour.has_before(end))
    }

    /// Makes aggregates of the events in the quarters of an hour that end at or before `end`; returns how many events.
    pub(super) fn retire(&mut self, end: i64, names: &mut Dictionaries) -> u64 {
        let mut retired = 0;
        for hour in &mut self.hours {
            if hour.has_before(end) {
                retired += Arc::make_mut(hour).retire(end, names);
            }
        }
        if retired > 0 {
            self.sealed = None;
            self.cells = Cells::default();
            for (hour, head) in self.hours.iter().zip(&mut self.heads) {
                self.cells.merge(&hour.cells);
                head.sums = hour.cells.all;
            }
        }
        retired
    }

    /// Time of the first event.
    pub(super) fn first(&self) -> Option<i64> {
        self.hours.first()?.first()
    }

    /// Time of the last event.
    pub(super) fn last(&self) -> Option<i64> {
        self.hours.last()?.last()
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let hours = self.hours.iter().map(|hour| size_of::<Hour>() + hour.heap_bytes()).sum::<usize>();
        self.cells.heap_bytes()
            + self.keys.heap_bytes()
            + self.hours.capacity() * size_of::<Arc<Hour>>()
            + self.heads.capacity() * size_of::<Head>()
            + self.sealed.as_ref().map_or(0, |sealed| size_of::<SealedDay>() + sealed.heap_bytes())
            + hours
    }
}

/// An hour with events.
#[derive(Clone, Debug)]
pub(super) struct Hour {
    /// Its first millisecond, since 1970 UTC.
    pub(super) start: i64,
    pub(super) cells: Cells,
    /// Rising: none begins before the one in front of it has ended. None is empty.
    pub(super) runs: Vec<Arc<Run>>,
    /// Events that are not in the runs any more.
    pub(super) retired: Option<Arc<Retired>>,
}

impl Hour {
    fn new(start: i64) -> Self {
        Self { start, cells: Cells::default(), runs: Vec::new(), retired: None }
    }

    /// Takes in `rows`, which are sorted by time and of this hour, and come to `cells`.
    fn insert(&mut self, rows: &[&Row], cells: &Cells) {
        let start = self.start;
        let at = |row: &Row| (row.at - start) as u32;
        for mut rows in by_time(rows, QUARTER.into()) {
            while let Some(first) = rows.first() {
                let to = self.run_for(at(first));
                let next = self.runs.get(to + 1).map_or(u32::MAX, |next| next.first());
                let run = Arc::make_mut(&mut self.runs[to]);
                let here = rows.partition_point(|row| at(row) < next).min(MAX_RUN - run.columns.len());
                run.insert(start, &rows[..here]);
                rows = &rows[here..];
            }
        }
        self.cells.merge(cells);
    }

    fn insert_retired(&mut self, retired: Vec<Cell>) {
        for cell in &retired {
            self.cells.add([cell.model, cell.source, cell.kind], cell.sums);
        }
        self.retired = Some(Arc::new(self.retired.take().unwrap_or_default().with(retired)));
    }

    /// Has events in a quarter of an hour that ends at or before `end`.
    fn has_before(&self, end: i64) -> bool {
        self.runs.first().is_some_and(|run| self.quarter_end(run) <= end)
    }

    /// The first moment after the quarter of an hour that `run` is of.
    pub(super) fn quarter_end(&self, run: &Run) -> i64 {
        self.start + i64::from((run.first() / QUARTER + 1) * QUARTER)
    }

    fn retire(&mut self, end: i64, names: &mut Dictionaries) -> u64 {
        let quarters = (end - self.start).div_euclid(QUARTER.into()).clamp(0, 4) as u32;
        let runs = self.runs.partition_point(|run| run.first() / QUARTER < quarters);
        let runs = self.runs.drain(..runs).collect::<Vec<_>>();
        let rows = runs.iter().flat_map(|run| (0..run.columns.len()).map(move |row| (run, row)));
        let cells = rows.map(|(run, row)| Cell::of(&run.columns, row, names)).collect::<Vec<_>>();
        let events = cells.len() as u64;

        self.retired = Some(Arc::new(self.retired.take().unwrap_or_default().with(cells)));
        self.cells = Cells::default();
        self.runs.iter().for_each(|run| self.cells.merge(&sums_of(&run.columns)));
        if let Some(retired) = &self.retired {
            for cell in (0..retired.len()).map(|at| retired.get(at)) {
                self.cells.add([cell.model, cell.source, cell.kind], cell.sums);
            }
        }
        events
    }

    fn first(&self) -> Option<i64> {
        let run = self.runs.first().map(|run| run.first());
        let retired = self.retired.as_ref().and_then(|retired| retired.quarters().first());
        let first = run.into_iter().chain(retired.map(|quarter| u32::from(*quarter) * QUARTER)).min()?;
        Some(self.start + i64::from(first))
    }

    fn last(&self) -> Option<i64> {
        let run = self.runs.last().map(|run| run.last());
        let retired = self.retired.as_ref().and_then(|retired| retired.quarters().last());
        let last = run.into_iter().chain(retired.map(|quarter| u32::from(*quarter) * QUARTER)).max()?;
        Some(self.start + i64::from(last))
    }

    /// The number of a run that has room for an event at `at`, and where the order allows it.
    fn run_for(&mut self, at: u32) -> usize {
        let after = self.runs.partition_point(|run| run.first() <= at);
        let in_quarter = |run: &Arc<Run>| run.first() / QUARTER == at / QUARTER;
        let known = (after.saturating_sub(1)..=after).find(|&to| self.runs.get(to).is_some_and(in_quarter));
        let Some(to) = known else {
            insert(&mut self.runs, after, Arc::default());
            return after;
        };
        if self.runs[to].columns.len() < MAX_RUN {
            return to;
        }

        let is_last = !self.runs.get(to + 1).is_some_and(in_quarter);
        if is_last && self.runs[to].last() <= at {
            // Most events come in order: full runs stay full.
            insert(&mut self.runs, to + 1, Arc::default());
            return to + 1;
        }
        let upper = Arc::make_mut(&mut self.runs[to]).split_off(MAX_RUN / 2);
        let in_upper = upper.first() <= at;
        insert(&mut self.runs, to + 1, Arc::new(upper));
        to + usize::from(in_upper)
    }

    fn heap_bytes(&self) -> usize {
        let runs = self.runs.iter().map(|run| size_of::<Run>() + run.heap_bytes()).sum::<usize>();
        let retired = self.retired.as_ref().map_or(0, |retired| size_of::<Retired>() + retired.heap_bytes());
        self.cells.heap_bytes() + self.runs.capacity() * size_of::<Arc<Run>>() + runs + retired
    }
}

/// Events of a quarter of an hour, or a part of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    /// Of all events. By what they have in common there are sums from the hour on: here they would take more than the
    /// columns of a few numbers, and at most the runs of two hours are read for it.
    pub(super) sums: Sums,
    pub(super) columns: Columns,
}

impl Run {
    /// Time of the first event, in milliseconds since the hour began.
    pub(super) fn first(&self) -> u32 {
        self.columns.at()[0]
    }

    /// Time of the last event, in milliseconds since the hour began.
    pub(super) fn last(&self) -> u32 {
        self.columns.at()[self.columns.len() - 1]
    }

    /// Takes in `rows`, which are sorted by time and of the hour that begins at `start`.
    fn insert(&mut self, start: i64, rows: &[&Row]) {
        self.sums += Tally::all(rows);
        self.columns.insert(start, rows);
    }

    /// Takes out the events from `row` on.
    fn split_off(&mut self, row: usize) -> Self {
        let columns = self.columns.split_off(row);
        let sums = |columns: &Columns| {
            (0..columns.len()).fold(Sums::default(), |mut sums, row| {
                sums += columns.sums(row);
                sums
            })
        };
        self.sums = sums(&self.columns);
        Self { sums: sums(&columns), columns }
    }

    fn heap_bytes(&self) -> usize {
        self.columns.heap_bytes()
    }
}

fn sums_of(columns: &Columns) -> Cells {
    let mut cells = Cells::default();
    for row in 0..columns.len() {
        let numbers = [columns.model()[row], columns.source()[row], columns.kind()[row]];
        cells.add(numbers, columns.sums(row));
    }
    cells
}
