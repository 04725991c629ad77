//! What is left when events are no longer kept one by one.

use std::{collections::HashMap, sync::Arc};

use proptest::{prelude::*, sample::Index as At};

use super::{
    Traffic, all, ask_all, at, by_value, event, indexed, metrics, naive, only,
    properties::{ask, histories, parts, queries, ranges},
};
use crate::{
    Timestamp, UsageEvent,
    index::{
        Aggregate, Answer, Caps, Dimension, Filter, Grouping, Index, Pattern, Query, Snapshot, Spent, Sums,
        columns::millis,
    },
};

const QUARTER: i64 = 900_000;

fn quarter(time: Timestamp) -> i64 {
    time.unix_millis().div_euclid(QUARTER) * QUARTER
}

/// Is retired when all quarters that end at or before `end` are.
fn is_retired(event: &UsageEvent, end: Timestamp) -> bool {
    quarter(event.timestamp) + QUARTER <= end.unix_millis()
}

/// What aggregates tell of an event.
fn stripped(event: &UsageEvent) -> UsageEvent {
    let mut event = event.clone();
    // The first moment that can be written is no quarter's.
    event.timestamp = Timestamp::from_unix_millis(quarter(event.timestamp));
    (event.operation, event.endpoint, event.stream, event.usage) = (None, None, None, None);
    event
}

/// Whether events of a class of status are what `filter` asks for, if that is the same for all of them.
fn of_class(filter: &Filter, class: u16) -> Option<bool> {
    let is_of_class = |status: &u16| match class {
        1..=5 => status / 100 == class,
        _ => !(100..600).contains(status),
    };
    let mut held = (0..=u16::MAX)
        .filter(is_of_class)
        .map(|status| naive::holds(filter, Some(&status.to_string())))
        .collect::<Vec<_>>();
    held.dedup();
    match held[..] {
        [held] => Some(held),
        _ => None,
    }
}

/// What is answered of `history` when all up to `end` is retired.
fn expected(history: &[UsageEvent], end: Timestamp, query: &Query) -> Answer {
    let mut classes = HashMap::new();
    let mut holds = |number: usize, event: &UsageEvent| {
        use Dimension::{Endpoint, Operation, Status, Stream, Usage};
        let filter = &query.filters[number];
        match filter.dimension {
            Operation | Endpoint | Stream | Usage => None,
            Status => {
                let class = if (100..600).contains(&event.status) { event.status / 100 } else { 0 };
                *classes.entry((number, class)).or_insert_with(|| of_class(filter, class))
            }
            dimension => Some(naive::holds(filter, naive::value(event, dimension, query).as_deref())),
        }
    };
    let (retired, mut asked) = history.iter().cloned().partition::<Vec<_>, _>(|event| is_retired(event, end));
    let (mut aggregated, mut undecided) = (0, 0);
    for event in retired.iter().map(stripped) {
        let held = (0..query.filters.len()).map(|number| holds(number, &event)).collect::<Vec<_>>();
        if !(query.from..=query.to).contains(&event.timestamp) || held.contains(&Some(false)) {
            continue;
        }
        if held.contains(&None) {
            undecided += 1;
        } else {
            aggregated += 1;
            asked.push(event);
        }
    }
    Answer { aggregated, undecided, ..naive::query(&asked, query) }
}

/// The aggregates of the events up to `end`, and the events after it.
fn reloaded(history: &[UsageEvent], end: Timestamp) -> Arc<Snapshot> {
    let mut cells = HashMap::<_, (Sums, Spent)>::new();
    let mut index = Index::default();
    for event in history {
        if !is_retired(event, end) {
            index.insert(event);
            continue;
        }
        let place = (quarter(event.timestamp), &event.model, event.key, &event.provider, event.status / 100);
        let (sums, spent) = cells.entry(place).or_default();
        *sums += naive::query(std::slice::from_ref(event), &all(None)).totals.sums;
        *spent += Spent {
            timed: event.duration.is_some().into(),
            duration: event.duration.map_or(0, millis),
            first_bytes: event.time_to_first_byte.is_some().into(),
            first_byte: event.time_to_first_byte.map_or(0, millis),
        };
    }
    for ((start, model, key, provider, class), (sums, spent)) in cells {
        let start = Timestamp::from_unix_millis(start);
        index.insert_aggregate(&Aggregate {
            start,
            model,
            key,
            provider: provider.as_deref(),
            class,
            sums,
            spent,
        });
    }
    index.snapshot()
}

