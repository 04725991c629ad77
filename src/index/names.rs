//! Dictionaries: small numbers for what events repeat. All are bounded, since clients choose much of it.

use std::{
    fmt,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use hashbrown::{DefaultHashBuilder, Equivalent, HashTable};

use crate::{Ending, KeyHash, UsageQuality, event::EventRef};

/// Bytes of a model's name, or of another text, beyond which it is not told apart.
pub(super) const MAX_NAME: usize = 256;
/// What all that is not told apart counts under, so that it is seen.
pub(super) const OTHER: &str = "__other__";
/// Distinct combinations of provider, operation and endpoint that are told apart.
pub(super) const MAX_SOURCES: usize = 10_000;
/// Distinct kinds with an exact status that are told apart. The kinds without one are fewer than the numbers left.
const MAX_KINDS: usize = 5_000;

/// How much is told apart, and kept row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caps {
    /// At most [`Caps::MOST_MODELS`].
    pub(crate) models: usize,
    /// At most [`Caps::MOST_KEYS`].
    pub(crate) keys: usize,
    /// Kept one by one; of older ones there are aggregates.
    pub(crate) events: u64,
}

impl Caps {
    /// Models are numbered in two bytes, and one number is for the others.
    pub(crate) const MOST_MODELS: usize = u16::MAX as usize - 1;
    /// More than anybody means.
    pub(crate) const MOST_KEYS: usize = 100_000_000;
}

impl Default for Caps {
    fn default() -> Self {
        Self { models: 10_000, keys: 1_000_000, events: 25_000_000 }
    }
}

/// What the numbers stand for.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) models: List<Arc<str>>,
    /// The first is number [`FIRST_KEY`].
    pub(super) keys: List<KeyHash>,
    pub(super) sources: List<Source<Arc<str>>>,
    /// By the number of a kind without its flags.
    pub(super) kinds: List<Kind>,
}

/// Number of the keys that are not told apart. 0 is no key.
pub(super) const OTHER_KEY: u32 = 1;
pub(super) const FIRST_KEY: u32 = 2;

/// Whose key it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyName {
    Hash(KeyHash),
    /// One of those over the cap: `__other__`.
    Other,
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(hash) => hash.fmt(f),
            Self::Other => f.write_str(OTHER),
        }
    }
}

impl Names {
    pub(super) fn key(&self, number: u32) -> Option<KeyName> {
        match number {
            0 => None,
            OTHER_KEY => Some(KeyName::Other),
            _ => self.keys.get((number - FIRST_KEY) as usize).map(|hash| KeyName::Hash(*hash)),
        }
    }

    /// Numbers of keys in use, those of no key and of the others included.
    pub(super) fn key_numbers(&self) -> usize {
        self.keys.len() + FIRST_KEY as usize
    }
}

/// The dictionaries of the writer.
#[derive(Debug)]
pub(super) struct Dictionaries {
    caps: Caps,
    models: Dictionary<Arc<str>>,
    /// `__other__` is one of the models.
    has_other_model: bool,
    keys: Dictionary<KeyHash>,
    sources: Dictionary<Source<Arc<str>>>,
    kinds: Dictionary<Kind>,
}

impl Dictionaries {
    pub(super) fn new(caps: Caps) -> Self {
        Self {
            caps,
            models: Dictionary::default(),
            has_other_model: false,
            keys: Dictionary::default(),
            sources: Dictionary::default(),
            kinds: Dictionary::default(),
        }
    }

    #[inline]
    pub(super) fn model(&mut self, name: &str) -> u16 {
        self.models.find_recent(name).map_or_else(|| self.far_model(name), |id| id as u16)
    }

    fn far_model(&mut self, name: &str) -> u16 {
        if let Some(id) = self.models.find(name) {
            return id as u16;
        }
        let told_apart = self.models.values.len() - usize::from(self.has_other_model);
        if name == OTHER {
            self.has_other_model = true;
        } else if name.len() > MAX_NAME || told_apart >= self.caps.models.min(Caps::MOST_MODELS) {
            return self.far_model(OTHER);
        }
        self.models.push(Arc::from(name)) as u16
    }

