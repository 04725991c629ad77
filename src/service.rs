use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::{ResponseFuture, UsageBody, queue::Recorder, slot::Entry, tap::Tap};

/// Records the usage of every call to a model that passes through `S`.
///
/// Made by [`UsageLayer`](crate::UsageLayer).
#[derive(Clone, Debug)]
pub struct UsageService<S> {
    inner: S,
    recorder: Recorder<Entry>,
}

impl<S> UsageService<S> {
    pub(crate) fn new(inner: S, recorder: Recorder<Entry>) -> Self {
        Self { inner, recorder }
    }

    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, B, R> Service<Request<B>> for UsageService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<UsageBody<R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    // Into whoever calls: the inner future is large, and made where it is to lie.
    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let tap = Tap::of_request(&self.recorder, &mut request);
        ResponseFuture::new(self.inner.call(request), tap)
    }
}
