//! The layer and the management routes in an axum application.
//!
//! ```sh
//! MANAGEMENT_PASSWORD=secret cargo run --example axum
//! ```

use std::{error::Error, net::SocketAddr};

use axum::{
    Json, Router,
    extract::{ConnectInfo, Request, connect_info::IntoMakeServiceWithConnectInfo},
    middleware,
    routing::post,
};
use serde_json::{Value, json};
use tower_llm_usage::{Config, PeerAddr, Usage};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = std::env::var("MANAGEMENT_PASSWORD").unwrap_or_else(|_| "demo".to_owned());
    let mut config = Config::recording_to("usage.json");
    config.remote_management.secret_key = key.as_str().into();
    let usage = Usage::open(config)?;

    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!(
        "curl http://127.0.0.1:3000/v1/chat/completions --json '{{\"model\":\"gpt-4o-mini\",\"messages\":[]}}'"
    );
    println!("curl http://127.0.0.1:3000/v0/management/qs/metrics -H 'Authorization: Bearer {key}'");
    let ctrl_c = async { drop(tokio::signal::ctrl_c().await) };
    axum::serve(listener, app(&usage)).with_graceful_shutdown(ctrl_c).await?;
    Ok(usage.close().await?)
}

fn app(usage: &Usage) -> IntoMakeServiceWithConnectInfo<Router, SocketAddr> {
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .layer(usage.layer())
        // After the layer, which therefore does not see it.
        .nest_service("/v0/management/qs", usage.metrics_service())
        .layer(middleware::map_request(remember_peer))
        .into_make_service_with_connect_info()
}

/// For the management routes, which answer this machine only.
async fn remember_peer(ConnectInfo(peer): ConnectInfo<SocketAddr>, mut request: Request) -> Request {
    request.extensions_mut().insert(PeerAddr(peer));
    request
}

async fn complete() -> Json<Value> {
    Json(json!({
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{ "index": 0, "message": { "role": "assistant", "content": "Hello!" }, "finish_reason": "stop" }],
        "usage": { "prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21 },
    }))
}
