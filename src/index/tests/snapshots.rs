//! What a reader holds.

use std::sync::Arc;

use super::{Traffic, ask_all, at, event, indexed, metrics};
use crate::index::Index;

/// F34
#[test]
fn a_snapshot_is_not_changed_by_what_comes_later() {
    let mut index = Index::default();
    let mut held = Vec::new();
    for (i, event) in Traffic::new(3_000, 3).enumerate() {
        if i % 250 == 0 {
            let snapshot = index.snapshot();
            held.push((i as u64, ask_all(&snapshot), snapshot));
        }
        index.insert(&event);
    }
    // Late ones, into every day.
    Traffic::new(300, 3).for_each(|event| index.insert(&event));
    for (events, answer, snapshot) in held {
        assert_eq!(snapshot.events(), events);
        assert_eq!(answer.totals.sums.requests, events);
        assert_eq!(ask_all(&snapshot), answer);
    }
    assert_eq!(index.snapshot().events(), 3_300);
}

/// R9
#[test]
fn a_snapshot_holds_all_that_came_before_it() {
    let mut index = Index::default();
    for (i, event) in Traffic::new(500, 2).enumerate() {
        index.insert(&event);
        let snapshot = index.snapshot();
        assert_eq!(snapshot.events(), i as u64 + 1);
        let query = metrics(event.timestamp, event.timestamp, Some(&event.model));
        assert!(snapshot.query(&query).totals.sums.requests > 0);
    }
}

#[test]
fn a_snapshot_is_made_once_for_what_has_not_changed() {
    let mut index = Index::default();
    index.insert(&event(at("2026-01-02T03:04:05Z"), "m", 1, 2));
    let first = index.snapshot();
    assert!(Arc::ptr_eq(&first, &index.snapshot()));
    index.insert(&event(at("2026-01-02T03:04:05Z"), "m", 1, 2));
    assert!(!Arc::ptr_eq(&first, &index.snapshot()));
}

#[test]
fn snapshots_share_what_lies_between_them_unchanged() {
    let mut index = Index::default();
    Traffic::new(1_000, 4).for_each(|event| index.insert(&event));
    let before = index.snapshot();
    let (_, last) = before.span().expect("it has events");
    index.insert(&event(last, "model-1-2026-01-01", 1, 2));
    let after = index.snapshot();

    let (today, earlier) = before.days.split_last().expect("it has days");
    assert!(earlier.iter().zip(&after.days).all(|(a, b)| Arc::ptr_eq(a, b)));
    assert!(Arc::ptr_eq(&before.prefix, &after.prefix));
    assert!(Arc::ptr_eq(&today.hours[0], &after.days[earlier.len()].hours[0]));
}

#[test]
fn days_that_are_over_are_sealed_on_the_way_and_again_after_a_late_event() {
    let mut index = Index::default();
    let are_sealed = |index: &Index| index.days.iter().map(|day| day.is_sealed()).collect::<Vec<_>>();
    let events = Traffic::new(1_000, 5).collect::<Vec<_>>();
    for day in events.chunks(200) {
        day.iter().for_each(|event| index.insert(event));
        index.settle();
    }
    assert_eq!(are_sealed(&index), [true, true, true, false, false]);
    index.insert(&event(at("2026-01-03T12:00:00Z"), "late", 1, 2));
    index.settle();
    assert_eq!(are_sealed(&index), [true, true, false, false, false]);
    index.insert(&event(at("2026-01-06T12:00:00Z"), "next", 1, 2));
    index.settle();
    assert_eq!(are_sealed(&index), [true, true, false, true, false, false]);
    index.snapshot();
    assert_eq!(are_sealed(&index), [true, true, true, true, true, false]);
}

/// A late event changes its own day and what the later days begin with.
#[test]
fn a_late_event_is_in_every_range_that_holds_its_time() {
    let mut index = Index::default();
    Traffic::new(1_000, 5).for_each(|event| index.insert(&event));
    let before = index.snapshot();
    index.insert(&event(at("2026-01-03T12:00:00Z"), "late", 1_000_000_000, 0));
    let after = index.snapshot();
    for from in 1..=5 {
        for to in from..=5 {
            let [first, last] =
                [format!("2026-01-0{from}T00:00:00Z"), format!("2026-01-0{to}T23:59:59.999Z")];
            let query = metrics(at(&first), at(&last), None);
            let (before, after) = (before.query(&query).totals.sums, after.query(&query).totals.sums);
            let more = if (from..=to).contains(&3) { 1 } else { 0 };
            assert_eq!(after.requests, before.requests + more, "{from} to {to}");
            assert_eq!(after.input, before.input + more * 1_000_000_000, "{from} to {to}");
        }
    }
}

#[test]
fn the_order_of_coming_changes_no_answer() {
    let mut events = Traffic::new(2_000, 2).collect::<Vec<_>>();
    let in_order = ask_all(&indexed(&events));
    events.reverse();
    assert_eq!(ask_all(&indexed(&events)), in_order);
    events.sort_by_key(|event| (event.tokens.input, event.timestamp));
    assert_eq!(ask_all(&indexed(&events)), in_order);
}
