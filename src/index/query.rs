//! Questions and answers.

use std::sync::Arc;

use super::{Histogram, Interval, Sums, Zone};
use crate::Timestamp;

/// A question: both ends of the range are inclusive, to the millisecond.
#[derive(Clone, Debug)]
pub(crate) struct Query {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// All of them hold.
    pub(crate) filters: Vec<Filter>,
    /// What the series is cut into.
    pub(crate) interval: Interval,
    pub(crate) zone: Zone,
    /// The series names pieces of the range without events, too. Whoever sets this limits their number before, see
    /// [`Query::pieces`].
    pub(crate) fill: bool,
    pub(crate) groupings: Vec<Grouping>,
    /// Durations are asked for, which takes more than sums do: histograms, and a look at each event where there are none.
    pub(crate) durations: bool,
}

impl Query {
    /// The sum of all events in a range.
    pub(crate) fn over(from: Timestamp, to: Timestamp) -> Self {
        Self {
            from,
            to,
            filters: Vec::new(),
            interval: Interval::None,
            zone: Zone::default(),
            fill: false,
            groupings: Vec::new(),
            durations: false,
        }
    }

    /// How many pieces the series may have at most.
    pub(crate) fn pieces(&self) -> u64 {
        let millis = self.to.unix_millis().saturating_sub(self.from.unix_millis()).max(0);
        // One that begins before the range, and one for the rest of the division.
        (millis / self.interval.least_millis()) as u64 + 2
    }
}

/// What events are told apart by.
///
/// An event may have no value; see [`Pattern::Absent`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Dimension {
    Model,
    /// 64 hex digits, or `__other__`.
    Key,
    Provider,
    Operation,
    Endpoint,
    /// `1xx` to `5xx`; none for a number that is no status.
    StatusClass,
    /// As a number.
    Status,
    /// `true` or `false`.
    Stream,
    /// As in the usage file: `complete`, `partial`, …
    Usage,
    /// In the zone of the query, `1` for Monday up to `7` for Sunday.
    Weekday,
    /// In the zone of the query, `0` to `23`.
    HourOfDay,
}

/// The day of the week, 1 for Monday, and the hour that the clock shows.
pub(super) type HourOfWeek = (u8, u8);

impl Dimension {
    /// The value that the time decides.
    pub(super) fn at(self, (weekday, hour): HourOfWeek) -> Option<Arc<str>> {
        match self {
            Self::Weekday => Some(weekday.to_string().into()),
            Self::HourOfDay => Some(hour.to_string().into()),
            _ => None,
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(crate) dimension: Dimension,
    /// None of `any_of` shall fit.
    pub(crate) not: bool,
    pub(crate) any_of: Vec<Pattern>,
}

impl Filter {
    /// The value is one of those that `pattern` fits.
    pub(crate) fn is(dimension: Dimension, pattern: Pattern) -> Self {
        Self { dimension, not: false, any_of: vec![pattern] }
    }

    pub(super) fn holds(&self, value: Option<&str>) -> bool {
        self.any_of.iter().any(|pattern| pattern.fits(value)) != self.not
    }

    /// For a dimension that the time decides.
    pub(super) fn holds_at(&self, hour: HourOfWeek) -> bool {
        self.holds(self.dimension.at(hour).as_deref())
    }
}

/// What a value may look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Case-sensitive.
    Exact(String),
    /// Case-sensitive.
    Prefix(String),
    /// There is no value.
    Absent,
}

impl Pattern {
    fn fits(&self, value: Option<&str>) -> bool {
        match (self, value) {
            (Self::Exact(text), Some(value)) => text == value,
            (Self::Prefix(text), Some(value)) => value.starts_with(&**text),
            (Self::Absent, value) => value.is_none(),
            (_, None) => false,
        }
    }
}

/// A table of what events come to by their values in some dimensions.
#[derive(Clone, Debug)]
pub(crate) struct Grouping {
    /// One or two.
    pub(crate) by: Vec<Dimension>,
    /// So many rows at most; the rest is one, `other`.
    pub(crate) top: Option<usize>,
    /// What the rows are sorted by, falling; then by requests, falling, then by value.
    pub(crate) sort: Measure,
    /// Each row has a series of its own.
    pub(crate) series: bool,
}

impl Grouping {
    /// All rows, those with the most tokens first.
    pub(crate) fn by(dimensions: impl Into<Vec<Dimension>>) -> Self {
        Self { by: dimensions.into(), top: None, sort: Measure::Total, series: false }
    }
}

/// What rows are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    Requests,
    Errors,
    Aborted,
    /// Requests without counts.
    Unknown,
    Input,
    Output,
    Total,
    CacheRead,
    CacheWrite,
    CacheWrite1h,
    Reasoning,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) totals: Stats,
    /// Rising. Without `fill` only pieces with events; of [`Interval::None`] nothing.
    pub(crate) series: Vec<Bucket>,
    /// For each grouping of the query.
    pub(crate) groups: Vec<Table>,
    /// Of the requests in `totals`, those that are known only as aggregates. They count at the first moment of their
    /// quarter of an hour, and have only a model, a key, a provider and a class of status.
    pub(crate) aggregated: u64,
    /// Requests that were left out because a filter asks for what aggregates do not tell.
    pub(crate) undecided: u64,
}

/// What a piece of the range came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bucket {
    /// Its first moment, which may be before the range.
    pub(crate) start: Timestamp,
    pub(crate) stats: Stats,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// Only rows with events.
    pub(crate) rows: Vec<GroupRow>,
    /// What the rows beyond the top came to.
    pub(crate) other: Option<Other>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GroupRow {
    /// One for each dimension of the grouping.
    pub(crate) values: Vec<Option<Arc<str>>>,
    pub(crate) stats: Stats,
    /// If it was asked for.
    pub(crate) series: Vec<Bucket>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Other {
    /// So many rows are in it.
    pub(crate) rows: usize,
    pub(crate) stats: Stats,
    /// If it was asked for.
    pub(crate) series: Vec<Bucket>,
}

/// What some events came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    pub(crate) sums: Sums,
    /// If they were asked for.
    pub(crate) durations: Option<Box<Durations>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Durations {
    /// From a request's arrival to the end of the response.
    pub(crate) duration: Timing,
    /// From a request's arrival to the first byte of the response's body.
    pub(crate) first_byte: Timing,
    /// Of the events that are kept one by one and have both: tokens of output, and milliseconds that they took.
    pub(crate) output: u64,
    pub(crate) output_millis: u64,
}

impl Durations {
    /// None if nothing was measured, or in no time.
    pub(crate) fn tokens_per_second(&self) -> Option<f64> {
        (self.output_millis > 0).then(|| self.output as f64 * 1000.0 / self.output_millis as f64)
    }
}

/// Times that were measured, in whole milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) count: u64,
    /// Saturating, as all sums.
    pub(crate) sum: u64,
    /// Of events that are kept one by one.
    pub(crate) histogram: Histogram,
}

impl Timing {
    pub(crate) fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }
}

impl Stats {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sums += other.sums;
        if let Some(theirs) = &other.durations {
            let mine = self.durations.get_or_insert_default();
            for (mine, theirs) in
                [(&mut mine.duration, &theirs.duration), (&mut mine.first_byte, &theirs.first_byte)]
            {
                mine.count = mine.count.saturating_add(theirs.count);
                mine.sum = mine.sum.saturating_add(theirs.sum);
                mine.histogram.add(&theirs.histogram);
            }
            mine.output = mine.output.saturating_add(theirs.output);
            mine.output_millis = mine.output_millis.saturating_add(theirs.output_millis);
        }
    }
}