proptest! {
    /// Sums, filters, groupings and series stay, as far as aggregates tell; what they do not is counted. The same if
    /// they are read from a file.
    #[test]
    fn retired_events_are_answered_as_far_as_aggregates_tell(
        history in histories(),
        asked in prop::collection::vec((ranges(), queries()), 4),
        (ends, late) in (prop::collection::vec(any::<At>(), 1..3), 0..20_usize),
        part in parts(),
    ) {
        // By the last of the status' digits nothing is told.
        let asked = asked.into_iter().map(|(range, mut query)| {
            query.durations = false;
            query.groupings.retain(|grouping| !grouping.by.contains(&Dimension::Status));
            (range, query)
        });
        let mut index = Index::default();
        // Some come when their time is retired already.
        let (early, late) = history.split_at(history.len().saturating_sub(late));
        for (i, event) in early.iter().enumerate() {
            index.insert(event);
            if i % part == part - 1 {
                index.snapshot();
            }
        }
        let times = ends.iter().filter(|_| !history.is_empty());
        let mut ends = times.map(|end| history[end.index(history.len())].timestamp).collect::<Vec<_>>();
        ends.sort();
        let end = ends.last().copied().unwrap_or(Timestamp::MIN);
        let before = index.snapshot();
        ends.iter().for_each(|end| index.retire(*end));
        late.iter().for_each(|event| index.insert(event));
        if late.len() % 2 == 0 {
            index.snapshot();
        }
        index.retire(end);

        let snapshot = index.snapshot();
        let reloaded = reloaded(&history, end);
        let retired = history.iter().filter(|event| is_retired(event, end)).count() as u64;
        prop_assert_eq!(snapshot.retired().requests, retired);
        prop_assert_eq!(snapshot.events(), history.len() as u64 - retired);
        for (range, query) in asked {
            let (from, to) = ask(&history, range);
            let query = Query { from, to, ..query };
            let expected = expected(&history, end, &query);
            prop_assert_eq!(&snapshot.query(&query), &expected, "{:?} until {}", query, end);
            prop_assert_eq!(&reloaded.query(&query), &expected, "{:?} until {}", query, end);
        }
        // Whoever held on to the old state still has it.
        prop_assert_eq!(ask_all(&before), naive::query(early, &all(None)));
    }
}

/// F36
#[test]
fn charts_keep_their_history_when_events_leave() {
    let mut index = Index::default();
    Traffic::new(3_000, 3).for_each(|event| index.insert(&event));
    let days = |model| Query { interval: crate::index::Interval::Day, ..all(model) };
    let before = index.snapshot();
    index.retire(at("2026-01-03T00:00:00Z"));
    let after = index.snapshot();
    assert!(after.events() < 1_100, "{}", after.events());
    for model in [None, Some("model-7-2026-01-01")] {
        let (before, after) = (before.query(&days(model)), after.query(&days(model)));
        assert_eq!((before.totals, before.series, before.groups), (after.totals, after.series, after.groups));
        assert!(after.aggregated > 0);
    }
    let page = after.page(&all(None), None, 10_000);
    assert_eq!((page.events.len() as u64, page.next), (after.events(), None));
}

#[test]
fn durations_of_retired_events_keep_their_average_and_lose_their_percentiles() {
    let mut index = Index::default();
    Traffic::new(1_000, 2).for_each(|event| index.insert(&event));
    let durations = |index: &mut Index| {
        let answer = index.snapshot().query(&Query { durations: true, ..all(None) });
        *answer.totals.durations.unwrap()
    };
    let before = durations(&mut index);
    index.retire(at("2026-01-01T12:00:00Z"));
    let after = durations(&mut index);
    assert_eq!(
        (after.duration.average(), after.first_byte.average()),
        (before.duration.average(), before.first_byte.average())
    );
    assert_eq!(after.duration.count, 1_000);
    assert_eq!(after.duration.histogram.count(), index.snapshot().events());
}

/// F25, F43: there is a limit to what is kept one by one, and whoever is over it is seen.
#[test]
fn the_oldest_events_beyond_the_cap_are_retired() {
    let mut index = Index::new(Caps { events: 2_000, ..Caps::default() });
    let all_events = Traffic::new(10_000, 10).collect::<Vec<_>>();
    for event in &all_events {
        index.insert(event);
    }
    let snapshot = index.snapshot();
    let retired = snapshot.retired();
    assert_eq!(snapshot.events() + retired.requests, 10_000);
    assert_eq!(retired.by_cap, retired.requests);
    assert!((1_900..=2_000).contains(&snapshot.events()), "{}", snapshot.events());
    let answer = ask_all(&snapshot);
    assert_eq!(Answer { aggregated: 0, ..answer.clone() }, ask_all(&indexed(&all_events)));
    assert_eq!(answer.aggregated, retired.requests);
    // The newest are still there.
    let (_, last) = snapshot.span().unwrap();
    let page = snapshot.page(&all(None), None, 1);
    assert_eq!(page.events[0].timestamp, last);
}

