use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use crate::{UsageBody, tap::Tap};

pin_project! {
    /// The future of a response that [`UsageService`](crate::UsageService) watches.
    ///
    /// Dropped before there is a response, the call is recorded as left by the client, with status 499.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        inner: F,
        tap: Tap,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(crate) fn new(inner: F, tap: Tap) -> Self {
        Self { inner, tap }
    }
}

impl<F, R, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<UsageBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let mut tap = mem::take(this.tap);
        Poll::Ready(match result {
            Ok(response) => Ok(UsageBody::watched(response, tap)),
            Err(error) => {
                tap.fail();
                Err(error)
            }
        })
    }
}
