//! Days of hours of runs of events; each node has the sums of what is below it.

use std::sync::Arc;

use super::{
    columns::{Columns, Row},
    sums::{Cells, insert},
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

fn hour_start(at: i64) -> i64 {
    at - at.rem_euclid(HOUR)
}

/// A UTC day with events.
#[derive(Clone, Debug)]
pub(super) struct Day {
    pub(super) number: i32,
    pub(super) cells: Cells,
    /// Rising.
    pub(super) hours: Vec<Arc<Hour>>,
}

impl Day {
    pub(super) fn new(number: i32) -> Self {
        Self { number, cells: Cells::default(), hours: Vec::new() }
    }

    /// Its first millisecond.
    pub(super) fn start(&self) -> i64 {
        i64::from(self.number) * DAY
    }

    /// Takes in `rows`, which are sorted by time and of this day.
    pub(super) fn insert(&mut self, rows: &[Row]) {
        for row in rows {
            self.cells.add(row.model, row.sums());
        }
        for rows in rows.chunk_by(|a, b| hour_start(a.at) == hour_start(b.at)) {
            let start = hour_start(rows[0].at);
            let to = self.hours.partition_point(|hour| hour.start < start);
            if self.hours.get(to).is_none_or(|hour| hour.start != start) {
                insert(&mut self.hours, to, Arc::new(Hour::new(start)));
            }
            Arc::make_mut(&mut self.hours[to]).insert(rows);
        }
    }

    /// Time of the first event.
    pub(super) fn first(&self) -> Option<i64> {
        let hour = self.hours.first()?;
        Some(hour.start + i64::from(hour.runs.first()?.first()))
    }

    /// Time of the last event.
    pub(super) fn last(&self) -> Option<i64> {
        let hour = self.hours.last()?;
        Some(hour.start + i64::from(hour.runs.last()?.last()))
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let hours = self.hours.iter().map(|hour| size_of::<Hour>() + hour.heap_bytes()).sum::<usize>();
        self.cells.heap_bytes() + self.hours.capacity() * size_of::<Arc<Hour>>() + hours
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
}

impl Hour {
    fn new(start: i64) -> Self {
        Self { start, cells: Cells::default(), runs: Vec::new() }
    }

    /// Takes in `rows`, which are sorted by time and of this hour.
    fn insert(&mut self, rows: &[Row]) {
        for row in rows {
            self.cells.add(row.model, row.sums());
        }
        let start = self.start;
        let at = |row: &Row| (row.at - start) as u32;
        for mut rows in rows.chunk_by(|a, b| at(a) / QUARTER == at(b) / QUARTER) {
            while let Some(first) = rows.first() {
                let to = self.run_for(at(first));
                let next = self.runs.get(to + 1).map_or(u32::MAX, |next| next.first());
                let run = Arc::make_mut(&mut self.runs[to]);
                let here = rows.partition_point(|row| at(row) < next).min(MAX_RUN - run.columns.len());
                run.insert(start, &rows[..here]);
                rows = &rows[here..];
            }
        }
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
        self.cells.heap_bytes() + self.runs.capacity() * size_of::<Arc<Run>>() + runs
    }
}

/// Events of a quarter of an hour, or a part of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Run {
    pub(super) cells: Cells,
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

    fn insert(&mut self, start: i64, rows: &[Row]) {
        for row in rows {
            self.cells.add(row.model, row.sums());
        }
        self.columns.insert(start, rows);
    }

    /// Takes out the events from `row` on.
    fn split_off(&mut self, row: usize) -> Self {
        let columns = self.columns.split_off(row);
        self.cells = sums_of(&self.columns);
        Self { cells: sums_of(&columns), columns }
    }

    fn heap_bytes(&self) -> usize {
        self.cells.heap_bytes() + self.columns.heap_bytes()
    }
}

fn sums_of(columns: &Columns) -> Cells {
    let mut cells = Cells::default();
    for (row, &model) in columns.model().iter().enumerate() {
        cells.add(model, columns.sums(row));
    }
    cells
}
