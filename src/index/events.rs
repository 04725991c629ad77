//! Events one by one: pages for people, all of them for files.

use std::{fmt, ops::Range, str::FromStr, sync::Arc};

use super::{
    Filter, Query, Snapshot,
    columns::Value,
    names::{FLAG_BITS, KeyName, Names},
    plan::{AXES, Axis, Conditions, Pass},
    tree::{DAY, HOUR, Hour, Run},
    zone::Calendar,
};
use crate::{Ending, Timestamp, Tokens, UsageQuality};

/// An event, as far as the index keeps it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventRow {
    pub(crate) timestamp: Timestamp,
    pub(crate) model: Arc<str>,
    pub(crate) key: Option<KeyName>,
    pub(crate) provider: Option<Arc<str>>,
    pub(crate) operation: Option<Arc<str>>,
    pub(crate) endpoint: Option<Arc<str>>,
    pub(crate) status: u16,
    pub(crate) stream: Option<bool>,
    pub(crate) usage: Option<UsageQuality>,
    pub(crate) end: Option<Ending>,
    /// With a total wherever input and output are known.
    pub(crate) tokens: Tokens,
    /// In milliseconds, as the time to the first byte.
    pub(crate) duration: Option<u64>,
    pub(crate) first_byte: Option<u64>,
}

/// A place between two events. It stays where it is while events arrive, also such of the same millisecond, until the
/// events around it are retired or the program starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    at: Timestamp,
    /// So many events of this millisecond are before it.
    nth: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.unix_millis(), self.nth)
    }
}

/// The text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (at, nth) = text.split_once('.').ok_or(InvalidCursor)?;
        let at = at.parse().map(Timestamp::from_unix_millis).map_err(|_| InvalidCursor)?;
        Ok(Self { at, nth: nth.parse().map_err(|_| InvalidCursor)? })
    }
}

/// Some events, the newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Page {
    pub(crate) events: Vec<EventRow>,
    /// Where the next page begins, if there is one.
    pub(crate) next: Option<Cursor>,
}

impl Snapshot {
    /// The last `limit` events that `query` asks for and that are before the cursor.
    pub(crate) fn page(&self, query: &Query, before: Option<Cursor>, limit: usize) -> Page {
        let mut selection = Selection::new(query, &self.names);
        let mut page = Page::default();
        let mut last = None;
        let (from, end) = (selection.from, selection.end);
        let behind = self.days.partition_point(|day| day.start() < end);
        for day in self.days[..behind].iter().rev().take_while(|day| from < day.start() + DAY) {
            for hour in day.hours.iter().rev() {
                for (nth, run) in hour.runs.iter().enumerate().rev() {
                    let mut rows = selection.range(hour, run);
                    if let Some(cursor) = before {
                        rows.end = rows.end.min(cursor.place(hour, nth));
                    }
                    for row in rows.rev() {
                        if !selection.holds(hour, run, row) {
                            continue;
                        }
                        if page.events.len() == limit {
                            page.next = last;
                            return page;
                        }
                        page.events.push(event(&self.names, hour, run, row));
                        if page.events.len() == limit {
                            last = Some(Cursor::at(hour, nth, row));
                        }
                    }
                }
            }
        }
        page
    }

    /// All events that `query` asks for, in the order of time. Holds on to the snapshot, and to nothing else.
    pub(crate) fn export(self: Arc<Self>, query: &Query) -> Export {
        let selection = Selection::new(query, &self.names);
        let day = self.days.partition_point(|day| day.start() + DAY <= selection.from);
        Export { snapshot: self, selection, day, hour: 0, run: 0, rows: 0..0 }
    }
}

/// All events of a selection, the oldest first.
#[derive(Debug)]
pub(crate) struct Export {
    snapshot: Arc<Snapshot>,
    selection: Selection,
    // The next run.
    day: usize,
    hour: usize,
    run: usize,
    /// What is left of the run before it.
    rows: Range<usize>,
}

impl Iterator for Export {
    type Item = EventRow;

    fn next(&mut self) -> Option<EventRow> {
        let Self { snapshot, selection, day, hour, run, rows } = self;
        loop {
            let there = snapshot.days.get(*day).filter(|day| day.start() < selection.end)?;
            let Some(of) = there.hours.get(*hour) else {
                (*day, *hour) = (*day + 1, 0);
                continue;
            };
            if let Some(before) = run.checked_sub(1) {
                for row in rows.by_ref() {
                    if selection.holds(of, &of.runs[before], row) {
                        return Some(event(&snapshot.names, of, &of.runs[before], row));
                    }
                }
            }
            match of.runs.get(*run) {
                Some(next) => (*rows, *run) = (selection.range(of, next), *run + 1),
                None => (*hour, *run) = (*hour + 1, 0),
            }
        }
    }
}

