//! What the routes answer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_llm_usage::{Config, Ending, MetricsBody, PeerAddr, Timestamp, Tokens, Usage, UsageEvent};

const KEY: &str = "correct horse battery staple";
const PREFIX: &str = "/v0/management/qs";

struct Server {
    usage: Usage,
    dir: tempfile::TempDir,
}

impl Server {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(set: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::recording_to(dir.path().join("usage.json"));
        config.remote_management.secret_key = KEY.into();
        set(&mut config);
        Self { usage: Usage::open(config).unwrap(), dir }
    }

    /// Asks as somebody on this machine with the right key.
    async fn ask(&self, method: Method, path: &str) -> Response<MetricsBody> {
        self.ask_with(method, path, &[], "").await
    }

    async fn ask_with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response<MetricsBody> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8317")
            .header("authorization", format!("Bearer {KEY}"))
            .extension(PeerAddr(([127, 0, 0, 1], 5000).into()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.usage.metrics_service().oneshot(request.body(body.to_owned()).unwrap()).await.unwrap()
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let response = self.ask(Method::GET, &format!("{PREFIX}/{path}")).await;
        let status = response.status();
        (status, serde_json::from_str(&text(response).await).unwrap())
    }

    /// Records events of a model, each with so many tokens of input, at these times.
    fn record(&self, model: &'static str, input: u64, times: &[&str]) {
        for time in times {
            self.usage.record(event(model, input, time));
        }
    }
}

fn event(model: &'static str, input: u64, time: &str) -> UsageEvent {
    let mut event = UsageEvent::new(time.parse().unwrap(), model);
    event.tokens.input = Some(input);
    event.tokens.output = Some(1);
    event.tokens.total = Some(input + 1);
    event
}

async fn text(response: Response<MetricsBody>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const DAY: &str = "metrics?from=2026-03-01T00:00:00Z&to=2026-03-01T23:59:59.999Z";

/// R1
#[tokio::test]
async fn health_says_that_it_works_and_where_the_events_are() {
    let server = Server::new();
    server.record("m", 1, &["2026-03-01T10:00:00Z"]);
    server.usage.flush().await.unwrap();
    let (status, health) = server.get("health").await;
    assert_eq!(status, 200);
    for (field, value) in [
        ("ok", json!(true)),
        ("status", json!("ok")),
        ("recording", json!(true)),
        ("observed", json!(1)),
        ("persisted", json!(1)),
        ("queued", json!(0)),
        ("dropped", json!(0)),
        ("events", json!(1)),
    ] {
        assert_eq!(health[field], value, "{field}");
    }
}

mod metrics {
    use super::*;

    /// R2, R9: nothing is flushed here.
    #[tokio::test]
    async fn have_totals_models_and_hours_of_all_that_was_recorded() {
        let server = Server::new();
        server.record("small", 9, &["2026-03-01T10:00:00Z", "2026-03-01T10:59:59.999Z"]);
        server.record("large", 99, &["2026-03-01T12:30:00+01:00"]);
        let mut failed = UsageEvent::new("2026-03-01T11:00:00Z".parse().unwrap(), "small");
        failed.status = 500;
        failed.tokens = Tokens::default();
        failed.end = Some(Ending::UpstreamError);
        server.usage.record(failed);

        let (status, mut answer) = server.get(DAY).await;
        assert_eq!(status, 200);
        let counts = |tokens: u64, requests: u64, errors: u64| {
            let input = tokens - (requests - errors);
            json!({
                "tokens": tokens, "requests": requests, "errors": errors, "aborted": 0, "unknown_usage": errors,
                "prompt_tokens": input, "completion_tokens": requests - errors, "cache_read_tokens": 0,
                "cache_write_tokens": 0, "cache_write_1h_tokens": 0, "reasoning_tokens": 0,
            })
        };
        let named = |name: &str, value: &str, mut counts: Value| {
            counts[name] = json!(value);
            counts
        };
        let meta = answer.as_object_mut().unwrap().remove("meta").unwrap();
        assert_eq!(
            answer,
            json!({
                "from": "2026-03-01T00:00:00.000Z",
                "to": "2026-03-01T23:59:59.999Z",
                "totals": counts(120, 4, 1),
                "by_model": [named("model", "large", counts(100, 1, 0)), named("model", "small", counts(20, 3, 1))],
                "timeseries": [
                    named("bucket_start", "2026-03-01T10:00:00Z", counts(20, 2, 0)),
                    named("bucket_start", "2026-03-01T11:00:00Z", counts(100, 2, 1)),
                ],
                "groups": [],
                "previous": null,
            })
        );
        for (field, value) in [
            ("from", json!("2026-03-01T00:00:00.000Z")),
            ("to", json!("2026-03-01T23:59:59.999Z")),
            ("interval", json!("hour")),
            ("tz", json!("UTC")),
            ("fill", json!(null)),
            ("filters", json!({})),
            ("group_by", json!([])),
            ("compare", json!(null)),
            ("limit", json!(100)),
            ("sort", json!("tokens")),
            ("events", json!(4)),
        ] {
            assert_eq!(meta[field], value, "{field}");
        }
    }

    /// R4
    #[tokio::test]
    async fn include_both_ends_to_the_millisecond() {
        let server = Server::new();
        server.record(
            "m",
            0,
            &["2026-03-01T10:00:00.001Z", "2026-03-01T10:00:00.002Z", "2026-03-01T10:00:00.003Z"],
        );
        for (from, to, requests) in
            [("001", "003", 3), ("002", "003", 2), ("001", "002", 2), ("002", "002", 1)]
        {
            let query = format!("metrics?from=2026-03-01T10:00:00.{from}Z&to=2026-03-01T10:00:00.{to}Z");
            assert_eq!(server.get(&query).await.1["totals"]["requests"], requests, "{query}");
        }
    }

    /// R4
    #[tokio::test]
    async fn are_of_the_last_day_by_default() {
        let server = Server::new();
        let now = Timestamp::now().unix_millis();
        for ago in [60_000, 86_000_000, 87_000_000] {
            server.usage.record(UsageEvent::new(Timestamp::from_unix_millis(now - ago), "m"));
        }
        assert_eq!(server.get("metrics").await.1["totals"]["requests"], 2);
        assert_eq!(server.get("metrics?from=&to=&model=").await.1["totals"]["requests"], 2);
    }

    /// R5
    #[tokio::test]
    async fn refuse_a_range_that_is_none() {
        let server = Server::new();
        for (query, error, code) in [
            ("from=x", "invalid 'from' timestamp format, expected RFC3339", "invalid_from"),
            ("to=x", "invalid 'to' timestamp format, expected RFC3339", "invalid_to"),
            (
                "from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z",
                "'to' must be after 'from'",
                "invalid_range",
            ),
        ] {
            let (status, body) = server.get(&format!("metrics?{query}")).await;
            assert_eq!(status, 400);
            assert_eq!((&body["error"], &body["code"]), (&json!(error), &json!(code)));
        }
    }

    /// R6
    #[tokio::test]
    async fn of_one_model_are_exact_and_of_an_unknown_one_zero() {
        let server = Server::new();
        server.record("gpt-4o", 1, &["2026-03-01T10:00:00Z"]);
        server.record("gpt-4o-mini", 1, &["2026-03-01T10:00:00Z"]);
        let (_, one) = server.get(&format!("{DAY}&model=gpt-4o")).await;
        assert_eq!((&one["totals"]["requests"], one["by_model"].as_array().unwrap().len()), (&json!(1), 1));
        for model in ["GPT-4o", "gpt", "nobody"] {
            let (status, none) = server.get(&format!("{DAY}&model={model}")).await;
            assert_eq!((status.as_u16(), &none["totals"]["tokens"]), (200, &json!(0)));
            assert_eq!((&none["by_model"], &none["timeseries"]), (&json!([]), &json!([])));
        }
    }

    /// R7
    #[tokio::test]
    async fn sort_models_by_tokens_then_requests_then_name() {
        let server = Server::new();
        let time = "2026-03-01T10:00:00Z";
        server.record("b", 9, &[time]);
        server.record("a", 9, &[time]);
        server.record("c", 4, &[time, time]);
        server.record("d", 99, &[time]);
        let (_, answer) = server.get(DAY).await;
        let models: Vec<_> = answer["by_model"].as_array().unwrap().iter().map(|row| &row["model"]).collect();
        assert_eq!(models, ["d", "c", "a", "b"]);
    }

    /// R8
    #[tokio::test]
    async fn have_one_bucket_an_hour_whatever_the_offset() {
        let server = Server::new();
        server.record(
            "m",
            1,
            &[
                "2026-03-01T10:10:00Z",
                "2026-03-01T12:20:00+02:00",
                "2026-03-01T15:45:00+05:30",
                "2026-03-01T08:00:00Z",
            ],
        );
        let (_, answer) = server.get(DAY).await;
        let hours: Vec<_> =
            answer["timeseries"].as_array().unwrap().iter().map(|hour| &hour["bucket_start"]).collect();
        assert_eq!(hours, ["2026-03-01T08:00:00Z", "2026-03-01T10:00:00Z"]);
    }
}

#[tokio::test]
async fn status_says_where_the_events_are_and_how_file_and_index_are() {
    let server = Server::with(|config| {
        let settings = &mut config.usage_statistics;
        (settings.max_events, settings.max_models, settings.max_keys) = (1, 5, 7);
    });
    server.record("m", 1, &["2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"]);
    server.usage.flush().await.unwrap();
    let (code, status) = server.get("status").await;
    assert_eq!(code, 200);
    for (field, value) in [
        ("/recording", json!(true)),
        ("/observed", json!(2)),
        ("/persisted", json!(2)),
        ("/queued", json!(0)),
        ("/dropped", json!(0)),
        ("/dropped_by/queue_full", json!(0)),
        ("/last_error", json!(null)),
        ("/reason", json!(null)),
        ("/bad_lines", json!(0)),
        ("/segments", json!(0)),
        // One more than may be kept: of the first there is only its sum.
        ("/index/events", json!(1)),
        ("/index/max_events", json!(1)),
        ("/index/aggregated", json!(1)),
        ("/index/aggregated_by_cap", json!(1)),
        ("/index/models", json!(1)),
        ("/index/max_models", json!(5)),
        ("/index/keys", json!(0)),
        ("/index/max_keys", json!(7)),
        ("/index/first", json!("2026-03-01T10:00:00.000Z")),
        ("/index/last", json!("2026-03-01T11:00:00.000Z")),
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(status.pointer(field), Some(&value), "{field}");
    }
    let bytes = |field| status.pointer(field).and_then(Value::as_u64).unwrap();
    assert!(bytes("/index/bytes") > 0 && bytes("/file_bytes") > 100, "{status}");
    for time in ["since", "last_flush"] {
        assert!(status[time].as_str().unwrap().parse::<Timestamp>().unwrap() <= Timestamp::now(), "{time}");
    }
}

/// Two models, two keys, two providers, on two days; one call failed, one broke off, one has no counts.
fn sample() -> Server {
    let server = Server::new();
    let key = |key: &str| Some(tower_llm_usage::KeyHash::of(key.as_bytes()));
    for (at, model, input, set) in [
        ("2026-03-01T09:10:00Z", "gpt-4o", 10, 0),
        ("2026-03-01T09:20:00Z", "gpt-4o", 20, 1),
        ("2026-03-01T10:00:00Z", "gpt-4o-mini", 30, 2),
        ("2026-03-01T23:30:00Z", "claude", 40, 3),
        ("2026-03-02T08:00:00Z", "claude", 50, 4),
    ] {
        let mut event = event(model, input, at);
        event.provider = Some(if model == "claude" { "anthropic" } else { "openai" }.into());
        event.operation = Some("chat".into());
        event.endpoint = Some("POST /v1/chat/completions".into());
        event.key = key(if set < 3 { "alice" } else { "bob" });
        event.stream = Some(set % 2 == 1);
        event.duration = Some(Duration::from_millis(100 * (set + 1)));
        event.time_to_first_byte = Some(Duration::from_millis(10 * (set + 1)));
        match set {
            1 => (event.status, event.end) = (429, Some(Ending::UpstreamError)),
            2 => event.end = Some(Ending::ClientClosed),
            4 => event.key = None,
            _ => event.tokens.cache_read = Some(5),
        }
        server.usage.record(event);
    }
    server
}

const TWO_DAYS: &str = "from=2026-03-01&to=2026-03-02";

mod questions {
    use super::*;

    async fn requests(server: &Server, query: &str) -> Value {
        let (status, answer) = server.get(&format!("metrics?{TWO_DAYS}&{query}")).await;
        assert_eq!(status, 200, "{query}: {answer}");
        answer["totals"]["requests"].clone()
    }

    #[tokio::test]
    async fn are_about_the_events_that_fit_all_filters() {
        let server = sample();
        let alice = tower_llm_usage::KeyHash::of(b"alice").to_string();
        for (query, expected) in [
            ("model=gpt-4o", 2),
            ("model=gpt-4o*", 3),
            ("model=!gpt-4o", 3),
            ("model=gpt-4o&model=claude", 4),
            ("model=gpt-*&model=!gpt-4o-mini", 2),
            ("provider=anthropic", 2),
            ("provider=anthropic&model=gpt-4o", 0),
            ("status=4xx", 1),
            ("status=429", 1),
            ("status=!429", 4),
            ("status=2xx&status=429", 5),
            ("stream=true", 2),
            ("endpoint=POST+/v1/chat/*", 5),
            ("operation=embeddings", 0),
            ("key=!*", 1),
            ("key=*", 4),
            (&format!("key={alice}"), 3),
            (&format!("key={}*", &alice[..8]), 3),
            ("usage=!*", 5),
        ] {
            assert_eq!(requests(&server, query).await, expected, "{query}");
        }
    }

    #[tokio::test]
    async fn cut_time_as_they_say() {
        let server = sample();
        for (query, starts) in [
            (
                "",
                &[
                    "2026-03-01T09:00:00Z",
                    "2026-03-01T10:00:00Z",
                    "2026-03-01T23:00:00Z",
                    "2026-03-02T08:00:00Z",
                ][..],
            ),
            ("interval=day", &["2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"]),
            // From the first day on in Berlin, which began an hour before.
            ("interval=day&tz=Europe/Berlin", &["2026-02-28T23:00:00Z", "2026-03-01T23:00:00Z"]),
            ("interval=week", &["2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"]),
            ("interval=month&tz=Asia/Kathmandu", &["2026-02-28T18:15:00Z"]),
            ("interval=15m&model=gpt-4o", &["2026-03-01T09:00:00Z", "2026-03-01T09:15:00Z"]),
            ("interval=none", &[]),
        ] {
            let (_, answer) = server.get(&format!("metrics?{TWO_DAYS}&{query}")).await;
            let cut: Vec<_> =
                answer["timeseries"].as_array().unwrap().iter().map(|piece| &piece["bucket_start"]).collect();
            assert_eq!(cut, starts, "{query}");
            let requests = |piece: &Value| piece["requests"].as_u64().unwrap();
            let sum: u64 = answer["timeseries"].as_array().unwrap().iter().map(requests).sum();
            assert!(starts.is_empty() || sum == requests(&answer["totals"]), "F26: {answer}");
        }
    }

    #[tokio::test]
    async fn fill_gaps_with_zero_if_they_say_so() {
        let server = sample();
        let (_, answer) = server.get(&format!("metrics?{TWO_DAYS}&fill=zero")).await;
        let hours = answer["timeseries"].as_array().unwrap();
        assert_eq!(hours.len(), 48);
        assert_eq!(
            (&hours[0]["bucket_start"], &hours[0]["requests"]),
            (&json!("2026-03-01T00:00:00Z"), &json!(0))
        );
        assert_eq!(hours[9]["requests"], 2);
        assert_eq!(answer["meta"]["fill"], "zero");
    }

    #[tokio::test]
    async fn group_by_one_dimension_or_two() {
        let server = sample();
        let query = "group_by=model&group_by=status,stream&group_by=weekday,hour_of_day&group_by=key&metrics=requests";
        let (_, answer) = server.get(&format!("metrics?{TWO_DAYS}&{query}")).await;
        let [models, statuses, heat, keys] = &**answer["groups"].as_array().unwrap() else {
            panic!("{answer}")
        };
        assert_eq!(
            *models,
            json!({
                "by": ["model"],
                "rows": [
                    { "model": "claude", "tokens": 92, "requests": 2 },
                    { "model": "gpt-4o", "tokens": 32, "requests": 2 },
                    { "model": "gpt-4o-mini", "tokens": 31, "requests": 1 },
                ],
                "other": null,
            })
        );
        assert_eq!(statuses["by"], json!(["status", "stream"]));
        assert!(statuses["rows"].as_array().unwrap().contains(&json!({
            "status": "4xx", "stream": true, "tokens": 21, "requests": 1
        })));
        assert!(heat["rows"].as_array().unwrap().contains(&json!({
            "weekday": 7, "hour_of_day": 9, "tokens": 32, "requests": 2
        })));
        let unknown = keys["rows"].as_array().unwrap().iter().find(|row| row["key"].is_null()).unwrap();
        assert_eq!(unknown["requests"], 1);
    }

    #[tokio::test]
    async fn keep_the_largest_groups_and_fold_the_rest() {
        let server = sample();
        let query = "group_by=model&limit=1&sort=requests&series=groups&interval=day&metrics=requests";
        let (_, answer) = server.get(&format!("metrics?{TWO_DAYS}&{query}")).await;
        assert_eq!(
            answer["groups"][0],
            json!({
                "by": ["model"],
                "rows": [{
                    "model": "claude", "tokens": 92, "requests": 2,
                    "timeseries": [
                        { "bucket_start": "2026-03-01T00:00:00Z", "tokens": 41, "requests": 1 },
                        { "bucket_start": "2026-03-02T00:00:00Z", "tokens": 51, "requests": 1 },
                    ],
                }],
                "other": {
                    "values": 2, "tokens": 63, "requests": 3,
                    "timeseries": [{ "bucket_start": "2026-03-01T00:00:00Z", "tokens": 63, "requests": 3 }],
                },
            })
        );
    }

    #[tokio::test]
    async fn measure_what_they_name() {
        let server = sample();
        let (_, answer) = server.get(&format!("metrics?{TWO_DAYS}&metrics=all")).await;
        let totals = answer["totals"].as_object().unwrap();
        assert_eq!(totals.len(), 22);
        for (measure, value) in [
            ("errors", json!(1)),
            ("aborted", json!(1)),
            ("cache_read_tokens", json!(10)),
            ("duration_avg_ms", json!(300.0)),
            ("ttft_avg_ms", json!(30.0)),
        ] {
            assert_eq!(totals[measure], value, "{measure}");
        }
        let close = |measure: &str, to: f64| (totals[measure].as_f64().unwrap() - to).abs() <= to * 0.01;
        assert!(close("duration_p50_ms", 300.0) && close("duration_p99_ms", 500.0), "{answer}");
        let (_, none) =
            server.get("metrics?from=2020-01-01&to=2020-01-02&metrics=duration_p50_ms,errors").await;
        let expected = json!({ "tokens": 0, "requests": 0, "errors": 0, "duration_p50_ms": null });
        assert_eq!(none["totals"], expected);
    }

    #[tokio::test]
    async fn compare_with_the_range_before() {
        let server = sample();
        let query = "metrics?from=2026-03-02&to=2026-03-02&compare=previous&interval=day&metrics=requests";
        let (_, answer) = server.get(query).await;
        assert_eq!(
            answer["previous"],
            json!({
                "from": "2026-03-01T00:00:00.000Z",
                "to": "2026-03-01T23:59:59.999Z",
                "totals": { "tokens": 104, "requests": 4 },
                "timeseries": [{ "bucket_start": "2026-03-01T00:00:00Z", "tokens": 104, "requests": 4 }],
            })
        );
        assert_eq!(answer["totals"]["requests"], 1);
    }

    #[tokio::test]
    async fn are_answered_in_rows_if_they_say_so() {
        let server = sample();
        for (query, rows) in [
            (
                "interval=day",
                "bucket_start,tokens,requests\r\n2026-03-01T00:00:00Z,104,4\r\n2026-03-02T00:00:00Z,51,1\r\n",
            ),
            ("interval=none", "tokens,requests\r\n155,5\r\n"),
            ("group_by=model&limit=1", "model,tokens,requests\r\nclaude,92,2\r\n__rest__,63,3\r\n"),
            (
                "group_by=model,stream&series=groups&interval=day&limit=1",
                "model,stream,bucket_start,tokens,requests\r\nclaude,false,2026-03-02T00:00:00Z,51,1\r\n\
                 __rest__,__rest__,2026-03-01T00:00:00Z,104,4\r\n",
            ),
        ] {
            let path = format!("{PREFIX}/metrics?{TWO_DAYS}&metrics=requests&format=csv&{query}");
            let response = server.ask(Method::GET, &path).await;
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/csv; charset=utf-8");
            assert_eq!(text(response).await, rows, "{query}");
        }
        let path = format!("{PREFIX}/metrics?{TWO_DAYS}&metrics=requests&format=jsonl&interval=day");
        let response = server.ask(Method::GET, &path).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/jsonl");
        let lines = text(response).await;
        assert_eq!(
            lines,
            "{\"bucket_start\":\"2026-03-01T00:00:00Z\",\"tokens\":104,\"requests\":4}\n\
             {\"bucket_start\":\"2026-03-02T00:00:00Z\",\"tokens\":51,\"requests\":1}\n"
        );
    }

    #[tokio::test]
    async fn that_would_name_too_many_pieces_are_refused() {
        let server = sample();
        let (status, body) = server.get("metrics?from=1970-01-01&interval=15m&fill=zero").await;
        assert_eq!((status.as_u16(), &body["code"]), (400, &json!("too_many_buckets")));
    }
}

mod events {
    use super::*;

    #[tokio::test]
    async fn come_newest_first_by_the_names_of_the_usage_file() {
        let server = sample();
        let (status, page) = server.get(&format!("events?{TWO_DAYS}&model=gpt-4o")).await;
        assert_eq!(status, 200);
        assert_eq!(page["next"], json!(null));
        let events = page["events"].as_array().unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!(
            events[1],
            json!({
                "timestamp": "2026-03-01T09:10:00.000Z",
                "model": "gpt-4o",
                "prompt_tokens": 10,
                "completion_tokens": 1,
                "total_tokens": 11,
                "status": 200,
                "api_key_hash": tower_llm_usage::KeyHash::of(b"alice"),
                "provider": "openai",
                "operation": "chat",
                "endpoint": "POST /v1/chat/completions",
                "stream": false,
                "cache_read_tokens": 5,
                "duration_ms": 100,
                "ttft_ms": 10,
            })
        );
        assert_eq!(events[0]["end"], "upstream_error");
    }

    #[tokio::test]
    async fn come_once_each_however_many_arrive_meanwhile() {
        let server = Server::new();
        let times: Vec<_> = (0..10).map(|n| format!("2026-03-01T10:00:0{}.000Z", n / 2)).collect();
        for (n, time) in times.iter().enumerate() {
            server.usage.record(event("m", n as u64, time));
        }
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let (_, page) =
                server.get(&format!("events?from=2026-03-01&to=2026-03-01&limit=3&cursor={cursor}")).await;
            let tokens = page["events"]
                .as_array()
                .unwrap()
                .iter()
                .map(|event| event["prompt_tokens"].as_u64().unwrap());
            seen.extend(tokens);
            // Also in the very millisecond that the page ended in.
            server.record("late", 100, &["2026-03-01T12:00:00Z", "2026-03-01T10:00:03Z"]);
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        let early: Vec<_> = seen.iter().copied().filter(|tokens| *tokens < 100).collect();
        assert_eq!(early, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }

    #[tokio::test]
    async fn are_exported_as_a_file() {
        let server = sample();
        server.record("=cmd()|x", 1, &["2026-03-02T09:00:00Z"]);
        let response = server.ask(Method::GET, &format!("{PREFIX}/export?{TWO_DAYS}")).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/csv; charset=utf-8");
        assert_eq!(
            response.headers()[header::CONTENT_DISPOSITION],
            "attachment; filename=\"usage-2026-03-01-2026-03-02.csv\""
        );
        let csv = text(response).await;
        let mut lines = csv.split("\r\n");
        assert!(lines.next().unwrap().starts_with("timestamp,model,prompt_tokens,"));
        assert!(lines.next().unwrap().starts_with("2026-03-01T09:10:00.000Z,gpt-4o,10,1,11,200,"));
        assert!(csv.contains("\"'=cmd()|x\""), "no spreadsheet runs it");
        assert_eq!(csv.matches("\r\n").count(), 7);

        let lines = text(
            server.ask(Method::GET, &format!("{PREFIX}/export?{TWO_DAYS}&format=jsonl&model=cl*")).await,
        )
        .await;
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (_, page) = server.get(&format!("events?{TWO_DAYS}&model=cl*")).await;
        let newest_first: Vec<_> = lines.into_iter().rev().collect();
        assert_eq!(page["events"].as_array().unwrap(), &newest_first);
    }

    #[tokio::test]
    async fn are_exported_piece_by_piece() {
        let server = Server::new();
        for n in 0..5000 {
            server.usage.record(event("a-model-with-a-name", n, "2026-03-01T10:00:00Z"));
        }
        let path = format!("{PREFIX}/export?from=2026-03-01&to=2026-03-01&format=jsonl");
        let mut body = server.ask(Method::GET, &path).await.into_body();
        let (mut pieces, mut lines) = (0, Vec::new());
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() < 64 << 10);
            pieces += 1;
            lines.extend_from_slice(&piece);
        }
        assert!(pieces > 5);
        let lines = String::from_utf8(lines).unwrap();
        for (n, line) in lines.lines().enumerate() {
            assert_eq!(serde_json::from_str::<Value>(line).unwrap()["prompt_tokens"], n);
        }
        assert_eq!(lines.lines().count(), 5000);
    }

    /// R10, F35: nothing is read again to list what there is.
    #[tokio::test]
    async fn have_values_to_choose_from_though_the_file_is_empty_by_now() {
        let server = sample();
        server.usage.flush().await.unwrap();
        let (_, before) = server.get(&format!("dimensions?{TWO_DAYS}&dimension=model")).await;
        std::fs::write(server.dir.path().join("usage.json"), "").unwrap();
        let (_, after) = server.get(&format!("dimensions?{TWO_DAYS}&dimension=model")).await;
        assert_eq!((before["values"].as_array().unwrap().len(), before), (3, after));
    }

    #[tokio::test]
    async fn have_values_to_choose_from() {
        let server = sample();
        for (query, values, more) in [
            ("dimension=model", json!([["claude", 2], ["gpt-4o", 2], ["gpt-4o-mini", 1]]), 0),
            ("dimension=model&q=gpt-4o&limit=1", json!([["gpt-4o", 2]]), 1),
            ("dimension=provider&model=claude", json!([["anthropic", 2]]), 0),
            ("dimension=status", json!([["2xx", 4], ["4xx", 1]]), 0),
            ("dimension=status_code&q=4", json!([["429", 1]]), 0),
        ] {
            let (status, answer) = server.get(&format!("dimensions?{TWO_DAYS}&{query}")).await;
            assert_eq!((status.as_u16(), &answer["more"]), (200, &json!(more)), "{query}: {answer}");
            let listed =
                answer["values"].as_array().unwrap().iter().map(|row| json!([row["value"], row["requests"]]));
            assert_eq!(Value::Array(listed.collect()), values, "{query}");
        }
    }
}

mod prometheus {
    use super::*;

