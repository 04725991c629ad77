//! Dictionaries: small numbers for what events repeat. All are bounded, since clients choose much of it.

use std::{hash::Hash, sync::Arc};

use hashbrown::{Equivalent, HashMap};

use crate::event::EventRef;

/// Distinct model names that are told apart.
pub(super) const MAX_MODELS: usize = 10_000;
/// Bytes of a model's name, or of another text, beyond which it is not told apart.
pub(super) const MAX_NAME: usize = 256;
/// What all other models count under, so that it is seen.
pub(super) const OTHER: &str = "__other__";
/// Distinct keys that are told apart.
pub(super) const MAX_KEYS: u32 = 1_000_000;
/// Distinct combinations of provider, operation and endpoint that are told apart.
pub(super) const MAX_SOURCES: u32 = 10_000;

// One more is needed for the others.
const _: () = assert!(MAX_MODELS < u16::MAX as usize);

/// The names of models, numbered as they came.
#[derive(Debug, Default)]
pub(super) struct Models {
    ids: HashMap<Arc<str>, u16>,
    /// By id. Shared with snapshots; copied when a name is new.
    names: Arc<Vec<Arc<str>>>,
}

impl Models {
    pub(super) fn id(&mut self, name: &str) -> u16 {
        if let Some(&id) = self.ids.get(name) {
            return id;
        }
        let told_apart = self.names.len() - usize::from(self.ids.contains_key(OTHER));
        if name != OTHER && (name.len() > MAX_NAME || told_apart == MAX_MODELS) {
            return self.id(OTHER);
        }
        let name = Arc::<str>::from(name);
        let id = u16::try_from(self.names.len()).expect("one name more than MAX_MODELS at most");
        self.ids.insert(Arc::clone(&name), id);
        Arc::make_mut(&mut self.names).push(name);
        id
    }

    pub(super) fn names(&self) -> Arc<Vec<Arc<str>>> {
        Arc::clone(&self.names)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let texts = self.names.iter().map(|name| name.len() + 2 * size_of::<usize>()).sum::<usize>();
        self.ids.allocation_size() + self.names.capacity() * size_of::<Arc<str>>() + texts
    }
}

/// Numbers from 1 for what is told apart, 0 for the rest.
#[derive(Debug)]
pub(super) struct Ids<K> {
    ids: HashMap<K, u32>,
    most: u32,
}

impl<K: Hash + Eq> Ids<K> {
    pub(super) fn new(most: u32) -> Self {
        Self { ids: HashMap::new(), most }
    }

    pub(super) fn id<Q: Hash + Equivalent<K>>(&mut self, key: &Q, owned: impl FnOnce() -> K) -> u32 {
        if let Some(&id) = self.ids.get(key) {
            return id;
        }
        let id = self.ids.len() as u32 + 1;
        if id > self.most {
            return 0;
        }
        self.ids.insert(owned(), id);
        id
    }

    /// Without what the keys own.
    pub(super) fn heap_bytes(&self) -> usize {
        self.ids.allocation_size()
    }
}

/// Where an event came from: few combinations, so that one number stands for the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source<S> {
    provider: Option<S>,
    operation: Option<S>,
    endpoint: Option<S>,
}

impl<'a> Source<&'a str> {
    pub(super) fn of(event: &EventRef<'a>) -> Self {
        let short = |text: Option<&'a str>| text.map(|text| if text.len() > MAX_NAME { OTHER } else { text });
        Self {
            provider: short(event.provider),
            operation: short(event.operation),
            endpoint: short(event.endpoint),
        }
    }

    pub(super) fn to_owned(self) -> Source<Box<str>> {
        Source {
            provider: self.provider.map(Box::from),
            operation: self.operation.map(Box::from),
            endpoint: self.endpoint.map(Box::from),
        }
    }
}

impl Equivalent<Source<Box<str>>> for Source<&str> {
    fn equivalent(&self, other: &Source<Box<str>>) -> bool {
        let Source { provider, operation, endpoint } = other;
        self.provider == provider.as_deref()
            && self.operation == operation.as_deref()
            && self.endpoint == endpoint.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, UsageEvent};

    fn event(endpoint: &str) -> UsageEvent {
        let mut event = UsageEvent::new(Timestamp::from_unix_millis(0), "m");
        event.provider = Some("openai".into());
        event.endpoint = Some(endpoint.to_owned().into());
        event
    }

    #[test]
    fn a_source_has_one_number_borrowed_or_owned() {
        let mut ids = Ids::new(9);
        let mut id = |event: &UsageEvent| {
            let source = Source::of(&event.into());
            ids.id(&source, || source.to_owned())
        };
        assert_eq!(id(&event("a")), 1);
        assert_eq!(id(&event("b")), 2);
        assert_eq!(id(&event("a")), 1);
        let mut operation = event("a");
        operation.operation = operation.provider.take();
        assert_eq!(id(&operation), 3);
        // F43: a text too long is one of the others, whatever it says.
        assert_eq!(id(&event(&"x".repeat(257))), 4);
        assert_eq!(id(&event(&"y".repeat(1_000))), 4);
    }

    /// F43
    #[test]
    fn what_is_over_the_cap_has_the_number_of_the_others() {
        let mut ids = Ids::new(2);
        let numbers = [7, 8, 9, 8, 7, 10].map(|key| ids.id(&key, || key));
        assert_eq!(numbers, [1, 2, 0, 2, 1, 0]);
    }
}
