//! The questions of the routes.

use super::{Filters, Kind, Misunderstood, Pairs, Parameter, Range, filter::FILTERS, words};
use crate::{
    Timestamp,
    index::{self, Cursor, Dimension, Filter, Grouping, Interval, Pattern, Query, Zone},
    manage::measure::{self, Shown},
};

/// The parameters of a range of time.
pub(super) const RANGE: [Parameter; 4] = [
    Parameter {
        name: "from",
        kind: Kind::Time,
        about: "The beginning of the range, inclusive; 24 hours before its end if not said. A day is its first moment.",
    },
    Parameter {
        name: "to",
        kind: Kind::Time,
        about: "The end of the range, inclusive; now if not said. A day is its last moment.",
    },
    Parameter { name: "range", kind: Kind::Range, about: "The range by a name, instead of `from` and `to`." },
    Parameter {
        name: "tz",
        kind: Kind::Zone,
        about: "The IANA time zone by whose clock days, weeks and hours are cut; UTC if not said.",
    },
];

const METRICS_OWN: [Parameter; 9] = [
    Parameter {
        name: "interval",
        kind: Kind::OneOf(&INTERVAL_NAMES),
        about: "What `timeseries` is cut into; `hour` if not said. `auto` takes one that suits the length of the range.",
    },
    Parameter {
        name: "fill",
        kind: Kind::OneOf(&["zero"]),
        about: "`zero`: pieces of time without events are there, too.",
    },
    Parameter {
        name: "group_by",
        kind: Kind::Pair(&DIMENSION_NAMES),
        about: "A table by this dimension, or by two of them.",
    },
    Parameter {
        name: "metrics",
        kind: Kind::SomeOf(&measure::NAMES),
        about: "What is counted and measured, or `all`; the sums if not said. `tokens` and `requests` are always there.",
    },
    Parameter {
        name: "limit",
        kind: Kind::Number { most: MAX_ROWS },
        about: "How many rows a table of `group_by` has at most; 100 if not said. The rest is one row.",
    },
    Parameter {
        name: "sort",
        kind: Kind::OneOf(&measure::SUM_NAMES),
        about: "What the rows of tables are sorted by, falling; `tokens` if not said.",
    },
    Parameter {
        name: "series",
        kind: Kind::OneOf(&["groups"]),
        about: "`groups`: each row of a table has a `timeseries` of its own.",
    },
    Parameter {
        name: "compare",
        kind: Kind::OneOf(&["previous"]),
        about: "`previous`: with the numbers of the range of the same length before this one.",
    },
    Parameter {
        name: "format",
        kind: Kind::OneOf(&["json", "csv", "jsonl"]),
        about: "As rows instead, in CSV or JSON Lines: of the table, if there is one, else of `timeseries`, else the totals.",
    },
];

/// The parameters of `metrics`.
pub(in crate::manage) const METRICS: [&[Parameter]; 3] = [&RANGE, &FILTERS, &METRICS_OWN];

const EVENTS_OWN: [Parameter; 2] = [
    Parameter {
        name: "limit",
        kind: Kind::Number { most: MAX_PAGE },
        about: "How many events a page has at most; 50 if not said.",
    },
    Parameter {
        name: "cursor",
        kind: Kind::Text,
        about: "Where the page begins: `next` of the page before it.",
    },
];

/// The parameters of `events`.
pub(in crate::manage) const EVENTS: [&[Parameter]; 3] = [&RANGE, &FILTERS, &EVENTS_OWN];

const EXPORT_OWN: [Parameter; 1] = [Parameter {
    name: "format",
    kind: Kind::OneOf(&["csv", "jsonl"]),
    about: "CSV, if not said, or JSON Lines.",
}];

/// The parameters of `export`.
pub(in crate::manage) const EXPORT: [&[Parameter]; 3] = [&RANGE, &FILTERS, &EXPORT_OWN];

const DIMENSIONS_OWN: [Parameter; 3] = [
    Parameter {
        name: "dimension",
        kind: Kind::OneOf(DIMENSION_NAMES.split_at(LISTED).0),
        about: "The dimension whose values are listed.",
    },
    Parameter { name: "q", kind: Kind::Text, about: "Only values that begin with this." },
    Parameter {
        name: "limit",
        kind: Kind::Number { most: MAX_ROWS },
        about: "How many values are listed at most; 100 if not said.",
    },
];

