//! What answers count and measure, by the names that they have on the wire.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::index::{self, Durations, Stats, Timing};

/// A count, or something measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// A sum over events.
    Sum(index::Measure),
    DurationAverage,
    DurationPercentile(u8),
    FirstByteAverage,
    FirstBytePercentile(u8),
    TokensPerSecond,
}

use Measure::{
    DurationAverage, DurationPercentile, FirstByteAverage, FirstBytePercentile, Sum, TokensPerSecond,
};

/// All of them, in the order in which answers have them. `tokens` and `requests` are the original's.
pub(super) const ALL: [(&str, Measure); 22] = [
    ("tokens", Sum(index::Measure::Total)),
    ("requests", Sum(index::Measure::Requests)),
    ("errors", Sum(index::Measure::Errors)),
    ("aborted", Sum(index::Measure::Aborted)),
    ("unknown_usage", Sum(index::Measure::Unknown)),
    ("prompt_tokens", Sum(index::Measure::Input)),
    ("completion_tokens", Sum(index::Measure::Output)),
    ("cache_read_tokens", Sum(index::Measure::CacheRead)),
    ("cache_write_tokens", Sum(index::Measure::CacheWrite)),
    ("cache_write_1h_tokens", Sum(index::Measure::CacheWrite1h)),
    ("reasoning_tokens", Sum(index::Measure::Reasoning)),
    ("duration_avg_ms", DurationAverage),
    ("duration_p50_ms", DurationPercentile(50)),
    ("duration_p90_ms", DurationPercentile(90)),
    ("duration_p95_ms", DurationPercentile(95)),
    ("duration_p99_ms", DurationPercentile(99)),
    ("ttft_avg_ms", FirstByteAverage),
    ("ttft_p50_ms", FirstBytePercentile(50)),
    ("ttft_p90_ms", FirstBytePercentile(90)),
    ("ttft_p95_ms", FirstBytePercentile(95)),
    ("ttft_p99_ms", FirstBytePercentile(99)),
    ("tokens_per_second", TokensPerSecond),
];

/// The first so many are sums, which the index has at hand. The others take histograms, or a look at each event.
pub(super) const SUMS: usize = 11;

/// Their names.
pub(super) const NAMES: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ALL[at].0;
        at += 1;
    }
    names
};

/// The names of sums, which rows can be sorted by.
pub(super) const SUM_NAMES: [&str; SUMS] = {
    let mut names = [""; SUMS];
    let mut at = 0;
    while at < names.len() {
        names[at] = ALL[at].0;
        at += 1;
    }
    names
};

/// The sums by their names.
pub(super) fn sums() -> impl Iterator<Item = (&'static str, index::Measure)> {
    ALL.into_iter().filter_map(|(name, measure)| match measure {
        Sum(measure) => Some((name, measure)),
        _ => None,
    })
}

/// How much it is. What is measured of nothing is not known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Count(u64),
    Measured(Option<f64>),
}

impl Measure {
    pub(super) fn of(self, stats: &Stats) -> Number {
        let durations = stats.durations.as_deref();
        let measured = |of: fn(&Durations) -> &Timing, value: &dyn Fn(&Timing) -> Option<f64>| {
            Number::Measured(durations.and_then(|durations| value(of(durations))).map(rounded))
        };
        match self {
            Sum(measure) => Number::Count(measure.of(&stats.sums)),
            DurationAverage => measured(|all| &all.duration, &Timing::average),
            DurationPercentile(percent) => {
                measured(|all| &all.duration, &|timing| timing.histogram.percentile(f64::from(percent)))
            }
            FirstByteAverage => measured(|all| &all.first_byte, &Timing::average),
            FirstBytePercentile(percent) => {
                measured(|all| &all.first_byte, &|timing| timing.histogram.percentile(f64::from(percent)))
            }
            TokensPerSecond => {
                Number::Measured(durations.and_then(Durations::tokens_per_second).map(rounded))
            }
        }
    }
}

/// To three digits behind the point: nothing here is measured more exactly.
fn rounded(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u64(*count),
            Self::Measured(number) => number.serialize(serializer),
        }
    }
}

/// Which of [`ALL`] an answer has, by their numbers, rising. `tokens` and `requests` are always among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown(Vec<usize>);

impl Default for Shown {
    /// What costs nothing.
    fn default() -> Self {
        Self((0..SUMS).collect())
    }
}

impl Shown {
    pub(super) fn all() -> Self {
        Self((0..ALL.len()).collect())
    }

    pub(super) fn only(numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut numbers: Vec<_> = [0, 1].into_iter().chain(numbers).collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers)
    }

    /// Some are not at hand.
    pub(super) fn needs_durations(&self) -> bool {
        self.0.iter().any(|number| *number >= SUMS)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&'static str, Measure)> {
        self.0.iter().map(|number| ALL[*number])
    }

    /// Writes them into an object.
    pub(super) fn write<M: SerializeMap>(&self, stats: &Stats, object: &mut M) -> Result<(), M::Error> {
        self.iter().try_for_each(|(name, measure)| object.serialize_entry(name, &measure.of(stats)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_hand_comes_first() {
        for (at, (name, measure)) in ALL.into_iter().enumerate() {
            assert_eq!(matches!(measure, Sum(_)), at < SUMS, "{name}");
            assert_eq!(NAMES[at], name);
        }
        assert!(!Shown::default().needs_durations());
        assert!(Shown::all().needs_durations());
        assert!(Shown::only([ALL.len() - 1]).iter().map(|(name, _)| name).eq([
            "tokens",
            "requests",
            "tokens_per_second"
        ]));
    }
}