    async fn scrape(server: &Server, accept: &str) -> (String, String) {
        let path = format!("{PREFIX}/prometheus");
        let response = server.ask_with(Method::GET, &path, &[("accept", accept)], "").await;
        assert_eq!(response.status(), 200);
        let content_type = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        (content_type, text(response).await)
    }

    #[tokio::test]
    async fn counts_the_whole_history_by_kinds_that_do_not_overlap() {
        let server = sample();
        let (content_type, page) = scrape(&server, "").await;
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        for line in [
            "# TYPE llm_usage_requests_total counter",
            "llm_usage_requests_total{model=\"gpt-4o\",status=\"2xx\"} 1",
            "llm_usage_requests_total{model=\"gpt-4o\",status=\"4xx\"} 1",
            "llm_usage_tokens_total{model=\"gpt-4o\",provider=\"openai\",type=\"input\"} 25",
            "llm_usage_tokens_total{model=\"gpt-4o\",provider=\"openai\",type=\"cache_read\"} 5",
            "llm_usage_tokens_total{model=\"gpt-4o\",provider=\"openai\",type=\"output\"} 2",
            "llm_usage_errors_total{model=\"gpt-4o\",provider=\"openai\"} 1",
            "llm_usage_aborted_total{model=\"gpt-4o-mini\",provider=\"openai\"} 1",
            "# TYPE llm_usage_duration_seconds histogram",
            "llm_usage_duration_seconds_bucket{model=\"gpt-4o\",provider=\"openai\",le=\"0.1\"} 1",
            "llm_usage_duration_seconds_bucket{model=\"gpt-4o\",provider=\"openai\",le=\"0.25\"} 2",
            "llm_usage_duration_seconds_bucket{model=\"gpt-4o\",provider=\"openai\",le=\"+Inf\"} 2",
            "llm_usage_duration_seconds_sum{model=\"gpt-4o\",provider=\"openai\"} 0.3",
            "llm_usage_duration_seconds_count{model=\"gpt-4o\",provider=\"openai\"} 2",
            "llm_usage_first_byte_seconds_count{model=\"claude\",provider=\"anthropic\"} 2",
            "llm_usage_events_observed_total 5",
            "llm_usage_events_dropped_total{reason=\"queue_full\"} 0",
            "llm_usage_recording 1",
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
        assert!(!page.contains("key="), "only if it is asked for");
        assert!(!page.contains("# EOF") && page.ends_with('\n'));
    }

    #[tokio::test]
    async fn speaks_openmetrics_to_whoever_prefers_it() {
        let server = sample();
        let (content_type, page) =
            scrape(&server, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5").await;
        assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
        assert!(page.contains("# TYPE llm_usage_requests counter\nllm_usage_requests_total{"), "{page}");
        assert!(page.contains("# UNIT llm_usage_duration_seconds seconds\n"));
        assert!(page.ends_with("# EOF\n"));
    }

    #[tokio::test]
    async fn counts_by_key_if_that_is_configured() {
        let server = Server::with(|config| config.remote_management.prometheus_key_label = true);
        let mut event = event("m", 9, "2026-03-01T10:00:00Z");
        let key = tower_llm_usage::KeyHash::of(b"alice");
        event.key = Some(key);
        server.usage.record(event);
        let (_, page) = scrape(&server, "").await;
        for line in [
            format!("llm_usage_key_requests_total{{key=\"{key}\",model=\"m\"}} 1"),
            format!("llm_usage_key_tokens_total{{key=\"{key}\",model=\"m\",type=\"input\"}} 9"),
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
    }

    /// F43
    #[tokio::test]
    async fn has_as_many_series_as_there_may_be_and_they_add_up() {
        let server = Server::new();
        for n in 0..1200 {
            let mut event = UsageEvent::new("2026-03-01T10:00:00Z".parse().unwrap(), format!("model-{n}"));
            (event.tokens.input, event.tokens.output, event.tokens.total) = (Some(2), Some(1), Some(3));
            server.usage.record(event);
        }
        for _ in 0..2 {
            let (_, page) = scrape(&server, "").await;
            let requests: Vec<_> =
                page.lines().filter(|line| line.starts_with("llm_usage_requests_total{")).collect();
            assert_eq!(requests.len(), 501);
            assert!(requests.iter().any(|line| line.contains("__other__") && line.ends_with(" 700")));
            assert_eq!(sum(&page, "llm_usage_tokens_total{"), 3600);
        }
    }
}

/// The sum of a counter's series.
fn sum(page: &str, series: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with(series));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

mod openapi {
    use super::*;

    /// Compiled for one of the document's schemas.
    fn schema(document: &Value, name: &str) -> jsonschema::Validator {
        let mut schema = document.clone();
        schema["$ref"] = json!(format!("#/components/schemas/{name}"));
        jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
    }

    #[tokio::test]
    async fn says_what_is_answered() {
        let server = sample();
        let (status, document) = server.get("openapi.json").await;
        assert_eq!((status.as_u16(), &document["openapi"]), (200, &json!("3.1.0")));
        assert_eq!(document["servers"][0]["url"], PREFIX);
        let tables =
            "group_by=model&group_by=weekday,hour_of_day&group_by=stream,status_code&limit=1&series=groups";
        for (query, name) in [
            ("health".to_owned(), "Health"),
            ("status".to_owned(), "Status"),
            (format!("metrics?{TWO_DAYS}"), "Metrics"),
            (
                format!("metrics?{TWO_DAYS}&metrics=all&{tables}&compare=previous&fill=zero&model=!x"),
                "Metrics",
            ),
            ("metrics?from=2020-01-01&to=2020-01-02&metrics=all".to_owned(), "Metrics"),
            (format!("events?{TWO_DAYS}&limit=2"), "Events"),
            (format!("dimensions?{TWO_DAYS}&dimension=model"), "Dimensions"),
            ("metrics?from=x".to_owned(), "Error"),
            ("nothing".to_owned(), "Error"),
        ] {
            let (_, answer) = server.get(&query).await;
            let validator = schema(&document, name);
            let errors: Vec<_> = validator
                .iter_errors(&answer)
                .map(|error| format!("{}: {error}", error.instance_path()))
                .collect();
            assert!(errors.is_empty(), "{query}: {errors:#?}\n{answer:#}");
        }
        let path = format!("{PREFIX}/recording");
        let response = server.ask_with(Method::POST, &path, &[], r#"{"enabled":true}"#).await;
        let answer = serde_json::from_str(&text(response).await).unwrap();
        assert!(schema(&document, "Recording").is_valid(&answer));
    }

    /// What is said to be allowed is understood, and what is not is refused.
    #[tokio::test]
    async fn says_what_can_be_asked() {
        let server = sample();
        let (_, document) = server.get("openapi.json").await;
        for (path, operations) in document["paths"].as_object().unwrap() {
            let Some(get) = operations.get("get") else { continue };
            let needed = if path == "/dimensions" { "dimension=model&" } else { "" };
            for parameter in get["parameters"].as_array().unwrap() {
                let name = parameter["name"].as_str().unwrap();
                if name == "dimension" {
                    continue;
                }
                let schema = match parameter["schema"]["type"].as_str() {
                    Some("array") => &parameter["schema"]["items"],
                    _ => &parameter["schema"],
                };
                let validator = jsonschema::options().should_validate_formats(true).build(schema).unwrap();
                for value in [
                    "",
                    "x",
                    "0",
                    "1",
                    "50",
                    "10001",
                    "2026-03-01",
                    "2026-03-01T10:00:00Z",
                    "now",
                    "now-24h",
                    "now-0h",
                    "today",
                    "1772355600",
                    "24h",
                    "last-month",
                    "all",
                    "UTC",
                    "Europe/Berlin",
                    "auto",
                    "15m",
                    "hour",
                    "zero",
                    "model",
                    "model,key",
                    "model,tag",
                    "tokens",
                    "requests",
                    "duration_p95_ms",
                    "groups",
                    "previous",
                    "json",
                    "csv",
                    "jsonl",
                    "gpt-*",
                    "!gpt-4o",
                    "2xx",
                    "!4xx",
                    "429",
                    "9xx",
                    "true",
                    "!false",
                    "yes",
                    "complete",
                    "!missing",
                    "fine",
                    "abc*",
                    "ABC*",
                    "__other__",
                    "1.0",
                ] {
                    if ["tz", "cursor"].contains(&name) && !value.is_empty() {
                        // Not a matter of form.
                        continue;
                    }
                    let number = value.parse::<u64>().ok().filter(|_| schema["type"] == "integer");
                    let is_valid = validator.is_valid(&number.map_or(json!(value), |number| json!(number)));
                    // Any range goes with the other end that is far enough away.
                    let other = match name {
                        "from" => "to=2100-01-01&",
                        "to" => "from=1960-01-01&",
                        _ => "",
                    };
                    let asked = format!("{}?{needed}{other}{name}={value}", path.trim_start_matches('/'));
                    let response = server.ask(Method::GET, &format!("{PREFIX}/{asked}")).await;
                    let expected = if is_valid { 200 } else { 400 };
                    assert_eq!(response.status(), expected, "{asked}: {}", text(response).await);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However it is asked for, it is the same data.
    #[test]
    fn json_csv_json_lines_and_prometheus_agree(
        events in prop::collection::vec(
            (0..3_usize, 0..1000_u64, 0..1000_u64, prop::option::of(0..50_u64), 0..10_000_u64, any::<bool>()),
            0..40,
        ),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let server = Server::new();
        for (model, input, output, cache_read, minutes, fails) in events {
            let at = Timestamp::from_unix_millis(1_772_323_200_000 + minutes as i64 * 60_000);
            let mut event = UsageEvent::new(at, ["a", "b, \"c\"", "=d"][model]);
            event.tokens.input = Some(input);
            event.tokens.output = Some(output);
            event.tokens.total = Some(input + output);
            event.tokens.cache_read = cache_read.map(|count| count.min(input));
            event.status = if fails { 500 } else { 200 };
            server.usage.record(event);
        }
        let range = "from=2026-03-01&to=2026-03-08";
        runtime.block_on(async {
            let get = async |query: &str| text(server.ask(Method::GET, &format!("{PREFIX}/{query}")).await).await;
            let rows = |csv: String| {
                let mut reader = csv::Reader::from_reader(csv.as_bytes());
                let names = reader.headers().unwrap().clone();
                let row = move |record: csv::StringRecord| {
                    let cells = names.iter().map(str::to_owned).zip(record.iter().map(str::to_owned));
                    cells.collect::<std::collections::HashMap<_, _>>()
                };
                reader.into_records().map(|record| row(record.unwrap())).collect::<Vec<_>>()
            };
            let lines = |lines: String| -> Vec<Value> { lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };

            let json: Value = serde_json::from_str(&get(&format!("metrics?{range}&group_by=model")).await).unwrap();
            let requests = json["totals"]["requests"].as_u64().unwrap();
            let tokens = json["totals"]["tokens"].as_u64().unwrap();

            // Hours, in three forms.
            let csv = rows(get(&format!("metrics?{range}&format=csv")).await);
            let jsonl = lines(get(&format!("metrics?{range}&format=jsonl")).await);
            prop_assert_eq!(&Value::Array(jsonl), &json["timeseries"]);
            prop_assert_eq!(csv.len(), json["timeseries"].as_array().unwrap().len());
            for (row, hour) in csv.iter().zip(json["timeseries"].as_array().unwrap()) {
                for (name, value) in hour.as_object().unwrap() {
                    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    prop_assert_eq!(&row[name], &value);
                }
            }

            // Events, in three forms.
            let csv = rows(get(&format!("export?{range}")).await);
            let jsonl = lines(get(&format!("export?{range}&format=jsonl")).await);
            let page: Value = serde_json::from_str(&get(&format!("events?{range}&limit=1000")).await).unwrap();
            prop_assert_eq!(page["events"].as_array().unwrap(), &jsonl.iter().rev().cloned().collect::<Vec<_>>());
            prop_assert_eq!((csv.len() as u64, jsonl.len() as u64), (requests, requests));
            for (row, line) in csv.iter().zip(&jsonl) {
                for (name, cell) in row {
                    let value = match &line[name] {
                        Value::Null => String::new(),
                        Value::String(text) if text.starts_with('=') => format!("'{text}"),
                        Value::String(text) => text.clone(),
                        other => other.to_string(),
                    };
                    prop_assert_eq!(cell, &value);
                }
            }
            let exported: u64 = jsonl.iter().map(|line| line["total_tokens"].as_u64().unwrap()).sum();
            prop_assert_eq!(exported, tokens);

            // Counters: the whole history is in the range.
            let page = get("prometheus").await;
            prop_assert_eq!(sum(&page, "llm_usage_tokens_total{"), tokens);
            prop_assert_eq!(sum(&page, "llm_usage_requests_total{"), requests);
            prop_assert_eq!(sum(&page, "llm_usage_errors_total{"), json["totals"]["errors"].as_u64().unwrap());
            for row in json["groups"][0]["rows"].as_array().unwrap() {
                let model = row["model"].as_str().unwrap().replace('"', "\\\"");
                let of_model = sum(&page, &format!("llm_usage_tokens_total{{model=\"{model}\""));
                prop_assert_eq!(of_model, row["tokens"].as_u64().unwrap());
            }
            Ok(())
        })?;
    }
}

/// The addresses that the README asks are answered.
#[tokio::test]
async fn what_the_readme_shows_works() {
    let server = sample();
    let readme = include_str!("../README.md");
    let mut asked = 0;
    for part in readme.split("http://127.0.0.1:8317/v0/management/qs/").skip(1) {
        let (query, _) = part.split_once('\'').unwrap();
        let response = server.ask(Method::GET, &format!("{PREFIX}/{query}")).await;
        assert_eq!(response.status(), 200, "{query}");
        asked += 1;
    }
    assert!(asked >= 5, "{asked}");
    let (_, document) = server.get("openapi.json").await;
    for route in document["paths"].as_object().unwrap().keys() {
        let name = route.trim_start_matches('/');
        assert!(
            readme.contains(&format!("GET {name}`")) || readme.contains(&format!("POST {name}`")),
            "{name}"
        );
    }
    for parameter in document["paths"]["/metrics"]["get"]["parameters"].as_array().unwrap() {
        let name = parameter["name"].as_str().unwrap();
        assert!(readme.contains(&format!("`{name}`")) || readme.contains(&format!("`{name}=")), "{name}");
    }
}

mod recording {
    use super::*;

    #[tokio::test]
    async fn is_switched_while_running() {
        let server = Server::new();
        let path = format!("{PREFIX}/recording");
        for enabled in [false, true] {
            let body = json!({ "enabled": enabled }).to_string();
            let response = server.ask_with(Method::POST, &path, &[], &body).await;
            assert_eq!(response.status(), 200);
            assert_eq!(text(response).await, json!({ "recording": enabled }).to_string());
            assert_eq!(server.usage.is_recording(), enabled);
            server.record("m", 1, &["2026-03-01T10:00:00Z"]);
            assert_eq!(server.get("status").await.1["recording"], json!(enabled));
        }
        assert_eq!(server.get(DAY).await.1["totals"]["requests"], 1);
    }

    #[tokio::test]
    async fn stays_as_it_is_when_the_body_cannot_be_understood() {
        let server = Server::new();
        let path = format!("{PREFIX}/recording");
        let long = format!("{{\"enabled\":false{}}}", " ".repeat(5000));
        for (body, status, code) in [
            ("", 400, "invalid_body"),
            ("false", 400, "invalid_body"),
            (r#"{"enabled":"false"}"#, 400, "invalid_body"),
            ("[false]", 400, "invalid_body"),
            (" \n[false]", 400, "invalid_body"),
            (r#"{"enabled":false,"for":"1h"}"#, 400, "invalid_body"),
            (r#"{"enabled":false} x"#, 400, "invalid_body"),
            (&long, 413, "body_too_long"),
        ] {
            let response = server.ask_with(Method::POST, &path, &[], body).await;
            assert_eq!(response.status(), status, "{body}");
            assert_eq!(serde_json::from_str::<Value>(&text(response).await).unwrap()["code"], code);
            assert!(server.usage.is_recording());
        }
    }
}

mod manners {
    use super::*;

    /// R11
    #[tokio::test]
    async fn an_unknown_path_is_not_found() {
        let server = Server::new();
        for path in ["", "/", "/nothing", "/metrics/", "/health/x", "/metricsx"] {
            let response = server.ask(Method::GET, &format!("{PREFIX}{path}")).await;
            assert_eq!(response.status(), 404, "{path}");
            assert_eq!(serde_json::from_str::<Value>(&text(response).await).unwrap()["code"], "not_found");
        }
    }

    /// R11
    #[tokio::test]
    async fn another_method_is_told_which_ones_there_are() {
        let server = Server::new();
        for (method, path, allowed) in [
            (Method::POST, "metrics", "GET, HEAD"),
            (Method::DELETE, "health", "GET, HEAD"),
            (Method::OPTIONS, "metrics", "GET, HEAD"),
            (Method::GET, "recording", "POST"),
            (Method::HEAD, "recording", "POST"),
        ] {
            let response = server.ask(method, &format!("{PREFIX}/{path}")).await;
            assert_eq!(
                (response.status().as_u16(), &response.headers()[header::ALLOW]),
                (405, &allowed.parse().unwrap())
            );
        }
    }

    #[tokio::test]
    async fn a_typing_error_is_no_answer() {
        let server = Server::new();
        for (query, code, param) in [
            ("metrics?form=now-1h", "unknown_parameter", "form"),
            ("metrics?tz=Berlin", "invalid_parameter", "tz"),
            ("metrics?group_by=tag", "invalid_parameter", "group_by"),
            ("events?limit=5000", "invalid_parameter", "limit"),
            ("events?cursor=x", "invalid_parameter", "cursor"),
            ("events?interval=day", "unknown_parameter", "interval"),
            ("export?format=json", "invalid_parameter", "format"),
            ("dimensions", "missing_parameter", "dimension"),
            ("dimensions?dimension=weekday", "invalid_parameter", "dimension"),
            ("status?x=1", "unknown_parameter", "x"),
            ("metrics?range=1h&to=now", "conflicting_parameters", "range"),
            ("metrics?range=1h&range=2h", "repeated_parameter", "range"),
            ("health?verbose=1", "unknown_parameter", "verbose"),
        ] {
            let (status, body) = server.get(query).await;
            assert_eq!((status.as_u16(), &body["code"], &body["param"]), (400, &json!(code), &json!(param)));
            assert!(body["error"].as_str().unwrap().contains(param), "{body}");
        }
        let (_, body) = server.get("metrics?range=soon").await;
        assert!(body["allowed"].as_array().unwrap().contains(&json!("last-month")), "{body}");
    }

    #[tokio::test]
    async fn an_answer_that_the_client_has_is_not_sent_again() {
        let server = Server::new();
        server.record("m", 1, &["2026-03-01T10:00:00Z"]);
        for query in [DAY, "metrics?range=all"] {
            let path = format!("{PREFIX}/{query}");
            let first = server.ask(Method::GET, &path).await;
            let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
            assert!(tag.starts_with("W/\""), "{tag}");
            for method in [Method::GET, Method::HEAD] {
                let again = server.ask_with(method, &path, &[("if-none-match", &tag)], "").await;
                assert_eq!(again.status(), 304);
                assert_eq!(again.headers()[header::ETAG], tag);
                assert_eq!(again.headers()[header::CACHE_CONTROL], "no-store");
                assert_eq!(text(again).await, "");
            }
            server.record("m", 1, &["2026-03-01T10:00:01Z"]);
            let changed = server.ask_with(Method::GET, &path, &[("if-none-match", &tag)], "").await;
            assert_eq!(changed.status(), 200, "{query}");
            assert_ne!(changed.headers()[header::ETAG], tag);
        }
    }

    #[tokio::test]
    async fn there_are_only_so_many_exports_at_a_time() {
        let server = sample();
        let path = format!("{PREFIX}/export?{TWO_DAYS}");
        let mut running = Vec::new();
        for _ in 0..64 {
            let response = server.ask(Method::GET, &path).await;
            assert_eq!(response.status(), 200);
            running.push(response);
        }
        let refused = server.ask(Method::GET, &path).await;
        assert_eq!(
            (refused.status().as_u16(), &refused.headers()[header::RETRY_AFTER]),
            (503, &"1".parse().unwrap())
        );
        assert_eq!(serde_json::from_str::<Value>(&text(refused).await).unwrap()["code"], "busy");
        // Questions do not wait for slow readers, who are no less served.
        assert_eq!(server.get("metrics").await.0, 200);
        running.truncate(63);
        assert_eq!(server.ask(Method::GET, &path).await.status(), 200);
        for response in running {
            assert_eq!(text(response).await.matches("\r\n").count(), 6);
        }
    }

    #[cfg(feature = "compression")]
    #[tokio::test]
    async fn answers_are_compressed_as_the_client_likes() {
        use std::io::Read;

        let server = Server::new();
        let times: Vec<_> = (0..24).map(|hour| format!("2026-03-01T{hour:02}:00:00Z")).collect();
        let times: Vec<_> = times.iter().map(String::as_str).collect();
        server.record("m", 1, &times);
        let path = format!("{PREFIX}/{DAY}&format=jsonl");
        let plain = text(server.ask(Method::GET, &path).await).await;
        for (accepted, coding) in
            [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("br;q=0.1, gzip", "gzip")]
        {
            let response = server.ask_with(Method::GET, &path, &[("accept-encoding", accepted)], "").await;
            assert_eq!(response.headers()[header::CONTENT_ENCODING], coding);
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
            let length =
                response.headers()[header::CONTENT_LENGTH].to_str().unwrap().parse::<usize>().unwrap();
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(bytes.len(), length);
            assert!(length * 4 < plain.len(), "{length} of {}", plain.len());
            let mut decoded = String::new();
            match coding {
                "br" => brotli::Decompressor::new(&*bytes, 4096).read_to_string(&mut decoded).unwrap(),
                _ => flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut decoded).unwrap(),
            };
            assert_eq!(decoded, plain);
        }
        let short = server
            .ask_with(Method::GET, &format!("{PREFIX}/health"), &[("accept-encoding", "gzip")], "")
            .await;
        assert!(!short.headers().contains_key(header::CONTENT_ENCODING));
    }

    /// R11
    #[tokio::test]
    async fn head_is_get_without_its_body() {
        let server = Server::new();
        for path in ["health", "metrics?from=x", "metrics/ui", "nothing"] {
            let path = format!("{PREFIX}/{path}");
            let get = server.ask(Method::GET, &path).await;
            let head = server.ask(Method::HEAD, &path).await;
            assert_eq!((head.status(), head.headers()), (get.status(), get.headers()), "{path}");
            let length = get.headers()[header::CONTENT_LENGTH].to_str().unwrap().to_owned();
            assert_eq!(text(get).await.len().to_string(), length);
            assert_eq!(text(head).await, "");
        }
    }

    /// R12
    #[tokio::test]
    async fn answers_are_not_stored_and_not_for_other_origins() {
        let server = Server::new();
        for path in ["health", "metrics", "nothing"] {
            let response = server.ask(Method::GET, &format!("{PREFIX}/{path}")).await;
            let headers = response.headers();
            assert_eq!(headers[header::CACHE_CONTROL], "no-store");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control")));
        }
    }

    /// R12
    #[tokio::test]
    async fn an_origin_that_is_configured_may_read_answers() {
        let server = Server::with(|config| {
            config.remote_management.allowed_origins = vec!["https://dash.example".into()];
        });
        let from = |method, origin: &str| {
            Request::builder()
                .method(method)
                .uri(format!("{PREFIX}/health"))
                .header("origin", origin)
                .header("access-control-request-method", "GET")
                .extension(PeerAddr(([127, 0, 0, 1], 5000).into()))
                .body(String::new())
                .unwrap()
        };
        let ask = async |request| server.usage.metrics_service().oneshot(request).await.unwrap();
        let preflight = ask(from(Method::OPTIONS, "https://dash.example")).await;
        assert_eq!(preflight.status(), 204);
        assert_eq!(preflight.headers()["access-control-allow-origin"], "https://dash.example");
        assert_eq!(
            preflight.headers()["access-control-allow-headers"],
            "authorization, content-type, if-none-match, x-management-key"
        );
        let answer = ask(from(Method::GET, "https://dash.example")).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["vary"]), (401, &"origin".parse().unwrap()));
        assert_eq!(answer.headers()["access-control-allow-origin"], "https://dash.example");
        let foreign = ask(from(Method::OPTIONS, "https://evil.example")).await;
        assert_eq!(foreign.status(), 401);
        assert!(!foreign.headers().contains_key("access-control-allow-origin"));
    }

    #[tokio::test]
    async fn paths_are_taken_with_and_without_the_prefix() {
        let server = Server::with(|config| config.remote_management.prefix = "/usage/".into());
        for path in ["/usage/health", "/health"] {
            assert_eq!(server.ask(Method::GET, path).await.status(), 200, "{path}");
        }
        assert_eq!(server.ask(Method::GET, "/v0/management/qs/health").await.status(), 404);
    }

    #[test]
    fn a_setting_that_cannot_be_used_is_an_error_before_anything_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/usage.json");
        let settings: [fn(&mut Config); 4] = [
            |config| config.remote_management.prefix = "usage".into(),
            |config| config.remote_management.trusted_proxies = vec!["proxy.example".into()],
            |config| config.remote_management.secret_key = "$2b$12$short".into(),
            |config| config.remote_management.allowed_origins = vec!["a\nb".into()],
        ];
        for set in settings {
            let mut config = Config::recording_to(&path);
            set(&mut config);
            let error = Usage::open(config).unwrap_err();
            assert!(error.is_config(), "{error}");
            assert!(!path.parent().unwrap().exists());
        }
    }
}

#[cfg(feature = "dashboard")]
mod page {
    use super::*;

    impl Server {
        /// Asks for a page or what it loads as a browser that knows no key.
        async fn look(&self, path: &str, headers: &[(&str, &str)]) -> Response<MetricsBody> {
            let mut request = Request::get(format!("{PREFIX}/{path}"))
                .extension(PeerAddr(([127, 0, 0, 1], 5000).into()))
                .body(String::new())
                .unwrap();
            for (name, value) in headers {
                request
                    .headers_mut()
                    .append(name.parse::<header::HeaderName>().unwrap(), value.parse().unwrap());
            }
            self.usage.metrics_service().oneshot(request).await.unwrap()
        }

        /// What the page loads, as it is written there.
        async fn loaded(&self, page: &str) -> Vec<String> {
            let html = text(self.look(page, &[]).await).await;
            let attributes = html.split("=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0));
            attributes
                .filter(|value| value.ends_with(".js") || value.ends_with(".css"))
                .map(str::to_owned)
                .collect()
        }
    }

    /// R3, A13
    #[tokio::test]
    async fn lies_at_both_spellings_with_what_it_loads() {
        let server = Server::new();
        for (page, base) in [("metrics/ui", "metrics/"), ("metrics/ui/", "metrics/ui/")] {
            let response = server.look(page, &[]).await;
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert_eq!(response.headers()[header::CACHE_CONTROL], "no-cache");
            let loaded = server.loaded(page).await;
            for name in ["app.css", "app.js", "chart.js"] {
                assert!(loaded.iter().any(|url| url.ends_with(name)), "{name} in {loaded:?}");
            }
            for url in loaded {
                let asset = server.look(&format!("{base}{url}"), &[]).await;
                assert_eq!(asset.status(), 200, "{base}{url}");
                let expected = if url.ends_with(".js") { "text/javascript" } else { "text/css" };
                assert!(
                    asset.headers()[header::CONTENT_TYPE].to_str().unwrap().starts_with(expected),
                    "{url}"
                );
            }
        }
    }

    /// Its address says what it is: it may be kept for ever, and at another address there is nothing.
    #[tokio::test]
    async fn loads_what_never_changes() {
        let server = Server::new();
        for url in server.loaded("metrics/ui/").await {
            let asset = server.look(&format!("metrics/ui/{url}"), &[]).await;
            assert_eq!(
                asset.headers()[header::CACHE_CONTROL],
                "public, max-age=31536000, immutable",
                "{url}"
            );
            let (version, name) = url.split_once('/').unwrap();
            assert_eq!(version.len(), 16);
            for wrong in
                [name.to_owned(), format!("0000000000000000/{name}"), format!("{url}x"), format!("/{url}")]
            {
                let status = server.ask(Method::GET, &format!("{PREFIX}/metrics/ui/{wrong}")).await.status();
                assert_eq!(status, 404, "{wrong}");
            }
        }
    }

    #[tokio::test]
    async fn is_compressed_for_those_who_can_read_it() {
        let server = Server::new();
        let page = server.look("metrics/ui", &[("accept-encoding", "gzip, deflate, br")]).await;
        assert_eq!(page.headers()[header::CONTENT_ENCODING], "br");
        assert_eq!(page.headers()[header::VARY], "accept-encoding");
        let mut tags = vec![page.headers()[header::ETAG].clone()];
        for (accepted, coding) in [("gzip", Some("gzip")), ("br;q=0", None), ("identity", None)] {
            let page = server.look("metrics/ui", &[("accept-encoding", accepted)]).await;
            assert_eq!(
                page.headers().get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap()),
                coding
            );
            let length = page.headers()[header::CONTENT_LENGTH].to_str().unwrap().to_owned();
            tags.push(page.headers()[header::ETAG].clone());
            let body = page.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body.len().to_string(), length);
            assert_eq!(body.starts_with(b"<!doctype html>"), coding.is_none(), "{accepted}");
        }
        assert_eq!(tags[2], tags[3]);
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2], "{tags:?}");
    }

    /// F44
    #[tokio::test]
    async fn runs_nothing_but_its_own_script() {
        let server = Server::new();
        let response = server.look("metrics/ui", &[]).await;
        assert_eq!(
            response.headers()[header::CONTENT_SECURITY_POLICY],
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[header::REFERRER_POLICY], "no-referrer");
        let html = text(response).await;
        for inline in ["<script>", "<style", " style=", " onclick", " onload", "src=\"http", "href=\"http"] {
            assert!(!html.contains(inline), "{inline}");
        }
        for url in server.loaded("metrics/ui/").await {
            if url.ends_with("/chart.js") || url.ends_with(".css") {
                continue;
            }
            let script = text(server.look(&format!("metrics/ui/{url}"), &[]).await).await;
            for risk in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "localStorage",
                "document.cookie",
                "console.",
            ] {
                assert!(!script.contains(risk), "{url}: {risk}");
            }
        }
    }

    /// A module that is not named there is found one after the other, each a way to the server and back.
    #[tokio::test]
    async fn names_all_of_its_modules_at_once() {
        let server = Server::new();
        let loaded = server.loaded("metrics/ui/").await;
        for url in loaded.iter().filter(|url| url.ends_with(".js") && !url.ends_with("/chart.js")) {
            let script = text(server.look(&format!("metrics/ui/{url}"), &[]).await).await;
            for import in script.split(" from \"./").skip(1) {
                let (name, _) = import.split_once('"').unwrap();
                assert!(loaded.iter().any(|url| url.ends_with(&format!("/{name}"))), "{url} imports {name}");
            }
        }
    }

    #[tokio::test]
    async fn is_not_sent_again_while_it_is_the_same() {
        let server = Server::new();
        let tag = server.look("metrics/ui", &[]).await.headers()[header::ETAG].clone();
        let tag = tag.to_str().unwrap();
        for (tags, status) in [(tag, 304), ("*", 304), (&format!("\"x\", W/{tag}"), 304), ("\"other\"", 200)]
        {
            let response = server.look("metrics/ui", &[("if-none-match", tags)]).await;
            assert_eq!(response.status(), status, "{tags}");
            assert_eq!(response.headers()[header::ETAG], tag);
        }
        let encoded = [("if-none-match", tag), ("accept-encoding", "gzip")];
        assert_eq!(server.look("metrics/ui", &encoded).await.status(), 200, "that is another form of it");
    }
}
