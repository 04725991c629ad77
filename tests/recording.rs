//! What is recorded of a call, and of which.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use support::{COMPLETION, Recording, chat, post};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_llm_usage::{KeyHash, UsageHint};

fn completion() -> Response<Full<Bytes>> {
    Response::builder()
        .header("content-type", "application/json; charset=utf-8")
        .header("x-request-id", "req_1")
        .body(Full::from(COMPLETION))
        .unwrap()
}

/// Sends `request` through the layer and reads the answer to its end.
async fn pass<B>(recording: &Recording, request: Request<B>, response: Response<Full<Bytes>>) {
    let mut response = Some(response);
    let service = recording.layer().layer(service_fn(move |_: Request<B>| {
        std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
    }));
    service.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
}

/// L1, L2, and the fields that we add.
#[tokio::test]
async fn a_line_says_all_that_is_known() {
    let recording = Recording::start();
    let mut request = chat();
    request.headers_mut().insert("authorization", "Bearer sk-secret".parse().unwrap());
    *request.uri_mut() = "/proxy/v1/chat/completions?trace=1".parse().unwrap();
    pass(&recording, request, completion()).await;
    let line = recording.line().await;
    for (field, value) in [
        ("model", "gpt-4o-mini-2024-07-18"),
        ("request_id", "req_1"),
        ("api_key_hash", &*KeyHash::of(b"sk-secret").to_string()),
        ("provider", "openai"),
        ("operation", "chat"),
        ("endpoint", "POST /proxy/v1/chat/completions"),
        ("usage", "complete"),
        ("end", "complete"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!((&line["prompt_tokens"], &line["completion_tokens"]), (&9.into(), &12.into()));
    assert_eq!((&line["total_tokens"], &line["status"]), (&21.into(), &200.into()));
    assert_eq!((&line["v"], &line["stream"]), (&2.into(), &false.into()));
    assert!(line["id"].as_str().is_some_and(|id| id.len() == 32));
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
    assert!(line["duration_ms"].as_f64() >= line["ttft_ms"].as_f64());
    assert!(line.get("request_model").is_none() && line.get("error_type").is_none());
}

/// F23
#[tokio::test]
async fn what_is_no_call_is_not_recorded() {
    let recording = Recording::start();
    let mut get = chat();
    *get.method_mut() = Method::GET;
    pass(&recording, get, completion()).await;
    pass(&recording, post("/v1/messages/count_tokens"), completion()).await;
    pass(&recording, post("/unknown"), Response::new(Full::from(COMPLETION))).await;
    let empty =
        Response::builder().header("content-type", "application/json").body(Full::from("{}")).unwrap();
    pass(&recording, post("/unknown"), empty).await;
    assert_eq!(recording.lines().await.len(), 0);
}

#[tokio::test]
async fn a_call_of_unknown_path_is_recorded_for_its_usage() {
    let recording = Recording::start();
    pass(&recording, post("/my/own/route"), completion()).await;
    let line = recording.line().await;
    assert_eq!((&line["total_tokens"], &line["provider"]), (&21.into(), &"openai".into()));
    assert!(line.get("operation").is_none());
}

#[tokio::test]
async fn a_failed_call_is_recorded_with_its_status_and_the_providers_word() {
    let recording = Recording::start();
    let body = r#"{"error":{"message":"Slow down, sk-secret","type":"rate_limit_error","code":null}}"#;
    pass(&recording, chat(), Response::builder().status(429).body(Full::from(body)).unwrap()).await;
    let line = recording.line().await;
    assert_eq!((&line["status"], &line["error_type"]), (&429.into(), &"rate_limit_error".into()));
    assert_eq!((&line["end"], &line["usage"]), (&"complete".into(), &"missing".into()));
    assert!(line["prompt_tokens"].is_null(), "not reported is not 0");
}

#[tokio::test]
async fn a_host_may_know_better() {
    let recording = Recording::start();
    let mut request = post("/v1beta/models/gemini-pro:generateContent");
    request.headers_mut().insert("x-goog-api-key", "sk-secret".parse().unwrap());
    request.extensions_mut().insert(UsageHint::new().key(KeyHash::of(b"team-7")).model("unused"));
    let mut response = completion();
    response.extensions_mut().insert(UsageHint::new().provider("gcp.vertex_ai"));
    pass(&recording, request, response).await;
    let line = recording.line().await;
    assert_eq!(line["api_key_hash"], KeyHash::of(b"team-7").to_string());
    assert_eq!((&line["provider"], &line["request_model"]), (&"gcp.vertex_ai".into(), &"gemini-pro".into()));
    assert_eq!(line["endpoint"], "POST /v1beta/models/{model}:generateContent");
}

#[tokio::test]
async fn a_host_may_call_a_recording_on_or_off() {
    let recording = Recording::start();
    let hinted = |path, hint| {
        let mut request = post(path);
        request.extensions_mut().insert(hint);
        request
    };
    pass(&recording, hinted("/v1/chat/completions", UsageHint::new().record(false)), completion()).await;
    let mut response = completion();
    response.extensions_mut().insert(UsageHint::new().record(false));
    pass(&recording, chat(), response).await;
    pass(&recording, hinted("/any", UsageHint::new().record(true)), Response::new(Full::default())).await;
    assert_eq!(recording.line().await["endpoint"], "POST /any");
}

/// F31
#[tokio::test]
async fn a_call_that_passes_two_layers_is_recorded_once() {
    let recording = Recording::start();
    let inner = recording.layer().layer(service_fn(async |_: Request<_>| Ok::<_, Infallible>(completion())));
    let service = recording.layer().layer(inner);
    service.oneshot(chat()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(recording.line().await["total_tokens"], 21);
}

/// F20
#[tokio::test]
async fn a_body_in_an_encoding_that_is_not_read_is_said_to_be_unsupported() {
    let recording = Recording::start();
    let response = Response::builder().header("content-encoding", "x-unknown");
    pass(&recording, chat(), response.body(Full::from(COMPLETION)).unwrap()).await;
    let line = recording.line().await;
    assert_eq!(line["usage"], "unsupported");
    assert!(line["total_tokens"].is_null());
}

#[tokio::test]
async fn recording_is_switched_while_running() {
    let recording = Recording::start();
    let mut service =
        recording.layer().layer(service_fn(async |_: Request<_>| Ok::<_, Infallible>(completion())));
    for on in [true, false, true] {
        recording.usage.set_recording(on);
        let response = service.ready().await.unwrap().call(chat()).await.unwrap();
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(recording.lines().await.len(), 2);
}

/// F39: who serves a model is what is known, the surest first; what its counts mean is the format's to say.
mod providers {
    use super::*;

    async fn provider(request: Request<http_body_util::Empty<Bytes>>, headers: &[(&str, &str)]) -> String {
        let recording = Recording::start();
        let mut response = completion();
        for (name, value) in headers {
            response.headers_mut().insert(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        pass(&recording, request, response).await;
        recording.line().await["provider"].as_str().unwrap().to_owned()
    }

    fn hinted(path: &str, hint: UsageHint) -> Request<http_body_util::Empty<Bytes>> {
        let mut request = post(path);
        request.extensions_mut().insert(hint);
        request
    }

    #[tokio::test]
    async fn are_told_by_the_host_program_before_all() {
        let azure = "/openai/deployments/d/chat/completions";
        let hint = UsageHint::new().provider("in_house").upstream("api.mistral.ai");
        assert_eq!(provider(hinted(azure, hint), &[]).await, "in_house");
        let hint = UsageHint::new().upstream("api.mistral.ai:443");
        assert_eq!(
            provider(hinted("/v1/chat/completions", hint), &[("x-groq-region", "x")]).await,
            "mistral_ai"
        );
        let hint = UsageHint::new().upstream("llm.example.org");
        assert_eq!(provider(hinted("/v1/chat/completions", hint), &[]).await, "openai");
    }

    #[tokio::test]
    async fn are_told_by_the_path_the_host_and_the_headers() {
        assert_eq!(provider(post("/openai/deployments/d/chat/completions"), &[]).await, "azure.ai.openai");
        assert_eq!(provider(post("https://api.deepseek.com/chat/completions"), &[]).await, "deepseek");
        assert_eq!(provider(chat(), &[("x-groq-region", "msp")]).await, "groq");
        assert_eq!(provider(chat(), &[("apim-request-id", "1")]).await, "azure.ai.openai");
        assert_eq!(provider(chat(), &[("x-anything", "1")]).await, "openai");
    }

    #[tokio::test]
    async fn do_not_decide_what_the_counts_mean() {
        let recording = Recording::start();
        let body = r#"{"type":"message","model":"claude-sonnet-4-5","usage":{"input_tokens":3,"cache_read_input_tokens":40,"output_tokens":5}}"#;
        let path =
            "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict";
        let response =
            Response::builder().header("content-type", "application/json").body(Full::from(body)).unwrap();
        pass(&recording, post(path), response).await;
        let line = recording.line().await;
        assert_eq!((&line["provider"], &line["prompt_tokens"]), (&"gcp.vertex_ai".into(), &43.into()));
        assert_eq!(line["request_model"], "claude-sonnet-4-5@20250929");
    }
}

/// The model is the last one that the response names, else the path's, else the host program's.
mod models {
    use super::*;

    async fn line(path: &str, hint: UsageHint, body: &'static str) -> serde_json::Value {
        let recording = Recording::start();
        let mut request = post(path);
        request.extensions_mut().insert(hint);
        let response =
            Response::builder().header("content-type", "application/json").body(Full::from(body)).unwrap();
        pass(&recording, request, response).await;
        recording.line().await
    }

    #[tokio::test]
    async fn come_from_where_they_are_known_best() {
        let asked = || UsageHint::new().model("asked");
        for (path, hint, body, expected) in [
            ("/v1/chat/completions", asked(), r#"{"model":"answered"}"#, "answered"),
            ("/v1/chat/completions", asked(), r#"{"model":""}"#, "asked"),
            ("/v1beta/models/of-path:generateContent", asked(), "{}", "of-path"),
            ("/model/us.amazon.nova-v1%3A0/converse", asked(), "{}", "us.amazon.nova-v1:0"),
            ("/v1/chat/completions", UsageHint::new(), "{}", "unknown"),
        ] {
            assert_eq!(line(path, hint, body).await["model"], expected, "{path} {body}");
        }
    }

    #[tokio::test]
    async fn are_trimmed_capped_and_without_what_cannot_be_seen() {
        let hint = || UsageHint::new().model(format!(" a\n\u{202e}b {}", "x".repeat(300)));
        let name = line("/v1/chat/completions", hint(), "{}").await["model"].as_str().unwrap().to_owned();
        assert!(name.starts_with("ab xxx") && name.len() == 200, "{name}");
        let of_path = line("/model/%20m%0A%20/converse", UsageHint::new(), "{}").await;
        assert_eq!(of_path["model"], "m");
        let nothing = line("/model/%20/converse", hint(), "{}").await;
        assert!(nothing["model"].as_str().unwrap().starts_with("ab"));
    }
}

/// Bedrock's InvokeModel answers in the model's own format, and with counts in the head.
mod invoke_model {
    use super::*;

    async fn line(path: &str, headers: &[(&str, &str)], body: &'static str) -> serde_json::Value {
        let recording = Recording::start();
        let mut response = Response::builder().header("content-type", "application/json");
        for (name, value) in headers {
            response = response.header(format!("x-amzn-bedrock-{name}-token-count"), *value);
        }
        pass(&recording, post(path), response.body(Full::from(body)).unwrap()).await;
        recording.line().await
    }

    const INVOKE: &str = "/model/mistral.mistral-7b-instruct-v0:2/invoke";

    #[tokio::test]
    async fn gives_the_counts_of_the_head_where_the_body_has_none() {
        let headers =
            [("input", "8"), ("output", "129"), ("cache-read-input", "4"), ("cache-write-input", "1")];
        let line = line(INVOKE, &headers, r#"{"outputs":[{"text":"Hi","stop_reason":"stop"}]}"#).await;
        assert_eq!((&line["prompt_tokens"], &line["completion_tokens"]), (&13.into(), &129.into()));
        assert_eq!((&line["total_tokens"], &line["usage"]), (&142.into(), &"complete".into()));
        assert_eq!((&line["cache_read_tokens"], &line["cache_write_tokens"]), (&4.into(), &1.into()));
        assert_eq!(line["provider"], "aws.bedrock");
    }

    #[tokio::test]
    async fn counts_what_is_in_both_once() {
        let headers = [("input", "3"), ("cache-read-input", "40"), ("output", "6")];
        let body = r#"{"type":"message","model":"claude","usage":{"input_tokens":3,"cache_read_input_tokens":40,"output_tokens":5}}"#;
        let line = line(INVOKE, &headers, body).await;
        assert_eq!((&line["prompt_tokens"], &line["completion_tokens"]), (&43.into(), &5.into()));
    }

    #[tokio::test]
    async fn completes_a_count_that_a_guardrail_cut_short() {
        let headers = [("input", "30"), ("output", "51")];
        let line = line(INVOKE, &headers, r#"{"usage":{"inputTokens":30}}"#).await;
        assert_eq!((&line["total_tokens"], &line["usage"]), (&81.into(), &"complete".into()));
    }

    #[tokio::test]
    async fn is_the_only_call_whose_head_is_believed() {
        let line = line("/v1/chat/completions", &[("input", "8"), ("output", "129")], "{}").await;
        assert_eq!(line["usage"], "missing");
        let broken = self::line(INVOKE, &[("input", "-8"), ("output", "many")], "{}").await;
        assert_eq!(broken["usage"], "missing");
    }
}

/// Keys, wherever they are put, and what a provider says of them.
mod secrets {
    use super::*;

    const SECRET: &str = "sk-very-secret-0123456789";

    /// F33: Debug of every public type, the file, the log of a panic: the key is in none of them.
    #[tokio::test]
    async fn a_key_is_nowhere_to_be_found() {
        for (uri, header) in [
            ("/v1/chat/completions", Some(("authorization", format!("Bearer {SECRET}")))),
            ("/v1/chat/completions", Some(("x-api-key", SECRET.to_owned()))),
            ("/v1/chat/completions", Some(("api-key", SECRET.to_owned()))),
            ("/v1/chat/completions", Some(("x-goog-api-key", SECRET.to_owned()))),
            (&*format!("/v1beta/models/gemini-pro:generateContent?key={SECRET}"), None),
        ] {
            let recording = Recording::start();
            let mut request = post(uri);
            if let Some((name, value)) = header {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
            let error = format!(
                r#"{{"error":{{"type":"invalid_api_key","message":"Incorrect API key: {SECRET}"}}}}"#
            );
            let response = Response::builder().status(401).body(Full::<Bytes>::from(error)).unwrap();
            let mut response = Some(response);
            let mut service = recording.layer().layer(service_fn(move |_: Request<_>| {
                std::future::ready(Ok::<_, Infallible>(response.take().unwrap()))
            }));
            let mut shown = format!("{:?} {:?} {service:?}", recording.usage, recording.layer());
            // What the provider says goes to the client, and nowhere else.
            service.call(request).await.unwrap().into_body().collect().await.unwrap();
            shown += &format!("{:?}", recording.usage.status());
            let hash = KeyHash::of(SECRET.as_bytes());
            shown += &format!("{hash:?} {hash}");
            let line = recording.line().await;
            shown += &line.to_string();
            assert!(!shown.contains(SECRET), "{shown}");
            assert_eq!(line["api_key_hash"], hash.to_string(), "{uri}");
        }
    }
}
