//! Events one by one: pages of them, and all of a range as a file.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Serialize, ser::SerializeStruct};

use super::{
    answer::Plain,
    body::Source,
    metrics::{Pairs, revision, write_line},
    query::{Events, Export, Format, Listing},
    table::{Cell, Csv},
};
use crate::{
    Timestamp,
    index::{self, EventRow, Snapshot},
};

/// The names of an event's fields: those of the usage file.
const FIELDS: [&str; 19] = [
    "timestamp",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "status",
    "api_key_hash",
    "provider",
    "operation",
    "endpoint",
    "stream",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "reasoning_tokens",
    "usage",
    "end",
    "duration_ms",
    "ttft_ms",
];

/// An event on the wire.
struct Line<'a>(&'a EventRow);

impl<'a> Line<'a> {
    /// By [`FIELDS`].
    fn cells(&self) -> [Cell<'a>; FIELDS.len()] {
        let EventRow {
            timestamp,
            model,
            key,
            provider,
            operation,
            endpoint,
            status,
            stream,
            usage,
            end,
            tokens,
            duration,
            first_byte,
        } = self.0;
        let count = |count: Option<u64>| count.map_or(Cell::Empty, Cell::Count);
        [
            Cell::Owned(timestamp.to_string()),
            Cell::Text(model),
            count(tokens.input),
            count(tokens.output),
            count(tokens.total),
            Cell::Count(u64::from(*status)),
            key.map_or(Cell::Empty, |key| Cell::Owned(key.to_string())),
            text(provider),
            text(operation),
            text(endpoint),
            stream.map_or(Cell::Empty, Cell::Flag),
            count(tokens.cache_read),
            count(tokens.cache_write),
            count(tokens.cache_write_1h),
            count(tokens.reasoning),
            usage.map_or(Cell::Empty, |usage| Cell::Text(usage.word())),
            end.map_or(Cell::Empty, |end| Cell::Text(end.word())),
            count(*duration),
            count(*first_byte),
        ]
    }
}

impl Serialize for Line<'_> {
    /// What is not known is left out.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("Line", FIELDS.len())?;
        for (name, cell) in FIELDS.into_iter().zip(self.cells()) {
            match cell {
                Cell::Empty => object.skip_field(name)?,
                cell => object.serialize_field(name, &cell)?,
            }
        }
        object.end()
    }
}

fn text(text: &Option<Arc<str>>) -> Cell<'_> {
    text.as_deref().map_or(Cell::Empty, Cell::Text)
}

/// A page of events, the newest first.
pub(super) fn page(question: &Events, now: Timestamp, snapshot: &Snapshot) -> Plain {
    #[derive(Serialize)]
    struct Numbers<'a> {
        events: Vec<Line<'a>>,
        next: Option<String>,
    }
    #[derive(Serialize)]
    struct Rest<'a> {
        meta: Meta<'a>,
    }
    #[derive(Serialize)]
    struct Meta<'a> {
        from: Timestamp,
        to: Timestamp,
        now: Timestamp,
        tz: String,
        filters: Pairs<'a>,
        limit: usize,
        revision: String,
    }
    let selection = &question.selection;
    let page = snapshot.page(&selection.query(), question.before, question.limit);
    let numbers = Numbers {
        events: page.events.iter().map(Line).collect(),
        next: page.next.map(|next| next.to_string()),
    };
    let rest = Rest {
        meta: Meta {
            from: selection.range.from,
            to: selection.range.to,
            now,
            tz: selection.zone.to_string(),
            filters: Pairs(&selection.filters.written),
            limit: question.limit,
            revision: revision(snapshot),
        },
    };
    Plain::json_of_two(&numbers, &rest)
}

/// The values of a dimension, those with the most requests first.
pub(super) fn values(question: &Listing, snapshot: &Snapshot) -> Plain {
    #[derive(Serialize)]
    struct Values<'a> {
        dimension: &'a str,
        values: Vec<Value<'a>>,
        /// So many values are left out.
        more: usize,
    }
    #[derive(Serialize)]
    struct Value<'a> {
        value: &'a str,
        requests: u64,
        tokens: u64,
    }
    let (values, more) = snapshot.dimension(question.dimension, &question.query(), question.limit);
    let rows = values.iter().map(|(value, stats)| Value {
        value,
        requests: stats.sums.requests,
        tokens: stats.sums.total,
    });
    let body = Values { dimension: question.name, values: rows.collect(), more };
    Plain::json(&body).tagged_by_content()
}

/// So many bytes make a piece of a file, more or less.
const PIECE: usize = 32 << 10;

/// A file of events, piece by piece, the oldest first.
pub(super) struct File {
    events: index::Export,
    format: Format,
    /// The names of the columns are written.
    is_begun: bool,
}

impl File {
    pub(super) fn new(question: &Export, snapshot: Arc<Snapshot>) -> Self {
        Self {
            events: snapshot.export(&question.selection.query()),
            format: question.format,
            is_begun: false,
        }
    }
}

impl Source for File {
    fn next(&mut self) -> Option<Bytes> {
        let Self { events, format, is_begun } = self;
        let piece = match format {
            Format::Csv => {
                let mut csv = Csv::new();
                if !std::mem::replace(is_begun, true) {
                    csv.row(FIELDS.map(Cell::Text));
                }
                while csv.len() < PIECE {
                    let Some(event) = events.next() else { break };
                    csv.row(Line(&event).cells());
                }
                csv.finish()
            }
            Format::Json | Format::JsonLines => {
                let mut lines = Vec::new();
                while lines.len() < PIECE {
                    let Some(event) = events.next() else { break };
                    write_line(&mut lines, &Line(&event));
                }
                lines
            }
        };
        (!piece.is_empty()).then(|| piece.into())
    }
}