/// The parameters of `dimensions`.
pub(in crate::manage) const DIMENSIONS: [&[Parameter]; 3] = [&RANGE, &FILTERS, &DIMENSIONS_OWN];

const INTERVAL_NAMES: [&str; 7] = ["auto", "15m", "hour", "day", "week", "month", "none"];

const INTERVALS: [(&str, Interval); 6] = [
    ("15m", Interval::QuarterHour),
    ("hour", Interval::Hour),
    ("day", Interval::Day),
    ("week", Interval::Week),
    ("month", Interval::Month),
    ("none", Interval::None),
];

/// What tables are made by. The first ones can be listed.
const DIMENSION_NAMES: [&str; 11] = [
    "model",
    "key",
    "provider",
    "operation",
    "endpoint",
    "status",
    "status_code",
    "stream",
    "usage",
    "weekday",
    "hour_of_day",
];

/// So many of them.
const LISTED: usize = 9;

/// Those of them that have a few values, whoever calls.
const CLOSED: [&str; 5] = ["status", "stream", "usage", "weekday", "hour_of_day"];

/// By the numbers of [`DIMENSION_NAMES`].
const ALL_DIMENSIONS: [Dimension; 11] = [
    Dimension::Model,
    Dimension::Key,
    Dimension::Provider,
    Dimension::Operation,
    Dimension::Endpoint,
    Dimension::StatusClass,
    Dimension::Status,
    Dimension::Stream,
    Dimension::Usage,
    Dimension::Weekday,
    Dimension::HourOfDay,
];

const DEFAULT_ROWS: usize = 100;
const MAX_ROWS: u32 = 10_000;
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: u32 = 1000;
/// Tables of one question. Each is a pass over what is asked for.
const MAX_TABLES: usize = 8;
/// Pieces of time that an answer may have to name, in all its series.
const MAX_PIECES: u64 = 100_000;

/// In what form the numbers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::manage) enum Format {
    Json,
    Csv,
    JsonLines,
}

/// The events that a question is about.
#[derive(Clone, Debug)]
pub(in crate::manage) struct Selection {
    pub(in crate::manage) range: Range,
    pub(in crate::manage) zone: Zone,
    pub(in crate::manage) filters: Filters,
}

impl Selection {
    fn of(pairs: &Pairs<'_>, now: Timestamp, first: Option<Timestamp>) -> Result<Self, Misunderstood> {
        let zone = pairs
            .one("tz")
            .map_or(Ok(Zone::default()), |name| name.parse().map_err(|_| pairs.wrong("tz")))?;
        Ok(Self {
            range: Range::of(pairs, now, zone.time_zone(), first)?,
            filters: Filters::of(pairs)?,
            zone,
        })
    }

    /// The sum of them.
    pub(in crate::manage) fn query(&self) -> Query {
        Query {
            filters: self.filters.all.clone(),
            zone: self.zone.clone(),
            ..Query::over(self.range.from, self.range.to)
        }
    }
}