    #[inline]
    pub(super) fn key(&mut self, key: Option<KeyHash>) -> u32 {
        let Some(key) = key else { return 0 };
        self.keys.find_recent(&key).map_or_else(|| self.far_key(key), |id| id + FIRST_KEY)
    }

    fn far_key(&mut self, key: KeyHash) -> u32 {
        if let Some(id) = self.keys.find(&key) {
            return id + FIRST_KEY;
        }
        if self.keys.values.len() >= self.caps.keys.min(Caps::MOST_KEYS) {
            return OTHER_KEY;
        }
        self.keys.push(key) + FIRST_KEY
    }

    #[inline]
    pub(super) fn source(&mut self, source: &Source<&str>) -> u16 {
        self.sources.find_recent(source).map_or_else(|| self.far_source(source), |id| id as u16)
    }

    fn far_source(&mut self, source: &Source<&str>) -> u16 {
        if let Some(id) = self.sources.find(source) {
            return id as u16;
        }
        let rest = if source.is_retired { None } else { Some(OTHER) };
        let other = Source { provider: Some(OTHER), operation: rest, endpoint: rest, ..*source };
        if self.sources.values.len() >= MAX_SOURCES && *source != other {
            return self.far_source(&other);
        }
        self.sources.push(source.owned()) as u16
    }

    /// The number of a kind, with its flags in the lowest bits.
    #[inline]
    pub(super) fn kind(&mut self, kind: Kind, flags: u16) -> u16 {
        let id = self.kinds.find_recent(&kind).unwrap_or_else(|| self.far_kind(kind));
        (id as u16) << FLAG_BITS | flags
    }

    fn far_kind(&mut self, kind: Kind) -> u32 {
        self.kinds.find(&kind).unwrap_or_else(|| {
            let kind = if self.kinds.values.len() < MAX_KINDS { kind } else { Kind { status: None, ..kind } };
            self.kinds.find(&kind).unwrap_or_else(|| self.kinds.push(kind))
        })
    }

    /// What is left of a source and a kind when an event is retired.
    pub(super) fn retired(&mut self, source: u16, kind: u16) -> (u16, u16) {
        let provider = self.sources.values.get(source.into()).and_then(|source| source.provider.clone());
        let class = self.kinds.values.get((kind >> FLAG_BITS).into()).map_or(0, |kind| kind.class);
        (self.source(&Source::retired(provider.as_deref())), self.kind(Kind::retired(class), 0))
    }

    /// So large that a few thousand more would not all be told apart, or that it holds on to much memory.
    pub(super) fn is_large(&self) -> bool {
        self.models.values.len() > 1 << 14
            || self.keys.values.len() > 1 << 16
            || self.sources.values.len() > MAX_SOURCES / 4
            || self.kinds.values.len() > MAX_KINDS / 10
    }

    pub(super) fn names(&self) -> Names {
        Names {
            models: self.models.values.clone(),
            keys: self.keys.values.clone(),
            sources: self.sources.values.clone(),
            kinds: self.kinds.values.clone(),
        }
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let text = |text: &Arc<str>| text.len() + 2 * size_of::<usize>();
        let texts = self.models.values.iter().map(text).sum::<usize>()
            + self.sources.values.iter().flat_map(Source::texts).map(text).sum::<usize>();
        self.models.heap_bytes()
            + self.keys.heap_bytes()
            + self.sources.heap_bytes()
            + self.kinds.heap_bytes()
            + texts
    }
}

/// What the numbers of some dictionaries are in others.
#[derive(Debug, Default)]
pub(super) struct Translation {
    models: Vec<u16>,
    /// Without [`FIRST_KEY`].
    keys: Vec<u32>,
    sources: Vec<u16>,
    /// Without flags.
    kinds: Vec<u16>,
}

