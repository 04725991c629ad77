//! The proxy that is watched: answers from memory, and a server's side that reads the answer.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
    vec,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use tower::Service;
use tower_llm_usage::PeerAddr;

use crate::support::bodies::Workload;

/// Answers every request with the same pieces.
#[derive(Clone)]
pub(crate) struct Replay {
    headers: HeaderMap,
    frames: Arc<[Bytes]>,
    /// The length is announced, as it is of what is no stream.
    is_exact: bool,
}

impl Replay {
    pub(crate) fn new(workload: &Workload) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(workload.content_type));
        headers.insert("x-request-id", HeaderValue::from_static("req_011CQq8naYxR5vJm0sLhGdEo"));
        headers.insert(header::DATE, HeaderValue::from_static("Sun, 01 Mar 2026 09:30:00 GMT"));
        headers.insert(header::SERVER, HeaderValue::from_static("cloudflare"));
        if let Some(coding) = workload.content_encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        let is_exact = !workload.is_stream();
        if is_exact {
            headers.insert(header::CONTENT_LENGTH, workload.bytes().into());
        }
        Self { headers, frames: workload.frames.as_slice().into(), is_exact }
    }
}

impl<B> Service<Request<B>> for Replay {
    type Response = Response<Frames>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        let left = if self.is_exact { self.frames.iter().map(Bytes::len).sum::<usize>() as u64 } else { 0 };
        // All at once, so that no piece is still on its way to memory when it is taken.
        let frames = Vec::from(&self.frames[..]).into_iter();
        let mut response = Response::new(Frames { frames, left, is_exact: self.is_exact });
        *response.headers_mut() = self.headers.clone();
        ready(Ok(response))
    }
}

/// What an HTTP client's body does: knows its length if it was announced, and then its end.
pub(crate) struct Frames {
    frames: vec::IntoIter<Bytes>,
    left: u64,
    is_exact: bool,
}

impl Body for Frames {
    type Data = Bytes;
    type Error = Infallible;

    // As hyper's is not: what the compiler makes of it together with a wrapper differs from wrapper to wrapper.
    #[inline(never)]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = self.frames.next();
        if self.is_exact
            && let Some(frame) = &frame
        {
            self.left -= frame.len() as u64;
        }
        Poll::Ready(frame.map(|frame| Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.is_exact && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_exact { SizeHint::with_exact(self.left) } else { SizeHint::default() }
    }
}

/// A request as a client sends it and a server hands it on, with the address that it came from.
pub(crate) fn request(workload: &Workload) -> Request<Full<Bytes>> {
    let mut request = Request::post(workload.path)
        .header(header::HOST, "proxy.internal:8317")
        .header(header::AUTHORIZATION, "Bearer sk-proj-Uq8naYxR5vJm0sLhGdEoPaZ3uTf2kqW8nYxR5vJm0sL")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd")
        .header(header::USER_AGENT, "OpenAI/Python 2.3.0")
        .header("x-stainless-lang", "python")
        .header("x-stainless-retry-count", "0")
        .header(header::CONTENT_LENGTH, "17")
        .body(Full::from(Bytes::from_static(b"{\"messages\": [1]}")))
        .expect("every part of it is as it should be");
    request.extensions_mut().insert(PeerAddr(([127, 0, 0, 1], 40_000).into()));
    request
}

/// Calls `service`, and gives the body of its answer.
pub(crate) fn begin<S, B>(service: &mut S, request: Request<Full<Bytes>>) -> B
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>>,
{
    let mut context = Context::from_waker(Waker::noop());
    let is_ready = service.poll_ready(&mut context).is_ready();
    debug_assert!(is_ready);
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(Ok(response)) => response.into_body(),
        _ => unreachable!("what answers from memory answers at once"),
    }
}

/// Takes pieces as hyper's server does: so many, or to the end. Returns how many bytes they had.
pub(crate) fn take<B: Body<Data = Bytes>>(mut body: Pin<&mut B>, pieces: usize) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let mut bytes = 0;
    for _ in 0..pieces {
        match body.as_mut().poll_frame(&mut context) {
            Poll::Ready(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
            _ => break,
        }
        if body.is_end_stream() {
            break;
        }
    }
    bytes
}
