//! What is left of a call when it is over.

use std::{
    borrow::Cow,
    fmt,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use http::Method;
use smallvec::SmallVec;

use crate::{
    Ending, KeyHash, Timestamp, Tokens, UsageEvent, UsageHint, UsageQuality,
    endpoint::{self, Endpoint},
    event::{CLIENT_CLOSED_REQUEST, UNKNOWN_MODEL},
    extract::{self, Dialect, Facts},
    provider,
};

/// What the queue carries: made into an event on the writer's thread.
#[expect(clippy::large_enum_variant, reason = "nearly all are records, and these are to do without a box")]
pub(crate) enum Entry {
    /// A response that has been watched.
    Watched(Record, Told),
    /// An event that the host made.
    Event(Box<UsageEvent>),
}

impl From<Entry> for UsageEvent {
    fn from(entry: Entry) -> Self {
        match entry {
            Entry::Watched(record, told) => record.into_event(told),
            Entry::Event(event) => *event,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Watched(..) => "Watched",
            Self::Event(_) => "Event",
        })
    }
}

/// All that an event is made of, as the request's path knows it: texts as they were sent, and a row of a table where a
/// name is to be looked up.
///
/// It goes through the queue as it is. What else watched the call is twice as large and stays with the thread that served
/// it, whose allocator and caches have it at hand for the next one; sent along, it would cost either thread more than
/// all of this.
pub(crate) struct Record {
    pub(crate) timestamp: Timestamp,
    pub(crate) endpoint: Endpoint,
    pub(crate) key: Option<KeyHash>,
    pub(crate) status: u16,
    pub(crate) end: Ending,
    /// Whether the answer came as events; `None`, if there was no answer.
    pub(crate) is_stream: Option<bool>,
    /// `None`: not over yet.
    pub(crate) duration: Option<Elapsed>,
    pub(crate) first_byte: Option<Elapsed>,
    /// Who serves it, as far as the request's host or the response's headers tell.
    pub(crate) provider: Option<&'static str>,
    pub(crate) hint: Option<Box<UsageHint>>,
    pub(crate) texts: Texts,
}

/// What the response says of itself, but for its texts.
pub(crate) struct Told {
    quality: UsageQuality,
    dialect: Option<Dialect>,
    counts: Counts,
}

/// A time in nanoseconds: at least one, so that an option of it takes no more room.
#[derive(Clone, Copy)]
pub(crate) struct Elapsed(NonZeroU64);