impl Translation {
    /// Learns what is new in `from`, and teaches it to `to`.
    pub(super) fn learn(&mut self, from: &Dictionaries, to: &mut Dictionaries) {
        let Self { models, keys, sources, kinds } = self;
        models.extend(from.models.values.from(models.len()).map(|name| to.model(name)));
        keys.extend(from.keys.values.from(keys.len()).map(|key| to.key(Some(*key))));
        sources.extend(from.sources.values.from(sources.len()).map(|source| to.source(&source.borrowed())));
        kinds.extend(from.kinds.values.from(kinds.len()).map(|kind| to.kind(*kind, 0)));
    }

    #[inline]
    pub(super) fn model(&self, number: u16) -> u16 {
        self.models[usize::from(number)]
    }

    #[inline]
    pub(super) fn key(&self, number: u32) -> u32 {
        number.checked_sub(FIRST_KEY).map_or(number, |at| self.keys[at as usize])
    }

    #[inline]
    pub(super) fn source(&self, number: u16) -> u16 {
        self.sources[usize::from(number)]
    }

    #[inline]
    pub(super) fn kind(&self, number: u16) -> u16 {
        self.kinds[usize::from(number >> FLAG_BITS)] | number & ((1 << FLAG_BITS) - 1)
    }
}

/// Numbers from 0 on for what is told apart.
#[derive(Debug)]
struct Dictionary<T> {
    hasher: DefaultHashBuilder,
    /// Each value is kept once, in the list.
    ids: HashTable<u32>,
    values: List<T>,
    /// What was found last, by some bits of a [`Glance`]: of most values there are few. It is compared before it is taken
    /// for right.
    recent: Box<[u32; RECENT]>,
}

const RECENT: usize = 4096;

/// A number by which to tell values apart at a glance: cheaper than a hash, and no harm is done if many have the same.
trait Glance {
    fn glance(&self) -> u64;
}

impl Glance for str {
    #[inline]
    fn glance(&self) -> u64 {
        let bytes = self.as_bytes();
        match (bytes.first_chunk(), bytes.last_chunk()) {
            (Some(first), Some(last)) => {
                u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29) ^ bytes.len() as u64
            }
            _ => bytes.iter().fold(0, |glance, byte| glance << 8 | u64::from(*byte)),
        }
    }
}

impl Glance for KeyHash {
    #[inline]
    fn glance(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *self.as_bytes();
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Glance for Source<&str> {
    #[inline]
    fn glance(&self) -> u64 {
        let Self { provider, operation, endpoint, .. } = self;
        let glance = |text: &Option<&str>| text.map_or(0, Glance::glance);
        glance(provider) ^ glance(operation).rotate_left(21) ^ glance(endpoint).rotate_left(42)
    }
}

impl Glance for Kind {
    #[inline]
    fn glance(&self) -> u64 {
        let Self { status, stream, usage, end, .. } = *self;
        let status = status.map_or(0, u64::from);
        let stream = stream.map_or(0, |stream| u64::from(stream) + 1);
        status
            | stream << 16
            | usage.map_or(0, |usage| usage as u64 + 1) << 18
            | end.map_or(0, |end| end as u64 + 1) << 24
    }
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self {
            hasher: DefaultHashBuilder::default(),
            ids: HashTable::new(),
            values: List::default(),
            recent: Box::new([0; RECENT]),
        }
    }
}

impl<T: Hash + Clone> Dictionary<T> {
    /// [`find`](Self::find), fast if `value` or the like of it was looked for before.
    #[inline]
    fn find_recent<Q: Glance + Hash + Equivalent<T> + ?Sized>(&mut self, value: &Q) -> Option<u32> {
        // The upper bits of a product depend on all bits of its factors.
        let at = value.glance().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECENT.trailing_zeros());
        let id = self.recent[at as usize];
        if self.values.get(id as usize).is_some_and(|known| value.equivalent(known)) {
            return Some(id);
        }
        let id = self.find(value)?;
        self.recent[at as usize] = id;
        Some(id)
    }

