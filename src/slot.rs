//! Where what is known of a call lies on its way to the writer's thread, and its answer, if that is short: the writer reads
//! it there.
//!
//! To read an answer takes some 15 KB of code and tables, which a thread that serves has no longer in its nearest cache when
//! the next answer comes: to fetch them takes several times as long as to read. The writer reads hundreds of answers one
//! behind the other. To copy a short one to where there is room already takes a fraction of that.
//!
//! Slots are made once and go round: what another thread frees than allocated it costs either of them more than all of
//! this.

use std::{fmt, sync::LazyLock, time::Instant};

use crossbeam_queue::ArrayQueue;

use crate::{
    Ending, UsageEvent,
    event::{EventRef, Show},
    extract::Unread,
    record::{Elapsed, Record, Told},
};

/// What the queue carries: an event once the writer's thread looks at it. Hardly more than an address, so that the queue
/// stays at hand.
pub(crate) enum Entry {
    /// A call that is over.
    Call(Slot),
    /// The same, of more calls than there are slots.
    Spilled(Box<Report>),
    /// An event that the host made.
    Event(Box<UsageEvent>),
}

/// What is known of a call that is over.
pub(crate) enum Report {
    Read(Record, Told),
    /// Its answer came whole, and is still to be read.
    Unread {
        record: Record,
        ended: Instant,
        unread: Unread,
        /// How many bytes of the slot it takes.
        len: usize,
    },
}

/// A place that holds nothing, or a report. Given back when it is dropped.
pub(crate) struct Slot {
    /// `None` once it has been given back.
    place: Option<Box<Place>>,
}

#[repr(C, align(64))]
struct Place {
    body: [u8; Slot::MAX],
    report: Option<Report>,
}

/// How many there are: as many as events wait for the writer as a rule.
const COUNT: usize = 512;

/// The places that hold nothing.
static SPARE: LazyLock<ArrayQueue<Box<Place>>> = LazyLock::new(|| {
    let spare = ArrayQueue::new(COUNT);
    while spare.push(Box::new(Place { body: [0; Slot::MAX], report: None })).is_ok() {}
    spare
});

impl Slot {
    /// The longest answer that is copied, in bytes: a chat completion of some hundred words. What a longer one takes to be
    /// read is little beside what it takes to be sent.
    pub(crate) const MAX: usize = 2048;

    /// Makes the slots, 1.2 MB in all, if they are not there yet.
    pub(crate) fn prepare() {
        LazyLock::force(&SPARE);
    }

    /// `None` if all are under way.
    pub(crate) fn take() -> Option<Self> {
        #[cfg(test)]
        if tests::are_to_be_none() {
            return None;
        }
        Some(Self { place: Some(SPARE.pop()?) })
    }

    #[inline(always)]
    pub(crate) fn with(mut self, report: Report) -> Entry {
        if let Some(place) = &mut self.place {
            place.report = Some(report);
        }
        Entry::Call(self)
    }

    /// Puts an answer of [`MAX`](Self::MAX) bytes at most there.
    pub(crate) fn copy(&mut self, body: &[u8]) {
        if let Some(place) = &mut self.place {
            place.body[..body.len()].copy_from_slice(body);
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(mut place) = self.place.take() {
            place.report = None;
            // There is room for all of them.
            let _ = SPARE.push(place);
        }
    }
}

impl Entry {
    pub(crate) fn read(record: Record, told: Told) -> Self {
        let report = Report::Read(record, told);
        match Slot::take() {
            Some(slot) => slot.with(report),
            None => Self::Spilled(Box::new(report)),
        }
    }
}

impl Show for Entry {
    fn show(self, look: impl FnOnce(EventRef<'_>)) {
        match self {
            Self::Call(mut slot) => {
                if let Some(Place { body, report: Some(report) }) = slot.place.as_deref_mut() {
                    report.show(body, look);
                }
            }
            Self::Spilled(mut report) => report.show(&[], look),
            Self::Event(event) => event.show(look),
        }
    }
}

impl Report {
    /// Where it lies: moving it costs more than looking.
    fn show(&mut self, body: &[u8], look: impl FnOnce(EventRef<'_>)) {
        match self {
            Self::Read(record, told) => record.show(told, look),
            Self::Unread { record, ended, unread, len } => {
                let mut extractor = unread.take().read(body.get(..*len).unwrap_or_default());
                let duration = Elapsed::between(record.started, *ended);
                record.first_byte = Some(duration);
                let told = record.tell(&mut extractor, Ending::Complete, duration);
                record.show(&told, look);
            }
        }
    }
}

#[cfg(test)]
impl Entry {
    /// Nothing of it is left to be read.
    pub(crate) fn is_read(&self) -> bool {
        let report = match self {
            Self::Call(slot) => slot.place.as_ref().and_then(|place| place.report.as_ref()),
            Self::Spilled(report) => Some(&**report),
            Self::Event(_) => None,
        };
        !matches!(report, Some(Report::Unread { .. }))
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Call(_) => "Call",
            Self::Spilled(_) => "Spilled",
            Self::Event(_) => "Event",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::extract::Extractor;

    thread_local! {
        static ARE_TO_BE_NONE: Cell<bool> = const { Cell::new(false) };
    }

    pub(super) fn are_to_be_none() -> bool {
        ARE_TO_BE_NONE.get()
    }

    /// Does `what` as if all slots were under way, but for other threads.
    pub(crate) fn without_any(what: impl FnOnce()) {
        ARE_TO_BE_NONE.set(true);
        what();
        ARE_TO_BE_NONE.set(false);
    }

    fn told(record: &mut Record) -> Told {
        record.tell(&mut Extractor::default(), Ending::UpstreamError, Elapsed::since(record.started))
    }

    #[test]
    fn slots_go_round_whatever_becomes_of_what_they_hold() {
        // More often than there are slots.
        for turn in 0..4 * COUNT {
            drop(Slot::take().unwrap());
            let mut record = Record::new(None);
            let told = told(&mut record);
            let entry = Entry::read(record, told);
            assert!(matches!(entry, Entry::Call(_)), "{turn}");
            if turn % 2 == 0 {
                let mut end = None;
                entry.show(|event| end = event.end);
                assert_eq!(end, Some(Ending::UpstreamError));
            }
        }
    }

    #[test]
    fn a_call_without_a_slot_is_told_all_the_same() {
        without_any(|| {
            assert!(Slot::take().is_none());
            let mut record = Record::new(None);
            let told = told(&mut record);
            let entry = Entry::read(record, told);
            assert!(matches!(entry, Entry::Spilled(_)));
            let mut end = None;
            entry.show(|event| end = event.end);
            assert_eq!(end, Some(Ending::UpstreamError));
        });
    }
}
