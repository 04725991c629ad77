//! What is left of segments that are gone: sums for each quarter of an hour, in a file that `jq` can read.
//!
//! JSON Lines. First a line for each segment that is summed up in the rest, by day and number:
//!
//! ```json
//! {"v":1,"segment":"usage.2026-03-01.json","bytes":91234,"events":301,"bad_lines":0}
//! ```
//!
//! then a line for each quarter of an hour, model, key, provider and class of status that had events, in this order:
//!
//! ```json
//! {"v":1,"start":"2026-03-01T09:30:00.000Z","model":"gpt-4o","api_key_hash":"9f86…","provider":"openai","status":"2xx","requests":3,"errors":0,"aborted":0,"unknown_usage":0,"prompt_tokens":27,"completion_tokens":36,"total_tokens":63,"cache_read_tokens":0,"cache_write_tokens":0,"cache_write_1h_tokens":0,"reasoning_tokens":0,"timed":3,"duration_us":2437200,"first_bytes":3,"first_byte_us":611700}
//! ```
//!
//! `bytes` is the length before compression. What events do not have (a key, a provider) is left out. `errors` and
//! `aborted` are of [`UsageEvent`](crate::UsageEvent)'s methods; `unknown_usage` counts events without any count of
//! tokens; `duration_us` sums up the `timed` events' durations in microseconds, and `first_byte_us` the times to the
//! first byte of those that had one. A sum too large for 64 bits is the largest.
//!
//! The bytes of the file depend on nothing but the segments, not on when or in which order they were summed up: made
//! anew from the same segments, it is the same. It is only ever replaced as a whole, before the segments that it tells of
//! are removed. Those that are still there after a crash are known by their lines, and not counted twice.

use std::{
    borrow::Cow,
    cmp::Ordering,
    collections::BTreeMap,
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    iter::Peekable,
    ops::AddAssign,
};

use serde::{Deserialize, Serialize};

use super::segments::{Names, SegmentId};
use crate::{KeyHash, Timestamp, event::EventRef};

/// The version of the lines (`v`).
const VERSION: u8 = 1;

const QUARTER: i64 = 15 * 60 * 1000;

/// The sums of the events that have all of these in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aggregate {
    pub(crate) cell: Cell,
    pub(crate) counts: Counts,
}

/// What events are summed up by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// The first moment of a quarter of an hour.
    pub(crate) start: Timestamp,
    pub(crate) model: String,
    pub(crate) key: Option<KeyHash>,
    pub(crate) provider: Option<String>,
    /// The status' hundreds.
    pub(crate) class: u16,
}

/// Sums over events, as [`Sums`](crate::index::Sums), and those of their times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Counts {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) aborted: u64,
    #[serde(rename = "unknown_usage")]
    pub(crate) unknown: u64,
    #[serde(rename = "prompt_tokens")]
    pub(crate) input: u64,
    #[serde(rename = "completion_tokens")]
    pub(crate) output: u64,
    #[serde(rename = "total_tokens")]
    pub(crate) total: u64,
    #[serde(rename = "cache_read_tokens")]
    pub(crate) cache_read: u64,
    #[serde(rename = "cache_write_tokens")]
    pub(crate) cache_write: u64,
    #[serde(rename = "cache_write_1h_tokens")]
    pub(crate) cache_write_1h: u64,
    #[serde(rename = "reasoning_tokens")]
    pub(crate) reasoning: u64,
    /// Events whose duration is known, and their durations.
    pub(crate) timed: u64,
    pub(crate) duration_us: u64,
    /// Events whose time to the first byte is known, and those times.
    pub(crate) first_bytes: u64,
    pub(crate) first_byte_us: u64,
}

impl Cell {
    fn of(event: &EventRef<'_>) -> Self {
        let quarter = event.timestamp.unix_millis().div_euclid(QUARTER);
        Self {
            start: Timestamp::from_unix_millis(quarter * QUARTER),
            model: event.model.to_owned(),
            key: event.key,
            provider: event.provider.map(str::to_owned),
            class: event.status / 100,
        }
    }
}

