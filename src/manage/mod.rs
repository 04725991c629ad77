//! The management routes: a leaf service that never fails.
//!
//! ```text
//! request ─ access ─ route ─ query ─┬─ answered at once: health, status, recording, the page
//!                                   └─ work: a thread of our own asks the index, writes the answer and encodes it
//! ```

mod access;
mod address;
mod answer;
mod bans;
mod body;
mod encode;
mod events;
mod front;
mod measure;
mod metrics;
mod openapi;
#[cfg(feature = "dashboard")]
mod page;
mod prometheus;
mod query;
mod route;
mod table;
mod tag;
mod work;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Buf;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
        REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
    },
    request::Parts,
};
use http_body::Body;
use tower_service::Service;

use self::{
    access::Gate,
    answer::Plain,
    encode::{Coding, Encoded},
    events::File,
    prometheus::{Exposition, Ledger},
    query::{Format, Range},
    route::Route,
    tag::Tag,
    work::{Busy, Workers},
};
pub use self::{
    body::MetricsBody,
    front::{ManagementBody, ManagementFuture, ManagementLayer, ManagementService},
};
use crate::{Error, RemoteManagement, Timestamp, index::Snapshot, object, writer::WriterHandle};

/// The socket's peer, put into a request's extensions by whoever accepted the connection.
///
/// Without one, [`MetricsService`] treats a request as remote.
///
/// ```
/// use tower_llm_usage::PeerAddr;
///
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(PeerAddr(([127, 0, 0, 1], 54321).into()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddr(pub SocketAddr);

/// Answers the management routes: a leaf [`Service`] for any request body, that never fails.
///
/// Made by [`Usage::metrics_service`](crate::Usage::metrics_service). Under the
/// [prefix](RemoteManagement::prefix), `/v0/management/qs` unless it is set, lie
///
/// | route | answers |
/// |---|---|
/// | `GET health` | whether it works, and where the events are |
/// | `GET metrics` | sums and measures: in all, by model, by time, and by what else is asked for |
/// | `GET events` | events one by one, the newest first, page by page |
/// | `GET export` | all events of a range as a file, streamed |
/// | `GET dimensions` | the values there are, for choosing |
/// | `GET status` | where the events are, how the file and the index are |
/// | `POST recording` | switches recording on and off: `{"enabled":true}` |
/// | `GET prometheus` | counters and histograms, as text or OpenMetrics |
/// | `GET openapi.json` | all of this for programs, with every parameter |
/// | `GET metrics/ui` | a page to look at (feature `dashboard`) |
///
/// ```
/// use http::Request;
/// use http_body_util::BodyExt;
/// use tower::ServiceExt;
/// use tower_llm_usage::{Config, PeerAddr, Timestamp, Usage, UsageEvent};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let mut config = Config::recording_to(directory.path().join("usage.json"));
/// config.remote_management.secret_key = "secret".into();
/// let usage = Usage::open(config)?;
/// usage.record(UsageEvent::new(Timestamp::now(), "gpt-4o"));
///
/// let request = Request::get("/v0/management/qs/metrics?range=1h&interval=none&format=csv&metrics=errors")
///     .header("authorization", "Bearer secret")
///     .extension(PeerAddr(([127, 0, 0, 1], 54321).into()))
///     .body(String::new())?;
/// let answer = usage.metrics_service().oneshot(request).await?.into_body().collect().await?;
/// assert_eq!(answer.to_bytes(), "tokens,requests,errors\r\n0,1,0\r\n");
/// # Ok(()) }
/// ```
///
/// Paths are taken with and without the prefix, so that it can be mounted at the root, routed to by prefix, or nested
/// by a router that takes the prefix off. [`ManagementLayer`] puts it in front of another service.
///
/// Every route but the page wants the management key, as `Authorization: Bearer KEY` or `X-Management-Key: KEY`, and
/// all of them want a local client unless remote management is allowed. Who is local is told by [`PeerAddr`] in the
/// request's extensions.
///
/// Errors are JSON with `error`, for people, and `code`, for programs; where a parameter is to blame also `param` and
/// what is `allowed`. Answers are compressed as the client likes (feature `compression`), and `no-store`, which binds caches.
/// A client that holds the last answer itself learns by its `ETag`, with 304, that it still holds.
///
/// What takes time is done on threads of its own, few of them. When they are all busy and many questions wait, the
/// answer is 503 with `Retry-After`.
#[derive(Clone, Debug)]
pub struct MetricsService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: WriterHandle,
    settings: Settings,
    workers: Workers,
    ledger: Arc<Mutex<Ledger>>,
}

/// What is set, in a form that can be used.
#[derive(Debug)]
pub(crate) struct Settings {
    gate: Gate,
    prefix: String,
    origins: Vec<HeaderValue>,
    prometheus_keys: bool,
}

impl Settings {
    /// # Errors
    ///
    /// When a setting cannot be used.
    pub(crate) fn new(config: &RemoteManagement) -> Result<Self, Error> {
        let prefix = config.prefix.trim_end_matches('/');
        if !(prefix.is_empty() || prefix.starts_with('/')) || prefix.contains(['?', '#']) {
            return Err(Error::config(format!("prefix: '{}' is no path", config.prefix)));
        }
        let origins = config.allowed_origins.iter().map(|origin| {
            origin
                .parse()
                .map_err(|e| Error::config(format!("allowed-origins: '{origin}' is no origin")).with(e))
        });
        Ok(Self {
            gate: Gate::new(config)?,
            prefix: prefix.to_owned(),
            origins: origins.collect::<Result<_, Error>>()?,
            prometheus_keys: config.prometheus_key_label,
        })
    }

    /// What comes after the prefix, if the path is under it.
    fn below<'a>(&self, path: &'a str) -> Option<&'a str> {
        path.strip_prefix(&self.prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn route(&self, path: &str) -> Route {
        Route::at(self.below(path).unwrap_or(path))
    }

    /// The origin of the page that asks, if it may read the answer.
    fn allowed_origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        self.origins.iter().find(|allowed| *allowed == origin || *allowed == "*").cloned()
    }

    /// The answer to a browser that asks, without a key, whether a page of another origin may ask with one.
    fn preflight(&self, request: &Parts) -> Option<Response<MetricsBody>> {
        let is_preflight =
            request.method == Method::OPTIONS && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !is_preflight || self.allowed_origin(&request.headers).is_none() {
            return None;
        }
        let mut response = Response::new(MetricsBody::new(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, content-type, if-none-match, x-management-key"),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(response)
    }
}

impl MetricsService {
    pub(crate) fn new(writer: WriterHandle, settings: Settings) -> Self {
        let (workers, ledger) = (Workers::new(), Arc::default());
        Self { inner: Arc::new(Inner { writer, settings, workers, ledger }) }
    }

    /// A path that is answered here and by nobody behind.
    fn owns(&self, path: &str) -> bool {
        let settings = &self.inner.settings;
        match settings.prefix.is_empty() {
            true => settings.route(path) != Route::Nowhere,
            false => settings.below(path).is_some(),
        }
    }
}

impl<B> Service<Request<B>> for MetricsService
where
    B: Body + Send + 'static,
{
    type Response = Response<MetricsBody>;
    type Error = Infallible;
    type Future = MetricsFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        let (request, body) = request.into_parts();
        // Asked some times a minute: a box costs nothing here.
        MetricsFuture(Box::pin(async move { inner.respond(&request, body).await }))
    }
}

/// The future of an answer of [`MetricsService`].
#[must_use = "futures do nothing unless polled"]
pub struct MetricsFuture(Pin<Box<dyn Future<Output = Response<MetricsBody>> + Send>>);

impl Future for MetricsFuture {
    type Output = Result<Response<MetricsBody>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx).map(Ok)
    }
}

