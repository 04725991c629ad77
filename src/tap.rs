//! Watches one response, and settles it exactly once.
//!
//! The ending rule, in the order in which it is asked:
//!
//! 1. A response to `HEAD`, with 1xx, 204 or 304, or 2xx to `CONNECT`, has no body: complete at once.
//! 2. A body that is at its end when it is wrapped: complete.
//! 3. The length to be expected is the body's exact `size_hint`, else `Content-Length`, read before the first poll.
//! 4. `None`, trailers, or an end of stream behind a data frame: complete. An error: the upstream's.
//! 5. Dropped: complete if all that was expected has been seen, or the provider had said that this is the end.
//!    Otherwise the client has left.
//!
//! The fifth is no corner case: hyper's HTTP/1 server drops a body as soon as its length is reached, unasked for its
//! end, and never polls the body of a response that has none.

use std::{
    fmt,
    io::IoSlice,
    mem,
    thread::{self, JoinHandle},
    time::Instant,
};

use bytes::Buf;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};

use crate::{
    Ending, Tokens, UsageHint,
    endpoint::{Call, Endpoint},
    extract::{Extractor, Format, Unread},
    headers::{RequestHeaders, ResponseHeaders},
    key, provider,
    queue::Recorder,
    record::{Elapsed, Expects, Extra, Record},
    slot::{Entry, Report, Slot},
};

/// Put into a request's extensions by the layer that watches it: a second one stands aside.
#[derive(Clone, Copy)]
struct IsWatched;

/// The watch over one request and its response. Its `Drop` is the only way out for what is cancelled.
#[derive(Default)]
pub(crate) struct Tap {
    /// `None`: not watched, or settled.
    watch: Option<Box<Watch>>,
}

impl Tap {
    /// Makes what is made once, if it is not there yet.
    ///
    /// Not with the first call, which would wait for it, and on a thread of its own: hundreds of small pieces that stay, and
    /// as many that do not, in the midst of what a thread that serves allocates and frees with each call, leave gaps there.
    /// glibc's allocator then puts what is free in order anew in every call, for as long as the process lives.
    pub(crate) fn prepare() {
        let prepare = || {
            Endpoint::prepare();
            Unread::prepare();
            Slot::prepare();
        };
        // Should there be no thread for it, the first call does it.
        let _ = thread::Builder::new().name("llm-usage-tables".into()).spawn(prepare).map(JoinHandle::join);
    }

    /// Begins to watch a request, if it is one to be watched.
    pub(crate) fn of_request<B>(recorder: &Recorder<Entry>, request: &mut Request<B>) -> Self {
        let (method, uri) = (request.method(), request.uri());
        let mut watch = Self::of_head(recorder, method, uri, request.headers(), request.extensions());
        // To put it there tells whether it was there: a look before that would be a second one for nearly all.
        if watch.is_some() && request.extensions_mut().insert(IsWatched).is_some() {
            watch = None;
        }
        Self { watch }
    }

