//! What a response costs in memory: one allocation, whatever passes, and little that is held.
//!
//! Counted by an allocator that knows what the calling thread does, in differences to the same service without the
//! layer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use allocation_counter::{AllocationInfo, measure};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use support::Recording;
use tower::{Layer, Service};
use tower_llm_usage::PeerAddr;

/// A body of pieces, which allocates nothing for them.
struct Pieces {
    pieces: std::vec::IntoIter<Bytes>,
    is_exact: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.pieces.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_exact && self.pieces.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.pieces.as_slice().iter().map(|piece| piece.len() as u64).sum();
        if self.is_exact { SizeHint::with_exact(left) } else { SizeHint::new() }
    }
}

/// What the layer allocates.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    allocations: i64,
    /// Bytes held when all but the last piece has passed.
    held: i64,
    /// Bytes held at most.
    peak: i64,
}

/// What a response holds at most: all that is known of it, and what its body grows by.
const TAP: i64 = 512;
/// What it holds beside that of an event that is split over frames.
const LIMIT: i64 = 64 << 10;

const PATH: &str = "/v1/chat/completions";
const STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

fn request(path: &str) -> Request<Full<Bytes>> {
    let mut request = Request::post(path)
        .header(header::AUTHORIZATION, "Bearer sk-proj-Uq8naYxR5vJm0sLhGdEoPaZ3uTf2kqW8nYxR5vJm0sL")
        .header(header::CONTENT_TYPE, JSON)
        .body(Full::default())
        .unwrap();
    // As of a server; where nobody has put an extension into a request, the first one makes the map.
    request.extensions_mut().insert(PeerAddr(([127, 0, 0, 1], 40_000).into()));
    request
}

/// Answers with pieces.
#[derive(Clone)]
struct Answer {
    content_type: &'static str,
    pieces: Vec<Bytes>,
}

impl Service<Request<Full<Bytes>>> for Answer {
    type Response = Response<Pieces>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Pieces>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        let body = Pieces { pieces: self.pieces.clone().into_iter(), is_exact: self.content_type == JSON };
        let response = Response::builder()
            .header(header::CONTENT_TYPE, self.content_type)
            .header("x-request-id", "req_011CQq8naYxR5vJm0sLhGdEo");
        ready(Ok(response.body(body).unwrap()))
    }
}

/// Calls `service` as a server does; gives what was allocated in all, and until the last piece.
fn exchange<S, B>(service: &mut S, path: &str, pieces: usize) -> (AllocationInfo, AllocationInfo)
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    let mut until_last = AllocationInfo::default();
    let whole = measure(|| {
        let mut body = None;
        until_last = measure(|| {
            let Poll::Ready(Ok(response)) = pin!(service.call(request(path))).poll(&mut context) else {
                panic!("the service answers at once")
            };
            let mut answer = Box::pin(response.into_body());
            for _ in 1..pieces {
                assert!(answer.as_mut().poll_frame(&mut context).is_ready());
            }
            body = Some(answer);
        });
        let mut body = body.unwrap();
        while !body.is_end_stream() {
            let Poll::Ready(Some(Ok(_))) = body.as_mut().poll_frame(&mut context) else { break };
        }
    });
    (whole, until_last)
}