impl Counts {
    fn of(event: &EventRef<'_>) -> Self {
        let micros = |time: Option<std::time::Duration>| {
            time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        };
        let tokens = event.tokens;
        Self {
            requests: 1,
            errors: event.is_error().into(),
            aborted: event.is_aborted().into(),
            unknown: tokens.is_unknown().into(),
            input: tokens.input.unwrap_or(0),
            output: tokens.output.unwrap_or(0),
            total: tokens.total.unwrap_or(0),
            cache_read: tokens.cache_read.unwrap_or(0),
            cache_write: tokens.cache_write.unwrap_or(0),
            cache_write_1h: tokens.cache_write_1h.unwrap_or(0),
            reasoning: tokens.reasoning.unwrap_or(0),
            timed: event.duration.is_some().into(),
            duration_us: micros(event.duration),
            first_bytes: event.time_to_first_byte.is_some().into(),
            first_byte_us: micros(event.time_to_first_byte),
        }
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.requests, other.requests);
        add(&mut self.errors, other.errors);
        add(&mut self.aborted, other.aborted);
        add(&mut self.unknown, other.unknown);
        add(&mut self.input, other.input);
        add(&mut self.output, other.output);
        add(&mut self.total, other.total);
        add(&mut self.cache_read, other.cache_read);
        add(&mut self.cache_write, other.cache_write);
        add(&mut self.cache_write_1h, other.cache_write_1h);
        add(&mut self.reasoning, other.reasoning);
        add(&mut self.timed, other.timed);
        add(&mut self.duration_us, other.duration_us);
        add(&mut self.first_bytes, other.first_bytes);
        add(&mut self.first_byte_us, other.first_byte_us);
    }
}

/// A segment that is summed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Absorbed {
    pub(crate) id: SegmentId,
    /// Its length, before compression.
    pub(crate) bytes: u64,
    pub(crate) events: u64,
    pub(crate) bad_lines: u64,
}

/// What is to be added to the file.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(super) segments: Vec<Absorbed>,
    cells: BTreeMap<Cell, Counts>,
    /// Of the latest event.
    latest: Option<Timestamp>,
}

impl Sum {
    pub(super) fn add(&mut self, event: &EventRef<'_>) {
        *self.cells.entry(Cell::of(event)).or_default() += Counts::of(event);
        self.latest = self.latest.max(Some(event.timestamp));
    }

    pub(super) fn cells(&self) -> usize {
        self.cells.len()
    }

    pub(super) fn latest(&self) -> Option<Timestamp> {
        self.latest
    }

    /// Writes what `old`, a file or nothing, holds, and this.
    pub(super) fn merge(mut self, old: impl Read, to: impl Write, names: &Names) -> io::Result<()> {
        let mut to = BufWriter::with_capacity(64 << 10, to);
        let mut old = lines(old, names).peekable();
        while let Some(Ok(Record::Segment(_))) = old.peek() {
            if let Some(Record::Segment(absorbed)) = old.next().transpose()? {
                self.segments.push(absorbed);
            }
        }
        self.segments.sort_unstable();
        for absorbed in &self.segments {
            write_line(&mut to, &Line::segment(absorbed, names))?;
        }
        let mut new = self.cells.into_iter().map(|(cell, counts)| Aggregate { cell, counts }).peekable();
        while let Some(aggregate) = next(&mut old, &mut new)? {
            write_line(&mut to, &Line::sums(&aggregate))?;
        }
        to.flush()
    }
}