    // Knows nothing of the body's type: compiled once, and not anew in the midst of each service.
    fn of_head(
        recorder: &Recorder<Entry>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<Box<Watch>> {
        if !recorder.is_on() {
            return None;
        }
        let hint = extensions.get::<UsageHint>();
        let call = match (Endpoint::of(method, uri.path()), hint.and_then(|hint| hint.record)) {
            (_, Some(false)) | (Endpoint::Ignored, None) => return None,
            (Endpoint::Call(call), _) => Some(call),
            (Endpoint::Unknown | Endpoint::Ignored, _) => None,
        };
        // Made where it will lie, and what is large about it put there: to move it costs more than to fill it in.
        let mut watch = Box::write(Box::new_uninit(), Watch::new(recorder.clone(), call));
        watch.request(method, uri, headers, hint);
        Some(watch)
    }

    /// There is still something to watch.
    pub(crate) fn is_watching(&self) -> bool {
        self.watch.is_some()
    }

    /// The response's head is here. `length` is the exact length of its body, if the body knows it.
    pub(crate) fn response(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
        length: Option<u64>,
        is_end_stream: bool,
    ) {
        let Some(watch) = &mut self.watch else { return };
        if !watch.response(status, headers, extensions, length) {
            self.watch = None;
        } else if is_end_stream || watch.is_bodiless(status) {
            self.settle(Ending::Complete);
        }
    }

    /// A piece of the body passes.
    pub(crate) fn data(&mut self, data: &impl Buf) {
        if let Some(watch) = &mut self.watch {
            watch.data(data);
        }
    }

    /// The last piece of the body passes.
    pub(crate) fn last_data(&mut self, data: &impl Buf) {
        if let Some(watch) = &mut self.watch {
            let is_only = watch.record.first_byte.is_none();
            if is_only && let Some((unread, slot)) = watch.put_off(data) {
                if let Some(watch) = self.watch.take() {
                    watch.settle_unread(unread, slot, data.remaining());
                }
                return;
            }
            watch.data(data);
            // One look at the clock does for both.
            let duration = watch.record.first_byte.filter(|_| is_only);
            self.settle_after(Ending::Complete, duration);
        }
    }

    /// The response has ended. Only the first end counts.
    pub(crate) fn settle(&mut self, end: Ending) {
        self.settle_after(end, None);
    }

    fn settle_after(&mut self, end: Ending, duration: Option<Elapsed>) {
        if let Some(watch) = self.watch.take() {
            watch.settle(end, duration);
        }
    }

    /// The inner service has failed before there was a response.
    pub(crate) fn fail(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.record.status = StatusCode::BAD_GATEWAY.as_u16();
        }
        self.settle(Ending::UpstreamError);
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(watch) = &mut self.watch {
            let end = watch.end_when_dropped();
            self.settle(end);
        }
    }
}

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tap").field("is_settled", &self.watch.is_none()).finish()
    }
}

/// Nobody has said how long the body is: more than any is.
const UNKNOWN: u64 = u64::MAX;

/// All that is known of one call while it runs. One allocation.
struct Watch {
    recorder: Recorder<Entry>,
    /// Bytes of the body that are still to come, as far as they were announced; else `UNKNOWN`.
    left: u64,
    reading: Reading,
    /// What will go through the queue.
    record: Record,
}

/// How far the answer has been read.
#[expect(
    clippy::large_enum_variant,
    reason = "a box would be a second allocation for all that are read as they pass"
)]
enum Reading {
    /// Nothing of it has come. What it takes to read is not made before it is known that it is read here.
    Later(Unread),
    Begun(Extractor),
}

impl Reading {
    fn extractor(&mut self) -> &mut Extractor {
        if let Self::Later(_) = self {
            self.begin();
        }
        match self {
            Self::Begun(extractor) => extractor,
            Self::Later(_) => unreachable!("it has begun"),
        }
    }

    #[inline(never)]
    fn begin(&mut self) {
        if let Self::Later(unread) = self {
            *self = Self::Begun(unread.take().begin());
        }
    }
}

impl Watch {
    #[inline(always)]
    fn new(recorder: Recorder<Entry>, call: Option<&'static Call>) -> Self {
        // The calls first: what comes behind them is put where it will lie.
        let record = Record::new(call);
        Self {
            recorder,
            left: UNKNOWN,
            reading: Reading::Later(Unread::new(Format::Unknown, call.and_then(|call| call.dialect))),
            record,
        }
    }

    #[inline(always)]
    fn request(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, hint: Option<&UsageHint>) {
        self.record.expects = Expects::of(method);
        let headers = RequestHeaders::of(headers);
        self.record.key = key::of_request(headers.key.get(), uri);
        if let Reading::Later(unread) = &mut self.reading {
            if self.record.call.is_none_or(|call| call.usual.is_none()) {
                unread.set_target(method.as_str(), uri.path());
            }
            if let Some(request_id) = headers.request_id.get() {
                unread.set_request_id(request_id);
            }
        }
        self.record.provider = uri.host().and_then(provider::of_host);
        if let Some(hint) = hint {
            self.record.extra = Some(Box::new(Extra { hint: hint.clone(), announced: None }));
        }
    }

