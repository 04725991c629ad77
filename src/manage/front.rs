//! The management routes in front of another service.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::{MetricsBody, MetricsFuture, MetricsService};

/// Puts the management routes in front of a service: what is under the [prefix](crate::RemoteManagement::prefix) is
/// answered here and never reaches it.
///
/// Made by [`Usage::management_layer`](crate::Usage::management_layer). It goes outside of
/// [`UsageLayer`](crate::UsageLayer):
///
/// ```
/// # use bytes::Bytes;
/// # use http::{Request, Response};
/// # use http_body_util::Full;
/// # use tower::{ServiceBuilder, ServiceExt, service_fn};
/// use tower_llm_usage::{Config, PeerAddr, Usage};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = tempfile::tempdir()?;
/// let mut config = Config::recording_to(directory.path().join("usage.json"));
/// config.remote_management.secret_key = "secret".into();
/// let usage = Usage::open(config)?;
///
/// # let proxy = service_fn(async |_: Request<Full<Bytes>>| {
/// #     Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from("from the proxy")))
/// # });
/// let service =
///     ServiceBuilder::new().layer(usage.management_layer()).layer(usage.layer()).service(proxy);
///
/// let mut request = Request::get("/v0/management/qs/health")
///     .header("authorization", "Bearer secret")
///     .body(Full::default())?;
/// // From whoever accepted the connection.
/// request.extensions_mut().insert(PeerAddr(([127, 0, 0, 1], 54321).into()));
/// assert_eq!(service.oneshot(request).await?.status(), 200);
/// # Ok(()) }
/// ```
///
/// With an empty prefix only the paths of routes that exist are taken from the service.
#[derive(Clone, Debug)]
pub struct ManagementLayer {
    metrics: MetricsService,
}

impl ManagementLayer {
    pub(crate) fn new(metrics: MetricsService) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for ManagementLayer {
    type Service = ManagementService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ManagementService { metrics: self.metrics.clone(), inner }
    }
}

/// A service with the management routes in front of it. See [`ManagementLayer`].
///
/// It is ready when the inner service is.
#[derive(Clone, Debug)]
pub struct ManagementService<S> {
    metrics: MetricsService,
    inner: S,
}

impl<S, ReqB, ResB> Service<Request<ReqB>> for ManagementService<S>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    ReqB: Body + Send + 'static,
{
    type Response = Response<ManagementBody<ResB>>;
    type Error = S::Error;
    type Future = ManagementFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        ManagementFuture {
            inner: match self.metrics.owns(request.uri().path()) {
                true => EitherFuture::Metrics { future: self.metrics.call(request) },
                false => EitherFuture::Inner { future: self.inner.call(request) },
            },
        }
    }
}

pin_project! {
    /// The future of an answer of [`ManagementService`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ManagementFuture<F> {
        #[pin]
        inner: EitherFuture<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = EitherFutureProj]
    enum EitherFuture<F> {
        Metrics { #[pin] future: MetricsFuture },
        Inner { #[pin] future: F },
    }
}

impl<F, B, E> Future for ManagementFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ManagementBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().inner.project() {
            EitherFutureProj::Metrics { future } => {
                let Ok(response) = ready!(future.poll(cx));
                Ok(response.map(|body| ManagementBody { inner: EitherBody::Metrics { body } }))
            }
            EitherFutureProj::Inner { future } => {
                let response = ready!(future.poll(cx));
                response
                    .map(|response| response.map(|body| ManagementBody { inner: EitherBody::Inner { body } }))
            }
        })
    }
}

pin_project! {
    /// The body of a response of [`ManagementService`]: a management answer, or the inner service's body, as it is.
    #[derive(Debug)]
    pub struct ManagementBody<B> {
        #[pin]
        inner: EitherBody<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = EitherBodyProj]
    enum EitherBody<B> {
        Metrics { #[pin] body: MetricsBody },
        Inner { #[pin] body: B },
    }
}

impl<B> Body for ManagementBody<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>,
{
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.project().inner.project() {
            EitherBodyProj::Metrics { body } => body.poll_frame(cx).map_err(Into::into),
            EitherBodyProj::Inner { body } => body.poll_frame(cx).map_err(Into::into),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.inner {
            EitherBody::Metrics { body } => body.is_end_stream(),
            EitherBody::Inner { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            EitherBody::Metrics { body } => body.size_hint(),
            EitherBody::Inner { body } => body.size_hint(),
        }
    }
}
