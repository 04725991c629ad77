//! The same answers, by looking at every event.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    Timestamp, UsageEvent,
    index::{Answer, Query, Sums},
};

pub(super) fn query(events: &[UsageEvent], query: &Query<'_>) -> Answer {
    let mut totals = Exact::default();
    let mut by_model = BTreeMap::<&str, Exact>::new();
    let mut by_hour = BTreeMap::<i64, Exact>::new();
    for event in events {
        let in_range = query.from <= event.timestamp && event.timestamp <= query.to;
        if in_range && query.model.is_none_or(|model| model == event.model) {
            totals.add(event);
            by_model.entry(&event.model).or_default().add(event);
            by_hour.entry(event.timestamp.unix_millis().div_euclid(3_600_000)).or_default().add(event);
        }
    }
    Answer {
        totals: totals.sums(),
        by_model: by_model.into_iter().map(|(model, exact)| (Arc::from(model), exact.sums())).collect(),
        by_hour: by_hour
            .into_iter()
            .map(|(hour, exact)| (Timestamp::from_unix_millis(hour * 3_600_000), exact.sums()))
            .collect(),
    }
}

/// The true sums, which saturate only when they are shown.
#[derive(Default)]
struct Exact([u128; 10]);

impl Exact {
    fn add(&mut self, event: &UsageEvent) {
        let tokens = event.tokens;
        // Without a total, what is known of it.
        let known = tokens.input.unwrap_or(0).saturating_add(tokens.output.unwrap_or(0));
        let counts = [
            tokens.input,
            tokens.output,
            tokens.total.or(tokens.input.or(tokens.output).map(|_| known)),
            tokens.cache_read,
            tokens.cache_write,
            tokens.reasoning,
        ];
        let none = counts.iter().all(Option::is_none) && tokens.cache_write_1h.is_none();
        let facts = [true, event.is_error(), event.is_aborted(), none].map(u128::from);
        let all = facts.into_iter().chain(counts.into_iter().map(|count| u128::from(count.unwrap_or(0))));
        self.0.iter_mut().zip(all).for_each(|(sum, count)| *sum += count);
    }

    fn sums(&self) -> Sums {
        let [requests, errors, aborted, unknown, input, output, total, cache_read, cache_write, reasoning] =
            self.0.map(|sum| u64::try_from(sum).unwrap_or(u64::MAX));
        Sums { requests, errors, aborted, unknown, input, output, total, cache_read, cache_write, reasoning }
    }
}
