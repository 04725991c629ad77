//! What clients and files may send, and what it may cost.

use std::borrow::Cow;

use super::{
    Traffic, all, ask, ask_all, at, by_value, event, indexed, indexed_in_parts, metrics, naive, only,
};
use crate::{
    Timestamp, UsageEvent,
    index::{Caps, Dimension, Grouping, Index, Query},
};

/// F43
#[test]
fn models_over_the_cap_count_under_other() {
    const MOST: usize = 100;
    let time = at("2026-01-02T03:04:05Z");
    let mut index = Index::new(Caps { models: MOST, ..Caps::default() });
    for i in 0..MOST + 30 {
        let mut event = event(time, "", 1, 2);
        event.model = Cow::Owned(format!("model-{i}"));
        index.insert(&event);
    }
    index.insert(&event(time, "model-7", 1, 2));
    let snapshot = index.snapshot();
    let answer = ask_all(&snapshot);
    assert_eq!(answer.totals.sums.requests, MOST as u64 + 31);
    assert_eq!(snapshot.models(), MOST + 1);
    assert_eq!(by_value(&answer).len(), MOST + 1);
    for (model, requests) in [("__other__", 30), ("model-7", 2), ("model-99", 1), ("model-100", 0)] {
        assert_eq!(snapshot.query(&all(Some(model))).totals.sums.requests, requests, "{model}");
    }
}

/// F43
#[test]
fn a_name_that_is_too_long_counts_under_other_and_takes_no_place() {
    let time = at("2026-01-02T03:04:05Z");
    let (long, longest) = ("m".repeat(257), "m".repeat(256));
    let events =
        [long.clone(), long, longest.clone(), "__other__".into()].map(|model| UsageEvent::new(time, model));
    let snapshot = indexed(&events);
    let requests = |model| snapshot.query(&all(Some(model))).totals.sums.requests;
    assert_eq!((requests("__other__"), requests(&longest), snapshot.models()), (3, 1, 2));
}

/// F46
#[test]
fn sums_stay_at_the_largest_number_and_spoil_no_other_range() {
    let huge = |time| {
        let mut event = event(at(time), "m", 0, 0);
        event.tokens.input = Some(u64::MAX);
        event.tokens.output = Some(u64::MAX - 1);
        event.tokens.total = Some(u64::MAX);
        event
    };
    let mut events = vec![event(at("2026-01-01T12:00:00Z"), "m", 1, 2)];
    events.extend([huge("2026-01-02T12:00:00Z"), huge("2026-01-02T12:00:01Z"), huge("2026-01-03T12:00:00Z")]);
    events.push(event(at("2026-01-04T12:00:00Z"), "m", 3, 4));
    events.push(event(at("2026-01-05T12:00:00Z"), "m", 5, 6));
    let snapshot = indexed(&events);

    let total = ask_all(&snapshot).totals.sums;
    assert_eq!((total.requests, total.input, total.total), (6, u64::MAX, u64::MAX));
    // Through prefix sums that have passed the largest number.
    for (from, to, input, output) in [
        ("2026-01-01T00:00:00Z", "2026-01-01T23:59:59.999Z", 1, 2),
        ("2026-01-03T00:00:00Z", "2026-01-03T23:59:59.999Z", u64::MAX, u64::MAX - 1),
        ("2026-01-04T00:00:00Z", "2026-01-04T23:59:59.999Z", 3, 4),
        ("2026-01-04T00:00:00Z", "2026-01-06T00:00:00Z", 8, 10),
    ] {
        let answer = ask(&snapshot, from, to);
        assert_eq!((answer.totals.sums.input, answer.totals.sums.output), (input, output), "{from}");
    }
}

#[test]
fn the_first_and_the_last_moment_that_can_be_written_are_times_like_others() {
    let events =
        [Timestamp::MIN, Timestamp::from_unix_millis(-1), Timestamp::from_unix_millis(0), Timestamp::MAX]
            .map(|time| event(time, "m", 1, 2));
    let snapshot = indexed(&events);
    assert_eq!(snapshot.span(), Some((Timestamp::MIN, Timestamp::MAX)));
    assert_eq!(ask_all(&snapshot).totals.sums.requests, 4);
    for from in &events {
        for to in &events {
            let query = metrics(from.timestamp, to.timestamp, None);
            assert_eq!(snapshot.query(&query), naive::query(&events, &query));
        }
    }
    let none = metrics(Timestamp::from_unix_millis(1), Timestamp::from_unix_millis(9), None);
    assert_eq!(snapshot.query(&none).totals.sums.requests, 0);
}

