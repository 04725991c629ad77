//! Watches one response and settles it once.

use crate::UsageEvent;

/// What the queue carries.
#[derive(Debug)]
pub(crate) enum Entry {
    /// An event that the host made.
    Event(Box<UsageEvent>),
}

impl From<Entry> for UsageEvent {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Event(event) => *event,
        }
    }
}
