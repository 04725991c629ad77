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

use std::{fmt, io::IoSlice, mem};

use bytes::Buf;
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};

use crate::{
    Ending, Tokens, UsageHint,
    endpoint::{Call, Endpoint},
    extract::{Extractor, Format, Unread},
    headers::{RequestHeaders, ResponseHeaders},
    key, provider,
    queue::Recorder,
    record::{Elapsed, Entry, Extra, Moment, Record},
    unread::ShortBody,
};

/// Put into a request's extensions by the layer that watches it: a second one stands aside.
#[derive(Clone, Copy)]
struct IsWatched;

/// The watch over one request and its response. Its `Drop` is the only way out for what is cancelled.
pub(crate) struct Tap {
    /// `None`: settled.
    watch: Option<Box<Watch>>,
}

impl Tap {
    /// Begins to watch a request, if it is one to be watched.
    pub(crate) fn of_request<B>(recorder: &Recorder<Entry>, request: &mut Request<B>) -> Option<Self> {
        let (method, uri) = (request.method(), request.uri());
        let mut tap = Self::of_head(recorder, method, uri, request.headers(), request.extensions())?;
        // To put it there tells whether it was there: a look before that would be a second one for nearly all.
        if request.extensions_mut().insert(IsWatched).is_some() {
            tap.watch = None;
            return None;
        }
        Some(tap)
    }