/// More events in a quarter of an hour than one run holds, in the orders that runs divide by.
#[test]
fn a_quarter_of_an_hour_holds_any_number_of_events_in_any_order() {
    let start = at("2026-01-02T03:10:00Z").unix_millis();
    const EVENTS: i64 = 7_000;
    type Order = fn(i64) -> i64;
    let orders: [(&str, Order); 5] = [
        ("rising", |i| i),
        ("falling", |i| EVENTS - i),
        ("scattered", |i| i * 7_919 % EVENTS),
        ("all at once", |_| 77),
        ("two sources", |i| i / 2 + i % 2 * 5_000),
    ];
    for (name, order) in orders {
        let events = (0..EVENTS)
            .map(|i| {
                event(
                    Timestamp::from_unix_millis(start + order(i) * 60),
                    ["m", "n"][i as usize % 2],
                    1,
                    i as u64,
                )
            })
            .collect::<Vec<_>>();
        let snapshot = indexed_in_parts(&events, 100);
        for (from, to) in
            [(0, 1), (0, 100_000), (4_620, 4_620), (4_621, 299_999), (0, 300_000), (300_000, 900_000)]
        {
            let [from, to] = [from, to].map(|offset| Timestamp::from_unix_millis(start + offset));
            let query = metrics(from, to, None);
            assert_eq!(snapshot.query(&query), naive::query(&events, &query), "{name}, {from} to {to}");
        }
    }
}

/// F43
#[test]
fn a_day_of_many_combinations_keeps_no_sums_of_them_and_gives_the_same_answers() {
    let start = at("2026-01-02T00:00:00Z").unix_millis();
    for (count, models, is_kept) in
        [(2_000, 16, true), (2_000, 17, false), (6_400, 50, true), (6_400, 51, false)]
    {
        // Each model at two endpoints.
        let mut events = (0..count)
            .map(|i| {
                let time = Timestamp::from_unix_millis(start + i * (86_400_000 / count));
                let mut event = event(time, "", 1, i as u64);
                event.model = Cow::Owned(format!("model-{}", i / 2 % models));
                event.endpoint = Some(Cow::Borrowed(["POST /a", "POST /b"][i as usize % 2]));
                event
            })
            .collect::<Vec<_>>();
        // And a day that is not over.
        events.push(event(at("2026-01-03T00:00:00Z"), "m", 1, 2));
        let snapshot = indexed(&events);
        let sealed = snapshot.days[0].sealed.as_ref().expect("the day is over");
        assert_eq!(sealed.combined.is_some(), is_kept, "{count} events, {models} models");
        let query = Query {
            filters: vec![only(Dimension::Endpoint, "POST /b")],
            groupings: vec![
                Grouping::by([Dimension::Model]),
                Grouping::by([Dimension::Endpoint, Dimension::Model]),
            ],
            ..Query::over(Timestamp::MIN, Timestamp::MAX)
        };
        assert_eq!(snapshot.query(&query), naive::query(&events, &query), "{count} events, {models} models");
    }
}

/// F43
#[test]
fn hours_of_models_are_kept_side_by_side_while_they_are_few_and_give_the_same_answers() {
    let start = at("2026-01-02T00:00:00Z").unix_millis();
    for (count, models, is_kept) in [(2_000, 3, true), (2_000, 4, false), (6_400, 4, true), (6_400, 5, false)]
    {
        let mut events = (0..count)
            .map(|i| {
                let mut event = event(Timestamp::from_unix_millis(start + i * 13_499), "", 1, i as u64);
                event.model = Cow::Owned(format!("model-{}", i % models));
                event
            })
            .collect::<Vec<_>>();
        // One that is not there in most hours, and a day that is not over.
        events.push(event(at("2026-01-02T07:00:00Z"), "rare", 1, 2));
        events.push(event(at("2026-01-03T00:00:00Z"), "rare", 3, 4));
        let snapshot = indexed(&events);
        let sealed = snapshot.days[0].sealed.as_ref().expect("the day is over");
        let name = format!("{count} events, {models} models");
        assert_eq!(sealed.models.is_some(), is_kept, "{name}");
        for model in ["model-0", "model-3", "rare", "none"] {
            for zone in ["UTC", "Asia/Kathmandu"] {
                let query = Query { zone: zone.parse().unwrap(), ..all(Some(model)) };
                assert_eq!(snapshot.query(&query), naive::query(&events, &query), "{name}, {model}, {zone}");
            }
        }
    }
}

/// F25
#[test]
fn an_event_with_all_that_can_be_known_takes_forty_bytes_in_the_columns() {
    let events = 100_000;
    let mut index = Index::default();
    Traffic::new(events, events / 1_157 / 96 + 1).for_each(|event| index.insert(&event));
    let snapshot = index.snapshot();
    let columns = snapshot
        .days
        .iter()
        .flat_map(|day| &day.hours)
        .flat_map(|hour| &hour.runs)
        .map(|run| run.columns.heap_bytes())
        .sum::<usize>();
    assert!(columns as u64 <= 40 * events, "{} bytes an event", columns as f64 / events as f64);
    assert!(snapshot.heap_bytes() > columns);
}