impl std::fmt::Debug for MetricsFuture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsFuture").finish_non_exhaustive()
    }
}

impl Inner {
    async fn respond(&self, request: &Parts, body: impl Body) -> Response<MetricsBody> {
        let mut response = self.answer(request, body).await;
        if request.method == Method::HEAD {
            *response.body_mut() = MetricsBody::new("");
        }
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if !self.settings.origins.is_empty() {
            headers.append(VARY, HeaderValue::from_static("origin"));
            if let Some(origin) = self.settings.allowed_origin(&request.headers) {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("etag, retry-after"));
            }
        }
        response
    }

    async fn answer(&self, request: &Parts, body: impl Body) -> Response<MetricsBody> {
        let origin = match self.settings.gate.admit(request) {
            Ok(origin) => origin,
            Err(refusal) => return answer::refused(refusal),
        };
        if let Some(leave) = self.settings.preflight(request) {
            return leave;
        }
        let route = self.settings.route(request.uri.path());
        #[cfg(feature = "dashboard")]
        if let (Route::Page(asset), true) = (route, route.allows(&request.method)) {
            return page::respond(asset, &request.headers);
        }
        if let Err(refusal) = self.settings.gate.unlock(origin, &request.headers).await {
            return answer::refused(refusal);
        }
        if route == Route::Nowhere {
            return answer::not_found();
        }
        if !route.allows(&request.method) {
            return answer::method_not_allowed(route.allowed());
        }
        match self.ask(route, request, body).await {
            Ok(response) => response,
            Err(Trouble::Misunderstood(what)) => answer::misunderstood(&what),
            Err(Trouble::Body(trouble)) => answer::bad_body(trouble),
            Err(Trouble::Busy) => answer::busy(),
            Err(Trouble::Lost) => answer::lost(),
        }
    }

    /// Answers somebody who may ask.
    async fn ask(
        &self,
        route: Route,
        request: &Parts,
        body: impl Body,
    ) -> Result<Response<MetricsBody>, Trouble> {
        let query = request.uri.query().unwrap_or_default();
        let pairs = query::Pairs::parse(query, route.parameters())?;
        let coding = Coding::chosen_by(&request.headers);
        match route {
            Route::Health => {
                // At once, also when all threads are busy.
                let snapshot = self.writer.snapshot().await;
                Ok(answer::health(&self.writer.status(), &snapshot).encoded(coding))
            }
            Route::Metrics => {
                let (now, snapshot) = self.now().await;
                let question = query::Question::of(&pairs, now, first(&snapshot))?;
                let range = question.selection.range;
                self.tagged(request, range, &Arc::clone(&snapshot), move || {
                    metrics::answer(&question, now, &snapshot)
                })
                .await
            }
            Route::Events => {
                let (now, snapshot) = self.now().await;
                let question = query::Events::of(&pairs, now, first(&snapshot))?;
                let range = question.selection.range;
                self.tagged(request, range, &Arc::clone(&snapshot), move || {
                    events::page(&question, now, &snapshot)
                })
                .await
            }
            Route::Dimensions => {
                let (now, snapshot) = self.now().await;
                let question = query::Listing::of(&pairs, now, first(&snapshot))?;
                let range = question.selection.range;
                self.tagged(request, range, &Arc::clone(&snapshot), move || {
                    events::values(&question, &snapshot)
                })
                .await
            }
            Route::Export => {
                let (now, snapshot) = self.now().await;
                let question = query::Export::of(&pairs, now, first(&snapshot))?;
                self.export(request, &question, snapshot)
            }
            Route::Status => {
                let writer = self.writer.clone();
                let snapshot = writer.snapshot().await;
                // The index is walked for its size.
                self.work(move || answer::status(&writer.status(), &snapshot).encoded(coding)).await
            }
            Route::Prometheus => {
                let exposition = Exposition::chosen_by(&request.headers);
                let (writer, ledger) = (self.writer.clone(), Arc::clone(&self.ledger));
                let keys = self.settings.prometheus_keys;
                let work = move || {
                    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                    // Under the lock: an older snapshot after a younger one would look like events lost.
                    let snapshot = writer.snapshot_blocking();
                    prometheus::answer(exposition, keys, &writer.status(), &snapshot, &mut ledger)
                        .encoded(coding)
                };
                self.work(work).await
            }
            Route::OpenApi => {
                let document = Plain::json(&openapi::document(&self.settings.prefix)).tagged_by_content();
                let tag = document.tag().filter(|tag| tag.is_known_to(&request.headers));
                Ok(tag.map_or_else(|| document.encoded(coding), answer::not_modified))
            }
            Route::Recording => {
                let Switch { enabled } = read(body).await?;
                self.writer.set_recording(enabled);
                Ok(answer::recording(enabled))
            }
            #[cfg(feature = "dashboard")]
            Route::Page(asset) => Ok(page::respond(asset, &request.headers)),
            Route::Nowhere => Ok(answer::not_found()),
        }
    }

    /// The time, and everything that was recorded up to it.
    async fn now(&self) -> (Timestamp, Arc<Snapshot>) {
        let snapshot = self.writer.snapshot().await;
        (Timestamp::now(), snapshot)
    }

    /// The answer that `job` makes, unless the client has it.
    async fn tagged(
        &self,
        request: &Parts,
        range: Range,
        snapshot: &Snapshot,
        job: impl FnOnce() -> Plain + Send + 'static,
    ) -> Result<Response<MetricsBody>, Trouble> {
        let tag = fixed_tag(request, range, snapshot);
        if let Some(tag) = tag.filter(|tag| tag.is_known_to(&request.headers)) {
            return Ok(answer::not_modified(tag));
        }
        let coding = Coding::chosen_by(&request.headers);
        let work = move || {
            let plain = job();
            let plain = match tag {
                Some(tag) => plain.tagged(tag),
                None => plain,
            };
            (plain.tag(), plain.encoded(coding))
        };
        let (tag, response) = self.work(work).await?;
        Ok(match tag.filter(|tag| tag.is_known_to(&request.headers)) {
            Some(tag) => answer::not_modified(tag),
            None => response,
        })
    }

    fn export(
        &self,
        request: &Parts,
        question: &query::Export,
        snapshot: Arc<Snapshot>,
    ) -> Result<Response<MetricsBody>, Trouble> {
        let range = question.selection.range;
        let tag = fixed_tag(request, range, &snapshot);
        if let Some(tag) = tag.filter(|tag| tag.is_known_to(&request.headers)) {
            return Ok(answer::not_modified(tag));
        }
        let (content_type, ending) = match question.format {
            Format::Csv => (answer::CSV, "csv"),
            Format::Json | Format::JsonLines => (answer::JSON_LINES, "jsonl"),
        };
        let day = |time: Timestamp| time.to_string().chars().take(10).collect::<String>();
        let name = format!("usage-{}-{}.{ending}", day(range.from), day(range.to));
        let coding = Coding::chosen_by(&request.headers);
        let file = Encoded::new(File::new(question, snapshot), coding);
        let body = MetricsBody::stream(self.workers.export()?, file);
        Ok(answer::file(content_type, &name, tag, coding, body))
    }

    /// Has `job` done on a thread that may take its time.
    async fn work<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> Result<R, Trouble> {
        self.workers.ask(job)?.await.map_err(|_| Trouble::Lost)
    }
}