/// Which events are asked for.
#[derive(Debug)]
struct Selection {
    from: i64,
    end: i64,
    conditions: Conditions,
    /// Those that the time decides.
    hours: Vec<Filter>,
    calendar: Calendar,
}

impl Selection {
    fn new(query: &Query, names: &Names) -> Self {
        let hours = query.filters.iter().filter(|filter| filter.dimension.axis().is_none());
        Self {
            from: query.from.unix_millis(),
            end: query.to.unix_millis() + 1,
            conditions: Conditions::new(&query.filters, names),
            hours: hours.cloned().collect(),
            calendar: Calendar::new(&query.zone),
        }
    }

    /// The rows within the range of time.
    fn range(&self, hour: &Hour, run: &Run) -> Range<usize> {
        let row = |at: i64| run.columns.before((at - hour.start).clamp(0, HOUR) as u32);
        row(self.from)..row(self.end)
    }

    fn holds(&mut self, hour: &Hour, run: &Run, row: usize) -> bool {
        AXES.into_iter().all(|axis| {
            self.conditions.on(axis).is_none_or(|passes| passes[run.columns.number(axis, row)] == Pass::Yes)
        }) && (self.hours.is_empty() || {
            let time = self.calendar.hour_of_week(hour.start + i64::from(run.columns.at()[row]));
            self.hours.iter().all(|filter| filter.holds_at(time))
        })
    }
}

impl Cursor {
    /// In front of a row of the `nth` run of `hour`.
    fn at(hour: &Hour, nth: usize, row: usize) -> Self {
        let columns = &hour.runs[nth].columns;
        let at = columns.at()[row];
        let before = equal(hour, nth, at) + (row - columns.before(at)) as u64;
        Self { at: Timestamp::from_unix_millis(hour.start + i64::from(at)), nth: before }
    }

    /// So many rows of the `nth` run of `hour` are before it.
    fn place(self, hour: &Hour, nth: usize) -> usize {
        let columns = &hour.runs[nth].columns;
        let at = self.at.unix_millis() - hour.start;
        if at < 0 {
            return 0;
        }
        if at >= HOUR {
            return columns.len();
        }
        let (first, end) = (columns.before(at as u32), columns.before(at as u32 + 1));
        let left = self.nth.saturating_sub(equal(hour, nth, at as u32));
        first + usize::try_from(left).unwrap_or(usize::MAX).min(end - first)
    }
}

/// Events of the millisecond `at` in the runs of `hour` before the `nth`.
fn equal(hour: &Hour, nth: usize, at: u32) -> u64 {
    let before = hour.runs[..nth].iter().rev().take_while(|run| run.last() >= at);
    before.map(|run| (run.columns.before(at + 1) - run.columns.before(at)) as u64).sum()
}

fn event(names: &Names, hour: &Hour, run: &Run, row: usize) -> EventRow {
    let columns = &run.columns;
    let number = |axis| columns.number(axis, row);
    let source = names.sources.get(number(Axis::Source));
    let kind = names.kinds.get(number(Axis::Kind) >> FLAG_BITS);
    let value = |value| columns.value(value, row);
    let (input, output) = (value(Value::Input), value(Value::Output));
    EventRow {
        timestamp: Timestamp::from_unix_millis(hour.start + i64::from(columns.at()[row])),
        model: names.models.get(number(Axis::Model)).cloned().unwrap_or_default(),
        key: names.key(number(Axis::Key) as u32),
        provider: source.and_then(|source| source.provider.clone()),
        operation: source.and_then(|source| source.operation.clone()),
        endpoint: source.and_then(|source| source.endpoint.clone()),
        // Of too many to be told apart, the class.
        status: kind.map_or(0, |kind| kind.status.unwrap_or(u16::from(kind.class) * 100)),
        stream: kind.and_then(|kind| kind.stream),
        usage: kind.and_then(|kind| kind.usage),
        end: kind.and_then(|kind| kind.end),
        tokens: Tokens {
            input,
            output,
            total: value(Value::Total).or_else(|| input?.checked_add(output?)),
            cache_read: value(Value::CacheRead),
            cache_write: value(Value::CacheWrite),
            cache_write_1h: value(Value::CacheWrite1h),
            reasoning: value(Value::Reasoning),
        },
        duration: value(Value::Duration),
        first_byte: value(Value::FirstByte),
    }
}
