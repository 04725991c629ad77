//! The layer wherever its users put it: in axum, around a client, in a stack of other layers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{convert::Infallible, net::SocketAddr};

use axum::{Router, body::Body as AxumBody, routing::post};
use bytes::Bytes;
use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Empty, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use support::{COMPLETION, Recording, chat};
use tokio::{net::TcpListener, sync::oneshot};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

async fn complete() -> ([(http::HeaderName, &'static str); 1], &'static str) {
    ([(CONTENT_TYPE, "application/json")], COMPLETION)
}

/// Serves `app` until the sender goes.
async fn serve(app: Router) -> (SocketAddr, oneshot::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let until = async { drop(stopped.await) };
        axum::serve(listener, app).with_graceful_shutdown(until).await.unwrap();
    });
    (address, stop)
}

fn client() -> Client<HttpConnector, Empty<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn chat_at(address: SocketAddr) -> Request<Empty<Bytes>> {
    let mut request = chat();
    *request.uri_mut() = format!("http://{address}/v1/chat/completions").parse().unwrap();
    request
}

async fn answer<B>(response: Response<B>) -> Bytes
where
    B: http_body::Body,
    B::Error: std::fmt::Debug,
{
    response.into_body().collect().await.unwrap().to_bytes()
}

#[tokio::test]
async fn around_an_axum_router_it_sees_every_route() {
    let recording = Recording::start();
    let app = Router::new().route("/v1/chat/completions", post(complete)).layer(recording.layer());
    let (address, _stop) = serve(app).await;
    let body = answer(client().request(chat_at(address)).await.unwrap()).await;
    assert_eq!(body, COMPLETION);
    let line = recording.line().await;
    assert_eq!((&line["total_tokens"], &line["end"]), (&21.into(), &"complete".into()));
}

#[tokio::test]
async fn around_one_axum_route_it_sees_that_route() {
    let recording = Recording::start();
    let app = Router::new()
        .route("/v1/chat/completions", post(complete).layer(recording.layer()))
        .route("/v1/embeddings", post(complete));
    for path in ["/v1/chat/completions", "/v1/embeddings"] {
        let request = Request::post(path).body(AxumBody::empty()).unwrap();
        answer(app.clone().oneshot(request).await.unwrap()).await;
    }
    assert_eq!(recording.line().await["endpoint"], "POST /v1/chat/completions");
}

/// A gateway that knows its upstreams can watch the calls that it makes, not those that it serves.
#[tokio::test]
async fn around_a_client_it_sees_what_the_upstream_answers_and_knows_who_it_is() {
    let (address, _stop) = serve(Router::new().route("/v1/chat/completions", post(complete))).await;
    let recording = Recording::start();
    let mut watched = ServiceBuilder::new().layer(recording.layer()).service(client());
    let response = watched.ready().await.unwrap().call(chat_at(address)).await.unwrap();
    assert_eq!(answer(response).await, COMPLETION);
    let line = recording.line().await;
    assert_eq!((&line["total_tokens"], &line["status"]), (&21.into(), &200.into()));

    let recording = Recording::start();
    let upstream = service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(COMPLETION)))
    });
    let mut request = chat();
    *request.uri_mut() = "https://api.mistral.ai/v1/chat/completions".parse().unwrap();
    answer(recording.layer().layer(upstream).oneshot(request).await.unwrap()).await;
    assert_eq!(recording.line().await["provider"], "mistral_ai");
}

/// A call that no answer comes to is one, too.
#[tokio::test]
async fn around_a_client_it_records_an_upstream_that_cannot_be_reached() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let recording = Recording::start();
    assert!(recording.layer().layer(client()).oneshot(chat_at(nobody)).await.is_err());
    let line = recording.line().await;
    assert_eq!((&line["status"], &line["end"]), (&502.into(), &"upstream_error".into()));
}

/// Outside of a layer that changes the body's type, and inside of one.
#[tokio::test]
async fn between_other_layers_it_changes_nothing_but_the_bodys_type() {
    let recording = Recording::start();
    let service = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(AxumBody::new))
        .layer(recording.layer())
        .map_response(|response: Response<Full<Bytes>>| response.map(BodyExt::boxed_unsync))
        .service_fn(async |_: Request<Empty<Bytes>>| {
            Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(COMPLETION)))
        });
    assert_eq!(answer(service.oneshot(chat()).await.unwrap()).await, COMPLETION);
    assert_eq!(recording.line().await["total_tokens"], 21);
}
