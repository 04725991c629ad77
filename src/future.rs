use std::{
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
        tap: Option<Tap>,
    }
}

impl<F> ResponseFuture<F> {
    #[inline]
    pub(crate) fn new(inner: F, tap: Option<Tap>) -> Self {
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
        let tap = this.tap.take();
        Poll::Ready(match result {
            Ok(response) => Ok(UsageBody::watched(response, tap)),
            Err(error) => {
                if let Some(mut tap) = tap {
                    tap.fail();
                }
                Err(error)
            }
        })
    }
}