/// The question to `metrics`.
#[derive(Clone, Debug)]
pub(in crate::manage) struct Question {
    pub(in crate::manage) selection: Selection,
    pub(in crate::manage) interval: Interval,
    pub(in crate::manage) fill: bool,
    /// By the names of their dimensions.
    pub(in crate::manage) tables: Vec<Vec<&'static str>>,
    pub(in crate::manage) shown: Shown,
    pub(in crate::manage) limit: usize,
    pub(in crate::manage) sort: (&'static str, index::Measure),
    pub(in crate::manage) series: bool,
    pub(in crate::manage) compare: bool,
    pub(in crate::manage) format: Format,
}

impl Question {
    /// `first` is the time of the first event there is.
    pub(in crate::manage) fn of(
        pairs: &Pairs<'_>,
        now: Timestamp,
        first: Option<Timestamp>,
    ) -> Result<Self, Misunderstood> {
        let selection = Selection::of(pairs, now, first)?;
        let interval = match pairs.word("interval")? {
            None => Interval::Hour,
            Some("auto") => suiting(selection.range),
            Some(name) => {
                INTERVALS.iter().find(|(known, _)| *known == name).map_or(Interval::None, |found| found.1)
            }
        };
        let sort = pairs.word("sort")?.unwrap_or(measure::NAMES[0]);
        let sort = measure::sums().find(|(name, _)| *name == sort).unwrap_or((sort, index::Measure::Total));
        let format = match pairs.word("format")? {
            Some("csv") => Format::Csv,
            Some("jsonl") => Format::JsonLines,
            _ => Format::Json,
        };
        let question = Self {
            selection,
            interval,
            fill: pairs.word("fill")?.is_some(),
            tables: tables(pairs)?,
            shown: shown(pairs)?,
            limit: pairs.number("limit")?.unwrap_or(DEFAULT_ROWS),
            sort,
            series: pairs.word("series")?.is_some(),
            compare: pairs.word("compare")?.is_some(),
            format,
        };
        question.check()?;
        Ok(question)
    }

    /// What is right one by one, and too much together.
    fn check(&self) -> Result<(), Misunderstood> {
        if self.format != Format::Json {
            if self.compare {
                return Err(Misunderstood::conflict("compare", "'compare' needs 'format=json'"));
            }
            if self.tables.len() > 1 {
                let error = "more than one 'group_by' needs 'format=json'";
                return Err(Misunderstood::conflict("group_by", error));
            }
        }
        if self.fill || self.series {
            let series = 1 + if self.series { self.tables.len() * (self.limit + 1) } else { 0 } as u64;
            let pieces = self.query().pieces();
            if self.interval != Interval::None && pieces.saturating_mul(series) > MAX_PIECES {
                return Err(Misunderstood {
                    code: "too_many_buckets",
                    allowed: vec![format!("{MAX_PIECES} pieces of time in all")],
                    ..Misunderstood::conflict(
                        "interval",
                        format!(
                            "an 'interval' this short has too many pieces in this range, expected {MAX_PIECES} at most"
                        ),
                    )
                });
            }
        }
        Ok(())
    }

    /// What the index is asked. The first table is by model.
    pub(in crate::manage) fn query(&self) -> Query {
        let by_model = Grouping { sort: self.sort.1, ..Grouping::by([Dimension::Model]) };
        let tables = self.tables.iter().map(|names| Grouping {
            by: names.iter().filter_map(|name| dimension(name)).collect(),
            // What nobody can make up is never cut: 168 hours of a week are what a heat map has.
            top: names.iter().any(|name| !CLOSED.contains(name)).then_some(self.limit),
            sort: self.sort.1,
            series: self.series,
        });
        Query {
            interval: self.interval,
            fill: self.fill,
            groupings: [by_model].into_iter().chain(tables).collect(),
            durations: self.shown.needs_durations(),
            ..self.selection.query()
        }
    }

    /// The same of the range before, without tables.
    pub(in crate::manage) fn previous(&self) -> Option<(Range, Query)> {
        let range = self.selection.range.previous();
        let query = Query { from: range.from, to: range.to, groupings: Vec::new(), ..self.query() };
        self.compare.then_some((range, query))
    }

    pub(in crate::manage) fn interval_name(&self) -> &'static str {
        INTERVALS.iter().find(|(_, interval)| *interval == self.interval).map_or("none", |(name, _)| name)
    }
}

/// Some dozens of pieces up to some hundreds.
fn suiting(range: Range) -> Interval {
    const HOUR: i64 = 60 * 60 * 1000;
    match range.to.unix_millis() - range.from.unix_millis() {
        ..=21_600_000 => Interval::QuarterHour,
        millis if millis <= 96 * HOUR => Interval::Hour,
        millis if millis <= 120 * 24 * HOUR => Interval::Day,
        millis if millis <= 800 * 24 * HOUR => Interval::Week,
        _ => Interval::Month,
    }
}

fn dimension(name: &str) -> Option<Dimension> {
    DIMENSION_NAMES.iter().position(|known| *known == name).map(|at| ALL_DIMENSIONS[at])
}

