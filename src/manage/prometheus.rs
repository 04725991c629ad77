//! What Prometheus scrapes: text exposition 0.0.4, or OpenMetrics 1.0.0 for whoever prefers it.
//!
//! Counters are over the whole history, so a restart is no reset. Prometheus takes a counter that falls for one that began
//! anew, and its whole value for growth. Ours can fall: when old events are retired, whose durations go with them. The
//! [`Ledger`] adds to a counter what it has lost, for as long as this process runs.
//!
//! It also decides which models have a series of their own: the first ones that there was room for, with the rest under
//! `__other__`. Nothing moves from one to the other, or both would fall.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
};

use http::{HeaderMap, header::ACCEPT};

use super::answer::Plain;
use crate::{
    Dropped, Status, Timestamp,
    index::{Dimension, Grouping, Query, Snapshot, Stats, Sums, Timing},
};

/// Pairs of labels that have series of their own, in each table. A model has two series for its tokens at the least and,
/// with all kinds of tokens and its histograms, some forty.
const MAX_PAIRS: usize = 500;

/// What all others count under.
const OTHER: &str = "__other__";

/// Upper bounds of the durations' buckets, in milliseconds.
const DURATIONS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000,
];

/// Upper bounds of the buckets of times to the first byte, in milliseconds.
const FIRST_BYTES: [u64; 10] = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000];

/// How metrics are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposition {
    /// Prometheus's own.
    Text,
    OpenMetrics,
}

