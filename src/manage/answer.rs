//! What is answered, and how it looks on the wire.

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG,
        RETRY_AFTER, VARY, WWW_AUTHENTICATE,
    },
};
use serde::Serialize;

use super::{MetricsBody, access::Refusal, encode::Coding, query::Misunderstood, tag::Tag};
use crate::{Dropped, Status, Timestamp, index::Snapshot};

/// An answer whose encoding is still to be chosen.
#[derive(Debug)]
pub(super) struct Plain {
    status: StatusCode,
    content_type: &'static str,
    body: Vec<u8>,
    tag: Option<Tag>,
}

impl Plain {
    pub(super) fn new(content_type: &'static str, body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, content_type, body, tag: None }
    }

    pub(super) fn json(body: &impl Serialize) -> Self {
        // Nothing that is answered has keys that are no strings, or fails in another way.
        Self::new(JSON, serde_json::to_vec(body).expect("what is answered is JSON"))
    }

    /// One object of two. The tag is that of the first: the second may change without the answer being another one, as
    /// it does where only the clock has moved the ends of a range, and nothing fell out or came in.
    pub(super) fn json_of_two(first: &impl Serialize, second: &impl Serialize) -> Self {
        let mut plain = Self::json(first).tagged_by_content();
        let second = serde_json::to_vec(second).expect("what is answered is JSON");
        plain.body.pop();
        plain.body.push(b',');
        plain.body.extend_from_slice(&second[1..]);
        plain
    }

    pub(super) fn tagged_by_content(mut self) -> Self {
        self.tag = Some(Tag::of(&*self.body));
        self
    }

    pub(super) fn tagged(mut self, tag: Tag) -> Self {
        self.tag = Some(tag);
        self
    }

    pub(super) fn tag(&self) -> Option<Tag> {
        self.tag
    }