fn tables(pairs: &Pairs<'_>) -> Result<Vec<Vec<&'static str>>, Misunderstood> {
    let mut tables = Vec::new();
    for text in pairs.all("group_by") {
        let names = words(text, &DIMENSION_NAMES).filter(|names| match &**names {
            [_] => true,
            [one, other] => one != other,
            _ => false,
        });
        let names = names.map(|names| names.into_iter().map(|at| DIMENSION_NAMES[at]).collect());
        tables.push(names.ok_or_else(|| pairs.wrong("group_by"))?);
    }
    if tables.len() > MAX_TABLES {
        let error = format!("'group_by' can be given {MAX_TABLES} times at most");
        return Err(Misunderstood::conflict("group_by", error));
    }
    Ok(tables)
}

fn shown(pairs: &Pairs<'_>) -> Result<Shown, Misunderstood> {
    let Some(text) = pairs.one("metrics") else { return Ok(Shown::default()) };
    if text == "all" {
        return Ok(Shown::all());
    }
    words(text, &measure::NAMES).map(Shown::only).ok_or_else(|| pairs.wrong("metrics"))
}

/// The question to `events`.
#[derive(Clone, Debug)]
pub(in crate::manage) struct Events {
    pub(in crate::manage) selection: Selection,
    pub(in crate::manage) limit: usize,
    pub(in crate::manage) before: Option<Cursor>,
}

impl Events {
    pub(in crate::manage) fn of(
        pairs: &Pairs<'_>,
        now: Timestamp,
        first: Option<Timestamp>,
    ) -> Result<Self, Misunderstood> {
        let cursor = pairs.one("cursor").map(|text| {
            text.parse().map_err(|_| Misunderstood::value("cursor", ["what `next` of the page before said"]))
        });
        Ok(Self {
            selection: Selection::of(pairs, now, first)?,
            limit: pairs.number("limit")?.unwrap_or(DEFAULT_PAGE),
            before: cursor.transpose()?,
        })
    }
}

/// The question to `export`.
#[derive(Clone, Debug)]
pub(in crate::manage) struct Export {
    pub(in crate::manage) selection: Selection,
    pub(in crate::manage) format: Format,
}

impl Export {
    pub(in crate::manage) fn of(
        pairs: &Pairs<'_>,
        now: Timestamp,
        first: Option<Timestamp>,
    ) -> Result<Self, Misunderstood> {
        let format = match pairs.word("format")? {
            Some("jsonl") => Format::JsonLines,
            _ => Format::Csv,
        };
        Ok(Self { selection: Selection::of(pairs, now, first)?, format })
    }
}

/// The question to `dimensions`.
#[derive(Clone, Debug)]
pub(in crate::manage) struct Listing {
    pub(in crate::manage) selection: Selection,
    pub(in crate::manage) name: &'static str,
    pub(in crate::manage) dimension: Dimension,
    pub(in crate::manage) limit: usize,
    prefix: Option<String>,
}

impl Listing {
    pub(in crate::manage) fn of(
        pairs: &Pairs<'_>,
        now: Timestamp,
        first: Option<Timestamp>,
    ) -> Result<Self, Misunderstood> {
        let Some(name) = pairs.word("dimension")? else {
            let what = Misunderstood::value("dimension", DIMENSION_NAMES[..LISTED].iter().copied());
            return Err(Misunderstood { code: "missing_parameter", ..what });
        };
        let Some(dimension) = dimension(name) else {
            return Err(Misunderstood::value("dimension", DIMENSION_NAMES[..LISTED].iter().copied()));
        };
        Ok(Self {
            selection: Selection::of(pairs, now, first)?,
            name,
            dimension,
            limit: pairs.number("limit")?.unwrap_or(DEFAULT_ROWS),
            prefix: pairs.one("q").map(str::to_owned),
        })
    }

    pub(in crate::manage) fn query(&self) -> Query {
        let mut query = self.selection.query();
        let prefix = self.prefix.iter().map(|text| Filter::is(self.dimension, Pattern::Prefix(text.clone())));
        query.filters.extend(prefix);
        query
    }
}
