//! The layer and the management routes with nothing but hyper.
//!
//! ```sh
//! MANAGEMENT_PASSWORD=secret cargo run --example hyper
//! ```

use std::{convert::Infallible, error::Error, pin::pin};

use http_body_util::Full;
use hyper::{Request, Response, body::Bytes, body::Incoming, header::CONTENT_TYPE, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::{conn::auto, graceful::GracefulShutdown};
use tower::{ServiceBuilder, ServiceExt};
use tower_llm_usage::{Config, PeerAddr, Usage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = std::env::var("MANAGEMENT_PASSWORD").unwrap_or_else(|_| "demo".to_owned());
    let mut config = Config::recording_to("usage.json");
    config.remote_management.secret_key = key.as_str().into();
    let usage = Usage::open(config)?;
    // The management routes go outside: what is asked there is no call.
    let service = ServiceBuilder::new()
        .layer(usage.management_layer())
        .layer(usage.layer())
        .service(tower::service_fn(complete));

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
        let service = service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerAddr(peer));
            service.clone().oneshot(request)
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