impl Elapsed {
    pub(crate) fn since(start: Instant) -> Self {
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Self(NonZeroU64::new(nanoseconds).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Elapsed> for Duration {
    fn from(elapsed: Elapsed) -> Self {
        Self::from_nanos(elapsed.0.get())
    }
}

/// Texts, one behind the other.
pub(crate) struct Texts {
    /// With room for what calls have as a rule; more costs an allocation.
    bytes: SmallVec<[u8; 144]>,
    /// Where `METHOD /path` ends, the name of the request behind it, and the model behind that; then comes the error.
    ends: [u32; 3],
}

impl Texts {
    fn new(method: &Method, path: &str) -> Self {
        let mut bytes = SmallVec::from_slice(method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(path.as_bytes());
        let ends = [bytes.len() as u32; 3];
        Self { bytes, ends }
    }

    /// The name that the request goes by, in place of what it was before.
    pub(crate) fn set_request_id(&mut self, request_id: &[u8]) {
        self.bytes.truncate(self.ends[0] as usize);
        self.bytes.extend_from_slice(request_id);
        self.ends[1] = self.bytes.len() as u32;
    }

    fn set_answer(&mut self, facts: &Facts<'_>) {
        self.bytes.truncate(self.ends[1] as usize);
        self.bytes.extend_from_slice(facts.model.as_bytes());
        self.ends[2] = self.bytes.len() as u32;
        self.bytes.extend_from_slice(facts.error_type.as_bytes());
    }

    fn get(&self) -> [Cow<'_, str>; 4] {
        let [target, request_id, model] = self.ends.map(|end| end as usize);
        [0..target, target..request_id, request_id..model, model..self.bytes.len()]
            .map(|range| String::from_utf8_lossy(&self.bytes[range]))
    }
}

/// [`Tokens`], without the room that options take.
#[derive(Clone, Copy, Default)]
struct Counts {
    present: u8,
    values: [u64; 7],
}

impl From<Tokens> for Counts {
    fn from(tokens: Tokens) -> Self {
        let Tokens { input, output, total, cache_read, cache_write, cache_write_1h, reasoning } = tokens;
        let all = [input, output, total, cache_read, cache_write, cache_write_1h, reasoning];
        let mut counts = Self::default();
        for (at, count) in all.into_iter().enumerate() {
            counts.present |= u8::from(count.is_some()) << at;
            counts.values[at] = count.unwrap_or(0);
        }
        counts
    }
}

impl From<Counts> for Tokens {
    fn from(counts: Counts) -> Self {
        let count = |at: usize| (counts.present >> at & 1 == 1).then_some(counts.values[at]);
        let [input, output, total, cache_read, cache_write, cache_write_1h, reasoning] =
            std::array::from_fn(count);
        Self { input, output, total, cache_read, cache_write, cache_write_1h, reasoning }
    }
}

impl Record {
    /// Of a call that has begun, and whose client will have left it if nothing else becomes known.
    pub(crate) fn new(endpoint: Endpoint, method: &Method, path: &str) -> Self {
        Self {
            timestamp: Timestamp::now(),
            endpoint,
            key: None,
            status: CLIENT_CLOSED_REQUEST,
            end: Ending::ClientClosed,
            is_stream: None,
            duration: None,
            first_byte: None,
            provider: None,
            hint: None,
            texts: Texts::new(method, path),
        }
    }

    /// Takes over the texts of what the response says of itself, and gives the rest.
    pub(crate) fn tell(&mut self, facts: &Facts<'_>) -> Told {
        self.texts.set_answer(facts);
        Told { quality: facts.quality, dialect: facts.dialect, counts: facts.tokens.into() }
    }

    fn into_event(self, told: Told) -> UsageEvent {
        let named = |text: Cow<'_, str>| (!text.is_empty()).then(|| Cow::Owned(text.into_owned()));
        let clean = |name: Cow<'_, str>| named(Cow::Owned(extract::clean_name(&name)));
        let hint = self.hint.map(|hint| *hint).unwrap_or_default();
        let [target, request_id, model, error_type] = self.texts.get();
        let (method, path) = target.split_once(' ').unwrap_or_default();

        let asked = endpoint::model(path).and_then(clean).or_else(|| hint.model.and_then(clean));
        let model = named(model).or_else(|| asked.clone()).unwrap_or(Cow::Borrowed(UNKNOWN_MODEL));
        let (operation, call_provider, is_stream) = match self.endpoint {
            Endpoint::Call(call) => (Some(call.operation), call.provider, call.is_stream),
            Endpoint::Unknown | Endpoint::Ignored => (None, None, false),
        };
        let known = provider::of_path(path).or(self.provider);
        let provider = known.or(call_provider).or_else(|| told.dialect.and_then(Dialect::provider));

        let mut event = UsageEvent::new(self.timestamp, model);
        event.request_model = asked.filter(|asked| *asked != event.model);
        event.tokens = told.counts.into();
        event.usage = Some(told.quality);
        event.status = self.status;
        event.request_id = named(request_id);
        event.key = hint.key.or(self.key);
        event.provider = hint.provider.and_then(clean).or(provider.map(Cow::Borrowed));
        event.operation = operation.map(Cow::Borrowed);
        event.endpoint = Some(Cow::Owned(format!("{method} {}", endpoint::template(path))));
        event.stream = self.is_stream.map(|came_as_stream| is_stream || came_as_stream);
        event.end = Some(self.end);
        event.duration = self.duration.map(Duration::from);
        event.time_to_first_byte = self.first_byte.map(Duration::from);
        event.error_type = named(error_type);
        event
    }
}