fn cost_at(path: &str, content_type: &'static str, pieces: Vec<Bytes>) -> Cost {
    let recording = Recording::start();
    let count = pieces.len();
    let mut bare = Answer { content_type, pieces };
    let mut layered = recording.layer().layer(bare.clone());
    // The first one as well: what is made once is made before.
    let (with, held_with) = exchange(&mut layered, path, count);
    let (without, held_without) = exchange(&mut bare, path, count);
    let cost = Cost {
        allocations: with.count_total as i64 - without.count_total as i64,
        held: held_with.bytes_current - held_without.bytes_current,
        peak: with.bytes_max as i64 - without.bytes_max as i64,
    };
    recording.usage.close_blocking().unwrap();
    let lines = std::fs::read_to_string(recording.file()).unwrap();
    assert_eq!(lines.matches(r#""usage":"complete""#).count(), 1, "all was counted: {lines}");
    cost
}

fn cost(content_type: &'static str, pieces: Vec<Bytes>) -> Cost {
    cost_at(PATH, content_type, pieces)
}

fn completion(text: usize) -> String {
    let text = "A word. ".repeat(text / 8);
    format!(
        r#"{{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{{"index":0,"message":{{"role":"assistant","content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}}}"#
    )
}

fn stream(events: usize) -> Vec<Bytes> {
    let chunk = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"usage":null}"#;
    let usage = r#"{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o-mini-2024-07-18","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
    std::iter::repeat_n(chunk, events)
        .chain([usage, "[DONE]"])
        .map(|data| Bytes::from(format!("data: {data}\n\n")))
        .collect()
}

fn cut(body: &[u8], size: usize) -> Vec<Bytes> {
    body.chunks(size).map(Bytes::copy_from_slice).collect()
}

#[test]
fn a_watched_response_costs_one_allocation_whatever_its_size() {
    for text in [0, 1_000, 50_000, 4 << 20] {
        let body = completion(text);
        for pieces in [1, 4, 100] {
            let cost = cost(JSON, cut(body.as_bytes(), body.len().div_ceil(pieces)));
            assert_eq!(cost.allocations, 1, "{text} bytes of text in {pieces} pieces: {cost:?}");
        }
    }
}

#[test]
fn a_frame_costs_no_allocation() {
    for events in [1, 10, 1_000] {
        let cost = cost(STREAM, stream(events));
        assert_eq!(cost.allocations, 1, "{events} events: {cost:?}");
    }
}

#[test]
fn running_totals_in_every_frame_cost_no_allocation() {
    let event = |count: usize| {
        Bytes::from(format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"word\"}}]}}}}],\"usageMetadata\":{{\"promptTokenCount\":9,\"candidatesTokenCount\":{count},\"totalTokenCount\":{}}},\"modelVersion\":\"gemini-2.5-flash\"}}\r\n\r\n",
            9 + count
        ))
    };
    for events in [1, 10, 1_000] {
        let path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent";
        let cost = cost_at(path, STREAM, (1..=events).map(event).collect());
        assert_eq!(cost.allocations, 1, "{events} events: {cost:?}");
    }
}

#[test]
fn an_event_split_over_frames_is_held_and_nothing_else() {
    let body = stream(1_000).concat();
    for size in [16, 100, 1_460, 16 << 10] {
        let cost = cost(STREAM, cut(&body, size));
        // The buffer for the unfinished event is made once, and grows to the size of an event.
        assert!(cost.allocations <= 8, "in {size} bytes: {cost:?}");
        assert!(cost.peak <= TAP + 1_024, "in {size} bytes: {cost:?}");
    }
}

#[test]
fn an_unfinished_event_is_held_up_to_its_limit() {
    let huge = format!("data: {{\"delta\":\"{}\"}}\n\n", "A word. ".repeat(64 << 10));
    let body = [huge.as_bytes(), &stream(1).concat()].concat();
    for size in [100, 1_460, 16 << 10] {
        let cost = cost(STREAM, cut(&body, size));
        // When the buffer grows, there are two of it for a moment.
        assert!(cost.peak <= TAP + 2 * LIMIT, "in {size} bytes: {cost:?}");
        assert!(cost.held <= TAP + LIMIT, "in {size} bytes: {cost:?}");
    }
}

#[test]
fn little_is_held_of_a_response() {
    for pieces in [stream(100), stream(1_000)] {
        let cost = cost(STREAM, pieces);
        assert!(cost.held <= TAP && cost.peak <= TAP, "{cost:?}");
    }
    for text in [1_000, 4 << 20] {
        let cost = cost(JSON, cut(completion(text).as_bytes(), 16 << 10));
        assert!(cost.held <= TAP && cost.peak <= TAP, "{cost:?}");
    }
}