    /// The answer in the coding that the client chose.
    pub(super) fn encoded(self, coding: Coding) -> Response<MetricsBody> {
        let (body, coding) = coding.encode(self.body);
        let mut response = response(self.status, self.content_type, body);
        let headers = response.headers_mut();
        if let Some(name) = coding.name() {
            headers.insert(CONTENT_ENCODING, name);
        }
        if cfg!(feature = "compression") {
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(tag) = self.tag {
            headers.insert(ETAG, tag.value());
        }
        response
    }
}

/// An answer with a body; its length is said even where the body is left out.
pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<MetricsBody> {
    let body = body.into();
    let length = body.len();
    let mut response = Response::new(MetricsBody::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, length.into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A file for the client to keep, sent piece by piece.
pub(super) fn file(
    content_type: &'static str,
    name: &str,
    tag: Option<Tag>,
    coding: Coding,
    body: MetricsBody,
) -> Response<MetricsBody> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(disposition) = format!("attachment; filename=\"{name}\"").parse() {
        headers.insert(CONTENT_DISPOSITION, disposition);
    }
    if let Some(name) = coding.name() {
        headers.insert(CONTENT_ENCODING, name);
    }
    if cfg!(feature = "compression") {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    if let Some(tag) = tag {
        headers.insert(ETAG, tag.value());
    }
    response
}

/// The client has the answer in its hands already.
pub(super) fn not_modified(tag: Tag) -> Response<MetricsBody> {
    let mut response = Response::new(MetricsBody::new(""));
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    let headers = response.headers_mut();
    headers.insert(ETAG, tag.value());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if cfg!(feature = "compression") {
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
    }
    response
}

const JSON: &str = "application/json";
pub(super) const CSV: &str = "text/csv; charset=utf-8";
pub(super) const JSON_LINES: &str = "application/jsonl";

fn json(status: StatusCode, body: &impl Serialize) -> Response<MetricsBody> {
    // Nothing that is answered has keys that are no strings, or fails in another way.
    let body = serde_json::to_vec(body).expect("the answers of this module are JSON");
    response(status, JSON, body)
}

/// Why there is no better answer, for people (`error`) and for programs (`code`).
fn error(status: StatusCode, code: &str, text: &str) -> Response<MetricsBody> {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
        code: &'a str,
    }
    json(status, &Error { error: text, code })
}

fn with(mut response: Response<MetricsBody>, name: HeaderName, value: HeaderValue) -> Response<MetricsBody> {
    response.headers_mut().insert(name, value);
    response
}

pub(super) fn not_found() -> Response<MetricsBody> {
    error(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

pub(super) fn method_not_allowed(allowed: HeaderValue) -> Response<MetricsBody> {
    let text = format!("allowed here: {}", allowed.to_str().unwrap_or_default());
    with(error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &text), ALLOW, allowed)
}

pub(super) fn busy() -> Response<MetricsBody> {
    let text = "too many questions are waiting";
    with(error(StatusCode::SERVICE_UNAVAILABLE, "busy", text), RETRY_AFTER, 1.into())
}

pub(super) fn lost() -> Response<MetricsBody> {
    error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer could not be made")
}

/// What is wrong with the body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadBody {
    Unreadable,
    TooLong,
}

pub(super) fn bad_body(what: BadBody) -> Response<MetricsBody> {
    match what {
        BadBody::Unreadable => error(
            StatusCode::BAD_REQUEST,
            "invalid_body",
            r#"invalid body, expected {"enabled":true} or false"#,
        ),
        BadBody::TooLong => error(StatusCode::PAYLOAD_TOO_LARGE, "body_too_long", "the body is too long"),
    }
}

pub(super) fn refused(refusal: Refusal) -> Response<MetricsBody> {
    let unauthorized = |code, text| {
        let challenge = HeaderValue::from_static("Bearer");
        with(error(StatusCode::UNAUTHORIZED, code, text), WWW_AUTHENTICATE, challenge)
    };
    let forbidden = |code, text| error(StatusCode::FORBIDDEN, code, text);
    match refusal {
        Refusal::Off => not_found(),
        Refusal::Banned(left) => {
            // Up to the next second: whoever waits as told finds the ban over.
            let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
            let text =
                format!("IP banned due to too many failed attempts. Try again in {}", duration(seconds));
            with(forbidden("ip_banned", &text), RETRY_AFTER, seconds.into())
        }
        Refusal::Remote => forbidden("remote_management_disabled", "remote management disabled"),
        Refusal::ForeignHost => forbidden(
            "host_not_local",
            "remote management disabled: the request is addressed to a name that is not this machine's",
        ),
        Refusal::NoKeySet => forbidden("management_key_not_set", "remote management key not set"),
        Refusal::MissingKey => unauthorized("missing_management_key", "missing management key"),
        Refusal::WrongKey => unauthorized("invalid_management_key", "invalid management key"),
        Refusal::Busy => {
            let response = error(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many keys are being checked");
            with(response, RETRY_AFTER, 1.into())
        }
    }
}

/// As the Go original wrote it: `29m59s`.
fn duration(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!("{s}s"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
}

pub(super) fn misunderstood(what: &Misunderstood) -> Response<MetricsBody> {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
        code: &'a str,
        param: &'a str,
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        allowed: &'a [String],
    }
    let Misunderstood { code, error, param, allowed } = what;
    json(StatusCode::BAD_REQUEST, &Error { error, code, param, allowed })
}

pub(super) fn recording(enabled: bool) -> Response<MetricsBody> {
    #[derive(Serialize)]
    struct Recording {
        recording: bool,
    }
    json(StatusCode::OK, &Recording { recording: enabled })
}

pub(super) fn health(status: &Status, snapshot: &Snapshot) -> Plain {
    /// `ok` is that the service answers; whether the file does is `status`.
    #[derive(Serialize)]
    struct Health<'a> {
        ok: bool,
        status: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
        recording: bool,
        observed: u64,
        persisted: u64,
        queued: u64,
        dropped: u64,
        events: u64,
        /// Distinct models among them.
        models: usize,
        /// The first of them, and the last.
        first: Option<Timestamp>,
        last: Option<Timestamp>,
        file_bytes: u64,
        bad_lines: u64,
        version: &'a str,
    }
    let span = snapshot.span();
    Plain::json(&Health {
        ok: true,
        status: if status.error.is_none() { "ok" } else { "degraded" },
        reason: status.error.as_deref(),
        recording: status.recording,
        observed: status.observed,
        persisted: status.persisted,
        queued: status.queued,
        dropped: status.dropped,
        events: snapshot.events(),
        models: snapshot.models(),
        first: span.map(|(first, _)| first),
        last: span.map(|(_, last)| last),
        file_bytes: status.file_bytes,
        bad_lines: status.bad_lines,
        version: env!("CARGO_PKG_VERSION"),
    })
}

pub(super) fn status(status: &Status, snapshot: &Snapshot) -> Plain {
    #[derive(Serialize)]
    struct Answer<'a> {
        version: &'a str,
        /// What the counts count from.
        since: Option<Timestamp>,
        recording: bool,
        observed: u64,
        persisted: u64,
        queued: u64,
        dropped: u64,
        dropped_by: DroppedBy,
        /// When the file was written to without an error last.
        last_flush: Option<Timestamp>,
        /// Why the file cannot be written at the moment.
        reason: Option<&'a str>,
        /// The last such reason, over or not.
        last_error: Option<Failure<'a>>,
        file_bytes: u64,
        /// Closed segments beside the file.
        segments: u64,
        segment_bytes: u64,
        bad_lines: u64,
        /// Of the first 20, from 1.
        bad_line_numbers: &'a [u64],
        index: Index,
    }
    #[derive(Serialize)]
    struct DroppedBy {
        queue_full: u64,
        backlog_full: u64,
        too_long: u64,
        closed: u64,
        unwritten: u64,
    }
    #[derive(Serialize)]
    struct Failure<'a> {
        at: Timestamp,
        message: &'a str,
    }
    #[derive(Serialize)]
    struct Index {
        /// Kept one by one.
        events: u64,
        max_events: u64,
        /// Known as sums only.
        aggregated: u64,
        /// Of those, events that left because there were more than `max_events`.
        aggregated_by_cap: u64,
        bytes: usize,
        models: usize,
        max_models: usize,
        keys: usize,
        max_keys: usize,
        first: Option<Timestamp>,
        last: Option<Timestamp>,
    }
    let span = snapshot.span();
    let (caps, retired) = (snapshot.caps(), snapshot.retired());
    let Dropped { queue_full, backlog_full, too_long, closed, unwritten } = status.dropped_by;
    Plain::json(&Answer {
        version: env!("CARGO_PKG_VERSION"),
        since: status.since,
        recording: status.recording,
        observed: status.observed,
        persisted: status.persisted,
        queued: status.queued,
        dropped: status.dropped,
        dropped_by: DroppedBy { queue_full, backlog_full, too_long, closed, unwritten },
        last_flush: status.last_flush,
        reason: status.error.as_deref(),
        last_error: status.last_error.as_ref().map(|error| Failure { at: error.at, message: &error.text }),
        file_bytes: status.file_bytes,
        segments: status.segments,
        segment_bytes: status.segment_bytes,
        bad_lines: status.bad_lines,
        bad_line_numbers: &status.bad_line_numbers,
        index: Index {
            events: snapshot.events(),
            max_events: caps.events,
            aggregated: retired.requests,
            aggregated_by_cap: retired.by_cap,
            bytes: snapshot.heap_bytes(),
            models: snapshot.models(),
            max_models: caps.models,
            keys: snapshot.keys(),
            max_keys: caps.keys,
            first: span.map(|(first, _)| first),
            last: span.map(|(_, last)| last),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_reads_as_in_the_original() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (60, "1m0s"), (1799, "29m59s"), (3600, "1h0m0s")] {
            assert_eq!(duration(seconds), text);
        }
    }
}
