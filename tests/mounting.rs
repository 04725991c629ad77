//! The management routes beside and in front of other services, over real sockets.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{convert::Infallible, net::SocketAddr};

use axum::{
    Router,
    extract::{ConnectInfo, Request as AxumRequest},
    middleware,
    routing::post,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use serde_json::Value;
use support::COMPLETION;
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_llm_usage::{Config, PeerAddr, Usage};

const KEY: &str = "correct-horse-battery-staple";

fn open() -> (Usage, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::recording_to(dir.path().join("usage.json"));
    config.remote_management.secret_key = KEY.into();
    (Usage::open(config).unwrap(), dir)
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> (StatusCode, Value) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{address}{path}"))
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(r#"{"model":"gpt-4o-mini"}"#))
        .unwrap();
    let response = client.request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

/// One call goes through, management is answered, and what is under the prefix never reaches the proxy.
///
/// Then it ends, although there is still a server that could record: before its directory goes, or it would make it again.
async fn works(usage: Usage, address: SocketAddr) {
    let (status, answer) = ask(address, "POST", "/v1/chat/completions").await;
    assert_eq!((status.as_u16(), &answer["usage"]["total_tokens"]), (200, &21.into()));
    let (status, metrics) = ask(address, "GET", "/v0/management/qs/metrics").await;
    assert_eq!(status, 200);
    assert_eq!((&metrics["totals"]["requests"], &metrics["totals"]["tokens"]), (&1.into(), &21.into()));
    let (status, nothing) = ask(address, "GET", "/v0/management/qs/nothing").await;
    assert_eq!((status.as_u16(), &nothing["code"]), (404, &"not_found".into()));
    usage.close().await.unwrap();
}

async fn proxy<B>(_: Request<B>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::builder().header("content-type", "application/json").body(Full::from(COMPLETION)).unwrap())
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

async fn remember_peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: AxumRequest) -> AxumRequest {
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

fn serve_axum(listener: TcpListener, app: Router) {
    let app = app.layer(middleware::map_request(remember_peer));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, app).await });
}

fn calls(usage: &Usage) -> Router {
    let complete = async || ([("content-type", "application/json")], COMPLETION);
    Router::new().route("/v1/chat/completions", post(complete)).layer(usage.layer())
}

#[tokio::test]
async fn nested_in_an_axum_router() {
    let ((usage, _dir), (listener, address)) = (open(), listen().await);
    serve_axum(listener, calls(&usage).nest_service("/v0/management/qs", usage.metrics_service()));
    works(usage, address).await;
}

#[tokio::test]
async fn routed_to_by_an_axum_router() {
    let ((usage, _dir), (listener, address)) = (open(), listen().await);
    let app = calls(&usage).route_service("/v0/management/qs/{*route}", usage.metrics_service());
    serve_axum(listener, app);
    works(usage, address).await;
}

#[tokio::test]
async fn nested_anywhere_else() {
    let ((usage, _dir), (listener, address)) = (open(), listen().await);
    serve_axum(listener, Router::new().nest_service("/usage", usage.metrics_service()));
    assert_eq!(ask(address, "GET", "/usage/health").await.0, 200);
}

#[tokio::test]
async fn in_front_of_an_axum_router() {
    let ((usage, _dir), (listener, address)) = (open(), listen().await);
    serve_axum(listener, Router::new().fallback_service(usage.management_layer().layer(calls(&usage))));
    works(usage, address).await;
}

#[tokio::test]
async fn in_front_of_a_proxy_on_a_plain_hyper_server() {
    let ((usage, _dir), (listener, address)) = (open(), listen().await);
    let service = usage.management_layer().layer(usage.layer().layer(service_fn(proxy::<Incoming>)));
    tokio::spawn(async move {
        loop {
            let (stream, peer) = listener.accept().await.unwrap();
            let service = service.clone();
            let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(PeerAddr(peer));
                service.clone().oneshot(request)
            });
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                server.serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    works(usage, address).await;
}

/// What is not management passes as it is: the inner service's readiness, its error, and its body.
#[tokio::test]
async fn the_service_behind_is_as_it_was() {
    let (usage, _dir) = open();
    let refuses = service_fn(async |request: Request<Full<Bytes>>| match request.uri().path() {
        "/fails" => Err(std::io::Error::other("it does")),
        _ => Ok(Response::new(Full::<Bytes>::from("passed"))),
    });
    let mut service = usage.management_layer().layer(refuses);
    let get = |path: &str| Request::get(path).body(Full::<Bytes>::default()).unwrap();
    let error = service.ready().await.unwrap().call(get("/fails")).await.unwrap_err();
    assert_eq!(error.to_string(), "it does");
    for path in ["/", "/v0/management/q", "/v0/management/qsx", "/metrics", "/health"] {
        let response = service.ready().await.unwrap().call(get(path)).await.unwrap();
        let body = http_body::Body::size_hint(response.body());
        assert_eq!(body.exact(), Some(6));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "passed", "{path}");
    }
    for path in ["/v0/management/qs", "/v0/management/qs/", "/v0/management/qs/health"] {
        // Nobody knows where it comes from.
        let response = service.ready().await.unwrap().call(get(path)).await.unwrap();
        assert_eq!(response.status(), 403, "{path}");
    }
}
