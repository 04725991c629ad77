//! The ids of one file's events, for the files after it.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::segments::UtcDay;
use crate::event::EventRef;

/// Tells events that an older file of the history has already.
///
/// Holds 64 bits for each id and compares those: of ten million events on one day, the odds that any is taken for
/// another are one to a hundred thousand.
#[derive(Debug, Default)]
pub(super) struct Seen {
    hasher: DefaultHashBuilder,
    /// Of the files before. By day, since the same event has the same time, and a day's ids fit into the cache.
    days: HashMap<UtcDay, HashTable<u64>>,
    /// Of the file that is being read.
    current: Vec<(UtcDay, u64)>,
    /// No file comes after this one.
    is_last: bool,
    /// Events that were seen before.
    again: u64,
}

impl Seen {
    /// Passes on the events that no earlier file has.
    pub(super) fn filter(&mut self, mut each: impl FnMut(&EventRef<'_>)) -> impl FnMut(&EventRef<'_>) {
        move |event: &EventRef<'_>| {
            if self.is_new(event) {
                each(event);
            }
        }
    }

    fn is_new(&mut self, event: &EventRef<'_>) -> bool {
        let Some(id) = event.id else { return true };
        if self.is_last && self.days.is_empty() {
            return true;
        }
        let (day, id) = (UtcDay::of(event.timestamp), self.hasher.hash_one(id));
        let is_new = self.days.get(&day).is_none_or(|ids| ids.find(id, |known| *known == id).is_none());
        if !is_new {
            self.again += 1;
        } else if !self.is_last {
            self.current.push((day, id));
        }
        is_new
    }

    /// Goes on to the next file, and says how many events of this one were seen before.
    pub(super) fn next_file(&mut self) -> u64 {
        for (day, id) in self.current.drain(..) {
            let ids = self.days.entry(day).or_default();
            // Twice in one file is two events, and here one id.
            ids.entry(id, |known| *known == id, |known| *known).or_insert(id);
        }
        std::mem::take(&mut self.again)
    }

    /// The file that comes now is the last one.
    pub(super) fn last_file(&mut self) {
        self.is_last = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, UsageEvent};

    fn event(id: Option<&'static str>) -> UsageEvent {
        let mut event = UsageEvent::new(Timestamp::from_unix_millis(1_770_000_000_000), "m");
        event.id = id.map(Into::into);
        event
    }

    #[test]
    fn an_id_counts_once_over_files_and_each_time_within_one() {
        let mut seen = Seen::default();
        let count = |seen: &mut Seen, ids: &[Option<&'static str>]| {
            let mut n = 0;
            let mut each = seen.filter(|_| n += 1);
            ids.iter().for_each(|id| each(&(&event(*id)).into()));
            drop(each);
            n
        };
        assert_eq!(count(&mut seen, &[Some("a"), Some("a"), Some("b"), None]), 4);
        assert_eq!(seen.next_file(), 0);
        assert_eq!(count(&mut seen, &[Some("a"), Some("a"), Some("c"), None]), 2);
        assert_eq!(seen.next_file(), 2);
        seen.last_file();
        assert_eq!(count(&mut seen, &[Some("b"), Some("c"), Some("d"), Some("d")]), 2);
        assert_eq!(seen.next_file(), 2);
    }
}
