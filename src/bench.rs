//! What this crate's own benches measure apart from the rest. No part of its interface: any version may change it.
#![allow(missing_docs, missing_debug_implementations, reason = "for this crate's benches")]

use std::{
    hint::black_box,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::{
    Timestamp,
    extract::{Dialect, Format, Unread},
    index::{self, Dimension, Filter, Grouping, Interval, Pattern, Query},
    queue,
    slot::Slot,
    store, writer,
};

/// A body that is read alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    Chat,
    ChatStream,
    GeminiStream,
    Images,
}

/// Reads a body in pieces, as the layer does.
pub fn total_tokens<'a>(api: Api, pieces: impl IntoIterator<Item = &'a [u8]>) -> Option<u64> {
    let mut extractor = match api {
        Api::Chat => Unread::new(Format::Json, Some(Dialect::OpenAi)).begin(),
        Api::ChatStream => Unread::new(Format::EventStream, Some(Dialect::OpenAi)).begin(),
        Api::GeminiStream => Unread::new(Format::EventStream, Some(Dialect::Gemini)).begin(),
        Api::Images => Unread::new(Format::Json, Some(Dialect::Responses)).begin(),
    };
    pieces.into_iter().for_each(|piece| extractor.feed(piece));
    extractor.finish();
    let (_, answer) = extractor.take(true);
    answer.judge(None).0.total
}

/// Reads the events of a usage file without keeping them, and gives their number.
pub fn parse(file: &Path, threads: usize) -> io::Result<u64> {
    store::read(file, threads, |(), event| _ = black_box(event), |()| {})
}

/// Loads a usage file into an index.
pub fn load(file: &Path, threads: usize) -> io::Result<Index> {
    let mut index = index::Index::default();
    store::read(file, threads, index::Draft::push, |draft| index.take(draft))?;
    let snapshot = index.snapshot();
    Ok(Index { snapshot, _writers: index })
}

/// A history in memory.
pub struct Index {
    snapshot: Arc<index::Snapshot>,
    _writers: index::Index,
}

impl Index {
    pub fn events(&self) -> u64 {
        self.snapshot.events()
    }

    pub fn heap_bytes(&self) -> usize {
        self.snapshot.heap_bytes()
    }

    pub fn ask(&self, question: &Question) -> Answer {
        let answer = self.snapshot.query(&question.0);
        let rows = answer.groups.iter().map(|table| table.rows.len()).sum::<usize>();
        let lines = (rows + answer.series.len()).max(1) as u64;
        Answer { requests: answer.totals.sums.requests, tokens: answer.totals.sums.total, lines }
    }
}

/// What an answer comes to: the sums over all of it, and its groups and pieces of time; 1, if there are none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Answer {
    pub requests: u64,
    pub tokens: u64,
    pub lines: u64,
}

#[derive(Clone)]
pub struct Question(Query);

impl Question {
    /// Both ends are included.
    pub fn over(from: Timestamp, to: Timestamp) -> Self {
        Self(Query::over(from, to))
    }

    #[must_use]
    pub fn only(mut self, dimension: &str, value: &str) -> Self {
        self.0.filters.push(Filter::is(named(dimension), Pattern::Exact(value.to_owned())));
        self
    }

    /// A line for each value, or pair of values.
    #[must_use]
    pub fn by(mut self, dimensions: &[&str]) -> Self {
        self.0.groupings.push(Grouping::by(dimensions.iter().map(|name| named(name)).collect::<Vec<_>>()));
        self
    }

    #[must_use]
    pub fn each_hour(mut self) -> Self {
        self.0.interval = Interval::Hour;
        self
    }

    #[must_use]
    pub fn each_day(mut self, zone: &str) -> Self {
        self.0.interval = Interval::Day;
        self.0.zone = zone.parse().expect("a time zone");
        self
    }

    /// With percentiles of durations.
    #[must_use]
    pub fn durations(mut self) -> Self {
        self.0.durations = true;
        self
    }
}

fn named(dimension: &str) -> Dimension {
    match dimension {
        "model" => Dimension::Model,
        "key" => Dimension::Key,
        "provider" => Dimension::Provider,
        "operation" => Dimension::Operation,
        "endpoint" => Dimension::Endpoint,
        "status class" => Dimension::StatusClass,
        "stream" => Dimension::Stream,
        "usage" => Dimension::Usage,
        "weekday" => Dimension::Weekday,
        "hour of day" => Dimension::HourOfDay,
        other => panic!("no dimension: {other}"),
    }
}

/// How long lines wait for the next write however many they are, unless they have [this many bytes](MOST_PACED).
pub const LEAST_INTERVAL: Duration = writer::LEAST_INTERVAL;
pub const MOST_PACED: usize = writer::MOST_PACED;

/// The longest answer that is copied, in bytes.
pub const LONGEST_COPY: usize = Slot::MAX;

/// The queue between requests and the writer.
pub fn queue<T>(capacity: usize) -> (Recorder<T>, Events<T>) {
    let (recorder, events) = queue::channel(capacity);
    (Recorder(recorder), Events(events))
}

pub struct Recorder<T>(queue::Recorder<T>);

impl<T> Recorder<T> {
    pub fn push(&self, item: T) {
        self.0.push(item);
    }
}

impl<T> Clone for Recorder<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub struct Events<T>(queue::Events<T>);

impl<T> Events<T> {
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }

    /// Sleeps until `deadline`, or until as many wait as wake the writer when it is not time to write. Always of the same
    /// thread.
    pub fn wait(&self, deadline: Instant) {
        self.0.attach();
        if self.0.arm(self.0.half() as u64) {
            self.0.wait(Some(deadline));
        }
    }
}