impl Exposition {
    /// What the client would rather have; its own text if it does not care.
    pub(super) fn chosen_by(request: &HeaderMap) -> Self {
        let (mut text, mut open) = (None, None);
        let values = request.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        for item in values.flat_map(|value| value.split(',')) {
            let mut parts = item.split(';').map(str::trim);
            let range = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(Ok(1.0), str::parse::<f32>);
            let quality = quality.unwrap_or(0.0);
            match &*range {
                "application/openmetrics-text" => open = Some(quality),
                "text/plain" | "text/*" => text = Some(quality),
                "*/*" => text = text.or(Some(quality)),
                _ => {}
            }
        }
        match open {
            Some(open) if open > 0.0 && open >= text.unwrap_or(0.0) => Self::OpenMetrics,
            _ => Self::Text,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What was shown before.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What each counter was, and what was lost on the way there.
    counters: HashMap<String, (u64, u64)>,
    /// By dimensions: those that have series of their own.
    known: HashMap<[Dimension; 2], HashSet<[String; 2]>>,
}

impl Ledger {
    /// The counter that was shown before, or grown by as much as `count` has, if it has.
    fn grown(&mut self, series: &str, count: u64) -> u64 {
        let Some((last, lost)) = self.counters.get_mut(series) else {
            self.counters.insert(series.to_owned(), (count, 0));
            return count;
        };
        *lost = lost.saturating_add(last.saturating_sub(count));
        *last = count;
        count.saturating_add(*lost)
    }

    /// The labels themselves, or those of the others if there is no more room.
    fn labels(&mut self, by: [Dimension; 2], labels: [String; 2]) -> [String; 2] {
        let known = self.known.entry(by).or_default();
        if known.contains(&labels) || known.len() < MAX_PAIRS && known.insert(labels.clone()) {
            return labels;
        }
        [OTHER.to_owned(), OTHER.to_owned()]
    }
}

/// All metrics. `keys`: those by key, too. Takes its time.
pub(super) fn answer(
    exposition: Exposition,
    keys: bool,
    status: &Status,
    snapshot: &Snapshot,
    ledger: &mut Ledger,
) -> Plain {
    let mut page = Page { text: String::new(), exposition, ledger };
    page.calls(snapshot);
    if keys {
        page.keys(snapshot);
    }
    page.status(status);
    if exposition == Exposition::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    Plain::new(exposition.content_type(), page.text.into_bytes())
}

struct Page<'a> {
    text: String,
    exposition: Exposition,
    ledger: &'a mut Ledger,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

type Row = ([String; 2], Stats);

impl Page<'_> {
    fn calls(&mut self, snapshot: &Snapshot) {
        let rows = self.table(snapshot, [Dimension::Model, Dimension::StatusClass], false);
        self.family(
            "llm_usage_requests",
            Kind::Counter,
            "Calls to models, by the class of their HTTP status.",
        );
        self.counters("llm_usage_requests", ["model", "status"], &rows, |sums| sums.requests);

        let by = ["model", "provider"];
        let rows = self.table(snapshot, [Dimension::Model, Dimension::Provider], true);
        self.tokens("llm_usage_tokens", by, &rows);
        self.family("llm_usage_errors", Kind::Counter, "Calls that failed.");
        self.counters("llm_usage_errors", by, &rows, |sums| sums.errors);
        self.family(
            "llm_usage_aborted",
            Kind::Counter,
            "Calls whose client left before the answer was complete.",
        );
        self.counters("llm_usage_aborted", by, &rows, |sums| sums.aborted);
        self.family(
            "llm_usage_unknown",
            Kind::Counter,
            "Calls without counts: the tokens are known to be too few.",
        );
        self.counters("llm_usage_unknown", by, &rows, |sums| sums.unknown);

        let name = "llm_usage_duration_seconds";
        self.family(name, Kind::Histogram, "From a request's arrival to the end of the response.");
        self.histograms(name, by, &rows, &DURATIONS, |stats| Some(&stats.durations.as_deref()?.duration));
        let name = "llm_usage_first_byte_seconds";
        self.family(
            name,
            Kind::Histogram,
            "From a request's arrival to the first byte of the response's body.",
        );
        self.histograms(name, by, &rows, &FIRST_BYTES, |stats| Some(&stats.durations.as_deref()?.first_byte));
    }

    fn keys(&mut self, snapshot: &Snapshot) {
        let by = ["key", "model"];
        let rows = self.table(snapshot, [Dimension::Key, Dimension::Model], false);
        self.family(
            "llm_usage_key_requests",
            Kind::Counter,
            "Calls to models, by the hash of the client's key.",
        );
        self.counters("llm_usage_key_requests", by, &rows, |sums| sums.requests);
        self.tokens("llm_usage_key_tokens", by, &rows);
    }

    fn status(&mut self, status: &Status) {
        for (name, help, count) in [
            (
                "llm_usage_events_observed",
                "Events that were to be recorded since the start.",
                status.observed,
            ),
            ("llm_usage_events_persisted", "Events that were written to the file.", status.persisted),
        ] {
            self.family(name, Kind::Counter, help);
            self.counter(name, "", count);
        }
        self.family("llm_usage_events_dropped", Kind::Counter, "Events that were lost.");
        let Dropped { queue_full, backlog_full, too_long, closed, unwritten } = status.dropped_by;
        for (reason, count) in [
            ("queue_full", queue_full),
            ("backlog_full", backlog_full),
            ("too_long", too_long),
            ("closed", closed),
            ("unwritten", unwritten),
        ] {
            self.counter("llm_usage_events_dropped", &format!("{{reason=\"{reason}\"}}"), count);
        }
        let seconds = |time: Option<Timestamp>| time.map_or(0, |time| time.unix_millis() / 1000);
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for (name, help, value) in [
            ("llm_usage_events_queued", "Events on their way to the file.", number(status.queued)),
            ("llm_usage_recording", "Calls are recorded at the moment.", status.recording.into()),
            (
                "llm_usage_store_failing",
                "The file cannot be written at the moment.",
                status.error.is_some().into(),
            ),
            (
                "llm_usage_store_last_error_timestamp_seconds",
                "When the file could not be written last; 0: never.",
                seconds(status.last_error.as_ref().map(|error| error.at)),
            ),
            (
                "llm_usage_store_last_flush_timestamp_seconds",
                "When the file was written to without an error last; 0: never.",
                seconds(status.last_flush),
            ),
            (
                "llm_usage_store_bad_lines",
                "Lines of the history that could not be read.",
                number(status.bad_lines),
            ),
            (
                "llm_usage_store_size_bytes",
                "The length of the usage file and its segments.",
                number(status.file_bytes.saturating_add(status.segment_bytes)),
            ),
        ] {
            self.family(name, Kind::Gauge, help);
            let _ = writeln!(self.text, "{name} {value}");
        }
        self.family("llm_usage_build_info", Kind::Gauge, "The version of what counts.");
        let _ = writeln!(self.text, "llm_usage_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    }

    /// What the whole history comes to, by two dimensions, the largest first; those without a series of their own are one
    /// row.
    fn table(&mut self, snapshot: &Snapshot, by: [Dimension; 2], durations: bool) -> Vec<Row> {
        let query = Query {
            groupings: vec![Grouping::by(by)],
            durations,
            ..Query::over(Timestamp::MIN, Timestamp::MAX)
        };
        let mut rows = Vec::<Row>::new();
        let mut other = None::<Stats>;
        for row in snapshot.query(&query).groups.into_iter().flat_map(|table| table.rows) {
            let [first, second] = &*row.values else { continue };
            let label = |value: &Option<std::sync::Arc<str>>| value.as_deref().unwrap_or_default().to_owned();
            let labels = [label(first), label(second)];
            if labels == [OTHER, OTHER] || self.ledger.labels(by, labels.clone()) != labels {
                other.get_or_insert_default().add(&row.stats);
            } else {
                rows.push((labels, row.stats));
            }
        }
        rows.extend(other.map(|stats| ([OTHER.to_owned(), OTHER.to_owned()], stats)));
        rows
    }

    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        // OpenMetrics names a counter without what its samples end in.
        let suffix = match (kind, self.exposition) {
            (Kind::Counter, Exposition::Text) => "_total",
            _ => "",
        };
        let of_kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {of_kind}");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit));
        if let (Exposition::OpenMetrics, Some(unit)) = (self.exposition, unit) {
            let _ = writeln!(self.text, "# UNIT {name} {unit}");
        }
    }

    fn counter(&mut self, name: &str, labels: &str, count: u64) {
        let series = format!("{name}_total{labels}");
        let count = self.ledger.grown(&series, count);
        let _ = writeln!(self.text, "{series} {count}");
    }

    fn counters(&mut self, name: &str, by: [&str; 2], rows: &[Row], of: fn(&Sums) -> u64) {
        for (labels, stats) in rows {
            self.counter(name, &format!("{{{}}}", pairs(by, labels)), of(&stats.sums));
        }
    }

    fn tokens(&mut self, name: &str, by: [&str; 2], rows: &[Row]) {
        self.family(name, Kind::Counter, "Tokens, by kinds that do not overlap: their sum is what was used.");
        for (labels, stats) in rows {
            let pairs = pairs(by, labels);
            for (kind, count) in kinds(&stats.sums) {
                let labels = format!("{{{pairs},type=\"{kind}\"}}");
                // A kind that a model does not know has no series. One that was shown stays.
                let is_common = ["input", "output"].contains(&kind);
                if count > 0
                    || is_common
                    || self.ledger.counters.contains_key(&format!("{name}_total{labels}"))
                {
                    self.counter(name, &labels, count);
                }
            }
        }
    }

    fn histograms<const N: usize>(
        &mut self,
        name: &str,
        by: [&str; 2],
        rows: &[Row],
        bounds: &[u64; N],
        of: fn(&Stats) -> Option<&Timing>,
    ) {
        for (labels, stats) in rows {
            let Some(timing) = of(stats).filter(|timing| timing.count > 0) else { continue };
            let pairs = pairs(by, labels);
            let mut below = 0;
            for bound in bounds {
                let series = format!("{name}_bucket{{{pairs},le=\"{}\"}}", seconds(*bound));
                let count = self.ledger.grown(&series, timing.histogram.at_most(*bound).min(timing.count));
                // Also where some were lost.
                below = count.max(below);
                let _ = writeln!(self.text, "{series} {below}");
            }
            let count = self.ledger.grown(&format!("{name}_count{{{pairs}}}"), timing.count).max(below);
            let sum = self.ledger.grown(&format!("{name}_sum{{{pairs}}}"), timing.sum);
            let _ = writeln!(self.text, "{name}_bucket{{{pairs},le=\"+Inf\"}} {count}");
            let _ = writeln!(self.text, "{name}_sum{{{pairs}}} {}", seconds(sum));
            let _ = writeln!(self.text, "{name}_count{{{pairs}}} {count}");
        }
    }
}

/// The tokens of some events by kinds that do not overlap, which add up to the total, whatever providers say.
fn kinds(sums: &Sums) -> [(&'static str, u64); 6] {
    let input = sums.input.min(sums.total);
    let output = sums.output.min(sums.total - input);
    let cache_read = sums.cache_read.min(input);
    let cache_write = sums.cache_write.min(input - cache_read);
    let reasoning = sums.reasoning.min(output);
    [
        ("input", input - cache_read - cache_write),
        ("cache_read", cache_read),
        ("cache_write", cache_write),
        ("output", output - reasoning),
        ("reasoning", reasoning),
        // The provider gave a total and did not say of what.
        ("unspecified", sums.total - input - output),
    ]
}

/// Milliseconds in seconds, as all numbers with a fraction are written: `0.25`, `1.0`.
fn seconds(millis: u64) -> String {
    format!("{:?}", millis as f64 / 1000.0)
}

/// `model="gpt-4o",provider="openai"`.
fn pairs(by: [&str; 2], labels: &[String; 2]) -> String {
    let escape = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    format!("{}=\"{}\",{}=\"{}\"", by[0], escape(&labels[0]), by[1], escape(&labels[1]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_client_chooses() {
        for (accepted, exposition) in [
            ("", Exposition::Text),
            ("*/*", Exposition::Text),
            ("text/plain", Exposition::Text),
            ("application/openmetrics-text", Exposition::OpenMetrics),
            // Prometheus 2.42
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Exposition::OpenMetrics,
            ),
            ("text/plain;version=0.0.4;q=0.9, application/openmetrics-text;q=0.2", Exposition::Text),
            ("application/openmetrics-text;q=0", Exposition::Text),
            ("application/json", Exposition::Text),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accepted.parse().unwrap());
            assert_eq!(Exposition::chosen_by(&headers), exposition, "{accepted}");
        }
    }

    #[test]
    fn a_counter_does_not_fall() {
        let mut ledger = Ledger::default();
        let shown = [5, 9, 9, 4, 6, 0, 1].map(|count| ledger.grown("a", count));
        assert_eq!(shown, [5, 9, 9, 9, 11, 11, 12]);
        assert_eq!(ledger.grown("b", 3), 3);
    }

    /// F43
    #[test]
    fn labels_over_the_cap_are_the_others_and_stay_so() {
        let mut ledger = Ledger::default();
        let by = [Dimension::Model, Dimension::Provider];
        let mut labels = |n: usize| ledger.labels(by, [n.to_string(), String::new()]);
        for n in (0..MAX_PAIRS).chain(0..MAX_PAIRS) {
            assert_eq!(labels(n), [n.to_string(), String::new()]);
        }
        assert_eq!(labels(MAX_PAIRS), [OTHER, OTHER]);
        assert_eq!(labels(0), ["0", ""]);
    }

    #[test]
    fn a_label_is_escaped() {
        let labels = ["a\"b\\c\nd".to_owned(), String::new()];
        assert_eq!(pairs(["model", "key"], &labels), r#"model="a\"b\\c\nd",key="""#);
    }

    proptest! {
        /// F38, F40: also where the provider's numbers contradict each other.
        #[test]
        fn kinds_of_tokens_add_up_to_the_total(numbers in any::<[u64; 6]>()) {
            let [total, input, output, cache_read, cache_write, reasoning] = numbers;
            let sums = Sums { total, input, output, cache_read, cache_write, reasoning, ..Sums::default() };
            let sum = kinds(&sums).iter().map(|(_, count)| u128::from(*count)).sum::<u128>();
            prop_assert_eq!(sum, u128::from(total));
        }
    }
}
