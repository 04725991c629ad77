//! Events that were made ready elsewhere.

use std::sync::Arc;

use proptest::prelude::*;

use super::{at, event, properties};
use crate::{
    UsageEvent,
    index::{Caps, Draft, Index, Snapshot},
};

/// Taken in by turns from so many drafts, of so many events each.
fn drafted(events: &[UsageEvent], caps: Caps, drafts: usize, size: usize) -> Arc<Snapshot> {
    let mut index = Index::new(caps);
    let mut drafts = (0..drafts).map(|_| Draft::default()).collect::<Vec<_>>();
    for (i, events) in events.chunks(size).enumerate() {
        let at = i % drafts.len();
        events.iter().for_each(|event| drafts[at].push(&event.into()));
        index.take(&mut drafts[at]);
    }
    index.snapshot()
}

fn inserted(events: &[UsageEvent], caps: Caps) -> Arc<Snapshot> {
    let mut index = Index::new(caps);
    events.iter().for_each(|event| index.insert(event));
    index.snapshot()
}

/// The same events, with the same numbers for the same names.
fn are_alike(a: &Snapshot, b: &Snapshot) -> bool {
    let rows = |snapshot: &Snapshot| {
        let runs = snapshot.days.iter().flat_map(|day| &day.hours).flat_map(|hour| &hour.runs);
        runs.map(|run| format!("{:?} {:?}", run.sums, run.columns)).collect::<Vec<_>>()
    };
    a.events() == b.events() && rows(a) == rows(b) && format!("{:?}", a.names) == format!("{:?}", b.names)
}

proptest! {
    #[test]
    fn what_is_taken_in_from_drafts_is_what_would_have_been_inserted(
        history in properties::histories(),
        caps in (0..8_usize, 0..12_usize, 1..200_u64),
        drafts in 1..4_usize,
        size in 1..60_usize,
    ) {
        let caps = Caps { models: caps.0, keys: caps.1, events: caps.2 };
        prop_assert!(are_alike(&drafted(&history, caps, drafts, size), &inserted(&history, caps)));
    }
}

/// F43
#[test]
fn a_draft_that_has_learnt_too_much_begins_again_and_nothing_is_lost() {
    let events = (0..6_000_u64)
        .map(|i| {
            let mut event = event(at("2026-01-02T03:04:05Z"), "", i, 1);
            event.model = format!("model-{}", i % 70).into();
            event.status = (i * 7 % 5_500) as u16;
            event.endpoint = Some(format!("POST /{}", i % 5_000).into());
            event
        })
        .collect::<Vec<_>>();
    let caps = Caps { models: 50, ..Caps::default() };
    assert!(are_alike(&drafted(&events, caps, 2, 400), &inserted(&events, caps)));
}
