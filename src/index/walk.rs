//! The way through a part of the history, in the largest steps that fit.

use std::{ops::Range, sync::Arc};

use super::{
    Snapshot,
    retired::Retired,
    tree::{DAY, Day, HOUR, Hour, QUARTER, Run},
    zone::{Calendar, Interval, Piece},
};

/// What is met on the way. Times rise.
pub(super) trait Visitor {
    /// What is met from now on lies in the piece that begins at `start`.
    fn piece(&mut self, start: i64);

    /// Whole days that follow each other. Not empty.
    fn days(&mut self, days: &[Arc<Day>]);

    /// The hour `at` of the day.
    fn hour(&mut self, day: &Day, at: usize);

    fn run(&mut self, run: &Run) {
        self.rows(run, 0..run.columns.len());
    }

    fn rows(&mut self, run: &Run, rows: Range<usize>);

    /// Aggregates of a quarter of an hour.
    fn retired(&mut self, retired: &Retired, cells: Range<usize>);
}

/// Shows `visitor` what lies from `from` up to and without `end`, cut into pieces of `interval`.
pub(super) fn walk(
    snapshot: &Snapshot,
    (from, end): (i64, i64),
    interval: Interval,
    calendar: &mut Calendar,
    visitor: &mut impl Visitor,
) {
    let days = &snapshot.days;
    let mut walk =
        Walk { from, end, interval, calendar, piece: Piece { start: i64::MIN, end: i64::MIN }, visitor };
    let mut at = days.partition_point(|day| day.start() + DAY <= from);
    while let Some(day) = days.get(at).filter(|day| day.start() < end) {
        walk.seek(day.start().max(from));
        let whole = days[at..].partition_point(|day| day.start() + DAY <= walk.limit());
        if whole == 0 || day.start() < from {
            (0..day.heads.len()).for_each(|at| walk.hour(day, at));
            at += 1;
        } else {
            walk.visitor.days(&days[at..at + whole]);
            at += whole;
        }
    }
}

struct Walk<'a, V> {
    from: i64,
    end: i64,
    interval: Interval,
    calendar: &'a mut Calendar,
    piece: Piece,
    visitor: &'a mut V,
}

impl<V: Visitor> Walk<'_, V> {
    /// Goes on to the piece of `at`, which is not before the one that it is in.
    #[inline]
    fn seek(&mut self, at: i64) {
        if at >= self.piece.end {
            self.piece = self.calendar.piece(self.interval, at);
            self.visitor.piece(self.piece.start);
        }
    }

    /// The first moment that is not of this piece, or not asked for.
    fn limit(&self) -> i64 {
        self.piece.end.min(self.end)
    }

    fn hour(&mut self, day: &Day, at: usize) {
        // Nearer than the hour itself.
        let start = day.heads[at].start;
        if start + HOUR <= self.from || self.end <= start {
            return;
        }
        self.seek(start.max(self.from));
        if self.from <= start && start + HOUR <= self.limit() {
            self.visitor.hour(day, at);
            return;
        }
        let hour = &day.hours[at];
        let mut runs = hour.runs.iter().peekable();
        for quarter in 0..4_u8 {
            if let Some(retired) = &hour.retired {
                self.retired(hour, retired, quarter);
            }
            while let Some(run) = runs.next_if(|run| run.first() / QUARTER == u32::from(quarter)) {
                self.run(hour, run);
            }
        }
    }

    /// Aggregates stand for events of the first moment of their quarter.
    fn retired(&mut self, hour: &Hour, retired: &Retired, quarter: u8) {
        let at = hour.start + i64::from(u32::from(quarter) * QUARTER);
        let cells = retired.of_quarter(quarter);
        if !cells.is_empty() && self.from <= at && at < self.end {
            self.seek(at);
            self.visitor.retired(retired, cells);
        }
    }

    fn run(&mut self, hour: &Hour, run: &Run) {
        let (first, last) = (hour.start + i64::from(run.first()), hour.start + i64::from(run.last()));
        if last < self.from || self.end <= first {
            return;
        }
        self.seek(first.max(self.from));
        if self.from <= first && last < self.limit() {
            self.visitor.run(run);
            return;
        }
        // Within the hour, so that it fits.
        let row = |at: i64| run.columns.before((at - hour.start).clamp(0, HOUR) as u32);
        let mut rows = row(self.from)..row(self.limit());
        let end = row(self.end);
        loop {
            if !rows.is_empty() {
                self.visitor.rows(run, rows.clone());
            }
            if rows.end >= end {
                return;
            }
            self.seek(hour.start + i64::from(run.columns.at()[rows.end]));
            rows = rows.end..row(self.limit());
        }
    }
}
