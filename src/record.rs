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
    event::{CLIENT_CLOSED_REQUEST, EventRef, Show, UNKNOWN_MODEL},
    extract::{self, Dialect, Facts},
    provider,
};

/// What the queue carries: an event once the writer's thread looks at it.
#[expect(clippy::large_enum_variant, reason = "nearly all are records, and these are to do without a box")]
pub(crate) enum Entry {
    /// A response that has been watched.
    Watched(Record, Told),
    /// An event that the host made.
    Event(Box<UsageEvent>),
}

impl Show for Entry {
    fn show<R>(self, look: impl FnOnce(EventRef<'_>) -> R) -> R {
        match self {
            // Where it lies: moving it costs more than looking.
            Self::Watched(ref record, ref told) => record.show(told, look),
            Self::Event(event) => event.show(look),
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
    bytes: SmallVec<[u8; 112]>,
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

    fn show<R>(&self, told: &Told, look: impl FnOnce(EventRef<'_>) -> R) -> R {
        let hint = self.hint.as_deref();
        let hinted = |name: fn(&UsageHint) -> &Option<Cow<'static, str>>| {
            hint.and_then(|hint| name(hint).as_deref())
                .map(Cow::Borrowed)
                .map(extract::clean_name)
                .and_then(named)
        };
        let [target, request_id, model, error_type] = self.texts.get();
        let (method, path) = target.split_once(' ').unwrap_or_default();

        let asked = endpoint::model(path).map(extract::clean_name).and_then(named);
        let asked = asked.or_else(|| hinted(|hint| &hint.model));
        let model = [&*model, asked.as_deref().unwrap_or_default(), UNKNOWN_MODEL];
        let model = model.into_iter().find(|model| !model.is_empty()).unwrap_or_default();
        let (operation, call_provider, is_stream) = match self.endpoint {
            Endpoint::Call(call) => (Some(call.operation), call.provider, call.is_stream),
            Endpoint::Unknown | Endpoint::Ignored => (None, None, false),
        };
        let known = provider::of_path(path).or(self.provider);
        let provider = known.or(call_provider).or_else(|| told.dialect.and_then(Dialect::provider));
        let hinted_provider = hinted(|hint| &hint.provider);
        let endpoint = match endpoint::template(path) {
            Cow::Borrowed(_) => Cow::Borrowed(&*target),
            Cow::Owned(template) => Cow::Owned(format!("{method} {template}")),
        };
        look(EventRef {
            timestamp: self.timestamp,
            model,
            tokens: told.counts.into(),
            status: self.status,
            request_id: Some(&*request_id).filter(|id| !id.is_empty()),
            key: hint.and_then(|hint| hint.key).or(self.key),
            id: None,
            provider: hinted_provider.as_deref().or(provider),
            operation,
            endpoint: Some(&endpoint),
            request_model: asked.as_deref().filter(|asked| *asked != model),
            stream: self.is_stream.map(|came_as_stream| is_stream || came_as_stream),
            usage: Some(told.quality),
            end: Some(self.end),
            duration: self.duration.map(Duration::from),
            time_to_first_byte: self.first_byte.map(Duration::from),
            error_type: Some(&*error_type).filter(|error| !error.is_empty()),
        })
    }
}

fn named(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::{option, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn counts_are_the_tokens_that_they_were_made_of(all in proptest::array::uniform7(option::of(any::<u64>()))) {
            let [input, output, total, cache_read, cache_write, cache_write_1h, reasoning] = all;
            let tokens = Tokens { input, output, total, cache_read, cache_write, cache_write_1h, reasoning };
            prop_assert_eq!(Tokens::from(Counts::from(tokens)), tokens);
        }

        #[test]
        fn texts_are_told_apart_however_long_they_are(
            path in "/[a-z]{0,200}",
            ids in ["[a-z0-9]{0,130}", "[a-z0-9]{0,130}"],
            model in "[a-z0-9]{0,200}",
            error in "[a-z_]{0,64}",
        ) {
            let mut record = Record::new(Endpoint::Unknown, &Method::POST, &path);
            record.texts.set_request_id(ids[0].as_bytes());
            record.texts.set_request_id(ids[1].as_bytes());
            record.tell(&Facts {
                model: &model,
                error_type: &error,
                dialect: None,
                tokens: Tokens::default(),
                quality: UsageQuality::Missing,
            });
            prop_assert_eq!(record.texts.get(), [&*format!("POST {path}"), &*ids[1], &*model, &*error]);
        }
    }
}