    #[inline]
    fn find<Q: Hash + Equivalent<T> + ?Sized>(&self, value: &Q) -> Option<u32> {
        let known = |id: &u32| self.values.get(*id as usize).is_some_and(|known| value.equivalent(known));
        self.ids.find(self.hasher.hash_one(value), known).copied()
    }

    /// Takes in a value that is not known.
    fn push(&mut self, value: T) -> u32 {
        let Self { hasher, ids, values, .. } = self;
        let id = values.len() as u32;
        let hash = hasher.hash_one(&value);
        values.push(value);
        ids.insert_unique(hash, id, |id| values.get(*id as usize).map_or(0, |value| hasher.hash_one(value)));
        id
    }

    /// Without what the values own.
    fn heap_bytes(&self) -> usize {
        self.ids.allocation_size() + self.values.heap_bytes() + size_of_val(&*self.recent)
    }
}

/// A list that only grows. A clone costs a pointer for some hundred values, and after it at most so many are copied.
#[derive(Clone, Debug)]
pub(super) struct List<T> {
    /// All but the last hold [`CHUNK`] values.
    chunks: Vec<Arc<Vec<T>>>,
}

const CHUNK: usize = 512;

impl<T> Default for List<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> List<T> {
    pub(super) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * CHUNK + last.len())
    }

    #[inline]
    pub(super) fn get(&self, at: usize) -> Option<&T> {
        self.chunks.get(at / CHUNK)?.get(at % CHUNK)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    fn from(&self, first: usize) -> impl Iterator<Item = &T> {
        (first..self.len()).filter_map(|at| self.get(at))
    }

    fn heap_bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<Arc<Vec<T>>>()
            + self.chunks.iter().map(|chunk| chunk.capacity() * size_of::<T>()).sum::<usize>()
    }
}

impl<T: Clone> List<T> {
    fn push(&mut self, value: T) {
        match self.chunks.last_mut().filter(|last| last.len() < CHUNK) {
            Some(last) => Arc::make_mut(last).push(value),
            None => self.chunks.push(Arc::new(vec![value])),
        }
    }
}

/// Where an event came from: few combinations, so that one number stands for the three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source<S> {
    pub(super) provider: Option<S>,
    pub(super) operation: Option<S>,
    pub(super) endpoint: Option<S>,
    /// Of events that are only known as aggregates: operation and endpoint were not kept.
    pub(super) is_retired: bool,
}

impl<'a> Source<&'a str> {
    pub(super) fn of(event: &EventRef<'a>) -> Self {
        let short = |text: Option<&'a str>| text.map(|text| if text.len() > MAX_NAME { OTHER } else { text });
        Self {
            provider: short(event.provider),
            operation: short(event.operation),
            endpoint: short(event.endpoint),
            is_retired: false,
        }
    }

    pub(super) fn retired(provider: Option<&'a str>) -> Self {
        let provider = provider.map(|text| if text.len() > MAX_NAME { OTHER } else { text });
        Self { provider, operation: None, endpoint: None, is_retired: true }
    }

    fn owned(self) -> Source<Arc<str>> {
        Source {
            provider: self.provider.map(Arc::from),
            operation: self.operation.map(Arc::from),
            endpoint: self.endpoint.map(Arc::from),
            is_retired: self.is_retired,
        }
    }
}

impl Source<Arc<str>> {
    fn borrowed(&self) -> Source<&str> {
        Source {
            provider: self.provider.as_deref(),
            operation: self.operation.as_deref(),
            endpoint: self.endpoint.as_deref(),
            is_retired: self.is_retired,
        }
    }

