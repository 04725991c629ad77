//! What an answer is made of.

use super::{all, ask, ask_all, at, by_value, event, indexed, metrics, naive};
use crate::{
    Ending, Timestamp, UsageEvent,
    index::{Answer, Index, Query, Snapshot, Sums, Table},
};

/// The answer to `metrics` when there are no events.
fn nothing() -> Answer {
    Answer { groups: vec![Table::default()], ..Answer::default() }
}

#[test]
fn an_empty_index_answers_with_nothing() {
    assert_eq!(ask_all(&Snapshot::default()), nothing());
    assert_eq!(ask_all(&Index::default().snapshot()), nothing());
    assert_eq!(Index::default().snapshot().span(), None);
}

/// R4
#[test]
fn both_ends_of_a_range_are_inclusive_to_the_millisecond() {
    let snapshot = indexed(&[event(at("2026-01-02T03:04:05.006Z"), "m", 1, 2)]);
    for (from, to, requests) in [
        ("2026-01-02T03:04:05.006Z", "2026-01-02T03:04:05.006Z", 1),
        ("2026-01-02T03:04:05.006Z", "2026-01-02T03:04:05.007Z", 1),
        ("2026-01-02T03:04:05.005Z", "2026-01-02T03:04:05.006Z", 1),
        ("2026-01-02T03:04:05.005Z", "2026-01-02T03:04:05.005Z", 0),
        ("2026-01-02T03:04:05.007Z", "2026-01-02T03:04:05.007Z", 0),
        ("2026-01-02T03:00:00Z", "2026-01-02T03:59:59.999Z", 1),
        ("2026-01-02T00:00:00Z", "2026-01-02T23:59:59.999Z", 1),
        ("2026-01-02T00:00:00Z", "2026-01-02T03:04:05.005Z", 0),
        ("2026-01-03T00:00:00Z", "2026-01-01T23:59:59.999Z", 0),
    ] {
        assert_eq!(ask(&snapshot, from, to).totals.sums.requests, requests, "{from} to {to}");
    }
}

/// R5
#[test]
fn a_range_that_ends_before_it_begins_holds_nothing() {
    let snapshot = indexed(&[event(at("2026-01-02T03:04:05Z"), "m", 1, 2)]);
    assert_eq!(ask(&snapshot, "2026-01-02T04:00:00Z", "2026-01-02T03:00:00Z"), nothing());
    assert_eq!(snapshot.query(&metrics(Timestamp::MAX, Timestamp::MIN, None)), nothing());
}

/// R8
#[test]
fn hours_are_utc_and_rise_and_only_those_with_events_are_named() {
    let snapshot = indexed(&[
        event(at("2026-01-02T08:59:59.999+05:30"), "m", 1, 0),
        event(at("2026-01-02T03:00:00Z"), "m", 2, 0),
        event(at("1969-12-31T23:59:59.999Z"), "m", 4, 0),
        event(at("2026-01-02T03:29:59.999Z"), "n", 8, 0),
    ]);
    let hours = |model| {
        let answer = snapshot.query(&all(model));
        let hours = answer.series.iter().map(|hour| (hour.start.to_string(), hour.stats.sums.input));
        hours.collect::<Vec<_>>()
    };
    let (early, late) = ("1969-12-31T23:00:00.000Z".to_owned(), "2026-01-02T03:00:00.000Z".to_owned());
    assert_eq!(hours(None), [(early.clone(), 4), (late.clone(), 11)]);
    assert_eq!(hours(Some("m")), [(early, 4), (late.clone(), 3)]);
    assert_eq!(hours(Some("n")), [(late, 8)]);
}

/// R6
#[test]
fn a_model_is_asked_for_exactly_and_an_unknown_one_has_nothing() {
    let time = at("2026-01-02T03:04:05Z");
    let snapshot = indexed(&[event(time, "gpt-4o", 1, 2), event(time, "GPT-4o", 10, 20)]);
    let answer = snapshot.query(&all(Some("gpt-4o")));
    assert_eq!(answer.totals.sums, Sums { requests: 1, input: 1, output: 2, total: 3, ..Sums::default() });
    assert_eq!(by_value(&answer), [("gpt-4o", answer.totals.sums)]);
    for name in ["", "gpt-4", "gpt-4o ", "__other__"] {
        assert_eq!(snapshot.query(&all(Some(name))), nothing(), "{name:?}");
    }
}

/// F3, F14
#[test]
fn an_event_without_counts_is_a_request_of_unknown_size_and_zero_is_a_count() {
    let time = at("2026-01-02T03:04:05Z");
    let (missing, zero) = (UsageEvent::new(time, "missing"), event(time, "zero", 0, 0));
    let mut only_1h = UsageEvent::new(time, "only 1h");
    only_1h.tokens.cache_write_1h = Some(0);

    let answer = ask_all(&indexed(&[missing, zero, only_1h]));
    let unknown = by_value(&answer).iter().map(|(_, sums)| (sums.requests, sums.unknown)).collect::<Vec<_>>();
    assert_eq!(unknown, [(1, 1), (1, 0), (1, 0)]);
    assert_eq!(answer.totals.sums, Sums { requests: 3, unknown: 1, ..Sums::default() });
}

#[test]
fn a_total_counts_as_it_was_given_and_without_one_what_is_known() {
    let time = at("2026-01-02T03:04:05Z");
    let mut only_total = UsageEvent::new(time, "m");
    only_total.tokens.total = Some(100);
    let mut contradicts = event(time, "m", 1, 2);
    contradicts.tokens.total = Some(1000);
    let mut no_total = event(time, "m", 1, 2);
    no_total.tokens.total = None;
    let mut broke_off = UsageEvent::new(time, "m");
    broke_off.tokens.input = Some(10);

    let totals = ask_all(&indexed(&[only_total, contradicts, no_total, broke_off])).totals.sums;
    assert_eq!((totals.input, totals.output, totals.total), (12, 4, 1113));
}

#[test]
fn a_client_that_left_is_aborted_and_no_error() {
    let time = at("2026-01-02T03:04:05Z");
    let outcomes = [
        (200, Some(Ending::Complete)),
        (200, Some(Ending::StreamError)),
        (499, Some(Ending::ClientClosed)),
        (502, Some(Ending::UpstreamError)),
        (429, None),
    ];
    let events = outcomes.map(|(status, end)| {
        let mut event = UsageEvent::new(time, "m");
        (event.status, event.end) = (status, end);
        event
    });
    // Through the sums of the day, and row by row.
    let snapshot = indexed(events.iter().chain(&[UsageEvent::new(at("2026-01-02T03:04:06Z"), "m")]));
    for answer in
        [ask_all(&indexed(&events)), ask(&snapshot, "2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5Z")]
    {
        let sums = answer.totals.sums;
        assert_eq!((sums.requests, sums.errors, sums.aborted), (5, 3, 1));
    }
}
