//! When a response is at its end, and how: behind real servers, which drop a body as they like.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{
    body::Incoming,
    client::conn::{http1 as http1_client, http2 as http2_client},
    server::conn::{http1 as http1_server, http2 as http2_server},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    service::TowerToHyperService,
};
use serde_json::Value;
use support::{COMPLETION, Failure, Recording, Script, Step, data};
use tokio::io::duplex;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_llm_usage::UsageHint;

const DONE: &str = "data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\ndata: [DONE]\n\n";
const TEXT: &str =
    "data: {\"model\":\"m\",\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}\n\n";

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http1,
    Http2,
}

/// What the client does with the response.
#[derive(Clone, Copy, Debug)]
enum Client {
    /// Reads all of it.
    Reads,
    /// Leaves when so many frames of data have come.
    LeavesAfter(usize),
}

/// A row of the table: an answer, what becomes of it, and what is to be recorded.
struct Cell {
    name: &'static str,
    method: Method,
    response: Response<Script>,
    client: Client,
    end: &'static str,
    usage: &'static str,
}

fn cell(name: &'static str, response: Response<Script>, end: &'static str, usage: &'static str) -> Cell {
    Cell { name, method: Method::POST, response, client: Client::Reads, end, usage }
}

fn json(body: Script) -> Response<Script> {
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

fn stream(body: Script) -> Response<Script> {
    Response::builder().header("content-type", "text/event-stream").body(body).unwrap()
}

fn with_length(mut response: Response<Script>, len: usize) -> Response<Script> {
    response.headers_mut().insert("content-length", len.into());
    response
}

fn with_status(mut response: Response<Script>, status: StatusCode) -> Response<Script> {
    *response.status_mut() = status;
    response
}

fn trailers() -> Step {
    Step::Trailers(HeaderMap::from_iter([("x-checksum".parse().unwrap(), "1".parse().unwrap())]))
}

fn cells() -> Vec<Cell> {
    let whole = || Script::new([data(COMPLETION)]);
    let halves = || {
        let (front, back) = COMPLETION.split_at(100);
        Script::new([data(front), data(back)])
    };
    let len = COMPLETION.len();
    vec![
        cell("an exact length", json(whole().exact(len)), "complete", "complete"),
        cell(
            "an exact length and a body that knows its end",
            json(whole().exact(len).knowing_its_end()),
            "complete",
            "complete",
        ),
        cell("an exact length in two frames", json(halves().exact(len)), "complete", "complete"),
        cell("no length but the header's", with_length(json(halves()), len), "complete", "complete"),
        cell("no length at all", json(halves()), "complete", "complete"),
        cell(
            "no length and a body that knows its end",
            json(halves().knowing_its_end()),
            "complete",
            "complete",
        ),
        cell("trailers", json(Script::new([data(COMPLETION), trailers()])), "complete", "complete"),
        cell(
            "trailers behind an announced length",
            with_length(json(Script::new([data(COMPLETION), trailers()])), len),
            "complete",
            "complete",
        ),
        cell("a stream", stream(Script::new([data(TEXT), data(TEXT), data(DONE)])), "complete", "complete"),
        cell("a stream without counts", stream(Script::new([data(TEXT)])), "complete", "missing"),
        cell("an empty body", json(Script::new([])), "complete", "missing"),
        cell(
            "an empty body of known length",
            json(Script::new([]).exact(0).knowing_its_end()),
            "complete",
            "missing",
        ),
        cell(
            "an error status",
            with_status(json(whole()), StatusCode::TOO_MANY_REQUESTS),
            "complete",
            "complete",
        ),
        cell("204", with_status(json(Script::new([])), StatusCode::NO_CONTENT), "complete", "missing"),
        cell(
            "304",
            with_status(json(Script::new([data("x")])), StatusCode::NOT_MODIFIED),
            "complete",
            "missing",
        ),
        Cell {
            method: Method::HEAD,
            ..cell("HEAD", with_length(json(Script::new([])), len), "complete", "missing")
        },
        Cell {
            client: Client::LeavesAfter(1),
            ..cell(
                "a client that leaves mid-stream",
                stream(Script::new([data(TEXT), Step::Hang])),
                "client_closed",
                "partial",
            )
        },
        Cell {
            client: Client::LeavesAfter(1),
            ..cell(
                "a client that leaves behind the last event",
                stream(Script::new([data(DONE), Step::Hang])),
                "complete",
                "complete",
            )
        },
        Cell {
            client: Client::LeavesAfter(1),
            ..cell(
                "a client that leaves before all that was announced",
                with_length(json(Script::new([data(&COMPLETION[..100]), Step::Hang])), len),
                "client_closed",
                "partial",
            )
        },
        cell("a body that fails", stream(Script::new([data(TEXT), Step::Fail])), "upstream_error", "partial"),
        cell("a body that fails at once", json(Script::new([Step::Fail])), "upstream_error", "missing"),
        cell(
            "an error within the stream",
            stream(Script::new([data(TEXT), data("data: {\"error\":{\"type\":\"server_error\"}}\n\n")])),
            "stream_error",
            "partial",
        ),
    ]
}

/// Sends one request through a real server with the layer, and returns the line that was recorded.
async fn record(protocol: Protocol, mut cell: Cell) -> Value {
    let recording = Recording::start();
    let gone = cell.response.body_mut().dropped();
    let response = Arc::new(Mutex::new(Some(cell.response)));
    let inner = service_fn(move |_: Request<Incoming>| {
        let response = response.lock().unwrap().take();
        async { Ok::<_, Infallible>(response.expect("there is one request")) }
    });
    let service = ServiceBuilder::new()
        // HEAD is no call to a model; here it is recorded because the host says so.
        .map_request(|mut request: Request<Incoming>| {
            if request.method() == Method::HEAD {
                request.extensions_mut().insert(UsageHint::new().record(true));
            }
            request
        })
        .layer(recording.layer())
        .service(inner);
    let service = TowerToHyperService::new(service);

    let (client, server) = duplex(1 << 16);
    let request = Request::builder()
        .method(cell.method)
        .uri("http://localhost/v1/chat/completions")
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .unwrap();
    let (client, server) = (TokioIo::new(client), TokioIo::new(server));
    let (response, connection) = match protocol {
        Protocol::Http1 => {
            tokio::spawn(http1_server::Builder::new().serve_connection(server, service));
            let (mut sender, connection) = http1_client::handshake(client).await.unwrap();
            let connection = tokio::spawn(async { drop(connection.await) });
            (sender.send_request(request).await, connection)
        }
        Protocol::Http2 => {
            let executor = TokioExecutor::new();
            tokio::spawn(http2_server::Builder::new(executor.clone()).serve_connection(server, service));
            let (mut sender, connection) = http2_client::handshake(executor, client).await.unwrap();
            let connection = tokio::spawn(async { drop(connection.await) });
            (sender.send_request(request).await, connection)
        }
    };
    // A body that fails at once may take its head with it; what counts here is what was recorded.
    if let Ok(response) = response {
        let mut body = response.into_body();
        match cell.client {
            Client::Reads => drop(body.collect().await),
            Client::LeavesAfter(frames) => {
                for _ in 0..frames {
                    body.frame().await.unwrap().unwrap();
                }
            }
        }
    }
    connection.abort();
    gone.await.unwrap();
    recording.line().await
}

async fn assert_every_cell(protocol: Protocol) {
    let mut wrong = Vec::new();
    for cell in cells() {
        let (name, end, usage, status) = (cell.name, cell.end, cell.usage, cell.response.status().as_u16());
        let line = record(protocol, cell).await;
        if (&line["end"], &line["usage"], &line["status"]) != (&end.into(), &usage.into(), &status.into()) {
            wrong.push(format!("{name}: {line}, not {end} with {usage}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// F49
#[tokio::test]
async fn every_ending_behind_an_http1_server_is_what_it_was() {
    assert_every_cell(Protocol::Http1).await;
}

/// F49
#[tokio::test]
async fn every_ending_behind_an_http2_server_is_what_it_was() {
    assert_every_cell(Protocol::Http2).await;
}

mod without_a_response {
    use super::*;

    #[tokio::test]
    async fn an_error_of_the_inner_service_is_recorded_and_passed_on() {
        let recording = Recording::start();
        let service = recording.layer().layer(service_fn(async |_| Err::<Response<Script>, _>(Failure)));
        let Err(Failure) = service.oneshot(support::chat()).await else { panic!("the error has to pass") };
        let line = recording.line().await;
        assert_eq!((&line["status"], &line["end"]), (&502.into(), &"upstream_error".into()));
        assert_eq!((&line["usage"], &line["model"]), (&"missing".into(), &"unknown".into()));
    }

    /// F1
    #[tokio::test]
    async fn a_call_that_is_dropped_before_its_response_was_left_by_the_client() {
        let recording = Recording::start();
        let service =
            recording.layer().layer(service_fn(|_| pending::<Result<Response<Script>, Infallible>>()));
        let mut call = Box::pin(service.oneshot(support::chat()));
        assert!(call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        drop(call);
        let line = recording.line().await;
        assert_eq!((&line["status"], &line["end"]), (&499.into(), &"client_closed".into()));
        assert_eq!(line["usage"], "missing");
    }

    /// F27: the last words of a runtime that is torn down.
    #[test]
    fn a_response_that_outlives_its_runtime_is_recorded() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let recording = Recording::start();
        let service = recording.layer().layer(service_fn(async |_| {
            Ok::<_, Infallible>(json(Script::new([data(COMPLETION), Step::Hang])))
        }));
        let response = runtime.block_on(service.oneshot(support::chat())).unwrap();
        drop(runtime);
        drop(response);
        recording.usage.close_blocking().unwrap();
        let line = std::fs::read_to_string(recording.file()).unwrap();
        assert!(line.contains(r#""end":"client_closed""#), "{line}");
    }
}
