//! The management routes: a leaf service that never fails.

mod access;
mod address;
mod answer;
mod bans;
#[cfg(feature = "dashboard")]
mod page;
mod query;

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, REFERRER_POLICY, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
    request::Parts,
};
use tower_service::Service;

pub use self::answer::MetricsBody;
use self::{access::Gate, query::Question};
use crate::{
    Error, RemoteManagement, Timestamp,
    index::{Dimension, Filter, Grouping, Interval, Pattern, Query},
    writer::WriterHandle,
};

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
/// | `GET metrics?from&to&model` | totals, by model, by hour; RFC 3339, both ends inclusive, the last 24 hours by default |
/// | `GET metrics/ui` | a page to look at (feature `dashboard`) |
///
/// Paths are taken with and without the prefix, so that it can be mounted at the root, routed to by prefix, or nested
/// by a router that takes the prefix off.
///
/// Every route but the page wants the management key, as `Authorization: Bearer KEY` or `X-Management-Key: KEY`, and
/// all of them want a local client unless remote management is allowed. Who is local is told by [`PeerAddr`] in the
/// request's extensions.
///
/// Errors are JSON with `error`, for people, and `code`, for programs.
#[derive(Clone, Debug)]
pub struct MetricsService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: WriterHandle,
    settings: Settings,
}

/// What is set, in a form that can be used.
#[derive(Debug)]
pub(crate) struct Settings {
    gate: Gate,
    prefix: String,
    origins: Vec<HeaderValue>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    Health,
    Metrics,
    #[cfg(feature = "dashboard")]
    Page(page::Asset),
    Nowhere,
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
        })
    }

    fn route(&self, path: &str) -> Route {
        let below = path.strip_prefix(&self.prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
        match below.unwrap_or(path) {
            "/health" => Route::Health,
            "/metrics" => Route::Metrics,
            #[cfg(feature = "dashboard")]
            path => {
                path.strip_prefix("/metrics/ui").and_then(page::Asset::at).map_or(Route::Nowhere, Route::Page)
            }
            #[cfg(not(feature = "dashboard"))]
            _ => Route::Nowhere,
        }
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
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD"));
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("authorization, x-management-key"),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(response)
    }
}

impl MetricsService {
    pub(crate) fn new(writer: WriterHandle, settings: Settings) -> Self {
        Self { inner: Arc::new(Inner { writer, settings }) }
    }
}

impl<B> Service<Request<B>> for MetricsService {
    type Response = Response<MetricsBody>;
    type Error = Infallible;
    type Future = MetricsFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let inner = Arc::clone(&self.inner);
        let (request, _) = request.into_parts();
        // Asked some times a minute: a box costs nothing here.
        MetricsFuture(Box::pin(async move { inner.respond(&request).await }))
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
    async fn respond(&self, request: &Parts) -> Response<MetricsBody> {
        let mut response = self.answer(request).await;
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
            }
        }
        response
    }

    async fn answer(&self, request: &Parts) -> Response<MetricsBody> {
        let origin = match self.settings.gate.admit(request) {
            Ok(origin) => origin,
            Err(refusal) => return answer::refused(refusal),
        };
        if let Some(leave) = self.settings.preflight(request) {
            return leave;
        }
        let route = self.settings.route(request.uri.path());
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        #[cfg(feature = "dashboard")]
        if let (Route::Page(asset), true) = (route, is_read) {
            return page::respond(asset, &request.headers);
        }
        if let Err(refusal) = self.settings.gate.unlock(origin, &request.headers).await {
            return answer::refused(refusal);
        }
        match route {
            Route::Nowhere => answer::not_found(),
            _ if !is_read => answer::method_not_allowed(),
            Route::Health => {
                let snapshot = self.writer.snapshot().await;
                answer::health(&self.writer.status(), &snapshot)
            }
            Route::Metrics => self.metrics(request.uri.query().unwrap_or_default()).await,
            #[cfg(feature = "dashboard")]
            Route::Page(asset) => page::respond(asset, &request.headers),
        }
    }

    async fn metrics(&self, query: &str) -> Response<MetricsBody> {
        match Question::parse(query, Timestamp::now()) {
            Ok(Question { from, to, model }) => {
                let snapshot = self.writer.snapshot().await;
                let model = model.map(|name| Filter::is(Dimension::Model, Pattern::Exact(name.into_owned())));
                let query = Query {
                    filters: model.into_iter().collect(),
                    interval: Interval::Hour,
                    groupings: vec![Grouping::by([Dimension::Model])],
                    ..Query::over(from, to)
                };
                answer::metrics(from, to, &snapshot.query(&query))
            }
            Err(what) => answer::misunderstood(what),
        }
    }
}
