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
    /// No file comes after this one.
    is_last: bool,
}

/// What is noted of the events of one file, or of a part of it.
#[derive(Debug, Default)]
pub(super) struct Noted {
    ids: Vec<(UtcDay, u64)>,
    /// Events that were seen before.
    again: u64,
}

impl Noted {
    /// Takes over what `part` has.
    pub(super) fn append(&mut self, part: &mut Self) {
        self.ids.append(&mut part.ids);
        self.again += std::mem::take(&mut part.again);
    }
}

impl Seen {
    /// No earlier file has `event`.
    pub(super) fn is_new(&self, event: &EventRef<'_>, noted: &mut Noted) -> bool {
        let Some(id) = event.id else { return true };
        if self.is_last && self.days.is_empty() {
            return true;
        }
        let (day, id) = (UtcDay::of(event.timestamp), self.hasher.hash_one(id));
        let is_new = self.days.get(&day).is_none_or(|ids| ids.find(id, |known| *known == id).is_none());
        if !is_new {
            noted.again += 1;
        } else if !self.is_last {
            noted.ids.push((day, id));
        }
        is_new
    }

    /// Goes on to the next file, and says how many events of this one were seen before.
    pub(super) fn next_file(&mut self, noted: Noted) -> u64 {
        for (day, id) in noted.ids {
            let ids = self.days.entry(day).or_default();
            // Twice in one file is two events, and here one id.
            ids.entry(id, |known| *known == id, |known| *known).or_insert(id);
        }
        noted.again
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
        // Each is a part of its file.
        let count = |seen: &Seen, ids: &[Option<&'static str>]| {
            let (mut noted, mut part) = (Noted::default(), Noted::default());
            let is_new = |id: &Option<&'static str>| {
                let is_new = seen.is_new(&(&event(*id)).into(), &mut part);
                noted.append(&mut part);
                is_new
            };
            (ids.iter().copied().filter(is_new).count(), noted)
        };
        let (new, noted) = count(&seen, &[Some("a"), Some("a"), Some("b"), None]);
        assert_eq!((new, seen.next_file(noted)), (4, 0));
        let (new, noted) = count(&seen, &[Some("a"), Some("a"), Some("c"), None]);
        assert_eq!((new, seen.next_file(noted)), (2, 2));
        seen.last_file();
        let (new, noted) = count(&seen, &[Some("b"), Some("c"), Some("d"), Some("d")]);
        assert_eq!((new, seen.next_file(noted)), (2, 2));
    }
}
