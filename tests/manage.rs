//! What the routes answer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_llm_usage::{Config, Ending, MetricsBody, PeerAddr, Timestamp, Tokens, Usage, UsageEvent};

const KEY: &str = "correct horse battery staple";
const PREFIX: &str = "/v0/management/qs";

struct Server {
    usage: Usage,
    _dir: tempfile::TempDir,
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
        Self { usage: Usage::open(config).unwrap(), _dir: dir }
    }

    /// Asks as somebody on this machine with the right key.
    async fn ask(&self, method: Method, path: &str) -> Response<MetricsBody> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost:8317")
            .header("authorization", format!("Bearer {KEY}"))
            .extension(PeerAddr(([127, 0, 0, 1], 5000).into()))
            .body(())
            .unwrap();
        self.usage.metrics_service().oneshot(request).await.unwrap()
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

        let (status, answer) = server.get(DAY).await;
        assert_eq!(status, 200);
        let counts = |tokens: u64, requests: u64, errors: u64| {
            let input = tokens - (requests - errors);
            json!({
                "tokens": tokens, "requests": requests, "errors": errors, "aborted": 0, "unknown_usage": errors,
                "prompt_tokens": input, "completion_tokens": requests - errors, "cache_read_tokens": 0,
                "cache_write_tokens": 0, "reasoning_tokens": 0,
            })
        };
        let named = |name: &str, value: &str, mut counts: Value| {
            counts[name] = json!(value);
            counts
        };
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
            })
        );
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
            assert_eq!((status.as_u16(), body), (400, json!({ "error": error, "code": code })));
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
        for (method, path) in
            [(Method::POST, "metrics"), (Method::DELETE, "health"), (Method::OPTIONS, "metrics")]
        {
            let response = server.ask(method, &format!("{PREFIX}/{path}")).await;
            assert_eq!(
                (response.status().as_u16(), &response.headers()[header::ALLOW]),
                (405, &"GET, HEAD".parse().unwrap())
            );
        }
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
                .body(())
                .unwrap()
        };
        let ask = async |request| server.usage.metrics_service().oneshot(request).await.unwrap();
        let preflight = ask(from(Method::OPTIONS, "https://dash.example")).await;
        assert_eq!(preflight.status(), 204);
        assert_eq!(preflight.headers()["access-control-allow-origin"], "https://dash.example");
        assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization, x-management-key");
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
                .body(())
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