    /// Returns whether the response is one to be watched.
    fn response(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
        length: Option<u64>,
    ) -> bool {
        self.record.is_stream = Some(false);
        self.record.status = status.as_u16();
        if let Some(later) = extensions.get::<UsageHint>() {
            if later.record == Some(false) {
                return false;
            }
            self.record.extra.get_or_insert_default().hint.update(later);
        }
        let known = ResponseHeaders::of(headers);
        let format = Format::of(known.content_type.map_or(&[], |value| value.as_bytes()));
        if self.record.call.is_none() && format == Format::Unknown && !self.is_forced() {
            return false;
        }
        if let Reading::Later(unread) = &mut self.reading {
            unread.expect(format);
            if let Some(request_id) = known.request_id.get() {
                unread.set_request_id(request_id);
            }
        }
        if known.is_encoded {
            self.decode(headers);
        }
        self.left = length.or_else(|| content_length(known.content_length?)).unwrap_or(UNKNOWN);
        if self.record.call.is_some_and(Call::has_usage_headers)
            && let Some(announced) = bedrock_tokens(headers)
        {
            self.record.extra.get_or_insert_default().announced = Some(announced);
        }
        if self.record.provider.is_none() {
            self.record.provider = known.provider;
        }
        if let Some(name) = known.error_type {
            self.note_error(name);
        }
        true
    }

    // What few responses have lies apart from what all have.

    #[cold]
    fn decode(&mut self, headers: &HeaderMap) {
        let codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let codings =
            codings.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        self.reading = Reading::Begun(mem::take(self.reading.extractor()).encoded(codings));
    }

    /// AWS names an error in the head, with its address behind a colon.
    #[cold]
    fn note_error(&mut self, name: &HeaderValue) {
        let name = name.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default();
        self.reading.extractor().note_error(name);
    }

    /// The host wants it recorded.
    fn is_forced(&self) -> bool {
        self.record.extra.as_ref().is_some_and(|extra| extra.hint.record == Some(true))
    }

    fn is_bodiless(&self, status: StatusCode) -> bool {
        match self.record.expects {
            Expects::Nothing => true,
            Expects::Tunnel if status.is_success() => true,
            Expects::Body | Expects::Tunnel => {
                status.is_informational()
                    || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            }
        }
    }

    /// The body comes whole: it is read where that costs the call nothing, if it is short, and a call in any case,
    /// whatever it says.
    fn put_off(&mut self, data: &impl Buf) -> Option<(Unread, Slot)> {
        let chunk = data.chunk();
        let is_short = (1..=Slot::MAX).contains(&chunk.len()) && chunk.len() == data.remaining();
        if !is_short || self.record.call.is_none() {
            return None;
        }
        let Reading::Later(unread) = &mut self.reading else { return None };
        let mut slot = Slot::take()?;
        slot.copy(chunk);
        Some((unread.take(), slot))
    }

    fn data(&mut self, data: &impl Buf) {
        let len = data.remaining();
        if len == 0 {
            return;
        }
        self.record.first_byte.get_or_insert_with(|| Elapsed::since(self.record.started));
        if self.left != UNKNOWN {
            self.left = self.left.saturating_sub(len as u64);
        }
        let extractor = self.reading.extractor();
        let chunk = data.chunk();
        if chunk.len() == len {
            return extractor.feed(chunk);
        }
        // In several pieces: looked at where they lie, since only the client may take them.
        let mut pieces = [IoSlice::new(&[]); 64];
        let count = data.chunks_vectored(&mut pieces);
        if pieces[..count].iter().map(|piece| piece.len()).sum::<usize>() == len {
            pieces[..count].iter().for_each(|piece| extractor.feed(piece));
        } else {
            extractor.skip();
        }
    }

    fn end_when_dropped(&mut self) -> Ending {
        let extractor = self.reading.extractor();
        extractor.finish();
        let has_response = self.record.is_stream.is_some();
        if has_response && (self.left == 0 || extractor.is_terminal()) {
            Ending::Complete
        } else {
            Ending::ClientClosed
        }
    }