    // Knows nothing of the body's type: compiled once, and not anew in the midst of each service.
    fn of_head(
        recorder: &Recorder<Entry>,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Option<Self> {
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
        Some(Self { watch: Some(watch) })
    }

    /// The response's head is here. `length` is the exact length of its body, if the body knows it.
    ///
    /// Returns whether there is still something to watch.
    pub(crate) fn response(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        extensions: &Extensions,
        length: Option<u64>,
        is_end_stream: bool,
    ) -> bool {
        let Some(watch) = &mut self.watch else { return false };
        if !watch.response(status, headers, extensions, length) {
            self.watch = None;
        } else if is_end_stream || watch.is_bodiless(status) {
            self.settle(Ending::Complete);
        }
        self.watch.is_some()
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
            if is_only && let Some((unread, body)) = watch.put_off(data) {
                if let Some(watch) = self.watch.take() {
                    watch.settle_unread(unread, body);
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
    /// The host wants it recorded.
    is_forced: bool,
    is_head: bool,
    is_connect: bool,
    has_response: bool,
    started: Moment,
    /// Bytes of the body that are still to come, as far as they were announced; else `UNKNOWN`.
    left: u64,
    extractor: Extractor,
    /// What will go through the queue.
    record: Record,
}

impl Watch {
    #[inline(always)]
    fn new(recorder: Recorder<Entry>, call: Option<&'static Call>) -> Self {
        // The calls first: what comes behind them is put where it will lie.
        let (started, record) = (Moment::now(), Record::new(call));
        Self {
            recorder,
            is_forced: false,
            is_head: false,
            is_connect: false,
            has_response: false,
            started,
            left: UNKNOWN,
            extractor: Extractor::new(Format::Unknown, call.and_then(|call| call.dialect)),
            record,
        }
    }

    #[inline(always)]
    fn request(&mut self, method: &Method, uri: &Uri, headers: &HeaderMap, hint: Option<&UsageHint>) {
        self.is_head = method == Method::HEAD;
        self.is_connect = method == Method::CONNECT;
        let headers = RequestHeaders::of(headers);
        self.record.key = key::of_request(headers.key.get(), uri);
        self.extractor.set_target(method.as_str(), uri.path());
        if let Some(request_id) = headers.request_id.get() {
            self.extractor.set_request_id(request_id);
        }
        self.record.provider = uri.host().and_then(provider::of_host);
        if let Some(hint) = hint {
            self.is_forced = hint.record == Some(true);
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
        self.has_response = true;
        self.record.status = status.as_u16();
        if let Some(later) = extensions.get::<UsageHint>() {
            if later.record == Some(false) {
                return false;
            }
            self.record.extra.get_or_insert_default().hint.update(later);
        }
        let known = ResponseHeaders::of(headers);
        let format = Format::of(known.content_type.map_or(&[], |value| value.as_bytes()));
        if self.record.call.is_none() && format == Format::Unknown && !self.is_forced {
            return false;
        }
        self.extractor.expect(format);
        if let Some(request_id) = known.request_id.get() {
            self.extractor.set_request_id(request_id);
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
        self.extractor = mem::take(&mut self.extractor).encoded(codings);
    }

    /// AWS names an error in the head, with its address behind a colon.
    #[cold]
    fn note_error(&mut self, name: &HeaderValue) {
        self.extractor.note_error(name.as_bytes().split(|byte| *byte == b':').next().unwrap_or_default());
    }

    fn is_bodiless(&self, status: StatusCode) -> bool {
        self.is_head
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || self.is_connect && status.is_success()
    }

    /// The body comes whole: it is read where that costs the call nothing, if it is short, and a call in any case,
    /// whatever it says.
    fn put_off(&mut self, data: &impl Buf) -> Option<(Unread, ShortBody)> {
        let chunk = data.chunk();
        if chunk.is_empty() || chunk.len() != data.remaining() || self.record.call.is_none() {
            return None;
        }
        let body = ShortBody::copy_of(chunk)?;
        Some((self.extractor.put_off()?, body))
    }

    fn data(&mut self, data: &impl Buf) {
        let len = data.remaining();
        if len == 0 {
            return;
        }
        self.record.first_byte.get_or_insert_with(|| Elapsed::since(self.started));
        if self.left != UNKNOWN {
            self.left = self.left.saturating_sub(len as u64);
        }
        let chunk = data.chunk();
        if chunk.len() == len {
            return self.extractor.feed(chunk);
        }
        // In several pieces: looked at where they lie, since only the client may take them.
        let mut pieces = [IoSlice::new(&[]); 64];
        let count = data.chunks_vectored(&mut pieces);
        if pieces[..count].iter().map(|piece| piece.len()).sum::<usize>() == len {
            pieces[..count].iter().for_each(|piece| self.extractor.feed(piece));
        } else {
            self.extractor.skip();
        }
    }

    fn end_when_dropped(&mut self) -> Ending {
        self.extractor.finish();
        if self.has_response && (self.left == 0 || self.extractor.is_terminal()) {
            Ending::Complete
        } else {
            Ending::ClientClosed
        }
    }

    fn settle_unread(self: Box<Self>, unread: Unread, body: ShortBody) {
        let Self { recorder, started, mut record, .. } = *self;
        let duration = Elapsed::since(started);
        record.first_byte = Some(duration);
        recorder.push(Entry::Unread(record, duration, unread, body));
    }

    fn settle(mut self: Box<Self>, end: Ending, duration: Option<Elapsed>) {
        self.extractor.finish();
        if self.record.call.is_none() && !self.is_forced && !self.extractor.has_usage() {
            return;
        }
        let duration = duration.unwrap_or_else(|| Elapsed::since(self.started));
        let told = self.record.tell(&mut self.extractor, end, self.has_response, duration);
        let Self { recorder, record, .. } = *self;
        recorder.push(Entry::Watched(record, told));
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
    use crate::{Timestamp, UsageEvent, event::Show, queue};

    const BODY: &[u8] =
        br#"{"model":"gpt-4o","usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;

    /// A tap whose response has begun, with the body to come.
    fn tap(recorder: &Recorder<Entry>) -> Tap {
        let mut request = Request::post("/v1/chat/completions").body(()).unwrap();
        let mut tap = Tap::of_request(recorder, &mut request).unwrap();
        let (head, ()) = Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(())
            .unwrap()
            .into_parts();
        assert!(tap.response(head.status, &head.headers, &head.extensions, Some(BODY.len() as u64), false));
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

    /// What is recorded of a response whose body comes in these pieces, the last of which is known to be the last; and
    /// whether it was read by the thread that served it.
    fn recorded(status: u16, headers: &[(&str, &str)], pieces: &[&[u8]]) -> (UsageEvent, bool) {
        let (recorder, mut events) = queue::channel(8);
        let mut request =
            Request::post("/v1/chat/completions").header("x-request-id", "req_1").body(()).unwrap();
        let mut tap = Tap::of_request(&recorder, &mut request).unwrap();
        let response = Response::builder().status(status);
        let response =
            headers.iter().fold(response, |response, (name, value)| response.header(*name, *value));
        let (head, ()) = response.body(()).unwrap().into_parts();
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        assert!(tap.response(head.status, &head.headers, &head.extensions, Some(len), false));
        let (last, others) = pieces.split_last().unwrap();
        others.iter().for_each(|piece| tap.data(&Bytes::copy_from_slice(piece)));
        tap.last_data(&Bytes::copy_from_slice(last));
        let entry = events.pop().unwrap();
        assert!(events.pop().is_none());
        let is_read = matches!(entry, Entry::Watched(..));
        let mut event = entry.show(|event| event.to_owned());
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
        let full = [BODY, &[b' '; ShortBody::MAX][BODY.len()..]].concat();
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

        // So it is while all buffers are under way.
        let all = std::iter::from_fn(|| ShortBody::copy_of(b"")).collect::<Vec<_>>();
        let (event, is_read) = recorded(200, JSON, &[BODY]);
        assert_eq!((event.tokens.total, is_read), (Some(21), true));
        drop(all);
        assert!(!recorded(200, JSON, &[BODY]).1);
    }

    /// F1, F49
    #[test]
    fn a_response_is_recorded_once_however_it_ends() {
        let (recorder, mut events) = queue::channel(8);
        for (finish, expected) in ENDS {
            finish(tap(&recorder));
            let event = events.pop().unwrap().show(|event| event.to_owned());
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
        let ends = std::iter::from_fn(|| events.pop()).map(|entry| entry.show(|event| event.end));
        let ends = ends.collect::<Vec<_>>();
        assert_eq!(ends.len(), 3 * EACH);
        assert_eq!(ends.iter().filter(|end| **end == Some(Ending::Complete)).count(), 3 * EACH * 2 / 5);
    }
}