/// A range that stays is known by its name: nothing needs to be looked at to see that nothing has changed.
fn fixed_tag(request: &Parts, range: Range, snapshot: &Snapshot) -> Option<Tag> {
    let tag =
        || Tag::of((snapshot.revision(), range.from, range.to, request.uri.path(), request.uri.query()));
    (!range.moves).then(tag)
}

/// The time of the first event there is.
fn first(snapshot: &Snapshot) -> Option<Timestamp> {
    snapshot.span().map(|(first, _)| first)
}

/// Why there is no answer to a question.
#[derive(Debug)]
enum Trouble {
    Misunderstood(query::Misunderstood),
    Body(answer::BadBody),
    Busy,
    /// The answer was being made and did not come.
    Lost,
}

impl From<query::Misunderstood> for Trouble {
    fn from(what: query::Misunderstood) -> Self {
        Self::Misunderstood(what)
    }
}

impl From<Busy> for Trouble {
    fn from(Busy: Busy) -> Self {
        Self::Busy
    }
}

/// The body of `POST recording`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Switch {
    enabled: bool,
}

/// Longer bodies are not read.
const MAX_BODY: usize = 4096;

async fn read<T: serde::de::DeserializeOwned>(body: impl Body) -> Result<T, Trouble> {
    let mut bytes = Vec::new();
    let mut body = pin!(body);
    while let Some(frame) = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|_| Trouble::Body(answer::BadBody::Unreadable))?;
        let Ok(mut data) = frame.into_data() else { continue };
        if bytes.len() + data.remaining() > MAX_BODY {
            return Err(Trouble::Body(answer::BadBody::TooLong));
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            let len = chunk.len();
            bytes.extend_from_slice(chunk);
            data.advance(len);
        }
    }
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    object::deserialize(&mut json)
        .and_then(|read| json.end().map(|()| read))
        .map_err(|_| Trouble::Body(answer::BadBody::Unreadable))
}
