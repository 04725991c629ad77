//! The body of an answer.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;

use super::work::Permit;
use crate::Error;

/// The body of an answer of [`MetricsService`](super::MetricsService): in one piece of known length, or a stream of
/// pieces, each made when the one before it is out.
///
/// Fails only where a stream has to break off, so that its reader does not take a part for all of it.
pub struct MetricsBody(Inner);

enum Inner {
    Whole(Bytes),
    Stream(Stream),
}

/// Makes a stream piece by piece. Called on a thread of its own; what it holds has to be bounded.
pub(super) trait Source: Send + 'static {
    /// The next piece, which is not empty; `None` at the end.
    fn next(&mut self) -> Option<Bytes>;
}

struct Stream {
    permit: Permit,
    state: State,
}

enum State {
    Ready(Box<dyn Source>),
    Making(oneshot::Receiver<(Option<Bytes>, Box<dyn Source>)>),
    Over,
}

impl MetricsBody {
    pub(super) fn new(bytes: impl Into<Bytes>) -> Self {
        Self(Inner::Whole(bytes.into()))
    }

    pub(super) fn stream(permit: Permit, source: impl Source) -> Self {
        Self(Inner::Stream(Stream { permit, state: State::Ready(Box::new(source)) }))
    }
}

impl Body for MetricsBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match &mut self.0 {
            Inner::Whole(bytes) => {
                let rest = std::mem::take(bytes);
                Poll::Ready((!rest.is_empty()).then(|| Ok(Frame::data(rest))))
            }
            Inner::Stream(stream) => {
                let piece = ready!(stream.poll_piece(cx));
                Poll::Ready(piece.transpose().map(|piece| piece.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Stream(stream) => matches!(stream.state, State::Over),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_) => SizeHint::default(),
        }
    }
}

impl fmt::Debug for MetricsBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Inner::Whole(bytes) => f.debug_tuple("MetricsBody").field(&bytes.len()).finish(),
            Inner::Stream(_) => f.debug_struct("MetricsBody").finish_non_exhaustive(),
        }
    }
}

impl Stream {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Over => return Poll::Ready(Ok(None)),
                State::Ready(mut source) => {
                    let made = self.permit.ask(move || (source.next(), source));
                    self.state = State::Making(made.map_err(|_| Error::broken_off())?);
                }
                State::Making(mut made) => match Pin::new(&mut made).poll(cx) {
                    Poll::Pending => {
                        self.state = State::Making(made);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Error::broken_off())),
                    Poll::Ready(Ok((None, _))) => return Poll::Ready(Ok(None)),
                    Poll::Ready(Ok((piece, source))) => {
                        self.state = State::Ready(source);
                        return Poll::Ready(Ok(piece));
                    }
                },
            }
        }
    }
}
