//! The layer and the management routes with nothing but hyper.
//!
//! ```sh
//! MANAGEMENT_PASSWORD=secret cargo run --example hyper
//! ```

use std::{convert::Infallible, error::Error, pin::pin};

use http_body_util::{Either, Full};
use hyper::{Request, Response, body::Bytes, body::Incoming, header::CONTENT_TYPE, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::{conn::auto, graceful::GracefulShutdown};
use tower::{Layer, ServiceExt};
use tower_llm_usage::{Config, PeerAddr, Usage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = std::env::var("MANAGEMENT_PASSWORD").unwrap_or_else(|_| "demo".to_owned());
    let mut config = Config::recording_to("usage.json");
    config.remote_management.secret_key = key.as_str().into();
    let usage = Usage::open(config)?;
    let (calls, metrics) = (usage.layer().layer(tower::service_fn(complete)), usage.metrics_service());

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!(
        "curl http://127.0.0.1:3000/v1/chat/completions --json '{{\"model\":\"gpt-4o-mini\",\"messages\":[]}}'"
    );
    println!("curl http://127.0.0.1:3000/v0/management/qs/metrics -H 'Authorization: Bearer {key}'");
    let (server, graceful) = (auto::Builder::new(TokioExecutor::new()), GracefulShutdown::new());
    let mut stop = pin!(tokio::signal::ctrl_c());
    while let Some(accepted) = tokio::select! {
        accepted = listener.accept() => Some(accepted),
        _ = &mut stop => None,
    } {
        let (stream, peer) = accepted?;
        let (calls, metrics) = (calls.clone(), metrics.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            let (calls, metrics) = (calls.clone(), metrics.clone());
            async move {
                Ok::<_, Infallible>(match request.uri().path().starts_with("/v0/management/qs/") {
                    true => metrics.oneshot(request).await?.map(Either::Left),
                    false => calls.oneshot(request).await?.map(Either::Right),
                })
            }
        });
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        tokio::spawn(graceful.watch(connection));
    }
    graceful.shutdown().await;
    Ok(usage.close().await?)
}

async fn complete(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = r#"{"object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"Hello!"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,"total_tokens":21}}"#;
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(CONTENT_TYPE, "application/json".parse().expect("a valid header"));
    Ok(response)
}
