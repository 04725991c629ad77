//! The index against a plain scan, by what a caller relies on.

mod answers;
mod bounds;
mod drafts;
mod naive;
pub(crate) mod properties;
mod retired;
mod snapshots;
mod speed;
mod zones;

use std::{
    borrow::Cow,
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{Answer, Dimension, Filter, Grouping, Index, Interval, Pattern, Query, Snapshot, Sums};
use crate::{Ending, KeyHash, Timestamp, UsageEvent, UsageQuality};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an RFC 3339 time")
}

/// An event with `input` and `output` counted, and their sum.
fn event(timestamp: Timestamp, model: &'static str, input: u64, output: u64) -> UsageEvent {
    let mut event = UsageEvent::new(timestamp, model);
    event.tokens.input = Some(input);
    event.tokens.output = Some(output);
    event.tokens.total = Some(input + output);
    event
}

fn indexed<'a>(events: impl IntoIterator<Item = &'a UsageEvent>) -> Arc<Snapshot> {
    indexed_in_parts(events, usize::MAX)
}

/// With a snapshot after each `part` events: they go into the tree then, so that those out of order meet later ones.
/// The first of each part go into it before.
fn indexed_in_parts<'a>(events: impl IntoIterator<Item = &'a UsageEvent>, part: usize) -> Arc<Snapshot> {
    let mut index = Index::default();
    for (i, event) in events.into_iter().enumerate() {
        index.insert(event);
        if i % part == part - 1 {
            index.snapshot();
        } else if i % part == part / 3 {
            index.settle();
        }
    }
    index.snapshot()
}

/// What the original's route is asked: by model and by hour, of one model or of all.
fn metrics(from: Timestamp, to: Timestamp, model: Option<&str>) -> Query {
    Query {
        filters: model.into_iter().map(|name| only(Dimension::Model, name)).collect(),
        interval: Interval::Hour,
        groupings: vec![Grouping::by([Dimension::Model])],
        ..Query::over(from, to)
    }
}

fn only(dimension: Dimension, value: &str) -> Filter {
    Filter::is(dimension, Pattern::Exact(value.to_owned()))
}

fn all(model: Option<&str>) -> Query {
    metrics(Timestamp::MIN, Timestamp::MAX, model)
}

fn ask(snapshot: &Snapshot, from: &str, to: &str) -> Answer {
    snapshot.query(&metrics(at(from), at(to), None))
}

fn ask_all(snapshot: &Snapshot) -> Answer {
    snapshot.query(&all(None))
}

/// The rows of the first grouping, by their first value.
fn by_value(answer: &Answer) -> Vec<(&str, Sums)> {
    let rows = answer.groups[0].rows.iter();
    rows.map(|row| (row.values[0].as_deref().unwrap_or("-"), row.stats.sums)).collect()
}

/// Events as a busy proxy records them today: 50 models, 1,000 keys, every count known, rising but for some seconds.
struct Traffic {
    random: u64,
    events: u64,
    /// Milliseconds from the first to the last.
    span: u64,
    next: u64,
}

impl Traffic {
    fn new(events: u64, days: u64) -> Self {
        Self { random: 0, events, span: days * 86_400_000, next: 0 }
    }

    /// SplitMix64: fast, and the same on each machine.
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

static MODELS: LazyLock<Vec<String>> =
    LazyLock::new(|| (0..50).map(|i| format!("model-{i}-2026-01-01")).collect());
static KEYS: LazyLock<Vec<KeyHash>> =
    LazyLock::new(|| (0..1_000_u32).map(|i| KeyHash::of(&i.to_le_bytes())).collect());
const SOURCES: [(&str, &str, &str); 4] = [
    ("openai", "chat", "POST /v1/chat/completions"),
    ("openai", "embeddings", "POST /v1/embeddings"),
    ("anthropic", "chat", "POST /v1/messages"),
    ("gcp.gemini", "generate_content", "POST /v1beta/models/{model}:streamGenerateContent"),
];

impl Iterator for Traffic {
    type Item = UsageEvent;

    fn next(&mut self) -> Option<UsageEvent> {
        if self.next == self.events {
            return None;
        }
        let start = 1_767_225_600_000; // 2026-01-01T00:00:00Z
        let time = self.next * self.span / self.events + self.random(5_000);
        self.next += 1;

        let model = MODELS[self.random(50) as usize].as_str();
        let (input, output) = (self.random(200_000), self.random(8_000));
        let mut event = event(Timestamp::from_unix_millis(start + time as i64), model, input, output);
        event.tokens.cache_read = Some(input / 2);
        event.tokens.cache_write = Some(self.random(20_000));
        event.tokens.reasoning = Some(output / 3);
        event.key = Some(KEYS[self.random(1_000) as usize]);
        let (provider, operation, endpoint) = SOURCES[self.random(4) as usize];
        event.provider = Some(Cow::Borrowed(provider));
        event.operation = Some(Cow::Borrowed(operation));
        event.endpoint = Some(Cow::Borrowed(endpoint));
        event.stream = Some(self.random(2) == 0);
        event.status = if self.random(50) == 0 { 429 } else { 200 };
        event.usage = Some(UsageQuality::Complete);
        event.end = Some(Ending::Complete);
        event.duration = Some(Duration::from_millis(self.random(90_000)));
        event.time_to_first_byte = Some(Duration::from_millis(self.random(5_000)));
        Some(event)
    }
}
