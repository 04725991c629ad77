use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::{Ending, tap::Tap};

pin_project! {
    /// A response's body that is read along while it passes.
    ///
    /// Frames, errors, `size_hint` and `is_end_stream` are the inner body's; nothing is held back, copied to or taken
    /// from the client. A body that comes whole and is short is copied for the writer's thread to read. One event is
    /// recorded for a response, as soon as its end is known:
    ///
    /// - with its head, when there is no body (`HEAD`, 204, 304, upgrades) or it is empty;
    /// - with the last frame, when the inner body says that it is the last, or with the end of the body;
    /// - when the body is dropped. All that was announced has passed, or the provider has said that this was the end
    ///   (`[DONE]`, `message_stop`, `response.completed`, …): the answer is complete. If not, the client has left.
    #[derive(Debug)]
    pub struct UsageBody<B> {
        #[pin]
        inner: B,
        tap: Tap,
    }
}

impl<B: Body> UsageBody<B> {
    /// The response with its body watched, if there is anything to watch.
    pub(crate) fn watched(response: Response<B>, mut tap: Tap) -> Response<Self> {
        if tap.is_watching() {
            let body = response.body();
            let (length, is_end_stream) = (body.size_hint().exact(), body.is_end_stream());
            let (status, headers) = (response.status(), response.headers());
            tap.response(status, headers, response.extensions(), length, is_end_stream);
        }
        response.map(|inner| Self { inner, tap })
    }
}

impl<B: Body> Body for UsageBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    // Into whoever polls: without it, that is where the frame is moved once more.
    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let polled = this.inner.as_mut().poll_frame(cx);
        // Looked at where it lies: a frame is large enough that moving it costs more than looking at it.
        if this.tap.is_watching()
            && let Poll::Ready(frame) = &polled
        {
            match frame {
                Some(Ok(frame)) => match frame.data_ref() {
                    Some(data) if this.inner.is_end_stream() => this.tap.last_data(data),
                    Some(data) => this.tap.data(data),
                    None if frame.is_trailers() => this.tap.settle(Ending::Complete),
                    None => {}
                },
                Some(Err(_)) => this.tap.settle(Ending::UpstreamError),
                None => this.tap.settle(Ending::Complete),
            }
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
