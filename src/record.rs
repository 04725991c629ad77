//! What is left of a call when it is over.

use std::{
    borrow::Cow,
    num::NonZeroU64,
    time::{Duration, Instant, SystemTime},
};

use http::Method;

use crate::{
    Ending, KeyHash, Tokens, UsageHint,
    endpoint::{self, Call},
    event::{CLIENT_CLOSED_REQUEST, EventRef, UNKNOWN_MODEL},
    extract::{self, Answer, Dialect, Extractor},
    provider,
    texts::Texts,
};

/// What is known of a call beside its answer, as the request's path knows it: a row of a table where a name is to be
/// looked up. With [`Told`] it is all that an event is made of.
///
/// The two go to the writer's thread, or the first with an answer that is still to be read. What else watched the call is
/// larger still and stays with the thread that served it, whose allocator and caches have it at hand for the next one; sent
/// along, it would cost either thread more than all of this.
pub(crate) struct Record {
    /// When it began, by either clock. To count from 1970 and to subtract is for the writer's thread, where it can be.
    pub(crate) time: SystemTime,
    pub(crate) started: Instant,
    /// `None`: what it calls is not known.
    pub(crate) call: Option<&'static Call>,
    pub(crate) key: Option<KeyHash>,
    pub(crate) status: u16,
    pub(crate) end: Ending,
    /// Whether the answer came as events, which is known when it has ended; `None`, if there was no answer.
    pub(crate) is_stream: Option<bool>,
    /// What the method says of the answer's body.
    pub(crate) expects: Expects,
    pub(crate) first_byte: Option<Elapsed>,
    /// Who serves it, as far as the request's host or the response's headers tell.
    pub(crate) provider: Option<provider::Name>,
    pub(crate) extra: Option<Box<Extra>>,
}

/// Whether an answer has a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    /// As its status says.
    Body,
    /// `HEAD`: none.
    Nothing,
    /// `CONNECT`: none if it succeeds.
    Tunnel,
}

/// What hardly any call has: there is room for it when it comes.
#[derive(Default)]
pub(crate) struct Extra {
    /// What the host says of the call.
    pub(crate) hint: UsageHint,
    /// The counts of the response's headers.
    pub(crate) announced: Option<Tokens>,
}

/// What became known with the end of the answer.
pub(crate) struct Told {
    pub(crate) duration: Elapsed,
    pub(crate) texts: Texts,
    pub(crate) answer: Answer,
}

/// A time in nanoseconds: at least one, so that an option of it takes no more room.
#[derive(Clone, Copy)]
pub(crate) struct Elapsed(NonZeroU64);

impl Elapsed {
    pub(crate) fn since(start: Instant) -> Self {
        Self::between(start, Instant::now())
    }

    pub(crate) fn between(start: Instant, end: Instant) -> Self {
        let nanoseconds = u64::try_from(end.duration_since(start).as_nanos()).unwrap_or(u64::MAX);
        Self(NonZeroU64::new(nanoseconds).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<Elapsed> for Duration {
    fn from(elapsed: Elapsed) -> Self {
        Self::from_nanos(elapsed.0.get())
    }
}

impl Expects {
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Nothing,
            Method::CONNECT => Self::Tunnel,
            _ => Self::Body,
        }
    }
}

impl Record {
    /// Of a call that has begun, and whose client will have left it if nothing else becomes known.
    #[inline(always)]
    pub(crate) fn new(call: Option<&'static Call>) -> Self {
        Self {
            time: SystemTime::now(),
            started: Instant::now(),
            call,
            key: None,
            status: CLIENT_CLOSED_REQUEST,
            end: Ending::ClientClosed,
            is_stream: None,
            expects: Expects::Body,
            first_byte: None,
            provider: None,
            extra: None,
        }
    }

    /// What is known of the call now that its answer has ended, and been read to its end.
    pub(crate) fn tell(&mut self, extractor: &mut Extractor, end: Ending, duration: Elapsed) -> Told {
        let is_success = (200..300).contains(&self.status);
        self.end = match end {
            // The provider's word for a failure, inside an answer that began well.
            Ending::Complete | Ending::ClientClosed if is_success && extractor.is_error() => {
                Ending::StreamError
            }
            end => end,
        };
        self.is_stream = self.is_stream.map(|_| extractor.is_stream());
        let (texts, answer) = extractor.take(self.end == Ending::Complete);
        Told { duration, texts, answer }
    }

    pub(crate) fn show(&self, told: &Told, look: impl FnOnce(EventRef<'_>)) {
        let hint = self.extra.as_deref().map(|extra| &extra.hint);
        let hinted = |name: fn(&UsageHint) -> &Option<Cow<'static, str>>| {
            hint.and_then(|hint| name(hint).as_deref())
                .map(Cow::Borrowed)
                .map(extract::clean_name)
                .and_then(named)
        };
        let [target, request_id, model, error_type] = told.texts.all();
        let usual = self.call.and_then(|call| call.usual);
        let (method, path) = target.split_once(' ').unwrap_or_default();
        // What the path tells beside the call, if it may tell something.
        let path = usual.is_none().then_some(path);

        let asked = path.and_then(endpoint::model).map(extract::clean_name).and_then(named);
        let asked = asked.or_else(|| hinted(|hint| &hint.model));
        let model = [&*model, asked.as_deref().unwrap_or_default(), UNKNOWN_MODEL];
        let model = model.into_iter().find(|model| !model.is_empty()).unwrap_or_default();
        let (operation, call_provider, is_stream) = match self.call {
            Some(call) => (Some(call.operation), call.provider, call.is_stream),
            None => (None, None, false),
        };
        let known = path.and_then(provider::of_path).or(self.provider.copied());
        let provider = known.or(call_provider).or_else(|| told.answer.dialect().and_then(Dialect::provider));
        let hinted_provider = hinted(|hint| &hint.provider);
        let endpoint = match path.map(endpoint::template) {
            None => Cow::Borrowed(usual.unwrap_or_default()),
            Some(Cow::Borrowed(_)) => Cow::Borrowed(&*target),
            Some(Cow::Owned(template)) => Cow::Owned(format!("{method} {template}")),
        };
        let announced = self.extra.as_deref().and_then(|extra| extra.announced.as_ref());
        let (tokens, quality) = told.answer.judge(announced);
        look(EventRef {
            timestamp: self.time.into(),
            model,
            tokens,
            status: self.status,
            request_id: Some(&*request_id).filter(|id| !id.is_empty()),
            key: hint.and_then(|hint| hint.key).or(self.key),
            id: None,
            provider: hinted_provider.as_deref().or(provider),
            operation,
            endpoint: Some(&endpoint),
            request_model: asked.as_deref().filter(|asked| *asked != model),
            stream: self.is_stream.map(|came_as_stream| is_stream || came_as_stream),
            usage: Some(quality),
            end: Some(self.end),
            duration: Some(told.duration.into()),
            time_to_first_byte: self.first_byte.map(Duration::from),
            error_type: Some(&*error_type).filter(|error| !error.is_empty()),
        });
    }
}

fn named(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!name.is_empty()).then_some(name)
}
