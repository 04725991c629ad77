//! A layer that only looks at what passes.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Whoever looks at each piece of a response that passes.
pub trait Observe {
    /// The head of the response.
    fn head(&mut self, _: StatusCode, _: &HeaderMap) {}

    fn piece(&mut self, piece: &Bytes);
}

/// A layer for observers, each of which is made when the request's head is there.
#[derive(Clone)]
pub struct ObserveLayer<F>(pub F);

impl<S, F: Clone> Layer<S> for ObserveLayer<F> {
    type Service = ObserveService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        ObserveService { inner, observer: self.0.clone() }
    }
}

#[derive(Clone)]
pub struct ObserveService<S, F> {
    inner: S,
    observer: F,
}

impl<S, B, R, F, O> Service<Request<B>> for ObserveService<S, F>
where
    S: Service<Request<B>, Response = Response<R>>,
    F: Fn(&HeaderMap) -> O,
    O: Observe,
{
    type Response = Response<Observed<R, O>>;
    type Error = S::Error;
    type Future = ObserveFuture<S::Future, O>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let observer = (self.observer)(request.headers());
        ObserveFuture { inner: self.inner.call(request), observer: Some(observer) }
    }
}

pin_project! {
    pub struct ObserveFuture<F, O> {
        #[pin]
        inner: F,
        observer: Option<O>,
    }
}

impl<F, R, E, O> Future for ObserveFuture<F, O>
where
    F: Future<Output = Result<Response<R>, E>>,
    O: Observe,
{
    type Output = Result<Response<Observed<R, O>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(context));
        let mut observer = this.observer.take();
        Poll::Ready(response.map(|response| {
            if let Some(observer) = &mut observer {
                observer.head(response.status(), response.headers());
            }
            response.map(|inner| Observed { inner, observer })
        }))
    }
}

pin_project! {
    pub struct Observed<B, O> {
        #[pin]
        inner: B,
        observer: Option<O>,
    }
}

impl<B: Body<Data = Bytes>, O: Observe> Body for Observed<B, O> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(context);
        if let (Some(observer), Poll::Ready(Some(Ok(frame)))) = (this.observer, &polled)
            && let Some(piece) = frame.data_ref()
        {
            observer.piece(piece);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
