//! The answer of `metrics`: sums and measures, in JSON or as rows.

use std::sync::Arc;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    answer::{CSV, JSON_LINES, Plain},
    measure::{Number, Shown},
    query::{Format, Question, Range},
    table::{Cell, Csv},
    tag::Tag,
};
use crate::{
    Timestamp,
    index::{Answer, Bucket, Interval, Snapshot, Stats, Table},
};

/// Asks `snapshot`, and writes what it says. Takes its time.
pub(super) fn answer(question: &Question, now: Timestamp, snapshot: &Snapshot) -> Plain {
    let answer = snapshot.query(&question.query());
    match question.format {
        Format::Json => json(question, now, snapshot, &answer),
        Format::Csv => {
            let mut csv = Csv::new();
            csv.row(header(question).map(Cell::Text));
            rows(question, &answer, |row| csv.row(row.cells()));
            let body = csv.finish();
            Plain::new(CSV, body).tagged_by_content()
        }
        Format::JsonLines => {
            let mut body = Vec::new();
            rows(question, &answer, |row| write_line(&mut body, row));
            Plain::new(JSON_LINES, body).tagged_by_content()
        }
    }
}

/// A line of JSON Lines.
pub(super) fn write_line(body: &mut Vec<u8>, row: &impl Serialize) {
    serde_json::to_writer(&mut *body, row).expect("what is answered is JSON");
    body.push(b'\n');
}

fn json(question: &Question, now: Timestamp, snapshot: &Snapshot, answer: &Answer) -> Plain {
    let shown = &question.shown;
    let (by_model, tables) = match &*answer.groups {
        [by_model, tables @ ..] => (Some(by_model), tables),
        [] => (None, &[][..]),
    };
    let previous = question.previous().map(|(range, query)| (range, snapshot.query(&query)));
    let numbers = Numbers {
        totals: Counts { stats: &answer.totals, shown },
        by_model: by_model.map_or_else(Vec::new, |table| groups(&MODEL, table, shown)),
        timeseries: buckets(&answer.series, shown),
        groups: question
            .tables
            .iter()
            .zip(tables)
            .map(|(by, table)| group_table(by, table, question))
            .collect(),
    };
    let Range { from, to, .. } = question.selection.range;
    let previous = previous.as_ref().map(|(Range { from, to, .. }, answer)| Previous {
        from: *from,
        to: *to,
        numbers: PreviousNumbers {
            totals: Counts { stats: &answer.totals, shown },
            timeseries: buckets(&answer.series, shown),
        },
    });
    let before = previous.as_ref().map(|previous| Plain::json(&previous.numbers).tagged_by_content().tag());
    let plain =
        Plain::json_of_two(&numbers, &Rest { previous, meta: meta(question, now, snapshot), from, to });
    let tag = Tag::of((plain.tag(), before));
    plain.tagged(tag)
}

/// What the answer is about: the part that decides whether it is another one.
#[derive(Serialize)]
struct Numbers<'a> {
    totals: Counts<'a>,
    by_model: Vec<Row<'a>>,
    timeseries: Vec<Row<'a>>,
    groups: Vec<GroupTable<'a>>,
}

#[derive(Serialize)]
struct Rest<'a> {
    previous: Option<Previous<'a>>,
    meta: Meta<'a>,
    from: Timestamp,
    to: Timestamp,
}

#[derive(Serialize)]
struct Previous<'a> {
    from: Timestamp,
    to: Timestamp,
    #[serde(flatten)]
    numbers: PreviousNumbers<'a>,
}

#[derive(Serialize)]
struct PreviousNumbers<'a> {
    totals: Counts<'a>,
    timeseries: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct GroupTable<'a> {
    by: &'a [&'static str],
    rows: Vec<Row<'a>>,
    other: Option<Other<'a>>,
}

/// What the rows beyond the limit come to.
#[derive(Serialize)]
struct Other<'a> {
    /// So many rows.
    values: usize,
    #[serde(flatten)]
    counts: Counts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeseries: Option<Vec<Row<'a>>>,
}

/// What was understood.
#[derive(Serialize)]
struct Meta<'a> {
    from: Timestamp,
    to: Timestamp,
    now: Timestamp,
    interval: &'a str,
    tz: String,
    fill: Option<&'a str>,
    filters: Pairs<'a>,
    group_by: Vec<String>,
    metrics: Vec<&'a str>,
    compare: Option<&'a str>,
    limit: usize,
    sort: &'a str,
    /// Another one whenever the content is another.
    revision: String,
    /// All there are.
    events: u64,
}

fn meta<'a>(question: &'a Question, now: Timestamp, snapshot: &Snapshot) -> Meta<'a> {
    let selection = &question.selection;
    Meta {
        from: selection.range.from,
        to: selection.range.to,
        now,
        interval: question.interval_name(),
        tz: selection.zone.to_string(),
        fill: question.fill.then_some("zero"),
        filters: Pairs(&selection.filters.written),
        group_by: question.tables.iter().map(|by| by.join(",")).collect(),
        metrics: question.shown.iter().map(|(name, _)| name).collect(),
        compare: question.compare.then_some("previous"),
        limit: question.limit,
        sort: question.sort.0,
        revision: revision(snapshot),
        events: snapshot.events(),
    }
}

/// As text: it has more digits than a number of JavaScript.
pub(super) fn revision(snapshot: &Snapshot) -> String {
    format!("{:016x}", snapshot.revision())
}