/// The next one of two that rise, summed up if both have it.
fn next(
    old: &mut Peekable<impl Iterator<Item = io::Result<Record>>>,
    new: &mut Peekable<impl Iterator<Item = Aggregate>>,
) -> io::Result<Option<Aggregate>> {
    let order = match (old.peek(), new.peek()) {
        (Some(Ok(Record::Sums(old))), Some(new)) => old.cell.cmp(&new.cell),
        (Some(_), _) => Ordering::Less,
        (None, _) => Ordering::Greater,
    };
    if order == Ordering::Greater {
        return Ok(new.next());
    }
    let mut aggregate = match old.next().transpose()? {
        Some(Record::Sums(aggregate)) => aggregate,
        Some(Record::Segment(_)) => return Err(invalid("a segment among the sums")),
        None => return Ok(None),
    };
    if order == Ordering::Equal
        && let Some(more) = new.next()
    {
        aggregate.counts += more.counts;
    }
    Ok(Some(aggregate))
}

/// A line of the file.
#[derive(Debug)]
pub(super) enum Record {
    Segment(Absorbed),
    Sums(Aggregate),
}

/// The lines of a file. One that cannot be read is an error, and the last: who writes the file anew must not lose it.
pub(super) fn lines(file: impl Read, names: &Names) -> impl Iterator<Item = io::Result<Record>> {
    let mut file = BufReader::with_capacity(64 << 10, file);
    let mut line = String::new();
    let mut number = 0;
    std::iter::from_fn(move || {
        line.clear();
        number += 1;
        match file.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(record(&line, names).map_err(|e| invalid(format!("line {number}: {e}")))),
            Err(e) => Some(Err(e)),
        }
    })
}

fn record(line: &str, names: &Names) -> Result<Record, Box<dyn std::error::Error + Send + Sync>> {
    let line: Line<'_> = serde_json::from_str(line)?;
    if line.v != VERSION {
        return Err(format!("version {} is not known", line.v).into());
    }
    match line {
        Line { segment: Some(segment), bytes, events, bad_lines, .. } => {
            let id = names.id(&segment).ok_or("no segment's name")?;
            Ok(Record::Segment(Absorbed {
                id,
                bytes: bytes.unwrap_or(0),
                events: events.unwrap_or(0),
                bad_lines: bad_lines.unwrap_or(0),
            }))
        }
        Line {
            start: Some(start), model: Some(model), status: Some(status), counts: Some(counts), ..
        } => {
            let class =
                status.strip_suffix("xx").and_then(|class| class.parse().ok()).ok_or("no class of status")?;
            let cell = Cell {
                start,
                model: model.into_owned(),
                key: line.api_key_hash,
                provider: line.provider.map(Cow::into_owned),
                class,
            };
            Ok(Record::Sums(Aggregate { cell, counts }))
        }
        _ => Err("neither a segment nor sums".into()),
    }
}

/// Either kind of line.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Line<'a> {
    v: u8,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    segment: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bad_lines: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<Timestamp>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    model: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    api_key_hash: Option<KeyHash>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    provider: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    status: Option<Cow<'a, str>>,
    #[serde(flatten)]
    counts: Option<Counts>,
}

impl<'a> Line<'a> {
    fn segment(absorbed: &Absorbed, names: &Names) -> Self {
        let Absorbed { id, bytes, events, bad_lines } = *absorbed;
        Self {
            v: VERSION,
            segment: Some(names.plain_name(id).into()),
            bytes: Some(bytes),
            events: Some(events),
            bad_lines: Some(bad_lines),
            ..Self::default()
        }
    }

    fn sums(Aggregate { cell, counts }: &'a Aggregate) -> Self {
        Self {
            v: VERSION,
            start: Some(cell.start),
            model: Some(Cow::Borrowed(&cell.model)),
            api_key_hash: cell.key,
            provider: cell.provider.as_deref().map(Cow::Borrowed),
            status: Some(format!("{}xx", cell.class).into()),
            counts: Some(*counts),
            ..Self::default()
        }
    }
}

fn write_line(to: &mut impl Write, line: &Line<'_>) -> io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}

fn invalid(text: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