    fn settle_unread(self: Box<Self>, unread: Unread, slot: Slot, len: usize) {
        let Self { recorder, record, .. } = *self;
        let ended = Instant::now();
        recorder.push(slot.with(Report::Unread { record, ended, unread, len }));
    }

    fn settle(mut self: Box<Self>, end: Ending, duration: Option<Elapsed>) {
        let is_forced = self.is_forced();
        let extractor = self.reading.extractor();
        extractor.finish();
        if self.record.call.is_none() && !is_forced && !extractor.has_usage() {
            return;
        }
        let duration = duration.unwrap_or_else(|| Elapsed::since(self.record.started));
        let told = self.record.tell(extractor, end, duration);
        let Self { recorder, record, .. } = *self;
        recorder.push(Entry::read(record, told));
    }
}

fn content_length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.trim().parse().ok()
}

/// What InvokeModel says of the tokens in its headers, by
/// <https://docs.aws.amazon.com/bedrock/latest/userguide/monitoring-cw.html>: the caches beside the input.
fn bedrock_tokens(headers: &HeaderMap) -> Option<Tokens> {
    let count = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u32>().ok().map(u64::from);
    let cache_read = count("x-amzn-bedrock-cache-read-input-token-count");
    let cache_write = count("x-amzn-bedrock-cache-write-input-token-count");
    let input = count("x-amzn-bedrock-input-token-count");
    let output = count("x-amzn-bedrock-output-token-count");
    let input = input.map(|input| input + cache_read.unwrap_or(0) + cache_write.unwrap_or(0));
    (input.is_some() || output.is_some()).then(|| Tokens {
        input,
        output,
        cache_read,
        cache_write,
        ..Tokens::default()
    })
}

#[cfg(test)]
#[cfg(not(interleaved))]
mod tests {
    use std::thread;

    use bytes::Bytes;
    use http::Response;

    use super::*;
    use crate::{Timestamp, UsageEvent, event::Show, queue, slot};

    const BODY: &[u8] =
        br#"{"model":"gpt-4o","usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;

    /// A tap whose response has begun, with the body to come.
    fn tap(recorder: &Recorder<Entry>) -> Tap {
        let mut request = Request::post("/v1/chat/completions").body(()).unwrap();
        let mut tap = Tap::of_request(recorder, &mut request);
        let (head, ()) = Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(())
            .unwrap()
            .into_parts();
        tap.response(head.status, &head.headers, &head.extensions, Some(BODY.len() as u64), false);
        assert!(tap.is_watching());
        tap
    }

    /// Ways in which a response ends, and how they are recorded.
    const ENDS: [(fn(Tap), Ending); 5] = [
        (|mut tap| tap.last_data(&Bytes::from_static(BODY)), Ending::Complete),
        // As hyper drops it, unasked for its end.
        (|mut tap| tap.data(&Bytes::from_static(BODY)), Ending::Complete),
        (|mut tap| tap.data(&Bytes::from_static(&BODY[..60])), Ending::ClientClosed),
        (|mut tap| tap.settle(Ending::UpstreamError), Ending::UpstreamError),
        (|mut tap| tap.fail(), Ending::UpstreamError),
    ];

    fn shown(entry: Entry) -> UsageEvent {
        let mut shown = None;
        entry.show(|event| shown = Some(event.to_owned()));
        shown.unwrap()
    }