#[test]
fn a_quarter_of_an_hour_that_has_not_ended_is_not_retired() {
    let time = at("2026-01-02T03:14:59.999Z");
    let mut index = Index::default();
    index.insert(&event(time, "m", 1, 2));
    for (end, events) in [("2026-01-02T03:14:59.999Z", 1), ("2026-01-02T03:15:00Z", 0)] {
        index.retire(at(end));
        assert_eq!(index.snapshot().events(), events, "{end}");
    }
    // It counts where its quarter begins.
    let snapshot = index.snapshot();
    for (from, to, requests) in [
        ("2026-01-02T03:00:00Z", "2026-01-02T03:00:00Z", 1),
        ("2026-01-02T03:00:00.001Z", "2026-01-02T03:59:59.999Z", 0),
        ("2026-01-02T02:00:00Z", "2026-01-02T02:59:59.999Z", 0),
    ] {
        assert_eq!(
            snapshot.query(&metrics(at(from), at(to), None)).totals.sums.requests,
            requests,
            "{from} to {to}"
        );
    }
}

#[test]
fn a_filter_that_aggregates_cannot_decide_says_so() {
    let time = at("2026-01-02T03:04:05Z");
    let mut embeddings = event(time, "m", 1, 2);
    embeddings.operation = Some("embeddings".into());
    let mut index = Index::default();
    index.insert(&embeddings);
    index.insert(&event(time, "n", 1, 2));
    index.retire(Timestamp::MAX);
    let snapshot = index.snapshot();
    let asked = |filters: &[Filter]| {
        let answer = snapshot.query(&Query {
            filters: filters.to_vec(),
            groupings: vec![Grouping::by([Dimension::Operation])],
            ..all(None)
        });
        let rows = by_value(&answer)
            .iter()
            .map(|(value, sums)| ((*value).to_owned(), sums.requests))
            .collect::<Vec<_>>();
        (rows, answer.aggregated, answer.undecided)
    };
    let is = only(Dimension::Operation, "embeddings");
    assert_eq!(asked(&[]), (vec![("-".into(), 2)], 2, 0));
    assert_eq!(asked(std::slice::from_ref(&is)), (vec![], 0, 2));
    assert_eq!(asked(&[Filter { not: true, ..is.clone() }]), (vec![], 0, 2));
    assert_eq!(asked(&[only(Dimension::Model, "m"), is.clone()]), (vec![], 0, 1));
    assert_eq!(asked(&[is, only(Dimension::StatusClass, "5xx")]), (vec![], 0, 0));
    // The class is known, and all that follows from it.
    let status = |pattern| Filter::is(Dimension::Status, pattern);
    assert_eq!(asked(&[status(Pattern::Prefix("2".into()))]), (vec![("-".into(), 2)], 2, 0));
    assert_eq!(asked(&[status(Pattern::Prefix("20".into()))]), (vec![], 0, 2));
    assert_eq!(asked(&[status(Pattern::Exact("404".into()))]), (vec![], 0, 0));
}

#[test]
fn aggregates_that_come_when_their_day_is_over_are_in_what_it_keeps() {
    let time = at("2026-01-02T03:00:00Z");
    let mut index = Index::default();
    index.insert(&event(time, "m", 1, 2));
    index.insert(&event(at("2026-01-03T00:00:00Z"), "m", 1, 2));
    // More of them in the end than there are sums kept of.
    let models = (0..50).map(|i| format!("model-{i}")).collect::<Vec<_>>();
    for (i, model) in models.iter().enumerate() {
        index.snapshot();
        index.insert_aggregate(&Aggregate {
            start: time,
            model,
            key: None,
            provider: Some("openai"),
            class: 2,
            sums: Sums { requests: 2, ..Sums::default() },
            spent: Spent::default(),
        });
        let snapshot = index.snapshot();
        let of_provider = Query {
            filters: vec![only(Dimension::Provider, "openai")],
            groupings: vec![Grouping::by([Dimension::Model])],
            ..Query::over(Timestamp::MIN, Timestamp::MAX)
        };
        let answer = snapshot.query(&of_provider);
        let rows = by_value(&answer);
        assert_eq!(rows.len(), i + 1);
        assert!(rows.iter().all(|(_, sums)| sums.requests == 2), "{rows:?}");
        let answer = snapshot.query(&all(Some(model)));
        assert_eq!(answer.series.len(), 1, "{model}");
        assert_eq!(answer.series[0].stats.sums.requests, 2, "{model}");
    }
}
