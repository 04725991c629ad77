//! What is answered, and how it looks on the wire.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body::{Body, Frame, SizeHint};
use serde::Serialize;

use super::{access::Refusal, query::Misunderstood};
use crate::{
    Status, Timestamp,
    index::{Answer, Snapshot, Sums},
};

/// The body of an answer of [`MetricsService`](super::MetricsService): in one piece, of known length.
#[derive(Debug)]
pub struct MetricsBody(Bytes);

impl MetricsBody {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }
}

impl Body for MetricsBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let rest = std::mem::take(&mut self.0);
        Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.len() as u64)
    }
}

/// An answer with a body; its length is said even where the body is left out.
pub(super) fn response(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<MetricsBody> {
    let body = body.into();
    let mut response = Response::new(MetricsBody(Bytes::new()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, body.len().into());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = MetricsBody(body);
    response
}

fn json(status: StatusCode, body: &impl Serialize) -> Response<MetricsBody> {
    // Nothing that is answered has keys that are no strings, or fails in another way.
    let body = serde_json::to_vec(body).expect("the answers of this module are JSON");
    response(status, "application/json", body)
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

pub(super) fn method_not_allowed() -> Response<MetricsBody> {
    let response =
        error(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only GET and HEAD are allowed here");
    with(response, ALLOW, HeaderValue::from_static("GET, HEAD"))
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

pub(super) fn misunderstood(what: Misunderstood) -> Response<MetricsBody> {
    let (code, text) = match what {
        Misunderstood::From => ("invalid_from", "invalid 'from' timestamp format, expected RFC3339"),
        Misunderstood::To => ("invalid_to", "invalid 'to' timestamp format, expected RFC3339"),
        Misunderstood::Reversed => ("invalid_range", "'to' must be after 'from'"),
    };
    error(StatusCode::BAD_REQUEST, code, text)
}

pub(super) fn health(status: &Status, snapshot: &Snapshot) -> Response<MetricsBody> {
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
        index_bytes: usize,
        file_bytes: u64,
        bad_lines: u64,
        version: &'a str,
    }
    let span = snapshot.span();
    json(
        StatusCode::OK,
        &Health {
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
            index_bytes: snapshot.heap_bytes(),
            file_bytes: status.file_bytes,
            bad_lines: status.bad_lines,
            version: env!("CARGO_PKG_VERSION"),
        },
    )
}

/// Sums by the names that answers have for them. `tokens` and `requests` are the original's.
#[derive(Serialize)]
struct Counts {
    tokens: u64,
    requests: u64,
    errors: u64,
    aborted: u64,
    /// Requests without counts: the sums beside it are known to be too low.
    unknown_usage: u64,
    prompt_tokens: u64,
    completion_tokens: u64,
    cache_read_tokens: u64,
    cache_write_tokens: u64,
    reasoning_tokens: u64,
}

impl From<&Sums> for Counts {
    fn from(sums: &Sums) -> Self {
        Self {
            tokens: sums.total,
            requests: sums.requests,
            errors: sums.errors,
            aborted: sums.aborted,
            unknown_usage: sums.unknown,
            prompt_tokens: sums.input,
            completion_tokens: sums.output,
            cache_read_tokens: sums.cache_read,
            cache_write_tokens: sums.cache_write,
            reasoning_tokens: sums.reasoning,
        }
    }
}

pub(super) fn metrics(from: Timestamp, to: Timestamp, answer: &Answer) -> Response<MetricsBody> {
    #[derive(Serialize)]
    struct Metrics<'a> {
        totals: Counts,
        by_model: Vec<ByModel<'a>>,
        timeseries: Vec<Bucket>,
        from: Timestamp,
        to: Timestamp,
    }
    #[derive(Serialize)]
    struct ByModel<'a> {
        model: &'a str,
        #[serde(flatten)]
        counts: Counts,
    }
    #[derive(Serialize)]
    struct Bucket {
        bucket_start: String,
        #[serde(flatten)]
        counts: Counts,
    }

    let rows = answer.groups.iter().flat_map(|table| &table.rows);
    let by_model = rows.map(|row| ByModel {
        model: row.values[0].as_deref().unwrap_or_default(),
        counts: (&row.stats.sums).into(),
    });
    let hours = answer.series.iter().map(|bucket| Bucket {
        // Whole hours, without the fraction that the original did not write.
        bucket_start: bucket.start.to_string().replace(".000Z", "Z"),
        counts: (&bucket.stats.sums).into(),
    });
    json(
        StatusCode::OK,
        &Metrics {
            totals: (&answer.totals.sums).into(),
            by_model: by_model.collect(),
            timeseries: hours.collect(),
            from,
            to,
        },
    )
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