    /// What is recorded of a response whose body comes in these pieces, the last of which is known to be the last; and
    /// whether it was read by the thread that served it.
    fn recorded(status: u16, headers: &[(&str, &str)], pieces: &[&[u8]]) -> (UsageEvent, bool) {
        let (recorder, mut events) = queue::channel(8);
        let mut request =
            Request::post("/v1/chat/completions").header("x-request-id", "req_1").body(()).unwrap();
        let mut tap = Tap::of_request(&recorder, &mut request);
        let response = Response::builder().status(status);
        let response =
            headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
        let (head, ()) = response.body(()).unwrap().into_parts();
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        tap.response(head.status, &head.headers, &head.extensions, Some(len), false);
        assert!(tap.is_watching());
        let (last, others) = pieces.split_last().unwrap();
        others.iter().for_each(|piece| tap.data(&Bytes::copy_from_slice(piece)));
        tap.last_data(&Bytes::copy_from_slice(last));
        let entry = events.pop().unwrap();
        assert!(events.pop().is_none());
        let is_read = entry.is_read();
        let mut event = shown(entry);
        assert!(event.duration >= event.time_to_first_byte && event.time_to_first_byte.is_some());
        (event.timestamp, event.duration, event.time_to_first_byte) =
            (Timestamp::from_unix_millis(0), None, None);
        (event, is_read)
    }

    #[test]
    fn a_short_answer_that_is_read_by_the_writer_is_recorded_as_one_that_is_read_as_it_passes() {
        type Headers = [(&'static str, &'static str)];
        const JSON: &Headers = &[("content-type", "application/json"), ("x-request-id", "resp_1")];
        const EVENTS: &Headers = &[("content-type", "text/event-stream")];
        let full = [BODY, &[b' '; Slot::MAX][BODY.len()..]].concat();
        let stream = [b"data: ", BODY, b"\n\ndata: [DONE]\n\n"].concat();
        let failed = br#"{"error":{"message":"no","type":"overloaded_error","code":null}}"#;
        let foreign = b"<html>upstream request timeout</html>";
        let answers: [(u16, &Headers, &[u8]); 9] = [
            (200, JSON, BODY),
            (200, &[], BODY),
            (200, JSON, &full),
            (200, JSON, &BODY[..60]),
            (200, EVENTS, &stream),
            (200, JSON, failed),
            (503, JSON, failed),
            (504, &[("content-type", "text/html")], foreign),
            (200, JSON, b" \n"),
        ];
        for (status, headers, body) in answers {
            let (event, is_read) = recorded(status, headers, &[body]);
            assert!(!is_read);
            assert_eq!(
                (event, true),
                recorded(status, headers, &[&body[..1], &body[1..]]),
                "{status} {headers:?}"
            );
        }

        // What is longer, or in an encoding, or a failure by its head, is read at once.
        let long = [&full[..], b" "].concat();
        let (event, is_read) = recorded(200, JSON, &[&long]);
        assert_eq!((event.tokens.total, is_read), (Some(21), true));
        for header in [("content-encoding", "gzip"), ("x-amzn-errortype", "ThrottlingException")] {
            assert!(recorded(200, &[header], &[BODY]).1);
        }

        // So it is while all slots are under way.
        slot::tests::without_any(|| {
            let (event, is_read) = recorded(200, JSON, &[BODY]);
            assert_eq!((event.tokens.total, is_read), (Some(21), true));
        });
        assert!(!recorded(200, JSON, &[BODY]).1);
    }

    /// F1, F49
    #[test]
    fn a_response_is_recorded_once_however_it_ends() {
        let (recorder, mut events) = queue::channel(8);
        for (finish, expected) in ENDS {
            finish(tap(&recorder));
            let event = shown(events.pop().unwrap());
            assert_eq!(event.end, Some(expected));
            assert_eq!(event.tokens.total, (expected == Ending::Complete).then_some(21), "{expected:?}");
            assert!(events.pop().is_none());
        }
    }

    #[test]
    fn taps_of_many_threads_are_recorded_once_each() {
        const EACH: usize = 10;
        let (recorder, mut events) = queue::channel(64);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..EACH).for_each(|turn| ENDS[turn % ENDS.len()].0(tap(&recorder))));
            }
        });
        let ends = std::iter::from_fn(|| events.pop()).map(|entry| shown(entry).end);
        let ends = ends.collect::<Vec<_>>();
        assert_eq!(ends.len(), 3 * EACH);
        assert_eq!(ends.iter().filter(|end| **end == Some(Ending::Complete)).count(), 3 * EACH * 2 / 5);
    }
}