/// An object of the filters as they were written.
pub(super) struct Pairs<'a>(pub(super) &'a [(&'static str, Vec<String>)]);

impl Serialize for Pairs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, values)| (name, values)))
    }
}

struct Counts<'a> {
    stats: &'a Stats,
    shown: &'a Shown,
}

impl Serialize for Counts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        self.shown.write(self.stats, &mut object)?;
        object.end()
    }
}

/// A label, what it comes to, and maybe when.
struct Row<'a> {
    labels: Vec<(&'static str, Cell<'a>)>,
    counts: Counts<'a>,
    series: Option<Vec<Row<'a>>>,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (name, label) in &self.labels {
            object.serialize_entry(name, label)?;
        }
        self.counts.shown.write(self.counts.stats, &mut object)?;
        if let Some(series) = &self.series {
            object.serialize_entry("timeseries", series)?;
        }
        object.end()
    }
}

impl Row<'_> {
    fn cells(&self) -> impl Iterator<Item = Cell<'_>> {
        let labels = self.labels.iter().map(|(_, label)| label.clone());
        let Counts { stats, shown } = self.counts;
        labels.chain(shown.iter().map(|(_, measure)| match measure.of(stats) {
            Number::Count(count) => Cell::Count(count),
            Number::Measured(Some(number)) => Cell::Measured(number),
            Number::Measured(None) => Cell::Empty,
        }))
    }
}

/// As the original wrote the beginnings of its hours: without a fraction. All pieces begin with a whole second.
fn whole_seconds(time: Timestamp) -> String {
    time.to_string().replace(".000Z", "Z")
}

/// By the kinds of values that the dimension has.
fn label<'a>(by: &str, value: Option<&'a str>) -> Cell<'a> {
    let Some(text) = value else { return Cell::Empty };
    match by {
        "weekday" | "hour_of_day" | "status_code" => text.parse().map_or(Cell::Text(text), Cell::Count),
        "stream" => text.parse().map_or(Cell::Text(text), Cell::Flag),
        _ => Cell::Text(text),
    }
}

fn buckets<'a>(series: &'a [Bucket], shown: &'a Shown) -> Vec<Row<'a>> {
    let row = |Bucket { start, stats }: &'a Bucket| Row {
        labels: vec![("bucket_start", Cell::Owned(whole_seconds(*start)))],
        counts: Counts { stats, shown },
        series: None,
    };
    series.iter().map(row).collect()
}

const MODEL: [&str; 1] = ["model"];

fn labels<'a>(by: &[&'static str], values: &'a [Option<Arc<str>>]) -> Vec<(&'static str, Cell<'a>)> {
    by.iter().zip(values).map(|(name, value)| (*name, label(name, value.as_deref()))).collect()
}

fn groups<'a>(by: &[&'static str], table: &'a Table, shown: &'a Shown) -> Vec<Row<'a>> {
    let row = table.rows.iter().map(|row| Row {
        labels: labels(by, &row.values),
        counts: Counts { stats: &row.stats, shown },
        series: None,
    });
    row.collect()
}

fn group_table<'a>(by: &'a [&'static str], table: &'a Table, question: &'a Question) -> GroupTable<'a> {
    let shown = &question.shown;
    let series = |series: &'a [Bucket]| question.series.then(|| buckets(series, shown));
    let mut rows = groups(by, table, shown);
    for (row, of) in rows.iter_mut().zip(&table.rows) {
        row.series = series(&of.series);
    }
    let other = table.other.as_ref().map(|other| Other {
        values: other.rows,
        counts: Counts { stats: &other.stats, shown },
        timeseries: series(&other.series),
    });
    GroupTable { by, rows, other }
}

/// What the row of all that is beyond the limit is called in CSV and JSON Lines.
const REST: &str = "__rest__";

/// The names of the columns.
fn header(question: &Question) -> impl Iterator<Item = &'static str> {
    let by = question.tables.first().into_iter().flatten().copied();
    let is_series = question.interval != Interval::None && (question.tables.is_empty() || question.series);
    let time = is_series.then_some("bucket_start");
    by.chain(time).chain(question.shown.iter().map(|(name, _)| name)).collect::<Vec<_>>().into_iter()
}

/// The table, if there is one, else the series, else the totals, row by row.
fn rows(question: &Question, answer: &Answer, mut each: impl FnMut(&Row<'_>)) {
    let shown = &question.shown;
    let is_series = question.interval != Interval::None;
    let Some(by) = question.tables.first() else {
        match is_series {
            true => buckets(&answer.series, shown).iter().for_each(each),
            false => {
                each(&Row { labels: vec![], counts: Counts { stats: &answer.totals, shown }, series: None })
            }
        }
        return;
    };
    let Some(table) = answer.groups.get(1) else { return };
    let rest = [Some(REST.into()), Some(REST.into())];
    let rows = table.rows.iter().map(|row| (&*row.values, &row.stats, &row.series));
    let rest = table.other.iter().map(|other| (&rest[..by.len()], &other.stats, &other.series));
    for (values, stats, series) in rows.chain(rest) {
        let labels = labels(by, values);
        if !(is_series && question.series) {
            each(&Row { labels, counts: Counts { stats, shown }, series: None });
            continue;
        }
        for mut row in buckets(series, shown) {
            row.labels.splice(0..0, labels.iter().cloned());
            each(&row);
        }
    }
}
