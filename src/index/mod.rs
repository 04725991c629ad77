//! All events in memory, ready to be asked: columns sorted by time, and sums per quarter of an hour and model.

use std::sync::Arc;

use crate::{Timestamp, UsageEvent};

/// The writer's side: takes events in any order of time.
#[derive(Debug, Default)]
pub(crate) struct Index {}

impl Index {
    /// Takes `event` in. It is seen by the snapshots made from now on.
    pub(crate) fn insert(&mut self, event: &UsageEvent) {
        let _ = event;
    }

    /// Everything taken in so far, for readers. Costs no more than what changed since the last one.
    pub(crate) fn snapshot(&mut self) -> Arc<Snapshot> {
        Arc::default()
    }
}

/// The readers' side: immutable, cheap to share, unaffected by what the writer takes in later.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {}

/// A question: both ends of the range are inclusive, to the millisecond.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    /// Exact and case-sensitive.
    pub(crate) model: Option<&'a str>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) totals: Sums,
    /// Unsorted; only models with events in the range.
    pub(crate) by_model: Vec<(Arc<str>, Sums)>,
    /// By UTC hour, rising; only hours with events in the range.
    pub(crate) by_hour: Vec<(Timestamp, Sums)>,
}

/// Sums over events. A count that an event does not have adds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) requests: u64,
    /// `UsageEvent::is_error`.
    pub(crate) errors: u64,
    /// `UsageEvent::is_aborted`.
    pub(crate) aborted: u64,
    /// Events without any count, so that the sums below are known to be too low.
    pub(crate) unknown: u64,
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) total: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) reasoning: u64,
}

impl Snapshot {
    /// Events held.
    pub(crate) fn events(&self) -> u64 {
        0
    }

    pub(crate) fn query(&self, query: &Query<'_>) -> Answer {
        let _ = query;
        Answer::default()
    }
}