    fn texts(&self) -> impl Iterator<Item = &Arc<str>> {
        [&self.provider, &self.operation, &self.endpoint].into_iter().flatten()
    }
}

impl Equivalent<Source<Arc<str>>> for Source<&str> {
    fn equivalent(&self, other: &Source<Arc<str>>) -> bool {
        let Source { provider, operation, endpoint, is_retired } = other;
        self.is_retired == *is_retired
            && self.provider == provider.as_deref()
            && self.operation == operation.as_deref()
            && self.endpoint == endpoint.as_deref()
    }
}

/// How an event came out: few combinations, so that one number stands for the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// 1 for 1xx up to 5 for 5xx; 0 for a number that is no status.
    pub(super) class: u8,
    /// Unless there are too many kinds.
    pub(super) status: Option<u16>,
    pub(super) stream: Option<bool>,
    pub(super) usage: Option<UsageQuality>,
    pub(super) end: Option<Ending>,
    /// Of events that are only known as aggregates: all but the class was not kept.
    pub(super) is_retired: bool,
}

// The lowest bits of a kind's number: what sums want to know of a row.
pub(super) const ERROR: u16 = 1;
pub(super) const ABORTED: u16 = 1 << 1;
pub(super) const UNKNOWN: u16 = 1 << 2;
pub(super) const FLAG_BITS: u32 = 3;

// Classes, streams, qualities and endings, each with one more for "not known".
const _: () = assert!(MAX_KINDS + 6 * 3 * 9 * 6 + 6 < 1 << (u16::BITS - FLAG_BITS));

impl Kind {
    pub(super) fn of(event: &EventRef<'_>) -> Self {
        Self {
            class: class(event.status),
            status: Some(event.status),
            stream: event.stream,
            usage: event.usage,
            end: event.end,
            is_retired: false,
        }
    }

    pub(super) fn retired(class: u8) -> Self {
        Self { class, status: None, stream: None, usage: None, end: None, is_retired: true }
    }
}

/// 1 for 1xx up to 5 for 5xx, 0 for a number that is no status.
pub(super) fn class(status: u16) -> u8 {
    if (100..600).contains(&status) { (status / 100) as u8 } else { 0 }
}

