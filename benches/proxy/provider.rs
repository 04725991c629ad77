//! A provider that answers at once, or chunk by chunk, and says in each chunk when it was sent.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{Sleep, sleep},
};

use crate::support::bodies;

/// How an answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As one document.
    Whole,
    /// As events, as fast as they are taken.
    Burst,
    /// As events with some time between them, as of a model.
    Slow,
    /// As some events, and then nothing more.
    Stuck,
}

/// The header by which a client asks for it.
pub(crate) const PACE: &str = "x-pace";

/// Events of a stream, the last two not counted; and of one that gets stuck.
const EVENTS: usize = 100;
pub(crate) const STUCK: usize = 10;
const BETWEEN: Duration = Duration::from_millis(2);

/// Nanoseconds on the clock of this process.
pub(crate) fn now() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_nanos() as u64
}

impl Pace {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Burst => "burst",
            Self::Slow => "slow",
            Self::Stuck => "stuck",
        }
    }

    fn of(name: &[u8]) -> Self {
        [Self::Burst, Self::Slow, Self::Stuck]
            .into_iter()
            .find(|pace| pace.name().as_bytes() == name)
            .unwrap_or(Self::Whole)
    }
}

pub(crate) async fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let server = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
            tokio::spawn(async move { server.await.is_ok() });
        }
    });
    Ok(address)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Answer>, hyper::Error> {
    let pace = request.headers().get(PACE).map_or(Pace::Whole, |pace| Pace::of(pace.as_bytes()));
    request.into_body().collect().await?;
    let mut response = Response::new(Answer { pace, sent: 0, pause: Box::pin(sleep(Duration::ZERO)) });
    let content_type = if pace == Pace::Whole { "application/json" } else { "text/event-stream" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(response)
}

/// An answer while it is sent.
struct Answer {
    pace: Pace,
    sent: usize,
    pause: Pin<Box<Sleep>>,
}

fn whole() -> Bytes {
    static WHOLE: LazyLock<Bytes> = LazyLock::new(|| bodies::chat_completion(1_500).into());
    WHOLE.clone()
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        const HEAD: &str = r#""id":"chatcmpl-BZ3uTf2kqW8nYxR5vJm0sLhGdEoPa","object":"chat.completion.chunk","created":1772357400,"model":"gpt-4o-mini-2024-07-18""#;
        let chunk = match self.sent {
            0 if self.pace == Pace::Whole => whole(),
            _ if self.pace == Pace::Whole => return Poll::Ready(None),
            STUCK if self.pace == Pace::Stuck => return Poll::Pending,
            sent if sent < EVENTS => {
                if self.pace == Pace::Slow {
                    ready!(self.pause.as_mut().poll(context));
                    self.pause = Box::pin(sleep(BETWEEN));
                }
                let choice =
                    r#"{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}"#;
                Bytes::from(format!("data: {{{HEAD},\"choices\":[{choice}],\"at\":{}}}\n\n", now()))
            }
            EVENTS => Bytes::from(format!(
                "data: {{{HEAD},\"choices\":[],\"usage\":{{\"prompt_tokens\":11,\"completion_tokens\":100,\"total_tokens\":111}}}}\n\n"
            )),
            _ if self.sent == EVENTS + 1 => Bytes::from_static(b"data: [DONE]\n\n"),
            _ => return Poll::Ready(None),
        };
        self.sent += 1;
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn size_hint(&self) -> SizeHint {
        match (self.pace, self.sent) {
            (Pace::Whole, 0) => SizeHint::with_exact(whole().len() as u64),
            (Pace::Whole, _) => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pace == Pace::Whole && self.sent > 0
    }
}
