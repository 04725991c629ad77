//! What passes is what the inner service gave: to the byte, the frame, the hint and the error.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use bytes::{Buf, Bytes, buf::Chain};
use http::{HeaderMap, Request, Response, Version};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use support::{COMPLETION, Recording, Script, Step, chat, data, post};
use tower::{Layer, ServiceExt, service_fn};
use tower_llm_usage::{ResponseFuture, UsageBody, UsageLayer, UsageService};

#[derive(Clone, Debug)]
enum Kind {
    Data(Vec<u8>),
    Trailers,
    Fail,
}

fn kind() -> impl Strategy<Value = Kind> {
    let text = prop::sample::select(vec![
        COMPLETION,
        "data: {\"usage\":",
        "{\"prompt_tokens\":1}}\n\n",
        "data: [DONE]\n\n",
    ]);
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..50).prop_map(Kind::Data),
        4 => text.prop_map(|text| Kind::Data(text.as_bytes().to_vec())),
        1 => Just(Kind::Trailers),
        1 => Just(Kind::Fail),
    ]
}

fn script(kinds: &[Kind], exact: Option<usize>, knows_its_end: bool) -> Script {
    let mut script = Script::new(kinds.iter().map(|kind| match kind {
        Kind::Data(bytes) => data(bytes.clone()),
        Kind::Trailers => {
            Step::Trailers(HeaderMap::from_iter([("a".parse().unwrap(), "b".parse().unwrap())]))
        }
        Kind::Fail => Step::Fail,
    }));
    if let Some(len) = exact {
        script = script.exact(len);
    }
    if knows_its_end { script.knowing_its_end() } else { script }
}

/// Everything that a server can see of a body, step by step.
fn observe<B: Body<Data = Bytes, Error = support::Failure>>(body: B) -> Vec<String> {
    let mut body = pin!(body);
    let mut seen = Vec::new();
    loop {
        seen.push(format!("{:?} {}", body.size_hint(), body.is_end_stream()));
        let Poll::Ready(frame) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) else {
            unreachable!("no script here hangs")
        };
        seen.push(format!("{frame:?}"));
        if !matches!(frame, Some(Ok(_))) {
            return seen;
        }
    }
}

proptest! {
    #[test]
    fn frames_hints_and_errors_are_the_inner_bodys(
        kinds in prop::collection::vec(kind(), 0..12),
        exact in prop::option::of(0_usize..500),
        knows_its_end in any::<bool>(),
        content_type in prop::sample::select(vec!["application/json", "text/event-stream", "image/png"]),
        path in prop::sample::select(vec!["/v1/chat/completions", "/v1/messages", "/elsewhere"]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let recording = Recording::start();
        let body = script(&kinds, exact, knows_its_end);
        let response = Response::builder().header("content-type", content_type).body(body).unwrap();
        let mut response = Some(response);
        let service = recording.layer().layer(service_fn(move |_| {
            std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
        }));
        let response = runtime.block_on(service.oneshot(post(path))).unwrap();
        prop_assert_eq!(observe(response.into_body()), observe(script(&kinds, exact, knows_its_end)));
    }
}

#[tokio::test]
async fn the_head_passes_as_it_is() {
    let recording = Recording::start();
    let service = recording.layer().layer(service_fn(async |_: Request<_>| {
        let mut response = Response::builder()
            .status(218)
            .version(Version::HTTP_10)
            .header("x-one", "1")
            .header("x-one", "2")
            .header("content-type", "application/json")
            .body(Full::<Bytes>::from(COMPLETION))
            .unwrap();
        response.extensions_mut().insert(Marker);
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(chat()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (218, Version::HTTP_10));
    assert_eq!(response.headers().get_all("x-one").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(response.headers().len(), 3);
    assert!(response.extensions().get::<Marker>().is_some());
    assert_eq!(response.extensions().len(), 1);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), COMPLETION);
}

#[derive(Clone)]
struct Marker;

/// Data that does not lie in one piece.
#[tokio::test]
async fn data_in_several_pieces_is_read_where_it_lies() {
    struct Pieces(Option<Chain<Bytes, Chain<Bytes, Bytes>>>);

    impl Body for Pieces {
        type Data = Chain<Bytes, Chain<Bytes, Bytes>>;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
            Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
        }
    }

    let recording = Recording::start();
    let service = recording.layer().layer(service_fn(async |_: Request<_>| {
        let piece = |from, to| Bytes::from_static(&COMPLETION.as_bytes()[from..to]);
        let pieces = piece(0, 50).chain(piece(50, 217).chain(piece(217, COMPLETION.len())));
        Ok::<_, Infallible>(Response::new(Pieces(Some(pieces))))
    }));
    let body = service.oneshot(chat()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), COMPLETION);
    assert_eq!(recording.line().await["total_tokens"], 21);
}

#[test]
fn the_types_are_what_the_inner_ones_are() {
    fn is_send_and_sync<T: Send + Sync>() {}
    fn is_unpin<T: Unpin>() {}
    is_send_and_sync::<UsageLayer>();
    is_send_and_sync::<UsageService<()>>();
    is_send_and_sync::<ResponseFuture<()>>();
    is_send_and_sync::<UsageBody<()>>();
    is_unpin::<UsageService<()>>();
    is_unpin::<ResponseFuture<()>>();
    is_unpin::<UsageBody<()>>();
}