/// What sums want to know of `event`, as the lowest bits of its kind's number.
pub(super) fn flags(event: &EventRef<'_>) -> u16 {
    let flag = |flag, set| if set { flag } else { 0 };
    flag(ERROR, event.is_error())
        | flag(ABORTED, event.is_aborted())
        | flag(UNKNOWN, event.tokens.is_unknown())
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
    fn a_source_has_one_number() {
        let mut names = Dictionaries::new(Caps::default());
        let mut id = |event: &UsageEvent| names.source(&Source::of(&event.into()));
        assert_eq!(id(&event("a")), 0);
        assert_eq!(id(&event("b")), 1);
        assert_eq!(id(&event("a")), 0);
        let mut operation = event("a");
        operation.operation = operation.provider.take();
        assert_eq!(id(&operation), 2);
        // F43: a text too long is one of the others, whatever it says.
        assert_eq!(id(&event(&"x".repeat(257))), 3);
        assert_eq!(id(&event(&"y".repeat(1_000))), 3);
    }

    /// F43
    #[test]
    fn sources_over_the_cap_have_the_number_of_the_others() {
        let mut names = Dictionaries::new(Caps::default());
        let ids = (0..MAX_SOURCES + 2).map(|i| names.source(&Source::of(&(&event(&i.to_string())).into())));
        let ids = ids.collect::<Vec<_>>();
        assert_eq!(ids[MAX_SOURCES - 1..], [MAX_SOURCES as u16 - 1, MAX_SOURCES as u16, MAX_SOURCES as u16]);
        let other = names.names();
        assert_eq!(other.sources.get(MAX_SOURCES).unwrap().endpoint.as_deref(), Some(OTHER));
    }

    /// F43
    #[test]
    fn keys_over_the_cap_have_the_number_of_the_others() {
        let mut names = Dictionaries::new(Caps { keys: 2, ..Caps::default() });
        let mut id = |key: &[u8]| names.key(Some(KeyHash::of(key)));
        assert_eq!([7, 8, 9, 8, 7, 10].map(|key| id(&[key])), [2, 3, OTHER_KEY, 3, 2, OTHER_KEY]);
        assert_eq!(names.key(None), 0);
        let names = names.names();
        assert_eq!(names.key(0), None);
        assert_eq!(names.key(OTHER_KEY), Some(KeyName::Other));
        assert_eq!(names.key(3), Some(KeyName::Hash(KeyHash::of(&[8]))));
    }

    #[test]
    fn what_looks_alike_at_a_glance_is_told_apart() {
        let mut names = Dictionaries::new(Caps::default());
        let models = ["", "a", "a\0", "\0a", "begin-01-the-end", "begin-02-the-end", "begin-00-the-end"];
        let keys = ["00", "01", "02"].map(|end| format!("{}{end}", "ab".repeat(31)).parse().unwrap());
        let mut kinds = Vec::new();
        for status in [200, 65_535] {
            for usage in [None, Some(UsageQuality::Complete), Some(UsageQuality::Unknown)] {
                for end in [None, Some(Ending::Complete), Some(Ending::Unknown)] {
                    for stream in [None, Some(false), Some(true)] {
                        let class = class(status);
                        kinds.push(Kind {
                            class,
                            status: Some(status),
                            stream,
                            usage,
                            end,
                            is_retired: false,
                        });
                    }
                }
            }
        }
        kinds.extend([Kind::retired(2), Kind::retired(6)]);
        for _ in 0..2 {
            assert!((0..).zip(models).all(|(number, model)| names.model(model) == number));
            assert!((FIRST_KEY..).zip(keys).all(|(number, key)| names.key(Some(key)) == number));
            assert!((0..).zip(&kinds).all(|(number, kind)| names.kind(*kind, 0) == number << FLAG_BITS));
        }
        let mut id = |event: &UsageEvent| names.source(&Source::of(&event.into()));
        let (of_a, of_b) = (event("a"), event("b"));
        let mut moved = event("a");
        moved.operation = moved.endpoint.take();
        for _ in 0..2 {
            assert_eq!([id(&of_a), id(&of_b), id(&moved)], [0, 1, 2]);
        }
    }

    /// F43: whatever statuses a file claims.
    #[test]
    fn kinds_over_the_cap_keep_all_but_the_exact_status() {
        let mut names = Dictionaries::new(Caps::default());
        let kind = |status: u16| {
            let mut event = event("a");
            (event.status, event.stream) = (status, Some(true));
            Kind::of(&(&event).into())
        };
        let ids = (0..=u16::MAX).map(|status| names.kind(kind(status), ERROR)).collect::<Vec<_>>();
        let names = names.names();
        for (status, id) in (0..=u16::MAX).zip(ids) {
            assert_eq!(id & ((1 << FLAG_BITS) - 1), ERROR);
            let known = names.kinds.get((id >> FLAG_BITS).into()).unwrap();
            let expected = kind(status);
            let exact = if usize::from(status) < MAX_KINDS { expected.status } else { None };
            assert_eq!(*known, Kind { status: exact, ..expected }, "{status}");
        }
    }

    #[test]
    fn a_list_has_what_was_pushed_and_a_clone_does_not_change() {
        let mut list = List::default();
        let mut clones = Vec::new();
        for i in 0..3 * CHUNK {
            clones.push(list.clone());
            list.push(i);
            assert_eq!((list.len(), list.get(i), list.get(i + 1)), (i + 1, Some(&i), None));
        }
        for (len, clone) in clones.iter().enumerate() {
            assert_eq!(clone.len(), len);
            assert!(clone.iter().copied().eq(0..len));
        }
    }
}
